"""Barycentres: against the linear program over all laws at once, commuting covariances, and perturbations."""

import itertools

import numpy as np
import pytest
import scipy.optimize

from ergodica.theory.barycentres import gaussian_barycentre, line_barycentre
from ergodica.theory.transport import gaussian_transport

POINTS = [[0.0, 1, 3], [5.0, 0.5, 2, 4], [-1.0, 2]]
MASSES = [[0.5, 0.3, 0.2], [0.3, 0.2, 0.4, 0.1], [0.25, 0.75]]


def test_line_against_the_linear_program():
    """The multimarginal problem: couple all laws at once, at the cost of the spread around the weighted mean."""
    weights = np.array([0.2, 0.5, 0.3])
    cells = list(itertools.product(*(range(len(x)) for x in POINTS)))
    places = np.array([[x[i] for x, i in zip(POINTS, cell, strict=True)] for cell in cells])
    averages = places @ weights
    cost = (places - averages[:, None]) ** 2 @ weights
    rows, right = [], []
    for k, law in enumerate(MASSES):
        for i, mass in enumerate(law):
            rows.append([float(cell[k] == i) for cell in cells])
            right.append(mass)
    solved = scipy.optimize.linprog(cost, A_eq=np.array(rows), b_eq=np.array(right))
    found = line_barycentre(POINTS, MASSES, 10 * weights)
    assert found.value == pytest.approx(solved.fun, abs=1e-9)
    assert found.residual < 1e-12
    assert np.all(np.diff(found.atoms) > 0)
    assert found.masses.sum() == pytest.approx(1)
    expected = {}
    for place, mass in zip(averages, solved.x, strict=True):
        if mass > 1e-9:
            expected[round(place, 9)] = expected.get(round(place, 9), 0) + mass
    np.testing.assert_allclose(found.atoms, sorted(expected), atol=1e-8)
    np.testing.assert_allclose(found.masses, [expected[x] for x in sorted(expected)], atol=1e-9)


def test_line_by_hand():
    found = line_barycentre([[0, 1], [10, 4]])
    assert found.atoms == pytest.approx([2, 5.5])
    assert found.masses == pytest.approx([0.5, 0.5])
    assert found.value == pytest.approx((4 + 4 + 4.5**2 + 4.5**2) / 4)
    alone = line_barycentre([[3.0, 1, 2, 2]], weights=[7.0])
    assert alone.atoms == pytest.approx([1, 2, 3])
    assert alone.masses == pytest.approx([0.25, 0.5, 0.25])
    assert (alone.value, alone.residual) == pytest.approx((0, 0), abs=1e-15)
    empty = line_barycentre([[0.0, 9, 1], [0.0, 1]], [[0.5, 0, 0.5], None], [1, 0])
    assert empty.atoms == pytest.approx([0, 1])


def test_gaussian_closed_forms():
    # Commuting covariances: standard deviations are averaged.
    scales = np.array([[1.0, 2, 3], [2.0, 0.5, 1]])
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    covariances = np.stack([turn @ np.diag(s**2) @ turn.T for s in scales])
    found = gaussian_barycentre([[0.0, 0, 0], [1.0, 2, 3]], covariances, [1, 3])
    average = np.array([0.25, 0.75]) @ scales
    np.testing.assert_allclose(found.covariance, turn @ np.diag(average**2) @ turn.T, atol=1e-11)
    assert found.mean == pytest.approx([0.75, 1.5, 2.25])
    spread = np.array([0.25, 0.75]) @ (scales - average) ** 2
    assert found.value == pytest.approx(0.25 * 0.75 * 14 + spread.sum())
    # Two laws: a point of the geodesic between them.
    rng = np.random.default_rng(1)
    A, B = (lambda M: M @ M.transpose(0, 2, 1) + 0.1 * np.eye(3))(rng.normal(size=(2, 3, 3)))
    map_matrix = gaussian_transport(np.zeros(3), A, np.zeros(3), B).matrix
    along = 0.7 * np.eye(3) + 0.3 * map_matrix
    found = gaussian_barycentre(np.zeros((2, 3)), [A, B], [0.7, 0.3])
    np.testing.assert_allclose(found.covariance, along @ A @ along, atol=1e-10)


def test_no_normal_law_near_it_does_better():
    rng = np.random.default_rng(2)
    means, factors = rng.normal(size=(4, 2)), rng.normal(size=(4, 2, 2))
    covariances = factors @ factors.transpose(0, 2, 1) + 0.1 * np.eye(2)
    weights = np.array([0.4, 0.3, 0.2, 0.1])

    def value(mean, covariance):
        return sum(
            w * gaussian_transport(mean, covariance, m, S).distance ** 2
            for w, m, S in zip(weights, means, covariances, strict=True)
        )

    found = gaussian_barycentre(means, covariances, weights)
    assert found.residual < 1e-12
    assert value(found.mean, found.covariance) == pytest.approx(found.value)
    for change in rng.normal(size=(10, 2, 2)):
        assert value(found.mean, found.covariance + 1e-2 * (change + change.T)) > found.value
        assert value(found.mean + 1e-2 * change[0], found.covariance) > found.value


def test_bad_input():
    for call, message in [
        (lambda: line_barycentre([]), "at least one law"),
        (lambda: line_barycentre([[1.0]], [None, None]), "masses for each"),
        (lambda: line_barycentre([[1.0], []]), "law 1"),
        (lambda: line_barycentre([[1.0], [2.0]], weights=[1.0, -1.0]), "weights"),
        (lambda: gaussian_barycentre([0.0], [[1.0]]), "means"),
        (lambda: gaussian_barycentre([[0.0]], [[[0.0]]]), "positive definite"),
        (lambda: gaussian_barycentre([[0.0, 0]], [[[1.0, 0.2], [0.1, 1]]]), "symmetric"),
        (lambda: gaussian_barycentre([[np.nan]], [[[1.0]]]), "finite"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(RuntimeError, match="residual"):
        gaussian_barycentre(np.zeros((2, 2)), [np.eye(2), np.diag([1.0, 9.0])], max_iterations=1)
