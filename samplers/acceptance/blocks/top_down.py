"""Trees of drafts judged from the root down, with a rule for one position at each node."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.acceptance.blocks.draft_tree import DraftTree
from ergodica.samplers.acceptance.blocks.tree_rule import TreeRule, TreeVerification, checked_rows, emitted_at
from ergodica.samplers.acceptance.draft_law import DraftLaw
from ergodica.samplers.acceptance.laws import invert, namespace
from ergodica.samplers.acceptance.token_rule import TokenRule
from ergodica.samplers.claim import Claim, Space


class TopDown(TreeRule):
    """Let a rule for one position choose a token from the children of the root, and go on below the child that has it.

    At each node the rule emits a token, given the tokens of the children. Where a child has it, the path goes on below the
    first such child; otherwise the token is the own one. At a leaf it comes from the target. The rule alone decides how
    siblings have to be drawn; what is drafted below a node must not depend on its siblings. Of siblings with the same
    token each counts: merging them changes their law.

    Parameters
    ----------
    tree
        Shape of the tree.
    rule
        Any rule for drafts of one position that is exact.

    References
    ----------
    X. Miao et al., 2024, arXiv 2305.09781; Z. Chen et al., 2024, arXiv 2402.12374.
    """

    tree: DraftTree = eqx.field(static=True)
    rule: TokenRule

    def __init__(self, tree: DraftTree, rule: TokenRule) -> None:
        self.tree = tree
        self.rule = rule

    @property
    def claim(self) -> Claim:
        """As exact as the rule at the nodes."""
        return Claim(
            self.rule.claim.exactness,
            "emits tokens with the target's law, for drafts on a tree, if the rule at its nodes does",
            "Miao et al. (2024), arXiv 2305.09781",
            spaces=frozenset({Space.FINITE, Space.SEQUENCE}),
            independent=True,
        )

    @property
    def cost(self) -> str:
        """For ``n`` nodes, of which the path visits ``depth``."""
        return "that of the rule, at each node of the path"

    def sibling_law(self, q: Any, k: int) -> DraftLaw:
        """Return the law of drafts of the rule."""
        return self.rule.draft_law(q, k)

    def stop_law(self, tokens: Any, p: Any, q: Any) -> tuple[Any, Any]:
        """Return the laws of the last accepted node and of the own token; see :meth:`TreeRule.stop_law`."""
        xp, count = namespace(p, q), self.tree.num_nodes
        nothing = 0 * p[0, 0]
        reached = [1 + nothing] + [nothing] * (count - 1)
        stop, own = [], []
        for node in range(count):
            children = [child for child in self.tree.children[node] if tokens[child - 1] >= 0]
            law = p[node]
            if children and reached[node] > 0:
                drafts = np.array([tokens[child - 1] for child in children])
                law = self.rule.conditional_law(self.rule.prepare(p[node], q[node], len(children)), drafts).law
            for child in children:
                token = tokens[child - 1]
                reached[child] = reached[node] * law[token]
                law = xp.where(xp.arange(law.shape[0]) == token, nothing, law)  # the first child takes it all
            rest = law.sum()
            stop.append(reached[node] * rest)
            own.append(law / rest if rest > 0 else p[node])
        return xp.stack(stop), xp.stack(own)

    def verify(
        self, key: PRNGKeyArray, tokens: Int[Array, " n"], p: Float[Array, "n+1 V"], q: Float[Array, "n+1 V"]
    ) -> TreeVerification:
        """Verify a tree at random; see :meth:`TreeRule.verify`.

        Nodes that are not drafted, -1, need a rule that takes such drafts, as those without replacement do.
        """
        tokens, target, draft, is_valid = checked_rows(self.tree, tokens, p, q)
        chosen = []
        for node, children in enumerate(self.tree.children):
            one = random.fold_in(key, node)
            if children:
                state = self.rule.prepare(target[node], draft[node], len(children))
                chosen.append(self.rule.draw(one, state, tokens[np.array(children) - 1]).token)
            else:
                chosen.append(random.categorical(one, jnp.log(target[node])))
        return self._path(tokens, jnp.stack(chosen), is_valid)

    def num_uniforms(self) -> int:
        """As many as the rule takes at each node with children, in the order of the nodes, and one at each leaf."""
        return sum(self.rule.num_uniforms(len(children)) if children else 1 for children in self.tree.children)

    def decide(
        self,
        tokens: Int[Array, " n"],
        p: Float[Array, "n+1 V"],
        q: Float[Array, "n+1 V"],
        uniforms: Float[Array, " u"],
    ) -> TreeVerification:
        """Verify a tree on uniforms; see :meth:`TreeRule.decide`."""
        tokens, target, draft, is_valid = checked_rows(self.tree, tokens, p, q)
        chosen, start = [], 0
        for node, children in enumerate(self.tree.children):
            if children:
                state = self.rule.prepare(target[node], draft[node], len(children))
                stop = start + self.rule.num_uniforms(len(children))
                chosen.append(self.rule.decide(state, tokens[np.array(children) - 1], uniforms[start:stop]).token)
            else:
                stop = start + 1
                chosen.append(invert(target[node], uniforms[start]))
            start = stop
        return self._path(tokens, jnp.stack(chosen), is_valid)

    def _path(self, tokens: Array, chosen: Array, is_valid: Array) -> TreeVerification:
        """Follow the tokens that were chosen at the nodes."""
        most = max(len(children) for children in self.tree.children)
        table = np.zeros((self.tree.num_nodes, most), int)
        for node, children in enumerate(self.tree.children):
            table[node, : len(children)] = children
        padded = jnp.append(jnp.asarray([-1], tokens.dtype), tokens)
        end = jnp.int32(0)
        for _ in range(self.tree.depth):
            below = jnp.asarray(table)[end]
            has_token = (below > 0) & (padded[below] == chosen[end])
            end = jnp.where(jnp.any(has_token), below[jnp.argmax(has_token)], end).astype(jnp.int32)
        return emitted_at(self.tree, tokens, end, chosen[end], is_valid & (chosen[end] >= 0))
