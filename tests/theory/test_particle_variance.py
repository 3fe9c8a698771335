"""Exact and asymptotic variance of particle estimates, against enumeration of the particle system."""

import itertools
import math

import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from scipy import stats

from ergodica.theory.importance import chi_square
from ergodica.theory.particle_variance import (
    asymptotic_relative_variance,
    log_normalizer,
    relative_variance,
    second_moment,
)

EMISSION = np.array([[0.9, 0.1], [0.3, 0.7]])
HMM3 = ([0.6, 0.4], [[0.7, 0.3], [0.2, 0.8]], EMISSION[:, [0, 1, 1]].T)


def test_golden_hidden_markov_model():
    assert math.exp(log_normalizer(*HMM3)) == pytest.approx(0.116004, rel=1e-14)
    assert second_moment(*HMM3, 2) == pytest.approx(0.0233043466, abs=6e-11)
    found = relative_variance(*HMM3, 2)
    assert found.value == pytest.approx(0.7317731509, abs=6e-11)
    assert found.log_bias == -found.value / 2
    assert relative_variance(*HMM3, 3).value == pytest.approx(0.4789872785, abs=6e-11)
    scaled = [n * relative_variance(*HMM3, n).value for n in (10, 100, 1000)]
    np.testing.assert_allclose(scaled, [1.4001237501, 1.3860333050, 1.3846278897], atol=6e-11)
    limit = asymptotic_relative_variance(*HMM3)
    assert limit.value == pytest.approx(1.3844717732, abs=6e-11)
    assert max(found.residual, limit.residual) < 1e-14
    # Nothing cancels for many particles.
    assert 1e12 * relative_variance(*HMM3, 10**12).value == pytest.approx(limit.value, rel=1e-9)


def path_moments(initial, kernels, potentials, power):
    """Return the expectation of a power of the product of the potentials along one path."""
    total = 0.0
    for path in itertools.product(range(len(initial)), repeat=len(potentials)):
        chance = initial[path[0]] * math.prod(
            kernel[x, y] for kernel, x, y in zip(kernels, path[:-1], path[1:], strict=True)
        )
        total += chance * math.prod(g[x] for g, x in zip(potentials, path, strict=True)) ** power
    return total


def system_moment(initial, kernels, potentials, num_particles):
    """Return the second moment of the estimate from the law of all particles, step by step."""
    states = list(itertools.product(range(len(initial)), repeat=num_particles))
    law = {s: math.prod(initial[x] for x in s) for s in states}
    for t, g in enumerate(potentials):
        law = {s: mass * (sum(g[x] for x in s) / num_particles) ** 2 for s, mass in law.items()}
        if t == len(kernels):
            return sum(law.values())
        moved = dict.fromkeys(states, 0.0)
        for s, mass in law.items():
            if mass == 0:
                continue
            weights = np.array([g[x] for x in s])
            row = weights @ kernels[t][list(s)] / weights.sum()
            for new in states:
                moved[new] += mass * math.prod(row[x] for x in new)
        law = moved
    raise AssertionError


@st.composite
def models(draw, largest_size=3, largest_horizon=3):
    size, horizon = draw(st.integers(1, largest_size)), draw(st.integers(0, largest_horizon))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    potentials = rng.exponential(size=(horizon + 1, size))
    if size > 1 and draw(st.booleans()):
        potentials[rng.integers(horizon + 1), rng.integers(size)] = 0.0
    return rng.dirichlet(np.ones(size)), rng.dirichlet(np.ones(size), (horizon, size)), potentials


@settings(max_examples=20)
@given(models(), st.integers(1, 3))
def test_against_enumeration(model, num_particles):
    size, horizon = model[1].shape[1] if model[1].size else len(model[0]), len(model[1])
    if size**num_particles > 9 and horizon > 2:
        num_particles = 2
    mean, square = path_moments(*model, 1), path_moments(*model, 2)
    assert math.exp(log_normalizer(*model)) == pytest.approx(mean, rel=1e-12)
    # One particle is one path.
    assert second_moment(*model, 1) == pytest.approx(square, rel=1e-12)
    found = relative_variance(*model, num_particles)
    assert second_moment(*model, num_particles) == pytest.approx(system_moment(*model, num_particles), rel=1e-12)
    assert found.value == pytest.approx(second_moment(*model, num_particles) / mean**2 - 1, abs=1e-12)
    assert found.residual < 1e-12
    limit = asymptotic_relative_variance(*model).value
    assert 1e9 * relative_variance(*model, 10**9).value == pytest.approx(limit, rel=1e-6, abs=1e-12)
    assert found.value >= -1e-15


