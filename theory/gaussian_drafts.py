"""How often drafts from a normal law survive if the target is normal with the same covariance.

Along the line that joins the means the problem has one dimension: drafts are ``N(0, 1)``, the target is ``N(d, 1)`` with
the distance ``d`` of the means in standard deviations. Across that line both laws agree.
"""

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy import optimize, special

from ergodica.theory.token_laws import checked_drafts

__all__ = [
    "hockey_stick",
    "optimal_acceptance",
    "recursive_acceptance",
    "sequential_acceptance",
    "sequential_factor",
    "single_acceptance",
]


def _checked(distance: float) -> float:
    if not (math.isfinite(distance) and distance >= 0):
        raise ValueError(f"distance is that of the means in standard deviations, at least 0; got {distance}")
    return float(distance)


def hockey_stick(factor: ArrayLike, distance: float) -> Float[np.ndarray, "..."]:
    """Return ``E = int (p - factor q)+`` for ``p = N(d, 1)`` and ``q = N(0, 1)``.

    ``Phi(d / 2 - log(factor) / d) - factor Phi(-d / 2 - log(factor) / d)``; ``(1 - factor)+`` at distance zero.

    Parameters
    ----------
    factor
        Not negative.
    distance
        ``d``.
    """
    d, lam = _checked(distance), np.asarray(factor, np.float64)
    if np.any(lam < 0):
        raise ValueError(f"factor must not be negative; got {lam}")
    if d == 0:
        return np.maximum(1 - lam, 0.0)
    with np.errstate(divide="ignore"):
        shift = np.log(lam) / d
    value = special.ndtr(d / 2 - shift) - lam * special.ndtr(-d / 2 - shift)
    return np.where(lam == 0, 1.0, np.maximum(value, 0.0))


def single_acceptance(distance: float) -> float:
    """Return ``2 Phi(-d / 2) = 1 - TV``: the probability of keeping one draft, and of the best coupling.

    Parameters
    ----------
    distance
        Of the means, in standard deviations.
    """
    return float(2 * special.ndtr(-_checked(distance) / 2))


def recursive_acceptance(distance: float, k: int) -> float:
    """Return the probability that recursive rejection keeps one of ``k`` independent drafts.

    With ``lam_0 = 0``, ``s_0 = 1``, ``lam_i = lam_{i-1} + s_{i-1}`` and ``s_i = E(lam_i)`` it is ``1 - s_k``.

    Parameters
    ----------
    distance
        Of the means, in standard deviations.
    k
        Number of drafts.
    """
    factor, left = 0.0, 1.0
    for _ in range(checked_drafts(k)):
        factor += left
        left = float(hockey_stick(factor, distance))
    return 1.0 - left


def sequential_factor(distance: float, k: int) -> float:
    """Return ``rho*``, the factor in ``[1, k]`` with ``1 - (1 - g / rho)^k = g`` for ``g = 1 - E(rho)``.

    Parameters
    ----------
    distance
        Of the means, in standard deviations.
    k
        Number of drafts.
    """

    def excess(rho: float) -> float:
        kept = 1 - float(hockey_stick(rho, distance))
        return 1 - (1 - kept / rho) ** k - kept

    if checked_drafts(k) == 1 or excess(1.0) <= 0:
        return 1.0
    return float(optimize.brentq(excess, 1.0, float(k), xtol=1e-14, rtol=1e-14))


def sequential_acceptance(distance: float, k: int) -> float:
    """Return the probability that sequential selection at its best factor keeps one of ``k`` independent drafts.

    Parameters
    ----------
    distance
        Of the means, in standard deviations.
    k
        Number of drafts.

    References
    ----------
    Z. Sun et al., 2023, arXiv 2310.15141, for finite vocabularies.
    """
    return 1 - float(hockey_stick(sequential_factor(distance, k), distance))


def optimal_acceptance(distance: float, k: int) -> float:
    """Return the largest probability, over all rules with the target's law, of emitting one of ``k`` independent drafts.

    ``1 + min_a (Phi(a - d) - Phi(a)^k)``: the worst set of values is a half-line.

    Parameters
    ----------
    distance
        Of the means, in standard deviations.
    k
        Number of drafts.
    """
    d = _checked(distance)
    k = checked_drafts(k)

    def cut(a: float) -> float:
        return float(special.ndtr(a - d) - special.ndtr(a) ** k)

    grid = np.linspace(-10.0, d + 10.0, 2001)
    best = int(np.argmin(special.ndtr(grid - d) - special.ndtr(grid) ** k))
    bounds = (float(grid[max(best - 1, 0)]), float(grid[min(best + 1, grid.size - 1)]))
    found = optimize.minimize_scalar(cut, bounds=bounds, method="bounded", options={"xatol": 1e-11})
    return 1 + min(0.0, float(found.fun))
