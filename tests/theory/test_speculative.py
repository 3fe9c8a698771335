"""Closed forms of speculative decoding: published numbers, identities in fractions, brute force."""

import math
from fractions import Fraction
from itertools import combinations, product

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from ergodica.theory import best_of_n, block_lengths, draft_acceptance, optimal_acceptance, rejection_cost, token_laws
from tests.strategies import law, models, pairs

RATES = st.fractions(0, 1, max_denominator=40)


def test_block_length_and_speed_of_published_settings():
    assert block_lengths.best_gamma(0.8, 0.05) == 8
    assert block_lengths.speed(0.8, 8, 0.05) == pytest.approx(3.092079542857143, abs=1e-12)
    assert block_lengths.speed(0.8, 7, 0.05) == pytest.approx(3.082325333333333, abs=1e-12)
    assert block_lengths.best_gamma(0.7, 0.1) == 4
    assert block_lengths.expected_tokens(0.7, 4) == pytest.approx(2.7731, abs=1e-12)
    assert block_lengths.speed(0.7, 4, 0.1) == pytest.approx(1.9807857142857141, abs=1e-12)


def test_binary_models_in_fractions():
    a = draft_acceptance.acceptance(law([1, 2]), law([2, 1]))
    assert a == Fraction(2, 3)
    assert [block_lengths.expected_tokens(a, gamma) for gamma in (1, 2, 3)] == [
        Fraction(5, 3),
        Fraction(19, 9),
        Fraction(65, 27),
    ]
    target = {
        prefix: [Fraction(1, 3), Fraction(2, 3)] for length in range(3) for prefix in product((0, 1), repeat=length)
    }
    draft = {prefix: row[::-1] for prefix, row in target.items()}
    assert block_lengths.expected_accepted_in_context(target, draft, 2) == Fraction(10, 9)
    assert block_lengths.expected_accepted_in_context(target, draft, 3) == Fraction(38, 27)


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
    assert float(block_lengths.expected_accepted_in_context(target, draft, 2)) == pytest.approx(
        0.9748456790123456, abs=1e-12
    )


@given(RATES, st.integers(0, 8))
def test_length_is_the_mean_of_its_law(a, gamma):
    masses = block_lengths.law_of_accepted(a, gamma)
    assert sum(masses) == 1
    assert sum(i * mass for i, mass in enumerate(masses)) == block_lengths.expected_accepted(a, gamma)
    if a < 1:
        assert block_lengths.expected_tokens(a, gamma) == (1 - a ** (gamma + 1)) / (1 - a)


@given(st.fractions(0, Fraction(19, 20), max_denominator=20), st.fractions(Fraction(1, 50), 2, max_denominator=50))
def test_best_length_beats_all_others(a, c):
    best = block_lengths.best_gamma(a, c)
    top = block_lengths.speed(a, best, c)
    assert all(block_lengths.speed(a, gamma, c) <= top for gamma in range(best + 12))
    assert (top > 1) == (a > c)
    if a > c:
        assert block_lengths.speed(a, 1, c) == (1 + a) / (1 + c) > 1


@given(RATES, st.integers(0, 8), st.fractions(0, 2, max_denominator=10))
def test_arithmetic_is_that_of_the_whole_block(a, gamma, c):
    spent = block_lengths.arithmetic_factor(a, gamma, c) * block_lengths.expected_tokens(a, gamma)
    assert spent == gamma * c + gamma + 1


@given(pairs())
def test_acceptance_is_one_minus_total_variation(pair):
    p, q = pair
    assert draft_acceptance.acceptance(p, q) == 1 - token_laws.total_variation(p, q)
    assert token_laws.total_variation(p, q) == token_laws.total_variation(q, p) == sum(abs(p - q)) / 2
    assert draft_acceptance.acceptance(3 * p, q / 7) == draft_acceptance.acceptance(p, q)
    assert draft_acceptance.acceptance(p.astype(float), q.astype(float)) == pytest.approx(
        float(draft_acceptance.acceptance(p, q)), abs=1e-12
    )


