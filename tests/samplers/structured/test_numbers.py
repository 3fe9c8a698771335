"""Numbers of structured draws: published ones, known ones, and what users may hand in."""

import itertools
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ergodica.samplers.acceptance.integer_weights import IntegerDraw, integer_weights
from ergodica.samplers.acceptance.sum_tree import SumTree, sum_tree_draw
from ergodica.samplers.sequences.structured.arithmetic import ArithmeticSampling, cells
from ergodica.samplers.sequences.structured.cautious import CautiousDecoding
from ergodica.samplers.sequences.structured.first_hitting import FirstHitting, expected_evaluations, hitting_levels
from ergodica.samplers.sequences.structured.priority import PrioritySearch
from ergodica.samplers.sequences.structured.quasi_random import majority, minimum_bayes_risk, quasi_random_mean
from ergodica.samplers.sequences.structured.stochastic_beam_search import StochasticBeamSearch, given_maximum
from ergodica.samplers.sequences.structured.without_replacement import (
    MurthyWeights,
    RajWeights,
    ThresholdWeights,
    gumbel_top_k,
    log_inclusion,
    weighted_mean,
)
from ergodica.theory.truncated_gumbel import clock_delay, largest_gumbel, race_noise, truncated_gumbel_law
from ergodica.validation.cases.string_kernels import JOINT, average_over_orders, joint_conditionals, strings_of
from ergodica.validation.cases.structured import FOUR, offsets, threshold_samples, tree_law
from ergodica.validation.enumeration import enumerate_law
from tests.traps.structured import ParallelUnmask

KEY = jax.random.key(19)

# --- finite precision ------------------------------------------------------------------------------------------------


def test_published_laws_of_bounded_gumbel_keys():
    found = truncated_gumbel_law([0.5, 0.3, 0.15, 0.05], 0.01)
    np.testing.assert_allclose(found, [0.50961789, 0.30178404, 0.14599088, 0.04260719], atol=5e-9)
    found = truncated_gumbel_law(np.array([12, 8, 7, 8, 6]) / 41, 0.005)
    expected = [0.29499504454027536, 0.1949987779584903, 0.17000126991248457, 0.1949987779584903, 0.1450061296302595]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(truncated_gumbel_law([0.7, 0.0, 0.3], 0.0), [0.7, 0.0, 0.3], atol=1e-15)


def test_published_bounds_of_keys():
    assert clock_delay(24) == pytest.approx(5.960464655174753e-08, rel=1e-12)
    assert clock_delay(23) == pytest.approx(1.1920929665620916e-07, rel=1e-12)
    assert largest_gumbel(24) == pytest.approx(16.6355, abs=5e-5)
    # The same number comes out of single precision at the largest uniform that JAX makes by default.
    with jax.enable_x64(False):
        largest = float(-jnp.log(-jnp.log(jnp.float32(1 - 2.0**-23))))
    assert largest == pytest.approx(largest_gumbel(23), abs=1e-5)
    assert 200_000 * race_noise(1000) == pytest.approx(23.8, abs=0.05)


def test_published_hazard_of_masked_diffusion():
    tokens = 1e-6 * np.array([0.5, 0.3, 0.15, 0.04, 0.009, 0.001])
    law = truncated_gumbel_law(np.append(1 - tokens.sum(), tokens), clock_delay(24))[1:]
    np.testing.assert_allclose(law / law.sum(), [0.555, 0.308, 0.126, 0.0113, 1.5e-5, 0], atol=5e-4)
    assert law.sum() / tokens.sum() == pytest.approx(0.80, abs=0.005)


def test_a_large_vocabulary_in_single_precision():
    """Every probability of 128 thousand is right to 2e-6 of itself; running sums lose most tokens."""
    weights = np.exp(4 * np.random.default_rng(0).normal(size=128_000)).astype(np.float32)
    wanted = weights.astype(np.float64) / weights.sum(dtype=np.float64)
    with jax.enable_x64(False):
        law = SumTree(weights).law()[: wanted.size]
    assert np.abs(law / wanted - 1).max() < 2e-6
    assert 0.5 * np.abs(law - wanted).sum() < 2e-7
    running = np.cumsum(weights, dtype=np.float32)
    cut = np.diff(np.floor(np.append(0, running.astype(np.float64) / running[-1]) * 2**24)) / 2**24
    assert np.mean(cut == 0) > 0.5
    assert 0.5 * np.abs(cut - wanted).sum() > 1e-4


