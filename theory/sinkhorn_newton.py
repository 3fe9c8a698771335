"""Sinkhorn-Newton-Sparse: a few sweeps of Sinkhorn's iteration, then Newton steps with a sparse Hessian.

The dual ``Phi(f, g) = a.f + b.g - (1 / eta) sum exp(eta (f_i + g_j - C_ij))`` is concave. Its Hessian holds the plan,
which is nearly sparse once the sweeps have found the coarse structure, so that small entries can be left out there.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jaxtyping import Float
from numpy.typing import ArrayLike

from ergodica.theory.sinkhorn import EntropicPlan, entropic_plan, positive_part, sweeps
from ergodica.theory.transport import transport_problem

__all__ = ["NewtonPlan", "sinkhorn_newton"]


@dataclass(frozen=True)
class NewtonPlan(EntropicPlan):
    """A plan of entropic transport with the course of the Newton steps.

    Parameters
    ----------
    errors
        ``|P 1 - a|_1 + |P^T 1 - b|_1`` before each Newton step, and at the end.
    kept
        The share of entries that each Newton step kept in its Hessian.
    """

    errors: tuple[float, ...]
    kept: tuple[float, ...]


def _largest(P: Float[np.ndarray, "n m"], share: float) -> scipy.sparse.csr_array:
    count = int(np.ceil(share * P.size))
    if count >= P.size:
        return scipy.sparse.csr_array(P)
    threshold = np.partition(P, P.size - count, axis=None)[P.size - count]
    return scipy.sparse.csr_array(np.where(threshold <= P, P, 0.0))


def sinkhorn_newton(
    cost: ArrayLike,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    eta: float,
    num_sweeps: int = 20,
    keep: float = 0.05,
    tol: float = 1e-11,
    max_newton: int = 60,
) -> NewtonPlan:
    """Return the plan of entropic transport by sweeps and then Newton steps.

    Parameters
    ----------
    cost
        Shape ``(n, m)``.
    a, b
        Weights of sources and sinks, each divided by its sum; default: equal. Atoms without mass are left out.
    eta
        Inverse temperature.
    num_sweeps
        Sweeps of Sinkhorn's iteration before the first Newton step.
    keep
        Share of the plan's entries in the first Hessian. It is doubled after each step that does not divide the error by
        3: with too few entries, steps converge no faster than sweeps.
    tol
        The sum of the errors of all sums at which to stop.
    max_newton
        Most Newton steps.

    Returns
    -------
    NewtonPlan
        The same plan as from :func:`.sinkhorn.sinkhorn`.

    Raises
    ------
    ValueError
        If a shape, a weight or a setting does not fit.
    RuntimeError
        If the tolerance was not reached.

    References
    ----------
    X. Tang, M. Shavlovsky, H. Rahmanian, E. Tardini, K. K. Thekumparampil, T. Xiao and L. Ying, 2024,
    Accelerating Sinkhorn algorithm with sparse Newton iterations, arXiv:2401.12253.
    """
    C, wa, wb = transport_problem(cost, a, b)
    K, pa, pb = positive_part(C, wa, wb, eta)
    if num_sweeps < 1 or max_newton < 0 or not 0 < keep <= 1 or not tol > 0:
        raise ValueError(
            "expected num_sweeps >= 1, max_newton >= 0, keep in (0, 1] and tol > 0; got "
            f"{num_sweeps}, {max_newton}, {keep} and {tol}"
        )
    u, v, _, count = sweeps(K, pa, pb, np.zeros(len(pb)), tol=tol, max_iterations=num_sweeps)
    n, share = len(pa), keep
    errors: list[float] = []
    kept: list[float] = []
    # In units of 1 / eta: potentials u, v; the dual is eta Phi.
    while True:
        P = np.exp(u[:, None] + v - K)
        rows, columns = P.sum(axis=1), P.sum(axis=0)
        gradient = np.concatenate([pa - rows, pb - columns])
        errors.append(float(np.abs(gradient).sum()))
        if errors[-1] < tol or len(kept) >= max_newton:
            break
        if kept and errors[-1] > 0.3 * errors[-2]:
            share = min(1.0, 2 * share)
        kept.append(share)
        sparse = _largest(P, share)
        # With the diagonal of the full plan the matrix is diagonally dominant, whatever was left out.
        diagonal = np.concatenate([rows, columns])
        upper = scipy.sparse.block_array([[None, sparse], [sparse.T, None]], format="csr")
        hessian = upper + scipy.sparse.diags_array(diagonal)
        # (1, -1) is in the kernel of the full Hessian; the gradient is orthogonal to it, and so are all iterates.
        direction, _ = scipy.sparse.linalg.cg(
            hessian, gradient, rtol=1e-10, atol=0.0, M=scipy.sparse.diags_array(1 / diagonal)
        )
        slope = float(gradient @ direction)
        height = float(pa @ u + pb @ v - P.sum())
        # Close to the optimum the gain drowns in the rounding of the dual.
        slack = 1e-14 * float(pa @ np.abs(u) + pb @ np.abs(v) + 1)
        step = 1.0
        while step > 1e-12:
            du, dv = u + step * direction[:n], v + step * direction[n:]
            with np.errstate(over="ignore"):
                reached = float(pa @ du + pb @ dv - np.exp(du[:, None] + dv - K).sum())
            if np.isfinite(reached) and reached >= height + 1e-4 * step * slope - slack:
                u, v = du, dv
                break
            step /= 2
        else:
            break
    if errors[-1] >= tol:
        raise RuntimeError(
            f"the error is {errors[-1]:g} after {count} sweeps and {len(kept)} Newton steps; raise num_sweeps, keep or "
            "tol, or lower eta"
        )
    out = entropic_plan(C, wa, wb, u, v, eta, count, "Sinkhorn-Newton-Sparse")
    return NewtonPlan(**vars(out), errors=tuple(errors), kept=tuple(kept))