@given(pairs(), st.integers(1, 3))
def test_optimum_is_the_smallest_cut_over_all_sets(pair, k):
    p, q = pair

    def joint_in(tokens):
        return q[np.asarray(tokens, int)].sum() ** k

    subsets = ([token for token in range(p.size) if (mask >> token) & 1] for mask in range(2**p.size))
    brute = min(p[np.asarray(subset, int)].sum() + 1 - joint_in(subset) for subset in subsets)
    assert optimal_acceptance.optimal_membership(p, q, joint_in) == brute
    if k == 1:
        assert brute == draft_acceptance.acceptance(p, q)


def test_optimum_of_independent_drafts():
    p = np.array([0.1, 0.2, 0.3, 0.4])
    values = [optimal_acceptance.optimal_acceptance(p, p[::-1], k) for k in (1, 2, 3)]
    assert values == pytest.approx([0.6, 0.79, 0.871], abs=1e-14)
    values = [optimal_acceptance.optimal_acceptance([5, 3, 2], [2, 3, 5], k) for k in (1, 2, 3)]
    assert values == pytest.approx([0.7, 0.86, 0.988], abs=1e-14)
    with pytest.raises(ValueError, match="positive integer"):
        optimal_acceptance.optimal_acceptance(p, p, 0)


@given(pairs(), st.integers(1, 4))
def test_fast_optimum_is_the_exact_one(pair, k):
    p, q = pair
    exact = optimal_acceptance.optimal_membership(p, q, lambda tokens: q[np.asarray(tokens, int)].sum() ** k)
    assert optimal_acceptance.optimal_acceptance(p, q, k) == pytest.approx(float(exact), abs=1e-12)


EXAMPLE = (law([5, 3, 2]), law([2, 3, 5]))
SMALL = pairs(st.integers(1, 5))


@pytest.mark.parametrize(
    ("rate", "values"),
    [
        (draft_acceptance.naive_acceptance, ("29/100", "483/1000", "6161/10000")),
        (draft_acceptance.single_acceptance, ("7/10", "19/25", "101/125")),
        (draft_acceptance.recursive_rejection, ("7/10", "19/25", "101/125")),
        (draft_acceptance.recursive_rejection_without_replacement, ("7/10", "41/50", "1")),
        (draft_acceptance.greedy_acceptance, ("7/10", "9/10", "1")),
        (lambda p, q, k: draft_acceptance.ordered_acceptance(p, q, k)[0], ("7/10", "43/50", "913/1000")),
        (lambda p, q, k: draft_acceptance.ordered_acceptance(p, q, k)[1], ("7/10", "43/50", "42259/43000")),
        (optimal_acceptance.optimal_acceptance_without_replacement, ("7/10", "69/70", "1")),
    ],
)
def test_rates_of_the_example_in_fractions(rate, values):
    assert [rate(*EXAMPLE, k) for k in (1, 2, 3)] == [Fraction(value) for value in values]


def test_other_rates_of_the_example():
    found = [draft_acceptance.sequential_acceptance(*EXAMPLE, k) for k in (1, 2, 3)]
    assert [each.value for each in found] == pytest.approx([0.7, 0.791355287256600, 0.858518605653750], abs=1e-14)
    assert [each.rho for each in found] == pytest.approx([1, 1.456776436283002, 1.792593028268749], abs=1e-14)
    assert draft_acceptance.hub_acceptance(*EXAMPLE) == Fraction(9, 10)
    bounds = [float(draft_acceptance.shared_randomness_bound(*EXAMPLE, k)) for k in (1, 2, 3)]
    assert bounds == pytest.approx([0.630769230769231, 0.746583850931677, 0.806060606060606], abs=1e-14)
    assert optimal_acceptance.optimal_membership(*EXAMPLE, lambda H: EXAMPLE[1][H].sum() ** 2) == Fraction(43, 50)
    reverse = ([0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1])
    values = [draft_acceptance.recursive_rejection(*reverse, k) for k in (1, 2, 3)]
    assert values == pytest.approx([0.6, 0.72, 0.768], abs=1e-14)
    # Published instances of the optimum.
    p, q = ["9/32", "1/8", "0", "5/16", "9/32"], ["1/4", "1/4", "0", "1/2", "0"]
    assert optimal_acceptance.optimal_acceptance(*[[float(Fraction(w)) for w in law_] for law_ in (p, q)], 3) == 23 / 32
    p, q = law([11, 8, 6, 10, 0]), law([4, 6, 9, 2, 8])
    found = optimal_acceptance.optimal_acceptance_without_replacement(p, q, 3)
    assert found == Fraction(127656599, 129264600)


