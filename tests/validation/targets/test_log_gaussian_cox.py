"""The log-Gaussian Cox process: goldens, independent cells by quadrature, identities on a grid, whitening."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ergodica.validation.targets.log_gaussian_cox import (
    cox_prior,
    log_gaussian_cox,
    posterior_mode,
    simulated_cox_process,
)
from ergodica.validation.targets.quadrature import IntervalLaw

COUNTS = np.array([[1, 0], [2, 5]])


@pytest.fixture(scope="module")
def correlated():
    return log_gaussian_cox(COUNTS, length=2.0)


def test_golden():
    target = log_gaussian_cox(COUNTS)
    assert target.log_normalizer == pytest.approx(4.42192556, abs=1e-8)
    means = [target.expectation(f"log intensity of cell {i}").value for i in range(4)]
    assert means == pytest.approx([1.899747, 1.381535, 2.278284, 2.999059], abs=1e-6)


def test_independent_cells_by_quadrature_on_the_line():
    mean, K = cox_prior(2, 1e-3)
    np.testing.assert_allclose(K, 1.91 * np.eye(4))
    target = log_gaussian_cox(COUNTS, length=1e-3)
    laws = [
        IntervalLaw(lambda f, y=y: f * y - np.exp(f) / 4 + stats.norm.logpdf(f, mean, np.sqrt(1.91)), -12, 12)
        for y in COUNTS.reshape(-1)
    ]
    assert target.log_normalizer == pytest.approx(sum(law.log_normalizer for law in laws), abs=1e-8)
    for i, law in enumerate(laws):
        assert target.expectation(f"log intensity of cell {i}").value == pytest.approx(law.mean(lambda f: f), abs=1e-7)
    expected = sum(law.mean(np.exp) for law in laws) / 4
    assert target.expectation("expected count").value == pytest.approx(expected, rel=1e-7)


def test_means_fulfil_the_identity(correlated):
    """E f = mean + K (y - E exp(f) / cells), summed with the inverse covariance: both sides by quadrature."""
    mean, K = cox_prior(2, 2.0)
    means = np.array([correlated.expectation(f"log intensity of cell {i}").value for i in range(4)])
    missing = np.ones(4) @ (COUNTS.reshape(-1) - np.linalg.solve(K, means - mean))
    assert correlated.expectation("expected count").value == pytest.approx(missing, rel=1e-7)


def test_density_by_its_definition(correlated):
    mean, K = cox_prior(2, 2.0)
    f = np.array([0.5, 1.5, 2.0, 3.0])
    y = COUNTS.reshape(-1)
    expected = np.sum(stats.poisson.logpmf(y, np.exp(f) / 4)) + stats.multivariate_normal(np.full(4, mean), K).logpdf(f)
    expected += np.sum([np.log(float(np.prod(range(1, n + 1)))) + n * np.log(4) for n in y])
    known = correlated.expectations
    value, values, gradient = jax.jit(
        lambda x: (correlated.logdensity(x), {e.name: e.function(x) for e in known}, jax.grad(correlated.logdensity)(x))
    )(jnp.asarray(f))
    assert value == pytest.approx(expected)
    # Means of gradients vanish: -K grad is the defect, and the mean of (f - mean) . grad is minus the dimension.
    for i in (0, 2, 3):
        assert values[f"defect of the mean at cell {i}"] == pytest.approx(float(-(K @ np.asarray(gradient))[i]))
    assert values["scaling"] == pytest.approx(-float((f - mean) @ np.asarray(gradient)))
    assert values["expected count"] == pytest.approx(np.exp(f).sum() / 4)
    assert values["log intensity of cell 2"] == pytest.approx(2.0)


def test_whitened_positions(correlated):
    white = log_gaussian_cox(COUNTS, length=2.0, whitened=True)
    mean, K = cox_prior(2, 2.0)
    L = np.linalg.cholesky(K)
    z = np.array([-1.0, 0.3, 0.2, -0.4])
    plain, value, second = jax.jit(
        lambda f, z: (
            correlated.logdensity(f),
            white.logdensity(z),
            white.expectation("log intensity of cell 1").function(z),
        )
    )(mean + L @ z, z)
    assert value == pytest.approx(float(plain) + np.linalg.slogdet(L)[1])
    assert white.log_normalizer == correlated.log_normalizer
    assert second == pytest.approx((mean + L @ z)[1])


@pytest.mark.slow
def test_simulated_counts_by_importance_sampling():
    # The laws of weights have finite variance; six standard errors of five nearly normal means: false alarm near 1e-8.
    target = simulated_cox_process()
    mean, K = cox_prior(5, 40 / 33)
    mode, covariance = posterior_mode(np.asarray(target.logdensity.args[0]), mean, K)
    proposal = stats.multivariate_t(mode, 1.2 * covariance, df=30, seed=7)
    f = proposal.rvs(60_000)
    known = target.expectations
    values, logs = jax.jit(jax.vmap(lambda x: ({e.name: e.function(x) for e in known}, target.logdensity(x))))(f)
    weights = np.exp(np.asarray(logs) - proposal.logpdf(f) - target.log_normalizer)
    assert abs(weights.mean() - 1) < 6 * np.hypot(weights.std() / np.sqrt(len(f)), 0.0011)
    share = weights / weights.sum()
    for one in known:
        at = np.asarray(values[one.name])
        found = share @ at
        error = np.sqrt(np.sum(share**2 * (at - found) ** 2))
        assert abs(found - one.value) < 6 * np.hypot(error, one.standard_error), one.name
    white = simulated_cox_process(whitened=True)
    z = np.linalg.solve(np.linalg.cholesky(K), f[0] - mean)
    shown = jax.jit(lambda z: white.expectation("log intensity of cell 24").function(z))(z)
    assert shown == pytest.approx(f[0, 24])


def test_larger_grid_and_bad_input():
    five = log_gaussian_cox(np.ones((5, 5), int), length=40 / 33)
    assert (five.dim, five.log_normalizer) == (25, None)
    assert cox_prior(40, 40 / 33)[1][0, 1] == pytest.approx(1.91 * np.exp(-33 / 40))
    for dtype in (jnp.float32, jnp.float64):
        assert jax.eval_shape(five.logdensity, jax.ShapeDtypeStruct((25,), dtype)).dtype == dtype
    for call, message in [
        (lambda: log_gaussian_cox([[1, 2]]), "square grid"),
        (lambda: log_gaussian_cox([[1, 2], [0, -1]]), "non-negative"),
        (lambda: log_gaussian_cox(COUNTS, length=0.0), "length"),
        (lambda: cox_prior(1, 1.0), "at least 2"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
