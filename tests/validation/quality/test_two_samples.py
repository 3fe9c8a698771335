"""Maximum mean discrepancy, energy distance, and their permutation tests."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from scipy.spatial.distance import cdist

from ergodica.validation.quality.energy_distance import energy_distance, energy_test
from ergodica.validation.quality.kernels import (
    Gaussian,
    InverseMultiquadric,
    KernelMatrix,
    NegativeDistance,
    median_scales,
)
from ergodica.validation.quality.maximum_mean_discrepancy import (
    cross_discrepancy_test,
    maximum_mean_discrepancy,
    maximum_mean_discrepancy_test,
)
from ergodica.validation.quality.permutation import mean_discrepancies, splits

A = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0]])
B = np.array([[0.5, 0.0], [1.0, -1.0], [3.0, 1.0], [0.0, 2.0]])
KEY = jax.random.key(0)


def test_golden():
    unit = Gaussian(1.0)
    biased = maximum_mean_discrepancy(A, jnp.asarray(B), kernel=unit, estimator="biased")
    assert biased.value == pytest.approx(0.2585536932, rel=1e-9)
    assert maximum_mean_discrepancy(A, B, kernel=unit).value == pytest.approx(-0.1982774401, rel=1e-9)
    verdict = maximum_mean_discrepancy_test(A, B, key=KEY, kernel=unit, permutations=35)
    assert verdict.p_value == pytest.approx(0.9142857143, rel=1e-9)
    assert verdict.value == pytest.approx(-0.1982774401, rel=1e-9)
    assert verdict.exact
    assert energy_distance(A, B).value == pytest.approx(0.5098044088, rel=1e-9)


def test_energy_distance_is_a_mean_discrepancy():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(31, 3)), rng.normal(size=(17, 3)) + 1
    by_hand = 2 * cdist(x, y).mean() - cdist(x, x).mean() - cdist(y, y).mean()
    assert energy_distance(x, y).value == pytest.approx(by_hand, rel=1e-12)
    for estimator in ("biased", "unbiased"):
        other = maximum_mean_discrepancy(x, y, kernel=NegativeDistance(), estimator=estimator).value
        assert energy_distance(x, y, estimator=estimator).value == pytest.approx(other, rel=1e-12)
    # On the line it is twice the squared distance of the distribution functions.
    line = energy_distance(x[:, 0], y[:, 0]).value
    assert line == pytest.approx(scipy.stats.energy_distance(x[:, 0], y[:, 0]) ** 2, rel=1e-10)


@pytest.mark.parametrize("kernel", [Gaussian((0.5, 2.0)), InverseMultiquadric((1.0, 3.0)), NegativeDistance()])
@pytest.mark.parametrize("dim", [1, 4, 7])
def test_blocks_are_the_kernel(kernel, dim):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(300, dim)), rng.normal(size=(521, dim))
    matrix = kernel(cdist(x, y, "sqeuclidean"))
    blocks = KernelMatrix(x, y, kernel)
    np.testing.assert_allclose(np.concatenate([b for _, b in blocks.blocks()]), matrix, rtol=1e-10, atol=1e-12)
    wx, wy = rng.random(300), rng.random(521)
    np.testing.assert_allclose(blocks.row_sums(wy), matrix @ wy, rtol=1e-9)
    rows, columns = blocks.both_sums(wx, wy)
    np.testing.assert_allclose(rows, matrix @ wy, rtol=1e-9)
    np.testing.assert_allclose(columns, wx @ matrix, rtol=1e-9)


def test_kernels_by_hand():
    assert Gaussian((1.0, 2.0))(np.array([4.0]))[0] == pytest.approx(np.exp(-2) + np.exp(-0.5))
    assert InverseMultiquadric(2.0)(np.array([12.0]))[0] == pytest.approx(0.5)
    for scales in (0.0, -1.0, np.nan, ()):
        with pytest.raises(ValueError, match="length scales"):
            Gaussian(scales)


def test_weights_repeat_points():
    x = np.repeat(A, [1, 3, 2], axis=0)
    for kernel in (Gaussian(1.0), NegativeDistance()):
        repeated = maximum_mean_discrepancy(x, B, kernel=kernel, estimator="biased").value
        weighted = maximum_mean_discrepancy(A, B, kernel=kernel, estimator="biased", weights_x=[1, 3, 2])
        assert weighted.value == pytest.approx(repeated, rel=1e-12)
        assert weighted.standard_error is None
    assert energy_distance(A, B, weights_x=[1, 3, 2]).value == pytest.approx(energy_distance(x, B).value, rel=1e-12)


def test_population_values():
    """Within 5.5 standard errors (normal tail 4e-8) of the closed forms; also tells the two values apart from zero."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(2000, 2)), rng.normal(size=(2000, 2))
    shifted = maximum_mean_discrepancy(x, y + np.array([0.5, 0]), kernel=Gaussian(1.0))
    assert abs(shifted.value - 0.0272070286) < 5.5 * shifted.standard_error
    assert shifted.value > 5.5 * shifted.standard_error
    scaled = maximum_mean_discrepancy(x, np.sqrt(1.2) * y, kernel=Gaussian(1.0))
    assert abs(scaled.value - 0.0024509804) < 5.5 * scaled.standard_error


