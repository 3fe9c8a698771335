"""Checks of transition matrices, classes and periods."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from ergodica.theory.transition_matrix import (
    closed_classes,
    communicating_classes,
    lazy,
    period,
    time_reversal,
    transition_matrix,
)

SPLIT = np.array([[0.5, 0, 0.5, 0], [0, 1, 0, 0], [0.2, 0.3, 0.4, 0.1], [0, 0, 0, 1]])


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray, scipy.sparse.csr_array, scipy.sparse.coo_matrix])
def test_arrays_of_all_kinds(kind):
    out = transition_matrix(kind(SPLIT))
    np.testing.assert_array_equal(out if isinstance(out, np.ndarray) else out.toarray(), SPLIT)
    assert out.dtype == np.float64


def test_single_precision_is_rescaled():
    rng = np.random.default_rng(0)
    given = rng.dirichlet(np.ones(50), 50)
    for kind in (lambda P: jnp.asarray(P, jnp.float32), lambda P: scipy.sparse.csr_array(P.astype(np.float32))):
        np.testing.assert_allclose(transition_matrix(kind(given)).sum(axis=1), 1, atol=1e-15, rtol=0)
    with pytest.raises(ValueError, match="row 0 sums to"):
        transition_matrix(np.asarray([[0.5 + 1e-7, 0.5], [0.5, 0.5]]))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[1, 0], [0, 0]], "row 1 sums to 0"),
        ([[1.5, -0.5], [0, 1]], "smallest entry is -0.5"),
        ([[np.nan, 1], [0, 1]], "not finite"),
        ([[0.5, 0.5]], "square"),
        (np.zeros((0, 0)), "square"),
        ([1.0], "square"),
        (scipy.sparse.csr_array((3, 3)), "row 0 sums to 0"),
    ],
)
def test_bad_matrices(matrix, message):
    with pytest.raises(ValueError, match=message):
        transition_matrix(matrix)


def test_classes():
    assert [c.tolist() for c in communicating_classes(SPLIT)] == [[0, 2], [1], [3]]
    assert [c.tolist() for c in closed_classes(SPLIT)] == [[1], [3]]
    assert [c.tolist() for c in closed_classes(scipy.sparse.csr_array(SPLIT))] == [[1], [3]]
    assert [c.tolist() for c in closed_classes([[1.0]])] == [[0]]


@pytest.mark.parametrize("size", [2, 3, 6])
def test_periods(size):
    cycle = np.roll(np.eye(size), 1, axis=1)
    assert period(cycle) == size
    assert period(lazy(cycle, 0.25)) == 1
    if size % 2 == 0:
        assert period((cycle + cycle.T) / 2) == 2
    # Cycles of lengths n and n - 1.
    short = cycle.copy()
    short[-2] = 0.5 * cycle[-2]
    short[-2, 0] += 0.5
    assert period(short) == 1
    with pytest.raises(ValueError, match="irreducible"):
        period(np.eye(2))


def test_time_reversal():
    cycle = lazy(np.roll(np.eye(3), 1, axis=1))
    np.testing.assert_allclose(time_reversal(cycle, np.ones(3)), cycle.T)
    sparse = time_reversal(scipy.sparse.csr_array(cycle), np.ones(3))
    np.testing.assert_allclose(sparse.toarray(), cycle.T)
    with pytest.raises(ValueError, match="stationary"):
        time_reversal(cycle, [1, 2, 3])
    with pytest.raises(ValueError, match="positive"):
        time_reversal(cycle, [1, 0, 3])
    with pytest.raises(ValueError, match="stay"):
        lazy(cycle, 1.0)
