"""Wasserstein distances: exact on the line and for small samples, sliced, and between normal laws.

Between samples they have a floor: two samples of one law are ``O(n^(-1/d))`` apart. Compare with the distance of two
reference samples of the same sizes, which :func:`.monte_carlo_test.monte_carlo_test` does.
"""

import dataclasses

import numpy as np
import scipy.optimize
import scipy.spatial.distance
import scipy.special
from jaxtyping import Float, PRNGKeyArray
from numpy.typing import ArrayLike
from scipy.stats import qmc

from ergodica.samplers.inputs import static_count
from ergodica.theory.transport import gaussian_transport, optimal_transport
from ergodica.validation.quality.generator import generator_of
from ergodica.validation.quality.sample import same_dimension, sample_weights
from ergodica.validation.quality.verdict import Estimate

_ASSIGNMENT = 5000
_PLAN = 250_000


def _order(p: float) -> float:
    if not 1 <= p < np.inf:
        raise ValueError(f"the order p has to lie in [1, inf); got {p}")
    return float(p)


def _line_costs(
    x: Float[np.ndarray, "n k"],
    y: Float[np.ndarray, "m k"],
    p: float,
    weights_x: Float[np.ndarray, " n"] | None = None,
    weights_y: Float[np.ndarray, " m"] | None = None,
) -> Float[np.ndarray, " k"]:
    """Return the ``p``-th powers of the distances of the columns, by quantile functions on the merged breakpoints."""
    n, m = len(x), len(y)
    if weights_x is None and weights_y is None:
        x, y = np.sort(x, axis=0), np.sort(y, axis=0)
        if n == m:
            return np.asarray(np.mean(np.abs(x - y) ** p, axis=0))
        # Breakpoints i / n and j / m as integers, so that equal ones are merged exactly.
        ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)
        widths = np.diff(ends, prepend=0) / (n * m)
        return np.asarray(widths @ np.abs(x[(ends - 1) // m] - y[(ends - 1) // n]) ** p)
    wx = np.full(n, 1 / n) if weights_x is None else weights_x
    wy = np.full(m, 1 / m) if weights_y is None else weights_y
    costs = np.empty(x.shape[1])
    for k in range(x.shape[1]):
        i, j = np.argsort(x[:, k], kind="stable"), np.argsort(y[:, k], kind="stable")
        i, j = i[wx[i] > 0], j[wy[j] > 0]
        a, b = np.minimum(np.cumsum(wx[i]), 1.0), np.minimum(np.cumsum(wy[j]), 1.0)
        a[-1] = b[-1] = 1.0  # despite round-off
        ends = np.union1d(a, b)
        widths = np.diff(ends, prepend=0)
        costs[k] = widths @ np.abs(x[i[np.searchsorted(a, ends)], k] - y[j[np.searchsorted(b, ends)], k]) ** p
    return costs


def line_distance(
    x: ArrayLike,
    y: ArrayLike,
    *,
    p: float = 1.0,
    weights_x: ArrayLike | None = None,
    weights_y: ArrayLike | None = None,
) -> Estimate:
    """Return the exact Wasserstein distance of two samples on the line.

    Parameters
    ----------
    x, y
        Shapes ``(n,)`` and ``(m,)``.
    p
        Order, at least 1.
    weights_x, weights_y
        Weights in any unit; default: equal.

    Raises
    ------
    TypeError, ValueError
        If a sample or its weights are not fit, or the points are not on the line.

    References
    ----------
    Gabriel Peyré and Marco Cuturi (2019), Computational optimal transport, Section 2.6, arXiv:1803.00567.
    """
    first, second = same_dimension(x, y)
    if first.shape[1] != 1:
        raise ValueError(f"line_distance is for points on the line; got {first.shape[1]} coordinates")
    wx = None if weights_x is None else sample_weights("weights_x", weights_x, len(first))
    wy = None if weights_y is None else sample_weights("weights_y", weights_y, len(second))
    cost = float(_line_costs(first, second, _order(p), wx, wy)[0])
    return Estimate(cost ** (1 / p), None, f"Wasserstein distance of order {p:g} on the line")


def wasserstein_distance(
    x: ArrayLike,
    y: ArrayLike,
    *,
    p: float = 2.0,
    weights_x: ArrayLike | None = None,
    weights_y: ArrayLike | None = None,
) -> Estimate:
    """Return the exact Wasserstein distance of two samples, with Euclidean ground distance.

    Unweighted samples of one size are matched by an assignment; others need a linear program, which is far slower.

    Parameters
    ----------
    x, y
        Shapes ``(n, d)`` and ``(m, d)``.
    p
        Order, at least 1.
    weights_x, weights_y
        Weights in any unit; default: equal.

    Raises
    ------
    TypeError, ValueError
        If a sample or its weights are not fit, the dimensions differ, or there are too many points: 5000 each for an
        assignment, 250,000 pairs for a linear program.
    RuntimeError
        If the linear program was not solved.

    References
    ----------
    Gabriel Peyré and Marco Cuturi (2019), Computational optimal transport, Section 2, arXiv:1803.00567.
    """
    first, second = same_dimension(x, y)
    order = _order(p)
    if first.shape[1] == 1:
        return line_distance(first, second, p=p, weights_x=weights_x, weights_y=weights_y)
    matched = len(first) == len(second) and weights_x is None and weights_y is None
    too_many = len(first) > _ASSIGNMENT if matched else len(first) * len(second) > _PLAN
    if too_many:
        raise ValueError(
            f"{len(first)} and {len(second)} points are too many for the exact distance; take at most {_ASSIGNMENT} "
            f"each, unweighted and of one size, or {_PLAN} pairs, or use sliced_wasserstein"
        )
    distances = scipy.spatial.distance.cdist(first, second)
    # In units of the largest distance, powers do not overflow and the solver's tolerances fit.
    unit = float(distances.max()) or 1.0
    cost = (distances / unit) ** order
    if matched:
        rows, columns = scipy.optimize.linear_sum_assignment(cost)
        value = float(cost[rows, columns].mean())
    else:
        wx, wy = sample_weights("weights_x", weights_x, len(first)), sample_weights("weights_y", weights_y, len(second))
        value = optimal_transport(cost, wx, wy, method="linear program").value
    return Estimate(
        unit * max(value, 0.0) ** (1 / order),
        None,
        f"Wasserstein distance of order {p:g}, {'assignment' if matched else 'linear program'}",
    )


def _directions(dim: int, count: int, rng: np.random.Generator) -> Float[np.ndarray, "count d"]:
    """Return directions from a scrambled Sobol' sequence."""
    uniforms = qmc.Sobol(dim, scramble=True, rng=rng).random(count)
    normals = scipy.special.ndtri(np.clip(uniforms, 1e-12, 1 - 1e-12))
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.asarray(np.where(lengths > 0, normals / np.where(lengths > 0, lengths, 1), np.eye(dim)[0]))


def _given_directions(directions: ArrayLike, dim: int) -> Float[np.ndarray, "k d"]:
    given = np.asarray(directions, np.float64)
    if given.ndim != 2 or given.shape[1] != dim or len(given) == 0:
        raise ValueError(f"directions have to have shape (k, {dim}); got {given.shape}")
    lengths = np.linalg.norm(given, axis=1, keepdims=True)
    if not np.all(np.isfinite(lengths)) or np.any(lengths == 0):
        raise ValueError("directions have to be finite and different from zero")
    return np.asarray(given / lengths)


def slice_costs(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], directions: Float[np.ndarray, "k d"], p: float
) -> Float[np.ndarray, " k"]:
    """Return the ``p``-th powers of the distances of the projections on unit vectors, 32 directions at a time."""
    parts = [
        _line_costs(x @ directions[i : i + 32].T, y @ directions[i : i + 32].T, p)
        for i in range(0, len(directions), 32)
    ]
    return np.concatenate(parts)


def sliced_wasserstein(
    x: ArrayLike,
    y: ArrayLike,
    *,
    key: PRNGKeyArray | None = None,
    p: float = 2.0,
    count: int = 256,
    directions: ArrayLike | None = None,
) -> Estimate:
    """Return the sliced Wasserstein distance: the mean over directions of the distance on the line.

    Parameters
    ----------
    x, y
        Shapes ``(n, d)`` and ``(m, d)``.
    key
        Typed key of the directions: eight independent scrambles of a Sobol' sequence.
    p
        Order, at least 1; powers are averaged, and the root is taken last.
    count
        Number of directions, a multiple of 8.
    directions
        Shape ``(k, d)``: directions to use instead.

    Returns
    -------
    Estimate
        The standard error is that of the choice of directions, ``None`` where they were given or on the line. It does
        not cover the samples.

    Raises
    ------
    TypeError, ValueError
        If a sample is not fit, the dimensions differ, or there is neither a key nor directions.

    References
    ----------
    Nicolas Bonneel et al. (2015), Sliced and Radon Wasserstein barycenters of measures, JMIV 51.
    """
    first, second = same_dimension(x, y)
    order, dim = _order(p), first.shape[1]
    method = f"sliced Wasserstein distance of order {p:g}"
    if directions is not None or dim == 1:
        unit = np.ones((1, 1)) if directions is None else _given_directions(directions, dim)
        return Estimate(float(slice_costs(first, second, unit, order).mean() ** (1 / order)), None, method)
    if key is None:
        raise TypeError("give key= for random directions, or directions=")
    if static_count("count", count) % 8:
        raise ValueError(f"count has to be a multiple of 8, for eight independent scrambles; got {count}")
    rng = generator_of(key)
    size = count // 8
    # Powers of two keep the sequence balanced; the surplus points are dropped.
    full = 1 << (size - 1).bit_length()
    means = np.array([slice_costs(first, second, _directions(dim, full, rng)[:size], order).mean() for _ in range(8)])
    mean = float(means.mean())
    value = mean ** (1 / order)
    spread = float(means.std(ddof=1) / np.sqrt(8))
    return Estimate(value, spread * value / (order * mean) if mean > 0 else 0.0, method)


@dataclasses.dataclass(frozen=True)
class MaxSliced:
    """The max-sliced Wasserstein distance.

    Parameters
    ----------
    value
        Distance of the held-out halves along the direction found on the others: free of the optimism of the search.
    in_sample
        Distance along it of the halves that it was found on: a lower bound of their exact distance.
    direction
        Unit vector of shape ``(d,)``.
    method
        What was computed, in words.
    """

    value: float
    in_sample: float
    direction: Float[np.ndarray, " d"]
    method: str


def _ascend(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], direction: Float[np.ndarray, " d"], steps: int
) -> tuple[Float[np.ndarray, " d"], float]:
    """Return a direction along which the second-order distance is locally largest, by ascent on the sphere."""
    n, m = len(x), len(y)
    ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)
    widths = np.diff(ends, prepend=0) / (n * m)
    best = float(slice_costs(x, y, direction[None], 2.0)[0])
    step = 1.0
    for _ in range(steps):
        i, j = np.argsort(x @ direction, kind="stable"), np.argsort(y @ direction, kind="stable")
        gaps = x[i[(ends - 1) // m]] - y[j[(ends - 1) // n]]
        gradient = gaps.T @ (widths * (gaps @ direction))
        tangent = gradient - (gradient @ direction) * direction
        length = float(np.linalg.norm(tangent))
        if length <= 1e-12 * max(best, np.finfo(float).tiny):
            break
        while step > 1e-8:
            candidate = direction + step * tangent / length
            candidate /= np.linalg.norm(candidate)
            value = float(slice_costs(x, y, candidate[None], 2.0)[0])
            if value > best:
                direction, best, step = candidate, value, 2 * step
                break
            step /= 2
        else:
            break
    return direction, best


def max_sliced_wasserstein(
    x: ArrayLike, y: ArrayLike, *, key: PRNGKeyArray, starts: int = 64, steps: int = 100
) -> MaxSliced:
    """Return the distance of order 2 along the direction where it is largest, as found on one half of each sample.

    Parameters
    ----------
    x, y
        Shapes ``(n, d)`` and ``(m, d)``, at least two points each.
    key
        Typed key of the halves and of the first directions.
    starts
        Number of random directions; the ascent starts at the best, and may end in a local maximum.
    steps
        Cap on the steps of the ascent.

    Raises
    ------
    TypeError, ValueError
        If a sample is not fit, or the dimensions differ.

    References
    ----------
    Ishan Deshpande et al. (2019), Max-sliced Wasserstein distance and its use for GANs, arXiv:1904.05877.
    """
    first, second = same_dimension(x, y, at_least=2)
    static_count("starts", starts)
    static_count("steps", steps, at_least=0)
    rng = generator_of(key)
    first, second = rng.permutation(first), rng.permutation(second)
    n, m = len(first) // 2, len(second) // 2
    candidates = np.concatenate(
        [_directions(first.shape[1], 1 << (starts - 1).bit_length(), rng)[:starts], np.eye(first.shape[1])[:64]]
    )
    start = candidates[int(np.argmax(slice_costs(first[:n], second[:m], candidates, 2.0)))]
    direction, cost = _ascend(first[:n], second[:m], start, steps)
    held_out = float(slice_costs(first[n:], second[m:], direction[None], 2.0)[0])
    return MaxSliced(
        float(np.sqrt(held_out)), float(np.sqrt(cost)), direction, "max-sliced Wasserstein distance of order 2"
    )


def normal_distance(mean_x: ArrayLike, covariance_x: ArrayLike, mean_y: ArrayLike, covariance_y: ArrayLike) -> Estimate:
    """Return the Wasserstein distance of order 2 between two normal laws.

    ``W^2 = |m - m'|^2 + tr(S + S' - 2 (S^{1/2} S' S^{1/2})^{1/2})``.

    Parameters
    ----------
    mean_x, mean_y
        Shape ``(d,)``, or numbers.
    covariance_x, covariance_y
        Shape ``(d, d)``, or numbers; singular ones are allowed.

    Raises
    ------
    ValueError
        If shapes differ, an entry is not finite, or a covariance is not one.

    References
    ----------
    Clark Givens and Rae Shortt (1984), A class of Wasserstein metrics for probability distributions, Michigan
    Mathematical Journal 31(2).
    """
    found = gaussian_transport(mean_x, covariance_x, mean_y, covariance_y)
    return Estimate(found.distance, None, "Wasserstein distance of order 2 of normal laws")
