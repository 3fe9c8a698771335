r"""
Speculative decoding, exactly
=============================

**The problem.** A large autoregressive model gives one token for each pass, and a pass is slow because it reads all
weights from memory, not because it computes much. A small model drafts several tokens quickly. How can its drafts be
used without changing what the large model would have said?

**The idea.** Draw :math:`x` from the draft law :math:`q` and keep it with probability :math:`\min(1, p(x)/q(x))`,
where :math:`p` is the target law. Otherwise draw from what is missing, the residual law

.. math::  r(x) = \frac{\bigl(p(x) - q(x)\bigr)_+}{\sum_y \bigl(p(y) - q(y)\bigr)_+}.

The output has law :math:`p`, whatever :math:`q` is: accepted drafts contribute :math:`\min(p, q)`, and the residual
fills up the rest. The draft is kept with probability :math:`\sum_x \min(p(x), q(x))`, and no lossless rule keeps it
more often.
"""

# %%
# The law, as a picture
# ---------------------
#
# A target and a draft on eight tokens. ``output_law`` computes the law of the rule's output by summing over all
# drafts. With fractions there is not even rounding: the output law *is* the target.

from fractions import Fraction

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from ergodica import SingleDraft, enumerate_law
from ergodica.samplers import random
from ergodica.theory import block_lengths, draft_acceptance, token_laws

rule = SingleDraft()
p = np.array([Fraction(n, 40) for n in (10, 8, 7, 6, 4, 3, 1, 1)])
q = np.array([Fraction(n, 40) for n in (6, 14, 5, 2, 7, 1, 4, 1)])
law = rule.output_law(p, q)
print("output law equals the target:", bool(np.all(law.law == p)))
print(
    "a draft is kept with probability",
    law.accept_branch,
    "and no rule can keep more than",
    draft_acceptance.acceptance(p, q),
)

# %%

tokens = np.arange(8)
kept = np.minimum(p, q).astype(float)
filled = law.law.astype(float) - kept
fig, (left, right) = plt.subplots(1, 2, figsize=(9.2, 3.2), sharey=True)
left.bar(tokens, q.astype(float), color="#e9c3b4", label="draft law $q$")
left.bar(tokens, kept, color="#d1603d", label="kept, min$(p, q)$")
right.bar(tokens, kept, color="#d1603d", label="kept drafts")
right.bar(tokens, filled, bottom=kept, color="#7a9e3a", label="from the residual law")
for ax, title in ((left, "What is drafted"), (right, "What is emitted")):
    edges = np.append(tokens, 8) - 0.5
    ax.stairs(p.astype(float), edges, color="#222222", linewidth=1.4, label="target $p$")
    ax.set(xlabel="token", xticks=tokens, title=title)
    ax.legend()
left.set_ylabel("probability")
plt.show()

# %%
# The code that runs
# ------------------
#
# A formula is not a program. ``enumerate_law`` follows the random choices of the code that draws, and finds its law,
# here in floating-point numbers.


def decode_one(key):
    key_draft, key_rule = random.split(key)
    state = rule.prepare(p.astype(float), q.astype(float))
    draft = random.categorical(key_draft, jnp.log(state.q))
    return rule.draw(key_rule, state, draft[None]).token


with jax.enable_x64(True):
    enumerated = enumerate_law(decode_one, jax.random.key(0)).vector(8)
print("largest difference to the target:", np.abs(enumerated - p.astype(float)).max())

# %%
# The same for a popular mistake: after a rejection, draw from the target instead of the residual.


def decode_wrongly(key):
    key_draft, key_test, key_again = random.split(key, 3)
    target, draft_law = jnp.asarray(p.astype(float)), jnp.asarray(q.astype(float))
    draft = random.categorical(key_draft, jnp.log(draft_law))
    is_kept = random.bernoulli(key_test, jnp.minimum(1, target[draft] / draft_law[draft]))
    return jnp.where(is_kept, draft, random.categorical(key_again, jnp.log(target)))


