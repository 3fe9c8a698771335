"""Kernels of distances, evaluated in blocks, and what two-sample statistics need of the pooled kernel matrix."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Protocol

import numba
import numpy as np
import scipy.spatial.distance
from jaxtyping import Float

from ergodica.validation.quality.threads import over_blocks

_TILE = 256
_BLOCK = 2**22  # entries of a block of rows, 32 MB


@numba.njit(error_model="numpy", nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _squared_distances(x, y, start, stop, out):  # type: ignore[no-untyped-def]
    """Write the squared distances of columns ``start:stop`` of ``x`` from all columns of ``y``."""
    n, dim = y.shape[1], x.shape[0]
    for first in range(0, n, _TILE):
        last = min(first + _TILE, n)
        for i in range(start, stop):
            row = out[i - start, first:last]
            row[:] = 0.0
            k = 0
            while k + 4 <= dim:  # four coordinates for each visit of the row: half of the memory traffic
                xa, xb, xc, xd = x[k, i], x[k + 1, i], x[k + 2, i], x[k + 3, i]
                ya, yb, yc, yd = y[k, first:last], y[k + 1, first:last], y[k + 2, first:last], y[k + 3, first:last]
                for j in range(last - first):
                    a, b, c, d = xa - ya[j], xb - yb[j], xc - yc[j], xd - yd[j]
                    row[j] += (a * a + b * b) + (c * c + d * d)
                k += 4
            while k < dim:
                xa, ya = x[k, i], y[k, first:last]
                for j in range(last - first):
                    a = xa - ya[j]
                    row[j] += a * a
                k += 1


class DistanceKernel(Protocol):
    """A symmetric function of the distance of two points."""

    def __call__(self, squared: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Return the kernel at squared distances; the argument may be overwritten."""


def _scales(scales: Sequence[float] | float) -> tuple[float, ...]:
    values = np.atleast_1d(np.asarray(scales, np.float64))
    if values.ndim != 1 or values.size == 0 or not np.all(np.isfinite(values)) or np.any(values <= 0):
        raise ValueError(f"length scales have to be positive and finite; got {scales}")
    return tuple(float(value) for value in values)


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """The sum over length scales ``l`` of ``exp(-r^2 / (2 l^2))``.

    Parameters
    ----------
    scales
        One length scale or several, positive.
    """

    scales: Sequence[float] | float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", _scales(self.scales))

    def __call__(self, squared: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Return the kernel at squared distances."""
        scales = _scales(self.scales)
        total = np.exp(squared * (-0.5 / scales[0] ** 2))
        for scale in scales[1:]:
            total += np.exp(squared * (-0.5 / scale**2))
        return total


@dataclasses.dataclass(frozen=True)
class InverseMultiquadric:
    """The sum over length scales ``l`` of ``(1 + r^2 / l^2)^(-1/2)``.

    Parameters
    ----------
    scales
        One length scale or several, positive.
    """

    scales: Sequence[float] | float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", _scales(self.scales))

    def __call__(self, squared: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Return the kernel at squared distances."""
        scales = _scales(self.scales)
        total = 1 / np.sqrt(1 + squared / scales[0] ** 2)
        for scale in scales[1:]:
            total += 1 / np.sqrt(1 + squared / scale**2)
        return total


@dataclasses.dataclass(frozen=True)
class NegativeDistance:
    """The kernel ``-r``, whose squared mean discrepancy is the energy distance."""

    def __call__(self, squared: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Return the kernel at squared distances."""
        np.sqrt(squared, out=squared)
        return np.negative(squared, out=squared)


def median_scales(
    pooled: Float[np.ndarray, "N d"], rng: np.random.Generator, factors: Sequence[float] = (0.25, 0.5, 1, 2, 4)
) -> tuple[float, ...]:
    """Return multiples of the median distance of pooled points.

    At most 1000 points are used, chosen at random without a look at which sample they are from: given the pooled points
    and the choice, all splits stay equally probable, so permutation tests stay exact.

    Parameters
    ----------
    pooled
        Points of both samples.
    rng
        Generator that chooses the points.
    factors
        Multiples.

    Raises
    ------
    ValueError
        If more than half of the points coincide, so that the median distance is zero.
    """
    few = pooled if len(pooled) <= 1000 else pooled[rng.choice(len(pooled), 1000, replace=False)]
    distances = scipy.spatial.distance.pdist(few)
    median = float(np.median(distances)) if distances.size else 0.0
    if median == 0:
        raise ValueError("the median distance of the pooled points is zero; give a kernel with length scales")
    return tuple(factor * median for factor in factors)


@dataclasses.dataclass(frozen=True)
class KernelMatrix:
    """The kernel matrix between two samples, in blocks of rows.

    Parameters
    ----------
    x, y
        Shapes ``(n, d)`` and ``(m, d)``.
    kernel
        The kernel.
    """

    x: Float[np.ndarray, "n d"]
    y: Float[np.ndarray, "m d"]
    kernel: DistanceKernel

    def blocks(self) -> Iterator[tuple[int, Float[np.ndarray, "rows m"]]]:
        """Yield blocks of rows with the number of their first one."""
        x, y = np.ascontiguousarray(self.x.T), np.ascontiguousarray(self.y.T)

        def block(start: int, stop: int) -> tuple[int, Float[np.ndarray, "rows m"]]:
            squared = np.empty((stop - start, y.shape[1]))
            _squared_distances(x, y, start, stop, squared)
            return start, self.kernel(squared)

        rows = max(1, min(_BLOCK // max(1, len(self.y)) // 4, 256))
        yield from over_blocks(block, len(self.x), rows)

    def row_sums(self, weights: Float[np.ndarray, " m"]) -> Float[np.ndarray, " n"]:
        """Return the matrix times a vector."""
        return np.concatenate([block @ weights for _, block in self.blocks()])

    def both_sums(
        self, weights_x: Float[np.ndarray, " n"], weights_y: Float[np.ndarray, " m"]
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " m"]]:
        """Return the matrix times ``weights_y``, and its transpose times ``weights_x``."""
        rows, columns = np.empty(len(self.x)), np.zeros(len(self.y))
        for start, block in self.blocks():
            rows[start : start + len(block)] = block @ weights_y
            columns += weights_x[start : start + len(block)] @ block
        return rows, columns
