"""Entropic transport: published numbers, rates, rounding, limits."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from scipy.special import xlogy

from ergodica.theory.sinkhorn import birkhoff_rate, local_rate, round_to_plan, sinkhorn, sinkhorn_divergence, sweeps
from ergodica.theory.transport import optimal_transport

SEEDS = st.integers(0, 2**32 - 1)
X, Y = np.array([0.0, 1, 3]), np.array([0.5, 2, 5])
A, B = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.5, 0.3])
C = (X[:, None] - Y) ** 2


def test_golden_problem():
    found = sinkhorn(C, A, B, eta=1, tol=1e-12)
    assert found.cost == pytest.approx(3.8707578920, abs=1e-10)
    assert found.value == pytest.approx(1.2861282395, abs=1e-10)
    assert found.num_iterations == 92
    assert found.residual < 1e-12
    cold = sinkhorn(C, A, B, eta=10, tol=1e-12)
    assert [cold.cost, cold.rounded_cost] == pytest.approx([3.85, 3.85], abs=1e-11)
    # The plan has the form of a solution, and at one the potentials give the value.
    np.testing.assert_allclose(found.plan, np.exp(found.f[:, None] + found.g - C), rtol=1e-13)
    assert A @ found.f + B @ found.g - 1 == pytest.approx(found.value, abs=1e-10)


def test_rates():
    assert birkhoff_rate(C, 1) == pytest.approx(np.tanh(27 / 4) ** 2, rel=1e-13)
    assert birkhoff_rate(C, 1) == pytest.approx(0.9999945, abs=1e-7)
    errors = [sweeps(C, A, B, np.zeros(3), tol=1e-300, max_iterations=count)[2] for count in (59, 60)]
    rate = local_rate(sinkhorn(C, A, B, eta=1, tol=1e-13).plan)
    assert errors[1] / errors[0] == pytest.approx(rate, rel=1e-3)
    assert rate < birkhoff_rate(C, 1)
    assert local_rate(np.outer(A, B)) == pytest.approx(0, abs=1e-12)
    assert birkhoff_rate(np.add.outer(X, Y), 1) == pytest.approx(0, abs=1e-12)


@hypothesis.settings(max_examples=10)
@hypothesis.given(SEEDS, st.integers(2, 5), st.integers(2, 5))
def test_sweeps_contract_in_the_metric_of_hilbert(seed, n, m):
    rng = np.random.default_rng(seed)
    K, a, b = rng.random((n, m)), rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))
    one, two = rng.normal(size=(2, m))
    after = [sweeps(K, a, b, v, tol=1e-300, max_iterations=1)[1] for v in (one, two)]
    assert np.ptp(after[0] - after[1]) <= birkhoff_rate(K, 1) * np.ptp(one - two) + 1e-12


@hypothesis.settings(max_examples=15)
@hypothesis.given(SEEDS, st.integers(1, 6), st.integers(1, 6))
def test_plan_is_feasible_and_optimal(seed, n, m):
    rng = np.random.default_rng(seed)
    cost, a, b = rng.random((n, m)), rng.exponential(size=n), rng.exponential(size=m)
    eta = 5.0
    found = sinkhorn(cost, a, b, eta=eta, tol=1e-11, max_iterations=100_000)
    a, b = a / a.sum(), b / b.sum()
    np.testing.assert_allclose(found.plan.sum(axis=1), a, atol=1e-10)
    np.testing.assert_allclose(found.plan.sum(axis=0), b, atol=1e-12)
    # Other plans have larger values.
    for other in (np.outer(a, b), optimal_transport(cost, a, b).plan):
        mixed = 0.9 * found.plan + 0.1 * other
        assert np.sum(cost * mixed) + np.sum(xlogy(mixed, mixed) - mixed) / eta >= found.value - 1e-9
    assert found.rounded_cost >= optimal_transport(cost, a, b).value - 1e-12


def test_atoms_without_mass_are_left_out():
    wide = np.pad(C, ((0, 1), (1, 0)), constant_values=-9.0)
    found = sinkhorn(wide, [*A, 0], [0, *B], eta=1, tol=1e-12)
    assert found.value == pytest.approx(1.2861282395, abs=1e-10)
    np.testing.assert_array_equal(found.plan[3], 0)
    np.testing.assert_array_equal(found.plan[:, 0], 0)
    assert [found.f[3], found.g[0]] == [-np.inf, -np.inf]


def test_a_warm_start_finds_the_structure_sooner():
    x, y = np.random.default_rng(1).random((2, 30, 2))
    cost = np.sum((x[:, None] - y) ** 2, axis=2)
    cold = sinkhorn(cost, eta=5000, tol=1e-2)
    warm = sinkhorn(cost, eta=5000, tol=1e-2, scaling=3)
    assert 10 * warm.num_iterations < cold.num_iterations
    assert warm.rounded_cost == pytest.approx(optimal_transport(cost).value, abs=1e-3)
    # The same solution, of the wanted temperature.
    np.testing.assert_allclose(sinkhorn(cost, eta=50, scaling=2).plan, sinkhorn(cost, eta=50).plan, atol=1e-9)
    assert sinkhorn(C, A, B, eta=1e-3, scaling=3).num_iterations < 10


@hypothesis.settings(max_examples=25)
@hypothesis.given(SEEDS, st.integers(1, 7), st.integers(1, 7))
def test_rounding_gives_a_plan_close_by(seed, n, m):
    rng = np.random.default_rng(seed)
    a, b = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))
    matrix = rng.exponential(size=(n, m)) * (rng.random((n, m)) < 0.7) / (n * m)
    plan = round_to_plan(matrix, a, b)
    np.testing.assert_allclose(plan.sum(axis=1), a, atol=1e-12)
    np.testing.assert_allclose(plan.sum(axis=0), b, atol=1e-12)
    assert plan.min() >= 0
    wrong = np.abs(matrix.sum(axis=1) - a).sum() + np.abs(matrix.sum(axis=0) - b).sum()
    assert np.abs(plan - matrix).sum() <= 2 * wrong + 1e-12
    np.testing.assert_allclose(round_to_plan(plan, a, b), plan, atol=1e-14)


def test_rounding_only_adds_where_mass_is_missing():
    found = round_to_plan(np.diag([0.1, 0.1]), [0.5, 0.5], [0.5, 0.5])
    np.testing.assert_allclose(found, [[0.3, 0.2], [0.2, 0.3]], rtol=1e-14)


def test_divergence_has_no_bias_and_two_limits():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 5, 2))
    y[:, 0] += 1

    def costs(p, q):
        return np.sum((p[:, None] - q) ** 2, axis=2)

    def divergence(p, q, eta, **settings):
        return sinkhorn_divergence(costs(p, q), costs(p, p), costs(q, q), eta=eta, **settings)

    assert divergence(x, x[::-1], 3.0) == pytest.approx(0, abs=1e-8)
    values = [divergence(x, y, eta) for eta in (1e-4, 1.0)]
    assert min(values) > 0
    # Hot: the squared distance of the means. Cold: optimal transport.
    assert values[0] == pytest.approx(np.sum((x.mean(axis=0) - y.mean(axis=0)) ** 2), rel=1e-2)
    cold = divergence(x, y, 10.0, max_iterations=100_000, tol=1e-6)
    assert cold == pytest.approx(optimal_transport(costs(x, y)).value, rel=0.05)


def test_two_points_in_closed_form():
    # Equal masses, cost 0 on the diagonal and c off it: P_11 / P_12 = exp(eta c).
    c, eta = 0.7, 2.0
    found = sinkhorn([[0, c], [c, 0]], eta=eta, tol=1e-13)
    stay = np.exp(eta * c) / (2 * (1 + np.exp(eta * c)))
    np.testing.assert_allclose(found.plan, [[stay, 0.5 - stay], [0.5 - stay, stay]], rtol=1e-11)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: sinkhorn(C, A, B, eta=0), "eta"),
        (lambda: sinkhorn(C, A, B, eta=np.nan), "eta"),
        (lambda: sinkhorn(1e300 * C, A, B, eta=1e300), "overflows"),
        (lambda: sinkhorn(C, A, B, eta=1, tol=0), "tol"),
        (lambda: sinkhorn(C, A, B, eta=1, scaling=1.0), "scaling"),
        (lambda: sinkhorn(C, A[:2], B, eta=1), "shape"),
        (lambda: round_to_plan(-C, A, B), "negative"),
        (lambda: round_to_plan(C * np.nan, A, B), "matrix contains NaN"),
        (lambda: sinkhorn_divergence(C, C[:2], C, eta=1.0), "expected costs"),
        (lambda: local_rate(-C), "negative"),
        (lambda: birkhoff_rate(C, -1.0), "eta"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_bad_input_is_refused_with_the_reason(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_no_result_without_convergence():
    with pytest.raises(RuntimeError, match="after 5 sweeps; raise max_iterations"):
        sinkhorn(C, A, B, eta=1, max_iterations=5)
    with pytest.raises(RuntimeError, match="sweeps"):
        sinkhorn(C, A, B, eta=100, max_iterations=5, scaling=2)
