"""Gibbs sampling of a Gaussian is an iterative solver for linear systems, with noise.

For the target ``N(m, Q^{-1})`` with ``Q = D + L + L^T``, one systematic scan over the coordinates is a Gauss-Seidel
sweep, ``x' = m + M (x - m) + noise``, and one random scan multiplies the mean by ``I - D^{-1} Q / d``.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from ergodica.theory.linear_gaussian import LinearGaussianSampler

__all__ = [
    "gibbs_sampler",
    "over_relaxed_sampler",
    "random_scan",
    "random_scan_gap",
    "split_gibbs_sampler",
    "systematic_scan",
]


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


def random_scan_gap(precision: Float[np.ndarray, "d d"]) -> float:
    """Return the spectral gap of one update of a uniformly drawn coordinate, on all square-integrable functions.

    It is the smallest eigenvalue of ``D^{-1/2} Q D^{-1/2}`` over ``d``, and linear functions attain it.

    Parameters
    ----------
    precision
        ``Q``, symmetric and positive definite.

    References
    ----------
    Y. Amit, 1996, Ann. Statist. 24, doi:10.1214/aos/1033066202.
    """
    matrix = _checked(precision)
    root = np.sqrt(np.diag(matrix))
    return float(np.linalg.eigvalsh(matrix / np.outer(root, root))[0]) / len(matrix)


def _blocks(dim: int, blocks: Sequence[int] | None) -> Float[np.ndarray, " d"]:
    sizes = [1] * dim if blocks is None else list(blocks)
    if sum(sizes) != dim or min(sizes) < 1:
        raise ValueError(f"the sizes of the blocks have to be positive and sum to {dim}; got {sizes}")
    return np.repeat(np.arange(len(sizes)), sizes)


def _centre(dim: int, mean: ArrayLike | None) -> Float[np.ndarray, " d"]:
    out = np.zeros(dim) if mean is None else np.atleast_1d(np.asarray(mean, np.float64))
    if out.shape != (dim,):
        raise ValueError(f"the mean has to have shape {(dim,)}; got {out.shape}")
    return out


def gibbs_sampler(
    precision: Float[np.ndarray, "d d"], mean: ArrayLike | None = None, blocks: Sequence[int] | None = None
) -> LinearGaussianSampler:
    """Return the systematic scan over coordinates, or over blocks of neighbouring ones, as an affine map.

    Parameters
    ----------
    precision
        ``Q``, symmetric and positive definite.
    mean
        ``m``, shape ``(d,)``; default: zero.
    blocks
        Sizes of the blocks, in order; default: single coordinates.

    Notes
    -----
    :func:`systematic_scan` returns the same map and noise for single coordinates.
    """
    return over_relaxed_sampler(precision, 1.0, mean, blocks)


def over_relaxed_sampler(
    precision: Float[np.ndarray, "d d"],
    relaxation: float,
    mean: ArrayLike | None = None,
    blocks: Sequence[int] | None = None,
) -> LinearGaussianSampler:
    """Return Adler's over-relaxed scan: successive over-relaxation with noise that preserves the target.

    ``M = (D / w + L)^{-1} ((1 / w - 1) D - L^T)``, and the noise is ``(D / w + L)^{-1}`` times one of covariance
    ``(2 - w) / w D``.

    Parameters
    ----------
    precision
        ``Q``, symmetric and positive definite.
    relaxation
        ``w``, in (0, 2); 1 is the systematic scan.
    mean
        ``m``, shape ``(d,)``; default: zero.
    blocks
        Sizes of the blocks, in order; default: single coordinates.

    References
    ----------
    S. L. Adler, 1981, Phys. Rev. D 23, doi:10.1103/PhysRevD.23.2901; G. O. Roberts and S. K. Sahu, 1997, JRSS B 59,
    doi:10.1111/1467-9868.00070.
    """
    matrix = _checked(precision)
    if not 0 < relaxation < 2:
        raise ValueError(f"relaxation has to lie in (0, 2); got {relaxation}")
    member = _blocks(len(matrix), blocks)
    m = _centre(len(matrix), mean)
    diagonal = np.where(member[:, None] == member, matrix, 0.0)
    lower = np.where(member[:, None] > member, matrix, 0.0)
    left = diagonal / relaxation + lower
    M = np.linalg.solve(left, (1 / relaxation - 1) * diagonal - lower.T)
    half = np.linalg.solve(left, np.linalg.cholesky((2 - relaxation) / relaxation * diagonal))
    return LinearGaussianSampler(M, m - M @ m, half)


def split_gibbs_sampler(
    first: ArrayLike,
    second: ArrayLike,
    coupling: float,
    first_mean: ArrayLike | None = None,
    second_mean: ArrayLike | None = None,
) -> LinearGaussianSampler:
    """Return split Gibbs sampling of a product of two normal densities, as an affine map.

    The target ``exp(-U1(x) - U2(x))`` is replaced by ``exp(-U1(x) - U2(z) - |x - z|^2 / (2 r^2))`` (AXDA); a step draws
    ``x`` given ``z``, then ``z`` given ``x``. The chain runs on ``(x, z)``, with positions ``x`` first.

    Parameters
    ----------
    first, second
        Precisions ``A`` and ``B`` of the factors, shape ``(d, d)`` or numbers; symmetric, not negative, with a positive
        definite sum.
    coupling
        ``r``: smaller is less biased, and slower.
    first_mean, second_mean
        Of the factors; default: zero.

    Returns
    -------
    LinearGaussianSampler
        On ``(x, z)``, dimension ``2 d``. For numbers the rate is ``1 / ((1 + a r^2) (1 + b r^2))``, and the variance of
        ``x`` is ``(1 + b r^2) / (a + b + a b r^2)`` instead of ``1 / (a + b)``.

    References
    ----------
    M. Vono, N. Dobigeon and P. Chainais, 2019, IEEE Trans. Signal Process. 67, arXiv:1804.05809; 2021, J. Comput.
    Graph. Statist. 30, arXiv:1902.05754, for the bias.
    """
    A, B = np.atleast_2d(np.asarray(first, np.float64)), np.atleast_2d(np.asarray(second, np.float64))
    if A.ndim != 2 or A.shape[0] != A.shape[1] or A.shape != B.shape:
        raise ValueError(f"the precisions of the factors have to have one shape (d, d); got {A.shape} and {B.shape}")
    if not (np.isfinite(coupling) and coupling > 0):
        raise ValueError(f"coupling has to be positive; got {coupling}")
    for factor in (A, B):
        if not np.allclose(factor, factor.T) or np.linalg.eigvalsh(factor)[0] < -1e-12 * np.abs(factor).max():
            raise ValueError("the precisions of the factors have to be symmetric and not negative")
    dim = len(A)
    tie = np.eye(dim) / coupling**2
    joint = np.block([[A + tie, -tie], [-tie, B + tie]])
    pull = np.concatenate([A @ _centre(dim, first_mean), B @ _centre(dim, second_mean)])
    return gibbs_sampler(joint, np.linalg.solve(_checked(joint), pull), (dim, dim))
