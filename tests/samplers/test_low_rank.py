"""Scales with few directions: their algebra, and what is learnt of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ergodica.samplers.compose import cycle, on
from ergodica.samplers.kernel import DensityState
from ergodica.samplers.linear_scale import LowRankScale, scaled, unscaled
from ergodica.samplers.metropolis.random_walk import RandomWalk
from ergodica.samplers.sample import resume, sample
from ergodica.samplers.slicing.gibbsian_polar import GibbsianPolarSlice
from ergodica.samplers.slicing.hit_and_run import HitAndRunSlice
from ergodica.samplers.tuning.choice import choose_tuner, made_tunable
from ergodica.samplers.tuning.composition import Together
from ergodica.samplers.tuning.low_rank import SpreadDraws, learnt_directions
from ergodica.samplers.tuning.slice_width import SliceWidth
from ergodica.samplers.tuning.whitening import Whitening

DIM = 30
RNG = np.random.default_rng(7)
VECTORS = np.linalg.qr(RNG.normal(size=(DIM, 2)))[0]
DEVIATIONS = np.exp(RNG.normal(size=DIM))


def as_matrix(scale):
    return jax.vmap(scale.apply)(jnp.eye(scale.deviations.size)).T


def test_map_is_that_of_its_matrix_and_its_inverse():
    scale = LowRankScale(DEVIATIONS, VECTORS, [5.0, 0.2])
    matrix = np.diag(DEVIATIONS) @ (np.eye(DIM) + VECTORS @ np.diag([4.0, -0.8]) @ VECTORS.T)
    np.testing.assert_allclose(as_matrix(scale), matrix, atol=1e-13)
    x = jnp.asarray(RNG.normal(size=DIM))
    np.testing.assert_allclose(unscaled(scale, scaled(scale, x)), x, rtol=1e-12)
    np.testing.assert_allclose(unscaled(scale, x), np.linalg.solve(matrix, x), rtol=1e-10)
    assert scaled(scale, x.astype(jnp.float32)).dtype == jnp.float32
    np.testing.assert_array_equal(as_matrix(LowRankScale.identity(4, 2)), np.eye(4))


def test_what_is_no_scale_is_refused():
    with pytest.raises(ValueError, match="orthonormal"):
        LowRankScale(np.ones(2), [[1.0], [1.0]], [1.0])
    with pytest.raises(ValueError, match="shapes"):
        LowRankScale(np.ones(3), np.eye(2), np.ones(2))
    with pytest.raises(ValueError, match="at most 3"):
        LowRankScale.identity(3, 4)
    with pytest.raises(ValueError, match="factors"):
        LowRankScale(np.ones(2), np.eye(2), [1.0, -1.0])
    with pytest.raises(ValueError, match="position of this HitAndRunSlice has 2 entries"):
        HitAndRunSlice(scale=LowRankScale.identity(3, 1), logdensity=lambda x: -jnp.sum(x**2)).init(jnp.ones(2))


def spread_of(draws, rank):
    """Put draws of four chains, shape (steps, 4, d), through a window."""
    spread = SpreadDraws.empty(rank, draws.shape[2], draws.dtype)
    add = jax.jit(SpreadDraws.add)
    for step, one in enumerate(draws):
        spread = add(spread, one, jnp.asarray(step), jnp.asarray(len(draws)))
    return spread


def test_draws_are_spread_over_the_window_and_over_chains():
    draws = jnp.arange(200 * 4.0).reshape(200, 4, 1)
    spread = spread_of(draws, 1)
    assert spread.rows.shape == (64, 1)
    assert int(spread.filled) == 64
    rows = np.asarray(spread.rows[:, 0], int)
    np.testing.assert_array_equal(rows // 4, np.arange(64) * 3)
    np.testing.assert_array_equal(rows % 4, np.arange(64) % 4)


@pytest.mark.parametrize("rank", [2, 4])
def test_spikes_are_found_and_noise_is_left_alone(rank):
    factors = np.array([20.0, 8.0])
    whitened = RNG.normal(size=(800, DIM))
    whitened += whitened @ VECTORS @ np.diag(factors - 1) @ VECTORS.T
    draws = whitened * DEVIATIONS + 3.0
    old = LowRankScale.identity(DIM, rank)
    spread = spread_of(jnp.asarray(draws.reshape(200, 4, DIM)), rank)
    new = learnt_directions(old, spread, jnp.asarray(draws.std(axis=0)), jnp.asarray(draws.mean(axis=0)))
    covariance = np.cov(draws.T)
    root = np.linalg.inv(np.asarray(as_matrix(new)))
    before, after = (np.linalg.cond(m @ covariance @ m.T) for m in (np.diag(1 / draws.std(axis=0)), root))
    assert after < before / 5
    assert np.all(np.asarray(new.factors[2:]) == 1)  # the rest is noise
    # Orthonormal, or nothing at all.
    products = np.asarray(new.vectors.T @ new.vectors)
    np.testing.assert_allclose(products, np.diag((np.asarray(new.factors) > 1) * 1.0), atol=1e-12)


def test_one_draw_teaches_nothing():
    old = LowRankScale(DEVIATIONS, VECTORS, [5.0, 0.2])
    spread = SpreadDraws(jnp.ones((64, DIM)), jnp.asarray(1))
    new = learnt_directions(old, spread, old.deviations, jnp.zeros(DIM))
    np.testing.assert_array_equal(new.vectors, old.vectors)
    np.testing.assert_array_equal(new.factors, old.factors)


def test_automatic_tuning_learns_the_place_of_polar_slices():
    kernel = GibbsianPolarSlice(logdensity=lambda x: -jnp.sum(x**2))
    state = kernel.init(jnp.ones(3))
    ready = made_tunable(kernel, state)
    np.testing.assert_array_equal(ready.center, np.zeros(3))
    np.testing.assert_array_equal(ready.scale, np.ones(3))
    assert choose_tuner(ready, state, ()) == Together((Whitening(), SliceWidth("radius")))
    given = GibbsianPolarSlice(center=[1.0, 2.0, 3.0], scale=jnp.eye(3), logdensity=lambda x: -jnp.sum(x**2))
    same = made_tunable(given, state)
    assert same.center is given.center
    assert same.scale is given.scale
    line = HitAndRunSlice(scale=jnp.ones(2))
    assert choose_tuner(line, DensityState(jnp.ones(2), 0.0), ()) == Together((Whitening(), SliceWidth("line")))
    assert made_tunable(line, None) is line
    sweep = cycle(on("a", RandomWalk(1.0)), on("b", GibbsianPolarSlice())).bind(
        lambda x: -jnp.sum(x["a"] ** 2) - jnp.sum(x["b"] ** 2)
    )
    ready = made_tunable(sweep, sweep.init({"a": jnp.ones(()), "b": jnp.ones(2)}))
    assert ready.parts[1].inner.center.shape == (2,)


@pytest.mark.slow
def test_a_run_with_few_directions_learns_them_and_resumes(tmp_path):
    mean = jnp.full(6, 50.0)
    direction = jnp.ones(6) / jnp.sqrt(6.0)

    def logdensity(x):
        y = x - mean
        along = direction @ y
        return -0.5 * (y @ y - along**2 + (along / 9) ** 2)

    kernel = GibbsianPolarSlice(scale=LowRankScale.identity(6, 1), logdensity=logdensity)
    options = {"tune": 300, "seed": 2, "progress": False}
    draws = sample(kernel, mean + 5, draws=60, store=tmp_path / "run", **options)
    assert abs(float(draws.tuned["scale.vectors"][:, 0] @ direction)) > 0.99
    np.testing.assert_allclose(draws.tuned["center"], mean, atol=15)  # five deviations of a mean of few draws
    longer = resume(tmp_path / "run", kernel, draws=90, progress=False)
    np.testing.assert_array_equal(longer.position[:, :60], draws.position)
