"""Trees of drafts that the context alone determines: likeliest tokens, n-grams, text from elsewhere."""

import heapq
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ergodica.samplers.acceptance.blocks.block_rule import BlockLaw, BlockRule, Model, Prefix
from ergodica.samplers.acceptance.blocks.draft_tree import DraftTree
from ergodica.samplers.acceptance.blocks.top_down import TopDown
from ergodica.samplers.acceptance.blocks.tree_rule import TreeVerification
from ergodica.samplers.acceptance.naive import Naive
from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.inputs import static_count


class FixedTree(BlockRule):
    """Draw from the target, and follow the tree for as long as it has the token.

    Drafts that are a function of the context were drawn with probability one. A rule that takes a model's probability for
    that of the draft is not exact on them; this one does not ask for it, and is the best there is: ``E[tau]`` is the sum
    of the target's probabilities of the nodes. The best tree of ``m`` nodes is that of the ``m`` most probable strings,
    :func:`most_probable_tree`.

    The tree may depend on anything but the randomness of this rule. A tree of *sampled* drafts that is pruned by the
    probabilities of what was sampled is no such tree, and no other rule here is exact for it either.

    Parameters
    ----------
    tree
        Shape of the tree.

    References
    ----------
    Y. Li et al., EMNLP 2024, arXiv 2406.16858, for trees grown by the confidence of the draft.
    """

    tree: DraftTree = eqx.field(static=True)

    def __init__(self, tree: DraftTree) -> None:
        self.tree = tree

    @property
    def claim(self) -> Claim:
        """Exact for drafts without randomness of their own."""
        return Claim(
            Exactness.EXACT,
            "emits tokens with the target's law, for a tree that the context determines",
            "Li et al. (2024), arXiv 2406.16858",
            spaces=frozenset({Space.FINITE, Space.SEQUENCE}),
            independent=True,
        )

    @property
    def cost(self) -> str:
        """For a path of some depth."""
        return "O(V) for each node of the path"

    def conditional_law(self, P: Model, Q: Model, drafts: Sequence[int]) -> BlockLaw:
        """Return the exact law of what is emitted given the tokens of a tree; ``Q`` is not looked at."""
        del Q
        return self._rule.conditional_law(P, P, drafts)

    def verify(self, key: PRNGKeyArray, tokens: Int[Array, " n"], p: Float[Array, "n+1 V"]) -> TreeVerification:
        """Verify a tree at random, through choice points.

        Parameters
        ----------
        key
            Typed key.
        tokens
            Tokens of the nodes from 1 on; -1 for a node without a token.
        p
            Weights of the target after each node, the root first.
        """
        return self._rule.verify(key, tokens, p, p)

    def decide(
        self, tokens: Int[Array, " n"], p: Float[Array, "n+1 V"], uniforms: Float[Array, " u"]
    ) -> TreeVerification:
        """Do as :meth:`verify`, given uniforms in ``[0, 1)``, as many as :meth:`num_uniforms` says."""
        return self._rule.decide(tokens, p, p, uniforms)

    def num_uniforms(self) -> int:
        """Return how many uniforms :meth:`decide` takes."""
        return self._rule.num_uniforms()

    @property
    def _rule(self) -> TopDown:
        return TopDown(self.tree, Naive())


def most_probable_tree(
    law: Callable[[Prefix], Sequence[Any]], nodes: int, *, depth: int | None = None
) -> tuple[DraftTree, np.ndarray]:
    """Return the tree of the most probable strings of a model, grown from the best one on.

    Parameters
    ----------
    law
        From a prefix to the probabilities of the next token.
    nodes
        Number of drafts; fewer come back if no more strings are possible.
    depth
        Largest depth.

    Returns
    -------
    tree, tokens
        For :class:`FixedTree`. With the target's law, no tree of as many nodes has a larger ``E[tau]``; with a draft's it
        is as good as the draft. The law is asked once for each node.
    """
    parents: list[int] = []
    tokens: list[int] = []
    heap: list[tuple[Any, int, int, Prefix]] = []

    def offer(node: int, prefix: Prefix, mass: Any) -> None:
        if depth is not None and len(prefix) >= depth:
            return
        for token, chance in enumerate(law(prefix)):
            if chance > 0:
                heapq.heappush(heap, (-mass * chance, node, token, (*prefix, token)))

    offer(0, (), 1)
    while heap and len(parents) < static_count("nodes", nodes):
        mass, parent, token, string = heapq.heappop(heap)
        parents.append(parent)
        tokens.append(token)
        offer(len(parents), string, -mass)
    return DraftTree(tuple(parents)), np.array(tokens, np.int32)
