"""Rules for several drafts of one position: exact laws, published numbers, rates, the numeric contract, traps."""

import itertools
from fractions import Fraction

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from ergodica.samplers import random
from ergodica.samplers.acceptance.dependent_drafts import TopDrafts
from ergodica.samplers.acceptance.greedy_multi_draft import GreedyMultiDraft
from ergodica.samplers.acceptance.luce_selection import LuceSelection
from ergodica.samplers.acceptance.naive import Naive
from ergodica.samplers.acceptance.optimal_luce_selection import OptimalLuceSelection
from ergodica.samplers.acceptance.optimal_selection import OptimalSelection
from ergodica.samplers.acceptance.ordered_selection import OrderedSelection
from ergodica.samplers.acceptance.recursive_rejection import RecursiveRejection
from ergodica.samplers.acceptance.recursive_rejection_without_replacement import RecursiveRejectionWithoutReplacement
from ergodica.samplers.acceptance.sequential_selection import SequentialSelection, smallest_rho
from ergodica.samplers.acceptance.spechub import SpecHub
from ergodica.theory import draft_acceptance, optimal_acceptance
from ergodica.validation.cases.acceptance import CASES
from ergodica.validation.enumeration import enumerate_law
from tests.strategies import pairs
from tests.traps.acceptance import MULTI_DRAFT_TRAPS, KeepsMostConfident, SkipsDuplicates

KEY = jax.random.key(3)


def fractions(text):
    rows = [np.array([Fraction(part) for part in row.split()], dtype=object) for row in text.split(";")]
    return rows[0] if len(rows) == 1 else np.stack(rows)


RULES = {
    "naive": Naive(),
    "recursive": RecursiveRejection(),
    "without replacement": RecursiveRejectionWithoutReplacement(),
    "sequential": SequentialSelection(),
    "greedy": GreedyMultiDraft(),
    "hub": SpecHub(),
    "ordered": OrderedSelection(),
    "luce": LuceSelection(),
    "optimal": OptimalSelection(),
    "optimal without replacement": OptimalSelection(replacement=False),
    "optimal luce": OptimalLuceSelection(),
}
ON_HOST = ("optimal", "optimal without replacement", "optimal luce")
TOLERANCE = {"optimal": 1e-10, "optimal without replacement": 1e-10, "optimal luce": 1e-7}
"""How near the optimum comes: the program's own tolerance; that of scaled weights in the worst case."""

# --- published numbers ----------------------------------------------------------------------------------------------

GOLDEN = [
    ("naive", 2, "0 3/8 5/8 0", "3/17 4/17 4/17 6/17", 0.41522491349480967, None, 0.7197231833910035),
    ("recursive", 2, "6/25 3/25 7/25 9/25", "5/18 11/36 5/18 5/36", 0.8099074074074074, None, 0.8984876543209876),
    ("recursive", 3, "5/27 4/9 0 1/27 1/3", "3/11 2/33 10/33 0 4/11", 0.6285938664267406, None, 0.6895400283830035),
    ("without replacement", 2, "3/16 1/2 0 5/16", "4/7 0 3/14 3/14", 0.5, None, 0.5),
    (
        "without replacement", 3, "5/41 5/41 12/41 8/41 11/41", "6/37 11/37 0 8/37 12/37",
        0.7073170731707317, None, 0.7073170731707317,
    ),
    ("without replacement", 3, "1/7 1/14 11/14", "1/7 3/7 3/7", 1.0, None, 1.0),
    ("sequential", 2, "1/6 0 3/8 11/24", "7/29 4/29 9/29 9/29", 0.9325885443715655, None, 0.9809750297265161),
    ("sequential", 4, "1/3 1/6 1/2", "5/17 5/17 7/17", 0.9990473479247353, None, 1.0),
    ("greedy", 2, "1/2 3/7 0 1/14", "1/4 3/16 1/8 7/16", 0.8492063492063492, None, 0.8492063492063492),
    ("greedy", 3, "3/10 11/30 1/5 1/15 1/15", "1/8 9/32 0 11/32 1/4", 0.8, None, 0.8),
    ("hub", 2, "1/5 2/25 6/25 12/25", "11/26 9/26 1/26 5/26", 0.68, None, 0.68),
    (
        "recursive", 2, "9/32 5/32 3/16 3/8", "1/5 3/10 7/30 4/15; 10/29 11/29 4/29 4/29",
        0.9019396551724138, None, 0.992816091954023,
    ),
    (
        "ordered", 3, "3/8 3/32 3/16 11/32", "8/15 2/15 1/15 4/15",
        0.7761666666666667, 0.9780490559828835, 0.999462962962963,
    ),
    (
        "luce", 2, "1/5 2/3 1/15 1/15", "1/3 1/9 1/3 2/9",
        0.5317348256416357, 0.5381731698275181, 0.5432098765432098,
    ),
    ("optimal", 2, "1/4 1/4 5/16 3/16", "3/19 9/38 11/38 6/19", 1.0, None, 1.0),
    ("optimal", 3, "9/32 1/8 0 5/16 9/32", "1/4 1/4 0 1/2 0", 0.71875, None, 0.71875),
    (
        "optimal without replacement", 3, "11/35 8/35 6/35 2/7 0", "4/29 6/29 9/29 2/29 8/29",
        0.98756039163081, None, 0.98756039163081,
    ),
    ("optimal luce", 2, "1/4 1/4 5/16 3/16", "3/19 9/38 11/38 6/19", 1.0, None, 1.0),
    ("optimal luce", 3, "9/32 1/8 0 5/16 9/32", "1/4 1/4 0 1/2 0", 0.71875, None, 0.71875),
]  # fmt: skip


