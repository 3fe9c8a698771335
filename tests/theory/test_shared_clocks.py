"""Matches of draft and target that race the same clocks: golden numbers, quadrature by other means, bounds, bad input."""

from fractions import Fraction

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy import integrate

from ergodica.theory.draft_acceptance import acceptance, shared_randomness_bound
from ergodica.theory.optimal_acceptance import optimal_acceptance
from ergodica.theory.shared_clocks import match_probability, total_variation_bound
from tests.strategies import law, pairs


@pytest.mark.parametrize(("k", "expected"), [(1, 0.630769230769231), (2, 0.773999295898610), (3, 0.850440292856653)])
def test_the_example_of_the_literature(k, expected):
    p = law([5, 3, 2])
    assert float(match_probability(p, p[::-1], k)) == pytest.approx(expected, abs=1e-12)


def test_a_known_instance():
    p, q = law([5, 12, 5]), law([2, 3, 1])
    assert match_probability(p, q, 2) == pytest.approx(0.9503577179321859, abs=1e-12)
    assert float(match_probability(p, q)) == pytest.approx(0.873939393939394, abs=1e-12)
    assert float(shared_randomness_bound(p, q, 2)) == pytest.approx(0.9302187174527601, abs=1e-12)


def test_one_list_stays_a_fraction():
    assert match_probability(law([1, 2]), law([2, 1])) == Fraction(2, 3)


def test_the_double_integral_by_another_rule():
    """The inner integral is done here by SciPy, as it stands."""
    p, q, k = np.array([0.3, 0.25, 0.45]), np.array([0.15, 0.6, 0.25]), 3

    def seen(t, j):
        others = [x for x in range(3) if x != j]
        a = np.exp(-t * sum(max(q[x] * p[j] / q[j] - p[x], 0) for x in others))

        def inner(v):
            return np.exp(-(q[j] * v - p[j] * t) - sum(max(q[x] * v - p[x] * t, 0) for x in others))

        b = q[j] * integrate.quad(inner, p[j] * t / q[j], np.inf, epsabs=1e-11)[0]
        return p[j] * k * np.exp(-k * t) * (1 - (1 - a) * (1 - b) ** (k - 1))

    value = sum(integrate.quad(seen, 0, np.inf, args=(j,), epsabs=1e-10)[0] for j in range(3))
    assert match_probability(p, q, k) == pytest.approx(value, abs=1e-8)


@settings(max_examples=25)
@given(pairs(), st.integers(2, 4))
def test_bounds_and_order(pair, k):
    p, q = (np.asarray(part, float) for part in pair)
    one, several = float(match_probability(*pair)), match_probability(p, q, k)
    assert float(total_variation_bound(*pair)) <= one + 1e-12
    assert one <= float(acceptance(*pair)) + 1e-12
    assert float(shared_randomness_bound(*pair, k)) <= several + 1e-12
    assert one - 1e-12 <= several <= optimal_acceptance(p, q, k) + 1e-12


def test_equal_laws_always_match_and_disjoint_ones_never():
    p, q = np.array([0.2, 0.0, 0.8]), np.array([0.0, 1.0, 0.0])
    for k in (1, 3):
        assert match_probability(p, p, k) == pytest.approx(1, abs=1e-13)
        assert match_probability(p, q, k) == 0
    # A draft that is certain: the target has to win by itself.
    assert match_probability([0.3, 0.7], [0.0, 1.0], 4) == pytest.approx(shared_randomness_bound([0.3, 0.7], [0, 1], 4))


@pytest.mark.parametrize(
    ("p", "q", "k", "message"),
    [([1, 1], [1, 1, 1], 1, "same tokens"), ([1, -1], [1, 1], 2, "negative"), ([1, 1], [1, 1], 0, "positive integer")],
)
def test_bad_input(p, q, k, message):
    with pytest.raises(ValueError, match=message):
        match_probability(p, q, k)
