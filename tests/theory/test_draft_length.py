"""How many tokens to draft, and in which shape: against brute force, in fractions."""

import itertools
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ergodica.theory import block_lengths
from ergodica.theory.block_acceptance import accepted_by_block, accepted_by_fixed_tree, longest_common_prefix
from ergodica.theory.draft_length import adaptive_length, best_length, cost_threshold, threshold_length
from ergodica.theory.draft_tree_shape import (
    accepted_by_shape,
    best_tree_shape,
    fastest_tree_shape,
    rates_of_recursive_rejection,
)

PROBABILITIES = st.fractions(0, 1, max_denominator=12)
COSTS = st.fractions(0, 2, max_denominator=10)


@settings(max_examples=30)
@given(st.lists(PROBABILITIES, max_size=7), COSTS)
def test_best_length_is_the_best(rates, c):
    found = best_length(rates, c)
    speeds = [block_lengths.expected_tokens_by_position(rates[:k]) / (1 + k * c) for k in range(len(rates) + 1)]
    assert found.speed == max(speeds) == speeds[found.gamma]
    products = [block_lengths.expected_tokens_by_position(rates[: k + 1]) - block_lengths.expected_tokens_by_position(rates[:k])
                for k in range(len(rates))]  # fmt: skip
    assert all(product > c * found.speed for product in products[: found.gamma])
    if found.gamma < len(rates):
        assert products[found.gamma] <= c * found.speed


def test_best_length_agrees_with_the_closed_form():
    for a, c in (
        (Fraction(7, 10), Fraction(1, 10)),
        (Fraction(4, 5), Fraction(1, 20)),
        (Fraction(1, 10), Fraction(1, 5)),
    ):
        found = best_length([a] * 40, c)
        assert found.gamma == block_lengths.best_gamma(a, c)
        assert found.speed == block_lengths.speed(a, found.gamma, c)
    assert float(best_length([Fraction(4, 5)] * 40, Fraction(1, 20)).speed) == pytest.approx(
        3.092079542857143, abs=1e-12
    )


def adaptive_models(weights):
    prefixes = [(), (0,), (1,)]
    Q = dict(zip(prefixes, ([Fraction(w, 7), 1 - Fraction(w, 7)] for w in weights[:3]), strict=True))
    P = dict(zip(prefixes, ([Fraction(w, 7), 1 - Fraction(w, 7)] for w in weights[3:]), strict=True))
    return P, Q


@settings(max_examples=25)
@given(st.lists(st.integers(1, 6), min_size=6, max_size=6), COSTS)
def test_adaptive_length_is_the_best_of_all_tables(weights, c):
    P, Q = adaptive_models(weights)
    kept, reach = {}, {(): Fraction(1)}
    for first in range(2):
        kept[(first,)] = min(1, P[()][first] / Q[()][first])
        reach[(first,)] = Q[()][first]
        for second in range(2):
            ratio = kept[(first,)] * P[(first,)][second] / Q[(first,)][second]
            kept[(first, second)] = min(1, ratio)  # the budgets of block verification
    best = Fraction(0)
    for goes_on in itertools.chain.from_iterable(itertools.combinations([(), (0,), (1,)], n) for n in range(4)):
        drafted = [s for s in goes_on if s == () or () in goes_on]
        tokens = sum(reach[s] * Q[s][x] * kept[(*s, x)] for s in drafted for x in range(2))
        best = max(best, (1 + tokens) / (1 + c * sum(reach[s] for s in drafted)))
    found = adaptive_length(Q, kept, 2, c)
    assert found.speed == best
    fixed = max((1 + accepted_by_block(P, Q, gamma)) / (1 + c * gamma) for gamma in (0, 1, 2))
    assert found.speed >= fixed
    if c == 0:
        assert found.speed == 1 + accepted_by_block(P, Q, 2)


def test_thresholds():
    rates = [Fraction(9, 10), Fraction(8, 10), Fraction(5, 10), Fraction(9, 10)]
    assert threshold_length(rates, Fraction(3, 10)) == 3  # 1 - 0.36 is the first above
    assert threshold_length(rates, 1) == 4
    assert threshold_length(rates, 0) == 1
    assert cost_threshold(Fraction(1), Fraction(10), Fraction(1)) == Fraction(11, 12)
    with pytest.raises(ValueError, match="costs have to be positive"):
        cost_threshold(0, 1, 1)
    with pytest.raises(ValueError, match="probabilities"):
        best_length([1.5], 0.1)
    with pytest.raises(ValueError, match="at least 0"):
        best_length([0.5], -0.1)


