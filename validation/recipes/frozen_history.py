"""The exact transition matrix of a chain that depends on its past, at a history that is held fixed."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree

from ergodica.samplers.kernel import Kernel
from ergodica.validation.enumeration import EnumerationError, transition_law
from ergodica.validation.law import outcome_key

__all__ = ["frozen_matrix"]


def frozen_matrix(
    kernel: Kernel[Any, Any], freeze: Callable[[PyTree], Any], positions: PyTree, **limits: Any
) -> Float[np.ndarray, "n n"]:
    """Return the law of the next position from every position, given one and the same history.

    What a chain with a memory promises can be checked piece by piece: that each frozen step leaves the law that theory
    names invariant, and that at the fixed point of the history this law is the target.

    Parameters
    ----------
    kernel
        A kernel whose choices are discrete, or that offers a ``reference()``.
    freeze
        ``freeze(position)`` returns the state of the kernel at a position with the history in question.
    positions
        All positions, stacked on a leading axis.
    **limits
        Passed to :func:`ergodica.validation.enumeration.enumerate_law`.

    Returns
    -------
    array of shape (n, n)
        Rows by origin.

    Raises
    ------
    EnumerationError
        If the kernel cannot be enumerated, or a step leads outside ``positions``.
    """
    positions = jax.tree.map(jnp.asarray, positions)
    count = jax.tree.leaves(positions)[0].shape[0]
    rows = [jax.tree.map(lambda leaf, at=row: leaf[at], positions) for row in range(count)]
    number = {outcome_key(jax.tree.map(np.asarray, position)): row for row, position in enumerate(rows)}
    matrix = np.zeros((count, count))
    for row, position in enumerate(rows):
        for state, probability in transition_law(kernel, freeze(position), **limits):
            column = number.get(outcome_key(state.position))
            if column is None:
                raise EnumerationError(
                    f"a step from {position} leads to {state.position}, which is not among the positions"
                )
            matrix[row, column] += probability
    return matrix
