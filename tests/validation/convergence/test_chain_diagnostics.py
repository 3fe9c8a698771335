"""Geweke's z-scores, Raftery and Lewis' run lengths, R*."""

import jax
import numpy as np
import pytest
import scipy.signal

from ergodica.validation.convergence.geweke_diagnostic import geweke_diagnostic, spectral_variance
from ergodica.validation.convergence.r_star import r_star
from ergodica.validation.convergence.raftery_lewis import independent_run_length, raftery_lewis, two_state_run_length

KEY = jax.random.key(0)


def ar1(rng, n, phi=0.9, chains=1):
    return scipy.signal.lfilter([1], [1, -phi], rng.normal(size=(chains, n + 300)), axis=1)[:, 300:]


def test_spectral_variance_of_an_autoregression():
    """1 / (1 - phi)^2 = 100; the estimate from 20000 draws scatters by about 7 %."""
    x = ar1(np.random.default_rng(0), 20000)[0]
    assert spectral_variance(x) == pytest.approx(100, rel=0.35)
    assert spectral_variance(np.ones(50)) == 0


def test_geweke():
    """z-scores of stationary chains have about unit variance: 100 of them, bounds far outside chance."""
    rng = np.random.default_rng(1)
    result = geweke_diagnostic(ar1(rng, 4000, chains=100))
    assert result.value.shape == (100, 1)
    assert 0.7 < result.value.std() < 1.6
    assert result.p_value > 1e-4
    assert not result.exact
    drifting = ar1(rng, 4000) + np.linspace(5, 0, 4000)
    assert geweke_diagnostic(drifting).p_value < 1e-3


def test_raftery_lewis_golden():
    assert independent_run_length(0.025, 0.005, 0.95) == 3746
    burn_in, keep = two_state_run_length(0.05, 0.1, precision=0.005, confidence=0.95, tolerance=0.001)
    assert burn_in == pytest.approx(40.0094, abs=5e-5)
    assert keep == pytest.approx(421137.7, abs=0.05)


def test_raftery_lewis_runs():
    rng = np.random.default_rng(2)
    independent = raftery_lewis(rng.normal(size=20000))
    assert independent.thin == 1
    assert 0.8 < independent.value < 1.3
    dependent = raftery_lewis(ar1(rng, 20000)[0])
    assert dependent.value > 3
    assert dependent.burn_in % dependent.thin == 0


def test_r_star():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(4, 120, 2))
    good = r_star(x, key=KEY)
    assert good.value == pytest.approx(1, abs=0.5)
    assert good.p_value > 0.005
    assert not good.exact
    assert r_star(x, key=KEY, independent=True).exact
    bad = r_star(x + 2 * np.arange(4)[:, None, None], key=KEY)
    assert bad.value > 2.5
    assert bad.p_value == 1e-3
    # Equal means and scales, but one chain has the opposite correlation: marginal R-hats do not see it.
    turned = x.copy()
    turned[:, :, 1] = 0.95 * turned[:, :, 0] * np.array([1, 1, -1, -1])[:, None] + 0.3 * turned[:, :, 1]
    assert r_star(turned, key=KEY).p_value == 1e-3


def test_bad_input():
    x = np.random.default_rng(4).normal(size=(2, 100))
    with pytest.raises(ValueError, match="at least 2 chains"):
        r_star(x[:1], key=KEY)
    with pytest.raises(ValueError, match="train has to be"):
        r_star(x, key=KEY, train=1.0)
    with pytest.raises(ValueError, match="one row for each point"):
        r_star(x, key=KEY, fit=lambda *_: lambda z: np.ones((3, 2)))
    with pytest.raises(ValueError, match="fractions of at most 1"):
        geweke_diagnostic(x, first=0.6)
    with pytest.raises(ValueError, match="at least 10 each"):
        geweke_diagnostic(x[:, :50])
    with pytest.raises(ValueError, match="constant in both"):
        geweke_diagnostic(np.ones((1, 200)))
    with pytest.raises(ValueError, match="finite"):
        geweke_diagnostic(np.full(200, np.nan))
    with pytest.raises(ValueError, match="one quantity of one chain"):
        raftery_lewis(x)
    with pytest.raises(ValueError, match="at least 3746 draws"):
        raftery_lewis(x[0])
    with pytest.raises(ValueError, match="constant, or nearly so"):
        raftery_lewis(np.ones(5000))
    with pytest.raises(ValueError, match="does not cross"):
        raftery_lewis(np.arange(5000.0))
    with pytest.raises(ValueError, match=r"in \(0, 1\)"):
        raftery_lewis(x[0], quantile=1.0)
    with pytest.raises(ValueError, match="leaving the states"):
        two_state_run_length(0.0, 0.1, precision=0.005, confidence=0.95, tolerance=0.001)
