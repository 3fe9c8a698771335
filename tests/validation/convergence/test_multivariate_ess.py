"""Multivariate effective sample size, the asymptotic covariance, and the rule to stop."""

import arviz_stats.base
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from ergodica.validation.convergence.asymptotic_covariance import monte_carlo_covariance
from ergodica.validation.convergence.multivariate_ess import (
    FixedVolumeStopping,
    fixed_volume_threshold,
    multivariate_ess,
)

WAVE = np.sin(0.37 * np.arange(1, 101))
PHI = np.array([[0.8, 0.1], [0.0, 0.5]])


def autoregression(rng, chains, n):
    noise = rng.normal(size=(chains, n + 200, 2))
    second = scipy.signal.lfilter([1], [1, -0.5], noise[:, :, 1], axis=1)
    drive = noise[:, :, 0].copy()
    drive[:, 1:] += 0.1 * second[:, :-1]
    first = scipy.signal.lfilter([1], [1, -0.8], drive, axis=1)
    return np.stack([first, second], axis=-1)[:, 200:]


def test_golden_wave():
    assert monte_carlo_covariance(WAVE, batch=10)[0, 0] == pytest.approx(1.3426985477, rel=1e-9)
    value = monte_carlo_covariance(jnp.asarray(WAVE), method="bartlett", batch=10)[0, 0]
    assert value == pytest.approx(1.4817820484, rel=1e-9)
    assert monte_carlo_covariance(WAVE)[0, 0] == monte_carlo_covariance(WAVE, batch=10)[0, 0]
    lugsail = monte_carlo_covariance(WAVE, method="lugsail", batch=10)[0, 0]
    assert lugsail == pytest.approx(2 * 1.3426985477 - monte_carlo_covariance(WAVE, batch=3)[0, 0], rel=1e-9)


def test_golden_autoregression():
    """Truth in closed form; the estimate from 4e5 draws within a tenth (its standard deviation is about 3 %)."""
    V = np.array([[2.8641975309, 0.1111111111], [0.1111111111, 1.3333333333]])
    inverse = np.linalg.inv(np.eye(2) - PHI)
    sigma = inverse @ V + V @ inverse.T - V
    np.testing.assert_allclose(PHI @ V @ PHI.T + np.eye(2), V, rtol=1e-9)
    np.testing.assert_allclose(sigma, [[26, 2], [2, 4]], rtol=1e-8)
    truth = np.sqrt(np.linalg.det(V) / np.linalg.det(sigma))
    assert truth == pytest.approx(0.1951046991, rel=1e-9)
    x = autoregression(np.random.default_rng(0), 1, 400_000)
    for method in ("batch-means", "lugsail"):
        assert multivariate_ess(x, method=method).value / 400_000 == pytest.approx(truth, rel=0.15)
    assert multivariate_ess(x[:, :50_000], method="bartlett", batch=200).value / 50_000 == pytest.approx(truth, rel=0.2)


def test_invariance_under_linear_maps():
    x = autoregression(np.random.default_rng(1), 3, 2000)
    value = multivariate_ess(x).value
    mapped = x @ np.array([[3.0, 1.0], [0.0, 1e-3]]) + [5, -7]
    assert multivariate_ess(mapped).value == pytest.approx(value, rel=1e-8)


def test_one_coordinate_agrees_with_arviz():
    """AR(1) with phi = 0.9, 4 x 5000: truth 1052.6; both estimates scatter by about 7 %."""
    noise = np.random.default_rng(2).normal(size=(4, 5500))
    x = scipy.signal.lfilter([1], [1, -0.9], noise, axis=1)[:, 500:]
    assert multivariate_ess(x, batch=250).value == pytest.approx(1052.6, rel=0.3)
    ours, theirs = multivariate_ess(x, batch=250).value, arviz_stats.base.array_stats.ess(x, method="mean")
    assert ours == pytest.approx(float(theirs), rel=0.3)
    assert theirs == pytest.approx(1052.6, rel=0.3)


