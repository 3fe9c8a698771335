"""Checks of nonlinear chains, whose kernel depends on the share of time spent in each state so far.

With ``x_(n+1) = x_n + (delta(X_(n+1)) - x_n) / (n + 1)`` and ``X_(n+1)`` drawn by the kernel ``K[x_n]`` the shares follow the
mean field ``x -> pi[x] - x``, where ``pi[x]`` is the stationary law of ``K[x]``. The target has to be a root of it, and a
stable one. The self-repellent walk of :mod:`~ergodica.theory.self_repellent` is an example with formulas.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from jaxtyping import Float
from numpy.typing import ArrayLike

from ergodica.theory.finite_chain import asymptotic_covariance
from ergodica.theory.stationary import stationary_law
from ergodica.theory.stochastic_approximation import limit_covariance

__all__ = ["MeanField", "mean_field"]


@dataclass(frozen=True)
class MeanField:
    """The mean field of a nonlinear chain at a law.

    Parameters
    ----------
    defect
        Total variation distance of ``pi[x]`` from ``x``: zero at a root.
    jacobian
        Of ``x -> pi[x] - x`` on the laws, acting on columns that sum to zero, shape ``(n, n)``.
    slowest
        The largest real part of its eigenvalues on such columns: the root is stable if it is negative.
    covariance
        ``lim n Cov(x_n)``, shape ``(n, n)``; ``None`` if ``slowest >= -1/2``, where the shares converge at a lower rate
        than ``1 / sqrt(n)`` or not at all, or where ``x`` is not a root.
    residual
        Relative error of the Lyapunov equation for the covariance; ``None`` if there is none.
    """

    defect: float
    jacobian: Float[np.ndarray, "n n"]
    slowest: float
    covariance: Float[np.ndarray, "n n"] | None
    residual: float | None


def mean_field(
    kernel: Callable[[Float[np.ndarray, " n"]], ArrayLike], target: ArrayLike, *, difference: float = 1e-5
) -> MeanField:
    """Return whether a law is a stable root of the mean field of a nonlinear chain, and the limit of ``n Cov(x_n)``.

    Parameters
    ----------
    kernel
        ``x -> K[x]``, from a law of shape ``(n,)`` to an irreducible transition matrix ``(n, n)``, smooth near the target.
    target
        The law to look at, positive, shape ``(n,)``, divided by its sum.
    difference
        Step of the central differences, relative to the smallest probability.

    Raises
    ------
    ValueError
        If the target is not positive, or the difference is out of range.

    References
    ----------
    M. Benaïm, 1997, Probab. Theory Relat. Fields 107, for vertex reinforced walks; G. Fort, 2015, arXiv:1309.3116, for the
    limit covariance.
    """
    x = np.asarray(target, np.float64)
    if x.ndim != 1 or x.size < 2 or not np.all(x > 0) or not np.all(np.isfinite(x)):
        raise ValueError(f"expected a target of two or more positive weights; got shape {x.shape}")
    x = x / x.sum()
    if not 0 < difference < 0.1:
        raise ValueError(f"difference has to lie in (0, 0.1); got {difference}")

    def law(at: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return stationary_law(np.asarray(kernel(at), np.float64))

    # Laws stay laws along directions that sum to zero.
    basis = scipy.linalg.helmert(x.size).T
    h = difference * float(x.min())
    slopes = np.stack([(law(x + h * q) - law(x - h * q)) / (2 * h) for q in basis.T], axis=1)
    reduced = basis.T @ slopes - np.eye(x.size - 1)
    slowest = float(np.linalg.eigvals(reduced).real.max())
    defect = 0.5 * float(np.abs(law(x) - x).sum())
    covariance = residual = None
    if slowest < -0.5 and defect < 1e-9:
        noise = basis.T @ asymptotic_covariance(np.asarray(kernel(x), np.float64), x) @ basis
        solved = limit_covariance(reduced, (noise + noise.T) / 2)
        covariance, residual = basis @ solved.value @ basis.T, solved.residual
    return MeanField(defect, basis @ reduced @ basis.T, slowest, covariance, residual)
