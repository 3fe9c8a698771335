"""Delayed acceptance: a cheap density decides first, the target only where that one has accepted."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.rule import RatioRule
from ergodica.samplers.acceptance.staged import Staged
from ergodica.samplers.corrected import Corrected, Proposal, choose
from ergodica.samplers.density import LogDensity, as_logdensity, density_dtype, evaluate, optional_logdensity
from ergodica.samplers.kernel import Claim, Exactness, Kernel

__all__ = ["DelayedAcceptance", "DelayedAcceptanceInfo", "DelayedAcceptanceState"]


class DelayedAcceptanceState(NamedTuple):
    """State of :class:`DelayedAcceptance`.

    Parameters
    ----------
    position
        Pytree of arrays.
    logdensity
        Log density of the target at the position.
    log_surrogate
        Log density of the surrogate there.
    """

    position: PyTree
    logdensity: Float[Array, ""]
    log_surrogate: Float[Array, ""]


class DelayedAcceptanceInfo(NamedTuple):
    """What a step with delayed acceptance reports.

    Parameters
    ----------
    acceptance_rate
        Probability with which the second stage accepted; 0 if the candidate did not come so far. Its mean is the
        acceptance rate.
    is_accepted
        Whether the candidate was accepted.
    first_stage_rate
        Probability with which the first stage accepted.
    num_evals
        Evaluations of the target: 1 if the first stage accepted.
    num_surrogate_evals
        Evaluations of the surrogate.
    num_invalid
        Candidates that were rejected because a log density or the proposal's ratio was NaN or ``+inf``.
    """

    acceptance_rate: Float[Array, ""]
    is_accepted: Bool[Array, ""]
    first_stage_rate: Float[Array, ""]
    num_evals: Int[Array, ""]
    num_surrogate_evals: Int[Array, ""]
    num_invalid: Int[Array, ""]


class DelayedAcceptance(Kernel[DelayedAcceptanceState, DelayedAcceptanceInfo]):
    """Exact, reversible Metropolis-Hastings that asks a surrogate of the target first.

    A candidate ``y`` passes with probability ``a1(s(y) q(y, x) / (s(x) q(x, y)))`` for the surrogate ``s``, and only then
    the target ``pi`` is evaluated and confirms with probability ``a2(pi(y) s(x) / (pi(x) s(y)))``.

    Parameters
    ----------
    proposal
        Draws candidates and knows the ratio of its densities. With a surrogate that is cheap and good, steps may be
        larger than is best for Metropolis's rule, since bad candidates cost little.
    surrogate
        Log density, up to a constant, positive wherever the target is.
    first, second
        Rules of the two stages; default: Metropolis's.
    logdensity
        The target: a callable from a position to a scalar.

    Raises
    ------
    TypeError
        If the proposal, the surrogate or a rule is none.

    Notes
    -----
    Claim: exact and reversible for every surrogate that has no holes inside the target's support. Each step accepts at
    most as often as Metropolis's, so that it pays where the target costs much more than the surrogate. Chains under
    ``vmap`` evaluate the target together, also where only one of them needs it; run them one after another
    (``chain_method="sequential"``) or on the compiled host to save the evaluations.

    References
    ----------
    J. A. Christen and C. Fox, 2005, Markov chain Monte Carlo using an approximation, JCGS 14,
    doi:10.1198/106186005X76983.
    """

    proposal: Proposal
    surrogate: Partial
    rule: Staged
    logdensity: Partial | None

    def __init__(
        self,
        proposal: Proposal,
        surrogate: LogDensity,
        first: RatioRule | None = None,
        second: RatioRule | None = None,
        logdensity: LogDensity | None = None,
    ) -> None:
        if not isinstance(proposal, Proposal):
            raise TypeError(f"DelayedAcceptance needs a Proposal, such as GaussianStep(scale); got {proposal!r}")
        self.proposal = proposal
        self.surrogate = as_logdensity(surrogate)
        self.rule = Staged(first, second)
        self.logdensity = optional_logdensity(logdensity)

    @property
    def claim(self) -> Claim:
        """Exact and reversible."""
        return Claim(
            Exactness.EXACT,
            "leaves the target invariant for every surrogate that is positive where the target is",
            source="Christen and Fox 2005, doi:10.1198/106186005X76983",
            reversible=True,
            spaces=self.proposal.spaces,
        )

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> DelayedAcceptanceState:
        """Return the state of a chain that starts at ``position``, where target and surrogate have to be positive."""
        start = Corrected(self.proposal, None, self._target()).init(position, key=key)
        cheap = inputs.start_density(self.surrogate, start.position, "The surrogate of DelayedAcceptance")
        return DelayedAcceptanceState(start.position, start.logdensity, cheap.astype(start.logdensity.dtype))

    def step(
        self, key: PRNGKeyArray, state: DelayedAcceptanceState
    ) -> tuple[DelayedAcceptanceState, DelayedAcceptanceInfo]:
        """Propose; ask the surrogate, then the target; accept or stay."""
        key_propose, key_first, key_second = random.split(key, 3)
        candidate, log_back = self.proposal.propose(key_propose, state.position)
        target, dtype = self._target(), state.logdensity.dtype
        log_back = jnp.asarray(log_back, dtype)
        cheap, unusable = evaluate(self.surrogate, candidate, dtype)
        unusable = unusable | jnp.isnan(log_back) | jnp.isposinf(log_back)
        log_first = jnp.where(unusable, -jnp.inf, cheap - state.log_surrogate + log_back)
        passed, first_rate = self.rule.first.decide(key_first, log_first)

        def ask(candidate: PyTree) -> tuple[Array, Array]:
            return evaluate(target, candidate, dtype)

        def spare(candidate: PyTree) -> tuple[Array, Array]:
            del candidate
            return jnp.asarray(-jnp.inf, dtype), jnp.asarray(False)

        value, invalid = lax.cond(passed, ask, spare, candidate)
        log_second = (value - state.logdensity) - (cheap - state.log_surrogate)
        confirmed, second_rate = self.rule.second.decide(key_second, jnp.where(passed, log_second, -jnp.inf))
        accepted = passed & confirmed
        one = jnp.ones((), jnp.int32)
        info = DelayedAcceptanceInfo(
            acceptance_rate=jnp.where(passed, second_rate, 0.0).astype(dtype),
            is_accepted=accepted,
            first_stage_rate=first_rate,
            num_evals=passed.astype(jnp.int32),
            num_surrogate_evals=one,
            num_invalid=(unusable | invalid).astype(jnp.int32),
        )
        return choose(accepted, DelayedAcceptanceState(candidate, value, cheap), state), info

    def refresh(self, state: DelayedAcceptanceState) -> DelayedAcceptanceState:
        """Recompute both log densities at the state's position."""
        dtype = density_dtype(state.position)
        value, _ = evaluate(self._target(), state.position, dtype)
        cheap, _ = evaluate(self.surrogate, state.position, dtype)
        return DelayedAcceptanceState(state.position, value, cheap)
