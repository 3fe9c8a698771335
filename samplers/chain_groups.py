"""Draws of a group of chains: what a run asks of this process, or of a worker."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from ergodica.samplers.chain_methods import ChainMethod
from ergodica.samplers.chunks import Record, draw_chain, draw_chunk

__all__ = ["Advance", "How", "advance", "in_groups", "joined_chains", "on_host", "on_one_device", "part_of"]


class How(NamedTuple):
    """How draws are made; none of it changes what is drawn.

    Parameters
    ----------
    capacity
        Length of XLA's buffers.
    method
        How chains share the machine.
    interleave
        Whether chains take the turns of a loop inside the step by themselves.
    host
        What runs the steps.
    """

    capacity: int
    method: ChainMethod = "vectorized"
    interleave: bool = False
    host: Literal["jax", "numba"] = "jax"


_compiling = threading.Lock()

Advance = Callable[[Any, Any, PRNGKeyArray, int, int, int, How], tuple[Any, Record]]
"""``advance(kernel, states, keys, first, count, thin, how)``: the states after, and the draws as NumPy arrays of shape
``(chains, count, ...)``."""


def advance(
    kernel: Any, states: Any, keys: PRNGKeyArray, first: int, count: int, thin: int, how: How
) -> tuple[Any, Record]:
    """Make draws of a group of chains in this process.

    Parameters
    ----------
    kernel
        The kernel.
    states, keys
        Of the chains, stacked.
    first
        Number of the first step.
    count
        Number of draws.
    thin
        Steps for each.
    how
        In what way.

    Returns
    -------
    states, record
        Leaves of the record are NumPy arrays of shape ``(chains, count, ...)``.
    """
    if how.host == "numba":
        from ergodica.samplers.lowering.run import compile_run

        with _compiling:  # threads of an executor need one and the same loop
            run = compile_run(kernel, part_of(states, 0), thin=thin)
        threads = 1 if how.method == "sequential" else None
        states, compiled = run.chains(keys, states, count, first=first, kernel=kernel, threads=threads)
        return states, compiled
    chains = keys.shape[0]
    if how.method == "sequential" or (chains == 1 and how.method == "vectorized"):
        pairs = [
            _one_chain(kernel, part_of(states, c), keys[c], first, count, thin, how.capacity) for c in range(chains)
        ]
        return joined_chains([jax.tree.map(lambda leaf: leaf[None], pair) for pair in pairs])
    made: deque[tuple[Record, int]] = deque()
    kept: Record | None = None
    done = 0
    for begin, number in _pieces(first, count, thin, how.capacity):
        options: dict[str, Any] = {"capacity": how.capacity, "thin": thin, "method": how.method}
        if how.interleave:
            from ergodica.samplers.interleaving import draw_interleaved

            states, record, _ = draw_interleaved(kernel, states, keys, begin, number, **options)
        else:
            states, record = draw_chunk(kernel, states, keys, begin, number, **options)
        made.append((record, int(number)))
        if kept is None:
            kept = jax.tree.map(lambda leaf: np.empty((leaf.shape[1], count, *leaf.shape[2:]), leaf.dtype), record)
        # XLA makes this piece while the one before is copied.
        while len(made) > 1 or (made and done + made[0][1] == count):
            done += _copy(kept, done, *made.popleft())
    if how.method == "parallel":
        # Off the devices, so that it can meet arrays that are on one only.
        states = jax.tree.map(on_one_device, states)
    assert kept is not None  # count is positive
    return states, kept


def _copy(kept: Record, done: int, record: Record, number: int) -> int:
    """Put a piece after the draws that are copied; return its length."""
    for to, leaf in zip(jax.tree.leaves(kept), jax.tree.leaves(record), strict=True):
        to[:, done : done + number] = np.swapaxes(np.asarray(leaf)[:number], 0, 1)
    return number


def _one_chain(
    kernel: Any, state: Any, key: PRNGKeyArray, first: int, count: int, thin: int, capacity: int
) -> tuple[Any, Record]:
    records = []
    for begin, number in _pieces(first, count, thin, capacity):
        state, record = draw_chain(kernel, state, key, begin, number, capacity=capacity, thin=thin)
        records.append(jax.tree.map(lambda leaf, n=int(number): np.array(leaf[:n]), record))
    return state, jax.tree.map(lambda *leaves: np.concatenate(leaves), *records)


def _pieces(first: int, count: int, thin: int, capacity: int) -> Iterator[tuple[Any, Any]]:
    for done in range(0, count, capacity):
        begin, number = first + done * thin, min(capacity, count - done)
        # Numbers of NumPy: to read one of JAX would be to wait for what is under way.
        yield np.int32(begin), np.int32(number)


def on_one_device(leaf: Any) -> Any:
    """Return an array that is bound to no device."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
        words = jnp.asarray(np.asarray(jax.random.key_data(leaf)))
        return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))
    return jnp.asarray(np.asarray(leaf))


def on_host(record: Record, count: int) -> Record:
    """Copy what was made to NumPy arrays of shape ``(chains, count, ...)``."""
    out: Record = jax.tree.map(lambda leaf: np.array(np.swapaxes(np.asarray(leaf)[:count], 0, 1)), record)
    return out


def part_of(tree: Any, which: int | slice) -> Any:
    """Return one chain, or some, of a stacked pytree."""
    return jax.tree.map(lambda leaf: leaf[which], tree)


def joined_chains(groups: list[tuple[Any, Record]]) -> tuple[Any, Record]:
    """Put the groups of a run together."""
    states = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *[states for states, _ in groups])
    record = jax.tree.map(lambda *leaves: np.concatenate(leaves), *[record for _, record in groups])
    return states, record


def in_groups(size: int) -> Advance:
    """Return what makes draws of groups of chains of this size, one group after another."""

    def advance_groups(
        kernel: Any, states: Any, keys: PRNGKeyArray, first: int, count: int, thin: int, how: How
    ) -> tuple[Any, Record]:
        slices = [slice(begin, begin + size) for begin in range(0, keys.shape[0], size)]
        return joined_chains(
            [advance(kernel, part_of(states, one), keys[one], first, count, thin, how) for one in slices]
        )

    return advance_groups
