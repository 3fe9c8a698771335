"""Metropolis-Hastings kernels that are wrong in the ways that they go wrong."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.tree_util import Partial

from ergodica.samplers import random
from ergodica.samplers.acceptance.independence import IndependenceState
from ergodica.samplers.acceptance.rule import RatioRule
from ergodica.samplers.claim import Claim, Exactness
from ergodica.samplers.corrected import Corrected, Proposal
from ergodica.samplers.kernel import DensityState
from ergodica.samplers.metropolis.finite import FiniteMetropolis
from ergodica.samplers.metropolis.independence import IndependenceMetropolis
from ergodica.samplers.metropolis.random_walk import RandomWalk

# --- acceptance rules ------------------------------------------------------------------------------------------------


class _WrongRule(RatioRule):
    @property
    def claim(self):
        return Claim(Exactness.EXACT, "claims too much", reversible=True)


class AcceptsZeroProbability(_WrongRule):
    """Accepts if ``u <= p`` with ``u`` of 24 bits: sometimes even where ``p`` is zero."""

    def probability(self, log_ratio):
        chance = jnp.maximum(jnp.exp(jnp.minimum(log_ratio, 0.0)), 2.0**-24)
        return jnp.where(jnp.isnan(log_ratio), 0.0, chance)


class Unbalanced(_WrongRule):
    """Accepts with probability ``min(1, sqrt(r))``."""

    def probability(self, log_ratio):
        return jnp.where(jnp.isnan(log_ratio), 0.0, jnp.exp(0.5 * jnp.minimum(log_ratio, 0.0)))


class AcceptsNaN(_WrongRule):
    """Takes NaN for a sure acceptance, as ``not (u > r)`` does."""

    def probability(self, log_ratio):
        return jnp.where(jnp.isnan(log_ratio), 1.0, jnp.exp(jnp.minimum(log_ratio, 0.0)))


class Overflows(_WrongRule):
    """Barker's rule from exponentials, which is NaN at large ratios."""

    def probability(self, log_ratio):
        return jnp.exp(log_ratio) / (1 + jnp.exp(log_ratio))


RULE_TRAPS = (AcceptsZeroProbability, Unbalanced, AcceptsNaN, Overflows)

# --- kernels with a proposal -----------------------------------------------------------------------------------------


class _Symmetric(Proposal):
    """Claims that a proposal is symmetric."""

    inner: Proposal

    def propose(self, key, position):
        candidate, log_ratio = self.inner.propose(key, position)
        return candidate, jnp.zeros_like(log_ratio)


class ForgetsHastings(Corrected):
    """Forgets the ratio of the proposal's densities."""

    def step(self, key, state):
        return Corrected(_Symmetric(self.proposal), self.rule, self.logdensity).step(key, state)


class InvertsHastings(Corrected):
    """Turns the ratio of the proposal's densities upside down."""

    def step(self, key, state):
        class Inverted(_Symmetric):
            def propose(self, key, position):
                candidate, log_ratio = self.inner.propose(key, position)
                return candidate, -log_ratio

        return Corrected(Inverted(self.proposal), self.rule, self.logdensity).step(key, state)


class StaleDensity(Corrected):
    """Keeps the log density of the position that was left."""

    def step(self, key, state):
        moved, info = super().step(key, state)
        return moved._replace(logdensity=state.logdensity), info


CORRECTED_TRAPS = (ForgetsHastings, InvertsHastings, StaleDensity)


class ForgetsHastingsOnFinite(FiniteMetropolis):
    """The same on a finite space."""

    def step(self, key, state):
        return ForgetsHastings(self.proposal, self.rule, self.logdensity).step(key, state)


class StaleDensityOnFinite(FiniteMetropolis):
    """The same on a finite space."""

    def step(self, key, state):
        return StaleDensity(self.proposal, self.rule, self.logdensity).step(key, state)


class RepeatsOnFinite(FiniteMetropolis):
    """Proposes until a candidate is accepted: no state is ever held. The loop is summed in closed form."""

    def step(self, key, state):
        row = self.transition_row(state).at[state.position].set(0.0)
        position = random.categorical(key, jnp.log(row)).astype(state.position.dtype)
        _, info = super().step(jax.random.fold_in(key, 1), state)
        return self.refresh(DensityState(position, state.logdensity)), info


FINITE_TRAPS = (ForgetsHastingsOnFinite, StaleDensityOnFinite, RepeatsOnFinite)

# --- random walks ----------------------------------------------------------------------------------------------------


class RepeatsUntilAccepted(RandomWalk):
    """Proposes until a candidate is accepted."""

    def step(self, key, state):
        def body(carry):
            index, _, _, _ = carry
            moved, info = super(RepeatsUntilAccepted, self).step(random.fold_in(key, index), state)
            return index + 1, info.is_accepted, moved, info

        first = body((0, None, None, None))
        return lax.while_loop(lambda carry: ~carry[1], body, (jnp.asarray(1), *first[1:]))[2:]


def _with_half_the_prior(logdensity, position):
    return logdensity(position) + 0.25 * jnp.sum(position**2)


class HalvesPriorPrecision(RandomWalk):
    """Targets the posterior of a prior with half the precision, where the prior is standard normal."""

    def bind(self, logdensity):
        return super().bind(Partial(_with_half_the_prior, logdensity))


class StaleWalk(RandomWalk):
    """Keeps the log density of the position that was left."""

    def step(self, key, state):
        moved, info = super().step(key, state)
        return moved._replace(logdensity=state.logdensity), info


class NeverMoves(RandomWalk):
    """Rejects everything; it leaves every law invariant."""

    def step(self, key, state):
        _, info = super().step(key, state)
        return state, info._replace(acceptance_rate=jnp.zeros_like(info.acceptance_rate))


RANDOM_WALK_TRAPS = (RepeatsUntilAccepted, HalvesPriorPrecision, StaleWalk, NeverMoves)

# --- independence chains ---------------------------------------------------------------------------------------------


class WrongPoint(IndependenceMetropolis):
    """Evaluates the proposal at the position instead of at the candidate."""

    def draw(self, key, like):
        candidate = super().draw(key, like)
        return candidate._replace(log_proposal=self.proposal.get().log_prob(like))


class AcceptsByWeight(IndependenceMetropolis):
    """Accepts with the candidate's weight, not with its ratio to the position's."""

    def step(self, key, state):
        zero = jnp.zeros_like(state.logdensity)
        moved, info = super().step(key, IndependenceState(state.position, zero, zero))
        accepted = info.is_accepted
        return IndependenceState(*(jnp.where(accepted, new, old) for new, old in zip(moved, state, strict=True))), info


class StaleProposal(IndependenceMetropolis):
    """Keeps the proposal's density of the position that was left."""

    def step(self, key, state):
        moved, info = super().step(key, state)
        return moved._replace(log_proposal=state.log_proposal), info


class WithoutProposal(IndependenceMetropolis):
    """Accepts by the ratio of target densities alone, as if the proposal were uniform."""

    def draw(self, key, like):
        candidate = super().draw(key, like)
        return candidate._replace(log_proposal=jnp.zeros_like(candidate.log_proposal))

    def init(self, position, *, key=None):
        state = super().init(position, key=key)
        return state._replace(log_proposal=jnp.zeros_like(state.log_proposal))


INDEPENDENCE_TRAPS = (WrongPoint, AcceptsByWeight, StaleProposal, WithoutProposal)
