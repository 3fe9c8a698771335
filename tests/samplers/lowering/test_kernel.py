"""Kernels whose steps are compiled code inside XLA's programs: the same draws, under all that a kernel goes through."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax.tree_util import Partial
from numpyro.infer import MCMC

import ergodica
from ergodica.samplers.lowering.errors import CannotLower
from ergodica.samplers.lowering.kernel import OnCompiledHost
from ergodica.samplers.lowering.operation import call_lowered

KEY = jax.random.key(4)


def density(scale, x):
    return -0.5 * jnp.sum((x / scale) ** 2)


def walk(dtype=jnp.float64):
    return ergodica.RandomWalk(jnp.asarray(0.8, dtype), logdensity=Partial(density, jnp.array([1.0, 2.0], dtype)))


def same(one, other, rtol=1e-10):
    def compare(a, b):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(np.asarray(a, float), np.asarray(b, float), rtol=rtol, atol=1e-12)

    jax.tree.map(compare, one, other)


@pytest.mark.parametrize("dtype", [jnp.float64, pytest.param(jnp.float32, marks=pytest.mark.slow)])
def test_steps_and_runs_are_those_of_xla(dtype):
    kernel = walk(dtype)
    ours, state = OnCompiledHost(kernel), kernel.init(jnp.ones(2, dtype))
    rtol = 1e-10 if dtype == jnp.float64 else 1e-4
    same(jax.jit(ours.step)(KEY, state), jax.jit(kernel.step)(KEY, state), rtol)
    same(ours.run(KEY, state, 20)[0], kernel.run(KEY, state, 20)[0], rtol)
    keys, states = jax.random.split(KEY, 3), jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), state)
    same(jax.vmap(ours.step)(keys, states)[0], jax.vmap(kernel.step)(keys, states)[0], rtol)


def test_it_is_tuned_bound_and_composed():
    kernel = walk()
    options = {"draws": 20, "tune": 30, "chains": 2, "progress": False}
    one, other = (ergodica.sample(k, jnp.ones(2), **options) for k in (kernel, OnCompiledHost(kernel)))
    same(one.position, other.position)
    moved = OnCompiledHost(kernel).bind(Partial(density, jnp.array([5.0, 5.0])))
    assert moved.init(jnp.ones(2)).logdensity == pytest.approx(-0.04)
    assert moved.takes_logdensity
    assert moved.unbound().inner.logdensity is None
    assert moved.claim == kernel.claim
    both = ergodica.cycle(OnCompiledHost(kernel), kernel)
    assert both.step(KEY, both.init(jnp.ones(2)))[0].position.shape == (2,)


@pytest.mark.slow
def test_it_runs_under_numpyro():
    def model(y):
        scale = numpyro.sample("scale", dist.HalfNormal(1.0))
        numpyro.sample("y", dist.Normal(0.0, scale), obs=y)

    found = []
    for wrap in (lambda kernel: kernel, OnCompiledHost):
        kernel = ergodica.NumPyroKernel(wrap(ergodica.RandomWalk(0.8)), model)
        mcmc = MCMC(kernel, num_warmup=10, num_samples=20, num_chains=2, chain_method="vectorized", progress_bar=False)
        mcmc.run(jax.random.key(0), jnp.array([0.3, -1.2]))
        found.append(mcmc.get_samples()["scale"])
    same(*found)


def test_keys_go_in_and_out_and_programs_are_remembered():
    calls = []

    def advance(key, x):
        calls.append(1)
        following, use = jax.random.split(key)
        return {"key": following, "x": x + jax.random.normal(use, (3,)), "n": jnp.int32(2), "big": x.sum() > 1}

    for seed in range(2):
        key = jax.random.key(seed)
        out = jax.jit(lambda key, x: call_lowered(advance, key, x))(key, jnp.ones(3))
        expected = advance(key, jnp.ones(3))
        assert jnp.array_equal(jax.random.key_data(out["key"]), jax.random.key_data(expected["key"]))
        np.testing.assert_allclose(out["x"], expected["x"], rtol=1e-12)
        assert (out["n"], out["big"]) == (2, expected["big"])
    assert len(calls) == 3  # traced once, called twice for comparison


def test_bad_input():
    with pytest.raises(TypeError, match="takes a kernel; got function"):
        OnCompiledHost(density)

    def printing(x):
        jax.debug.print("{}", x[0])
        return -jnp.sum(x**2)

    kernel = ergodica.RandomWalk(1.0, logdensity=printing)
    with pytest.raises(CannotLower, match="debug_"):
        OnCompiledHost(kernel).step(KEY, kernel.init(jnp.ones(2)))
