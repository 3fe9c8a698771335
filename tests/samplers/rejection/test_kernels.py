"""Kernels under jit and vmap, in both precisions, in compositions; their bookkeeping, and bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from ergodica.samplers import random
from ergodica.samplers.acceptance.rejection import hull as hulls
from ergodica.samplers.acceptance.rejection.adaptive import AdaptiveRejection
from ergodica.samplers.acceptance.rejection.adaptive_weighted import AdaptiveWeightedRejection
from ergodica.samplers.acceptance.rejection.alias import AliasTable
from ergodica.samplers.acceptance.rejection.coupling_from_the_past import (
    CouplingFromThePast,
    MonotoneCouplingFromThePast,
)
from ergodica.samplers.acceptance.rejection.fair_bits import fair_bit, fair_bits
from ergodica.samplers.acceptance.rejection.partial_rejection import PartialRejection, sink_free_events
from ergodica.samplers.acceptance.rejection.plain import Rejection
from ergodica.samplers.acceptance.rejection.ratio_of_uniforms import RatioOfUniforms, ratio_box
from ergodica.samplers.acceptance.rejection.read_once_coupling import ReadOnceCoupling
from ergodica.samplers.acceptance.rejection.rerandomisation import Rerandomisation
from ergodica.samplers.acceptance.rejection.squeeze import SqueezedRejection
from ergodica.samplers.acceptance.rejection.truncated_normal import TruncatedNormal, truncated_normal
from ergodica.samplers.acceptance.rejection.two_coin import TwoCoinBarker, two_coin
from ergodica.samplers.compose import cycle, on
from ergodica.samplers.metropolis.finite import RingWalk
from ergodica.samplers.metropolis.independence import CategoricalProposal
from ergodica.validation.cases.rejection import PROPOSAL4, clamped_walk
from ergodica.validation.enumeration import enumerate_law
from ergodica.validation.stationary_start import kolmogorov_pvalue

KEY = jax.random.key(11)


def table(values, x):
    return jnp.asarray(values)[x]


def half_square(x):
    return -0.5 * jnp.sum(x**2)


FOUR = Partial(table, np.log([1.0, 2.0, 3.0, 4.0]))


def test_plain_rejection_counts_violations():
    good = Rejection(CategoricalProposal(PROPOSAL4), np.log(40.0), logdensity=FOUR)
    bad = Rejection(CategoricalProposal(PROPOSAL4), np.log(20.0), logdensity=FOUR)
    state = good.init(jnp.asarray(0))
    run = jax.jit(lambda kernel, key: kernel.run(key, state, 500)[1])
    assert int(run(good, KEY).num_violations) == 0
    assert int(run(bad, KEY).num_violations) > 0
    # Z = 10, M = 40: trials are geometric with mean 4; six standard deviations of the sum are 464.
    info = run(good, KEY)
    assert abs(int(info.num_trials) - 2000) < 470
    assert int(info.num_evals) == int(info.num_trials)
    assert int(info.cap_hit) == 0


def test_the_normaliser_is_unbiased():
    kernel = Rejection(CategoricalProposal(PROPOSAL4), np.log(40.0), logdensity=FOUR)
    law = enumerate_law(lambda key: jnp.exp(kernel.log_normalizer(key, jnp.asarray(0), 2)), KEY)
    assert abs(law.expectation(float) - 10.0) < 1e-12


def test_squeeze_saves_evaluations():
    log_weights = np.log([1.0, 2.0, 3.0, 4.0])
    lower = Partial(table, log_weights + np.log(0.9))
    upper = Partial(table, log_weights + np.log(1.1))
    kernel = SqueezedRejection(CategoricalProposal(PROPOSAL4), np.log(40.0), lower, upper, logdensity=FOUR)
    law = enumerate_law(lambda key: kernel.trial(key, jnp.asarray(0))[1:3], KEY)
    # (L + M - H) / M needs no evaluation, with L = 9 and M = 40; at the state that touches the bound h is cut to it.
    expected = 1 - (1.1 * 6 + 4 - 9) / 40
    assert abs(1 - law.expectation(lambda out: float(out[1])) - expected) < 1e-12
    assert abs(law.expectation(lambda out: float(out[0])) - 10 / 40) < 1e-12


def quadratic(steepness, height, x):
    return height - steepness * jnp.sum(x**2)


N = 3000


@jax.jit
def many_draws(kernel, state):
    def body(state, index):
        state, info = kernel.step(random.fold_in(KEY, index), state)
        return state, (state.position, info)

    return jax.lax.scan(body, state, jnp.arange(N))


# One program serves both densities of double precision.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "steepness", "height"), [(jnp.float64, 0.5, 0.0), (jnp.float64, 1e6, -1e8), (jnp.float32, 0.5, 0.0)]
)
def test_adaptive_rejection_learns_in_both_precisions(dtype, steepness, height):
    density = Partial(quadratic, jnp.asarray(steepness, dtype), jnp.asarray(height, dtype))
    kernel = AdaptiveRejection([-1.0, 1.0], logdensity=density)
    last, (draws, info) = many_draws(kernel, kernel.init(jnp.asarray(0.5, dtype)))
    assert draws.dtype == dtype
    # p-value of the exact one-sided law, doubled: a false alarm has probability 1e-6.
    uniforms = jax.scipy.stats.norm.cdf(draws * np.sqrt(2 * steepness))
    assert kolmogorov_pvalue(np.asarray(uniforms, float)) > 1e-6
    assert int(info.num_evals.sum()) < 90
    assert int(info.num_evals[N // 2 :].sum()) < 25
    assert int(last.hull.size) <= 60
    assert not bool(info.cap_hit.any())
    assert int(info.num_invalid.sum()) == 0


@pytest.mark.slow
def test_first_squeeze_decides_with_probability_one_over_e():
    kernel = AdaptiveRejection([-1.0, 1.0], max_extensions=0, logdensity=Partial(quadratic, 0.5, 0.0))
    hull = kernel.init(jnp.asarray(1.0)).hull
    n = 20_000

    def squeezed(key):
        keys = random.split(key)
        x, height = hulls.draw(keys[0], hull, hulls.pieces(hull, kernel.low, kernel.high))
        return jnp.log(random.uniform(keys[1])) < hulls.chord(hull, x) - height

    share = float(jnp.mean(jax.jit(jax.vmap(squeezed))(random.split(KEY, n))))
    # Hoeffding, 1e-6.
    assert abs(share - np.exp(-1)) < np.sqrt(np.log(2e6) / (2 * n))


def test_adaptive_rejection_refuses_what_it_cannot_draw():
    with pytest.raises(ValueError, match="not log-concave"):
        AdaptiveRejection([-2.0, 0.5, 2.0], logdensity=lambda x: jnp.log(1 + x**2) * 2 - 0.01 * x**2).init(
            jnp.asarray(0.1)
        )
    with pytest.raises(ValueError, match="falls towards infinite ends"):
        AdaptiveRejection([0.5, 2.0], low=0.0, max_extensions=0, logdensity=lambda x: 0.1 * x).init(jnp.asarray(1.0))
    with pytest.raises(ValueError, match="rise strictly"):
        AdaptiveRejection([1.0, 1.0])
    with pytest.raises(ValueError, match="rise strictly"):
        AdaptiveRejection([0.5], low=2.0, high=1.0)
    with pytest.raises(ValueError, match="low"):
        AdaptiveRejection(low=np.nan)
    with pytest.raises(ValueError, match="capacity"):
        AdaptiveRejection([0.0, 1.0], capacity=3)
    with pytest.raises(ValueError, match="one coordinate"):
        AdaptiveRejection(logdensity=half_square).init(jnp.zeros(2))


@pytest.mark.slow
def test_a_density_found_not_to_be_log_concave_makes_no_draws():
    def two_modes(x):
        return jnp.logaddexp(-0.5 * (x - 4) ** 2, -0.5 * (x + 4) ** 2)

    kernel = AdaptiveRejection([4.5], logdensity=two_modes)
    state = kernel.init(jnp.asarray(3.9))
    state, (draws, info) = many_draws(kernel, state)
    invalid = np.asarray(info.num_invalid)
    first = int(np.argmax(invalid))
    assert invalid[first:].all()
    assert np.all(np.asarray(draws)[first:] == np.asarray(draws)[first - 1 if first else 0])
    with pytest.raises(ValueError, match="not log-concave"):
        kernel.check(state)


def correlated(position):
    a, b = position["a"], position["b"]
    return -(a**2 + b**2 - 1.6 * a * b) / (2 * (1 - 0.64))


@pytest.mark.slow
def test_adaptive_rejection_as_a_gibbs_block():
    kernel = cycle(on("a", AdaptiveRejection()), on("b", AdaptiveRejection())).bind(correlated)

    def one(key):
        keys = random.split(key, 3)
        z = random.normal(keys[0], (2,))
        start = {"a": z[0], "b": 0.8 * z[0] + 0.6 * z[1]}
        moved = kernel.step(keys[1], kernel.init(start, key=keys[2]))[0].position
        return moved["a"], (moved["b"] - 0.8 * moved["a"]) / 0.6

    # Exact draws stay exact, independent of one another: 1e-6 each.
    first, second = jax.jit(jax.vmap(one))(random.split(KEY, 1000))
    for values in (first, second):
        assert kolmogorov_pvalue(np.asarray(jax.scipy.stats.norm.cdf(values))) > 1e-6


def test_ratio_of_uniforms_sees_what_sticks_out():
    bad = RatioOfUniforms((0.0, -0.5, 0.5), logdensity=half_square)
    low = RatioOfUniforms((-0.5, -2.0, 2.0), logdensity=half_square)
    state = bad.init(jnp.asarray(0.3))
    run = jax.jit(lambda kernel: kernel.run(KEY, state, 300)[1].num_violations)
    assert int(run(bad)) > 0
    assert int(run(low)) > 0
    assert int(run(RatioOfUniforms((0.0, -0.9, 0.9), logdensity=half_square))) == 0


def test_ratio_of_uniforms_errors():
    with pytest.raises(ValueError, match="wider one"):
        ratio_box(lambda x: -jnp.log1p(x**2), within=(-10.0, 10.0), num_points=21)
    with pytest.raises(ValueError, match="density is zero"):
        ratio_box(lambda x: -jnp.inf * jnp.ones(()), num_points=5)
    with pytest.raises(ValueError, match="low < high"):
        RatioOfUniforms((0.0, 1.0, 1.0))
    with pytest.raises(TypeError, match="ratio_box"):
        RatioOfUniforms(3.0)
    with pytest.raises(ValueError, match="power"):
        RatioOfUniforms((0.0, -1.0, 1.0), power=0.0)


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
def test_truncated_normal_on_degenerate_intervals(dtype):
    low = jnp.asarray([2.0, -np.inf, 40.0, -50.0, 3.0, np.nan, np.inf], dtype)
    high = jnp.asarray([2.0, np.inf, np.inf, -49.9, 2.0, 1.0, np.inf], dtype)
    drawn = np.asarray(jax.jit(truncated_normal)(KEY, low, high))
    assert drawn.dtype == dtype
    assert drawn[0] == 2.0
    assert np.isfinite(drawn[:4]).all()
    assert 40 <= drawn[2] < 43
    assert np.float32(-50) <= drawn[3] <= np.float32(-49.9)
    assert np.isnan(drawn[4:]).all()


def test_truncated_normal_errors():
    for ends in ((1.0, 0.0), (np.nan, 1.0), (np.inf, np.inf), (np.array([0.0, 2.0]), 1.0)):
        with pytest.raises(ValueError, match="lower <= upper"):
            truncated_normal(KEY, *ends)
    with pytest.raises(ValueError, match="scale"):
        TruncatedNormal(0.0, 1.0, scale=0.0)
    with pytest.raises(ValueError, match="broadcast"):
        TruncatedNormal(np.zeros(3), 1.0).init(jnp.zeros(2))


def test_alias_table_errors():
    for weights in ([0.0, 0.0], [1.0, -1.0], [1.0, np.nan], [], [[1.0]], [np.inf]):
        with pytest.raises(ValueError, match="weight"):
            AliasTable(weights)


@pytest.mark.parametrize("weight", ["recursive", "geometric"])
def test_weighted_tokens_on_the_host_and_traced(weight):
    sampler = AdaptiveWeightedRejection(weight)
    p = np.array([5.0, 0.0, 2.0, 1.0, 3.0])
    tested = []

    def allowed(token):
        tested.append(token)
        return token in (2, 3)

    drawn = sampler.draw_on_host(KEY, p, allowed)
    assert drawn.num_tests == len(tested) == len(set(tested))
    assert 1 not in tested
    assert drawn.token in (2, 3, -1)
    single = jax.jit(lambda key: sampler.draw(key, jnp.asarray(p, jnp.float32), lambda x: (x == 2) | (x == 3)))(KEY)
    assert single.weight.dtype == jnp.float32
    none = sampler.draw_on_host(KEY, p, lambda token: False)
    assert (none.token, none.weight) == (-1, 0)
    for value in (np.nan, -1.0, np.inf):
        with pytest.raises(ValueError, match="potential of token"):
            sampler.draw_on_host(KEY, p, lambda token, value=value: value)
    for weights in ([0.0, 0.0], [np.nan, 1.0]):
        with pytest.raises(ValueError, match="p "):
            sampler.draw(KEY, np.array(weights), lambda token: token == 0)
        with pytest.raises(ValueError, match="p "):
            sampler.draw_on_host(KEY, np.array(weights), lambda token: True)


@pytest.mark.slow
@pytest.mark.parametrize("weight", ["recursive", "geometric"])
def test_weights_on_the_host_are_proper(weight):
    p = np.array([4.0, 2.0, 1.0, 1.0]) / 8
    sampler = AdaptiveWeightedRejection(weight, rejects=3)
    law = enumerate_law(lambda key: sampler.draw_on_host(key, p, lambda x: x in (1, 3)), KEY)
    found = [law.expectation(lambda out, x=x: float(out.weight) * (int(out.token) == x)) for x in range(4)]
    np.testing.assert_allclose(found, [0, 2 / 8, 0, 1 / 8], atol=1e-12)


def test_rerandomisation_errors():
    covariates = np.array([[1.0, 0.0], [2.0, 1.0], [4.0, -1.0], [7.0, 3.0], [5.0, 5.0], [0.0, 2.0]])
    design = Rerandomisation(covariates, 3, 1.0)
    with pytest.raises(ValueError, match="singular"):
        Rerandomisation(np.column_stack([covariates, covariates.sum(axis=1)]), 3, 1.0)
    with pytest.raises(ValueError, match="less than the 6 units"):
        Rerandomisation(covariates, 6, 1.0)
    with pytest.raises(ValueError, match="threshold"):
        Rerandomisation(covariates, 3, 0.0)
    with pytest.raises(ValueError, match="covariates"):
        Rerandomisation(covariates * np.nan, 3, 1.0)
    with pytest.raises(ValueError, match="none of the 20"):
        Rerandomisation(covariates, 3, 1e-9).assignments()
    with pytest.raises(ValueError, match="above the threshold"):
        Rerandomisation(covariates, 3, 1e-9).randomisation_test(lambda w: 0.0, design.assignments()[0])
    with pytest.raises(ValueError, match="statistic is NaN"):
        design.randomisation_test(lambda w: np.nan, design.assignments()[0])


@pytest.mark.slow
def test_randomisation_test_by_draws():
    """The share of draws at least as large is within Hoeffding's bound of the enumerated one, 1e-6."""
    design = Rerandomisation(np.arange(8.0) ** 1.5, 4, 1.0)
    made, n = design.assignments()[3], 4000

    def statistic(w):
        return abs(w @ np.cos(np.arange(8.0)))

    exact = design.randomisation_test(statistic, made)
    drawn = design.randomisation_test(statistic, made, key=KEY, num_draws=n)
    assert abs((drawn * (n + 1) - 1) / n - exact) < np.sqrt(np.log(2e6) / (2 * n))


