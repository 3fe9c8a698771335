"""Sinkhorn's iteration for entropic transport, in the log domain: plans, rounding, rates, the debiased divergence.

The regularised problem is ``min <C, P> + (1 / eta) sum P (log P - 1)`` over plans ``P`` with sums ``a`` and ``b``; its
solution is ``P_ij = exp(eta (f_i + g_j - C_ij))``. ``eta`` is an inverse temperature: the larger, the closer to
optimal transport, and the slower.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import xlogy

from ergodica.theory.transport import transport_problem

__all__ = [
    "EntropicPlan",
    "birkhoff_rate",
    "entropic_plan",
    "local_rate",
    "positive_part",
    "round_to_plan",
    "sinkhorn",
    "sinkhorn_divergence",
    "sweeps",
]


@dataclass(frozen=True)
class EntropicPlan:
    """A plan of entropic transport.

    Parameters
    ----------
    value
        ``<C, P> + (1 / eta) sum P (log P - 1)``.
    cost
        ``<C, P>``.
    rounded_cost
        The cost of the plan rounded to the exact sums: an upper bound of the optimal transport cost.
    plan
        ``P``, shape ``(n, m)``.
    f, g
        Potentials, shapes ``(n,)`` and ``(m,)``; ``-inf`` at atoms without mass.
    residual
        ``|P 1 - a|_1 + |P^T 1 - b|_1``.
    num_iterations
        Sweeps, each an update of ``f`` and one of ``g``.
    method
        The name of the algorithm.
    """

    value: float
    cost: float
    rounded_cost: float
    plan: Float[np.ndarray, "n m"]
    f: Float[np.ndarray, " n"]
    g: Float[np.ndarray, " m"]
    residual: float
    num_iterations: int
    method: str


def round_to_plan(matrix: ArrayLike, a: ArrayLike, b: ArrayLike) -> Float[np.ndarray, "n m"]:
    """Return a plan with exact sums that is close to a matrix.

    Rows and columns that have too much are scaled down; what is missing is added as a matrix of rank one.

    Parameters
    ----------
    matrix
        Non-negative, shape ``(n, m)``.
    a, b
        The sums that the plan is to have, shapes ``(n,)`` and ``(m,)``, weights that are divided by their sum.

    Returns
    -------
    array of shape (n, m)
        Different from the matrix by at most ``2 (|r - a|_1 + |c - b|_1)`` in all, with the matrix's sums ``r`` and ``c``.

    Raises
    ------
    ValueError
        If a shape does not fit, or an entry is negative or not finite.

    References
    ----------
    J. Altschuler, J. Weed and P. Rigollet, 2017, arXiv:1705.09634, algorithm 2.
    """
    F, wa, wb = transport_problem(matrix, a, b, name="matrix")
    if np.any(F < 0):
        raise ValueError(f"a plan has no negative entries; got {F.min()}")
    rows = F.sum(axis=1)
    F = F * np.divide(wa, rows, out=np.ones_like(wa), where=rows > wa)[:, None]
    columns = F.sum(axis=0)
    F = F * np.divide(wb, columns, out=np.ones_like(wb), where=columns > wb)
    missing_a, missing_b = np.maximum(wa - F.sum(axis=1), 0.0), np.maximum(wb - F.sum(axis=0), 0.0)
    total = missing_b.sum()
    return np.asarray(F + np.outer(missing_a, missing_b) / total if total > 0 else F)


def positive_part(
    C: Float[np.ndarray, "n m"], a: Float[np.ndarray, " n"], b: Float[np.ndarray, " m"], eta: float
) -> tuple[Float[np.ndarray, "k l"], Float[np.ndarray, " k"], Float[np.ndarray, " l"]]:
    """Return ``eta C`` between the atoms that have mass, and the masses; refuse an ``eta`` that is not positive."""
    if not 0 < eta < np.inf:
        raise ValueError(f"eta, the inverse temperature, has to be positive and finite; got {eta}")
    scaled = eta * C[np.ix_(a > 0, b > 0)]
    if not np.all(np.isfinite(scaled)):
        raise ValueError(f"eta times the cost overflows; got eta={eta} and costs up to {np.abs(C).max()}")
    return scaled, a[a > 0], b[b > 0]


def _log_sum(M: Float[np.ndarray, "n m"], axis: int) -> Float[np.ndarray, " k"]:
    """Return ``log sum exp`` of finite entries; SciPy's general one takes several times as long."""
    top = M.max(axis=axis, keepdims=True)
    return np.asarray(np.log(np.exp(M - top).sum(axis=axis)) + top.squeeze(axis))


