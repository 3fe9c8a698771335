"""Exact p-values of draws that should be independent and standard normal.

For samplers whose law is known to be normal, target or not: a biased sampler on a quadratic potential has an exact law,
and is held against that.
"""

import itertools

import numpy as np
from jaxtyping import ArrayLike, Float
from scipy import special

from ergodica.validation.stationary_start import kolmogorov_pvalue

__all__ = ["normal_pvalues"]


def _mean_pvalue(x: Float[np.ndarray, " n"]) -> float:
    return float(2 * special.ndtr(-abs(x.sum()) / np.sqrt(x.size)))


def _square_pvalue(x: Float[np.ndarray, " n"]) -> float:
    half = np.sum(x**2) / 2
    tails = special.gammainc(x.size / 2, half), special.gammaincc(x.size / 2, half)
    return float(min(1.0, 2 * min(tails)))


def normal_pvalues(draws: ArrayLike, label: str = "") -> dict[str, float]:
    """Return exact p-values of the mean, the sum of squares, the shape and the pairs of columns.

    Parameters
    ----------
    draws
        Shape ``(n, m)``; under the null hypothesis all entries are independent and standard normal.
    label
        Put in front of the names.

    Returns
    -------
    dict
        For each column the mean (normal law), the sum of squares (chi-square law) and Kolmogorov's statistic; for each
        pair of columns the sum of squares of their sum. 0 if an entry is not finite.
    """
    x = np.asarray(draws, np.float64)
    if x.ndim != 2 or x.size == 0:
        raise ValueError(f"expected draws of shape (n, m); got {x.shape}")
    if not np.all(np.isfinite(x)):
        return {f"{label}finite": 0.0}
    pvalues: dict[str, float] = {}
    for j, column in enumerate(x.T):
        pvalues[f"{label}mean {j}"] = _mean_pvalue(column)
        pvalues[f"{label}square {j}"] = _square_pvalue(column)
        pvalues[f"{label}shape {j}"] = kolmogorov_pvalue(special.ndtr(column))
    for i, j in itertools.combinations(range(x.shape[1]), 2):
        pvalues[f"{label}pair {i} {j}"] = _square_pvalue((x[:, i] + x[:, j]) / np.sqrt(2))
    return pvalues
