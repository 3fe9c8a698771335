"""Maximum mean discrepancy: the distance of two samples in the mean of a kernel."""

from typing import Literal

import numpy as np
import scipy.special
from jaxtyping import Float, PRNGKeyArray
from numpy.typing import ArrayLike

from ergodica.samplers.inputs import static_count
from ergodica.validation.quality.generator import generator_of
from ergodica.validation.quality.kernels import DistanceKernel, Gaussian, KernelMatrix, median_scales
from ergodica.validation.quality.permutation import permutation_verdict
from ergodica.validation.quality.sample import same_dimension, sample_weights
from ergodica.validation.quality.verdict import Estimate, Verdict


def squared_discrepancy(
    x: Float[np.ndarray, "n d"],
    y: Float[np.ndarray, "m d"],
    kernel: DistanceKernel,
    weights_x: Float[np.ndarray, " n"],
    weights_y: Float[np.ndarray, " m"],
    *,
    unbiased: bool,
) -> tuple[float, float | None]:
    """Return the squared discrepancy of two weighted samples, and its standard error if both are unweighted.

    The error is that of the linear part of the statistic, for independent draws: right where the laws differ, too
    small where they do not.
    """
    xx = KernelMatrix(x, x, kernel).row_sums(weights_x)
    yy = KernelMatrix(y, y, kernel).row_sums(weights_y)
    xy, yx = KernelMatrix(x, y, kernel).both_sums(weights_x, weights_y)
    n, m = len(x), len(y)
    error = None
    if n > 1 and m > 1:
        error = 2 * float(np.sqrt(np.var(xx - xy, ddof=1) / n + np.var(yy - yx, ddof=1) / m))
    within_x, within_y = weights_x @ xx, weights_y @ yy
    if unbiased:
        self_value = float(kernel(np.zeros(1))[0])
        square_x, square_y = weights_x @ weights_x, weights_y @ weights_y
        within_x = (within_x - self_value * square_x) / (1 - square_x)
        within_y = (within_y - self_value * square_y) / (1 - square_y)
    return float(within_x + within_y - 2 * weights_x @ xy), error


def maximum_mean_discrepancy(
    x: ArrayLike,
    y: ArrayLike,
    *,
    kernel: DistanceKernel,
    estimator: Literal["unbiased", "biased"] = "unbiased",
    weights_x: ArrayLike | None = None,
    weights_y: ArrayLike | None = None,
) -> Estimate:
    """Return the squared maximum mean discrepancy of two samples.

    Parameters
    ----------
    x, y
        Shapes ``(n, d)`` and ``(m, d)``, or ``(n,)`` and ``(m,)``.
    kernel
        Such as ``Gaussian(1.0)`` of :mod:`.kernels`. Values compare only under the same kernel.
    estimator
        ``"unbiased"`` leaves out the pairs of a point with itself and may be negative; ``"biased"`` keeps them.
    weights_x, weights_y
        Weights in any unit; default: equal. The unbiased form is unbiased for equal ones only.

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
    Arthur Gretton et al. (2012), A kernel two-sample test, JMLR 13.
    """
    if estimator not in ("unbiased", "biased"):
        raise ValueError(f"estimator has to be 'unbiased' or 'biased'; got {estimator!r}")
    unbiased = estimator == "unbiased"
    first, second = same_dimension(x, y, at_least=2 if unbiased else 1)
    wx, wy = sample_weights("weights_x", weights_x, len(first)), sample_weights("weights_y", weights_y, len(second))
    if unbiased and max(wx.max(), wy.max()) == 1:
        raise ValueError("the unbiased estimator needs two points with positive weight in each sample")
    value, error = squared_discrepancy(first, second, kernel, wx, wy, unbiased=unbiased)
    weighted = weights_x is not None or weights_y is not None
    return Estimate(value, None if weighted else error, f"squared maximum mean discrepancy, {estimator}")


