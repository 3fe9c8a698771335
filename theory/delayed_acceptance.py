"""Delayed acceptance on finite spaces: transition matrix, and how often the target is evaluated."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from ergodica.theory.metropolis import Acceptance, metropolis

__all__ = ["DelayedAcceptanceRates", "delayed_acceptance_matrix", "delayed_acceptance_rates"]


def _stages(
    target: ArrayLike, surrogate: ArrayLike, proposal: ArrayLike, first: Acceptance, second: Acceptance
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n n"], Float[np.ndarray, "n n"]]:
    """Return the target, the probabilities of proposing and passing the first stage, and those of moving."""
    weights, cheap, K = (np.asarray(array, np.float64) for array in (target, surrogate, proposal))
    if weights.ndim != 1 or cheap.shape != weights.shape or K.shape != (weights.size, weights.size):
        raise ValueError(f"expected shapes (n,), (n,) and (n, n); got {weights.shape}, {cheap.shape} and {K.shape}")
    if np.any(weights <= 0) or np.any(cheap <= 0):
        raise ValueError("target and surrogate have to be positive in every state; leave out the states of weight zero")
    if np.any(K < 0) or np.any(np.abs(K.sum(axis=1) - 1) > 1e-9):
        raise ValueError(f"the rows of a proposal are probabilities; they sum to {K.sum(axis=1)}")
    with np.errstate(divide="ignore", invalid="ignore"):
        drafted = np.where(K > 0, cheap[None] * K.T / (cheap[:, None] * K), 0.0)
    verified = (weights[None] * cheap[:, None]) / (weights[:, None] * cheap[None])
    passed = K * np.where(K > 0, first(drafted), 0.0)
    return weights / weights.sum(), passed, passed * second(verified)


def delayed_acceptance_matrix(
    target: ArrayLike,
    surrogate: ArrayLike,
    proposal: ArrayLike,
    first: Acceptance = metropolis,
    second: Acceptance = metropolis,
) -> Float[np.ndarray, "n n"]:
    """Return the matrix ``T_ij = K_ij a1(r1) a2(r2)`` off the diagonal.

    ``r1 = s_j K_ji / (s_i K_ij)`` and ``r2 = pi_j s_i / (pi_i s_j)`` for the surrogate ``s`` and the target ``pi``. No
    entry off the diagonal exceeds Metropolis's with the same proposal, if both rules are Metropolis's.

    Parameters
    ----------
    target, surrogate
        Positive weights, shape ``(n,)``.
    proposal
        Matrix ``K``, shape ``(n, n)``.
    first, second
        Acceptance probabilities with ``a(r) = r a(1/r)``.

    Raises
    ------
    ValueError
        If shapes do not fit, a weight is not positive, or a row of the proposal is no probability vector.

    References
    ----------
    J. A. Christen and C. Fox, 2005, Markov chain Monte Carlo using an approximation, JCGS 14,
    doi:10.1198/106186005X76983.
    """
    _, _, matrix = _stages(target, surrogate, proposal, first, second)
    np.fill_diagonal(matrix, 0.0)
    return matrix + np.diag(1.0 - matrix.sum(axis=1))


@dataclass(frozen=True)
class DelayedAcceptanceRates:
    """Stationary rates of delayed acceptance.

    Parameters
    ----------
    evaluated
        Probability that a candidate passes the first stage, so that the target is evaluated.
    accepted
        Probability that it is accepted in the end.
    """

    evaluated: float
    accepted: float


def delayed_acceptance_rates(
    target: ArrayLike,
    surrogate: ArrayLike,
    proposal: ArrayLike,
    first: Acceptance = metropolis,
    second: Acceptance = metropolis,
) -> DelayedAcceptanceRates:
    """Return how often the target is evaluated and how often a candidate is accepted, in stationarity.

    Parameters
    ----------
    target, surrogate, proposal, first, second
        As in :func:`delayed_acceptance_matrix`. A candidate equal to the state counts as any other.
    """
    law, passed, moved = _stages(target, surrogate, proposal, first, second)
    return DelayedAcceptanceRates(float(law @ passed.sum(axis=1)), float(law @ moved.sum(axis=1)))
