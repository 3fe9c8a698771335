"""Decisions from several strings of a model, with strings that spread evenly over its law."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, PRNGKeyArray

from ergodica.samplers import inputs, random
from ergodica.samplers.sequences.structured.arithmetic import ArithmeticSampling, Law

__all__ = ["QuasiRandomMean", "majority", "minimum_bayes_risk", "quasi_random_mean"]


class QuasiRandomMean(NamedTuple):
    """A mean over a model's law with its error.

    Parameters
    ----------
    mean
        The estimate.
    standard_error
        Estimated from the spread between the independent sets; NaN if there was one set only.
    means
        Mean of each set, shape ``(repeats, ...)``.
    """

    mean: Float[np.ndarray, "..."]
    standard_error: Float[np.ndarray, "..."]
    means: Float[np.ndarray, "repeats ..."]


def quasi_random_mean(
    key: PRNGKeyArray,
    law: Law,
    function: Callable[[tuple[int, ...]], Any],
    sampling: ArithmeticSampling,
    repeats: int = 1,
) -> QuasiRandomMean:
    """Estimate the mean of a function of strings from sets of evenly spread strings.

    The strings of one set depend on each other, so that their spread tells nothing about the error of their mean; sets
    with independent offsets do. Each mean is unbiased. Its variance is usually less than that of as many independent
    strings; for some functions it is more, since nothing relates the order of the vocabulary to the function.

    Parameters
    ----------
    key
        Typed key.
    law
        ``law(prefix)`` returns the weights of the next token.
    function
        Takes a string, a tuple of tokens without padding, to a number or an array.
    sampling
        How many strings a set has, and of what length.
    repeats
        Number of sets.

    Returns
    -------
    QuasiRandomMean

    References
    ----------
    A. Parashar et al., 2024, Quasi-random multi-sample inference for large language models, arXiv 2411.06251.
    """
    repeats = inputs.static_count("repeats", repeats)
    means = []
    for index in range(repeats):
        strings = sampling.draw(random.fold_in(key, index), law)
        values = [function(tuple(string[string >= 0].tolist())) for string in strings]
        means.append(np.mean(np.asarray(values, np.float64), axis=0))
    stacked = np.stack(means)
    spread = np.std(stacked, axis=0, ddof=1) / np.sqrt(repeats) if repeats > 1 else np.full(stacked.shape[1:], np.nan)
    return QuasiRandomMean(stacked.mean(axis=0), np.asarray(spread), stacked)


def majority(answers: Sequence[Hashable]) -> Hashable:
    """Return the most frequent answer (self-consistency); of equally frequent ones, the first that occurred.

    Raises
    ------
    ValueError
        If there are no answers.
    """
    if not answers:
        raise ValueError("majority needs at least one answer; got none")
    counts: dict[Hashable, int] = {}
    for answer in answers:
        counts[answer] = counts.get(answer, 0) + 1
    return max(counts, key=lambda answer: counts[answer])


def minimum_bayes_risk(strings: Sequence[Any], utility: Callable[[Any, Any], float]) -> Any:
    """Return the string with the largest mean utility against all others in the sample.

    Parameters
    ----------
    strings
        The sample, which is also the set of candidates.
    utility
        ``utility(candidate, reference)``.

    Raises
    ------
    ValueError
        If there are no strings.
    """
    if not strings:
        raise ValueError("minimum_bayes_risk needs at least one string; got none")
    return max(strings, key=lambda candidate: sum(utility(candidate, reference) for reference in strings))
