import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from ergodica.samplers.slicing.coordinate import CoordinateSlice
from ergodica.samplers.slicing.turns import take_turns
from ergodica.samplers.slicing.univariate import Doubling, SteppingOut, choose_method, update_along_line
from ergodica.validation.cases.slicing import BIMODAL
from ergodica.validation.stationary_start import binomial_pvalue
from ergodica.validation.targets.continuous import bimodal1
from tests.traps.slicing import (
    CapsEachSide,
    ShrinksToTheWrongSide,
    SkipsTheDoublingTest,
    TestsTheShrunkenInterval,
    WidthFromPosition,
)

TRUTH = 0.3013020656


def compiled(method, lower=-np.inf):
    """Return the start and the advance of a search, compiled."""

    def start(place, integer, uniform):
        return method.start(jnp.asarray(place), jnp.asarray(integer, jnp.int32), uniform, lower)

    def advance(search, inside, uniform):
        return method.advance(search, jnp.zeros(()), inside, uniform, lower)

    return jax.jit(start), jax.jit(advance)


def drive(method, inside, place, integer, uniforms, lower=-np.inf):
    """Answer the questions of a search; return the offsets that it asked about, and the search at its end."""
    start, advance = compiled(method, lower)
    uniforms = iter(uniforms)
    search = start(place, integer, next(uniforms))
    asked = []
    while not bool(search.done):
        asked.append(float(search.offset))
        search = advance(search, bool(inside(asked[-1])), next(uniforms))
    return asked, search


def neal_doubling(inside, place, coins, uniforms, max_doublings):
    """Neal's Figures 4, 5 and 6, word for word; returns the sequence of proposals and the point found."""
    left, right = -place, 1 - place
    k, coins = max_doublings, iter(coins)
    while k > 0 and (inside(left) or inside(right)):
        if next(coins):
            left -= right - left
        else:
            right += right - left
        k -= 1
    low, high, tried = left, right, []
    for u in uniforms:
        y = low + (high - low) * u
        tried.append(y)
        if inside(y):
            a, b, differ, passed = left, right, False, True
            while b - a > 1.1:
                middle = (a + b) / 2
                differ = differ or ((middle > 0) != (middle > y))
                a, b = (a, middle) if y < middle else (middle, b)
                if differ and not inside(a) and not inside(b):
                    passed = False
                    break
            if passed:
                return tried, y
        low, high = (y, high) if y < 0 else (low, y)
    raise AssertionError


def neal_stepping_out(inside, place, budget, uniforms, max_steps):
    left, right, j, k = -place, 1 - place, budget, max_steps - 1 - budget
    while j > 0 and inside(left):
        left, j = left - 1, j - 1
    while k > 0 and inside(right):
        right, k = right + 1, k - 1
    for u in uniforms:
        y = left + (right - left) * u
        if inside(y):
            return left, right, y
        left, right = (y, right) if y < 0 else (left, y)
    raise AssertionError


def random_slice(rng):
    """Return a union of intervals around 0, as an indicator."""
    cuts = np.concatenate([[-rng.uniform(0.01, 3)], [rng.uniform(0.01, 3)]])
    more = [(c, c + rng.uniform(0.1, 4)) for c in rng.uniform(-15, 15, 4)]
    return lambda s: cuts[0] < s < cuts[1] or any(a < s < b for a, b in more)


@pytest.mark.parametrize("max_doublings", [0, 1, 3, 6])
def test_doubling_is_neals(max_doublings):
    rng = np.random.default_rng(1)
    start, advance = compiled(Doubling(max_doublings))
    for _ in range(40):
        inside, place = random_slice(rng), rng.uniform()
        cell = int(rng.integers(2**max_doublings))
        coins = [(cell >> i) & 1 for i in range(max_doublings)]
        shrinking = rng.uniform(size=200)

        # The search takes a uniform number a turn and uses those of the turns that propose.
        state = start(place, cell, shrinking[0])
        used, tried = 0, []
        while not bool(state.done):
            if int(state.phase) == 2 and not tried:
                tried.append(float(state.offset))
            before = int(state.num_shrink)
            fresh = shrinking[used + 1] if int(state.phase) != 0 else shrinking[0]
            state = advance(state, bool(inside(float(state.offset))), fresh)
            if int(state.num_shrink) > before:
                used += 1
                tried.append(float(state.offset))
        expected, found = neal_doubling(inside, place, coins, shrinking, max_doublings)
        np.testing.assert_allclose(float(state.offset), found, atol=1e-12)
        np.testing.assert_allclose(tried[: len(expected)], expected, atol=1e-12)


