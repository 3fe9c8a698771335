"""Samplers that are affine maps plus normal noise: their stationary law, rate, bias and asymptotic variances.

On a normal target many samplers move by ``z' = M z + c + R w`` with standard normal ``w``: Gibbs sampling, discretised
Langevin dynamics, unadjusted Hamiltonian Monte Carlo, ADMM. All there is to know about them is linear algebra. An exact
one has the target for its stationary law; for the others the bias follows.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from jaxtyping import Float
from numpy.typing import ArrayLike

__all__ = ["GaussianBias", "LinearGaussianSampler", "StationaryNormal", "gaussian_bias"]


@dataclass(frozen=True)
class StationaryNormal:
    """A stationary normal law.

    Parameters
    ----------
    mean
        Shape ``(d,)``.
    covariance
        Shape ``(d, d)``.
    residual
        Largest entry of ``C - M C M^T - R R^T``, relative to the largest of ``C``.
    """

    mean: Float[np.ndarray, " d"]
    covariance: Float[np.ndarray, "d d"]
    residual: float


@dataclass(frozen=True)
class GaussianBias:
    """How far a normal law is from a normal target.

    Parameters
    ----------
    wasserstein
        The transport distance ``W2``.
    divergence
        The Kullback-Leibler divergence of the law from the target, ``KL(law | target)``.
    """

    wasserstein: float
    divergence: float


def _covariance(matrix: ArrayLike, dim: int) -> Float[np.ndarray, "d d"]:
    out = np.asarray(matrix, np.float64)
    if out.shape != (dim, dim) or not np.allclose(out, out.T, rtol=1e-10, atol=1e-12 * np.abs(out).max(initial=0.0)):
        raise ValueError(f"expected a symmetric covariance of shape {(dim, dim)}; got shape {out.shape}")
    return (out + out.T) / 2


def gaussian_bias(
    mean: ArrayLike, covariance: ArrayLike, target_mean: ArrayLike, target_covariance: ArrayLike
) -> GaussianBias:
    """Return transport distance and divergence of one normal law from another.

    Parameters
    ----------
    mean, covariance
        Of the law, shapes ``(d,)`` and ``(d, d)``.
    target_mean, target_covariance
        Of the target; the covariance positive definite.

    Raises
    ------
    ValueError
        If the shapes do not fit, or the target's covariance is not positive definite.
    """
    m, mu = np.atleast_1d(np.asarray(mean, np.float64)), np.atleast_1d(np.asarray(target_mean, np.float64))
    if m.ndim != 1 or m.shape != mu.shape:
        raise ValueError(f"expected means of one shape (d,); got {m.shape} and {mu.shape}")
    C, S = _covariance(covariance, len(m)), _covariance(target_covariance, len(m))
    values, vectors = np.linalg.eigh(S)
    if not values[0] > 0:
        raise ValueError(f"the target's covariance has to be positive definite; its smallest eigenvalue is {values[0]}")
    root = (vectors * np.sqrt(values)) @ vectors.T
    # W2^2 = |m - mu|^2 + |C^(1/2) - S^(1/2) U|^2 with the best rotation U: no difference of traces, which would cancel.
    own, basis = np.linalg.eigh(C)
    half = (basis * np.sqrt(np.clip(own, 0, None))) @ basis.T
    left, _, right = np.linalg.svd(root @ half)
    distance = np.sqrt(np.sum((m - mu) ** 2) + np.sum((half - root @ (left @ right)) ** 2))
    white = np.linalg.solve(root, np.linalg.solve(root, C).T)
    ratios = np.linalg.eigvalsh((white + white.T) / 2)
    shift = np.linalg.solve(root, m - mu)
    if ratios[0] <= 0:
        return GaussianBias(float(distance), float("inf"))
    excess = ratios - 1
    divergence = 0.5 * float(np.sum(excess - np.log1p(excess)) + shift @ shift)
    return GaussianBias(float(distance), max(divergence, 0.0))


class LinearGaussianSampler:
    """The sampler ``z' = M z + c + R w`` with standard normal noise ``w``.

    Parameters
    ----------
    M
        Shape ``(d, d)``.
    c
        Shape ``(d,)``; default: zero.
    R
        Shape ``(d, k)``; or give the noise's covariance.
    noise
        ``R R^T``, shape ``(d, d)``, instead of ``R``.

    Raises
    ------
    ValueError
        If shapes do not fit, entries are not finite, or not exactly one of ``R`` and ``noise`` is given.

    Notes
    -----
    Where something is conserved (the sum of multipliers, for instance) the spectral radius is one and there is no
    unique stationary law: :meth:`restricted` leaves such directions out.
    """

    M: Float[np.ndarray, "d d"]
    c: Float[np.ndarray, " d"]
    noise: Float[np.ndarray, "d d"]

    def __init__(
        self, M: ArrayLike, c: ArrayLike | None = None, R: ArrayLike | None = None, *, noise: ArrayLike | None = None
    ) -> None:
        self.M = np.atleast_2d(np.array(M, np.float64))
        if self.M.ndim != 2 or self.M.shape[0] != self.M.shape[1] or self.M.size == 0:
            raise ValueError(f"M has to be a square matrix; got shape {self.M.shape}")
        dim = len(self.M)
        self.c = np.zeros(dim) if c is None else np.atleast_1d(np.array(c, np.float64))
        if self.c.shape != (dim,):
            raise ValueError(f"c has to have shape {(dim,)}; got {self.c.shape}")
        if (R is None) == (noise is None):
            raise ValueError("give either R or the covariance of the noise")
        if R is not None:
            factor = np.atleast_2d(np.asarray(R, np.float64))
            if factor.ndim != 2 or len(factor) != dim:
                raise ValueError(f"R has to have {dim} rows; got shape {factor.shape}")
            self.noise = factor @ factor.T
        else:
            self.noise = _covariance(np.atleast_2d(np.asarray(noise, np.float64)), dim)
            lowest = float(np.linalg.eigvalsh(self.noise)[0])
            if lowest < -1e-10 * max(1.0, float(np.abs(self.noise).max())):
                raise ValueError(f"the covariance of the noise has the negative eigenvalue {lowest:.3g}")
        if not all(np.all(np.isfinite(array)) for array in (self.M, self.c, self.noise)):
            raise ValueError("M, c and the noise have to be finite")

    @property
    def rate(self) -> float:
        """The spectral radius of ``M``: means converge geometrically with this rate.

        For reversible samplers it is also the spectral radius on all square-integrable functions of mean zero, since
        eigenvalues there are products of eigenvalues of ``M``.
        """
        return float(np.abs(np.linalg.eigvals(self.M)).max())

    def _stable(self) -> None:
        rate = self.rate
        if not rate < 1 - 1e-13:
            raise ValueError(
                f"the sampler does not converge: the spectral radius of M is {rate:.12g}. Take a smaller step, or leave "
                "out what is conserved with restricted()"
            )

    def stationary(self) -> StationaryNormal:
        """Return the stationary law.

        Raises
        ------
        ValueError
            If the spectral radius is not below one.
        """
        self._stable()
        mean = np.linalg.solve(np.eye(len(self.M)) - self.M, self.c)
        covariance = scipy.linalg.solve_discrete_lyapunov(self.M, self.noise)
        covariance = (covariance + covariance.T) / 2
        error = np.abs(covariance - self.M @ covariance @ self.M.T - self.noise).max()
        return StationaryNormal(mean, covariance, float(error / max(float(np.abs(covariance).max()), 1e-300)))

    def marginal(self, num_coordinates: int) -> StationaryNormal:
        """Return the stationary law of the first coordinates: of positions without velocities, say.

        Parameters
        ----------
        num_coordinates
            How many.
        """
        if not 1 <= num_coordinates <= len(self.M):
            raise ValueError(f"num_coordinates has to lie between 1 and {len(self.M)}; got {num_coordinates}")
        law = self.stationary()
        k = num_coordinates
        return StationaryNormal(law.mean[:k], law.covariance[:k, :k], law.residual)

    def bias(self, target_mean: ArrayLike, target_covariance: ArrayLike) -> GaussianBias:
        """Return the distances of the stationary law from a normal target on the first coordinates.

        Parameters
        ----------
        target_mean
            Shape ``(k,)`` with ``k`` at most ``d``.
        target_covariance
            Shape ``(k, k)``, positive definite.
        """
        law = self.marginal(np.atleast_1d(np.asarray(target_mean)).shape[0])
        return gaussian_bias(law.mean, law.covariance, target_mean, target_covariance)

    def asymptotic_variance(self, a: ArrayLike) -> float:
        """Return the limit of ``n`` times the variance of the time average of ``a^T z``.

        ``a^T [(I - M)^{-1} C + C (I - M^T)^{-1} - C] a``.

        Parameters
        ----------
        a
            Shape ``(d,)``.
        """
        weights = self._weights(a)
        covariance = self.stationary().covariance
        moved = np.linalg.solve(np.eye(len(self.M)) - self.M.T, weights)
        return float(2 * moved @ covariance @ weights - weights @ covariance @ weights)

    def integrated_autocorrelation_time(self, a: ArrayLike) -> float:
        """Return the asymptotic variance of ``a^T z`` over its variance."""
        weights = self._weights(a)
        variance = float(weights @ self.stationary().covariance @ weights)
        return self.asymptotic_variance(weights) / variance if variance > 0 else float("nan")

    def _weights(self, a: ArrayLike) -> Float[np.ndarray, " d"]:
        weights = np.atleast_1d(np.asarray(a, np.float64))
        if weights.shape != (len(self.M),):
            raise ValueError(f"a has to have shape {(len(self.M),)}; got {weights.shape}")
        return weights

    def contraction(self, metric: ArrayLike | None = None) -> float:
        """Return the one-step contraction of ``W2`` in the norm ``|z|_Q``: the norm of ``Q^{1/2} M Q^{-1/2}``.

        Parameters
        ----------
        metric
            ``Q``, symmetric and positive definite, shape ``(d, d)``; default: the identity.
        """
        if metric is None:
            return float(np.linalg.norm(self.M, 2))
        factor = np.linalg.cholesky(_covariance(metric, len(self.M))).T
        return float(np.linalg.norm(np.linalg.solve(factor.T, (factor @ self.M).T).T, 2))

    def restricted(self, basis: ArrayLike) -> "LinearGaussianSampler":
        """Return the sampler in the coordinates of an invariant subspace.

        Parameters
        ----------
        basis
            Orthonormal columns, shape ``(d, k)``, of a subspace that ``M`` maps into itself and that contains ``c`` and
            the noise.

        Raises
        ------
        ValueError
            If the columns are not orthonormal, or the sampler leaves their span.
        """
        columns = np.asarray(basis, np.float64)
        if columns.ndim != 2 or len(columns) != len(self.M):
            raise ValueError(f"the basis has to have {len(self.M)} rows; got shape {columns.shape}")
        if not np.allclose(columns.T @ columns, np.eye(columns.shape[1]), atol=1e-10):
            raise ValueError("the columns of the basis have to be orthonormal")
        outside = np.eye(len(self.M)) - columns @ columns.T
        scale = 1e-9 * max(1.0, float(np.abs(self.M).max()), float(np.abs(self.c).max()))
        for name, leak in (
            ("M", outside @ self.M @ columns),
            ("c", outside @ self.c),
            ("the noise", outside @ self.noise),
        ):
            if np.abs(leak).max(initial=0.0) > scale:
                raise ValueError(f"the subspace is not invariant: {name} leads out of it")
        return LinearGaussianSampler(
            columns.T @ self.M @ columns, columns.T @ self.c, noise=columns.T @ self.noise @ columns
        )

    def then(self, other: "LinearGaussianSampler") -> "LinearGaussianSampler":
        """Return the sampler that makes this step, then the other's.

        Parameters
        ----------
        other
            On the same space.
        """
        if other.M.shape != self.M.shape:
            raise ValueError(f"the samplers live in dimensions {len(self.M)} and {len(other.M)}")
        return LinearGaussianSampler(
            other.M @ self.M, other.M @ self.c + other.c, noise=other.M @ self.noise @ other.M.T + other.noise
        )
