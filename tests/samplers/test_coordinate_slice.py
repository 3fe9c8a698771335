import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.tree_util import Partial

from ergodica.samplers.slicing.affine import flat_like
from ergodica.samplers.slicing.coordinate import CoordinateSlice
from ergodica.validation.cases.slicing import CASES

CASE = next(case for case in CASES if case.name == "coordinate-slice")


def quadratic(precision, x):
    return -0.5 * jnp.sum(precision * (x["a"] ** 2 + x["b"] ** 4))


def pytree_target(scale=1.0):
    return Partial(quadratic, jnp.asarray(scale))


START = {"a": jnp.array([0.3, -0.2]), "b": jnp.array(0.5)}
SOME = [("systematic", "stepping_out"), ("permutation", "doubling")]
OPTIONS = list(itertools.product(["systematic", "permutation", "random"], ["stepping_out", "doubling"]))


@pytest.mark.parametrize(("scan", "method"), SOME)
@pytest.mark.slow
def test_protocol(scan, method, getkey):
    kernel = CoordinateSlice({"a": [1.0, 2.0], "b": 0.5}, scan=scan, method=method).bind(pytree_target())
    state = kernel.init(START)
    key = getkey()
    step = jax.jit(kernel.step)
    once, info = step(key, state)
    again, _ = step(key, state)
    jax.tree.map(np.testing.assert_array_equal, once, again)
    assert jax.tree.structure(once) == jax.tree.structure(state)
    np.testing.assert_allclose(once.logdensity, pytree_target()(once.position), rtol=1e-12)
    assert int(info.num_evals) >= 3
    keys = jax.random.split(getkey(), 5)
    states = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (5, *leaf.shape)), state)
    many, _ = jax.jit(jax.vmap(kernel.step))(keys, states)
    for i in range(2):
        alone, _ = step(keys[i], state)
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-12), many, alone)
    assert kernel.claim.reversible == (scan != "systematic")


def test_bind_unbound_refresh():
    kernel = CoordinateSlice(1.0).bind(pytree_target())
    bare = kernel.unbound()
    assert bare.logdensity is None
    with pytest.raises(ValueError, match="no target"):
        bare.init(START)
    state = kernel.init(START)
    other = kernel.bind(pytree_target(3.0)).refresh(state)
    np.testing.assert_allclose(other.logdensity, 3 * state.logdensity)

    def body(carry, key):
        leaves, state = carry
        state, _ = leaves.bind(pytree_target()).step(key, state)
        return (leaves, state), state.logdensity

    (_, state), values = lax.scan(body, (bare, state), jax.random.split(jax.random.key(0), 3))
    assert values.shape == (3,)


def test_new_width_and_new_data_do_not_retrace():
    traces = 0

    def counted(scale, x):
        nonlocal traces
        traces += 1
        return -0.5 * jnp.sum(scale * x**2)

    step = jax.jit(lambda kernel, key, state: kernel.step(key, state))
    x = jnp.zeros(2)
    seen = set()
    for width, scale in ((1.0, 1.0), (2.0, 1.0), (2.0, 5.0)):
        kernel = CoordinateSlice(width).bind(Partial(counted, jnp.asarray(scale)))
        state = kernel.init(x)
        before = traces
        step(kernel, jax.random.key(0), state)
        seen.add(traces - before)
    assert seen == {0, 1} or seen == {0, 2}


def test_vmap_over_kernels():
    kernels = jax.vmap(lambda w: CoordinateSlice(w).unbound())(jnp.array([0.5, 1.0, 2.0]))
    state = CoordinateSlice(1.0).bind(lambda x: -0.5 * jnp.sum(x**2)).init(jnp.ones(3))

    def one(kernel, key):
        return kernel.bind(lambda x: -0.5 * jnp.sum(x**2)).step(key, state)[0].position

    out = jax.jit(jax.vmap(one))(kernels, jax.random.split(jax.random.key(0), 3))
    assert out.shape == (3, 3)


@pytest.mark.parametrize("method", ["stepping_out", "doubling"])
def test_density_is_evaluated_once_a_turn_and_never_in_the_condition(method):
    calls = []

    def counted(x):
        jax.debug.callback(lambda: calls.append(0))
        return -0.5 * jnp.sum(x**2) - jnp.sum(x**4)

    kernel = CoordinateSlice(0.7, method=method).bind(counted)
    state = kernel.init(jnp.ones(3))
    states = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (4, *leaf.shape)), state)
    jax.effects_barrier()
    calls.clear()
    _, info = jax.jit(jax.vmap(kernel.step))(jax.random.split(jax.random.key(0), 4), states)
    jax.effects_barrier()
    # In lock-step: as many turns as the busiest chain needs, each with one batched evaluation.
    assert len(calls) == int(jnp.max(info.num_evals))


