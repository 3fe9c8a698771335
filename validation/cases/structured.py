"""Rows of the catalogue for structured draws: codes, subsets, trees, orders, powers."""

import itertools
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.sequences.structured.arithmetic import ArithmeticSampling
from ergodica.samplers.sequences.structured.cautious import CautiousDecoding
from ergodica.samplers.sequences.structured.priority import PrioritySearch
from ergodica.samplers.sequences.structured.stochastic_beam_search import StochasticBeamSearch
from ergodica.samplers.sequences.structured.without_replacement import MurthyWeights, RajWeights, ThresholdWeights
from ergodica.validation.cases import categorical_draws, string_kernels, target_transforms
from ergodica.validation.cases.categorical_draws import exact_outcome
from ergodica.validation.cases.string_kernels import strings_of
from ergodica.validation.enumeration import enumerate_law
from ergodica.validation.evidence import Case, Check, Outcome
from ergodica.validation.sequential import sequential
from ergodica.validation.stationary_start import binomial_pvalue

_ROUNDING = 1e-12

# --- models of strings -----------------------------------------------------------------------------------------------

TREE = {
    (): (Fraction(1, 2), Fraction(3, 10), Fraction(1, 5)),
    (0,): (Fraction(1, 7), Fraction(2, 7), Fraction(4, 7)),
    (1,): (Fraction(1, 3), Fraction(2, 3), Fraction(0)),
}
"""A model of strings of at most two tokens, in fractions; token 2 ends a string."""


def tree_law(prefix: tuple[int, ...]) -> np.ndarray:
    """Return the law after a prefix of :data:`TREE`."""
    return np.array(TREE[prefix], dtype=object)


# --- arithmetic sampling ---------------------------------------------------------------------------------------------


def offsets(n: int, law: Any, length: int, end: int | None) -> list[tuple[Fraction, Fraction]]:
    """Return intervals of the offset on which ``n`` strings do not change."""
    running, ends = Fraction(0), {Fraction(0), Fraction(1)}
    for _, probability in strings_of(law, length, end):
        running += probability
        ends.add(n * running % 1)
    points = sorted(ends)
    return list(itertools.pairwise(points))


def _even_spread(subject: Any, key: PRNGKeyArray) -> Outcome:
    """Integrate over the offset: each prefix's share of the strings, and its counts."""
    del key
    law, worst, uneven = dict(strings_of(tree_law, 2, 2)), Fraction(0), 0
    for n in (1, 2, 3, 7):
        sampler = type(subject)(n, 2, end=2)
        share = dict.fromkeys(law, Fraction(0))
        for low, high in offsets(n, tree_law, 2, 2):
            strings = [tuple(row[row >= 0].tolist()) for row in sampler.at(tree_law, (low + high) / 2)]
            for string in strings:
                share[string] = share.get(string, Fraction(0)) + (high - low) / n
            for prefix in {string[:size] for string in law for size in (1, 2)}:
                wanted = n * sum(p for string, p in law.items() if string[: len(prefix)] == prefix)
                count = sum(string[: len(prefix)] == prefix for string in strings)
                uneven += abs(count - wanted) >= 1
        worst = max(worst, max(abs(share[string] - law.get(string, 0)) for string in share))
    return exact_outcome(
        worst + uneven, f"a string's share is off by {float(worst):.3g}; {uneven} counts are not n P rounded"
    )


def _fair_coin(prefix: tuple[int, ...]) -> list[float]:
    del prefix
    return [0.5, 0.5]


def _deep_codes(subject: Any, key: PRNGKeyArray) -> Outcome:
    """Decode long strings of fair coins: tokens beyond the bits of a float have to be as fair as the first."""

    def pvalue(key: PRNGKeyArray, n: int) -> dict[str, float]:
        strings = type(subject)(2, n).draw(key, _fair_coin)
        ones = strings[:, 60:].sum(axis=1)
        return {f"code {row}": binomial_pvalue(int(count), n - 60, 0.5) for row, count in enumerate(ones)}

    return sequential(pvalue, key, n=260)


