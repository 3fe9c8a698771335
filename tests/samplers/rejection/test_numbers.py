"""Closed forms and golden numbers, in fractions where they are rational; no program is compiled here but small ones."""

import itertools
from fractions import Fraction

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ergodica.samplers.acceptance.rejection.adaptive_weighted import geometric_weight, recursive_weight
from ergodica.samplers.acceptance.rejection.alias import AliasTable, alias_columns
from ergodica.samplers.acceptance.rejection.fair_bits import fair_bits, peres_bits
from ergodica.samplers.acceptance.rejection.partial_rejection import PartialRejection, sink_free_events
from ergodica.samplers.acceptance.rejection.ratio_of_uniforms import RatioOfUniforms, ratio_box
from ergodica.samplers.acceptance.rejection.rerandomisation import (
    Rerandomisation,
    asymptotic_acceptance,
    variance_factor,
)
from ergodica.samplers.acceptance.rejection.truncated_normal import truncated_normal_acceptance
from ergodica.validation.cases.rejection import normal_box

EXAMPLE = ([Fraction(1, 2), Fraction(1, 4), Fraction(1, 8), Fraction(1, 8)], (1, 3))
GOLDEN = ([Fraction(n, 38) for n in (5, 4, 12, 10, 7)], (1, 3, 4))


def orders(p):
    """All orders of draws without replacement, with their probabilities."""
    for order in itertools.permutations([x for x, mass in enumerate(p) if mass > 0]):
        probability, left = Fraction(1), sum(p)
        for x in order:
            probability, left = probability * p[x] / left, left - p[x]
        yield order, probability


def moments(draws, size):
    first, second, tests = [Fraction(0)] * size, Fraction(0), Fraction(0)
    for drawn, probability in draws:
        if drawn.token >= 0:
            first[drawn.token] += probability * drawn.weight
        second += probability * drawn.weight**2
        tests += probability * drawn.num_tests
    return first, second, tests


@pytest.mark.parametrize(
    ("example", "second", "tests"),
    [(EXAMPLE, Fraction(43, 224), Fraction(51, 28)), (GOLDEN, 0.411662437285706, 1.555944055944056)],
)
def test_recursive_weight_in_fractions(example, second, tests):
    p, allowed = example
    found = moments(((recursive_weight(order, p, lambda x: x in allowed), w) for order, w in orders(p)), len(p))
    assert found[0] == [mass if x in allowed else 0 for x, mass in enumerate(p)]
    assert abs(found[1] - second) < 1e-12
    # Tests up to the first success: there is one more unless the first allowed token is the last of all.
    to_first = sum(w * (1 + next(i for i, x in enumerate(order) if x in allowed)) for order, w in orders(p))
    assert abs(to_first - tests) < 1e-12
    token_law = [sum(w for o, w in orders(p) if next(x for x in o if x in allowed) == t) for t in range(len(p))]
    normaliser = sum(p[x] for x in allowed)
    assert token_law == [p[x] / normaliser if x in allowed else 0 for x in range(len(p))]


@pytest.mark.parametrize(("example", "second"), [(EXAMPLE, Fraction(3699, 16384)), (GOLDEN, 0.40645945875952455)])
def test_geometric_weight_in_fractions(example, second):
    p, allowed = example
    runs = (
        (geometric_weight(draws, lambda x: x in allowed, 2, 4, Fraction(1)), np.prod([p[x] for x in draws]))
        for draws in itertools.product(range(len(p)), repeat=5)
    )
    found = moments(runs, len(p))
    assert found[0] == [mass if x in allowed else 0 for x, mass in enumerate(p)]
    assert abs(found[1] - second) < 1e-12


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=4))
def test_shaped_potentials_are_properly_weighted(tokens):
    weights, potential = zip(*tokens, strict=True)
    if sum(weights) == 0:
        return
    p = [Fraction(w, sum(weights)) for w in weights]
    recursive = ((recursive_weight(order, p, lambda x: Fraction(potential[x], 2)), w) for order, w in orders(p))
    expected = [mass * Fraction(factor, 2) for mass, factor in zip(p, potential, strict=True)]
    assert moments(recursive, len(p))[0] == expected
    geometric = (
        (geometric_weight(d, lambda x: Fraction(potential[x], 2), 2, 2, Fraction(1)), np.prod([p[x] for x in d]))
        for d in itertools.product(range(len(p)), repeat=3)
    )
    assert moments(geometric, len(p))[0] == expected


