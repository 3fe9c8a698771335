"""Closed forms of the noised law and of the discretised reversal: golden numbers, identities, bad input."""

import numpy as np
import pytest

from ergodica.theory.reverse_diffusion import (
    concavity_horizon,
    mixture_log_density,
    mixture_score,
    noised_mixture,
    rejection_acceptance,
    reversed_variance,
    weight_moment,
)

MIXTURE = ((0.3, 0.7), (-4.0, 4.0), (1.0, 0.36))


@pytest.mark.parametrize(
    ("x", "t", "score", "log_density"),
    [
        (0.5, 1.0, 0.79190075, -1.65319326),
        (1.0, 0.5, 1.84419333, -2.46745669),
        (-1.2, 0.25, -1.91516193, -3.95690826),
        (0.0, 2.0, 0.22198118, -1.06255145),
    ],
)
def test_golden_scores(x, t, score, log_density):
    noised = noised_mixture(*MIXTURE, t)
    assert mixture_score(x, noised)[0] == pytest.approx(score, abs=5e-9)
    assert mixture_log_density(x, noised) == pytest.approx(log_density, abs=5e-9)


@pytest.mark.parametrize(
    ("x", "t", "acceptance"), [(0.5, 1.0, 0.15131290), (1.0, 0.5, 0.11050784), (0.0, 2.0, 0.10048331)]
)
def test_golden_acceptance(x, t, acceptance):
    y = np.linspace(3.99, 4.01, 100_001)
    logs = mixture_log_density(y[:, None], noised_mixture(*MIXTURE, 0.0))
    assert rejection_acceptance(x, t, MIXTURE, logs.max()) == pytest.approx(acceptance, abs=1e-8)


def test_acceptance_is_the_mean_over_proposals_in_two_dimensions():
    law = ([0.4, 0.6], [[0.0, 1.0], [1.0, -1.0]], [0.5 * np.eye(2), np.diag([1.0, 0.3])])
    x, t = np.array([0.3, -0.2]), 0.6
    z = np.linspace(-8, 8, 401)
    grid = np.stack(np.meshgrid(z, z), axis=-1)
    y = (x + np.sqrt(-np.expm1(-2 * t)) * grid) * np.exp(t)
    gamma = np.exp(mixture_log_density(y, noised_mixture(*law, 0.0)))
    mean = np.sum(gamma * np.exp(-0.5 * np.sum(grid**2, axis=-1))) / (2 * np.pi) * (z[1] - z[0]) ** 2
    assert rejection_acceptance(x, t, law, 0.0) == pytest.approx(mean, rel=1e-9)


def test_score_is_the_gradient_in_several_dimensions():
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(3, 2, 2))
    noised = noised_mixture([1.0, 2.0, 1.0], rng.normal(size=(3, 2)), factors @ factors.transpose(0, 2, 1), 0.4)
    points = rng.normal(size=(5, 2))
    h = 1e-5
    for axis in range(2):
        shift = h * np.eye(2)[axis]
        slope = (mixture_log_density(points + shift, noised) - mixture_log_density(points - shift, noised)) / (2 * h)
        np.testing.assert_allclose(mixture_score(points, noised)[:, axis], slope, atol=1e-8)


def test_noise_takes_over():
    noised = noised_mixture(*MIXTURE, 20.0)
    np.testing.assert_allclose(noised.covariances[:, 0, 0], 1.0, atol=1e-12)
    np.testing.assert_allclose(noised.means, 0.0, atol=1e-7)


@pytest.mark.parametrize(
    ("steps", "exponential", "euler"),
    [
        (10, 4.401368, 3.355057),
        (20, 4.170950, 3.638884),
        (40, 4.078623, 3.808421),
        (80, 4.037656, 3.901253),
        (160, 4.018421, 3.949859),
        (320, 4.009109, 3.974734),
    ],
)
def test_golden_variances(steps, exponential, euler):
    times = np.linspace(3.0, 0.0, steps + 1)
    assert reversed_variance(times, 4.0) == pytest.approx(exponential, abs=6e-7)
    assert reversed_variance(times, 4.0, integrator="euler") == pytest.approx(euler, abs=6e-7)


def test_steps_are_of_first_order():
    errors = [reversed_variance(np.linspace(3.0, 0.0, k + 1), 4.0) - 4.0 for k in (640, 1280)]
    assert errors[0] / errors[1] == pytest.approx(2.0, abs=0.02)


def test_golden_concavity_horizon():
    x = np.linspace(-8, 8, 200001)
    curvature = np.gradient(mixture_score(x[:, None], noised_mixture(*MIXTURE, 0.0))[:, 0], x)
    assert curvature[1:-1].max() == pytest.approx(43.8017, abs=1e-3)
    assert concavity_horizon(43.8017) == pytest.approx(0.0112867, abs=5e-8)


@pytest.mark.parametrize("score", ["exact", "single draw"])
@pytest.mark.parametrize("start_steps", [0, 4])
@pytest.mark.parametrize("variance", [0.5, 1.0, 4.0])
def test_weights_are_proper(score, start_steps, variance):
    # E[w] = Z and the tilted law is the target, for the right scores and for useless ones alike.
    moment = weight_moment(np.geomspace(1.0, 0.3, 12), variance, 1, score=score, start_steps=start_steps)
    assert moment.log_moment == pytest.approx(0.5 * np.log(2 * np.pi * variance), abs=1e-11)
    assert moment.variance == pytest.approx(variance, rel=1e-10)


def test_unweighted_variance_is_that_of_the_recursion():
    times = np.geomspace(2.0, 0.05, 21)
    expected = reversed_variance(times, 3.0, start=-np.expm1(-4.0))
    assert weight_moment(times, 3.0, 1).unweighted_variance == pytest.approx(expected, rel=1e-12)


def test_weights_vanish_with_the_steps():
    # A long horizon, the exact score, many steps down to zero: the path laws agree, and the weight is constant.
    moments = [
        weight_moment(np.linspace(6.0, 0.0, steps + 1), 1.5, 2).log_moment - np.log(2 * np.pi * 1.5)
        for steps in (60, 240)
    ]
    assert 0 < moments[1] < moments[0] / 3 < 0.4


def test_moments_that_do_not_exist_are_infinite():
    assert weight_moment(np.geomspace(3.0, 0.02, 51), 4.0, 2, score="single draw").log_moment == np.inf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: noised_mixture([1.0], [0.0, 1.0], [1.0], 1.0), "shapes"),
        (lambda: noised_mixture(*MIXTURE, -1.0), "at least 0"),
        (lambda: mixture_score(np.zeros((3, 2)), noised_mixture(*MIXTURE, 1.0)), "points of shape"),
        (lambda: reversed_variance([1.0], 1.0), "two decreasing"),
        (lambda: reversed_variance([0.0, 1.0], 1.0), "decreasing"),
        (lambda: reversed_variance([1.0, 0.5], 1.0, integrator="heun"), "integrators"),
        (lambda: weight_moment([1.0, 0.5], 1.0, 1, score="none"), "scores"),
        (lambda: concavity_horizon(0.0), "positive"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