def test_chains_that_disagree_have_few():
    """Down to about one for each batch, of which 4 x 32 are left."""
    x = autoregression(np.random.default_rng(3), 4, 1000)
    apart = x + 10 * np.arange(4)[:, None, None]
    assert multivariate_ess(apart[:, :, :1]).value < 135 < 0.3 * multivariate_ess(x[:, :, :1]).value
    assert multivariate_ess(apart[:, :, :1], batch=500).value < 10


def test_golden_thresholds():
    golden = {1: 6146.33, 2: 7529.10, 3: 8122.68, 10: 8830.63, 50: 8335.25}
    for p, threshold in golden.items():
        assert fixed_volume_threshold(p) == pytest.approx(threshold, abs=0.006)
    assert fixed_volume_threshold(3, epsilon=0.1) == pytest.approx(8122.68 / 4, abs=0.003)
    assert np.isfinite(fixed_volume_threshold(2000))


def test_stopping():
    rule = FixedVolumeStopping(epsilon=0.2, first=500, growth=2.0)
    x = autoregression(np.random.default_rng(4), 4, 4000)
    assert [rule.next_check(n) for n in (0, 499, 500, 1000, 1001)] == [500, 500, 1000, 2000, 2000]
    early = rule.report(x[:, :100])
    assert not early.stop
    assert np.isnan(early.value)
    assert early.next_check == 500
    assert early.threshold == pytest.approx(fixed_volume_threshold(2, epsilon=0.2))
    assert not rule.report(x[:, :500]).stop or rule.report(x[:, :500]).value >= early.threshold
    late = rule.report(x)
    assert late.stop
    assert late.value == multivariate_ess(x).value


def test_nested_rhat_is_that_of_arviz():
    """It exists there, with the golden value: not written again."""
    chains = np.array([[1.0, 2, 3, 4], [2, 3, 4, 5], [5, 6, 7, 8], [6, 7, 8, 9]])
    stats = arviz_stats.base.array_stats
    nested = stats.rhat_nested(chains, superchain_ids=[0, 0, 1, 1], method="identity")
    assert nested == pytest.approx(2.1661735139, rel=1e-9)
    assert stats.rhat(chains, method="identity") == pytest.approx(2.0371548787, rel=1e-9)


@pytest.mark.parametrize(
    ("draws", "options", "error", "message"),
    [
        (np.empty((2, 0, 1)), {}, ValueError, "at least 4 draws"),
        (np.empty((0, 10)), {}, ValueError, "at least 1 chains"),
        (np.ones((2, 100)), {}, ValueError, "coordinate 0 is constant"),
        (np.where(np.arange(100) == 7, np.nan, WAVE), {}, ValueError, "draw 7 of chain 0"),
        (np.array(["a"] * 9), {}, TypeError, "real numbers"),
        ([[1.0], [1.0, 2.0]], {}, ValueError, "different lengths"),
        (np.ones((1, 1, 1, 1)), {}, ValueError, "shape"),
        (np.stack([WAVE, 2 * WAVE], axis=-1)[None], {}, ValueError, "linearly dependent"),
        (np.random.default_rng(0).normal(size=(1, 30, 8)), {}, ValueError, "not positive definite"),
        (WAVE, {"batch": 101}, ValueError, "at most the number of draws"),
        (WAVE, {"batch": 60}, ValueError, "fewer than two"),
        (WAVE, {"batch": 2, "method": "lugsail"}, ValueError, "third of the batch"),
        (WAVE, {"method": "other"}, ValueError, "method has to be"),
    ],
)
def test_bad_input(draws, options, error, message):
    with pytest.raises(error, match=message):
        multivariate_ess(draws, **options)


def test_bad_rules():
    with pytest.raises(ValueError, match="growth"):
        FixedVolumeStopping(growth=1.0)
    with pytest.raises(ValueError, match="first"):
        FixedVolumeStopping(first=3)
    with pytest.raises(ValueError, match="alpha"):
        FixedVolumeStopping(alpha=0.0)
    with pytest.raises(ValueError, match="p has to be"):
        fixed_volume_threshold(0)
