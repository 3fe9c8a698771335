"""Weights of importance sampling: closed forms against quadrature and enumeration."""

import itertools
import math

import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from scipy import integrate, special, stats

from ergodica.theory.importance import (
    chi_square,
    gaussian_chi_square,
    gaussian_ess_fraction,
    gaussian_pareto_index,
    gaussian_relative_entropy,
    importance_weights,
    mean_error_bound,
    pareto_sample_size,
    relative_entropy,
    reliable_pareto_index,
    required_sample_size,
    weighted_average,
)
from ergodica.theory.probability_vector import probability_vector

TARGET, PROPOSAL = (0.1, 0.2, 0.3, 0.4), (0.25, 0.25, 0.4, 0.1)
GAUSSIANS = [
    (0.0, 2.0, 0.1547005384),
    (1.0, 1.0, 1.7182818285),
    (0.5, 1.5, 0.2018854329),
    (0.0, 0.6, 0.3416407865),
]


def test_golden_weights():
    np.testing.assert_allclose(importance_weights(TARGET, PROPOSAL), [0.4, 0.8, 0.75, 4], rtol=1e-14)
    found = weighted_average(TARGET, PROPOSAL, np.arange(4))
    np.testing.assert_allclose([found.value, found.variance], [1.92, 1.0], rtol=1e-14)
    assert found.residual < 1e-15
    # A state outside both laws has weight zero and no influence.
    assert importance_weights([*TARGET, 0], [*PROPOSAL, 0])[4] == 0
    assert weighted_average([*TARGET, 0], [*PROPOSAL, 0], [0, 1, 2, 3, 99]).value == pytest.approx(1.92)


@pytest.mark.parametrize(("mean", "variance", "golden"), GAUSSIANS)
def test_golden_gaussians(mean, variance, golden):
    value = gaussian_chi_square(0.0, 1.0, mean, variance)
    assert value == pytest.approx(golden, abs=6e-11)

    def square(x):
        return math.exp(2 * stats.norm.logpdf(x) - stats.norm.logpdf(x, mean, math.sqrt(variance)))

    assert 1 + value == pytest.approx(integrate.quad(square, -30, 30, epsabs=1e-13, limit=200)[0], rel=1e-9)
    assert gaussian_ess_fraction(mean, 1.0, math.sqrt(variance)) == pytest.approx(1 / (1 + value), rel=1e-12)


def test_gaussians_without_variance():
    assert gaussian_chi_square(0, 1, 0, 0.5) == math.inf
    assert gaussian_chi_square([0, 0], np.eye(2), [0, 0], np.diag([3.0, 0.4])) == math.inf
    assert gaussian_chi_square(0, 1, 100, 1.0) == math.inf  # too large for a double
    # The tail index of the weights passes 1/2 where their variance becomes infinite.
    assert gaussian_pareto_index(math.sqrt(0.5)) == pytest.approx(0.5)
    assert gaussian_pareto_index(math.sqrt(0.3)) == pytest.approx(0.7)


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1))
def test_gaussians_in_two_dimensions(seed):
    rng = np.random.default_rng(seed)
    A, root = np.cov(rng.normal(size=(2, 9))) + 0.1 * np.eye(2), rng.normal(size=(2, 2))
    B = A + root @ root.T
    m, n = rng.normal(size=(2, 2))
    # Gauss-Hermite with respect to the target: E_p w and E_p log w.
    nodes, weights = special.roots_hermitenorm(80)
    z = np.stack(np.meshgrid(nodes, nodes)).reshape(2, -1)
    mass = np.outer(weights, weights).ravel() / (2 * np.pi)
    x = (m[:, None] + np.linalg.cholesky(A) @ z).T
    log_w = stats.multivariate_normal(m, A).logpdf(x) - stats.multivariate_normal(n, B).logpdf(x)
    assert gaussian_relative_entropy(m, A, n, B) == pytest.approx(mass @ log_w, rel=1e-8, abs=1e-10)
    assert gaussian_chi_square(m, A, n, B) == pytest.approx(mass @ np.exp(log_w) - 1, rel=1e-6)
    # Both are invariant under linear maps.
    turned = root @ A @ root.T, root @ B @ root.T
    if np.linalg.cond(root) < 100:
        again = gaussian_chi_square(root @ m, turned[0], root @ n, turned[1])
        assert again == pytest.approx(gaussian_chi_square(m, A, n, B), rel=1e-8)


