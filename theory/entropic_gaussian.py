"""Entropic optimal transport between normal laws, in closed form.

For squared Euclidean cost the plan of two normal laws is normal, too. The objective is that of
:mod:`~ergodica.theory.sinkhorn` with the independent plan as reference, which keeps it finite for densities:
``<C, P> + KL(P | a x b) / eta``. For atoms the two differ by ``(sum a log a + sum b log b - 1) / eta``.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

__all__ = ["EntropicGaussianTransport", "entropic_gaussian_divergence", "entropic_gaussian_transport"]


@dataclass(frozen=True)
class EntropicGaussianTransport:
    """The normal plan of entropic transport between two normal laws.

    Parameters
    ----------
    value
        ``<C, P> + KL(P | a x b) / eta``.
    cost
        ``<C, P>``, the mean of ``|x - y|^2``: above the squared distance ``W2^2``.
    divergence
        ``KL(P | a x b)``, the information that ``x`` and ``y`` have of each other.
    cross_covariance
        ``E (x - mean)(y - mean')^T``, shape ``(d, d)``.
    matrix
        ``B`` of ``E(y | x) = mean' + B (x - mean)``, the map that takes the place of the optimal one, shape ``(d, d)``,
        symmetric.
    residual
        Largest entry of ``C - (S - C S'^-1 C^T) (2 eta) S'`` over the largest of ``S'``, with ``C`` the cross-covariance: zero
        for the plan, whose density is ``exp(2 eta x . y)`` times functions of one variable.
    """

    value: float
    cost: float
    divergence: float
    cross_covariance: Float[np.ndarray, "d d"]
    matrix: Float[np.ndarray, "d d"]
    residual: float


def _normal(name: str, mean: ArrayLike, covariance: ArrayLike) -> tuple[Float[np.ndarray, " d"], ...]:
    m = np.atleast_1d(np.asarray(mean, np.float64))
    S = np.asarray(covariance, np.float64)
    S = S.reshape(1, 1) if S.ndim == 0 else S
    if m.ndim != 1 or S.shape != (m.size, m.size) or not np.all(np.isfinite(m)) or not np.all(np.isfinite(S)):
        raise ValueError(f"{name}: expected a finite mean (d,) and covariance (d, d); got {m.shape} and {S.shape}")
    if not np.allclose(S, S.T, rtol=1e-10, atol=1e-12 * np.abs(S).max()):
        raise ValueError(f"{name}: a covariance is symmetric")
    values, vectors = np.linalg.eigh((S + S.T) / 2)
    if not values[0] > 0:
        raise ValueError(f"{name}: the covariance has to be positive definite; its least eigenvalue is {values[0]:.6g}")
    return m, S, (vectors * np.sqrt(values)) @ vectors.T, (vectors / np.sqrt(values)) @ vectors.T


def entropic_gaussian_transport(
    mean: ArrayLike, covariance: ArrayLike, target_mean: ArrayLike, target_covariance: ArrayLike, *, eta: float
) -> EntropicGaussianTransport:
    """Return the plan of entropic transport between two normal laws, for squared Euclidean cost.

    With ``s = 1 / (2 eta)`` and ``D = (4 S^(1/2) S' S^(1/2) + s^2 I)^(1/2)`` the cross-covariance is ``(S^(1/2) D S^(-1/2) - s
    I) / 2``. As ``eta`` grows the plan tends to that of :func:`~ergodica.theory.transport.gaussian_transport`, as it falls
    to the independent one.

    Parameters
    ----------
    mean, covariance
        Of the first law, shapes ``(d,)`` and ``(d, d)``, or numbers; positive definite.
    target_mean, target_covariance
        Of the second law.
    eta
        Inverse temperature, positive.

    Raises
    ------
    ValueError
        If shapes differ, a covariance is not positive definite, or ``eta`` is not positive.

    References
    ----------
    H. Janati, B. Muzellec, G. Peyré and M. Cuturi, 2020, arXiv:2006.02572; A. Mallasto, A. Gerolin and H. Q. Minh, 2022,
    Information Geometry 5, arXiv:2006.03416.
    """
    m, S, root, inverse_root = _normal("the law", mean, covariance)
    m2, S2, _, _ = _normal("the target", target_mean, target_covariance)
    if m.shape != m2.shape:
        raise ValueError(f"the laws have to live in one space; got dimensions {m.size} and {m2.size}")
    if not 0 < eta < np.inf:
        raise ValueError(f"eta has to be positive and finite; got {eta}")
    s = 0.5 / eta
    inner = root @ S2 @ root
    values, vectors = np.linalg.eigh((inner + inner.T) / 2)
    values = values.clip(min=0)
    # (sqrt(4 v + s^2) - s) / 2 without cancellation: the eigenvalues of S^(-1/2) C S^(1/2).
    shrunk = 2 * values / (np.sqrt(4 * values + s**2) + s)
    C = root @ ((vectors * shrunk) @ vectors.T) @ inverse_root
    # The canonical correlations squared are shrunk^2 / v, and 1 - shrunk^2 / v = s shrunk / v.
    unexplained = 2 * s / (np.sqrt(4 * values + s**2) + s)
    divergence = -0.5 * float(np.sum(np.log(unexplained)))
    cost = float(np.sum((m - m2) ** 2) + np.trace(S) + np.trace(S2) - 2 * np.sum(shrunk))
    conditional = S - C @ np.linalg.solve(S2, C.T)
    residual = np.abs(C - 2 * eta * conditional @ S2).max() / np.abs(S2).max()
    return EntropicGaussianTransport(
        value=cost + divergence / eta,
        cost=cost,
        divergence=divergence,
        cross_covariance=C,
        matrix=np.asarray(np.linalg.solve(S, C).T),
        residual=float(residual),
    )


def entropic_gaussian_divergence(
    mean: ArrayLike, covariance: ArrayLike, target_mean: ArrayLike, target_covariance: ArrayLike, *, eta: float
) -> float:
    """Return the debiased divergence ``V(a, b) - V(a, a) / 2 - V(b, b) / 2`` of two normal laws.

    The counterpart of :func:`~ergodica.theory.sinkhorn.sinkhorn_divergence`: zero for equal laws, positive for others.
    It tends to ``W2^2`` as ``eta`` grows, and to ``|mean - mean'|^2`` as it falls.

    Parameters
    ----------
    mean, covariance, target_mean, target_covariance, eta
        As for :func:`entropic_gaussian_transport`.

    References
    ----------
    H. Janati, B. Muzellec, G. Peyré and M. Cuturi, 2020, arXiv:2006.02572.
    """
    one, two = (mean, covariance), (target_mean, target_covariance)
    across, first, second = (
        entropic_gaussian_transport(*left, *right, eta=eta).value
        for left, right in ((one, two), (one, one), (two, two))
    )
    return across - first / 2 - second / 2
