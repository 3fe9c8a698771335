"""Speculation done wrong: drafts with densities, shared clocks, ranks, delayed and prefetched decisions."""

import jax
import jax.numpy as jnp
from jax import lax

from ergodica.samplers import random
from ergodica.samplers.acceptance.continuous.density_draft import DensityDraft
from ergodica.samplers.acceptance.continuous.gaussian_drafts import (
    RecursiveGaussianDrafts,
    SequentialGaussianDrafts,
    Verdict,
)
from ergodica.samplers.acceptance.continuous.latent_autoregressive import (
    ChainDecision,
    DenoisingChain,
    DenoisingChainDraft,
    LastTransitionDraft,
)
from ergodica.samplers.acceptance.continuous.reflection import GaussianReflection, coloured, whitened
from ergodica.samplers.acceptance.rank_aware_selection import RankAwareSelection, rank_laws
from ergodica.samplers.acceptance.shared_clocks import SharedClocks
from ergodica.samplers.acceptance.staged import Staged
from ergodica.samplers.metropolis.delayed_acceptance import DelayedAcceptance
from ergodica.samplers.metropolis.prefetching import Prefetching
from ergodica.samplers.metropolis.speculative_hamiltonian import HamiltonianStep, SpeculativeHamiltonian

# --- delayed acceptance ----------------------------------------------------------------------------------------------


class SmallerOfTheRates(Staged):
    """Accepts with the smaller of the two probabilities."""

    def probability(self, log_first, log_second):
        return jnp.minimum(self.first.probability(log_first), self.second.probability(log_second))


class ForgetsTheSecond(Staged):
    """Believes the cheap ratio."""

    def probability(self, log_first, log_second):
        return self.first.probability(log_first) * jnp.ones_like(log_second)


class TargetTwice(DelayedAcceptance):
    """Confirms by the ratio of target densities, as if the first stage had not used the surrogate's."""

    def step(self, key, state):
        inner_key, key_second = random.split(key)
        flat = DelayedAcceptance(self.proposal, self.surrogate, self.rule.first, None, self.surrogate)
        moved, info = flat.step(inner_key, state._replace(logdensity=state.log_surrogate))
        value = self._target()(moved.position)
        kept, _ = self.rule.second.decide(key_second, value - state.logdensity)
        moved = moved._replace(logdensity=value)
        return jax.tree.map(lambda new, old: jnp.where(kept, new, old), moved, state), info


class StaleSurrogate(DelayedAcceptance):
    """Keeps the surrogate's density of the first position."""

    def step(self, key, state):
        moved, info = super().step(key, state)
        return moved._replace(log_surrogate=state.log_surrogate), info

    def init(self, position, *, key=None):
        state = super().init(position, key=key)
        return state._replace(log_surrogate=jnp.zeros_like(state.log_surrogate))


class SurrogateOnly(DelayedAcceptance):
    """Leaves the second stage out."""

    def step(self, key, state):
        cheap = DelayedAcceptance(self.proposal, self.surrogate, self.rule.first, None, self.surrogate)
        moved, info = cheap.step(key, state._replace(logdensity=state.log_surrogate))
        return moved._replace(logdensity=self._target()(moved.position)), info


class AlwaysEvaluates(DelayedAcceptance):
    """Counts an evaluation of the target at every step."""

    def step(self, key, state):
        moved, info = super().step(key, state)
        return moved, info._replace(num_evals=jnp.ones_like(info.num_evals))


STAGED_TRAPS = (SmallerOfTheRates, ForgetsTheSecond)
DELAYED_TRAPS = (TargetTwice, StaleSurrogate, SurrogateOnly, AlwaysEvaluates)

# --- prefetching -----------------------------------------------------------------------------------------------------


class KeysByBranch(Prefetching):
    """Keys the noise by the round, not by the step: each decision changes what comes after it."""

    def look_ahead(self, key, index, position):
        return super().look_ahead(random.fold_in(key, 7), index, position)