@pytest.mark.parametrize(("name", "k", "p", "q", "branch", "member", "optimum"), GOLDEN)
def test_published_numbers(name, k, p, q, branch, member, optimum):
    rule, p, q = RULES[name], fractions(p), fractions(q)
    out = rule.output_law(p, q, k)
    assert list(out.law) == list(p)
    assert float(out.accept_branch) == pytest.approx(branch, abs=1e-12)
    assert float(out.accept_member) == pytest.approx(branch if member is None else member, abs=1e-12)
    assert float(rule.optimum(p, rule.draft_law(q, k))) == pytest.approx(optimum, abs=1e-12)


def test_published_states():
    state = RULES["recursive"].prepare(fractions(GOLDEN[2][2]), fractions(GOLDEN[2][3]), 3)
    lam, s = 0, 1
    for expected in ((1.0, 0.4208754208754209), (1.4208754208754208, 0.39536781961024386),
                     (1.8162432404856648, 0.37140613357325936)):  # fmt: skip
        lam = lam + s
        excess = [max(p - lam * q, 0) for p, q in zip(state.current[0], state.q[0], strict=True)]
        s = sum(excess)
        assert (float(lam), float(s)) == pytest.approx(expected, abs=1e-12)
    assert list(state.current[-1]) == [part / s for part in excess]
    for at, rho in ((6, 1.2596371614935629), (7, 1.2119721306743572)):
        _, k, p, q, *_ = GOLDEN[at]
        for law in (fractions, lambda text: jnp.asarray(fractions(text).astype(float))):
            assert float(smallest_rho(law(p), law(q), k)) == pytest.approx(rho, abs=1e-12)
    for at, selected in (
        (12, [0.1517037037037037, 0.1445925925925926, 0.18696296296296297, 0.5167407407407407]),
        (13, [0.3832772166105499, 0.19840149230830234, 0.22831541218637993, 0.19000587889476778]),
    ):
        name, k, p, q, *_ = GOLDEN[at]
        state = RULES[name].prepare(fractions(p), fractions(q), k)
        np.testing.assert_allclose(state.selected.astype(float), selected, atol=1e-12, rtol=0)


P, Q = fractions("1/2 3/10 1/5"), fractions("1/5 3/10 1/2")
EXAMPLE = [
    ("naive", ("29/100", "483/1000", "6161/10000")),
    ("recursive", ("7/10", "19/25", "101/125")),
    ("without replacement", ("7/10", "41/50", "1")),
    ("greedy", ("7/10", "9/10", "1")),
    ("hub", (None, "9/10", None)),
    ("ordered", ("7/10", "43/50", "42259/43000")),
]


@pytest.mark.parametrize(("name", "rates"), EXAMPLE)
def test_rates_of_the_example_in_fractions(name, rates):
    for k, rate in enumerate(rates, 1):
        if rate is not None:
            assert RULES[name].output_law(P, Q, k).accept_member == Fraction(rate)


