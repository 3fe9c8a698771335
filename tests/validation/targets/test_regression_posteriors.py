"""Posteriors of regressions: the published moments of real data, closed forms, and plain quadrature."""

import json
from importlib import resources

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from ergodica.validation.stationary_start import kolmogorov_pvalue
from ergodica.validation.targets.eight_schools import eight_schools, school_effects
from ergodica.validation.targets.linear_regression import linear_regression
from ergodica.validation.targets.logistic_regression import logistic_regression


def _published(name):
    return json.loads((resources.files("ergodica.data") / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def schools():
    record = _published("eight_schools-eight_schools_noncentered")
    return eight_schools(record["data"]["y"], record["data"]["sigma"]), record


def test_linear_regression():
    draw = np.random.default_rng(3)
    X, y = draw.normal(size=(6, 2)), draw.normal(size=6)
    target = linear_regression(X, y, noise=0.7, prior_scale=1.3)
    axis = np.linspace(-7, 7, 301)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    mass = np.exp(np.asarray(jax.jit(jax.vmap(target.logdensity))(jnp.asarray(grid))) - target.log_normalizer)
    mass *= (axis[1] - axis[0]) ** 2
    assert mass.sum() == pytest.approx(1, rel=1e-9)
    assert mass @ grid == pytest.approx(target.mean, abs=1e-9)
    centred = grid - target.mean
    assert (mass[:, None] * centred).T @ centred == pytest.approx(target.covariance, abs=1e-9)
    marginal = stats.multivariate_normal(np.zeros(6), 0.49 * np.eye(6) + 1.69 * X @ X.T)
    assert target.log_normalizer == pytest.approx(marginal.logpdf(y))


def test_wells_have_the_published_moments():
    record = _published("wells_data-wells_dist100_model")
    X = np.column_stack([np.ones(3020), np.asarray(record["data"]["dist"]) / 100])
    target = logistic_regression(X, record["data"]["switched"])
    mean = np.array([target.expectation(f"w[{i}]").value for i in range(2)])
    second = [target.expectation(name).value for name in ("w[0]^2", "w[0] w[1]", "w[1]^2")]
    assert mean == pytest.approx(record["exact"]["mean"], abs=1e-9)
    exact = np.array(record["exact"]["covariance"])
    assert second == pytest.approx((exact + np.outer(mean, mean))[[0, 0, 1], [0, 1, 1]], abs=1e-8)


def test_logistic_regression_by_plain_quadrature():
    draw = np.random.default_rng(5)
    X = np.column_stack([np.ones(12), draw.normal(size=12)])
    y = (draw.random(12) < 0.4).astype(int)
    target = logistic_regression(X, y, prior_scale=2.0, nodes=80)
    axis = np.linspace(-14, 14, 561)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    mass = np.exp(np.asarray(jax.jit(jax.vmap(target.logdensity))(jnp.asarray(grid))) - target.log_normalizer)
    mass *= (axis[1] - axis[0]) ** 2
    assert mass.sum() == pytest.approx(1, rel=1e-6)
    assert [e.value for e in target.expectations] == pytest.approx(
        [*(mass @ grid), mass @ grid[:, 0] ** 2, mass @ (grid[:, 0] * grid[:, 1]), mass @ grid[:, 1] ** 2], abs=1e-5
    )
    x = np.array([0.3, -1.2])
    by_hand = stats.bernoulli.logpmf(y, 1 / (1 + np.exp(-X @ x))).sum() + stats.norm.logpdf(x, scale=2.0).sum()
    assert target.logdensity(jnp.asarray(x)) == pytest.approx(by_hand)
    assert [float(e.function(jnp.asarray(x))) for e in target.expectations] == pytest.approx([*x, 0.09, -0.36, 1.44])
    many = logistic_regression(np.eye(4), [0, 1, 0, 1], prior_scale=1.0)
    assert (many.expectations, many.log_normalizer) == ((), None)


def test_eight_schools_have_the_published_moments(schools):
    target, record = schools
    exact = record["exact"]
    assert target.mean[8] == pytest.approx(exact["mean"][8], abs=1e-8)
    assert np.sqrt(target.variance[8]) == pytest.approx(exact["sd"][8], abs=1e-8)
    levels = exact["quantile_levels"]
    tau = np.array(exact["quantiles"])[:, 9]
    assert np.exp(target.marginals[0].quantile(levels)) == pytest.approx(tau, rel=1e-5)


def test_eight_schools_given_the_spread(schools):
    target, record = schools
    y, sigma = np.array(record["data"]["y"], float), np.array(record["data"]["sigma"], float)
    tau = 3.7
    # The data given tau are normal with a common random mean; the density of log tau follows, and integrates to one.
    marginal = stats.multivariate_normal(np.zeros(8), np.diag(sigma**2 + tau**2) + 25.0)
    by_hand = marginal.logpdf(y) + stats.halfcauchy.logpdf(tau, scale=5) + np.log(tau) - target.log_normalizer
    cdf, h = target.marginals[0].cdf, 1e-4
    slope = (cdf(np.array(np.log(tau) + h)) - cdf(np.array(np.log(tau) - h))) / (2 * h)
    assert np.log(slope) == pytest.approx(by_hand, abs=1e-6)
    # The joint density at a point is that slope times the normal law of mu and the effects given tau.
    covariance = np.diag(sigma**2 + tau**2)
    precision = np.linalg.inv(covariance)
    v = 1 / (precision.sum() + 1 / 25)
    mu, z = 2.0, np.linspace(-1, 1, 8)
    log_mu = stats.norm.logpdf(mu, v * (precision @ y).sum(), np.sqrt(v))
    gain = tau / (sigma**2 + tau**2)
    log_z = stats.norm.logpdf(z, gain * (y - mu), sigma / np.sqrt(sigma**2 + tau**2)).sum()
    joint = float(target.logdensity(jnp.asarray([*z, mu, np.log(tau)]))) - target.log_normalizer
    assert joint == pytest.approx(by_hand + log_mu + log_z, abs=1e-8)
    total, _ = integrate.quad(
        lambda t: (
            np.exp(stats.multivariate_normal(np.zeros(8), np.diag(sigma**2 + t**2) + 25.0).logpdf(y) + 30)
            * stats.halfcauchy.pdf(t, scale=5)
        ),
        0,
        np.inf,
    )
    assert np.log(total) - 30 == pytest.approx(target.log_normalizer, abs=1e-6)
    assert np.array_equal(school_effects(jnp.asarray([1.0, 2.0, 3.0, 0.0])), [4.0, 5.0])


@pytest.mark.slow
def test_exact_draws_of_eight_schools(schools, getkey):
    # One p-value compared with 1e-8 and 28 means within six standard errors (2e-9 each): false alarm < 1e-7.
    target, record = schools
    draws = np.asarray(target.sample(getkey(), 20000))
    assert kolmogorov_pvalue(target.marginals[0].cdf(draws[:, -1])) > 1e-8
    z = (draws.mean(axis=0) - target.mean) / np.sqrt(target.variance / len(draws))
    assert np.all(np.abs(z) < 6)
    squares = (draws - target.mean) ** 2
    assert np.all(np.abs(squares.mean(axis=0) - target.variance) < 6 * squares.std(axis=0) / np.sqrt(len(draws)))
    effects = np.asarray(jax.vmap(school_effects)(jnp.asarray(draws)))
    exact = record["exact"]
    error = np.array(exact["sd"][:8]) / np.sqrt(len(draws))
    assert np.all(np.abs(effects.mean(axis=0) - exact["mean"][:8]) < 6 * error)


def test_bad_input():
    X, y = np.column_stack([np.ones(4), np.arange(4.0)]), np.array([0, 0, 1, 1])
    for call, message in [
        (lambda: logistic_regression(X, y), "separates"),
        (lambda: logistic_regression(X[:, [0, 0]], [0, 1, 1, 0]), "linearly independent"),
        (lambda: logistic_regression(X, [0, 0, 0, 0]), "separates"),
        (lambda: logistic_regression(X, y + 1), "zeros and ones"),
        (lambda: logistic_regression(X, y, prior_scale=0.0), "prior_scale"),
        (lambda: logistic_regression(X[:3], y), "shape"),
        (lambda: logistic_regression(X * np.nan, y), "finite"),
        (lambda: linear_regression(X, y, noise=0.0), "noise"),
        (lambda: eight_schools([1.0], [0.0]), "standard_errors positive"),
        (lambda: eight_schools([1.0, 2.0], [1.0]), "one length"),
        (lambda: eight_schools([1.0], [1.0], mean_scale=0.0), "mean_scale"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
