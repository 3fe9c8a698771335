"""Exact optimal transport: on the line, by assignment, by linear programming, and between normal laws.

A plan is optimal if a pair of potentials proves it: with ``f_i + g_j <= C_ij`` everywhere no plan costs less than
``a.f + b.g``. Every plan here comes with such a pair, and with the gap that is left between the two numbers.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.optimize
import scipy.sparse
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

__all__ = [
    "GaussianTransport",
    "LineTransport",
    "Transport",
    "gaussian_transport",
    "line_transport",
    "masses",
    "optimal_transport",
    "transport_problem",
]

_LARGEST_PROGRAM = 250_000


@dataclass(frozen=True)
class Transport:
    """An optimal plan with the proof that it is one.

    Parameters
    ----------
    value
        The cost of the plan.
    plan
        Mass from each source to each sink, shape ``(n, m)``.
    f, g
        Potentials with ``f_i + g_j <= C_ij``, shapes ``(n,)`` and ``(m,)``.
    gap
        ``value - a.f - b.g``: no plan is cheaper than ``value - gap``.
    residual
        The largest difference of the plan's sums from the masses.
    method
        ``"assignment"`` or ``"linear program"``.
    """

    value: float
    plan: Float[np.ndarray, "n m"]
    f: Float[np.ndarray, " n"]
    g: Float[np.ndarray, " m"]
    gap: float
    residual: float
    method: str


@dataclass(frozen=True)
class LineTransport:
    """An optimal plan on the line, as a list of moves.

    Parameters
    ----------
    value
        The cost of the plan, the mean of ``|x - y|^order``.
    distance
        ``value ** (1 / order)``, the Wasserstein distance.
    sources, sinks, moved
        The moves: ``moved[t]`` of mass from atom ``sources[t]`` to atom ``sinks[t]``; at most ``n + m - 1`` of them.
    f, g
        Potentials with ``f_i + g_j <= |x_i - y_j|^order``, shapes ``(n,)`` and ``(m,)``.
    gap
        ``value - a.f - b.g``, zero up to rounding.
    method
        ``"quantiles"``.
    """

    value: float
    distance: float
    sources: Int[np.ndarray, " t"]
    sinks: Int[np.ndarray, " t"]
    moved: Float[np.ndarray, " t"]
    f: Float[np.ndarray, " n"]
    g: Float[np.ndarray, " m"]
    gap: float
    method: str


@dataclass(frozen=True)
class GaussianTransport:
    """Optimal transport between normal laws for squared Euclidean cost.

    Parameters
    ----------
    distance
        The distance ``W2``.
    matrix
        ``A`` of the optimal map ``x -> mean' + A (x - mean)``, shape ``(d, d)``, symmetric and positive semidefinite;
        None if the first covariance is singular.
    residual
        The largest entry of ``A S A - S'`` in units of the largest of ``S'``: zero if the map meets the target; None if
        there is no map.
    """

    distance: float
    matrix: Float[np.ndarray, "d d"] | None
    residual: float | None


def masses(name: str, weights: ArrayLike | None, size: int) -> Float[np.ndarray, " n"]:
    """Return weights as a law: divided by their sum, equal ones if none are given.

    Parameters
    ----------
    name
        What the weights are called in an error.
    weights
        Non-negative, shape ``(size,)``.
    size
        Number of atoms.

    Raises
    ------
    ValueError
        If the shape is another, a weight is negative or not finite, or all are zero.
    """
    if weights is None:
        return np.full(size, 1 / size)
    out = np.asarray(weights, np.float64)
    if out.shape != (size,):
        raise ValueError(f"{name} has to have shape ({size},), one weight for each atom; got {out.shape}")
    if not np.all(np.isfinite(out)) or np.any(out < 0):
        raise ValueError(f"{name} has to hold finite weights of at least 0; got values from {out.min()} to {out.max()}")
    if not out.max() > 0:
        raise ValueError(f"{name} has no positive weight; at least one atom has to have mass")
    out = out / out.max()  # weights close to the largest number do not overflow in the sum
    return np.asarray(out / out.sum())


def transport_problem(
    cost: ArrayLike, a: ArrayLike | None, b: ArrayLike | None, *, name: str = "cost"
) -> tuple[Float[np.ndarray, "n m"], Float[np.ndarray, " n"], Float[np.ndarray, " m"]]:
    """Return the cost and the two laws of a transport problem, checked.

    Parameters
    ----------
    cost
        Finite, shape ``(n, m)``.
    a, b
        Weights of sources and sinks, shapes ``(n,)`` and ``(m,)``; default: equal.
    name
        What the matrix is called in an error.

    Raises
    ------
    ValueError
        If a shape does not fit, or an entry is not allowed.
    """
    C = np.asarray(cost, np.float64)
    if C.ndim != 2 or 0 in C.shape:
        raise ValueError(f"{name} has to be a matrix with at least one row and column; got shape {C.shape}")
    if not np.all(np.isfinite(C)):
        raise ValueError(f"{name} contains NaN or inf; expected finite entries (forbid a move by a large cost)")
    return C, masses("a", a, C.shape[0]), masses("b", b, C.shape[1])


def _points(name: str, points: ArrayLike) -> Float[np.ndarray, " n"]:
    out = np.asarray(points, np.float64)
    if out.ndim != 1 or out.size == 0 or not np.all(np.isfinite(out)):
        raise ValueError(f"{name} has to be a vector of finite numbers on the line; got shape {out.shape}")
    return out


def line_transport(
    x: ArrayLike, y: ArrayLike, a: ArrayLike | None = None, b: ArrayLike | None = None, *, order: float = 2.0
) -> LineTransport:
    """Return the optimal plan between laws on the line for the cost ``|x - y|^order``: quantile to quantile.

    Parameters
    ----------
    x, y
        Atoms in any order, shapes ``(n,)`` and ``(m,)``.
    a, b
        Their weights; default: equal.
    order
        At least 1: for a concave cost the monotone plan is not optimal.

    Raises
    ------
    ValueError
        If points or weights are not fit, or the order is below 1.

    Notes
    -----
    The plan is a staircase through the matrix of sorted atoms. Potentials that are tight on the staircase are feasible
    everywhere, because a convex cost of the difference is a Monge array. It all takes a sort.

    References
    ----------
    G. Peyré and M. Cuturi, 2019, Computational optimal transport, section 2.6, arXiv:1803.00567.
    A. J. Hoffman, 1963, On simple linear programming problems.
    """
    first, second = _points("x", x), _points("y", y)
    if not 1 <= order < np.inf:
        raise ValueError(f"order has to lie in [1, inf); got {order}")
    wx, wy = masses("a", a, first.size), masses("b", b, second.size)
    rows, columns = np.argsort(first, kind="stable"), np.argsort(second, kind="stable")
    n, m = first.size, second.size
    ends_x, ends_y = np.minimum(np.cumsum(wx[rows]), 1.0), np.minimum(np.cumsum(wy[columns]), 1.0)
    ends_x[-1] = ends_y[-1] = 1.0  # despite rounding
    # Walk through all breakpoints; between two of them mass flows from one atom to one atom.
    ends = np.concatenate([ends_x, ends_y])
    events = np.argsort(ends, kind="stable")
    moved = np.diff(ends[events], prepend=0.0)
    of_x = events < n
    i = np.minimum(np.cumsum(of_x) - of_x, n - 1)
    j = np.minimum(np.cumsum(~of_x) - ~of_x, m - 1)
    xs, ys = first[rows], second[columns]
    with np.errstate(over="ignore"):
        cost = np.abs(xs[i] - ys[j]) ** order
        # One index moves at a step, and the potential of the other stays: the difference of costs is that of f.
        steps = np.diff(i) > 0
        ahead = np.abs(xs[i[1:]] - ys[j[:-1]]) ** order
    if not np.all(np.isfinite(cost)) or not np.all(np.isfinite(ahead)):
        raise ValueError(f"|x - y|^{order:g} overflows; rescale the points")
    f, g = np.empty(n), np.empty(m)
    level = np.concatenate([[0.0], np.cumsum(np.where(steps, ahead - cost[:-1], 0.0))])
    f[rows[i]] = level
    g[columns[j]] = cost - level
    value = float(moved @ cost)
    positive = moved > 0
    return LineTransport(
        value,
        value ** (1 / order),
        rows[i[positive]],
        columns[j[positive]],
        moved[positive],
        f,
        g,
        value - float(wx @ f + wy @ g),
        "quantiles",
    )


def _certified(
    C: Float[np.ndarray, "n m"],
    a: Float[np.ndarray, " n"],
    b: Float[np.ndarray, " m"],
    plan: Float[np.ndarray, "n m"],
    f: Float[np.ndarray, " n"],
    method: str,
) -> Transport:
    g = (C - f[:, None]).min(axis=0)  # the best that goes with f: feasible whatever f is
    f = (C - g).min(axis=1)
    value = float(np.sum(C * plan))
    residual = max(np.abs(plan.sum(axis=1) - a).max(), np.abs(plan.sum(axis=0) - b).max())
    gap = value - float(a @ f + b @ g)
    if gap > 1e-9 * max(1.0, np.abs(C).max()) or residual > 1e-9:
        raise RuntimeError(
            f"the {method} left a duality gap of {gap:g} and a residual of {residual:g}; rescale the cost"
        )
    return Transport(value, plan, f, g, gap, float(residual), method)


def _assignment(C: Float[np.ndarray, "n n"], a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> Transport:
    n = len(C)
    rows, columns = scipy.optimize.linear_sum_assignment(C)
    plan = np.zeros((n, n))
    plan[rows, columns] = 1 / n
    # Potentials are shortest paths: moving source i from its sink to sink j changes the cost by W[sink of i, j].
    matched = C[rows, columns]
    W = np.empty((n, n))
    W[columns] = C[rows] - matched[:, None]
    g = np.zeros(n)
    for _ in range(n):
        shorter = np.minimum(g, (g[:, None] + W).min(axis=0))
        if np.array_equal(shorter, g):
            break
        g = shorter
    f = np.empty(n)
    f[rows] = matched - g[columns]
    return _certified(C, a, b, plan, f, "assignment")


def _linear_program(C: Float[np.ndarray, "n m"], a: Float[np.ndarray, " n"], b: Float[np.ndarray, " m"]) -> Transport:
    some, any_ = np.flatnonzero(a > 0), np.flatnonzero(b > 0)
    n, m = len(some), len(any_)
    if n * m > _LARGEST_PROGRAM:
        raise ValueError(
            f"a linear program with {n} x {m} moves is too large; at most {_LARGEST_PROGRAM}: use equal weights and "
            "sizes (an assignment), line_transport, or sinkhorn_newton"
        )
    unit = float(np.ptp(C)) or 1.0
    scaled = (C[np.ix_(some, any_)] - C.min()) / unit
    sums: Any = scipy.sparse.vstack(
        [
            scipy.sparse.kron(scipy.sparse.eye_array(n), np.ones((1, m))),
            scipy.sparse.kron(np.ones((1, n)), scipy.sparse.eye_array(m)),
        ],
        format="csr",
    )
    # One equation follows from the others; without it, rounding cannot make the program infeasible.
    solved = scipy.optimize.linprog(
        scaled.ravel(),
        A_eq=sums[:-1],
        b_eq=np.concatenate([a[some], b[any_]])[:-1],
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if solved.status != 0 or solved.x is None:
        raise RuntimeError(f"the transport program was not solved: {solved.message}")
    plan = np.zeros(C.shape)
    plan[np.ix_(some, any_)] = np.maximum(solved.x, 0.0).reshape(n, m)
    g = np.append(solved.eqlin.marginals[n:], 0.0) * unit
    return _certified(C, a, b, plan, (C[:, any_] - g).min(axis=1), "linear program")


def optimal_transport(
    cost: ArrayLike,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    method: Literal["auto", "assignment", "linear program"] = "auto",
) -> Transport:
    """Return a plan of least cost between two laws, with potentials that prove it.

    Parameters
    ----------
    cost
        Of moving a unit from source ``i`` to sink ``j``, shape ``(n, m)``.
    a, b
        Weights of sources and sinks, each divided by its sum; default: equal.
    method
        ``"assignment"`` is for equal weights and ``n = m``; ``"auto"`` takes it where it applies.

    Returns
    -------
    Transport
        With a duality gap of at most 1e-9 of the largest cost.

    Raises
    ------
    ValueError
        If a shape or weight does not fit, the program is too large (250,000 moves), or an assignment is asked for where
        there is none.
    RuntimeError
        If the program was not solved to a gap of 1e-9.

    References
    ----------
    G. Peyré and M. Cuturi, 2019, Computational optimal transport, section 2, arXiv:1803.00567.
    """
    C, wa, wb = transport_problem(cost, a, b)
    n, m = C.shape
    equal = n == m and np.ptp(wa) == 0 and np.ptp(wb) == 0
    if method not in ("auto", "assignment", "linear program"):
        raise ValueError(f'method has to be "auto", "assignment" or "linear program"; got {method!r}')
    if method == "assignment" and not equal:
        raise ValueError(f"an assignment needs equal weights and as many sources as sinks; got {n} and {m} atoms")
    if method == "assignment" or (method == "auto" and equal):
        return _assignment(C, wa, wb)
    return _linear_program(C, wa, wb)


def _normal(name: str, mean: ArrayLike, covariance: ArrayLike) -> tuple[Float[np.ndarray, " d"], ...]:
    m = np.atleast_1d(np.asarray(mean, np.float64))
    S = np.asarray(covariance, np.float64)
    S = S.reshape(1, 1) if S.ndim == 0 else S
    if m.ndim != 1 or S.shape != (m.size, m.size) or not np.all(np.isfinite(m)) or not np.all(np.isfinite(S)):
        raise ValueError(f"{name}: expected a finite mean (d,) and covariance (d, d); got {m.shape} and {S.shape}")
    values, vectors = np.linalg.eigh((S + S.T) / 2)
    tiny = 1e-10 * np.abs(values).max()
    if not np.allclose(S, S.T, rtol=1e-10, atol=tiny) or values[0] < -tiny:
        raise ValueError(
            f"{name}: a covariance is symmetric and positive semidefinite; the least eigenvalue is {values[0]}"
        )
    return m, S, values.clip(min=0), vectors


def gaussian_transport(
    mean: ArrayLike, covariance: ArrayLike, target_mean: ArrayLike, target_covariance: ArrayLike
) -> GaussianTransport:
    """Return distance and optimal map between two normal laws, for squared Euclidean cost.

    ``W2^2 = |m - m'|^2 + tr(S + S' - 2 (S^(1/2) S' S^(1/2))^(1/2))``.

    Parameters
    ----------
    mean, covariance
        Of the law that is moved, shapes ``(d,)`` and ``(d, d)``, or numbers.
    target_mean, target_covariance
        Of the law it is moved to.

    Raises
    ------
    ValueError
        If shapes differ, or a covariance is none.

    References
    ----------
    C. R. Givens and R. M. Shortt, 1984, Michigan Math. J. 31(2), doi:10.1307/mmj/1029003026.
    """
    m, S, values, vectors = _normal("the law", mean, covariance)
    m2, S2, values2, vectors2 = _normal("the target", target_mean, target_covariance)
    if m.shape != m2.shape:
        raise ValueError(f"the laws have to live in one space; got dimensions {m.size} and {m2.size}")
    root = (vectors * np.sqrt(values)) @ vectors.T
    root2 = (vectors2 * np.sqrt(values2)) @ vectors2.T
    # The trace is |S^(1/2) - S'^(1/2) U|^2 for the best rotation U: a sum of squares does not cancel.
    left, _, right = np.linalg.svd(root2 @ root)
    turned = root2 @ (left @ right)
    distance = float(np.sqrt(np.sum((m - m2) ** 2) + np.sum((root - turned) ** 2)))
    if values[0] <= 1e-14 * values[-1]:
        return GaussianTransport(distance, None, None)
    A = turned @ ((vectors / np.sqrt(values)) @ vectors.T)
    A = (A + A.T) / 2
    residual = float(np.abs(A @ S @ A - S2).max() / (np.abs(S2).max() or 1.0))
    return GaussianTransport(distance, A, residual)
