import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ergodica.samplers.slicing.hyperrectangle import Box, HyperrectangleSlice, _steepest
from ergodica.validation.cases.slicing import CASES, PAIRS, exchangeability_check
from ergodica.validation.targets.continuous import banana3
from tests.traps.slicing import CentresTheBox, CutsWhereItIsFar, ShrinksToTheCentre

ALL = next(case for case in CASES if case.name == "hyperrectangle-slice")
STEEPEST = next(case for case in CASES if case.name == "hyperrectangle-slice-steepest")


def banana(x):
    return -0.5 * (x["a"] ** 2 + jnp.sum((x["b"] - x["a"] ** 2) ** 2))


START = {"a": jnp.array(0.5), "b": jnp.array([0.1, -0.2])}


@pytest.mark.parametrize("shrink", ["all", pytest.param("steepest", marks=pytest.mark.slow)])
def test_protocol(shrink, getkey):
    kernel = HyperrectangleSlice({"a": 2.0, "b": [3.0, 4.0]}, shrink=shrink).bind(banana)
    state = kernel.init(START)
    key = getkey()
    step = jax.jit(kernel.step)
    once, info = step(key, state)
    jax.tree.map(np.testing.assert_array_equal, once, step(key, state)[0])
    assert jax.tree.structure(once) == jax.tree.structure(state)
    np.testing.assert_allclose(once.logdensity, banana(once.position), rtol=1e-12)
    assert not np.any(once.position["b"] == state.position["b"])
    assert int(info.num_evals) == int(info.num_shrink) + 1
    assert int(info.num_expansions) == 0
    keys = jax.random.split(getkey(), 5)
    many, _ = jax.jit(jax.vmap(lambda key: kernel.step(key, state)))(keys)
    for i in range(2):
        alone, _ = step(keys[i], state)
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-12), many, alone)
    bare = kernel.unbound()
    assert bare.logdensity is None
    np.testing.assert_array_equal(bare.bind(banana).refresh(once).logdensity, once.logdensity)
    assert kernel.claim.reversible


def test_cut_keeps_the_current_point_and_the_other_coordinates():
    box = Box(jnp.array([-0.5, -0.2, -0.9]), jnp.array([0.5, 0.8, 0.1]))
    offset = jnp.array([-0.3, 0.4, -0.1])
    every = box.cut(offset, jnp.ones(3, bool))
    np.testing.assert_allclose(every.lower, [-0.3, -0.2, -0.1])
    np.testing.assert_allclose(every.upper, [0.5, 0.4, 0.1])
    one = box.cut(offset, jnp.array([False, True, False]))
    np.testing.assert_allclose(one.lower, box.lower)
    np.testing.assert_allclose(one.upper, [0.5, 0.4, 0.1])


def test_coordinate_that_is_cut():
    np.testing.assert_array_equal(_steepest(jnp.array([1.0, 3.0, 2.0])), [False, True, False])
    for unknown in ([0.0, 0.0, 0.0], [1.0, np.nan, 2.0], [1.0, np.inf, 2.0]):
        np.testing.assert_array_equal(_steepest(jnp.array(unknown)), [True, True, True])


@pytest.mark.slow
@pytest.mark.parametrize("shrink", ["all", "steepest"])
def test_boxes_are_those_of_the_definition(shrink):
    # Follow the points that the density is asked about, and shrink a box by hand.
    precision = np.array([1.0, 30.0])
    asked = []

    def target(x):
        jax.debug.callback(lambda x: asked.append(np.asarray(x)), x, ordered=True)
        return -0.5 * jnp.sum(precision * x**2)

    width = np.array([9.0, 7.0])
    kernel = HyperrectangleSlice(width, shrink=shrink).bind(target)
    start = np.array([0.3, -0.1])
    state = kernel.init(jnp.asarray(start))
    step = jax.jit(kernel.step)
    longest = 0
    for seed in range(30):
        jax.effects_barrier()
        asked.clear()
        moved, info = step(jax.random.key(seed), state)
        jax.effects_barrier()
        points = np.array(asked)
        assert len(points) == int(info.num_evals)
        np.testing.assert_allclose(points[-1], moved.position, atol=1e-12)
        lower, upper = start - width, start + width
        longest = max(longest, len(points))
        for index, point in enumerate(points):
            assert np.all((lower <= point) & (point <= upper))
            cut = np.array([True, True])
            if shrink == "steepest":
                # Of the first box only the sides are known, of the others not even these.
                steepest = np.argmax(width * precision * np.abs(point))
                cut = (np.arange(2) == steepest) & (index == 0)
            lower = np.where(cut & (point < start), np.maximum(lower, point), lower)
            upper = np.where(cut & (point >= start), np.minimum(upper, point), upper)
    assert longest > 4


