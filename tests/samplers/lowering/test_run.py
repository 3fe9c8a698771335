"""Whole kernels, draw for draw against the XLA host."""

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import NUTS

from ergodica.samplers.lowering.lower import lower
from ergodica.samplers.lowering.run import compile_run
from ergodica.samplers.metropolis.random_walk import RandomWalk
from ergodica.samplers.sample import sample
from ergodica.samplers.slicing.coordinate import CoordinateSlice
from ergodica.samplers.slicing.gibbsian_polar import GibbsianPolarSlice
from ergodica.samplers.slicing.hit_and_run import HitAndRunSlice

Y = jnp.array([28.0, 8, -3, 7, -1, 1, 18, 12])
SIGMA = jnp.array([15.0, 10, 16, 11, 9, 11, 10, 18])


def gaussian(x):
    return -0.5 * jnp.sum(x**2 / jnp.arange(1.0, x.shape[0] + 1))


def eight_schools(z):
    tau = jnp.exp(z["log_tau"])
    theta = z["mu"] + tau * z["theta"]
    prior = -0.5 * (z["mu"] / 5) ** 2 - jnp.log1p((tau / 5) ** 2) + z["log_tau"] - 0.5 * jnp.sum(z["theta"] ** 2)
    return prior - 0.5 * jnp.sum(((Y - theta) / SIGMA) ** 2)


def schools_model():
    mu, tau = numpyro.sample("mu", dist.Normal(0, 5)), numpyro.sample("tau", dist.HalfCauchy(5))
    with numpyro.plate("schools", 8):
        theta = numpyro.sample("theta", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(mu + tau * theta, SIGMA), obs=Y)


def draws_of_both_hosts(kernel, start, *, thin=1, draws=200, chains=2):
    run = compile_run(kernel, kernel.init(start), thin=thin)
    theirs = sample(kernel, start, draws=draws, tune=0, chains=chains, seed=3, thin=thin, progress=False)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(3), jnp.arange(chains))
    states = jax.tree.map(lambda leaf: jnp.stack([leaf] * chains), kernel.init(start))
    return run.chains(keys, states, draws), theirs


def assert_same_draws(ours, theirs):
    assert set(ours.collected.stats) == set(theirs.stats)
    for name, values in theirs.stats.items():
        mine = ours.collected.stats[name]
        assert mine.dtype == values.dtype, name
        np.testing.assert_allclose(mine, values, rtol=1e-9, atol=1e-9, err_msg=name)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9),
        ours.collected.position,
        theirs.raw_position,
    )


@pytest.mark.parametrize("kernel", [CoordinateSlice(2.0), RandomWalk(0.7)], ids=lambda k: type(k).__name__)
def test_draws_are_those_of_the_xla_host(kernel):
    assert_same_draws(*draws_of_both_hosts(kernel.bind(gaussian), jnp.zeros(10) + 0.1))


@pytest.mark.slow
@pytest.mark.parametrize(
    "kernel",
    [
        CoordinateSlice(2.0, scan="permutation", method="doubling"), GibbsianPolarSlice(), GibbsianPolarSlice(order="random"),
        HitAndRunSlice(), HitAndRunSlice(scale=2.0, method="doubling"), RandomWalk(0.7),
    ],
    ids=lambda kernel: type(kernel).__name__,
)  # fmt: skip
def test_thinned_draws_are_those_of_the_xla_host(kernel):
    assert_same_draws(*draws_of_both_hosts(kernel.bind(gaussian), jnp.zeros(10) + 0.1, thin=3))


@pytest.mark.slow
def test_positions_that_are_pytrees():
    start = {"mu": jnp.asarray(0.1), "log_tau": jnp.asarray(0.2), "theta": jnp.zeros(8)}
    assert_same_draws(*draws_of_both_hosts(CoordinateSlice(1.0).bind(eight_schools), start))


def test_runs_continue_where_they_ended_and_take_new_parameters():
    kernel = RandomWalk(0.7).bind(gaussian)
    state, key = kernel.init(jnp.zeros(3)), jax.random.key(0)
    run = compile_run(kernel, state, collect=lambda record: record.position)
    whole = run(key, state, 20)
    first = run(key, state, 7)
    second = run(key, first.state, 13, first=7)
    np.testing.assert_array_equal(np.concatenate([first.collected, second.collected]), whole.collected)
    other = RandomWalk(0.1).bind(gaussian)
    theirs = compile_run(other, state, collect=lambda record: record.position)(key, state, 20)
    np.testing.assert_array_equal(run(key, state, 20, kernel=other).collected, theirs.collected)
    last, _ = kernel.run(key, state, 20)
    np.testing.assert_allclose(whole.state.position, last.position, rtol=1e-12)
    with pytest.raises(TypeError, match="state"):
        run(key, kernel.init(jnp.zeros(4)), 5)


@pytest.mark.slow
def test_nuts_of_blackjax():
    start = {"mu": jnp.asarray(0.0), "log_tau": jnp.asarray(0.0), "theta": jnp.zeros(8)}
    nuts = blackjax.nuts(eight_schools, 0.3, jnp.ones(10))

    def run(key, state):
        def body(state, index):
            state, info = nuts.step(jax.random.fold_in(key, index), state)
            return state, (state.position, info.num_integration_steps, info.acceptance_rate)

        return jax.lax.scan(body, state, jnp.arange(300))[1]

    key, state = jax.random.key(1), nuts.init(start)
    assert_close(lower(run, key, state)(key, state), jax.jit(run)(key, state))


@pytest.mark.slow
def test_nuts_of_numpyro_with_its_warm_up():
    kernel = NUTS(schools_model)
    state = kernel.init(jax.random.key(0), 40, None, (), {})

    def run(state):
        def body(state, _):
            state = kernel.sample(state, (), {})
            return state, (state.z, state.num_steps, state.adapt_state.step_size)

        return jax.lax.scan(body, state, None, length=80)[1]

    assert_close(lower(run, state)(state), jax.jit(run)(state), rtol=1e-3)  # adaptation makes rounding grow


def assert_close(ours, theirs, rtol=1e-8):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


@pytest.mark.slow
def test_density_of_a_numpyro_model_with_its_gradient():
    info = numpyro.infer.util.initialize_model(jax.random.key(0), schools_model)
    value_and_grad = jax.value_and_grad(info.potential_fn)
    lowered = lower(value_and_grad, info.param_info.z)
    point = jax.tree.map(lambda leaf: leaf + 0.3, info.param_info.z)
    assert_close(lowered(point), value_and_grad(point), rtol=1e-12)