@pytest.mark.parametrize(
    ("trap", "p", "q", "law", "branch", "member"),
    [
        (
            SkipsDuplicates,
            "11/19 1/19 7/19 0",
            "1/11 5/11 2/11 3/11",
            [0.5413442940038685, 0.05263157894736842, 0.4060241270487631, 0.0],
            0.5093518921270117,
            0.5093518921270117,
        ),
        (
            SkipsDuplicates,
            "1/12 5/12 1/2",
            "4/7 2/7 1/7",
            [1 / 12, 289 / 588, 125 / 294],
            None,
            None,
        ),
        (
            KeepsMostConfident,
            "5/24 1/8 11/24 5/24",
            "8/35 11/35 1/5 9/35",
            [0.13095238095238096, 0.21071428571428572, 0.4261904761904762, 0.23214285714285715],
            0.6138095238095238,
            0.7171428571428572,
        ),
    ],
)
def test_published_mistakes_have_the_published_law(trap, p, q, law, branch, member):
    out = trap().output_law(fractions(p), fractions(q), 2)
    np.testing.assert_allclose(out.law.astype(float), law, atol=1e-12, rtol=0)
    if branch is not None:
        assert float(out.accept_branch) == pytest.approx(branch, abs=1e-12)
        assert float(out.accept_member) == pytest.approx(member, abs=1e-12)


# --- exactness ------------------------------------------------------------------------------------------------------

SIZES = {1: 6, 2: 5, 3: 3, 4: 3}
"""Largest vocabulary for each number of drafts, for the fast tests."""

LARGE_SIZES = {2: 6, 3: 6, 4: 5}
"""The same for the slow ones."""


@st.composite
def problems(draw, sizes):
    k = draw(st.sampled_from(sorted(sizes)))
    return *draw(pairs(st.integers(1, sizes[k]))), k


def theory_rate(name, p, q, k):
    """The acceptance that theory predicts for a rule, and whether it counts all members."""
    if name == "ordered":
        return draft_acceptance.ordered_acceptance(p, q, k)[0]
    if name == "sequential":
        return draft_acceptance.sequential_acceptance(p, q, k).value
    rate = {
        "naive": draft_acceptance.naive_acceptance,
        "recursive": draft_acceptance.recursive_rejection,
        "without replacement": draft_acceptance.recursive_rejection_without_replacement,
        "greedy": draft_acceptance.greedy_acceptance,
        "hub": lambda p, q, k: draft_acceptance.hub_acceptance(p, q),
        "optimal": optimal_acceptance.optimal_acceptance,
        "optimal luce": optimal_acceptance.optimal_acceptance,
        "optimal without replacement": optimal_acceptance.optimal_acceptance_without_replacement,
    }.get(name)
    return None if rate is None else rate(p, q, k)


def check_exactness(name, p, q, k):
    rule = RULES[name]
    k = 2 if name == "hub" else k
    out = rule.output_law(p, q, k)
    assert list(out.law) == list(p)
    best = rule.optimum(p, rule.draft_law(q, k))
    assert out.accept_branch <= out.accept_member <= best
    if name.startswith("optimal"):
        assert out.accept_branch >= best - TOLERANCE[name]
    elif name in ("greedy", "hub"):
        assert out.accept_branch == best
    rate = theory_rate(name, p, q, k)
    if isinstance(rate, Fraction) and name not in ON_HOST:
        assert out.accept_branch == rate
    elif rate is not None:
        assert float(out.accept_branch) == pytest.approx(float(rate), abs=TOLERANCE.get(name, 1e-12))
    closed = rule.alpha(rule.prepare(p, q, k))
    assert closed is None or closed == out.accept_branch
    if name == "ordered":
        assert out.accept_member == draft_acceptance.ordered_acceptance(p, q, k)[1]


@pytest.mark.parametrize("name", RULES)
def test_output_has_the_target_law_in_fractions(name):
    settings(max_examples=5 if name == "optimal luce" else 12)(
        given(problems(SIZES))(lambda problem: check_exactness(name, *problem))
    )()


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
def test_output_has_the_target_law_in_fractions_with_many_drafts(name):
    settings(max_examples=20)(given(problems(LARGE_SIZES))(lambda problem: check_exactness(name, *problem)))()


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
def test_output_has_the_target_law_in_floats(name):
    rule, k = RULES[name], 2
    for p, q in (("5/29 0 3/29 11/29 10/29", "1/5 9/20 1/20 0 3/10"), ("5/6 1/6 0 0", "0 0 2/3 1/3")):
        p, q = fractions(p), fractions(q)
        out = rule.output_law(p.astype(float), q.astype(float), k)
        np.testing.assert_allclose(out.law, p.astype(float), atol=1e-12, rtol=0)
        exact = rule.output_law(p, q, k)
        assert float(out.accept_branch) == pytest.approx(float(exact.accept_branch), abs=1e-9)


