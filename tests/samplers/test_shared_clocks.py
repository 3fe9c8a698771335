"""Draft and target on the same clocks: laws, matches, edges, live lists, bad input, and the traps."""

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays

from ergodica.samplers.acceptance.shared_clocks import SharedClocks, exponential_clocks
from ergodica.validation.cases.speculation import CASES
from ergodica.validation.stationary_start import binomial_pvalue, kolmogorov_pvalue
from tests.traps.speculation import CLOCK_TRAPS

ROW = next(case for case in CASES if case.name == "shared-clocks")
RULE = SharedClocks()
DRAW = jax.jit(lambda key, p, q: RULE.draw(key, p, q, 3))


@pytest.mark.slow
@pytest.mark.parametrize("trap", CLOCK_TRAPS, ids=lambda trap: trap.__name__)
def test_the_checks_reject_the_trap(trap):
    assert not ROW.checks[2].run(trap(), jax.random.key(2)).passed


def weights():
    return arrays.arrays(float, 4, elements=st.sampled_from([0.0, 0.0, 1e-9, 1.0, 1.0, 3.0])).filter(np.any)


@settings(max_examples=30)
@given(weights(), weights(), st.integers(0, 2**32 - 1))
def test_edges(p, q, seed):
    key = jax.random.key(seed)
    decision, own = DRAW(key, p, q), DRAW(key, p, p)
    assert p[decision.token] > 0
    assert own.token == decision.token
    assert own.is_accepted  # equal laws always match
    if not np.any((p > 0) & (q > 0)):
        assert not decision.is_accepted
    assert (decision.draft_index >= 0) == decision.is_accepted
    scaled = DRAW(key, 7 * p, q / 3)
    assert (scaled.token, scaled.draft_index) == (decision.token, decision.draft_index)


def test_only_live_lists_count():
    clocks = jnp.array([[3.0, 1.0, 5.0], [0.1, 9.0, 9.0], [9.0, 9.0, 0.2]])
    p = np.ones(3)
    emit = jax.jit(RULE.emit)
    assert RULE.emit(clocks, p) == emit(clocks, p, jnp.array([True, True, True])) == 0
    assert emit(clocks, p, jnp.array([True, False, True])) == 2
    assert emit(clocks, p, jnp.array([True, False, False])) == 1
    # None is left: the first stands in.
    assert emit(clocks, p, jnp.array([False, False, False])) == 1
    assert list(RULE.drafts(clocks, p)) == [1, 0, 2]


def test_clocks_are_exponential_and_fine_near_zero():
    """Smirnov's exact tail, at the level 1e-6; and clocks below the last of 23 bits, which a float32 uniform lacks."""
    many = np.asarray(exponential_clocks(jax.random.key(3), (1 << 20,), jnp.float32))
    assert many.dtype == np.float32
    assert kolmogorov_pvalue(-np.expm1(-many[:20_000].astype(np.float64))) > 1e-6
    assert many.min() > 0
    small = many[many < 2.0**-13] * 2.0**23
    assert np.max(np.abs(small - np.round(small))) > 0.2  # one uniform alone has multiples of 2**-23
    assert binomial_pvalue(int(np.sum(many < 2.0**-13)), many.size, -np.expm1(-(2.0**-13))) > 1e-6


def test_values_of_theory_belong_to_the_rule():
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    assert RULE.alpha(p, q, 2) == pytest.approx(0.77399929589861, abs=1e-12)
    assert RULE.alpha_bound(p, q, 2) == pytest.approx(0.746583850931677, abs=1e-12)


def test_laws_that_are_none_give_no_token_under_jit():
    bad = jnp.array([jnp.nan, 1.0, 1.0, 1.0])
    decision = DRAW(jax.random.key(0), bad, jnp.ones(4))
    assert decision.token == -1
    assert not decision.is_accepted


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: RULE.clocks(jax.random.key(0), 3, 0), "at least 1"),
        (lambda: RULE.emit(jnp.ones((2, 3)), [1.0, 1.0]), r"clocks of shape \(k, 2\)"),
        (lambda: RULE.drafts(jnp.ones((2, 2)), [1.0, -1.0]), "negative"),
        (lambda: RULE.emit(jnp.ones((2, 2)), [1.0, 1.0], jnp.ones(2)), "boolean for each of 2"),
        (lambda: RULE.draw(jax.random.key(0), [0.0, 0.0], [1.0, 1.0]), "all zero"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