with jax.enable_x64(True):
    wrong = enumerate_law(decode_wrongly, jax.random.key(0)).vector(8)
print("mistaken variant, total variation to the target:", token_laws.total_variation(wrong, p.astype(float)).round(4))

fig, ax = plt.subplots()
ax.bar(tokens - 0.2, enumerated, 0.4, color="#1b5e7d", label="the rule")
ax.bar(tokens + 0.2, wrong, 0.4, color="#bbbbbb", label="the mistaken variant")
ax.stairs(p.astype(float), np.append(tokens, 8) - 0.5, color="#222222", label="target")
ax.set(xlabel="token", ylabel="probability", xticks=tokens, title="Laws of two programs, by enumeration")
ax.legend()
plt.show()

# %%
# A chain of drafts
# -----------------
#
# In practice :math:`\gamma` tokens are drafted in a row, and one pass of the target scores them all. ``verify`` goes
# from left to right up to the first rejection, and always adds one token of its own. If each draft is kept with
# probability :math:`a`, a block emits :math:`(1 - a^{\gamma + 1}) / (1 - a)` tokens on average.

gamma, blocks = 5, 20_000
a = float(draft_acceptance.acceptance(p, q))
keys = jax.random.split(jax.random.key(1))
drafts = jax.random.categorical(keys[0], jnp.log(q.astype(float)), shape=(blocks, gamma))
target_rows = jnp.broadcast_to(p.astype(np.float32), (blocks, gamma + 1, 8))
draft_rows = jnp.broadcast_to(q.astype(np.float32), (blocks, gamma, 8))
result = rule.verify(keys[1], drafts, target_rows, draft_rows)
frequencies = np.bincount(result.tau, minlength=gamma + 1) / blocks
emitted = float(result.tau.mean()) + 1
print(f"tokens per block: {emitted:.3f} seen, {block_lengths.expected_tokens(a, gamma):.3f} expected")

fig, (left, right) = plt.subplots(1, 2, figsize=(9.2, 3.2))
left.bar(range(gamma + 1), frequencies, color="#c9dbe6", label=f"{blocks} blocks")
left.plot(range(gamma + 1), block_lengths.law_of_accepted(a, gamma), "o", color="#1b5e7d", label="exact law")
left.set(xlabel="accepted drafts", ylabel="probability", title=f"$a$ = {a:.2f}, $\\gamma$ = {gamma}")
left.legend()
lengths = range(17)
for acceptance, colour in ((0.6, "#c9dbe6"), (0.8, "#5b93b3"), (0.9, "#1b5e7d")):
    right.plot(lengths, [block_lengths.speed(acceptance, g, 0.05) for g in lengths], color=colour)
    best = block_lengths.best_gamma(acceptance, 0.05)
    right.plot(best, block_lengths.speed(acceptance, best, 0.05), "o", color=colour)
    right.annotate(
        f"$a$ = {acceptance}", (16, block_lengths.speed(acceptance, 16, 0.05)), (5, -3), textcoords="offset points"
    )
right.set(xlabel=r"drafted tokens $\gamma$", ylabel="speed-up", xlim=(0, 19), title="a draft costs 5% of a target pass")
plt.show()

# %%
# What to tune
# ------------
#
# - :math:`\gamma`: ``block_lengths.best_gamma(a, c)`` from the measured acceptance and the cost of a draft; the dots
#   above.
# - The draft model. It changes the speed and never the law.
# - Hand over the very laws that the drafts were drawn from, after temperature and truncation; a temperature that is
#   applied twice makes the rule inexact, and no rule can notice.
#
# When not to use it
# ------------------
#
# - In large batches that already saturate the arithmetic units, the additional operations cost more than the saved
#   passes: see ``block_lengths.arithmetic_factor``.
#
# Sources: Leviathan, Kalman, Matias, ICML 2023, arXiv:2211.17192; Chen et al. 2023, arXiv:2302.01318.
