"""Coupling from the past: the stationary law of a chain at time zero, exactly and without knowing how it mixes.

Whether the states have met by a cap is not independent of where they meet, so that a kernel that stays at a cap, as
rejection may, is wrong here. These kernels send the current position through the maps instead: once the states have met
that is where they met, and until then it is so many steps of the chain, which keep the law too.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Int, PRNGKeyArray, PyTree

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.rejection.trials import DrawState
from ergodica.samplers.kernel import Claim, Exactness, Kernel, Space

__all__ = [
    "CouplingFromThePast",
    "CouplingInfo",
    "MonotoneCouplingFromThePast",
    "Update",
    "as_update",
    "fitting",
    "have_met",
]

Update = Callable[[PRNGKeyArray, Any], Any]
"""``update(key, state) -> state``: one step of the chain as a function of its randomness, the same for all states."""


class CouplingInfo(NamedTuple):
    """What a draw reports.

    Parameters
    ----------
    num_updates
        Random maps that were applied, each to all states that are tracked.
    num_evals
        Zero: no density is evaluated.
    cap_hit
        Whether the states had not met at the cap, so that the position moved by the chain and was not forgotten.
    """

    num_updates: Int[Array, ""]
    num_evals: Int[Array, ""]
    cap_hit: Bool[Array, ""]


def as_update(update: Any) -> Partial:
    """Wrap an update as a pytree whose data are leaves.

    Raises
    ------
    TypeError
        If it is not callable.
    """
    if isinstance(update, Partial):
        return update
    if not callable(update):
        raise TypeError(f"update has to be a callable (key, state) -> state; got {type(update).__name__}")
    return Partial(update)


def have_met(states: PyTree) -> Bool[Array, ""]:
    """Whether all states, stacked on a leading axis, are equal."""
    return jnp.all(jnp.stack([jnp.all(leaf == leaf[:1]) for leaf in jax.tree.leaves(states)]))


def _ends(states: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[:2], states)


def _stacked(lowest: PyTree, highest: PyTree) -> PyTree:
    shapes = [jax.tree.map(jnp.shape, state) for state in (lowest, highest)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"lowest and highest have to have the same shapes; got {shapes[0]} and {shapes[1]}")

    def both(low: Any, high: Any) -> Array:
        dtype = jnp.result_type(low, high)
        return jnp.stack([jnp.asarray(low, dtype), jnp.asarray(high, dtype)])

    return jax.tree.map(both, lowest, highest)


def fitting(position: PyTree, stacked: PyTree, kernel: str) -> PyTree:
    """Check that a position is like the states that are followed, and return it as JAX arrays.

    Raises
    ------
    ValueError
        If it is not.
    """
    given = jax.tree.map(lambda leaf: (jnp.result_type(leaf), jnp.shape(leaf)), position)
    expected = jax.tree.map(lambda leaf: (leaf.dtype, leaf.shape[1:]), stacked)
    if given != expected:
        raise ValueError(f"{kernel} needs a position like the states that it follows, {expected}; got {given}")
    return jax.tree.map(jnp.asarray, position)


def _claim(statement: str, source: str) -> Claim:
    return Claim(
        Exactness.EXACT,
        statement,
        source=source,
        spaces=frozenset({Space.FINITE}),
        independent=True,
    )


class CouplingFromThePast(Kernel[DrawState, CouplingInfo]):
    """Exact independent draws from the stationary law of a finite chain, all of whose states are followed.

    The map of time ``-t`` is put before those of later times, ``F_t = F_(t-1) o f_(-t)``, until ``F_t`` is constant. Its
    value is that of the chain at time zero if it had always run.

    Parameters
    ----------
    update
        ``update(key, state) -> state`` on the integers ``0, ..., num_states - 1``, traceable; the chain of states. One key
        moves all states, so that its choices should bring them together.
    num_states
        Number of states.
    max_updates
        Maps to draw at most. If the states have not met by then, the position goes through the maps drawn, which keeps
        the law. To hand out the draws that were quick and drop the others favours states that are met quickly.

    Raises
    ------
    TypeError, ValueError
        If ``update`` is not callable, or a count is out of range.

    Notes
    -----
    Each map is drawn once and composed with what is there already. The draw is at time zero, and not at the time at which
    the states meet.

    References
    ----------
    J. G. Propp and D. B. Wilson, Exact sampling with coupled Markov chains and applications to statistical mechanics,
    1996, Random Structures and Algorithms 9, doi:10.1002/(SICI)1098-2418(199608/09)9:1/2<223::AID-RSA14>3.0.CO;2-O.
    """

    update: Partial
    num_states: int = eqx.field(static=True)
    max_updates: int = eqx.field(static=True)

    def __init__(self, update: Update, num_states: int, *, max_updates: int = 1_000_000) -> None:
        self.update = as_update(update)
        self.num_states = inputs.static_count("num_states", num_states)
        self.max_updates = inputs.static_count("max_updates", max_updates)

    @property
    def claim(self) -> Claim:
        """Exact and independent."""
        return _claim(
            "draws independently from the stationary law of a chain whose maps can become constant",
            "Propp and Wilson 1996",
        )

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> DrawState:
        """Return the state at one of the chain's states, which the draws then forget."""
        del key
        position = inputs.integer_position(position, "CouplingFromThePast")
        if jnp.shape(position) != ():
            raise ValueError(f"CouplingFromThePast moves on single integers; got shape {jnp.shape(position)}")
        if inputs.is_concrete(position) and not 0 <= int(position) < self.num_states:
            raise ValueError(f"expected a state in 0, ..., {self.num_states - 1}; got {int(position)}")
        return DrawState(position)

    def extend(self, key: PRNGKeyArray, table: Int[Array, " n"]) -> Int[Array, " n"]:
        """Put the map of one earlier time before a composed map, both as tables of values."""
        moved = jax.vmap(lambda state: jnp.asarray(self.update(key, state)))(jnp.arange(self.num_states))
        return table[moved]

    def step(self, key: PRNGKeyArray, state: DrawState) -> tuple[DrawState, CouplingInfo]:
        """Draw from the stationary law."""

        def body(carry: tuple[Array, Array]) -> tuple[Array, Array]:
            table, time = carry
            return self.extend(random.fold_in(key, time + 1), table), time + 1

        table, time = lax.while_loop(
            lambda carry: ~have_met(carry[0]) & (carry[1] < self.max_updates),
            body,
            (jnp.arange(self.num_states), jnp.zeros((), jnp.int32)),
        )
        position = table[state.position].astype(state.position.dtype)
        return DrawState(position), CouplingInfo(time, jnp.zeros((), jnp.int32), ~have_met(table))


