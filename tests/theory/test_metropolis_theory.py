"""Finite Metropolis-Hastings by formula: golden numbers, Peskun's order, and closed forms of acceptance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, special

from ergodica.theory.finite_chain import reversible_spectrum
from ergodica.theory.metropolis import (
    barker,
    barker_variance_bound,
    metropolis,
    metropolis_matrix,
    metropolis_variance,
    peskun_dominates,
    random_walk_acceptance,
)

RING6 = np.array([0.05, 0.20, 0.10, 0.30, 0.15, 0.20])
WALK6 = (np.roll(np.eye(6), 1, 1) + np.roll(np.eye(6), -1, 1)) / 2


def test_ring4():
    proposal = 0.7 * np.roll(np.eye(4), 1, 1) + 0.3 * np.roll(np.eye(4), -1, 1)
    matrix = metropolis_matrix([1, 2, 3, 4], proposal)
    expected = [[0.1, 0.6, 0, 0.3], [0.3, 0.25, 0.45, 0], [0, 0.3, 0.3, 0.4], [0.075, 0, 0.3, 0.625]]
    np.testing.assert_allclose(matrix, expected, atol=1e-15)
    eigenvalues = reversible_spectrum(matrix, np.array([1, 2, 3, 4]) / 10).eigenvalues
    np.testing.assert_allclose(eigenvalues, [1, 0.526092351, 0.1571446042, -0.4082369552], atol=1e-9)


def test_asymptotic_variances_on_ring6():
    f = np.arange(6)
    first = metropolis_variance(RING6, WALK6, f)
    second = metropolis_variance(RING6, WALK6, f, barker)
    variance = RING6 @ f**2 - (RING6 @ f) ** 2
    assert RING6 @ f == pytest.approx(2.9)
    assert first == pytest.approx(15.3214545455, abs=1e-9)
    assert second == pytest.approx(21.3549000000, abs=1e-9)
    assert barker_variance_bound(first, variance) == pytest.approx(32.9329090909, abs=1e-9)


sizes = st.integers(2, 6)
chains = sizes.flatmap(
    lambda n: st.tuples(
        st.lists(st.floats(0.01, 1), min_size=n, max_size=n),
        st.lists(st.lists(st.one_of(st.just(0.0), st.floats(0.01, 1)), min_size=n, max_size=n), min_size=n, max_size=n),
    )
)


@given(chains)
def test_reversibility_and_order(chain):
    weights, rows = chain
    proposal = np.array(rows) + 0.1 * (np.roll(np.eye(len(weights)), 1, 1) + np.roll(np.eye(len(weights)), -1, 1))
    proposal /= proposal.sum(axis=1, keepdims=True)
    pi = np.array(weights) / np.sum(weights)
    matrices = [metropolis_matrix(weights, proposal, rule) for rule in (metropolis, barker)]
    for matrix in matrices:
        np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-14)
        assert matrix.min() >= -1e-15
        np.testing.assert_allclose(pi[:, None] * matrix, (pi[:, None] * matrix).T, atol=1e-14)
        np.testing.assert_array_equal(matrix[(proposal == 0) & ~np.eye(len(pi), dtype=bool)], 0)
    assert peskun_dominates(*matrices)
    assert peskun_dominates(2 * matrices[1], matrices[0])
    f = np.arange(len(pi), dtype=float)
    slow, fast = (metropolis_variance(pi, proposal, f, rule) for rule in (barker, metropolis))
    variance = pi @ f**2 - (pi @ f) ** 2
    tolerance = 1e-9 * (1 + slow)
    assert fast - tolerance <= slow <= barker_variance_bound(fast, variance) + tolerance


def test_weights_of_zero():
    matrix = metropolis_matrix([1.0, 0.0, 1.0], np.full((3, 3), 1 / 3))
    np.testing.assert_allclose(matrix, [[2 / 3, 0, 1 / 3], [1 / 3, 1 / 3, 1 / 3], [1 / 3, 0, 2 / 3]], atol=1e-15)
    assert barker(np.array([np.inf, 0.0])).tolist() == [1.0, 0.0]


def test_acceptance_of_a_random_walk():
    for scale in (0.3, 1.0, 2.4):
        assert random_walk_acceptance(1, scale) == pytest.approx(2 / np.pi * np.arctan(2 / scale), rel=1e-12)
    dim, scale = 3, 1.4
    chi = integrate.quad(
        lambda r: 2 * special.ndtr(-scale * r / 2) * r**2 * np.exp(-(r**2) / 2) * np.sqrt(2 / np.pi), 0, 40
    )[0]
    assert random_walk_acceptance(dim, scale) == pytest.approx(chi, rel=1e-10)
    assert random_walk_acceptance(10**6, 2.38 / 1e3) == pytest.approx(2 * special.ndtr(-1.19), rel=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metropolis_matrix([1.0, 1.0], np.eye(3)), "shapes"),
        (lambda: metropolis_matrix([1.0, -1.0], np.eye(2)), "not negative"),
        (lambda: metropolis_matrix([0.0, 0.0], np.eye(2)), "one of them positive"),
        (lambda: metropolis_matrix([1.0, 1.0], np.ones((2, 2))), "sum to"),
        (lambda: random_walk_acceptance(0, 1.0), "at least 1"),
        (lambda: random_walk_acceptance(1, 0.0), "positive"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
