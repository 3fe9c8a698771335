"""Decisions ahead of time: bitwise equality with the serial chain, counts, protocol, bad input, and the traps."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from numpyro.infer import MCMC

from ergodica.samplers import random
from ergodica.samplers.interop.numpyro import NumPyroKernel
from ergodica.samplers.metropolis.prefetching import Prefetching
from ergodica.samplers.metropolis.random_walk import GaussianStep, RandomWalk
from ergodica.samplers.metropolis.speculative_hamiltonian import HamiltonianStep, SpeculativeHamiltonian
from ergodica.theory.prefetching import expected_steps
from ergodica.validation.cases.speculation import CASES, UniformStep
from tests.traps.speculation import HAMILTONIAN_TRAPS, PREFETCHING_TRAPS, ForgetsKineticEnergy

ROWS = {case.name: case for case in CASES}
KEY = jax.random.key(6)


def tent(slope, x):
    """Sums and products by powers of two: its bits do not depend on what it is compiled with."""
    return -slope * jnp.abs(x[0]) - 2 * jnp.abs(x[1] - 1)


TENT = Partial(tent, jnp.asarray(1.0))


TRAJECTORY = jax.jit(lambda kernel, key, state: kernel.trajectory(key, state, 64))


def serial_path(kernel, key, state, num_steps):
    def body(state, index):
        state, _ = kernel.step(random.fold_in(key, index), state)
        return state, (state.position, state.logdensity)

    return jax.lax.scan(body, state, jnp.arange(num_steps))


KERNELS = {
    "full tree": Prefetching(UniformStep(), 16, 7, logdensity=TENT),
    "surrogate": Prefetching(UniformStep(), 16, 5, surrogate=Partial(tent, jnp.asarray(0.5)), logdensity=TENT),
    "trajectories": SpeculativeHamiltonian(0.5, 2, 8, 3, logdensity=TENT),
    "guided trajectories": SpeculativeHamiltonian(
        0.25, 2, 8, 3, guide=Partial(tent, jnp.asarray(0.5)), logdensity=TENT
    ),
}
SLOW = ("surrogate", "guided trajectories")  # the catalogue has the others, in double precision


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("full tree", jnp.float32),
        ("trajectories", jnp.float32),
        *(pytest.param(name, jnp.float32, marks=pytest.mark.slow) for name in SLOW),
    ],
)
def test_bit_for_bit_the_serial_chain(name, dtype):
    kernel, num_steps = KERNELS[name], 64
    state = kernel.init(jnp.array([0.5, -1.0], dtype))
    end, path, info = TRAJECTORY(kernel, KEY, state)
    last, (positions, values) = jax.jit(lambda k, key, s: serial_path(k, key, s, num_steps))(
        kernel.serial(), KEY, state
    )
    np.testing.assert_array_equal(path, positions)
    np.testing.assert_array_equal(end.position, last.position)
    np.testing.assert_array_equal(end.logdensity, values[-1])
    assert path.dtype == dtype
    moved = np.any(np.diff(np.concatenate([state.position[None], path]), axis=0) != 0, axis=1)
    assert int(info.num_accepted) == moved.sum()
    assert int(info.num_evals) == int(info.num_rounds) * kernel.evaluations
    assert num_steps / kernel.evaluations <= int(info.num_rounds) <= num_steps


@pytest.mark.slow
@pytest.mark.parametrize("trap", [*PREFETCHING_TRAPS, *HAMILTONIAN_TRAPS], ids=lambda trap: trap.__name__)
def test_the_checks_reject_the_trap(trap):
    is_walk = trap in PREFETCHING_TRAPS
    row = ROWS["prefetching" if is_walk else "speculative-hamiltonian"]
    subject = trap(GaussianStep(1.0)) if is_walk else trap(0.5, 3)
    check = row.checks[2 if trap is ForgetsKineticEnergy else 0]
    assert not check.run(subject, KEY).passed


def test_a_full_tree_always_makes_its_depth():
    kernel = KERNELS["full tree"]
    _, _, info = jax.jit(lambda k, key, s: k.trajectory(key, s, 64))(
        kernel, KEY, kernel.init(jnp.zeros(2, jnp.float32))
    )
    assert int(info.num_rounds) == -(-64 // 3)
    assert float(info.predicted_steps) == expected_steps(7, 0.5) == 3


@pytest.mark.slow
def test_leapfrog_by_hand():
    """One trajectory in NumPy, with the momentum that the proposal draws."""
    precision, scale, step = np.array([1.0, 4.0]), np.array([1.0, 0.5]), 0.3
    move = HamiltonianStep(lambda x: -0.5 * jnp.sum(precision * x**2), step, 4, scale)
    start = np.array([0.4, -1.0])
    end, log_ratio = move.propose(KEY, jnp.asarray(start))
    x, v = start, np.asarray(jax.random.normal(KEY, (2,), jnp.float64))
    energy = 0.5 * v @ v
    for _ in range(4):
        v = v - step / 2 * scale * precision * x
        x = x + step * scale * v
        v = v - step / 2 * scale * precision * x
    np.testing.assert_allclose(end, x, atol=1e-13)
    assert float(log_ratio) == pytest.approx(energy - 0.5 * v @ v, abs=1e-13)


@pytest.mark.slow
def test_protocol():
    kernel = Prefetching(GaussianStep(1.0), 6, 3, logdensity=lambda x: -0.5 * jnp.sum(x["a"] ** 2))
    state = kernel.init({"a": jnp.ones(3)})
    after, info = kernel.run(KEY, state, 2)
    assert int(info.num_evals) == 3 * int(info.num_rounds)
    np.testing.assert_allclose(after.logdensity, -0.5 * np.sum(after.position["a"] ** 2), rtol=1e-12)
    assert all(eqx.is_array(leaf) for leaf in jax.tree.leaves(kernel.unbound()))
    keys = random.split(KEY, 3)
    many = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), state)
    together, _ = jax.jit(jax.vmap(kernel.step))(keys, many)
    step = jax.jit(kernel.step)
    np.testing.assert_allclose(together.position["a"][2], step(keys[2], state)[0].position["a"], rtol=1e-10)
    walk = RandomWalk(1.0, logdensity=kernel.logdensity)
    np.testing.assert_allclose(walk.run(KEY, state, 6)[0].position["a"], step(KEY, state)[0].position["a"])
    doubled = kernel.bind(lambda x: -jnp.sum(x["a"] ** 2))
    np.testing.assert_allclose(doubled.refresh(state).logdensity, 2 * state.logdensity)
    invalid = kernel.bind(lambda x: jnp.where(x["a"][0] > 0, jnp.nan, 0.0))
    state, info = invalid.run(KEY, invalid.init({"a": -jnp.ones(3)}), 10)
    assert int(info.num_invalid) > 0
    assert state.position["a"][0] <= 0


@pytest.mark.slow
@pytest.mark.parametrize("kernel", [Prefetching(GaussianStep(1.5), 4), SpeculativeHamiltonian(0.9, 2, 2)])
def test_under_numpyro(kernel):
    mcmc = MCMC(
        NumPyroKernel(kernel, potential_fn=lambda z: 0.5 * jnp.sum(z["x"] ** 2)),
        num_warmup=20,
        num_samples=2000,
        progress_bar=False,
    )
    mcmc.run(KEY, init_params={"x": jnp.zeros(2)})
    assert np.all(np.abs(mcmc.get_samples()["x"].var(axis=0) - 1) < 0.4)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Prefetching(1.0), TypeError, "needs a Proposal"),
        (lambda: Prefetching(GaussianStep(1.0), 0), ValueError, "num_steps"),
        (lambda: Prefetching(GaussianStep(1.0), evaluations=0), ValueError, "evaluations"),
        (lambda: Prefetching(GaussianStep(1.0), acceptance=1.5), ValueError, "probability"),
        (lambda: Prefetching(GaussianStep(1.0), surrogate=2.0), TypeError, "callable"),
        (lambda: Prefetching(GaussianStep(1.0)).init(jnp.zeros(2)), ValueError, "no target"),
        (lambda: SpeculativeHamiltonian(0.0, 3), ValueError, "step_size"),
        (lambda: SpeculativeHamiltonian(0.1, 0), ValueError, "num_leapfrog"),
        (lambda: SpeculativeHamiltonian(0.1, 1, scale=[1.0, -1.0]), ValueError, "scale"),
        (lambda: SpeculativeHamiltonian(0.1, 1, scale=jnp.ones((2, 2))), ValueError, "vector of standard"),
        (
            lambda: SpeculativeHamiltonian(0.1, 1, scale=jnp.ones(3), logdensity=TENT).init(jnp.zeros(2)),
            ValueError,
            "2 entries",
        ),
        (lambda: SpeculativeHamiltonian(0.1, 1, rule=3, logdensity=TENT), TypeError, "decides by the ratio"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()
