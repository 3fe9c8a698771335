"""Logarithmic Sobolev constants of finite chains: decay of entropy, and mixing from states of small weight."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.optimize
import scipy.special
from jaxtyping import Float

from ergodica.theory.finite_chain import FiniteChain
from ergodica.theory.spectral_gap import spectral_gap

__all__ = [
    "ContinuousTimeBound",
    "LogSobolevConstant",
    "continuous_time_bound",
    "log_sobolev_constant",
    "modified_log_sobolev_constant",
    "two_state_log_sobolev_constant",
]


@dataclass(frozen=True)
class LogSobolevConstant:
    """A constant found by minimising a ratio of an energy and an entropy.

    Parameters
    ----------
    value
        The smallest ratio found, or the limit at constant functions if that is smaller. The search is not convex: the
        constant itself may be smaller.
    limit
        The ratio of nearly constant functions along the second eigenfunction.
    method
        ``"minimisation"`` or ``"constant limit"``.
    function
        ``log g`` where ``g`` attains the value; zero in the limit.
    """

    value: float
    limit: float
    method: str
    function: Float[np.ndarray, " n"]


Ratio = Callable[[Float[np.ndarray, " n"]], tuple[float, Float[np.ndarray, " n"]]]


def _least(ratio: Ratio, limit: float, size: int, num_starts: int, seed: int) -> LogSobolevConstant:
    rng = np.random.default_rng(seed)
    best, where = limit, np.zeros(size)
    for start in range(num_starts):
        u = (0.5, 1.0, 2.0)[start % 3] * rng.normal(size=size)
        found = scipy.optimize.minimize(
            ratio, u, jac=True, method="BFGS", callback=_stop_at_constants, options={"gtol": 1e-8, "maxiter": 200}
        )
        if found.fun < best * (1 - 1e-9):
            best, where = float(found.fun), np.asarray(found.x)
    method = "minimisation" if best < limit else "constant limit"
    return LogSobolevConstant(best, limit, method, where - where.max())


def _stop_at_constants(intermediate_result: scipy.optimize.OptimizeResult) -> None:
    """End a descent towards constant functions, whose limit is known: ratios of two zeros would only collect noise."""
    if np.ptp(intermediate_result.x) < 1e-3:
        raise StopIteration


def _checked(chain: FiniteChain, num_starts: int) -> None:
    chain._need(reversible=True)
    if chain.size < 2:
        raise ValueError("the constant of a chain with one state is not defined")
    if num_starts < 1:
        raise ValueError(f"num_starts has to be at least 1; got {num_starts}")


def log_sobolev_constant(chain: FiniteChain, *, num_starts: int = 60, seed: int = 0) -> LogSobolevConstant:
    """Return the infimum of ``E(g, g) / Ent(g^2)``.

    Here ``E(g, g) = <g, (I - P) g>`` and ``Ent(u) = mu(u log(u / mu u))``. It is at most half the gap, which is the limit
    at constant functions.

    Parameters
    ----------
    chain
        Reversible and irreducible, with at least two states.
    num_starts
        Starts of the search, at random.
    seed
        Of the starts.

    References
    ----------
    P. Diaconis and L. Saloff-Coste, 1996, Ann. Appl. Probab. 6, doi:10.1214/aoap/1034968224.
    """
    _checked(chain, num_starts)
    law, matrix = chain.law, chain.dense()
    flow = law[:, None] * matrix
    laplacian = np.diag(flow.sum(axis=1)) - flow

    def ratio(u: Float[np.ndarray, " n"]) -> tuple[float, Float[np.ndarray, " n"]]:
        u = u - u.max()
        g = np.exp(u)
        mass = law @ g**2
        log = 2 * u - np.log(mass)
        entropy = mass * (law @ (log * np.exp(log) - np.expm1(log)))
        if entropy < 1e-12 * mass:
            return 1e6, np.zeros_like(u)
        pull = laplacian @ g
        # Differences, not products: nothing cancels where the function is nearly constant.
        energy = 0.5 * np.sum(flow * (g[:, None] - g) ** 2)
        slope = (2 * g * pull - energy / entropy * 2 * law * g**2 * log) / entropy
        return float(energy / entropy), slope

    return _least(ratio, 0.5 * spectral_gap(chain), chain.size, num_starts, seed)


def modified_log_sobolev_constant(chain: FiniteChain, *, num_starts: int = 60, seed: int = 0) -> LogSobolevConstant:
    """Return the infimum of ``E(e^u, u) / Ent(e^u)``, the rate at which entropy decays in continuous time.

    It lies between four times the logarithmic Sobolev constant and twice the gap, which is the limit at constants.

    Parameters
    ----------
    chain, num_starts, seed
        As in :func:`log_sobolev_constant`.

    References
    ----------
    S. G. Bobkov and P. Tetali, 2006, J. Theoret. Probab. 19, doi:10.1007/s10959-006-0016-3.
    """
    _checked(chain, num_starts)
    law, matrix = chain.law, chain.dense()
    flow = law[:, None] * matrix
    laplacian = np.diag(flow.sum(axis=1)) - flow

    def ratio(u: Float[np.ndarray, " n"]) -> tuple[float, Float[np.ndarray, " n"]]:
        u = u - u.max()
        g = np.exp(u)
        mass = law @ g
        log = u - np.log(mass)
        entropy = mass * (law @ (log * np.exp(log) - np.expm1(log)))
        if entropy < 1e-12 * mass:
            return 1e6, np.zeros_like(u)
        energy = 0.5 * np.sum(flow * (g[:, None] - g) * (u[:, None] - u))
        slope = (g * (laplacian @ u) + laplacian.T @ g - energy / entropy * law * g * log) / entropy
        return float(energy / entropy), slope

    return _least(ratio, 2 * spectral_gap(chain), chain.size, num_starts, seed)


def two_state_log_sobolev_constant(p: float, q: float) -> float:
    """Return the constant of the chain on two states with probabilities ``p`` of 0 to 1 and ``q`` of 1 to 0.

    ``(p + q) (a - b) / log(a / b)`` with the weights ``a = max(p, q) / (p + q)`` and ``b = min(p, q) / (p + q)``.

    Parameters
    ----------
    p, q
        In (0, 1].

    References
    ----------
    P. Diaconis and L. Saloff-Coste, 1996, Ann. Appl. Probab. 6, doi:10.1214/aoap/1034968224, corollary A.3.
    """
    if not (0 < p <= 1 and 0 < q <= 1):
        raise ValueError(f"expected probabilities in (0, 1]; got {p} and {q}")
    half = 0.5 * math.log(p / q)
    # (a - b) / log(a / b) = tanh(h) / (2 h) with h = log(a / b) / 2.
    return (p + q) * (0.5 if half == 0 else 0.5 * math.tanh(half) / half)


@dataclass(frozen=True)
class ContinuousTimeBound:
    """A time, and a bound on the distance to the stationary law at that time.

    Parameters
    ----------
    time
        ``t``.
    bound
        Of ``|h_t^x - 1|`` in ``L2(mu)``, where ``h_t^x`` is the density at time ``t`` of the chain in continuous time
        from ``x``.
    """

    time: float
    bound: float


def continuous_time_bound(
    chain: FiniteChain, start: int, slack: float, alpha: float | None = None
) -> ContinuousTimeBound:
    """Return a time at which the chain in continuous time is near its stationary law in ``L2``.

    At ``t = log+ log(1 / mu(x)) / (4 alpha) + c / gap`` the distance is at most ``exp(1 - c)``.

    Parameters
    ----------
    chain
        Reversible and irreducible.
    start
        The state ``x``.
    slack
        ``c``, not negative.
    alpha
        Logarithmic Sobolev constant, or a lower bound; default: :func:`log_sobolev_constant`.

    References
    ----------
    P. Diaconis and L. Saloff-Coste, 1996, Ann. Appl. Probab. 6, doi:10.1214/aoap/1034968224, theorem 3.7.
    """
    if not 0 <= start < chain.size or not slack >= 0:
        raise ValueError(f"expected a state below {chain.size} and a slack that is not negative; got {start}, {slack}")
    constant = log_sobolev_constant(chain).value if alpha is None else alpha
    if not constant > 0:
        raise ValueError(f"alpha has to be positive; got {alpha}")
    excess = -math.log(chain.law[start])
    wait = math.log(excess) / (4 * constant) if excess > 1 else 0.0
    return ContinuousTimeBound(wait + slack / spectral_gap(chain), math.exp(1 - slack))
