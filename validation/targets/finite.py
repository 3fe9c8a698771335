"""Finite targets: small enough for exact transition matrices, rich enough to tell right from wrong."""

import itertools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ergodica.validation.targets.target import FiniteTarget, with_data


def _table_logdensity(table: Array, x: Array) -> Array:
    table = jnp.asarray(table)  # kept in double precision, so that exact laws can be computed when it is switched on
    inside = (x >= 0) & (x < table.size)
    return jnp.where(inside, table[jnp.clip(x, 0, table.size - 1)], -jnp.inf)


def weighted(name: str, weights: tuple[float, ...]) -> FiniteTarget:
    """Return the law on ``0, ..., S - 1`` proportional to given positive weights; positions are integer scalars."""
    w = np.asarray(weights, dtype=float)
    return FiniteTarget(
        name=name,
        states=np.arange(w.size),
        probabilities=w / w.sum(),
        logdensity=with_data(_table_logdensity, np.log(w)),
    )


def ring4() -> FiniteTarget:
    """Return (1, 2, 3, 4) / 10 on the ring of four states."""
    return weighted("ring4", (1.0, 2.0, 3.0, 4.0))


def ring6() -> FiniteTarget:
    """Return (0.05, 0.2, 0.1, 0.3, 0.15, 0.2) on the ring of six states; the mean of the state is 2.9."""
    return weighted("ring6", (0.05, 0.2, 0.1, 0.3, 0.15, 0.2))


def slice6() -> FiniteTarget:
    """Return weights (1, 3, 2, 1, 4, 2): multimodal, with ties, for slice samplers on a grid."""
    return weighted("slice6", (1.0, 3.0, 2.0, 1.0, 4.0, 2.0))


def graph5() -> FiniteTarget:
    """Return (0.10, 0.15, 0.20, 0.25, 0.30) on the nodes of the graph :data:`GRAPH5_EDGES`."""
    return weighted("graph5", (0.10, 0.15, 0.20, 0.25, 0.30))


GRAPH5_EDGES = ((0, 1), (0, 2), (1, 2), (2, 3), (3, 4))
"""Edges of :func:`graph5`'s graph: a triangle with a tail."""


def graph5_matrix() -> np.ndarray:
    """Return the transition matrix of Metropolis-Hastings with uniform-neighbour proposals on ``graph5``."""
    mu = graph5().probabilities
    neighbours: list[list[int]] = [[] for _ in range(5)]
    for i, j in GRAPH5_EDGES:
        neighbours[i].append(j)
        neighbours[j].append(i)
    matrix = np.zeros((5, 5))
    for i, around in enumerate(neighbours):
        for j in around:
            ratio = mu[j] * len(around) / (mu[i] * len(neighbours[j]))
            matrix[i, j] = min(1.0, ratio) / len(around)
        matrix[i, i] = 1.0 - matrix[i].sum()
    return matrix


SPIN3_COUPLING = 0.8
"""Coupling on the bonds (0, 1) and (1, 2) of :func:`spin3`."""

SPIN3_FIELDS = (0.3, -0.2, 0.1)
"""External fields of :func:`spin3`."""


def _spin3_logdensity(coupling: Array, fields: Array, x: Array) -> Array:
    return coupling * (x[0] * x[1] + x[1] * x[2]) + jnp.sum(fields * x)


def spin3() -> FiniteTarget:
    """Return the Ising chain of three spins -1 or 1, states in lexicographic order from (-1, -1, -1)."""
    states = np.array(list(itertools.product((-1, 1), repeat=3)))
    bonds = states[:, 0] * states[:, 1] + states[:, 1] * states[:, 2]
    logs = SPIN3_COUPLING * bonds + states @ np.array(SPIN3_FIELDS)
    weights = np.exp(logs)
    return FiniteTarget(
        name="spin3",
        states=states,
        probabilities=weights / weights.sum(),
        logdensity=with_data(_spin3_logdensity, np.asarray(SPIN3_COUPLING), np.asarray(SPIN3_FIELDS)),
    )


AR2X3_START = (0.6, 0.4)
"""Law of the first token of :func:`ar2x3`."""

AR2X3_TRANSITIONS = ((0.7, 0.3), (0.2, 0.8))
"""Law of a token of :func:`ar2x3` given the one before it, by rows."""


def _ar2x3_logdensity(start: Array, transitions: Array, x: Array) -> Array:
    return jnp.log(start)[x[0]] + jnp.log(transitions)[x[0], x[1]] + jnp.log(transitions)[x[1], x[2]]


def ar2x3() -> FiniteTarget:
    """Return the binary autoregressive model of length three."""
    states = np.array(list(itertools.product((0, 1), repeat=3)))
    start, transitions = np.array(AR2X3_START), np.array(AR2X3_TRANSITIONS)
    probabilities = (
        start[states[:, 0]] * transitions[states[:, 0], states[:, 1]] * transitions[states[:, 1], states[:, 2]]
    )
    return FiniteTarget(
        name="ar2x3",
        states=states,
        probabilities=probabilities,
        logdensity=with_data(_ar2x3_logdensity, np.asarray(start), np.asarray(transitions)),
    )