class MonotoneCouplingFromThePast(Kernel[DrawState, CouplingInfo]):
    """Exact independent draws from the stationary law of a monotone chain: only the extreme states are followed.

    If ``update`` keeps an order in which ``lowest <= x <= highest`` for all states, all states have met once these two
    have. The chain is started at times -1, -2, -4, ..., each time with the same maps for the same times.

    Parameters
    ----------
    update
        ``update(key, state) -> state`` on pytrees of arrays, traceable and monotone for each key. Nothing checks that it
        is monotone: with one that is not, the draws have another law.
    lowest, highest
        The extreme states.
    max_doublings
        The chain is started at time ``-2**max_doublings`` at the earliest. If the states have not met then, the position
        has gone through the same maps, which keeps the law.

    Raises
    ------
    TypeError, ValueError
        If ``update`` is not callable, or the states do not fit.

    References
    ----------
    J. G. Propp and D. B. Wilson, 1996, Random Structures and Algorithms 9.
    """

    update: Partial
    extremes: PyTree
    max_doublings: int = eqx.field(static=True)

    def __init__(self, update: Update, lowest: PyTree, highest: PyTree, *, max_doublings: int = 20) -> None:
        self.update = as_update(update)
        self.extremes = _stacked(lowest, highest)
        self.max_doublings = inputs.static_count("max_doublings", max_doublings)
        if self.max_doublings > 30:
            raise ValueError(f"max_doublings is at most 30; got {max_doublings}")

    @property
    def claim(self) -> Claim:
        """Exact and independent."""
        return _claim(
            "draws independently from the stationary law of a chain whose maps keep an order",
            "Propp and Wilson 1996",
        )

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> DrawState:
        """Return the state at one of the chain's states, which the draws then forget."""
        del key
        return DrawState(fitting(position, self.extremes, "MonotoneCouplingFromThePast"))

    def step(self, key: PRNGKeyArray, state: DrawState) -> tuple[DrawState, CouplingInfo]:
        """Draw from the stationary law."""
        starts = jax.tree.map(lambda ends, now: jnp.concatenate([ends, now[None]]), self.extremes, state.position)

        def from_time(start: Array) -> PyTree:
            def later(turn: Array, states: PyTree) -> PyTree:
                # Time -t has key number t, however early the chain was started.
                here = random.fold_in(key, start - turn)
                return jax.vmap(lambda one: self.update(here, one))(states)

            return lax.fori_loop(0, start, later, starts)

        def body(carry: tuple[PyTree, Array, Array]) -> tuple[PyTree, Array, Array]:
            _, doublings, updates = carry
            start = jnp.left_shift(1, doublings)
            return from_time(start), doublings + 1, updates + start

        none = jnp.zeros((), jnp.int32)
        states, _, updates = lax.while_loop(
            lambda carry: ~have_met(_ends(carry[0])) & (carry[1] <= self.max_doublings), body, (starts, none, none)
        )
        position = jax.tree.map(lambda leaf: leaf[2], states)
        return DrawState(position), CouplingInfo(updates, none, ~have_met(_ends(states)))
