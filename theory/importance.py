"""Importance sampling: what the weights ``w = p / q`` of two laws say about the error of weighted averages."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy import special

from ergodica.theory.probability_vector import probability_vector

__all__ = [
    "WeightedAverage",
    "chi_square",
    "gaussian_chi_square",
    "gaussian_ess_fraction",
    "gaussian_pareto_index",
    "gaussian_relative_entropy",
    "importance_weights",
    "mean_error_bound",
    "pareto_sample_size",
    "relative_entropy",
    "reliable_pareto_index",
    "required_sample_size",
    "weighted_average",
]


def _pair(target: ArrayLike, proposal: ArrayLike) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    p, q = probability_vector(target, "the target"), probability_vector(proposal, "the proposal")
    if p.ndim != 1 or p.shape != q.shape:
        raise ValueError(f"expected two laws of one shape (n,); got shapes {p.shape} and {q.shape}")
    missed = np.flatnonzero((q == 0) & (p > 0))
    if missed.size:
        raise ValueError(
            f"state {missed[0]} has positive probability under the target and none under the proposal: its weight is "
            "infinite, and no number of draws finds it"
        )
    return p, q


def importance_weights(target: ArrayLike, proposal: ArrayLike) -> Float[np.ndarray, " n"]:
    """Return the weights ``w = p / q``; zero where both laws vanish.

    Parameters
    ----------
    target, proposal
        ``p`` and ``q``, shape ``(n,)``.

    Raises
    ------
    ValueError
        If they are no laws on one space, or a state that the target needs is never proposed.
    """
    p, q = _pair(target, proposal)
    return np.asarray(np.divide(p, q, out=np.zeros_like(p), where=q > 0))


def chi_square(target: ArrayLike, proposal: ArrayLike) -> float:
    """Return ``E_q w^2 - 1``, the variance of the weights.

    ``n`` draws with weights are worth about ``n / (1 + chi_square)`` draws of the target. The estimate
    ``(sum w)^2 / sum w^2`` of that number from draws is too large as long as no draw has seen the largest weights.

    Parameters
    ----------
    target, proposal
        ``p`` and ``q``, shape ``(n,)``.
    """
    p, q = _pair(target, proposal)
    inside = q > 0
    return float(np.sum((p - q)[inside] ** 2 / q[inside]))


def relative_entropy(target: ArrayLike, proposal: ArrayLike) -> float:
    """Return ``KL(p | q) = E_p log w``.

    Parameters
    ----------
    target, proposal
        ``p`` and ``q``, shape ``(n,)``.
    """
    p, q = _pair(target, proposal)
    # p log(p / q) - p + q has no negative terms: nothing cancels for laws that are close.
    return float(special.kl_div(p, q).sum())


@dataclass(frozen=True)
class WeightedAverage:
    """The error of a self-normalised average ``sum w f / sum w`` over ``n`` draws, as ``n`` grows.

    Parameters
    ----------
    value
        Limit of ``n`` times its variance, ``E_q w^2 (f - p f)^2``.
    bias
        Limit of ``n`` times its bias, ``-E_q w^2 (f - p f)``.
    variance
        Variance of ``f`` under the target: what ``value`` would be with draws of the target.
    method
        How the expectations were computed.
    residual
        ``|E_q w (f - p f)|`` over the standard deviation of ``f``: zero but for rounding.
    """

    value: float
    bias: float
    variance: float
    method: str
    residual: float


def weighted_average(target: ArrayLike, proposal: ArrayLike, f: ArrayLike) -> WeightedAverage:
    """Return asymptotic variance and bias of self-normalised importance sampling on a finite space.

    Parameters
    ----------
    target, proposal
        ``p`` and ``q``, shape ``(n,)``.
    f
        Shape ``(n,)``.

    Raises
    ------
    ValueError
        If the arguments are no laws and no finite function on one space, or a weight is infinite.

    References
    ----------
    J. S. Liu, 2001, Monte Carlo Strategies in Scientific Computing, section 2.5.3, doi:10.1007/978-0-387-76371-2.
    """
    p, q = _pair(target, proposal)
    values = np.asarray(f, np.float64)
    if values.shape != p.shape or not np.all(np.isfinite(values)):
        raise ValueError(f"expected a finite function on {p.size} states; got shape {values.shape}")
    w = np.divide(p, q, out=np.zeros_like(p), where=q > 0)
    centred = values - p @ values
    variance = float(p @ centred**2)
    residual = abs(float((q * w) @ centred)) / math.sqrt(variance) if variance > 0 else 0.0
    # E_q w^2 g = E_p w g
    return WeightedAverage(float((p * w) @ centred**2), -float((p * w) @ centred), variance, "finite sum", residual)


def required_sample_size(relative_entropy: float, slack: float = 0.0) -> float:
    """Return ``exp(KL + slack)``, about how many draws an average with weights needs.

    With many fewer draws the average is dominated by weights that have not been seen. What counts is the spread of
    ``log w`` under the target, see :func:`mean_error_bound`; where it is small, a slack of a few times its standard
    deviation is enough, and a slack of minus that is too little.

    Parameters
    ----------
    relative_entropy
        ``KL(p | q)``; not negative.
    slack
        Log of the factor beyond ``exp(KL)``.

    References
    ----------
    S. Chatterjee and P. Diaconis, 2018, The sample size required in importance sampling, Ann. Appl. Probab. 28,
    arXiv:1511.01437.
    """
    if not relative_entropy >= 0 or math.isnan(slack):
        raise ValueError(
            f"expected a relative entropy that is not negative, and a slack; got {relative_entropy}, {slack}"
        )
    return float(np.exp(relative_entropy + slack))


def mean_error_bound(target: ArrayLike, proposal: ArrayLike, num_draws: int) -> float:
    """Bound the mean error ``E |1/n sum w f - p f|`` of importance sampling, for all ``f`` with ``p f^2 = 1``.

    It is the least value of ``sqrt(a / n) + 2 sqrt(P_p(w > a))`` over truncations ``a`` of the weights.

    Parameters
    ----------
    target, proposal
        ``p`` and ``q``, shape ``(n,)``.
    num_draws
        ``n``, at least 1.

    References
    ----------
    S. Chatterjee and P. Diaconis, 2018, theorem 1.1, arXiv:1511.01437, for ``log a`` half-way from ``KL`` to ``log n``.
    """
    if num_draws < 1:
        raise ValueError(f"num_draws has to be at least 1; got {num_draws}")
    p, q = _pair(target, proposal)
    w = np.divide(p, q, out=np.zeros_like(p), where=q > 0)
    order = np.argsort(w, kind="stable")
    # Tied weights: the last of them has the right tail, and the others only overstate it.
    tail = np.append(np.cumsum(p[order][::-1])[::-1][1:], 0.0)
    # Without any truncation point the bound is 2.
    return min(2.0, float(np.min(np.sqrt(w[order] / num_draws) + 2 * np.sqrt(tail))))


def _gaussian(
    mean: ArrayLike, covariance: ArrayLike, name: str
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d d"]]:
    m = np.atleast_1d(np.asarray(mean, np.float64))
    given = np.asarray(covariance, np.float64)
    C = given.reshape(1, 1) if given.size == 1 else given
    if m.ndim != 1 or C.shape != (m.size, m.size):
        raise ValueError(f"{name}: expected a mean of shape (d,) and a covariance (d, d); got {m.shape}, {given.shape}")
    if not np.all(np.isfinite(m)) or not np.all(np.isfinite(C)):
        raise ValueError(f"{name}: the mean or the covariance has an entry that is not finite")
    if not np.allclose(C, C.T, rtol=1e-9, atol=0) or not np.linalg.eigvalsh((C + C.T) / 2)[0] > 0:
        raise ValueError(f"{name}: the covariance has to be symmetric and positive definite; got {given.tolist()}")
    return m, np.asarray((C + C.T) / 2)


def gaussian_chi_square(
    mean: ArrayLike, covariance: ArrayLike, proposal_mean: ArrayLike, proposal_covariance: ArrayLike
) -> float:
    """Return the variance of the weights for the target ``N(m, A)`` and the proposal ``N(n, B)``.

    It is ``|B| / sqrt(|A| |2B - A|) exp((m - n)^T (2B - A)^{-1} (m - n)) - 1``, and infinite unless ``2B - A`` is
    positive definite.

    Parameters
    ----------
    mean, proposal_mean
        Shape ``(d,)``, or numbers.
    covariance, proposal_covariance
        Shape ``(d, d)``, or variances.

    Raises
    ------
    ValueError
        If shapes do not fit, or a covariance is not positive definite.
    """
    m, A = _gaussian(mean, covariance, "the target")
    n, B = _gaussian(proposal_mean, proposal_covariance, "the proposal")
    if m.shape != n.shape:
        raise ValueError(f"the laws have dimensions {m.size} and {n.size}; expected one")
    slack = 2 * B - A
    if not np.linalg.eigvalsh(slack)[0] > 0:
        return math.inf
    shift = m - n
    log_moment = np.linalg.slogdet(B)[1] - (np.linalg.slogdet(A)[1] + np.linalg.slogdet(slack)[1]) / 2
    with np.errstate(over="ignore"):
        return float(np.expm1(log_moment + shift @ np.linalg.solve(slack, shift)))


def gaussian_relative_entropy(
    mean: ArrayLike, covariance: ArrayLike, proposal_mean: ArrayLike, proposal_covariance: ArrayLike
) -> float:
    """Return ``KL(N(m, A) | N(n, B)) = (tr(B^{-1} A) - d + (m - n)^T B^{-1} (m - n) - log |B^{-1} A|) / 2``.

    Parameters
    ----------
    mean, proposal_mean
        Shape ``(d,)``, or numbers.
    covariance, proposal_covariance
        Shape ``(d, d)``, or variances.
    """
    m, A = _gaussian(mean, covariance, "the target")
    n, B = _gaussian(proposal_mean, proposal_covariance, "the proposal")
    if m.shape != n.shape:
        raise ValueError(f"the laws have dimensions {m.size} and {n.size}; expected one")
    shift = m - n
    log_ratio = np.linalg.slogdet(A)[1] - np.linalg.slogdet(B)[1]
    trace = float(np.trace(np.linalg.solve(B, A)))
    return float((trace - m.size + shift @ np.linalg.solve(B, shift) - log_ratio) / 2)


def gaussian_ess_fraction(mean: float, scale: float, sigma: float) -> float:
    """Return the effective sample size of a draw of ``N(0, sigma^2)`` for the target ``N(mean, scale^2)``.

    It is the inverse of the second moment of the weights, and zero where that is infinite, for
    ``scale^2 >= 2 sigma^2``.

    Parameters
    ----------
    mean, scale
        Of the target.
    sigma
        Standard deviation of the proposal.
    """
    if not (scale > 0 and sigma > 0):
        raise ValueError(f"standard deviations have to be positive; got scale={scale}, sigma={sigma}")
    slack = 2.0 * sigma**2 - scale**2
    if slack <= 0:
        return 0.0
    return float(scale * np.sqrt(slack) / sigma**2 * np.exp(-(mean**2) / slack))


def gaussian_pareto_index(sigma: float) -> float:
    """Return the tail index ``k`` of the weights for the target ``N(0, I)`` and the proposal ``N(0, sigma^2 I)``.

    The weights exceed ``t`` with probability about ``t^(-1/k)``, with ``k = 1 - sigma^2``, in every dimension; for
    ``sigma >= 1`` they are bounded and ``k = 0``. Their variance is infinite for ``k >= 1/2``.
    """
    if not sigma > 0:
        raise ValueError(f"sigma has to be positive; got {sigma}")
    return max(0.0, 1.0 - sigma**2)


def reliable_pareto_index(num_draws: int) -> float:
    """Return ``min(1 - 1 / log10(n), 0.7)``: smoothed averages of ``n`` weights are reliable for smaller indices.

    Parameters
    ----------
    num_draws
        ``n``, at least 2. Up to ten draws no positive index is reliable, and the result is not positive.

    References
    ----------
    A. Vehtari, D. Simpson, A. Gelman, Y. Yao and J. Gabry, 2024, Pareto smoothed importance sampling, JMLR 25,
    arXiv:1507.02646.
    """
    if num_draws < 2:
        raise ValueError(f"num_draws has to be at least 2; got {num_draws}")
    return min(1 - 1 / math.log10(num_draws), 0.7)


def pareto_sample_size(index: float) -> float:
    """Return ``10^(1 / (1 - k))``, how many draws a tail index ``k`` needs; infinite from 1 on, where means are.

    Parameters
    ----------
    index
        ``k``; negative values count as zero.

    References
    ----------
    A. Vehtari, D. Simpson, A. Gelman, Y. Yao and J. Gabry, 2024, Pareto smoothed importance sampling, JMLR 25,
    arXiv:1507.02646.
    """
    if math.isnan(index):
        raise ValueError("the tail index is NaN; expected a number")
    if index >= 1:
        return math.inf
    exponent = 1 / (1 - max(0.0, index))
    return math.inf if exponent > 308 else 10.0**exponent