def sweeps(
    K: Float[np.ndarray, "n m"],
    a: Float[np.ndarray, " n"],
    b: Float[np.ndarray, " m"],
    v: Float[np.ndarray, " m"],
    *,
    tol: float,
    max_iterations: int,
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " m"], float, int]:
    """Return the potentials in units of ``1 / eta`` after sweeps, the error of the row sums, and the number of sweeps.

    Parameters
    ----------
    K
        ``eta C``.
    a, b
        Positive masses.
    v
        The start, ``eta g``.
    tol
        Stop when ``|P 1 - a|_1`` is below; the column sums are exact after a sweep.
    max_iterations
        Stop after it.
    """
    log_a, log_b = np.log(a), np.log(b)
    rows = _log_sum(v - K, 1)
    error, count = np.inf, 0
    u = log_a - rows
    while count < max_iterations:
        u = log_a - rows
        v = log_b - _log_sum(u[:, None] - K, 0)
        rows = _log_sum(v - K, 1)  # serves the error, and the next update
        count += 1
        error = float(np.abs(np.exp(u + rows) - a).sum())
        if error < tol:
            break
    return u, v, error, count


def entropic_plan(
    C: Float[np.ndarray, "n m"],
    a: Float[np.ndarray, " n"],
    b: Float[np.ndarray, " m"],
    u: Float[np.ndarray, " k"],
    v: Float[np.ndarray, " l"],
    eta: float,
    num_iterations: int,
    method: str,
) -> EntropicPlan:
    """Return the plan of potentials ``u = eta f`` and ``v = eta g`` of the atoms that have mass."""
    some, any_ = np.ix_(a > 0, b > 0)
    plan = np.zeros(C.shape)
    plan[some, any_] = np.exp(u[:, None] + v - eta * C[some, any_])
    f, g = np.full(len(a), -np.inf), np.full(len(b), -np.inf)
    f[a > 0], g[b > 0] = u / eta, v / eta
    cost = float(np.sum(C * plan))
    residual = float(np.abs(plan.sum(axis=1) - a).sum() + np.abs(plan.sum(axis=0) - b).sum())
    entropy = float(np.sum(xlogy(plan, plan) - plan))
    rounded = float(np.sum(C * round_to_plan(plan, a, b)))
    return EntropicPlan(cost + entropy / eta, cost, rounded, plan, f, g, residual, num_iterations, method)


def sinkhorn(
    cost: ArrayLike,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    eta: float,
    tol: float = 1e-9,
    max_iterations: int = 10_000,
    scaling: float | None = None,
) -> EntropicPlan:
    """Return the plan of entropic transport by Sinkhorn's iteration.

    Parameters
    ----------
    cost
        Shape ``(n, m)``.
    a, b
        Weights of sources and sinks, each divided by its sum; default: equal. Atoms without mass are left out.
    eta
        Inverse temperature.
    tol
        The sum of the errors of the row sums at which to stop.
    max_iterations
        Most sweeps in all.
    scaling
        If given, a factor above 1, usual are 2 to 4: start from a small ``eta`` and multiply it until the wanted one is
        reached, each time from the last potentials. Finds the coarse structure in far fewer sweeps where ``eta`` times
        the range of the cost is large; close to the solution sweeps gain what :func:`local_rate` says, from any start.

    Raises
    ------
    ValueError
        If a shape, a weight or a setting does not fit.
    RuntimeError
        If the tolerance was not reached.

    References
    ----------
    M. Cuturi, 2013, arXiv:1306.0895.
    B. Schmitzer, 2019, arXiv:1610.06519, for the scaling of ``eta``.
    """
    C, wa, wb = transport_problem(cost, a, b)
    K, pa, pb = positive_part(C, wa, wb, eta)
    if not tol > 0 or max_iterations < 1:
        raise ValueError(f"expected tol > 0 and max_iterations >= 1; got {tol} and {max_iterations}")
    share = 1.0
    if scaling is not None:
        if not 1 < scaling < np.inf:
            raise ValueError(f"scaling has to be a factor above 1; got {scaling}")
        stages = int(np.ceil(np.log(max(float(np.ptp(K)) / 10, 1.0)) / np.log(scaling)))
        share = scaling ** -float(stages)
    v, total = np.zeros(len(pb)), 0
    while True:
        last = share >= 1
        u, v, error, count = sweeps(
            share * K, pa, pb, v, tol=tol if last else max(tol, 1e-2), max_iterations=max_iterations - total
        )
        total += count
        if last or total >= max_iterations:
            break
        grown = min(1.0, share * (scaling or 1.0))
        grown = 1.0 if grown > 1 - 1e-9 else grown
        v, share = v * (grown / share), grown
    if not last or error >= tol:
        raise RuntimeError(
            f"Sinkhorn's iteration has an error of {error:g} after {total} sweeps; raise max_iterations or tol, lower "
            "eta, pass scaling=3, or use sinkhorn_newton"
        )
    return entropic_plan(C, wa, wb, u, v, eta, total, "Sinkhorn")


