"""Laws on tokens, given as weights: floats, or fractions, for which every result is exact."""

from typing import Any

import numpy as np

__all__ = [
    "checked_drafts",
    "checked_law",
    "checked_pair",
    "total_variation",
]


def checked_law(name: str, weights: Any) -> np.ndarray:
    """Check weights and return them divided by their sum, shape ``(V,)``, of the dtype ``float64`` or ``object``.

    Raises
    ------
    ValueError
        If they are no vector, an entry is negative or not finite, or all are zero. ``name`` is what it calls them.
    """
    array = np.asarray(weights)
    if array.dtype != object:
        array = array.astype(np.float64)
        if not np.all(np.isfinite(array)):
            raise ValueError(f"{name} contains NaN or inf; expected weights of outcomes")
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} has to be a vector with at least one entry; got shape {array.shape}")
    if np.any(array < 0):
        raise ValueError(f"{name} has a negative entry; expected weights of outcomes")
    total = array.sum()
    if not total > 0:
        raise ValueError(f"{name} has no positive entry; at least one outcome has to be possible")
    law: np.ndarray = array / total
    return law


def checked_pair(p: Any, q: Any) -> tuple[np.ndarray, np.ndarray]:
    """Check the laws of a target and of a draft, which have to be on the same tokens."""
    target, draft = checked_law("p", p), checked_law("q", q)
    if target.shape != draft.shape:
        raise ValueError(f"p and q have to be laws on the same tokens; got {target.size} and {draft.size} entries")
    return target, draft


def checked_drafts(k: int) -> int:
    """Check a number of drafts."""
    if k != int(k) or k < 1:
        raise ValueError(f"k, the number of drafts, has to be a positive integer; got {k}")
    return int(k)


def total_variation(p: Any, q: Any) -> Any:
    """Return ``sum (p - q)+`` of two laws, given as weights.

    Parameters
    ----------
    p, q
        Non-negative weights, shape ``(V,)``; each is divided by its sum.
    """
    target, draft = checked_pair(p, q)
    return np.where(target > draft, target - draft, 0 * target).sum()
