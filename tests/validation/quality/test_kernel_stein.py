"""Kernel Stein discrepancy, its test, and thinning."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ergodica.validation.quality.kernel_stein import (
    kernel_stein_discrepancy,
    kernel_stein_test,
    stein_kernel_matrix,
    stein_thinning,
    stein_weights,
)
from ergodica.validation.quality.monte_carlo_test import monte_carlo_test

POINTS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, -1.0], [2.0, 1.0]])


def naive_kernel(x, s, A, b, c):
    out = np.empty((len(x), len(x)))
    for i in range(len(x)):
        for j in range(len(x)):
            r, g = x[i] - x[j], s[i] - s[j]
            q = c**2 + r @ A @ r
            out[i, j] = q**b * s[i] @ s[j] - 2 * b * q ** (b - 1) * (np.trace(A) + (A @ r) @ g)
            out[i, j] -= 4 * b * (b - 1) * q ** (b - 2) * (A @ r) @ (A @ r)
    return out


@pytest.mark.slow
def test_golden():
    matrix = stein_kernel_matrix(POINTS, -POINTS, preconditioner=None)
    np.testing.assert_allclose(np.diag(matrix), [2, 3, 3, 7], rtol=1e-12)
    upper = [matrix[0, 1], matrix[0, 3], matrix[1, 2], matrix[1, 3], matrix[2, 3]]
    np.testing.assert_allclose(
        upper, [-0.1767766953, -0.3742275996, -0.3849001795, 0.7698003589, -0.6543209877], rtol=1e-9
    )
    result = kernel_stein_discrepancy(POINTS, -POINTS, preconditioner=None)
    assert result.value == pytest.approx(0.9015818184, rel=1e-9)
    assert result.squared_unbiased == pytest.approx(-0.1662002997, rel=1e-8)


@pytest.mark.parametrize("given", ["array", "jax", "score", "logdensity"])
def test_score_may_be_given_in_any_form(given):
    forms = {
        "array": {"score": -POINTS},
        "jax": {"score": -jnp.asarray(POINTS)},
        "score": {"score": lambda x: -x},
        "logdensity": {"logdensity": lambda x: -0.5 * jnp.sum(x**2) + 3},
    }
    result = kernel_stein_discrepancy(jnp.asarray(POINTS), preconditioner=None, **forms[given])
    assert result.value == pytest.approx(0.9015818184, rel=1e-9)


@settings(max_examples=10)
@given(st.integers(0, 2**31), st.integers(1, 5), st.floats(-0.9, -0.1), st.floats(0.3, 3))
def test_against_the_formula(seed, dim, exponent, offset):
    """Sizes beyond one tile, a full matrix as preconditioner, any exponent; sums agree with the matrix."""
    rng = np.random.default_rng(seed)
    x, s = rng.normal(size=(23, dim)), rng.normal(size=(23, dim))
    root = rng.normal(size=(dim, dim))
    A = root @ root.T + 0.1 * np.eye(dim)
    options = {"exponent": exponent, "offset": offset}
    matrix = stein_kernel_matrix(x, s, preconditioner=A, **options)
    np.testing.assert_allclose(matrix, naive_kernel(x, s, A, exponent, offset), rtol=1e-8, atol=1e-9)
    w = rng.random(23)
    result = kernel_stein_discrepancy(x, s, weights=w, preconditioner=A, **options)
    assert result.value**2 == pytest.approx(max(w @ matrix @ w / w.sum() ** 2, 0), rel=1e-8, abs=1e-9)
    plain = kernel_stein_discrepancy(x, s, preconditioner=A, **options)
    assert plain.squared_unbiased == pytest.approx((matrix.sum() - np.trace(matrix)) / (23 * 22), rel=1e-8, abs=1e-9)


def test_many_tiles_sum_like_the_matrix():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1301, 3))
    matrix = stein_kernel_matrix(x, -x)
    assert kernel_stein_discrepancy(x, -x).value == pytest.approx(np.sqrt(matrix.mean()), rel=1e-10)


def test_preconditioners():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(50, 3)) * [1, 10, 0.1]
    s = -x / np.array([1, 10, 0.1]) ** 2
    scale = np.abs(x - x.mean(axis=0)).mean(axis=0)
    by_hand = naive_kernel(x / scale, s * scale, np.eye(3), -0.5, 1.0)
    np.testing.assert_allclose(stein_kernel_matrix(x, s), by_hand, rtol=1e-9)
    by_hand = naive_kernel(x, s, np.linalg.inv(np.cov(x.T)), -0.5, 1.0)
    np.testing.assert_allclose(stein_kernel_matrix(x, s, preconditioner="covariance"), by_hand, rtol=1e-8, atol=1e-9)
    distances = np.linalg.norm(x[:, None] - x[None], axis=-1)[np.triu_indices(50, 1)]
    by_hand = naive_kernel(x, s, np.eye(3) / np.median(distances) ** 2, -0.5, 1.0)
    np.testing.assert_allclose(stein_kernel_matrix(x, s, preconditioner="median"), by_hand, rtol=1e-8, atol=1e-9)
    # Standardised values do not depend on the unit of the coordinates.
    rescaled = kernel_stein_discrepancy(x * [5, 2, 3], s / [5, 2, 3]).value
    assert rescaled == pytest.approx(kernel_stein_discrepancy(x, s).value, rel=1e-9)


def test_mean_under_the_target_is_zero():
    """E k0(x, .) = 0, by Gauss-Hermite quadrature for the normal law."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    weights = weights / weights.sum()
    points = np.concatenate([[0.7], nodes])
    row = stein_kernel_matrix(points, -points, preconditioner=None)[0, 1:]
    assert abs(row @ weights) < 1e-7
    # Not so for a wrong score.
    row = stein_kernel_matrix(points, -1.2 * points, preconditioner=None)[0, 1:]
    assert abs(row @ weights) > 5e-3


