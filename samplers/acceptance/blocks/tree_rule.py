"""Rules for a tree of drafts: one path of it is kept, and one token more is emitted."""

import abc
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ergodica.samplers.acceptance.blocks.block_rule import BlockLaw, BlockRule, Model, as_laws, listed_laws, stopped
from ergodica.samplers.acceptance.blocks.draft_tree import DraftTree
from ergodica.samplers.acceptance.draft_law import DraftLaw


class TreeVerification(NamedTuple):
    """The outcome for one tree of drafts.

    Parameters
    ----------
    tokens
        The accepted drafts, then one token of the verifier's own, then -1; shape ``(depth + 1,)``, int32.
    tau
        How many drafts were accepted.
    node
        The node at which the accepted path ends, 0 for the root; the path itself is ``tree.paths[node]``.
    is_valid
        Whether the laws and tokens were fit for use; where not, no token is emitted and ``tau`` and ``node`` are -1.
    """

    tokens: Int[Array, " h"]
    tau: Int[Array, ""]
    node: Int[Array, ""]
    is_valid: Bool[Array, ""]


class TreeRule(BlockRule):
    """A rule for trees of one shape.

    A subclass defines ``claim``, ``cost``, ``sibling_law``, ``stop_law``, ``verify`` and ``decide``. The shape must not
    depend on the tokens that were drawn; where drafting stops early, the nodes that are not drafted hold -1.
    """

    tree: eqx.AbstractVar[DraftTree]

    @abc.abstractmethod
    def sibling_law(self, q: Any, k: int) -> DraftLaw:
        """Return the law of ``k`` siblings for which the rule is exact."""

    @abc.abstractmethod
    def stop_law(self, tokens: Any, p: Any, q: Any) -> tuple[Any, Any]:
        """Return the law of the node at which the accepted path ends, and that of the own token at each node.

        Parameters
        ----------
        tokens
            The drafts, shape ``(n,)``; -1 where nothing was drafted.
        p, q
            Laws after each node, shape ``(n + 1, V)``. Of ``q``, rows of leaves are not looked at.
        """

    @abc.abstractmethod
    def verify(
        self, key: PRNGKeyArray, tokens: Int[Array, " n"], p: Float[Array, "n+1 V"], q: Float[Array, "n+1 V"]
    ) -> TreeVerification:
        """Verify a tree of drafts at random, through choice points.

        Parameters
        ----------
        key
            Typed key.
        tokens
            Drafted tokens, shape ``(n,)``; -1 where nothing was drafted.
        p
            Weights of the target after each node, the root first.
        q
            Weights that the children of each node were drafted from; those of leaves are not looked at.

        Raises
        ------
        TypeError, ValueError
            If shapes or dtypes do not fit.
        """

    @abc.abstractmethod
    def num_uniforms(self) -> int:
        """Return how many uniforms :meth:`decide` takes, whatever it decides."""

    @abc.abstractmethod
    def decide(
        self,
        tokens: Int[Array, " n"],
        p: Float[Array, "n+1 V"],
        q: Float[Array, "n+1 V"],
        uniforms: Float[Array, " u"],
    ) -> TreeVerification:
        """Do as :meth:`verify`, given uniforms in ``[0, 1)``."""

    def conditional_law(self, P: Model, Q: Model, drafts: Sequence[int]) -> BlockLaw:
        """Return the exact law of what is emitted given the tokens of a tree; see :meth:`BlockRule.conditional_law`."""
        tree, strings = self.tree, self.tree.prefixes(drafts)
        known = [string for string in strings if string is not None]
        target = dict(zip(known, listed_laws("P", P, known), strict=True))
        nothing = 0 * target[()]
        has_children = [any(drafts[child - 1] >= 0 for child in tree.children[node]) for node in range(tree.num_nodes)]
        p = [nothing if string is None else target[string] for string in strings]
        q = [
            listed_laws("Q", Q, [string])[0] if string is not None and has_children[node] else nothing
            for node, string in enumerate(strings)
        ]
        stop, own = self.stop_law(np.asarray(drafts, dtype=np.int64), np.array(p), np.array(q))
        return stopped([string or () for string in strings], stop, own)


def checked_rows(tree: DraftTree, tokens: Any, p: Any, q: Any) -> tuple[Array, Array, Array, Array]:
    """Return tokens, laws, and whether all that a decision may look at is fit for use.

    Parameters
    ----------
    tree
        Shape of the tree.
    tokens, p, q
        Drafts and weights, as in :meth:`TreeRule.verify`.

    Returns
    -------
    tokens, p, q, is_valid
        Laws instead of weights.

    Raises
    ------
    TypeError
        If tokens are not integers or the laws not floats.
    ValueError
        If a shape does not fit the tree.
    """
    tokens, p, q = jnp.asarray(tokens), jnp.asarray(p), jnp.asarray(q)
    if not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise TypeError(f"tokens have to be integers; got dtype {tokens.dtype}")
    count = tree.num_nodes
    if tokens.shape != (count - 1,):
        raise ValueError(
            f"tokens have to have shape {(count - 1,)} for this tree; got {tokens.shape}. Use jax.vmap for more"
        )
    for name, rows in (("p", p), ("q", q)):
        if not jnp.issubdtype(rows.dtype, jnp.floating):
            raise TypeError(f"{name} has to hold floating-point numbers; got dtype {rows.dtype}")
        if rows.ndim != 2 or rows.shape[0] != count or rows.shape != p.shape:
            raise ValueError(
                f"{name} has to have a row for each of the {count} nodes, the root included, as p has; got {rows.shape}"
            )
    (target, p_valid), (draft, q_valid) = as_laws(p), as_laws(q)
    present = [jnp.bool_(True)]
    for node, parent in enumerate(tree.parents, start=1):
        present.append(present[parent] & (tokens[node - 1] >= 0))
    asked = [any_of([present[child] for child in tree.children[node]]) for node in range(count)]
    is_valid = jnp.all(p_valid | ~jnp.stack(present)) & jnp.all(q_valid | ~jnp.stack(asked))
    is_valid = is_valid & jnp.all((tokens >= -1) & (tokens < p.shape[1]))
    # What is not looked at must not hold NaN either, which would spread.
    tokens = jnp.where(jnp.stack(present)[1:] & (tokens < p.shape[1]), tokens, -1)
    target = jnp.where((is_valid & jnp.stack(present))[:, None], target, 1 / p.shape[1])
    draft = jnp.where((is_valid & jnp.stack(asked))[:, None], draft, 1 / p.shape[1])
    return tokens, target, draft, is_valid


def any_of(flags: list[Array]) -> Array:
    """Return whether one of some flags is set."""
    return jnp.any(jnp.stack(flags)) if flags else jnp.bool_(False)


def emitted_at(tree: DraftTree, tokens: Array, node: Array, own: Array, is_valid: Array) -> TreeVerification:
    """Return the outcome if the accepted path ends at a node."""
    depth = tree.depth
    table = np.zeros((tree.num_nodes, depth + 1), int)
    for end, path in enumerate(tree.paths):
        table[end, : len(path)] = path
    tau = jnp.asarray(np.array([len(path) for path in tree.paths]))[node]
    padded = jnp.append(jnp.asarray([-1], tokens.dtype), tokens)
    drafted = padded[jnp.asarray(table)[node]]
    place = jnp.arange(depth + 1)
    row = jnp.where(place < tau, drafted, jnp.where(place == tau, own, -1))

    def masked(value: Array) -> Array:
        return jnp.where(is_valid, value, -1).astype(jnp.int32)

    return TreeVerification(masked(row), masked(tau), masked(node), is_valid)
