"""Logarithmic Sobolev constants by minimisation."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.linalg

from ergodica.theory.finite_chain import FiniteChain
from ergodica.theory.log_sobolev import (
    continuous_time_bound,
    log_sobolev_constant,
    modified_log_sobolev_constant,
    two_state_log_sobolev_constant,
)
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


def test_golden_constants():
    chain = FiniteChain(R5)
    found = log_sobolev_constant(chain)
    np.testing.assert_allclose([found.value, found.limit], 0.125, rtol=1e-9)
    assert found.method == "constant limit"
    np.testing.assert_allclose(modified_log_sobolev_constant(chain).value, 0.5, rtol=1e-9)


@pytest.mark.parametrize(("p", "q"), [(0.3, 0.1), (0.05, 0.9), (0.4, 0.4)])
def test_two_states(p, q):
    found = log_sobolev_constant(FiniteChain([[1 - p, p], [q, 1 - q]]), num_starts=6)
    expected = two_state_log_sobolev_constant(p, q)
    np.testing.assert_allclose(found.value, expected, rtol=1e-9)
    if p != q:
        g = np.exp(found.function)
        law = np.array([q, p]) / (p + q)
        energy = law[0] * p * (g[0] - g[1]) ** 2
        mass = law @ g**2
        np.testing.assert_allclose(energy / (law @ (g**2 * np.log(g**2 / mass))), expected, rtol=1e-9)
    else:
        assert expected == 0.5 * (p + q)


def test_golden_two_states():
    np.testing.assert_allclose(two_state_log_sobolev_constant(0.3, 0.1), 0.1820478453, atol=6e-11)


@hypothesis.settings(max_examples=15)
@hypothesis.given(st.integers(0, 2**32 - 1), st.integers(2, 4))
def test_order_of_the_constants(seed, size):
    weights = np.random.default_rng(seed).exponential(size=(size, size)) ** 2
    weights = weights + weights.T
    chain = FiniteChain(weights / weights.sum(axis=1, keepdims=True))
    alpha = log_sobolev_constant(chain, num_starts=9).value
    rho = modified_log_sobolev_constant(chain, num_starts=9).value
    gap = spectral_gap(chain)
    assert alpha <= gap / 2 * (1 + 1e-9)
    assert 4 * alpha * (1 - 1e-6) <= rho <= 2 * gap * (1 + 1e-9)


@pytest.mark.parametrize(("slack", "distance"), [(1.0, 0.4554705174), (2.0, 0.1634794083)])
def test_golden_bound(slack, distance):
    chain = FiniteChain(R5)
    found = continuous_time_bound(chain, 0, slack, 0.125)
    if slack == 1:
        np.testing.assert_allclose(found.time, 5.6680648905, atol=6e-11)
    density = scipy.linalg.expm(found.time * (R5 - np.eye(5)))[0] / chain.law
    actual = np.sqrt(chain.law @ (density - 1) ** 2)
    np.testing.assert_allclose(actual, distance, atol=6e-11)
    assert actual <= found.bound == np.exp(1 - slack)


def test_bad_arguments():
    chain = FiniteChain(R5)
    with pytest.raises(ValueError, match="one state"):
        log_sobolev_constant(FiniteChain([[1.0]]))
    with pytest.raises(ValueError, match="reversible"):
        log_sobolev_constant(FiniteChain(np.roll(np.eye(3), 1, axis=1)))
    with pytest.raises(ValueError, match="num_starts"):
        modified_log_sobolev_constant(chain, num_starts=0)
    with pytest.raises(ValueError, match="probabilities"):
        two_state_log_sobolev_constant(0, 0.5)
    with pytest.raises(ValueError, match="state below 5"):
        continuous_time_bound(chain, 5, 1.0, 0.125)
    with pytest.raises(ValueError, match="alpha"):
        continuous_time_bound(chain, 0, 1.0, -1.0)