@settings(max_examples=25)
@given(SMALL, st.integers(1, 3), st.booleans())
def test_program_meets_the_cut(pair, k, replacement):
    p, q = pair
    sets = optimal_acceptance.drafted_sets(q, k, replacement=replacement)
    assert sum(sets.values()) == 1
    found = optimal_acceptance.acceptance_program(p, sets)
    optimum = (
        optimal_acceptance.optimal_acceptance(p, q, k)
        if replacement
        else float(optimal_acceptance.optimal_acceptance_without_replacement(p, q, k))
    )
    assert found.value == pytest.approx(optimum, abs=1e-9)
    assert abs(found.gap) < 1e-9
    # The flow is a rule: from each set to its tokens, no more than there is, to each token no more than is wanted.
    total = np.zeros(len(p))
    for drafted, flow in found.flow.items():
        assert set(np.flatnonzero(flow)) <= drafted
        assert flow.sum() <= float(sets[drafted]) + 1e-9
        total += flow
    assert np.all(total <= p.astype(float) + 1e-9)


def tuples(q, k, replacement):
    """Each tuple of drafts with its probability."""
    k = k if replacement else min(k, sum(q > 0))
    for drafts in product(range(q.size), repeat=k):
        mass, left = Fraction(1), Fraction(1)
        for place, token in enumerate(drafts):
            mass *= q[token] / left if replacement or token not in drafts[:place] else 0
            if mass == 0:
                break
            left -= 0 if replacement else q[token]
        if mass > 0:
            yield drafts, mass


@settings(max_examples=25)
@given(SMALL, st.integers(1, 3), st.booleans())
def test_sets_collect_the_tuples(pair, k, replacement):
    _, q = pair
    brute = {}
    for drafts, mass in tuples(q, k, replacement):
        brute[frozenset(drafts)] = brute.get(frozenset(drafts), 0) + mass
    assert optimal_acceptance.drafted_sets(q, k, replacement=replacement) == brute


def excess(p, q):
    return np.array([max(x - y, Fraction(0)) for x, y in zip(p, q, strict=True)], dtype=object)


def kept(wanted, drafted):
    return min(Fraction(1), wanted / drafted)


