"""Limit covariances of stochastic approximation, plain and with a self-repellent token."""

import numpy as np
import pytest

from ergodica.theory.finite_chain import FiniteChain
from ergodica.theory.self_repellent import limit_covariance as walk_covariance
from ergodica.theory.self_repellent import self_repellent_matrix
from ergodica.theory.stochastic_approximation import (
    averaged_covariance,
    limit_covariance,
    markov_noise,
    token_covariance,
    token_noise,
)

R5 = np.array(
    [
        [0.5, 0.5, 0, 0, 0],
        [0.25, 0.25, 0.5, 0, 0],
        [0, 0.25, 0.5, 0.25, 0],
        [0, 0, 0.5, 0.25, 0.25],
        [0, 0, 0, 0.5, 0.5],
    ]
)
MU = np.array([1, 2, 4, 2, 1]) / 10
X = np.arange(5.0)
GRAPH5 = np.array(
    [
        [0, 1 / 2, 1 / 2, 0, 0],
        [1 / 3, 2 / 9, 4 / 9, 0, 0],
        [1 / 4, 1 / 3, 1 / 12, 1 / 3, 0],
        [0, 0, 4 / 15, 7 / 30, 1 / 2],
        [0, 0, 0, 5 / 12, 7 / 12],
    ]
)
LAW5 = np.array([0.10, 0.15, 0.20, 0.25, 0.30])
# Potentials a_i (theta - b_i)^2 / 2 on the nodes.
A, B = np.array([1, 2, 0.5, 1.5, 1]), np.array([-1.0, 0, 1, 2, 3])
ROOT = (LAW5 @ (A * B)) / (LAW5 @ A)
FIELD, JACOBIAN = -A * (ROOT - B), -(LAW5 @ A)


@pytest.mark.parametrize("alpha", [0, 1, 2, 5, 10])
def test_golden_chain(alpha):
    of_x = {0: 8.4, 1: 1.8666666667, 2: 1.05, 5: 0.4540540541, 10: 0.2333333333}[alpha]
    first = {0: 0.354, 1: 0.0840074074, 2: 0.0477857143, 5: 0.0208483524, 10: 0.0107509387}[alpha]
    noise = {0: 8.4, 1: 1.1107438017, 2: 0.4148148148, 5: 0.0883629191, 10: 0.0245434624}[alpha]
    V = walk_covariance(R5, MU, alpha)
    np.testing.assert_allclose([X @ V @ X, V[0, 0]], [of_x, first], atol=6e-11)
    np.testing.assert_allclose(token_noise(R5, MU, X, alpha), noise, atol=6e-11)
    # The mean of H(theta, i) = x_i - theta is the time average for steps 1 / n.
    if alpha:
        fast = token_covariance(R5, MU, X - 2, -1.0, alpha, measure_decay=1, parameter_decay=1)
        np.testing.assert_allclose(fast.value, of_x, atol=6e-11)


@pytest.mark.parametrize(
    ("alpha", "values"),
    [
        (0, (9.9050192942, 17.2420706232, 9.9050192942, 17.2420706232)),
        (1, (1.2698626938, 2.2105017262, 3.8216312082, 4.5500492950)),
        (2, (0.4728739518, 0.8231509531, 2.3929360910, 2.6650966800)),
        (5, (0.1008090229, 0.1754823731, 1.1339992519, 1.1933108878)),
        (10, (0.0280492596, 0.0488264890, 0.6053195231, 0.6220687830)),
        (20, (0.0074180013, 0.0129128170, 0.3134159740, 0.3178889100)),
    ],
)
def test_golden_tokens(alpha, values):
    np.testing.assert_allclose([ROOT, JACOBIAN], [1.404255319149, -1.175], atol=6e-13)
    exponents = [(0.7, 0.9), (0.7, 1), (0.8, 0.8), (1, 1), (0.9, 0.7)]
    found = [
        token_covariance(GRAPH5, LAW5, FIELD, JACOBIAN, alpha, measure_decay=a, parameter_decay=b) for a, b in exponents
    ]
    expected = [*values, 9.9050192942]
    np.testing.assert_allclose([float(each.value[0, 0]) for each in found], expected, atol=6e-11)
    assert max(each.residual for each in found) < 1e-11