# --- without replacement ---------------------------------------------------------------------------------------------

FOUR = np.array([Fraction(1, 2), Fraction(1, 4), Fraction(3, 20), Fraction(1, 10)], dtype=object)


def ordered_samples(p: np.ndarray, k: int) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Yield the ordered samples without replacement with their probabilities."""
    for sample in itertools.permutations(range(p.size), k):
        probability, left = Fraction(1), Fraction(1)
        for token in sample:
            probability, left = probability * p[token] / left, left - p[token]
        yield sample, probability


def _unbiased_in_fractions(subject: Any, key: PRNGKeyArray) -> Outcome:
    del key
    worst = Fraction(0)
    for k in (1, 2, 3, 4):
        mean = 0 * FOUR
        for sample, probability in ordered_samples(FOUR, k):
            mean[list(sample)] += probability * subject.weights(FOUR[list(sample)], np.array(sample))
        worst = max(worst, np.abs(mean - FOUR).max())
    return exact_outcome(worst, f"the mean weights are off by {float(worst):.3g}")


def threshold_nodes() -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights for integrals over the time of the first clock outside the sample."""
    x, w = np.polynomial.legendre.leggauss(48)
    x, w = (x + 1) / 2, w / 2
    return x / (1 - x), w / (1 - x) ** 2


def threshold_samples(p: np.ndarray, k: int) -> Iterator[tuple[list[int], float, float]]:
    """Yield the sets of ``k`` outcomes with a threshold and the density of both, times the node's weight."""
    for members in itertools.combinations(range(p.size), k):
        rest = p[[token for token in range(p.size) if token not in members]].sum()
        for time, weight in zip(*threshold_nodes(), strict=True):
            density = rest * np.exp(-time * rest) * np.prod(-np.expm1(-time * p[list(members)]))
            yield list(members), -np.log(time), weight * density


def _unbiased_by_quadrature(subject: Any, key: PRNGKeyArray) -> Outcome:
    del key
    p, f = FOUR.astype(np.float64), np.array([1.0, -2.0, 3.0, 5.0])
    error = 0.0
    for k in (1, 2):
        mean, second, estimated = np.zeros(4), 0.0, 0.0
        for members, threshold, density in threshold_samples(p, k):
            weights = subject.weights(p[members], None, threshold)
            mean[members] += density * weights
            second += density * (weights @ f[members]) ** 2
            estimated += density * subject.variance(p[members], f[members], threshold)
        error = max(error, np.abs(mean - p).max())
        if k > 1:
            error = max(error, abs(second - (p @ f) ** 2 - estimated))
    whole = np.abs(subject.weights(p, None, -np.inf) - p).max()
    return exact_outcome(max(error, whole), "the mean weights or the estimated variance are off", 1e-6)


def _beam_law(subject: Any, key: PRNGKeyArray) -> Outcome:
    law = [(string, float(p)) for string, p in strings_of(tree_law, 2, 2)]
    names = {string: index for index, (string, _) in enumerate(law)}
    p = np.array([probability for _, probability in law])

    def pvalue(key: PRNGKeyArray, n: int) -> dict[str, float]:
        counts = np.zeros((p.size, p.size))
        for index in range(n):
            drawn = type(subject)(2, 2, end=2).draw(random.fold_in(key, index), tree_law).strings
            first, second = (names[tuple(row[row >= 0].tolist())] for row in drawn)
            counts[first, second] += 1
        out = {}
        for first in range(p.size):
            out[f"first {law[first][0]}"] = binomial_pvalue(int(counts[first].sum()), n, p[first])
        for second in range(p.size):
            others = [first for first in range(p.size) if first != second]
            share = sum(p[first] * p[second] / (1 - p[first]) for first in others)
            out[f"second {law[second][0]}"] = binomial_pvalue(int(counts[:, second].sum()), n, share)
        return out

    return sequential(pvalue, key, n=400)


