"""Metropolis-Hastings on finite spaces: transition matrices by formula, and Peskun's order."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy import special

from ergodica.theory.finite_chain import asymptotic_variance

__all__ = [
    "barker",
    "barker_variance_bound",
    "metropolis",
    "metropolis_matrix",
    "metropolis_variance",
    "peskun_dominates",
    "random_walk_acceptance",
]

Acceptance = Callable[[Float[np.ndarray, "..."]], Float[np.ndarray, "..."]]
"""An acceptance probability as a function of the ratio, with ``a(r) = r a(1/r)``."""


def metropolis(ratio: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Return ``min(1, r)``."""
    return np.asarray(np.minimum(1.0, ratio))


def barker(ratio: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Return ``r / (1 + r)``; 1 at infinity."""
    return np.asarray(1.0 - 1.0 / (1.0 + ratio))


def metropolis_matrix(
    target: ArrayLike, proposal: ArrayLike, acceptance: Acceptance = metropolis
) -> Float[np.ndarray, "n n"]:
    """Return the transition matrix ``T_ij = K_ij a(r_ij)`` with ``r_ij = pi_j K_ji / (pi_i K_ij)``, off the diagonal.

    Parameters
    ----------
    target
        Weights, shape ``(n,)``, not negative. From a state of weight zero every state of positive weight that has a way
        back is accepted at the ratio infinity, and nothing else is.
    proposal
        Matrix ``K`` of the proposal, shape ``(n, n)``; where ``K_ij`` is zero, ``j`` is never proposed.
    acceptance
        Acceptance probability as a function of the ratio; :func:`metropolis`, :func:`barker`, or another vectorised
        function with ``a(r) = r a(1/r)``, so that ``a(0) = 0``.

    Raises
    ------
    ValueError
        If the shapes do not fit, a weight is negative, or a row of the proposal is no probability vector.
    """
    weights, K = np.asarray(target, np.float64), np.asarray(proposal, np.float64)
    if weights.ndim != 1 or K.shape != (weights.size, weights.size):
        raise ValueError(f"expected shapes (n,) and (n, n); got {weights.shape} and {K.shape}")
    if np.any(weights < 0) or not np.any(weights > 0):
        raise ValueError(f"expected weights that are not negative, one of them positive; got {weights}")
    if np.any(K < 0) or np.any(np.abs(K.sum(axis=1) - 1) > 1e-9):
        raise ValueError(f"the rows of a proposal are probabilities; they sum to {K.sum(axis=1)}")
    there, back = weights[:, None] * K, (weights[:, None] * K).T
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(back == 0, 0.0, back / there)
    matrix = np.where(K > 0, K * acceptance(ratio), 0.0)
    np.fill_diagonal(matrix, 0.0)
    return matrix + np.diag(1.0 - matrix.sum(axis=1))


def metropolis_variance(
    target: ArrayLike, proposal: ArrayLike, f: ArrayLike, acceptance: Acceptance = metropolis
) -> float:
    """Return the asymptotic variance of the time average of ``f`` under :func:`metropolis_matrix`."""
    weights = np.asarray(target, np.float64)
    return asymptotic_variance(metropolis_matrix(weights, proposal, acceptance), f, weights / weights.sum())


def barker_variance_bound(metropolis_variance: float, variance: float) -> float:
    """Return the bound ``2 v + Var_pi(f)`` of Barker's asymptotic variance, from Metropolis's ``v``.

    Parameters
    ----------
    metropolis_variance
        Asymptotic variance of ``f`` under Metropolis's rule, same proposal.
    variance
        Variance of ``f`` under the target.

    References
    ----------
    K. Łatuszyński and G. O. Roberts, 2013, CLTs and asymptotic variance of time-sampled Markov chains, Methodol.
    Comput. Appl. Probab. 15.
    """
    return 2.0 * metropolis_variance + variance


def peskun_dominates(P: ArrayLike, Q: ArrayLike, *, tolerance: float = 1e-15) -> bool:
    """Return whether ``P`` is at least ``Q`` in every entry off the diagonal.

    If both are reversible for one target, no function has a larger asymptotic variance under ``P`` than under ``Q``.

    References
    ----------
    P. Peskun, 1973, Biometrika 60, doi:10.1093/biomet/60.3.607.
    """
    gap = np.asarray(P, np.float64) - np.asarray(Q, np.float64)
    np.fill_diagonal(gap, 0.0)
    return bool(np.all(gap >= -tolerance))


def random_walk_acceptance(dim: int, scale: float) -> float:
    """Return the stationary acceptance rate of random-walk Metropolis with steps ``N(0, scale^2 I)`` for ``N(0, I)``.

    It is ``2 P(T < -scale sqrt(dim) / 2)`` with ``T`` of Student's law with ``dim`` degrees of freedom: the rate
    is twice the probability that the candidate is the denser point, and ``|x + scale z| < |x|`` if and only if
    ``x . z / |z| < -scale |z| / 2``. In dimension one it is ``(2 / pi) arctan(2 / scale)``; with
    ``scale = l / sqrt(dim)`` it tends to ``2 Phi(-l / 2)``.

    Parameters
    ----------
    dim
        Dimension.
    scale
        Standard deviation of the step in each coordinate.

    References
    ----------
    G. O. Roberts, A. Gelman and W. R. Gilks, 1997, Ann. Appl. Probab. 7, doi:10.1214/aoap/1034625254, for the limit.
    """
    if dim < 1 or not scale > 0:
        raise ValueError(f"dim has to be at least 1 and scale positive; got dim={dim}, scale={scale}")
    return float(2.0 * special.stdtr(dim, -0.5 * scale * np.sqrt(dim)))
