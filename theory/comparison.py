"""Which of two chains with one stationary law has the smaller asymptotic variances: orders, and cost."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ergodica.theory.finite_chain import FiniteChain

__all__ = ["Efficiency", "covariance_dominates", "efficiency"]


def _same_law(one: FiniteChain, other: FiniteChain) -> None:
    if one.size != other.size or not np.allclose(one.law, other.law, rtol=1e-8, atol=1e-12):
        raise ValueError("the chains are compared on one stationary law, and theirs differ")


def covariance_dominates(one: FiniteChain, other: FiniteChain, *, tolerance: float = 1e-12) -> bool:
    """Return whether ``<f, P1 f> <= <f, P2 f>`` for every function.

    For reversible chains this is weaker than Peskun's order (see :func:`~ergodica.theory.metropolis.peskun_dominates`),
    and still implies that no asymptotic variance is larger under the first chain, and that its eigenvalues are no larger,
    one by one.

    Parameters
    ----------
    one, other
        Irreducible and reversible, with one stationary law.
    tolerance
        What counts as zero: the smallest eigenvalue of the difference may be that much below it.

    References
    ----------
    L. Tierney, 1998, Ann. Appl. Probab. 8, doi:10.1214/aoap/1027961031; A. Mira, 2001, Statist. Sci. 16,
    doi:10.1214/ss/1015346319.
    """
    _same_law(one, other)
    one._need(reversible=True)
    other._need(reversible=True)
    root = np.sqrt(one.law)
    difference = root[:, None] * (other.dense() - one.dense()) / root
    return bool(np.linalg.eigvalsh((difference + difference.T) / 2)[0] >= -tolerance)


@dataclass(frozen=True)
class Efficiency:
    """Asymptotic variances of two chains, each times the cost of its step.

    Parameters
    ----------
    one, other
        Cost for a given precision, in the unit of the costs.
    ratio
        ``other / one``: above one, the first chain is the better.
    """

    one: float
    other: float
    ratio: float


def efficiency(
    one: FiniteChain, other: FiniteChain, f: ArrayLike, cost_one: float = 1.0, cost_other: float = 1.0
) -> Efficiency:
    """Compare two chains by variance times cost.

    Parameters
    ----------
    one, other
        With one stationary law; they need not be reversible.
    f
        The function whose mean is wanted, shape ``(n,)``.
    cost_one, cost_other
        Cost of one step, positive.
    """
    _same_law(one, other)
    if not (cost_one > 0 and cost_other > 0):
        raise ValueError(f"costs have to be positive; got {cost_one} and {cost_other}")
    first = one.asymptotic_variance(f).value * cost_one
    second = other.asymptotic_variance(f).value * cost_other
    return Efficiency(first, second, second / first if first > 0 else float("nan"))
