"""Newton steps reach the plan of Sinkhorn's iteration, and fast."""

import itertools

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from ergodica.theory.sinkhorn import sinkhorn
from ergodica.theory.sinkhorn_newton import sinkhorn_newton


def square(n, seed=0):
    x, y = np.random.default_rng(seed).random((2, n, 2))
    cost = np.sum((x[:, None] - y) ** 2, axis=2)
    return cost / cost.max()


def assert_superlinear(errors):
    # Once the error is small, the number of right digits grows by half at least, up to rounding.
    digits = [-np.log10(error) for error in errors if error < 1e-3]
    assert len(digits) >= 2
    assert all(later > min(1.4 * sooner, 11) for sooner, later in itertools.pairwise(digits))


def test_the_plan_is_that_of_sinkhorn():
    cost = square(100)
    newton = sinkhorn_newton(cost, eta=200)
    plain = sinkhorn(cost, eta=200, tol=1e-11)
    assert newton.num_iterations == 20
    assert len(newton.kept) == len(newton.errors) - 1 <= 12
    assert newton.kept[-1] < 0.5  # the large entries are enough
    assert newton.residual < 1e-11
    assert plain.num_iterations > 200
    assert newton.value == pytest.approx(plain.value, abs=1e-10)
    np.testing.assert_allclose(newton.plan, plain.plan, atol=1e-8)
    full = sinkhorn_newton(cost, eta=200, keep=1)
    assert len(full.kept) <= 7
    np.testing.assert_allclose(full.plan, plain.plan, atol=1e-8)
    assert_superlinear(full.errors)


@hypothesis.settings(max_examples=10)
@hypothesis.given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(1, 8))
def test_random_problems_with_atoms_without_mass(seed, n, m):
    rng = np.random.default_rng(seed)
    cost, a, b = rng.normal(size=(n, m)), rng.exponential(size=n), rng.exponential(size=m)
    a[1:][rng.random(n - 1) < 0.2] = 0
    b[1:][rng.random(m - 1) < 0.2] = 0
    newton = sinkhorn_newton(cost, a, b, eta=3, num_sweeps=3)
    plain = sinkhorn(cost, a, b, eta=3, tol=1e-12, max_iterations=100_000)
    np.testing.assert_allclose(newton.plan, plain.plan, atol=1e-9)
    np.testing.assert_allclose(newton.plan.sum(axis=1), a / a.sum(), atol=1e-11)
    np.testing.assert_allclose(newton.plan.sum(axis=0), b / b.sum(), atol=1e-11)


def test_more_entries_are_kept_when_steps_are_slow():
    newton = sinkhorn_newton(square(60, seed=1), eta=200, keep=0.02)
    assert newton.kept[0] == 0.02
    assert newton.kept[-1] > 0.02
    slow = [later > 0.3 * sooner for sooner, later in itertools.pairwise(newton.errors)]
    for step in range(1, len(newton.kept)):
        assert newton.kept[step] == (min(1, 2 * newton.kept[step - 1]) if slow[step - 1] else newton.kept[step - 1])


@pytest.mark.slow
def test_golden_counts():
    cost = square(400)
    plain = sinkhorn(cost, eta=200, tol=1e-11)
    assert 400 < plain.num_iterations < 700
    for eta, most, full in ((200, 9, 6), (1200, 14, 13)):
        newton, dense = sinkhorn_newton(cost, eta=eta), sinkhorn_newton(cost, eta=eta, keep=1)
        assert len(newton.kept) <= most
        assert len(dense.kept) <= full
        assert newton.value == pytest.approx(dense.value, abs=1e-10)
        assert_superlinear(dense.errors)
        if eta == 200:
            assert newton.value == pytest.approx(plain.value, abs=1e-10)
            np.testing.assert_allclose(newton.plan, plain.plan, atol=1e-8)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"eta": -1.0}, "eta"),
        ({"eta": 1.0, "keep": 0.0}, "keep"),
        ({"eta": 1.0, "num_sweeps": 0}, "num_sweeps"),
        ({"eta": 1.0, "tol": 0.0}, "tol"),
        ({"eta": 1.0, "a": [1.0]}, "shape"),
    ],
)
def test_bad_input_is_refused_with_the_reason(settings, words):
    with pytest.raises(ValueError, match=words):
        sinkhorn_newton(np.eye(3), **settings)


def test_no_result_without_convergence():
    with pytest.raises(RuntimeError, match="after 1 sweeps and 1 Newton steps"):
        sinkhorn_newton(square(20), eta=200, num_sweeps=1, max_newton=1)
