"""Closed forms of speculation: normal drafts, delayed acceptance, prefetching."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays
from scipy import integrate, stats

from ergodica.theory import gaussian_drafts
from ergodica.theory.delayed_acceptance import delayed_acceptance_matrix, delayed_acceptance_rates
from ergodica.theory.finite_chain import asymptotic_variance
from ergodica.theory.metropolis import barker, metropolis_matrix, peskun_dominates
from ergodica.theory.prefetching import expected_steps, likely_futures

# --- normal drafts ---------------------------------------------------------------------------------------------------


def test_known_rates_of_normal_drafts():
    """The published table at distance 0.75, and the example at distance 1."""
    table = {
        gaussian_drafts.recursive_acceptance: (0.792717322850236, 0.8622853455967611),
        gaussian_drafts.sequential_acceptance: (0.8210932068941726, 0.905509140997939),
        gaussian_drafts.optimal_acceptance: (0.8897526131783543, 0.9808694530502065),
    }
    for rate, (two, four) in table.items():
        assert rate(0.75, 2) == pytest.approx(two, abs=1e-9)
        assert rate(0.75, 4) == pytest.approx(four, abs=1e-9)
    assert gaussian_drafts.single_acceptance(0.75) == pytest.approx(0.7076604666545525, abs=1e-12)
    assert gaussian_drafts.sequential_factor(1, 2) == pytest.approx(1.511519063677739, abs=1e-9)
    assert gaussian_drafts.optimal_acceptance(1, 2) == pytest.approx(0.792022352492803, abs=1e-9)


@pytest.mark.parametrize(("factor", "distance"), [(0.4, 0.3), (1.0, 1.0), (2.5, 2.0)])
def test_hockey_stick_is_the_integral(factor, distance):
    value = integrate.quad(lambda x: max(stats.norm.pdf(x - distance) - factor * stats.norm.pdf(x), 0), -9, 12)[0]
    assert gaussian_drafts.hockey_stick(factor, distance) == pytest.approx(value, abs=1e-7)


@settings(max_examples=25)
@given(st.floats(0, 8), st.integers(1, 5))
def test_order_of_the_rules(distance, k):
    single = gaussian_drafts.single_acceptance(distance)
    recursive, sequential, best = (
        rate(distance, k)
        for rate in (
            gaussian_drafts.recursive_acceptance,
            gaussian_drafts.sequential_acceptance,
            gaussian_drafts.optimal_acceptance,
        )
    )
    assert single <= recursive + 1e-12 <= sequential + 2e-12 <= best + 1e-8
    if k == 1:
        assert recursive == pytest.approx(single, abs=1e-12)
        assert best == pytest.approx(single, abs=1e-8)


def test_equal_means_accept_surely():
    assert gaussian_drafts.recursive_acceptance(0, 3) == gaussian_drafts.sequential_acceptance(0.0, 3) == 1


# --- delayed acceptance ----------------------------------------------------------------------------------------------

F2 = np.array([0.05, 0.2, 0.1, 0.3, 0.15, 0.2]), np.array([0.1, 0.15, 0.12, 0.25, 0.2, 0.18])
RING = 0.5 * (np.roll(np.eye(6), 1, axis=1) + np.roll(np.eye(6), -1, axis=1))


def test_known_rates_of_delayed_acceptance():
    rates = delayed_acceptance_rates(*F2, RING)
    assert rates.evaluated == pytest.approx(0.7867222222, abs=1e-9)
    assert rates.accepted == pytest.approx(0.585, abs=1e-9)
    matrix = delayed_acceptance_matrix(*F2, RING)
    assert asymptotic_variance(matrix, np.arange(6.0), F2[0]) == pytest.approx(15.37384, abs=5e-6)


def positive(shape):
    return arrays.arrays(float, shape, elements=st.floats(0.05, 1))


@settings(max_examples=25)
@given(positive(4), positive(4), positive((4, 4)), arrays.arrays(bool, (4, 4)))
def test_delayed_acceptance_is_reversible_and_below_metropolis(target, surrogate, weights, hole):
    proposal = np.where(hole, 0, weights) + 0.1 * np.eye(4)
    proposal /= proposal.sum(axis=1, keepdims=True)
    matrix = delayed_acceptance_matrix(target, surrogate, proposal)
    flow = target[:, None] * matrix
    np.testing.assert_allclose(flow, flow.T, atol=1e-14)
    assert peskun_dominates(metropolis_matrix(target, proposal), matrix, tolerance=1e-13)
    mixed = delayed_acceptance_matrix(target, surrogate, proposal, second=barker)
    assert peskun_dominates(matrix, mixed, tolerance=1e-13)
    perfect = delayed_acceptance_matrix(target, 3 * target, proposal)
    np.testing.assert_allclose(perfect, metropolis_matrix(target, proposal), atol=1e-14)


# --- prefetching -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("evaluations", "depth"), [(1, 1), (3, 2), (7, 3), (15, 4), (6, 2.75)])
def test_fair_decisions_fill_the_tree_level_after_level(evaluations, depth):
    assert expected_steps(evaluations, 0.5) == depth


@given(st.integers(1, 20), st.floats(0, 1), st.floats(0, 1))
def test_the_likeliest_nodes_are_the_best_ones(evaluations, acceptance, predicted):
    best = expected_steps(evaluations, acceptance)
    assert 1 <= expected_steps(evaluations, acceptance, predicted) <= best + 1e-12 <= evaluations + 1e-9
    nodes = likely_futures(evaluations, acceptance)
    assert sum(node.probability for node in nodes) == pytest.approx(best)
    assert all(node.parent < number for number, node in enumerate(nodes))
    assert len({(node.parent, node.after_acceptance) for node in nodes}) == evaluations


def test_no_acceptance_is_a_chain_of_rejections():
    assert [node.depth for node in likely_futures(5, 0.0)] == [0, 1, 2, 3, 4]
    assert [node.acceptances for node in likely_futures(5, 0.0)] == [0] * 5
    assert expected_steps(5, 0.6, predicted=0.0) == pytest.approx((1 - 0.4**5) / 0.6)


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gaussian_drafts.single_acceptance(-1), "at least 0"),
        (lambda: gaussian_drafts.hockey_stick(-1.0, 1), "negative"),
        (lambda: gaussian_drafts.recursive_acceptance(1, 0), "positive integer"),
        (lambda: delayed_acceptance_matrix([1, 2], [1, 2, 3], np.eye(2)), "expected shapes"),
        (lambda: delayed_acceptance_matrix([1, 2], [1, 0], np.eye(2)), "positive in every state"),
        (lambda: delayed_acceptance_matrix([1, 2], [1, 1], np.ones((2, 2))), "sum to"),
        (lambda: likely_futures(0), "at least one"),
        (lambda: expected_steps(3, 1.5), r"\[0, 1\]"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
