"""Langevin and Hamiltonian samplers on normal targets: which are exact, and how far off the others are."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from ergodica.theory.gaussian_langevin import (
    crank_nicolson,
    kinetic_splitting,
    leapfrog_covariance,
    leapfrog_matrix,
    partial_refresh,
    unadjusted_hamiltonian,
    unadjusted_langevin,
)

Q = np.array([[2, -0.8, 0.3], [-0.8, 1.5, -0.5], [0.3, -0.5, 1]])
MEAN = np.array([1.0, -2.0, 0.5])


def test_golden_langevin():
    sampler = unadjusted_langevin(1.0, 0.1)
    bias = sampler.bias(0.0, [[1.0]])
    np.testing.assert_allclose(sampler.stationary().covariance, 1.0526315789, atol=6e-11)
    np.testing.assert_allclose([bias.wasserstein, bias.divergence], [0.0259783521, 0.0006691423], atol=6e-11)
    np.testing.assert_allclose(sampler.rate, 0.9)
    with pytest.raises(ValueError, match="smaller step"):
        unadjusted_langevin(1.0, 2.0).stationary()


def test_langevin_in_many_dimensions():
    values, vectors = np.linalg.eigh(Q)
    sampler = unadjusted_langevin(Q, 0.2, mean=MEAN)
    law = sampler.stationary()
    np.testing.assert_allclose(law.mean, MEAN, atol=1e-13)
    expected = 1 / (values * (1 - 0.1 * values))
    np.testing.assert_allclose(law.covariance, (vectors * expected) @ vectors.T, atol=1e-13)
    parts = np.sqrt(np.sum((np.sqrt(expected) - 1 / np.sqrt(values)) ** 2))
    np.testing.assert_allclose(sampler.bias(MEAN, np.linalg.inv(Q)).wasserstein, parts, rtol=1e-10)
    # With the covariance for a preconditioner all directions are alike.
    scaled = unadjusted_langevin(Q, 0.2, np.linalg.inv(Q))
    np.testing.assert_allclose(scaled.stationary().covariance, np.linalg.inv(Q) / 0.9, atol=1e-13)


@pytest.mark.parametrize(
    ("letters", "variances"),
    [("BAOAB", (1, 0.9375)), ("ABOBA", (1, 1.0666666667)), ("OBABO", (1.0666666667, 1))],
)
def test_golden_splittings(letters, variances):
    sampler = kinetic_splitting(1.0, 0.5, 1.0, letters)
    np.testing.assert_allclose(np.diag(sampler.stationary().covariance), variances, atol=6e-11)
    np.testing.assert_allclose(sampler.rate, np.exp(-0.25), rtol=1e-12)


@pytest.mark.parametrize(
    ("friction", "time", "rate"),
    [
        (0.5, 1.9896480283, 0.8825),
        (1, 3.9186985985, 0.7788),
        (2, 7.3938745162, 0.6065),
        (4, 12.1855064953, 0.8305),
    ],
)
def test_golden_autocorrelation_times(friction, time, rate):
    sampler = kinetic_splitting(1.0, 0.5, friction)
    np.testing.assert_allclose(sampler.integrated_autocorrelation_time([1, 0]), time, atol=6e-11)
    np.testing.assert_allclose(sampler.rate, rate, atol=6e-5)


@hypothesis.settings(max_examples=20)
@hypothesis.given(st.floats(0.05, 0.9), st.integers(1, 6), st.floats(0, 0.9))
def test_leapfrog_keeps_a_modified_energy(step, num_steps, persistence):
    expected = leapfrog_covariance(Q, step)
    full = unadjusted_hamiltonian(Q, step, num_steps, MEAN).stationary()
    np.testing.assert_allclose(full.covariance, expected, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(full.mean, MEAN, atol=1e-9)
    partial = partial_refresh(Q, step, num_steps, persistence, MEAN).marginal(3)
    np.testing.assert_allclose(partial.covariance, expected, rtol=1e-7, atol=1e-8)
    flow = leapfrog_matrix(Q, step, num_steps)
    np.testing.assert_allclose(np.linalg.det(flow), 1, rtol=1e-10)


@pytest.mark.parametrize("step", [0.1, 0.7, 1.0])
def test_exact_samplers(step):
    for sampler in (crank_nicolson(Q, step, MEAN), kinetic_splitting(Q, step, 1.3, mean=MEAN)):
        law = sampler.marginal(3)
        np.testing.assert_allclose(law.covariance, np.linalg.inv(Q), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(law.mean, MEAN, atol=1e-12)
    np.testing.assert_allclose(crank_nicolson(Q, step).rate, np.sqrt(1 - step**2), atol=1e-12)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: unadjusted_langevin([[1.0, 2.0], [2.0, 1.0]], 0.1), "positive definite"),
        (lambda: unadjusted_langevin(1.0, 0.0), "step_size"),
        (lambda: unadjusted_langevin(1.0, 0.1, mean=[1.0, 2.0]), "mean has to have shape"),
        (lambda: crank_nicolson(1.0, 1.5), "step_size"),
        (lambda: kinetic_splitting(1.0, 0.1, 0.0), "friction"),
        (lambda: kinetic_splitting(1.0, 0.1, 1.0, "BAB"), "letters A, B and O"),
        (lambda: leapfrog_matrix(1.0, 0.1, 0), "num_steps"),
        (lambda: leapfrog_covariance(1.0, 2.0), "stable for steps below 2"),
        (lambda: partial_refresh(1.0, 0.1, 1, 1.0), "persistence"),
    ],
)
def test_bad_arguments(build, message):
    with pytest.raises(ValueError, match=message):
        build()