def test_blind_to_mode_weights():
    """A trap on record: samples that miss a mode look as good as exact ones."""
    rng = np.random.default_rng(3)

    def score(x):
        return -x + 4 * np.tanh(4 * x)

    for fraction in (0.5, 0.9, 1.0):
        x = rng.normal(size=2000) + np.where(rng.random(2000) < fraction, 4.0, -4.0)
        assert abs(kernel_stein_discrepancy(x, score(x), preconditioner=None).squared_unbiased) < 5e-3


def test_standard_error_covers_away_from_the_target():
    """Estimates from 200 samples scatter by the error that each reports; chi-square bounds at 1e-6 are 0.76, 1.25."""
    rng = np.random.default_rng(4)
    results = []
    for _ in range(200):
        x = 1 + rng.normal(size=(300, 2))
        results.append(kernel_stein_discrepancy(x, -x, preconditioner=None))
    spread = np.std([r.squared_unbiased for r in results], ddof=1)
    assert 0.76 < spread / np.mean([r.standard_error for r in results]) < 1.25


def test_wild_bootstrap_sees_a_wrong_scale_and_says_it_is_asymptotic():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(300, 2))
    good = kernel_stein_test(x, -x, key=jax.random.key(0), replicates=199, preconditioner=None)
    bad = kernel_stein_test(1.5 * x, -1.5 * x, key=jax.random.key(0), replicates=199, preconditioner=None)
    assert good.p_value > 0.01
    assert bad.p_value == 1 / 200
    assert not good.exact
    assert good.outcome(0.01).false_alarm is None
    # Statistic and replicates are those of the matrix.
    matrix = stein_kernel_matrix(x, -x, preconditioner=None)
    assert good.value == pytest.approx((matrix.sum() - np.trace(matrix)) / (300 * 299), rel=1e-9)
    assert good.reference.shape == (199,)
    # Degenerate law: mean zero, and the variance 2 sum k0_ij^2 of a quadratic form in signs. The tolerance is 5 errors.
    off = matrix - np.diag(np.diag(matrix))
    sd = np.sqrt(2 * np.sum(off**2)) / (300 * 299)
    assert abs(good.reference.mean()) < 5 * sd / np.sqrt(199)


