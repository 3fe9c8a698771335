"""What the weights of independent draws say about the law that proposed them.

How well importance sampling and independence Metropolis work depends on the weights ``w = gamma / q`` alone: how many
draws one draw is worth, and how heavy the tail of the weights is.
"""

import math
import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float

__all__ = ["HeavyWeightsWarning", "WeightReport", "report_weights"]


class HeavyWeightsWarning(UserWarning):
    """The proposal's tails are much lighter than the target's: chains stick, and averages of weights mislead."""


class WeightReport(NamedTuple):
    """What draws of a proposal say about it.

    Parameters
    ----------
    num_draws
        Number of draws.
    log_normalizer
        Log of the mean weight: an estimate of the log normaliser of the target, on average low by about half the
        variance of the weights over ``num_draws``.
    ess_fraction
        Effective sample size of the weights, over their number.
    acceptance_rate
        Mean probability with which a fresh draw replaces a position drawn from the target: estimated with the weights,
        Metropolis's rule.
    pareto_k
        Shape of the generalised Pareto law fitted to the largest weights: 0 or less for bounded weights; above 0.7,
        averages of weights are not to be trusted.
    """

    num_draws: int
    log_normalizer: float
    ess_fraction: float
    acceptance_rate: float
    pareto_k: float


def _pareto_k(log_weights: Float[np.ndarray, " n"]) -> float:
    from arviz_stats.base import array_stats

    tail = log_weights[np.isfinite(log_weights)]
    if tail.size < 25 or np.ptp(np.sort(tail)[-max(5, tail.size // 5) :]) < 1e-10:
        return -math.inf if tail.size >= 25 else math.nan
    try:
        # The function takes log-likelihoods of left-out data, which are minus the log weights.
        return float(array_stats.psislw(-tail)[1])
    except ValueError:
        return -math.inf


def report_weights(log_weights: ArrayLike, *, warn: bool = True) -> WeightReport:
    """Summarise the log weights of independent draws of a proposal, and warn if their tail is heavy.

    Parameters
    ----------
    log_weights
        ``log gamma(x_i) - log q(x_i)``, shape ``(n,)``; ``-inf`` outside the target's support.
    warn
        Whether to warn if ``pareto_k`` is above 0.7.

    Raises
    ------
    ValueError
        If there is no weight, one is NaN or ``+inf``, or all are zero.

    Warns
    -----
    HeavyWeightsWarning
        If ``pareto_k`` is above 0.7.

    References
    ----------
    A. Vehtari, D. Simpson, A. Gelman, Y. Yao and J. Gabry, 2024, Pareto smoothed importance sampling, JMLR 25,
    arXiv:1507.02646.
    """
    values = np.asarray(log_weights, np.float64).reshape(-1)
    if values.size == 0 or np.any(np.isnan(values)) or np.any(np.isposinf(values)):
        raise ValueError(f"expected log weights that are finite or -inf, at least one; got {values}")
    if np.all(np.isneginf(values)):
        raise ValueError(
            "no draw of the proposal has positive probability under the target; their supports are disjoint"
        )
    top = values.max()
    weights = np.exp(values - top)
    normalised = weights / weights.sum()
    ess = 1.0 / (values.size * np.sum(normalised**2))
    # The mean of min(w_i, w_j) over pairs, from the order statistics; over the mean weight it is the acceptance rate.
    ordered = np.sort(normalised)
    n = values.size
    pairs = np.sum(ordered * np.arange(n - 1, -1, -1)) * 2
    rate = pairs / (n - 1) if n > 1 else 1.0
    k = _pareto_k(values)
    if warn and k > 0.7:
        warnings.warn(
            f"the weights of the proposal have a heavy tail (Pareto k = {k:.2f}, above 0.7; effective sample size "
            f"{ess:.3g} of each draw): chains will stick where the proposal is too thin. Widen the proposal, use one "
            "with heavier tails, train it longer, or alternate with a local kernel.",
            HeavyWeightsWarning,
            stacklevel=3,
        )
    return WeightReport(n, float(top + np.log(weights.mean())), float(ess), float(rate), k)