@settings(max_examples=25)
@given(pairs(st.integers(1, 4)), st.integers(1, 3))
def test_rates_by_playing_the_rules_on_all_tuples(pair, k):
    p, q = pair
    naive = single = recursive = recursive_wor = Fraction(0)
    chosen = 0 * q
    for drafts, mass in tuples(q, k, True):
        naive += mass * sum(p[token] for token in set(drafts))
        own = kept(p[drafts[0]], q[drafts[0]])
        residual = excess(p, q)
        single += mass * own
        if own < 1:
            single += mass * (1 - own) * sum(residual[token] for token in set(drafts)) / residual.sum()
        chosen[max(drafts, key=lambda token: (p[token] / q[token], token))] += mass
    for replacement in (True, False):
        for drafts, mass in tuples(q, k, replacement):
            current, alive, weights = p, mass, q.copy()
            for token in drafts:
                proposal = weights / weights.sum()
                alive *= 1 - kept(current[token], proposal[token])
                if alive == 0:
                    break
                current = excess(current, proposal)
                current = current / current.sum()
                if not replacement:
                    weights[token] = Fraction(0)
            recursive += (mass - alive) * replacement
            recursive_wor += (mass - alive) * (not replacement)
    assert draft_acceptance.naive_acceptance(p, q, k) == naive
    assert draft_acceptance.single_acceptance(p, q, k) == single
    assert draft_acceptance.recursive_rejection(p, q, k) == recursive
    assert draft_acceptance.recursive_rejection_without_replacement(p, q, k) == recursive_wor
    # One draft that is selected, and tokens of the residual that were drafted, too.
    branch = sum(np.minimum(p, chosen))
    member = branch
    residual = excess(p, chosen)
    for drafts, mass in tuples(q, k, True):
        best = max(drafts, key=lambda token: (p[token] / q[token], token))
        lost = 1 - kept(p[best], chosen[best])
        if lost > 0:
            member += mass * lost * sum(residual[token] for token in set(drafts)) / residual.sum()
    ratios = [p[token] / q[token] for token in range(q.size) if q[token] > 0]
    if len(set(ratios)) == len(ratios):  # the order of ties matters to no law, but to these numbers
        assert draft_acceptance.ordered_acceptance(p, q, k) == (branch, member)


@settings(max_examples=25)
@given(SMALL, st.integers(1, 3))
def test_greedy_and_hub_drafts_have_optimal_rules(pair, k):
    p, q = pair
    order = sorted(range(q.size), key=lambda token: -q[token])
    top, rest = order[: k - 1], {token: q[token] for token in order[k - 1 :] if q[token] > 0}
    left = sum(rest.values())
    sets = {frozenset({*top, token}): mass / left for token, mass in rest.items()} if rest else {frozenset(top): 1}
    best = optimal_acceptance.acceptance_program(p, sets).value
    assert float(draft_acceptance.greedy_acceptance(p, q, k)) == pytest.approx(best, abs=1e-9)
    hub = order[0]
    if q[hub] < 1:
        pairs_ = {frozenset({i, hub}): q[i] / (1 - q[hub]) for i in range(q.size) if i != hub and q[i] > 0}
        best = optimal_acceptance.acceptance_program(p, pairs_).value
        assert float(draft_acceptance.hub_acceptance(p, q)) == pytest.approx(best, abs=1e-9)


@given(SMALL, st.integers(1, 3))
def test_orderings_of_the_rules(pair, k):
    p, q = pair
    tiny = 1e-12
    optimum = optimal_acceptance.optimal_acceptance(p, q, k)
    optimum_wor = optimal_acceptance.optimal_acceptance_without_replacement(p, q, k)
    recursive = draft_acceptance.recursive_rejection(p, q, k)
    recursive_wor = draft_acceptance.recursive_rejection_without_replacement(p, q, k)
    sequential = draft_acceptance.sequential_acceptance(p, q, k)
    assert draft_acceptance.naive_acceptance(p, q, k) <= optimum + tiny
    assert draft_acceptance.acceptance(p, q) <= recursive <= sequential.value + tiny
    assert sequential.value <= optimum + tiny
    assert optimum <= optimum_wor + tiny
    assert recursive <= recursive_wor <= optimum_wor
    assert draft_acceptance.single_acceptance(p, q, k) <= optimum + tiny
    assert draft_acceptance.ordered_acceptance(p, q, k)[1] <= optimum + tiny
    assert draft_acceptance.shared_randomness_bound(p, q, k) <= optimum + tiny
    assert 1 <= sequential.rho <= k
    assert -1e-12 <= sequential.residual <= tiny or sequential.rho == 1
    assert sequential.value >= (1 - (1 - 1 / k) ** k) * optimum - tiny
    for rate in (
        draft_acceptance.naive_acceptance,
        draft_acceptance.single_acceptance,
        draft_acceptance.recursive_rejection,
        draft_acceptance.recursive_rejection_without_replacement,
        draft_acceptance.greedy_acceptance,
        optimal_acceptance.optimal_acceptance_without_replacement,
    ):
        assert 0 <= rate(p, q, k) <= rate(p, q, k + 1) <= 1
    assert optimum <= optimal_acceptance.optimal_acceptance(p, q, k + 1) + tiny
    prefixes = [H for size in range(q.size + 1) for H in combinations(range(q.size), size)]
    sure = all(p[list(H)].sum() >= q[list(H)].sum() ** k for H in prefixes)
    assert sure == (optimum > 1 - 1e-12)


