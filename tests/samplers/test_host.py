"""The host that runs the steps changes nothing but the time."""

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import ergodica
from ergodica.samplers.kernel import replace
from ergodica.samplers.lowering.errors import CannotLower
from ergodica.samplers.lowering.lower import lower
from ergodica.samplers.lowering.run import compile_run
from ergodica.samplers.sample import resume, sample
from ergodica.samplers.tuning.tuner import Tuner


def density(scale, x):
    return -0.5 * jnp.sum((x / scale) ** 2)


TARGET = Partial(density, jnp.array([1.0, 2.0, 3.0]))
OPTIONS = {"draws": 30, "tune": 20, "chains": 3, "seed": 2, "progress": False}


@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        (ergodica.GibbsianPolarSlice(logdensity=TARGET), {}),
        (ergodica.RandomWalk(0.8, logdensity=TARGET), {"thin": 3, "tuner": None}),
        (
            ergodica.BlackJAXKernel(blackjax.nuts, logdensity=TARGET, step_size=0.5, inverse_mass_matrix=jnp.ones(3)),
            {"tune": 0},
        ),
        (ergodica.IsingHeatBath(ergodica.SquareLattice(4, 4), 0.4), {"tune": 0, "thin": 2}),
    ],
    ids=["polar", "thinned", "nuts", "compiled core"],
)
def test_draws_agree(kernel, options):
    start = jnp.ones((4, 4), jnp.int8) if isinstance(kernel, ergodica.IsingHeatBath) else jnp.ones(3)
    one, other = (sample(kernel, start, host=host, **{**OPTIONS, **options}) for host in ("jax", "numba"))
    np.testing.assert_allclose(other.position, one.position, rtol=1e-9, atol=1e-12)
    assert set(one.stats) == set(other.stats)
    for name in one.stats:
        np.testing.assert_allclose(other.stats[name], one.stats[name], rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(other.state.position, one.state.position, rtol=1e-9, atol=1e-12)
    assert (one.host, other.host) == ("jax", "numba")


def test_a_run_on_disk_goes_on_with_its_host(tmp_path):
    kernel = ergodica.GibbsianPolarSlice(logdensity=TARGET)
    whole = sample(kernel, jnp.ones(3), host="numba", **OPTIONS)
    sample(kernel, jnp.ones(3), host="numba", store=tmp_path / "run", **{**OPTIONS, "draws": 12})
    rest = resume(tmp_path / "run", kernel, draws=30, progress=False)
    np.testing.assert_array_equal(np.asarray(rest.position), whole.position)
    assert rest.host == "numba"


def test_warm_up_is_compiled_and_learns_the_same(monkeypatch):
    kernel = ergodica.GibbsianPolarSlice(logdensity=TARGET)
    one = sample(kernel, jnp.ones(3), host="jax", **OPTIONS)

    def refuse(*given, **options):
        raise AssertionError("warm-up went through XLA")

    monkeypatch.setattr("ergodica.samplers.run.tune_chunk", refuse)
    other = sample(kernel, jnp.ones(3), host="numba", chunk=7, **OPTIONS)
    assert set(one.tuned) == {"width", "center", "scale"}
    for name, value in one.tuned.items():
        np.testing.assert_allclose(other.tuned[name], value, rtol=1e-9)
    np.testing.assert_allclose(other.warmup_position, one.warmup_position, rtol=1e-9)


class Spectral(Tuner):
    """Sets the scale by a singular value, which the compiled host does not have."""

    def init(self, kernel, states, num_steps):
        return jnp.zeros(())

    def update(self, adaptation, kernel, states, infos, step):
        largest = jnp.linalg.svd(states.position, compute_uv=False)[0]
        return adaptation, replace(kernel, scale=largest.astype(kernel.scale.dtype))


def test_a_tuner_that_cannot_be_compiled_runs_under_xla_and_is_named():
    kernel = ergodica.RandomWalk(0.8, logdensity=TARGET)
    draws = sample(kernel, jnp.ones(3), host="numba", tuner=Spectral(), **{**OPTIONS, "draws": 2, "tune": 2})
    assert draws.host == "numba"
    assert "XLA makes the steps of warm-up: cannot lower the primitive 'svd'" in draws.host_reason
    assert set(draws.tuned) == {"scale"}


def test_kernels_of_one_kind_share_a_loop_and_keep_their_parameters():
    kernels = [ergodica.RandomWalk(scale, logdensity=TARGET) for scale in (0.1, 5.0)]
    states = [kernel.init(jnp.ones(3)) for kernel in kernels]
    one, other = (compile_run(kernel, state) for kernel, state in zip(kernels, states, strict=True))
    assert one.compiled is other.compiled
    rates = [
        run(jax.random.key(0), state, 200).collected.stats["acceptance_rate"].mean()
        for run, state in zip((one, other), states, strict=True)
    ]
    assert rates[0] > 0.8 > 0.3 > rates[1]


def test_what_cannot_be_compiled_is_named():
    def printing(x):
        jax.debug.print("{}", x[0])
        return -jnp.sum(x**2)

    with pytest.raises(CannotLower, match="debug_"):
        sample(ergodica.RandomWalk(1.0, logdensity=printing), jnp.ones(3), host="numba", **OPTIONS)
    with pytest.raises(ValueError, match="host is one of 'auto', 'jax', 'numba'; got 'xla'"):
        sample(ergodica.RandomWalk(1.0, logdensity=TARGET), jnp.ones(3), host="xla", **OPTIONS)


MATRIX = np.random.default_rng(0).normal(size=(2000, 20))


@pytest.mark.parametrize(
    ("logdensity", "host", "reason"),
    [
        (TARGET, "numba", "no array of a step has more than"),
        (lambda x: -jnp.sum(jnp.tanh(MATRIX @ jnp.tile(x, 7)[:20]) ** 2), "jax", "an array of 40000 entries"),
        (lambda x: -jnp.sum(jnp.abs(jnp.fft.fft(x)) ** 2), "jax", "complex128"),
    ],
    ids=["small", "large", "not lowered"],
)
def test_the_choice_is_explained(logdensity, host, reason):
    kernel = ergodica.RandomWalk(1.0, logdensity=logdensity)
    draws = sample(kernel, jnp.ones(3), host="auto", **{**OPTIONS, "tune": 0, "draws": 2})
    assert draws.host == host
    assert reason in draws.host_reason
    assert draws.to_arviz().attrs["host"] == host


def test_other_generators_of_keys_are_refused_not_misread():
    """A key of another generator has other words; read as a threefry key it would give other draws, silently."""
    kernel, key = ergodica.RandomWalk(1.0, logdensity=TARGET), jax.random.key(0, impl="rbg")
    with pytest.raises(TypeError, match=r"threefry keys only; got key<rbg>"):
        sample(kernel, jnp.ones(3), host="numba", **{**OPTIONS, "seed": key})
    with pytest.raises(TypeError, match="threefry keys only"):
        lower(lambda key: jax.random.normal(key), jax.random.key(0))(key)
    assert sample(kernel, jnp.ones(3), host="auto", **{**OPTIONS, "seed": key}).host == "jax"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda run, key, state: run(key, state, 0), ValueError, "draws has to be at least 1; got 0"),
        (lambda run, key, state: run(jax.random.key_data(key), state, 2), TypeError, "typed keys"),
        (
            lambda run, key, state: run(key, state._replace(position=jnp.ones(2)), 2),
            TypeError,
            "a leaf of the state is",
        ),
    ],
)
def test_bad_calls_of_a_compiled_run(call, error, message):
    kernel = ergodica.RandomWalk(1.0, logdensity=TARGET)
    state = kernel.init(jnp.ones(3))
    with pytest.raises(error, match=message):
        call(compile_run(kernel, state), jax.random.key(0), state)


def test_thin_is_checked():
    kernel = ergodica.RandomWalk(1.0, logdensity=TARGET)
    with pytest.raises(ValueError, match="thin has to be at least 1"):
        compile_run(kernel, kernel.init(jnp.ones(3)), thin=0)
