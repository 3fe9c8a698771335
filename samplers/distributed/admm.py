"""Distributed sampling by the alternating direction method of multipliers, with noise."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers import inputs, random
from ergodica.samplers.distributed.agents import Agents
from ergodica.samplers.distributed.network import Network, as_network
from ergodica.samplers.kernel import Claim, Exactness, Kernel, Space

__all__ = ["ADMMInfo", "ADMMSampler", "ADMMState"]

NOISES = ("calibrated", "paper")


class ADMMState(NamedTuple):
    """State of all agents.

    Parameters
    ----------
    position
        Pytree of arrays with the agents on axis 0.
    dual
        The multipliers ``p_i``, flat, shape ``(n, d)``; they sum to zero over the agents.
    """

    position: PyTree
    dual: Float[Array, "n d"]


class ADMMInfo(NamedTuple):
    """What a sweep reports.

    Parameters
    ----------
    disagreement
        Root of the mean over agents of the squared distance from the agents' average.
    gradient_norm
        Largest norm, over agents, of what is left of the gradient of a local problem.
    num_evals, num_grad_evals, num_hessian_evals
        Evaluations of the potentials and their derivatives, over all agents; zero for quadratic ones.
    num_invalid
        Agents whose local problem had no finite solution, and that stayed where they were.
    """

    disagreement: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    num_evals: Int[Array, ""]
    num_grad_evals: Int[Array, ""]
    num_hessian_evals: Int[Array, ""]
    num_invalid: Int[Array, ""]


class ADMMSampler(Kernel[ADMMState, ADMMInfo]):
    """Biased sampler for a product of factors held by agents that talk to their neighbours only (D-ADMMS).

    Agent ``i`` knows the potential ``f_i``, and the target is ``exp(-sum_i f_i(x))``. Each has its own copy ``x_i`` and a
    multiplier ``p_i``. In a sweep all agents, from the same old values, draw ``w_i ~ N(0, s^2 I)`` and solve ::

        x_i' = argmin_x  f_i(x) + <p_i, x> + rho sum_{j ~ i} |x - (x_i + x_j) / 2 + w_i|^2
        p_i' = p_i + rho sum_{j ~ i} (x_i' - x_j')

    No data leave their site: an agent sends its ``x_i`` to its neighbours.

    Parameters
    ----------
    agents
        The potentials: :class:`~ergodica.samplers.distributed.agents.QuadraticAgents` or
        :class:`~ergodica.samplers.distributed.agents.ConvexAgents`.
    network
        A connected undirected graph, node ``i`` being agent ``i``: a ``networkx.Graph``, an adjacency matrix, or an
        array of edges.
    penalty
        ``rho``, positive. The bias is ``O(1 / rho)`` and so is the rate of mixing; if the curvature ``A`` of the whole
        potential is known, ``A / (8 eps |E|)`` gives the average a relative bias of its variance of about ``eps``.
    noise
        ``"calibrated"``: ``s^2 = 2 |E| / (rho sum_i d_i^2)`` for degrees ``d_i``, which gives the agents' average the right
        temperature. ``"paper"``: the published ``s^2 = 1 / (2 rho^2)``, which agrees only if
        ``sum_i d_i^2 = 4 rho |E|``; the variance is off by the ratio of the two otherwise, and tends to 0 with large
        ``rho``.

    Raises
    ------
    TypeError, ValueError
        If the graph is directed or not connected, the penalty not positive, the number of agents not that of the
        nodes; at :meth:`init` if a potential is not finite or a local problem not convex, with the agent's number.

    Notes
    -----
    Claim: biased ``O(1 / rho)``, never exact for a fixed penalty, whatever the run's length; for quadratic potentials the
    mean is right for every agent, and :mod:`ergodica.theory.admm` has the whole law. The average of the agents is a
    better draw than any of them. Convex potentials are solved approximately; ``Info.gradient_norm`` says how well.

    Positions have the agents on axis 0 in every leaf. The target is not one log density but one for each agent, so
    :meth:`bind` refuses; replace the field ``agents`` for other data. The multipliers need no refresh then.

    References
    ----------
    A. E. Tzikas, L. Romao, M. Pilanci, A. Abate, M. J. Kochenderfer, Distributed Markov chain Monte Carlo sampling based
    on the alternating direction method of multipliers, 2024, arXiv:2401.15838. The calibrated noise follows from the
    sum of the agents' optimality conditions.
    """

    agents: Agents
    network: Network
    penalty: Float[Array, ""]
    noise: Literal["calibrated", "paper"] = eqx.field(static=True)

    def __init__(
        self,
        agents: Agents,
        network: Any,
        *,
        penalty: ArrayLike = 5.0,
        noise: Literal["calibrated", "paper"] = "calibrated",
    ) -> None:
        self.agents = agents
        self.network = as_network(network)
        self.penalty = inputs.real_parameter("penalty", penalty, above=0.0)
        self.noise = noise

    def __check_init__(self) -> None:
        if not isinstance(self.agents, Agents):
            raise TypeError(f"ADMMSampler needs QuadraticAgents or ConvexAgents; got {type(self.agents).__name__}")
        if self.noise not in NOISES:
            raise ValueError(f"ADMMSampler has the noises {', '.join(map(repr, NOISES))}; got {self.noise!r}")
        agents, nodes = self.agents.num_agents, self.network.num_agents
        if agents != nodes:
            what = "has no data" if agents < nodes else "has data and is no node of the graph"
            raise ValueError(
                f"every node needs an agent's data and every agent a node; got {nodes} nodes and data for {agents} "
                f"agents, so agent {min(agents, nodes)} {what}"
            )

    @property
    def claim(self) -> Claim:
        """Biased."""
        if self.noise == "calibrated":
            order = "O(1/rho)"
            statement = (
                "each agent's law, and that of the agents' average, differ from the product of the factors by O(1/rho)"
            )
        else:
            order = "O(1) unless sum_i d_i^2 = 4 rho |E|"
            statement = "the agents' average has the wrong temperature by the factor sum_i d_i^2 / (4 rho |E|)"
        return Claim(
            Exactness.BIASED,
            statement,
            source="Tzikas, Romao, Pilanci, Abate, Kochenderfer 2024, arXiv:2401.15838",
            reversible=False,
            order=order,
            spaces=frozenset({Space.REAL}),
            gradient=True,
            population=True,
            bias=("penalty", "local solve"),
        )

    def noise_variance(self) -> Float[Array, ""]:
        """Return ``s^2``, in the dtype of the penalty."""
        if self.noise == "paper":
            return 0.5 / self.penalty**2
        degrees = self.network.degrees.astype(self.penalty.dtype)
        return jnp.sum(degrees) / (self.penalty * jnp.sum(degrees**2))

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> ADMMState:
        """Return the state with the agents at ``position`` and no multipliers.

        Parameters
        ----------
        position
            Pytree of floating-point arrays with the agents on axis 0.
        key
            Not used.

        Raises
        ------
        TypeError, ValueError
            If an axis does not fit, or an agent's potential is not finite or too concave at its start.
        """
        del key
        position = inputs.real_position(position, "ADMMSampler")
        agents = self.agents.num_agents
        for name, leaf in inputs.leaf_names(position):
            if leaf.shape[:1] != (agents,):
                raise ValueError(
                    f"ADMMSampler needs positions with the {agents} agents on axis 0; {name} has shape {leaf.shape}. "
                    "Repeat a common start with jnp.broadcast_to."
                )
        points, unravel = _flatten(position)
        self.agents.check(points, self._curvature(points), unravel)
        return ADMMState(position, jnp.zeros_like(points))

    def step(self, key: PRNGKeyArray, state: ADMMState) -> tuple[ADMMState, ADMMInfo]:
        """Make one synchronous sweep over all agents."""
        x, unravel = _flatten(state.position)
        penalty = self.penalty.astype(x.dtype)
        noise = self._draw_noise(key, x)
        curvature = self._curvature(x)
        linear = state.dual - penalty * self._pull(x) + curvature[:, None] * noise
        solution = self.agents.solve(linear, curvature, x, unravel)
        point = jnp.where(solution.is_valid[:, None], solution.point, x)
        dual = state.dual + penalty * self.network.laplacian(point)
        # The sum over agents is zero and does not contract: without this, round-off would accumulate in it.
        dual = dual - jnp.mean(dual, axis=0)
        offset = point - jnp.mean(point, axis=0)
        info = ADMMInfo(
            disagreement=jnp.sqrt(jnp.mean(jnp.sum(offset**2, axis=1))),
            gradient_norm=jnp.max(solution.gradient_norm),
            num_evals=solution.num_evals,
            num_grad_evals=solution.num_grad_evals,
            num_hessian_evals=solution.num_hessian_evals,
            num_invalid=jnp.sum(~solution.is_valid, dtype=jnp.int32),
        )
        return ADMMState(_unflatten(point, state.position), dual), info

    def _curvature(self, x: Array) -> Float[Array, " n"]:
        return 2 * self.penalty.astype(x.dtype) * self.network.degrees.astype(x.dtype)

    def _draw_noise(self, key: PRNGKeyArray, x: Array) -> Float[Array, "n d"]:
        """Draw ``w_i``: one for each agent, shared by its edges."""
        return jnp.sqrt(self.noise_variance()).astype(x.dtype) * random.normal(key, x.shape, x.dtype)

    def _pull(self, x: Array) -> Float[Array, "n d"]:
        """Return the sum of ``x_i + x_j`` over the neighbours ``j``, from the old values of all agents."""
        return self.network.degrees.astype(x.dtype)[:, None] * x + self.network.sum_over_neighbours(x)


def _flatten(position: PyTree) -> tuple[Float[Array, "n d"], Callable[[Array], PyTree]]:
    """Return one row an agent, and the function from a row to an agent's pytree."""
    unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], position))[1]
    return jax.vmap(lambda tree: ravel_pytree(tree)[0])(position), unravel


def _unflatten(points: Float[Array, "n d"], position: PyTree) -> PyTree:
    unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], position))[1]
    return jax.vmap(unravel)(points)
