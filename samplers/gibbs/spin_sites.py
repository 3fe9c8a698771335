"""Sites of a spin model: which of them interact, and in which order a sweep visits them.

Sites of one colour do not interact, so that the order inside a class does not matter: on an even periodic square lattice
the two colours of a checkerboard, on any other graph those of a greedy colouring.
"""

from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from ergodica.samplers.graph import Graph, as_graph, greedy_colouring
from ergodica.samplers.inputs import static_count

__all__ = ["Order", "SpinSites", "SquareLattice", "spin_sites"]

Order: TypeAlias = Literal["systematic", "palindromic", "random"]


class SquareLattice(NamedTuple):
    """A square lattice with periodic boundaries.

    Edge ``k < height * width`` joins site ``k``, in row-major order, to the one on its right, edge
    ``height * width + k`` to the one below.

    Parameters
    ----------
    height, width
        Side lengths, even.
    """

    height: int
    width: int


class SpinSites(eqx.Module):
    """Which sites interact, and in which order a sweep visits them.

    Parameters
    ----------
    offsets, neighbours, edge_of
        Compressed rows: the entries of site ``i`` are ``offsets[i]`` to ``offsets[i + 1]``, and entry ``e`` stands for
        the neighbour ``neighbours[e]`` over the edge ``edge_of[e]``.
    edges
        End points, shape ``(m, 2)``.
    visits
        The sites of a sweep in order; empty if each is drawn at random.
    shape
        Shape of a position.
    is_lattice
        Whether the sites are those of a :class:`SquareLattice`.
    """

    offsets: Int[Array, " n_plus_1"]
    neighbours: Int[Array, " entries"]
    edge_of: Int[Array, " entries"]
    edges: Int[Array, "m 2"]
    visits: Int[Array, " visits"]
    shape: tuple[int, ...] = eqx.field(static=True)
    is_lattice: bool = eqx.field(static=True)

    @property
    def num_sites(self) -> int:
        """Number of sites."""
        return int(np.prod(self.shape))


def _torus(lattice: SquareLattice) -> tuple[Graph, np.ndarray]:
    """Return the torus and its checkerboard colouring."""
    height = static_count("height", lattice.height, at_least=2)
    width = static_count("width", lattice.width, at_least=2)
    if height % 2 or width % 2:
        raise ValueError(
            f"a periodic lattice of {height} x {width} has no checkerboard: around an odd side two neighbours share a "
            "colour, so they cannot be redrawn together. Use even sides, or pass the torus as a graph "
            "(networkx.grid_2d_graph(height, width, periodic=True)), which is coloured with more than two colours."
        )
    site = np.arange(height * width).reshape(height, width)
    right, down = np.roll(site, -1, axis=1), np.roll(site, -1, axis=0)
    edges = np.stack([np.tile(site.reshape(-1), 2), np.concatenate([right.reshape(-1), down.reshape(-1)])], axis=1)
    sources, sinks = edges.T.reshape(-1), edges[:, ::-1].T.reshape(-1)
    order = np.argsort(sources, kind="stable")
    graph = Graph(edges, np.arange(0, 4 * site.size + 1, 4), sinks[order], np.tile(np.arange(len(edges)), 2)[order])
    colours = np.add.outer(np.arange(height), np.arange(width)).reshape(-1) % 2
    return graph, colours


def spin_sites(graph: Any, order: Order) -> SpinSites:
    """Colour a graph, and order the visits of a sweep.

    Parameters
    ----------
    graph
        A :class:`SquareLattice`, or anything that :func:`ergodica.samplers.graph.as_graph` takes.
    order
        ``"systematic"``: colour class after colour class. ``"palindromic"``: forth and back. ``"random"``: as many
        sites as there are, each drawn uniformly.

    Raises
    ------
    ValueError
        If a lattice has an odd side, or the order is unknown.
    """
    if order not in get_args(Order):
        raise ValueError(f"order has to be one of {', '.join(map(repr, get_args(Order)))}; got {order!r}")
    is_lattice = isinstance(graph, SquareLattice)
    if is_lattice:
        structure, colours = _torus(graph)
        shape: tuple[int, ...] = (int(graph.height), int(graph.width))
    else:
        structure = as_graph(graph)
        colours = greedy_colouring(structure)
        shape = (structure.num_nodes,)
    classes = [np.flatnonzero(colours == colour) for colour in range(int(colours.max()) + 1)]
    if order == "palindromic":
        classes += classes[-2::-1]
    visits = np.concatenate(classes) if order != "random" else np.empty(0)

    def integers(array: np.ndarray) -> Array:
        return jnp.asarray(array, jnp.int32)

    return SpinSites(
        integers(structure.offsets),
        integers(structure.neighbours),
        integers(structure.edge_of),
        integers(structure.edges),
        integers(visits),
        shape,
        is_lattice,
    )
