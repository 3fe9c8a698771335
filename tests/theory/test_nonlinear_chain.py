"""Mean fields of nonlinear chains: against the formulas of the self-repellent walk, and roots that are none."""

import numpy as np
import pytest

from ergodica.theory.finite_chain import asymptotic_covariance
from ergodica.theory.nonlinear_chain import mean_field
from ergodica.theory.self_repellent import (
    limit_covariance,
    mean_field_jacobian,
    metropolis_hastings_walk,
    self_repellent_matrix,
)

R5 = np.array([[2, 2, 0, 0, 0], [1, 1, 2, 0, 0], [0, 1, 2, 1, 0], [0, 0, 2, 1, 1], [0, 0, 0, 2, 2]]) / 4
LAW = np.array([1.0, 2, 4, 2, 1]) / 10


@pytest.mark.parametrize("alpha", [0.0, 1.0, 5.0])
def test_self_repellent_walk(alpha):
    found = mean_field(lambda x: self_repellent_matrix(R5, LAW, x, alpha), 10 * LAW)
    assert found.defect < 1e-14
    zero_sum = np.eye(5) - 0.2
    expected = zero_sum @ mean_field_jacobian(R5, LAW, alpha) @ zero_sum
    np.testing.assert_allclose(found.jacobian, expected, atol=1e-7)
    assert found.slowest == pytest.approx(-(alpha * 0.75 + 1), abs=1e-7)
    np.testing.assert_allclose(found.covariance, limit_covariance(R5, LAW, alpha), atol=1e-7)
    assert found.residual < 1e-12
    f = np.arange(5.0)
    golden = {0.0: 8.4, 1.0: 1.8666666667, 5.0: 0.4540540541}
    assert f @ found.covariance @ f == pytest.approx(golden[alpha], rel=1e-6)


def test_no_repulsion_is_the_chain_itself():
    adjacency = np.ones((4, 4)) - np.eye(4)
    law = np.array([0.1, 0.2, 0.3, 0.4])
    P = metropolis_hastings_walk(adjacency, law)
    np.testing.assert_allclose(mean_field(lambda x: P, law).covariance, asymptotic_covariance(P, law), atol=1e-12)


def test_attraction_is_slow_and_then_unstable():
    # Moving to a state with a share of its own power: x -> x^a / sum x^a has slope a at the uniform law.
    def attracted(power):
        return lambda x: np.tile(x**power / np.sum(x**power), (3, 1))

    slow = mean_field(attracted(0.7), np.ones(3))
    assert slow.slowest == pytest.approx(-0.3, abs=1e-8)
    assert slow.covariance is None
    assert mean_field(attracted(1.5), np.ones(3)).slowest == pytest.approx(0.5, abs=1e-8)
    # Independent draws with repulsion: n Cov -> Cov / (2 (1 - a) - 1).
    fast = mean_field(attracted(-1.0), np.ones(3))
    np.testing.assert_allclose(fast.covariance, (np.eye(3) / 3 - 1 / 9) / 3, atol=1e-8)


def test_a_law_that_is_no_root():
    found = mean_field(lambda x: self_repellent_matrix(R5, LAW, x, 1.0), np.ones(5))
    assert found.defect > 0.05
    assert found.covariance is None


def test_bad_input():
    with pytest.raises(ValueError, match="positive weights"):
        mean_field(lambda x: R5, [0.5, 0.5, 0.0])
    with pytest.raises(ValueError, match="difference"):
        mean_field(lambda x: R5, LAW, difference=1.0)
