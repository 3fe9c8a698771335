"""Multilevel Monte Carlo: allocation, complexity, randomised levels, the driver on a process with known means."""

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest

from ergodica.theory.multilevel import (
    MultilevelWarning,
    geometric_levels,
    multilevel_complexity,
    multilevel_monte_carlo,
    optimal_allocation,
    randomised_levels,
)

DRIFT, VOLATILITY = 0.5, 0.4


def test_golden_allocation():
    found = optimal_allocation((1, 0.25, 0.0625, 0.0156), (1, 2, 4, 8), 0.05)
    wanted = (2048.3017726717, 724.1840366863, 256.0377215840, 90.4505571916)
    np.testing.assert_allclose(found.samples, wanted, rtol=1e-12)
    np.testing.assert_array_equal(found.num_samples, [2049, 725, 257, 91])
    assert found.variance == pytest.approx(0.00125, rel=1e-12)
    assert found.cost == pytest.approx(5244.4251899127, rel=1e-12)
    assert found.residual < 1e-12
    np.testing.assert_array_equal(optimal_allocation([1, 0], [1, 1], 0.1).num_samples, [200, 1])


@hypothesis.settings(max_examples=25)
@hypothesis.given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.floats(0.2, 1))
def test_no_other_allocation_with_this_variance_is_cheaper(seed, size, share):
    rng = np.random.default_rng(seed)
    V, C = np.exp(rng.normal(size=(2, size)))
    found = optimal_allocation(V, C, 0.1, variance_share=share)
    assert found.variance == pytest.approx(share * 0.01, rel=1e-12)
    assert found.variance == pytest.approx(np.sum(V / found.samples), rel=1e-12)
    other = found.samples * np.exp(0.3 * rng.normal(size=size))
    other *= np.sum(V / other) / found.variance  # the same variance
    assert other @ C >= found.cost * (1 - 1e-12)


@pytest.mark.parametrize(
    ("alpha", "beta", "gamma", "exponent", "log_power"),
    [(1, 2, 1, 2, 0), (1, 1, 1, 2, 2), (1, 1, 2, 3, 0), (0.5, 0.5, 1, 3, 0), (2, 1, 3, 3, 0)],
)
def test_complexity(alpha, beta, gamma, exponent, log_power):
    found = multilevel_complexity(alpha, beta, gamma)
    assert (found.exponent, found.log_power) == (exponent, log_power)
    assert found.single_level_exponent == 2 + gamma / alpha >= exponent

    def cost(L):
        levels = np.arange(L + 1)
        return optimal_allocation(2.0 ** (-beta * levels), 2.0 ** (gamma * levels), 1.0).cost * 4.0 ** (alpha * L)

    # The cost of the optimal allocation down to the level with the bias eps = 2^(-alpha L) has this order.
    one, two = (cost(L) * 2.0 ** (-exponent * alpha * L) / (L + 1) ** log_power for L in (30, 31))
    assert two / one == pytest.approx(1, abs=0.005 if log_power else 2e-3)


@hypothesis.settings(max_examples=20)
@hypothesis.given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_random_levels_are_unbiased_and_the_best(seed, size):
    rng = np.random.default_rng(seed)
    m, C = np.exp(rng.normal(size=(2, size)))
    found = randomised_levels(m, C)
    assert found.probabilities.sum() == pytest.approx(1, rel=1e-12)
    assert found.second_moment == pytest.approx(np.sum(m / found.probabilities), rel=1e-12)
    assert found.second_moment * found.cost == pytest.approx(np.sqrt(m * C).sum() ** 2, rel=1e-12)
    p = rng.dirichlet(np.ones(size)) + 1e-6
    p /= p.sum()
    assert np.sum(m / p) * (p @ C) >= found.second_moment * found.cost * (1 - 1e-12)


