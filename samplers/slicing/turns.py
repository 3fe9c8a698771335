"""The loop of a slice sampler: turn after turn, each with uniform numbers, until nothing is left to do.

On a cheap density the time of a turn goes to what surrounds the evaluation, and two things count. Hashing a key costs
about as much as all the rest, so that the uniform numbers of many turns are drawn together; the chains of a ``vmap``
use them up together. And a compiled loop runs a small program for each array that it carries, so that the scalars
travel in vectors.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ergodica.samplers import random

CarryT = TypeVar("CarryT")

_LARGEST = 8
"""XLA's CPU compiler joins up to eight scalars in one program."""


def take_turns(
    unfinished: Callable[[CarryT], Bool[Array, ""]],
    turn: Callable[[CarryT, Float[Array, "..."]], CarryT],
    begin: CarryT,
    *,
    key: PRNGKeyArray,
    dtype: Any,
    block: int,
    shape: tuple[int, ...] = (),
) -> CarryT:
    """Return ``begin`` after as many turns as it takes.

    Parameters
    ----------
    unfinished
        Whether another turn is needed.
    turn
        ``turn(carry, uniforms)`` returns the next carry, of the same shapes and dtypes.
    begin
        A pytree of real arrays.
    key
        Typed key, for the uniform numbers.
    dtype
        Dtype of the uniform numbers.
    block
        For how many turns to draw them at a time; about as many as there are.
    shape
        Shape of the uniform numbers of one turn.
    """
    packing = _Packing(begin)
    zero = jnp.zeros((), jnp.int32)

    def more_blocks(state: Any) -> Bool[Array, ""]:
        return unfinished(packing.unpack(state[0]))

    def one_block(state: Any) -> Any:
        packed, count = state
        uniforms = random.uniform(random.fold_in(key, count), (block, *shape), dtype)

        def more_turns(state: Any) -> Bool[Array, ""]:
            return (state[1] < block) & unfinished(packing.unpack(state[0]))

        def one_turn(state: Any) -> Any:
            packed, index = state
            return packing.pack(turn(packing.unpack(packed), uniforms[index])), index + 1

        return lax.while_loop(more_turns, one_turn, (packed, zero))[0], count + 1

    return packing.unpack(lax.while_loop(more_blocks, one_block, (packing.pack(begin), zero))[0])


def materialised(point: Float[Array, " d"]) -> Float[Array, " d"]:
    """Return the same point, computed before the density is.

    XLA would otherwise join the two, and multiply a matrix by a vector that it recomputes, by a slower routine.
    """
    array: Float[Array, " d"] = lax.optimization_barrier(point)
    return array


class _Packing:
    """Puts the scalars of a pytree into vectors of a few entries, one dtype each, and takes them out again."""

    def __init__(self, like: Any) -> None:
        leaves, self._structure = jax.tree.flatten(like)
        self._dtypes = [jnp.result_type(leaf) for leaf in leaves]
        groups: dict[Any, list[int]] = {}
        for index, leaf in enumerate(leaves):
            if jnp.ndim(leaf) == 0:
                groups.setdefault(self._carrier(index), []).append(index)
        self._groups = [
            (dtype, indices[first : first + _LARGEST])
            for dtype, indices in groups.items()
            for first in range(0, len(indices), _LARGEST)
        ]
        self._others = [index for index, leaf in enumerate(leaves) if jnp.ndim(leaf) > 0]

    def _carrier(self, index: int) -> Any:
        return jnp.dtype(jnp.int32) if self._dtypes[index] == jnp.bool_ else self._dtypes[index]

    def pack(self, tree: Any) -> tuple[list[Array], list[Array]]:
        leaves = jax.tree.leaves(tree)
        vectors = [jnp.stack([jnp.asarray(leaves[i], dtype) for i in indices]) for dtype, indices in self._groups]
        return vectors, [leaves[i] for i in self._others]

    def unpack(self, packed: tuple[list[Array], list[Array]]) -> Any:
        vectors, others = packed
        leaves: dict[int, Array] = dict(zip(self._others, others, strict=True))
        for (_, indices), vector in zip(self._groups, vectors, strict=True):
            leaves |= {i: vector[place].astype(self._dtypes[i]) for place, i in enumerate(indices)}
        return jax.tree.unflatten(self._structure, [leaves[i] for i in range(len(leaves))])
