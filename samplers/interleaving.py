"""Chains that do not wait for each other inside a step.

The loop of a slice sampler takes as many turns as it takes to find a point of the slice, and under ``vmap`` all chains go
on until the slowest of them has found one, at every step. Here the loop is taken out of the step, and each chain goes
through it by itself: a chain that is through waits until some others are, and then those, and those only, finish their
steps, have them written down, and begin the next ones. The chains are at different steps then, and each makes the steps
that it always makes, with the same keys. They meet again at the end of a chunk.

This is done to the traced step (:mod:`ergodica.samplers.step_loop` takes it apart), so that kernels know nothing of it.

What it saves is turns: of all that a processor computes, a turn of a chain that is not done any more. What it costs is
that steps are begun in several rounds, for some chains each. On a processor a round takes about fifty microseconds
however few they are, most of them for the keys, so that it pays where a turn of all chains takes longer than that: with
many chains, or a log density that is not cheap.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int, PRNGKeyArray, PyTree

from ergodica.samplers.chain_methods import CHAINS, CHAINS_SECOND, ChainMethod, sharded
from ergodica.samplers.chunks import Record, added, blank_info, one_step, record_of
from ergodica.samplers.kernel import Kernel
from ergodica.samplers.step_loop import NoLoopError, StepLoop, find_loop

__all__ = ["check_interleaving", "draw_interleaved"]

SHARE = 4
"""Chains that are through wait until they are one in so many: fewer rounds, or fewer that wait."""


class _Lanes(NamedTuple):
    """Where the chains stand; all leaves have a leading axis of chains.

    Parameters
    ----------
    made
        Steps that are made.
    state
        The state after them.
    total
        With thinning, the infos of the steps since the last draw, put together.
    kept, outer, kept_inside, inner
        Of the step that is being made, as in :class:`~ergodica.samplers.step_loop.StepLoop`.
    fresh
        Whether the first step has yet to begin.
    live
        Whether there is a step to make.
    entered
        Whether the inner loop has been entered.
    turns
        Whether it goes on.
    """

    made: Int[Array, " chains"]
    state: Any
    total: Any
    kept: list[Array]
    outer: list[Array]
    kept_inside: list[Array]
    inner: list[Array]
    fresh: Bool[Array, " chains"]
    live: Bool[Array, " chains"]
    entered: Bool[Array, " chains"]
    turns: Bool[Array, " chains"]


@partial(jax.jit, static_argnames=("capacity", "thin", "method"))
def draw_interleaved(
    kernel: Any,
    states: Any,
    keys: PRNGKeyArray,
    first: Int[Array, ""],
    count: Int[Array, ""],
    *,
    capacity: int,
    thin: int,
    method: ChainMethod = "vectorized",
) -> tuple[Any, Record, Int[Array, " devices"]]:
    """Make some draws of each chain, as :func:`ergodica.samplers.chunks.draw_chunk` does.

    Returns
    -------
    states, record
        As there.
    turns
        How many turns each device has taken; a turn serves all of its chains.

    Raises
    ------
    NoLoopError
        If a step of the kernel has no loop of its own.
    """

    def together(shared: Any, keys: PRNGKeyArray, states: Any) -> tuple[Any, Record, Array]:
        kernel, first, count = shared
        one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), states)  # type: ignore[no-untyped-call]
        loop = find_loop(kernel, jax.eval_shape(lambda: keys[0]), one)
        info = jax.eval_shape(one_step, kernel, jax.eval_shape(lambda: keys[0]), one)[1]
        return _Interleaved(loop, keys, first, count, info, thin).run(states, capacity)

    shared = kernel, first, count
    if method == "parallel":
        specs = (CHAINS, CHAINS_SECOND, CHAINS)
        out: tuple[Any, Record, Array] = sharded(together, specs, shared, keys, states)
        return out
    return together(shared, keys, states)


class _Interleaved:
    """The run of several chains through one loop; what :func:`draw_interleaved` traces."""

    def __init__(self, loop: StepLoop, keys: PRNGKeyArray, first: Array, count: Array, info: Any, thin: int) -> None:
        self.loop, self.keys, self.first, self.count = loop, keys, first, count
        self.blank = blank_info(info) if thin > 1 else None
        self.info, self.thin = info, thin
        self.chains: int = keys.shape[0]
        self.group = max(1, self.chains // SHARE)

    def run(self, states: Any, capacity: int) -> tuple[Any, Record, Array]:
        chains = self.chains
        one = jax.tree.map(lambda leaf: leaf[0], states)
        shapes = jax.eval_shape(record_of, one, self.info if self.blank is None else self.blank)
        # Draws are written down as they come, with the place where they belong.
        size, place = capacity * chains + self.group, jax.eval_shape(lambda: jnp.zeros((), jnp.int32))
        log = jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape), leaf.dtype), (place, shapes))
        zero = jnp.zeros((), jnp.int32)
        begun = (self.start(states), log, zero, zero, zero)
        lanes, log, _, turns, _ = lax.while_loop(lambda carry: jnp.any(carry[0].live), self.round, begun)
        places, drawn = log
        places = jnp.where(jnp.arange(size) < self.count * chains, places, capacity * chains)
        order = jnp.zeros(capacity * chains, jnp.int32).at[places].set(jnp.arange(size, dtype=jnp.int32), mode="drop")
        record = jax.tree.map(lambda leaf: leaf[order].reshape(capacity, chains, *leaf.shape[1:]), drawn)
        return lanes.state, record, turns[None]

    def start(self, states: Any) -> _Lanes:
        """Return the chains before their first step.

        What is kept of a step is any values that are fit for one: the first step begins as the others do, in a round, since
        XLA may round otherwise where it compiles something a second time.
        """
        made = jnp.zeros(self.chains, jnp.int32)
        kept, outer = self.begin(made, self.keys, states)
        live = jnp.full(self.chains, self.count > 0)
        total = jax.tree.map(lambda leaf: jnp.zeros((self.chains, *leaf.shape), leaf.dtype), self.blank)
        none = jnp.zeros(self.chains, bool)
        lanes = self.enter(_Lanes(made, states, total, kept, outer, [], [], ~none, live, none, none))
        return lanes._replace(entered=none, turns=none)

    def begin(self, made: Array, keys: PRNGKeyArray, state: Any) -> tuple[list[Array], list[Array]]:
        """Begin a step of some chains."""

        def one(made: Array, key: PRNGKeyArray, state: Any) -> Any:
            return self.loop.begin(jax.random.fold_in(key, self.first + made), state)

        begun: tuple[list[Array], list[Array]] = jax.vmap(one)(made, keys, state)
        return begun

    def enter(self, lanes: _Lanes) -> _Lanes:
        """Take chains into the inner loop."""
        entered = lanes.live & jax.vmap(self.loop.goes_on)(lanes.kept, lanes.outer)
        kept_inside, inner = jax.vmap(self.loop.enter)(lanes.kept, lanes.outer)
        turns = entered & jax.vmap(self.loop.turns_on)(lanes.kept, lanes.outer, kept_inside, inner)
        return lanes._replace(kept_inside=kept_inside, inner=inner, entered=entered, turns=turns)

    def take_turns(self, lanes: _Lanes, number: Array) -> tuple[_Lanes, Array]:
        """Let chains take turns until enough of them are through."""
        given = lanes.kept, lanes.outer, lanes.kept_inside
        enough = jnp.clip(jnp.sum(lanes.live) // SHARE, 1, self.group)

        def too_few(carry: Any) -> Bool[Array, ""]:
            _, turns, _ = carry
            return jnp.any(turns) & (jnp.sum(lanes.live & ~turns) < enough)

        def turn(carry: Any) -> Any:
            inner, turns, number = carry
            inner = _pick(turns, jax.vmap(self.loop.turn)(*given, inner), inner)
            return inner, turns & jax.vmap(self.loop.turns_on)(*given, inner), number + 1

        inner, turns, number = lax.while_loop(too_few, turn, (lanes.inner, lanes.turns, number))
        return lanes._replace(inner=inner, turns=turns), number

    def finish(self, lanes: _Lanes, keys: PRNGKeyArray) -> tuple[_Lanes, Record, Bool[Array, " group"]]:
        """Take chains out of the inner loop, and into it again, in the same step or in the next one."""
        left = jax.vmap(self.loop.leave)(lanes.kept, lanes.outer, lanes.kept_inside, lanes.inner)
        outer = _pick(lanes.entered, left, lanes.outer)
        again = ~lanes.fresh & jax.vmap(self.loop.goes_on)(lanes.kept, outer)
        ends = ~lanes.fresh & ~again
        state, info = jax.vmap(self.loop.end)(lanes.kept, outer)
        state, total = _pick(ends, state, lanes.state), lanes.total
        made = lanes.made + ends
        if self.blank is not None:
            blank = _pick(lanes.made % self.thin == 0, jax.tree.map(jnp.zeros_like, total), total)
            info = total = _pick(ends, jax.vmap(partial(added, thin=self.thin))(blank, info), total)
        is_draw = ends & (made % self.thin == 0)
        starts = ~again & (made < self.count * self.thin)
        kept, begun = self.begin(made, keys, state)
        lanes = lanes._replace(
            made=made,
            state=state,
            total=total,
            fresh=jnp.zeros_like(lanes.fresh),
            live=again | starts,
            kept=_pick(starts, kept, lanes.kept),
            outer=_pick(starts, begun, outer),
        )
        return self.enter(lanes), jax.vmap(record_of)(state, info), is_draw

    def round(self, carry: Any) -> Any:
        """Take turns, and serve as many of the chains that wait as there is place for."""
        lanes, log, written, number, next_one = carry
        lanes, number = self.take_turns(lanes, number)
        waits = lanes.live & ~lanes.turns
        # In turn, from where the last round has stopped: served from the front, the last chains would wait for ever.
        before = jnp.cumsum(waits, dtype=jnp.int32)
        skipped = jnp.where(next_one > 0, before[next_one - 1], 0)
        rank = (before - 1 - skipped) % jnp.maximum(before[-1], 1)
        chosen = _first(waits, rank, self.group)
        some, record, is_draw = self.finish(jax.tree.map(lambda leaf: leaf[chosen], lanes), self.keys[chosen])
        is_draw &= jnp.arange(self.group) < before[-1]
        place = (some.made - 1) // self.thin * self.chains + chosen
        # Draws first; what comes after them is written over.
        order = _first(is_draw, jnp.cumsum(is_draw, dtype=jnp.int32) - 1, self.group)
        log = jax.tree.map(
            lambda old, new: lax.dynamic_update_slice_in_dim(old, new[order], written, 0), log, (place, record)
        )
        slot = jnp.minimum(rank, self.group - 1)
        lanes = jax.tree.map(lambda new, old: _pick(waits & (rank < self.group), new[slot], old), some, lanes)
        written += jnp.sum(is_draw, dtype=jnp.int32)
        return lanes, log, written, number, (chosen[-1] + 1) % self.chains


def _first(condition: Bool[Array, " n"], rank: Int[Array, " n"], size: int) -> Int[Array, " size"]:
    """Return where a condition holds, in the order of the ranks; 0 where there are no more."""
    return lax.argmax(condition & (rank == jnp.arange(size)[:, None]), 1, jnp.int32)


def _pick(condition: Bool[Array, " chains"], new: PyTree, old: PyTree) -> Any:
    def one(new: Array, old: Array) -> Array:
        return jnp.where(condition.reshape(condition.shape + (1,) * (old.ndim - 1)), new, old)

    return jax.tree.map(one, new, old)


def check_interleaving(kernel: Any, key: PRNGKeyArray, state: Any, thin: int) -> None:
    """Check that the steps of a kernel can be interleaved.

    Parameters
    ----------
    kernel
        The kernel, with its target.
    key, state
        Any key, and any state of one chain.
    thin
        Steps for each draw.

    Raises
    ------
    NoLoopError
        If a step has no loop of its own, or several steps are made by the kernel's own ``run``.
    """
    if thin > 1 and type(kernel).run is not Kernel.run and not kernel.claim.weighted:
        raise NoLoopError(
            f"{type(kernel).__name__} makes the steps between two draws by itself, where nothing can be interleaved: leave "
            "interleave out"
        )

    def look(kernel: Any) -> None:
        find_loop(kernel, jax.eval_shape(lambda: key), jax.eval_shape(lambda: state))

    jax.eval_shape(look, kernel)
