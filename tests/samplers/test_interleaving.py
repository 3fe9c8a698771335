"""Chains at different steps make the steps that they always make."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.tree_util import Partial

import ergodica
from ergodica.samplers import random
from ergodica.samplers.chunks import chain_keys, draw_chunk, strong
from ergodica.samplers.claim import Claim, Exactness
from ergodica.samplers.interleaving import check_interleaving, draw_interleaved
from ergodica.samplers.kernel import DensityState, Kernel
from ergodica.samplers.sample import resume, sample
from ergodica.samplers.slicing.univariate import SliceInfo
from ergodica.samplers.step_loop import NoLoopError, find_loop


def funnel(scale, x):
    return -0.5 * (x[0] / scale) ** 2 - 0.5 * jnp.sum(x[1:] ** 2) * jnp.exp(-x[0]) - x[0]


TARGET = Partial(funnel, jnp.array(2.0))
COUNTS = Partial(lambda x: -jnp.sum(x))
CHAINS = 13  # neither a multiple of a group nor of the number of devices


class Geometric(Kernel[DensityState, SliceInfo]):
    """Moves by the number of failures of a coin; a step may take no turn at all, and its loop has no loop inside."""

    logdensity: Partial | None = None

    @property
    def claim(self):
        return Claim(Exactness.APPROXIMATE, "for tests")

    def init(self, position, *, key=None):
        return DensityState(position, self._target()(position))

    def step(self, key, state):
        lazy = random.bernoulli(random.fold_in(key, 7), 0.4)

        def tails(carry):
            turns, last = carry
            return last & (turns < 40)

        def toss(carry):
            turns, _ = carry
            return turns + 1, random.bernoulli(random.fold_in(key, turns), 0.8)

        turns, _ = lax.while_loop(tails, toss, (jnp.zeros((), jnp.int32), ~lazy))
        position = state.position + turns
        return DensityState(position, self._target()(position)), SliceInfo.zero()._replace(num_evals=turns)


def pairs(kernel, start, *, count=40, capacity=64, thin=1):
    kernel = jax.tree.map(strong, kernel)
    starts = start + 0.1 * jnp.arange(CHAINS)[:, None]
    states = jax.tree.map(strong, jax.vmap(lambda x: kernel.init(x))(starts))
    keys = chain_keys(jax.random.key(3), states)
    given = kernel, states, keys, jnp.int32(5), jnp.int32(count)
    plain, mixed = (run(*given, capacity=capacity, thin=thin) for run in (draw_chunk, draw_interleaved))
    return plain, mixed


def same(plain, mixed, count=40):
    """The same up to rounding: XLA need not compile one step in two ways alike."""
    for one, other in zip(jax.tree.leaves(plain[0]), jax.tree.leaves(mixed[0]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    for one, other in zip(jax.tree.leaves(plain[1]), jax.tree.leaves(mixed[1]), strict=True):
        np.testing.assert_allclose(one[:count], other[:count], rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kernel", "start"),
    [
        (ergodica.HitAndRunSlice(1.0, logdensity=TARGET), jnp.ones(3)),
        (Geometric(logdensity=COUNTS), jnp.zeros(1)),
    ],
    ids=["nested loops", "one loop, and none"],
)
def test_draws_are_the_same_in_fewer_turns(kernel, start):
    plain, mixed = pairs(kernel, start)
    same(plain, mixed)
    turns = np.asarray(plain[1].stats["num_evals"])[:40]
    in_lockstep, useful, taken = turns.max(axis=1).sum(), turns.sum() / CHAINS, int(mixed[2].sum())
    assert turns.sum(axis=0).max() <= taken < in_lockstep
    assert useful / taken > 1.2 * useful / in_lockstep


@pytest.mark.slow
@pytest.mark.parametrize(
    "kernel",
    [
        ergodica.CoordinateSlice(1.0, logdensity=TARGET),
        ergodica.CoordinateSlice(1.0, method="doubling", scan="permutation", logdensity=TARGET),
        ergodica.GibbsianPolarSlice(1.0, logdensity=TARGET),
        ergodica.GibbsianPolarSlice(1.0, order="palindromic", direction="uniform", logdensity=TARGET),
        ergodica.HyperrectangleSlice(2.0, logdensity=TARGET),
        ergodica.HyperrectangleSlice(2.0, shrink="steepest", logdensity=TARGET),
        ergodica.HitAndRunSlice(1.0, method="doubling", logdensity=TARGET),
    ],
    ids=["coordinate", "doubling", "polar", "palindromic", "box", "steepest", "line doubling"],
)
def test_draws_of_slice_samplers_are_the_same(kernel):
    same(*pairs(kernel, jnp.ones(3)))


@pytest.mark.slow
def test_through_the_front_door(tmp_path):
    kernel = ergodica.HitAndRunSlice(1.0, logdensity=TARGET)
    options = {"draws": 20, "tune": 10, "chains": CHAINS, "seed": 2, "progress": False, "thin": 2}
    plain = sample(kernel, jnp.ones(3), **options)
    mixed = sample(kernel, jnp.ones(3), interleave=True, chunk=9, **options)
    np.testing.assert_allclose(mixed.position, plain.position, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(mixed.stats["num_evals"], plain.stats["num_evals"])
    np.testing.assert_allclose(mixed.stats["lp"], plain.stats["lp"], rtol=1e-9)
    np.testing.assert_array_equal(mixed.warmup_position, plain.warmup_position)
    sample(kernel, jnp.ones(3), interleave=True, store=tmp_path / "run", **{**options, "draws": 7})
    rest = resume(tmp_path / "run", kernel, draws=20, progress=False)
    np.testing.assert_array_equal(np.asarray(rest.position), mixed.position)


def test_what_has_no_loop_is_refused():
    walk = ergodica.RandomWalk(1.0, logdensity=TARGET)
    with pytest.raises(NoLoopError, match="RandomWalk has no while_loop of its own"):
        sample(walk, jnp.ones(3), draws=5, interleave=True, progress=False)
    ising = ergodica.IsingHeatBath(ergodica.SquareLattice(4, 4), 0.4)
    with pytest.raises(NoLoopError, match="makes the steps between two draws by itself"):
        check_interleaving(ising, jax.random.key(0), None, thin=2)


def test_the_parts_of_a_step_make_the_step():
    kernel = Geometric(logdensity=COUNTS)
    key, state = jax.random.key(2), kernel.init(jnp.zeros(1))
    loop = find_loop(kernel, jax.eval_shape(lambda: key), jax.eval_shape(lambda: state))
    kept, outer = loop.begin(key, state)
    turns = 0
    while loop.goes_on(kept, outer):
        inside, inner = loop.enter(kept, outer)
        while loop.turns_on(kept, outer, inside, inner):
            inner = loop.turn(kept, outer, inside, inner)
            turns += 1
        outer = loop.leave(kept, outer, inside, inner)
    got, info = loop.end(kept, outer)
    assert turns == int(info.num_evals) == int(got.position[0]) > 0
