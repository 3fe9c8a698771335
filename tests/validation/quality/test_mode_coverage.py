"""Mode coverage, and the false-alarm probability of a missing mode."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from ergodica.validation.quality.mode_coverage import mode_coverage, nearest_mode


def test_assignment():
    points = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 1.6], [50.0, 50.0]])
    centres = np.array([[0.0, 0.0], [5.0, 0.0]])
    np.testing.assert_array_equal(nearest_mode(jnp.asarray(points), centres), [0, 1, 0, 1])
    np.testing.assert_array_equal(nearest_mode(points, centres, radius=2), [0, 1, 0, -1])
    # Wide in the first coordinate: the first mode now reaches to the second point.
    wide = np.stack([np.diag([100.0, 1.0]), np.eye(2)])
    np.testing.assert_array_equal(nearest_mode(points, centres, covariances=wide), [0, 0, 0, 0])
    np.testing.assert_array_equal(nearest_mode([-1.0, 3.0], [0.0, 4.0]), [0, 1])


def test_numbers_by_hand():
    result = mode_coverage([0, 0, 0, 1, -1], [0.5, 0.25, 0.25])
    np.testing.assert_allclose(result.fractions, [0.6, 0.2, 0])
    assert result.outside == pytest.approx(0.2)
    assert result.value == pytest.approx(0.5 * (0.1 + 0.05 + 0.25 + 0.2))
    perfect = mode_coverage([0, 1, 1, 2], [1, 2, 1])
    assert perfect.value == 0
    assert perfect.coverage == pytest.approx(1)
    assert mode_coverage([0, 1], [1, 1]).entropy == pytest.approx(1)
    assert mode_coverage([0, 0], [1, 1]).entropy == 0
    assert mode_coverage([1, 1], [1, 0]).coverage == pytest.approx(0)
    single = mode_coverage([0, 0], [1.0])
    assert (single.entropy, single.coverage, single.missing, single.p_value) == (1.0, 1.0, (), 1.0)


@pytest.mark.parametrize(("n", "level"), [(50, 1e-6), (50, 1e-2), (200, 1e-6)])
def test_false_alarm_is_bounded_and_the_threshold_is_sharp(n, level):
    """By the binomial law: the counts that accuse a mode have probability at most its share of the level."""
    weight, accused = 0.3, 0.0
    for count in range(n + 1):
        labels = np.r_[np.zeros(count, int), np.ones(n - count, int)]
        if 0 in mode_coverage(labels, [weight, 1 - weight], level=level).missing:
            accused += scipy.stats.binom.pmf(count, n, weight)
            last = count
    assert 0 < accused <= level / 2
    assert scipy.stats.binom.cdf(last + 1, n, weight) > level / 2


def test_missing_modes():
    labels = np.zeros(100, int)
    result = mode_coverage(labels, [0.5, 0.5, 0.0])
    assert result.missing == (1,)
    assert result.p_value == pytest.approx(2 * 0.5**100, rel=1e-9)
    assert result.exact
    # One chain that never left its mode is worth one point, and accuses nobody.
    stuck = mode_coverage(labels, [0.5, 0.5], effective_size=1)
    assert stuck.missing == ()
    assert not stuck.exact


def test_bad_input():
    for arguments, message in (
        (([], [1.0]), "non-empty vector"),
        (([0.0, 1.0], [1, 1]), "non-empty vector of integers"),
        (([0, 2], [1, 1]), "has to lie in -1"),
        (([0, -2], [1, 1]), "has to lie in -1"),
        (([0], [0.0, 0.0]), "sums to zero"),
        (([0], []), "one for each mode"),
        (([0], [np.nan, 1]), "finite"),
    ):
        with pytest.raises(ValueError, match=message):
            mode_coverage(*arguments)
    with pytest.raises(ValueError, match="effective_size"):
        mode_coverage([0, 1], [1, 1], effective_size=3)
    with pytest.raises(ValueError, match="level"):
        mode_coverage([0, 1], [1, 1], level=0.0)
    with pytest.raises(ValueError, match="one dimension"):
        nearest_mode([[0.0, 1.0]], [0.0])
    with pytest.raises(ValueError, match="radius"):
        nearest_mode([0.0], [0.0], radius=0)
    with pytest.raises(ValueError, match="positive definite"):
        nearest_mode([0.0], [0.0], covariances=[[-1.0]])
    with pytest.raises(ValueError, match="covariances have to have shape"):
        nearest_mode([0.0], [0.0], covariances=np.eye(2))
