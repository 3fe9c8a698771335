"""A counter-based generator for compiled cores: SplitMix64, one stream for each key.

The ``i``-th word of a stream is a fixed bijection of ``seed + i * gamma`` modulo ``2**64``, where the seed and the odd
``gamma`` are scrambled from the data of a JAX key, so distinct two-word keys have distinct seeds and almost surely
distinct gammas. Source: Steele, Lea and Flood, 2014, Fast splittable pseudorandom number generators, OOPSLA,
doi:10.1145/2660193.2660195; the scrambling functions are those of its section 5, with Stafford's variant 13.

In JAX, pass :func:`key_words` of a key to a core; in the core, open a stream and draw from it:

>>> import jax, numpy as np
>>> from ergodica.samplers import counter_rng
>>> from ergodica.samplers.native import compiled
>>> @compiled
... def two_draws(words, out):
...     stream = counter_rng.stream(words)
...     out[0] = counter_rng.uniform(stream)
...     out[1] = counter_rng.integer(stream, 6)
>>> out = np.empty(2)
>>> two_draws(np.asarray(counter_rng.key_words(jax.random.key(1))), out)
>>> bool(0 <= out[0] < 1 and out[1] in range(6))
True
"""

import numpy as np

from ergodica.samplers.native import compiled
from ergodica.samplers.random import key_words as key_words

__all__ = ["exponential", "integer", "key_words", "stream", "uniform", "word"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # the odd integer nearest to 2**64 over the golden ratio
_ALTERNATING = np.uint64(0xAAAAAAAAAAAAAAAA)
_ONE, _ZERO = np.uint64(1), np.uint64(0)
_LOW_HALF = np.uint64(0xFFFFFFFF)
_TWO_TO_32 = np.uint64(1 << 32)


@compiled
def _scramble(value):  # type: ignore[no-untyped-def]
    """Stafford's variant 13: a bijection of 64-bit words."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@compiled
def _odd_gamma(value):  # type: ignore[no-untyped-def]
    """Make an odd increment whose binary digits alternate often enough."""
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    value = (value ^ (value >> np.uint64(33))) | _ONE
    changes, left = 0, value ^ (value >> _ONE)
    while left != _ZERO:
        left &= left - _ONE
        changes += 1
    return value ^ _ALTERNATING if changes < 24 else value


@compiled
def stream(words):  # type: ignore[no-untyped-def]
    """Open the stream of a key: an array of two 64-bit words, the counter and its increment.

    Parameters
    ----------
    words
        The key's data, 32-bit words: two for the default implementation, any number for others. All are used.
    """
    value = _ZERO
    for index in range(words.shape[0]):
        if index > 0 and index % 2 == 0:
            value = _scramble(value + _GOLDEN)
        half = np.uint64(words[index]) << (np.uint64(32) if index % 2 == 0 else _ZERO)
        value ^= half
    out = np.empty(2, np.uint64)
    out[0] = _scramble(value + _GOLDEN)
    out[1] = _odd_gamma(value + _GOLDEN + _GOLDEN)
    return out


@compiled
def word(stream):  # type: ignore[no-untyped-def]
    """Draw 64 random bits."""
    stream[0] += stream[1]
    return _scramble(stream[0])


@compiled
def uniform(stream):  # type: ignore[no-untyped-def]
    """Draw from the multiples of ``2**-53`` in ``[0, 1)``, each equally likely."""
    return np.float64(word(stream) >> np.uint64(11)) * 1.1102230246251565e-16


@compiled
def integer(stream, bound):  # type: ignore[no-untyped-def]
    """Draw from ``0, ..., bound - 1`` without bias, by Lemire's multiplication; ``bound`` lies in ``[1, 2**32)``.

    Source: Lemire, 2019, Fast random integer generation in an interval, doi:10.1145/3230636.
    """
    size = np.uint64(bound)
    product = (word(stream) >> np.uint64(32)) * size
    if (product & _LOW_HALF) < size:
        least = (_TWO_TO_32 - size) % size
        while (product & _LOW_HALF) < least:
            product = (word(stream) >> np.uint64(32)) * size
    return np.int64(product >> np.uint64(32))


@compiled
def exponential(stream):  # type: ignore[no-untyped-def]
    """Draw from the exponential law with mean one; always finite."""
    return -np.log1p(-uniform(stream))
