"""Closed forms of speculative decoding: published numbers, identities in fractions, brute force."""

from fractions import Fraction
from itertools import product

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from ergodica.theory import speculative
from tests.strategies import law, models, pairs

RATES = st.fractions(0, 1, max_denominator=40)


def test_block_length_and_speed_of_published_settings():
    assert speculative.best_gamma(0.8, 0.05) == 8
    assert speculative.speed(0.8, 8, 0.05) == pytest.approx(3.092079542857143, abs=1e-12)
    assert speculative.speed(0.8, 7, 0.05) == pytest.approx(3.082325333333333, abs=1e-12)
    assert speculative.best_gamma(0.7, 0.1) == 4
    assert speculative.expected_tokens(0.7, 4) == pytest.approx(2.7731, abs=1e-12)
    assert speculative.speed(0.7, 4, 0.1) == pytest.approx(1.9807857142857141, abs=1e-12)


def test_binary_models_in_fractions():
    a = speculative.acceptance(law([1, 2]), law([2, 1]))
    assert a == Fraction(2, 3)
    assert [speculative.expected_tokens(a, gamma) for gamma in (1, 2, 3)] == [
        Fraction(5, 3),
        Fraction(19, 9),
        Fraction(65, 27),
    ]
    target = {
        prefix: [Fraction(1, 3), Fraction(2, 3)] for length in range(3) for prefix in product((0, 1), repeat=length)
    }
    draft = {prefix: row[::-1] for prefix, row in target.items()}
    assert speculative.expected_accepted_in_context(target, draft, 2) == Fraction(10, 9)
    assert speculative.expected_accepted_in_context(target, draft, 3) == Fraction(38, 27)


def test_acceptance_in_context_of_published_models():
    target = {
        (): (Fraction(5, 8), Fraction(3, 8)),
        (0,): (Fraction(11, 18), Fraction(7, 18)),
        (1,): (Fraction(2, 7), Fraction(5, 7)),
    }
    draft = {
        (): (Fraction(2, 9), Fraction(7, 9)),
        (0,): (Fraction(7, 15), Fraction(8, 15)),
        (1,): (Fraction(11, 14), Fraction(3, 14)),
    }
    assert float(speculative.expected_accepted_in_context(target, draft, 2)) == pytest.approx(
        0.9748456790123456, abs=1e-12
    )


@given(RATES, st.integers(0, 8))
def test_length_is_the_mean_of_its_law(a, gamma):
    masses = speculative.law_of_accepted(a, gamma)
    assert sum(masses) == 1
    assert sum(i * mass for i, mass in enumerate(masses)) == speculative.expected_accepted(a, gamma)
    if a < 1:
        assert speculative.expected_tokens(a, gamma) == (1 - a ** (gamma + 1)) / (1 - a)


@given(st.fractions(0, Fraction(19, 20), max_denominator=20), st.fractions(Fraction(1, 50), 2, max_denominator=50))
def test_best_length_beats_all_others(a, c):
    best = speculative.best_gamma(a, c)
    top = speculative.speed(a, best, c)
    assert all(speculative.speed(a, gamma, c) <= top for gamma in range(best + 12))
    assert (top > 1) == (a > c)
    if a > c:
        assert speculative.speed(a, 1, c) == (1 + a) / (1 + c) > 1


@given(RATES, st.integers(0, 8), st.fractions(0, 2, max_denominator=10))
def test_arithmetic_is_that_of_the_whole_block(a, gamma, c):
    spent = speculative.arithmetic_factor(a, gamma, c) * speculative.expected_tokens(a, gamma)
    assert spent == gamma * c + gamma + 1


@given(pairs())
def test_acceptance_is_one_minus_total_variation(pair):
    p, q = pair
    assert speculative.acceptance(p, q) == 1 - speculative.total_variation(p, q)
    assert speculative.total_variation(p, q) == speculative.total_variation(q, p) == sum(abs(p - q)) / 2
    assert speculative.acceptance(3 * p, q / 7) == speculative.acceptance(p, q)
    assert speculative.acceptance(p.astype(float), q.astype(float)) == pytest.approx(
        float(speculative.acceptance(p, q)), abs=1e-12
    )


@given(pairs(), st.integers(1, 3))
def test_optimum_is_the_smallest_cut_over_all_sets(pair, k):
    p, q = pair

    def joint_in(tokens):
        return q[np.asarray(tokens, int)].sum() ** k

    subsets = ([token for token in range(p.size) if (mask >> token) & 1] for mask in range(2**p.size))
    brute = min(p[np.asarray(subset, int)].sum() + 1 - joint_in(subset) for subset in subsets)
    assert speculative.optimal_membership(p, q, joint_in) == brute
    if k == 1:
        assert brute == speculative.acceptance(p, q)


@given(models(2, 2), models(2, 2), st.integers(0, 3))
def test_acceptance_in_context_against_all_chains(target, draft, gamma):
    total = Fraction(0)
    for length in range(1, gamma + 1):
        for chain in product((0, 1), repeat=length):
            mass = Fraction(1)
            for place, token in enumerate(chain):
                mass *= min(target[chain[:place]][token], draft[chain[:place]][token])
            total += mass
    assert speculative.expected_accepted_in_context(target, draft, gamma) == total


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: speculative.acceptance([1.0, np.nan], [1.0, 1.0]), "NaN"),
        (lambda: speculative.acceptance([1.0, -0.5], [1.0, 1.0]), "negative"),
        (lambda: speculative.acceptance([0.0, 0.0], [1.0, 1.0]), "no positive entry"),
        (lambda: speculative.acceptance([1.0], [1.0, 1.0]), "same tokens"),
        (lambda: speculative.total_variation([], []), "at least one entry"),
        (lambda: speculative.expected_tokens(1.5, 2), "probability"),
        (lambda: speculative.expected_tokens(0.5, -1), "non-negative"),
        (lambda: speculative.speed(0.5, 2, -1.0), "at least 0"),
        (lambda: speculative.best_gamma(1.0, 0.1), "always faster"),
        (lambda: speculative.best_gamma(0.5, 0.0), "always faster"),
    ],
)
def test_bad_input_is_refused_with_the_reason(call, words):
    with pytest.raises(ValueError, match=words):
        call()