def test_accepted_by_blocks_and_trees():
    P = {
        (): [Fraction(1, 3), Fraction(2, 3)],
        (0,): [Fraction(1, 3), Fraction(2, 3)],
        (1,): [Fraction(1, 3), Fraction(2, 3)],
    }
    Q = {prefix: law[::-1] for prefix, law in P.items()}
    assert accepted_by_block(P, Q, 2) == Fraction(11, 9)
    assert longest_common_prefix(P, Q, 2) == Fraction(4, 3)
    assert accepted_by_fixed_tree(P, [(1,), (1, 1)]) == Fraction(2, 3) + Fraction(4, 9)
    with pytest.raises(ValueError, match="no tree"):
        accepted_by_fixed_tree(P, [(1, 1)])
    with pytest.raises(ValueError, match="non-negative integer"):
        accepted_by_block(P, Q, -1)


# --- shapes of trees ------------------------------------------------------------------------------------------------


def shapes(nodes):
    """All ordered trees with some drafts, each as parents in the order in which the function numbers nodes."""
    seen = {}
    for parents in itertools.product(*[range(node) for node in range(1, nodes + 1)]):
        seen[tuple(sorted(paths(parents)))] = parents
    return list(seen.values())


def paths(parents):
    ranks, down = [0] * (len(parents) + 1), [()]
    for parent in parents:
        down.append((*down[parent], ranks[parent]))
        ranks[parent] += 1
    return down[1:]


@settings(max_examples=25)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=4), st.integers(1, 6), st.integers(1, 4))
def test_best_shape_is_the_best_of_all(weights, rest, depth):
    rates = [Fraction(weight, sum(weights) + rest) for weight in weights]
    for nodes in (1, 3, 5):
        allowed = [shape for shape in shapes(nodes) if max(map(len, paths(shape))) <= depth]
        best = max((accepted_by_shape(rates, shape) for shape in allowed), default=0)
        found = best_tree_shape(rates, nodes, depth=depth)
        assert found.value == accepted_by_shape(rates, found.parents) >= best
        assert len(found.parents) <= nodes
        assert found.depth == max(map(len, paths(found.parents)), default=0) <= depth
        if len(found.parents) == nodes:
            assert found.value == best


def test_shapes_by_hand():
    assert best_tree_shape([Fraction(1, 2)], 4).parents == (0, 1, 2, 3)  # one rank alone: a chain
    bushy = best_tree_shape([Fraction(1, 3)] * 3, 3)
    assert (bushy.parents, bushy.value) == ((0, 0, 0), 1)
    # A second child that is better than the first makes the first worth drafting.
    late = best_tree_shape([Fraction(0), Fraction(1, 2)], 2)
    assert (late.parents, late.value) == ((0, 0), Fraction(1, 2))
    assert best_tree_shape([Fraction(1, 2)], 0).parents == ()
    with pytest.raises(ValueError, match="exclusive events"):
        best_tree_shape([0.7, 0.7], 3)
    with pytest.raises(ValueError, match="non-negative integer"):
        best_tree_shape([0.7], -1)


def test_fastest_shape():
    rates = [Fraction(6, 10), Fraction(2, 10)]
    found = fastest_tree_shape(rates, 6, 4, Fraction(1, 10), lambda nodes: 1 + Fraction(nodes, 50))
    options = [
        (1 + best_tree_shape(rates, nodes, depth=depth).value) / (Fraction(depth, 10) + 1 + Fraction(nodes, 50))
        for depth in range(1, 5)
        for nodes in range(depth, 7)
    ]
    assert found.value == max(options)
    assert fastest_tree_shape(rates, 3, 3, 10, lambda nodes: 1).parents == ()  # drafts that cost too much


def test_rates_of_recursive_rejection_add_up():
    p, q = [Fraction(1, 3), Fraction(2, 3)], [Fraction(2, 3), Fraction(1, 3)]
    rates = rates_of_recursive_rejection(p, q, 3)
    assert rates[:2] == [Fraction(2, 3), Fraction(1, 9)]  # then p is all on token 1: a third of a third
    assert sum(rates) <= 1
