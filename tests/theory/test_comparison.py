"""Orders of chains with one stationary law."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from ergodica.theory.comparison import covariance_dominates, efficiency
from ergodica.theory.finite_chain import FiniteChain
from ergodica.theory.metropolis import barker, metropolis_matrix, peskun_dominates
from ergodica.theory.transition_matrix import lazy


@hypothesis.given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_metropolis_and_barker(seed, size):
    rng = np.random.default_rng(seed)
    target, proposal = rng.exponential(size=size) + 0.01, rng.dirichlet(np.ones(size), size)
    fast = FiniteChain(metropolis_matrix(target, proposal), target)
    slow = FiniteChain(metropolis_matrix(target, proposal, barker), target)
    lagging = FiniteChain(lazy(fast.P, 0.3), target)
    f = rng.normal(size=size)
    for other in (slow, lagging):
        assert peskun_dominates(fast.P, other.P)
        assert covariance_dominates(fast, other)
        assert np.all(fast.spectrum.eigenvalues <= other.spectrum.eigenvalues + 1e-12)
        assert efficiency(fast, other, f).ratio >= 1 - 1e-9
    assert not covariance_dominates(slow, fast)
    one, two = fast.asymptotic_variance(f), slow.asymptotic_variance(f)
    assert two.value <= (2 * one.value + one.variance) * (1 + 1e-9)
    off = ~np.eye(size, dtype=bool)
    assert np.all(fast.P[off] <= 2 * slow.P[off] + 1e-15)


def test_golden_costs():
    step = (np.eye(5, k=1) + np.eye(5, k=-1)) / 2
    step[0, 0] = step[-1, -1] = 0.5
    weights = [1, 2, 4, 2, 1]
    one = FiniteChain(metropolis_matrix(weights, step))
    two = FiniteChain(metropolis_matrix(weights, step, barker))
    found = efficiency(one, two, np.arange(5.0), 3.0, 1.0)
    np.testing.assert_allclose([found.one, found.other, found.ratio], [25.2, 13.2, 13.2 / 25.2], rtol=1e-12)


def test_the_covariance_order_is_weaker():
    # Eight steps of a positive chain have less covariance than one, and are less likely to end at a neighbour.
    base = FiniteChain(lazy((np.eye(5, k=1) + np.eye(5, k=-1) + np.diag([1, 0, 0, 0, 1])) / 2))
    twice = FiniteChain(np.linalg.matrix_power(base.P, 8), base.law)
    assert covariance_dominates(twice, base)
    assert not peskun_dominates(twice.P, base.P)
    assert efficiency(twice, base, np.arange(5.0) ** 2).ratio > 1


def test_bad_arguments():
    one, two = FiniteChain([[0.5, 0.5], [0.5, 0.5]]), FiniteChain([[0.5, 0.5], [0.2, 0.8]])
    with pytest.raises(ValueError, match="one stationary law"):
        covariance_dominates(one, two)
    with pytest.raises(ValueError, match="costs"):
        efficiency(one, one, [0.0, 1.0], 0.0, 1.0)
    assert np.isnan(efficiency(one, one, [1.0, 1.0]).ratio)
    cycle = FiniteChain(np.roll(np.eye(3), 1, axis=1))
    with pytest.raises(ValueError, match="reversible"):
        covariance_dominates(cycle, cycle)
