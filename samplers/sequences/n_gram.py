"""Models from counts of n-grams, smoothed by interpolation with shorter contexts."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float

from ergodica.samplers.inputs import static_count
from ergodica.samplers.sequences.model import Prefix, SequenceModel, as_text

__all__ = ["NGramModel"]


class NGramModel(SequenceModel):
    """The next token as it followed the last few tokens in a text, with less weight on longer contexts that are rare.

    A context seen ``n`` times, after which ``d`` different tokens were seen, has the law
    ``(count + d lower) / (n + d)``, where ``lower`` is the law after the context without its first token: a new token is
    as likely as a new one was. Below the empty context is the uniform law, so that no token is impossible.

    Parameters
    ----------
    tokens
        The text to count in, shape ``(n,)``.
    order
        Number of tokens that the next one depends on, itself included: 1 counts single tokens, 2 pairs.
    vocabulary_size
        Number of tokens ``V``.

    Raises
    ------
    ValueError
        If the text is empty, or holds tokens outside the vocabulary.

    References
    ----------
    I. H. Witten and T. C. Bell, 1991, The zero-frequency problem, IEEE Trans. Inf. Theory 37, doi:10.1109/18.87000.
    """

    def __init__(self, tokens: Iterable[int], order: int, vocabulary_size: int) -> None:
        self.order = static_count("order", order)
        self.vocabulary_size = static_count("vocabulary_size", vocabulary_size)
        text = as_text("tokens", tokens, vocabulary_size)
        if not text:
            raise ValueError("tokens is empty; an n-gram model needs a text to count in")
        self.counts: dict[Prefix, dict[int, int]] = {}
        for length in range(self.order):
            for end in range(length, len(text)):
                followers = self.counts.setdefault(text[end - length : end], {})
                followers[text[end]] = followers.get(text[end], 0) + 1
        self._laws: dict[Prefix, Float[np.ndarray, " V"]] = {}

    def laws(self, prefixes: Sequence[Prefix]) -> Float[np.ndarray, "B V"]:
        """Return the laws of the next token; see :meth:`SequenceModel.laws`."""
        rows = np.empty((len(prefixes), self.vocabulary_size))
        for number, prefix in enumerate(prefixes):
            rows[number] = self._law(tuple(prefix[max(0, len(prefix) - self.order + 1) :]))
        return rows

    def _law(self, context: Prefix) -> Float[np.ndarray, " V"]:
        known = self._laws.get(context)
        if known is not None:
            return known
        lower = self._law(context[1:]) if context else np.full(self.vocabulary_size, 1 / self.vocabulary_size)
        followers = self.counts.get(context)
        if followers is None:
            return lower  # not remembered: there are too many contexts that were never seen
        law = len(followers) * lower
        np.add.at(law, list(followers), list(followers.values()))
        self._laws[context] = law / law.sum()
        return self._laws[context]
