"""Theory of independence Metropolis and of importance sampling: what the weights decide."""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy import special

__all__ = [
    "gaussian_acceptance",
    "gaussian_ess_fraction",
    "gaussian_pareto_index",
    "gaussian_weight_bound",
    "independence_eigenvalues",
    "independence_matrix",
    "total_variation_bound",
    "weight_bound",
]


def _laws(target: ArrayLike, proposal: ArrayLike) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    pi, q = np.asarray(target, np.float64), np.asarray(proposal, np.float64)
    if pi.ndim != 1 or pi.shape != q.shape:
        raise ValueError(f"expected two probability vectors of one length; got shapes {pi.shape} and {q.shape}")
    if min(pi.min(), q.min()) < 0 or pi.sum() <= 0 or q.sum() <= 0:
        raise ValueError("expected probabilities that are not negative and not all zero")
    if np.any((q == 0) & (pi > 0)):
        state = int(np.flatnonzero((q == 0) & (pi > 0))[0])
        raise ValueError(f"state {state} has positive probability under the target and none under the proposal")
    return pi / pi.sum(), q / q.sum()


def weight_bound(target: ArrayLike, proposal: ArrayLike) -> float:
    """Return ``L``, the largest weight ``pi / q`` of two laws on a finite space."""
    pi, q = _laws(target, proposal)
    inside = q > 0
    return float(np.max(pi[inside] / q[inside]))


def total_variation_bound(bound: float, steps: int) -> float:
    """Return ``(1 - 1/L)^n``, which the distance to the target after ``n`` steps does not exceed, from any start.

    Parameters
    ----------
    bound
        ``L``: the largest weight over the normaliser, at least 1.
    steps
        ``n``.

    References
    ----------
    K. L. Mengersen and R. L. Tweedie, 1996, Ann. Statist. 24, doi:10.1214/aos/1033066201.
    """
    if not bound >= 1:
        raise ValueError(f"the largest weight of two laws is at least 1; got {bound}")
    return float((1.0 - 1.0 / bound) ** steps)


def independence_matrix(target: ArrayLike, proposal: ArrayLike) -> Float[np.ndarray, "n n"]:
    """Return the transition matrix of independence Metropolis, ``min(q_j, pi_j q_i / pi_i)`` off the diagonal.

    Every state needs a positive probability under both laws.
    """
    pi, q = _laws(target, proposal)
    if np.any(pi == 0):
        raise ValueError("every state needs a positive probability under the target; leave the others out")
    matrix = np.asarray(np.minimum(q[None, :], pi[None, :] * (q / pi)[:, None]))
    np.fill_diagonal(matrix, 0.0)
    return matrix + np.diag(1.0 - matrix.sum(axis=1))


def independence_eigenvalues(target: ArrayLike, proposal: ArrayLike) -> Float[np.ndarray, " n"]:
    """Return the eigenvalues of independence Metropolis on a finite space, decreasing; the second is ``1 - 1/L``.

    With the states sorted by decreasing weight ``w``, the eigenvalues below 1 are
    ``sum_{i >= k} (q_i - pi_i / w_k)`` for ``k = 1, ..., n - 1``.

    References
    ----------
    J. S. Liu, 1996, Metropolized independent sampling with comparisons to rejection sampling and importance sampling,
    Stat. Comput. 6, doi:10.1007/BF00162521.
    """
    pi, q = _laws(target, proposal)
    if np.any(pi == 0):
        raise ValueError("every state needs a positive probability under the target; leave the others out")
    order = np.argsort(-(pi / q), kind="stable")
    pi, q = pi[order], q[order]
    tail_q, tail_pi = np.cumsum(q[::-1])[::-1], np.cumsum(pi[::-1])[::-1]
    values = tail_q - tail_pi * q / pi
    return np.concatenate([[1.0], values[:-1]])


def gaussian_weight_bound(dim: int, sigma: float) -> float:
    """Return ``L`` for the target ``N(0, I)`` and the proposal ``N(0, sigma^2 I)``: ``sigma^dim``, infinite below 1."""
    if not sigma > 0:
        raise ValueError(f"sigma has to be positive; got {sigma}")
    return float(sigma**dim) if sigma >= 1 else float("inf")


def gaussian_acceptance(dim: int, sigma: float) -> float:
    """Return the stationary acceptance rate for the target ``N(0, I)`` and the proposal ``N(0, sigma^2 I)``.

    It is ``2 P(F < min(sigma^2, sigma^-2))`` with ``F`` of Fisher's law with ``dim`` and ``dim`` degrees of freedom:
    the rate is twice the probability that a draw of the proposal has a larger weight than one of the target. For
    ``sigma = 1 + g`` with small ``g`` it is about ``2 Phi(-|g| sqrt(dim))``.

    Parameters
    ----------
    dim
        Dimension.
    sigma
        Standard deviation of the proposal.
    """
    if not sigma > 0 or dim < 1:
        raise ValueError(f"sigma has to be positive and dim at least 1; got sigma={sigma}, dim={dim}")
    if sigma == 1:
        return 1.0
    return float(2.0 * special.fdtr(dim, dim, min(sigma**2, sigma**-2)))


def gaussian_ess_fraction(mean: float, scale: float, sigma: float) -> float:
    """Return the effective sample size of a draw of ``N(0, sigma^2)`` for the target ``N(mean, scale^2)``.

    It is the inverse of the second moment of the weights, and zero where that is infinite, for
    ``scale^2 >= 2 sigma^2``.

    Parameters
    ----------
    mean, scale
        Of the target.
    sigma
        Standard deviation of the proposal.
    """
    if not (scale > 0 and sigma > 0):
        raise ValueError(f"standard deviations have to be positive; got scale={scale}, sigma={sigma}")
    slack = 2.0 * sigma**2 - scale**2
    if slack <= 0:
        return 0.0
    return float(scale * np.sqrt(slack) / sigma**2 * np.exp(-(mean**2) / slack))


def gaussian_pareto_index(sigma: float) -> float:
    """Return the tail index ``k`` of the weights for the target ``N(0, I)`` and the proposal ``N(0, sigma^2 I)``.

    The weights exceed ``t`` with probability about ``t^(-1/k)``, with ``k = 1 - sigma^2``, in every dimension; for
    ``sigma >= 1`` they are bounded and ``k = 0``. Their variance is infinite for ``k >= 1/2``.
    """
    if not sigma > 0:
        raise ValueError(f"sigma has to be positive; got {sigma}")
    return max(0.0, 1.0 - sigma**2)
