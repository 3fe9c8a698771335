"""Exact transport: routes against each other, potentials as proofs, closed forms."""

import itertools

import hypothesis
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from scipy import stats

from ergodica.theory.transport import gaussian_transport, line_transport, optimal_transport

SEEDS = st.integers(0, 2**32 - 1)
X, Y = np.array([0.0, 1, 3]), np.array([0.5, 2, 5])
A, B = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.5, 0.3])


def assert_certified(C, a, b, plan, f, g, value):
    np.testing.assert_allclose(plan.sum(axis=1), a, atol=1e-12)
    np.testing.assert_allclose(plan.sum(axis=0), b, atol=1e-12)
    assert plan.min() >= 0
    assert np.all(f[:, None] + g <= C + 1e-12 * np.abs(C).max())
    np.testing.assert_allclose([np.sum(C * plan), a @ f + b @ g], value, rtol=1e-10, atol=1e-12 * np.abs(C).max())


def dense(moves, shape):
    plan = np.zeros(shape)
    np.add.at(plan, (moves.sources, moves.sinks), moves.moved)
    return plan


def test_golden_problem():
    C = (X[:, None] - Y) ** 2
    wanted = [[0.2, 0.3, 0], [0, 0.2, 0.1], [0, 0, 0.2]]
    found = optimal_transport(jnp.asarray(C), A, B)
    assert found.value == pytest.approx(3.85, abs=1e-13)
    assert abs(found.gap) < 1e-12
    np.testing.assert_allclose(found.plan, wanted, atol=1e-14)
    line = line_transport(X, jnp.asarray(Y), A, B)
    assert [line.value, line.distance**2] == pytest.approx([3.85, 3.85], abs=1e-13)
    np.testing.assert_allclose(dense(line, (3, 3)), wanted, atol=1e-14)


def test_golden_points_in_the_plane():
    one = np.array([[0.0, 0], [1, 1], [2, 0]])
    two = np.array([[0.5, 0], [1, -1], [3, 1], [0, 2]])
    C = np.linalg.norm(one[:, None] - two, axis=2)
    assert optimal_transport(C**2).value == pytest.approx(1.6458333333, abs=1e-10)
    assert optimal_transport(C).value == pytest.approx(1.2344757082, abs=1e-10)


@hypothesis.settings(max_examples=25)
@hypothesis.given(SEEDS, st.integers(1, 9), st.integers(1, 9), st.sampled_from((1.0, 1.5, 2.0, 3.0)))
def test_line_and_program_agree_and_prove_it(seed, n, m, order):
    rng = np.random.default_rng(seed)
    # Integer points and weights: ties, equal breakpoints, atoms without mass.
    x, y = rng.integers(-4, 5, n).astype(float), rng.integers(-4, 5, m) / 2
    a, b = rng.integers(0, 4, n) + 1.0 * (np.arange(n) == 0), rng.integers(0, 4, m) + 1.0 * (np.arange(m) == 0)
    C = np.abs(x[:, None] - y) ** order
    line = line_transport(x, y, a, b, order=order)
    program = optimal_transport(C, a, b, method="linear program")
    assert_certified(C, a / a.sum(), b / b.sum(), program.plan, program.f, program.g, line.value)
    assert_certified(C, a / a.sum(), b / b.sum(), dense(line, (n, m)), line.f, line.g, line.value)
    assert max(abs(program.gap), abs(line.gap)) < 1e-9
    assert len(line.moved) <= n + m - 1
    if order == 1:
        hat = stats.wasserstein_distance(x, y, a, b)
        assert line.distance == pytest.approx(hat, abs=1e-12)


@hypothesis.settings(max_examples=20)
@hypothesis.given(SEEDS, st.integers(1, 6))
def test_assignment_program_and_permutations_agree(seed, n):
    rng = np.random.default_rng(seed)
    C = rng.integers(-3, 6, (n, n)).astype(float) if seed % 2 else rng.normal(size=(n, n))
    brute = min(sum(C[i, s] for i, s in enumerate(order)) for order in itertools.permutations(range(n))) / n
    law = np.full(n, 1 / n)
    for method in ("auto", "linear program"):
        found = optimal_transport(C, method=method)
        assert found.method == ("assignment" if method == "auto" else method)
        assert abs(found.gap) < 1e-9
        assert_certified(C, law, law, found.plan, found.f, found.g, brute)


