"""Traversal verification: the paths of a tree of drafts are judged from the leaves up."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.acceptance.blocks.draft_tree import DraftTree
from ergodica.samplers.acceptance.blocks.tree_rule import TreeRule, TreeVerification, checked_rows, emitted_at
from ergodica.samplers.acceptance.dependent_drafts import DraftsWithoutReplacement
from ergodica.samplers.acceptance.draft_law import DraftLaw, IndependentDrafts
from ergodica.samplers.acceptance.drafts_in_turn import at_token, positive_part
from ergodica.samplers.acceptance.laws import invert, namespace
from ergodica.samplers.acceptance.single_draft import acceptance_probability
from ergodica.samplers.claim import Claim, Exactness, Space


class NodeTests(NamedTuple):
    """What traversal does with given drafts.

    Parameters
    ----------
    node
        The node that each test may end at, in the order of the tests: children before their parent.
    chance
        Probability that each test passes if none before it did.
    own
        Law of the own token at each test, shape ``(n + 1, V)``.
    """

    node: tuple[int, ...]
    chance: Any
    own: Any


class Traversal(TreeRule):
    """Try the leaf of the first path, then what is above it, and go on to the next path where one fails.

    Each node carries a budget: the probability with which it or something below it has to be accepted. A child ``x`` of a
    node with the budget ``c``, current law ``M`` and draft law ``q`` gets ``min(1, c M(x) / q(x))``. If the child and all
    below it fail, ``(c M - q)+`` is what is left: its sum ``S`` gives the new budget ``S / (S + 1 - c)``, and it is the new
    law. When all children have failed, the node is accepted with its budget, and its law draws the own token. The root's
    budget is one.

    On a chain it is block verification. It accepts no less than going down the tree with recursive rejection, in all
    cases that were looked at.

    Parameters
    ----------
    tree
        Shape of the tree.
    replacement
        Whether siblings are independent draws; otherwise they were drawn without replacement, in the order of the nodes.

    References
    ----------
    Weng et al., NeurIPS 2025, arXiv 2505.12398.
    """

    tree: DraftTree = eqx.field(static=True)
    replacement: bool = eqx.field(static=True)

    def __init__(self, tree: DraftTree, *, replacement: bool = True) -> None:
        self.tree = tree
        self.replacement = replacement

    @property
    def claim(self) -> Claim:
        """Exact: the emitted tokens, continued by the target, have its law."""
        return Claim(
            Exactness.EXACT,
            "emits tokens with the target's law, for drafts on a tree",
            "Weng et al. (2025), arXiv 2505.12398",
            spaces=frozenset({Space.FINITE, Space.SEQUENCE}),
            independent=True,
        )

    @property
    def cost(self) -> str:
        """For ``n`` nodes."""
        return "O(nV)"

    def sibling_law(self, q: Any, k: int) -> DraftLaw:
        """Return independent draws, or draws without replacement."""
        return IndependentDrafts(q, k) if self.replacement else DraftsWithoutReplacement(q, k)

    def tests(self, tokens: Any, p: Any, q: Any) -> NodeTests:
        """Return the tests for given drafts; see :meth:`TreeRule.stop_law` for the arguments."""
        xp = namespace(p, q)
        words = xp.arange(p.shape[1])
        nodes: list[int] = []
        chances: list[Any] = []
        laws: list[Any] = []

        def visit(node: int, budget: Any, law: Any, is_drafted: Any) -> None:
            weights = q[node]
            total = weights.sum()
            for child in self.tree.children[node]:
                token = tokens[child - 1]
                is_child = is_drafted & (token >= 0)
                draft = weights / xp.where(total > 0, total, 1)
                chance = acceptance_probability(budget * at_token(law, token), at_token(draft, token))[()]
                visit(child, chance, p[child], is_child)
                left = positive_part(budget * law - draft)
                mass = left.sum()
                whole = mass + 1 - budget
                after = xp.where(whole > 0, mass / xp.where(whole > 0, whole, 1), 1 + 0 * mass)
                # No draft, no failure: budget and law stay.
                budget = xp.where(is_child, after, budget)[()]
                law = xp.where(is_child & (mass > 0), left / xp.where(mass > 0, mass, 1), law)
                if not self.replacement:
                    weights = xp.where(words == token, 0 * weights, weights)
                    total = weights.sum()
            nodes.append(node)
            chances.append(xp.where(is_drafted, budget, 0 * budget)[()])
            laws.append(law)

        visit(0, 1 + 0 * p[0, 0], p[0], xp.bool_(True))
        return NodeTests(tuple(nodes), xp.stack(chances), xp.stack(laws))

    def stop_law(self, tokens: Any, p: Any, q: Any) -> tuple[Any, Any]:
        """Return the laws of the last accepted node and of the own token; see :meth:`TreeRule.stop_law`."""
        tests = self.tests(tokens, p, q)
        xp = namespace(tests.own)
        left = 1 + 0 * tests.chance[0]
        stop, own = [None] * self.tree.num_nodes, [None] * self.tree.num_nodes
        for test, node in enumerate(tests.node):
            stop[node], own[node] = left * tests.chance[test], tests.own[test]
            left = left * (1 - tests.chance[test])
        return xp.stack(stop), xp.stack(own)

    def verify(
        self, key: PRNGKeyArray, tokens: Int[Array, " n"], p: Float[Array, "n+1 V"], q: Float[Array, "n+1 V"]
    ) -> TreeVerification:
        """Verify a tree at random; see :meth:`TreeRule.verify`."""
        pass_key, own_key = random.split(key)
        tokens, target, draft, is_valid = checked_rows(self.tree, tokens, p, q)
        tests = self.tests(tokens, target, draft)
        passed = random.bernoulli(pass_key, tests.chance)
        first = jnp.argmax(passed.at[-1].set(True))
        own = random.categorical(own_key, jnp.log(tests.own[first]))
        return emitted_at(self.tree, tokens, jnp.asarray(tests.node)[first], own, is_valid)

    def num_uniforms(self) -> int:
        """One for each draft, in the order of the nodes, and one for the own token."""
        return self.tree.num_nodes

    def decide(
        self,
        tokens: Int[Array, " n"],
        p: Float[Array, "n+1 V"],
        q: Float[Array, "n+1 V"],
        uniforms: Float[Array, " n+1"],
    ) -> TreeVerification:
        """Verify a tree on uniforms: one for each draft, in the order of the nodes; the last draws the own token."""
        return _decided(self, jnp.asarray(tokens), jnp.asarray(p), jnp.asarray(q), jnp.asarray(uniforms))


@jax.jit
def _decided(rule: Traversal, tokens: Array, p: Array, q: Array, uniforms: Array) -> TreeVerification:
    tokens, target, draft, is_valid = checked_rows(rule.tree, tokens, p, q)
    tests = rule.tests(tokens, target, draft)
    node = jnp.asarray(tests.node)
    passed = (uniforms[node - 1] < tests.chance).at[-1].set(True)  # the root comes last, and takes what is left
    first = jnp.argmax(passed)
    return emitted_at(rule.tree, tokens, node[first], invert(tests.own[first], uniforms[-1]), is_valid)
