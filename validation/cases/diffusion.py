"""Reverse diffusion: its exact biased law with the exact score, its weights, and its estimates of the score."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray
from scipy import special

from ergodica.samplers import random
from ergodica.samplers.diffusion.reverse_diffusion import ReverseDiffusion, geometric_times
from ergodica.samplers.diffusion.score import GivenScore, ImportanceScore, LangevinScore, Posterior
from ergodica.theory.reverse_diffusion import (
    mixture_log_density,
    mixture_score,
    noised_mixture,
    reversed_variance,
    weight_moment,
)
from ergodica.validation.evalues import mean_log_evalue
from ergodica.validation.evidence import Case, Check, Outcome
from ergodica.validation.normal_draws import normal_pvalues
from ergodica.validation.replicates import Replicates
from ergodica.validation.sequential import sequential

_ALPHA = 1e-6
_MIXTURE = (np.array([0.3, 0.7]), np.array([-4.0, 4.0]), np.array([1.0, 0.36]))


def _normal_logdensity(variance: Array, x: Array) -> Array:
    return -0.5 * jnp.sum(x**2 / variance)


def _normal_score(variance: Array, x: Array, t: Array) -> Array:
    return -x / (jnp.exp(-2 * t) * variance - jnp.expm1(-2 * t))


def _mixture_logdensity(weights: Array, means: Array, variances: Array, x: Array) -> Array:
    logs = jnp.log(weights) - 0.5 * jnp.log(2 * jnp.pi * variances) - 0.5 * (x[0] - means) ** 2 / variances
    return jax.scipy.special.logsumexp(logs)


def _on_normal(subject: Any, variance: Any, **fields: Any) -> Any:
    """Return the subject with a normal target, the exact score unless told otherwise, and a short Langevin start."""
    v = jnp.asarray(variance, float)
    given = {"inner": GivenScore(Partial(_normal_score, v)), "start": "gaussian", "num_start_steps": 5}
    return dataclasses.replace(subject, logdensity=Partial(_normal_logdensity, v), **(given | fields))


def _draws(kernel: Any, dim: int) -> Replicates:
    """Return replicates of (draw, log weight)."""
    begin = kernel.init(jnp.zeros(dim))

    def experiment(key: PRNGKeyArray) -> tuple[Array, Array]:
        state, info = kernel.step(key, begin)
        return state.position, info.log_weight

    return Replicates(experiment)


def _law_is_known(subject: Any, key: PRNGKeyArray) -> Outcome:
    """With the exact score on a normal target, draws are normal with a variance that a recursion gives."""
    variances = np.array([4.0, 0.5])
    # From 1.5, where the target still shows, in steps so large that the integrator and the times matter.
    times = np.linspace(1.5, 0.0, 7)
    kernel = _on_normal(subject, variances, times=times)
    scale = np.sqrt([reversed_variance(times, v, start=-np.expm1(-2 * times[0])) for v in variances])
    draws = _draws(kernel, 2)
    return sequential(lambda key, n: normal_pvalues(draws(key, n)[0] / scale), key, alpha=_ALPHA, n=4000)


def _langevin_law_is_known(subject: Any, key: PRNGKeyArray) -> Outcome:
    """Check the same after a Langevin start."""
    variances = np.array([4.0, 0.5])
    times = np.array([0.5, 0.4, 0.3, 0.2, 0.1, 0.0])
    kernel = _on_normal(subject, variances, times=times, start="langevin")
    s = -np.expm1(-2 * times[0])
    noised = np.exp(-2 * times[0]) * variances + s
    start = np.full(2, s)
    for _ in range(kernel.num_start_steps):
        start = (1 - s / 2 / noised) ** 2 * start + s
    scale = np.sqrt([reversed_variance(times, v, start=v0) for v, v0 in zip(variances, start, strict=True)])
    draws = _draws(kernel, 2)
    return sequential(lambda key, n: normal_pvalues(draws(key, n)[0] / scale), key, alpha=_ALPHA, n=4000)


def _weights_are_proper(
    score: str, dim: int, times: Float[np.ndarray, " n"], variance: float, start_steps: int
) -> Callable[[Any, PRNGKeyArray], Outcome]:
    """Make a test of ``E[w] = Z`` and ``E[w x^2] = Z v``, with the exact variances of both."""

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        fields: dict[str, Any] = {"times": times}
        if score == "single draw":
            fields["inner"] = ImportanceScore(1)
        if start_steps:
            fields |= {"start": "langevin", "num_start_steps": start_steps}
        kernel = _on_normal(subject, variance, **fields)
        kinds: Any = {"score": score, "start_steps": start_steps}
        one, two = (weight_moment(times, variance, power, **kinds) for power in (1, 2))
        second = float(np.exp(dim * (two.log_moment - 2 * one.log_moment)))
        # Under the law tilted by w^2 the draw is normal with variance two.variance.
        fourth = second * 3 * two.variance**2 / variance**2
        n = 20000
        draws, log_weights = _draws(kernel, dim)(key, n)
        ratio = np.exp(log_weights - dim * one.log_moment)
        square = np.mean(draws**2, axis=1) / variance
        bound = float(np.log(1 / _ALPHA))
        if not np.all(np.isfinite(ratio)):
            return Outcome(np.inf, bound, False, _ALPHA, "a weight is not finite")
        # The mean of the coordinates' squares varies no more than each of them.
        logs = [
            mean_log_evalue(ratio - 1, second - 1, _ALPHA),
            mean_log_evalue(ratio * square - 1, fourth - 1, _ALPHA),
        ]
        statistic = float(special.logsumexp(logs) - np.log(2))
        details = (
            f"mean weight over Z {ratio.mean():.4g} +- {np.sqrt((second - 1) / n):.2g}, mean weighted square over the "
            f"target's {np.mean(ratio * square):.4g} +- {np.sqrt((fourth - 1) / n):.2g}; {n} draws"
        )
        return Outcome(statistic, bound, statistic < bound, _ALPHA, details)

    return run


def _scores_are_unbiased(subject: Any, key: PRNGKeyArray) -> Outcome:
    """Compare the average of gamma over importance draws, alone and times the score, with p_t and its gradient."""
    num_draws = 16
    logdensity = Partial(_mixture_logdensity, *(jnp.asarray(value) for value in _MIXTURE))
    kernel = dataclasses.replace(subject, inner=ImportanceScore(num_draws), logdensity=logdensity)
    points = ((0.5, 1.0), (1.0, 0.5), (-1.2, 0.25), (0.0, 2.0))
    n = 5000
    logs, seen = [], []
    for index, (x, t) in enumerate(points):
        noised = noised_mixture(*_MIXTURE, t)
        density = float(np.exp(mixture_log_density(x, noised)))
        slope = density * float(mixture_score(x, noised)[0])

        def experiment(key: PRNGKeyArray, x: float = x, t: float = t) -> Array:
            estimate = kernel.score(key, jnp.array([x]), t)
            value = jnp.exp(estimate.log_density)
            return jnp.stack([value, value * estimate.score[0]])

        values, slopes = Replicates(experiment)(random.fold_in(key, index), n).T
        # Second moments of one draw's gamma(y(z)) e^t and of that times z / sqrt(s), by the trapezoidal rule.
        z = np.linspace(-12, 12, 20001)
        s = -np.expm1(-2 * t)
        gamma = np.exp(
            t + mixture_log_density(((x + np.sqrt(s) * z) * np.exp(t))[:, None], noised_mixture(*_MIXTURE, 0.0))
        )
        gaussian = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
        second = [float(np.trapezoid(f**2 * gaussian, z)) for f in (gamma, gamma * z / np.sqrt(s))]
        for name, sample, mean, square in (
            ("density", values, density, second[0]),
            ("gradient", slopes, slope, second[1]),
        ):
            variance = (square - mean**2) / num_draws
            ok = np.all(np.isfinite(sample))
            logs.append(mean_log_evalue(sample - mean, variance, _ALPHA) if ok else np.inf)
            seen.append((logs[-1], f"{name} at x={x}, t={t}: {np.mean(sample):.5g}, expected {mean:.5g}"))
    bound = float(np.log(1 / _ALPHA))
    statistic = float(special.logsumexp(logs) - np.log(len(logs)))
    return Outcome(statistic, bound, statistic < bound, _ALPHA, max(seen)[1])


def _inner_chains_keep_their_law(subject: Any, key: PRNGKeyArray) -> Outcome:
    """On a normal target, chains from exact posterior draws stay there (MALA), or follow a known recursion (ULA)."""
    inner = subject.inner if isinstance(subject.inner, LangevinScore) else LangevinScore()
    inner = LangevinScore(
        inner.adjusted, inner.num_draws, inner.num_chains, 8, inner.form, 1.0, inner.target_acceptance, 0.0
    )
    variance, x, t = 0.7, 1.3, 0.4
    a, s = np.exp(-t), -np.expm1(-2 * t)
    # z is standard normal times exp(-y(z)^2 / (2 variance)).
    precision = 1 + s / a**2 / variance
    mean = -(np.sqrt(s) / a) * (x / a) / variance / precision
    logdensity = Partial(_normal_logdensity, jnp.asarray(variance))
    posterior = Posterior(logdensity, jnp.array([x]), jnp.asarray(t), lambda flat: flat)
    largest = float(inner.largest_step(posterior))

    def experiment(key: PRNGKeyArray) -> Array:
        key_start, key_chain = random.split(key)
        start = mean + random.normal(key_start, (1, 1)) / np.sqrt(precision)
        return inner.chains(key_chain, posterior, start, jnp.asarray(0.8 * largest))[0][-1, 0]

    spread = 1 / precision
    if not inner.adjusted:
        step = 0.5 * largest * a**2 / s
        for _ in range(inner.num_steps):
            spread = (1 - step * precision) ** 2 * spread + 2 * step
    replicates = Replicates(experiment)
    return sequential(
        lambda key, n: normal_pvalues((replicates(key, n) - mean) / np.sqrt(spread)), key, alpha=_ALPHA, n=4000
    )


CASES: tuple[Case, ...] = (
    Case(
        name="reverse-diffusion",
        subject=ReverseDiffusion,
        example=ReverseDiffusion,
        checks=(
            Check("normal draws: exact score, law by recursion", _law_is_known, 2.0),
            Check("normal draws: exact score after a Langevin start", _langevin_law_is_known, 2.0),
            Check(
                "weights: E[w] = Z, exact score",
                _weights_are_proper("exact", 2, np.geomspace(2.0, 0.05, 31), 1.0, 0),
                2.0,
            ),
            Check(
                "weights: E[w] = Z, scores from a single draw",
                _weights_are_proper("single draw", 1, np.asarray(geometric_times(1.0, 0.7, 40)), 0.5, 0),
                2.0,
            ),
            Check(
                "weights: E[w] = Z, Langevin start",
                _weights_are_proper("exact", 2, np.linspace(0.5, 0.3, 21), 0.5, 5),
                2.0,
            ),
            Check("unbiased: density and gradient from importance draws", _scores_are_unbiased, 2.0),
            Check("normal draws: inner chains", _inner_chains_keep_their_law, 2.0),
        ),
    ),
)
"""Rows of the catalogue."""
