"""Energy distance: what two samples differ by in their mean distances."""

from typing import Literal

from jaxtyping import PRNGKeyArray
from numpy.typing import ArrayLike

from ergodica.samplers.inputs import static_count
from ergodica.validation.quality.generator import generator_of
from ergodica.validation.quality.kernels import NegativeDistance
from ergodica.validation.quality.maximum_mean_discrepancy import squared_discrepancy
from ergodica.validation.quality.permutation import permutation_verdict
from ergodica.validation.quality.sample import same_dimension, sample_weights
from ergodica.validation.quality.verdict import Estimate, Verdict


def energy_distance(
    x: ArrayLike,
    y: ArrayLike,
    *,
    estimator: Literal["unbiased", "biased"] = "biased",
    weights_x: ArrayLike | None = None,
    weights_y: ArrayLike | None = None,
) -> Estimate:
    """Return the energy distance ``2 E|X - Y| - E|X - X'| - E|Y - Y'|`` of two samples.

    Parameters
    ----------
    x, y
        Shapes ``(n, d)`` and ``(m, d)``, or ``(n,)`` and ``(m,)``. The unit of the coordinates matters.
    estimator
        ``"biased"`` keeps the pairs of a point with itself: never negative, zero for equal samples; ``"unbiased"``
        leaves them out.
    weights_x, weights_y
        Weights in any unit; default: equal.

    Returns
    -------
    Estimate
        The standard error is for independent draws of different laws; ``None`` for weighted samples.

    Raises
    ------
    TypeError, ValueError
        If a sample or its weights are not fit, or the dimensions differ.

    References
    ----------
    Gábor Székely and Maria Rizzo (2013), Energy statistics, Journal of Statistical Planning and Inference 143(8).
    """
    if estimator not in ("unbiased", "biased"):
        raise ValueError(f"estimator has to be 'unbiased' or 'biased'; got {estimator!r}")
    unbiased = estimator == "unbiased"
    first, second = same_dimension(x, y, at_least=2 if unbiased else 1)
    wx, wy = sample_weights("weights_x", weights_x, len(first)), sample_weights("weights_y", weights_y, len(second))
    if unbiased and max(wx.max(), wy.max()) == 1:
        raise ValueError("the unbiased estimator needs two points with positive weight in each sample")
    value, error = squared_discrepancy(first, second, NegativeDistance(), wx, wy, unbiased=unbiased)
    weighted = weights_x is not None or weights_y is not None
    return Estimate(
        value if unbiased else max(value, 0.0), None if weighted else error, f"energy distance, {estimator}"
    )


def energy_test(x: ArrayLike, y: ArrayLike, *, key: PRNGKeyArray, permutations: int = 999) -> Verdict:
    """Test whether two samples of independent draws have one law, by permutations; the level is exact.

    Parameters
    ----------
    x, y
        Independent draws, shapes ``(n, d)`` and ``(m, d)``; at least two each.
    key
        Typed key of the permutations.
    permutations
        Number of random splits; all are listed if there are no more than that.

    Raises
    ------
    TypeError, ValueError
        If a sample is not fit, or the dimensions differ.

    References
    ----------
    Gábor Székely and Maria Rizzo (2013), Energy statistics, Journal of Statistical Planning and Inference 143(8).
    """
    static_count("permutations", permutations)
    first, second = same_dimension(x, y, at_least=2)
    return permutation_verdict(
        first,
        second,
        NegativeDistance(),
        permutations,
        generator_of(key),
        unbiased=False,
        method="energy distance, biased",
    )
