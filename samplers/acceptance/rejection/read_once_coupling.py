"""Read-once coupling: stationary draws from maps that are used forwards in time, once each."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.tree_util import Partial
from jaxtyping import Array, PRNGKeyArray, PyTree

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.rejection.coupling_from_the_past import (
    CouplingInfo,
    Update,
    as_update,
    fitting,
    have_met,
)
from ergodica.samplers.corrected import choose
from ergodica.samplers.kernel import Claim, Exactness, Kernel, Space

__all__ = ["ReadOnceCoupling", "ReadOnceState"]


class ReadOnceState(NamedTuple):
    """State of read-once coupling.

    Parameters
    ----------
    position
        The draw: the state before the last constant block.
    value
        The value of that block, at which the next draw starts.
    """

    position: PyTree
    value: PyTree


class _Blocks(NamedTuple):
    """Where a draw stands.

    Parameters
    ----------
    chain
        The chain that left the last constant block.
    position
        The chain that left the last draw, for the cap.
    value
        The value of the constant block that was found.
    found
        Whether one was.
    num_blocks
        Blocks so far.
    """

    chain: PyTree
    position: PyTree
    value: PyTree
    found: Array
    num_blocks: Array


class ReadOnceCoupling(Kernel[ReadOnceState, CouplingInfo]):
    """Exact independent draws from the stationary law of a chain, with every random map used once and forgotten.

    Maps are composed in blocks of fixed length, forwards in time. The draw is the state just before a block whose map is
    constant, of a chain that left the last constant block; the value of that block is where the next draw starts.

    Parameters
    ----------
    update
        ``update(key, state) -> state`` on pytrees of arrays, traceable.
    starts
        The states that have to meet, stacked on a leading axis: all states, or the lowest and the highest one if
        ``update`` keeps an order.
    block_length
        Updates in a block; best if about half of the blocks are constant.
    max_blocks
        Blocks in a draw at most. If none of them is constant, the position has gone through them, which keeps the law.

    Raises
    ------
    TypeError, ValueError
        If ``update`` is not callable, there are no states, or a count is out of range.

    Notes
    -----
    ``init`` looks for a first constant block; the position that it is given is the first of the chain as it is.

    Let ``q`` be the chance of a constant block. A stationary chain after ``K`` blocks has either met ``j < K`` blocks
    since the last constant one, with probability ``q (1 - q)^j`` and the law of a draw that took ``j`` blocks, or none
    constant at all: that is why the position may take the place of the draw at the cap.

    References
    ----------
    D. B. Wilson, How to couple from the past using a read-once source of randomness, 2000, Random Structures and
    Algorithms 16, arXiv:math/9902015.
    """

    update: Partial
    starts: PyTree
    block_length: int = eqx.field(static=True)
    max_blocks: int = eqx.field(static=True)

    def __init__(self, update: Update, starts: PyTree, block_length: int, *, max_blocks: int = 10_000) -> None:
        self.update = as_update(update)
        self.starts = jax.tree.map(jnp.asarray, starts)
        counts = {leaf.shape[:1] for leaf in jax.tree.leaves(self.starts)}
        if len(counts) != 1 or counts <= {(), (0,)}:
            raise ValueError(f"starts has to hold states, stacked on the leading axis of every leaf; got {counts}")
        self.block_length = inputs.static_count("block_length", block_length)
        self.max_blocks = inputs.static_count("max_blocks", max_blocks)

    @property
    def claim(self) -> Claim:
        """Exact and independent."""
        return Claim(
            Exactness.EXACT,
            "draws independently from the stationary law of a chain whose blocks of maps can be constant",
            source="Wilson 2000, arXiv:math/9902015",
            spaces=frozenset({Space.FINITE}),
            independent=True,
        )

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> ReadOnceState:
        """Look for a first constant block.

        Raises
        ------
        ValueError
            If there is no key, the position does not fit, or no block among ``max_blocks`` is constant.
        """
        if key is None:
            raise ValueError("ReadOnceCoupling needs init(position, key=...): its first block is drawn at random")
        position = fitting(position, self.starts, "ReadOnceCoupling")
        found = self._until_constant(key, ReadOnceState(position, position))
        if inputs.is_concrete(found.found) and not bool(found.found):
            raise ValueError(
                f"none of {self.max_blocks} blocks of {self.block_length} updates was constant. Make the blocks longer; if "
                "that does not help, the maps never bring all states together: couple the updates more closely."
            )
        return ReadOnceState(position, found.value)

    def step(self, key: PRNGKeyArray, state: ReadOnceState) -> tuple[ReadOnceState, CouplingInfo]:
        """Draw from the stationary law."""
        blocks = self._until_constant(key, state)
        position = choose(blocks.found, blocks.chain, blocks.position)
        # A value that was not used stays independent of all that the blocks did.
        value = choose(blocks.found, blocks.value, state.value)
        info = CouplingInfo(blocks.num_blocks * self.block_length, jnp.zeros((), jnp.int32), ~blocks.found)
        return ReadOnceState(position, value), info

    def _until_constant(self, key: PRNGKeyArray, state: ReadOnceState) -> _Blocks:
        def body(blocks: _Blocks) -> _Blocks:
            block_key = random.fold_in(key, blocks.num_blocks)
            before = jax.tree.map(
                lambda starts, *chains: jnp.concatenate([starts, jnp.stack(chains)]),
                self.starts,
                blocks.chain,
                blocks.position,
            )

            def later(turn: Array, states: PyTree) -> PyTree:
                here = random.fold_in(block_key, turn)
                return jax.vmap(lambda one: self.update(here, one))(states)

            after = lax.fori_loop(0, self.block_length, later, before)
            found = have_met(jax.tree.map(lambda leaf: leaf[:-2], after))
            first, chain, position = (jax.tree.map(lambda leaf, at=at: leaf[at], after) for at in (0, -2, -1))
            return _Blocks(
                choose(found, blocks.chain, chain),
                choose(found, blocks.position, position),
                choose(found, first, blocks.value),
                found,
                blocks.num_blocks + 1,
            )

        start = _Blocks(state.value, state.position, state.value, jnp.asarray(False), jnp.zeros((), jnp.int32))
        return lax.while_loop(lambda blocks: ~blocks.found & (blocks.num_blocks < self.max_blocks), body, start)
