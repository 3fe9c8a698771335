"""Wasserstein distances: exact, sliced, and of normal laws."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from ergodica.validation.quality.monte_carlo_test import monte_carlo_test
from ergodica.validation.quality.wasserstein import (
    line_distance,
    max_sliced_wasserstein,
    normal_distance,
    slice_costs,
    sliced_wasserstein,
    wasserstein_distance,
)

A = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0]])
B = np.array([[0.5, 0.0], [1.0, -1.0], [3.0, 1.0], [0.0, 2.0]])
KEY = jax.random.key(0)
ANGLES = np.deg2rad([0, 45, 90, 135])
DIRECTIONS = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)


def test_golden():
    assert wasserstein_distance(A, jnp.asarray(B)).value ** 2 == pytest.approx(1.6458333333, rel=1e-9)
    assert wasserstein_distance(A, B, p=1).value == pytest.approx(1.2344757082, rel=1e-9)
    costs = slice_costs(A, B, DIRECTIONS, 2.0)
    np.testing.assert_allclose(costs, [0.3958333333, 0.6979166667, 0.6666666667, 0.8645833333], rtol=1e-9)
    assert np.sqrt(costs.max()) == pytest.approx(0.9298297335, rel=1e-9)
    assert sliced_wasserstein(A, B, directions=3 * DIRECTIONS).value == pytest.approx(0.8100925873, rel=1e-9)
    value = normal_distance([0, 0], [[2, 0.5], [0.5, 1]], [1, 0], np.eye(2)).value
    assert value == pytest.approx(1.1170685044, rel=1e-9)


@settings(max_examples=15)
@given(st.integers(0, 2**31), st.integers(1, 7), st.integers(1, 7), st.sampled_from([1.0, 1.5, 2.0]))
def test_line_and_program_agree(seed, n, m, p):
    rng = np.random.default_rng(seed)
    x, y = np.round(rng.normal(size=n), 1), np.round(rng.normal(size=m), 1)
    wx, wy = rng.integers(0, 4, n) + np.eye(n)[0], rng.integers(0, 4, m) + np.eye(m)[0]
    for weights in ({}, {"weights_x": wx, "weights_y": wy}):
        line = line_distance(x, y, p=p, **weights).value
        plane = wasserstein_distance(np.c_[x, 0 * x], np.c_[y, 0 * y], p=p, **weights).value
        assert line == pytest.approx(plane, rel=1e-6, abs=1e-7)
        if p == 1:
            scipys = scipy.stats.wasserstein_distance(x, y, *weights.values())
            assert line == pytest.approx(scipys, rel=1e-9, abs=1e-12)
    if n == m:
        best = min(np.mean(np.abs(x - y[list(s)]) ** p) for s in itertools.permutations(range(n))) if n < 6 else None
        if best is not None:
            assert line_distance(x, y, p=p).value == pytest.approx(best ** (1 / p), rel=1e-9, abs=1e-12)


def test_repeated_points_are_weights():
    repeated = np.repeat(A, [1, 3, 2], axis=0)
    weighted = wasserstein_distance(A, B, weights_x=[1, 3, 2]).value
    assert weighted == pytest.approx(wasserstein_distance(repeated, B).value, rel=1e-8)
    other = wasserstein_distance(repeated, np.repeat(B, [2, 2, 1, 1], axis=0)).value  # an assignment
    assert wasserstein_distance(A, B, weights_x=[1, 3, 2], weights_y=[2, 2, 1, 1]).value == pytest.approx(
        other, rel=1e-8
    )


def test_translation_and_equality():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3))
    shift = np.array([1.0, -2.0, 0.5])
    assert wasserstein_distance(x, rng.permutation(x)).value == 0
    assert wasserstein_distance(x, x + shift).value == pytest.approx(np.linalg.norm(shift), rel=1e-9)
    # Sliced: E (theta . shift)^2 = |shift|^2 / d; the error it reports covers, 6 of them.
    sliced = sliced_wasserstein(x, x + shift, key=KEY)
    assert abs(sliced.value - np.linalg.norm(shift) / np.sqrt(3)) < 6 * sliced.standard_error + 1e-9
    assert sliced.standard_error < 0.02
    assert sliced_wasserstein(x, x, key=KEY).value == 0
    assert sliced_wasserstein(x[:, 0], x[:, 1]).value == pytest.approx(line_distance(x[:, 0], x[:, 1], p=2).value)


def test_max_sliced_finds_the_direction():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(1000, 8)), rng.normal(size=(1000, 8))
    wanted = np.array([1.0, 1, 0, 0, -1, 0, 0, 0]) / np.sqrt(3)
    found = max_sliced_wasserstein(x, y + wanted, key=KEY)
    assert abs(found.direction @ wanted) > 0.97
    assert np.linalg.norm(found.direction) == pytest.approx(1)
    # Ascent improves on the best of the starts.
    start = max_sliced_wasserstein(x, y + wanted, key=KEY, steps=0)
    assert found.in_sample > start.in_sample
    # Of one law, what the search found is optimistic, and what is held out is less so.
    same = max_sliced_wasserstein(x[:100], y[:100], key=KEY)
    assert same.in_sample > 1.2 * same.value
    assert max_sliced_wasserstein(A, A, key=KEY).direction.shape == (2,)


def test_normal_distance_special_cases():
    assert normal_distance(0.0, 4.0, 3.0, 1.0).value == pytest.approx(np.sqrt(9 + 1))
    rank_one = [[1.0, 0.0], [0.0, 0.0]]
    assert normal_distance([0, 0], rank_one, [0, 0], np.eye(2)).value == pytest.approx(1.0)
    assert normal_distance([0, 0], rank_one, [0, 0], rank_one).value == 0
    rng = np.random.default_rng(2)
    first, second = (m @ m.T for m in rng.normal(size=(2, 3, 3)))
    there = normal_distance([0, 0, 0], first, [1, 2, 3], second).value
    assert there == pytest.approx(normal_distance([1, 2, 3], second, [0, 0, 0], first).value, rel=1e-9)


def test_samples_of_a_normal_law_meet_the_closed_form():
    """Between means and scales on the line; the error of W2 at n = 20000 is about 0.012, the tolerance 0.07."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=20000), 1 + 2 * rng.normal(size=15000)
    assert line_distance(x, y, p=2).value == pytest.approx(normal_distance(0, 1, 1, 4).value, abs=0.07)