class SwapsBranches(Prefetching):
    """Takes the candidates of acceptance after a rejection."""

    def look_ahead(self, key, index, position):
        futures = super().look_ahead(key, index, position)
        return futures._replace(after_rejection=futures.after_acceptance, after_acceptance=futures.after_rejection)


class WalksOnAfterAcceptance(SpeculativeHamiltonian):
    """Goes on with the trajectory that starts where the chain was."""

    def look_ahead(self, key, index, position):
        futures = super().look_ahead(key, index, position)
        return futures._replace(after_acceptance=futures.after_rejection)


class _WithoutKineticEnergy(HamiltonianStep):
    def propose(self, key, position):
        end, ratio = super().propose(key, position)
        return end, jnp.zeros_like(ratio)


class ForgetsKineticEnergy(SpeculativeHamiltonian):
    """Accepts by the ratio of densities alone."""

    def moves(self):
        return _WithoutKineticEnergy(self._target(), self.step_size, self.num_leapfrog, self.scale)


PREFETCHING_TRAPS = (KeysByBranch, SwapsBranches)
HAMILTONIAN_TRAPS = (WalksOnAfterAcceptance, ForgetsKineticEnergy)

# --- drafts with densities -------------------------------------------------------------------------------------------


class ResamplesFromTarget(DensityDraft):
    """Takes the first draw of the target after a rejection."""

    def draw(self, key, draft, target, draft_law):
        decision = super().draw(key, draft, target, draft_law)
        other = target.sample(random.fold_in(key, 5))
        value = jax.tree.map(lambda new, old: jnp.where(decision.is_accepted, old, new), other, decision.value)
        return decision._replace(value=value)


class GivesUpWithTarget(DensityDraft):
    """Where draws run out, takes one more of the target's: the mass of failure is misplaced."""

    def draw(self, key, draft, target, draft_law):
        decision = super().draw(key, draft, target, draft_law)
        other = target.sample(random.fold_in(key, 5))
        value = jax.tree.map(lambda new, old: jnp.where(decision.is_valid, old, new), other, decision.value)
        return decision._replace(value=value)


class ReversedTest(DensityDraft):
    """Takes a draw of the residual with probability ``min(1, q / p)``."""

    def draw(self, key, draft, target, draft_law):
        return super().draw(key, draft, target, target)


class Translates(GaussianReflection):
    """Emits the draft moved by the difference of the means, not reflected."""

    @staticmethod
    def _decide(key, draft, target_mean, draft_mean, factor):
        decision = GaussianReflection._decide(key, draft, target_mean, draft_mean, factor)
        moved = draft + target_mean - draft_mean
        return decision._replace(value=jnp.where(decision.is_accepted, decision.value, moved))


class NormalisesFirst(GaussianReflection):
    """Forms the ratio with the direction in place of the difference."""

    @staticmethod
    def _decide(key, draft, target_mean, draft_mean, factor):
        z = whitened(factor, draft_mean - target_mean)
        nearer = draft_mean - coloured(factor, z / jnp.linalg.norm(z))
        decision = GaussianReflection._decide(key, draft, nearer, draft_mean, factor)
        honest = GaussianReflection._decide(random.fold_in(key, 1), draft, target_mean, draft_mean, factor)
        return honest._replace(
            is_accepted=decision.is_accepted, value=jnp.where(decision.is_accepted, draft, honest.value)
        )


class ForgetsTheFactor(GaussianReflection):
    """Reflects without whitening."""

    @staticmethod
    def _decide(key, draft, target_mean, draft_mean, factor):
        return GaussianReflection._decide(key, draft, target_mean, draft_mean, jnp.ones(()))


class EachAgainstTarget(RecursiveGaussianDrafts):
    """Tests every draft against the whole target."""

    def examine(self, key, along, distance):
        verdict = super().examine(key, along, distance)
        log_ratio = distance * along - distance**2 / 2
        return Verdict(random.bernoulli(key, jnp.exp(jnp.minimum(log_ratio, 0.0))), verdict.factor)