@pytest.mark.parametrize("max_steps", [1, 2, 5, 40])
def test_stepping_out_is_neals(max_steps):
    rng = np.random.default_rng(2)
    start, advance = compiled(SteppingOut(max_steps))
    for _ in range(40):
        inside, place, budget = random_slice(rng), rng.uniform(), int(rng.integers(max_steps))
        proposals = rng.uniform(size=100)
        left, right, found = neal_stepping_out(inside, place, budget, proposals, max_steps)
        search = start(place, budget, proposals[0])
        while not bool(search.done):
            rejected = int(search.num_shrink) + (int(search.phase) == 2)
            search = advance(search, bool(inside(float(search.offset))), proposals[rejected])
        np.testing.assert_allclose(float(search.offset), found, atol=1e-12)
        assert int(search.num_expansions) == round((right - left) - 1) or int(search.num_shrink) > 0


def test_no_evaluation_is_wasted():
    asked, search = drive(SteppingOut(8), lambda s: -1.7 < s < 1.2, 0.4, 3, np.full(50, 0.45))
    np.testing.assert_allclose(asked[:5], [-0.4, -1.4, -2.4, 0.6, 1.6])
    assert len(asked) == 6
    assert int(search.num_expansions) == 3
    # One width in all: nothing to widen, so the first question is about a proposal.
    asked, _ = drive(SteppingOut(1), lambda s: abs(s) < 5, 0.25, 0, [0.5, 0.5])
    np.testing.assert_allclose(asked, [0.25])
    # Doubling asks about each end once, and about none that an end in the slice makes superfluous: here the left end
    # stays in the slice through all four doublings.
    asked, _ = drive(Doubling(4), lambda s: abs(s) < 0.6, 0.5, 0, np.full(9, 0.5))
    np.testing.assert_allclose(asked[:2], [-0.5, 7.5])


def test_lower_end_of_the_support_is_never_evaluated():
    rng = np.random.default_rng(3)
    for lower in (-0.1, -0.9, -3.3):
        asked, search = drive(
            SteppingOut(16),
            lambda s: s < 2,  # the whole half line to the left of 2
            rng.uniform(),
            int(rng.integers(16)),
            rng.uniform(size=200),
            lower,
        )
        assert min(asked) > lower
        assert lower < float(search.offset) < 2


def test_gives_up_and_stays():
    asked, search = drive(SteppingOut(1, max_shrink=3), lambda s: False, 0.5, 0, [0.1, 0.9, 0.3, 0.2])
    assert len(asked) == 3
    assert float(search.offset) == 0
    assert not bool(search.accepted)


def test_update_along_line_returns_the_density_of_the_point_found(getkey):
    def logdensity(s):
        return -0.5 * jnp.square(s), jnp.asarray(False)

    run = jax.jit(jax.vmap(lambda key: update_along_line(key, SteppingOut(None), logdensity, jnp.zeros(()))))
    offset, value, info = run(jax.random.split(getkey(), 100))
    np.testing.assert_allclose(value, -0.5 * offset**2)
    assert np.all(np.asarray(info.num_evals) >= 3)
    assert not np.any(info.cap_hit)


@pytest.mark.parametrize("shape", [(), (2,)])
def test_turns_use_fresh_uniforms_and_keep_dtypes(shape):
    # Ten integers, so that they do not fit into one vector; seven turns in blocks of three.
    begin = {
        "used": jnp.zeros((8, *shape)),
        "count": [jnp.asarray(i, jnp.int32) for i in range(10)],
        "flag": jnp.asarray(False),
        "half": jnp.asarray(0.5, jnp.float32),
    }

    def turn(carry, uniforms):
        count = [number + 1 for number in carry["count"]]
        used = carry["used"].at[carry["count"][0]].set(uniforms)
        return carry | {"used": used, "count": count, "flag": ~carry["flag"]}

    def run(key, last):
        return take_turns(
            lambda carry: carry["count"][0] < last, turn, begin, key=key, dtype=float, block=3, shape=shape
        )

    key = jax.random.key(0)
    end = jax.jit(run)(key, 7)
    assert jax.tree.map(jnp.result_type, end) == jax.tree.map(jnp.result_type, begin)
    assert [int(number) for number in end["count"]] == list(range(7, 17))
    assert bool(end["flag"])
    assert float(end["half"]) == 0.5
    blocks = [jax.random.uniform(jax.random.fold_in(key, i), (3, *shape)) for i in range(3)]
    np.testing.assert_array_equal(end["used"][:7], jnp.concatenate(blocks)[:7])
    # Chains that end earlier than others are not moved any more.
    many = jax.jit(jax.vmap(run, (None, 0)))(key, jnp.array([2, 7]))
    np.testing.assert_array_equal(many["used"][1], end["used"])
    np.testing.assert_array_equal(many["used"][0, :2], end["used"][:2])
    assert not np.any(many["used"][0, 2:])


