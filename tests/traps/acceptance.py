"""Speculative sampling done wrong, in the ways in which it is done wrong."""

import jax
import jax.numpy as jnp
import numpy as np

from ergodica.samplers import random
from ergodica.samplers.acceptance.draft_law import IndependentDrafts
from ergodica.samplers.acceptance.laws import namespace
from ergodica.samplers.acceptance.single_draft import (
    SingleDraft,
    _at_draft,
    _chain_of_weights,
    _decision,
    acceptance_probability,
)
from ergodica.samplers.acceptance.token_rule import ConditionalLaw
from ergodica.samplers.acceptance.verification import emitted


class ResampleFromTarget(SingleDraft):
    """Draws from the target itself after a rejection."""

    def prepare(self, p, q, k=1):
        state = super().prepare(p, q, k)
        return state._replace(residual=state.p)


class WarpedResidual(SingleDraft):
    """Passes the residual through the temperature once more."""

    def prepare(self, p, q, k=1):
        state = super().prepare(p, q, k)
        warped = state.residual**2
        return state._replace(residual=warped / warped.sum())


class AbsoluteResidual(SingleDraft):
    """Takes the absolute difference where the positive part is due."""

    def prepare(self, p, q, k=1):
        state = super().prepare(p, q, k)
        xp = namespace(state.p)
        difference = xp.abs(state.p - state.q)
        total = difference.sum()
        residual = xp.where(total > 0, difference / xp.where(total > 0, total, 1), state.p)
        return state._replace(residual=residual)


class TruncatedDrafts(SingleDraft):
    """Drafts from the two likeliest tokens, and verifies with the law before truncation."""

    def draft_law(self, q, k=1):
        q = np.asarray(q)
        kept = np.zeros(q.size, bool)
        kept[np.argsort(-q.astype(float), kind="stable")[:2]] = True
        return IndependentDrafts(np.where(kept, q, 0 * q), k)


class GreedyDrafts(SingleDraft):
    """Drafts the likeliest token for certain, and verifies with the law as if it had been drawn."""

    def draft_law(self, q, k=1):
        q = np.asarray(q)
        likeliest = np.arange(q.size) == np.argmax(q.astype(float))
        return IndependentDrafts(np.where(likeliest, q, 0 * q), k)


class DiscardAfterDraw(SingleDraft):
    """Throws a draft away if it is one of the two least likely ones, and draws from the target instead."""

    @staticmethod
    def _discarded(state, token):
        order = np.argsort(np.asarray(state.q).astype(float), kind="stable")
        return token in order[:2].tolist()

    def conditional_law(self, state, drafts):
        if self._discarded(state, drafts[0]):
            return ConditionalLaw(state.p, 0 * state.p.sum())
        return super().conditional_law(state, drafts)

    def draw(self, key, state, drafts):
        discarded = jnp.any(jnp.argsort(state.q)[:2] == drafts[0])
        decision = super().draw(key, state, drafts)
        other = random.categorical(random.fold_in(key, 7), jnp.log(state.p))
        return decision._replace(token=jnp.where(discarded, other, decision.token))


class ReversedRatio(SingleDraft):
    """Accepts with probability ``min(1, q / p)``."""

    def conditional_law(self, state, drafts):
        accept = acceptance_probability(state.q[drafts[0]], state.p[drafts[0]])
        xp = namespace(state.p)
        kept = xp.where(xp.arange(state.p.shape[0]) == drafts[0], accept, 0 * state.p)
        return ConditionalLaw(kept + (1 - accept) * state.residual, accept)

    def draw(self, key, state, drafts):
        keys = random.split(key)
        p_at, q_at, is_valid = _at_draft(state, drafts[0])
        kept = random.bernoulli(keys[0], acceptance_probability(q_at, p_at))
        return _decision(drafts[0], kept, random.categorical(keys[1], jnp.log(state.residual)), is_valid)


class SharedUniform(SingleDraft):
    """Draws the residual with the uniform that decided the rejection, which is no longer uniform then."""

    def decide(self, state, drafts, uniforms):
        return super().decide(state, drafts, jnp.stack([uniforms[0], uniforms[0]]))