def columns_law(prob, alias):
    law = list(prob)
    for j, other in enumerate(alias):
        law[other] += 1 - prob[j]
    return [Fraction(1) * mass / len(prob) for mass in law]


@settings(max_examples=200)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=12).filter(any))
def test_alias_columns_in_fractions(weights):
    prob, alias = alias_columns(np.array([Fraction(w) for w in weights], dtype=object))
    assert columns_law(prob, alias) == [Fraction(w, sum(weights)) for w in weights]
    assert all(q == 0 for q, w in zip(prob, weights, strict=True) if w == 0)


@settings(max_examples=200)
@given(st.lists(st.floats(0, 1e300), min_size=1, max_size=40).filter(any))
def test_alias_columns_in_floats(weights):
    prob, alias = alias_columns(weights)
    expected = np.array(weights) / max(weights)
    expected /= expected.sum()
    assert np.max(np.abs(np.array(columns_law(prob, alias), float) - expected)) < 1e-14
    assert np.all((prob >= 0) & (prob <= 1 + 1e-12))
    kept = np.flatnonzero(prob > 0)
    reachable = set(kept) | {int(alias[i]) for i in range(len(alias)) if prob[i] < 1}
    assert all(weights[i] > 0 for i in reachable)


@pytest.mark.slow
def test_alias_draws_on_the_host():
    table = AliasTable([3.0, 0.0, 1.0, 4.0])
    key = jax.random.key(5)
    drawn = table.draw_many(key, 40_000)
    np.testing.assert_array_equal(drawn, table.draw_many(key, 40_000))
    # Hoeffding: off by more than this with probability below 1e-7 for each of the four outcomes.
    bound = np.sqrt(np.log(2e7) / (2 * drawn.size))
    assert np.max(np.abs(np.bincount(drawn, minlength=4) / drawn.size - np.array([3, 0, 1, 4]) / 8)) < bound
    assert 1 not in drawn


@pytest.mark.parametrize(
    ("a", "expected"), [(0, 0.760173450533140), (1, 0.876468693951927), (3, 0.960922984309439), (8, 0.99266346773216)]
)
def test_acceptance_in_a_tail(a, expected):
    assert abs(truncated_normal_acceptance(a, np.inf) - expected) < 1e-12
    assert abs(truncated_normal_acceptance(-np.inf, -a) - expected) < 1e-12


def test_acceptance_is_never_small():
    grid = [(a, a + width) for a in (-6, -2.6, -1, -0.001, 0, 3) for width in (1e-3, 0.7, 1.6, 2.4, 2.6, 20)]
    assert min(truncated_normal_acceptance(*ends) for ends in grid) > 0.49


def test_ratio_of_uniforms_closed_forms():
    kernel = RatioOfUniforms(normal_box())
    assert abs(kernel.acceptance(0.5 * np.log(2 * np.pi)) - np.sqrt(np.pi * np.e) / 4) < 1e-12
    assert abs(np.sqrt(np.pi * np.e) / 4 - 0.730570591330570) < 1e-12


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_box_is_found(power):
    box = ratio_box(lambda x: -0.5 * x**2 + 3.0, power=power, within=(-20.0, 20.0), num_points=41)
    exact = normal_box(power)
    np.testing.assert_allclose(box, (exact[0] + 3.0, *exact[1:]), rtol=1e-8)
    assert box.low <= exact[1]
    assert box.high >= exact[2]


@pytest.mark.parametrize(
    ("k", "a", "acceptance", "factor"),
    [(2, 0.5, 0.221199216928595, 0.119797083953050), (5, 1.0, 0.037434226752704, 0.138147998024589)],
)
def test_rerandomisation_numbers(k, a, acceptance, factor):
    assert abs(asymptotic_acceptance(k, a) - acceptance) < 1e-12
    assert abs(variance_factor(k, a) - factor) < 1e-12


