"""The decision between the position and a candidate drawn from a law that does not depend on it.

With ``w = gamma / q`` for the unnormalised target ``gamma`` and the proposal density ``q``, a candidate ``y`` is held
against the position ``x`` by the ratio ``w(y) / w(x)``.
"""

from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from ergodica.samplers.acceptance.rule import RatioRule

__all__ = ["IndependenceState", "SamplerWithDensity", "decide_by_weights", "proposal_density"]


class SamplerWithDensity(Protocol):
    """A law that can be sampled and whose density is known: a FlowJAX or NumPyro distribution, or anything like one."""

    def sample(self, key: PRNGKeyArray, /) -> PyTree:
        """Draw a position."""
        ...

    def log_prob(self, position: Any, /) -> Array:
        """Return the log density at a position, normalised or not."""
        ...


class IndependenceState(NamedTuple):
    """State of a kernel whose candidates do not depend on the position.

    Parameters
    ----------
    position
        Pytree of arrays.
    logdensity
        Log density of the target at the position.
    log_proposal
        Log density of the proposal at the position.
    """

    position: PyTree
    logdensity: Float[Array, ""]
    log_proposal: Float[Array, ""]


def proposal_density(proposal: Any, position: PyTree, dtype: Any) -> Float[Array, ""]:
    """Return the proposal's log density at a position, NaN and ``+inf`` kept; ``-inf`` outside its ``support``, if any.

    Raises
    ------
    TypeError
        If it is no scalar.
    """
    value = jnp.asarray(proposal.log_prob(position), dtype)
    if value.shape != ():
        raise TypeError(
            f"the proposal's log_prob has to return a scalar; at one position it returned shape {value.shape}. Sum the "
            "terms; with a NumPyro distribution, write .to_event(1)."
        )
    support = getattr(proposal, "support", None)
    if callable(support):
        # A NumPyro distribution that does not validate its arguments has a finite log_prob outside its support too.
        value = jnp.where(jnp.all(support(position)), value, -jnp.inf)
    return value


def decide_by_weights(
    key: PRNGKeyArray, rule: RatioRule, candidate: IndependenceState, state: IndependenceState
) -> tuple[Bool[Array, ""], Float[Array, ""], Bool[Array, ""]]:
    """Decide between a candidate and the position.

    Parameters
    ----------
    key
        Typed key.
    rule
        Decides by the ratio.
    candidate
        The candidate with its two log densities.
    state
        The current state.

    Returns
    -------
    accepted, probability
        As the rule gives them.
    invalid
        Whether the proposal's density was not finite at its own draw, which rejects.
    """
    invalid = ~jnp.isfinite(candidate.log_proposal)
    log_ratio = (candidate.logdensity - candidate.log_proposal) - (state.logdensity - state.log_proposal)
    accepted, probability = rule.decide(key, jnp.where(invalid, -jnp.inf, log_ratio))
    return accepted, probability, invalid
