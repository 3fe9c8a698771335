"""Reversible chains on graphs with known stationary laws, and families whose whole spectrum is known."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from ergodica.samplers.graph import as_graph
from ergodica.samplers.inputs import static_count
from ergodica.validation.targets.finite import weighted
from ergodica.validation.targets.target import FiniteTarget

Edges = Sequence[tuple[int, int]]
"""Undirected edges of a simple graph on nodes 0, 1, ..., each once."""


@dataclasses.dataclass(frozen=True)
class GraphChain:
    """A chain on the nodes of a graph.

    Parameters
    ----------
    target
        Its stationary law.
    edges
        The graph; the chain moves along edges, or stays.
    matrix
        Its transition matrix, shape ``(n, n)``, reversible.
    eigenvalues
        In descending order, where a closed form is known; shape ``(n,)``.
    source
        Where the truth comes from.
    """

    target: FiniteTarget
    edges: tuple[tuple[int, int], ...]
    matrix: Float[np.ndarray, "n n"]
    eigenvalues: Float[np.ndarray, " n"] | None = None
    source: str = ""


def _adjacency(edges: Edges, num_nodes: int) -> Float[np.ndarray, "n n"]:
    graph = as_graph(np.asarray(edges), num_nodes)
    adjacency = np.zeros((graph.num_nodes, graph.num_nodes))
    for i, j in edges:
        adjacency[i, j] = adjacency[j, i] = 1.0
    if np.any(adjacency.sum(axis=1) == 0):
        raise ValueError("every node needs an edge; a walk cannot leave a node without one")
    return adjacency


def metropolis_chain(edges: Edges, weights: ArrayLike) -> GraphChain:
    """Return Metropolis-Hastings with proposals uniform among the neighbours.

    Parameters
    ----------
    edges
        The graph.
    weights
        Positive weights of the nodes, shape ``(n,)``; the stationary law is proportional to them.

    Raises
    ------
    ValueError
        If a weight is not positive, or a node has no edge.
    """
    w = np.asarray(weights, dtype=np.float64)
    if w.ndim != 1 or w.size < 2 or not np.all((w > 0) & np.isfinite(w)):
        raise ValueError(f"weights have to be at least two positive numbers; got {w}")
    adjacency = _adjacency(edges, w.size)
    per_edge = w / adjacency.sum(axis=1)
    flow = adjacency * np.minimum(per_edge[:, None], per_edge[None, :])
    matrix = flow / w[:, None]
    np.fill_diagonal(matrix, 1 - matrix.sum(axis=1))
    target = weighted(f"Metropolis-Hastings chain on {w.size} nodes", tuple(w))
    return GraphChain(target, tuple(edges), matrix, source="detailed balance by construction")


def random_walk(
    edges: Edges,
    num_nodes: int,
    *,
    laziness: float = 0.0,
    eigenvalues: ArrayLike | None = None,
    name: str = "random walk",
) -> GraphChain:
    """Return the simple random walk, stationary in proportion to the degrees.

    Parameters
    ----------
    edges, num_nodes
        The graph.
    laziness
        Probability of staying at each step, in [0, 1).
    eigenvalues
        Of the walk that is not lazy, if they are known, any order.
    name
        For the report.

    Raises
    ------
    ValueError
        If the laziness is out of range, or a node has no edge.
    """
    if not 0 <= laziness < 1:
        raise ValueError(f"laziness has to be in [0, 1); got {laziness}")
    adjacency = _adjacency(edges, num_nodes)
    degrees = adjacency.sum(axis=1)
    matrix = laziness * np.eye(num_nodes) + (1 - laziness) * adjacency / degrees[:, None]
    spectrum = None
    if eigenvalues is not None:
        spectrum = laziness + (1 - laziness) * np.sort(np.asarray(eigenvalues, dtype=np.float64))[::-1]
    return GraphChain(
        weighted(f"{name} on {num_nodes} nodes", tuple(degrees)),
        tuple(edges),
        matrix,
        spectrum,
        source="Levin, Peres and Wilmer, Markov Chains and Mixing Times (2017), chapters 1 and 12",
    )


def cycle_walk(nodes: int, laziness: float = 0.0) -> GraphChain:
    """Return the walk on a cycle, eigenvalues ``cos(2 pi k / n)``.

    Parameters
    ----------
    nodes
        At least 3.
    laziness
        See :func:`random_walk`.
    """
    nodes = static_count("nodes", nodes, at_least=3)
    edges = [(i, (i + 1) % nodes) for i in range(nodes)]
    values = np.cos(2 * np.pi * np.arange(nodes) / nodes)
    return random_walk(edges, nodes, laziness=laziness, eigenvalues=values, name="walk on a cycle")


def path_walk(nodes: int, laziness: float = 0.0) -> GraphChain:
    """Return the walk on a path with reflecting ends, eigenvalues ``cos(pi k / (n - 1))``, ``k = 0, ..., n - 1``.

    Parameters
    ----------
    nodes
        At least 2.
    laziness
        See :func:`random_walk`.
    """
    nodes = static_count("nodes", nodes, at_least=2)
    values = np.cos(np.pi * np.arange(nodes) / (nodes - 1))
    edges = [(i, i + 1) for i in range(nodes - 1)]
    return random_walk(edges, nodes, laziness=laziness, eigenvalues=values, name="walk on a path")


def complete_walk(nodes: int, laziness: float = 0.0) -> GraphChain:
    """Return the walk on the complete graph, eigenvalues 1 and ``-1 / (n - 1)``.

    Parameters
    ----------
    nodes
        At least 2.
    laziness
        See :func:`random_walk`.
    """
    nodes = static_count("nodes", nodes, at_least=2)
    edges = list(itertools.combinations(range(nodes), 2))
    values = np.r_[1.0, np.full(nodes - 1, -1 / (nodes - 1))]
    return random_walk(edges, nodes, laziness=laziness, eigenvalues=values, name="walk on the complete graph")


def hypercube_walk(dim: int, laziness: float = 0.5) -> GraphChain:
    """Return the walk on the hypercube, eigenvalues ``1 - 2 k / d`` with multiplicity ``d`` over ``k``.

    Parameters
    ----------
    dim
        1 to 12; nodes are the numbers whose binary digits are the coordinates.
    laziness
        See :func:`random_walk`; without any, the walk has period 2.
    """
    dim = static_count("dim", dim)
    if dim > 12:
        raise ValueError(f"dim has to be at most 12, or the matrix is too large; got {dim}")
    nodes = 2**dim
    edges = [(i, i ^ (1 << b)) for i in range(nodes) for b in range(dim) if not i >> b & 1]
    values = 1 - 2 * np.array([i.bit_count() for i in range(nodes)]) / dim
    return random_walk(edges, nodes, laziness=laziness, eigenvalues=values, name="walk on the hypercube")


def barbell_walk(clique: int, laziness: float = 0.5) -> GraphChain:
    """Return the walk on two cliques joined by one edge: a bottleneck, conductance of the order ``clique^-2``.

    Parameters
    ----------
    clique
        Nodes of each clique, at least 3.
    laziness
        See :func:`random_walk`.
    """
    clique = static_count("clique", clique, at_least=3)
    left = list(itertools.combinations(range(clique), 2))
    right = [(i + clique, j + clique) for i, j in left]
    return random_walk([*left, (clique - 1, clique), *right], 2 * clique, laziness=laziness, name="walk on a barbell")
