"""Coarse curvature and transport on finite spaces."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from ergodica.theory.finite_chain import FiniteChain
from ergodica.theory.ricci_curvature import graph_metric, ricci_curvature, wasserstein_distance
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


def test_golden_curvature():
    chain = FiniteChain(R5)
    np.testing.assert_allclose(ricci_curvature(chain), 0.25, rtol=1e-13)
    line = np.abs(np.subtract.outer(np.arange(5.0), np.arange(5.0)))
    np.testing.assert_array_equal(graph_metric(chain), line)
    # All pairs give the same as neighbours do, and the trivial metric Dobrushin's coefficient.
    np.testing.assert_allclose(ricci_curvature(chain, line), 0.25, rtol=1e-13)
    np.testing.assert_allclose(ricci_curvature(chain, 1 - np.eye(5)), 0, atol=1e-12)


def test_glauber_dynamics_on_the_cube():
    # Lazy walk on {0, 1}^3: curvature 1/3 and gap 1/3.
    size = 8
    matrix = np.zeros((size, size))
    for state in range(size):
        for bit in range(3):
            matrix[state, state ^ (1 << bit)] += 1 / 6
            matrix[state, state] += 1 / 6
    chain = FiniteChain(matrix)
    np.testing.assert_allclose([ricci_curvature(chain), spectral_gap(chain)], 1 / 3, rtol=1e-9)


@hypothesis.settings(max_examples=15)
@hypothesis.given(st.integers(0, 2**32 - 1), st.integers(3, 5))
def test_curvature_bounds_the_gap(seed, size):
    rng = np.random.default_rng(seed)
    weights = rng.exponential(size=(size, size)) * (rng.random((size, size)) < 0.6)
    weights = weights + weights.T + np.eye(size) + np.eye(size, k=1) + np.eye(size, k=-1)
    chain = FiniteChain(weights / weights.sum(axis=1, keepdims=True))
    curvature = ricci_curvature(chain)
    assert curvature <= spectral_gap(chain) + 1e-9
    np.testing.assert_allclose(ricci_curvature(chain, graph_metric(chain)), curvature, atol=1e-9)


def test_line_and_program_agree():
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(6), 2)
    x = rng.normal(size=6)
    line = np.abs(x[:, None] - x)
    # In the plane, the points lie on a line that the quick route does not recognise.
    turned = line * (1 + 1e-6 * (1 - np.eye(6)))
    turned[0, 1] = turned[1, 0] = line[0, 1] * (1 + 1.1e-6)
    np.testing.assert_allclose(wasserstein_distance(p, q, line), wasserstein_distance(p, q, turned), rtol=1e-5)
    assert wasserstein_distance(p, p, turned) == 0


def test_bad_arguments():
    chain = FiniteChain(R5)
    with pytest.raises(ValueError, match="one state"):
        ricci_curvature(FiniteChain([[1.0]]))
    with pytest.raises(ValueError, match="symmetric metric"):
        ricci_curvature(chain, np.triu(np.ones((5, 5))))
    with pytest.raises(ValueError, match="zero on the diagonal"):
        ricci_curvature(chain, np.ones((5, 5)))
    with pytest.raises(ValueError, match="expected shapes"):
        wasserstein_distance([1.0], [0.5, 0.5], np.zeros((2, 2)))
