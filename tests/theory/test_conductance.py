"""Conductance by enumeration and by sweeps."""

import itertools

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.sparse

from ergodica.theory.conductance import cheeger_bounds, conductance
from ergodica.theory.finite_chain import FiniteChain
from ergodica.theory.spectral_gap import spectral_gap

R5 = np.array(
    [
        [0.5, 0.5, 0, 0, 0],
        [0.25, 0.25, 0.5, 0, 0],
        [0, 0.25, 0.5, 0.25, 0],
        [0, 0, 0.5, 0.25, 0.25],
        [0, 0, 0, 0.5, 0.5],
    ]
)


@st.composite
def chains(draw):
    size = draw(st.integers(2, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weights = rng.exponential(size=(size, size)) ** 3
    if draw(st.booleans()):
        weights = weights + weights.T
    return FiniteChain(weights / weights.sum(axis=1, keepdims=True))


def test_golden():
    found = conductance(FiniteChain(R5))
    np.testing.assert_allclose(found.value, 1 / 3, rtol=1e-14)
    assert found.states.tolist() in ([0, 1], [3, 4])
    assert found.exact
    bounds = cheeger_bounds(FiniteChain(R5))
    np.testing.assert_allclose([bounds.lower, bounds.upper], [1 / 18, 2 / 3])
    swept = conductance(FiniteChain(R5), max_enumerated=0)
    np.testing.assert_allclose(swept.value, 1 / 3, rtol=1e-14)
    assert not swept.exact


@hypothesis.given(chains())
def test_enumeration_against_brute_force(chain):
    flow = chain.law[:, None] * chain.P
    best = min(
        flow[np.ix_(list(s), [j for j in range(chain.size) if j not in s])].sum() / chain.law[list(s)].sum()
        for k in range(1, chain.size)
        for s in itertools.combinations(range(chain.size), k)
        if chain.law[list(s)].sum() <= 0.5
    )
    found = conductance(chain)
    np.testing.assert_allclose(found.value, best, rtol=1e-9)
    inside = np.isin(np.arange(chain.size), found.states)
    np.testing.assert_allclose(flow[inside][:, ~inside].sum() / chain.law[inside].sum(), best, rtol=1e-9)
    if chain.reversible:
        bounds = cheeger_bounds(chain)
        assert bounds.lower - 1e-12 <= spectral_gap(chain) <= bounds.upper + 1e-12
        swept = conductance(chain, max_enumerated=0)
        inside = np.isin(np.arange(chain.size), swept.states)
        np.testing.assert_allclose(flow[inside][:, ~inside].sum() / chain.law[inside].sum(), swept.value, rtol=1e-9)
        assert best - 1e-12 <= swept.value <= np.sqrt(2 * spectral_gap(chain)) + 1e-12


def test_a_long_path():
    size = 600
    matrix = scipy.sparse.diags_array([np.full(size - 1, 0.25), np.full(size - 1, 0.25)], offsets=[1, -1]).tolil()
    matrix.setdiag(0.5)
    matrix[0, 0] = matrix[size - 1, size - 1] = 0.75
    found = conductance(FiniteChain(matrix.tocsr()))
    np.testing.assert_allclose(found.value, 0.25 / (size / 2), rtol=1e-9)
    assert len(found.states) == size // 2


def test_bad_arguments():
    with pytest.raises(ValueError, match="one state"):
        conductance(FiniteChain([[1.0]]))
    with pytest.raises(ValueError, match="max_enumerated"):
        conductance(FiniteChain(R5), max_enumerated=40)
    rng = np.random.default_rng(0)
    weights = rng.exponential(size=(22, 22))
    weights = weights + weights.T
    with pytest.raises(ValueError, match="too many to enumerate"):
        cheeger_bounds(FiniteChain(weights / weights.sum(axis=1, keepdims=True)))
