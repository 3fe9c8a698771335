"""Independence Metropolis with candidates from a normalizing flow."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.independence import IndependenceState, decide_by_weights
from ergodica.samplers.acceptance.metropolis import as_ratio_rule
from ergodica.samplers.acceptance.rule import RatioRule
from ergodica.samplers.acceptance.weights import WeightReport, report_weights
from ergodica.samplers.corrected import MetropolisInfo, choose
from ergodica.samplers.density import LogDensity, density_dtype, evaluate, optional_logdensity
from ergodica.samplers.held import Held, hold
from ergodica.samplers.kernel import Claim, Exactness, Kernel, Space

__all__ = ["FlowIndependence", "check_flow"]


def check_flow(flow: Any, kernel: str) -> None:
    """Check that a flow is an unconditional FlowJAX distribution.

    Raises
    ------
    TypeError, ValueError
        If it is not.
    """
    if not all(hasattr(flow, name) for name in ("sample", "log_prob", "shape", "cond_shape")):
        raise TypeError(
            f"{kernel} needs a distribution of FlowJAX, such as flowjax.flows.coupling_flow(...); got "
            f"{type(flow).__name__}. Use IndependenceMetropolis for other distributions."
        )
    if flow.cond_shape is not None:
        raise ValueError(
            f"{kernel} needs a flow without a conditioning variable; this one has cond_shape={flow.cond_shape}. "
            "Build it with cond_dim=None."
        )


def _hold_flow(flow: Any) -> Held:
    if isinstance(flow, Held):
        return flow
    import paramax

    check_flow(flow, "FlowIndependence")
    # Weights that are functions of parameters are computed once, here, and not at every step.
    return hold(paramax.unwrap(flow))


class FlowIndependence(Kernel[IndependenceState, MetropolisInfo]):
    """Exact, reversible independence Metropolis whose candidates come from a frozen normalizing flow.

    Parameters
    ----------
    flow
        An unconditional distribution of FlowJAX on vectors with as many coordinates as the position, in the order of
        ``jax.flatten_util.ravel_pytree(position)``. It is frozen: its arrays become leaves of the kernel, and no step
        changes them. Train it before, on draws from elsewhere or with
        :func:`ergodica.samplers.flows.training.train_while_sampling`.
    rule
        Decides by the ratio ``w(y) / w(x)`` of weights ``w = pi / q``; default: Metropolis's.
    logdensity
        The target: a callable from a position to a scalar.

    Raises
    ------
    TypeError, ValueError
        If the flow is none, or conditional; or the rule is none.

    Notes
    -----
    Claim: exact and reversible for every flow, trained or not, whose support contains the target's. A flow that is a
    poor fit makes the chain stick; one whose tails are lighter than the target's makes it lose geometric ergodicity.
    Call :meth:`report` to be warned of that. The flow computes in the wider of its own precision and the default one;
    its draws are rounded to the dtype of the position before either density is evaluated.

    References
    ----------
    M. S. Albergo, G. Kanwar and P. E. Shanahan, 2019, Phys. Rev. D 100, arXiv:1904.12072; M. Gabrié, G. M. Rotskoff and
    E. Vanden-Eijnden, 2022, PNAS 119, arXiv:2105.12603.
    """

    flow: Held
    rule: RatioRule
    logdensity: Partial | None

    def __init__(self, flow: Any, rule: RatioRule | None = None, logdensity: LogDensity | None = None) -> None:
        self.flow = _hold_flow(flow)
        self.rule = as_ratio_rule(rule, "FlowIndependence")
        self.logdensity = optional_logdensity(logdensity)

    @property
    def claim(self) -> Claim:
        """Exact and reversible."""
        return Claim(
            Exactness.EXACT,
            "leaves the target invariant for every frozen flow whose support contains the target's",
            source="Albergo, Kanwar and Shanahan 2019, arXiv:1904.12072",
            reversible=True,
            spaces=frozenset({Space.REAL}),
        )

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return math.prod(self.flow.get().shape)

    def _log_flow(self, position: PyTree) -> Float[Array, ""]:
        flow = self.flow.get()
        flat, _ = ravel_pytree(position)
        value: Array = flow.log_prob(flat.reshape(flow.shape))
        return value.astype(density_dtype(position))

    def draw(self, key: PRNGKeyArray, like: PyTree) -> IndependenceState:
        """Draw from the flow.

        Parameters
        ----------
        key
            Typed key.
        like
            Any position, for structure and dtypes.

        Returns
        -------
        IndependenceState
            The draw with both log densities; their difference is the log of its importance weight.
        """
        flow = self.flow.get()
        flat, unravel = ravel_pytree(like)
        drawn, log_flow = flow.sample_and_log_prob(key)
        position = unravel(drawn.reshape(flat.shape).astype(flat.dtype))
        rounded = drawn.dtype != flat.dtype or any(leaf.dtype != flat.dtype for leaf in jax.tree.leaves(like))
        if rounded:
            # The density has to be that of the point that would be moved to.
            log_flow = self._log_flow(position)
        value, _ = evaluate(self._target(), position)
        return IndependenceState(position, value, log_flow.astype(value.dtype))

    def check_size(self, position: PyTree) -> None:
        """Raise ``ValueError`` if the flow does not have as many coordinates as the position."""
        size = ravel_pytree(position)[0].size
        if size != self.dim:
            raise ValueError(
                f"the flow has shape {self.flow.get().shape}, that is {self.dim} coordinates; the position has {size}"
            )

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> IndependenceState:
        """Return the state of a chain that starts at ``position``, where target and flow have to be positive."""
        del key
        position = inputs.real_position(position, "FlowIndependence")
        self.check_size(position)
        value = inputs.start_density(self._target(), position, "FlowIndependence")
        log_flow = self._log_flow(position)
        if inputs.is_concrete(log_flow) and not np.isfinite(np.asarray(log_flow)):
            raise ValueError(
                "FlowIndependence cannot start where its flow has no density, for it would never leave: the log "
                f"density of the flow at {position} is {log_flow}. Start from a draw of the flow, or train it there."
            )
        return IndependenceState(position, value, log_flow)

    def step(self, key: PRNGKeyArray, state: IndependenceState) -> tuple[IndependenceState, MetropolisInfo]:
        """Draw a candidate from the flow, and accept or stay."""
        key_propose, key_decide = random.split(key)
        candidate = self.draw(key_propose, state.position)
        accepted, probability, invalid = decide_by_weights(key_decide, self.rule, candidate, state)
        info = MetropolisInfo(probability, accepted, jnp.asarray(1, jnp.int32), invalid.astype(jnp.int32))
        return choose(accepted, candidate, state), info

    def refresh(self, state: IndependenceState) -> IndependenceState:
        """Recompute the log densities of target and flow at the state's position."""
        value, _ = evaluate(self._target(), state.position)
        return IndependenceState(state.position, value, self._log_flow(state.position))

    def report(self, key: PRNGKeyArray, position: PyTree, *, num_draws: int = 1000) -> WeightReport:
        """Draw from the flow and report the weights, with a warning if their tail is heavy.

        Parameters
        ----------
        key
            Typed key.
        position
            Any position, for structure and dtypes.
        num_draws
            Number of draws.
        """
        like = jax.tree.map(jnp.asarray, position)
        self.check_size(like)
        keys = random.split(key, inputs.static_count("num_draws", num_draws))
        return report_weights(_log_weights(self, keys, like))


@jax.jit
def _log_weights(kernel: FlowIndependence, keys: PRNGKeyArray, like: PyTree) -> Float[Array, " n"]:
    draws = jax.vmap(lambda key: kernel.draw(key, like))(keys)
    return draws.logdensity - draws.log_proposal
