"""Iterated resampling: the transition matrix against enumeration of the candidates."""

import itertools
import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from ergodica.theory.finite_chain import FiniteChain
from ergodica.theory.importance import importance_weights
from ergodica.theory.independence import weight_bound
from ergodica.theory.iterated_resampling import (
    iterated_resampling_matrix,
    minorisation_bound,
    minorisation_constant,
)
from ergodica.theory.mixing import distance_to_stationarity

TARGET, PROPOSAL = (0.1, 0.2, 0.3, 0.4), (0.25, 0.25, 0.4, 0.1)


def by_enumeration(pi, q, num_candidates):
    """All tuples of candidates, one by one."""
    pi, q = np.asarray(pi), np.asarray(q)
    w = np.divide(pi, q, out=np.zeros_like(pi), where=q > 0)
    n = len(pi)
    out = np.zeros((n, n))
    for x in range(n):
        for others in itertools.product(range(n), repeat=num_candidates - 1):
            points = [x, *others]
            chance = math.prod(q[y] for y in others)
            total = sum(w[y] for y in points)
            if total == 0:
                out[x, x] += chance
                continue
            for y in points:
                out[x, y] += chance * w[y] / total
    return out


@pytest.mark.parametrize(
    ("count", "second", "constant", "bound"),
    [
        (2, 0.7874594312, 0.2083333, 0.125),
        (3, 0.6416630863, 0.3523110, 2 / 9),
        (4, 0.5370655423, 0.4562020, 0.3),
    ],
)
def test_golden(count, second, constant, bound):
    found = iterated_resampling_matrix(TARGET, PROPOSAL, count)
    assert found.residual < 1e-14
    assert FiniteChain(found.value, TARGET).spectrum.eigenvalues[1] == pytest.approx(second, abs=1e-10)
    assert minorisation_constant(TARGET, PROPOSAL, count) == pytest.approx(constant, abs=6e-8)
    assert minorisation_bound(4.0, count) == pytest.approx(bound, rel=1e-14)
    np.testing.assert_allclose(found.value, by_enumeration(TARGET, PROPOSAL, count), atol=1e-14)


def law(n):
    return st.lists(st.floats(0.003, 1), min_size=n, max_size=n).map(lambda w: np.array(w) / np.sum(w))


@settings(max_examples=25)
@given(st.integers(2, 4).flatmap(lambda n: st.tuples(law(n), law(n))), st.integers(2, 4))
def test_properties(pair, count):
    pi, q = pair
    matrix = iterated_resampling_matrix(pi, q, count).value
    np.testing.assert_allclose(matrix, by_enumeration(pi, q, count), atol=1e-13)
    chain = FiniteChain(matrix, pi)
    assert chain.reversible
    # The chain is one half of a Gibbs sampler on state and candidates: no eigenvalue is negative.
    assert chain.spectrum.eigenvalues[-1] > -1e-12
    constant = minorisation_constant(pi, q, count)
    assert minorisation_bound(weight_bound(pi, q), count) <= constant * (1 + 1e-12)
    for steps in (1, 3):
        assert distance_to_stationarity(chain, steps) <= (1 - constant) ** steps + 1e-12
    assert chain.spectrum.eigenvalues[1] <= 1 - constant + 1e-12
    # More candidates are better, one by one.
    more = FiniteChain(iterated_resampling_matrix(pi, q, count + 1).value, pi)
    assert np.all(more.spectrum.eigenvalues <= chain.spectrum.eigenvalues + 1e-12)


def test_states_of_weight_zero():
    pi, q = np.array([0.3, 0.7, 0.0, 0.0]), np.array([0.4, 0.1, 0.2, 0.3])
    for count in (2, 4):
        found = iterated_resampling_matrix(pi, q, count)
        np.testing.assert_allclose(found.value, by_enumeration(pi, q, count), atol=1e-14)
        inside = found.value[:2, :2]
        np.testing.assert_allclose(inside.sum(axis=1), 1, atol=1e-14)
        assert minorisation_constant(pi, q, count) == pytest.approx((inside / pi[:2]).min())


def test_many_candidates_and_extreme_weights():
    found = iterated_resampling_matrix(TARGET, PROPOSAL, 10**6)
    assert found.residual < 1e-12
    np.testing.assert_allclose(found.value, np.tile(TARGET, (4, 1)), atol=1e-5)
    # With many candidates N (P / pi - 1) tends to a finite matrix, by the delta method.
    w = importance_weights(TARGET, PROPOSAL)
    limit = PROPOSAL @ w**2 - w[:, None] - w + np.diag(w / TARGET)
    np.testing.assert_allclose(10**6 * (found.value / TARGET - 1), limit, atol=2e-4)
    pi = np.array([1e-12, 0.5, 0.5 - 1e-12])
    q = np.array([0.5, 0.5 - 1e-9, 1e-9])
    for count in (2, 3):
        found = iterated_resampling_matrix(pi, q, count)
        np.testing.assert_allclose(found.value, by_enumeration(pi, q, count), rtol=1e-10, atol=1e-14)
    assert iterated_resampling_matrix([1.0], [1.0], 2).value[0, 0] == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: iterated_resampling_matrix(TARGET, PROPOSAL, 1), "at least 2"),
        (lambda: iterated_resampling_matrix(TARGET, PROPOSAL, 2.5), "integer"),
        (lambda: iterated_resampling_matrix([0.5, 0.5], [1.0, 0.0], 2), "state 1"),
        (lambda: iterated_resampling_matrix([1.0, 1.0], [0.5, 0.5], 2), "sums to 2"),
        (lambda: iterated_resampling_matrix([math.nan, 1.0], [0.5, 0.5], 2), "not finite"),
        (lambda: minorisation_constant([0.5, 0.5], [1.0], 2), "one shape"),
        (lambda: minorisation_bound(0.5, 2), "at least 1"),
        (lambda: minorisation_bound(math.nan, 2), "at least 1"),
        (lambda: minorisation_bound(2.0, 1), "at least 2"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
    assert minorisation_bound(math.inf, 5) == 0
