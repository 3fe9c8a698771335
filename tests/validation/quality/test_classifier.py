"""Classifier two-sample tests: any classifier, exact level."""

import itertools

import jax
import numpy as np
import pytest
import scipy.stats

from ergodica.validation.quality.classifier import classifier_bets, classifier_test
from ergodica.validation.quality.random_features import random_feature_classifier

KEY = jax.random.key(0)


def by_sign(points, labels, classes, rng):
    return lambda x: np.where(x[:, :1] < 0, [[0.9, 0.1]], [[0.1, 0.9]])


def always_first(points, labels, classes, rng):
    return lambda x: np.tile([0.9, 0.1], (len(x), 1))


def test_p_value_counts_all_labellings():
    """The p-value of a fixed classifier, held against the enumeration of the labels of the held-out points."""
    x, y = np.array([-1.0, -2, -3, -4, -5, 1]), np.array([1.0, 2, 3, 4, -6, -7])
    verdict = classifier_test(x, y, key=KEY, fit=by_sign)
    hits = round(verdict.value * 6)
    # All splits of six held-out points, of which k are negative, into halves; k from the accuracy is one of few.
    possible = set()
    for k in range(7):
        says = [1] * k + [0] * (6 - k)
        laws = []
        for chosen in itertools.combinations(range(6), 3):
            laws.append(sum(says[i] if i in chosen else 1 - says[i] for i in range(6)))
        if hits in laws:
            possible.add(round(float(np.mean(np.array(laws) >= hits)), 10))
    assert round(verdict.p_value, 10) in possible
    assert verdict.exact


def test_level_over_all_splits_is_exact():
    """A classifier that ignores the labels, over every split of fixed points into samples: super-uniform, no chance."""
    pooled = np.array([-3.0, -2, -1, 1, 2, -4, 5, 6])
    for fit in (by_sign, always_first):
        p_values = np.array(
            [
                classifier_test(pooled[list(chosen)], np.delete(pooled, chosen), key=KEY, fit=fit).p_value
                for chosen in itertools.combinations(range(8), 4)
            ]
        )
        for u in np.unique(p_values):
            assert np.mean(p_values <= u) <= u + 1e-12


def test_binomial_p_value_would_be_wrong():
    """A classifier that always answers the same is right half of the time, always: a binomial p-value says 0.6."""
    rng = np.random.default_rng(0)
    verdict = classifier_test(rng.normal(size=20), rng.normal(size=20), key=KEY, fit=always_first)
    assert verdict.value == 0.5
    assert verdict.p_value == 1.0
    assert scipy.stats.binom.sf(9, 20, 0.5) < 0.6


def test_sees_differences_and_no_others():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(240, 3)), rng.normal(size=(250, 3))
    assert classifier_test(x, y, key=KEY).p_value > 0.01
    assert classifier_test(x, y + np.array([1.5, 0, 0]), key=KEY).p_value < 1e-6
    assert classifier_test(x, 2 * y, key=KEY).p_value < 1e-6
    # Same means and variances, opposite correlations.
    turn = np.array([[1, 0.8, 0], [0, 0.6, 0], [0, 0, 1]])
    assert classifier_test(x @ turn, y @ (turn * [[1, -1, 1], [1, 1, 1], [1, 1, 1]]), key=KEY).p_value < 1e-3


def test_bets():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(160, 2)), rng.normal(size=(160, 2))
    same = classifier_bets(x, y, key=KEY, batches=3)
    assert same.log_wealth.shape == (2,)
    assert same.verdict.p_value > 1e-3
    other = classifier_bets(x, y + 1, key=KEY, batches=3)
    assert other.verdict.p_value < 1e-6
    assert other.verdict.exact
    assert other.verdict.outcome(1e-6).false_alarm == 1e-6
    assert not other.verdict.outcome(1e-6).passed


def test_each_bet_is_fair():
    """Swapping the points of the pairs of a batch in all ways gives wealth of mean one, for any classifier."""
    x, y = np.array([-1.0, 2.0, -0.3]), np.array([1.5, -0.5, 0.7])

    def steep(points, labels, classes, rng):
        def predict(z):
            p = 1 / (1 + np.exp(3 * z[:, 0]))
            return np.stack([p, 1 - p], axis=1)

        return predict

    wealth = []
    for swaps in itertools.product([False, True], repeat=2):
        swap = np.array([False, *swaps])
        a, b = np.where(swap, y, x), np.where(swap, x, y)
        wealth.append(np.exp(classifier_bets(a, b, key=KEY, fit=steep, batches=3).log_wealth[-1]))
    assert np.mean(wealth) == pytest.approx(1, rel=1e-12)
    assert max(wealth) > 1.1


def test_default_classifier_learns_and_bears_constant_coordinates():
    rng = np.random.default_rng(3)
    points = np.c_[np.r_[rng.normal(size=200) - 3, rng.normal(size=200) + 3, rng.normal(size=200) + 9], np.ones(600)]
    labels = np.repeat([0, 1, 2], 200)
    probabilities = random_feature_classifier(points, labels, 3, rng)(points)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert np.mean(probabilities.argmax(axis=1) == labels) > 0.98


def test_bad_input():
    x = np.arange(8.0)
    with pytest.raises(ValueError, match="at least 4"):
        classifier_test(x[:3], x, key=KEY)
    with pytest.raises(ValueError, match="one dimension"):
        classifier_test(x, x.reshape(4, 2), key=KEY)
    with pytest.raises(ValueError, match="probabilities of shape"):
        classifier_test(x, x, key=KEY, fit=lambda *_: lambda z: z)
    with pytest.raises(ValueError, match="at least 10 points"):
        classifier_bets(x, x, key=KEY)
    with pytest.raises(ValueError, match="batches"):
        classifier_bets(x, x, key=KEY, batches=1)
