"""Arithmetic sampling: strings that spread evenly over an autoregressive law."""

import bisect
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Int, PRNGKeyArray

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.integer_weights import integer_weights
from ergodica.samplers.acceptance.laws import check_weights
from ergodica.samplers.claim import Claim, Exactness

__all__ = ["ArithmeticSampling", "SharedOffset", "cells"]

Law = Callable[[tuple[int, ...]], Any]
"""Weights of the next token after a prefix."""


def cells(weights: Any) -> list[int] | Int[np.ndarray, " V"]:
    """Return the running sums of weights as integers, without rounding for fractions.

    Parameters
    ----------
    weights
        Shape ``(V,)``: fractions or integers, of any size, or floats, which become integers below ``2**62``.
    """
    values = np.asarray(weights)
    if values.dtype != object:
        return np.cumsum(integer_weights(values))
    check_weights("the model's weights", values)
    common = int(np.lcm.reduce([Fraction(value).denominator for value in values]))
    running, sums = 0, []
    for value in values:
        running += int(value * common)
        sums.append(running)
    return sums


class SharedOffset:
    """A uniform in [0, 1) known to as many bits as anybody has asked for.

    Parameters
    ----------
    generator
        Where the bits come from.
    bits
        How many are drawn at a time.
    """

    def __init__(self, generator: np.random.Generator, bits: int = 128) -> None:
        self._generator, self._step = generator, bits
        self.numerator, self.bits = 0, 0
        self.refine()

    def refine(self) -> None:
        """Draw more bits."""
        for _ in range(self._step // 32):
            self.numerator = self.numerator << 32 | int(self._generator.integers(2**32))
            self.bits += 32

    @property
    def bounds(self) -> tuple[Fraction, Fraction]:
        """The interval that the bits leave."""
        return Fraction(self.numerator, 2**self.bits), Fraction(self.numerator + 1, 2**self.bits)


class ArithmeticSampling(eqx.Module):
    """Draws ``n`` strings by ``n`` equally spaced codes with one random offset.

    A code ``u`` in [0, 1) picks the token whose interval of running probability holds it, and goes on with its place in
    that interval. Codes are ``(i + U) / n`` for ``i = 0, ..., n - 1`` and one uniform ``U``.

    Parameters
    ----------
    n
        Number of strings.
    length
        Most tokens of a string.
    end
        Token that ends a string; ``None`` if all strings have ``length`` tokens.

    Raises
    ------
    ValueError, TypeError
        If a count is no positive integer.

    Notes
    -----
    Each string has the model's law, so that means over the ``n`` strings are unbiased. For each prefix ``s`` the number of
    strings that begin with it is ``n P(s)`` rounded up or down; strings of probability at most ``1 / n`` never appear
    twice. The codes are fractions of whole numbers and the offset gets fresh bits, shared by all codes, whenever those it
    has do not tell which token is meant: a code in single precision decides no more than 24 fair bits.

    References
    ----------
    L. Vilnis et al., 2023, Arithmetic sampling: parallel diverse decoding for large language models, arXiv 2210.15458.

    Examples
    --------
    >>> import jax
    >>> from ergodica import ArithmeticSampling
    >>> strings = ArithmeticSampling(4, length=1).draw(jax.random.key(0), lambda prefix: [0.5, 0.25, 0.25])
    >>> sorted(strings[:, 0].tolist())
    [0, 0, 1, 2]
    """

    n: int = eqx.field(static=True)
    length: int = eqx.field(static=True)
    end: int | None = eqx.field(static=True)

    def __init__(self, n: int, length: int, end: int | None = None) -> None:
        self.n = inputs.static_count("n", n)
        self.length = inputs.static_count("length", length)
        self.end = None if end is None else inputs.static_count("end", end, at_least=0)

    @property
    def claim(self) -> Claim:
        """Each string has the model's law; together they are spread evenly."""
        return Claim(
            Exactness.EXACT,
            "each string has the model's law, and each prefix s begins floor(n P(s)) or ceil(n P(s)) of the n strings",
            source="Vilnis et al. 2023, arXiv 2210.15458",
        )

    def draw(self, key: PRNGKeyArray, law: Law) -> Int[np.ndarray, "n length"]:
        """Draw ``n`` strings on the host.

        Parameters
        ----------
        key
            Typed key.
        law
            ``law(prefix)`` returns the weights of the next token after a tuple of tokens, shape ``(V,)``: floats, or
            fractions in an array of objects. It is called once for each prefix that occurs.

        Returns
        -------
        int array of shape (n, length)
            -1 after an end.

        Raises
        ------
        ValueError
            If the model returns weights that are no law.
        """
        offset = SharedOffset(np.random.default_rng(np.asarray(random.key_words(key))))
        known: dict[tuple[int, ...], Any] = {}
        return self._padded([self._decode(law, known, number, offset) for number in range(self.n)])

    def at(self, law: Law, offset: Fraction) -> Int[np.ndarray, "n length"]:
        """Return the ``n`` strings for a given offset in [0, 1).

        As functions of the offset they are constant between finitely many fractions, so that laws of the strings can be
        integrated exactly.
        """
        known: dict[tuple[int, ...], Any] = {}
        codes = [Fraction(number + offset) / self.n for number in range(self.n)]
        return self._padded([self.decode(law, code, known) for code in codes])

    def decode(self, law: Law, code: Fraction, known: dict[tuple[int, ...], Any] | None = None) -> tuple[int, ...]:
        """Return the string of a code in [0, 1)."""
        known = {} if known is None else known
        prefix: tuple[int, ...] = ()
        while len(prefix) < self.length and not (prefix and prefix[-1] == self.end):
            running = self._running(law, known, prefix)
            place = code * int(running[-1])
            token = _cell(running, place)
            below = int(running[token - 1]) if token else 0
            code = (place - below) / (int(running[token]) - below)
            prefix = (*prefix, token)
        return prefix

    def _decode(self, law: Law, known: dict[Any, Any], number: int, offset: SharedOffset) -> tuple[int, ...]:
        """Decode the code of a number, drawing bits of the offset as needed; the place is ``shift + slope * offset``."""
        shift, slope = Fraction(number, self.n), Fraction(1, self.n)
        prefix: tuple[int, ...] = ()
        while len(prefix) < self.length and not (prefix and prefix[-1] == self.end):
            running = self._running(law, known, prefix)
            total = int(running[-1])
            while True:
                low, high = offset.bounds
                token = _cell(running, (shift + slope * low) * total)
                if (shift + slope * high) * total <= int(running[token]):
                    break
                offset.refine()
            below = int(running[token - 1]) if token else 0
            width = int(running[token]) - below
            shift, slope = (shift * total - below) / width, slope * total / width
            prefix = (*prefix, token)
        return prefix

    @staticmethod
    def _running(law: Law, known: dict[Any, Any], prefix: tuple[int, ...]) -> Any:
        if prefix not in known:
            known[prefix] = cells(law(prefix))
        return known[prefix]

    def _padded(self, strings: list[tuple[int, ...]]) -> Int[np.ndarray, "n length"]:
        out = np.full((len(strings), self.length), -1)
        for row, string in enumerate(strings):
            out[row, : len(string)] = string
        return out


def _cell(running: Any, place: Fraction) -> int:
    """Return the first token whose running sum exceeds a place; empty cells are passed over."""
    whole = place.numerator // place.denominator
    # Sums of fractions may be larger than any integer of NumPy.
    return (
        bisect.bisect_right(running, whole)
        if isinstance(running, list)
        else int(np.searchsorted(running, whole, side="right"))
    )
