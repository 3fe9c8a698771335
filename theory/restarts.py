"""Random running times: the speed-up of parallel copies, of restarts, and when the first finisher may be trusted.

Of ``n`` independent copies of a sampler that stops at a random time ``T``, the first stops after ``E min = int (1 - F)^n``.
A running time is given as a sample of measured times, or as a frozen distribution of :mod:`scipy.stats`.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import scipy.optimize
from jaxtyping import Float, Int, PRNGKeyArray
from numpy.typing import ArrayLike
from scipy import special, stats

__all__ = [
    "ExtrapolationWarning",
    "OutputTimeDependence",
    "Restart",
    "RuntimeFit",
    "best_cutoff",
    "expected_minimum",
    "fit_runtime",
    "goodness_of_fit",
    "luby_sequence",
    "output_time_dependence",
    "parallel_speedup",
    "restarted_mean",
]


class ExtrapolationWarning(UserWarning):
    """A fitted model is asked about more copies than there were measured runs."""


def _copies(n: int) -> int:
    if n != int(n) or n < 1:
        raise ValueError(f"n, the number of copies, has to be a positive integer; got {n}")
    return int(n)


def _times(times: Any) -> Float[np.ndarray, " N"]:
    out = np.asarray(times, np.float64)
    if out.ndim != 1 or out.size == 0 or not np.all(np.isfinite(out)) or np.any(out < 0):
        raise ValueError(
            f"running times have to be a vector of finite numbers of at least 0, or a frozen distribution; got {times!r}"
        )
    return np.sort(out)


def _is_distribution(runtime: Any) -> bool:
    if not (hasattr(runtime, "sf") and hasattr(runtime, "ppf") and hasattr(runtime, "support")):
        return False
    if not runtime.support()[0] >= 0:
        raise ValueError(f"a running time is not negative; the distribution has the support {runtime.support()}")
    return True


def _is_discrete(dist: Any) -> bool:
    return isinstance(getattr(dist, "dist", None), stats.rv_discrete)


def _exponential_mean(h: Callable[[Float[np.ndarray, " k"]], Any], what: str) -> float:
    """Return ``int_0^inf h(s) exp(-s) ds`` by the trapezoidal rule in ``log s``, where the integrand decays at both ends.

    The rule converges exponentially fast for smooth ``h``. What is left at the upper end tells a divergent integral.
    """

    def rule(step: float) -> tuple[float, float]:
        u = np.arange(-45.0, math.log(700.0), step)
        s = np.exp(u)
        terms = np.asarray(h(s), np.float64) * np.exp(u - s)
        return float(terms.sum() * step), float(terms[-1])

    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        coarse, _ = rule(1 / 64)
        fine, last = rule(1 / 128)
    if not math.isfinite(fine) or last > 1e-12 * fine or abs(fine - coarse) > 1e-7 * abs(fine):
        raise ValueError(f"{what} is infinite, or its integral converges too slowly; are the tails too heavy?")
    return fine


def expected_minimum(runtime: Any, n: int) -> float:
    """Return the mean time of the first of ``n`` independent copies.

    Parameters
    ----------
    runtime
        Measured times, shape ``(N,)``: the mean over all subsets of ``n`` of them, ``sum_i C(N - i, n - 1) T_(i) / C(N, n)``,
        unbiased without a model. Or a frozen distribution of :mod:`scipy.stats`, continuous, or discrete on the integers.
    n
        Number of copies; for measured times at most ``N``.

    Raises
    ------
    ValueError
        If a time is negative, ``n`` is not positive or, for measured times, above ``N``; or if the mean is infinite.
    """
    n = _copies(n)
    if not _is_distribution(runtime):
        T = _times(runtime)
        N = len(T)
        if n > N:
            raise ValueError(f"{N} measured times say nothing about {n} copies without a model; see fit_runtime")
        # C(N - i, n - 1) / C(N, n) = (n / N) * C(N - i, n - 1) / C(N - 1, n - 1), by logarithms.
        i = np.arange(1, N - n + 2)
        logs = special.gammaln(N - i + 1) - special.gammaln(N - i - n + 2)
        return float(n / N * np.exp(logs - logs[0]) @ T[: N - n + 1])
    least = float(runtime.support()[0])
    if getattr(getattr(runtime, "dist", None), "name", "") == "expon":
        return least + (float(runtime.mean()) - least) / n
    if _is_discrete(runtime):
        total, size, start = least, 1024, least
        while size < 10**8:
            terms = np.asarray(runtime.sf(np.arange(start, start + size)), np.float64) ** n
            total += float(terms.sum())
            if terms[-1] * size < 1e-15 * total:
                return total
            start, size = start + size, 2 * size
        raise ValueError(f"the mean of the first of {n} copies is infinite, or its sum converges too slowly")

    # The minimum has the survival function S^n: it is S^-1(exp(-s / n)) of an exponential s.
    def quantile(s: Float[np.ndarray, " k"]) -> Any:
        return np.where(s < 0.5 * n, runtime.ppf(-np.expm1(-s / n)), runtime.isf(np.exp(-s / n)))

    return _exponential_mean(quantile, f"the mean of the first of {n} copies")


def parallel_speedup(runtime: Any, n: int) -> float:
    """Return ``E T / E min(T_1, ..., T_n)``.

    For an exponential time it is ``n``, for one with a delay less, and for times that spread more it may be more.

    Parameters
    ----------
    runtime
        Measured times or a frozen distribution, as for :func:`expected_minimum`.
    n
        Number of copies.

    Raises
    ------
    ValueError
        As :func:`expected_minimum`; also if a copy takes no time.

    References
    ----------
    C. Truchet, F. Richoux and P. Codognet, 2013, arXiv:1212.4287.
    """
    least = expected_minimum(runtime, n)
    if not least > 0:
        raise ValueError("the first copy takes no time on average; there is no speed-up to speak of")
    return expected_minimum(runtime, 1) / least


@dataclass(frozen=True)
class RuntimeFit:
    """A model of measured running times.

    Parameters
    ----------
    name
        ``"shifted exponential"`` or ``"lognormal"``.
    distribution
        Frozen, of :mod:`scipy.stats`.
    log_likelihood
        The largest one; a corrected distribution has a smaller one.
    aic
        ``2 * 2 - 2 * log_likelihood``: the smaller, the better.
    distance
        Kolmogorov and Smirnov's distance of the model with the largest likelihood from the finished runs; NaN with
        censored ones. Its tables do not apply after a fit: see :func:`goodness_of_fit`.
    num_runs
        How many runs were measured.
    """

    name: str
    distribution: Any
    log_likelihood: float
    aic: float
    distance: float
    num_runs: int

    def speedup(self, n: int) -> float:
        """Return the speed-up of ``n`` copies under the model; warn if they are more than the measured runs."""
        if _copies(n) > self.num_runs:
            warnings.warn(
                f"the speed-up of {n} copies from {self.num_runs} runs rests on the {self.name} model",
                ExtrapolationWarning,
                stacklevel=2,
            )
        return parallel_speedup(self.distribution, n)


def _fit_exponential(T: Float[np.ndarray, " N"], C: Float[np.ndarray, " K"], correct: bool) -> Any:
    start = float(T[0])
    scale = float(np.sum(T - start) + np.sum(np.maximum(C - start, 0.0))) / len(T)
    if correct:
        # The smallest time is late by scale / N on average.
        scale *= len(T) / (len(T) - 1)
        start = max(0.0, start - scale / (len(T) + len(C)))
    return stats.expon(loc=start, scale=scale)


def _fit_lognormal(T: Float[np.ndarray, " N"], C: Float[np.ndarray, " K"], correct: bool) -> Any:
    if len(C):
        data = stats.CensoredData(uncensored=T, right=C)
        shape, _, scale = stats.lognorm.fit(data, floc=0)
        return stats.lognorm(s=shape, scale=scale)
    logs = np.log(T)
    return stats.lognorm(s=float(logs.std(ddof=int(correct))), scale=math.exp(float(logs.mean())))


def fit_runtime(
    times: ArrayLike, censored: ArrayLike | None = None, *, bias_correct: bool = False
) -> tuple[RuntimeFit, ...]:
    """Return models of running times, the best by Akaike's criterion first.

    Parameters
    ----------
    times
        Of runs that finished, at least 2 different ones, shape ``(N,)``.
    censored
        Times after which other runs were given up; they enter by their probability of survival.
    bias_correct
        Correct what can be corrected of the bias of the likelihood's estimates: the delay of the exponential model by
        ``-(mean - min) / (N - 1)``, the variance of logarithms by ``N / (N - 1)`` (without censored runs).

    Returns
    -------
    tuple of RuntimeFit
        A shifted exponential, and a lognormal model if all times are positive.

    Raises
    ------
    ValueError
        If a time is negative, or fewer than 2 are different.
    """
    T = _times(times)
    C = np.zeros(0) if censored is None or np.size(censored) == 0 else _times(censored)
    if T[0] == T[-1]:
        raise ValueError(f"a fit needs at least 2 different times of runs that finished; got {len(T)} equal to {T[0]}")
    kinds = {"shifted exponential": _fit_exponential}
    if T[0] > 0:
        kinds["lognormal"] = _fit_lognormal
    fits = []
    for name, fit in kinds.items():
        likely = fit(T, C, False)
        likelihood = float(np.sum(likely.logpdf(T)) + np.sum(likely.logsf(C)))
        distance = math.nan if len(C) else float(stats.ks_1samp(T, likely.cdf).statistic)
        model = fit(T, C, True) if bias_correct else likely
        fits.append(RuntimeFit(name, model, likelihood, 4 - 2 * likelihood, distance, len(T) + len(C)))
    return tuple(sorted(fits, key=lambda fit: fit.aic))


def goodness_of_fit(fit: RuntimeFit, times: ArrayLike, key: PRNGKeyArray, num_samples: int = 999) -> float:
    """Return the p-value of Kolmogorov and Smirnov's distance by the parametric bootstrap.

    Each sample from the model is fitted anew, as the times were: without that the p-value is far too large.

    Parameters
    ----------
    fit
        From :func:`fit_runtime`, of runs that all finished.
    times
        The times it was fitted to.
    key
        A typed key.
    num_samples
        Of the bootstrap.

    Raises
    ------
    TypeError
        If the key is no typed key.
    ValueError
        If runs were censored, or the times are others.
    """
    if not isinstance(key, jax.Array) or not jax.numpy.issubdtype(key.dtype, jax.dtypes.prng_key) or key.ndim:
        raise TypeError(f"key has to be one typed key, jax.random.key(seed); got {key!r}")
    T = _times(times)
    if math.isnan(fit.distance) or len(T) != fit.num_runs:
        raise ValueError("the bootstrap needs the times of the fit, of runs that all finished")
    kind, known = (stats.expon, {}) if fit.name == "shifted exponential" else (stats.lognorm, {"loc": 0})
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    test = stats.goodness_of_fit(kind, T, known_params=known, statistic="ks", n_mc_samples=num_samples, rng=rng)
    return float(test.pvalue)


@dataclass(frozen=True)
class Restart:
    """The best time to give up and start afresh.

    Parameters
    ----------
    cutoff
        Infinite if restarts do not help.
    mean
        Mean time until a run finishes, with restarts at the cutoff.
    speedup
        The mean time without restarts over it; infinite if that is.
    """

    cutoff: float
    mean: float
    speedup: float


def restarted_mean(runtime: Any, cutoff: float) -> float:
    """Return the mean total time if a run is given up after ``cutoff`` and started afresh, ``E min(T, c) / F(c)``.

    Parameters
    ----------
    runtime
        Measured times, or a frozen distribution.
    cutoff
        Positive; may be infinite.

    Returns
    -------
    float
        Infinite if no run finishes by the cutoff.
    """
    if not cutoff > 0:
        raise ValueError(f"cutoff has to be positive; got {cutoff}")
    if not _is_distribution(runtime):
        T = _times(runtime)
        done = float(np.mean(cutoff >= T))
        return float(np.minimum(T, cutoff).mean()) / done if done else math.inf
    if math.isinf(cutoff):
        return expected_minimum(runtime, 1)
    done = float(runtime.cdf(cutoff))
    if done == 0:
        return math.inf
    if _is_discrete(runtime):
        least = float(runtime.support()[0])
        whole = np.arange(least, math.floor(cutoff) + 1)  # not empty, since some run finishes
        left = float(runtime.sf(whole[-1]))
        inside = least + float(runtime.sf(whole[:-1]).sum()) + (cutoff - float(whole[-1])) * left
        return inside / done
    finished = _exponential_mean(lambda s: runtime.ppf(done * np.exp(-s)), "the mean of the runs that finish")
    return finished + cutoff * float(runtime.sf(cutoff)) / done


def best_cutoff(runtime: Any) -> Restart:
    """Return the cutoff with the smallest mean time.

    Parameters
    ----------
    runtime
        Measured times, or a frozen distribution. For measured times the result is too good, since the cutoff was chosen
        to suit them: use few cutoffs and many runs, or a fitted model.

    Notes
    -----
    Cutoffs between the quantiles 1e-7 and 1 - 1e-7 are tried. Where the hazard grows without bound towards zero, as for
    a Weibull law with a shape below 1, the best cutoff does not exist, and the smallest of these is returned.

    References
    ----------
    M. Luby, A. Sinclair and D. Zuckerman, 1993, doi:10.1016/0020-0190(93)90029-9.
    """
    if not _is_distribution(runtime):
        T = _times(runtime)
        means = [restarted_mean(T, cutoff) if cutoff > 0 else 0.0 for cutoff in T]
        whole = float(T.mean())
        best = int(np.argmin(means))
        if means[best] >= whole * (1 - 1e-12):
            return Restart(math.inf, whole, 1.0)
        return Restart(float(T[best]), means[best], whole / means[best] if means[best] > 0 else math.inf)
    try:
        whole = expected_minimum(runtime, 1)
    except ValueError:
        whole = math.inf
    # From rare early finishes to nearly all; the mean need not have one valley only, hence the grid.
    shares = special.expit(np.linspace(-16, 16, 129))
    cutoffs = np.unique(np.asarray(runtime.ppf(shares), np.float64))
    cutoffs = cutoffs[(cutoffs > 0) & np.isfinite(cutoffs)]
    means = [restarted_mean(runtime, cutoff) for cutoff in cutoffs]
    best = int(np.argmin(means))
    cutoff, mean = float(cutoffs[best]), float(means[best])
    if not _is_discrete(runtime):
        low, high = cutoffs[max(best - 1, 0)], cutoffs[min(best + 1, len(cutoffs) - 1)]
        if high > low:
            found = scipy.optimize.minimize_scalar(
                lambda c: restarted_mean(runtime, math.exp(c)),
                bounds=(math.log(low), math.log(high)),
                method="bounded",
                options={"xatol": 1e-10},
            )
            if found.fun < mean:
                cutoff, mean = math.exp(float(found.x)), float(found.fun)
    if mean >= whole * (1 - 1e-9):
        return Restart(math.inf, whole, 1.0)
    return Restart(cutoff, mean, whole / mean)


def luby_sequence(length: int) -> Int[np.ndarray, " length"]:
    """Return Luby's sequence 1, 1, 2, 1, 1, 2, 4, ... of cutoffs.

    For any unknown running time, the mean time with these cutoffs is the best one up to a logarithm of it.

    Parameters
    ----------
    length
        At least 0.

    References
    ----------
    M. Luby, A. Sinclair and D. Zuckerman, 1993, doi:10.1016/0020-0190(93)90029-9.
    """
    if length != int(length) or length < 0:
        raise ValueError(f"length has to be a non-negative integer; got {length}")
    out = np.ones(1, np.int64)
    while len(out) < length:
        out = np.concatenate([out, out, [2 * out[-1]]])
    return out[: int(length)]


@dataclass(frozen=True)
class OutputTimeDependence:
    """Whether the first finisher of several copies has the law of one copy.

    Parameters
    ----------
    dependence
        The total variation distance of the joint law of output and time from the product of its margins. At zero, taking
        the first finisher is exact for any number of copies.
    law
        Of the output of one copy, shape ``(outputs,)``.
    first_law
        Of the output of the first of ``n`` copies.
    bias
        The total variation distance of the two.
    """

    dependence: float
    law: Float[np.ndarray, " outputs"]
    first_law: Float[np.ndarray, " outputs"]
    bias: float


def output_time_dependence(joint: ArrayLike, n: int = 2) -> OutputTimeDependence:
    """Return how much taking the first finisher of ``n`` copies changes the law of the output.

    Parameters
    ----------
    joint
        Probabilities of output and number of steps, shape ``(outputs, steps)``, with columns in the order of time;
        divided by their sum. Copies that finish together are chosen from at random.
    n
        Number of copies.

    Raises
    ------
    ValueError
        If the joint law is none.
    """
    n = _copies(n)
    J = np.asarray(joint, np.float64)
    if J.ndim != 2 or J.size == 0 or not np.all(np.isfinite(J)) or np.any(J < 0) or not J.sum() > 0:
        raise ValueError(f"joint has to be a matrix of weights, outputs by steps; got shape {J.shape}")
    J = J / J.sum()
    law, steps = J.sum(axis=1), J.sum(axis=0)
    # P(first finisher at t) = S(t-)^n - S(t)^n, and given the time its output has the law of that column.
    after = np.append(np.cumsum(steps[::-1])[::-1], 0.0)
    first = after[:-1] ** n - after[1:] ** n
    columns = np.divide(J, steps, out=np.zeros_like(J), where=steps > 0)
    first_law = columns @ first
    dependence = float(np.abs(J - np.outer(law, steps)).sum() / 2)
    return OutputTimeDependence(dependence, law, first_law, float(np.abs(first_law - law).sum() / 2))
