"""Draws from a finite law by integers, without any rounding after the weights are integers."""

from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Int, PRNGKeyArray

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.laws import check_weights
from ergodica.samplers.claim import Claim, Exactness

__all__ = ["IntegerDraw", "integer_weights"]

_BITS = 62


def integer_weights(weights: Any) -> Int[np.ndarray, " V"]:
    """Return weights as integers whose sum is below ``2**62``.

    Parameters
    ----------
    weights
        Non-negative weights, shape ``(V,)``.

    Returns
    -------
    int64 array of shape (V,)
        Zero exactly where the weight is zero; elsewhere off by at most one unit of about ``2**-61`` of the sum, or up to
        one, so that the law is off by ``V 2**-62`` in total variation, less than the rounding of the weights.

    Raises
    ------
    ValueError
        If the weights are no law.
    """
    values = np.asarray(weights)
    values = values.astype(np.float64) if values.dtype != object else np.array([float(x) for x in values])
    if values.ndim != 1:
        raise ValueError(f"weights has to be a vector; got shape {values.shape}")
    check_weights("weights", values)
    values = np.maximum(values, 0) / values.max()
    # Half of the range is left for the ones that small weights are raised to, and for the rounding of the sum.
    scaled = np.floor(values * (2.0 ** (_BITS - 1) / values.sum())).astype(np.int64)
    return np.where(values > 0, np.maximum(scaled, 1), 0)


class IntegerDraw(eqx.Module):
    """Exact draws from integer weights: a uniform integer below their sum, found in the running sums.

    Running sums of integers have no rounding, and neither has the comparison; an outcome of weight 1 among weights of
    ``2**61`` in all has its right share. For weights that are floats, :func:`integer_weights` is applied first.

    Parameters
    ----------
    weights
        Non-negative weights, shape ``(V,)``: integers, with a sum below ``2**62``, or floats.

    Raises
    ------
    ValueError
        If the weights are no law, or integers with too large a sum.
    """

    running: Int[np.ndarray, " V"]

    def __init__(self, weights: Any) -> None:
        values = np.asarray(weights)
        if not np.issubdtype(values.dtype, np.integer):
            values = integer_weights(values)
        check_weights("weights", values)
        if values.ndim != 1 or sum(int(value) for value in values[values > 2**40]) + values.size * 2**40 >= 2**63:
            raise ValueError(f"IntegerDraw needs a vector of integers with a sum below 2**62; got {values}")
        self.running = np.cumsum(values, dtype=np.int64)

    @property
    def claim(self) -> Claim:
        """Exact for the integers."""
        return Claim(
            Exactness.EXACT,
            "draws independently from the integer weights, without rounding",
            source="inversion; D. Knuth, The art of computer programming 2, 3.4.1",
            independent=True,
        )

    def draw(self, key: PRNGKeyArray, n: int = 1) -> Int[np.ndarray, " n"]:
        """Draw ``n`` outcomes on the host.

        Parameters
        ----------
        key
            Typed key.
        n
            Number of draws.
        """
        generator = np.random.default_rng(np.asarray(random.key_words(key)))
        uniform = generator.integers(0, int(self.running[-1]), inputs.static_count("n", n))
        return self.decide(uniform)

    def decide(self, uniform: Any) -> Int[np.ndarray, " n"]:
        """Return the outcomes for given integers in ``[0, sum)``."""
        return np.searchsorted(self.running, uniform, side="right")
