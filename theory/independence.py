"""Theory of independence Metropolis: what the weights of its proposals decide."""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy import special

from ergodica.theory.finite_chain import AsymptoticVariance
from ergodica.theory.importance import gaussian_ess_fraction, gaussian_pareto_index

__all__ = [
    "gaussian_acceptance",
    "gaussian_ess_fraction",
    "gaussian_pareto_index",
    "gaussian_weight_bound",
    "independence_eigenvalues",
    "independence_matrix",
    "independence_power",
    "independence_variance",
    "total_variation_bound",
    "total_variation_from_largest_weight",
    "weight_bound",
]


def _laws(target: ArrayLike, proposal: ArrayLike) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    pi, q = np.asarray(target, np.float64), np.asarray(proposal, np.float64)
    if pi.ndim != 1 or pi.shape != q.shape:
        raise ValueError(f"expected two probability vectors of one length; got shapes {pi.shape} and {q.shape}")
    if pi.size == 0 or not np.all(np.isfinite(pi)) or not np.all(np.isfinite(q)):
        raise ValueError("expected finite probabilities, one or more; got NaN, infinity or none")
    if min(pi.min(), q.min()) < 0 or pi.sum() <= 0 or q.sum() <= 0:
        raise ValueError("expected probabilities that are not negative and not all zero")
    if np.any((q == 0) & (pi > 0)):
        state = int(np.flatnonzero((q == 0) & (pi > 0))[0])
        raise ValueError(f"state {state} has positive probability under the target and none under the proposal")
    return pi / pi.sum(), q / q.sum()


def _positive_laws(target: ArrayLike, proposal: ArrayLike) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    pi, q = _laws(target, proposal)
    if np.any(pi == 0):
        raise ValueError("every state needs a positive probability under the target; leave the others out")
    return pi, q


def _check_steps(steps: int) -> int:
    if not float(steps).is_integer() or steps < 0:
        raise ValueError(f"the number of steps has to be an integer of at least 0; got {steps}")
    return int(steps)


def weight_bound(target: ArrayLike, proposal: ArrayLike) -> float:
    """Return ``L``, the largest weight ``pi / q`` of two laws on a finite space."""
    pi, q = _laws(target, proposal)
    inside = q > 0
    return float(np.max(pi[inside] / q[inside]))


def total_variation_bound(bound: float, steps: int) -> float:
    """Return ``(1 - 1/L)^n``, which the distance to the target after ``n`` steps does not exceed, from any start.

    Parameters
    ----------
    bound
        ``L``: the largest weight over the normaliser, at least 1.
    steps
        ``n``.

    References
    ----------
    K. L. Mengersen and R. L. Tweedie, 1996, Ann. Statist. 24, doi:10.1214/aos/1033066201.
    """
    if not bound >= 1:
        raise ValueError(f"the largest weight of two laws is at least 1; got {bound}")
    return float((1.0 - 1.0 / bound) ** _check_steps(steps))


def independence_matrix(target: ArrayLike, proposal: ArrayLike) -> Float[np.ndarray, "n n"]:
    """Return the transition matrix of independence Metropolis, ``min(q_j, pi_j q_i / pi_i)`` off the diagonal.

    Every state needs a positive probability under both laws.
    """
    pi, q = _positive_laws(target, proposal)
    matrix = np.asarray(np.minimum(q[None, :], pi[None, :] * (q / pi)[:, None]))
    np.fill_diagonal(matrix, 0.0)
    return matrix + np.diag(1.0 - matrix.sum(axis=1))


def independence_eigenvalues(target: ArrayLike, proposal: ArrayLike) -> Float[np.ndarray, " n"]:
    """Return the eigenvalues of independence Metropolis on a finite space, decreasing; the second is ``1 - 1/L``.

    With the states sorted by decreasing weight ``w``, the eigenvalues below 1 are
    ``sum_{i >= k} (q_i - pi_i / w_k)`` for ``k = 1, ..., n - 1``.

    References
    ----------
    J. S. Liu, 1996, Metropolized independent sampling with comparisons to rejection sampling and importance sampling,
    Stat. Comput. 6, doi:10.1007/BF00162521.
    """
    pi, q = _positive_laws(target, proposal)
    order = np.argsort(-(pi / q), kind="stable")
    pi, q = pi[order], q[order]
    tail_q, tail_pi = np.cumsum(q[::-1])[::-1], np.cumsum(pi[::-1])[::-1]
    values = tail_q - tail_pi * q / pi
    return np.concatenate([[1.0], values[:-1]])


def total_variation_from_largest_weight(target: ArrayLike, proposal: ArrayLike, steps: int) -> float:
    """Return the distance to the target after ``n`` steps from the state of the largest weight, exactly.

    From there every proposal is accepted with probability ``w_y / L``: the chain moves to a draw of the target with
    probability ``1 / L``, and stays otherwise. The distance is ``(1 - pi_x) (1 - 1/L)^n``. Among states with the largest
    weight, the one with the smallest probability is meant. A start of smaller weight can be further away;
    :func:`total_variation_bound` holds for every start.

    Parameters
    ----------
    target, proposal
        Weights, shape ``(n,)``; each is divided by its sum.
    steps
        At least 0.

    References
    ----------
    G. Wang, 2022, Exact convergence analysis of the independent Metropolis-Hastings algorithms, Bernoulli 28.
    """
    pi, q = _positive_laws(target, proposal)
    w = pi / q
    largest = w.max()
    mass = float(pi[w >= largest * (1 - 1e-12)].min())
    return (1.0 - mass) * total_variation_bound(max(1.0, float(largest)), steps)


