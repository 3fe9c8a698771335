"""Errors of normalising constants."""

import numpy as np
import pytest

from ergodica.validation.quality.normalising_constant import normalising_constant_error


def test_lognormal_estimates():
    """For log Z of variance s^2 around -s^2/2 everything is known; tolerances are 6 standard errors."""
    s, n = 0.3, 4000
    logs = 7 - s**2 / 2 + s * np.random.default_rng(0).normal(size=n)
    result = normalising_constant_error(logs, 7.0)
    assert abs(result.value) < 6 * result.standard_error
    assert result.standard_error == pytest.approx(np.sqrt(np.expm1(s**2) / n), rel=0.1)
    assert result.mean_log_error == pytest.approx(-(s**2) / 2, abs=6 * s / np.sqrt(n))
    # Averaging logs is biased by minus half of the relative variance; averaging Z is not.
    assert result.mean_log_error == pytest.approx(-result.relative_variance / 2, abs=0.01)
    assert result.rmse == pytest.approx(np.hypot(s, s**2 / 2), rel=0.07)
    assert result.rmse_standard_error == pytest.approx(s / np.sqrt(2 * n), rel=0.15)
    assert result.relative_variance == pytest.approx(np.expm1(s**2), rel=0.2)
    assert result.p_value > 1e-4
    assert normalising_constant_error(logs, 7.1).p_value < 1e-6
    assert not result.exact


def test_jackknife_by_hand():
    z = np.array([1.0, 2.0, 4.0])
    result = normalising_constant_error(np.log(z), 0.0)
    left_out = np.log([3.0, 2.5, 1.5])
    assert result.value == pytest.approx(np.log(7 / 3))
    assert result.standard_error == pytest.approx(np.sqrt(2 / 3 * np.sum((left_out - left_out.mean()) ** 2)))
    assert result.relative_variance == pytest.approx(np.var(z, ddof=1) / (7 / 3) ** 2)


def test_shift_of_scale_changes_nothing():
    logs = np.array([0.1, -0.2, 0.3, 0.0])
    near, far = normalising_constant_error(logs, 0.0), normalising_constant_error(logs + 5000, 5000.0)
    assert near.value == pytest.approx(far.value, abs=1e-9)
    assert near.p_value == pytest.approx(far.p_value, rel=1e-6)


def test_estimates_of_zero():
    result = normalising_constant_error([0.0, -np.inf, 0.2, 0.1], 0.0)
    assert result.value == pytest.approx(np.log((1 + np.exp(0.2) + np.exp(0.1)) / 4))
    assert np.isfinite(result.standard_error)
    assert result.mean_log_error == -np.inf
    assert result.rmse == np.inf
    assert np.isnan(result.rmse_standard_error)
    assert normalising_constant_error([0.0, -np.inf], 0.0).standard_error == np.inf


def test_equal_estimates():
    exact = normalising_constant_error([2.0, 2.0], 2.0)
    assert (exact.value, exact.standard_error, exact.p_value) == (0.0, 0.0, 1.0)
    assert normalising_constant_error([2.0, 2.0], 3.0).p_value < 1e-300
    assert normalising_constant_error([2.0, 2.5], 2000.0).p_value < 1e-6


@pytest.mark.parametrize(
    ("estimates", "truth", "message"),
    [
        ([1.0], 0.0, "at least two"),
        ([[1.0, 2.0]], 0.0, "at least two"),
        ([1.0, np.nan], 0.0, "NaN"),
        ([1.0, np.inf], 0.0, "NaN and inf"),
        ([-np.inf, -np.inf], 0.0, "are zero"),
        ([1.0, 2.0], np.nan, "log_truth"),
    ],
)
def test_bad_input(estimates, truth, message):
    with pytest.raises(ValueError, match=message):
        normalising_constant_error(estimates, truth)