LACKING = [
    ("without replacement", 3, "1/4 0 1/2 1/4", "1/3 0 2/3 0"),
    ("optimal without replacement", 3, "1/4 0 1/2 1/4", "1/3 0 2/3 0"),
    ("greedy", 3, "1/4 0 1/2 1/4", "1/3 0 2/3 0"),
    ("hub", 2, "1/4 0 3/4", "0 1 0"),
    ("hub", 2, "1/4 1/2 1/4", "0 1 0"),
    ("recursive", 2, "1/4 1/2 1/4", "1/3 1/3 1/3; 1/2 0 1/2"),
    ("recursive", 3, "1/4 1/2 1/4", "1/2 0 1/2"),
    ("luce", 2, "0 1/2 1/2", "1/2 1/4 1/4"),
]


@pytest.mark.parametrize(("name", "k", "p", "q"), LACKING)
def test_enumerated_law_of_special_drafts(name, k, p, q):
    """Fewer possible tokens than drafts, or drafts of different laws."""
    rule, p, q = RULES[name], fractions(p), fractions(q)
    drafts = rule.draft_law(q.astype(float), k)

    def program(key, state):
        draft_key, rule_key = random.split(key)
        drawn = drafts.sample(draft_key)
        decision = rule.draw(rule_key, state, drawn)
        return decision, drawn

    law = enumerate_law(program, KEY, rule.prepare(p.astype(float), q.astype(float), k))
    np.testing.assert_allclose(law.map(lambda out: out[0].token).vector(p.size), p.astype(float), atol=1e-12, rtol=0)
    exact = rule.output_law(p, q, k)
    assert list(exact.law) == list(p)
    assert law.expectation(lambda out: out[0].is_accepted) == pytest.approx(float(exact.accept_branch), abs=1e-12)
    for (decision, drawn), _ in law:
        if decision.is_accepted:
            assert drawn[decision.draft_index] == decision.token
        else:
            assert decision.draft_index == -1


@settings(max_examples=6)
@given(problems({2: 4, 3: 3, 4: 3}))
def test_orderings_of_the_rules(problem):
    p, q, k = problem
    rates = [
        float(RULES[name].alpha(RULES[name].prepare(p, q, k))) for name in ("recursive", "sequential", "optimal luce")
    ]
    chain = [float(draft_acceptance.acceptance(p, q)), *rates, float(optimal_acceptance.optimal_acceptance(p, q, k))]
    for lower, higher in itertools.pairwise(chain):
        assert lower <= higher + 1e-12
    assert rates[1] >= (1 - (1 - 1 / k) ** k) * chain[-1] - 1e-12
    for name in ("recursive", "sequential", "optimal luce"):
        fewer = float(RULES[name].alpha(RULES[name].prepare(p, q, k - 1)))
        assert fewer <= float(RULES[name].alpha(RULES[name].prepare(p, q, k))) + 1e-12


def test_more_drafts_may_hurt_an_ordered_selection():
    even = fractions("1/2 1/2")
    rule = RULES["ordered"]
    assert [rule.output_law(even, even, k).accept_branch for k in (1, 2)] == [1, Fraction(3, 4)]
    assert rule.monotone_in_k is False


# --- the numeric contract -------------------------------------------------------------------------------------------


def test_equal_laws_are_accepted_surely_by_k_seq():
    logits = np.random.default_rng(0).normal(size=2000).astype(np.float32) * 3
    state = jax.jit(lambda logits: RULES["sequential"].prepare_logits(logits, logits, 4))(logits)
    assert float(state.rho) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RULES if name not in ON_HOST])
def test_no_law_is_an_error_on_the_host_and_a_flag_under_jit(name):
    rule, good = RULES[name], np.full(4, 0.25)
    bad = np.array([0.5, np.nan, 0.25, 0.25])

    @jax.jit
    def decisions(p, q, drafts):
        state = rule.prepare(p, q, 2)
        decided = rule.decide(state, drafts, jnp.full(rule.num_uniforms(2), 0.5))
        return decided, rule.draw(KEY, state, drafts)

    for p, q, word in ((bad, good, "p contains nan"), (good, bad, "q contains nan"), (good, 0 * good, "all zero")):
        with pytest.raises(ValueError, match=word):
            rule.prepare(p, q, 2)
        for decision in decisions(p, q, jnp.array([0, 1])):
            assert (int(decision.token), bool(decision.is_accepted), int(decision.draft_index)) == (-1, False, -1)
    for drafts in ([0, 4], [-2, 1]):
        assert all(int(decision.token) == -1 for decision in decisions(good, good, jnp.array(drafts)))
    assert all(int(decision.token) >= 0 for decision in decisions(good, good, jnp.array([0, 1])))


