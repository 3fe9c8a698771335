"""Closed forms of the Ornstein-Uhlenbeck diffusion and of its discretised reversal.

The forward process is ``dX = -X dt + sqrt(2) dB``, so ``X_t`` given ``X_0 = y`` is normal with mean ``a y`` and
variance ``s``, with ``a = exp(-t)`` and ``s = 1 - exp(-2 t)``. The law of ``X_t`` is called ``p_t``. Its reversal, with
time running backwards from a horizon, is ``dY = (Y + 2 grad log p_t(Y)) dtau + sqrt(2) dB``. All functions take and
return NumPy arrays in double precision.
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

__all__ = [
    "Mixture",
    "WeightMoment",
    "concavity_horizon",
    "mixture_log_density",
    "mixture_score",
    "noised_mixture",
    "rejection_acceptance",
    "reversed_variance",
    "weight_moment",
]


class Mixture(NamedTuple):
    """A mixture of normal laws.

    Parameters
    ----------
    weights
        Shape ``(k,)``, summing to one.
    means
        Shape ``(k, d)``.
    covariances
        Shape ``(k, d, d)``.
    """

    weights: Float[np.ndarray, " k"]
    means: Float[np.ndarray, "k d"]
    covariances: Float[np.ndarray, "k d d"]


def noised_mixture(weights: ArrayLike, means: ArrayLike, covariances: ArrayLike, t: float) -> Mixture:
    """Return the law ``p_t`` of a mixture of normal laws after time ``t``: a mixture with the same weights.

    Parameters
    ----------
    weights
        Shape ``(k,)``; normalised here.
    means
        Shape ``(k, d)``, or ``(k,)`` in one dimension.
    covariances
        Shape ``(k, d, d)``, or the variances ``(k,)`` in one dimension.
    t
        Non-negative time.

    Raises
    ------
    ValueError
        If the shapes do not fit, or the time is negative.
    """
    w, m, c = (np.asarray(value, np.float64) for value in (weights, means, covariances))
    m = m[:, None] if m.ndim == 1 else m
    c = c[:, None, None] if c.ndim == 1 else c
    if w.ndim != 1 or m.shape[:1] != w.shape or c.shape != (*m.shape, m.shape[-1]):
        raise ValueError(f"expected shapes (k,), (k, d), (k, d, d); got {w.shape}, {m.shape}, {c.shape}")
    if not t >= 0:
        raise ValueError(f"a time is at least 0; got {t}")
    a, s = np.exp(-t), -np.expm1(-2 * t)
    return Mixture(w / w.sum(), a * m, a**2 * c + s * np.eye(m.shape[-1]))


def _components(x: Float[np.ndarray, "... d"], mixture: Mixture) -> tuple[np.ndarray, np.ndarray]:
    """Return the log of weight times density, and the score, of each component: shapes ``(..., k)``, ``(..., k, d)``."""
    offset = x[..., None, :] - mixture.means
    scores = -np.linalg.solve(mixture.covariances, offset[..., None])[..., 0]
    _, log_det = np.linalg.slogdet(2 * np.pi * mixture.covariances)
    return np.log(mixture.weights) - 0.5 * log_det + 0.5 * np.sum(offset * scores, axis=-1), scores


def _points(x: ArrayLike, mixture: Mixture) -> np.ndarray:
    points = np.asarray(x, np.float64)
    dim = mixture.means.shape[1]
    if points.ndim == 0 and dim == 1:
        return points[None]
    if points.shape[-1:] != (dim,):
        raise ValueError(f"expected points of shape (..., {dim}); got {points.shape}")
    return points


def mixture_log_density(x: ArrayLike, mixture: Mixture) -> Float[np.ndarray, "..."]:
    """Return the log density of a mixture at points of shape ``(..., d)``, or at a number in one dimension."""
    logs, _ = _components(_points(x, mixture), mixture)
    return np.asarray(np.logaddexp.reduce(logs, axis=-1))


def mixture_score(x: ArrayLike, mixture: Mixture) -> Float[np.ndarray, "... d"]:
    """Return the gradient of the log density of a mixture at points of shape ``(..., d)``, or at a number."""
    logs, scores = _components(_points(x, mixture), mixture)
    share = np.exp(logs - np.logaddexp.reduce(logs, axis=-1)[..., None])
    return np.asarray(np.sum(share[..., None] * scores, axis=-2))


def rejection_acceptance(
    x: ArrayLike, t: float, mixture: tuple[ArrayLike, ArrayLike, ArrayLike], log_upper: float
) -> float:
    """Return the chance that a proposal ``y ~ N(x / a, (s / a^2) I)`` is accepted with probability ``gamma(y) / M``.

    It is ``a^d p_t(x) / M``: what is proposed and accepted has the density ``N(y; x / a, s / a^2) gamma(y) / M``, which is
    ``a^d N(x; a y, s) gamma(y) / M``.

    Parameters
    ----------
    x
        Point of shape ``(d,)``, or a number in one dimension.
    t
        Time.
    mixture
        Weights, means and covariances of ``gamma``, as for :func:`noised_mixture`.
    log_upper
        ``log M``, at least the largest log density.

    References
    ----------
    Y. He, K. Rojas, M. Tao, NeurIPS 2024, arXiv:2402.17886.
    """
    noised = noised_mixture(*mixture, t)
    return float(np.exp(mixture_log_density(x, noised) - noised.means.shape[1] * t - log_upper))


def concavity_horizon(curvature: float) -> float:
    """Return the time below which every posterior of ``X_0`` given ``X_t`` is strongly log-concave.

    Parameters
    ----------
    curvature
        ``L > 0`` with the Hessian of the log density of ``X_0`` at most ``L`` everywhere.

    Returns
    -------
    float
        ``log(1 + 1 / L) / 2``, where ``exp(-2 t) / (1 - exp(-2 t)) = L``.
    """
    if not curvature > 0:
        raise ValueError(
            f"curvature has to be positive: the posterior is log-concave at every time otherwise; got {curvature}"
        )
    return float(0.5 * np.log1p(1 / curvature))


def reversed_variance(
    times: ArrayLike,
    variance: float,
    *,
    start: float | None = None,
    integrator: Literal["exponential", "euler"] = "exponential",
) -> float:
    """Return the variance that a discretised reversal with the exact score ends with, for the target ``N(0, variance)``.

    Parameters
    ----------
    times
        Decreasing times, shape ``(K + 1,)``; the last may be 0.
    variance
        Variance of the target, positive.
    start
        Variance at the first time. Default: that of ``p_t`` there.
    integrator
        ``"exponential"``: exact for a frozen score, ``y -> e^h y + 2 (e^h - 1) score + sqrt(e^(2h) - 1) xi``; or
        ``"euler"``: Euler-Maruyama.
    """
    grid = _grid(times)
    value = float(_noised_variance(variance, grid[0])) if start is None else float(start)
    for t, h in zip(grid[:-1], -np.diff(grid), strict=True):
        q = _noised_variance(variance, t)
        if integrator == "exponential":
            value = (np.exp(h) - 2 * np.expm1(h) / q) ** 2 * value + np.expm1(2 * h)
        elif integrator == "euler":
            value = (1 + h - 2 * h / q) ** 2 * value + 2 * h
        else:
            raise ValueError(f"the integrators are 'exponential' and 'euler'; got {integrator!r}")
    return float(value)


def _noised_variance(variance: float, t: float) -> float:
    return float(np.exp(-2 * t) * variance - np.expm1(-2 * t))


def _grid(times: ArrayLike) -> Float[np.ndarray, " n"]:
    grid = np.asarray(times, np.float64)
    if grid.ndim != 1 or grid.size < 2 or not np.all(np.diff(grid) < 0) or not grid[-1] >= 0:
        raise ValueError(f"expected at least two decreasing times, the last at least 0; got {grid}")
    return grid


class WeightMoment(NamedTuple):
    """A moment of the path weight, and the law of the draw under the weights.

    Parameters
    ----------
    log_moment
        ``log E[w^p]``; infinite if the moment does not exist.
    variance
        Variance of the draw under the law with density ``w^p / E[w^p]``; the target's for ``p = 1``.
    unweighted_variance
        Variance of the draw without weights.
    """

    log_moment: float
    variance: float
    unweighted_variance: float


def weight_moment(
    times: ArrayLike,
    variance: float,
    power: float,
    *,
    score: Literal["exact", "single draw"] = "exact",
    start_steps: int = 0,
) -> WeightMoment:
    """Return a moment of the path weight of a discretised reversal for the density ``exp(-x^2 / (2 variance))``.

    The reversal starts at ``N(0, 1 - exp(-2 T))``, the exponential integrator moves it, and the weight compares its
    path with the forward process started at the target:
    ``w = gamma(y_K) prod B(y_k | y_{k+1}) / (p_0(y_0) prod F(y_{k+1} | y_k))``. Its log is a quadratic form of the normal
    numbers drawn, so every moment is a determinant, and ``E[w] = sqrt(2 pi variance)`` whatever the times and the score.

    Parameters
    ----------
    times
        Decreasing times, shape ``(K + 1,)``.
    variance
        Variance of the target.
    power
        ``p``.
    score
        ``"exact"``, or ``"single draw"``: the importance estimate from one draw, ``zeta / sqrt(1 - exp(-2 t))`` with a
        fresh standard normal ``zeta`` for every estimate; ``F`` is then the normal law around the realised mean.
    start_steps
        Unadjusted Langevin steps of size ``(1 - exp(-2 T)) / 2`` at time ``T`` before the reversal; the backward kernel
        of each is the Langevin step from its end, with the score estimated there.
    """
    grid = _grid(times)
    if score not in ("exact", "single draw"):
        raise ValueError(f"the scores are 'exact' and 'single draw'; got {score!r}")
    steps = grid.size - 1
    num_noises = 1 + start_steps + steps
    size = num_noises + start_steps + 1 + steps
    unit = np.eye(size)
    fresh = iter(unit[num_noises:])

    def estimate(y: np.ndarray, t: float) -> np.ndarray:
        if score == "exact":
            return -y / _noised_variance(variance, t)
        return np.asarray(next(fresh) / np.sqrt(-np.expm1(-2 * t)))

    def square(y: np.ndarray) -> np.ndarray:
        return np.outer(y, y)

    s = -np.expm1(-2 * grid[0])
    y = np.sqrt(s) * unit[0]
    constant = 0.5 * np.log(2 * np.pi * s)
    # log w = constant - u^T form u / 2 for the normal numbers u; a point is the row of its coefficients in u.
    form = -square(unit[0])
    if start_steps:
        eta = s / 2
        at_y = estimate(y, grid[0])
        for noise in unit[1 : 1 + start_steps]:
            y_new = y + eta * at_y + np.sqrt(2 * eta) * noise
            at_y = estimate(y_new, grid[0])
            form += square(y - y_new - eta * at_y) / (2 * eta) - square(noise)
            y = y_new
    for t, h, noise in zip(grid[:-1], -np.diff(grid), unit[1 + start_steps : num_noises], strict=True):
        push, scale = 2 * np.expm1(h) * estimate(y, t), np.sqrt(np.expm1(2 * h))
        y_new = np.exp(h) * y + push + scale * noise
        # Variances: 1 - e^-2h of the backward step, e^2h - 1 of the forward step.
        constant += h
        form += square(y - np.exp(-h) * y_new) / -np.expm1(-2 * h) - square(noise)
        y = y_new
    form += square(y) / variance
    precision = np.eye(size) + power * form
    eigenvalues = np.linalg.eigvalsh(precision)
    if eigenvalues[0] <= 0:
        return WeightMoment(np.inf, np.nan, float(y @ y))
    tilted = float(y @ np.linalg.solve(precision, y))
    return WeightMoment(float(power * constant - 0.5 * np.sum(np.log(eigenvalues))), tilted, float(y @ y))
