"""Acceptance rules done wrong, in the ways in which they are done wrong."""

import jax
import jax.numpy as jnp
import numpy as np

from ergodica.samplers import random
from ergodica.samplers.acceptance.dependent_drafts import DraftsWithoutReplacement
from ergodica.samplers.acceptance.draft_law import IndependentDrafts
from ergodica.samplers.acceptance.greedy_multi_draft import GreedyMultiDraft
from ergodica.samplers.acceptance.laws import namespace, residual_law
from ergodica.samplers.acceptance.luce_selection import LuceSelection, LuceSelectionState
from ergodica.samplers.acceptance.optimal_luce_selection import optimal_selected_law
from ergodica.samplers.acceptance.ordered_selection import OrderedSelection
from ergodica.samplers.acceptance.recursive_rejection import RecursiveRejection
from ergodica.samplers.acceptance.recursive_rejection_without_replacement import RecursiveRejectionWithoutReplacement
from ergodica.samplers.acceptance.sequential_selection import SequentialSelection
from ergodica.samplers.acceptance.single_draft import (
    SingleDraft,
    _at_draft,
    _chain_of_weights,
    _decision,
    acceptance_probability,
)
from ergodica.samplers.acceptance.spechub import SpecHub
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


# --- several drafts -------------------------------------------------------------------------------------------------


class SkipsDuplicates(RecursiveRejection):
    """Skips a repeated draft, and the update of the residual with it."""

    def trials(self, state, drafts):
        assert drafts.shape[0] == 2
        trials = super().trials(state, drafts)
        is_repeated = drafts[0] == drafts[1]
        xp = namespace(state.q)
        return trials._replace(residual=xp.where(is_repeated, state.current[1], trials.residual))


class SortsDrafts(RecursiveRejection):
    """Tries the draft with the largest ``p / q`` first."""

    def trials(self, state, drafts):
        xp = namespace(state.q)
        q = state.q[0][drafts]
        order = xp.argsort(-state.current[0][drafts] / xp.where(q > 0, q, 1), stable=True)
        return super().trials(state, drafts[order])._replace(index=order)


class OneTargetForAll(RecursiveRejection):
    """Tries each draft against the target itself, and draws from the last residual."""

    def trials(self, state, drafts):
        xp = namespace(state.q)
        return super().trials(state, drafts)._replace(wanted=xp.stack([state.current[0][token] for token in drafts]))


class KeepsLastTarget(RecursiveRejection):
    """Forgets the update after the last draft."""

    def trials(self, state, drafts):
        return super().trials(state, drafts)._replace(residual=state.current[-2])


class DraftsOnceEach(RecursiveRejection):
    """Takes drafts without replacement for independent ones."""

    def draft_law(self, q, k=1):
        return DraftsWithoutReplacement(q, k)

    def conditional_law(self, state, drafts):
        missing = np.full(state.q.shape[0] - drafts.shape[0], -1)
        return super().conditional_law(state, np.concatenate([drafts, missing]))


class LosesOrder(RecursiveRejectionWithoutReplacement):
    """Examines the drafts in the order of their numbers, not in that of their drawing."""

    def trials(self, state, drafts):
        order = namespace(state.p).argsort(drafts)
        return super().trials(state, drafts[order])._replace(index=order)


class KeepsDraftLaw(RecursiveRejectionWithoutReplacement):
    """Takes every draft for one from ``q``, whatever was drawn before."""

    def trials(self, state, drafts):
        return RecursiveRejection().trials(RecursiveRejection().prepare(state.p, state.q, drafts.shape[0]), drafts)


class InvalidRho(SequentialSelection):
    """Tests with ``rho = 1``, which emits more of some tokens than the target has."""

    def prepare(self, p, q, k=1):
        state = super().prepare(p, q, k)
        return state._replace(scaled=state.scaled / state.rho)


