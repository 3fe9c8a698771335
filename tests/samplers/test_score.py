"""Estimators of the score: golden numbers, forms, edges, counts, laws of the inner chains, bad input."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from ergodica.samplers.diffusion.reverse_diffusion import ReverseDiffusion
from ergodica.samplers.diffusion.score import GivenScore, ImportanceScore, LangevinScore, Posterior, combine
from ergodica.theory.reverse_diffusion import mixture_score, noised_mixture
from ergodica.validation.cases.diffusion import CASES
from ergodica.validation.evidence import run_check
from tests.traps.diffusion import ForgetsScaling, LateTime, TargetAtConditioningPoint, never_rejects

MIXTURE = ((0.3, 0.7), (-4.0, 4.0), (1.0, 0.36))
CHECKS = {check.name: check for check in CASES[0].checks}


def mixture(x):
    weights, means, variances = (jnp.asarray(value, x.dtype) for value in MIXTURE)
    return jax.scipy.special.logsumexp(
        jnp.log(weights) - 0.5 * jnp.log(2 * jnp.pi * variances) - 0.5 * (x[0] - means) ** 2 / variances
    )


def gaussian(x):
    return -0.5 * jnp.sum((x - 1.0) ** 2) / 0.5


def posterior_of(logdensity, x, t):
    return Posterior(logdensity, jnp.asarray(x), jnp.asarray(t), lambda flat: flat)


def estimated(estimator, posterior, step=0.1, seed=0):
    dtype = posterior.x.dtype

    def run(key, x, t):
        return estimator.estimate(key, dataclasses.replace(posterior, x=x, t=t), jnp.asarray(step, dtype))

    return jax.jit(run)(jax.random.key(seed), posterior.x, posterior.t)


@pytest.mark.parametrize("form", ["denoising", "gradient", "combined"])
@pytest.mark.parametrize(
    ("x", "t", "ess", "error"),
    [
        (0.5, 1.0, 0.231, 0.0104),
        (1.0, 0.5, 0.171, 0.0078),
        (-1.2, 0.25, 0.326, 0.0024),
        (0.0, 2.0, 0.183, 0.0312),
    ],
)
def test_golden_importance_scores(x, t, ess, error, form):
    # 4e5 draws. Standard errors by the delta method: at most 0.0037 for the denoising form, and no more for the
    # combined one; those of the gradient form are given. 0.02, and six of the latter: false alarm below 1e-7.
    estimate = estimated(ImportanceScore(400_000, form), posterior_of(mixture, [x], t), seed=1)
    exact = mixture_score(x, noised_mixture(*MIXTURE, t))[0]
    assert estimate.score[0] == pytest.approx(exact, abs=6 * error if form == "gradient" else 0.02)
    assert estimate.ess / 400_000 == pytest.approx(ess, abs=0.002)


@pytest.mark.parametrize(
    ("estimator", "form"),
    [
        (ImportanceScore(200_000), "denoising"),
        (ImportanceScore(200_000), "gradient"),
        (ImportanceScore(200_000), "combined"),
        (LangevinScore(num_chains=4000, num_draws=500), "denoising"),
    ],
)
def test_forms_agree_in_several_dimensions(estimator, form):
    x, t = np.array([0.3, -0.7, 2.0]), 0.4
    estimate = estimated(dataclasses.replace(estimator, form=form), posterior_of(gaussian, x, t))
    exact = -(x - np.exp(-t)) / (np.exp(-2 * t) * 0.5 - np.expm1(-2 * t))
    # Standard errors by the delta method: 0.007 for the denoising form, 0.016 for the gradient form; and at most 0.017
    # for 4000 chains, were each no better than one point. Six of them: false alarm below 1e-8.
    np.testing.assert_allclose(estimate.score, exact, atol=0.1)


def test_combined_form_has_the_smallest_variance():
    # On a normal target the two forms are linear in z, and the best combination has no variance at all.
    posterior = posterior_of(gaussian, [0.3], 0.4)
    exact = -(0.3 - np.exp(-0.4)) / (np.exp(-0.8) * 0.5 - np.expm1(-0.8))
    estimate = estimated(ImportanceScore(10, "combined"), posterior)
    assert estimate.score[0] == pytest.approx(exact, abs=1e-10)


def test_combination_of_identical_forms():
    # The control variate vanishes, and must not divide by its variance.
    posterior = posterior_of(gaussian, [0.3], 0.4)
    z = jnp.array([[0.1], [0.5]])
    gradients = z * posterior.a / posterior.sigma
    score = combine("combined", posterior, z, gradients, jnp.array([0.5, 0.5]))
    assert score[0] == pytest.approx(0.3 / float(posterior.sigma))


def test_underflow_of_all_weights():
    # Every density is below the smallest number; the ratios are what counts.
    low = estimated(ImportanceScore(64), posterior_of(gaussian, [100.0], 0.5))
    shifted = estimated(ImportanceScore(64), posterior_of(lambda x: gaussian(x) - 1e5, [100.0], 0.5))
    np.testing.assert_allclose(low.score, shifted.score, rtol=1e-8)
    assert np.isfinite(low.score[0])
    assert not low.is_degenerate
    assert float(shifted.log_density - low.log_density) == pytest.approx(-1e5)


@pytest.mark.parametrize(
    ("estimator", "dtype"),
    [
        (ImportanceScore(4096), jnp.float32),
        (ImportanceScore(4096), jnp.float64),
        (LangevinScore(num_draws=256, num_chains=200), jnp.float32),
    ],
)
@pytest.mark.slow
def test_time_tends_to_zero(estimator, dtype):
    # The score is that of the target, in terms that do not cancel; z is of order one and sigma of order 1e-4.
    x = jnp.array([0.7, 1.5], dtype)
    t = jnp.asarray(1e-8, dtype)
    posterior = Posterior(gaussian, x, t, lambda flat: flat)
    assert posterior.sigma == pytest.approx(np.sqrt(2e-8), rel=1e-6)
    combined = dataclasses.replace(estimator, form="gradient")
    estimate = estimated(combined, posterior)
    np.testing.assert_allclose(estimate.score, -(x - 1.0) / 0.5, atol=2e-3)
    assert estimate.score.dtype == dtype
    assert np.all(np.isfinite(estimated(estimator, posterior).score))


@pytest.mark.parametrize(
    "estimator", [ImportanceScore(20_000), LangevinScore(num_draws=500, num_chains=1000, num_steps=40)]
)
def test_bounded_support(estimator):
    # Uniform on [0, 1]: the denoising form holds, from a truncated normal mean.
    def uniform(x):
        return jnp.where((x[0] > 0) & (x[0] < 1), 0.0, -jnp.inf)

    x, t = 0.9, 0.2
    estimate = estimated(estimator, posterior_of(uniform, [x], t))
    a, s = np.exp(-t), -np.expm1(-2 * t)
    y = np.linspace(0, 1, 100_001)
    weight = np.exp(-((x - a * y) ** 2) / (2 * s))
    exact = (a * np.sum(y * weight) / np.sum(weight) - x) / s
    # Standard error of y below 0.29 / sqrt(6000), so of the score below 0.01: six of them, below 1e-8.
    assert estimate.score[0] == pytest.approx(exact, abs=0.06)
    assert estimate.num_invalid == 0


@pytest.mark.parametrize(
    ("estimator", "value"),
    [
        (ImportanceScore(8), -jnp.inf),
        (ImportanceScore(8), jnp.nan),
        (ImportanceScore(8, "combined"), jnp.inf),
        (LangevinScore(), jnp.nan),
    ],
)
def test_nothing_learnt(estimator, value):
    posterior = posterior_of(lambda x: value + 0 * x[0], [2.0, -1.0], 0.5)
    estimate = estimated(estimator, posterior)
    np.testing.assert_array_equal(estimate.score, [-2.0, 1.0])
    assert estimate.is_degenerate
    assert estimate.ess == 0
    assert (estimate.num_invalid > 0) == (value != -jnp.inf)


@pytest.mark.parametrize(
    "estimator",
    [
        ImportanceScore(7),
        ImportanceScore(7, "gradient"),
        LangevinScore(num_draws=5, num_chains=3, num_steps=4),
        LangevinScore(adjusted=False, num_draws=5, num_chains=3, num_steps=4),
    ],
)
def test_counts_are_exact(estimator):
    calls = []

    def counted(x):
        jax.debug.callback(lambda _: calls.append(1), x[0])
        return gaussian(x)

    estimate = estimated(estimator, posterior_of(counted, [0.5], 0.5))
    jax.effects_barrier()
    assert len(calls) == estimate.num_evals
    assert (estimate.num_grad_evals > 0) == estimator.gradient


@pytest.mark.slow
def test_step_is_adapted_and_bounded():
    inner = LangevinScore(num_steps=200, num_chains=20, smoothness=2.0)
    posterior = posterior_of(gaussian, [0.3] * 20, 0.4)
    estimate = estimated(inner, posterior, step=1e-4)
    assert 1e-3 < estimate.step_size <= inner.largest_step(posterior)
    # The acceptance settles at its target where the bound does not bind.
    free = dataclasses.replace(inner, smoothness=0.0)
    rate = estimated(free, posterior_of(gaussian, [0.3] * 200, 1.5)).acceptance_rate
    assert rate == pytest.approx(0.57, abs=0.1)


@pytest.mark.slow
def test_unadjusted_bias_is_the_known_one():
    # Variance 1 / (P (1 - eta P / 2)) instead of 1 / P for posterior precision P and step eta, in y.
    t = 0.4
    a, s = np.exp(-t), -np.expm1(-2 * t)
    inner = LangevinScore(adjusted=False, num_steps=60, num_chains=20_000, smoothness=2.0)
    posterior = posterior_of(gaussian, [0.3], t)
    z = inner.chains(jax.random.key(0), posterior, jnp.zeros((20_000, 1)), jnp.asarray(1.0))[0][-1, :, 0]
    precision, step = 2 + a**2 / s, 0.5 / (2 + a**2 / s)
    y_variance = np.var(z) * s / a**2
    # Relative standard error 1 %; 6 %: below 1e-8. The truth without bias would be 25 % off.
    assert y_variance == pytest.approx(1 / (precision * (1 - step * precision / 2)), rel=0.06)


def test_given_score_may_be_wrong_or_fail():
    posterior = posterior_of(gaussian, [0.5, 0.2], 0.3)
    good = estimated(GivenScore(lambda x, t: -t * x), posterior)
    np.testing.assert_allclose(good.score, [-0.15, -0.06])
    assert good.num_evals == 0
    bad = estimated(GivenScore(lambda x, t: x * jnp.nan), posterior)
    np.testing.assert_allclose(bad.score, [-0.5, -0.2])
    assert bad.is_degenerate
    with pytest.raises(ValueError, match="2 entries"):
        estimated(GivenScore(lambda x, t: x[:1]), posterior)


def test_score_through_the_kernel():
    kernel = ReverseDiffusion(ImportanceScore(100_000), logdensity=mixture)
    estimate = kernel.score(jax.random.key(0), jnp.array([0.5]), 1.0)
    assert estimate.score[0] == pytest.approx(0.79190075, abs=0.05)


UNBIASED = "unbiased: density and gradient from importance draws"
CHAINS = "normal draws: inner chains"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        (TargetAtConditioningPoint, UNBIASED),
        (ForgetsScaling, UNBIASED),
        (LateTime, UNBIASED),
        (never_rejects, CHAINS),
    ],
)
def test_wrong_scores_are_caught(wrong, check):
    assert not run_check(CHECKS[check], wrong(), name="trap", key=jax.random.key(0)).passed


@pytest.mark.parametrize(("check", "adjusted"), [(UNBIASED, True), (CHAINS, True), (CHAINS, False)])
def test_right_scores_pass(check, adjusted):
    # False alarm at most 1e-6 each.
    subject = ReverseDiffusion(LangevinScore(adjusted=adjusted))
    evidence = run_check(CHECKS[check], subject, name="reverse-diffusion", key=jax.random.key(0))
    assert evidence.passed, evidence.details


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ImportanceScore(0), ValueError, "num_draws"),
        (lambda: ImportanceScore(2.5), TypeError, "num_draws"),
        (lambda: ImportanceScore(8, "both"), ValueError, "forms"),
        (lambda: LangevinScore(num_steps=0), ValueError, "num_steps"),
        (lambda: LangevinScore(smoothness=-1.0), ValueError, "smoothness"),
        (lambda: LangevinScore(target_acceptance=0.0), ValueError, "target_acceptance"),
        (lambda: LangevinScore(adaptation_rate=-0.1), ValueError, "adaptation_rate"),
        (lambda: GivenScore(3.0), TypeError, "callable"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_partial_scores_keep_their_data_as_leaves():
    given = GivenScore(Partial(lambda scale, x, t: -x * scale, jnp.asarray(2.0)))
    assert len(jax.tree.leaves(given)) == 1
