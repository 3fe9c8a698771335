"""Texts drawn token after token, several side by side: the plain way."""

from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Float, Int

from ergodica.samplers.sequences.choices import Choices
from ergodica.samplers.sequences.model import Prefix, SequenceModel

__all__ = ["GrowingTexts", "ancestral_texts"]


class GrowingTexts:
    """Texts that grow by a token each at a time, until a token of ``stop`` or ``max_tokens`` ends them.

    Parameters
    ----------
    model
        The model that reads them.
    count
        How many.
    prompt
        What they go on from; it is no part of them.
    max_tokens
        Most tokens.
    stop
        Tokens that end a text, as its last.
    """

    def __init__(
        self, model: SequenceModel, count: int, prompt: Sequence[int], max_tokens: int, stop: Collection[int]
    ) -> None:
        self.reader = model.open([tuple(prompt)] * count)
        self.texts: list[Prefix] = [()] * count
        self.max_tokens, self.stop = max_tokens, frozenset(stop)
        self._rows = self.reader.law

    @property
    def live(self) -> Int[np.ndarray, " n"]:
        """Numbers of the texts that have not ended."""
        return np.array([number for number, text in enumerate(self.texts) if not self.has_ended(text)], int)

    def has_ended(self, text: Prefix) -> bool:
        """Whether a text is complete."""
        return len(text) >= self.max_tokens or (len(text) > 0 and text[-1] in self.stop)

    def laws(self, numbers: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n V"]:
        """Return the laws of the next token of some texts."""
        return self._rows[numbers]

    def append(self, numbers: Int[np.ndarray, " n"], tokens: Int[np.ndarray, " n"]) -> None:
        """Append a token to some texts; the model reads it where the text goes on."""
        new: list[list[int]] = [[] for _ in self.texts]
        for number, token in zip(numbers.tolist(), tokens.tolist(), strict=True):
            self.texts[number] = (*self.texts[number], token)
            if not self.has_ended(self.texts[number]):
                new[number] = [token]
        if any(new):
            self._rows = self.reader.extend(new)[:, 0]

    def select(self, index: Int[np.ndarray, " n"]) -> None:
        """Put copies of texts in the place of texts."""
        self.reader.select(index)
        self.texts = [self.texts[number] for number in index.tolist()]
        self._rows = self._rows[index]


def ancestral_texts(
    model: SequenceModel,
    choices: Choices,
    count: int,
    *,
    max_tokens: int,
    prompt: Sequence[int] = (),
    stop: Collection[int] = (),
    stream: int = 0,
) -> tuple[Prefix, ...]:
    """Draw texts from a model, token after token.

    Parameters
    ----------
    model
        The model.
    choices
        Where random decisions come from.
    count
        How many texts.
    max_tokens, prompt, stop
        As of :class:`GrowingTexts`.
    stream
        Address of the decisions: this stream, at places from zero on.
    """
    growing = GrowingTexts(model, count, prompt, max_tokens, stop)
    place = 0
    while (live := growing.live).size:
        growing.append(live, choices.categorical(growing.laws(live), stream, place))
        place += 1
    return tuple(growing.texts)
