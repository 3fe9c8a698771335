"""Affine samplers: stationary laws, bias and asymptotic variances."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.linalg

from ergodica.theory.admm import affine_sweep, stationary_law
from ergodica.theory.linear_gaussian import LinearGaussianSampler, gaussian_bias


def random_sampler(seed, dim):
    rng = np.random.default_rng(seed)
    M = rng.normal(size=(dim, dim))
    M *= rng.uniform(0.1, 0.95) / np.abs(np.linalg.eigvals(M)).max()
    return LinearGaussianSampler(M, rng.normal(size=dim), rng.normal(size=(dim, dim)))


@hypothesis.settings(max_examples=25)
@hypothesis.given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_against_sums_over_steps(seed, dim):
    sampler = random_sampler(seed, dim)
    law = sampler.stationary()
    powers = [np.eye(dim)]
    for _ in range(800):
        powers.append(sampler.M @ powers[-1])
    np.testing.assert_allclose(law.mean, sum(powers) @ sampler.c, rtol=1e-8, atol=1e-8)
    scale = np.abs(law.covariance).max()
    np.testing.assert_allclose(
        law.covariance, sum(p @ sampler.noise @ p.T for p in powers), rtol=1e-8, atol=1e-9 * scale
    )
    assert law.residual < 1e-10
    a = np.random.default_rng(seed).normal(size=dim)
    lags = [a @ p @ law.covariance @ a for p in powers]
    # Terms of the sum may cancel: errors are relative to the variance.
    expected = 2 * sum(lags) - lags[0]
    np.testing.assert_allclose(sampler.asymptotic_variance(a), expected, rtol=1e-7, atol=1e-8 * lags[0])
    np.testing.assert_allclose(
        sampler.integrated_autocorrelation_time(a), sampler.asymptotic_variance(a) / lags[0], rtol=1e-12
    )
    assert sampler.contraction() >= sampler.rate - 1e-12
    np.testing.assert_allclose(
        sampler.then(sampler).stationary().covariance, law.covariance, rtol=1e-8, atol=1e-10 * scale
    )


def test_contraction_in_a_norm():
    sampler = random_sampler(0, 3)
    factor = np.random.default_rng(1).normal(size=(3, 3))
    Q = factor @ factor.T + np.eye(3)
    root = scipy.linalg.sqrtm(Q)
    np.testing.assert_allclose(
        sampler.contraction(Q), np.linalg.norm(root @ sampler.M @ np.linalg.inv(root), 2), rtol=1e-12
    )


def test_bias_by_formula():
    rng = np.random.default_rng(2)
    A, B = (factor @ factor.T + np.eye(3) for factor in rng.normal(size=(2, 3, 3)))
    m, mu = rng.normal(size=(2, 3))
    found = gaussian_bias(m, A, mu, B)
    root = scipy.linalg.sqrtm(B)
    squared = np.sum((m - mu) ** 2) + np.trace(A + B - 2 * scipy.linalg.sqrtm(root @ A @ root))
    np.testing.assert_allclose(found.wasserstein, np.sqrt(squared), rtol=1e-10)
    inverse = np.linalg.inv(B)
    divergence = np.trace(inverse @ A) - 3 + (m - mu) @ inverse @ (m - mu)
    divergence -= np.linalg.slogdet(inverse @ A)[1]
    np.testing.assert_allclose(found.divergence, divergence / 2, rtol=1e-12)
    same = gaussian_bias(m, A, m, A)
    assert same.wasserstein < 1e-13
    assert same.divergence < 1e-25
    # No digits cancel for a small bias: |sqrt(1 + e) - 1|, and e^2 / 4.
    small = gaussian_bias(0.0, [[1 + 1e-9]], 0.0, [[1.0]])
    np.testing.assert_allclose([small.wasserstein, small.divergence], [5e-10, 2.5e-19], rtol=1e-6)
    assert gaussian_bias(0.0, [[0.0]], 0.0, [[1.0]]).divergence == float("inf")


@pytest.mark.parametrize("dim", [1, 2])
def test_conserved_directions(dim):
    rng = np.random.default_rng(dim)
    adjacency = np.array([[0, 1, 1], [1, 0, 0], [1, 0, 0]])
    A = np.stack([factor @ factor.T + np.eye(dim) for factor in rng.normal(size=(3, dim, dim))])
    b = rng.normal(size=(3, dim))
    sampler = LinearGaussianSampler(*affine_sweep(A, b, adjacency, 0.7))
    with pytest.raises(ValueError, match="does not converge"):
        sampler.stationary()
    sum_zero = scipy.linalg.null_space(np.ones((1, 3)))
    basis = scipy.linalg.block_diag(np.eye(3 * dim), np.kron(sum_zero, np.eye(dim)))
    inside = sampler.restricted(basis)
    expected = stationary_law(A, b, adjacency, 0.7)
    np.testing.assert_allclose(inside.rate, expected.spectral_radius, rtol=1e-10)
    copies = inside.marginal(3 * dim)
    np.testing.assert_allclose(copies.mean, expected.mean.reshape(-1), atol=1e-12)
    np.testing.assert_allclose(copies.covariance, expected.covariance.reshape(3 * dim, 3 * dim), atol=1e-12)
    with pytest.raises(ValueError, match="not invariant"):
        sampler.restricted(np.eye(6 * dim)[:, :2])
    with pytest.raises(ValueError, match="orthonormal"):
        sampler.restricted(2 * basis)
    with pytest.raises(ValueError, match="rows"):
        sampler.restricted(np.eye(2))


def test_golden_consensus():
    # Two agents, one edge, curvatures and penalty 1; the noise of the paper has variance 1/2.
    sampler = LinearGaussianSampler(*affine_sweep([1.0, 1.0], [0.0, 0.0], [[0, 1], [1, 0]], 1.0, "paper"))
    basis = scipy.linalg.block_diag(np.eye(2), np.array([[1.0], [-1.0]]) / np.sqrt(2))
    inside = sampler.restricted(basis)
    C = inside.marginal(2).covariance
    found = [np.full(2, 0.5) @ C @ np.full(2, 0.5), np.array([0.5, -0.5]) @ C @ np.array([0.5, -0.5]), C[0, 0]]
    np.testing.assert_allclose(found, np.array([0.4, 1 / 3, 0.7333333333]) * 0.5, rtol=1e-9)
    np.testing.assert_allclose(inside.rate, 2 / 3, rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda: LinearGaussianSampler(np.ones((2, 3)), None, np.eye(2)), "square"),
        (lambda: LinearGaussianSampler(np.eye(2), [1.0], np.eye(2)), "c has to have shape"),
        (lambda: LinearGaussianSampler(np.eye(2), None, np.eye(3)), "R has to have 2 rows"),
        (lambda: LinearGaussianSampler(np.eye(2)), "either R or the covariance"),
        (lambda: LinearGaussianSampler(np.eye(2), None, np.eye(2), noise=np.eye(2)), "either R or the covariance"),
        (lambda: LinearGaussianSampler([[np.nan]], None, [[1.0]]), "finite"),
        (lambda: LinearGaussianSampler([[0.5]], noise=[[-1.0]]), "negative eigenvalue"),
        (lambda: LinearGaussianSampler([[1.5]], None, [[1.0]]).stationary(), "spectral radius of M is 1.5"),
        (lambda: LinearGaussianSampler([[0.5]], None, [[1.0]]).marginal(2), "num_coordinates"),
        (lambda: LinearGaussianSampler([[0.5]], None, [[1.0]]).asymptotic_variance([1, 2]), "a has to have shape"),
        (lambda: gaussian_bias(0.0, [[1.0]], 0.0, [[0.0]]), "positive definite"),
        (lambda: gaussian_bias([0.0, 1.0], np.eye(2), 0.0, np.eye(2)), "means of one shape"),
        (lambda: gaussian_bias(0.0, np.eye(2), 0.0, [[1.0]]), "symmetric covariance"),
        (lambda: random_sampler(0, 2).then(random_sampler(0, 3)), "dimensions 2 and 3"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        arguments()