def test_weights_have_no_unit_and_atoms_without_mass_are_priced():
    C = (X[:, None] - Y) ** 2
    wide = np.vstack([C, [[-50.0, -50, -50]]])
    found = optimal_transport(wide, [5e307, 3e307, 2e307, 0], 1e-300 * B)
    turned = optimal_transport(wide.T, B, [*A, 0])
    for plan, f, g in ((found.plan, found.f, found.g), (turned.plan.T, turned.g, turned.f)):
        assert np.sum(plan * wide) == pytest.approx(3.85, abs=1e-12)
        assert np.all(f[:, None] + g <= wide + 1e-12)
        assert np.all(plan[3] == 0)


def test_larger_problems_have_small_gaps():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 60, 3))
    C = 1e6 * np.sum((x[:, None] - y) ** 2, axis=2)
    matched, program = optimal_transport(C), optimal_transport(C, method="linear program")
    assert matched.value == pytest.approx(program.value, rel=1e-12)
    assert max(abs(matched.gap), abs(program.gap)) < 1e-9 * C.max()
    line = line_transport(rng.normal(size=4001), rng.normal(size=2999), order=1.5)
    assert abs(line.gap) < 1e-10
    assert line.moved.sum() == pytest.approx(1, abs=1e-12)


def test_golden_normal_laws():
    found = gaussian_transport([0, 0], [[2, 0.5], [0.5, 1]], [1, 0], np.eye(2))
    assert found.distance == pytest.approx(1.1170685044, abs=1e-10)
    assert found.residual < 1e-14


@hypothesis.settings(max_examples=15)
@hypothesis.given(SEEDS, st.integers(1, 4))
def test_normal_laws_by_the_formula_and_by_their_map(seed, d):
    rng = np.random.default_rng(seed)
    R, Q = rng.normal(size=(2, d, d + 2))
    S, T, m = R @ R.T, Q @ Q.T, rng.normal(size=d)
    found = gaussian_transport(np.zeros(d), S, m, T)
    root = scipy.linalg.sqrtm(S).real
    square = m @ m + np.trace(S + T - 2 * scipy.linalg.sqrtm(root @ T @ root).real)
    assert found.distance**2 == pytest.approx(square, rel=1e-9)
    # The map is the gradient of a convex function, meets the target, and its cost is the distance.
    assert found.residual < 1e-9
    assert np.linalg.eigvalsh(found.matrix).min() > -1e-9
    moved = found.matrix - np.eye(d)
    assert m @ m + np.trace(moved @ S @ moved) == pytest.approx(square, rel=1e-9)
    back = gaussian_transport(m, T, np.zeros(d), S)
    assert back.distance == pytest.approx(found.distance, rel=1e-10)


def test_normal_laws_that_are_close_singular_or_numbers():
    close = gaussian_transport(0, 1.0, 0, (1 + 1e-9) ** 2)
    assert close.distance == pytest.approx(1e-9, rel=1e-6)
    point = gaussian_transport([0.0, 0], np.zeros((2, 2)), [3.0, 4], np.diag([1.0, 4]))
    assert point.distance == pytest.approx(np.sqrt(25 + 5), rel=1e-12)
    assert point.matrix is None
    assert point.residual is None


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: optimal_transport([1.0, 2.0]), "matrix"),
        (lambda: optimal_transport([[np.nan]]), "NaN"),
        (lambda: optimal_transport(np.eye(2), [1.0]), "one weight for each atom"),
        (lambda: optimal_transport(np.eye(2), [1.0, -1.0]), "at least 0"),
        (lambda: optimal_transport(np.eye(2), [0.0, 0.0]), "no positive weight"),
        (lambda: optimal_transport(np.ones((2, 3)), method="assignment"), "as many sources as sinks"),
        (lambda: optimal_transport(np.eye(2), method="simplex"), "method has to be"),
        (lambda: optimal_transport(np.zeros((501, 500))), "too large"),
        (lambda: line_transport([[0.0]], [1.0]), "vector"),
        (lambda: line_transport([np.inf], [1.0]), "finite"),
        (lambda: line_transport([0.0], [1.0], order=0.5), "order"),
        (lambda: line_transport([0.0], [1e300]), "overflows"),
        (lambda: gaussian_transport([0.0], [[1.0]], [0.0, 0], np.eye(2)), "one space"),
        (lambda: gaussian_transport([0.0, 0], np.eye(2), [0.0, 0], [[1.0, 2], [2, 1]]), "positive semidefinite"),
        (lambda: gaussian_transport([0.0, 0], np.eye(3), [0.0, 0], np.eye(2)), "covariance"),
    ],
)
def test_bad_input_is_refused_with_the_reason(call, words):
    with pytest.raises(ValueError, match=words):
        call()
