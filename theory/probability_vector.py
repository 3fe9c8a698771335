"""Laws on finite spaces: the check that every function that takes one makes."""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

__all__ = ["probability_vector"]


def probability_vector(p: ArrayLike, name: str = "p") -> Float[np.ndarray, "*batch n"]:
    """Check one or more laws on a finite space and return them in double precision.

    Parameters
    ----------
    p
        Probabilities, shape ``(..., n)``. Those of 32-bit arrays are scaled to sum to one in double precision.
    name
        What errors call it.

    Raises
    ------
    ValueError
        If there are no entries, one is negative or not finite, or the sum is not one.
    """
    given = np.asarray(p)
    law = given.astype(np.float64)
    if law.ndim == 0 or law.shape[-1] == 0:
        raise ValueError(f"{name} has to be a vector of probabilities; got shape {law.shape}")
    if not np.all(np.isfinite(law)) or np.any(law < 0):
        raise ValueError(f"{name} has an entry that is negative or not finite; expected probabilities")
    single = given.dtype.kind == "f" and given.dtype.itemsize < 8
    sums = law.sum(axis=-1, keepdims=True)
    worst = float(sums.flat[np.argmax(np.abs(sums - 1))])
    if abs(worst - 1) > (1e-5 if single else 1e-9):
        raise ValueError(f"{name} sums to {worst:.12g}; probabilities sum to one: divide weights by their sum")
    return np.asarray(law / sums)
