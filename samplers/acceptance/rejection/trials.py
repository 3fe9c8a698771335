"""Trials until one is accepted, with the verdict carried from turn to turn.

The loop evaluates nothing in its condition, so that under ``vmap`` a lane that is done costs nothing but waiting. If
``max_trials`` trials fail the chain stays where it is. That keeps the target: whether all trials fail does not depend on
the position, so that a step is the mixture of an exact draw and of no move. To return anything else after a cap, such as
the last candidate, would put the probability of a cap in the wrong place.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers import inputs, random
from ergodica.samplers.density import LogDensity

__all__ = ["DrawState", "RejectionInfo", "Trial", "exceeds", "start_of_draws", "until_accepted"]


class DrawState(NamedTuple):
    """State of a kernel whose step forgets the past.

    Parameters
    ----------
    position
        Pytree of arrays.
    """

    position: PyTree


class Trial(NamedTuple):
    """One trial.

    Parameters
    ----------
    position
        The candidate.
    accepted
        Whether it was accepted.
    num_evals
        Evaluations of the log density.
    num_invalid
        Evaluations that gave NaN or ``+inf``, and candidates at which the proposal has no density.
    num_violations
        Candidates at which the density was above the bound that was given.
    """

    position: PyTree
    accepted: Bool[Array, ""]
    num_evals: Int[Array, ""]
    num_invalid: Int[Array, ""]
    num_violations: Int[Array, ""]


class RejectionInfo(NamedTuple):
    """What a draw by rejection reports.

    Parameters
    ----------
    num_trials
        Trials made; geometric, and independent of the draw.
    num_evals
        Evaluations of the log density.
    num_invalid
        Evaluations that gave NaN or ``+inf``, and candidates at which the proposal has no density.
    num_violations
        Candidates at which the density was above the bound: from the first one on the draws are known not to follow the
        target.
    cap_hit
        Whether all trials failed, and the chain stayed.
    """

    num_trials: Int[Array, ""]
    num_evals: Int[Array, ""]
    num_invalid: Int[Array, ""]
    num_violations: Int[Array, ""]
    cap_hit: Bool[Array, ""]


def until_accepted(
    trial: Callable[[PRNGKeyArray], Trial], key: PRNGKeyArray, position: PyTree, max_trials: int
) -> tuple[PyTree, RejectionInfo]:
    """Make trials until one is accepted.

    Parameters
    ----------
    trial
        Makes one; its candidates have the structure, shapes and dtypes of ``position``.
    key
        Typed key; trial ``i`` uses ``fold_in(key, i)``.
    position
        What comes back if ``max_trials`` trials fail.
    max_trials
        Static cap.

    Returns
    -------
    position, info
    """
    none = jnp.zeros((), jnp.int32)

    def body(carry: tuple[PyTree, Array, RejectionInfo]) -> tuple[PyTree, Array, RejectionInfo]:
        kept, _, info = carry
        tried = trial(random.fold_in(key, info.num_trials))
        kept = jax.tree.map(lambda new, old: jnp.where(tried.accepted, new, old), tried.position, kept)
        info = RejectionInfo(
            info.num_trials + 1,
            info.num_evals + tried.num_evals,
            info.num_invalid + tried.num_invalid,
            info.num_violations + tried.num_violations,
            info.cap_hit,
        )
        return kept, tried.accepted, info

    start = (position, jnp.asarray(False), RejectionInfo(none, none, none, none, jnp.asarray(False)))
    kept, accepted, info = lax.while_loop(lambda carry: ~carry[1] & (carry[2].num_trials < max_trials), body, start)
    return kept, info._replace(cap_hit=~accepted)


def exceeds(log_ratio: Float[Array, ""], *terms: Float[Array, ""]) -> Bool[Array, ""]:
    """Whether a log ratio that should be at most zero is above it by more than the rounding of its terms."""
    eps = jnp.finfo(log_ratio.dtype).eps
    scale = jnp.asarray(1, log_ratio.dtype)
    for term in terms:
        scale = jnp.maximum(scale, jnp.where(jnp.isfinite(term), jnp.abs(term), 0))
    return log_ratio > 64 * eps * scale


def start_of_draws(logdensity: LogDensity, position: PyTree, kernel: str) -> DrawState:
    """Check a start, all integers or all real, and return it as the state of independent draws.

    Raises
    ------
    TypeError, ValueError
        If the position or the density there is not fit to start from.
    """
    leaves = jax.tree.leaves(position)
    discrete = bool(leaves) and all(jnp.issubdtype(jnp.result_type(leaf), jnp.integer) for leaf in leaves)
    check = inputs.integer_position if discrete else inputs.real_position
    position = check(position, kernel)
    inputs.start_density(logdensity, position, kernel)
    return DrawState(position)