def test_population_value_by_quadrature():
    def phi(v, m2, d=2):
        return (1 / (1 + v)) ** (d / 2) * np.exp(-m2 / (2 * (1 + v)))

    assert phi(2, 0) + phi(2, 0) - 2 * phi(2, 0.25) == pytest.approx(0.0272070286, rel=1e-8)
    # 1.2 is the variance of the second law: v = 2, 2.4 and 2.2.
    assert phi(2, 0) + phi(2.4, 0) - 2 * phi(2.2, 0) == pytest.approx(0.0024509804, rel=1e-7)


@pytest.mark.parametrize("unbiased", [True, False])
def test_every_split_by_brute_force(unbiased):
    pooled = np.concatenate([A, B])
    labels, complete = splits(3, 4, 35, np.random.default_rng(0))
    assert complete
    assert labels.shape == (7, 35)
    values = mean_discrepancies(pooled, Gaussian(1.0), labels, unbiased=unbiased)
    estimator = "unbiased" if unbiased else "biased"
    for column, chosen in enumerate(itertools.combinations(range(7), 3)):
        rest = [i for i in range(7) if i not in chosen]
        direct = maximum_mean_discrepancy(pooled[list(chosen)], pooled[rest], kernel=Gaussian(1.0), estimator=estimator)
        assert values[column] == pytest.approx(direct.value, rel=1e-10, abs=1e-13)


@pytest.mark.parametrize("sizes", [(3, 4), (4, 4), (2, 5)])
def test_level_over_all_splits_is_exact(sizes):
    """Given the pooled points all splits are equally probable: the p-value is super-uniform over them. No chance."""
    n, m = sizes
    rng = np.random.default_rng(3)
    pooled = np.round(rng.normal(size=(n + m, 2)), 1)
    p_values = []
    for chosen in itertools.combinations(range(n + m), n):
        rest = [i for i in range(n + m) if i not in chosen]
        x, y = pooled[list(chosen)], pooled[rest]
        p_values.append(
            (
                maximum_mean_discrepancy_test(x, y, key=KEY, permutations=100).p_value,
                energy_test(x, y, key=KEY, permutations=100).p_value,
            )
        )
    for column in np.asarray(p_values).T:
        for u in np.unique(column):
            assert np.mean(column <= u) <= u + 1e-12


def test_random_splits_have_the_right_size_and_see_a_shift():
    labels, complete = splits(40, 60, 50, np.random.default_rng(0))
    assert not complete
    np.testing.assert_array_equal(labels.sum(axis=0, dtype=int), 40)
    np.testing.assert_array_equal(labels[:, 0], [1] * 40 + [0] * 60)
    assert len(np.unique(labels, axis=1).T) == 51
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(100, 3)), rng.normal(size=(120, 3))
    for test in (maximum_mean_discrepancy_test, energy_test):
        assert test(x, y, key=KEY, permutations=199).p_value > 0.01
        assert test(x, y + 0.7, key=KEY, permutations=199).p_value == 1 / 200


