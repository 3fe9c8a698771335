r"""
Blocks and trees of drafts
==========================

**The problem.** :ref:`Speculative decoding <sphx_glr_gallery_plot_speculative_decoding.py>` tests drafted tokens one
by one and stops at the first rejection. A token that the target likes less than the draft model does is rejected even if
the tokens after it make up for that. And a single chain of drafts is lost with its first token.

**The idea.** *Block verification* judges prefixes instead of tokens. With the budget

.. math::  c_0 = 1, \qquad c_i = \min\bigl(1,\; c_{i-1}\, P(x_i)/Q(x_i)\bigr),

the first :math:`i` drafts are kept with probability :math:`c_i`: a surplus of a later token pays for a deficit of an
earlier one. The prefixes are tested from the longest to the shortest, and the last test that passes counts. No exact
rule keeps more of one chain. *Traversal* does the same on a tree of drafts, from the leaves up.

Both leave the law of the output alone: whatever is drafted, the text has the target's law.
"""

# %%
# One chain
# ---------
#
# A target over four tokens whose law depends on the last token, and drafts from a mixture of it with another model.
# The mean number of accepted drafts has a closed form for each rule. The *ideal* one is the longest common prefix that
# any coupling of a draft with an output can have; reaching it takes further passes of both models.

import itertools
from fractions import Fraction

import matplotlib.pyplot as plt
import numpy as np

from ergodica.samplers.acceptance.blocks.block_verification import BlockVerification
from ergodica.samplers.acceptance.blocks.draft_tree import DraftTree
from ergodica.samplers.acceptance.blocks.token_verification import TokenVerification
from ergodica.samplers.acceptance.blocks.top_down import TopDown
from ergodica.samplers.acceptance.blocks.traversal import Traversal
from ergodica.samplers.acceptance.recursive_rejection import RecursiveRejection
from ergodica.theory.block_acceptance import accepted_by_block, longest_common_prefix
from ergodica.theory.block_lengths import expected_accepted_in_context
from ergodica.validation.block_law import block_output, drafted_chains

rng = np.random.default_rng(4)


def models(size, depth, noise, target, other):
    """Tables of laws by prefix, which depend on the last token; the draft is a mixture."""
    prefixes = [prefix for length in range(depth + 1) for prefix in itertools.product(range(size), repeat=length)]
    last = [prefix[-1] + 1 if prefix else 0 for prefix in prefixes]
    P = {prefix: target[row] for prefix, row in zip(prefixes, last, strict=True)}
    Q = {prefix: (1 - noise) * target[row] + noise * other[row] for prefix, row in zip(prefixes, last, strict=True)}
    return P, Q


target, other = rng.dirichlet(np.ones(4), size=5), rng.dirichlet(np.ones(4), size=5)
noises, gamma = np.linspace(0, 1, 9), 4
curves = {"ideal": longest_common_prefix, "block": accepted_by_block, "token": expected_accepted_in_context}
means = {
    name: [rule(*models(4, gamma, noise, target, other), gamma) for noise in noises] for name, rule in curves.items()
}
gain = max(block / token - 1 for block, token in zip(means["block"], means["token"], strict=True))
print(f"block verification keeps up to {gain:.0%} more drafts than verification by tokens")

# %%
# Trees
# -----
#
# Two drafts for the first position, and one below each. From the root down, recursive rejection chooses among the
# siblings; traversal looks at the leaves first. The laws are found by going through all drafts.

small_target, small_other = rng.dirichlet(np.ones(3), size=4), rng.dirichlet(np.ones(3), size=4)
tree = DraftTree.of_branching((2, 1))
rules = {"traversal": Traversal(tree), "top down": TopDown(tree, RecursiveRejection())}
few = noises[::2]
on_trees = {name: [] for name in (*rules, "block")}
for noise in few:
    P, Q = models(3, 2, noise, small_target, small_other)
    for name, rule in rules.items():
        on_trees[name].append(block_output(rule, P, Q, tree.enumerate(Q, rule.sibling_law)).accepted)
    on_trees["block"].append(accepted_by_block(P, Q, 2))

