"""Heat-bath sweeps of the Ising model, compiled."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers.core_source import Source
from ergodica.samplers.gibbs.spin_cores import OPERATIONS, spin_dtype, sweep_graph
from ergodica.samplers.gibbs.spin_sites import Order, SpinSites, spin_sites
from ergodica.samplers.gibbs.spin_sweep import SpinState, SpinSweep, model_parameter, start_spins
from ergodica.samplers.inputs import Numbers, real_parameter

__all__ = ["IsingHeatBath"]


class IsingHeatBath(SpinSweep):
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
        self.sites = spin_sites(graph, order)
        self.order = order
        self.beta = real_parameter("beta", beta)
        edges = {(): "one for all", (self.sites.edges.shape[0],): "one for each edge"}
        self.coupling = model_parameter("coupling", coupling, edges)
        self.field = model_parameter("field", field, {(): "one for all", self.sites.shape: "one for each site"})

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
        return start_spins(
            position, self.sites, "IsingHeatBath", np.array([-1, 1]), "For spins of 0 and 1 pass 2 * s - 1."
        )

    def _sweeps(self, source: Source, randomness: Array, state: SpinState, count: int) -> SpinState:
        position, bonds = state.position, self.beta * self.coupling
        if self.sites.is_lattice and self.coupling.ndim == 0 and self.field.ndim == 0:
            classes = {"systematic": 2, "palindromic": 3, "random": 0}[self.order]
            (out,) = OPERATIONS["ising_lattice", source.name](
                randomness, position, bonds, self.field, classes, count, out_shapes=[spin_dtype(position)]
            )
            return SpinState(out)
        field = jnp.broadcast_to(self.field, self.sites.shape).reshape(-1)
        return SpinState(sweep_graph("ising_graph", source, randomness, self.sites, bonds, field, position, count))
