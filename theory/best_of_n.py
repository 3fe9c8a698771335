"""The law of the best of several draws, and how far it is from the law of one."""

import math
from typing import Any

import numpy as np

from ergodica.theory.token_laws import checked_law

__all__ = [
    "best_of_n_divergence",
    "best_of_n_law",
]


def best_of_n_law(p: Any, reward: Any, n: int) -> np.ndarray:
    """Return the law of the draw with the largest reward of ``n`` draws from ``p``, ties broken at random.

    ``[F(r)^n - F(r-)^n] p / p(level)`` with the distribution function ``F`` of the reward.

    Parameters
    ----------
    p
        Weights of the outcomes, shape ``(V,)``.
    reward
        Of each outcome, shape ``(V,)``.
    n
        Number of draws.
    """
    law, r = checked_law("p", p), np.asarray(reward)
    if r.shape != law.shape or any(value != value for value in r):
        raise ValueError(f"expected a reward, not NaN, for each of {law.size} outcomes; got shape {r.shape}")
    if n != int(n) or n < 1:
        raise ValueError(f"n, the number of draws, has to be a positive integer; got {n}")
    values, level = np.unique(r, return_inverse=True)
    masses = np.zeros(values.size, law.dtype)
    np.add.at(masses, level, law)
    up_to = np.cumsum(masses)
    powers = up_to ** int(n) - (up_to - masses) ** int(n)
    share = np.array([power / mass if mass > 0 else 0 * mass for power, mass in zip(powers, masses, strict=True)])
    out: np.ndarray = share[level] * law
    return out


def best_of_n_divergence(p: Any, reward: Any, n: int) -> tuple[float, float]:
    """Return the divergence ``KL(best of n | p)`` and its bound ``log n - (n - 1) / n``.

    The bound is attained if no two outcomes have one reward and each has a small probability.

    Parameters
    ----------
    p, reward, n
        As for :func:`best_of_n_law`.

    References
    ----------
    A. Beirami et al., 2024, Theoretical guarantees on the best-of-n alignment policy, arXiv 2401.01879.
    """
    law = np.asarray(checked_law("p", p), np.float64)
    best = np.asarray(best_of_n_law(p, reward, n), np.float64)
    used = best > 0
    return float(np.sum(best[used] * np.log(best[used] / law[used]))), math.log(n) - (n - 1) / n
