"""Kinks and jumps: closed forms and polar quadrature against plain quadrature, exact draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ergodica.validation.stationary_start import kolmogorov_pvalue
from ergodica.validation.targets.mixtures import unequal_mixture
from ergodica.validation.targets.nonsmooth import discontinuous_mixture, laplace_mixture, staircase


@pytest.fixture(scope="module")
def stairs():
    return discontinuous_mixture()


def test_laplace_mixture_by_its_definition():
    target = laplace_mixture(2, 3, 0.7, 4.0)
    x = np.array([0.4, -1.1])
    expected = np.log(np.mean([np.prod(stats.laplace.pdf(x, m, 0.7)) for m in target.modes]))
    assert jax.jit(target.logdensity)(jnp.asarray(x)) == pytest.approx(expected)
    # Moments by the distribution functions of the coordinates.
    ends = np.linspace(-30, 30, 60_001)
    middle = (ends[:-1] + ends[1:]) / 2
    for i, marginal in enumerate(target.marginals[:2]):
        mass = np.diff(marginal.cdf(ends))
        assert mass.sum() == pytest.approx(1)
        assert mass @ middle == pytest.approx(target.mean[i], abs=1e-6)
        assert mass @ middle**2 - target.mean[i] ** 2 == pytest.approx(target.variance[i], abs=1e-5)
    assert target.covariance[0, 1] == pytest.approx(np.cov(target.modes.T, bias=True)[0, 1])
    assert np.abs(target.modes).max() < 4


def test_stairs():
    radius = np.array([0.0, 4.99, 5.01, 5.12, 5.13, 10.99, 11.01, 30.0])
    assert np.asarray(staircase(jnp.asarray(radius))) == pytest.approx([0, 0, 40, 40, 41, 87, 0, 0])


def test_discontinuous_mixture_by_plain_quadrature(stairs):
    base = unequal_mixture()
    axis, step = np.linspace(-6, 17, 700, retstep=True)
    grid = np.stack(np.meshgrid(axis, axis + step / 3, indexing="ij"), axis=-1).reshape(-1, 2)
    known = stairs.expectations
    values, logs, smooth = jax.jit(
        jax.vmap(lambda x: ({e.name: e.function(x) for e in known}, stairs.logdensity(x), base.logdensity(x)))
    )(grid)
    radius = np.linalg.norm(grid, axis=1)
    wall = np.where((radius > 5) & (radius < 11), np.floor(8 * radius), 0.0)
    np.testing.assert_allclose(np.asarray(logs), np.asarray(smooth) - wall, atol=1e-9)
    mass = np.exp(np.asarray(logs) - stairs.log_normalizer) * step**2
    # The circle of radius 11 cuts two modes: there the rule is of first order.
    assert mass.sum() == pytest.approx(1, abs=3e-3)
    for one in known:
        assert mass @ np.asarray(values[one.name]) == pytest.approx(one.value, rel=5e-3), one.name
    assert 0.1 < stairs.expectation("inside of the stairs").value < 0.3


@pytest.mark.slow
def test_exact_draws(stairs, getkey):
    # Five means within 6.5 standard errors of nearly normal means, three p-values above 1e-8: false alarm < 5e-8.
    n = 4000
    draws = stairs.sample(getkey(), n)
    # On the stairs the density is below exp(-40).
    assert np.all(np.asarray(staircase(jnp.linalg.norm(draws, axis=1))) == 0)
    for one in stairs.expectations:
        values = np.asarray(jax.vmap(one.function)(draws))
        assert abs(values.mean() - one.value) < 6.5 * values.std() / np.sqrt(n), one.name
    target = laplace_mixture(3)
    draws = np.asarray(target.sample(getkey(), n))
    for i, marginal in zip((0, 2), target.marginals[:2], strict=True):
        assert kolmogorov_pvalue(marginal.cdf(draws[:, i])) > 1e-8
    spread = np.cov(draws.T)
    np.testing.assert_allclose(spread, target.covariance, atol=0.15 * np.sqrt(target.variance.max()) ** 2)


def test_both_precisions_and_bad_input(stairs):
    for target in (stairs, laplace_mixture(3)):
        for dtype in (jnp.float32, jnp.float64):
            value = jax.eval_shape(target.logdensity, jax.ShapeDtypeStruct((target.dim,), dtype))
            assert (value.shape, value.dtype) == ((), dtype)
    with pytest.raises(ValueError, match="half_width"):
        laplace_mixture(half_width=0.0)
    with pytest.raises(ValueError, match="at least 1"):
        laplace_mixture(components=0)