def laws(low=2, high=6):
    def pair(n):
        one = st.lists(st.floats(0.01, 1), min_size=n, max_size=n).map(lambda w: np.array(w) / np.sum(w))
        return st.tuples(one, one)

    return st.integers(low, high).flatmap(pair)


@given(laws())
def test_divergences(pair):
    p, q = pair
    w = importance_weights(p, q)
    assert chi_square(p, q) == pytest.approx(q @ w**2 - 1, abs=1e-12)
    assert relative_entropy(p, q) == pytest.approx(stats.entropy(p, q), abs=1e-12)
    # Jensen: the required number of draws never exceeds 1 + chi_square, and that never the largest weight.
    assert required_sample_size(relative_entropy(p, q)) <= (1 + chi_square(p, q)) * (1 + 1e-12) <= w.max() * (1 + 1e-11)
    assert chi_square(p, p) == relative_entropy(p, p) == 0
    f = np.cos(np.arange(p.size))
    found = weighted_average(p, q, f)
    assert weighted_average(p, p, f).value == pytest.approx(p @ f**2 - (p @ f) ** 2, abs=1e-14)
    assert found.value <= found.variance * w.max() * (1 + 1e-12)
    assert found.residual < 1e-10


def _all_draws(q, n):
    """Yield counts and probabilities of all samples of size n."""
    for cuts in itertools.combinations(range(n + len(q) - 1), len(q) - 1):
        counts = np.diff([-1, *cuts, n + len(q) - 1]) - 1
        yield counts, stats.multinomial.pmf(counts, n, q)


def test_bias_and_variance_by_enumeration():
    p, q, f = np.array([0.2, 0.5, 0.3]), np.array([0.4, 0.35, 0.25]), np.array([1.0, -1.0, 0.5])
    w = p / q
    found = weighted_average(p, q, f)
    errors = []
    for n in (20, 40, 80):
        first = second = 0.0
        for counts, chance in _all_draws(q, n):
            error = counts @ (w * f) / (counts @ w) - p @ f
            first, second = first + chance * error, second + chance * error**2
        errors.append(n * np.array([first, second]))
    # The errors of n bias and n variance are a / n + b / n^2 + ...: two steps of Richardson's extrapolation.
    one, two = 2 * errors[1] - errors[0], 2 * errors[2] - errors[1]
    np.testing.assert_allclose((4 * two - one) / 3, [found.bias, found.value], rtol=2e-4)


@pytest.mark.parametrize("n", [1, 4, 12])
def test_the_bound_on_the_mean_error_holds_and_is_not_idle(n):
    p, q = np.array([0.55, 0.25, 0.2]), np.array([0.1, 0.3, 0.6])
    w = p / q
    bound = mean_error_bound(p, q, n)
    assert bound <= 2
    for f in (np.ones(3), np.array([1.0, 0, 0]), np.array([1.0, -2.0, 0.3])):
        g = f / math.sqrt(p @ f**2)
        error = sum(chance * abs(counts @ (w * g) / n - p @ g) for counts, chance in _all_draws(q, n))
        assert error <= bound
    ratios = np.sort(np.append(w, 0))
    by_hand = min(math.sqrt(a / n) + 2 * math.sqrt(p[w > a].sum()) for a in ratios)
    assert bound == pytest.approx(by_hand)


def test_the_bound_is_that_of_the_theorem_or_better():
    # Fifteen coordinates in two states: log w is spread around its mean.
    k = np.arange(16)
    p, q = stats.binom.pmf(k, 15, 0.7), stats.binom.pmf(k, 15, 0.4)
    entropy = relative_entropy(p, q)
    log_w = np.log(p / q)
    for t in (1.0, 4.0, 8.0):
        theorem = math.exp(-t / 4) + 2 * math.sqrt(p[log_w > entropy + t / 2].sum())
        assert mean_error_bound(p, q, math.ceil(required_sample_size(entropy, t))) <= theorem + 1e-12


