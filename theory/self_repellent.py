"""The self-repellent random walk in closed form: kernel, frozen stationary law, mean field, limit covariance.

Notation of Doshi, Hu and Eun, 2023, Self-repellent random walks on general graphs, arXiv:2305.05097: base chain ``P``,
reversible with respect to ``mu``; weighted empirical measure ``x``; strength ``alpha``.
"""

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from ergodica.theory.finite_chain import reversible_spectrum


def metropolis_hastings_walk(adjacency: ArrayLike, mu: ArrayLike) -> Float[np.ndarray, "n n"]:
    """Return the Metropolis-Hastings chain with uniform-neighbour proposals.

    Parameters
    ----------
    adjacency
        Symmetric, with a zero diagonal; non-zero entries are edges. Shape ``(n, n)``.
    mu
        Target weights, positive; a common factor cancels.
    """
    edges = np.asarray(adjacency) != 0
    weights = np.asarray(mu, np.float64)
    if edges.ndim != 2 or not np.array_equal(edges, edges.T) or np.any(np.diag(edges)):
        raise ValueError("expected a symmetric adjacency matrix with a zero diagonal")
    degrees = edges.sum(axis=1)
    ratio = (weights / degrees)[None, :] / (weights / degrees)[:, None]
    matrix = np.where(edges, np.minimum(1.0, ratio) / degrees[:, None], 0.0)
    np.fill_diagonal(matrix, 1.0 - matrix.sum(axis=1))
    return matrix


def _log_repulsion(x: ArrayLike, mu: ArrayLike, alpha: float) -> Float[np.ndarray, " n"]:
    mass, weights = np.asarray(x, np.float64), np.asarray(mu, np.float64)
    if np.any(mass <= 0):
        raise ValueError(f"the empirical measure has to be positive everywhere; got {mass}")
    if alpha < 0:
        raise ValueError(f"alpha has to be at least 0; got {alpha}")
    return -alpha * (np.log(mass) - np.log(weights))


def self_repellent_matrix(P: ArrayLike, mu: ArrayLike, x: ArrayLike, alpha: float) -> Float[np.ndarray, "n n"]:
    """Return the kernel ``K[x]``: ``K_ij`` proportional to ``P_ij (x_j / mu_j)^-alpha`` along each row.

    Parameters
    ----------
    P
        Base transition matrix.
    mu
        Its stationary weights; a common factor cancels.
    x
        Weighted empirical measure, positive everywhere; a common factor cancels.
    alpha
        Strength of the repulsion, at least 0.
    """
    base = np.asarray(P, np.float64)
    with np.errstate(divide="ignore"):
        logits = np.log(base) + _log_repulsion(x, mu, alpha)
    logits -= logits.max(axis=1, keepdims=True)
    weights = np.exp(logits)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def frozen_law(P: ArrayLike, mu: ArrayLike, x: ArrayLike, alpha: float) -> Float[np.ndarray, " n"]:
    """Return ``pi[x]``, with respect to which ``K[x]`` is reversible for a fixed ``x``.

    ``pi_i[x]`` is proportional to ``sum_j mu_i P_ij (x_i / mu_i)^-alpha (x_j / mu_j)^-alpha``, and ``pi[mu] = mu``.
    """
    repulsion = _log_repulsion(x, mu, alpha)
    repulsion = np.exp(repulsion - repulsion.max())
    weights = np.asarray(mu, np.float64) * repulsion * (np.asarray(P, np.float64) @ repulsion)
    return np.asarray(weights / weights.sum())


def mean_field_jacobian(P: ArrayLike, mu: ArrayLike, alpha: float) -> Float[np.ndarray, "n n"]:
    """Return the Jacobian at ``mu`` of the mean field ``x -> pi[x] - x``, acting on columns.

    ``J = 2 alpha mu 1^T - alpha P^T - (alpha + 1) I``, with eigenvalue ``-(alpha (1 + lambda_i) + 1)`` on the left
    eigenvector ``u_i`` of ``P``, ``i >= 2``.
    """
    base = np.asarray(P, np.float64)
    law = np.asarray(mu, np.float64) / np.sum(mu)
    size = len(law)
    return 2 * alpha * np.outer(law, np.ones(size)) - alpha * base.T - (alpha + 1) * np.eye(size)


def limit_covariance(
    P: ArrayLike, mu: ArrayLike, alpha: float, *, decay: float = 1.0, num_steps: float = math.inf
) -> Float[np.ndarray, "n n"]:
    """Return ``V(alpha)``, the limit covariance of ``(x_n - mu) / sqrt(gamma_n)``.

    Parameters
    ----------
    P
        Base transition matrix, irreducible and reversible.
    mu
        Its stationary weights.
    alpha
        Strength of the repulsion, at least 0.
    decay
        Exponent ``a`` of the step sizes ``gamma_n = (n + 1)^-a``, in (1/2, 1].
    num_steps
        For ``decay < 1``, the ``n`` at which the covariance is wanted: step sizes that shrink by ``a / n`` a step add
        ``a n^(a - 1) / 2`` to the drift, which vanishes slowly if ``a`` is near 1. Default: the limit.

    Returns
    -------
    array of shape (n, n)
        ``sum_{i >= 2} 1 / (2 alpha (1 + lambda_i) + 2 - 1{a = 1}) (1 + lambda_i) / (1 - lambda_i) u_i^T u_i``; at
        ``alpha = 0`` and ``decay = 1`` the asymptotic covariance of the base chain.

    Raises
    ------
    ValueError
        If ``alpha`` is negative, ``decay`` is out of range, or the chain is not reversible.

    References
    ----------
    V. Doshi, J. Hu and D. Y. Eun, 2023, arXiv:2305.05097, for ``decay = 1``; J. Hu, V. Doshi and D. Y. Eun, 2024,
    arXiv:2401.09665, for ``decay < 1``.
    """
    if alpha < 0:
        raise ValueError(f"alpha has to be at least 0; got {alpha}")
    if not 0.5 < decay <= 1:
        raise ValueError(f"decay has to lie in (1/2, 1]; got {decay}")
    values, left = reversible_spectrum(P, mu)
    up = 1 + values[1:]
    shrinking = decay * num_steps ** (decay - 1) if decay < 1 else 1.0
    weights = up / (1 - values[1:]) / (2 * alpha * up + 2 - shrinking)
    return np.asarray((left[1:].T * weights) @ left[1:])


def large_alpha_limit(P: ArrayLike, mu: ArrayLike) -> Float[np.ndarray, "n n"]:
    """Return the limit of ``alpha V(alpha)``: ``sum u_i^T u_i / (2 (1 - lambda_i))`` over ``-1 < lambda_i < 1``."""
    values, left = reversible_spectrum(P, mu)
    weights = np.where(values[1:] > -1 + 1e-12, 0.5 / (1 - values[1:]), 0.0)
    return np.asarray((left[1:].T * weights) @ left[1:])
