"""The driver: same draws whatever the chunking, no second compilation, clear errors, Ctrl-C."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from ergodica.samplers import progress
from ergodica.samplers import sample as driver
from ergodica.samplers.chunks import begin_tuning, draw_chunk, tune_chunk
from ergodica.samplers.claim import Claim, Exactness
from ergodica.samplers.gibbs.heat_bath import HeatBath
from ergodica.samplers.kernel import DensityState, Kernel
from ergodica.samplers.metropolis.random_walk import RandomWalk
from ergodica.samplers.sample import sample
from ergodica.samplers.slicing.coordinate import CoordinateSlice
from ergodica.samplers.slicing.gibbsian_polar import GibbsianPolarSlice
from ergodica.samplers.tuning.whitening import Whitening
from tests.helpers.kernels import Importance, Stretch


def normal(scale, x):
    return -0.5 * jnp.sum((x / scale) ** 2)


def target(scale):
    return Partial(normal, jnp.asarray(scale, float))


WALK = RandomWalk(jnp.ones(2), logdensity=target([1.0, 3.0]))


def run(kernel=WALK, position=None, **options):
    settings = {"draws": 50, "tune": 30, "chains": 3, "progress": False, **options}
    if position is None and "positions" not in settings:
        position = jnp.zeros(2)
    return sample(kernel, position, **settings)


def same(one, other):
    for first, second in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(first, second)


def test_draws_do_not_depend_on_the_chunks_or_on_progress(capsys):
    reference = run(seed=7)
    for options in ({"chunk": 1}, {"chunk": 13}, {"chunk": 1000}, {"progress": True}):  # one program for all
        other = run(seed=7, **options)
        same(reference.position, other.position)
        same(reference.warmup_position, other.warmup_position)
        same(dict(reference.stats), dict(other.stats))
        same(dict(reference.tuned), dict(other.tuned))
    assert "draws 50/50" in capsys.readouterr().err


def test_step_i_of_chain_c_uses_the_key_folded_with_c_and_i():
    draws = run(seed=11, tune=0, draws=4)
    key = jax.random.key(11)
    for chain in range(3):
        state = WALK.init(jnp.zeros(2))
        for step in range(4):
            state, info = WALK.step(jax.random.fold_in(jax.random.fold_in(key, chain), step), state)
            np.testing.assert_allclose(draws.position[chain, step], state.position, rtol=1e-12)
            np.testing.assert_allclose(draws.stats["acceptance_rate"][chain, step], info.acceptance_rate, rtol=1e-12)
            np.testing.assert_allclose(draws.stats["lp"][chain, step], state.logdensity, rtol=1e-12)


def test_thinning_keeps_every_kth_state_and_adds_counts_up():
    every = run(seed=3, tune=0, draws=12)
    third = run(seed=3, tune=0, draws=4, thin=3)
    np.testing.assert_array_equal(third.position, every.position[:, 2::3])
    np.testing.assert_array_equal(third.stats["num_evals"], np.full((3, 4), 3))
    accepted = every.stats["is_accepted"].reshape(3, 4, 3)
    np.testing.assert_array_equal(third.stats["is_accepted"], accepted.sum(axis=2))
    rates = every.stats["acceptance_rate"].reshape(3, 4, 3)
    np.testing.assert_allclose(third.stats["acceptance_rate"], rates.mean(axis=2), rtol=1e-12)


def test_warm_up_without_a_tuner_only_moves_the_chain():
    long = run(seed=5, tune=0, draws=80)
    split = run(seed=5, tune=30, draws=50, tuner=None)
    np.testing.assert_array_equal(split.warmup_position, long.position[:, :30])
    np.testing.assert_array_equal(split.position, long.position[:, 30:])
    assert not split.tuned
    assert run(tune=30, keep_warmup=False).warmup_position is None
    assert run(tune=7, thin=2).warmup_position.shape == (3, 3, 2)


def test_chains_differ_and_seeds_differ():
    draws = run(seed=0)
    assert len({tuple(chain.ravel()) for chain in draws.position}) == 3
    assert not np.array_equal(draws.position, run(seed=1).position)
    same(run(seed=jax.random.key(4)).position, run(seed=4).position)


def test_new_parameters_data_and_lengths_compile_nothing():
    run(draws=60, tune=60)
    compiled = draw_chunk._cache_size(), tune_chunk._cache_size()
    run(RandomWalk(jnp.array([0.3, 0.1]), logdensity=target([7.0, 0.5])), draws=41, tune=33, seed=9)
    assert (draw_chunk._cache_size(), tune_chunk._cache_size()) == compiled


def test_a_second_run_traces_the_density_for_its_starts_only():
    traced = []

    def density(x):
        traced.append(isinstance(x, jax.core.Tracer))
        return -0.5 * jnp.sum(x**2)

    run(RandomWalk(0.5, logdensity=density), chains=1)
    first = len(traced)
    run(RandomWalk(0.7, logdensity=density), chains=1)
    # One trace checks what the density returns, one call gives its value.
    assert traced[first:] == [True, False]


def test_a_start_for_each_chain():
    starts = jnp.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    tiny = RandomWalk(1e-9 * jnp.ones(2), logdensity=target([1.0, 1.0]))
    by_array = run(tiny, positions=starts, tune=0, draws=1)
    np.testing.assert_allclose(by_array.position[:, 0], starts, atol=1e-6)
    np.testing.assert_allclose(by_array.last_position, starts, atol=1e-6)
    by_key = run(tiny, lambda key: jax.random.normal(key, (2,)), tune=0, draws=1)
    assert len(np.unique(by_key.position.round(6))) == 6
    many = run(tiny, positions=jnp.arange(80.0).reshape(40, 2), chains=40, tune=0, draws=1)
    np.testing.assert_allclose(many.position[:, 0], np.arange(80.0).reshape(40, 2), atol=1e-6)


def test_pytrees_single_precision_and_python_numbers():
    def density(p):
        return -0.5 * (jnp.sum(p["a"] ** 2) + p["b"] ** 2)

    draws = run(RandomWalk(0.5, logdensity=density), {"a": jnp.zeros(3, jnp.float32), "b": jnp.float32(1)})
    assert draws.position["a"].shape == (3, 50, 3)
    assert draws.position["b"].shape == (3, 50)
    assert draws.position["a"].dtype == draws.stats["lp"].dtype == np.float32
    assert run(RandomWalk(0.5, logdensity=lambda x: -(x**2)), 0.0).position.shape == (3, 50)


def test_no_warm_up_for_independent_draws():
    kernel = HeatBath([0, 1, 2], lambda x: jnp.log(x + 1.0))
    draws = sample(kernel, 0, draws=20, chains=2, progress=False)
    assert draws.tune == 0
    assert draws.warmup_position is None
    assert draws.position.dtype == jnp.asarray(0).dtype


def test_populations_keep_their_axis():
    draws = run(Stretch(target([1.0, 3.0])), jax.random.normal(jax.random.key(0), (6, 2)), chains=2)
    assert draws.position.shape == (2, 50, 6, 2)
    assert draws.stats["lp"].shape == (2, 50, 6)
    assert draws.stats["acceptance_rate"].shape == (2, 50)


def test_tuning_that_invalidates_caches_refreshes_them_at_once():
    tuner = Whitening()
    kernel = GibbsianPolarSlice(2.0, center=jnp.zeros(2), scale=jnp.ones(2), logdensity=target([1.0, 3.0]))
    tuned = begin_tuning(tuner, kernel, jax.vmap(kernel.init)(jnp.ones((3, 2))), jnp.asarray(100, jnp.int32))
    # The first estimate is made after the tenth of 100 steps.
    for count, changed in ((9, False), (1, True)):
        first = jnp.asarray(0 if count == 9 else 9, jnp.int32)
        steps = jnp.asarray(count, jnp.int32)
        tuned, _ = tune_chunk(tuner, tuned, jax.random.key(0), first, steps, capacity=16)
        assert np.allclose(tuned.kernel.scale, 1) != changed
        state = tuned.states
        rebuilt = tuned.kernel.center + tuned.kernel.scale * state.radius[:, None] * state.direction
        np.testing.assert_allclose(rebuilt, state.position, rtol=1e-9)


def test_ctrl_c_keeps_the_draws(monkeypatch):
    class Impatient(progress.Silent):
        def show(self, standing):
            if standing.done >= 30:  # warm-up has fewer steps
                raise KeyboardInterrupt

    monkeypatch.setattr(driver, "make_reporter", lambda progress: Impatient())
    draws = run(tune=25, draws=60, chunk=10)
    assert draws.interrupted
    assert "interrupted" in repr(draws)
    assert draws.num_draws == 30
    monkeypatch.undo()
    same(draws.position, run(tune=25, draws=60).position[:, :30])
    same(draws.state.position, draws.position[:, -1])


def test_ctrl_c_before_the_first_draw_is_not_swallowed(monkeypatch):
    class Impatient(progress.Silent):
        def show(self, standing):
            raise KeyboardInterrupt

    monkeypatch.setattr(driver, "make_reporter", lambda progress: Impatient())
    with pytest.raises(KeyboardInterrupt):
        run()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"draws": 0}, ValueError, "draws has to be at least 1; got 0"),
        ({"draws": 1.5}, TypeError, "draws has to be an integer"),
        ({"chains": 0}, ValueError, "chains has to be at least 1"),
        ({"tune": -1}, ValueError, "tune has to be at least 0"),
        ({"thin": 0}, ValueError, "thin has to be at least 1"),
        ({"chunk": 0}, ValueError, "chunk has to be at least 1"),
        ({"draws": 2**31}, ValueError, "at most 2147483647 steps"),
        ({"tuner": "fast"}, TypeError, "tuner is"),
        ({"seed": "a"}, TypeError, "seed has to be an integer or a key"),
        ({"seed": jax.random.PRNGKey(0)}, TypeError, "wrap_key_data"),
        ({"positions": jnp.zeros((2, 2))}, ValueError, r"positions has shape \(2, 2\)"),
        ({"positions": jnp.zeros((3, 2)), "position": jnp.zeros(2)}, ValueError, "got both"),
        ({"position": jnp.zeros(2, int)}, TypeError, "floating-point positions"),
        ({"position": "here"}, TypeError, "made of arrays"),
        ({"position": jnp.array([jnp.nan, 0.0])}, ValueError, "not finite"),
        ({"positions": jnp.array([[0.0, 0], [0, 0], [jnp.inf, 0]])}, ValueError, "not finite"),
        ({"kernel": RandomWalk(1.0)}, ValueError, "no target"),
        ({"kernel": RandomWalk}, TypeError, "not its class"),
        ({"kernel": lambda x: x}, TypeError, "sample needs a kernel"),
        ({"kernel": RandomWalk(1.0, logdensity=lambda x: jnp.log(-jnp.sum(x) - 1))}, ValueError, "NaN"),
    ],
)
def test_wrong_arguments(options, error, message):
    with pytest.raises(error, match=message):
        run(**options)


def test_neither_start():
    with pytest.raises(ValueError, match="got neither"):
        sample(WALK, draws=1)


def test_the_error_names_the_chain():
    with pytest.raises(ValueError, match="not finite") as caught:
        run(positions=jnp.array([[0.0, 0], [jnp.inf, 0], [0, 0]]))
    assert caught.value.__notes__ == ["The error is about the start of chain 1."]
    half = RandomWalk(1.0, logdensity=lambda x: jnp.where(x[0] > 0, -x[0], -jnp.inf))
    starts = jnp.ones((50, 2)).at[37, 0].set(-1.0)
    with pytest.raises(ValueError, match="at the start of chain 37 is -inf"):
        run(half, positions=starts, chains=50)
    with pytest.raises(ValueError, match="at the start of chain 37 is NaN"):
        run(half, positions=starts.at[37, 0].set(jnp.inf), chains=50)


class BareInfo(NamedTuple):
    num_evals: jax.Array


class Changing(Kernel[DensityState, BareInfo]):
    """Returns a state of another dtype."""

    function: object = eqx.field(default=None)

    @property
    def claim(self):
        return Claim(Exactness.HEURISTIC, "is wrong")

    def init(self, position, *, key=None):
        return DensityState(position, jnp.zeros(()))

    def step(self, key, state):
        return state._replace(logdensity=jnp.zeros((), jnp.float32)), BareInfo(jnp.asarray(1))


def test_kernels_that_break_the_protocol():
    with pytest.raises(TypeError, match=r"step changes the state: .logdensity was float64\[\] .* float32\[\]"):
        run(Changing())
    with pytest.raises(TypeError, match="function is a function"):
        run(Changing(lambda x: x))


def test_weighted_kernels_have_to_report_weights():
    class Weightless(Importance):
        def step(self, key, state):
            return state, BareInfo(jnp.asarray(1))

    with pytest.raises(TypeError, match="field log_weight"):
        run(Weightless(1.0, target(1.0)))
    assert run(Importance(2.0, target(1.0))).stats["log_weight"].shape == (3, 50)


def test_lines_show_what_went_wrong(capsys):
    def density(x):
        return jnp.where(x[0] > 2, jnp.nan, -0.5 * jnp.sum(x**2))

    run(RandomWalk(2.0, logdensity=density), draws=400, progress=True, tuner=None)
    text = capsys.readouterr().err
    assert "warm-up 30/30" in text
    assert "accepted 0." in text
    assert "invalid" in text
    assert "R-hat" in text


@pytest.mark.slow
def test_the_draws_have_the_right_law():
    """Means and variances of 4 x 4000 draws, within 6 standard errors by batch means.

    False alarm: four normal statistics beyond 6 sigma with 40 batches (Student's t, 39 degrees): < 4 * 6e-7 < 3e-6.
    """
    for kernel in (WALK, CoordinateSlice(jnp.ones(2), logdensity=target([1.0, 3.0]))):
        draws = run(kernel, draws=4000, tune=1000, chains=4, seed=2)
        scaled = draws.position / np.array([1.0, 3.0])
        for values, truth in ((scaled, 0.0), (scaled**2, 1.0)):
            batches = values.reshape(40, 400, 2).mean(axis=1)
            error = batches.std(axis=0, ddof=1) / np.sqrt(40)
            assert np.all(np.abs(batches.mean(axis=0) - truth) < 6 * error)
