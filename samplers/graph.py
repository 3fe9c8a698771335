"""Undirected graphs as arrays: intake from NetworkX, SciPy and edge lists, and greedy colouring."""

import dataclasses
from typing import Any

import numpy as np

from ergodica.samplers.native import compiled


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """An undirected graph without self-loops or parallel edges, in compressed rows.

    Parameters
    ----------
    edges
        Shape ``(m, 2)``, the end points of each edge, in the order in which they were given.
    offsets
        Shape ``(n + 1,)``; the neighbours of node ``i`` are ``neighbours[offsets[i]:offsets[i + 1]]``, increasing.
    neighbours
        Shape ``(2 m,)``.
    edge_of
        Shape ``(2 m,)``; the number of the edge behind each entry of ``neighbours``.
    """

    edges: np.ndarray
    offsets: np.ndarray
    neighbours: np.ndarray
    edge_of: np.ndarray

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return len(self.offsets) - 1

    @property
    def degrees(self) -> np.ndarray:
        """Number of neighbours of each node."""
        return np.diff(self.offsets)

    def components(self) -> np.ndarray:
        """Return the number of the connected component of each node."""
        import scipy.sparse
        import scipy.sparse.csgraph

        ones = np.ones(len(self.neighbours), np.int8)
        matrix = scipy.sparse.csr_matrix((ones, self.neighbours, self.offsets), shape=(self.num_nodes, self.num_nodes))
        return np.asarray(scipy.sparse.csgraph.connected_components(matrix, directed=False)[1])


def as_graph(graph: Any, num_nodes: int | None = None) -> Graph:
    """Take in an undirected graph.

    Parameters
    ----------
    graph
        One of: a :class:`Graph`; an undirected ``networkx.Graph``, whose nodes are numbered in the order of
        ``graph.nodes``; a symmetric SciPy sparse array or matrix, whose non-zero entries are edges; an integer array of
        shape ``(m, 2)`` that lists each edge once.
    num_nodes
        Number of nodes of an edge list. Default: the largest node plus one.

    Returns
    -------
    Graph

    Raises
    ------
    TypeError
        If the type is none of these, or the nodes of an edge list are not integers.
    ValueError
        If the graph is directed, has self-loops, lists an edge twice, or has no edges.
    """
    if isinstance(graph, Graph):
        return graph
    if hasattr(graph, "is_directed") and hasattr(graph, "nodes"):
        if graph.is_directed():
            raise ValueError("expected an undirected graph; got a directed one. Pass graph.to_undirected().")
        number = {node: index for index, node in enumerate(graph.nodes)}
        pairs = [(number[u], number[v]) for u, v in graph.edges()]
        return _from_edges(np.asarray(pairs, np.int64).reshape(-1, 2), len(number))
    if hasattr(graph, "tocoo"):
        coo = graph.tocoo()
        if coo.shape[0] != coo.shape[1]:
            raise ValueError(f"expected a square adjacency matrix; got shape {coo.shape}")
        rows, columns = (np.asarray(part, np.int64)[coo.data != 0] for part in (coo.row, coo.col))
        there, back = {*zip(rows, columns, strict=True)}, {*zip(columns, rows, strict=True)}
        if there != back:
            i, j = next(iter(there - back))
            raise ValueError(
                f"expected a symmetric adjacency matrix; it has an entry at ({i}, {j}) and none at ({j}, {i}). "
                "Pass matrix + matrix.T for the undirected graph."
            )
        upper = rows <= columns
        return _from_edges(np.stack([rows[upper], columns[upper]], axis=1), coo.shape[0])
    edges = np.asarray(graph)
    if edges.ndim != 2 or edges.shape[1] != 2 or not np.issubdtype(edges.dtype, np.integer):
        raise TypeError(
            "expected a graph: a networkx.Graph, a symmetric scipy.sparse array, or an integer array of shape (m, 2) "
            f"that lists the edges; got {type(graph).__name__} of shape {edges.shape} and dtype {edges.dtype}"
        )
    return _from_edges(edges.astype(np.int64), num_nodes)


def _from_edges(edges: np.ndarray, num_nodes: int | None) -> Graph:
    if len(edges) == 0:
        raise ValueError("expected a graph with at least one edge; got none")
    count = int(edges.max()) + 1 if num_nodes is None else num_nodes
    if edges.min() < 0 or edges.max() >= count:
        raise ValueError(f"the end points of edges have to lie in [0, {count}); got {edges.min()} to {edges.max()}")
    loops = np.flatnonzero(edges[:, 0] == edges[:, 1])
    if len(loops):
        raise ValueError(f"expected a graph without self-loops; node {edges[loops[0], 0]} has one. Drop it.")
    codes = edges.min(axis=1) * count + edges.max(axis=1)
    unique, first = np.unique(codes, return_index=True)
    if len(unique) != len(codes):
        again = np.delete(np.arange(len(codes)), first)[0]
        raise ValueError(
            f"each edge has to be listed once; edge {tuple(edges[again].tolist())} comes again (row {again})"
        )
    sources = np.concatenate([edges[:, 0], edges[:, 1]])
    sinks = np.concatenate([edges[:, 1], edges[:, 0]])
    order = np.lexsort((sinks, sources))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(sources, minlength=count))])
    number = np.tile(np.arange(len(edges)), 2)
    arrays = (edges, offsets, sinks[order], number[order])
    return Graph(*(np.ascontiguousarray(array, dtype=np.int32) for array in arrays))


@compiled
def _greedy(order, offsets, neighbours, colours):  # type: ignore[no-untyped-def]
    used = np.full(order.shape[0] + 1, -1)
    for i in order:
        for entry in range(offsets[i], offsets[i + 1]):
            colour = colours[neighbours[entry]]
            if colour >= 0:
                used[colour] = i
        colour = 0
        while used[colour] == i:
            colour += 1
        colours[i] = colour


def greedy_colouring(graph: Graph) -> np.ndarray:
    """Colour the nodes so that neighbours differ: largest degree first, smallest free colour.

    Parameters
    ----------
    graph
        The graph.

    Returns
    -------
    integer array of shape ``(n,)``
        Colours ``0, 1, ...``; at most the largest degree plus one of them.

    References
    ----------
    D. J. A. Welsh and M. B. Powell, Computer Journal 10 (1967), doi:10.1093/comjnl/10.1.85.
    """
    colours = np.full(graph.num_nodes, -1, np.int32)
    _greedy(np.argsort(-graph.degrees, kind="stable"), graph.offsets, graph.neighbours, colours)
    return colours
