"""Entropic transport of normal laws: against Sinkhorn on a grid, the density of the plan, and both limits."""

import numpy as np
import pytest

from ergodica.theory.entropic_gaussian import entropic_gaussian_divergence, entropic_gaussian_transport
from ergodica.theory.sinkhorn import sinkhorn
from ergodica.theory.transport import gaussian_transport


def random_laws(dim, seed):
    rng = np.random.default_rng(seed)
    A, B = rng.normal(size=(2, dim, dim))
    return rng.normal(size=dim), A @ A.T + 0.1 * np.eye(dim), rng.normal(size=dim), B @ B.T + 0.2 * np.eye(dim)


@pytest.mark.parametrize("eta", [0.1, 1.0])
def test_sinkhorn_on_a_grid(eta):
    x, y = np.linspace(-5, 5, 81), np.linspace(-6.5, 8, 81)
    a, b = np.exp(-0.5 * x**2 / 0.8), np.exp(-0.5 * (y - 0.7) ** 2 / 1.9)
    a, b = a / a.sum(), b / b.sum()
    grid = sinkhorn((x[:, None] - y) ** 2, a, b, eta=eta, tol=1e-10)
    found = entropic_gaussian_transport(0.0, 0.8, 0.7, 1.9, eta=eta)
    shift = (a @ np.log(a) + b @ np.log(b) - 1) / eta
    assert found.cost == pytest.approx(grid.cost, abs=2e-5)
    assert found.value == pytest.approx(grid.value - shift, abs=2e-5)
    assert found.cross_covariance[0, 0] == pytest.approx(x @ grid.plan @ (y - 0.7), abs=2e-5)
    conditional = (grid.plan @ y) / grid.plan.sum(axis=1)
    inside = np.abs(x) < 2
    np.testing.assert_allclose(conditional[inside], 0.7 + found.matrix[0, 0] * x[inside], atol=1e-4)


@pytest.mark.parametrize("dim", [1, 3])
def test_the_plan_is_the_one_with_the_right_density(dim):
    m, S, m2, S2 = random_laws(dim, dim)
    for eta in (1e-3, 0.4, 30.0):
        found = entropic_gaussian_transport(m, S, m2, S2, eta=eta)
        C = found.cross_covariance
        joint = np.block([[S, C], [C.T, S2]])
        # The plan's density is exp(-eta |x - y|^2) times functions of one variable; its sums are the two laws.
        np.testing.assert_allclose(np.linalg.inv(joint)[:dim, dim:], -2 * eta * np.eye(dim), atol=1e-9 * max(eta, 1))
        determinants = [np.linalg.slogdet(matrix)[1] for matrix in (S, S2, joint)]
        assert found.divergence == pytest.approx((determinants[0] + determinants[1] - determinants[2]) / 2, abs=1e-11)
        cost = np.sum((m - m2) ** 2) + np.trace(S + S2 - 2 * C)
        assert found.cost == pytest.approx(cost)
        assert found.value == pytest.approx(cost + found.divergence / eta)
        assert found.residual < 1e-11
        np.testing.assert_allclose(found.matrix @ S, C.T, atol=1e-10)


def test_no_plan_near_it_does_better():
    m, S, m2, S2 = random_laws(2, 5)
    found = entropic_gaussian_transport(m, S, m2, S2, eta=0.7)

    def value(C):
        joint = np.linalg.slogdet(np.block([[S, C], [C.T, S2]]))[1]
        divergence = (np.linalg.slogdet(S)[1] + np.linalg.slogdet(S2)[1] - joint) / 2
        return np.sum((m - m2) ** 2) + np.trace(S + S2 - 2 * C) + divergence / 0.7

    assert value(found.cross_covariance) == pytest.approx(found.value)
    for change in np.random.default_rng(0).normal(size=(20, 2, 2)):
        assert value(found.cross_covariance + 1e-3 * change) > found.value


def test_limits():
    m, S, m2, S2 = random_laws(3, 7)
    exact = gaussian_transport(m, S, m2, S2)
    sharp = entropic_gaussian_transport(m, S, m2, S2, eta=1e6)
    assert sharp.cost == pytest.approx(exact.distance**2, rel=1e-5)
    np.testing.assert_allclose(sharp.matrix, exact.matrix, atol=1e-4)
    loose = entropic_gaussian_transport(m, S, m2, S2, eta=1e-7)
    np.testing.assert_allclose(loose.cross_covariance, 0, atol=1e-5)
    assert loose.value == pytest.approx(np.sum((m - m2) ** 2) + np.trace(S + S2), abs=1e-4)
    assert entropic_gaussian_divergence(m, S, m2, S2, eta=1e6) == pytest.approx(exact.distance**2, rel=1e-5)
    assert entropic_gaussian_divergence(m, S, m2, S2, eta=1e-7) == pytest.approx(np.sum((m - m2) ** 2), rel=1e-4)
    assert entropic_gaussian_divergence(m, S, m, S, eta=0.3) == 0
    assert entropic_gaussian_divergence(m, S, m, S2, eta=0.3) > 0


def test_bad_input():
    for arguments, message in [
        ((0.0, 1.0, [0.0, 0.0], np.eye(2), 1.0), "one space"),
        ((0.0, 0.0, 0.0, 1.0, 1.0), "positive definite"),
        ((0.0, 1.0, 0.0, 1.0, 0.0), "eta"),
        (([0.0, 0.0], [[1.0, 0.5], [0.0, 1.0]], [0.0, 0.0], np.eye(2), 1.0), "symmetric"),
        (([0.0], np.eye(2), 0.0, 1.0, 1.0), "covariance"),
    ]:
        with pytest.raises(ValueError, match=message):
            entropic_gaussian_transport(*arguments[:4], eta=arguments[4])