def test_orderings_that_do_not_hold():
    half = law([1, 1])
    assert draft_acceptance.ordered_acceptance(half, half, 2)[0] == Fraction(3, 4) < 1
    p, q = law([1, 8]), law([1, 2])
    assert [optimal_acceptance.optimal_acceptance(p, q, k) for k in (1, 2)] == pytest.approx([7 / 9, 1], abs=1e-14)
    # Sequential selection of independent drafts may be better than recursive rejection without replacement.
    p, q = law([3, 3, 5]), law([4, 4, 3])
    assert draft_acceptance.sequential_acceptance(
        p, q, 2
    ).value > draft_acceptance.recursive_rejection_without_replacement(p, q, 2)
    # Independent drafts may be better than greedy ones.
    p, q = law([1, 6, 1]), law([6, 4, 5])
    assert optimal_acceptance.optimal_acceptance(p, q, 2) > draft_acceptance.greedy_acceptance(p, q, 2) + Fraction(
        1, 100
    )


@settings(max_examples=25)
@given(st.lists(RATES, max_size=6))
def test_length_with_rates_by_position(rates):
    total = Fraction(0)
    for tau in range(len(rates) + 1):
        stopped = 1 - rates[tau] if tau < len(rates) else 1
        total += (tau + 1) * math.prod(rates[:tau], start=Fraction(1)) * stopped
    assert block_lengths.expected_tokens_by_position(rates) == total


def test_golden_length():
    assert block_lengths.expected_tokens(0.8, 4) == pytest.approx(3.3616, abs=1e-13)
    assert block_lengths.expected_tokens_by_position([0.8] * 4) == pytest.approx(3.3616, abs=1e-13)


def test_golden_best_of_n():
    p, reward = law([2, 9, 11, 12]), [2, 1, 0, 2]
    wanted = [0.11377976796254834, 0.16967738652554448, 0.03386423773661714, 0.68267860777529]
    assert best_of_n.best_of_n_law(p, reward, 3).astype(float) == pytest.approx(wanted, abs=1e-15)
    found = best_of_n.best_of_n_divergence(p, reward, 3)
    assert found == pytest.approx((0.3735535074141544, 0.43194562200144315), abs=1e-13)
    # Many outcomes of small probability attain the bound.
    found = best_of_n.best_of_n_divergence(np.ones(100_000), np.arange(100_000), 4)
    assert found[0] == pytest.approx(found[1], abs=1e-4)


@settings(max_examples=25)
@given(pairs(st.integers(1, 4)), st.lists(st.integers(0, 2), min_size=4, max_size=4), st.integers(1, 3))
def test_best_of_n_by_all_draws(pair, rewards, n):
    p = pair[0]
    reward = rewards[: p.size]
    brute = 0 * p
    for draws in product(range(p.size), repeat=n):
        mass = math.prod((p[draw] for draw in draws), start=Fraction(1))
        best = [draw for draw in draws if reward[draw] == max(reward[other] for other in draws)]
        for draw in best:
            brute[draw] += mass / len(best)
    assert np.array_equal(best_of_n.best_of_n_law(p, reward, n), brute)
    value, bound = best_of_n.best_of_n_divergence(p, reward, n)
    assert -1e-12 <= value <= bound + 1e-12


