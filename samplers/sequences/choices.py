"""Random decisions of programs that run on the host, in NumPy.

Models of sequences are often no JAX programs. The loops around them take their uniforms from a counter: those of a text
depend on the key, the text's number and the place in it, and on nothing else. While a law is enumerated, every decision
is a choice point as in :mod:`ergodica.samplers.random`, so that ``enumerate_law(..., engine="replay")`` walks them all.
"""

import hashlib
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from ergodica.samplers import random


def invert_rows(weights: Float[np.ndarray, "n V"], u: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Draw from each row by inversion; never an entry of weight zero."""
    running = np.cumsum(weights, axis=-1)
    exceeds = (running > (u * running[:, -1])[:, None]) & (weights > 0)
    last = weights.shape[-1] - 1 - np.argmax(weights[:, ::-1] > 0, axis=-1)
    return np.where(exceeds.any(axis=-1), exceeds.argmax(axis=-1), last)


class Choices:
    """Draws from finite laws, addressed by two numbers: a stream, such as the number of a text, and a place in it.

    Parameters
    ----------
    key
        Typed key.
    """

    def __init__(self, key: PRNGKeyArray) -> None:
        self._resolver = random.current_resolver()
        self._made = 0
        words = random.key_words(key) if self._resolver is None else jax.random.key_data(key)
        self._words = np.asarray(words, np.uint32)
        self._seed = int.from_bytes(self._words[:4].tobytes(), "little")

    @property
    def is_resolved(self) -> bool:
        """Whether a law is being enumerated, so that there are no uniforms."""
        return self._resolver is not None

    def uniforms(self, stream: int, place: int, count: int) -> Float[np.ndarray, " count"]:
        """Return uniforms in ``[0, 1)`` of 53 bits, the same for the same address; more of them begin alike."""
        if self._resolver is not None:
            self._resolver.refuse("Choices.uniforms", "a continuous draw has infinitely many outcomes")
        # A counter-based generator: no two addresses share a block as long as a draw takes less than 2**64 of them.
        bits = np.random.Philox(key=self._seed, counter=[0, 0, place, stream])
        return np.random.Generator(bits).random(count)

    def _key(self, kind: int) -> PRNGKeyArray:
        """Return a key that names the decision; the enumerator draws nothing from it."""
        named = hashlib.blake2b(self._words.tobytes() + bytes([kind]) + self._made.to_bytes(8, "little"), digest_size=8)
        words = np.frombuffer(named.digest(), np.uint32)
        return jax.random.wrap_key_data(words, impl="threefry2x32")  # type: ignore[arg-type]

    def resolved(self, weights: Float[np.ndarray, "n V"]) -> Int[np.ndarray, " n"]:
        """Let the enumerator decide."""
        assert self._resolver is not None
        self._made += 1
        return np.asarray(self._resolver.categorical(self._key(0), np.asarray(weights, np.float64)))  # type: ignore[arg-type]

    def categorical(self, weights: Any, stream: int, place: int) -> Int[np.ndarray, " n"]:
        """Draw an index from each row of weights.

        Parameters
        ----------
        weights
            Not negative, not necessarily normalised, shape ``(n, V)``.
        stream, place
            The address. No address may be used twice.
        """
        rows = np.asarray(weights, np.float64)
        if self.is_resolved:
            return self.resolved(rows)
        return invert_rows(rows, self.uniforms(stream, place, rows.shape[0]))

    def bernoulli(self, chance: float, stream: int, place: int) -> bool:
        """Return ``True`` with a probability; values above one count as one."""
        kept = min(max(float(chance), 0.0), 1.0)
        # The outcome 'yes' comes first: a chance of zero never happens, even at a uniform of zero.
        return bool(self.categorical([[kept, 1 - kept]], stream, place)[0] == 0)

    def order(self, weights: Any, stream: int, place: int) -> list[int]:
        """Draw all entries of positive weight, one after the other without replacement."""
        row = np.asarray(weights, np.float64)
        support = np.flatnonzero(row > 0)
        if self._resolver is not None:
            self._made += 1
            law = row[support] / row[support].sum()
            drawn = np.asarray(self._resolver.ordered_sample(self._key(1), law, support.size))  # type: ignore[arg-type]
        else:
            clocks = -np.log1p(-self.uniforms(stream, place, support.size)) / row[support]
            drawn = np.argsort(clocks, kind="stable")
        return support[drawn].tolist()