def sinkhorn_divergence(
    cost: ArrayLike,
    cost_a: ArrayLike,
    cost_b: ArrayLike,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    eta: float,
    tol: float = 1e-9,
    max_iterations: int = 10_000,
) -> float:
    """Return the debiased divergence ``S(a, b) - S(a, a) / 2 - S(b, b) / 2`` of the values of entropic transport.

    It is zero for equal laws, and for costs whose kernel ``exp(-eta C)`` is positive definite never negative.

    Parameters
    ----------
    cost
        Between the atoms of the two laws, shape ``(n, m)``.
    cost_a, cost_b
        Within the atoms of each, shapes ``(n, n)`` and ``(m, m)``.
    a, b
        Weights; default: equal.
    eta, tol, max_iterations
        As for :func:`sinkhorn`.

    References
    ----------
    J. Feydy et al., 2019, arXiv:1810.08278.
    """
    n, m = np.shape(cost)[0], np.shape(cost)[-1]
    if np.shape(cost_a) != (n, n) or np.shape(cost_b) != (m, m):
        raise ValueError(
            f"expected costs of shapes {(n, m)}, {(n, n)} and {(m, m)}; got the last two {np.shape(cost_a)} and "
            f"{np.shape(cost_b)}"
        )

    def value(C: ArrayLike, left: ArrayLike | None, right: ArrayLike | None) -> float:
        return sinkhorn(C, left, right, eta=eta, tol=tol, max_iterations=max_iterations).value

    return value(cost, a, b) - value(cost_a, a, a) / 2 - value(cost_b, b, b) / 2


def birkhoff_rate(cost: ArrayLike, eta: float) -> float:
    """Return a bound of the contraction of a sweep in Hilbert's metric, ``tanh(Delta / 4)^2``.

    ``Delta = eta max (C_jk + C_il - C_ik - C_jl)`` is the diameter of the image of ``exp(-eta C)``. The bound holds from
    any start and for all masses, and is usually far too pessimistic: see :func:`local_rate`.

    Parameters
    ----------
    cost
        Shape ``(n, m)``.
    eta
        Inverse temperature.

    References
    ----------
    J. Franklin and J. Lorenz, 1989, Linear Algebra Appl. 114-115, doi:10.1016/0024-3795(89)90490-4.
    """
    C, a, b = transport_problem(cost, None, None)
    K, _, _ = positive_part(C, a, b, eta)
    diameter = max(float(np.ptp(K - row, axis=1).max()) for row in K)
    return float(np.tanh(diameter / 4) ** 2)


def local_rate(plan: ArrayLike) -> float:
    """Return the factor by which the error shrinks in a sweep close to the solution.

    It is the second largest squared singular value of ``P_ij / sqrt(a_i b_j)``, that is the squared maximal correlation
    of source and sink.

    Parameters
    ----------
    plan
        The solution ``P``, shape ``(n, m)``.

    References
    ----------
    P. A. Knight, 2008, The Sinkhorn-Knopp algorithm: convergence and applications, doi:10.1137/060659624.
    """
    P, _, _ = transport_problem(plan, None, None, name="plan")
    if np.any(P < 0) or not P.max() > 0:
        raise ValueError("a plan has no negative entries and some positive ones")
    P = P[np.ix_(P.sum(axis=1) > 0, P.sum(axis=0) > 0)]
    values = np.linalg.svd(P / np.sqrt(np.outer(P.sum(axis=1), P.sum(axis=0)) / P.sum()), compute_uv=False) / P.sum()
    return float((values[1] / values[0]) ** 2) if len(values) > 1 else 0.0