class ResidualOfScaled(SequentialSelection):
    """Draws from ``(p - q)+`` after a test with ``rho q``."""

    def prepare(self, p, q, k=1):
        state = super().prepare(p, q, k)
        return state._replace(residual=residual_law(state.p, state.scaled / state.rho))


class GreedyWithWholeLaw(GreedyMultiDraft):
    """Verifies the drawn draft with the law before the likeliest tokens were taken out."""

    def prepare(self, p, q, k=1):
        state = super().prepare(p, q, k)
        whole = SingleDraft().prepare(p, q)
        return state._replace(others=whole.q, residual=whole.residual)


class SureHub(SpecHub):
    """Accepts the hub outright if the target gives it much."""

    def trials(self, state, drafts):
        trials = super().trials(state, drafts)
        hub = state.p[state.hub]
        return trials._replace(drawn=namespace(state.p).where(hub > 0.5, trials.wanted, trials.drawn))


class HubWithoutShare(SpecHub):
    """Serves both kinds of pairs with the whole of the hub."""

    def prepare(self, p, q, k=2):
        state = super().prepare(p, q, k)
        return state._replace(hub_after_second=state.p[state.hub])


class KeepsMostConfident(OrderedSelection):
    """Keeps the draft with the largest ``q``, and verifies it as if it were the only one that was drawn."""

    def prepare(self, p, q, k=1):
        state, single = super().prepare(p, q, k), SingleDraft().prepare(p, q)
        rank = np.argsort(np.argsort(np.asarray(single.q).astype(float), kind="stable"))
        return state._replace(selected=single.q, residual=single.residual, rank=rank)


class ForgetsSelection(LuceSelection):
    """Verifies the selected draft with the law of a draft."""

    def prepare(self, p, q, k=1):
        state, single = super().prepare(p, q, k), SingleDraft().prepare(p, q)
        return state._replace(selected=single.q, residual=single.residual)


class TrustsWantedLaw(LuceSelection):
    """Verifies with the law that the selection was to give, not with the one that it gives."""

    def prepare(self, p, q, k=1):
        state, single = super().prepare(p, q, k), SingleDraft().prepare(p, q)
        wanted, _ = optimal_selected_law(*(np.asarray(law).astype(float) for law in (single.p, single.q)), k)
        wanted = np.array([type(single.p[0])(x) for x in wanted]) if single.p.dtype == object else jnp.asarray(wanted)
        return LuceSelectionState(single.p, wanted, residual_law(single.p, wanted), state.weights, state.level)


class OneUniformForAll(RecursiveRejection):
    """Tests all drafts with one uniform."""

    def decide(self, state, drafts, uniforms):
        return super().decide(state, drafts, uniforms.at[1:-1].set(uniforms[0]))


class DrawsFirstResidual(RecursiveRejection):
    """Draws, in the code that runs, from the residual after the first draft."""

    def draw(self, key, state, drafts):
        decision = super().draw(key, state, drafts)
        own = random.categorical(random.fold_in(key, 5), jnp.log(state.current[1]))
        return decision._replace(token=jnp.where(decision.is_accepted, decision.token, own))


class FirstDraftOnly(SequentialSelection):
    """Accepts as if one draft had been drawn, and claims the rate of all."""

    def trials(self, state, drafts):
        return super().trials(state, drafts)._replace(index=np.zeros(drafts.shape[0], int))


MULTI_DRAFT_TRAPS = (
    SkipsDuplicates,
    SortsDrafts,
    OneTargetForAll,
    KeepsLastTarget,
    DraftsOnceEach,
    LosesOrder,
    KeepsDraftLaw,
    InvalidRho,
    ResidualOfScaled,
    GreedyWithWholeLaw,
    SureHub,
    HubWithoutShare,
    KeepsMostConfident,
    ForgetsSelection,
    TrustsWantedLaw,
    OneUniformForAll,
    DrawsFirstResidual,
    FirstDraftOnly,
)