def test_two_coins():
    def toss(p):
        return lambda key: random.bernoulli(key, p)

    def capped(key, cap):
        return two_coin(key, toss(0.4), toss(0.9), np.log(0.7), np.log(1.3), max_loops=cap)

    c1, c2, p1, p2 = 0.7, 1.3, 0.4, 0.9
    law = enumerate_law(lambda key: capped(key, 3), KEY)
    again = 1 - (c1 * p1 + c2 * p2) / (c1 + c2)
    truth = c1 * p1 / (c1 * p1 + c2 * p2)
    assert abs(truth - 0.193103448275862) < 1e-12
    assert abs(law.expectation(lambda out: float(out.outcome)) - truth * (1 - again**3)) < 1e-12
    assert abs(law.expectation(lambda out: float(out.cap_hit)) - again**3) < 1e-12
    assert abs(law.expectation(lambda out: float(out.num_loops)) - (1 + again + again**2)) < 1e-12
    assert abs(1 / (1 - again) - 1.379310344827586) < 1e-12
    with pytest.raises(ValueError, match="log_c1"):
        two_coin(KEY, toss(0.5), toss(0.5), np.nan)
    with pytest.raises(TypeError, match="Proposal"):
        TwoCoinBarker(lambda x: x, toss(0.5), half_square)
    with pytest.raises(TypeError, match="callable"):
        TwoCoinBarker(RingWalk(4, 0.5), 0.5, half_square)


