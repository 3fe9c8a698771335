"""What rounding of the uniforms does to Gumbel and race keys.

The largest of ``log p + Gumbel``, and the first of the clocks ``Exp(1) / p``, have the law ``p``. Keys made of uniforms
with ``b`` bits do not: no Gumbel key exceeds a bound, as if each clock ran ``delta`` before it could ring; and a clock
made as ``-log(1 - U)`` rings at zero with probability ``2^-b``, whatever its weight.
"""

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from ergodica.theory.probability_vector import probability_vector

__all__ = ["clock_delay", "largest_gumbel", "race_noise", "truncated_gumbel_law"]


def clock_delay(bits: int) -> float:
    """Return ``delta = -log(1 - 2^-bits)``, the earliest time of a clock whose uniform never exceeds ``1 - 2^-bits``."""
    return -math.log1p(-(2.0**-bits))


def largest_gumbel(bits: int) -> float:
    """Return the largest Gumbel key, ``-log(delta)``: 15.9 for 23 bits, 16.6 for 24."""
    return -math.log(clock_delay(bits))


def race_noise(size: int, bits: int = 23) -> float:
    """Return about how often a race of ``size`` clocks is won by one that rang at zero: ``1 - (1 - 2^-bits)^size``.

    The winner is then uniform over all outcomes, so that this is the error in total variation up to what the law itself
    gives them.
    """
    return -math.expm1(size * math.log1p(-(2.0**-bits)))


def truncated_gumbel_law(p: ArrayLike, delta: float) -> Float[np.ndarray, " V"]:
    """Return the law of the first of the clocks ``(delta + Exp(1)) / p``: of Gumbel keys that are bounded.

    Parameters
    ----------
    p
        Probabilities, shape ``(V,)``.
    delta
        Delay of the clocks, non-negative; see :func:`clock_delay`.

    Returns
    -------
    array of shape (V,)
        Likely outcomes gain: ratios of probabilities are larger than in ``p``.

    Raises
    ------
    ValueError
        If ``p`` does not sum to one, or ``delta`` is negative.

    References
    ----------
    K. Zheng et al., 2025, Masked diffusion models are secretly time-agnostic masked models and exploit inaccurate
    categorical sampling, proposition 5.2, arXiv 2409.02908.
    """
    law = probability_vector(p, "p")
    if not 0 <= delta < math.inf:
        raise ValueError(f"delta has to be non-negative and finite; got {delta}")
    order = np.argsort(-law, kind="stable")
    falling = law[order]
    positive = int(np.count_nonzero(falling))
    weights = falling[:positive]
    count, mass = np.arange(1, positive + 1), np.cumsum(weights)
    with np.errstate(over="ignore"):
        begins = np.exp(delta * (count - mass / weights))
        ends = np.append(np.exp(delta * (count[:-1] - mass[:-1] / weights[1:])), 0.0)
    terms = (begins - ends) / mass
    out = np.zeros_like(law)
    out[order[:positive]] = weights * np.cumsum(terms[::-1])[::-1]
    return out
