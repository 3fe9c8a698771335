"""Acceptance rules that decide by the ratio: balance, order, edges, bad input, and the traps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ergodica.samplers.acceptance.metropolis import Barker, GeneralisedBarker, Lazy, Metropolis
from ergodica.samplers.claim import Exactness
from ergodica.validation.cases.metropolis import CASES
from ergodica.validation.certify import certify
from tests.traps.metropolis import RULE_TRAPS

RULES = [Metropolis(), Barker(), GeneralisedBarker(), GeneralisedBarker(0.3), Lazy(), Lazy(Barker(), 0.9)]
ROWS = {case.name: case for case in CASES if case.name.endswith("-rule")}


@pytest.mark.parametrize("name", ROWS)
def test_the_catalogue_certifies_each_rule(name):
    report = certify(name)
    assert report.passed, str(report)


@pytest.mark.parametrize("trap", RULE_TRAPS)
def test_the_checks_catch_a_wrong_rule(trap):
    outcomes = [check.run(trap(), jax.random.key(0)) for check in ROWS["metropolis-rule"].checks]
    assert not all(outcome.passed for outcome in outcomes)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
@given(log_ratio=st.floats(-700, 700))
@example(log_ratio=0.0)
@example(log_ratio=5e-324)
def test_balance(rule, log_ratio):
    up, down = (float(rule.probability(jnp.asarray(sign * log_ratio))) for sign in (1, -1))
    assert down == pytest.approx(np.exp(-log_ratio) * up, rel=1e-12, abs=0)
    assert 0 < down <= 1


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_edges(rule, dtype):
    log_ratio = jnp.array([jnp.nan, -jnp.inf, jnp.inf, -1e4, 1e4], dtype)
    probability = jax.jit(lambda rule, x: rule.probability(x))(rule, log_ratio)
    assert probability.dtype == dtype
    np.testing.assert_array_equal(probability[:2], 0)
    assert probability[3] == 0
    limit = rule.consider.astype(dtype) if isinstance(rule, Lazy) else 1
    np.testing.assert_array_equal(probability[jnp.array([2, 4])], limit)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_a_draft_of_probability_zero_is_never_accepted(rule):
    keys = jax.random.split(jax.random.key(0), 100_000)
    for value in (-jnp.inf, jnp.nan):
        accepted, _ = jax.vmap(rule.decide, in_axes=(0, None))(keys, jnp.asarray(value))
        assert not jnp.any(accepted)


@pytest.mark.parametrize("rule", [Metropolis(), Lazy(consider=1.0)], ids=["Metropolis", "Lazy"])
def test_a_better_draft_is_always_accepted(rule):
    keys = jax.random.split(jax.random.key(0), 100_000)
    accepted, _ = jax.vmap(rule.decide, in_axes=(0, None))(keys, jnp.asarray(0.0))
    assert jnp.all(accepted)


def test_peskun_order():
    log_ratio = jnp.linspace(-30, 30, 601)
    metropolis, barker = Metropolis().probability(log_ratio), Barker().probability(log_ratio)
    between = [GeneralisedBarker(order).probability(log_ratio) for order in (1.0, 1.5, 4.0, 50.0)]
    np.testing.assert_allclose(between[0], barker, rtol=1e-13)
    for lower, upper in zip([barker, *between], [*between, metropolis], strict=True):
        assert jnp.all(lower <= upper * (1 + 1e-14))
    assert jnp.all(metropolis <= 2 * barker * (1 + 1e-14))
    np.testing.assert_allclose(GeneralisedBarker(1e9).probability(log_ratio), metropolis, rtol=1e-8)


def test_generalised_barker_is_the_ratio_of_sums():
    ratio = np.linspace(0.05, 8, 50)
    powers = ratio[:, None] ** np.arange(4)
    expected = powers[:, 1:].sum(axis=1) / powers.sum(axis=1)
    np.testing.assert_allclose(GeneralisedBarker(3).probability(jnp.log(ratio)), expected, rtol=1e-13)


def test_lazy_halves():
    log_ratio = jnp.linspace(-3, 3, 7)
    np.testing.assert_array_equal(Lazy(Barker()).probability(log_ratio), 0.5 * Barker().probability(log_ratio))
    assert Lazy(Barker()).claim == Barker().claim


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_claims(rule):
    assert rule.kind == "invariance"
    assert rule.claim.exactness is Exactness.EXACT
    assert rule.claim.reversible
    assert rule.claim.source


def test_parameters_are_leaves():
    traces = []

    @jax.jit
    def probability(rule):
        traces.append(1)
        return rule.probability(jnp.asarray(-0.5))

    for order in (1.0, 2.0):
        probability(GeneralisedBarker(order))
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: GeneralisedBarker(0.0), ValueError, "greater than 0"),
        (lambda: GeneralisedBarker("much"), TypeError, "real number"),
        (lambda: Lazy(Metropolis(), 1.5), ValueError, "probability; got 1.5"),
        (lambda: Lazy(Metropolis(), 0.0), ValueError, "greater than 0"),
        (lambda: Lazy("Metropolis"), TypeError, "decides by the ratio"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()
