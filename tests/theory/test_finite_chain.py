"""Linear algebra of finite chains."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from ergodica.theory.finite_chain import (
    asymptotic_covariance,
    asymptotic_variance,
    fundamental_matrix,
    reversibility_defect,
    reversible_spectrum,
    spectral_covariance,
    stationary_law,
)

MU = np.array([0.10, 0.15, 0.20, 0.25, 0.30])
GRAPH5 = np.array(
    [
        [0, 1 / 2, 1 / 2, 0, 0],
        [1 / 3, 2 / 9, 4 / 9, 0, 0],
        [1 / 4, 1 / 3, 1 / 12, 1 / 3, 0],
        [0, 0, 4 / 15, 7 / 30, 1 / 2],
        [0, 0, 0, 5 / 12, 7 / 12],
    ]
)


@st.composite
def chains(draw, reversible=False):
    size = draw(st.integers(2, 6))
    weights = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).exponential(size=(size, size))
    if reversible:
        weights = weights + weights.T
    return weights / weights.sum(axis=1, keepdims=True)


def test_golden_spectrum():
    spectrum = reversible_spectrum(GRAPH5, MU)
    np.testing.assert_allclose(
        spectrum.eigenvalues, [1, 0.80977263, 0.03522782, -0.30245460, -0.42032363], atol=5e-9, rtol=0
    )
    np.testing.assert_allclose(spectrum.left[0], MU, atol=1e-14)
    np.testing.assert_allclose(spectrum.left @ GRAPH5, spectrum.eigenvalues[:, None] * spectrum.left, atol=1e-14)
    np.testing.assert_allclose((spectrum.left / MU) @ spectrum.left.T, np.eye(5), atol=1e-13)


def test_golden_variance():
    np.testing.assert_allclose(asymptotic_variance(GRAPH5, np.arange(5)), 15.3314772727, rtol=1e-11)
    covariance = asymptotic_covariance(GRAPH5)
    np.testing.assert_allclose(
        np.diag(covariance), [0.19678636, 0.42776932, 0.30350909, 0.34923295, 1.13889545], atol=5e-9, rtol=0
    )
    np.testing.assert_allclose(np.trace(covariance), 2.4161931818, atol=5e-11)


def test_stationary_law_with_transient_and_rare_states():
    np.testing.assert_allclose(stationary_law(GRAPH5), MU, atol=1e-15)
    np.testing.assert_allclose(
        stationary_law([[0.5, 0.5, 0], [0, 0.25, 0.75], [0, 0.5, 0.5]]), [0, 0.4, 0.6], atol=1e-15
    )
    tiny = 1e-200
    np.testing.assert_allclose(stationary_law([[1 - tiny, tiny], [1.0, 0.0]])[1], tiny, rtol=1e-14)
    with pytest.raises(ValueError, match="2 closed classes"):
        stationary_law(np.eye(2))


@hypothesis.given(chains(reversible=True))
def test_the_two_covariances_agree(matrix):
    np.testing.assert_allclose(asymptotic_covariance(matrix), spectral_covariance(matrix), rtol=1e-10, atol=1e-11)


@hypothesis.given(chains())
def test_covariance_is_the_sum_of_autocovariances(matrix):
    """Also for chains that are not reversible; the sum is taken directly."""
    law = stationary_law(matrix)
    np.testing.assert_allclose(law @ matrix, law, atol=1e-14)
    expected, power = np.diag(law) - np.outer(law, law), np.eye(len(law))
    while np.abs(power).max() > 1e-18:
        power = power @ (matrix - law)
        term = law[:, None] * power
        expected += term + term.T
    np.testing.assert_allclose(asymptotic_covariance(matrix), expected, rtol=1e-9, atol=1e-12)


def test_independent_draws():
    matrix = np.tile(MU, (5, 1))
    np.testing.assert_allclose(fundamental_matrix(matrix), np.eye(5), atol=1e-14)
    np.testing.assert_allclose(asymptotic_covariance(matrix), np.diag(MU) - np.outer(MU, MU), atol=1e-15)


def test_a_periodic_chain_has_a_covariance():
    flip = np.array([[0.0, 1.0], [1.0, 0.0]])
    np.testing.assert_allclose(asymptotic_covariance(flip), np.zeros((2, 2)), atol=1e-15)
    np.testing.assert_allclose(spectral_covariance(flip), np.zeros((2, 2)), atol=1e-15)


def test_what_is_no_reversible_chain_is_refused():
    cycle = np.array([[0, 0.9, 0.1], [0.1, 0, 0.9], [0.9, 0.1, 0]])
    np.testing.assert_allclose(reversibility_defect(cycle, [1, 1, 1]), 0.8 / 3)
    with pytest.raises(ValueError, match="not reversible"):
        reversible_spectrum(cycle)
    with pytest.raises(ValueError, match=r"row 0 sums to 1\.1"):
        stationary_law([[0.6, 0.5], [0.5, 0.5]])
    with pytest.raises(ValueError, match="square"):
        stationary_law(np.ones((2, 3)))
    with pytest.raises(ValueError, match="positive weights"):
        asymptotic_covariance(GRAPH5, [1, 1, 1, 1, 0])