@pytest.mark.slow
def test_single_precision_without_double():
    rng = np.random.default_rng(1)
    p, q = (rng.dirichlet(np.ones(6)).astype(np.float32) for _ in range(2))
    with jax.enable_x64(False):
        for rule in (RULES[name] for name in ("recursive", "sequential", "optimal luce")):
            state = rule.prepare(p, q, 2)
            decision = rule.draw(jax.random.key(0), state, rule.draft_law(q, 2).sample(jax.random.key(1)))
            assert decision.token.dtype == decision.draft_index.dtype == jnp.int32
            assert 0 <= int(decision.token) < 6


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: SpecHub().prepare(np.ones(3), np.ones(3), 3), ValueError, "two drafts"),
        (lambda: SpecHub().draft_law(np.ones(3), 1), ValueError, "two drafts"),
        (lambda: RecursiveRejection().prepare(np.ones(3), np.ones((2, 3)), 3), ValueError, "one for each of k=3"),
        (lambda: RecursiveRejection().prepare(np.ones(3), np.ones(4), 2), ValueError, "same tokens"),
        (lambda: Naive().prepare(np.ones(3), np.ones(3), 0), ValueError, "k has to be at least 1"),
        (lambda: OptimalSelection().prepare(np.ones(13), np.ones(13), 2), ValueError, "13 tokens are too many"),
        (lambda: jax.jit(OptimalSelection().prepare)(np.ones(3), np.ones(3)), TypeError, "outside jit"),
        (lambda: jax.jit(OptimalLuceSelection().prepare)(np.ones(3), np.ones(3)), TypeError, "outside jit"),
        (lambda: GreedyMultiDraft().prepare(np.ones(3), np.array([1.0, -1.0, 1.0]), 2), ValueError, "q is negative"),
    ],
)
def test_bad_input_is_refused_with_the_reason(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_rules_describe_themselves():
    for rule in RULES.values():
        assert rule.kind == "equality"
        assert rule.claim.is_exact
        assert rule.claim.independent
        assert rule.cost
        assert rule.monotone_in_k in (True, False, None)


def test_greedy_drafts_take_the_first_of_equally_likely_tokens():
    np.testing.assert_array_equal(TopDrafts(np.array([1.0, 2.0, 2.0, 1.0]), 4).top(), [1, 2, 0])


# --- the catalogue --------------------------------------------------------------------------------------------------

ROWS = {type(rule): next(case for case in CASES if case.subject is type(rule)) for rule in RULES.values()}
FAST = ("enumerated",)


def checks_of(kind, *, fast):
    return [check for check in ROWS[kind].checks if any(word in check.name for word in FAST) == fast]


@pytest.mark.parametrize("kind", ROWS, ids=lambda kind: kind.__name__)
def test_enumerated_law_of_the_code_that_runs(kind):
    for check in checks_of(kind, fast=True):
        outcome = check.run(kind(), KEY)
        assert outcome.passed, outcome.details
        assert outcome.false_alarm == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ROWS, ids=lambda kind: kind.__name__)
@pytest.mark.catalogue
def test_checks_of_the_catalogue_accept_the_rule(kind):
    for check in checks_of(kind, fast=False):
        outcome = check.run(kind(), KEY)
        assert outcome.passed, f"{check.name}: {outcome.details}"
        assert outcome.false_alarm == 0


CATCHES = {"OneUniformForAll": "decisions", "DrawsFirstResidual": "enumerated", "FirstDraftOnly": "rational"}
"""For a trap a check that has to reject it, by a part of its name; others are rejected by the rational law."""


@pytest.mark.parametrize("trap", MULTI_DRAFT_TRAPS, ids=lambda trap: trap.__name__)
def test_checks_of_the_catalogue_reject_the_trap(trap):
    row = next(case for case in CASES if case.subject in trap.__mro__)
    check = next(check for check in row.checks if CATCHES.get(trap.__name__, "rational") in check.name)
    outcome = check.run(trap(), KEY)
    assert not outcome.passed
    assert outcome.details