class NonStrictTest(SingleDraft):
    """Accepts if ``u <= p / q``, and so a token of probability zero if ``u`` is zero."""

    def decide(self, state, drafts, uniforms):
        p_at, q_at, is_valid = _at_draft(state, drafts[0])
        decision = super().decide(state, drafts, uniforms)
        return _decision(drafts[0], uniforms[0] * q_at <= p_at, decision.token, is_valid)


class ZeroFallback(SingleDraft):
    """Emits token 0 if the residual is zero."""

    def prepare(self, p, q, k=1):
        state = super().prepare(p, q, k)
        if np.all(np.asarray(state.p == state.q)):
            first = np.arange(state.p.size) == 0
            return state._replace(residual=namespace(state.p).where(first, 1 + 0 * state.p, 0 * state.p))
        return state


class AcceptsImpossibleDraft(SingleDraft):
    """Accepts whenever ``p >= q``, also a token that cannot have been drafted."""

    def conditional_law(self, state, drafts):
        if state.q[drafts[0]] == 0:
            one_hot = np.arange(state.p.size) == drafts[0]
            return ConditionalLaw(np.where(one_hot, 1 + 0 * state.p, 0 * state.p), 1 + 0 * state.p.sum())
        return super().conditional_law(state, drafts)


class NotNormalised(SingleDraft):
    """Takes weights as they come."""

    def prepare(self, p, q, k=1):
        state = super().prepare(p, q, k)
        return state._replace(p=state.p * np.sum(p), q=state.q * np.sum(q))


class GoesOnAfterRejection(SingleDraft):
    """Counts the accepted drafts of the whole chain, not those before the first rejection."""

    def verify(self, key, tokens, p, q):
        keys = random.split(key)
        chain = _chain_of_weights(*(jnp.asarray(array) for array in (tokens, p, q)))
        kept = random.bernoulli(keys[0], acceptance_probability(chain.p_at, chain.q_at))
        tau = jnp.sum(kept.astype(jnp.int32))
        own = random.categorical(keys[1], jnp.log(chain.excess(tau)))
        return emitted(jnp.asarray(tokens), tau, own, chain.is_valid)


class LastAcceptedCounts(SingleDraft):
    """Keeps everything up to the last accepted draft, as block verification does with another test."""

    def verify(self, key, tokens, p, q):
        keys = random.split(key)
        chain = _chain_of_weights(*(jnp.asarray(array) for array in (tokens, p, q)))
        kept = random.bernoulli(keys[0], acceptance_probability(chain.p_at, chain.q_at))
        tau = jnp.max(jnp.where(kept, jnp.arange(1, kept.shape[0] + 1), 0))
        own = random.categorical(keys[1], jnp.log(chain.excess(tau)))
        return emitted(jnp.asarray(tokens), tau, own, chain.is_valid)


class StaleBonus(SingleDraft):
    """Draws the token after the last draft from the law before it."""

    def verify(self, key, tokens, p, q):
        p = jnp.asarray(p)
        return super().verify(key, tokens, jnp.concatenate([p[:-1], p[-2:-1]]), q)


class AlwaysResidual(SingleDraft):
    """Draws the verifier's own token from a residual even if every draft was accepted."""

    def verify(self, key, tokens, p, q):
        keys = random.split(key)
        chain = _chain_of_weights(*(jnp.asarray(array) for array in (tokens, p, q)))
        kept = random.bernoulli(keys[0], acceptance_probability(chain.p_at, chain.q_at))
        tau = jnp.sum(jnp.cumprod(kept.astype(jnp.int32)))
        row = jax.nn.relu(jnp.asarray(p)[tau] - jnp.asarray(q)[jnp.minimum(tau, len(q) - 1)])
        own = random.categorical(keys[1], jnp.log(jnp.where(row.sum() > 0, row, jnp.asarray(p)[tau])))
        return emitted(jnp.asarray(tokens), tau, own, chain.is_valid)


TRAPS = (
    ResampleFromTarget,
    WarpedResidual,
    AbsoluteResidual,
    TruncatedDrafts,
    GreedyDrafts,
    DiscardAfterDraw,
    ReversedRatio,
    SharedUniform,
    NonStrictTest,
    ZeroFallback,
    AcceptsImpossibleDraft,
    NotNormalised,
    GoesOnAfterRejection,
    LastAcceptedCounts,
    StaleBonus,
    AlwaysResidual,
)
