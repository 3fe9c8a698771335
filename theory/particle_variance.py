"""Variance of the normalising constant that a particle filter estimates, on a finite space.

The model: an initial law ``eta_0``, potentials ``g_0, ..., g_T``, kernels ``M_1, ..., M_T``, and
``Z = E prod_t g_t(X_t)``. The filter: ``N`` particles, multinomial resampling at every step, and the unbiased estimate
``prod_t (1/N) sum_i g_t(X_t^i)``. Other schemes of resampling, and resampling now and then, have other variances.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from ergodica.theory.probability_vector import probability_vector

__all__ = [
    "RelativeVariance",
    "asymptotic_relative_variance",
    "log_normalizer",
    "relative_variance",
    "second_moment",
]


@dataclass(frozen=True)
class RelativeVariance:
    """The variance of an estimate of the normalising constant, over the square of the constant.

    Parameters
    ----------
    value
        For ``N`` particles, or the limit of ``N`` times it.
    method
        How it was computed.
    residual
        Largest relative difference, over the steps, of the normalising constants found forwards and backwards.
    """

    value: float
    method: str
    residual: float

    @property
    def log_bias(self) -> float:
        """``-value / 2``, about how much too small the log of the estimate is on average, if the variance is small."""
        return -self.value / 2


@dataclass(frozen=True)
class _Model:
    predictive: Float[np.ndarray, "t k"]
    kernels: Float[np.ndarray, "s k k"]
    # Scaled to mean one under the predictive laws, so that long models do not underflow.
    potentials: Float[np.ndarray, "t k"]
    log_normalizer: float

    def future(self) -> Float[np.ndarray, "t k"]:
        """Return ``Q_t(x) = E[prod_{s >= t} g_s | X_t = x]``; its mean under the predictive law is one."""
        out = self.potentials.copy()
        for t in range(len(out) - 2, -1, -1):
            out[t] *= self.kernels[t] @ out[t + 1]
        return out

    def residual(self) -> float:
        return float(np.abs((self.predictive * self.future()).sum(axis=1) - 1).max())


def _model(initial: ArrayLike, kernels: ArrayLike, potentials: ArrayLike) -> _Model:
    law = probability_vector(initial, "the initial law")
    g = np.array(potentials, np.float64)
    if law.ndim != 1 or g.ndim != 2 or g.shape[1] != law.size or len(g) == 0:
        raise ValueError(
            f"expected an initial law of shape (k,) and potentials of shape (T + 1, k); got {law.shape} and {g.shape}"
        )
    M = np.asarray(kernels)
    if M.ndim == 2:
        M = np.broadcast_to(M, (len(g) - 1, *M.shape))
    if M.shape != (len(g) - 1, law.size, law.size):
        raise ValueError(
            f"with potentials of shape {g.shape}, kernels have shape {(law.size, law.size)} or "
            f"{(len(g) - 1, law.size, law.size)}; got {np.shape(kernels)}"
        )
    if len(M):
        M = probability_vector(M, "a row of the kernels")
    if not np.all(np.isfinite(g)) or np.any(g < 0):
        raise ValueError("a potential is negative or not finite; expected weights of states")
    predictive = np.empty(g.shape)
    log_z = 0.0
    for t in range(len(g)):
        predictive[t] = law
        mean = float(law @ g[t])
        if not mean > 0:
            raise ValueError(
                f"the potentials at step {t} vanish on all states that can be reached: the constant is zero"
            )
        log_z += math.log(mean)
        g[t] /= mean
        if t < len(M):
            law = (law * g[t]) @ M[t]
    return _Model(predictive, np.asarray(M, np.float64), g, log_z)


def log_normalizer(initial: ArrayLike, kernels: ArrayLike, potentials: ArrayLike) -> float:
    """Return ``log Z``, the log of ``E prod_t g_t(X_t)``.

    Parameters
    ----------
    initial
        ``eta_0``, shape ``(k,)``.
    kernels
        Transition matrices, shape ``(T, k, k)``, or one for all steps, shape ``(k, k)``.
    potentials
        ``g_0, ..., g_T``, shape ``(T + 1, k)``, not negative.

    Raises
    ------
    ValueError
        If shapes do not fit, a law is none, a potential is negative, or the constant is zero.
    """
    return _model(initial, kernels, potentials).log_normalizer


def relative_variance(
    initial: ArrayLike, kernels: ArrayLike, potentials: ArrayLike, num_particles: int
) -> RelativeVariance:
    """Return the exact relative variance of the particle estimate of the normalising constant.

    Two particles, drawn with replacement, are followed: with probability ``1/N`` they have one ancestor. The cost is
    ``T k^3`` operations, whatever the number of particles.

    Parameters
    ----------
    initial
        ``eta_0``, shape ``(k,)``.
    kernels
        Transition matrices, shape ``(T, k, k)``, or one for all steps, shape ``(k, k)``.
    potentials
        ``g_0, ..., g_T``, shape ``(T + 1, k)``, not negative.
    num_particles
        ``N``, at least 1.

    Raises
    ------
    ValueError
        If shapes do not fit, a law is none, a potential is negative, or the constant is zero.

    References
    ----------
    F. Cérou, P. Del Moral and A. Guyader, 2011, A nonasymptotic theorem for unnormalized Feynman-Kac particle models,
    Ann. Inst. H. Poincaré Probab. Statist. 47, doi:10.1214/10-AIHP358.
    """
    if not float(num_particles).is_integer() or num_particles < 1:
        raise ValueError(f"num_particles has to be a positive integer; got {num_particles}")
    share = 1.0 / int(num_particles)
    model = _model(initial, kernels, potentials)
    # What the second moment of the pair's weight has beyond the product of the means; of order 1/N, so that nothing
    # cancels for many particles.
    excess = np.zeros((model.potentials.shape[1],) * 2)
    first = model.predictive[0]
    for t, g in enumerate(model.potentials):
        mean = model.predictive[t] * g
        same = first * g**2
        excess = (1 - share) * excess * np.outer(g, g) + share * (np.diag(same) - np.outer(mean, mean))
        if t < len(model.kernels):
            M = model.kernels[t]
            first = (mean + excess.sum(axis=1)) @ M
            excess = M.T @ excess @ M
    return RelativeVariance(float(excess.sum()), "pair recursion", model.residual())


def second_moment(initial: ArrayLike, kernels: ArrayLike, potentials: ArrayLike, num_particles: int) -> float:
    """Return the second moment of the particle estimate of the normalising constant; see :func:`relative_variance`.

    Parameters
    ----------
    initial
        ``eta_0``, shape ``(k,)``.
    kernels
        Transition matrices, shape ``(T, k, k)``, or one for all steps, shape ``(k, k)``.
    potentials
        ``g_0, ..., g_T``, shape ``(T + 1, k)``, not negative.
    num_particles
        ``N``, at least 1. With one particle this is ``E prod_t g_t(X_t)^2``.
    """
    relative = relative_variance(initial, kernels, potentials, num_particles).value
    return math.exp(2 * log_normalizer(initial, kernels, potentials)) * (1 + relative)


def asymptotic_relative_variance(initial: ArrayLike, kernels: ArrayLike, potentials: ArrayLike) -> RelativeVariance:
    """Return the limit of ``N`` times the relative variance of the particle estimate of the normalising constant.

    It is the sum over the steps of the relative variance of ``Q_t(x) = E[prod_{s >= t} g_s | X_t = x]`` under the
    predictive law of step ``t``.

    Parameters
    ----------
    initial
        ``eta_0``, shape ``(k,)``.
    kernels
        Transition matrices, shape ``(T, k, k)``, or one for all steps, shape ``(k, k)``.
    potentials
        ``g_0, ..., g_T``, shape ``(T + 1, k)``, not negative.

    References
    ----------
    P. Del Moral, 2004, Feynman-Kac Formulae, section 9.4, doi:10.1007/978-1-4684-9393-1.
    """
    model = _model(initial, kernels, potentials)
    deviations = (model.future() - 1) ** 2
    return RelativeVariance(float((model.predictive * deviations).sum()), "sum over steps", model.residual())