def test_geometric_levels_are_the_limit():
    beta, gamma = 2.0, 1.0
    levels = np.arange(200)
    found = geometric_levels(beta, gamma)
    p = (1 - found.ratio) * found.ratio**levels
    best = randomised_levels(2 ** (-beta * levels), 2 ** (gamma * levels))
    np.testing.assert_allclose(best.probabilities, p, rtol=1e-12)
    assert found.second_moment == pytest.approx(best.second_moment, rel=1e-12)
    assert found.cost == pytest.approx(best.cost, rel=1e-12)


def euler(level, num_samples, key):
    """Euler steps of a geometric Brownian motion on [0, 1]; E P_l = (1 + drift h)^(1 / h)."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    steps = 2**level
    noise = rng.normal(scale=VOLATILITY / np.sqrt(steps), size=(num_samples, steps))
    fine = np.prod(1 + DRIFT / steps + noise, axis=1)
    if level == 0:
        return fine, np.zeros(num_samples)
    return fine, np.prod(1 + 2 * DRIFT / steps + noise[:, ::2] + noise[:, 1::2], axis=1)


def test_driver_reaches_the_wanted_error():
    eps, keys = 0.01, []

    def recorded(level, num_samples, key):
        keys.append(tuple(jax.random.key_data(key).tolist()))
        return euler(level, num_samples, key)

    found = multilevel_monte_carlo(recorded, eps, jax.random.key(1))
    assert len(set(keys)) == len(keys)
    finest = len(found.num_samples) - 1
    mean = (1 + DRIFT / 2**finest) ** (2**finest)
    # Five standard errors: a false alarm with probability 6e-7.
    assert abs(found.value - mean) < 5 * found.standard_error
    assert found.standard_error**2 <= 1.05 * eps**2 / 2
    assert found.converged
    assert found.bias < eps / np.sqrt(2)
    assert np.exp(DRIFT) - mean < 2 * eps
    assert finest > 2  # two levels have a bias of 0.05
    assert 0.7 < found.alpha < 1.5
    assert 0.7 < found.beta < 1.5
    assert found.consistency.max() < 1
    assert found.total_cost == found.num_samples @ 2.0 ** np.arange(finest + 1)
    assert np.all(np.diff(found.num_samples[:4]) < 0)
    again = multilevel_monte_carlo(euler, eps, jax.random.key(1), cost=lambda level: 2.0**level)
    assert again.value == found.value


def test_moments_of_batches():
    # A sampler that repeats a list: moments after all batches are those of the list.
    rng = np.random.default_rng(0)
    stored = {level: 5 + rng.exponential(size=200_000) for level in range(3)}
    used = dict.fromkeys(stored, 0)

    def sampler(level, num_samples, key):
        start = used[level]
        used[level] += num_samples
        fine = stored[level][start : used[level]]
        return fine, 0 * fine if level == 0 else fine - 1e-3 * fine / 4**level

    found = multilevel_monte_carlo(sampler, 0.01, jax.random.key(0), initial_samples=100)
    values = stored[0][: used[0]]
    assert found.num_samples[0] == used[0] > 1000
    assert found.means[0] == pytest.approx(values.mean(), rel=1e-12)
    assert found.variances[0] == pytest.approx(values.var(), rel=1e-9)
    kurtosis = np.mean((values - values.mean()) ** 4) / values.var() ** 2
    assert found.kurtosis[0] == pytest.approx(kurtosis, rel=1e-9)


def test_a_level_that_looks_too_good_gets_samples():
    def sampler(level, num_samples, key):
        sign = np.where(np.arange(num_samples) % 2, 1.0, -1.0)
        return (sign if level < 2 else 0 * sign), 0 * sign

    found = multilevel_monte_carlo(sampler, 0.03, jax.random.key(0), initial_samples=100)
    assert found.variances[2] == 0
    # Half of what the variance of level 1 promises, at a decay of 2^(-1/2).
    wanted = optimal_allocation([1, 1, 0.5 * 2**-0.5], [1, 2, 4], 0.03).num_samples
    np.testing.assert_allclose(found.num_samples, wanted, rtol=0.02)


def test_broken_sums_are_noticed():
    def shifted(level, num_samples, key):
        fine, coarse = euler(level, num_samples, key)
        return fine, coarse + 0.5 * (level > 0)

    with pytest.warns(MultilevelWarning) as caught:
        multilevel_monte_carlo(shifted, 0.2, jax.random.key(0), max_level=3)
    assert any("telescoping sum is broken" in str(warning.message) for warning in caught)


def test_bias_and_kurtosis_are_warned_of():
    def slow(level, num_samples, key):
        return np.full(num_samples, 1.0 - 0.9**level), np.full(num_samples, 1 - 0.9 ** (level - 1) if level else 0.0)

    with pytest.warns(MultilevelWarning, match="estimated bias"):
        found = multilevel_monte_carlo(slow, 1e-3, jax.random.key(0), max_level=3)
    assert not found.converged
    assert np.all(np.isnan(found.kurtosis))

    def rare(level, num_samples, key):
        fine = np.zeros(num_samples)
        fine[0] = 1.0
        return fine, np.zeros(num_samples)

    with pytest.warns(MultilevelWarning, match="kurtosis"):
        multilevel_monte_carlo(rare, 0.1, jax.random.key(0), max_level=2)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: optimal_allocation([1.0], [1.0, 2.0], 0.1), "one variance and one cost"),
        (lambda: optimal_allocation([-1.0], [1.0], 0.1), "at least 0"),
        (lambda: optimal_allocation([1.0], [0.0], 0.1), "positive"),
        (lambda: optimal_allocation([1.0], [1.0], 0.0), "eps"),
        (lambda: optimal_allocation([1.0], [1.0], 0.1, variance_share=0.0), "variance_share"),
        (lambda: multilevel_complexity(0.1, 1, 1), "the theorem needs"),
        (lambda: multilevel_complexity(1, -1, 1), "beta"),
        (lambda: randomised_levels([1.0, 0.0], [1.0, 1.0]), "leave out"),
        (lambda: geometric_levels(1.0, 1.0), "beta > gamma"),
        (lambda: multilevel_monte_carlo(euler, -1, jax.random.key(0)), "eps"),
        (lambda: multilevel_monte_carlo(euler, 1, jax.random.key(0), first_levels=1), "first_levels"),
        (lambda: multilevel_monte_carlo(euler, 1, jax.random.key(0), cost=0.0), "cost"),
        (lambda: multilevel_monte_carlo(lambda l, n, key: (np.zeros(2), 0), 1, jax.random.key(0)), "two arrays"),
        (lambda: multilevel_monte_carlo(lambda l, n, key: (np.ones(n), np.ones(n)), 1, jax.random.key(0)), "zeros"),
        (
            lambda: multilevel_monte_carlo(lambda l, n, key: (np.full(n, np.nan), np.ones(n)), 1, jax.random.key(0)),
            "NaN",
        ),
    ],
)
def test_bad_input_is_refused_with_the_reason(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_runs_that_would_not_end_are_refused():
    with pytest.raises(RuntimeError, match="more than max_samples"):
        multilevel_monte_carlo(euler, 1e-4, jax.random.key(0), max_samples=10_000)
    with pytest.raises(TypeError, match="typed key"):
        multilevel_monte_carlo(euler, 0.1, 0)


@pytest.mark.slow
def test_errors_of_many_runs_are_of_the_wanted_size():
    eps, runs = 0.05, 60
    values = [multilevel_monte_carlo(euler, eps, key).value for key in jax.random.split(jax.random.key(7), runs)]
    # The variance is to be eps^2 / 2. Chi-square with 59 degrees exceeds 2.2 times its mean with probability 4e-7.
    assert np.var(values, ddof=1) < 2.2 * 1.05 * eps**2 / 2