@pytest.mark.slow
def test_rows_of_logits():
    logits = jnp.log(jnp.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    assert jax.jit(sum_tree_draw)(KEY, logits).tolist() == [1, 0, 2]


def test_integer_weights_keep_zeros_and_what_is_tiny():
    found = integer_weights([1.0, 0.0, 1e-300, 0.5])
    assert found[1] == 0
    assert found[2] == 1
    assert found[0] == pytest.approx(2 * int(found[3]), rel=1e-15)
    drawn = IntegerDraw([0.0, 1.0, 0.0]).draw(KEY, 50)
    assert set(drawn.tolist()) == {1}
    with pytest.raises(ValueError, match="below 2"):
        IntegerDraw([2**62, 2**62])
    with pytest.raises(ValueError, match="negative"):
        integer_weights([1.0, -1.0])


# --- codes -----------------------------------------------------------------------------------------------------------


def test_floats_and_fractions_have_the_same_cells():
    assert cells(tree_law(())) == [5, 8, 10]
    running = cells([0.5, 0.0, 0.5])
    assert running[0] == running[1]
    assert running[2] == 2 * running[0]
    huge = np.array([Fraction(1, 3**60), 1 - Fraction(1, 3**60)], dtype=object)
    assert cells(huge) == [1, 3**60]


def test_distinct_strings_and_unbiased_means_over_the_offset():
    """No string of probability at most 1/n comes twice; the mean over the offset is the mean, in fractions."""
    law = dict(strings_of(tree_law, 2, 2))
    sampler = ArithmeticSampling(3, 2, end=2)
    mean = Fraction(0)
    for low, high in offsets(3, tree_law, 2, 2):
        strings = [tuple(row[row >= 0].tolist()) for row in sampler.at(tree_law, (low + high) / 2)]
        mean += (high - low) * Fraction(sum(len(string) for string in strings), 3)
        assert all(strings.count(string) == 1 for string in strings if law[string] <= Fraction(1, 3))
    assert mean == sum(p * len(string) for string, p in law.items())


def test_draws_are_those_of_their_offset():
    """Lazy bits decide as all bits at once do: some offset explains every draw."""
    sampler = ArithmeticSampling(5, 2, end=2)
    possible = {sampler.at(tree_law, (a + b) / 2).tobytes() for a, b in offsets(5, tree_law, 2, 2)}
    drawn = {sampler.draw(jax.random.fold_in(KEY, seed), tree_law).tobytes() for seed in range(40)}
    assert drawn <= possible
    assert len(drawn) > 1


def test_quasi_random_means():
    found = quasi_random_mean(KEY, tree_law, len, ArithmeticSampling(16, 2, end=2), repeats=8)
    wanted = float(sum(p * len(string) for string, p in strings_of(tree_law, 2, 2)))
    # 16 strings of length 1 or 2: the count of each prefix is off by less than one.
    assert np.all(np.abs(found.means - wanted) < 1 / 16)
    assert found.standard_error < 1 / 16
    assert np.isnan(quasi_random_mean(KEY, tree_law, len, ArithmeticSampling(2, 2, end=2)).standard_error)
    assert majority([3, 1, 1, 3, 2]) == 3
    assert minimum_bayes_risk([1, 2, 9], lambda a, b: -abs(a - b)) == 2


def test_priority_order_and_ties():
    found = PrioritySearch(10, 2).search(lambda prefix: [0.5, 0.5])
    assert found.tolist() == [[0, 0], [1, 0], [0, 1], [1, 1]]
    assert PrioritySearch(2, 3, end=1).search(lambda prefix: [0.4, 0.6]).tolist() == [[1, -1, -1], [0, 1, -1]]


# --- without replacement ---------------------------------------------------------------------------------------------


def test_dividing_by_the_sum_brings_a_bias():
    p, f = FOUR.astype(float), np.array([1.0, -2.0, 3.0, 5.0])
    plain = normalised = 0.0
    for members, threshold, density in threshold_samples(p, 2):
        weights = ThresholdWeights().weights(p[members], None, threshold)
        plain += density * (weights @ f[members])
        normalised += density * (weights @ f[members]) / weights.sum()
    assert plain == pytest.approx(p @ f, abs=1e-6)
    assert normalised - p @ f == pytest.approx(-0.0219, abs=1e-4)


def test_murthy_is_the_average_of_raj_over_orders():
    members = [0, 2, 3]
    total, weights = Fraction(0), 0 * FOUR[members]
    for order in itertools.permutations(members):
        probability, left = Fraction(1), Fraction(1)
        for token in order:
            probability, left = probability * FOUR[token] / left, left - FOUR[token]
        total += probability
        drawn = RajWeights().weights(FOUR[list(order)], order)
        weights += probability * np.array([drawn[order.index(token)] for token in members], dtype=object)
    assert np.all(MurthyWeights().weights(FOUR[members], members) == weights / total)
    with pytest.raises(ValueError, match="too many"):
        MurthyWeights().weights(np.full(20, 0.01), None)


def test_log_inclusion_at_both_ends():
    y = np.array([-3.0, 5.0, 9.999, 10.001, 800.0])
    small = np.log(-np.expm1(-np.exp(-y[:3])))
    np.testing.assert_allclose(log_inclusion(-y, 0.0)[:3], small, rtol=1e-13)
    z = np.exp(-10.001)
    np.testing.assert_allclose(log_inclusion(-y, 0.0)[3:], [-10.001 - z / 2 + z * z / 24, -800.0], rtol=1e-13)


@pytest.mark.slow
def test_a_sample_of_everything_is_exact():
    f = jnp.array([1.0, -2.0, 3.0, 5.0, 100.0])
    logits = jnp.log(jnp.array([0.5, 0.25, 0.15, 0.1, 0.0]))
    sample = gumbel_top_k(KEY, logits, 6)
    assert sorted(sample.tokens.tolist()) == [-1, -1, 0, 1, 2, 3]
    assert jnp.all(jnp.diff(sample.keys[:4]) <= 0)
    assert float(weighted_mean(ThresholdWeights(), jnp.exp(logits), sample, f)) == pytest.approx(0.95)


def test_keys_given_their_maximum():
    keys = np.array([0.3, -np.inf, 2.0, -40.0])
    moved = given_maximum(keys, -1.0)
    assert moved.max() == moved[2] == -1.0
    assert np.isneginf(moved[1])
    # P(max of the others < t | max = T): the transform takes exp(-exp(-key)) to its share of exp(-exp(-T)).
    shares = np.exp(-np.exp(-keys[[0]])) / np.exp(-np.exp(-2.0))
    np.testing.assert_allclose(np.exp(-np.exp(-moved[[0]])), shares * np.exp(-np.exp(1.0)), rtol=1e-12)


def test_weights_of_string_samples():
    sample = StochasticBeamSearch(2, 2, end=2).draw(KEY, tree_law)
    assert sample.strings.shape == (2, 2)
    assert sample.keys[0] >= sample.keys[1] >= sample.threshold
    law = dict(strings_of(tree_law, 2, 2))
    for row, log_p in zip(sample.strings, sample.log_p, strict=True):
        assert np.exp(log_p) == pytest.approx(float(law[tuple(row[row >= 0].tolist())]))


# --- masked diffusion ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_published_law_of_parallel_unmasking():
    """One pass for all places gives the product of the marginals."""
    kernel = ParallelUnmask(joint_conditionals, 3)
    law = enumerate_law(kernel.draw, KEY)
    expected = {
        (0, 0, 0): 0.08199708454810496,
        (0, 0, 1): 0.045553935860058306,
        (1, 0, 1): 0.08199708454810496,
        (1, 1, 0): 0.26567055393586003,
    }
    for string, probability in expected.items():
        assert law.probability(list(string)) == pytest.approx(probability, abs=1e-12)
    np.testing.assert_allclose(average_over_orders(joint_conditionals), JOINT.reshape(-1), atol=1e-14)


@pytest.mark.slow
def test_known_tokens_stay():
    kernel = FirstHitting(joint_conditionals, 3, given=[1, -1, -1])
    law = enumerate_law(kernel.draw, KEY)
    for string, probability in law:
        assert string[0] == 1
        assert probability == pytest.approx(JOINT[tuple(string)] / JOINT[1].sum(), abs=1e-14)
    assert int(kernel.step(KEY, kernel.init(jnp.zeros(3, int)))[1].num_evals) == 2
    with pytest.raises(ValueError, match="shape"):
        FirstHitting(joint_conditionals, 3, given=[1, -1])


@pytest.mark.slow
def test_levels_are_order_statistics():
    levels = np.stack([hitting_levels(jax.random.fold_in(KEY, seed), 4) for seed in range(200)])
    assert np.all(np.diff(levels, axis=1) < 0)
    # Means 4/5, 3/5, 2/5, 1/5 with standard deviations below 0.21; 6 standard errors: a false alarm has 1e-8.
    np.testing.assert_allclose(levels.mean(axis=0), [0.8, 0.6, 0.4, 0.2], atol=6 * 0.21 / np.sqrt(200))
    assert expected_evaluations(1, 5) == 1
    assert expected_evaluations(10, 3) == pytest.approx(10 * (1 - 0.9**3))


@pytest.mark.slow
def test_cautious_decoding_is_not_the_model():
    """Its error is measured: with two trials at every place, a third of the mass moves."""
    decoder = CautiousDecoding(0.1, 2, (0,), 2, end=2)
    law = {string: float(p) for string, p in strings_of(tree_law, 2, 2)}

    def program(key):
        string = decoder.draw(key, tree_law)
        return np.array([*string, *[-1] * (2 - len(string))])

    found = enumerate_law(program, KEY, engine="replay", max_paths=10**5)
    error = 0.5 * sum(abs(found.probability([*s, *[-1] * (2 - len(s))]) - p) for s, p in law.items())
    assert error == pytest.approx(0.3265, abs=1e-4)