def test_gives_up_and_stays(getkey):
    kernel = HyperrectangleSlice(1e6, max_shrink=2).bind(lambda x: -jnp.sum(x**2))
    state = kernel.init(jnp.ones(3))
    moved, info = jax.jit(kernel.step)(getkey(), state)
    np.testing.assert_array_equal(moved.position, state.position)
    np.testing.assert_array_equal(moved.logdensity, state.logdensity)
    assert bool(info.cap_hit)
    assert (int(info.num_evals), int(info.num_shrink)) == (2, 2)


@pytest.mark.slow
def test_edges_and_invalid_values(getkey):
    # Outside of the support there is no gradient to go by, and every coordinate is cut.
    def inside(x):
        return jnp.where(jnp.max(jnp.abs(x)) < 1, jnp.sum(jnp.log1p(-(x**2))), jnp.where(x[0] > 0, jnp.nan, -jnp.inf))

    kernel = HyperrectangleSlice(50.0, shrink="steepest").bind(inside)
    states = jax.vmap(kernel.init)(jnp.zeros((200, 2), jnp.float32))
    run = jax.jit(jax.vmap(lambda key, s: kernel.run(key, s, 10)))
    states, info = run(jax.random.split(getkey(), 200), states)
    assert states.position.dtype == jnp.float32
    assert np.all(np.abs(states.position) < 1)
    assert int(jnp.sum(info.num_invalid)) > 0
    assert not np.any(info.cap_hit)


def test_bad_input():
    with pytest.raises(ValueError, match="width has to be greater than 0"):
        HyperrectangleSlice(0.0)
    with pytest.raises(ValueError, match="ways to shrink"):
        HyperrectangleSlice(shrink="gently")
    with pytest.raises(ValueError, match="max_shrink"):
        HyperrectangleSlice(max_shrink=0)
    kernel = HyperrectangleSlice([1.0, 2.0]).bind(lambda x: -jnp.sum(x**2))
    with pytest.raises(ValueError, match="vector with 3 entries"):
        kernel.init(jnp.ones(3))
    with pytest.raises(TypeError, match="floating-point"):
        kernel.init(jnp.ones(2, int))
    with pytest.raises(ValueError, match="-inf"):
        kernel.bind(lambda x: jnp.log(jnp.minimum(x[0], 0.0) * 0)).init(jnp.ones(2))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kernel", "check"),
    [
        *(pytest.param(ALL.example(), ALL.checks[i], marks=pytest.mark.catalogue) for i in (0, 1, 3)),
        *(pytest.param(STEEPEST.example(), STEEPEST.checks[i], marks=pytest.mark.catalogue) for i in (1, 2, 3)),
        (HyperrectangleSlice(3.0, max_shrink=2), ALL.checks[1]),
        (HyperrectangleSlice(3.0, shrink="steepest", max_shrink=2), ALL.checks[1]),
    ],
)
def test_catalogue(kernel, check):
    # Proven false-alarm probability 1e-6 for each check.
    outcome = check.run(kernel, jax.random.key(5))
    assert outcome.passed, outcome.details


def test_uniform_law_on_an_interval():
    # Proven false-alarm probability 1e-6: the regression of x' on x has slope 1/2.
    outcome = ALL.checks[4].run(ALL.example(), jax.random.key(5))
    assert outcome.passed, outcome.details


@pytest.mark.slow
@pytest.mark.parametrize("trap", [CentresTheBox, ShrinksToTheCentre, CutsWhereItIsFar])
def test_the_catalogue_rejects_wrong_variants(trap):
    assert not ALL.checks[1].run(trap(4.0), jax.random.key(0)).passed


@pytest.mark.slow
def test_exchangeability_sees_a_scan_in_one_order():
    from ergodica.samplers.slicing.coordinate import CoordinateSlice

    check = exchangeability_check(banana3(), PAIRS)
    assert not check.run(CoordinateSlice(4.0), jax.random.key(0)).passed
    outcome = check.run(CoordinateSlice(4.0, scan="permutation"), jax.random.key(0))
    assert outcome.passed, outcome.details
