"""Conductance of finite chains: the bottleneck with the smallest flow, and Cheeger's bounds on the gap."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from ergodica.theory.finite_chain import FiniteChain
from ergodica.theory.spectral_gap import second_eigenfunction

__all__ = ["CheegerBounds", "Conductance", "cheeger_bounds", "conductance"]


@dataclass(frozen=True)
class Conductance:
    """The smallest flow out of a set, relative to its weight.

    Parameters
    ----------
    value
        ``Q(S, S^c) / mu(S)``.
    states
        The set ``S``.
    method
        ``"enumeration"``, or ``"sweep"``.
    exact
        Whether no set is better; a sweep gives an upper bound of the conductance.
    """

    value: float
    states: Int[np.ndarray, " k"]
    method: str
    exact: bool


def conductance(chain: FiniteChain, *, max_enumerated: int = 20) -> Conductance:
    """Return the smallest ``Q(S, S^c) / mu(S)`` over sets with ``0 < mu(S) <= 1/2``.

    Parameters
    ----------
    chain
        Irreducible; reversible where it has more states than are enumerated.
    max_enumerated
        With no more states than this all sets are tried, at most 24 states; beyond, the sets of a sweep along the
        second eigenfunction, from both ends.

    Raises
    ------
    ValueError
        If the chain has one state.
    """
    chain._need()
    if chain.size < 2:
        raise ValueError("the conductance of a chain with one state is not defined")
    if not 0 <= max_enumerated <= 24:
        raise ValueError(f"max_enumerated has to lie between 0 and 24; got {max_enumerated}")
    if chain.size <= max_enumerated:
        return _enumerated(chain.law, chain.law[:, None] * chain.dense())
    order = np.argsort(second_eigenfunction(chain))
    return _swept(chain, order)


def _enumerated(law: Float[np.ndarray, " n"], flow: Float[np.ndarray, "n n"]) -> Conductance:
    # Sets as bits. Of a set with highest state i, the flow is that of the rest, plus what i sends outside, minus what
    # the rest sends to i: all sets with highest state i at once. Stationarity makes Q(S, S^c) = Q(S^c, S).
    size = len(law)
    mass, out = np.zeros(1), np.zeros(1)
    into, within = np.zeros((1, size)), np.zeros((1, size))
    for i in range(size):
        gained = out + (flow[i].sum() - flow[i, i]) - within[:, i] - into[:, i]
        mass, out = np.concatenate([mass, mass + law[i]]), np.concatenate([out, gained])
        rest = np.arange(size) > i
        into = np.concatenate([into, into + np.where(rest, flow[:, i], 0.0)])
        within = np.concatenate([within, within + np.where(rest, flow[i], 0.0)])
    allowed = (mass > 0) & (mass <= 0.5 + 1e-12)
    ratio = np.where(allowed, out / np.where(allowed, mass, 1.0), np.inf)
    best = int(np.argmin(ratio))
    return Conductance(float(ratio[best]), np.flatnonzero((best >> np.arange(size)) & 1), "enumeration", True)


def _swept(chain: FiniteChain, order: Int[np.ndarray, " n"]) -> Conductance:
    rank = np.empty(chain.size, np.int64)
    rank[order] = np.arange(chain.size)
    edges = scipy.sparse.coo_array(chain.P)
    flow = chain.law[edges.row] * edges.data
    # A step from rank a to rank b > a leaves the prefixes that end between the two.
    start, end = rank[edges.row], rank[edges.col]
    up = end > start
    change = np.bincount(start[up], flow[up], chain.size) - np.bincount(end[up], flow[up], chain.size)
    out = np.cumsum(change)[:-1]
    mass = np.cumsum(chain.law[order])[:-1]
    small = np.minimum(mass, 1 - mass)
    ratio = out / small
    best = int(np.argmin(ratio))
    states = order[: best + 1] if mass[best] <= 0.5 + 1e-12 else order[best + 1 :]
    return Conductance(float(ratio[best]), np.sort(states), "sweep", False)


@dataclass(frozen=True)
class CheegerBounds:
    """Bounds on the gap of a reversible chain from its conductance.

    Parameters
    ----------
    lower
        ``Phi^2 / 2``.
    upper
        ``2 Phi``.
    """

    lower: float
    upper: float


def cheeger_bounds(chain: FiniteChain) -> CheegerBounds:
    """Return the bounds ``Phi^2 / 2 <= gap <= 2 Phi`` of a reversible chain.

    Parameters
    ----------
    chain
        Reversible and irreducible, with at most 20 states: the lower bound needs the exact conductance.

    References
    ----------
    M. Jerrum and A. Sinclair, 1989, SIAM J. Comput. 18, doi:10.1137/0218077; G. F. Lawler and A. D. Sokal, 1988, Trans.
    Amer. Math. Soc. 309, doi:10.2307/2000925.
    """
    chain._need(reversible=True)
    found = conductance(chain)
    if not found.exact:
        raise ValueError(f"Cheeger's bounds need the exact conductance; {chain.size} states are too many to enumerate")
    return CheegerBounds(0.5 * found.value**2, 2 * found.value)
