import numpy as np
import pytest
import scipy.linalg

from ergodica.theory.gaussian_gibbs import (
    gibbs_sampler,
    over_relaxed_sampler,
    random_scan,
    random_scan_gap,
    split_gibbs_sampler,
    systematic_scan,
)

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


GOLDEN = np.array([[2, -0.8, 0.3], [-0.8, 1.5, -0.5], [0.3, -0.5, 1]])


@pytest.mark.parametrize(("relaxation", "rate"), [(1.0, 0.2), (1.054, 0.1772930328), (1.2, 0.2693966509)])
def test_golden_over_relaxation(relaxation, rate):
    mean = np.array([1.0, 2.0, -1.0])
    sampler = over_relaxed_sampler(GOLDEN, relaxation, mean)
    np.testing.assert_allclose(sampler.rate, rate, atol=6e-11)
    law = sampler.stationary()
    np.testing.assert_allclose(law.covariance, np.linalg.inv(GOLDEN), atol=1e-12)
    np.testing.assert_allclose(law.mean, mean, atol=1e-12)


def test_golden_rates():
    gap = random_scan_gap(GOLDEN)
    np.testing.assert_allclose([gap, (1 - gap) ** 3], [0.1596630374, 0.5934175685], atol=6e-11)
    np.testing.assert_allclose(1 - np.linalg.eigvals(random_scan(GOLDEN)).real.max(), gap, rtol=1e-12)
    equal = np.linalg.inv(0.5 * np.eye(10) + 0.5)
    np.testing.assert_allclose(gibbs_sampler(equal).rate, 0.8123353799, atol=6e-11)
    for r, rate in ((0.9, 0.81), (0.99, 0.9801)):
        np.testing.assert_allclose(gibbs_sampler(np.linalg.inv([[1, r], [r, 1]])).rate, rate, rtol=1e-10)


def test_single_coordinates_and_blocks():
    M, noise = systematic_scan(GOLDEN)
    sampler = gibbs_sampler(GOLDEN)
    np.testing.assert_allclose(sampler.M, M, atol=1e-15)
    np.testing.assert_allclose(sampler.noise, noise, atol=1e-15)
    # One block is an independent draw.
    whole = gibbs_sampler(GOLDEN, blocks=[3])
    assert whole.rate < 1e-15
    np.testing.assert_allclose(whole.noise, np.linalg.inv(GOLDEN), atol=1e-14)
    blocked = over_relaxed_sampler(GOLDEN, 1.3, blocks=[1, 2])
    np.testing.assert_allclose(blocked.stationary().covariance, np.linalg.inv(GOLDEN), atol=1e-12)
    # Two blocks: the rate is the largest squared canonical correlation.
    S = np.linalg.inv(GOLDEN)
    canonical = S[0, 1:] @ np.linalg.solve(S[1:, 1:], S[1:, 0]) / S[0, 0]
    np.testing.assert_allclose(gibbs_sampler(GOLDEN, blocks=[1, 2]).rate, canonical, rtol=1e-12)


def test_golden_split():
    sampler = split_gibbs_sampler(2.0, 1.0, 0.5)
    np.testing.assert_allclose(sampler.marginal(1).covariance, 0.3571428571, atol=6e-11)
    np.testing.assert_allclose(sampler.rate, 0.5333333333, atol=6e-11)
    for a, b, r in ((2.0, 1.0, 0.5), (0.0, 3.0, 1.5), (0.7, 0.2, 0.01)):
        sampler = split_gibbs_sampler(a, b, r)
        np.testing.assert_allclose(sampler.rate, 1 / ((1 + a * r**2) * (1 + b * r**2)), rtol=1e-10)
        variance = (1 + b * r**2) / (a + b + a * b * r**2)
        np.testing.assert_allclose(sampler.marginal(1).covariance, variance, rtol=1e-8)


def test_the_split_tends_to_the_product():
    other = np.diag([1.0, 0.0, 2.0])
    m1, m2 = np.array([1.0, 0.0, 2.0]), np.array([-1.0, 3.0, 0.5])
    law = split_gibbs_sampler(GOLDEN, other, 1e-3, m1, m2).marginal(3)
    np.testing.assert_allclose(law.covariance, np.linalg.inv(GOLDEN + other), atol=1e-5)
    np.testing.assert_allclose(law.mean, np.linalg.solve(GOLDEN + other, GOLDEN @ m1 + other @ m2), atol=1e-4)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: over_relaxed_sampler(GOLDEN, 2.0), "relaxation"),
        (lambda: gibbs_sampler(GOLDEN, blocks=[1, 1]), "sum to 3"),
        (lambda: gibbs_sampler(GOLDEN, [1.0]), "mean has to have shape"),
        (lambda: split_gibbs_sampler(1.0, 1.0, 0.0), "coupling"),
        (lambda: split_gibbs_sampler(-1.0, 2.0, 1.0), "not negative"),
        (lambda: split_gibbs_sampler(np.eye(2), 1.0, 1.0), "one shape"),
        (lambda: split_gibbs_sampler(0.0, 0.0, 1.0), "positive definite"),
    ],
)
def test_bad_samplers(build, message):
    with pytest.raises(ValueError, match=message):
        build()
