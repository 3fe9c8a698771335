"""The law of a draft that is selected by weight, and the weights that make the selection optimal."""

from fractions import Fraction

import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from ergodica.samplers.acceptance.luce_selection import LuceSelection, choice_probabilities, selected_law
from ergodica.samplers.acceptance.optimal_luce_selection import OptimalLuceSelection, optimal_selected_law
from ergodica.theory.draft_acceptance import acceptance
from ergodica.theory.optimal_acceptance import optimal_acceptance
from tests.strategies import law, pairs


@pytest.mark.parametrize("k", [1, 2, 4])
def test_quadrature_meets_the_enumeration(k):
    """Two levels, and weights over 26 orders of magnitude."""
    q, level = law([5, 1, 3, 8]), np.array([1, 0, 1, 0])
    weights = np.array([Fraction(1), Fraction(1), Fraction(1, 10**26), Fraction(1, 3)], dtype=object)
    exact = selected_law(q, weights, level, k)
    assert sum(exact) == 1
    found = selected_law(*(jnp.asarray(part.astype(float)) for part in (q, weights)), jnp.asarray(level), k)
    np.testing.assert_allclose(found, exact.astype(float), rtol=1e-13, atol=1e-15)


def test_two_drafts_of_a_large_vocabulary():
    rng = np.random.default_rng(4)
    q, weights = rng.dirichlet(np.ones(300)), rng.random(300) ** 8
    weights = weights / weights.max()
    found = selected_law(jnp.asarray(q), jnp.asarray(weights), jnp.zeros(300, int), 2)
    pairwise = weights[:, None] / (weights[:, None] + weights)
    np.testing.assert_allclose(found, 2 * q * (pairwise @ q), rtol=1e-12)


def test_choice_is_among_the_highest_level():
    chosen = choice_probabilities(jnp.array([0.5, 1.0, 0.25, 0.25]), jnp.array([1, 0, 1, 1]))
    np.testing.assert_allclose(chosen, [0.5, 0, 0.25, 0.25])


@settings(max_examples=30)
@given(pairs(), st.integers(1, 4))
def test_wanted_law_can_be_selected_and_is_optimal(pair, k):
    p, q = (part.astype(float) for part in pair)
    wanted, level = optimal_selected_law(p, q, k)
    assert wanted.sum() == pytest.approx(1, abs=1e-12)
    assert np.minimum(p, wanted).sum() == pytest.approx(optimal_acceptance(p, q, k), abs=1e-12)
    for bits in range(2**p.size):
        inside = [token for token in range(p.size) if bits >> token & 1]
        assert wanted[inside].sum() >= q[inside].sum() ** k - 1e-12
    for top in range(level.max() + 1):
        below = (level <= top) & (q > 0)
        assert wanted[below].sum() == pytest.approx(q[below].sum() ** k, abs=1e-12)


def test_optimum_of_a_large_vocabulary():
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.full(400, 0.3))
    q = p * np.exp(0.7 * rng.normal(size=400))
    rule = OptimalLuceSelection()
    state = rule.prepare(p, q, 3)
    assert float(rule.alpha(state)) == pytest.approx(optimal_acceptance(p, q, 3), abs=1e-12)
    luce = LuceSelection()
    plain = float(luce.alpha(luce.prepare(p, q, 3)))
    assert acceptance(p, q) < plain < float(rule.alpha(state))
