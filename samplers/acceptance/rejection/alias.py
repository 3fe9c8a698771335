"""The alias method: draws from a finite law in constant time, after one pass over it."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ergodica.samplers import counter_rng, inputs, random
from ergodica.samplers.acceptance.laws import check_weights
from ergodica.samplers.claim import Claim, Exactness
from ergodica.samplers.native import compiled

__all__ = ["AliasTable", "alias_columns"]


@compiled
def _fill(scaled, prob, alias, stack):  # type: ignore[no-untyped-def]
    """Fill the columns; ``scaled`` sums to its length, and is used up. Two stacks share one array, one at each end."""
    size = scaled.size
    small, large = 0, size
    for i in range(size):
        alias[i] = i
        if scaled[i] < 1:
            stack[small] = i
            small += 1
        else:
            large -= 1
            stack[large] = i
    while small > 0 and large < size:
        small -= 1
        low, high = stack[small], stack[large]
        prob[low] = scaled[low]
        alias[low] = high
        # In this order, so that little is lost where the two are of different size.
        scaled[high] = (scaled[high] + scaled[low]) - 1
        if scaled[high] < 1:
            large += 1
            stack[small] = high
            small += 1
    # What is left is one up to rounding.
    for i in range(small):
        prob[stack[i]] = 1
    for i in range(large, size):
        prob[stack[i]] = 1


@compiled
def _draw_many(words, prob, alias, out):  # type: ignore[no-untyped-def]
    stream = counter_rng.stream(words)
    size = prob.size
    for n in range(out.size):
        i = counter_rng.integer(stream, size)
        out[n] = i if counter_rng.uniform(stream) < prob[i] else alias[i]


def alias_columns(weights: Any) -> tuple[Any, Int[np.ndarray, " V"]]:
    """Return the columns of the alias method.

    Parameters
    ----------
    weights
        Non-negative weights, shape ``(V,)``; an object array of fractions is worked out without rounding.

    Returns
    -------
    prob
        Probability that a column keeps its own outcome, shape ``(V,)``.
    alias
        The outcome that it gives otherwise.

    Raises
    ------
    ValueError
        If a weight is negative or not finite, all are zero, or there are none.
    """
    weights = np.asarray(weights)
    is_exact = weights.dtype == object
    weights = weights if is_exact else weights.astype(np.float64)
    if weights.ndim != 1:
        raise ValueError(f"an alias table needs one row of weights; got shape {weights.shape}")
    check_weights("weights", weights)
    weights = np.where(weights < 0, 0 * weights, weights)
    largest = weights.max()
    weights = weights / largest  # so that the sum of the largest numbers there are is finite
    scaled = weights * weights.size / weights.sum()
    prob, alias, stack = np.zeros_like(scaled), np.zeros(scaled.size, np.int64), np.zeros(scaled.size, np.int64)
    (_fill.py_func if is_exact else _fill)(scaled, prob, alias, stack)
    # Rounding may leave an outcome of weight zero as the last of its stack; it must not be returned.
    impossible = (weights == 0) & (prob > 0)
    if np.any(impossible):
        prob = np.where(impossible, 0 * prob, prob)
        alias = np.where(impossible, int(np.argmax(weights)), alias)
    return prob, alias


class AliasTable(eqx.Module):
    """Exact draws from a finite law in constant time each.

    A uniform column is drawn; it gives its own outcome with probability ``prob``, and its alias otherwise. The table is
    built on the host, in one pass and in double precision.

    Parameters
    ----------
    weights
        Non-negative weights, shape ``(V,)``, ``V < 2**31``.

    Raises
    ------
    ValueError
        If a weight is negative or not finite, all are zero, or there are none.

    References
    ----------
    A. J. Walker, An efficient method for generating discrete random variables with general distributions, 1977, ACM TOMS
    3(3), doi:10.1145/355744.355749; M. D. Vose, A linear algorithm for generating random numbers with a given
    distribution, 1991, IEEE TSE 17(9), doi:10.1109/32.92917.

    Examples
    --------
    >>> import jax
    >>> from ergodica import AliasTable
    >>> AliasTable([1, 0, 3]).draw(jax.random.key(0), (5,)).shape
    (5,)
    """

    prob: Float[Array, " V"]
    alias: Int[Array, " V"]

    def __init__(self, weights: inputs.Numbers) -> None:
        prob, alias = alias_columns(weights)
        self.prob = jnp.asarray(prob, float)
        self.alias = jnp.asarray(alias, jnp.int32)

    @property
    def claim(self) -> Claim:
        """Exact up to the rounding of the weights."""
        return Claim(
            Exactness.EXACT,
            "draws independently from the normalised weights",
            source="Walker 1977, doi:10.1145/355744.355749; Vose 1991, doi:10.1109/32.92917",
            independent=True,
        )

    def draw(self, key: PRNGKeyArray, shape: tuple[int, ...] = ()) -> Int[Array, "..."]:
        """Draw outcomes.

        Parameters
        ----------
        key
            Typed key.
        shape
            Shape of the result.

        Returns
        -------
        int32 array
        """
        key_column, key_keep = random.split(key)
        column = random.randint(key_column, shape, 0, self.prob.shape[0], jnp.int32)
        return jnp.where(random.bernoulli(key_keep, self.prob[column]), column, self.alias[column])

    def draw_many(self, key: PRNGKeyArray, n: int) -> Int[np.ndarray, " n"]:
        """Draw outcomes on the host in a compiled loop, from another stream of random numbers than :meth:`draw`.

        Parameters
        ----------
        key
            Typed key.
        n
            Number of draws.

        Returns
        -------
        int32 array of shape (n,)
        """
        out = np.empty(inputs.static_count("n", n), np.int32)
        words = np.asarray(counter_rng.key_words(key))
        _draw_many(words, np.asarray(self.prob, np.float64), np.asarray(self.alias), out)
        return out

    def law(self) -> Float[np.ndarray, " V"]:
        """Return the law that the table draws from, as computed from its columns."""
        prob, alias = np.asarray(self.prob, np.float64), np.asarray(self.alias)
        return (prob + np.bincount(alias, 1 - prob, minlength=prob.size)) / prob.size
