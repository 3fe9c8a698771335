"""Mixing times by doubling and bisection."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from ergodica.theory.finite_chain import FiniteChain
from ergodica.theory.mixing import distance_to_stationarity, mixing_bounds, mixing_time, total_variation_curve

R5 = np.array(
    [
        [0.5, 0.5, 0, 0, 0],
        [0.25, 0.25, 0.5, 0, 0],
        [0, 0.25, 0.5, 0.25, 0],
        [0, 0, 0.5, 0.25, 0.25],
        [0, 0, 0, 0.5, 0.5],
    ]
)


def test_golden_distances():
    chain = FiniteChain(R5)
    np.testing.assert_allclose([distance_to_stationarity(chain, t) for t in (3, 4)], [0.325, 0.23125], rtol=1e-13)
    np.testing.assert_allclose(distance_to_stationarity(chain, 10), 0.0378677368, atol=6e-11)
    curve = [0.9, 0.7, 0.45, 0.325, 0.23125, 0.16875]
    np.testing.assert_allclose(total_variation_curve(chain, 5, 0), curve, rtol=1e-13)
    np.testing.assert_allclose(total_variation_curve(chain, 5, np.eye(5)[0]), curve, rtol=1e-13)
    worst = [distance_to_stationarity(chain, t) for t in range(6)]
    np.testing.assert_allclose(total_variation_curve(chain, 5), worst, rtol=1e-13)
    assert mixing_time(chain) == 4
    bounds = mixing_bounds(chain)
    np.testing.assert_allclose([bounds.lower, bounds.upper], [2.0794415417, 14.7555178165], atol=6e-11)


@hypothesis.given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.floats(0.01, 0.6))
def test_mixing_time_is_the_first(seed, size, eps):
    rng = np.random.default_rng(seed)
    weights = rng.exponential(size=(size, size)) ** 3
    weights = weights + weights.T + 5 * np.diag(rng.exponential(size=size))
    chain = FiniteChain(weights / weights.sum(axis=1, keepdims=True))
    time = mixing_time(chain, eps)
    assert distance_to_stationarity(chain, int(time)) <= eps
    assert time == 0 or distance_to_stationarity(chain, int(time) - 1) > eps
    bounds = mixing_bounds(chain, eps)
    assert bounds.lower <= time <= np.ceil(bounds.upper)


def test_slow_chain():
    p = 1e-9
    time = mixing_time(FiniteChain([[1 - p, p], [p, 1 - p]]), 0.25)
    np.testing.assert_allclose(time, np.ceil(np.log(0.5) / np.log1p(-2 * p)), rtol=1e-6)
    with pytest.raises(RuntimeError, match="not mixed"):
        mixing_time(FiniteChain([[1 - p, p], [p, 1 - p]]), 0.25, max_steps=1000)


def test_edge_cases():
    assert mixing_time(FiniteChain([[1.0]])) == 0
    flip = FiniteChain([[0.0, 1.0], [1.0, 0.0]])
    assert mixing_time(flip) == float("inf")
    assert mixing_time(flip, 0.5) == 0
    # Transient states are starts, too: it takes two steps to leave.
    assert mixing_time(FiniteChain([[0, 1.0, 0], [0, 0, 1.0], [0, 0, 1.0]])) == 2
    chain = FiniteChain(R5)
    for eps in (0.0, 1.0, np.nan):
        with pytest.raises(ValueError, match="eps"):
            mixing_time(chain, eps)
        with pytest.raises(ValueError, match="eps"):
            mixing_bounds(chain, eps)
    for start in (5, 1.5, np.ones(5), [1.0]):
        with pytest.raises(ValueError, match="start is a state"):
            total_variation_curve(chain, 3, start)
    with pytest.raises(ValueError, match="num_steps"):
        total_variation_curve(chain, -1)
    with pytest.raises(ValueError, match="num_steps"):
        distance_to_stationarity(chain, -1)
