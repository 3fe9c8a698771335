"""The stationary law of distributed ADMM on quadratics: golden tables, closed forms, vector-valued agents, bad input."""

import numpy as np
import pytest
import scipy.linalg

from ergodica.theory.admm import (
    affine_sweep,
    average_variance_estimate,
    noise_variance,
    penalty_for_bias,
    stationary_law,
    two_agent_law,
)

A, B = (1.0, 2.0, 0.5, 1.5), (-1.0, 0.0, 2.0, 1.0)
PATH = np.eye(4, k=1) + np.eye(4, k=-1)
CYCLE = PATH + np.eye(4)[::-1] * np.array([1, 0, 0, 1])
COMPLETE = 1 - np.eye(4)


@pytest.mark.parametrize(
    ("graph", "penalty", "noise", "agents", "average", "radius"),
    [
        (CYCLE, 1, "paper", (0.5298043742, 0.4041702487, 0.6281978711, 0.4619667042), 0.1773346500, 0.757059),
        (CYCLE, 1, "calibrated", (0.5298043742, 0.4041702487, 0.6281978711, 0.4619667042), 0.1773346500, 0.757059),
        (CYCLE, 5, "paper", (0.0614220166, 0.0591174593, 0.0625593048, 0.0601197180), 0.0388269643, 0.941124),
        (CYCLE, 5, "calibrated", (0.3071100832, 0.2955872963, 0.3127965242, 0.3005985900), 0.1941348213, 0.941124),
        (CYCLE, 20, "calibrated", (0.2298063117, 0.2289333031, 0.2301877502, 0.2293023653), 0.1984615152, 0.984614),
        (PATH, 1, "paper", (0.4304736017, 0.3343237826, 0.5200786916, 0.3935149203), 0.1433932627, 0.690346),
        (PATH, 1, "calibrated", (0.5165683221, 0.4011885391, 0.6240944299, 0.4722179044), 0.1720719152, 0.690346),
        (COMPLETE, 2, "paper", (0.2585011508, 0.2393965441, 0.2697761190, 0.2484333256), 0.1430799967, 0.905378),
        (COMPLETE, 2, "calibrated", (0.3446682011, 0.3191953921, 0.3597014920, 0.3312444342), 0.1907733289, 0.905378),
    ],
)
def test_golden_table(graph, penalty, noise, agents, average, radius):
    law = stationary_law(A, B, graph, penalty, noise)
    np.testing.assert_allclose(law.agent_covariance[:, 0, 0], agents, atol=1e-10)
    assert law.average_covariance[0, 0] == pytest.approx(average, abs=1e-10)
    assert law.spectral_radius == pytest.approx(radius, abs=6e-7)
    np.testing.assert_allclose(law.mean, 0.3, atol=1e-13)
    np.testing.assert_allclose(law.target_covariance, 0.2)


def test_published_noise_freezes_the_average():
    law = stationary_law(A, B, CYCLE, 20, "paper")
    assert law.average_covariance[0, 0] == pytest.approx(0.0099230758, abs=1e-10)


def test_multipliers_balance_the_gradients():
    law = stationary_law(A, B, PATH, 3.0)
    np.testing.assert_allclose(law.dual_mean[:, 0], -np.asarray(A) * (0.3 - np.asarray(B)), atol=1e-12)
    assert np.abs(law.dual_mean.sum()) < 1e-13


@pytest.mark.parametrize("graph", ["cycle", "complete"])
def test_reference_experiment(graph):
    # Twenty agents with curvature 50/16 + 1/200 each and penalty 5.
    n = 20
    ring = np.roll(np.eye(n), 1, axis=0) + np.roll(np.eye(n), -1, axis=0)
    adjacency = ring if graph == "cycle" else 1 - np.eye(n)
    expected = {
        ("cycle", "paper"): (0.0302036, 0.0029630),
        ("cycle", "calibrated"): (0.1510180, 0.0148152),
        ("complete", "paper"): (0.0586319, 0.0301035),
        ("complete", "calibrated"): (0.0308589, 0.0158439),
    }
    for noise in ("paper", "calibrated"):
        law = stationary_law(np.full(n, 50 / 16 + 1 / 200), np.zeros(n), adjacency, 5.0, noise)
        agent, average = expected[graph, noise]
        assert law.agent_covariance[0, 0, 0] == pytest.approx(agent, abs=6e-8)
        assert law.average_covariance[0, 0] == pytest.approx(average, abs=6e-8)
        assert law.target_covariance[0, 0] == pytest.approx(0.0159744, abs=6e-8)


