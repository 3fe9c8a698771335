"""Reverse diffusion: its exact biased law with the exact score, its weights, and its estimates of the score."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray
from scipy import special, stats

from ergodica.samplers import random
from ergodica.samplers.diffusion.rejection_score import RejectionScore
from ergodica.samplers.diffusion.reverse_diffusion import ReverseDiffusion, geometric_times
from ergodica.samplers.diffusion.reverse_diffusion_smc import ReverseDiffusionSMC
from ergodica.samplers.diffusion.score import GivenScore, ImportanceScore, LangevinScore, Posterior
from ergodica.theory.reverse_diffusion import (
    mixture_log_density,
    mixture_score,
    noised_mixture,
    rejection_acceptance,
    reversed_variance,
    weight_moment,
)
from ergodica.validation.evalues import bounded_mean_log_evalue, mean_log_evalue
from ergodica.validation.evidence import Case, Check, Outcome
from ergodica.validation.host import on_chosen_host
from ergodica.validation.normal_draws import normal_pvalues
from ergodica.validation.replicates import Replicates
from ergodica.validation.sequential import sequential

_ALPHA = 1e-6
_MIXTURE = (np.array([0.3, 0.7]), np.array([-4.0, 4.0]), np.array([1.0, 0.36]))
_POINTS = ((0.5, 1.0), (1.0, 0.5), (-1.2, 0.25), (0.0, 2.0))


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
    begin, stepping = kernel.init(jnp.zeros(dim)), on_chosen_host(kernel)

    def experiment(key: PRNGKeyArray) -> tuple[Array, Array]:
        state, info = stepping.step(key, begin)
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
    n = 5000
    logs, seen = [], []
    for index, (x, t) in enumerate(_POINTS):
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
    inner = type(inner)(
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


def _with_upper(subject: Any, upper: float, **sizes: int) -> Any:
    """Return the subject with the mixture as target and scores by rejection, of the subject's own kind if it has one."""
    kind = type(subject.inner) if isinstance(subject.inner, RejectionScore) else RejectionScore
    logdensity = Partial(_mixture_logdensity, *(jnp.asarray(value) for value in _MIXTURE))
    return dataclasses.replace(subject, inner=kind(upper=upper, **sizes), logdensity=logdensity)


def _peak() -> float:
    """Return the largest log density of the mixture, rounded up."""
    y = np.linspace(3.9, 4.1, 20_001)
    return float(mixture_log_density(y[:, None], noised_mixture(*_MIXTURE, 0.0)).max()) + 1e-9


def _rejection_accepts(subject: Any, key: PRNGKeyArray) -> Outcome:
    """Hold the number of proposals accepted against the binomial law with the probability in closed form."""
    n, upper = 50_000, _peak()
    kernel = _with_upper(subject, upper, num_draws=n, max_proposals=n, batch_size=n)
    smallest, details = 1.0, ""
    for index, (x, t) in enumerate(_POINTS):
        estimate = kernel.score(random.fold_in(key, index), jnp.array([x]), t)
        expected = rejection_acceptance(x, t, _MIXTURE, upper)
        accepted = round(float(estimate.acceptance_rate) * n)
        pvalue = float(stats.binomtest(accepted, n, expected).pvalue) * len(_POINTS)
        if pvalue < smallest or not details:
            smallest, details = (
                min(pvalue, 1.0),
                f"at x={x}, t={t}: accepted {accepted / n:.5g}, expected {expected:.5g}",
            )
    return Outcome(smallest, _ALPHA, smallest > _ALPHA, _ALPHA, details)


def _rejection_scores_are_unbiased(subject: Any, key: PRNGKeyArray) -> Outcome:
    """Compare the mean of scores from at least eight exact draws with the score."""
    draws, n = 8, 2000
    # Of 4096 proposals fewer than eight are accepted with probability below 1e-40.
    kernel = _with_upper(subject, _peak(), num_draws=draws, max_proposals=4096, batch_size=64)
    z = np.linspace(-12, 12, 20_001)
    logs, seen = [], []
    for index, (x, t) in enumerate(_POINTS):
        exact = float(mixture_score(x, noised_mixture(*_MIXTURE, t))[0])
        s = -np.expm1(-2 * t)
        y = (x + np.sqrt(s) * z) * np.exp(t)
        law = np.exp(mixture_log_density(y[:, None], noised_mixture(*_MIXTURE, 0.0)) - z**2 / 2)
        law /= law.sum()
        variance = float(law @ z**2 - (law @ z) ** 2) / s / draws

        def experiment(key: PRNGKeyArray, x: float = x, t: float = t) -> Array:
            return kernel.score(key, jnp.array([x]), t).score[0]

        scores = Replicates(experiment)(random.fold_in(key, index), n)
        ok = np.all(np.isfinite(scores))
        logs.append(mean_log_evalue(scores - exact, variance, _ALPHA) if ok else np.inf)
        seen.append((logs[-1], f"score at x={x}, t={t}: {np.mean(scores):.5g}, expected {exact:.5g}"))
    bound = float(np.log(1 / _ALPHA))
    statistic = float(special.logsumexp(logs) - np.log(len(logs)))
    return Outcome(statistic, bound, statistic < bound, _ALPHA, max(seen)[1])


