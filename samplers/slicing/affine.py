"""Checks of what scales and centres: how a slice sampler runs in whitened coordinates."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from ergodica.samplers import inputs
from ergodica.samplers.linear_scale import LowRankScale, Scale


def as_scale(value: inputs.Numbers | LowRankScale | None) -> Scale | None:
    """Check a scale: a positive number, a vector of them, a lower triangular matrix with a positive diagonal, or a map.

    Raises
    ------
    ValueError
        If it is none of these.
    """
    if value is None or isinstance(value, LowRankScale):
        return value
    array = inputs.real_parameter("scale", value, ndim=None)
    if array.ndim > 2 or (array.ndim == 2 and array.shape[0] != array.shape[1]):
        raise ValueError(
            f"scale has to be a number, a vector with an entry per coordinate, or a square matrix; got {array.shape}"
        )
    if inputs.is_concrete(array):
        values = np.asarray(array)
        if values.ndim == 2 and np.any(np.triu(values, 1) != 0):
            raise ValueError(
                "a matrix given as scale has to be lower triangular; pass numpy.linalg.cholesky(covariance), "
                "not the covariance"
            )
        diagonal = np.diagonal(values) if values.ndim == 2 else values
        if not np.all(diagonal > 0):
            raise ValueError(f"scale has to be positive (on the diagonal, if it is a matrix); got {diagonal}")
    return array


def check_scale(scale: Scale | None, dimension: int, kernel: str) -> None:
    """Check that a scale fits a position with so many entries.

    Raises
    ------
    ValueError
        If it does not.
    """
    if isinstance(scale, LowRankScale):
        scale = scale.deviations
    if scale is not None and scale.ndim > 0 and scale.shape[0] != dimension:
        raise ValueError(f"the position of this {kernel} has {dimension} entries, but scale has shape {scale.shape}")


def as_coordinates(name: str, value: PyTree, *, above: float | None = None) -> PyTree:
    """Check a parameter that has a number for each coordinate, and return it as arrays.

    Parameters
    ----------
    name
        Name of the parameter, for the error.
    value
        A number, a vector (lists of numbers count as one), or a pytree like the position; ``None`` stays.
    above
        Strict lower bound.

    Raises
    ------
    TypeError, ValueError
        If an entry is not real, not finite or out of bounds.
    """
    if value is None:
        return None

    def is_vector(node: Any) -> bool:
        return isinstance(node, list | tuple) and all(isinstance(entry, int | float) for entry in node)

    return jax.tree.map(
        lambda leaf: inputs.real_parameter(name, leaf, above=above, ndim=None), value, is_leaf=is_vector
    )


def flat_like(name: str, tree: PyTree, position: PyTree, kernel: str) -> Float[Array, " d"]:
    """Return one number per coordinate, in the order of ``ravel_pytree(position)``.

    Parameters
    ----------
    name
        Name of the parameter, for the error.
    tree
        A number, a vector with an entry per coordinate, or a pytree like the position whose leaves broadcast to it.
    position
        The position.
    kernel
        Name of the kernel, for the error.

    Raises
    ------
    ValueError
        If ``tree`` is none of these.
    """
    flat, _ = ravel_pytree(position)
    if jax.tree.structure(tree) == jax.tree.structure(position):  # type: ignore[operator]
        try:
            same = jax.tree.map(lambda leaf, like: jnp.broadcast_to(leaf, jnp.shape(like)), tree, position)
        except ValueError:
            same = None
        if same is not None:
            return ravel_pytree(same)[0].astype(flat.dtype)
    leaves = jax.tree.leaves(tree)
    if len(leaves) == 1 and jnp.shape(leaves[0]) in ((), flat.shape):
        return jnp.broadcast_to(leaves[0], flat.shape).astype(flat.dtype)
    raise ValueError(
        f"{name} of this {kernel} has to be a number, a vector with {flat.size} entries, or a pytree like the "
        f"position; got shapes {jax.tree.map(jnp.shape, tree)}"
    )