@pytest.mark.parametrize("method", ["stepping_out", pytest.param("doubling", marks=pytest.mark.slow)])
def test_single_precision_ends(method):
    # Values near 1e5 leave a resolution of 0.008, so that evaluations of one point may disagree by that much.
    def rough(x):
        return jnp.float32(-1e5) - jnp.sum(x**2) * jnp.float32(0.5)

    kernel = CoordinateSlice(0.3, method=method, max_steps=None).bind(rough)
    states = jax.vmap(kernel.init)(jax.random.normal(jax.random.key(0), (64, 2), jnp.float32))
    assert states.logdensity.dtype == jnp.float32
    run = jax.jit(jax.vmap(lambda key, state: kernel.run(key, state, 50)))
    states, info = run(jax.random.split(jax.random.key(1), 64), states)
    assert states.position.dtype == jnp.float32
    assert np.all(np.isfinite(states.position))
    assert int(jnp.max(info.num_evals)) < 50 * 2 * 150


def test_invalid_values_count_as_outside():
    def cut(x):
        return jnp.where(x[0] > 1, jnp.nan, jnp.where(x[0] < -1, jnp.inf, 0.0))

    kernel = CoordinateSlice(1.0).bind(cut)
    states = jax.vmap(kernel.init)(jnp.zeros((200, 1)))
    states, info = jax.jit(jax.vmap(lambda key, s: kernel.run(key, s, 5)))(
        jax.random.split(jax.random.key(0), 200), states
    )
    assert np.all(np.abs(states.position) <= 1)
    assert int(jnp.sum(info.num_invalid)) > 0


def test_scalar_position_and_width_forms(getkey):
    def normal(x):
        return -0.5 * jnp.sum(x**2)

    kernel = CoordinateSlice(2.0).bind(normal)
    assert jax.eval_shape(kernel.step, getkey(), kernel.init(jnp.asarray(0.1)))[0].position.shape == ()
    x = jnp.ones((2, 2), jnp.float32)
    for width in (1.5, [1.5, 1.5, 1.5, 1.5], np.full((2, 2), 1.5), np.full(4, 1.5), np.full((2, 1), 1.5)):
        widths = flat_like("width", CoordinateSlice(width).width, x, "CoordinateSlice")
        np.testing.assert_array_equal(widths, np.full(4, 1.5))
        assert widths.dtype == jnp.float32
    nested = CoordinateSlice({"a": [1.0, 2.0], "b": 3.0}).width
    np.testing.assert_array_equal(flat_like("width", nested, START, "CoordinateSlice"), [1, 2, 3])


def test_bad_input():
    with pytest.raises(ValueError, match="width has to be greater than 0"):
        CoordinateSlice(0.0)
    with pytest.raises(ValueError, match="scans"):
        CoordinateSlice(scan="backwards")
    with pytest.raises(ValueError, match="methods"):
        CoordinateSlice(method="elliptical")
    with pytest.raises(ValueError, match="max_steps"):
        CoordinateSlice(max_steps=0)
    kernel = CoordinateSlice([1.0, 2.0]).bind(lambda x: -jnp.sum(x**2))
    with pytest.raises(ValueError, match="vector with 3 entries"):
        kernel.init(jnp.ones(3))
    with pytest.raises(TypeError, match="floating-point"):
        kernel.init(jnp.ones(2, int))
    with pytest.raises(ValueError, match="-inf"):
        kernel.bind(lambda x: jnp.log(jnp.minimum(x[0], 0.0) * 0)).init(jnp.ones(2))


def test_exponential_law():
    # Proven false-alarm probability 1e-6: the regression of x' on x has slope 1/2.
    outcome = CASE.checks[2].run(CASE.example(), jax.random.key(5))
    assert outcome.passed, outcome.details


@pytest.mark.slow
@pytest.mark.parametrize("check", CASE.checks, ids=lambda check: check.name)
@pytest.mark.catalogue
def test_catalogue(check):
    # Proven false-alarm probability 1e-6 for each check.
    outcome = check.run(CASE.example(), jax.random.key(5))
    assert outcome.passed, outcome.details


@pytest.mark.slow
@pytest.mark.catalogue
@pytest.mark.parametrize(("scan", "method"), OPTIONS)
@pytest.mark.parametrize("check", CASE.checks[:2], ids=lambda check: check.name)
def test_catalogue_of_all_options(check, scan, method):
    # Proven false-alarm probability 1e-6 for each check.
    kernel = CoordinateSlice(0.9, scan=scan, method=method, max_steps=4, max_doublings=3, max_shrink=3)
    outcome = check.run(kernel, jax.random.key(6))
    assert outcome.passed, outcome.details
