"""Heat-bath sweeps of Ising and Potts models, compiled.

A sweep redraws every spin from its law given its neighbours, one colour class after the other: on an even periodic
square lattice the two colours of a checkerboard, on any other graph those of a greedy colouring. Sites of one colour
do not interact, so the order inside a class does not matter. The loop over sites is compiled by Numba; ``step`` is one
call of it, ``run`` one call for many sweeps.

``reference()`` gives the same kernel written with choice points, whose conditional laws come from the joint density and
not from the neighbours; it is what validation enumerates. ``step_from_uniforms`` exists on both and ties them.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers import counter_rng, random
from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.counter_rng import key_words
from ergodica.samplers.graph import Graph, as_graph, greedy_colouring
from ergodica.samplers.inputs import Numbers, integer_position, is_concrete, real_parameter, static_count
from ergodica.samplers.kernel import Kernel
from ergodica.samplers.native import NativeOperation, compiled

__all__ = ["IsingHeatBath", "PottsHeatBath", "SpinInfo", "SpinReference", "SpinState", "SquareLattice"]

Order: TypeAlias = Literal["systematic", "palindromic", "random"]


class SpinState(NamedTuple):
    """State of a spin sweep.

    Parameters
    ----------
    position
        The spins, integers; shape ``(height, width)`` on a lattice, ``(n,)`` on a graph.
    """

    position: Int[Array, "..."]


class SpinInfo(NamedTuple):
    """What a sweep reports.

    Parameters
    ----------
    num_evals
        Evaluations of the joint log density: none, for conditionals need the neighbours only.
    """

    num_evals: Int[Array, ""]


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


def _lattice_graph(lattice: SquareLattice) -> tuple[Graph, np.ndarray]:
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


def _spin_sites(graph: Any, order: Order) -> SpinSites:
    if order not in get_args(Order):
        raise ValueError(f"order has to be one of {', '.join(map(repr, get_args(Order)))}; got {order!r}")
    is_lattice = isinstance(graph, SquareLattice)
    if is_lattice:
        structure, colours = _lattice_graph(graph)
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


def _parameter(name: str, value: Numbers, shapes: dict[tuple[int, ...], str]) -> Float[Array, "..."]:
    array = real_parameter(name, value, ndim=None)
    if array.shape not in shapes:
        expected = ", or ".join(f"shape {shape} ({meaning})" for shape, meaning in shapes.items())
        raise ValueError(f"{name} has to have {expected}; got shape {array.shape}")
    return array


def _start(position: PyTree, sites: SpinSites, name: str, allowed: np.ndarray, advice: str) -> SpinState:
    position = integer_position(position, name)
    if not isinstance(position, jax.Array) or position.shape != sites.shape:
        raise ValueError(f"{name} needs one array of shape {sites.shape}; got {jax.tree.map(jnp.shape, position)}")
    if is_concrete(position) and not np.all(np.isin(np.asarray(position), allowed)):
        wrong = np.setdiff1d(np.asarray(position), allowed)[:4]
        raise ValueError(f"{name} needs spins in {allowed.tolist()}; got {wrong.tolist()} among them. {advice}")
    if is_concrete(position) and not np.all(np.isin(allowed, allowed.astype(position.dtype))):
        raise TypeError(f"{name} needs a dtype that holds {allowed.tolist()}; got {position.dtype}")
    return SpinState(position)


def _claim(order: Order) -> Claim:
    return Claim(
        Exactness.EXACT,
        "each site is drawn from its conditional law, so every order of visits leaves the target invariant",
        source="Glauber 1963, doi:10.1063/1.1703954; Geman and Geman 1984, doi:10.1109/TPAMI.1984.4767596",
        reversible=order != "systematic",
        spaces=frozenset({Space.FINITE}),
    )


def _info() -> SpinInfo:
    return SpinInfo(jnp.zeros((), jnp.int32))


# --- compiled cores, over a source of uniforms; unsigned indices spare the test for negative ones -------------------


class Source(NamedTuple):
    """Where a core takes its randomness from.

    Parameters
    ----------
    name
        For the operation's name.
    dtype
        Dtype of the operation's first input.
    open
        ``open(input) -> handle``.
    uniform
        ``uniform(handle)``, in [0, 1).
    integer
        ``integer(handle, n)``, in ``0, ..., n - 1``.
    """

    name: str
    dtype: Any
    open: Any
    uniform: Any
    integer: Any


@compiled
def _open_array(uniforms):  # type: ignore[no-untyped-def]
    return uniforms, np.zeros(1, np.int64)


@compiled
def _next_of_array(handle):  # type: ignore[no-untyped-def]
    uniforms, cursor = handle
    cursor[0] += 1
    return np.float64(uniforms[cursor[0] - 1])


@compiled
def _integer_of_array(handle, n):  # type: ignore[no-untyped-def]
    return int(_next_of_array(handle) * n)


GENERATOR = Source("generator", np.uint32, counter_rng.stream, counter_rng.uniform, counter_rng.integer)
UNIFORMS = Source("uniforms", None, _open_array, _next_of_array, _integer_of_array)


def _ising_lattice_core(source: Source) -> Any:
    open_source, uniform, integer = source.open, source.uniform, source.integer

    @compiled
    def redraw(handle, spins, up, i, down, left, j, right, probability):  # type: ignore[no-untyped-def]
        around = spins[up, j] + spins[down, j] + spins[i, left] + spins[i, right]
        spins[i, j] = 1 if uniform(handle) < probability[(around + 4) >> 1] else -1

    @compiled
    def core(randomness, spins, bond, field, num_classes, num_sweeps, out):  # type: ignore[no-untyped-def]
        height, width = spins.shape
        handle = open_source(randomness)
        probability = np.empty(5)
        for k in range(5):
            probability[k] = 1 / (1 + np.exp(-2 * (np.float64(bond[0]) * (2 * k - 4) + np.float64(field[0]))))
        for i in range(height):
            for j in range(width):
                out[i, j] = spins[i, j]
        for _ in range(num_sweeps[0]):
            if num_classes[0] == 0:
                for _ in range(height * width):
                    site = integer(handle, height * width)
                    i, j = site // width, site % width
                    up, down = (i - 1 if i > 0 else height - 1), (i + 1 if i + 1 < height else 0)
                    left, right = (j - 1 if j > 0 else width - 1), (j + 1 if j + 1 < width else 0)
                    redraw(handle, out, up, i, down, left, j, right, probability)
            for colour in range(num_classes[0]):
                for i in range(height):
                    up, down = (i - 1 if i > 0 else height - 1), (i + 1 if i + 1 < height else 0)
                    if (i + colour) % 2 == 0:
                        redraw(handle, out, up, i, down, width - 1, 0, 1, probability)
                        for j in range(2, width, 2):
                            redraw(handle, out, up, i, down, j - 1, j, j + 1, probability)
                    else:
                        for j in range(1, width - 1, 2):
                            redraw(handle, out, up, i, down, j - 1, j, j + 1, probability)
                        redraw(handle, out, up, i, down, width - 2, width - 1, 0, probability)

    return core


def _ising_graph_core(source: Source) -> Any:
    open_source, uniform, integer = source.open, source.uniform, source.integer

    @compiled
    def core(randomness, spins, offsets, neighbours, weights, field, visits, num_sweeps, out):  # type: ignore[no-untyped-def]
        handle = open_source(randomness)
        count = visits.shape[0] if visits.shape[0] > 0 else spins.shape[0]
        for i in range(spins.shape[0]):
            out[i] = spins[i]
        for _ in range(num_sweeps[0]):
            for visit in range(count):
                i = visits[visit] if visits.shape[0] > 0 else integer(handle, count)
                local = np.float64(field[i])
                for entry in range(np.uint64(offsets[i]), np.uint64(offsets[i + 1])):
                    local += np.float64(weights[entry]) * out[np.uint64(neighbours[entry])]
                out[i] = 1 if uniform(handle) < 1 / (1 + np.exp(-2 * local)) else -1

    return core


def _potts_graph_core(source: Source) -> Any:
    open_source, uniform, integer = source.open, source.uniform, source.integer

    @compiled
    def core(randomness, spins, offsets, neighbours, weights, field, visits, num_sweeps, out):  # type: ignore[no-untyped-def]
        handle = open_source(randomness)
        num_states = field.shape[1]
        mass = np.empty(num_states)
        count = visits.shape[0] if visits.shape[0] > 0 else spins.shape[0]
        for i in range(spins.shape[0]):
            out[i] = spins[i]
        for _ in range(num_sweeps[0]):
            for visit in range(count):
                i = visits[visit] if visits.shape[0] > 0 else integer(handle, count)
                for state in range(num_states):
                    mass[state] = field[i, state]
                for entry in range(np.uint64(offsets[i]), np.uint64(offsets[i + 1])):
                    mass[np.uint64(out[np.uint64(neighbours[entry])])] += weights[entry]
                largest = mass[0]
                for state in range(1, num_states):
                    largest = max(largest, mass[state])
                total = 0.0
                for state in range(num_states):
                    total += np.exp(mass[state] - largest)
                    mass[state] = total
                level = uniform(handle) * total
                drawn = 0
                while drawn < num_states - 1 and level >= mass[drawn]:
                    drawn += 1
                out[i] = drawn

    return core


def _operation(kind: str, make: Callable[[Source], Any], source: Source) -> NativeOperation:
    number, whole = (None, 0), (np.int32, 0)
    rows = (np.int32, 1)
    if kind == "ising_lattice":
        inputs = [(source.dtype, 1), (None, 2), number, number, whole, whole]
        outputs = [(None, 2)]
    else:
        field = (None, 1 if kind == "ising_graph" else 2)
        inputs = [(source.dtype, 1), (None, 1), rows, rows, (None, 1), field, rows, whole]
        outputs = [(None, 1)]
    return NativeOperation(f"gibbs.spin_sweep.{kind}.{source.name}", make(source), inputs, outputs)


_OPERATIONS = {
    (kind, source.name): _operation(kind, make, source)
    for kind, make in (
        ("ising_lattice", _ising_lattice_core),
        ("ising_graph", _ising_graph_core),
        ("potts_graph", _potts_graph_core),
    )
    for source in (GENERATOR, UNIFORMS)
}


def _spin_dtype(position: Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(position.shape, position.dtype)  # type: ignore[no-untyped-call]


def _sweep_graph(
    kind: str,
    source: Source,
    randomness: Array,
    sites: SpinSites,
    bonds: Float[Array, "..."],
    field: Float[Array, "..."],
    position: Array,
    num_sweeps: int,
) -> Array:
    weights = jnp.broadcast_to(bonds, (sites.edges.shape[0],))[sites.edge_of]
    spins = position.reshape(-1)
    (out,) = _OPERATIONS[kind, source.name](
        randomness,
        spins,
        sites.offsets,
        sites.neighbours,
        weights,
        field,
        sites.visits,
        num_sweeps,
        out_shapes=[_spin_dtype(spins)],
    )
    return out.reshape(position.shape)


# --- kernels --------------------------------------------------------------------------------------------------------


class IsingHeatBath(Kernel[SpinState, SpinInfo]):
    """Heat-bath sweeps of the Ising model; exact.

    The target is proportional to ``exp(beta sum_edges J_e s_u s_v + sum_i h_i s_i)`` for spins -1 and 1.

    Parameters
    ----------
    graph
        A :class:`SquareLattice`, or anything that :func:`ergodica.samplers.graph.as_graph` takes.
    beta
        Inverse temperature, any sign.
    coupling
        ``J``: one number, or one for each edge, shape ``(m,)``, in the order of ``sites.edges``.
    field
        ``h``: one number, or one for each site, in the shape of a position.
    order
        ``"systematic"``: colour class after colour class. ``"palindromic"``: forth and back. ``"random"``: as many
        sites as there are, each drawn uniformly.

    Raises
    ------
    ValueError
        If a lattice has an odd side, or a parameter the wrong shape.

    Notes
    -----
    Claim: exact; reversible except in systematic order. ``run(key, state, n)`` is one compiled loop with one stream of
    random numbers; it has the law of ``n`` steps, not their draws.

    References
    ----------
    R. J. Glauber, J. Math. Phys. 4 (1963), doi:10.1063/1.1703954. S. Geman and D. Geman, IEEE PAMI 6 (1984),
    doi:10.1109/TPAMI.1984.4767596.
    """

    sites: SpinSites
    beta: Float[Array, ""]
    coupling: Float[Array, "..."]
    field: Float[Array, "..."]
    order: Order = eqx.field(static=True)

    def __init__(
        self,
        graph: Any,
        beta: ArrayLike,
        coupling: Numbers = 1.0,
        field: Numbers = 0.0,
        *,
        order: Order = "systematic",
    ) -> None:
        self.sites = _spin_sites(graph, order)
        self.order = order
        self.beta = real_parameter("beta", beta)
        edges = {(): "one for all", (self.sites.edges.shape[0],): "one for each edge"}
        self.coupling = _parameter("coupling", coupling, edges)
        self.field = _parameter("field", field, {(): "one for all", self.sites.shape: "one for each site"})

    @property
    def claim(self) -> Claim:
        """Exact; reversible except in systematic order."""
        return _claim(self.order)

    @property
    def num_states(self) -> int:
        """2."""
        return 2

    def spins(self, dtype: Any = jnp.int8) -> Int[Array, " 2"]:
        """Return the values of a spin: 1 and -1, in the order in which uniforms choose among them."""
        return jnp.asarray([1, -1], dtype)

    def logdensity(self, position: Int[Array, "..."]) -> Float[Array, ""]:
        """Return the log of the target, up to its normaliser."""
        spins = position.reshape(-1).astype(self.beta.dtype)
        bonds = spins[self.sites.edges[:, 0]] * spins[self.sites.edges[:, 1]]
        return self.beta * jnp.sum(self.coupling * bonds) + jnp.sum(self.field * position)

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> SpinState:
        """Start at spins of -1 and 1; ``int8`` takes the least memory.

        Raises
        ------
        TypeError
            If the position is not a signed integer array.
        ValueError
            If it has another shape or other values.
        """
        del key
        return _start(position, self.sites, "IsingHeatBath", np.array([-1, 1]), "For spins of 0 and 1 pass 2 * s - 1.")

    def step(self, key: PRNGKeyArray, state: SpinState) -> tuple[SpinState, SpinInfo]:
        """Make one sweep."""
        return self._sweeps(GENERATOR, key_words(key), state, 1), _info()

    def run(self, key: PRNGKeyArray, state: SpinState, num_steps: int) -> tuple[SpinState, SpinInfo]:
        """Make ``num_steps`` sweeps in one compiled loop."""
        return self._sweeps(GENERATOR, key_words(key), state, static_count("num_steps", num_steps)), _info()

    def step_from_uniforms(self, uniforms: Float[Array, " visits"], state: SpinState) -> SpinState:
        """Make the sweep that given uniforms decide, one for each visit (in random order two: site, then spin)."""
        return self._sweeps(UNIFORMS, uniforms, state, 1)

    def reference(self) -> "SpinReference":
        """Return the same kernel written with choice points."""
        return SpinReference(self)

    def _sweeps(self, source: Source, randomness: Array, state: SpinState, count: int) -> SpinState:
        position, bonds = state.position, self.beta * self.coupling
        if self.sites.is_lattice and self.coupling.ndim == 0 and self.field.ndim == 0:
            classes = {"systematic": 2, "palindromic": 3, "random": 0}[self.order]
            (out,) = _OPERATIONS["ising_lattice", source.name](
                randomness, position, bonds, self.field, classes, count, out_shapes=[_spin_dtype(position)]
            )
            return SpinState(out)
        field = jnp.broadcast_to(self.field, self.sites.shape).reshape(-1)
        return SpinState(_sweep_graph("ising_graph", source, randomness, self.sites, bonds, field, position, count))


class PottsHeatBath(Kernel[SpinState, SpinInfo]):
    """Heat-bath sweeps of the Potts model; exact.

    The target is proportional to ``exp(beta sum_edges J_e 1{s_u = s_v} + sum_i h_i(s_i))`` for spins ``0, ..., q - 1``.

    Parameters
    ----------
    graph
        A :class:`SquareLattice`, or anything that :func:`ergodica.samplers.graph.as_graph` takes.
    num_states
        ``q``, at least 2.
    beta
        Inverse temperature, any sign.
    coupling
        ``J``: one number, or one for each edge, shape ``(m,)``, in the order of ``sites.edges``.
    field
        ``h``: zero, one number for each state, shape ``(q,)``, or for each site and state, the shape of a position
        followed by ``q``.
    order
        As for :class:`IsingHeatBath`.

    Raises
    ------
    ValueError
        If a lattice has an odd side, or a parameter the wrong shape.

    Notes
    -----
    Claim: exact; reversible except in systematic order. With ``q = 2`` and twice the inverse temperature it is the
    Ising model.

    References
    ----------
    R. B. Potts, Math. Proc. Camb. Phil. Soc. 48 (1952), doi:10.1017/S0305004100027419. S. Geman and D. Geman, IEEE PAMI
    6 (1984), doi:10.1109/TPAMI.1984.4767596.
    """

    sites: SpinSites
    beta: Float[Array, ""]
    coupling: Float[Array, "..."]
    field: Float[Array, "..."]
    num_states: int = eqx.field(static=True)
    order: Order = eqx.field(static=True)

    def __init__(
        self,
        graph: Any,
        num_states: int,
        beta: ArrayLike,
        coupling: Numbers = 1.0,
        field: Numbers = 0.0,
        *,
        order: Order = "systematic",
    ) -> None:
        self.sites = _spin_sites(graph, order)
        self.order = order
        self.num_states = static_count("num_states", num_states, at_least=2)
        self.beta = real_parameter("beta", beta)
        edges = {(): "one for all", (self.sites.edges.shape[0],): "one for each edge"}
        self.coupling = _parameter("coupling", coupling, edges)
        q = self.num_states
        fields = {(): "no field", (q,): "one for each state", (*self.sites.shape, q): "one for each site and state"}
        self.field = _parameter("field", field, fields)

    @property
    def claim(self) -> Claim:
        """Exact; reversible except in systematic order."""
        return _claim(self.order)

    def spins(self, dtype: Any = jnp.int8) -> Int[Array, " q"]:
        """Return the values of a spin."""
        return jnp.arange(self.num_states, dtype=dtype)

    def logdensity(self, position: Int[Array, "..."]) -> Float[Array, ""]:
        """Return the log of the target, up to its normaliser."""
        spins = position.reshape(-1)
        equal = spins[self.sites.edges[:, 0]] == spins[self.sites.edges[:, 1]]
        return self.beta * jnp.sum(self.coupling * equal) + jnp.sum(
            jnp.take_along_axis(self._field(), spins[:, None].astype(jnp.int32), axis=1)
        )

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> SpinState:
        """Start at spins in ``0, ..., q - 1``; ``int8`` takes the least memory.

        Raises
        ------
        TypeError
            If the position is not an integer array that can hold ``q - 1``.
        ValueError
            If it has another shape or other values.
        """
        del key
        return _start(position, self.sites, "PottsHeatBath", np.arange(self.num_states), "Number the states from 0.")

    def step(self, key: PRNGKeyArray, state: SpinState) -> tuple[SpinState, SpinInfo]:
        """Make one sweep."""
        return self._sweeps(GENERATOR, key_words(key), state, 1), _info()

    def run(self, key: PRNGKeyArray, state: SpinState, num_steps: int) -> tuple[SpinState, SpinInfo]:
        """Make ``num_steps`` sweeps in one compiled loop."""
        return self._sweeps(GENERATOR, key_words(key), state, static_count("num_steps", num_steps)), _info()

    def step_from_uniforms(self, uniforms: Float[Array, " visits"], state: SpinState) -> SpinState:
        """Make the sweep that given uniforms decide, one for each visit (in random order two: site, then spin)."""
        return self._sweeps(UNIFORMS, uniforms, state, 1)

    def reference(self) -> "SpinReference":
        """Return the same kernel written with choice points."""
        return SpinReference(self)

    def _field(self) -> Float[Array, "n q"]:
        return jnp.broadcast_to(self.field, (*self.sites.shape, self.num_states)).reshape(-1, self.num_states)

    def _sweeps(self, source: Source, randomness: Array, state: SpinState, count: int) -> SpinState:
        bonds = self.beta * self.coupling
        return SpinState(
            _sweep_graph("potts_graph", source, randomness, self.sites, bonds, self._field(), state.position, count)
        )


class SpinReference(Kernel[SpinState, SpinInfo]):
    """A spin sweep written with choice points, from the joint density; exact, slow, and enumerable.

    Parameters
    ----------
    model
        The compiled kernel whose law this is.
    """

    model: IsingHeatBath | PottsHeatBath

    @property
    def claim(self) -> Claim:
        """The model's."""
        return self.model.claim

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> SpinState:
        """Start as the model does."""
        return self.model.init(position, key=key)

    def step(self, key: PRNGKeyArray, state: SpinState) -> tuple[SpinState, SpinInfo]:
        """Make one sweep of draws from conditionals of the joint density."""

        def visit(key: PRNGKeyArray, site: Array | None, spins: Array) -> Array:
            site_key, spin_key = random.split(key)
            if site is None:
                site = random.randint(site_key, (), 0, spins.size)
            return self._redrawn(spins, site, lambda logits: random.categorical(spin_key, logits))

        return self._visit_all(random.split(key, self._num_visits()), visit, state), _info()

    def step_from_uniforms(self, uniforms: Float[Array, " visits"], state: SpinState) -> SpinState:
        """Make the sweep that given uniforms decide, by inversion."""

        def visit(given: Array, site: Array | None, spins: Array) -> Array:
            if site is None:
                site = (given[0] * spins.size).astype(jnp.int32)
            return self._redrawn(
                spins, site, lambda logits: jnp.sum(given[-1] >= jnp.cumsum(jax.nn.softmax(logits))[:-1])
            )

        return self._visit_all(uniforms.reshape(self._num_visits(), -1), visit, state)

    def _num_visits(self) -> int:
        return self.model.sites.num_sites if self.model.order == "random" else self.model.sites.visits.shape[0]

    def _redrawn(self, spins: Array, site: Array, draw: Callable[[Array], Array]) -> Array:
        values = self.model.spins(spins.dtype)
        logits = jax.vmap(
            lambda value: self.model.logdensity(spins.at[site].set(value).reshape(self.model.sites.shape))
        )(values)
        return spins.at[site].set(values[draw(logits)])

    def _visit_all(
        self, randomness: Any, visit: Callable[[Any, Array | None, Array], Array], state: SpinState
    ) -> SpinState:
        visits = None if self.model.order == "random" else self.model.sites.visits

        def body(spins: Array, given: tuple[Any, Array | None]) -> tuple[Array, None]:
            return visit(given[0], given[1], spins), None

        spins, _ = lax.scan(body, state.position.reshape(-1), (randomness, visits))
        return SpinState(spins.reshape(state.position.shape))