class FirstResidual(RecursiveGaussianDrafts):
    """Draws from what the first draft left of the target."""

    def examine(self, key, along, distance):
        return super().examine(key, along, distance)._replace(factor=jnp.ones_like(distance))


class WholeFactor(SequentialGaussianDrafts):
    """Tests with the factor ``k``, and draws from ``(p - k q)+``."""

    def factor(self, distance, k):
        return jnp.full_like(distance, k)


class FreshAfterRejection(DenoisingChainDraft):
    """Draws the rejected transition anew from the target."""

    def draw(self, key, target, draft, start):
        state = start
        for step in range(target.num_steps):
            keys = random.split(random.fold_in(key, step), 3)
            scale = target.scales[step]
            value = draft.at(step, state) + scale * random.normal(keys[0], state.shape)
            fresh = target.at(step, state) + scale * random.normal(keys[1], state.shape)
            rule = GaussianReflection._decide(keys[2], value, target.at(step, state), draft.at(step, state), scale)
            state = jnp.where(rule.is_accepted, value, fresh)
        none = jnp.zeros((), jnp.int32)
        return ChainDecision(state, none, none, jnp.asarray(True))


class VariancesForScales(DenoisingChainDraft):
    """Takes standard deviations for variances."""

    def draw(self, key, target, draft, start):
        chains = (DenoisingChain(chain.mean, jnp.sqrt(chain.scales)) for chain in (target, draft))
        return super().draw(key, *chains, start)


class IgnoresTheTarget(LastTransitionDraft):
    """Accepts every draft."""

    def draw(self, key, target, draft, start):
        return super().draw(key, draft, draft, start)


DENSITY_TRAPS = (ResamplesFromTarget, GivesUpWithTarget, ReversedTest)
REFLECTION_TRAPS = (Translates, NormalisesFirst, ForgetsTheFactor)
GAUSSIAN_TRAPS = (EachAgainstTarget, FirstResidual, WholeFactor)
CHAIN_TRAPS = (FreshAfterRejection, VariancesForScales, IgnoresTheTarget)

# --- shared clocks and ranks -----------------------------------------------------------------------------------------


class TakesAWinner(SharedClocks):
    """Emits the draft whose clock was the first, whatever the target."""

    def draw(self, key, p, q, k=1):
        decision = super().draw(key, p, q, k)
        clocks = self.clocks(key, len(p), k)
        drafts = self.drafts(clocks, q)
        first = jnp.argmin(clocks[jnp.arange(k), drafts])
        return decision._replace(token=drafts[first], is_accepted=jnp.asarray(True))


class FreshClocks(SharedClocks):
    """Gives the target clocks of its own: the law is right, and matches are rare."""

    def emit(self, clocks, p, is_live=None):
        words = lax.bitcast_convert_type(clocks[0, 0].astype(jnp.float32), jnp.uint32)
        return super().emit(self.clocks(jax.random.key(words), clocks.shape[1]), p)


class DividesTheWrongWay(SharedClocks):
    """Multiplies clocks by the probabilities."""

    def emit(self, clocks, p, is_live=None):
        return jnp.argmin(jnp.min(clocks, axis=0) * jnp.where(p > 0, p, jnp.inf)).astype(jnp.int32)


class CountsFromBelow(RankAwareSelection):
    """Gives the weights to the ranks from the other end."""

    def selection(self, state, drafts):
        return super().selection(state._replace(weights=state.weights[::-1]), drafts)


class LawOfOneDraft(RankAwareSelection):
    """Takes the selected draft for any draft."""

    def prepare(self, p, q, k=1):
        state = super().prepare(p, q, k)
        laws = rank_laws(q, state.rank.argsort(), 1)
        return state._replace(selected=laws[0])


CLOCK_TRAPS = (TakesAWinner, FreshClocks, DividesTheWrongWay)
RANK_TRAPS = (CountsFromBelow, LawOfOneDraft)
