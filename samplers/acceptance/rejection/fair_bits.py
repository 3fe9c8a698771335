"""Fair bits from a biased coin, by von Neumann's pairs and by Peres's iteration of them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from ergodica.samplers import inputs, random

__all__ = ["FairBit", "fair_bit", "fair_bits", "peres_bits"]

Tosses = Sequence[Any] | np.ndarray


def _as_tosses(tosses: Tosses) -> Int[np.ndarray, " n"]:
    values = np.asarray(tosses)
    if values.size == 0:
        return np.zeros(0, np.int8)
    if values.ndim != 1 or not np.isin(values, (0, 1)).all():
        raise ValueError(f"tosses are one row of zeros and ones; got {values!r}")
    return values.astype(np.int8)


def fair_bits(tosses: Tosses) -> Int[np.ndarray, " m"]:
    """Return von Neumann's bits: ``10`` gives 1, ``01`` gives 0, equal tosses give nothing.

    Parameters
    ----------
    tosses
        Independent tosses of one coin, zeros and ones; a last one without a partner is dropped.

    Returns
    -------
    int8 array
        Independent fair bits given their number, whatever the bias. A bit takes ``1 / (b (1 - b))`` tosses on average.
        Tosses that depend on each other, or a bias that drifts within a pair, give biased bits.

    Raises
    ------
    ValueError
        If a toss is neither 0 nor 1.

    References
    ----------
    J. von Neumann, Various techniques used in connection with random digits, 1951, NBS Applied Mathematics Series 12.
    """
    values = _as_tosses(tosses)
    first, second = values[0 : values.size - 1 : 2], values[1::2]
    return first[first != second]


def peres_bits(tosses: Tosses) -> Int[np.ndarray, " m"]:
    """Return the bits of Peres's procedure, which also uses what von Neumann's drops.

    Whether the two tosses of a pair differ, and what the pairs of equal ones show, are two further sequences of tosses of
    biased coins, independent given their lengths; the procedure goes on with each.

    Parameters
    ----------
    tosses
        Independent tosses of one coin, zeros and ones.

    Returns
    -------
    int8 array
        Independent fair bits given their number. As the tosses become many, the bits per toss approach the coin's entropy.

    Raises
    ------
    ValueError
        If a toss is neither 0 nor 1.

    References
    ----------
    Y. Peres, Iterating von Neumann's procedure for extracting random bits, 1992, Annals of Statistics 20(1),
    doi:10.1214/aos/1176348543.
    """
    waiting = [_as_tosses(tosses)]
    bits = []
    while waiting:
        values = waiting.pop()
        if values.size < 2:
            continue
        first, second = values[0 : values.size - 1 : 2], values[1::2]
        differ = first != second
        bits.append(first[differ])
        waiting += [first[~differ], differ.astype(np.int8)]
    return np.concatenate(bits) if bits else np.zeros(0, np.int8)


class FairBit(NamedTuple):
    """A fair bit.

    Parameters
    ----------
    bit
        The bit.
    num_tosses
        How often the coin was tossed.
    cap_hit
        Whether all pairs were equal, so that the bit is none.
    """

    bit: Bool[Array, ""]
    num_tosses: Int[Array, ""]
    cap_hit: Bool[Array, ""]


def fair_bit(
    key: PRNGKeyArray, coin: Callable[[PRNGKeyArray], Bool[Array, ""]], *, max_pairs: int = 1_000_000
) -> FairBit:
    """Toss a coin in pairs until the two tosses differ, and return the first of them.

    Parameters
    ----------
    key
        Typed key.
    coin
        Function of a key, traceable, whose results are independent for different keys.
    max_pairs
        Where to stop with a coin that always falls on one side. Given that it did not stop, the bit is fair.
    """
    cap = inputs.static_count("max_pairs", max_pairs)

    def body(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        _, _, pairs = carry
        key_first, key_second = random.split(random.fold_in(key, pairs))
        first, second = (jnp.asarray(coin(one), bool) for one in (key_first, key_second))
        return first, first != second, pairs + 1

    start = (jnp.asarray(False), jnp.asarray(False), jnp.zeros((), jnp.int32))
    bit, differ, pairs = lax.while_loop(lambda carry: ~carry[1] & (carry[2] < cap), body, start)
    return FairBit(bit & differ, 2 * pairs, ~differ)
