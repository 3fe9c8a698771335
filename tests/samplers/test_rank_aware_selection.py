"""Selection by rank: exact laws, other rules as special cases, best weights, bad input, and the traps."""

from fractions import Fraction

import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from hypothesis import given, settings

from ergodica.samplers.acceptance.ordered_selection import OrderedSelection
from ergodica.samplers.acceptance.rank_aware_selection import RankAwareSelection
from ergodica.theory.draft_acceptance import acceptance
from ergodica.validation.cases.speculation import RANK_CHECKS
from tests.strategies import law, pairs
from tests.traps.speculation import RANK_TRAPS

KEY = jax.random.key(0)
RATIONAL = RANK_CHECKS[:2]


@pytest.mark.parametrize("check", RATIONAL, ids=lambda check: check.name)
def test_rational_checks_accept_the_rule(check):
    outcome = check.run(RankAwareSelection(), KEY)
    assert outcome.passed, outcome.details
    assert outcome.false_alarm == 0


@pytest.mark.parametrize("trap", RANK_TRAPS, ids=lambda trap: trap.__name__)
def test_the_rational_law_rejects_the_trap(trap):
    assert not RATIONAL[1].run(trap(), KEY).passed


@settings(max_examples=15)
@given(pairs(st.integers(1, 4)), st.integers(1, 3), st.lists(st.integers(0, 5), min_size=3, max_size=3))
def test_every_choice_of_weights_is_exact(pair, k, weights):
    p, q = pair
    rule = RankAwareSelection(law(weights[:k]) if any(weights[:k]) else None)
    out = rule.output_law(p, q, k)
    assert list(out.law) == list(p)
    assert rule.alpha(rule.prepare(p, q, k)) == out.accept_branch


@settings(max_examples=15)
@given(pairs(), st.integers(2, 4))
def test_special_cases_and_order(pair, k):
    p, q = pair
    first, equal = [Fraction(int(rank == 0)) for rank in range(k)], [Fraction(1, k)] * k
    ordered, one, best = (
        rule.alpha(rule.prepare(p, q, k))
        for rule in (
            RankAwareSelection(np.array(first, object)),
            RankAwareSelection(np.array(equal, object)),
            RankAwareSelection(),
        )
    )
    assert ordered == OrderedSelection().alpha(OrderedSelection().prepare(p, q, k))
    assert one == acceptance(p, q)
    assert float(best) >= max(ordered, one) - 1e-11
    fewer = RankAwareSelection()
    assert float(best) >= float(fewer.alpha(fewer.prepare(p, q, k - 1))) - 1e-11


def test_published_law_of_the_likeliest_rank():
    p, q = law([12, 3, 6, 11]), law([8, 2, 1, 4])
    state = RankAwareSelection(law([1, 0, 0])).prepare(p, q, 3)
    expected = [0.1517037037037037, 0.1445925925925926, 0.18696296296296297, 0.5167407407407407]
    np.testing.assert_allclose(state.selected.astype(float), expected, atol=1e-12)


def test_fixed_weights_can_be_traced():
    rule, p, q = RankAwareSelection([0.5, 0.5]), np.array([0.2, 0.8]), np.array([0.6, 0.4])
    traced = jax.jit(lambda p, q: rule.alpha(rule.prepare(p, q, 2)))(p, q)
    assert float(traced) == pytest.approx(float(acceptance(p, q)))
    with pytest.raises(TypeError, match="outside jit"):
        jax.jit(lambda p, q: RankAwareSelection().prepare(p, q, 2).selected)(p, q)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RankAwareSelection([1.0, -1.0]), "negative"),
        (lambda: RankAwareSelection([0.0, 0.0]), "all zero"),
        (lambda: RankAwareSelection([1.0, 1.0]).prepare([1.0, 1.0], [1.0, 1.0], 3), "each of 3 drafts"),
        (lambda: RankAwareSelection().prepare([1.0, 1.0], [1.0, 1.0, 1.0], 2), "same tokens"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
