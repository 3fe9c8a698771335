"""What a model of sequences is: the law of the next token after each prefix.

A model is asked in one of two ways. :meth:`SequenceModel.laws` takes whole prefixes. A :class:`Reader`, from
:meth:`SequenceModel.open`, follows several texts as they grow, so that a model with a cache reads each token once; what
was read in vain is cut off again.
"""

import abc
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ergodica.samplers.acceptance.laws import check_weights

Prefix = tuple[int, ...]


def as_rows(name: str, weights: Any, size: int) -> Float[np.ndarray, "... V"]:
    """Return rows of weights as laws in double precision.

    Raises
    ------
    ValueError
        If a row is no law on ``size`` tokens.
    """
    rows = np.asarray(weights, np.float64)
    if rows.ndim == 0 or rows.shape[-1] != size:
        raise ValueError(f"{name} has to return a probability for each of {size} tokens; got shape {rows.shape}")
    if rows.size == 0:
        return rows
    check_weights(name, rows)
    rows = np.maximum(rows, 0)
    return rows / rows.sum(axis=-1, keepdims=True)


def as_text(name: str, tokens: Iterable[Any], size: int) -> Prefix:
    """Return tokens as a tuple of integers.

    Raises
    ------
    TypeError, ValueError
        If one is no integer, or outside the vocabulary.
    """
    array = np.asarray(tokens if isinstance(tokens, np.ndarray) else list(tokens))
    if array.size == 0:
        return ()
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"{name} has to be a sequence of integers; got {array.dtype} of shape {array.shape}")
    if array.min() < 0 or array.max() >= size:
        raise ValueError(
            f"{name} has the token {array.min() if array.min() < 0 else array.max()}, outside 0..{size - 1}"
        )
    return tuple(array.tolist())


class Reader(abc.ABC):
    """Texts that a model has read, several at a time; they may differ in length.

    Attributes
    ----------
    lengths
        How many tokens of each text were read, prompt included, shape ``(B,)``.
    law
        Law of the token after each prompt, shape ``(B, V)``.
    num_calls
        How often the model was called after the prompts.
    """

    lengths: Int[np.ndarray, " B"]
    law: Float[np.ndarray, "B V"]
    num_calls: int = 0

    @abc.abstractmethod
    def extend(self, tokens: Sequence[Sequence[int]], width: int | None = None) -> Float[np.ndarray, "B n V"]:
        """Read on, in one call of the model.

        Parameters
        ----------
        tokens
            New tokens of each text, possibly none.
        width
            At least the largest number of them. A model that compiles for each shape is spared shapes by it.

        Returns
        -------
        array of shape (B, n, V)
            Law of the token after each token that was read; where a text has fewer new tokens than others, what comes
            after them is undefined.
        """

    @abc.abstractmethod
    def cut(self, lengths: Int[np.ndarray, " B"]) -> None:
        """Forget what was read beyond some lengths."""

    @abc.abstractmethod
    def select(self, index: Int[np.ndarray, " B"]) -> None:
        """Put copies of texts in the place of texts, as resampling does; :attr:`law` stays that of the prompts."""


class SequenceModel(abc.ABC):
    """The law of the next token after each prefix.

    Attributes
    ----------
    vocabulary_size
        Number of tokens ``V``; tokens are ``0, ..., V - 1``.
    """

    vocabulary_size: int

    @abc.abstractmethod
    def laws(self, prefixes: Sequence[Prefix]) -> Float[np.ndarray, "B V"]:
        """Return the law of the next token after each prefix, each row with sum one."""

    def open(self, prompts: Sequence[Prefix]) -> Reader:
        """Read some prompts; by default a reader that asks :meth:`laws` for whole prefixes."""
        return Rereader(self, prompts)


class Rereader(Reader):
    """Texts of a model without a cache.

    Parameters
    ----------
    model
        The model.
    prompts
        The texts so far.
    """

    def __init__(self, model: SequenceModel, prompts: Sequence[Prefix]) -> None:
        self.model = model
        self.texts = [tuple(prompt) for prompt in prompts]
        self.lengths = np.array([len(text) for text in self.texts], int)
        self.law = model.laws(self.texts)

    def extend(self, tokens: Sequence[Sequence[int]], width: int | None = None) -> Float[np.ndarray, "B n V"]:
        """Read on; see :meth:`Reader.extend`."""
        longest = max((len(new) for new in tokens), default=0) if width is None else width
        rows = np.zeros((len(self.texts), longest, self.model.vocabulary_size))
        places = [(b, i) for b, new in enumerate(tokens) for i in range(len(new))]
        asked = [self.texts[b] + tuple(tokens[b][: i + 1]) for b, i in places]
        if asked:
            rows[tuple(zip(*places, strict=True))] = self.model.laws(asked)
            self.num_calls += 1
        self.texts = [text + tuple(new) for text, new in zip(self.texts, tokens, strict=True)]
        self.lengths = np.array([len(text) for text in self.texts], int)
        return rows

    def cut(self, lengths: Int[np.ndarray, " B"]) -> None:
        """Forget; see :meth:`Reader.cut`."""
        self.texts = [text[:length] for text, length in zip(self.texts, lengths.tolist(), strict=True)]
        self.lengths = np.array([len(text) for text in self.texts], int)

    def select(self, index: Int[np.ndarray, " B"]) -> None:
        """Resample; see :meth:`Reader.select`."""
        self.texts = [self.texts[number] for number in index.tolist()]
        self.lengths = self.lengths[index]
