"""Populations by reverse diffusion: protocol, weights, edges, bad input, and the traps."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ergodica.samplers.claim import Exactness
from ergodica.samplers.diffusion.reverse_diffusion import ReverseDiffusion, geometric_times
from ergodica.samplers.diffusion.reverse_diffusion_smc import ReverseDiffusionSMC
from ergodica.samplers.diffusion.score import ImportanceScore, LangevinScore
from ergodica.samplers.sample import sample
from ergodica.validation.cases.diffusion import CASES
from ergodica.validation.evidence import run_check
from tests.traps.diffusion import POPULATION_TRAPS, ForgetsDimension, ForgetsStartDensity

MIXTURE = ((0.3, 0.7), (-4.0, 4.0), (1.0, 0.36))
CHECKS = CASES[1].checks


def mixture(x):
    weights, means, variances = (jnp.asarray(value, x.dtype) for value in MIXTURE)
    return jax.scipy.special.logsumexp(
        jnp.log(weights) - 0.5 * jnp.log(2 * jnp.pi * variances) - 0.5 * (x[0] - means) ** 2 / variances
    )


def gaussian(x):
    return -0.5 * jnp.sum((x["a"] - 1.0) ** 2) - 0.5 * jnp.sum(x["b"] ** 2)


def small(inner=None, threshold=0.5, **fields):
    inner = ImportanceScore(4) if inner is None else inner
    times = fields.pop("times", geometric_times(1.0, 0.1, 5))
    return ReverseDiffusionSMC(ReverseDiffusion(inner, times=times, **fields), threshold=threshold)


def start(count=6, dtype=float):
    return {"a": jnp.zeros((count, 2), dtype), "b": jnp.zeros((count, 1, 2), dtype)}


def test_protocol():
    kernel = small(threshold=2.0, logdensity=gaussian)
    state = kernel.init(start(dtype=jnp.float32))
    assert state.logdensity.shape == (6,)
    step = jax.jit(lambda kernel, key, state: kernel.step(key, state))
    new, info = step(kernel, jax.random.key(0), state)
    kinds = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), at) for at in (new, state)]
    assert kinds[0] == kinds[1]
    assert info.log_weight.shape == ()
    assert info.log_weight.dtype == jnp.float32
    assert np.isfinite(info.log_weight)
    np.testing.assert_allclose(new.logdensity, kernel.refresh(new).logdensity, rtol=1e-5)
    # The threshold is data, and the state is forgotten.
    elsewhere = kernel.init(jax.tree.map(lambda leaf: leaf + 3, state.position))
    jax.tree.map(np.testing.assert_array_equal, step(kernel, jax.random.key(0), elsewhere), (new, info))
    assert info.num_resampled == 5
    never = dataclasses.replace(kernel, threshold=jnp.zeros(()))
    assert step(never, jax.random.key(0), state)[1].num_resampled == 0
    assert step._cache_size() == 1
    assert not np.array_equal(new.position["a"][0], new.position["a"][-1])
    assert kernel.unbound().logdensity is None
    with pytest.raises(ValueError, match="no target"):
        kernel.unbound().init(start())
    twice = kernel.bind(lambda x: 2 * gaussian(x))
    np.testing.assert_allclose(twice.refresh(state).logdensity, 2 * state.logdensity, rtol=1e-6)


def test_claim():
    claim = small().claim
    assert claim.exactness is Exactness.BIASED
    assert claim.population
    assert claim.weighted
    assert claim.independent
    assert not claim.gradient
    assert ReverseDiffusionSMC(ReverseDiffusion("mala")).claim.gradient


@pytest.mark.parametrize("inner", [LangevinScore(num_draws=4, num_chains=2, num_steps=3)])
@pytest.mark.slow
def test_counts_are_exact(inner):
    calls = []

    def counted(x):
        jax.debug.callback(lambda _: calls.append(1), x[0])
        return -0.5 * jnp.sum(x**2)

    state = small(inner, logdensity=lambda x: -0.5 * jnp.sum(x**2)).init(jnp.zeros((3, 1)))
    _, info = jax.jit(small(inner, logdensity=counted).step)(jax.random.key(0), state)
    jax.effects_barrier()
    assert len(calls) == info.num_evals
    assert (info.num_grad_evals > 0) == inner.gradient


@pytest.mark.slow
def test_target_that_vanishes_almost_everywhere():
    kernel = small(threshold=1.0, logdensity=lambda x: jnp.where(jnp.abs(x[0] - 1e3) < 1e-3, 0.0, -jnp.inf))
    new, info = kernel.step(jax.random.key(0), kernel.init(jnp.full((4, 1), 1e3)))
    assert np.all(np.isfinite(new.position))
    assert info.log_weight == -np.inf
    assert info.ess == 0
    assert info.num_degenerate == 4 * 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("inner", "threshold", "fields"),
    [
        (ImportanceScore(32), 0.5, {}),
        (
            ImportanceScore(32),
            0.5,
            {"start": "langevin", "num_start_steps": 4, "times": geometric_times(1.0, 0.05, 20)},
        ),
    ],
)
def test_the_mean_weight_is_the_normaliser(inner, threshold, fields):
    """Six standard errors, normal approximation: 2e-9 each; keys are fixed."""
    fields = {"times": geometric_times(3.0, 0.02, 20)} | fields
    kernel = small(inner, threshold, logdensity=mixture, **fields)
    state = kernel.init(jnp.ones((40, 1)))
    step = jax.jit(lambda keys: jax.lax.map(lambda key: kernel.step(key, state), keys, batch_size=50))
    new, info = step(jax.random.split(jax.random.key(0), 200))
    w = np.exp(np.asarray(info.log_weight))
    right = np.mean(np.asarray(new.position[..., 0]) > 0, axis=1)
    error = w.std() / np.sqrt(w.size)
    assert error < 0.1
    assert w.mean() == pytest.approx(1.0, abs=6 * error)
    assert np.mean(w * right) == pytest.approx(0.7000095, abs=6 * (w * right).std() / np.sqrt(w.size))
    assert np.mean(info.num_resampled) > 0.5


@pytest.mark.slow
def test_a_run_of_populations():
    kernel = small(ImportanceScore(32), logdensity=mixture, times=geometric_times(3.0, 0.05, 20))
    draws = sample(kernel, jnp.ones((20, 1)), draws=50, chains=2, seed=0, progress=False)
    with pytest.raises(ValueError, match="weights"):
        _ = draws.position
    share = draws.mean(lambda population: jnp.mean(population > 0))
    w = draws.weighted()[1]
    # A population of 20 estimates the share with a standard deviation below 0.2: six standard errors.
    assert share == pytest.approx(0.7, abs=6 * 0.2 * np.sqrt(np.sum(w**2)))


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_right_populations_pass(check):
    # False alarm at most 1e-6 each.
    evidence = run_check(check, small(), name="reverse-diffusion-smc", key=jax.random.key(5))
    assert evidence.passed, evidence.details


@pytest.mark.slow
@pytest.mark.parametrize("wrong", POPULATION_TRAPS)
def test_wrong_populations_are_caught(wrong):
    # Resampled at every step.
    subject = wrong(ReverseDiffusion())
    assert not run_check(CHECKS[2], subject, name="trap", key=jax.random.key(0)).passed


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [ForgetsDimension, ForgetsStartDensity])
def test_wrong_moves_are_caught(wrong):
    subject = ReverseDiffusionSMC(wrong())
    assert not run_check(CHECKS[0], subject, name="trap", key=jax.random.key(0)).passed


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ReverseDiffusionSMC("mala"), TypeError, "resamples a ReverseDiffusion"),
        (lambda: small(threshold=-0.1), ValueError, "threshold"),
        (lambda: small(logdensity=mixture).init(jnp.ones(())), ValueError, "particles on axis 0"),
        (lambda: small(logdensity=gaussian).init({"a": jnp.ones((2, 1)), "b": jnp.ones((3, 1))}), ValueError, "axis 0"),
        (lambda: small(logdensity=mixture).init(jnp.ones((2, 1), int)), TypeError, "floating-point"),
        (lambda: small(logdensity=lambda x: jnp.log(x[0])).init(jnp.array([[1.0], [-1.0]])), ValueError, "chain 1"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()