def test_noise_without_repulsion_is_that_of_the_chain():
    columns = np.random.default_rng(0).normal(size=(5, 2))
    np.testing.assert_allclose(
        token_noise(GRAPH5, LAW5, columns, 0.0), markov_noise(FiniteChain(GRAPH5), columns), atol=1e-12
    )
    np.testing.assert_allclose(markov_noise(FiniteChain(R5), X), 8.4)


def test_limit_covariances_of_numbers():
    np.testing.assert_allclose(limit_covariance(-2.0, 3.0, decay=0.7).value, 0.75)
    # g^2 U / (2 g |B| - 1), smallest at g = 1 / |B|, where it is that of averages.
    for gain in (0.3, 0.5, 2.0):
        expected = gain**2 * 3 / (4 * gain - 1)
        np.testing.assert_allclose(limit_covariance(-2.0, 3.0, gain=gain).value, expected)
        assert expected >= float(averaged_covariance(-2.0, 3.0)[0, 0]) - 1e-14
    np.testing.assert_allclose(limit_covariance(-2.0, 3.0, gain=0.5).value, averaged_covariance(-2.0, 3.0))


@pytest.mark.parametrize(("decay", "gain"), [(0.75, 1.5), (1.0, 1.5)])
def test_the_recursion_of_covariances(decay, gain):
    rng = np.random.default_rng(1)
    jacobian = -np.eye(2) + np.array([[0, 0.7], [-0.7, -0.5]])
    factor = rng.normal(size=(2, 2))
    noise = factor @ factor.T
    C = np.zeros((2, 2))
    for n in range(1, 50_001):
        step = gain * n**-decay
        move = np.eye(2) + step * jacobian
        C = move @ C @ move.T + step**2 * noise
    scale = step if decay < 1 else 1 / n
    np.testing.assert_allclose(C / scale, limit_covariance(jacobian, noise, decay=decay, gain=gain).value, rtol=0.02)
    best = averaged_covariance(jacobian, noise)
    np.testing.assert_allclose(jacobian @ best @ jacobian.T, noise, atol=1e-13)


@pytest.mark.slow
def test_token_by_simulation():
    """Two thousand tokens, 4000 steps: the ratio of variances has standard error 0.032; tolerance 0.2, six of them.

    The exponents are equal, so that the limit is reached fast; finite steps add a few per cent.
    """
    rng = np.random.default_rng(2)
    num, alpha, decay = 2000, 2.0, 0.8
    x, theta, state = np.full((num, 5), 0.2), np.full(num, ROOT), rng.integers(5, size=num)
    log_base = np.log(np.where(GRAPH5 > 0, GRAPH5, 1e-300))
    for n in range(4000):
        logits = log_base[state] - alpha * np.log(x / LAW5)
        state = np.argmax(logits + rng.gumbel(size=(num, 5)), axis=1)
        step = (n + 2.0) ** -decay
        x += step * (np.eye(5)[state] - x)
        theta += step * -A[state] * (theta - B[state])
    expected = token_covariance(GRAPH5, LAW5, FIELD, JACOBIAN, alpha, measure_decay=decay, parameter_decay=decay)
    assert abs(theta.var() / step / float(expected.value[0, 0]) - 1) < 0.2
    # The simulated kernel is that of the module.
    row = np.exp(log_base[0] - alpha * np.log(x[0] / LAW5))
    np.testing.assert_allclose(row / row.sum(), self_repellent_matrix(GRAPH5, LAW5, x[0], alpha)[0], atol=1e-12)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: limit_covariance(1.0, 1.0), "not stable"),
        (lambda: limit_covariance(-0.4, 1.0), "larger gain than 1.25"),
        (lambda: limit_covariance(-1.0, 1.0, decay=0.5), "decay"),
        (lambda: limit_covariance(-1.0, 1.0, gain=0.0), "gain"),
        (lambda: limit_covariance(-np.eye(2), 1.0), "one shape"),
        (lambda: limit_covariance(np.nan, 1.0), "finite"),
        (lambda: averaged_covariance(1.0, 1.0), "not stable"),
        (lambda: token_noise(R5, MU, X, -1.0), "alpha"),
        (lambda: token_noise(R5, MU, X[:4], 1.0), "field of shape"),
        (lambda: token_covariance(R5, MU, X, -1.0, 1.0, measure_decay=0.4, parameter_decay=1), "measure_decay"),
        (lambda: token_covariance(R5, MU, X, 0.5, 1.0, measure_decay=0.8, parameter_decay=0.8), "not stable"),
    ],
)
def test_bad_arguments(build, message):
    with pytest.raises(ValueError, match=message):
        build()
