"""Closed forms of the self-repellent walk."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from ergodica.theory.finite_chain import asymptotic_covariance, reversible_spectrum
from ergodica.theory.self_repellent import (
    frozen_law,
    large_alpha_limit,
    limit_covariance,
    mean_field_jacobian,
    metropolis_hastings_walk,
    self_repellent_matrix,
)

MU = np.array([0.10, 0.15, 0.20, 0.25, 0.30])
ADJACENCY = np.zeros((5, 5))
for i, j in ((0, 1), (0, 2), (1, 2), (2, 3), (3, 4)):
    ADJACENCY[i, j] = ADJACENCY[j, i] = 1
BASE = metropolis_hastings_walk(ADJACENCY, MU)

TABLE = {
    0.0: (2.4161931818, [0.19678636, 0.42776932, 0.30350909, 0.34923295, 1.13889545]),
    1.0: (0.5846371554, [0.05038013, 0.10229802, 0.07995311, 0.09394285, 0.25806304]),
    2.0: (0.3362343356, [0.02942756, 0.05871090, 0.04700878, 0.05504324, 0.14604385]),
    5.0: (0.1482925433, [0.01316086, 0.02584665, 0.02115073, 0.02463938, 0.06349493]),
    10.0: (0.0768378974, [0.00685938, 0.01338202, 0.01105249, 0.01284145, 0.03270256]),
}

measures = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).dirichlet(np.ones(5)) + 1e-6)
strengths = st.floats(0, 20)


def test_base_chain():
    expected = [
        [0, 1 / 2, 1 / 2, 0, 0],
        [1 / 3, 2 / 9, 4 / 9, 0, 0],
        [1 / 4, 1 / 3, 1 / 12, 1 / 3, 0],
        [0, 0, 4 / 15, 7 / 30, 1 / 2],
        [0, 0, 0, 5 / 12, 7 / 12],
    ]
    np.testing.assert_allclose(BASE, expected, atol=1e-15)
    np.testing.assert_allclose(metropolis_hastings_walk(ADJACENCY, 7 * MU), BASE, atol=1e-15)


@pytest.mark.parametrize("alpha", TABLE)
def test_golden_covariances(alpha):
    covariance = limit_covariance(BASE, MU, alpha)
    trace, diagonal = TABLE[alpha]
    np.testing.assert_allclose(np.trace(covariance), trace, atol=6e-11)
    np.testing.assert_allclose(np.diag(covariance), diagonal, atol=6e-9)
    np.testing.assert_allclose(covariance @ np.ones(5), 0, atol=1e-14)


def test_golden_covariance_in_full():
    upper = np.array(
        [
            [0.04422875, 0.03232030, -0.04485753, -0.08207165],
            [0, 0.04677107, -0.06852371, -0.12477413],
            [0, 0, -0.04419442, -0.11485007],
            [0, 0, 0, 0.06363281],
        ]
    )
    covariance = limit_covariance(BASE, MU, 1.0)
    np.testing.assert_allclose(np.triu(covariance, 1)[:4, 1:], upper, atol=6e-9)
    g = np.arange(5)
    expected = {0: 15.3314772727, 1: 3.3336069658, 5: 0.8084118610, 10: 0.4152958048}
    for alpha, value in expected.items():
        np.testing.assert_allclose(g @ limit_covariance(BASE, MU, alpha) @ g, value, atol=6e-11)


def test_golden_covariance_of_slower_step_sizes():
    expected = [0.03950921, 0.08183020, 0.06223666, 0.07315878, 0.20972051]
    np.testing.assert_allclose(np.diag(limit_covariance(BASE, MU, 1.0, decay=0.7)), expected, atol=6e-9)


def test_no_repulsion_is_the_base_chain():
    np.testing.assert_allclose(limit_covariance(BASE, MU, 0.0), asymptotic_covariance(BASE, MU), atol=1e-14)


def test_independent_base_chain():
    expected = (np.diag(MU) - np.outer(MU, MU)) / 7
    np.testing.assert_allclose(limit_covariance(np.tile(MU, (5, 1)), MU, 3.0), expected, atol=1e-15)


def test_large_alpha():
    np.testing.assert_allclose(np.trace(large_alpha_limit(BASE, MU)), 0.7977982955, atol=6e-11)
    np.testing.assert_allclose(1e7 * limit_covariance(BASE, MU, 1e7), large_alpha_limit(BASE, MU), rtol=1e-5)


@hypothesis.given(strengths, strengths)
def test_loewner_order(one, other):
    weak, strong = sorted((one, other))
    difference = limit_covariance(BASE, MU, weak) - limit_covariance(BASE, MU, strong)
    assert np.linalg.eigvalsh(difference).min() >= -1e-12


def test_golden_kernel():
    x = np.full(5, 0.2)
    expected = [
        [0, 0.36, 0.64, 0, 0],
        [0.12765957, 0.19148936, 0.68085106, 0, 0],
        [0.07317073, 0.21951220, 0.09756098, 0.60975610, 0],
        [0, 0, 0.15183867, 0.20759193, 0.64056940],
        [0, 0, 0, 0.33156499, 0.66843501],
    ]
    np.testing.assert_allclose(self_repellent_matrix(BASE, MU, x, 2.0), expected, atol=6e-9)
    law = frozen_law(BASE, MU, x, 2.0)
    np.testing.assert_allclose(law, [0.00865414, 0.02440467, 0.07569486, 0.30397658, 0.58726976], atol=6e-9)


@hypothesis.given(measures, strengths, st.floats(0.01, 100), st.floats(0.01, 100))
def test_detailed_balance_and_scales(x, alpha, scale_x, scale_mu):
    matrix, law = self_repellent_matrix(BASE, MU, x, alpha), frozen_law(BASE, MU, x, alpha)
    flows = law[:, None] * matrix
    np.testing.assert_allclose(flows, flows.T, atol=1e-15)
    np.testing.assert_allclose(self_repellent_matrix(BASE, scale_mu * MU, scale_x * x, alpha), matrix, atol=1e-12)
    np.testing.assert_allclose(frozen_law(BASE, scale_mu * MU, scale_x * x, alpha), law, atol=1e-12)


@hypothesis.given(strengths)
def test_target_is_the_fixed_point(alpha):
    np.testing.assert_allclose(frozen_law(BASE, MU, MU, alpha), MU, atol=1e-15)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 2.0, 7.0])
def test_jacobian(alpha):
    jacobian = mean_field_jacobian(BASE, MU, alpha)
    spectrum = reversible_spectrum(BASE, MU)
    for value, left in zip(spectrum.eigenvalues[1:], spectrum.left[1:], strict=True):
        np.testing.assert_allclose(jacobian @ left, -(alpha * (1 + value) + 1) * left, atol=1e-13)
    step = 1e-5
    for j in range(5):
        up, down = MU.copy(), MU.copy()
        up[j] += step
        down[j] -= step
        slope = (frozen_law(BASE, MU, up, alpha) - frozen_law(BASE, MU, down, alpha)) / (2 * step)
        np.testing.assert_allclose(slope - np.eye(5)[:, j], jacobian[:, j], atol=1e-7)


@pytest.mark.parametrize("decay", [0.7, 1.0])
def test_lyapunov_equation(decay):
    alpha = 2.0
    drift = mean_field_jacobian(BASE, MU, alpha) + (decay == 1) * np.eye(5) / 2
    covariance = limit_covariance(BASE, MU, alpha, decay=decay)
    noise = asymptotic_covariance(BASE, MU)
    np.testing.assert_allclose(drift @ covariance + covariance @ drift.T + noise, 0, atol=1e-13)


def test_a_periodic_base_chain_contributes_nothing():
    flip = metropolis_hastings_walk([[0, 1], [1, 0]], [1, 1])
    np.testing.assert_allclose(limit_covariance(flip, [1, 1], 3.0), np.zeros((2, 2)), atol=1e-15)
    np.testing.assert_allclose(large_alpha_limit(flip, [1, 1]), np.zeros((2, 2)), atol=1e-15)


def test_bad_arguments():
    with pytest.raises(ValueError, match="alpha has to be at least 0"):
        limit_covariance(BASE, MU, -1.0)
    with pytest.raises(ValueError, match="decay has to lie"):
        limit_covariance(BASE, MU, 1.0, decay=0.5)
    with pytest.raises(ValueError, match="positive everywhere"):
        self_repellent_matrix(BASE, MU, [0, 1, 1, 1, 1], 2.0)
    with pytest.raises(ValueError, match="symmetric adjacency"):
        metropolis_hastings_walk([[0, 1], [0, 0]], [1, 1])
