"""Independence Metropolis with candidates from a normalizing flow."""

import math
from typing import Any

import jax
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ergodica.samplers import inputs
from ergodica.samplers.acceptance.metropolis import as_ratio_rule
from ergodica.samplers.acceptance.rule import RatioRule
from ergodica.samplers.density import LogDensity, density_dtype, optional_logdensity
from ergodica.samplers.held import Held, hold
from ergodica.samplers.independence import IndependenceKernel
from ergodica.samplers.kernel import Claim, Exactness, Space

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


class FlowIndependence(IndependenceKernel):
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

    def check(self, position: PyTree) -> PyTree:
        """Return a position as JAX arrays; real, and with as many coordinates as the flow.

        Raises
        ------
        TypeError, ValueError
            If it is not.
        """
        position = inputs.real_position(position, "FlowIndependence")
        size = ravel_pytree(position)[0].size
        if size != self.dim:
            raise ValueError(
                f"the flow has shape {self.flow.get().shape}, that is {self.dim} coordinates; the position has {size}"
            )
        return position

    def propose(self, key: PRNGKeyArray, like: PyTree) -> tuple[PyTree, Float[Array, ""]]:
        """Draw from the flow; see :meth:`ergodica.samplers.independence.IndependenceKernel.propose`."""
        flat, unravel = ravel_pytree(like)
        drawn, log_flow = self.flow.get().sample_and_log_prob(key)
        position = unravel(drawn.reshape(flat.shape).astype(flat.dtype))
        rounded = drawn.dtype != flat.dtype or any(leaf.dtype != flat.dtype for leaf in jax.tree.leaves(like))
        # The density has to be that of the point that would be moved to.
        return position, self.log_proposal(position) if rounded else log_flow

    def log_proposal(self, position: PyTree) -> Float[Array, ""]:
        """Return the flow's log density at a position."""
        flow = self.flow.get()
        flat, _ = ravel_pytree(position)
        value: Array = flow.log_prob(flat.reshape(flow.shape))
        return value.astype(density_dtype(position))