def test_randomisation_test_against_enumeration():
    covariates, outcomes = np.array([1.0, 5.0, 2.0, 3.0, 4.0, 9.0, 0.0]), np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0])
    design = Rerandomisation(covariates, 3, 1.0)

    def statistic(w):
        return abs(outcomes[w == 1].mean() - outcomes[w == 0].mean())

    accepted = design.assignments()
    brute = []
    scale = np.var(covariates, ddof=1) * 7 / 12
    for treated in itertools.combinations(range(7), 3):
        w = np.isin(np.arange(7), treated).astype(int)
        if (covariates[w == 1].mean() - covariates[w == 0].mean()) ** 2 / scale <= 1.0:
            brute.append(w)
    assert sorted(map(tuple, accepted)) == sorted(map(tuple, brute))
    pvalues = np.array([design.randomisation_test(statistic, w) for w in accepted])
    values = np.array([statistic(w) for w in accepted])
    np.testing.assert_allclose(pvalues, [(values >= t - 1e-9).mean() for t in values], atol=1e-15)
    # Exactly valid: under the hypothesis the p-value is at most alpha with probability at most alpha.
    for alpha in np.unique(pvalues):
        assert (pvalues <= alpha + 1e-12).mean() <= alpha + 1e-12


@pytest.mark.parametrize("procedure", [fair_bits, peres_bits])
def test_bits_are_fair_for_every_bias(procedure):
    """Given the number of heads all sequences are equally likely; so have to be all strings of a length."""
    for n in (1, 2, 5, 8):
        counts = {}
        for tosses in itertools.product((0, 1), repeat=n):
            bits = tuple(procedure(tosses).tolist())
            by_length = counts.setdefault((sum(tosses), len(bits)), {})
            by_length[bits] = by_length.get(bits, 0) + 1
        for (_, length), strings in counts.items():
            assert len(strings) == 2**length
            assert len(set(strings.values())) == 1


def test_rates_of_bits():
    rng = np.random.default_rng(1)
    b = 0.2
    tosses = rng.random(200_000) < b
    # Hoeffding over 1e5 pairs: off by more than 0.01 with probability below 1e-8.
    assert abs(fair_bits(tosses).size / (tosses.size / 2) - 2 * b * (1 - b)) < 0.01
    entropy = stats.entropy([b, 1 - b], base=2)
    assert fair_bits(tosses).size / tosses.size < peres_bits(tosses).size / tosses.size < entropy
    assert peres_bits(tosses).size / tosses.size > 0.95 * entropy


def test_extremal_instances_are_recognised():
    assert PartialRejection([0.5, 0.5], sink_free_events([(0, 1), (1, 2), (2, 0)], 3), num_variables=3).is_extremal
    assert not PartialRejection([0.5, 0.5], [{0: 1, 1: 1}, {1: 1, 2: 1}], num_variables=3).is_extremal


def clamped_maps(n, up):
    moves = [tuple(min(x + 1, n - 1) for x in range(n)), tuple(max(x - 1, 0) for x in range(n))]
    return list(zip(moves, (up, 1 - up), strict=True))


def composed(n, up, steps):
    """The law of ``F_t``, the oldest map applied first, over ``steps`` maps."""
    law = {tuple(range(n)): Fraction(1)}
    for _ in range(steps):
        further = {}
        for table, mass in law.items():
            for move, chance in clamped_maps(n, up):
                key = tuple(table[move[x]] for x in range(n))
                further[key] = further.get(key, 0) + mass * chance
        law = further
    return law


@pytest.mark.parametrize(
    ("up", "law", "coalesces"),
    [
        (Fraction(3, 5), [Fraction(4, 13), 0, Fraction(9, 13)], Fraction(13, 25)),
        (Fraction(2, 3), [Fraction(1, 5), 0, Fraction(4, 5)], Fraction(5, 9)),
    ],
)
def test_impatience_is_a_bias(up, law, coalesces):
    maps = composed(3, up, 2)
    met = {table[0]: mass for table, mass in maps.items() if len(set(table)) == 1}
    assert sum(met.values()) == coalesces
    assert [met.get(x, 0) / coalesces for x in range(3)] == law
    # The same maps, put through a stationary start, keep the law.
    weights = [(1 - up) ** 2, up * (1 - up), up**2]
    stationary = [w / sum(weights) for w in weights]
    arrived = [Fraction(0)] * 3
    for table, mass in maps.items():
        for x in range(3):
            arrived[table[x]] += mass * stationary[x]
    assert arrived == stationary
