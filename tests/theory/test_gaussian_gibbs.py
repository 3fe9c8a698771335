import numpy as np
import pytest
import scipy.linalg

from ergodica.theory.gaussian_gibbs import random_scan, systematic_scan

Q = np.array([[2, -0.5, 0.3], [-0.5, 1.5, 0.2], [0.3, 0.2, 1]])


def test_golden_spectra():
    transition, _ = systematic_scan(Q)
    assert np.abs(np.linalg.eigvals(transition)).max() == pytest.approx(0.2121389216, abs=1e-10)
    np.testing.assert_allclose(
        np.sort(np.linalg.eigvals(random_scan(Q)).real), [0.5681686422, 0.6161869137, 0.8156444441], atol=1e-10
    )


@pytest.mark.parametrize("r", [0.0, 0.5, 0.9])
def test_two_correlated_coordinates(r):
    precision = np.linalg.inv([[1, r], [r, 1]])
    transition, noise = systematic_scan(precision)
    covariance = scipy.linalg.solve_discrete_lyapunov(transition, noise)
    lagged = np.diag(transition @ covariance) / np.diag(covariance)
    np.testing.assert_allclose(lagged, r**2, atol=1e-12)
    np.testing.assert_allclose(
        np.sort(np.linalg.eigvals(random_scan(precision)).real), [(1 - r) / 2, (1 + r) / 2], atol=1e-12
    )


@pytest.mark.parametrize("dim", [1, 2, 5, 20])
def test_the_sweep_keeps_the_target(dim):
    rng = np.random.default_rng(dim)
    factor = rng.normal(size=(dim, dim))
    precision = factor @ factor.T + np.eye(dim)
    transition, noise = systematic_scan(precision)
    covariance = np.linalg.inv(precision)
    np.testing.assert_allclose(transition @ covariance @ transition.T + noise, covariance, atol=1e-12)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [(np.ones((2, 3)), "symmetric"), ([[1, 2], [0, 1]], "symmetric"), ([[1, 2], [2, 1]], "positive")],
)
def test_bad_input(matrix, message):
    with pytest.raises(ValueError, match=message):
        systematic_scan(np.asarray(matrix, float))
