"""Stochastic beam search: different strings from an autoregressive law, without replacement, by one pass over a tree."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.laws import check_weights
from ergodica.samplers.claim import Claim, Exactness
from ergodica.samplers.sequences.structured.without_replacement import ThresholdWeights

__all__ = ["StochasticBeamSearch", "StringSample", "given_maximum", "host_law"]

Law = Callable[[tuple[int, ...]], Any]
"""Weights of the next token after a prefix."""


class StringSample(NamedTuple):
    """Different strings with what unbiased estimators need.

    Parameters
    ----------
    strings
        Shape ``(k, length)``, in the order of successive draws without replacement; -1 after an end, and throughout where
        the law has fewer than ``k`` strings.
    log_p
        Log probabilities of the strings, shape ``(k,)``; ``-inf`` where there is none.
    keys
        Gumbel keys, falling.
    threshold
        Largest key of a string outside the sample; ``-inf`` if there is none.
    """

    strings: Int[np.ndarray, "k length"]
    log_p: Float[np.ndarray, " k"]
    keys: Float[np.ndarray, " k"]
    threshold: float

    def mean(self, values: Any) -> Any:
        """Return an unbiased estimate of the mean of a function from its values on the strings, shape ``(k,)``."""
        weights = ThresholdWeights().weights(np.exp(self.log_p), None, self.threshold)
        return np.sum(weights * np.asarray(values))


def host_law(law: Law, prefix: tuple[int, ...]) -> Float[np.ndarray, " V"]:
    """Return the law after a prefix, checked and normalised in double precision.

    Raises
    ------
    ValueError
        If the model's weights are no law.
    """
    weights = np.asarray(law(prefix), np.float64)
    check_weights(f"law({prefix})", weights)
    weights = np.maximum(weights, 0)
    return weights / weights.sum()  # type: ignore[no-any-return]


def given_maximum(keys: Float[np.ndarray, " V"], maximum: float) -> Float[np.ndarray, " V"]:
    """Condition independent Gumbel keys on their maximum.

    Parameters
    ----------
    keys
        Independent keys ``log p + Gumbel``; ``-inf`` for impossible outcomes.
    maximum
        What the largest has to be.

    Returns
    -------
    array of shape (V,)
        Keys in the same order, with the law of independent ones given that the largest is ``maximum``.
    """
    largest = keys.max()
    with np.errstate(divide="ignore", invalid="ignore"):
        v = maximum - keys + np.log1p(-np.exp(keys - largest))
        moved = maximum - np.maximum(v, 0) - np.log1p(np.exp(-np.abs(v)))
    moved = np.where(keys == largest, maximum, moved)
    return np.where(np.isneginf(keys), -np.inf, moved)


class StochasticBeamSearch(eqx.Module):
    """Draws ``k`` different strings of an autoregressive law, without replacement.

    A node's key is the largest Gumbel key among the strings below it; children get keys given that maximum, and only the
    ``k + 1`` nodes with the largest keys are kept at each depth. Work: ``k + 1`` calls of the model for each position.

    Parameters
    ----------
    k
        Number of strings.
    length
        Most tokens of a string.
    end
        Token that ends a string; ``None`` if all strings have ``length`` tokens.

    Raises
    ------
    ValueError, TypeError
        If a count is no positive integer.

    References
    ----------
    W. Kool, H. van Hoof, M. Welling, 2019, Stochastic beams and where to find them, arXiv 1903.06059.

    Examples
    --------
    >>> import jax
    >>> from ergodica import StochasticBeamSearch
    >>> StochasticBeamSearch(3, length=2).draw(jax.random.key(0), lambda prefix: [0.5, 0.3, 0.2]).strings.shape
    (3, 2)
    """

    k: int = eqx.field(static=True)
    length: int = eqx.field(static=True)
    end: int | None = eqx.field(static=True)

    def __init__(self, k: int, length: int, end: int | None = None) -> None:
        self.k = inputs.static_count("k", k)
        self.length = inputs.static_count("length", length)
        self.end = None if end is None else inputs.static_count("end", end, at_least=0)

    @property
    def claim(self) -> Claim:
        """Strings have the law of successive draws without replacement."""
        return Claim(
            Exactness.EXACT,
            "the strings are successive draws without replacement from the model's law on strings",
            source="Kool et al. 2019, arXiv 1903.06059",
            weighted=True,
        )

    def draw(self, key: PRNGKeyArray, law: Law) -> StringSample:
        """Draw strings, on the host in double precision.

        Parameters
        ----------
        key
            Typed key.
        law
            ``law(prefix)`` returns the weights of the next token after a tuple of tokens, shape ``(V,)``.

        Returns
        -------
        StringSample

        Raises
        ------
        ValueError
            If the model returns weights that are no law.
        """
        generator = np.random.default_rng(np.asarray(random.key_words(key)))
        beam: list[tuple[float, float, tuple[int, ...]]] = [(float(generator.gumbel()), 0.0, ())]
        for _ in range(self.length):
            grown = []
            for top, log_p, prefix in beam:
                if self._is_whole(prefix):
                    grown.append((top, log_p, prefix))
                    continue
                with np.errstate(divide="ignore"):
                    children = log_p + np.log(host_law(law, prefix))
                keys = self.keys_of_children(children + generator.gumbel(size=children.size), top)
                grown += [
                    (float(keys[token]), float(children[token]), (*prefix, int(token)))
                    for token in np.argsort(-keys)[: self.k + 1]
                    if np.isfinite(children[token])
                ]
            beam = sorted(grown, key=lambda node: -node[0])[: self.k + 1]
        strings = np.full((self.k, self.length), -1)
        log_ps, tops = np.full(self.k, -np.inf), np.full(self.k, -np.inf)
        for row, (top, log_p, prefix) in enumerate(beam[: self.k]):
            strings[row, : len(prefix)], log_ps[row], tops[row] = prefix, log_p, top
        return StringSample(strings, log_ps, tops, beam[self.k][0] if len(beam) > self.k else -np.inf)

    def keys_of_children(self, keys: Float[np.ndarray, " V"], maximum: float) -> Float[np.ndarray, " V"]:
        """Return the children's keys given the parent's."""
        return given_maximum(keys, maximum)

    def _is_whole(self, prefix: tuple[int, ...]) -> bool:
        return bool(prefix) and prefix[-1] == self.end