def test_a_fair_bit_from_a_biased_coin():
    law = enumerate_law(lambda key: fair_bit(key, lambda one: random.bernoulli(one, 0.9), max_pairs=3), KEY)
    heads = law.expectation(lambda out: float(out.bit))
    capped = law.expectation(lambda out: float(out.cap_hit))
    assert abs(heads - (1 - capped) / 2) < 1e-12
    assert abs(capped - 0.82**3) < 1e-12
    with pytest.raises(ValueError, match="zeros and ones"):
        fair_bits([0, 2])


def test_coupling_errors():
    with pytest.raises(TypeError, match="callable"):
        CouplingFromThePast(3, 3)
    with pytest.raises(ValueError, match="expected a state"):
        CouplingFromThePast(clamped_walk, 3).init(jnp.asarray(3))
    with pytest.raises(ValueError, match="same shapes"):
        MonotoneCouplingFromThePast(clamped_walk, np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match="needs a position like"):
        MonotoneCouplingFromThePast(clamped_walk, 0, 2).init(jnp.zeros(3))
    with pytest.raises(ValueError, match="at most 30"):
        MonotoneCouplingFromThePast(clamped_walk, 0, 2, max_doublings=31)
    with pytest.raises(ValueError, match="starts has to hold"):
        ReadOnceCoupling(clamped_walk, np.asarray(1), 2)
    kernel = ReadOnceCoupling(lambda key, state: state, np.arange(3), 2, max_blocks=4)
    with pytest.raises(ValueError, match="none of 4 blocks"):
        kernel.init(jnp.asarray(0), key=KEY)
    with pytest.raises(ValueError, match=r"key=\.\.\."):
        kernel.init(jnp.asarray(0))


