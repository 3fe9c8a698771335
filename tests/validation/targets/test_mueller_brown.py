"""The Müller-Brown potential: goldens, plain quadrature of the density that samplers see, its wells."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ergodica.validation.targets.mueller_brown import mueller_brown, mueller_brown_energy


@pytest.fixture(scope="module")
def target():
    return mueller_brown()


def test_golden(target):
    assert target.log_normalizer == pytest.approx(10.01417876, abs=1e-8)
    means = [target.expectation(f"coordinate {i}").value for i in (0, 1)]
    squares = [target.expectation(f"square of coordinate {i}").value for i in (0, 1)]
    assert means == pytest.approx([3.35725584, -3.71372355], abs=1e-8)
    assert [s - m**2 for s, m in zip(squares, means, strict=True)] == pytest.approx([5.36528482, 6.30631579], abs=1e-8)


def test_plain_quadrature(target):
    x, y = np.linspace(-8, 13, 260), np.linspace(-17, 9, 280)
    grid = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
    known = (*target.expectations, *target.marginals)
    values, logs = jax.jit(
        jax.vmap(lambda z: ({one.name + type(one).__name__: one.function(z) for one in known}, target.logdensity(z)))
    )(grid)
    mass = np.exp(np.asarray(logs) - target.log_normalizer) * (x[1] - x[0]) * (y[1] - y[0])
    assert mass.sum() == pytest.approx(1, abs=1e-8)
    for one in target.expectations:
        assert mass @ np.asarray(values[one.name + "Expectation"]) == pytest.approx(one.value, abs=1e-7), one.name
    for one, at in zip(target.marginals, (x[100:160:20], y[100:160:20]), strict=True):
        below = np.asarray(values[one.name + "Marginal"])[:, None] < at
        on = np.isclose(np.asarray(values[one.name + "Marginal"])[:, None], at)
        # The trapezoidal rule up to a node is of second order only.
        assert mass @ (below & ~on) + 0.5 * mass @ on == pytest.approx(one.cdf(at), abs=2e-3)
        assert one.cdf(one.quantile([0.01, 0.5, 0.9])) == pytest.approx([0.01, 0.5, 0.9], abs=1e-9)


def test_three_wells_and_the_original_coordinates():
    # Müller and Brown's minima, to the digits of their table; the trap shifts the wells, so the four terms alone.
    minima = np.array([[-0.558, 1.442], [0.623, 0.028], [-0.050, 0.467]])
    shift, scale = np.array([3.5, -6.5]), 5.0

    def terms(point):
        trap = 3.50136 * (point[0] + 0.033923) ** 2 + 5.98399 * (point[1] - 0.465694) ** 2
        return 10 * (mueller_brown_energy(shift + scale * point) - trap)

    assert [terms(point) for point in minima] == pytest.approx([-146.700, -108.167, -80.768], abs=2e-3)


def test_temperature_scales_the_density(target):
    cold = mueller_brown(0.5)
    x = jnp.array([1.0, -2.0])
    value_at = jax.jit(lambda logdensity, x: logdensity(x))
    assert value_at(cold.logdensity, x) == pytest.approx(2 * float(value_at(target.logdensity, x)))
    # d log Z / d (1 / T) is minus the mean energy; by convexity it lies between the slopes.
    assert cold.log_normalizer > target.log_normalizer
    # Far out the density is zero, and nothing overflows.
    far = value_at(target.logdensity, jnp.array([100.0, 200.0]))
    assert float(far) < -1e6
    for dtype in (jnp.float32, jnp.float64):
        assert jax.eval_shape(target.logdensity, jax.ShapeDtypeStruct((2,), dtype)).dtype == dtype
    for temperature in (0.0, 3.0, np.nan):
        with pytest.raises(ValueError, match="temperature"):
            mueller_brown(temperature)