def _levels_logdensity(dim: int, x: Array) -> Array:
    """Return the log of the standard normal density times 1, 1/2 or 0: above 0, above -1 and below."""
    level = jnp.where(x[0] > 0, 0.0, jnp.where(x[0] > -1, jnp.log(0.5), -jnp.inf))
    return level - 0.5 * jnp.sum(x**2) - 0.5 * dim * jnp.log(2 * jnp.pi)


def _linear_score(slope: Array, x: Array, t: Array) -> Array:
    return -slope * x + 0 * t


def _populations_are_proper(
    threshold: float, *, particles: int = 8, dim: int = 2, steps: int = 4, n: int = 20_000
) -> Callable[[Any, PRNGKeyArray], Outcome]:
    """Make a test of ``E[W] = Z`` and of ``E[W mean 1(x > 0)]``, for a target where ``W`` is bounded.

    The density is the standard normal one times a level, the start is standard normal to the last bit, and the score is
    linear with the slope for which a step has the mean of the noising that keeps the standard normal law, and a larger
    variance. Then a step of length ``h`` weighs at most ``e^(dim h)`` but for the levels: ``1`` at most at the end of a
    stretch between two resamplings, and ``level^-b`` at its start.
    """

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        h = 0.2
        times = 20.0 - h * np.arange(steps + 1)
        inner = GivenScore(Partial(_linear_score, jnp.asarray(0.5 * (1 + np.exp(-h)))))
        diffusion = dataclasses.replace(
            subject.diffusion, inner=inner, times=jnp.asarray(times), start="gaussian", logdensity=None
        )
        kernel = dataclasses.replace(subject, diffusion=diffusion, threshold=jnp.asarray(threshold))
        kernel = kernel.bind(Partial(_levels_logdensity, dim))
        begin, stepping = kernel.init(jnp.ones((particles, dim))), on_chosen_host(kernel)

        def experiment(key: PRNGKeyArray) -> tuple[Array, Array]:
            state, info = stepping.step(key, begin)
            return info.log_weight, jnp.mean(state.position[:, 0] > 0)

        log_weights, right = Replicates(experiment)(key, n)
        powers = np.expm1(2 * (times[0] - times)) / np.expm1(2 * (times[0] - times[-1]))
        largest = float(np.exp(dim * h * steps + np.log(2) * powers[:-1].sum()))
        normaliser = 0.5 + 0.5 * (0.5 - special.ndtr(-1.0))
        bound = float(np.log(1 / _ALPHA))
        weights = np.exp(log_weights)
        if not np.all(weights <= largest * (1 + 1e-9)):
            return Outcome(
                np.inf, bound, False, _ALPHA, f"a weight is {weights.max():.4g}; it is at most {largest:.4g}"
            )
        logs = [
            bounded_mean_log_evalue((weights - normaliser) / (1.001 * largest)),
            bounded_mean_log_evalue((weights * right - 0.5) / (1.001 * largest)),
        ]
        statistic = float(special.logsumexp(logs) - np.log(2))
        details = (
            f"mean weight {weights.mean():.4g} +- {weights.std() / np.sqrt(n):.2g}, expected {normaliser:.4g}; mean weighted "
            f"share of x > 0 {np.mean(weights * right):.4g}, expected 0.5; {n} populations"
        )
        return Outcome(statistic, bound, statistic < bound, _ALPHA, details)

    return run


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
            Check("rejection: acceptance in closed form", _rejection_accepts, 2.0),
            Check("unbiased: scores by rejection", _rejection_scores_are_unbiased, 3.0),
        ),
    ),
    Case(
        name="reverse-diffusion-smc",
        subject=ReverseDiffusionSMC,
        example=lambda: ReverseDiffusionSMC(ReverseDiffusion()),
        checks=(
            Check("weights: E[W] = Z, never resampled", _populations_are_proper(0.0), 2.0),
            Check("weights: E[W] = Z, resampled now and then", _populations_are_proper(0.9), 2.0),
            Check("weights: E[W] = Z, resampled at every step", _populations_are_proper(1.0), 2.0),
        ),
    ),
)
"""Rows of the catalogue."""
