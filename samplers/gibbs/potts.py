"""Heat-bath sweeps of the Potts model, compiled."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers.core_source import Source
from ergodica.samplers.gibbs.spin_cores import sweep_graph
from ergodica.samplers.gibbs.spin_sites import Order, SpinSites, spin_sites
from ergodica.samplers.gibbs.spin_sweep import SpinState, SpinSweep, model_parameter, start_spins
from ergodica.samplers.inputs import Numbers, real_parameter, static_count

__all__ = ["PottsHeatBath"]


class PottsHeatBath(SpinSweep):
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
        self.sites = spin_sites(graph, order)
        self.order = order
        self.num_states = static_count("num_states", num_states, at_least=2)
        self.beta = real_parameter("beta", beta)
        edges = {(): "one for all", (self.sites.edges.shape[0],): "one for each edge"}
        self.coupling = model_parameter("coupling", coupling, edges)
        q = self.num_states
        fields = {(): "no field", (q,): "one for each state", (*self.sites.shape, q): "one for each site and state"}
        self.field = model_parameter("field", field, fields)

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
        return start_spins(
            position, self.sites, "PottsHeatBath", np.arange(self.num_states), "Number the states from 0."
        )

    def _field(self) -> Float[Array, "n q"]:
        return jnp.broadcast_to(self.field, (*self.sites.shape, self.num_states)).reshape(-1, self.num_states)

    def _sweeps(self, source: Source, randomness: Array, state: SpinState, count: int) -> SpinState:
        bonds = self.beta * self.coupling
        return SpinState(
            sweep_graph("potts_graph", source, randomness, self.sites, bonds, self._field(), state.position, count)
        )