def test_bad_input():
    with pytest.raises(ValueError, match="max_steps"):
        SteppingOut(0)
    with pytest.raises(ValueError, match="max_shrink"):
        Doubling(3, 0)
    with pytest.raises(ValueError, match="at most 30"):
        Doubling(31)
    with pytest.raises(ValueError, match="stepping_out"):
        choose_method("elliptical", 1, 1, 1, "Kernel")


def fraction_left(kernel, key, chains, steps):
    """Return how many of many chains that start in the target are below -0.9 after some steps."""
    target = bimodal1()
    kernel = kernel.bind(target.logdensity)

    @jax.jit
    def run(key):
        draw_key, step_key = jax.random.split(key)
        states = jax.vmap(kernel.init)(target.sample(draw_key, chains))

        def body(states, key):
            states, info = jax.vmap(kernel.step)(jax.random.split(key, chains), states)
            return states, jnp.mean(info.cap_hit)

        states, caps = lax.scan(body, states, jax.random.split(step_key, steps))
        return jnp.sum(states.position[:, 0] < -0.9), jnp.mean(caps)

    count, caps = run(key)
    return int(count), float(caps)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kernel", "caps"),
    [
        (CoordinateSlice(0.8, max_steps=3), 0.0),
        (CoordinateSlice(1.5, max_steps=2, max_shrink=2), 0.10),
        (CoordinateSlice(0.8, max_steps=3, max_shrink=2), 0.05),
        (CoordinateSlice(3.0, method="doubling"), 0.0),
    ],
    ids=["split", "capped-1.5", "capped-0.8", "doubling"],
)
def test_mass_of_the_left_mode_is_kept(kernel, caps):
    # Exact binomial test at 1e-6: independent chains that start in the target are draws from it at any time.
    count, hits = fraction_left(kernel, jax.random.key(11), 8000, 20)
    assert binomial_pvalue(count, 8000, TRUTH) > 1e-6
    assert hits == pytest.approx(caps, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kernel", "value"),
    [
        (CapsEachSide(0.8, max_steps=3), 0.227),
        (CapsEachSide(1.5, max_steps=2), 0.235),
        (SkipsTheDoublingTest(3.0), 0.386),
        (TestsTheShrunkenInterval(3.0), 0.290),
    ],
    ids=["each-side-0.8", "each-side-1.5", "no-test", "shrunken"],
)
def test_long_run_of_the_wrong_variants(kernel, value):
    # The values were found by long runs with an error of 0.002. Five more standard errors (1e-6) for the sample here.
    doubles = isinstance(kernel, SkipsTheDoublingTest | TestsTheShrunkenInterval)
    chains, steps = (100_000, 20) if doubles else (8000, 700)
    count, _ = fraction_left(kernel, jax.random.key(12), chains, steps)
    assert count / chains == pytest.approx(value, abs=0.002 + 5 * np.sqrt(value * (1 - value) / chains))
    assert binomial_pvalue(count, chains, TRUTH) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(
    "trap",
    [
        SkipsTheDoublingTest(3.0),
        *(
            pytest.param(trap, marks=pytest.mark.slow)
            for trap in (
                CapsEachSide(0.8, max_steps=3),
                CapsEachSide(1.5, max_steps=2),
                TestsTheShrunkenInterval(6.0),
                ShrinksToTheWrongSide(8.0),
                WidthFromPosition(1.0),
            )
        ),
    ],
    ids=lambda trap: type(trap).__name__,
)
def test_the_catalogue_rejects_wrong_variants(trap):
    assert not BIMODAL.run(trap, jax.random.key(0)).passed