def heat_bath_row(key, spins):
    """Three Ising spins in a row, one swept at a time: monotone in the spins, with one uniform for each."""
    us = random.uniform(key, (3,))
    padded = jnp.concatenate([jnp.zeros(1, spins.dtype), spins, jnp.zeros(1, spins.dtype)])
    for i in range(3):
        field = 0.5 * (padded[i] + padded[i + 2])
        padded = padded.at[i + 1].set(jnp.where(us[i] < jax.nn.sigmoid(2 * field), 1, -1).astype(spins.dtype))
    return padded[1:-1]


@pytest.mark.slow
def test_monotone_coupling_draws_an_ising_chain():
    kernel = MonotoneCouplingFromThePast(heat_bath_row, -np.ones(3, np.int32), np.ones(3, np.int32))
    state = kernel.init(jnp.ones(3, jnp.int32))
    n = 20_000
    spins = np.asarray(jax.jit(jax.vmap(lambda key: kernel.step(key, state)[0].position))(random.split(KEY, n)))
    codes = ((spins + 1) // 2) @ np.array([4, 2, 1])
    every = np.array([[(4 & c and 1) or -1, (2 & c and 1) or -1, (1 & c and 1) or -1] for c in range(8)])
    weights = np.exp(0.5 * (every[:, 0] * every[:, 1] + every[:, 1] * every[:, 2]))
    # Hoeffding over eight frequencies, 1e-6 in all.
    bound = np.sqrt(np.log(1.6e7) / (2 * n))
    assert np.max(np.abs(np.bincount(codes, minlength=8) / n - weights / weights.sum())) < bound


def test_partial_rejection_errors():
    with pytest.raises(ValueError, match="event 0 is empty"):
        PartialRejection([0.5, 0.5], [{}], num_variables=2)
    with pytest.raises(ValueError, match="event 0 has variable 5"):
        PartialRejection([0.5, 0.5], [{5: 0}], num_variables=2)
    with pytest.raises(ValueError, match="has to have shape"):
        PartialRejection([0.5, 0.5], [{0: 1}])
    with pytest.raises(ValueError, match="NaN"):
        PartialRejection([np.nan, 0.5], [{0: 1}], num_variables=2)
    with pytest.raises(ValueError, match="bad events happen"):
        PartialRejection([0.5, 0.5], [{0: 1}], num_variables=2).init(jnp.asarray([1, 0]))
    with pytest.raises(ValueError, match="join two different nodes"):
        sink_free_events([(0, 0)], 2)


@pytest.mark.slow
def test_same_key_same_draw_whatever_the_batch():
    kernel = TruncatedNormal(0.5, np.inf)
    state = kernel.init(jnp.ones(1))
    keys = random.split(KEY, 3)
    step = jax.jit(lambda key: kernel.step(key, state)[0].position)
    alone = jnp.stack([step(key) for key in keys])
    np.testing.assert_allclose(jax.jit(jax.vmap(step))(keys), alone, rtol=1e-14)
