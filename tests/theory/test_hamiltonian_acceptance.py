"""Acceptance rates on normal targets against quadrature and simulation."""

import numpy as np
import pytest
import scipy.integrate

from ergodica.theory.gaussian_langevin import leapfrog_matrix
from ergodica.theory.hamiltonian_acceptance import (
    hamiltonian_acceptance,
    limiting_acceptance,
    mala_acceptance,
    mean_energy_error,
)


@pytest.mark.parametrize(
    ("step", "num_steps", "rate"),
    [(1, 1, 0.9208331517), (0.5, 4, 0.9815096560), (1.5, 2, 0.9331038203), (1, 3, 1.0)],
)
def test_golden_rates(step, num_steps, rate):
    np.testing.assert_allclose(hamiltonian_acceptance(step, num_steps), rate, atol=6e-11)
    np.testing.assert_allclose(hamiltonian_acceptance(step / 3, num_steps, 3.0), rate, atol=6e-11)


def test_golden_limits():
    np.testing.assert_allclose(mala_acceptance(0.5), 0.9208331517, atol=6e-11)
    np.testing.assert_allclose(mean_energy_error(0.25, 6, np.ones(400)), 0.0493817502, atol=6e-11)
    np.testing.assert_allclose(limiting_acceptance(0.25, 6, np.ones(400)), 0.8751397911, atol=6e-11)


@pytest.mark.parametrize(("step", "num_steps", "frequency"), [(0.9, 2, 1.0), (1.7, 5, 1.1), (0.3, 7, 2.5)])
def test_against_quadrature(step, num_steps, frequency):
    # In polar coordinates the error is the square of the radius times a function of the angle.
    flow = leapfrog_matrix(frequency**2, step, num_steps)
    angle = np.linspace(0, 2 * np.pi, 200_001)[:-1]
    start = np.stack([np.cos(angle) / frequency, np.sin(angle)])
    end = flow @ start
    change = 0.5 * (frequency**2 * (end[0] ** 2 - start[0] ** 2) + end[1] ** 2 - start[1] ** 2)
    # E min(1, exp(-r^2 q)) with r^2 / 2 exponential: 1 / (1 + 2 q) where q > 0.
    rate = np.mean(1 / (1 + 2 * np.maximum(change, 0)))
    np.testing.assert_allclose(hamiltonian_acceptance(step, num_steps, frequency), rate, rtol=1e-8)
    # The mean of r^2 is 2.
    np.testing.assert_allclose(mean_energy_error(step, num_steps, frequency), 2 * np.mean(change), rtol=1e-8)


@pytest.mark.parametrize("step", [0.3, 1.9999, 2.0, 3.5])
def test_mala_by_quadrature(step):
    def given(x):
        z = np.linspace(-9, 9, 20_001)
        y = x - step * x + np.sqrt(2 * step) * z
        log_ratio = 0.5 * (x**2 - y**2) + 0.5 * z**2 - (x - y + step * y) ** 2 / (4 * step)
        weight = np.exp(-0.5 * z**2)
        return np.exp(-0.5 * x**2) * np.sum(weight * np.exp(np.minimum(0, log_ratio))) / np.sum(weight)

    rate = scipy.integrate.quad(given, -9, 9, points=[0.0], epsabs=1e-9)[0] / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(mala_acceptance(step), rate, rtol=1e-6)


def test_small_errors_keep_their_digits():
    # One minus the rate is (2 / pi) h^3 / 8 to leading order for one step.
    np.testing.assert_allclose(1 - hamiltonian_acceptance(1e-3, 1), 2 / np.pi * 1e-9 / 8, rtol=1e-5)


@pytest.mark.slow
def test_many_dimensions_by_simulation():
    """Twenty thousand draws: their mean is within 5.5 standard errors (1e-7); the limit is off by less than 0.002."""
    rng = np.random.default_rng(0)
    flow = leapfrog_matrix(1.0, 0.25, 6)
    start = rng.normal(size=(2, 20_000, 400))
    end = np.einsum("ij,jnd->ind", flow, start)
    change = 0.5 * np.sum(end**2 - start**2, axis=(0, 2))
    accept = np.minimum(1, np.exp(-change))
    error = 5.5 * accept.std() / np.sqrt(len(accept))
    assert abs(accept.mean() - limiting_acceptance(0.25, 6, np.ones(400))) < error + 0.002
    assert error < 0.008


@pytest.mark.slow
@pytest.mark.parametrize(("step", "num_steps"), [(1, 1), (0.5, 4), (1.5, 2)])
def test_one_dimension_by_simulation(step, num_steps):
    """A million draws: within 5.5 standard errors, false alarms below 1e-7."""
    start = np.random.default_rng(1).normal(size=(2, 1_000_000))
    end = leapfrog_matrix(1.0, step, num_steps) @ start
    accept = np.minimum(1, np.exp(-0.5 * np.sum(end**2 - start**2, axis=0)))
    assert abs(accept.mean() - hamiltonian_acceptance(step, num_steps)) < 5.5 * accept.std() / 1000


def test_bad_arguments():
    with pytest.raises(ValueError, match="frequency < 2"):
        hamiltonian_acceptance(2.0, 1)
    with pytest.raises(ValueError, match="positive step"):
        hamiltonian_acceptance(0.1, 0)
    with pytest.raises(ValueError, match="positive step"):
        mean_energy_error(0.1, 1, [1.0, -1.0])
    with pytest.raises(ValueError, match="step_size"):
        mala_acceptance(0.0)
