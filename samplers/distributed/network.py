"""Communication networks: a connected undirected graph as a table of neighbours."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

__all__ = ["Network", "as_network"]


class Network(eqx.Module):
    """Who talks to whom.

    Sums over neighbours gather from a table instead of scattering along edges, so that their order, and with it the
    last bit, is the same on every device.

    Parameters
    ----------
    neighbours
        Shape ``(n, m)``: the neighbours of each agent, filled up with the agent itself.
    degrees
        Shape ``(n,)``: their numbers.
    """

    neighbours: Int[Array, "n m"]
    degrees: Int[Array, " n"]

    @property
    def num_agents(self) -> int:
        """Number of agents."""
        return int(self.neighbours.shape[0])

    @property
    def is_neighbour(self) -> Bool[Array, "n m"]:
        """Which entries of the table are neighbours."""
        return jnp.arange(self.neighbours.shape[1]) < self.degrees[:, None]

    def of_neighbours(self, x: Float[Array, "n d"]) -> Float[Array, "n m d"]:
        """Return the neighbours' rows; an agent's own where it has fewer than ``m``."""
        return x[self.neighbours]

    def sum_over_neighbours(self, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """Return the sum of the neighbours' rows for each agent."""
        return jnp.sum(jnp.where(self.is_neighbour[..., None], self.of_neighbours(x), 0), axis=1)

    def laplacian(self, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """Return the sum of ``x_i - x_j`` over the neighbours ``j`` of each agent ``i``."""
        return jnp.sum(x[:, None] - self.of_neighbours(x), axis=1)


def as_network(graph: Any) -> Network:
    """Take in a connected undirected graph.

    Parameters
    ----------
    graph
        One of: a :class:`Network`; what :func:`ergodica.samplers.graph.as_graph` takes (an undirected
        ``networkx.Graph``, a symmetric SciPy sparse matrix, an integer array of edges of shape ``(m, 2)``); a dense
        adjacency matrix, symmetric with entries 0 and 1.

    Raises
    ------
    TypeError, ValueError
        If it is none of these, directed, or not connected; with an agent that cannot be reached.
    """
    if isinstance(graph, Network):
        return graph
    # These modules bring Numba and SciPy, which a stepping kernel does not need.
    import scipy.sparse

    from ergodica.samplers.graph import as_graph

    if _is_adjacency(graph):
        graph = scipy.sparse.csr_array(np.asarray(graph, np.int8))
    known = as_graph(graph)
    components = known.components()
    if components.max() > 0:
        lost = int(np.flatnonzero(components != components[0])[0])
        kind = "is isolated" if known.degrees[lost] == 0 else "cannot be reached from agent 0"
        raise ValueError(
            f"consensus needs a connected graph; agent {lost} {kind}. Add an edge, or leave the agent out and multiply "
            "its factor into another's"
        )
    degrees = known.degrees
    table = np.tile(np.arange(known.num_nodes)[:, None], (1, int(degrees.max())))
    for agent in range(known.num_nodes):
        table[agent, : degrees[agent]] = known.neighbours[known.offsets[agent] : known.offsets[agent + 1]]
    return Network(jnp.asarray(table, jnp.int32), jnp.asarray(degrees, jnp.int32))


def _is_adjacency(graph: Any) -> bool:
    """Tell a dense adjacency matrix from a list of edges; two edges ``(i, j)`` never look like a symmetric one."""
    if hasattr(graph, "nodes") or hasattr(graph, "tocoo") or hasattr(graph, "offsets"):
        return False
    array = np.asarray(graph)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.dtype == object:
        return False
    if array.shape == (2, 2) and not (np.array_equal(array, array.T) and not np.any(np.diagonal(array))):
        return False
    if not np.all((array == 0) | (array == 1)):
        raise ValueError(f"an adjacency matrix has entries 0 and 1; got {array}. The network has no weights.")
    return True
