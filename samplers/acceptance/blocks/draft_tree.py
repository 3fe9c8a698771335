"""The shape of a tree of drafts, and the law of the tokens on it."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.acceptance.blocks.block_rule import Model, Prefix, listed_laws
from ergodica.samplers.acceptance.draft_law import DraftLaw
from ergodica.samplers.inputs import static_count

SiblingLaw = Callable[[Any, int], DraftLaw]


@dataclasses.dataclass(frozen=True)
class DraftTree:
    """The shape of a tree of drafts.

    Nodes are numbered so that a parent comes before its children, and so that siblings come in the order in which they
    are drawn. Node 0 is the root: the context, where nothing is drafted. Node ``i > 0`` holds the token ``i - 1``.

    Parameters
    ----------
    parents
        The parent of each node from 1 on.

    Raises
    ------
    ValueError
        If a parent does not come before its child.
    """

    parents: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parents", tuple(int(parent) for parent in self.parents))
        for node, parent in enumerate(self.parents, start=1):
            if not 0 <= parent < node:
                raise ValueError(f"the parent of node {node} has to be one of 0..{node - 1}; got {parent}")

    @classmethod
    def chain(cls, gamma: int) -> "DraftTree":
        """Return a tree without branches, with ``gamma`` drafts one after another."""
        return cls(tuple(range(static_count("gamma", gamma, at_least=0))))

    @classmethod
    def of_branching(cls, branching: Sequence[int]) -> "DraftTree":
        """Return the tree in which each node of depth ``d`` has ``branching[d]`` children."""
        parents: list[int] = []
        level = [0]
        for children in branching:
            start = len(parents) + 1
            parents += [node for node in level for _ in range(static_count("branching", children))]
            level = list(range(start, len(parents) + 1))
        return cls(tuple(parents))

    @property
    def num_nodes(self) -> int:
        """Number of nodes, the root included."""
        return len(self.parents) + 1

    @functools.cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """The children of each node, in the order in which they are drawn."""
        below: list[list[int]] = [[] for _ in range(self.num_nodes)]
        for node, parent in enumerate(self.parents, start=1):
            below[parent].append(node)
        return tuple(tuple(nodes) for nodes in below)

    @functools.cached_property
    def paths(self) -> tuple[tuple[int, ...], ...]:
        """The nodes from below the root down to each node, itself included."""
        down: list[tuple[int, ...]] = [()]
        for node, parent in enumerate(self.parents, start=1):
            down.append((*down[parent], node))
        return tuple(down)

    @property
    def depth(self) -> int:
        """Largest number of drafts on a path."""
        return max(len(path) for path in self.paths)

    def prefixes(self, tokens: Sequence[int]) -> list[Prefix | None]:
        """Return the string of tokens down to each node; ``None`` where nothing was drafted."""
        strings: list[Prefix | None] = []
        for path in self.paths:
            string = tuple(int(tokens[node - 1]) for node in path)
            strings.append(string if all(token >= 0 for token in string) else None)
        return strings

    def enumerate(
        self, Q: Model, siblings: SiblingLaw, *, stops: Callable[[Prefix], bool] | None = None
    ) -> Iterator[tuple[Prefix, Any]]:
        """Yield the tokens of each possible draft with its probability.

        Parameters
        ----------
        Q
            Draft model.
        siblings
            From a law and a number to the law of that many siblings: ``IndependentDrafts``, ``rule.sibling_law`` ...
        stops
            Whether nothing is drafted after a prefix.

        Yields
        ------
        tokens, probability
            Tokens of the nodes from 1 on; -1 where nothing is left to draw, or drafting has stopped.
        """

        def grown(tokens: Prefix, parent: int, weight: Any) -> Iterator[tuple[Prefix, Any]]:
            while parent < self.num_nodes and not self.children[parent]:
                parent += 1
            if parent == self.num_nodes:
                yield tokens, weight
                return
            prefix = self.prefixes(tokens)[parent]
            if prefix is None or (stops is not None and stops(prefix)):
                yield from grown(tokens, parent + 1, weight)
                return
            nodes = self.children[parent]
            for drafts, mass in siblings(listed_laws("Q", Q, [prefix])[0], len(nodes)).enumerate():
                filled = list(tokens)
                for node, token in zip(nodes, drafts, strict=False):  # fewer drafts than nodes if tokens run out
                    filled[node - 1] = token
                yield from grown(tuple(filled), parent + 1, weight * mass)

        yield from grown((-1,) * (self.num_nodes - 1), 0, 1)

    def draw(
        self, key: PRNGKeyArray, draft: Callable[[Int[Array, " d"]], Float[Array, " V"]], siblings: SiblingLaw
    ) -> Int[Array, " n"]:
        """Draw the tokens, through choice points.

        Parameters
        ----------
        key
            Typed key.
        draft
            From the tokens down to a node, shape ``(depth,)``, to the weights of the next token.
        siblings
            From a law and a number to the law of that many siblings.

        Returns
        -------
        integer array of shape (num_nodes - 1,)
            -1 where nothing is left to draw, and below.
        """
        tokens = jnp.full(self.num_nodes - 1, -1, jnp.int32)
        for parent, nodes in enumerate(self.children):
            if not nodes:
                continue
            prefix = tokens[np.array(self.paths[parent], int) - 1]
            is_drafted = jnp.all(prefix >= 0)
            weights = jnp.asarray(draft(jnp.maximum(prefix, 0)))
            first = jnp.arange(weights.shape[0]) == 0  # one outcome, where there is nothing to choose
            drawn = siblings(jnp.where(is_drafted, weights, first), len(nodes)).sample(random.fold_in(key, parent))
            tokens = tokens.at[np.array(nodes) - 1].set(jnp.where(is_drafted, drawn, -1).astype(jnp.int32))
        return tokens
