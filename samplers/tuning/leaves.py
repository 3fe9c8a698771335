"""How tuners read positions and replace the leaves of a kernel: same structure, shapes and dtypes."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Float, PyTree

from ergodica.samplers.kernel import replace
from ergodica.samplers.tuning.tuner import KernelT

__all__ = ["first_of", "flat_positions", "in_dtype_of", "per_coordinate", "put"]


def in_dtype_of(value: ArrayLike, like: Array) -> Array:
    """Return a value in the dtype of another, no longer subject to promotion."""
    return lax.convert_element_type(jnp.asarray(value), like.dtype)


def put(kernel: KernelT, name: str, value: PyTree) -> KernelT:
    """Replace a field, leaf by leaf in the dtype that it had."""
    return replace(kernel, **{name: jax.tree.map(in_dtype_of, value, getattr(kernel, name))})


def flat_positions(positions: PyTree) -> Float[Array, "chains d"]:
    """Return the positions of the chains as vectors."""
    return jax.vmap(lambda position: ravel_pytree(position)[0])(positions)


def first_of(tree: PyTree) -> PyTree:
    """Return what belongs to the first chain."""
    return jax.tree.map(lambda leaf: leaf[0], tree)


def _coarsened(values: Array, shape: tuple[int, ...]) -> Array:
    """Average ``values`` over the axes along which an array of ``shape`` would broadcast to them."""
    lead = values.ndim - len(shape)
    averaged = jnp.mean(values, axis=tuple(range(lead)))
    stretched = tuple(axis for axis, size in enumerate(shape) if size == 1 and averaged.shape[axis] != 1)
    return jnp.mean(averaged, axis=stretched, keepdims=True)


def per_coordinate(values: Float[Array, " d"], like: PyTree, position: PyTree) -> PyTree:
    """Bring a number per coordinate into the form of a parameter: a number, a vector, or a tree like the position."""
    if jax.tree.structure(like) == jax.tree.structure(position):  # type: ignore[operator]
        shaped = ravel_pytree(jax.tree.map(lambda leaf: leaf.astype(values.dtype), position))[1](values)
        return jax.tree.map(lambda leaf, old: _coarsened(leaf, jnp.shape(old)), shaped, like)
    return jax.tree.map(lambda old: _coarsened(values, jnp.shape(old)), like)
