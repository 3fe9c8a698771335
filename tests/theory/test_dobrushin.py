"""Contraction in total variation, and the influence of one coordinate on another."""

import itertools

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from ergodica.theory.dobrushin import dobrushin_coefficient, influence_matrix, uniqueness_condition
from ergodica.theory.finite_chain import FiniteChain
from ergodica.theory.mixing import distance_to_stationarity

R5 = np.array(
    [
        [0.5, 0.5, 0, 0, 0],
        [0.25, 0.25, 0.5, 0, 0],
        [0, 0.25, 0.5, 0.25, 0],
        [0, 0, 0.5, 0.25, 0.25],
        [0, 0, 0, 0.5, 0.5],
    ]
)


def test_golden_coefficients():
    chain = FiniteChain(R5)
    found = [dobrushin_coefficient(chain, k) for k in (0, 1, 2, 4, 8)]
    np.testing.assert_allclose(found, [1, 1, 0.75, 0.421875, 0.1334838867], atol=6e-11)


@hypothesis.given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_the_coefficient_is_submultiplicative(seed, size):
    weights = np.random.default_rng(seed).exponential(size=(size, size)) ** 3
    chain = FiniteChain(weights / weights.sum(axis=1, keepdims=True))
    one, two, five = (dobrushin_coefficient(chain, k) for k in (1, 2, 5))
    assert two <= one**2 + 1e-14
    assert five <= one * two**2 + 1e-14
    assert distance_to_stationarity(chain, 5) <= five + 1e-14


def spins():
    s = np.array([-1.0, 1.0])
    x, y, z = np.meshgrid(s, s, s, indexing="ij")
    return np.exp(0.8 * (x * y + y * z) + 0.3 * x - 0.2 * y + 0.1 * z)


def test_golden_influence():
    C = influence_matrix(spins())
    expected = [[0, 0.6313080895, 0], [0.5413634842, 0, 0.5413634842], [0, 0.6603328237, 0]]
    np.testing.assert_allclose(C, expected, atol=6e-11)
    condition = uniqueness_condition(C)
    np.testing.assert_allclose(condition.max_row_sum, 1.0827269684, atol=2e-10)
    np.testing.assert_allclose(condition.spectral_radius, 0.8362100365, atol=6e-11)
    assert condition.holds
    assert condition.mixing_bound(3) == float("inf")
    assert uniqueness_condition(C / 2).mixing_bound(3) == pytest.approx(3 * np.log(12) / (1 - 1.0827269684 / 2))


def test_influence_by_brute_force():
    weights = np.random.default_rng(0).exponential(size=(2, 3, 4))
    C = np.zeros((3, 3))
    for i, j in itertools.permutations(range(3), 2):
        for state in itertools.product(*map(range, weights.shape)):
            for value in range(weights.shape[j]):
                laws = []
                for other in (state[j], value):
                    where = [other if k == j else slice(None) if k == i else state[k] for k in range(3)]
                    laws.append(weights[tuple(where)] / weights[tuple(where)].sum())
                C[i, j] = max(C[i, j], 0.5 * abs(laws[0] - laws[1]).sum())
    np.testing.assert_allclose(influence_matrix(weights), C, atol=1e-14)
    product = np.einsum("i,j->ij", [1.0, 2.0], [3.0, 4.0, 5.0])
    np.testing.assert_allclose(influence_matrix(product), 0, atol=1e-15)


def test_bad_arguments():
    with pytest.raises(ValueError, match="positive weights"):
        influence_matrix([[1.0, 0.0], [1.0, 1.0]])
    with pytest.raises(ValueError, match="square"):
        uniqueness_condition(np.ones((2, 3)))
    with pytest.raises(ValueError, match="d >= 1"):
        uniqueness_condition([[0.0]]).mixing_bound(0)
    with pytest.raises(ValueError, match="num_steps"):
        dobrushin_coefficient(FiniteChain(R5), -1)