def test_rules_for_the_tail_index():
    np.testing.assert_allclose([pareto_sample_size(k) for k in (-0.3, 0.0, 0.5)], [10, 10, 100])
    assert pareto_sample_size(0.7) == pytest.approx(10 ** (10 / 3))
    assert pareto_sample_size(1.2) == pareto_sample_size(0.9999) == math.inf
    assert reliable_pareto_index(10**6) == 0.7
    # One rule is the inverse of the other.
    for n in (20, 100, 1000):
        assert pareto_sample_size(reliable_pareto_index(n)) == pytest.approx(n)


@pytest.mark.slow
@pytest.mark.parametrize(("variance", "centre", "spread"), [(0.3, 0.65, 0.1), (0.5, 0.48, 0.11), (0.8, 0.21, 0.08)])
def test_the_fitted_tail_index(variance, centre, spread):
    """The mean of 200 fits; ten standard errors of the mean have a false-alarm probability far below 1e-6."""
    from arviz_stats.base import array_stats

    rng = np.random.default_rng(4)
    x = math.sqrt(variance) * rng.standard_normal((200, 4000))
    # minus the log weights, up to a constant
    fits = array_stats.psislw(x**2 * (1 - 1 / variance) / 2)[1]
    assert abs(fits.mean() - centre) < 10 * spread / math.sqrt(200)
    assert abs(fits.mean() - gaussian_pareto_index(math.sqrt(variance))) < 0.1
    assert fits.std() < 2 * spread


def test_laws_of_32_bit():
    law = jnp.asarray([0.1, 0.2, 0.7], jnp.float32)
    checked = probability_vector(law)
    assert checked.dtype == np.float64
    assert checked.sum() == pytest.approx(1, abs=1e-15)
    assert probability_vector([1, 0]).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: chi_square([0.5, 0.5], [1.0, 0.0]), "state 1"),
        (lambda: chi_square([0.5, 0.5], [0.5, 0.6]), "the proposal sums to 1.1"),
        (lambda: relative_entropy([0.5, 0.5], [1.0]), "one shape"),
        (lambda: importance_weights([1.5, -0.5], [0.5, 0.5]), "negative"),
        (lambda: importance_weights([math.nan, 0.5], [0.5, 0.5]), "not finite"),
        (lambda: importance_weights(np.eye(2), np.eye(2)), "one shape"),
        (lambda: probability_vector([]), "vector"),
        (lambda: probability_vector(1.0), "vector"),
        (lambda: weighted_average([0.5, 0.5], [0.5, 0.5], [1.0]), "finite function"),
        (lambda: weighted_average([0.5, 0.5], [0.5, 0.5], [1.0, math.inf]), "finite function"),
        (lambda: required_sample_size(-1.0), "not negative"),
        (lambda: mean_error_bound([1.0], [1.0], 0), "at least 1"),
        (lambda: gaussian_chi_square(0, -1, 0, 1), "positive definite"),
        (lambda: gaussian_chi_square(0, 1, 0, [[1.0, 0.2], [0.1, 1.0]]), "shape"),
        (lambda: gaussian_chi_square([0, 0], [[1.0, 0.2], [0.1, 1.0]], [0, 0], np.eye(2)), "symmetric"),
        (lambda: gaussian_chi_square(0, 1, [0, 0], np.eye(2)), "dimensions"),
        (lambda: gaussian_relative_entropy(0, 1, [0, 0], np.eye(2)), "dimensions"),
        (lambda: gaussian_relative_entropy(math.nan, 1, 0, 1), "not finite"),
        (lambda: gaussian_pareto_index(0.0), "positive"),
        (lambda: gaussian_ess_fraction(0.0, 1.0, -1.0), "positive"),
        (lambda: reliable_pareto_index(1), "at least 2"),
        (lambda: pareto_sample_size(math.nan), "NaN"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
