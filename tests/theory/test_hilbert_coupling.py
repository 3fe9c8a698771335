"""Hilbert's curve by its defining property on whole grids, and couplings of clouds along it."""

import numpy as np
import pytest

from ergodica.theory.couplings import monotone_coupling
from ergodica.theory.hilbert_coupling import hilbert_coupling, hilbert_index
from ergodica.theory.transport import line_transport, optimal_transport


@pytest.mark.parametrize(("dim", "bits"), [(1, 6), (2, 1), (2, 4), (3, 3), (4, 2)])
def test_the_curve_visits_all_cells_and_goes_to_neighbours(dim, bits):
    axes = np.meshgrid(*[np.arange(2**bits)] * dim, indexing="ij")
    cells = np.stack(axes, axis=-1).reshape(-1, dim)
    index = hilbert_index(cells, bits)
    assert np.array_equal(np.sort(index), np.arange(len(cells)))
    path = cells[np.argsort(index)]
    assert np.all(np.abs(np.diff(path, axis=0)).sum(axis=1) == 1)
    assert np.all(path[0] == 0)
    # The curve fills one block of the next coarser grid after the other.
    blocks = (path >> 1).reshape(-1, 2**dim, dim)
    assert np.all(blocks == blocks[:, :1])


def test_one_dimension_is_the_monotone_coupling():
    rng = np.random.default_rng(0)
    x, y, a, b = rng.normal(size=7), rng.normal(size=5), rng.random(7), rng.random(5)
    plan = hilbert_coupling(x[:, None], y[:, None], a, b)
    assert np.sum(plan * (x[:, None] - y) ** 2) == pytest.approx(line_transport(x, y, a, b).value)
    order, other = np.argsort(x), np.argsort(y)
    expected = monotone_coupling(a[order] / a.sum(), b[other] / b.sum())
    np.testing.assert_allclose(plan[np.ix_(order, other)], expected, atol=1e-15)


def test_clouds_in_the_plane():
    rng = np.random.default_rng(1)
    x, a, b = rng.random((60, 2)), rng.random(60), rng.random(50)
    y = rng.random((50, 2))
    plan = hilbert_coupling(x, y, a, b)
    np.testing.assert_allclose(plan.sum(axis=1), a / a.sum(), atol=1e-14)
    np.testing.assert_allclose(plan.sum(axis=0), b / b.sum(), atol=1e-14)
    assert plan.min() >= 0
    assert np.count_nonzero(plan) <= 60 + 50 - 1
    cost = np.sum((x[:, None] - y) ** 2, axis=-1)
    best = optimal_transport(cost, a, b).value
    independent = (a / a.sum()) @ cost @ (b / b.sum())
    assert best < np.sum(plan * cost) < 0.5 * independent
    # A cloud and the same cloud with a small shift stay together, and equal clouds are coupled by the identity.
    np.testing.assert_allclose(hilbert_coupling(x, x), np.eye(60) / 60, atol=1e-15)
    assert np.sum(hilbert_coupling(x, x + 1e-4) * np.sum((x[:, None] - x - 1e-4) ** 2, axis=-1)) < 0.02


def test_bad_input():
    for call, message in [
        (lambda: hilbert_index([[0.5]], 3), "integer cells"),
        (lambda: hilbert_index([[8, 0]], 3), "between 0 and 7"),
        (lambda: hilbert_index([[0, 0]], 40), "at most 62"),
        (lambda: hilbert_coupling([[0.0]], [[0.0, 1.0]]), "particles"),
        (lambda: hilbert_coupling([[np.inf]], [[0.0]]), "finite"),
        (lambda: hilbert_coupling([[1.0]], [[0.0]], [1.0, 2.0]), "shape"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
