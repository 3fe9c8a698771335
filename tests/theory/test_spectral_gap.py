"""Spectral gaps, reversible or not."""

import itertools

import numpy as np
import pytest
import scipy.sparse

from ergodica.theory.finite_chain import FiniteChain
from ergodica.theory.metropolis import barker, metropolis_matrix
from ergodica.theory.spectral_gap import (
    absolute_gap,
    additive_gap,
    multiplicative_gap,
    poincare_constant,
    pseudo_spectral_gap,
    relaxation_time,
    second_eigenfunction,
    second_modulus,
    spectral_gap,
    variational_gap,
)

STEP = (np.eye(5, k=1) + np.eye(5, k=-1)) / 2
STEP[0, 0] = STEP[-1, -1] = 0.5
R5 = metropolis_matrix([1, 2, 4, 2, 1], STEP)


def spin3():
    """Return the states, the law, the systematic scan and the random scan of an Ising chain of three spins."""
    states = np.array(list(itertools.product((-1, 1), repeat=3)), float)
    energy = 0.8 * (states[:, 0] * states[:, 1] + states[:, 1] * states[:, 2]) + states @ [0.3, -0.2, 0.1]
    law = np.exp(energy) / np.exp(energy).sum()
    updates = []
    for site in range(3):
        other = np.delete(states, site, axis=1)
        same = np.all(other[:, None] == other, axis=2)
        updates.append(same * law / (same * law).sum(axis=1, keepdims=True))
    return states, law, updates[0] @ updates[1] @ updates[2], sum(updates) / 3


def test_golden_gaps():
    chain = FiniteChain(R5)
    np.testing.assert_allclose([spectral_gap(chain), relaxation_time(chain), poincare_constant(chain)], [0.25, 4, 4])
    f = np.arange(5.0)
    np.testing.assert_allclose(variational_gap(chain, f), 0.25, rtol=1e-13)
    np.testing.assert_allclose(abs(second_eigenfunction(chain)), abs(f - 2) / np.sqrt(1.2), atol=1e-13)
    np.testing.assert_allclose(additive_gap(chain), 0.25)
    np.testing.assert_allclose(multiplicative_gap(chain), 1 - 0.75**2)
    slow = FiniteChain(metropolis_matrix([1, 2, 4, 2, 1], STEP, barker))
    np.testing.assert_allclose(slow.spectrum.eigenvalues, [1, 5 / 6, 2 / 3, 1 / 3, 1 / 6], atol=1e-14)


def test_golden_scans():
    states, law, systematic, random = spin3()
    total = states.sum(axis=1)
    chain, mixed = FiniteChain(systematic), FiniteChain(random)
    np.testing.assert_allclose(chain.law, law, atol=1e-15)
    mean = law @ total
    np.testing.assert_allclose([mean, law @ (total - mean) ** 2], [0.3674917701, 6.3471525931], atol=6e-11)
    np.testing.assert_allclose(chain.asymptotic_variance(total).value, 28.1942540308, atol=6e-11)
    np.testing.assert_allclose(mixed.asymptotic_variance(total).value, 162.5522807490, atol=6e-11)
    assert not chain.reversible
    assert mixed.reversible
    np.testing.assert_allclose(second_modulus(chain), 0.6038755456, atol=6e-11)
    np.testing.assert_allclose(second_modulus(mixed), 0.9255083371, atol=6e-11)
    np.testing.assert_allclose(multiplicative_gap(chain), 0.4802576523, atol=6e-11)
    np.testing.assert_allclose(additive_gap(chain), 0.3241209073, atol=6e-11)
    np.testing.assert_allclose(poincare_constant(chain), 1 / additive_gap(chain))
    gap, power = pseudo_spectral_gap(chain)
    np.testing.assert_allclose(gap, 0.4802576523, atol=6e-11)
    assert power == 1
    with pytest.raises(ValueError, match="reversible"):
        spectral_gap(chain)


def test_periodic_chains():
    cycle = FiniteChain(np.roll(np.eye(4), 1, axis=1))
    assert absolute_gap(cycle) == 0
    assert relaxation_time(cycle) == float("inf")
    assert pseudo_spectral_gap(cycle, 8)[0] == 0
    flip = FiniteChain([[0.0, 1.0], [1.0, 0.0]])
    np.testing.assert_allclose(spectral_gap(flip), 2)
    assert absolute_gap(flip) == 0
    single = FiniteChain([[1.0]])
    assert spectral_gap(single) == absolute_gap(single) == additive_gap(single) == multiplicative_gap(single) == 1


def test_pseudo_gap_needs_more_than_one_step():
    # P* P leaves functions of one state alone, and more steps mix.
    lagging = FiniteChain([[0, 1, 0], [0, 0, 1], [0.5, 0.5, 0]])
    np.testing.assert_allclose(multiplicative_gap(lagging), 0, atol=1e-14)
    gap, power = pseudo_spectral_gap(lagging)
    assert gap > 0.05
    assert power > 1


def ring(size):
    i = np.arange(size)
    data = np.concatenate([np.full(size, 0.5), np.full(2 * size, 0.25)])
    return scipy.sparse.csr_array(
        (data, (np.tile(i, 3), np.concatenate([i, (i + 1) % size, (i - 1) % size]))), (size, size)
    )


@pytest.mark.parametrize("size", [600, pytest.param(30_000, marks=pytest.mark.slow)])
def test_sparse_gaps(size):
    chain = FiniteChain(ring(size))
    expected = np.sin(np.pi / size) ** 2
    np.testing.assert_allclose(spectral_gap(chain), expected, rtol=1e-6)
    np.testing.assert_allclose(absolute_gap(chain), expected, rtol=1e-5)


def test_sparse_gap_at_the_lower_end():
    # Three perfect matchings of two halves, with a little rest: the last eigenvalue has the largest modulus.
    rng = np.random.default_rng(5)
    size = 520
    weights = np.zeros((size, size))
    for _ in range(3):
        weights[np.arange(size // 2), rng.permutation(size // 2) + size // 2] += 1
    weights = weights + weights.T + 0.15 * np.eye(size)
    matrix = weights / weights.sum(axis=1, keepdims=True)
    one, dense = FiniteChain(scipy.sparse.csr_array(matrix)), FiniteChain(matrix)
    np.testing.assert_allclose(absolute_gap(one), absolute_gap(dense), rtol=1e-7)
    np.testing.assert_allclose(spectral_gap(one), spectral_gap(dense), rtol=1e-7)


def test_bad_arguments():
    chain = FiniteChain(R5)
    with pytest.raises(ValueError, match="constant"):
        variational_gap(chain, np.ones(5))
    with pytest.raises(ValueError, match="5 states"):
        variational_gap(chain, np.ones(4))
    with pytest.raises(ValueError, match="max_power"):
        pseudo_spectral_gap(chain, 0)
    with pytest.raises(ValueError, match="one state"):
        second_eigenfunction(FiniteChain([[1.0]]))
