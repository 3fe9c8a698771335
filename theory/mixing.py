"""Mixing of finite chains: total variation distance after a number of steps, mixing times, and bounds on them."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from ergodica.theory.finite_chain import FiniteChain
from ergodica.theory.spectral_gap import relaxation_time
from ergodica.theory.transition_matrix import period

__all__ = ["MixingBounds", "distance_to_stationarity", "mixing_bounds", "mixing_time", "total_variation_curve"]


def _distance(power: Float[np.ndarray, "n n"], law: Float[np.ndarray, " n"]) -> float:
    return float(0.5 * np.abs(power - law).sum(axis=1).max())


def distance_to_stationarity(chain: FiniteChain, num_steps: int) -> float:
    """Return ``d(t)``, the largest total variation distance to the stationary law after ``t`` steps, over all starts.

    Parameters
    ----------
    chain
        With one stationary law; transient states are starts, too.
    num_steps
        ``t``, at least 0.
    """
    if num_steps < 0:
        raise ValueError(f"num_steps has to be at least 0; got {num_steps}")
    return _distance(np.linalg.matrix_power(chain.dense(), num_steps), chain.law)


def total_variation_curve(
    chain: FiniteChain, num_steps: int, start: ArrayLike | None = None
) -> Float[np.ndarray, " steps"]:
    """Return the total variation distances to the stationary law after 0, 1, ..., ``num_steps`` steps.

    Parameters
    ----------
    chain
        With one stationary law; dense unless a start is given.
    num_steps
        At least 0.
    start
        A state, or a law of shape ``(n,)``; default: the worst state at each time, ``d(t)``.

    Returns
    -------
    array of shape (num_steps + 1,)
        Not increasing.
    """
    if num_steps < 0:
        raise ValueError(f"num_steps has to be at least 0; got {num_steps}")
    if start is None:
        rows: Float[np.ndarray, "k n"] = np.eye(chain.size)
    else:
        given = np.asarray(start)
        if given.ndim == 0:
            if given.dtype.kind not in "iu" or not 0 <= int(given) < chain.size:
                raise ValueError(f"start is a state below {chain.size}, or a law; got {start!r}")
            rows = np.eye(1, chain.size, int(given))
        else:
            rows = given.astype(np.float64)[None, :]
            if rows.shape != (1, chain.size) or rows.min() < 0 or abs(rows.sum() - 1) > 1e-9:
                raise ValueError(f"start is a state, or a law on {chain.size} states; got shape {given.shape}")
    matrix = chain.dense() if start is None else chain.P
    curve = np.empty(num_steps + 1)
    for t in range(num_steps + 1):
        curve[t] = _distance(rows, chain.law)
        rows = np.asarray(rows @ matrix)
    return curve


def mixing_time(chain: FiniteChain, eps: float = 0.25, max_steps: int = 2**40) -> float:
    """Return the first ``t`` with ``d(t) <= eps``.

    Parameters
    ----------
    chain
        With one stationary law.
    eps
        In (0, 1).
    max_steps
        Give up beyond it.

    Returns
    -------
    float
        A whole number; infinite if the chain is periodic.

    Raises
    ------
    RuntimeError
        If ``max_steps`` are not enough.

    Notes
    -----
    Powers ``P^(2^j)`` until one mixes, then bisection over binary digits: ``d`` does not increase.
    """
    if not 0 < eps < 1:
        raise ValueError(f"eps has to lie in (0, 1); got {eps}")
    law = chain.law
    if _distance(np.eye(chain.size), law) <= eps:
        return 0.0
    # A class that repeats every m steps has weight 1/m: the distance stays at 1 - 1/m at least.
    if eps < 1 - 1 / period(chain.recurrent()[0].P):
        return float("inf")
    powers = [chain.dense()]
    while _distance(powers[-1], law) > eps:
        if 2 ** len(powers) > max_steps:
            raise RuntimeError(f"the chain has not mixed to {eps} after {2 ** (len(powers) - 1)} steps")
        powers.append(_product(powers[-1], powers[-1]))
    if len(powers) == 1:
        return 1.0
    steps, power = 2 ** (len(powers) - 2), powers[-2]
    for j in range(len(powers) - 3, -1, -1):
        longer = _product(power, powers[j])
        if _distance(longer, law) > eps:
            steps, power = steps + 2**j, longer
    return float(steps + 1)


def _product(one: Float[np.ndarray, "n n"], other: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Multiply transition matrices; rows are scaled back, since squaring doubles the relative error of their sums."""
    out = one @ other
    return np.asarray(out / out.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class MixingBounds:
    """Bounds on the mixing time of a reversible chain from its relaxation time.

    Parameters
    ----------
    lower
        ``(t_rel - 1) log(1 / (2 eps))``.
    upper
        ``t_rel log(1 / (eps mu_min))``.
    """

    lower: float
    upper: float


def mixing_bounds(chain: FiniteChain, eps: float = 0.25) -> MixingBounds:
    """Return the bounds on the mixing time of a reversible chain that its relaxation time implies.

    Parameters
    ----------
    chain
        Reversible and irreducible.
    eps
        In (0, 1).

    References
    ----------
    D. A. Levin and Y. Peres, 2017, Markov Chains and Mixing Times, theorems 12.4 and 12.5.
    """
    if not 0 < eps < 1:
        raise ValueError(f"eps has to lie in (0, 1); got {eps}")
    chain._need(reversible=True)
    time = relaxation_time(chain)
    return MixingBounds(max(0.0, (time - 1) * math.log(0.5 / eps)), time * math.log(1 / (eps * chain.law.min())))