@settings(max_examples=25)
@given(pairs(), st.integers(1, 3))
def test_cost_of_rejection(pair, n):
    p, q = pair
    found = rejection_cost.rejection_cost(p, q)
    if any((p > 0) & (q == 0)):
        assert (found.bound, found.acceptance, found.rounds(n)) == (math.inf, 0, math.inf)
        return
    assert all(p <= found.bound * q)
    assert any((p == found.bound * q) & (q > 0))
    # A trial proposes x and keeps it with probability p / (M q).
    rate = sum(q[x] * p[x] / (found.bound * q[x]) for x in range(q.size) if q[x] > 0)
    assert found.acceptance == rate == 1 / found.bound
    assert found.variance == (1 - rate) / rate**2
    assert found.rounds(n) == 1 / (1 - (1 - rate) ** n)
    enough = found.trials(0.99)
    assert float(1 - rate) ** enough <= 0.01 + 1e-12
    assert enough == 1 or float(1 - rate) ** (enough - 1) > 0.01 - 1e-12


@given(models(2, 2), models(2, 2), st.integers(0, 3))
def test_acceptance_in_context_against_all_chains(target, draft, gamma):
    total = Fraction(0)
    for length in range(1, gamma + 1):
        for chain in product((0, 1), repeat=length):
            mass = Fraction(1)
            for place, token in enumerate(chain):
                mass *= min(target[chain[:place]][token], draft[chain[:place]][token])
            total += mass
    assert block_lengths.expected_accepted_in_context(target, draft, gamma) == total


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: draft_acceptance.acceptance([1.0, np.nan], [1.0, 1.0]), "NaN"),
        (lambda: draft_acceptance.acceptance([1.0, -0.5], [1.0, 1.0]), "negative"),
        (lambda: draft_acceptance.acceptance([0.0, 0.0], [1.0, 1.0]), "no positive entry"),
        (lambda: draft_acceptance.acceptance([1.0], [1.0, 1.0]), "same tokens"),
        (lambda: token_laws.total_variation([], []), "at least one entry"),
        (lambda: block_lengths.expected_tokens(1.5, 2), "probability"),
        (lambda: block_lengths.expected_tokens(0.5, -1), "non-negative"),
        (lambda: block_lengths.speed(0.5, 2, -1.0), "at least 0"),
        (lambda: block_lengths.best_gamma(1.0, 0.1), "always faster"),
        (lambda: block_lengths.best_gamma(0.5, 0.0), "always faster"),
        (lambda: draft_acceptance.recursive_rejection([1.0], [1.0], 0), "positive integer"),
        (lambda: draft_acceptance.recursive_rejection_without_replacement(np.ones(200), np.ones(200), 4), "too many"),
        (lambda: optimal_acceptance.drafted_sets(np.ones(100), 5), "more than a million"),
        (lambda: optimal_acceptance.acceptance_program([1.0, 1.0], {frozenset({0}): 0.5}), "sum to one"),
        (lambda: optimal_acceptance.acceptance_program([1.0, 1.0], {frozenset({2}): 1.0}), "tokens below 2"),
        (lambda: block_lengths.expected_tokens_by_position([0.5, 1.5]), "probability"),
        (lambda: best_of_n.best_of_n_law([1.0, 1.0], [1.0], 2), "reward"),
        (lambda: best_of_n.best_of_n_law([1.0, 1.0], [1.0, np.nan], 2), "NaN"),
        (lambda: best_of_n.best_of_n_law([1.0], [1.0], 0), "positive integer"),
        (lambda: rejection_cost.rejection_cost([1.0, 1.0], [1.0, 0.0]).trials(0.5), "never proposed"),
        (lambda: rejection_cost.rejection_cost([1.0], [1.0]).trials(1.0), "probability"),
        (lambda: rejection_cost.rejection_cost([1.0], [1.0]).rounds(0), "positive integer"),
    ],
)
def test_bad_input_is_refused_with_the_reason(call, words):
    with pytest.raises(ValueError, match=words):
        call()
