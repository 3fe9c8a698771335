"""Gibbs sampling of a Gaussian is an iterative solver for linear systems, with noise.

For the target ``N(m, Q^{-1})`` with ``Q = D + L + L^T``, one systematic scan over the coordinates is a Gauss-Seidel
sweep, ``x' = m + M (x - m) + noise``, and one random scan multiplies the mean by ``I - D^{-1} Q / d``.
"""

import numpy as np
from jaxtyping import Float


def _checked(precision: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    matrix = np.asarray(precision, float)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not np.allclose(matrix, matrix.T):
        raise ValueError(f"precision has to be a symmetric matrix; got shape {matrix.shape}")
    if np.linalg.eigvalsh(matrix).min() <= 0:
        raise ValueError("precision has to be positive definite")
    return matrix


def systematic_scan(
    precision: Float[np.ndarray, "d d"],
) -> tuple[Float[np.ndarray, "d d"], Float[np.ndarray, "d d"]]:
    """Return the linear map and the noise covariance of one systematic scan.

    Parameters
    ----------
    precision
        ``Q``, symmetric and positive definite.

    Returns
    -------
    transition
        ``M = -(D + L)^{-1} L^T``.
    noise
        ``(D + L)^{-1} D (D + L)^{-T}``; the stationary covariance of ``x' = M x + noise`` is ``Q^{-1}``.

    References
    ----------
    G. O. Roberts and S. K. Sahu, JRSS B 59 (1997), doi:10.1111/1467-9868.00070.
    """
    matrix = _checked(precision)
    lower = np.tril(matrix)
    transition = -np.linalg.solve(lower, np.triu(matrix, 1))
    half = np.linalg.solve(lower, np.diag(np.sqrt(np.diag(matrix))))
    return transition, half @ half.T


def random_scan(precision: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    """Return the map ``I - D^{-1} Q / d`` of the conditional mean under one update of a uniformly drawn coordinate.

    Parameters
    ----------
    precision
        ``Q``, symmetric and positive definite.
    """
    matrix = _checked(precision)
    return np.eye(len(matrix)) - matrix / np.diag(matrix)[:, None] / len(matrix)