def test_dependent_signs():
    from ergodica.validation.quality.kernel_stein import _signs

    signs = _signs(np.random.default_rng(0), 400, 500, 0.1)
    assert np.all(signs[:, 0] == 1)
    assert set(np.unique(signs)) == {-1, 1}
    # E eps_t eps_{t+1} = 1 - 2 flip; 5 standard errors with 2e5 pairs are 0.007.
    assert np.mean(signs[1:, 1:] * signs[:-1, 1:]) == pytest.approx(0.8, abs=0.008)
    assert np.mean(signs[0, 1:]) == pytest.approx(0, abs=0.23)


@pytest.mark.slow
def test_size_of_the_wild_bootstrap():
    """0.038 at level 0.05 in the reference; for 200 repeats of size 0.05 the binomial tail above 0.15 is 1e-7."""
    rng = np.random.default_rng(6)
    hits = power = 0
    for i in range(200):
        x = rng.normal(size=(100, 2))
        hits += kernel_stein_test(x, -x, key=jax.random.key(i), replicates=99, preconditioner=None).p_value <= 0.05
        y = 1.25 * x
        power += kernel_stein_test(y, -y, key=jax.random.key(i), replicates=99, preconditioner=None).p_value <= 0.05
    assert hits / 200 < 0.15
    assert power / 200 > 0.25


def test_monte_carlo_test_has_an_exact_level():
    rng = np.random.default_rng(7)
    x = rng.normal(size=(60, 2))

    def measure(points):
        return kernel_stein_discrepancy(points, -points).value

    def draw(key):
        return jax.random.normal(key, (60, 2))

    verdict = monte_carlo_test(x, draw, measure, key=jax.random.key(1), replicates=99)
    assert verdict.exact
    assert verdict.p_value > 0.01
    assert verdict.outcome(0.01).false_alarm == 0.01
    # "standardise" takes the unit out, but not the scale: scores are scaled back.
    assert monte_carlo_test(2 * x, draw, measure, key=jax.random.key(1), replicates=99).p_value == 0.01
    with pytest.raises(ValueError, match="can never fail"):
        verdict.outcome(1e-3)


def test_thinning_golden_and_greedy():
    result = stein_thinning(POINTS, 3, -POINTS, preconditioner=None)
    np.testing.assert_array_equal(result.indices, [0, 1, 2])
    for m in (1, 2, 3):
        part = POINTS[result.indices[:m]]
        assert result.values[m - 1] == pytest.approx(kernel_stein_discrepancy(part, -part, preconditioner=None).value)
    # Each choice is the best one, by brute force; more picks than points repeat some.
    rng = np.random.default_rng(8)
    x = rng.normal(size=(12, 2)) + 0.5
    chosen = stein_thinning(x, 20, -x, preconditioner=None).indices
    for m in range(20):
        values = [
            kernel_stein_discrepancy(x[[*chosen[:m], i]], -x[[*chosen[:m], i]], preconditioner=None).value
            for i in range(12)
        ]
        assert np.argmin(values) == chosen[m]


def test_thinning_removes_burn_in():
    rng = np.random.default_rng(9)
    x = np.concatenate([np.linspace(20, 2, 200), rng.normal(size=800)])
    chosen = stein_thinning(x, 50, -x, preconditioner=None)
    assert np.mean(chosen.indices < 200) < 0.05
    raw = kernel_stein_discrepancy(x, -x, preconditioner=None).value
    reference = rng.normal(size=50)
    assert chosen.values[-1] < 0.2 * raw
    assert chosen.values[-1] < kernel_stein_discrepancy(reference, -reference, preconditioner=None).value