def test_floor_by_reference_samples():
    """The distance of a good sample is not zero; it is ranked among those of exact samples, with an exact level."""
    rng = np.random.default_rng(4)
    reference = rng.normal(size=(50, 3))

    def measure(points):
        return wasserstein_distance(points, reference).value

    verdict = monte_carlo_test(
        rng.normal(size=(50, 3)), lambda key: jax.random.normal(key, (50, 3)), measure, key=KEY, replicates=39
    )
    assert verdict.reference.min() > 0.5
    assert verdict.p_value > 0.02
    wrong = 1.0 + 2 * rng.normal(size=(50, 3))
    bad = monte_carlo_test(wrong, lambda key: jax.random.normal(key, (50, 3)), measure, key=KEY, replicates=39)
    assert bad.p_value == 1 / 40


def test_bad_input():
    with pytest.raises(ValueError, match="order p"):
        wasserstein_distance(A, B, p=0.5)
    with pytest.raises(ValueError, match="one dimension"):
        wasserstein_distance(A, B[:, :1])
    with pytest.raises(ValueError, match="too many"):
        wasserstein_distance(np.zeros((600, 2)), np.zeros((601, 2)))
    with pytest.raises(ValueError, match="too many"):
        wasserstein_distance(np.zeros((5001, 2)), np.zeros((5001, 2)))
    with pytest.raises(ValueError, match="sums to zero"):
        line_distance([1.0, 2.0], [1.0], weights_x=[0, 0])
    with pytest.raises(ValueError, match="on the line"):
        line_distance(A, B)
    with pytest.raises(ValueError, match="finite"):
        sliced_wasserstein(A, np.where(B > 2, np.inf, B), key=KEY)
    with pytest.raises(TypeError, match="key="):
        sliced_wasserstein(A, B)
    with pytest.raises(ValueError, match="multiple of 8"):
        sliced_wasserstein(A, B, key=KEY, count=10)
    for directions in (np.zeros((1, 2)), np.ones((1, 3)), np.ones(2), np.full((1, 2), np.nan)):
        with pytest.raises(ValueError, match="directions have to"):
            sliced_wasserstein(A, B, directions=directions)
    with pytest.raises(ValueError, match="at least 2"):
        max_sliced_wasserstein(A[:1], B, key=KEY)
    with pytest.raises(ValueError, match="positive semidefinite"):
        normal_distance([0, 0], -np.eye(2), [0, 0], np.eye(2))
    with pytest.raises(ValueError, match="symmetric"):
        normal_distance([0, 0], [[1, 2], [0, 1]], [0, 0], np.eye(2))
    with pytest.raises(ValueError, match=r"covariance \(d, d\)"):
        normal_distance([0, 0], np.eye(2), [0], np.eye(2))
    with pytest.raises(ValueError, match="finite"):
        normal_distance([0, np.nan], np.eye(2), [0, 0], np.eye(2))
