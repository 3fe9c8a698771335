"""Brownian motion: goldens, covariances against Hessians, the evidence given scales, exact draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ergodica.validation.stationary_start import kolmogorov_pvalue
from ergodica.validation.targets.brownian_motion import (
    brownian_bridge,
    brownian_motion_unknown_scales,
    observed_brownian_motion,
)


@pytest.fixture(scope="module")
def unknown():
    return brownian_motion_unknown_scales()


def test_golden(unknown):
    assert unknown.dim == 32
    assert unknown.log_normalizer == pytest.approx(1.18774910, abs=1e-8)
    values = {e.name: e.value for e in unknown.expectations}
    assert values["innovation scale"] == pytest.approx(0.11553360, abs=1e-8)
    assert values["noise scale"] == pytest.approx(0.11265649, abs=1e-8)
    spread = np.sqrt(values["squared innovation scale"] - values["innovation scale"] ** 2)
    assert spread == pytest.approx(0.04030550, abs=1e-7)
    golden = [0.09307543, -0.22917089, -0.54828951, -0.64411101]
    assert unknown.mean[[2, 11, 17, 31]] == pytest.approx(golden, abs=1e-8)


@pytest.mark.parametrize("name", ["bridge", "observed"])
def test_normal_laws(name):
    target = brownian_bridge(4, 2.0, 0.5) if name == "bridge" else observed_brownian_motion(0.3, 0.2, **SHORT)
    x = jnp.asarray(np.random.default_rng(0).normal(size=target.dim))
    logdensity = target.logdensity
    value, slope, curvature = jax.jit(lambda x: (logdensity(x), jax.grad(logdensity)(x), jax.hessian(logdensity)(x)))(x)
    np.testing.assert_allclose(np.linalg.inv(-np.asarray(curvature)), target.covariance, atol=1e-12)
    np.testing.assert_allclose(np.asarray(x) + target.covariance @ np.asarray(slope), target.mean, atol=1e-12)
    expected = stats.multivariate_normal(target.mean, target.covariance).logpdf(np.asarray(x)) + target.log_normalizer
    assert value == pytest.approx(expected)
    assert target.variance == pytest.approx(np.diag(target.covariance))


SHORT = {"observations": [0.4, -0.2, 1.0], "times": [1, 3, 4], "steps": 5}


def test_evidence_by_the_joint_law():
    # Observations are sums of steps and errors, one line for each.
    mixing = np.concatenate([np.tri(5)[[0, 2, 3]] * 0.3, 0.2 * np.eye(3)], axis=1)
    expected = stats.multivariate_normal(np.zeros(3), mixing @ mixing.T).logpdf(SHORT["observations"])
    assert observed_brownian_motion(0.3, 0.2, **SHORT).log_normalizer == pytest.approx(expected)


def test_unknown_scales_by_known_ones():
    target = brownian_motion_unknown_scales(**SHORT)
    axis, step = np.linspace(-14, 14, 141, retstep=True)
    log_s, log_t = np.meshgrid(axis, axis, indexing="ij")
    prior = np.exp(-(log_s**2 + log_t**2) / 8) / (8 * np.pi) * step**2
    path = np.minimum.outer(np.arange(1.0, 6), np.arange(1.0, 6))
    when, y = np.array([0, 2, 3]), np.array(SHORT["observations"])
    s2, t2 = np.exp(2 * log_s)[..., None, None], np.exp(2 * log_t)[..., None, None]
    gram = s2 * path[np.ix_(when, when)] + t2 * np.eye(3)
    solved = np.linalg.solve(gram, np.broadcast_to(y[:, None], (*gram.shape[:-1], 1)))[..., 0]
    evidence = np.exp(-0.5 * (solved @ y + np.linalg.slogdet(2 * np.pi * gram)[1]))
    mass = prior * evidence
    assert target.log_normalizer == pytest.approx(np.log(mass.sum()), abs=1e-6)
    mass = mass / mass.sum()
    cross = s2 * path[:, when]
    means = np.einsum("abij,abj->abi", cross, solved)
    assert target.mean[:2] == pytest.approx([np.sum(mass * log_s), np.sum(mass * log_t)], abs=1e-5)
    assert target.mean[2:] == pytest.approx(np.einsum("ab,abi->i", mass, means), abs=1e-5)
    spread = s2 * path - cross @ np.linalg.solve(gram, np.swapaxes(cross, -1, -2))
    second = np.diagonal(spread, axis1=-2, axis2=-1) + means**2
    assert target.variance[2:] == pytest.approx(np.einsum("ab,abi->i", mass, second) - target.mean[2:] ** 2, rel=1e-5)
    # Inside the logarithm of the density of scales and states.
    x = np.array([-0.5, 0.2, 0.1, 0.4, -0.3, 0.0, 0.6])
    known = observed_brownian_motion(float(np.exp(-0.5)), float(np.exp(0.2)), **SHORT)
    both = jax.jit(lambda x: (target.logdensity(x), known.logdensity(x[2:])))(jnp.asarray(x))
    assert both[0] == pytest.approx(float(both[1]) + np.sum(stats.norm.logpdf(x[:2], 0, 2)))


def test_laws_of_the_scales(unknown):
    for i, marginal in enumerate(unknown.marginals[:2]):
        ends = np.linspace(-16, 6, 4001)
        mass, middle = np.diff(marginal.cdf(ends)), (ends[:-1] + ends[1:]) / 2
        assert mass.sum() == pytest.approx(1, abs=1e-9)
        assert mass @ middle == pytest.approx(unknown.mean[i], abs=1e-6)
        assert mass @ middle**2 - unknown.mean[i] ** 2 == pytest.approx(unknown.variance[i], abs=1e-5)


@pytest.mark.slow
def test_exact_draws(unknown, getkey):
    # 32 means and 32 second moments within 6.5 standard errors, p-values above 1e-8: false alarm < 1e-8 + 2e-8.
    n = 4000
    draws = np.asarray(jax.jit(lambda key: unknown.sample(key, n))(getkey()))
    assert np.all(np.abs(draws.mean(axis=0) - unknown.mean) < 6.5 * np.sqrt(unknown.variance / n))
    squares = (draws - unknown.mean) ** 2
    assert np.all(np.abs(squares.mean(axis=0) - unknown.variance) < 6.5 * squares.std(axis=0) / np.sqrt(n))
    for i, marginal in enumerate(unknown.marginals[:2]):
        assert kolmogorov_pvalue(marginal.cdf(draws[:, i])) > 1e-8, marginal.name
    # Given the scales the states are normal: scale and state have the right joint law, too.
    product = draws[:, 0] * draws[:, 31] ** 2
    s, t = np.exp(draws[:500, 0]), np.exp(draws[:500, 1])
    inside = [observed_brownian_motion(float(a), float(b)) for a, b in zip(s, t, strict=True)]
    expected = draws[:500, 0] * [one.mean[29] ** 2 + one.variance[29] for one in inside]
    error = np.sqrt(product.var() / n + np.var(expected) / 500)
    assert abs(product.mean() - np.mean(expected)) < 6.5 * error


def test_bad_input():
    for call, message in [
        (lambda: brownian_bridge(0), "at least 1"),
        (lambda: brownian_bridge(3, scale=-1.0), "scale positive"),
        (lambda: observed_brownian_motion(0.0, 1.0), "both scales"),
        (lambda: observed_brownian_motion(observations=[1.0]), "or neither"),
        (lambda: observed_brownian_motion(observations=[1.0], times=[1, 2]), "one length"),
        (lambda: observed_brownian_motion(observations=[1.0], times=[31]), "from 1 to 30"),
        (lambda: brownian_motion_unknown_scales(observations=[1.0], times=[0.5]), "integers"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