def independence_power(target: ArrayLike, proposal: ArrayLike, steps: int) -> Float[np.ndarray, "n n"]:
    """Return the transition probabilities of ``n`` steps of independence Metropolis, without powers of a matrix.

    ``P^n(x, .) = l(w_x)^n delta_x + T_n(max(w_x, w_y)) pi_y``, where ``l(v)`` is the probability that a state of weight
    ``v`` rejects the proposal, and ``T_n(v)`` the integral of ``n l(u)^(n-1) / u^2`` over ``u > v``. Between two weights
    ``l' = pi(w <= u) / u^2``, so that the integral is a finite sum.

    Parameters
    ----------
    target, proposal
        Weights, shape ``(n,)``; each is divided by its sum.
    steps
        At least 0.

    Returns
    -------
    array of shape (n, n)
        Row ``x`` is the law after the given number of steps from ``x``.

    References
    ----------
    R. L. Smith and L. Tierney, 1996, Exact transition probabilities for the independence Metropolis sampler, technical
    report, University of North Carolina.
    """
    pi, q = _positive_laws(target, proposal)
    count = _check_steps(steps)
    w = pi / q
    order = np.argsort(w, kind="stable")
    rank = np.argsort(order, kind="stable")
    v, below_pi = w[order], np.cumsum(pi[order])
    # l at a weight v: sum of q (1 - w / v) over smaller weights.
    reject = np.clip(np.cumsum(q[order]) - below_pi / v, 0.0, 1.0) ** count
    # l at the end of the interval that starts at each weight; it tends to one beyond the last.
    ends = np.clip(np.cumsum(q[order])[:-1] - below_pi[:-1] / v[1:], 0.0, 1.0) ** count
    pieces = (np.append(ends, 1.0) - reject) / np.append(below_pi[:-1], 1.0)
    tail = np.cumsum(pieces[::-1])[::-1]
    out = tail[np.maximum(rank[:, None], rank)] * pi
    return np.asarray(out + np.diag(reject[rank]))


def independence_variance(target: ArrayLike, proposal: ArrayLike, f: ArrayLike) -> AsymptoticVariance:
    """Return the asymptotic variance of the time average of ``f`` under independence Metropolis, in ``n log n`` steps.

    With the states sorted by decreasing weight, the eigenfunction of the eigenvalue ``k`` vanishes before state ``k`` and
    is constant after it.

    Parameters
    ----------
    target, proposal
        Weights, shape ``(n,)``; each is divided by its sum.
    f
        Shape ``(n,)``.

    Raises
    ------
    ValueError
        If the weights are none, or ``f`` is no finite function on their space.

    References
    ----------
    J. S. Liu, 1996, Stat. Comput. 6, doi:10.1007/BF00162521.
    """
    pi, q = _positive_laws(target, proposal)
    values = np.asarray(f, np.float64)
    if values.shape != pi.shape or not np.all(np.isfinite(values)):
        raise ValueError(f"expected a finite function on {pi.size} states; got shape {values.shape}")
    centred = values - pi @ values
    variance = float(pi @ centred**2)
    order = np.argsort(-(pi / q), kind="stable")
    law, rates, g = pi[order], q[order], centred[order]
    after = np.cumsum(law[::-1])[::-1] - law
    sum_after = np.cumsum((law * g)[::-1])[::-1] - law * g
    inner = law[:-1] * (g[:-1] * after[:-1] - sum_after[:-1])
    squares = inner**2 / (law[:-1] * after[:-1] * (law[:-1] + after[:-1]))
    # One minus the eigenvalues, without cancellation.
    gaps = (np.cumsum(rates) - rates + (law + after) * rates / law)[:-1]
    missed = abs(variance - float(squares.sum())) / variance if variance > 0 else 0.0
    return AsymptoticVariance(float(squares @ ((2 - gaps) / gaps)), variance, "spectrum", missed)


def gaussian_weight_bound(dim: int, sigma: float) -> float:
    """Return ``L`` for the target ``N(0, I)`` and the proposal ``N(0, sigma^2 I)``: ``sigma^dim``, infinite below 1."""
    if not sigma > 0:
        raise ValueError(f"sigma has to be positive; got {sigma}")
    return float(sigma**dim) if sigma >= 1 else float("inf")


def gaussian_acceptance(dim: int, sigma: float) -> float:
    """Return the stationary acceptance rate for the target ``N(0, I)`` and the proposal ``N(0, sigma^2 I)``.

    It is ``2 P(F < min(sigma^2, sigma^-2))`` with ``F`` of Fisher's law with ``dim`` and ``dim`` degrees of freedom:
    the rate is twice the probability that a draw of the proposal has a larger weight than one of the target. For
    ``sigma = 1 + g`` with small ``g`` it is about ``2 Phi(-|g| sqrt(dim))``.

    Parameters
    ----------
    dim
        Dimension.
    sigma
        Standard deviation of the proposal.
    """
    if not sigma > 0 or dim < 1:
        raise ValueError(f"sigma has to be positive and dim at least 1; got sigma={sigma}, dim={dim}")
    if sigma == 1:
        return 1.0
    return float(2.0 * special.fdtr(dim, dim, min(sigma**2, sigma**-2)))
