"""Theory of independence Metropolis: golden numbers, and formulas against linear algebra and quadrature."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, special, stats

from ergodica.theory.finite_chain import FiniteChain
from ergodica.theory.independence import (
    gaussian_acceptance,
    gaussian_ess_fraction,
    gaussian_pareto_index,
    gaussian_weight_bound,
    independence_eigenvalues,
    independence_matrix,
    independence_power,
    independence_variance,
    total_variation_bound,
    total_variation_from_largest_weight,
    weight_bound,
)

TARGET, PROPOSAL = (0.1, 0.2, 0.3, 0.4), (0.25, 0.25, 0.4, 0.1)


def test_the_spectrum_on_four_states():
    np.testing.assert_allclose(independence_eigenvalues(TARGET, PROPOSAL), [1, 0.75, 0.15, 0.35 / 3], atol=1e-15)
    assert weight_bound(TARGET, PROPOSAL) == pytest.approx(4)


def test_golden_distances_and_variances():
    found = [total_variation_from_largest_weight(TARGET, PROPOSAL, t) for t in (0, 1, 2, 5, 10)]
    np.testing.assert_allclose(found, [0.6, 0.45, 0.3375, 0.1423828125, 0.0337881088], atol=6e-11)
    variance = independence_variance(TARGET, PROPOSAL, np.arange(4))
    assert variance.value == pytest.approx(5.0910099889, abs=6e-11)
    assert variance.variance == pytest.approx(1)
    # A normal proposal with twice the variance: the gap is one over the largest weight.
    assert 1 / gaussian_weight_bound(1, math.sqrt(2)) == pytest.approx(0.7071067812, abs=6e-11)


laws = st.integers(2, 7).flatmap(
    lambda n: st.tuples(*(st.lists(st.floats(0.01, 1), min_size=n, max_size=n) for _ in range(2)))
)


@given(laws)
def test_the_spectrum_against_the_matrix(pair):
    target, proposal = pair
    matrix = independence_matrix(target, proposal)
    pi = np.array(target) / np.sum(target)
    np.testing.assert_allclose(pi[:, None] * matrix, (pi[:, None] * matrix).T, atol=1e-15)
    root = np.sqrt(pi)
    symmetric = root[:, None] * matrix / root
    eigenvalues = np.sort(np.linalg.eigvalsh((symmetric + symmetric.T) / 2))[::-1]
    formula = independence_eigenvalues(target, proposal)
    np.testing.assert_allclose(formula, eigenvalues, atol=1e-12)
    bound = weight_bound(target, proposal)
    assert formula[1] == pytest.approx(1 - 1 / bound, abs=1e-12)
    power = np.eye(len(pi))
    for steps in range(1, 6):
        power = power @ matrix
        assert 0.5 * np.abs(power - pi).sum(axis=1).max() <= total_variation_bound(bound, steps) + 1e-12


# Whole numbers make ties between weights likely.
tied = st.integers(1, 6).flatmap(
    lambda n: st.tuples(*(st.lists(st.integers(1, 4), min_size=n, max_size=n) for _ in range(2)))
)


@given(st.one_of(laws, tied), st.integers(0, 9))
def test_laws_and_variances_against_the_matrix(pair, steps):
    target, proposal = pair
    matrix = independence_matrix(target, proposal)
    pi = np.array(target) / np.sum(target)
    power = np.linalg.matrix_power(matrix, steps)
    np.testing.assert_allclose(independence_power(target, proposal, steps), power, atol=1e-13)
    distances = 0.5 * np.abs(power - pi).sum(axis=1)
    w = pi / (np.array(proposal) / np.sum(proposal))
    worst = np.flatnonzero(w >= w.max() * (1 - 1e-12))
    exact = total_variation_from_largest_weight(target, proposal, steps)
    assert exact == pytest.approx(distances[worst].max(), abs=1e-13)
    f = np.cos(3.0 * np.arange(len(pi)))
    found = independence_variance(target, proposal, f)
    dense = FiniteChain(matrix, pi).asymptotic_variance(f)
    assert found.value == pytest.approx(dense.value, rel=1e-9, abs=1e-13)
    assert found.variance == pytest.approx(dense.variance, rel=1e-9, abs=1e-13)
    assert found.residual < 1e-8


def test_the_largest_weight_need_not_be_the_worst_start():
    target, proposal = (0.9, 0.1), (0.1, 0.9)
    power = independence_power(target, proposal, 1)
    assert total_variation_from_largest_weight(target, proposal, 1) == pytest.approx(0.1 * (1 - 1 / 9))
    assert 0.5 * np.abs(power[1] - target).sum() == pytest.approx(0.8)


def test_variance_with_a_large_weight():
    # Two states: the eigenvalue is one minus the inverse of the largest weight, 1e13.
    target, proposal = np.array([1e-3, 1 - 1e-3]), np.array([1e-16, 1.0])
    exact = 2 * (1e-3 * (1 - 1e-3)) / 1e-13
    assert independence_variance(target, proposal, [1, 0]).value == pytest.approx(exact, rel=1e-9)


def test_long_times_and_many_states():
    rng = np.random.default_rng(3)
    target, proposal = rng.dirichlet(np.ones(300), 2)
    law = independence_power(target, proposal, 10**6)
    np.testing.assert_allclose(law.sum(axis=1), 1, atol=1e-11)
    distance = 0.5 * np.abs(law - target).sum(axis=1)
    assert distance.max() <= total_variation_bound(weight_bound(target, proposal), 10**6) + 1e-11


@pytest.mark.parametrize(
    ("dim", "rates"),
    [
        (1, (0.9394, 0.7487, 0.5903)),
        (2, (0.9050, 0.6154, 0.4000)),
        (8, (0.7940, 0.2725, 0.0667)),
        (32, (0.5930, 0.0247, 0.0002)),
    ],
)
def test_gaussian_acceptance_table(dim, rates):
    assert [round(gaussian_acceptance(dim, sigma), 4) for sigma in (1.1, 1.5, 2.0)] == list(rates)


@pytest.mark.parametrize("sigma", [0.6, 1.0, 1.5])
def test_gaussian_acceptance_by_quadrature(sigma):
    def overlap(y, x):
        return min(
            stats.norm.pdf(x) * stats.norm.pdf(y, scale=sigma), stats.norm.pdf(y) * stats.norm.pdf(x, scale=sigma)
        )

    # The overlap has kinks at |x| = |y|: integrate over one of the eight sectors between them.
    value = 8 * integrate.dblquad(overlap, 0, 9, 0, lambda x: x, epsabs=1e-11)[0]
    assert gaussian_acceptance(1, sigma) == pytest.approx(value, abs=1e-7)


def test_gaussian_acceptance_near_one():
    gap = 1e-3
    for dim in (1000, 100_000):
        assert gaussian_acceptance(dim, 1 + gap) == pytest.approx(2 * special.ndtr(-gap * np.sqrt(dim)), rel=2e-3)
    assert gaussian_acceptance(3, 0.5) == pytest.approx(gaussian_acceptance(3, 2.0), rel=1e-12)


def test_effective_sample_size_of_importance_sampling():
    assert gaussian_ess_fraction(1.5, 0.6, 1.0) == pytest.approx(0.194869, abs=5e-7)
    assert gaussian_ess_fraction(0.0, 1.0, 1.0) == 1
    assert gaussian_ess_fraction(0.0, 1.5, 1.0) == 0
    second = integrate.quad(
        lambda x: stats.norm.pdf(x, 0.7, 1.2) ** 2 / stats.norm.pdf(x, scale=1.1), -20, 20, epsabs=1e-12
    )[0]
    assert gaussian_ess_fraction(0.7, 1.2, 1.1) == pytest.approx(1 / second, rel=1e-9)


def test_tails():
    assert gaussian_weight_bound(3, 2.0) == 8
    assert gaussian_weight_bound(3, 0.9) == np.inf
    assert gaussian_pareto_index(2.0) == 0
    # The survival function of w = sigma exp(c x^2), c = (sigma^-2 - 1) / 2, is that of |x|: its slope tends to -1 / k.
    sigma = 0.4
    c = (sigma**-2 - 1) / 2
    log_survival = [np.log(2) + special.log_ndtr(-np.sqrt(t / c) / sigma) for t in (400.0, 401.0)]
    assert log_survival[0] - log_survival[1] == pytest.approx(1 / gaussian_pareto_index(sigma), rel=2e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: weight_bound([0.5, 0.5], [1.0, 0.0]), "state 1"),
        (lambda: weight_bound([0.5, 0.5], [1.0]), "one length"),
        (lambda: weight_bound([0.5, -0.5], [0.5, 0.5]), "not negative"),
        (lambda: weight_bound([0.5, math.nan], [0.5, 0.5]), "NaN"),
        (lambda: weight_bound([0.5, 0.5], [0.5, math.inf]), "infinity"),
        (lambda: weight_bound([], []), "or none"),
        (lambda: total_variation_from_largest_weight([1.0, 0.0], [0.5, 0.5], 1), "leave the others out"),
        (lambda: total_variation_from_largest_weight([0.5, 0.5], [0.5, 0.5], -1), "at least 0"),
        (lambda: independence_power([0.5, 0.5], [0.5, 0.5], 1.5), "integer"),
        (lambda: independence_variance([0.5, 0.5], [0.5, 0.5], [1.0, math.nan]), "finite function"),
        (lambda: independence_variance([0.5, 0.5], [0.5, 0.5], [1.0]), "finite function"),
        (lambda: independence_matrix([1.0, 0.0], [0.5, 0.5]), "leave the others out"),
        (lambda: independence_eigenvalues([1.0, 0.0], [0.5, 0.5]), "leave the others out"),
        (lambda: total_variation_bound(0.5, 3), "at least 1"),
        (lambda: total_variation_bound(2.0, -3), "at least 0"),
        (lambda: total_variation_bound(2.0, math.inf), "integer"),
        (lambda: gaussian_acceptance(0, 1.0), "at least 1"),
        (lambda: gaussian_acceptance(1, -1.0), "positive"),
        (lambda: gaussian_ess_fraction(0.0, 0.0, 1.0), "positive"),
        (lambda: gaussian_weight_bound(1, 0.0), "positive"),
        (lambda: gaussian_pareto_index(0.0), "positive"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
