"""Multilevel Monte Carlo: how many samples on each level, what it costs, and a driver that finds out both.

A quantity is approximated on levels ``0, 1, ...`` of growing accuracy and cost. The mean on the finest is that on the
coarsest plus the means of the differences of neighbours, ``E P_L = E P_0 + sum E[P_l - P_(l-1)]``, and most samples are
taken where they are cheap. M. B. Giles, 2008, doi:10.1287/opre.1070.0496.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray
from numpy.typing import ArrayLike

__all__ = [
    "Allocation",
    "GeometricLevels",
    "MultilevelComplexity",
    "MultilevelEstimate",
    "MultilevelSampler",
    "MultilevelWarning",
    "RandomisedLevels",
    "geometric_levels",
    "multilevel_complexity",
    "multilevel_monte_carlo",
    "optimal_allocation",
    "randomised_levels",
]


class MultilevelWarning(UserWarning):
    """An assumption of a multilevel estimate does not seem to hold."""


@dataclass(frozen=True)
class Allocation:
    """Numbers of samples on the levels.

    Parameters
    ----------
    samples
        The optimal real numbers, shape ``(L + 1,)``.
    num_samples
        Rounded up, at least one.
    variance
        Of the estimate with ``samples``: the variance that was asked for.
    cost
        With ``samples``.
    residual
        The spread of ``V_l / (N_l^2 C_l)`` over the levels, relative: zero where cost is stationary at this variance.
    """

    samples: Float[np.ndarray, " levels"]
    num_samples: Int[np.ndarray, " levels"]
    variance: float
    cost: float
    residual: float


@dataclass(frozen=True)
class MultilevelComplexity:
    """The order of the cost of a root mean squared error ``eps``, ``eps^-exponent log(1 / eps)^log_power``.

    Parameters
    ----------
    exponent
        2 is as good as sampling the exact quantity at unit cost.
    log_power
        0 or 2.
    single_level_exponent
        Of plain Monte Carlo on the finest level alone.
    """

    exponent: float
    log_power: int
    single_level_exponent: float


@dataclass(frozen=True)
class RandomisedLevels:
    """Probabilities of the levels for an estimate from one level drawn at random.

    Parameters
    ----------
    probabilities
        ``p_l``, shape ``(L + 1,)``.
    second_moment
        ``sum m_l / p_l`` of the estimate ``Y_l / p_l``.
    cost
        Mean cost of an estimate, ``sum p_l C_l``.
    """

    probabilities: Float[np.ndarray, " levels"]
    second_moment: float
    cost: float


@dataclass(frozen=True)
class GeometricLevels:
    """Probabilities ``p_l = (1 - ratio) ratio^l`` of all levels, for rates of decay and growth.

    Parameters
    ----------
    ratio
        ``2^(-(beta + gamma) / 2)``.
    second_moment
        ``sum 2^(-beta l) / p_l``, the second moment of the estimate in units of that of the first level.
    cost
        ``sum p_l 2^(gamma l)``, in units of the cost on level 0.
    """

    ratio: float
    second_moment: float
    cost: float


@dataclass(frozen=True)
class MultilevelEstimate:
    """The result of a multilevel run.

    Parameters
    ----------
    value
        The estimate.
    standard_error
        Of its sampling error.
    bias
        The estimated size of the bias.
    num_samples
        By level, shape ``(L + 1,)``.
    means, variances
        Of the differences ``P_l - P_(l-1)``, ``P_0`` on level 0.
    costs
        Of a sample, by level.
    total_cost
        Of all samples.
    alpha, beta
        Fitted rates: the means fall like ``2^(-alpha l)``, the variances like ``2^(-beta l)``.
    kurtosis
        Of the differences; a large one says that the variances are poorly known. NaN where all differences are equal.
    consistency
        By level from 1: how far the means of ``P_l - P_(l-1)``, ``P_l`` and ``P_(l-1)`` are from adding up, in units of
        three times the sum of their standard errors. Above 1, coarse and fine samples of a level do not have the laws
        that they have on their neighbours.
    converged
        Whether the estimated bias is small enough.
    """

    value: float
    standard_error: float
    bias: float
    num_samples: Int[np.ndarray, " levels"]
    means: Float[np.ndarray, " levels"]
    variances: Float[np.ndarray, " levels"]
    costs: Float[np.ndarray, " levels"]
    total_cost: float
    alpha: float
    beta: float
    kurtosis: Float[np.ndarray, " levels"]
    consistency: Float[np.ndarray, " differences"]
    converged: bool


class MultilevelSampler(Protocol):
    """What the driver calls for samples."""

    def __call__(self, level: int, num_samples: int, key: PRNGKeyArray, /) -> tuple[Any, Any]:
        """Return ``P_level`` and, from the same randomness, ``P_(level-1)`` (zeros on level 0), shapes ``(num_samples,)``."""


def _levels(
    variances: ArrayLike, costs: ArrayLike
) -> tuple[Float[np.ndarray, " levels"], Float[np.ndarray, " levels"]]:
    V, C = np.asarray(variances, np.float64), np.asarray(costs, np.float64)
    if V.ndim != 1 or V.size == 0 or V.shape != C.shape:
        raise ValueError(f"expected one variance and one cost for each level; got shapes {V.shape} and {C.shape}")
    if not np.all(np.isfinite(V)) or np.any(V < 0) or not np.all(np.isfinite(C)) or np.any(C <= 0):
        raise ValueError(f"variances have to be at least 0 and costs positive, all finite; got {V} and {C}")
    return V, C


def _positive(name: str, value: float) -> float:
    if not 0 < value < math.inf:
        raise ValueError(f"{name} has to be positive and finite; got {value}")
    return float(value)


def optimal_allocation(
    variances: ArrayLike, costs: ArrayLike, eps: float, *, variance_share: float = 0.5
) -> Allocation:
    """Return the numbers of samples that reach a variance at the least cost.

    ``N_l = sqrt(V_l / C_l) sum_m sqrt(V_m C_m) / v`` for the variance ``v = variance_share eps^2``.

    Parameters
    ----------
    variances, costs
        ``V_l`` and ``C_l`` of one sample on each level, shape ``(L + 1,)``.
    eps
        Wanted root mean squared error.
    variance_share
        The share of ``eps^2`` for the variance, the rest is for the squared bias.

    Raises
    ------
    ValueError
        If shapes differ, or a number is out of range.

    References
    ----------
    M. B. Giles, 2008, doi:10.1287/opre.1070.0496, section 3.
    """
    V, C = _levels(variances, costs)
    if not 0 < variance_share <= 1:
        raise ValueError(f"variance_share has to lie in (0, 1]; got {variance_share}")
    budget = variance_share * _positive("eps", eps) ** 2
    N = np.sqrt(V / C) * np.sqrt(V * C).sum() / budget
    if not N.max() < 2.0**62:
        raise ValueError(f"eps={eps:g} needs {N.max():.3g} samples on a level; raise eps")
    used = V > 0
    stationary = V[used] / (N[used] ** 2 * C[used])
    return Allocation(
        N,
        np.maximum(np.ceil(N), 1).astype(np.int64),
        float(np.sum(V[used] / N[used])),
        float(N @ C),
        float(np.ptp(stationary) / stationary.max()) if np.any(used) else 0.0,
    )


def multilevel_complexity(alpha: float, beta: float, gamma: float) -> MultilevelComplexity:
    """Return the order of the cost of multilevel Monte Carlo.

    Parameters
    ----------
    alpha
        The bias on level ``l`` is of order ``2^(-alpha l)``.
    beta
        The variance of the difference ``P_l - P_(l-1)`` is of order ``2^(-beta l)``.
    gamma
        The cost of a sample is of order ``2^(gamma l)``.

    Raises
    ------
    ValueError
        If a rate is not positive, or ``alpha < min(beta, gamma) / 2``, where the theorem says nothing.

    References
    ----------
    M. B. Giles, 2008, doi:10.1287/opre.1070.0496, theorem 3.1.
    """
    for name, rate in (("alpha", alpha), ("beta", beta), ("gamma", gamma)):
        _positive(name, rate)
    if alpha < min(beta, gamma) / 2:
        raise ValueError(f"the theorem needs alpha >= min(beta, gamma) / 2; got {alpha}, {beta} and {gamma}")
    single = 2 + gamma / alpha
    if beta > gamma:
        return MultilevelComplexity(2.0, 0, single)
    if beta == gamma:
        return MultilevelComplexity(2.0, 2, single)
    return MultilevelComplexity(2 + (gamma - beta) / alpha, 0, single)


def randomised_levels(second_moments: ArrayLike, costs: ArrayLike) -> RandomisedLevels:
    """Return the level probabilities for which ``Y_l / p_l`` costs the least for its precision.

    ``p_l`` is proportional to ``sqrt(m_l / C_l)``: it minimises the product of second moment and mean cost, which is then
    ``(sum sqrt(m_l C_l))^2``. The estimate has the mean ``sum E Y_l``: no bias but that of the last level.

    Parameters
    ----------
    second_moments
        ``m_l = E Y_l^2`` of the differences ``Y_l = P_l - P_(l-1)``, positive, shape ``(L + 1,)``.
    costs
        ``C_l`` of a sample.

    Raises
    ------
    ValueError
        If shapes differ, or a number is out of range; also for a second moment of zero, since a level that is never
        drawn must have differences that are zero: leave it out.

    References
    ----------
    C.-H. Rhee and P. W. Glynn, 2015, doi:10.1287/opre.2015.1404.
    """
    m, C = _levels(second_moments, costs)
    if np.any(m == 0):
        raise ValueError("a second moment is zero; leave out levels whose differences are zero")
    p = np.sqrt(m / C)
    p = p / p.sum()
    return RandomisedLevels(p, float(np.sum(m / p)), float(p @ C))


def geometric_levels(beta: float, gamma: float) -> GeometricLevels:
    """Return the probabilities over all levels, ``p_l`` proportional to ``2^(-(beta + gamma) l / 2)``.

    With infinitely many levels the estimate ``Y_l / p_l`` has no bias at all.

    Parameters
    ----------
    beta
        The second moment of ``P_l - P_(l-1)`` is of order ``2^(-beta l)``.
    gamma
        The cost of a sample is of order ``2^(gamma l)``.

    Raises
    ------
    ValueError
        If ``beta <= gamma``: no probabilities then give finite variance and finite mean cost. Use
        :func:`multilevel_monte_carlo`.

    References
    ----------
    C.-H. Rhee and P. W. Glynn, 2015, doi:10.1287/opre.2015.1404.
    """
    if not _positive("beta", beta) > _positive("gamma", gamma):
        raise ValueError(f"finite variance and finite cost need beta > gamma; got {beta} and {gamma}")
    ratio = 2 ** (-(beta + gamma) / 2)
    shrink = 1 - 2 ** ((gamma - beta) / 2)
    return GeometricLevels(ratio, 1 / ((1 - ratio) * shrink), (1 - ratio) / shrink)


class _Level:
    """Sums of powers over the samples of a level, around the means of its first batch, so that they do not cancel."""

    def __init__(self) -> None:
        self.count = 0
        self.centre = self.fine_centre = 0.0
        self.powers = np.zeros(4)
        self.fine_powers = np.zeros(2)

    def add(self, fine: Any, coarse: Any, level: int, count: int) -> None:
        f, c = np.asarray(fine, np.float64), np.asarray(coarse, np.float64)
        if f.shape != (count,) or c.shape != (count,):
            raise ValueError(
                f"the sampler has to return two arrays of shape ({count},) on level {level}; got {f.shape} and {c.shape}"
            )
        if not np.all(np.isfinite(f)) or not np.all(np.isfinite(c)):
            raise ValueError(f"the sampler returned NaN or inf on level {level}")
        if level == 0 and np.any(c != 0):
            raise ValueError(
                "the sampler has to return zeros for the coarse samples on level 0, which has no coarser one"
            )
        d = f - c
        if self.count == 0:
            self.centre, self.fine_centre = float(d.mean()), float(f.mean())
        self.count += count
        self.powers += [np.sum((d - self.centre) ** k) for k in (1, 2, 3, 4)]
        self.fine_powers += [np.sum((f - self.fine_centre) ** k) for k in (1, 2)]

    def moments(self) -> tuple[float, float, float, float, float]:
        """Return mean, variance and kurtosis of the differences, mean and variance of the fine samples."""
        m1, m2, m3, m4 = (float(power) for power in self.powers / self.count)
        f1, f2 = (float(power) for power in self.fine_powers / self.count)
        variance = max(m2 - m1**2, 0.0)
        fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
        kurtosis = fourth / variance**2 if variance > 0 else math.nan
        return self.centre + m1, variance, kurtosis, self.fine_centre + f1, max(f2 - f1**2, 0.0)


def _rate(levels: Float[np.ndarray, " k"], values: Float[np.ndarray, " k"]) -> float:
    """Return minus the slope of ``log2 values``, at least 0.5, from the positive values."""
    used = values > 0
    if used.sum() < 2:
        return 0.5
    return max(0.5, -float(np.polyfit(levels[used], np.log2(values[used]), 1)[0]))


def multilevel_monte_carlo(
    sampler: MultilevelSampler,
    eps: float,
    key: PRNGKeyArray,
    *,
    cost: Callable[[int], float] | float = 1.0,
    first_levels: int = 2,
    max_level: int = 12,
    initial_samples: int = 1000,
    max_samples: int = 10**9,
) -> MultilevelEstimate:
    """Estimate a mean to a root mean squared error, choosing levels and numbers of samples on the way.

    Samples are added until the variance is ``eps^2 / 2``, and levels until the estimated bias is below ``eps / sqrt(2)``.
    Both are estimates themselves: the error is of the size ``eps``, without a guarantee.

    Parameters
    ----------
    sampler
        ``sampler(level, num_samples, key)`` returns ``P_level`` and ``P_(level-1)``, two arrays of shape
        ``(num_samples,)``; on level 0 the second is zero. Samples of a pair share their randomness, pairs are
        independent, and ``P_l`` has the same law as the first of level ``l`` and the second of level ``l + 1``.
    eps
        Wanted error.
    key
        A typed key; each call of the sampler gets one of its own.
    cost
        Of a sample by level, or ``gamma`` of ``2^(gamma l)``.
    first_levels
        The finest level to begin with, at least 2.
    max_level
        The finest level to go to.
    initial_samples
        On each new level, at least 10.
    max_samples
        On a level; more are an error, so that a mistaken ``eps`` does not run for ever.

    Returns
    -------
    MultilevelEstimate
        With warnings if the bias is too large at the finest level, if coarse and fine samples contradict each other, or
        if a kurtosis is above 100.

    Raises
    ------
    TypeError
        If the key is no typed key.
    ValueError
        If a setting is out of range, or the sampler returns other shapes, NaN or inf.
    RuntimeError
        If a level needs more than ``max_samples``.

    References
    ----------
    M. B. Giles, 2015, Multilevel Monte Carlo methods, Acta Numerica 24, arXiv:1304.5472.
    """
    _positive("eps", eps)
    if not isinstance(key, jax.Array) or not jax.numpy.issubdtype(key.dtype, jax.dtypes.prng_key) or key.ndim:
        raise TypeError(f"key has to be one typed key, jax.random.key(seed); got {key!r}")
    if not 2 <= first_levels <= max_level or initial_samples < 10:
        raise ValueError(
            "expected 2 <= first_levels <= max_level and initial_samples >= 10; got "
            f"{first_levels}, {max_level} and {initial_samples}"
        )
    gamma = 1.0 if callable(cost) else _positive("cost, the rate gamma,", cost)
    price = cost if callable(cost) else lambda level: 2.0 ** (gamma * level)
    levels = [_Level() for _ in range(first_levels + 1)]
    wanted = np.full(first_levels + 1, initial_samples)
    calls = 0
    while True:
        for number, level in enumerate(levels):
            missing = int(wanted[number]) - level.count
            if missing > 0:
                fine, coarse = sampler(number, missing, jax.random.fold_in(key, calls))
                level.add(fine, coarse, number, missing)
                calls += 1
        moments = np.array([level.moments() for level in levels])
        counts = np.array([level.count for level in levels])
        means, variances = moments[:, 0], moments[:, 1]
        costs = np.array([price(number) for number in range(len(levels))], np.float64)
        index = np.arange(1, len(levels), dtype=np.float64)
        alpha, beta = _rate(index, np.abs(means[1:])), _rate(index, variances[1:])
        # A variance may look too small by chance. (So may a mean, but the bias looks at three of them.)
        sizes, spreads = np.abs(means), variances.copy()
        for number in range(2, len(levels)):
            spreads[number] = max(spreads[number], 0.5 * spreads[number - 1] * 2**-beta)
        needed = optimal_allocation(spreads, costs, eps).num_samples
        finest = len(levels) - 1
        if np.all(needed - counts <= 0.01 * counts):
            # Level 0 holds no difference, and says nothing about the bias.
            tail = [sizes[finest - j] * 2 ** (-j * alpha) for j in range(min(3, finest))]
            bias = float(max(tail) / (2**alpha - 1))
            converged = bias < eps / math.sqrt(2)
            if converged or finest == max_level:
                break
            levels.append(_Level())
            spreads = np.append(spreads, spreads[-1] * 2**-beta)
            costs = np.append(costs, price(finest + 1))
            needed = np.maximum(optimal_allocation(spreads, costs, eps).num_samples, 0)
            needed[-1] = max(needed[-1], initial_samples)
            counts = np.append(counts, 0)
        if needed.max() > max_samples:
            raise RuntimeError(
                f"level {int(needed.argmax())} needs {int(needed.max())} samples for eps={eps:g}, more than "
                f"max_samples={max_samples}; raise one of them, or couple fine and coarse samples more closely"
            )
        wanted = np.maximum(needed, counts)
    errors = np.sqrt(variances / counts)
    fine_means, fine_errors = moments[:, 3], np.sqrt(moments[:, 4] / counts)
    apart = np.abs(fine_means[:-1] - fine_means[1:] + means[1:])
    noise = 3 * (fine_errors[:-1] + fine_errors[1:] + errors[1:])
    # Rounding alone is no contradiction.
    apart = np.where(apart <= 1e-12 * np.abs(fine_means).max(), 0.0, apart)
    with np.errstate(divide="ignore", invalid="ignore"):
        consistency = np.where(apart > 0, apart / noise, 0.0)
    kurtosis = moments[:, 2]
    if not converged:
        warnings.warn(
            f"the estimated bias {bias:g} is above eps / sqrt(2) = {eps / math.sqrt(2):g} at max_level={max_level}",
            MultilevelWarning,
            stacklevel=2,
        )
    if np.any(consistency > 1):
        worst = int(consistency.argmax()) + 1
        warnings.warn(
            f"fine samples of level {worst - 1} and coarse samples of level {worst} do not have one mean (consistency "
            f"{consistency.max():.2g}, expected below 1): the telescoping sum is broken",
            MultilevelWarning,
            stacklevel=2,
        )
    if np.any(kurtosis > 100):
        warnings.warn(
            f"the kurtosis is up to {np.nanmax(kurtosis):.0f}: variances of the differences are poorly known, raise "
            "initial_samples",
            MultilevelWarning,
            stacklevel=2,
        )
    return MultilevelEstimate(
        float(means.sum()),
        float(np.sqrt(np.sum(errors**2))),
        bias,
        counts,
        means,
        variances,
        costs,
        float(counts @ costs),
        alpha,
        beta,
        kurtosis,
        consistency,
        converged,
    )