def _all_strings(subject: Any, key: PRNGKeyArray) -> Outcome:
    """Ask for more strings than there are: each comes once, and means are exact."""
    law = dict(strings_of(tree_law, 2, 2))
    sample = type(subject)(len(law) + 2, 2, end=2).draw(key, tree_law)
    found = [tuple(row[row >= 0].tolist()) for row in sample.strings]
    missing = set(found) - {()} ^ set(law)
    values = np.array([float(len(string)) for string in found])
    mean = sum(float(p) * len(string) for string, p in law.items())
    error = len(missing) + abs(float(sample.mean(values)) - mean)
    return exact_outcome(error, "not every string was found once", _ROUNDING)


# --- without a law ---------------------------------------------------------------------------------------------------


def _exhausts(subject: Any, key: PRNGKeyArray) -> Outcome:
    """Ask for more strings than there are: the greedy one comes first, and each comes once."""
    del key
    law = dict(strings_of(tree_law, 2, 2))
    found = [tuple(row[row >= 0].tolist()) for row in type(subject)(len(law) + 2, 2, end=2).search(tree_law)]
    wrong = len(set(found) ^ set(law)) + len(found) - len(law) + (found[0] != (0, 2))
    # Untaken siblings by their own probability: 2/3 waits behind 1, which is taken at 3/10 only.
    wrong += found[1] != (1, 1)
    return exact_outcome(wrong, f"found {found}")


def _one_trial(subject: Any, key: PRNGKeyArray) -> Outcome:
    """With one trial, or a threshold that no entropy exceeds, the law is the model's; with three it is measured."""
    law = {string: float(p) for string, p in strings_of(tree_law, 2, 2)}

    def distance(threshold: float, trials: int) -> float:
        decoder = type(subject)(threshold, trials, (0,), 2, end=2)

        def program(key: PRNGKeyArray) -> np.ndarray:
            string = decoder.draw(key, tree_law)
            return np.array([*string, *[-1] * (2 - len(string))])

        found = enumerate_law(program, key, engine="replay")
        return 0.5 * sum(abs(found.probability([*s, *[-1] * (2 - len(s))]) - p) for s, p in law.items())

    error = max(distance(0.0, 1), distance(2.0, 2))
    return exact_outcome(error, f"the law is off by {error:.3g} where it has to be the model's", 1e-9)


CASES = (
    *target_transforms.CASES,
    *categorical_draws.CASES,
    *string_kernels.CASES,
    Case(
        "arithmetic-sampling",
        ArithmeticSampling,
        lambda: ArithmeticSampling(8, 4),
        (
            Check("exact: shares and counts of prefixes", _even_spread, 0.3),
            Check("statistics: deep codes", _deep_codes),
        ),
    ),
    Case(
        "threshold-weights",
        ThresholdWeights,
        ThresholdWeights,
        (Check("quadrature: unbiased, and so is the variance", _unbiased_by_quadrature, 0.2),),
    ),
    Case("raj-weights", RajWeights, RajWeights, (Check("exact: unbiased", _unbiased_in_fractions, 0.1),)),
    Case("murthy-weights", MurthyWeights, MurthyWeights, (Check("exact: unbiased", _unbiased_in_fractions, 0.1),)),
    Case(
        "stochastic-beam-search",
        StochasticBeamSearch,
        lambda: StochasticBeamSearch(2, 2),
        (
            Check("exact: all strings", _all_strings, 0.1),
            Check("statistics: first and second strings", _beam_law, 1.0),
        ),
    ),
    Case(
        "priority-search",
        PrioritySearch,
        lambda: PrioritySearch(4, 2),
        (Check("exact: every string once, the greedy one first", _exhausts, 0.1),),
    ),
    Case(
        "cautious-decoding",
        CautiousDecoding,
        lambda: CautiousDecoding(0.5, 3, (0,), 2, end=2),
        (Check("exact: one trial is the model", _one_trial, 0.5),),
    ),
)