def test_median_choice_does_not_look_at_labels():
    rng = np.random.default_rng(5)
    pooled = rng.normal(size=(40, 2))
    first = median_scales(pooled, np.random.default_rng(0))
    assert first == pytest.approx(median_scales(pooled[::-1], np.random.default_rng(0)))
    assert first[2] == pytest.approx(np.median(scipy.spatial.distance.pdist(pooled)))


def test_cross_statistic_by_hand_and_labelled_asymptotic():
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(60, 2)), rng.normal(size=(50, 2)) + 1
    verdict = cross_discrepancy_test(x, y, key=KEY, kernel=Gaussian(1.0))
    assert verdict.p_value < 1e-3
    assert verdict.p_value == pytest.approx(scipy.stats.norm.sf(verdict.value))
    assert not verdict.exact
    assert verdict.outcome(0.05).false_alarm is None


@pytest.mark.slow
def test_size_of_the_cross_statistic():
    """0.043 at 0.05 in the reference; 0.09 is the binomial bound for 1000 repeats of size 0.05 at 1e-6."""
    rng = np.random.default_rng(7)
    p_values = [
        cross_discrepancy_test(
            rng.normal(size=(100, 2)), rng.normal(size=(100, 2)), key=jax.random.key(i), kernel=Gaussian(1.0)
        ).p_value
        for i in range(1000)
    ]
    assert np.mean(np.array(p_values) <= 0.05) < 0.09
    assert np.mean(np.array(p_values) <= 0.01) < 0.03
    assert np.mean(np.array(p_values) <= 0.5) == pytest.approx(0.5, abs=0.08)


def test_constant_samples():
    same = np.ones((4, 2))
    assert energy_distance(same, same).value == 0
    assert energy_test(same, same, key=KEY).p_value == 1
    assert maximum_mean_discrepancy_test(same, same, key=KEY, kernel=Gaussian(1.0)).p_value == 1
    with pytest.raises(ValueError, match="median distance of the pooled"):
        maximum_mean_discrepancy_test(same, same, key=KEY)
    with pytest.raises(ValueError, match="witness function is constant"):
        cross_discrepancy_test(same, same, key=KEY, kernel=Gaussian(1.0))


def test_bad_input():
    with pytest.raises(ValueError, match="one dimension"):
        energy_distance(A, B[:, :1])
    with pytest.raises(ValueError, match="at least 1 points"):
        energy_distance(np.empty((0, 2)), B)
    with pytest.raises(ValueError, match="at least 2 points"):
        energy_test(A[:1], B, key=KEY)
    with pytest.raises(ValueError, match="finite"):
        maximum_mean_discrepancy(A, B * np.nan, kernel=Gaussian(1.0))
    with pytest.raises(ValueError, match="estimator"):
        energy_distance(A, B, estimator="u")
    with pytest.raises(ValueError, match="estimator"):
        maximum_mean_discrepancy(A, B, kernel=Gaussian(1.0), estimator="u")
    with pytest.raises(ValueError, match="sums to zero"):
        energy_distance(A, B, weights_x=[0, 0, 0])
    with pytest.raises(ValueError, match="two points with positive weight"):
        energy_distance(A, B, weights_x=[0, 1, 0], estimator="unbiased")
    with pytest.raises(ValueError, match="two points with positive weight"):
        maximum_mean_discrepancy(A, B, kernel=Gaussian(1.0), weights_x=[0, 1, 0])
    with pytest.raises(TypeError, match="typed key"):
        energy_test(A, B, key=jnp.zeros(2, jnp.uint32))
    with pytest.raises(ValueError, match="permutations"):
        energy_test(A, B, key=KEY, permutations=0)
