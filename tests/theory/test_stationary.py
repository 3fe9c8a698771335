"""Stationary laws by three methods."""

import numpy as np
import pytest
import scipy.sparse

from ergodica.theory.stationary import eliminated_law, stationary_law, stationary_laws


def test_one_law_for_each_closed_class():
    matrix = np.array(
        [[0.5, 0.5, 0, 0, 0], [0.25, 0.75, 0, 0, 0], [0.2, 0, 0.2, 0.3, 0.3], [0, 0, 0, 0, 1], [0, 0, 0, 1, 0]]
    )
    one, other = stationary_laws(matrix)
    np.testing.assert_allclose(one.value, [1 / 3, 2 / 3, 0, 0, 0], atol=1e-15)
    np.testing.assert_allclose(other.value, [0, 0, 0, 0.5, 0.5], atol=1e-15)
    assert one.states.tolist() == [0, 1]
    assert other.states.tolist() == [3, 4]
    assert max(one.residual, other.residual) < 1e-15
    with pytest.raises(ValueError, match="2 closed classes; stationary_laws"):
        stationary_law(matrix)


def test_tiny_weights_are_accurate():
    # Birth and death: weights are powers of 1e-9, over more than the range that a least-squares solution resolves.
    r = 1e-9
    matrix = np.diag(np.full(4, r), 1) + np.diag(np.full(4, 0.5), -1)
    matrix += np.diag(1 - matrix.sum(axis=1))
    expected = (2 * r) ** np.arange(5.0)
    np.testing.assert_allclose(stationary_law(matrix), expected / expected.sum(), rtol=1e-13)
    # Increasing without bound: doubles would overflow on the way.
    matrix = np.diag(np.full(19, 1.0), 1) + np.diag(np.full(19, 1e-30), -1)
    law = eliminated_law(matrix)
    np.testing.assert_allclose(law[-1], 1.0, rtol=1e-14)
    np.testing.assert_allclose(law[-5:] / law[-1], 1e-30 ** np.arange(4.0, -1, -1), rtol=1e-12)
    with pytest.raises(ValueError, match="irreducible"):
        eliminated_law(np.eye(2))


def walk(size, rng, reversible):
    i = np.arange(size)
    up, down = rng.uniform(0.1, 0.4, size), rng.uniform(0.1, 0.4, size)
    columns = [(i + 1) % size, (i - 1) % size]
    if reversible:
        up[-1] = down[0] = 0.0
    matrix = scipy.sparse.coo_array(
        (np.concatenate([up, down]), (np.tile(i, 2), np.concatenate(columns))), (size, size)
    )
    return scipy.sparse.csr_array(matrix + scipy.sparse.diags_array(1 - up - down))


@pytest.mark.parametrize(("reversible", "method"), [(True, "detailed balance"), (False, "sparse factorisation")])
def test_large_sparse_chains(reversible, method):
    matrix = walk(501, np.random.default_rng(1), reversible)
    (law,) = stationary_laws(matrix)
    assert law.method == method
    dense = stationary_laws(matrix.toarray())[0]
    assert dense.method == "elimination"
    np.testing.assert_allclose(law.value, dense.value, rtol=1e-9, atol=1e-13)
    assert law.residual < 1e-14


def test_weights_of_one_state():
    np.testing.assert_array_equal(stationary_law([[1.0]]), [1.0])
