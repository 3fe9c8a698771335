"""Classifier two-sample tests: two laws differ as far as a classifier can tell their draws apart."""

import dataclasses
import itertools

import numpy as np
import scipy.special
import scipy.stats
from jaxtyping import Float, PRNGKeyArray
from numpy.typing import ArrayLike

from ergodica.samplers.inputs import static_count
from ergodica.validation.quality.generator import generator_of
from ergodica.validation.quality.random_features import Fit, Predict, random_feature_classifier
from ergodica.validation.quality.sample import same_dimension
from ergodica.validation.quality.verdict import Verdict


def _train(fit: Fit, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], rng: np.random.Generator) -> Predict:
    labels = np.concatenate([np.zeros(len(x), int), np.ones(len(y), int)])
    return fit(np.concatenate([x, y]), labels, 2, rng)


def _probability_of_x(predict: Predict, points: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    probabilities = np.asarray(predict(points), np.float64)
    if probabilities.shape != (len(points), 2) or not np.all(probabilities >= 0):
        raise ValueError(
            f"the classifier has to return probabilities of shape ({len(points)}, 2); got {probabilities.shape}"
        )
    return np.asarray(probabilities[:, 0] / probabilities.sum(axis=1))


def classifier_test(x: ArrayLike, y: ArrayLike, *, key: PRNGKeyArray, fit: Fit = random_feature_classifier) -> Verdict:
    """Test whether two samples of independent draws have one law, by the accuracy of a classifier on held-out halves.

    The p-value is Fisher's: given the predictions, all ways to label the held-out points are equally probable, so the
    number of hits is hypergeometric. With fixed numbers of points of each class the hits are not binomial: for a
    classifier that always answers the same they are constant.

    Parameters
    ----------
    x, y
        Independent draws, shapes ``(n, d)`` and ``(m, d)``; at least four each. The larger sample is cut at random to
        the size of the smaller one, so that an accuracy of 1/2 means nothing was learnt.
    key
        Typed key of the halves and of the classifier.
    fit
        How the classifier is trained; default: :func:`.random_features.random_feature_classifier`. The level holds for
        any.

    Returns
    -------
    Verdict
        Its value is the accuracy, with its binomial standard error.

    Raises
    ------
    TypeError, ValueError
        If a sample is not fit, the dimensions differ, or the classifier returns no probabilities.

    References
    ----------
    David Lopez-Paz and Maxime Oquab (2017), Revisiting classifier two-sample tests, arXiv:1610.06545.
    """
    first, second = same_dimension(x, y, at_least=4)
    rng = generator_of(key)
    size = min(len(first), len(second))
    first, second = rng.permutation(first)[:size], rng.permutation(second)[:size]
    half = size // 2
    predict = _train(fit, first[:half], second[:half], rng)
    held = size - half
    says_x = _probability_of_x(predict, np.concatenate([first[half:], second[half:]])) > 0.5
    right_x, said = int(says_x[:held].sum()), int(says_x.sum())
    hits = right_x + held - (said - right_x)
    accuracy = hits / (2 * held)
    law = scipy.stats.hypergeom(2 * held, held, said)
    return Verdict(
        value=accuracy,
        p_value=float(np.clip(law.sf(right_x - 1), np.finfo(float).tiny, 1.0)),
        exact=True,
        guarantee="hypergeometric hits on held-out points; P(p <= u) <= u for every size and classifier",
        resolution=float(
            max(np.exp(-scipy.special.gammaln(2 * held + 1) + 2 * scipy.special.gammaln(held + 1)), 1e-300)
        ),
        method="accuracy of a classifier on held-out points",
        standard_error=float(np.sqrt(max(accuracy * (1 - accuracy), 0) / (2 * held))),
    )


@dataclasses.dataclass(frozen=True)
class ClassifierBets:
    """A classifier's wealth from bets on which point of a pair is from which sample.

    Parameters
    ----------
    log_wealth
        Log of the e-process after every batch, from the second on. It may be watched, and stopped at any time.
    verdict
        The test by its largest value: ``P(the wealth ever reaches 1 / u) <= u``.
    """

    log_wealth: Float[np.ndarray, " batches"]
    verdict: Verdict


def classifier_bets(
    x: ArrayLike,
    y: ArrayLike,
    *,
    key: PRNGKeyArray,
    fit: Fit = random_feature_classifier,
    batches: int = 10,
) -> ClassifierBets:
    """Test whether two samples of independent draws have one law, by an e-process: all points train, then test.

    Pairs ``(x_t, y_t)`` come in batches. A classifier trained on the past batches gives the probability ``q`` that the
    pair is in this order and not swapped; half of the wealth is staked on it, which multiplies it by ``1/2 + q``. Under
    the null hypothesis both orders are equally probable, so each factor has mean one.

    Parameters
    ----------
    x, y
        Independent draws, shapes ``(n, d)`` and ``(m, d)``, in random order; the surplus of the larger one is not used.
    key
        Typed key of the classifier.
    fit
        How the classifier is trained. The level holds for any.
    batches
        Number of batches, at least two; the first one only trains.

    Raises
    ------
    TypeError, ValueError
        If a sample is not fit, the dimensions differ, or there are fewer pairs than batches.

    References
    ----------
    Aleksandr Podkopaev and Aaditya Ramdas (2023), Sequential predictive two-sample and independence testing,
    arXiv:2305.00143.
    """
    static_count("batches", batches, at_least=2)
    first, second = same_dimension(x, y, at_least=batches)
    rng = generator_of(key)
    ends = np.linspace(0, min(len(first), len(second)), batches + 1).astype(int)
    logs = []
    for start, stop in itertools.pairwise(ends[1:]):
        predict = _train(fit, first[:start], second[:start], rng)
        tiny = 1e-12
        for_x = np.clip(_probability_of_x(predict, first[start:stop]), tiny, 1 - tiny)
        for_y = np.clip(_probability_of_x(predict, second[start:stop]), tiny, 1 - tiny)
        gap = np.log(for_x) - np.log1p(-for_x) - np.log(for_y) + np.log1p(-for_y)
        # Half of the wealth is not staked, so that an overconfident classifier loses slowly.
        logs.append(float(np.sum(np.log(0.5 + 1 / (1 + np.exp(-gap))))))
    wealth = np.cumsum(logs)
    smallest = float(np.finfo(float).tiny)
    largest = float(max(wealth.max(), 0.0))
    return ClassifierBets(
        wealth,
        Verdict(
            value=largest,
            p_value=max(float(np.exp(-largest)), smallest),
            exact=True,
            guarantee="e-process and Ville's inequality; P(p <= u) <= u for every size and classifier",
            resolution=max(1.5 ** -float(ends[-1] - ends[1]), smallest),
            method="log wealth of a classifier",
        ),
    )