def test_more_particles_are_not_always_better():
    # One path changes sides: a large potential is followed by a small one, and averages out. Resampling undoes that.
    model = ([0.86, 0.14], np.array([[[0.14, 0.86], [1.0, 0.0]]]), [[0.2, 3.9], [0.0, 0.1]])
    assert second_moment(*model, 2) == pytest.approx(system_moment(*model, 2), rel=1e-12)
    assert relative_variance(*model, 2).value > 2 * relative_variance(*model, 1).value


def test_one_step_is_importance_sampling():
    p, q = np.array([0.1, 0.2, 0.7]), np.array([0.3, 0.3, 0.4])
    for n in (1, 5):
        value = relative_variance(q, np.empty((0, 3, 3)), (p / q)[None], n).value
        assert value == pytest.approx(chi_square(p, q) / n, rel=1e-13)
    assert asymptotic_relative_variance(q, np.eye(3), 7 * (p / q)[None]).value == pytest.approx(chi_square(p, q))


def test_the_bias_of_the_log():
    """With two states the number of particles in one of them is a chain: the law of the estimate is exact."""
    initial, A, g = (np.asarray(a) for a in HMM3)
    biases = []
    for n in (40, 80):
        counts = np.arange(n + 1)
        law = stats.binom.pmf(counts, n, initial[1])
        second, log_mean = law.copy(), np.zeros(n + 1)
        # second: E[Z_t^2; count]; log_mean: E[log Z_t; count]
        for t in range(3):
            mean = (g[t, 0] * (n - counts) + g[t, 1] * counts) / n
            second, log_mean = second * mean**2, log_mean + law * np.log(mean)
            if t < 2:
                row = ((n - counts) * g[t, 0] * A[0, 1] + counts * g[t, 1] * A[1, 1]) / n / mean
                step = stats.binom.pmf(counts[None, :], n, row[:, None])
                law, second, log_mean = law @ step, second @ step, log_mean @ step
        assert second_moment(*HMM3, n) == pytest.approx(second.sum(), rel=1e-12)
        biases.append(n * (log_mean.sum() - log_normalizer(*HMM3)))
    limit = -asymptotic_relative_variance(*HMM3).value / 2
    assert 2 * biases[1] - biases[0] == pytest.approx(limit, rel=5e-3)
    assert biases[1] / 80 == pytest.approx(relative_variance(*HMM3, 80).log_bias, rel=0.05)


def test_long_models_do_not_underflow():
    steps = 3000
    potentials = np.tile([1e-5, 3e-5], (steps + 1, 1))
    found = relative_variance(HMM3[0], HMM3[1], potentials, 10_000)
    assert log_normalizer(HMM3[0], HMM3[1], potentials) < -20_000
    assert found.residual < 1e-9
    assert found.value * 10_000 > asymptotic_relative_variance(HMM3[0], HMM3[1], potentials).value > 0.01 * steps


def test_arrays_of_jax():
    model = [jnp.asarray(part, jnp.float32) for part in HMM3]
    assert relative_variance(*model, 2).value == pytest.approx(0.7317731509, rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"initial": [0.6, 0.5]}, "the initial law sums to 1.1"),
        ({"initial": [[0.6, 0.4]]}, r"shape \(k,\)"),
        ({"initial": [0.6, math.nan]}, "not finite"),
        ({"kernels": [[0.7, 0.3], [0.2, 0.7]]}, "a row of the kernels sums to 0.9"),
        ({"kernels": np.full((3, 2, 2), 0.5)}, r"\(2, 2, 2\)"),
        ({"kernels": [0.5, 0.5]}, "kernels have shape"),
        ({"potentials": [1.0, 1.0]}, "potentials of shape"),
        ({"potentials": np.empty((0, 2))}, "potentials of shape"),
        ({"potentials": [[1.0, -1.0]] * 3}, "negative"),
        ({"potentials": [[1.0, math.nan]] * 3}, "not finite"),
        ({"potentials": [[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]}, "step 1 vanish"),
        ({"num_particles": 0}, "positive integer"),
        ({"num_particles": 1.5}, "positive integer"),
        ({"num_particles": math.inf}, "positive integer"),
    ],
)
def test_bad_input(change, message):
    arguments = dict(zip(("initial", "kernels", "potentials"), HMM3, strict=True)) | {"num_particles": 2} | change
    with pytest.raises(ValueError, match=message):
        relative_variance(**arguments)