def test_optimal_weights_meet_the_conditions_of_the_optimum():
    rng = np.random.default_rng(10)
    x = rng.normal(size=(80, 2)) + 1
    x[7] = x[3]  # repeated points make the matrix singular
    w = stein_weights(x, -x, preconditioner=None)
    matrix = stein_kernel_matrix(x, -x, preconditioner=None)
    assert w.min() >= 0
    assert w.sum() == pytest.approx(1)
    optimum = w @ matrix @ w
    assert (matrix @ w).min() >= optimum * (1 - 1e-4) - 1e-9
    assert np.sqrt(optimum) < 0.5 * kernel_stein_discrepancy(x, -x, preconditioner=None).value
    single = stein_weights(x[:1], -x[:1], preconditioner=None)
    np.testing.assert_array_equal(single, [1.0])


def test_one_point():
    result = kernel_stein_discrepancy([[1.0, 0.0]], [[-1.0, 0.0]], preconditioner=None)
    assert result.value == pytest.approx(np.sqrt(3))
    assert np.isnan(result.squared_unbiased)
    assert result.standard_error is None


X = np.arange(6.0).reshape(3, 2)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((np.empty((0, 2)), np.empty((0, 2))), {}, ValueError, "at least 1 points"),
        ((np.empty((3, 0)), np.empty((3, 0))), {}, ValueError, "at least one coordinate"),
        ((np.full((3, 2), np.nan), X), {}, ValueError, "has to be finite; 3 of 3"),
        ((X, np.full((3, 2), np.inf)), {}, ValueError, "score is not finite"),
        ((X, X[:2]), {}, ValueError, "shape of the points"),
        ((X[None], X), {}, ValueError, "Merge chains"),
        ((np.array(["a"]), X), {}, TypeError, "real numbers"),
        (([[1.0], [1.0, 2.0]], X), {}, ValueError, "different lengths"),
        ((X, None), {}, TypeError, "either score= or logdensity="),
        ((X, X), {"logdensity": jnp.sum}, TypeError, "either score= or logdensity="),
        ((X, lambda x: x[0]), {}, ValueError, r"shape \(2,\)"),
        ((X, lambda x: np.sin(np.asarray(x))), {}, TypeError, "cannot trace"),
        ((X, X), {"weights": [0, 0, 0]}, ValueError, "sums to zero"),
        ((X, X), {"weights": [1, -1, 1]}, ValueError, "not negative"),
        ((X, X), {"weights": [1, 1]}, ValueError, "one weight for each"),
        ((X * [1, 0], X), {}, ValueError, "coordinate 1 is constant"),
        ((X * 0, X), {"preconditioner": "median"}, ValueError, "median distance"),
        ((X, X), {"preconditioner": "covariance"}, ValueError, "singular"),
        ((X, X), {"preconditioner": "other"}, ValueError, "has to be 'standardise'"),
        ((X, X), {"preconditioner": -np.eye(2)}, ValueError, "positive definite"),
        ((X, X), {"preconditioner": np.eye(3)}, ValueError, "symmetric matrix"),
        ((X, X), {"exponent": 0.5}, ValueError, "exponent"),
        ((X, X), {"offset": 0.0}, ValueError, "offset"),
        ((X, 1e200 * X), {}, ValueError, "overflows"),
    ],
)
def test_bad_input(arguments, options, error, message):
    with pytest.raises(error, match=message), np.errstate(all="ignore"):
        kernel_stein_discrepancy(*arguments, **options)


def test_bad_keys_and_counts():
    with pytest.raises(TypeError, match="typed key"):
        kernel_stein_test(X, X, key=0)
    with pytest.raises(ValueError, match="flip"):
        kernel_stein_test(X, X, key=jax.random.key(0), flip=0.7)
    with pytest.raises(ValueError, match="size"):
        stein_thinning(X, 0, X)
    with pytest.raises(ValueError, match="at most 3000"):
        stein_weights(np.zeros((3001, 1)), np.zeros((3001, 1)))
    with pytest.raises(ValueError, match="shape of the sample"):
        monte_carlo_test(X, lambda key: X[:2], np.mean, key=jax.random.key(0))
    with pytest.raises(ValueError, match="is NaN"):
        monte_carlo_test(X, lambda key: X, lambda x: np.nan, key=jax.random.key(0))