def test_golden_two_agents():
    law = two_agent_law(1.0, 1.0, 1.0)
    assert law.average == pytest.approx(0.4)
    assert law.half_difference == pytest.approx(1 / 3)
    assert law.agent == pytest.approx(0.7333333333)
    assert two_agent_law(1.0, 1.0, 0.5).agent == pytest.approx(0.3666666667)
    assert stationary_law((1, 1), (0, 0), [[0, 1], [1, 0]], 1.0).spectral_radius == pytest.approx(2 / 3)


@pytest.mark.parametrize(("curvature", "penalty"), [(1.0, 1.0), (0.3, 2.0), (5.0, 0.4)])
def test_two_agents_in_closed_form(curvature, penalty):
    edge = [[0, 1], [1, 0]]
    law = stationary_law((curvature, curvature), (0.4, -2.0), edge, penalty)
    closed = two_agent_law(curvature, penalty, noise_variance(edge, penalty))
    covariance = law.covariance[:, 0, :, 0]
    assert law.average_covariance[0, 0] == pytest.approx(closed.average, rel=1e-12)
    assert covariance[0, 0] == pytest.approx(closed.agent, rel=1e-12)
    assert (covariance[0, 0] - covariance[0, 1]) / 2 == pytest.approx(closed.half_difference, rel=1e-12)
    assert law.joint_covariance[2, 2] == pytest.approx(closed.dual, rel=1e-12)


def test_weighted_average_in_closed_form():
    # Curvatures proportional to the degrees.
    degrees = PATH.sum(axis=1)
    law = stationary_law(degrees, B, PATH, 2.0)
    weights = degrees / degrees.sum()
    variance = weights @ law.covariance[:, 0, :, 0] @ weights
    assert variance == pytest.approx(average_variance_estimate(degrees.sum(), 2.0, 3), rel=1e-12)


def test_penalty_for_bias():
    penalty = penalty_for_bias(5.0, 4, 0.02)
    assert average_variance_estimate(5.0, penalty, 4) * 5.0 == pytest.approx(1 / 1.02, rel=1e-12)


def test_published_and_calibrated_noise_agree_where_degree_is_twice_the_penalty():
    assert noise_variance(CYCLE, 1.0, "paper") == noise_variance(CYCLE, 1.0) == 0.5
    assert noise_variance(PATH, 1.0, "paper") != noise_variance(PATH, 1.0)


def test_bias_is_of_first_order_in_the_inverse_penalty():
    biases = [abs(stationary_law(A, B, PATH, rho).average_covariance[0, 0] - 0.2) for rho in (200.0, 400.0)]
    assert biases[0] / biases[1] == pytest.approx(2.0, abs=0.02)
    # With the published noise the variance itself vanishes.
    assert stationary_law(A, B, PATH, 400.0, "paper").average_covariance[0, 0] < 1e-3


def test_agents_in_the_plane():
    rng = np.random.default_rng(3)
    factors = rng.normal(size=(4, 2, 2))
    precision = factors @ factors.transpose(0, 2, 1) + 0.1 * np.eye(2)
    center = rng.normal(size=(4, 2))
    law = stationary_law(precision, center, PATH, 1.5)
    np.testing.assert_allclose(law.mean, np.broadcast_to(law.target_mean, (4, 2)), atol=1e-12)
    sweep = affine_sweep(precision, center, PATH, 1.5)
    stationary = sweep.matrix @ law.joint_covariance @ sweep.matrix.T + sweep.factor @ sweep.factor.T
    np.testing.assert_allclose(stationary, law.joint_covariance, atol=1e-11)
    # A common rotation of all agents rotates the law.
    angle = scipy.linalg.expm(np.array([[0, -0.7], [0.7, 0]]))
    turned = stationary_law(angle @ precision @ angle.T, center @ angle.T, PATH, 1.5)
    np.testing.assert_allclose(turned.average_covariance, angle @ law.average_covariance @ angle.T, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: noise_variance([[0, 1], [0, 0]], 1.0), "symmetric"),
        (lambda: noise_variance(np.zeros((2, 2)), 1.0), "connected"),
        (lambda: noise_variance(np.kron(np.eye(2), [[0, 1], [1, 0]]), 1.0), "connected"),
        (lambda: noise_variance(PATH, 0.0), "positive"),
        (lambda: noise_variance(PATH, 1.0, "none"), "noises"),
        (lambda: stationary_law(A[:3], B[:3], PATH, 1.0), "one node an agent"),
        (lambda: stationary_law(A, B[:3], PATH, 1.0), "expected precisions"),
        (lambda: stationary_law((0, 0, 0, 0), B, PATH, 1.0), "not a law"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