colours = {"ideal": "#bbbbbb", "block": "#1b5e7d", "token": "#d1603d", "traversal": "#7a9e3a", "top down": "#c9a227"}
fig, (left, right) = plt.subplots(1, 2, figsize=(9.2, 3.4))
for name, values in means.items():
    left.plot(noises, values, color=colours[name], label=name)
for name, values in on_trees.items():
    right.plot(few, values, "o-", color=colours[name], label=name + (", one chain" if name == "block" else ""))
left.set(xlabel="share of the other model in the draft", ylabel="accepted drafts", title="one chain of four")
right.set(xlabel="share of the other model in the draft", title="two drafts, one below each")
for ax in (left, right):
    ax.legend()
plt.show()

# %%
# Exactly
# -------
#
# With fractions the check is one of equality. What is emitted, continued by the target, has the target's law; ``error``
# is the largest difference between the two.

third = [Fraction(1, 3), Fraction(2, 3)]
P = {prefix: third for length in range(4) for prefix in itertools.product(range(2), repeat=length)}
Q = dict.fromkeys(P, third[::-1])
for rule in (TokenVerification(), BlockVerification()):
    out = block_output(rule, P, Q, drafted_chains(Q, 2))
    print(f"{type(rule).__name__:18s} error {out.error}, accepted drafts {out.accepted}")

# %%
# A mistake that looks right
# --------------------------
#
# The last level is sometimes tested with the joint ratio :math:`P(x_1 \dots x_g)/Q(x_1 \dots x_g)` in place of the budget.
# More is accepted then, even more than any exact rule can accept. That alone shows that the law is wrong.


class Uncapped(BlockVerification):
    def budgets(self, tokens, p, q):
        budgets, chances = super().budgets(tokens, p, q)
        joint = Fraction(1)
        for level, token in enumerate(tokens):
            joint = joint * p[level, token] / q[level, token]
        return budgets, np.append(chances[:-1], min(1, joint))


wrong = block_output(Uncapped(), P, Q, drafted_chains(Q, 2))
right_law = block_output(BlockVerification(), P, Q, drafted_chains(Q, 2)).completed
print(f"uncapped: error {wrong.error}, accepted drafts {wrong.accepted}, the optimum is {accepted_by_block(P, Q, 2)}")

strings = sorted(right_law)
fig, ax = plt.subplots(figsize=(6.4, 3))
place = np.arange(len(strings))
ax.bar(place - 0.2, [float(right_law[string]) for string in strings], 0.4, color="#1b5e7d", label="block verification")
ax.bar(place + 0.2, [float(wrong.completed[string]) for string in strings], 0.4, color="#bbbbbb", label="uncapped")
ax.set_xticks(place, ["".join(map(str, string)) for string in strings])
ax.set(xlabel="first three tokens", ylabel="probability")
ax.legend()
plt.show()

# %%
# What to use
# -----------
#
# - One chain: ``BlockVerification``; on a CPU its compiled core, ``block_verification_native.verify``. The cost beyond
#   verification by tokens is a pass over the rows of rejected levels.
# - Sampled trees: ``Traversal``. Siblings with the same token stay separate drafts, and the shape of the tree must not
#   depend on what was sampled. ``theory.draft_tree_shape`` finds the best one from measured acceptances.
# - Trees that the context determines, of the likeliest tokens or from n-grams: ``FixedTree``.
# - How many to draft: ``theory.draft_length``. Drafting may stop after any token; a token must not be thrown away.
#
# When not to use it
# ------------------
#
# - With one draft, or drafts that are nearly always accepted, block and token verification are the same.
#
# Sources: Sun et al., ICLR 2025, arXiv:2403.10444; Weng et al., NeurIPS 2025, arXiv:2505.12398; Zhou et al., ICLR 2026,
# arXiv:2601.05724.
