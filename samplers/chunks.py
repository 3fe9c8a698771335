"""The compiled half of a run: several steps of all chains, with what is kept of them.

Kernels, tuners, states, keys and step numbers are arguments of module-level functions, so that a second run of the same
kind of kernel compiles nothing, whatever its parameters, its data, its length and the sizes of its chunks.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from ergodica.samplers.chain_methods import CHAINS, CHAINS_SECOND, ChainMethod, over_chains, sharded
from ergodica.samplers.kernel import Kernel
from ergodica.samplers.tuning.tuner import Tuner

__all__ = [
    "Record", "Tuned", "added", "begin_tuning", "blank_info", "chain_keys", "draw_chain", "draw_chunk", "finish_tuning",
    "init_all", "one_draw", "one_step", "record_of", "strong", "tune_chunk", "tune_steps",
]  # fmt: skip

# When draws are thinned, of these the last value counts; other numbers are averaged, and counts summed.
LAST = frozenset({"log_weight", "energy", "step_size"})


class Record(NamedTuple):
    """What is kept of a draw.

    Parameters
    ----------
    position
        The position.
    stats
        The fields of the info by name, and the state's log density as ``lp``.
    """

    position: PyTree
    stats: dict[str, Any]


class Tuned(NamedTuple):
    """What warm-up carries from step to step.

    Parameters
    ----------
    kernel
        The kernel of the next step.
    adaptation
        What the tuner carries.
    states
        The states of the chains.
    """

    kernel: Any
    adaptation: Any
    states: Any


def strong(leaf: Any) -> Any:
    """Return a leaf with the dtype that it has, no longer subject to promotion; keys stay as they are."""
    if jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.extended):
        return leaf
    return lax.convert_element_type(leaf, jnp.result_type(leaf))


def _alike(new: PyTree, old: PyTree, what: str) -> PyTree:
    """Check that a pytree has kept its structure, shapes and dtypes; otherwise no loop can carry it."""
    if jax.tree.structure(new) != jax.tree.structure(old):  # type: ignore[operator]
        raise TypeError(
            f"{what} in structure: from {jax.tree.structure(old)} to {jax.tree.structure(new)}"  # type: ignore[operator]
        )
    for (path, after), before in zip(jax.tree_util.tree_leaves_with_path(new), jax.tree.leaves(old), strict=True):
        given, expected = (f"{jnp.result_type(leaf)}{list(jnp.shape(leaf))}" for leaf in (after, before))
        if given != expected:
            raise TypeError(f"{what}: {jax.tree_util.keystr(path)} was {expected} and has become {given}")
    return jax.tree.map(strong, new)


def record_of(state: Any, info: Any) -> Record:
    """Return what is kept of a draw."""
    stats = {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(info)
    }
    logdensity = getattr(state, "logdensity", None)
    return Record(state.position, stats if logdensity is None else {**stats, "lp": logdensity})


@jax.jit
def one_step(kernel: Any, key: PRNGKeyArray, state: Any) -> tuple[Any, Any]:
    """Make a step, and check that the state is of the same kind as before."""
    new, info = kernel.step(key, state)
    return _alike(new, state, f"{type(kernel).__name__}.step changes the state"), info


def blank_info(info: Any) -> Any:
    """Return shapes and dtypes of what :func:`added` adds up: counts, where an info has booleans."""

    def one(leaf: Any) -> Any:
        return jax.ShapeDtypeStruct(leaf.shape, jnp.int32 if leaf.dtype == jnp.bool_ else leaf.dtype)  # type: ignore[no-untyped-call]

    return jax.tree.map(one, info)


def added(total: Any, info: Any, thin: int) -> Any:
    """Add the info of one of ``thin`` steps to what those before it have given."""

    def add(path: Any, total: Array, value: Array) -> Array:
        if jax.tree_util.keystr(path[-1:], simple=True) in LAST:
            return value.astype(total.dtype)
        share = value / thin if jnp.issubdtype(value.dtype, jnp.floating) else value
        return total + share.astype(total.dtype)

    return jax.tree_util.tree_map_with_path(add, total, info)


def _several_steps(kernel: Any, key: PRNGKeyArray, index: Int[Array, ""], state: Any, thin: int) -> tuple[Any, Any]:
    shapes = blank_info(jax.eval_shape(one_step, kernel, key, state)[1])
    blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def body(offset: Int[Array, ""], carry: Any) -> Any:
        state, total = carry
        state, info = one_step(kernel, jax.random.fold_in(key, index + offset), state)
        return state, added(total, info, thin)

    out: tuple[Any, Any] = lax.fori_loop(0, thin, body, (state, blank))
    return out


def one_draw(kernel: Any, key: PRNGKeyArray, index: Int[Array, ""], state: Any, thin: int) -> tuple[Any, Record]:
    """Make the steps ``index``, ..., ``index + thin - 1`` of the chain that has this key."""
    if thin == 1:
        state, info = one_step(kernel, jax.random.fold_in(key, index), state)
    elif type(kernel).run is not Kernel.run and not kernel.claim.weighted:
        new, info = kernel.run(jax.random.fold_in(key, index), state, thin)
        state = _alike(new, state, f"{type(kernel).__name__}.run changes the state")
    else:
        state, info = _several_steps(kernel, key, index, state, thin)
    return state, record_of(state, info)


def chain_keys(key: PRNGKeyArray, states: Any) -> PRNGKeyArray:
    """Return the keys of the chains of a run, as many as there are states."""
    chains = jax.tree.leaves(states)[0].shape[0]
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(chains))


def _collect(step: Any, carry: Any, count: Int[Array, ""], capacity: int) -> tuple[Any, Record]:
    """Call ``carry, record = step(number, carry)`` ``count`` times, and put the records into buffers."""
    number = jnp.zeros((), jnp.int32)
    shapes = jax.eval_shape(step, number, carry)[1]
    buffers = jax.tree.map(lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), shapes)

    def body(number: Int[Array, ""], both: Any) -> Any:
        carry, buffers = both
        carry, record = step(number, carry)
        return carry, jax.tree.map(lambda buffer, leaf: buffer.at[number].set(leaf), buffers, record)

    # The number of turns is traced: a loop over fewer steps is the same program.
    out: tuple[Any, Record] = lax.fori_loop(number, count, body, (carry, buffers))
    return out


@partial(jax.jit, static_argnames=("capacity", "thin"))
def draw_chain(
    kernel: Any,
    state: Any,
    key: PRNGKeyArray,
    first: Int[Array, ""],
    count: Int[Array, ""],
    *,
    capacity: int,
    thin: int,
) -> tuple[Any, Record]:
    """Make some draws of one chain; see :func:`draw_chunk`. Nothing has an axis of chains."""

    def step(number: Int[Array, ""], state: Any) -> tuple[Any, Record]:
        return one_draw(kernel, key, first + number * thin, state, thin)

    return _collect(step, state, count, capacity)


@partial(jax.jit, static_argnames=("capacity", "thin", "method"))
def draw_chunk(
    kernel: Any,
    states: Any,
    keys: PRNGKeyArray,
    first: Int[Array, ""],
    count: Int[Array, ""],
    *,
    capacity: int,
    thin: int,
    method: ChainMethod = "vectorized",
) -> tuple[Any, Record]:
    """Make some draws of each chain.

    Parameters
    ----------
    kernel
        The kernel.
    states
        The states of the chains, stacked.
    keys
        Their keys.
    first
        Number of the first step.
    count
        Number of draws, at most ``capacity``.
    capacity
        Length of the buffers.
    thin
        Steps for each draw.
    method
        ``"vectorized"`` or ``"parallel"``.

    Returns
    -------
    states, record
        Leaves of the record have shape ``(capacity, chains, ...)``; entries after ``count`` mean nothing.
    """

    def together(shared: Any, keys: PRNGKeyArray, states: Any) -> tuple[Any, Record]:
        kernel, first, count = shared

        def step(number: Int[Array, ""], states: Any) -> tuple[Any, Record]:
            index = first + number * thin
            return jax.vmap(lambda k, state: one_draw(kernel, k, index, state, thin))(keys, states)

        return _collect(step, states, count, capacity)

    shared = kernel, first, count
    if method == "parallel":
        out: tuple[Any, Record] = sharded(together, (CHAINS, CHAINS_SECOND), shared, keys, states)
        return out
    return together(shared, keys, states)


def tune_steps(
    tuner: Tuner,
    tuned: Tuned,
    key: PRNGKeyArray,
    first: Int[Array, ""],
    count: Int[Array, ""],
    *,
    capacity: int,
    method: ChainMethod = "vectorized",
) -> tuple[Tuned, Record]:
    """Make ``count`` steps of each chain, and let the tuner learn from each; see :func:`draw_chunk`."""
    keys = chain_keys(key, tuned.states)
    name = type(tuner).__name__

    def move(shared: Any, k: PRNGKeyArray, state: Any) -> tuple[Any, Any]:
        kernel, index = shared
        return one_step(kernel, jax.random.fold_in(k, index), state)  # type: ignore[no-any-return]

    def step(number: Int[Array, ""], tuned: Tuned) -> tuple[Tuned, Record]:
        index = first + number
        kernel, adaptation, states = tuned
        states, infos = over_chains(move, method, (kernel, index), keys, states)
        record = jax.vmap(record_of)(states, infos)
        learnt, new = tuner.update(adaptation, kernel, states, infos, index)
        new = _alike(new, kernel, f"{name}.update changes the kernel")
        learnt = _alike(learnt, adaptation, f"{name}.update changes its own state")
        if tuner.invalidates:
            states = lax.cond(_differ(new, kernel), lambda: jax.vmap(new.refresh)(states), lambda: states)
        return Tuned(new, learnt, states), record

    return _collect(step, tuned, count, capacity)


tune_chunk = jax.jit(tune_steps, static_argnames=("capacity", "method"))


def _differ(new: Any, old: Any) -> Array:
    pairs = zip(jax.tree.leaves(new), jax.tree.leaves(old), strict=True)
    changes = [jnp.any(a != b) for a, b in pairs if a is not b]
    return jnp.any(jnp.stack([*changes, jnp.zeros((), bool)]))


@jax.jit
def begin_tuning(tuner: Tuner, kernel: Any, states: Any, num_steps: Int[Array, ""]) -> Tuned:
    """Return what warm-up starts with."""
    return Tuned(kernel, jax.tree.map(strong, tuner.init(kernel, states, num_steps)), states)


@jax.jit
def finish_tuning(tuner: Tuner, tuned: Tuned) -> tuple[Any, Any]:
    """Return the kernel to sample with, and the states made fit for it."""
    kernel = tuner.finish(tuned.adaptation, tuned.kernel)
    kernel = _alike(kernel, tuned.kernel, f"{type(tuner).__name__}.finish changes the kernel")
    return kernel, jax.vmap(kernel.refresh)(tuned.states) if tuner.invalidates else tuned.states


@jax.jit
def init_all(kernel: Any, positions: PyTree, keys: PRNGKeyArray) -> Any:
    """Start all chains at once."""
    return jax.vmap(lambda position, key: kernel.init(position, key=key))(positions, keys)
