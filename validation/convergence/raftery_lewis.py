"""Raftery and Lewis: how long to run one chain for a quantile of given precision."""

import dataclasses
import math

import numpy as np
import scipy.special
from jaxtyping import Float
from numpy.typing import ArrayLike

from ergodica.validation.convergence.chains import chain_draws


@dataclasses.dataclass(frozen=True)
class RunLength:
    """The run that a quantile asks for.

    Parameters
    ----------
    thin
        Every how many draws the chain of indicators is about Markov.
    burn_in
        Draws to drop.
    keep
        Draws to keep after that.
    independent
        Draws that would be needed if they were independent.
    value
        Dependence factor ``(burn_in + keep) / independent``.
    method
        What was computed, in words.
    """

    thin: int
    burn_in: int
    keep: int
    independent: int
    value: float
    method: str


def _check(quantile: float, precision: float, confidence: float, tolerance: float) -> None:
    if not (0 < quantile < 1 and 0 < confidence < 1 and precision > 0 and 0 < tolerance < 1):
        raise ValueError(
            "quantile, confidence and tolerance have to lie in (0, 1) and precision to be positive; got "
            f"{quantile}, {confidence}, {tolerance}, {precision}"
        )


def independent_run_length(quantile: float, precision: float, confidence: float) -> int:
    """Return the number of independent draws that give the probability below a quantile with the precision wanted."""
    _check(quantile, precision, confidence, 0.5)
    phi = float(scipy.special.ndtri((1 + confidence) / 2))
    return math.ceil(quantile * (1 - quantile) * (phi / precision) ** 2)


def two_state_run_length(
    up: float, down: float, *, precision: float, confidence: float, tolerance: float
) -> tuple[float, float]:
    """Return burn-in and length of a two-state chain, before rounding.

    Parameters
    ----------
    up, down
        Probabilities of ``0 -> 1`` and of ``1 -> 0``, positive.
    precision, confidence
        Half-width of the interval for the probability of state 1, and its level.
    tolerance
        Distance from the stationary law after the burn-in.
    """
    _check(0.5, precision, confidence, tolerance)
    if not (0 < up <= 1 and 0 < down <= 1):
        raise ValueError(f"the probabilities of leaving the states have to lie in (0, 1]; got {up} and {down}")
    both = up + down
    rate = abs(1 - both)
    burn_in = math.log(tolerance * both / max(up, down)) / math.log(rate) if rate > 1e-12 else 1.0
    phi = float(scipy.special.ndtri((1 + confidence) / 2))
    return max(burn_in, 0.0), (2 - both) * up * down * phi**2 / (both**3 * precision**2)


def _prefers_second_order(z: Float[np.ndarray, " n"]) -> bool:
    """Whether BIC prefers a second-order chain to a first-order one."""
    bits = z.astype(int)
    counts = np.bincount(4 * bits[:-2] + 2 * bits[1:-1] + bits[2:], minlength=8).reshape(2, 2, 2).astype(float)
    middle = counts.sum(axis=(0, 2), keepdims=True)
    fitted = counts.sum(axis=2, keepdims=True) * counts.sum(axis=0, keepdims=True) / np.where(middle > 0, middle, 1)
    ratio = np.where(counts > 0, counts / np.where(fitted > 0, fitted, 1), 1)
    return float(2 * np.sum(counts * np.log(ratio))) - 2 * math.log(max(len(bits) - 2, 1)) >= 0


def raftery_lewis(
    draws: ArrayLike,
    *,
    quantile: float = 0.025,
    precision: float = 0.005,
    confidence: float = 0.95,
    tolerance: float = 0.001,
) -> RunLength:
    """Return the run length that a quantile of given precision asks for, from a pilot run of one chain.

    Parameters
    ----------
    draws
        One quantity of one chain, shape ``(draws,)``, at least as many as independent draws would be needed.
    quantile
        The quantile, in (0, 1).
    precision
        Half-width of the interval for the probability below it.
    confidence
        Level of the interval.
    tolerance
        Distance from the stationary law after the burn-in.

    Returns
    -------
    RunLength
        A guide: asymptotic, for this quantile only, and blind to what the pilot run has not seen.

    Raises
    ------
    TypeError, ValueError
        If the draws are not fit or too few, the quantity is constant, or a number is out of range.

    References
    ----------
    Adrian Raftery and Steven Lewis (1992), How many iterations in the Gibbs sampler?, Bayesian Statistics 4.
    """
    _check(quantile, precision, confidence, tolerance)
    x = chain_draws(draws)
    if x.shape[0] != 1 or x.shape[2] != 1:
        raise ValueError(f"raftery_lewis looks at one quantity of one chain, shape (draws,); got {np.shape(draws)}")
    series = x[0, :, 0]
    needed = independent_run_length(quantile, precision, confidence)
    if len(series) < needed:
        raise ValueError(f"the pilot run needs at least {needed} draws for this precision; got {len(series)}")
    below = series <= np.quantile(series, quantile)
    if below.all():
        raise ValueError("no draw is above the quantile: the quantity is constant, or nearly so")
    thin = 1
    while thin < len(below) // 20 and _prefers_second_order(below[::thin].astype(float)):
        thin += 1
    bits = below[::thin]
    before, after = bits[:-1], bits[1:]
    up = float(np.mean(after[~before])) if np.any(~before) else 0.0
    down = float(np.mean(~after[before])) if np.any(before) else 0.0
    if up == 0 or down == 0:
        raise ValueError("the pilot run does not cross the quantile back and forth; run it longer")
    burn_in, keep = two_state_run_length(up, down, precision=precision, confidence=confidence, tolerance=tolerance)
    dropped, kept = thin * math.ceil(burn_in), thin * math.ceil(keep)
    return RunLength(thin, dropped, kept, needed, (dropped + kept) / needed, "Raftery-Lewis run length")
