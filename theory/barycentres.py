"""Wasserstein barycentres: on the line by averaging quantiles, of normal laws by a fixed point.

The barycentre of laws with weights minimises the weighted sum of squared ``W2`` distances to them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from ergodica.theory.transport import gaussian_transport, line_transport, masses

__all__ = ["GaussianBarycentre", "LineBarycentre", "gaussian_barycentre", "line_barycentre"]


@dataclass(frozen=True)
class LineBarycentre:
    """The barycentre of laws on the line.

    Parameters
    ----------
    atoms, masses
        The barycentre: increasing atoms with their masses, shape ``(k,)``; at most the number of all atoms minus that of
        laws plus one.
    value
        The weighted sum of squared distances.
    residual
        The difference between the value as the spread of quantiles around their average and the weighted sum of squared
        distances by :func:`~ergodica.theory.transport.line_transport`, relative to the value.
    """

    atoms: Float[np.ndarray, " k"]
    masses: Float[np.ndarray, " k"]
    value: float
    residual: float


@dataclass(frozen=True)
class GaussianBarycentre:
    """The barycentre of normal laws, itself normal.

    Parameters
    ----------
    mean, covariance
        Shapes ``(d,)`` and ``(d, d)``.
    value
        The weighted sum of squared distances.
    residual
        Largest entry of ``S - sum w_k (S^(1/2) S_k S^(1/2))^(1/2)`` over the largest of ``S``: zero at the barycentre.
    num_iterations
        Of the fixed point.
    """

    mean: Float[np.ndarray, " d"]
    covariance: Float[np.ndarray, "d d"]
    value: float
    residual: float
    num_iterations: int


def line_barycentre(
    points: Sequence[ArrayLike],
    law_masses: Sequence[ArrayLike | None] | None = None,
    weights: ArrayLike | None = None,
) -> LineBarycentre:
    """Return the barycentre of laws on the line: its quantile function is the average of theirs.

    Parameters
    ----------
    points
        Atoms of each law, vectors of any lengths and in any order.
    law_masses
        Masses of the atoms, each divided by its sum; ``None``, for all or one law: equal ones.
    weights
        Of the laws, non-negative, divided by their sum; default: equal.

    Raises
    ------
    ValueError
        If there is no law, or shapes and weights do not fit.

    References
    ----------
    M. Agueh and G. Carlier, 2011, SIAM J. Math. Anal. 43(2), doi:10.1137/100805741.
    """
    if len(points) == 0:
        raise ValueError("expected at least one law; got none")
    if law_masses is not None and len(law_masses) != len(points):
        raise ValueError(f"expected masses for each of {len(points)} laws; got {len(law_masses)}")
    w = masses("weights", weights, len(points))
    atoms, levels = [], []
    for k, values in enumerate(points):
        x = np.asarray(values, np.float64)
        if x.ndim != 1 or x.size == 0 or not np.all(np.isfinite(x)):
            raise ValueError(f"law {k}: expected a vector of finite atoms; got shape {x.shape}")
        a = masses(f"masses of law {k}", None if law_masses is None else law_masses[k], x.size)
        order = np.argsort(x, kind="stable")
        order = order[a[order] > 0]
        atoms.append(x[order])
        level = np.cumsum(a[order])
        level[-1] = 1.0
        levels.append(level)
    # Between successive levels of any law all quantile functions are constant.
    cuts = np.unique(np.concatenate(levels))
    # Levels that differ by rounding are one.
    cuts = cuts[np.concatenate([np.diff(cuts) > 1e-14, [True]])]
    lengths = np.diff(cuts, prepend=0.0)
    middles = cuts - lengths / 2
    quantiles = np.stack([x[np.searchsorted(level, middles)] for x, level in zip(atoms, levels, strict=True)])
    average = w @ quantiles
    value = float(lengths @ (w @ (quantiles - average) ** 2))
    first = np.concatenate([[True], np.diff(average) > 0])
    mass = np.add.reduceat(lengths, np.flatnonzero(first))
    distances = [
        line_transport(average[first], x, mass, np.diff(level, prepend=0.0), order=2).value
        for x, level in zip(atoms, levels, strict=True)
    ]
    return LineBarycentre(average[first], mass, value, abs(value - float(w @ distances)) / (value or 1.0))


def gaussian_barycentre(
    means: ArrayLike,
    covariances: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    tol: float = 1e-12,
    max_iterations: int = 1000,
) -> GaussianBarycentre:
    """Return the barycentre of normal laws.

    The covariance is the only positive definite solution of ``S = sum w_k (S^(1/2) S_k S^(1/2))^(1/2)``, found by
    ``S <- S^(-1/2) (sum w_k (S^(1/2) S_k S^(1/2))^(1/2))^2 S^(-1/2)``, which lowers the value at each step.

    Parameters
    ----------
    means
        Shape ``(K, d)``.
    covariances
        Shape ``(K, d, d)``, positive definite.
    weights
        Shape ``(K,)``, non-negative, divided by their sum; default: equal.
    tol
        Residual at which to stop.
    max_iterations
        Most steps.

    Raises
    ------
    ValueError
        If shapes or weights do not fit, or a covariance is not positive definite.
    RuntimeError
        If the tolerance was not reached.

    References
    ----------
    P. C. Álvarez-Esteban, E. del Barrio, J. A. Cuesta-Albertos and C. Matrán, 2016, arXiv:1511.05355.
    """
    m, S = np.asarray(means, np.float64), np.asarray(covariances, np.float64)
    if m.ndim != 2 or m.size == 0 or S.shape != (*m.shape, m.shape[1]):
        raise ValueError(f"expected means (K, d) and covariances (K, d, d); got {m.shape} and {S.shape}")
    if not (np.all(np.isfinite(m)) and np.all(np.isfinite(S))):
        raise ValueError("means and covariances have to be finite")
    if not np.allclose(S, S.transpose(0, 2, 1), rtol=1e-10, atol=1e-12 * np.abs(S).max()):
        raise ValueError("every covariance has to be symmetric")
    least = np.linalg.eigvalsh(S).min()
    if not least > 0:
        raise ValueError(f"every covariance has to be positive definite; the least eigenvalue is {least:.6g}")
    w = masses("weights", weights, len(m))
    mean = w @ m
    current = np.einsum("k,kij->ij", w, S)
    for iteration in range(1, max_iterations + 1):
        root, inverse_root = _power(current, 0.5), _power(current, -0.5)
        average = np.einsum("k,kij->ij", w, _power(root @ S @ root, 0.5))
        residual = float(np.abs(average - current).max() / np.abs(current).max())
        if residual < tol:
            value = sum(
                float(weight) * gaussian_transport(mean, current, one, other).distance ** 2
                for weight, one, other in zip(w, m, S, strict=True)
            )
            return GaussianBarycentre(mean, current, value, residual, iteration)
        current = inverse_root @ average @ average @ inverse_root
        current = (current + current.T) / 2
    raise RuntimeError(
        f"the fixed point has a residual of {residual:g} after {max_iterations} steps; raise max_iterations or tol"
    )


def _power(matrices: Float[np.ndarray, "... d d"], power: float) -> Float[np.ndarray, "... d d"]:
    values, vectors = np.linalg.eigh((matrices + np.swapaxes(matrices, -1, -2)) / 2)
    return np.asarray((vectors * values[..., None, :] ** power) @ np.swapaxes(vectors, -1, -2))
