"""Pytrees that contain functions, held so that they can be fields of a kernel."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

__all__ = ["Held", "hold"]


class _Static:
    """Leaves that are no arrays, compared and hashed by value so that they can be static."""

    def __init__(self, tree: PyTree) -> None:
        self.leaves: list[Any]
        self.structure: Any
        self.leaves, self.structure = jax.tree.flatten(tree)
        try:
            self._hash = hash((tuple(self.leaves), self.structure))
        except TypeError as error:
            raise TypeError(
                f"expected a pytree of arrays and hashable constants; one of its leaves is neither: {error}"
            ) from None

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Static):
            return False
        return bool(self._hash == other._hash and self.structure == other.structure and self.leaves == other.leaves)

    def tree(self) -> PyTree:
        """Return the pytree, with ``None`` for each array."""
        return jax.tree.unflatten(self.structure, self.leaves)


class Held(eqx.Module):
    """Any pytree, held so that its arrays are leaves and all else is static; make one with :func:`hold`.

    A flow contains functions, which are no JAX types; held like this it can go through ``jit``, ``vmap`` and the carry
    of ``scan``.

    Parameters
    ----------
    arrays
        The pytree with ``None`` in place of what is no array.
    rest
        All else.
    """

    arrays: PyTree
    rest: _Static = eqx.field(static=True)

    def get(self) -> Any:
        """Return the pytree."""
        return eqx.combine(self.arrays, self.rest.tree())


def hold(tree: Any) -> Held:
    """Hold a pytree; NumPy arrays become JAX arrays.

    Raises
    ------
    TypeError
        If a leaf is neither an array nor hashable.
    """
    if isinstance(tree, Held):
        return tree
    tree = jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, np.ndarray | np.generic) else leaf, tree)
    arrays, rest = eqx.partition(tree, eqx.is_array)
    return Held(arrays, _Static(rest))