def maximum_mean_discrepancy_test(
    x: ArrayLike,
    y: ArrayLike,
    *,
    key: PRNGKeyArray,
    kernel: DistanceKernel | None = None,
    permutations: int = 999,
) -> Verdict:
    """Test whether two samples of independent draws have one law, by permutations; the level is exact.

    Parameters
    ----------
    x, y
        Independent draws, shapes ``(n, d)`` and ``(m, d)``; at least two each. The draws of one chain are not
        independent: pass the last draws of independent chains.
    key
        Typed key of the permutations.
    kernel
        Default: Gaussians with 1/4, 1/2, 1, 2 and 4 times the median distance of the pooled points, which do not
        depend on the labels, so that no split of the data is needed.
    permutations
        Number of random splits; all are listed if there are no more than that.

    Returns
    -------
    Verdict
        Its value is the unbiased squared discrepancy.

    Raises
    ------
    TypeError, ValueError
        If a sample is not fit, or the dimensions differ.

    References
    ----------
    Arthur Gretton et al. (2012), A kernel two-sample test, JMLR 13.
    """
    static_count("permutations", permutations)
    first, second = same_dimension(x, y, at_least=2)
    rng = generator_of(key)
    chosen = Gaussian(median_scales(np.concatenate([first, second]), rng)) if kernel is None else kernel
    return permutation_verdict(
        first,
        second,
        chosen,
        permutations,
        rng,
        unbiased=True,
        method="squared maximum mean discrepancy, unbiased",
    )


def cross_discrepancy_test(
    x: ArrayLike, y: ArrayLike, *, key: PRNGKeyArray, kernel: DistanceKernel | None = None
) -> Verdict:
    """Test whether two samples have one law, by the studentised cross discrepancy: no permutations.

    A witness function is built from one half of each sample and compared on the other halves. Under the null
    hypothesis the studentised difference is standard normal in the limit of large samples, so the level is asymptotic.

    Parameters
    ----------
    x, y
        Independent draws, shapes ``(n, d)`` and ``(m, d)``; at least four each.
    key
        Typed key that halves the samples.
    kernel
        Default: Gaussians at multiples of the median distance of the pooled points.

    Returns
    -------
    Verdict
        Its value is the studentised statistic.

    Raises
    ------
    TypeError, ValueError
        If a sample is not fit, the dimensions differ, or the witness is constant, as for constant samples.

    References
    ----------
    Shubhanshu Shekhar, Ilmun Kim and Aaditya Ramdas (2022), A permutation-free kernel two-sample test,
    arXiv:2211.14908.
    """
    first, second = same_dimension(x, y, at_least=4)
    rng = generator_of(key)
    chosen = Gaussian(median_scales(np.concatenate([first, second]), rng)) if kernel is None else kernel
    first, second = rng.permutation(first), rng.permutation(second)
    x1, x2 = first[: len(first) // 2], first[len(first) // 2 :]
    y1, y2 = second[: len(second) // 2], second[len(second) // 2 :]
    x2_weights, y2_weights = np.full(len(x2), 1 / len(x2)), np.full(len(y2), 1 / len(y2))

    def witness(points: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        from_x = KernelMatrix(points, x2, chosen).row_sums(x2_weights)
        return np.asarray(from_x - KernelMatrix(points, y2, chosen).row_sums(y2_weights))

    at_x, at_y = witness(x1), witness(y1)
    error = float(np.sqrt(np.var(at_x, ddof=1) / len(at_x) + np.var(at_y, ddof=1) / len(at_y)))
    if not error > 1e-14 * (np.abs(at_x).max() + np.abs(at_y).max()):
        raise ValueError("the witness function is constant on the samples; use maximum_mean_discrepancy_test")
    statistic = float((at_x.mean() - at_y.mean()) / error)
    smallest = float(np.finfo(float).tiny)
    return Verdict(
        value=statistic,
        p_value=max(float(scipy.special.ndtr(-statistic)), smallest),
        exact=False,
        guarantee="standard normal in the limit of large samples",
        resolution=smallest,
        method="studentised cross maximum mean discrepancy",
        standard_error=1.0,
    )
