"""Reverse diffusion: protocol, claim, exact laws and weights, edges, bad input, the golden table, and the traps."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from ergodica.samplers.claim import Exactness
from ergodica.samplers.diffusion.rejection_score import RejectionScore
from ergodica.samplers.diffusion.reverse_diffusion import ReverseDiffusion, geometric_times, zod_times
from ergodica.samplers.diffusion.score import GivenScore, ImportanceScore, LangevinScore
from ergodica.validation.cases.diffusion import CASES
from ergodica.validation.evidence import run_check
from tests.traps.diffusion import (
    ClippedNoise,
    Euler,
    FactorOne,
    ForgetsDimension,
    ForgetsStartDensity,
    LateTime,
    PrematureLangevin,
    WeightsAtTheMeanScore,
)

MIXTURE = ((0.3, 0.7), (-4.0, 4.0), (1.0, 0.36))
CHECKS = {check.name: check for check in CASES[0].checks}


def gaussian(x):
    return -0.5 * jnp.sum((x["a"] - 1.0) ** 2) - 0.5 * jnp.sum(x["b"] ** 2)


def scaled(scale, x):
    return -0.5 * jnp.sum(x**2) / scale


def mixture(x):
    weights, means, variances = (jnp.asarray(value, x.dtype) for value in MIXTURE)
    return jax.scipy.special.logsumexp(
        jnp.log(weights) - 0.5 * jnp.log(2 * jnp.pi * variances) - 0.5 * (x[0] - means) ** 2 / variances
    )


def mixture_score(x, t):
    weights, means, variances = (jnp.asarray(value, x.dtype) for value in MIXTURE)
    means, variances = jnp.exp(-t) * means, jnp.exp(-2 * t) * variances - jnp.expm1(-2 * t)
    logs = jnp.log(weights) - 0.5 * jnp.log(variances) - 0.5 * (x[0] - means) ** 2 / variances
    return jnp.sum(jax.nn.softmax(logs) * (means - x[0]) / variances)[None]


def small(inner=None, **fields):
    return ReverseDiffusion(
        ImportanceScore(4) if inner is None else inner, times=geometric_times(1.0, 0.1, 5), **fields
    )


POSITION = {"a": jnp.zeros(2), "b": jnp.zeros((1, 2))}


@pytest.mark.parametrize(
    ("kernel", "dtype"),
    [
        (small(), jnp.float32),
        (small(LangevinScore(num_draws=4, num_chains=2, num_steps=3)), jnp.float32),
        (small(start="langevin", num_start_steps=3), jnp.float64),
    ],
)
@pytest.mark.slow
def test_protocol(kernel, dtype):
    kernel = kernel.bind(gaussian)
    position = jax.tree.map(lambda leaf: leaf.astype(dtype), POSITION)
    state = kernel.init(position)
    step = jax.jit(lambda kernel, key, state: kernel.step(key, state))
    key = jax.random.key(0)
    new, info = step(kernel, key, state)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), new) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), state
    )
    assert info.log_weight.dtype == dtype
    assert np.isfinite(info.log_weight)
    again, _ = step(kernel, key, state)
    jax.tree.map(np.testing.assert_array_equal, new, again)
    # The state is forgotten.
    elsewhere = kernel.init(jax.tree.map(lambda leaf: leaf + 3, position))
    jax.tree.map(np.testing.assert_array_equal, step(kernel, key, elsewhere), (new, info))
    # Over keys and states, and over kernels.
    keys = jax.random.split(key, 3)
    many, _ = jax.vmap(step, in_axes=(None, 0, None))(kernel, keys, state)
    one, _ = step(kernel, keys[1], state)
    np.testing.assert_allclose(many.position["a"][1], one.position["a"], rtol=2e-4)
    kernels = jax.vmap(lambda end: dataclasses.replace(kernel, times=jnp.linspace(1.0, end, 6)))(jnp.array([0.1, 0.3]))
    several, _ = jax.vmap(step, in_axes=(0, None, None))(kernels, key, state)
    assert several.position["a"].shape == (2, 2)
    assert not np.array_equal(several.position["a"][0], several.position["a"][1])


def test_run_bind_and_refresh():
    kernel = small(logdensity=gaussian)
    state = kernel.init(POSITION)
    end, info = jax.jit(lambda key: kernel.run(key, state, 3))(jax.random.key(0))
    last, _ = kernel.step(jax.random.fold_in(jax.random.key(0), 2), state)
    np.testing.assert_allclose(end.position["a"], last.position["a"], rtol=1e-12)
    assert info.num_evals == 3 * (5 * 4 + 1)
    assert kernel.unbound().logdensity is None
    with pytest.raises(ValueError, match="no target"):
        kernel.unbound().init(POSITION)

    def body(carry, key):
        params, state = carry
        state, _ = params.bind(gaussian).step(key, state)
        return (params, state), state.position["a"]

    (_, _), draws = jax.lax.scan(body, (kernel.unbound(), state), jax.random.split(jax.random.key(1), 4))
    assert draws.shape == (4, 2)
    other = kernel.bind(lambda x: 2 * gaussian(x))
    assert other.refresh(state).logdensity == pytest.approx(2 * float(state.logdensity))


def test_no_retracing():
    traces = []

    def traced(scale, x):
        traces.append(1)
        return scaled(scale, x)

    step = jax.jit(lambda kernel, key, state: kernel.step(key, state))
    for scale, horizon in ((1.0, 1.0), (2.0, 1.5), (3.0, 2.0)):
        kernel = small(logdensity=Partial(traced, jnp.asarray(scale)))
        kernel = dataclasses.replace(kernel, times=geometric_times(horizon, 0.1, 5))
        state = kernel.init(jnp.zeros(2))
        before = len(traces)
        step(kernel, jax.random.key(0), state)
        assert (len(traces) == before) == (scale > 1)


def test_claim():
    claim = ReverseDiffusion().claim
    assert claim.exactness is Exactness.BIASED
    assert claim.weighted
    assert claim.independent
    assert claim.gradient
    assert not ReverseDiffusion("importance", weighted=False).claim.weighted
    assert not ReverseDiffusion("importance").claim.gradient


@pytest.mark.parametrize(
    "kernel",
    [
        small(),
        small(ImportanceScore(3, "combined")),
        small(LangevinScore(num_draws=4, num_chains=2, num_steps=3)),
        small(start="langevin", num_start_steps=2),
    ],
)
def test_counts_are_exact(kernel):
    calls = []

    def counted(x):
        jax.debug.callback(lambda _: calls.append(1), x[0])
        return -0.5 * jnp.sum(x**2)

    state = kernel.bind(lambda x: -0.5 * jnp.sum(x**2)).init(jnp.zeros(1))
    _, info = jax.jit(kernel.bind(counted).step)(jax.random.key(0), state)
    jax.effects_barrier()
    assert len(calls) == info.num_evals


def test_target_that_vanishes_almost_everywhere():
    # Every draw is finite, has no weight, and says that nothing was learnt.
    kernel = small(logdensity=lambda x: jnp.where(jnp.abs(x[0] - 1e3) < 1e-3, 0.0, -jnp.inf))
    state = kernel.init(jnp.array([1e3]))
    new, info = kernel.step(jax.random.key(0), state)
    assert np.isfinite(new.position[0])
    assert info.log_weight == -np.inf
    assert info.num_degenerate == 5
    assert info.num_invalid == 0


@pytest.mark.slow
def test_invalid_densities_are_counted():
    kernel = small(logdensity=lambda x: jnp.where(x[0] > 0, -x[0], jnp.nan))
    _, info = jax.vmap(kernel.step, in_axes=(0, None))(
        jax.random.split(jax.random.key(0), 50), kernel.init(jnp.ones(1))
    )
    assert np.all(np.isfinite(info.log_weight) | (info.log_weight == -np.inf))
    assert np.sum(info.num_invalid) > 0


@pytest.mark.parametrize(
    "kernel",
    [ReverseDiffusion("importance"), ReverseDiffusion("mala"), ReverseDiffusion(LangevinScore(adjusted=False))],
)
def test_inner_by_name(kernel):
    assert isinstance(kernel.inner, ImportanceScore | LangevinScore)
    assert ReverseDiffusion("ula").inner.adjusted is False
    assert isinstance(ReverseDiffusion("reject").inner, RejectionScore)
    assert kernel.times.shape == (51,)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CHECKS if "reject" not in name])
def test_right_kernel_passes(name):
    # False alarm at most 1e-6 each.
    evidence = run_check(CHECKS[name], small(), name="reverse-diffusion", key=jax.random.key(5))
    assert evidence.passed, evidence.details


@pytest.mark.parametrize(
    ("horizon", "end", "num_steps"), [(2.0, 5e-3, 25), (5.0, 1e-3, 50), (1.1, 0.9, 1), (10.0, 0.1, 3)]
)
def test_zod_grid(horizon, end, num_steps):
    # From the end: steps of c t while they stay below 1, then equal ones.
    c = 1.6 * (np.exp(np.log(horizon / end) / num_steps) - 1)
    expected = [end]
    while expected[-1] * (1 + c) < 1:
        expected.append(expected[-1] * (1 + c))
    rest = num_steps + 1 - len(expected)
    expected += [expected[-1] + (horizon - expected[-1]) * (i + 1) / rest for i in range(rest)]
    times = np.asarray(zod_times(horizon, end, num_steps))
    assert times.shape == (num_steps + 1,)
    np.testing.assert_allclose(times, expected[::-1], rtol=1e-12)
    if (horizon, end, num_steps) == (2.0, 5e-3, 25):
        np.testing.assert_allclose(times[-2] / times[-1], 1.433304, rtol=1e-6)
        assert np.sum(times < 0.775) == 15


LAW = "normal draws: exact score, law by recursion"
WEIGHTS = "weights: E[w] = Z, exact score"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        (FactorOne, LAW),
        (Euler, LAW),
        (ClippedNoise, WEIGHTS),
        (ClippedNoise, LAW),
        (LateTime, LAW),
        (WeightsAtTheMeanScore, "weights: E[w] = Z, scores from a single draw"),
        (ForgetsStartDensity, WEIGHTS),
        (ForgetsDimension, WEIGHTS),
        (PrematureLangevin, "weights: E[w] = Z, Langevin start"),
    ],
)
def test_wrong_kernels_are_caught(wrong, name):
    assert not run_check(CHECKS[name], wrong(), name="trap", key=jax.random.key(0)).passed


def table(inner, size, seed=0):
    """Return raw P(x > 0), weighted P(x > 0), Z, and the relative effective sample size."""
    kernel = ReverseDiffusion(inner, logdensity=mixture)
    state = kernel.init(jnp.ones(1))

    @jax.jit
    def batch(keys):
        return jax.lax.map(lambda key: kernel.step(key, state), keys, batch_size=1000)

    new, info = batch(jax.random.split(jax.random.key(seed), size))
    right = np.asarray(new.position[:, 0]) > 0
    w = np.exp(np.asarray(info.log_weight))
    return right.mean(), w @ right / w.sum(), w.mean(), w.sum() ** 2 / (w @ w) / size


def held_against(inner, size, raw, ess):
    p, weighted, z, seen = table(inner, size)
    # The reference values came from 2e4 draws of their own: both errors enter, with six standard deviations (normal
    # approximation: 2e-9 each). Those of the weighted numbers follow from the effective sample size.
    assert p == pytest.approx(raw, abs=6 * np.sqrt(0.25 * (1 / size + 1 / 20_000)))
    assert seen == pytest.approx(ess, rel=0.35)
    assert weighted == pytest.approx(0.7000095, abs=6 * np.sqrt(0.25 / (seen * size)))
    assert z == pytest.approx(1.0, abs=6 * np.sqrt((1 / seen - 1) / size))


def test_golden_table_with_the_exact_score():
    held_against(GivenScore(mixture_score), 20_000, 0.679, 0.53)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("draws", "size", "raw", "ess"), [(8, 20_000, 0.518, 0.14), (64, 20_000, 0.652, 0.46), (512, 4000, 0.684, 0.53)]
)
def test_golden_table(draws, size, raw, ess):
    held_against(ImportanceScore(draws), size, raw, ess)


@pytest.mark.slow
@pytest.mark.parametrize("inner", ["mala", "ula"])
def test_inner_chains_find_both_modes(inner):
    p, weighted, z, seen = table(inner, 2000)
    # Six standard deviations, as above.
    assert weighted == pytest.approx(0.7000095, abs=6 * np.sqrt(0.25 / (seen * 2000)))
    assert z == pytest.approx(1.0, abs=6 * np.sqrt((1 / seen - 1) / 2000))
    assert seen > 0.2
    assert p == pytest.approx(0.68, abs=0.1)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ReverseDiffusion("hmc"), ValueError, "inner"),
        (lambda: ReverseDiffusion(start="zero"), ValueError, "starts"),
        (lambda: ReverseDiffusion(times=[1.0]), ValueError, "two entries"),
        (lambda: ReverseDiffusion(times=[0.1, 1.0]), ValueError, "decrease"),
        (lambda: ReverseDiffusion(times=[1.0, -0.1]), ValueError, "at least 0"),
        (lambda: ReverseDiffusion(times=1.0), ValueError, "axes"),
        (lambda: ReverseDiffusion(num_start_steps=0), ValueError, "num_start_steps"),
        (lambda: geometric_times(0.1, 0.2), ValueError, "horizon > end"),
        (lambda: geometric_times(num_steps=0), ValueError, "num_steps"),
        (lambda: zod_times(0.5), ValueError, "horizon > 1"),
        (lambda: zod_times(2.0, 1.0), ValueError, "horizon > 1"),
        (lambda: zod_times(num_steps=0), ValueError, "num_steps"),
        (lambda: small(logdensity=3.0), TypeError, "callable"),
        (lambda: small(logdensity=gaussian).init({"a": jnp.arange(2), "b": jnp.zeros(1)}), TypeError, "dtype"),
        (lambda: small(logdensity=lambda x: -jnp.inf * x[0] ** 0).init(jnp.ones(1)), ValueError, "-inf"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()
