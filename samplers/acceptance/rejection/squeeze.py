"""Rejection with a squeeze: cheap bounds from below and above decide most trials without the density."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.rejection.plain import hold_envelope, proposed
from ergodica.samplers.acceptance.rejection.trials import (
    DrawState,
    RejectionInfo,
    Trial,
    exceeds,
    start_of_draws,
    until_accepted,
)
from ergodica.samplers.density import LogDensity, as_logdensity, evaluate, optional_logdensity
from ergodica.samplers.held import Held
from ergodica.samplers.kernel import Claim, Exactness, Kernel

__all__ = ["SqueezedRejection"]

_REJECT, _ACCEPT, _ASK = 0, 1, 2


class SqueezedRejection(Kernel[DrawState, RejectionInfo]):
    """Exact independent draws by rejection, with the density evaluated only between two squeezes.

    With ``l <= f <= h <= M g``, a candidate is accepted at once with probability ``l / (M g)``, rejected at once with
    probability ``1 - h / (M g)``, and held against ``f`` otherwise: the same comparison of ``u M g`` with ``f``, put off.

    Parameters
    ----------
    proposal, log_bound, max_trials, logdensity
        As of :class:`~ergodica.samplers.acceptance.rejection.plain.Rejection`.
    lower
        The lower squeeze: a callable from a position to ``log l``, ``-inf`` where there is none.
    upper
        The upper squeeze, ``log h``; default: none, that is ``h = M g``.

    Raises
    ------
    TypeError, ValueError
        If the proposal is none, a squeeze is not callable, or a parameter is out of range.

    Notes
    -----
    The chance that a trial needs no evaluation is ``(L + M - H) / M``, with the integrals ``L`` and ``H`` of the
    squeezes. Under ``vmap`` both ways are computed for all lanes: ``num_evals`` counts what was needed. A squeeze on the
    wrong side of the density makes the draws wrong; ``num_violations`` counts the evaluations that show it.

    References
    ----------
    G. Marsaglia, The squeeze method for generating gamma variates, 1977, Comput. Math. Appl. 3,
    doi:10.1016/0898-1221(77)90089-X.
    """

    proposal: Held
    log_bound: Float[Array, ""]
    lower: Partial
    upper: Partial | None
    max_trials: int = eqx.field(static=True)
    logdensity: Partial | None

    def __init__(
        self,
        proposal: Any,
        log_bound: inputs.Numbers,
        lower: LogDensity,
        upper: LogDensity | None = None,
        *,
        max_trials: int = 100_000,
        logdensity: LogDensity | None = None,
    ) -> None:
        self.proposal = hold_envelope(proposal, "SqueezedRejection")
        self.log_bound = inputs.real_parameter("log_bound", log_bound)
        self.lower = as_logdensity(lower)
        self.upper = optional_logdensity(upper)
        self.max_trials = inputs.static_count("max_trials", max_trials)
        self.logdensity = optional_logdensity(logdensity)

    @property
    def claim(self) -> Claim:
        """Exact and independent."""
        return Claim(
            Exactness.EXACT,
            "draws independently from the target for all squeezes on their sides of it",
            source="Marsaglia 1977, doi:10.1016/0898-1221(77)90089-X",
            reversible=True,
            independent=True,
        )

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> DrawState:
        """Return the state at a position of the target's support, which the draws then forget."""
        del key
        return start_of_draws(self._target(), position, "SqueezedRejection")

    def trial(self, key: PRNGKeyArray, like: PyTree) -> Trial:
        """Draw one candidate and decide, with the density only if the squeezes leave it open."""
        key_propose, key_squeeze, key_decide = random.split(key, 3)
        position, log_proposal = proposed(self.proposal, key_propose, like)
        dtype = log_proposal.dtype
        ceiling = self.log_bound.astype(dtype) + log_proposal
        possible = jnp.isfinite(log_proposal)
        low = jnp.where(possible, self._chance(self.lower, position, ceiling), 0)
        high = jnp.where(possible, 1 if self.upper is None else self._chance(self.upper, position, ceiling), 0)
        high = jnp.maximum(low, high)
        # The three verdicts are where one uniform falls: below l, above h, or between them.
        verdict = random.categorical(key_squeeze, jnp.log(jnp.stack([1 - high, low, high - low])))

        def ask(_: None) -> tuple[Array, Array, Array]:
            value, invalid = evaluate(self._target(), position)
            chance = jnp.where(jnp.isneginf(value), 0, jnp.exp(value - ceiling))
            between = jnp.clip((chance - low) / jnp.maximum(high - low, jnp.finfo(dtype).tiny), 0, 1)
            slack = 64 * jnp.finfo(dtype).eps * jnp.maximum(1, jnp.abs(jnp.where(invalid, 0, ceiling)))
            outside = (chance < low * (1 - slack)) | (chance > high * (1 + slack)) | exceeds(value - ceiling, ceiling)
            return between, invalid, outside & ~invalid

        asked = verdict == _ASK
        none = (jnp.zeros((), dtype), jnp.asarray(False), jnp.asarray(False))
        between, invalid, violated = lax.cond(asked, ask, lambda _: none, None)
        accepted = (verdict == _ACCEPT) | (asked & random.bernoulli(key_decide, between))
        invalid = invalid | ~possible
        return Trial(position, accepted, asked.astype(jnp.int32), invalid.astype(jnp.int32), violated.astype(jnp.int32))

    @staticmethod
    def _chance(squeeze: LogDensity, position: PyTree, ceiling: Array) -> Array:
        value, _ = evaluate(squeeze, position, ceiling.dtype)
        return jnp.where(jnp.isneginf(value), 0, jnp.exp(jnp.minimum(value - ceiling, 0)))

    def step(self, key: PRNGKeyArray, state: DrawState) -> tuple[DrawState, RejectionInfo]:
        """Draw from the target."""
        position, info = until_accepted(
            lambda trial_key: self.trial(trial_key, state.position), key, state.position, self.max_trials
        )
        return DrawState(position), info
