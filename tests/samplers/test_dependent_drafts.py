"""Laws of several drafts: what is enumerated is what is drawn, and the optimum is that of the linear program."""

from fractions import Fraction

import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from hypothesis import given, settings

from ergodica.samplers.acceptance.dependent_drafts import DraftsWithoutReplacement, HubDrafts, TopDrafts, UnequalDrafts
from ergodica.theory.optimal_acceptance import acceptance_program, drafted_sets
from ergodica.validation.enumeration import enumerate_law
from tests.strategies import law, pairs

KEY = jax.random.key(0)


def laws_of(p, q):
    """All laws of drafts that can be made of one or two laws of a draft."""
    return {
        "without replacement": DraftsWithoutReplacement(q, 2),
        "more than there are": DraftsWithoutReplacement(q, p.size + 1),
        "unequal": UnequalDrafts(np.stack([p, q])),
        "top": TopDrafts(q, 2),
        "top of all": TopDrafts(q, p.size + 2),
        "hub": HubDrafts(q),
    }


def sets_of(drafts):
    sets = {}
    for drawn, mass in drafts.enumerate():
        sets[frozenset(drawn)] = sets.get(frozenset(drawn), 0) + mass
    return sets


@settings(max_examples=12)
@given(pairs(st.integers(1, 4)), st.data())
def test_tuples_sets_and_optimum(pair, data):
    p, q = pair
    for drafts in laws_of(p, q).values():
        sets = sets_of(drafts)
        assert sum(sets.values()) == 1
        inside = data.draw(st.sets(st.integers(0, p.size - 1)))
        assert drafts.joint_in(np.array(sorted(inside), int)) == sum(m for s, m in sets.items() if s <= inside)
        best = acceptance_program(p.astype(float), sets)
        assert float(drafts.optimum(p)) == pytest.approx(best.value, abs=1e-9)


def test_sets_without_replacement_are_those_of_theory():
    q = law([3, 0, 1, 4])
    for k in (1, 2, 3, 5):
        assert sets_of(DraftsWithoutReplacement(q, k)) == drafted_sets(q, k, replacement=False)


@pytest.mark.parametrize("weights", [(3, 1, 4), (0, 2, 0)])
def test_samples_have_the_enumerated_law(weights):
    q = law(weights)
    exact, floats = laws_of(law([1, 1, 2]), q), laws_of(law([1, 1, 2]).astype(float), q.astype(float))
    for name, drafts in floats.items():
        if name == "more than there are" and weights[0]:
            continue
        drawn = enumerate_law(drafts.sample, KEY)
        found = {
            tuple(int(token) for token in tokens if token >= 0): mass
            for tokens, mass in zip(drawn.support, drawn.probabilities, strict=True)
            if mass > 0
        }
        wanted = dict(exact[name].enumerate())
        assert set(found) == set(wanted)
        for tokens, mass in wanted.items():
            assert found[tokens] == pytest.approx(float(mass), abs=1e-12)


def test_first_draft_of_a_pair_has_the_draft_law():
    q = law([3, 1, 4, 2])
    first = np.array([Fraction(0)] * 4, dtype=object)
    for (token, _), mass in HubDrafts(q).enumerate():
        first[token] += mass
    assert list(first) == list(q)


def test_bad_input_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="a row for each draft"):
        UnequalDrafts(np.ones(3))
    with pytest.raises(ValueError, match="13 tokens are too many"):
        UnequalDrafts(np.ones((2, 13))).optimum(np.ones(13))
    with pytest.raises(ValueError, match="q is all zero"):
        HubDrafts(np.zeros(3))
    with pytest.raises(ValueError, match="k has to be at least 1"):
        TopDrafts(np.ones(3), 0)
