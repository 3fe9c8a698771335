"""Kernel Stein discrepancy: distance of a sample from a target of which only the score is known.

Every function ``k0(x, .)`` of the Stein kernel has mean zero under the target, so averages of ``k0`` over a sample
measure how far it is. The inverse multiquadric base kernel makes the discrepancy go to zero only if the sample
converges, for targets whose tails pull inward. It is blind to the weights of well separated modes: look at
:mod:`ergodica.validation.quality.mode_coverage` as well.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import numba
import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.spatial.distance
from jaxtyping import Float, Int, Int8, PRNGKeyArray
from numpy.typing import ArrayLike

from ergodica.samplers.inputs import static_count
from ergodica.validation.quality.generator import generator_of
from ergodica.validation.quality.sample import Score, sample_points, sample_weights, scores_at
from ergodica.validation.quality.threads import over_blocks
from ergodica.validation.quality.verdict import Verdict

Preconditioner = Literal["standardise", "median", "covariance"] | None | ArrayLike

_ROWS = 128
_TILE = 512  # points whose partial sums stay in the first-level cache

_compiled = numba.njit(error_model="numpy", nogil=True, fastmath={"reassoc", "contract", "nsz"})


@_compiled
def _tile(z, w, s, general, i, start, stop, trace, offset, exponent, work):  # type: ignore[no-untyped-def]
    """Write ``k0(i, start:stop)`` into ``work[0]``; ``z`` is whitened, ``w = A x``, coordinates come first."""
    size = stop - start
    square, cross, scores, spread = work[0, :size], work[1, :size], work[2, :size], work[3, :size]
    square[:] = offset
    cross[:] = 0.0
    scores[:] = 0.0
    for k in range(z.shape[0]):
        zk, wk, sk = z[k, start:stop], w[k, start:stop], s[k, start:stop]
        zi, wi, si = z[k, i], w[k, i], s[k, i]
        if general:
            for j in range(size):
                dz = zi - zk[j]
                square[j] += dz * dz
                cross[j] += (wi - wk[j]) * (si - sk[j])
                scores[j] += si * sk[j]
        else:
            for j in range(size):
                dz = zi - zk[j]
                square[j] += dz * dz
                cross[j] += dz * (si - sk[j])
                scores[j] += si * sk[j]
    if general:
        spread[:] = 0.0
        for k in range(z.shape[0]):
            wk = w[k, start:stop]
            for j in range(size):
                dw = w[k, i] - wk[j]
                spread[j] += dw * dw
    else:
        for j in range(size):
            spread[j] = square[j] - offset
    if exponent == -0.5:
        for j in range(size):
            inverse = 1.0 / square[j]
            base = math.sqrt(inverse)
            square[j] = base * (scores[j] + inverse * ((trace + cross[j]) - 3.0 * inverse * spread[j]))
    else:
        for j in range(size):
            inverse = 1.0 / square[j]
            base = square[j] ** exponent
            square[j] = base * (
                scores[j]
                - 2.0 * exponent * inverse * ((trace + cross[j]) + 2.0 * (exponent - 1.0) * inverse * spread[j])
            )


@_compiled
def _rows(z, w, s, general, start, stop, trace, offset, exponent, out):  # type: ignore[no-untyped-def]
    """Write rows ``start:stop`` of the Stein kernel matrix."""
    n = z.shape[1]
    work = np.empty((4, _TILE))
    for i in range(start, stop):
        for first in range(0, n, _TILE):
            last = min(first + _TILE, n)
            _tile(z, w, s, general, i, first, last, trace, offset, exponent, work)
            out[i - start, first:last] = work[0, : last - first]


@_compiled
def _sums(z, w, s, general, start, stop, trace, offset, exponent, weights, sums):  # type: ignore[no-untyped-def]
    """Add rows ``start:stop`` of the upper triangle, without the diagonal, to ``K w`` (both halves)."""
    n = z.shape[1]
    work = np.empty((4, _TILE))
    for i in range(start, stop):
        total = 0.0
        for first in range(i + 1, n, _TILE):
            last = min(first + _TILE, n)
            _tile(z, w, s, general, i, first, last, trace, offset, exponent, work)
            for j in range(first, last):
                total += work[0, j - first] * weights[j]
                sums[j] += work[0, j - first] * weights[i]
        sums[i] += total


@dataclasses.dataclass(frozen=True)
class _SteinKernel:
    """The Stein kernel at the points of a sample; coordinates on the first axis."""

    whitened: Float[np.ndarray, "d n"]
    mapped: Float[np.ndarray, "d n"]
    scores: Float[np.ndarray, "d n"]
    general: bool
    trace: float
    offset: float
    exponent: float

    @property
    def size(self) -> int:
        return self.scores.shape[1]

    def _arguments(self) -> tuple[Any, ...]:
        return self.whitened, self.mapped, self.scores, self.general

    def diagonal(self) -> Float[np.ndarray, " n"]:
        b = self.exponent
        diagonal: Float[np.ndarray, " n"] = self.offset**b * (
            np.einsum("dn,dn->n", self.scores, self.scores) - 2 * b * self.trace / self.offset
        )
        return diagonal

    def rows(self, start: int, stop: int) -> Float[np.ndarray, "rows n"]:
        out = np.empty((stop - start, self.size))
        _rows(*self._arguments(), start, stop, self.trace, self.offset, self.exponent, out)
        return out

    def off_diagonal_sums(self, weights: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Return ``(K - diag K) weights`` in memory linear in the number of points."""

        def part(start: int, stop: int) -> Float[np.ndarray, " n"]:
            sums = np.zeros(self.size)
            _sums(*self._arguments(), start, stop, self.trace, self.offset, self.exponent, weights, sums)
            return sums

        total = np.zeros(self.size)
        for sums in over_blocks(part, self.size, max(_ROWS, self.size // 256)):
            total += sums
        return total


def _median_distance(points: Float[np.ndarray, "n d"]) -> float:
    few = points[:: max(1, len(points) // 1000)]
    distances = scipy.spatial.distance.pdist(few)
    return float(np.median(distances)) if distances.size else 0.0


def _stein_kernel(
    points: Float[np.ndarray, "n d"],
    scores: Float[np.ndarray, "n d"],
    preconditioner: Preconditioner,
    exponent: float,
    offset: float,
) -> _SteinKernel:
    if not -1 < exponent < 0:
        raise ValueError(f"exponent has to lie in (-1, 0), or the discrepancy does not see convergence; got {exponent}")
    if not (0 < offset < math.inf):
        raise ValueError(f"offset has to be positive and finite; got {offset}")
    dim = points.shape[1]
    x = points - points.mean(axis=0)
    matrix: Float[np.ndarray, "d d"] | None = None
    if isinstance(preconditioner, str):
        if preconditioner == "standardise":
            scale = np.abs(x).mean(axis=0)
            if len(x) < 2 or np.any(scale <= 1e-12 * np.abs(points).max(axis=0)):
                raise ValueError(
                    f"coordinate {int(np.argmin(scale))} is constant, so it cannot be standardised; pass "
                    "preconditioner=None, or a matrix"
                )
            x, scores = x / scale, scores * scale
        elif preconditioner == "median":
            distance = _median_distance(points)
            if distance == 0:
                raise ValueError("the median distance of the points is zero; pass preconditioner=None, or a matrix")
            matrix = np.eye(dim) / distance**2
        elif preconditioner == "covariance":
            covariance = np.atleast_2d(np.cov(x.T)) if len(x) > dim else np.zeros((dim, dim))
            if np.linalg.matrix_rank(covariance, hermitian=True) < dim:
                raise ValueError("the covariance of the points is singular; pass preconditioner=None, or a matrix")
            matrix = np.linalg.inv(covariance)
        else:
            raise ValueError(
                "preconditioner has to be 'standardise', 'median', 'covariance', None or a matrix; "
                f"got {preconditioner!r}"
            )
    elif preconditioner is not None:
        matrix = np.asarray(preconditioner, np.float64)
        if matrix.shape != (dim, dim) or not np.all(np.isfinite(matrix)) or not np.allclose(matrix, matrix.T):
            raise ValueError(f"the preconditioner has to be a symmetric matrix of shape ({dim}, {dim}); got {matrix}")
    transposed = np.ascontiguousarray(scores.T)
    if matrix is None:
        plain = np.ascontiguousarray(x.T)
        return _SteinKernel(plain, plain, transposed, False, float(dim), offset**2, exponent)
    try:
        factor = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        raise ValueError("the preconditioner has to be positive definite") from None
    return _SteinKernel(
        np.ascontiguousarray((x @ factor).T),
        np.ascontiguousarray((x @ matrix).T),
        transposed,
        True,
        float(np.trace(matrix)),
        offset**2,
        exponent,
    )


def stein_kernel_matrix(
    points: ArrayLike,
    score: Score | ArrayLike | None = None,
    *,
    logdensity: Callable[[Any], Any] | None = None,
    preconditioner: Preconditioner = "standardise",
    exponent: float = -0.5,
    offset: float = 1.0,
) -> Float[np.ndarray, "n n"]:
    """Return the matrix ``k0(x_i, x_j)``, for samples small enough to hold it.

    Parameters
    ----------
    points, score, logdensity, preconditioner, exponent, offset
        As in :func:`kernel_stein_discrepancy`.
    """
    x = sample_points("points", points)
    kernel = _stein_kernel(x, scores_at(x, score, logdensity), preconditioner, exponent, offset)
    return kernel.rows(0, kernel.size)


@dataclasses.dataclass(frozen=True)
class KernelSteinDiscrepancy:
    """The kernel Stein discrepancy of a sample.

    Parameters
    ----------
    value
        Its V-statistic, the square root of the weighted mean of the kernel over all pairs; never negative.
    squared_unbiased
        The mean over pairs of different points: unbiased for the square, if the points are independent and not
        weighted; may be negative. NaN for a single point.
    standard_error
        Standard error of ``squared_unbiased`` away from the target, for independent points; at the target it is too
        small, as the statistic is degenerate there. ``None`` for fewer than three points, and for weighted ones.
    method
        What was computed, in words.
    """

    value: float
    squared_unbiased: float
    standard_error: float | None
    method: str


def _finite(value: float) -> float:
    if not np.isfinite(value):
        raise ValueError("the discrepancy overflows: points or scores are too large; standardise them")
    return float(value)


def kernel_stein_discrepancy(
    points: ArrayLike,
    score: Score | ArrayLike | None = None,
    *,
    logdensity: Callable[[Any], Any] | None = None,
    weights: ArrayLike | None = None,
    preconditioner: Preconditioner = "standardise",
    exponent: float = -0.5,
    offset: float = 1.0,
) -> KernelSteinDiscrepancy:
    """Return the kernel Stein discrepancy of a sample, with the inverse multiquadric kernel.

    The base kernel is ``(c^2 + r^T A r)^b`` with ``r = x - y``, offset ``c``, exponent ``b`` and preconditioner ``A``.
    Time is quadratic in the number of points, memory linear.

    Parameters
    ----------
    points
        Shape ``(n, d)`` or ``(n,)``.
    score
        Scores of shape ``(n, d)``, or a function of one point; see :func:`~ergodica.validation.quality.sample.scores_at`.
    logdensity
        Log density of one point, instead of ``score``.
    weights
        Shape ``(n,)``, any unit; default: equal.
    preconditioner
        ``"standardise"`` divides each coordinate by its mean absolute deviation and takes ``A = I`` there;
        ``"median"`` takes ``A = I / med^2`` with the median distance; ``"covariance"`` its inverse; ``None`` takes
        ``A = I``; a matrix of shape ``(d, d)`` is taken as it is. Values compare only under the same ``A``.
    exponent
        ``b`` in (-1, 0).
    offset
        ``c``, positive.

    Raises
    ------
    TypeError, ValueError
        If the sample, scores or weights are not fit (:mod:`ergodica.validation.quality.sample`), a coordinate that is to
        be standardised is constant, or the matrix is not positive definite.

    References
    ----------
    Jackson Gorham and Lester Mackey (2017), Measuring sample quality with kernels, arXiv:1703.01717.
    """
    x = sample_points("points", points)
    w = sample_weights("weights", weights, len(x))
    kernel = _stein_kernel(x, scores_at(x, score, logdensity), preconditioner, exponent, offset)
    n = kernel.size
    rows = kernel.off_diagonal_sums(w)
    off = float(w @ rows)
    total = _finite(off + float(w**2 @ kernel.diagonal()))
    distinct = 1 - float(w @ w)
    error = None
    if weights is None and n > 2:
        error = float(2 * np.std(rows * n / (n - 1), ddof=1) / np.sqrt(n))
    return KernelSteinDiscrepancy(
        value=float(np.sqrt(max(total, 0.0))),
        squared_unbiased=off / distinct if distinct > 1e-12 else math.nan,
        standard_error=error,
        method=f"kernel Stein discrepancy, inverse multiquadric, exponent {exponent:g}",
    )


def _signs(rng: np.random.Generator, n: int, replicates: int, flip: float) -> Int8[np.ndarray, "n replicates"]:
    """Return columns of ones (the first) and of signs that change with probability ``flip`` from row to row."""
    signs = np.ones((n, replicates + 1), np.int8)
    signs[0, 1:] = 1 - 2 * rng.integers(0, 2, replicates, np.int8)
    for i in range(1, n):
        signs[i, 1:] = np.where(rng.random(replicates) < flip, -signs[i - 1, 1:], signs[i - 1, 1:])
    return signs


def _shifted_rows(kernel: _SteinKernel, shift: int, start: int, stop: int) -> Float[np.ndarray, "rows n"]:
    return kernel.rows(shift + start, shift + stop)


def kernel_stein_test(
    points: ArrayLike,
    score: Score | ArrayLike | None = None,
    *,
    key: PRNGKeyArray,
    logdensity: Callable[[Any], Any] | None = None,
    replicates: int = 999,
    flip: float = 0.5,
    preconditioner: Preconditioner = "standardise",
    exponent: float = -0.5,
    offset: float = 1.0,
) -> Verdict:
    """Test whether a sample comes from the target, by the wild bootstrap of the unbiased statistic.

    The level holds in the limit of many points only. Where the target can be sampled, hand the discrepancy to
    :func:`.monte_carlo_test.monte_carlo_test`, whose level is exact.

    Parameters
    ----------
    points, score, logdensity, preconditioner, exponent, offset
        As in :func:`kernel_stein_discrepancy`; at least two points.
    key
        Typed key of the signs.
    replicates
        Bootstrap replicates.
    flip
        Probability that the sign changes from one point to the next: 1/2 for independent points, less for the draws
        of a chain in order, about one over its autocorrelation time.

    Returns
    -------
    Verdict
        Its value is the unbiased estimate of the squared discrepancy.

    Raises
    ------
    TypeError, ValueError
        As :func:`kernel_stein_discrepancy`.

    References
    ----------
    Kacper Chwialkowski, Heiko Strathmann and Arthur Gretton (2016), A kernel test of goodness of fit,
    arXiv:1602.02964.
    """
    static_count("replicates", replicates)
    if not 0 < flip <= 0.5:
        raise ValueError(f"flip has to lie in (0, 1/2]; got {flip}")
    x = sample_points("points", points, at_least=2)
    kernel = _stein_kernel(x, scores_at(x, score, logdensity), preconditioner, exponent, offset)
    n = kernel.size
    signs = _signs(generator_of(key), n, replicates, flip)
    forms = np.zeros(replicates + 1)
    for start in range(0, n, 256):
        stop = min(start + 256, n)
        rows = functools.partial(_shifted_rows, kernel, start)
        block = np.concatenate(list(over_blocks(rows, stop - start, 32)))
        for b in range(0, replicates + 1, 250):
            some = signs[:, b : b + 250].astype(np.float64)
            forms[b : b + 250] += np.einsum("ib,ib->b", some[start:stop], block @ some)
    statistics = (forms - kernel.diagonal().sum()) / (n * (n - 1))
    observed = _finite(statistics[0])
    exceeding = int(np.sum(statistics[1:] >= observed))
    return Verdict(
        value=observed,
        p_value=(1 + exceeding) / (replicates + 1),
        exact=False,
        guarantee="wild bootstrap; the level holds as the number of points grows",
        resolution=1 / (replicates + 1),
        method="squared kernel Stein discrepancy, unbiased",
        reference=statistics[1:],
    )


@dataclasses.dataclass(frozen=True)
class SteinThinning:
    """A subset of a sample that is close to the target.

    Parameters
    ----------
    indices
        Chosen points in order, shape ``(m,)``; repeats are allowed, and mean weight.
    values
        Discrepancy of the first ``1, ..., m`` chosen points.
    method
        What was computed, in words.
    """

    indices: Int[np.ndarray, " m"]
    values: Float[np.ndarray, " m"]
    method: str


def stein_thinning(
    points: ArrayLike,
    size: int,
    score: Score | ArrayLike | None = None,
    *,
    logdensity: Callable[[Any], Any] | None = None,
    preconditioner: Preconditioner = "standardise",
    exponent: float = -0.5,
    offset: float = 1.0,
) -> SteinThinning:
    """Choose points of a sample, greedily, so that their discrepancy is small; it corrects for burn-in and bias.

    Each choice minimises the discrepancy of the points chosen so far and itself. It costs one row of the kernel
    matrix.

    Parameters
    ----------
    points, score, logdensity, preconditioner, exponent, offset
        As in :func:`kernel_stein_discrepancy`. The points may be correlated and biased.
    size
        Number of points to choose; may exceed the number of points.

    Raises
    ------
    TypeError, ValueError
        As :func:`kernel_stein_discrepancy`.

    References
    ----------
    Marina Riabiz et al. (2022), Optimal thinning of MCMC output, JRSS B 84, arXiv:2005.03952.
    """
    static_count("size", size)
    x = sample_points("points", points)
    kernel = _stein_kernel(x, scores_at(x, score, logdensity), preconditioner, exponent, offset)
    diagonal = kernel.diagonal()
    objective = diagonal.copy()  # k0(i, i) + 2 sum over chosen l of k0(l, i)
    _finite(float(objective.sum()))
    indices = np.empty(size, int)
    values = np.empty(size)
    total = 0.0
    for j in range(size):
        chosen = int(np.argmin(objective))
        indices[j] = chosen
        total += objective[chosen]
        values[j] = np.sqrt(max(total, 0.0)) / (j + 1)
        objective += 2 * kernel.rows(chosen, chosen + 1)[0]
    return SteinThinning(indices, values, f"Stein thinning to {size} of {kernel.size} points")


def stein_weights(
    points: ArrayLike,
    score: Score | ArrayLike | None = None,
    *,
    logdensity: Callable[[Any], Any] | None = None,
    preconditioner: Preconditioner = "standardise",
    exponent: float = -0.5,
    offset: float = 1.0,
) -> Float[np.ndarray, " n"]:
    """Return the weights, not negative and of sum one, that minimise the discrepancy of a sample.

    Parameters
    ----------
    points, score, logdensity, preconditioner, exponent, offset
        As in :func:`kernel_stein_discrepancy`; at most 3000 points, as the matrix is held and factorised.

    Returns
    -------
    array of shape (n,)
        Most are zero where the points are not like the target.

    Raises
    ------
    TypeError, ValueError
        As :func:`kernel_stein_discrepancy`; if there are too many points.
    RuntimeError
        If the optimum was not found.

    References
    ----------
    Qiang Liu and Jason Lee (2017), Black-box importance sampling, arXiv:1610.05247.
    """
    x = sample_points("points", points)
    if len(x) > 3000:
        raise ValueError(f"stein_weights takes at most 3000 points; got {len(x)}. Thin them first (stein_thinning).")
    matrix = stein_kernel_matrix(
        x, scores_at(x, score, logdensity), preconditioner=preconditioner, exponent=exponent, offset=offset
    )
    _finite(float(matrix.sum()))
    # Up to scale, the minimum over the simplex is that of w K w / 2 - sum(w) over w >= 0: non-negative least squares.
    # The ridge keeps repeated points from making the factor singular.
    scale = np.trace(matrix) / len(x)
    matrix = matrix + 1e-10 * scale * np.eye(len(x))
    factor = np.linalg.cholesky(matrix / scale).T
    right = scipy.linalg.solve_triangular(factor, np.ones(len(x)), trans="T")
    weights, _ = scipy.optimize.nnls(factor, right, maxiter=30 * len(x))
    if not weights.sum() > 0:
        raise RuntimeError("no optimal weights were found; standardise the points, or pass fewer")
    return np.asarray(weights / weights.sum())
