"""Bands that hold a whole empirical distribution function at once, with their exact coverage.

For ``N`` independent uniform numbers and the grid ``z_j = j / K``, the counts ``X_j = #{u <= z_j}`` are binomial. A band
cuts the same tail probability ``gamma / 2`` off every one of them; how often all counts are inside is no product, but
the counts are a Markov chain, so it can be summed step by step. Given their total, the counts are those of a Poisson
process, which makes every step a convolution with one fixed kernel.

The same sum gives the exact p-value of the smallest tail that a sample meets, so that the picture and the test agree.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike
from scipy import special

from ergodica.samplers.inputs import static_count
from ergodica.validation.quality.verdict import Verdict

# No p-value is reported below this: what the truncated convolutions leave out is far smaller.
_FLOOR = 1e-25
# Tails that differ by round-off only count as equal, to the side that keeps the p-value valid.
_SLACK = 1 + 1e-10


@dataclasses.dataclass(frozen=True)
class EcdfBand:
    """A simultaneous band of counts.

    Parameters
    ----------
    size
        Number ``N`` of values.
    points
        Grid ``z_j``, shape ``(K - 1,)``.
    lower, upper
        Smallest and largest counts of values at most ``z_j`` that are inside, shape ``(K - 1,)``.
    gamma
        Tail probability that is cut off at each point.
    coverage
        Exact probability that the counts of uniform values are inside everywhere; the false-alarm probability of "a
        count is outside" is one minus it.
    """

    size: int
    points: Float[np.ndarray, " K-1"]
    lower: Int[np.ndarray, " K-1"]
    upper: Int[np.ndarray, " K-1"]
    gamma: float
    coverage: float

    def contains(self, counts: ArrayLike) -> bool:
        """Whether all counts are inside.

        Raises
        ------
        ValueError
            If the number of counts is not that of the points.
        """
        x = np.asarray(counts)
        if x.shape != self.points.shape:
            raise ValueError(f"expected counts of shape {self.points.shape}, one a point of the band; got {x.shape}")
        return bool(np.all((self.lower <= x) & (x <= self.upper)))

    @property
    def differences(self) -> tuple[Float[np.ndarray, " K-1"], Float[np.ndarray, " K-1"]]:
        """The limits of ``X_j / N - z_j``: the band of the picture of ECDF differences."""
        return self.lower / self.size - self.points, self.upper / self.size - self.points


def _first(
    beyond: Callable[[Int[np.ndarray, " m"]], Bool[np.ndarray, " m"]], size: int, count: int
) -> Int[np.ndarray, " m"]:
    """Return the smallest counts from which on a condition holds; ``size`` where it never does before."""
    low, high = np.zeros(count, int), np.full(count, size)
    while np.any(low < high):
        middle = (low + high) // 2
        there = beyond(middle)
        low, high = np.where(there, low, middle + 1), np.where(there, middle, high)
    return low


def _limits(
    size: int, points: Float[np.ndarray, " m"], tail: float
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """Return the smallest counts with ``P(X <= x) >= tail``, and the largest with ``P(X >= x) > tail``."""
    # By bisection on distribution functions, which keep their relative accuracy in the far tails; SciPy's quantiles do not.
    lower = _first(lambda x: special.bdtr(x, size, points) >= tail, size, points.size)
    upper = _first(lambda x: special.bdtrc(x, size, points) <= tail, size, points.size)
    return lower, upper


def _crossing(size: int, cells: int, lower: Int[np.ndarray, " m"], upper: Int[np.ndarray, " m"]) -> tuple[float, float]:
    """Return the probabilities that the counts stay inside, and that they leave: each a sum of positive terms."""
    rate = size / cells
    jumps = np.arange(size + 1)
    kernel = np.exp(special.xlogy(jumps, rate) - rate - special.gammaln(jumps + 1))
    kernel = kernel[: np.flatnonzero(kernel > 1e-60)[-1] + 1]
    total = np.exp(size * np.log(size) - size - special.gammaln(size + 1.0))
    inside, first, left = np.ones(1), 0, 0.0
    for j, (low, high) in enumerate(zip(lower, upper, strict=True), start=1):
        moved = np.convolve(inside, kernel)[: size + 1 - first]
        values = first + np.arange(moved.size)
        outside = (values < low) | (values > high)
        rest = size - values[outside]
        ahead = size - j * rate
        arrives = np.exp(special.xlogy(rest, ahead) - ahead - special.gammaln(rest + 1))
        left += float(moved[outside] @ arrives)
        inside = moved[~outside]
        if inside.size == 0:
            return 0.0, 1.0
        first = int(values[~outside][0])
    rest = size - first - np.arange(inside.size)
    arrives = np.exp(special.xlogy(rest, rate) - rate - special.gammaln(rest + 1))
    return float(inside @ arrives / total), left / total


def _grid(cells: int) -> Float[np.ndarray, " cells-1"]:
    return np.asarray(np.arange(1, cells) / cells)


def band_coverage(size: int, cells: int, gamma: float) -> float:
    """Return the exact probability that all counts of uniform values are within pointwise limits.

    Parameters
    ----------
    size
        Number ``N`` of values.
    cells
        Number ``K`` of cells, at least two; the grid is ``1 / K, ..., (K - 1) / K``.
    gamma
        Tail probability cut off at each point, in (0, 1).

    References
    ----------
    Teemu Säilynoja, Paul-Christian Bürkner and Aki Vehtari (2022), Graphical test for discrete uniformity and its
    applications in goodness-of-fit evaluation and multiple sample comparison, Statistics and Computing 32,
    arXiv:2103.10522.
    """
    size, cells = static_count("size", size), static_count("cells", cells, at_least=2)
    if not 0 < gamma < 1:
        raise ValueError(f"gamma has to lie in (0, 1); got {gamma}")
    return _crossing(size, cells, *_limits(size, _grid(cells), gamma / 2))[0]


@functools.lru_cache(maxsize=64)
def ecdf_band(size: int, cells: int, level: float = 0.05) -> EcdfBand:
    """Return the narrowest band with equal tails that uniform values leave with probability at most ``level``.

    Parameters
    ----------
    size
        Number ``N`` of values.
    cells
        Number ``K`` of cells, at least two. For ranks in ``0, ..., L`` take a divisor of ``L + 1``.
    level
        Bound of the false-alarm probability, in (0, 1). The exact one is ``1 - coverage``: coverage jumps with
        ``gamma``, so the largest ``gamma`` with enough coverage is taken.

    Returns
    -------
    EcdfBand
        Kept for later calls with the same arguments.

    References
    ----------
    As :func:`band_coverage`.
    """
    size, cells = static_count("size", size), static_count("cells", cells, at_least=2)
    if not 0 < level < 1:
        raise ValueError(f"level has to lie in (0, 1); got {level}")
    points = _grid(cells)
    low, high = 0.0, 1.0
    limits = (np.zeros(cells - 1, int), np.full(cells - 1, size))
    coverage = 1.0
    for _ in range(60):
        gamma = (low + high) / 2
        tried = _limits(size, points, gamma / 2)
        if np.any(tried[0] > tried[1]):
            high = gamma
            continue
        inside = coverage if all(map(np.array_equal, tried, limits)) else _crossing(size, cells, *tried)[0]
        if inside >= 1 - level:
            low, limits, coverage = gamma, tried, inside
        else:
            high = gamma
    return EcdfBand(size, points, *limits, gamma=low, coverage=coverage)


def counts_below(cell: Int[np.ndarray, " N"], cells: int) -> Int[np.ndarray, " cells-1"]:
    """Return the numbers of values in the first ``1, ..., cells - 1`` cells."""
    return np.asarray(np.cumsum(np.bincount(cell, minlength=cells))[:-1])


def _verdict(cell: Int[np.ndarray, " N"], cells: int) -> Verdict:
    size, points = cell.size, _grid(cells)
    counts = counts_below(cell, cells)
    below = special.bdtr(counts, size, points)
    above = np.where(counts > 0, special.bdtrc(np.maximum(counts - 1, 0), size, points), 1.0)
    tails = np.minimum(below, above)
    worst = int(np.argmin(tails))
    smallest = float(tails[worst])
    lower, upper = _limits(size, points, min(smallest * _SLACK, 1.0))
    # Where the limits meet or cross, every sample has a tail as small, and the p-value is one.
    pvalue = 1.0 if np.any(lower > upper) else _crossing(size, cells, lower, upper)[1]
    return Verdict(
        value=float(-np.log(max(2 * smallest, 1e-300))),
        p_value=float(min(1.0, max(pvalue * _SLACK, _FLOOR))),
        exact=True,
        guarantee="exact law of the smallest tail of the counts, for independent values; P(p <= u) <= u for every size",
        resolution=_FLOOR,
        method=f"ECDF at {cells - 1} points, worst at {points[worst]:.3g} with {counts[worst]} of {size} below",
    )


def rank_cells(ranks: ArrayLike, num_ranks: int, cells: int | None) -> tuple[Int[np.ndarray, " N"], int]:
    """Check ranks, and return the cells that they fall into, and how many cells there are.

    Raises
    ------
    TypeError, ValueError
        If a rank is no integer in ``0, ..., num_ranks - 1``, there are none, or the cells do not divide the ranks.
    """
    num_ranks = static_count("num_ranks", num_ranks, at_least=2)
    cells = num_ranks if cells is None else static_count("cells", cells, at_least=2)
    x = np.asarray(ranks)
    if x.ndim != 1 or x.size == 0:
        raise ValueError(f"expected ranks of shape (simulations,), at least one; got shape {x.shape}")
    if not np.issubdtype(x.dtype, np.integer):
        raise TypeError(f"ranks have to be integers; got dtype {x.dtype}. For values in [0, 1] use uniform_ecdf_test")
    if x.min() < 0 or x.max() >= num_ranks:
        raise ValueError(f"ranks have to lie in 0, ..., {num_ranks - 1}; they reach from {x.min()} to {x.max()}")
    if num_ranks % cells:
        raise ValueError(
            f"{cells} cells do not divide the {num_ranks} ranks evenly, so that right ranks would not be uniform on them; "
            f"draws + 1 has to be a multiple of the cells (99 draws for 20 cells)"
        )
    return np.asarray(x // (num_ranks // cells)), cells


def rank_ecdf_test(ranks: ArrayLike, num_ranks: int, *, cells: int | None = None) -> Verdict:
    """Test independent ranks for uniformity by their distribution function.

    Parameters
    ----------
    ranks
        Independent ranks in ``0, ..., num_ranks - 1``, shape ``(N,)``.
    num_ranks
        Number of possible ranks: draws plus one.
    cells
        Divisor of ``num_ranks``; default: every rank is a cell.

    Returns
    -------
    Verdict
        Its p-value is exact; at level ``alpha`` it rejects where a count is outside the band of that level.

    Raises
    ------
    TypeError, ValueError
        If there are no ranks, one is out of range, or the cells do not divide their number.

    References
    ----------
    As :func:`band_coverage`.
    """
    return _verdict(*rank_cells(ranks, num_ranks, cells))


def uniform_ecdf_test(values: ArrayLike, *, cells: int = 100) -> Verdict:
    """Test independent values, such as probability integral transforms, for uniformity on [0, 1].

    Parameters
    ----------
    values
        Independent values in [0, 1], shape ``(N,)``.
    cells
        Number of cells of the grid.

    Returns
    -------
    Verdict
        Its p-value is exact.

    Raises
    ------
    ValueError
        If there are no values, or one is NaN or outside [0, 1].
    """
    cells = static_count("cells", cells, at_least=2)
    u = np.asarray(values, float)
    if u.ndim != 1 or u.size == 0:
        raise ValueError(f"expected values of shape (N,), at least one; got shape {u.shape}")
    if not np.all((u >= 0) & (u <= 1)):
        raise ValueError(f"values have to lie in [0, 1]; got {u[~((u >= 0) & (u <= 1))][0]}")
    return _verdict(np.searchsorted(_grid(cells), u, side="left"), cells)
