"""Rules that select one of the drafts and then treat it as the only one, with the law that the selection gives it.

Every exact rule has this form (Khisti et al. 2025): whatever a rule does, some selection followed by speculative sampling
does the same. Selections may look at both laws; what exactness needs is the exact law of the selected draft.
"""

import abc
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.acceptance.drafts_in_turn import are_tokens, at_token
from ergodica.samplers.acceptance.laws import invert, namespace
from ergodica.samplers.acceptance.single_draft import acceptance_probability, accepts
from ergodica.samplers.acceptance.token_rule import ConditionalLaw, Decision, TokenRule


class SelectedDraft(TokenRule):
    """A rule made of a selection; a subclass defines ``claim``, ``cost``, ``prepare`` and ``selection``.

    The state has to have the fields ``p``, ``selected`` (the law of the selected draft) and ``residual``, each of shape
    ``(V,)``; the last is ``residual_law(p, selected)``.
    """

    @abc.abstractmethod
    def selection(self, state: Any, drafts: Any) -> Any:
        """Return the probability with which each of the drafts is selected, shape ``(k,)``."""

    @property
    def may_lack_drafts(self) -> bool:
        """Whether drafts may be -1, because there were fewer tokens than drafts to draw."""
        return False

    def conditional_law(self, state: Any, drafts: Any) -> ConditionalLaw:
        """Return the average, over the selected draft, of speculative sampling with that draft."""
        xp = namespace(state.p)
        tokens, nothing = xp.arange(state.p.shape[0]), 0 * state.p
        weights = self.selection(state, drafts)
        law, accept = nothing, nothing.sum()
        for draft in range(drafts.shape[0]):
            token = drafts[draft]
            chance = acceptance_probability(at_token(state.p, token), at_token(state.selected, token))
            kept = xp.where(tokens == token, chance, nothing) + (1 - chance) * state.residual
            law, accept = law + weights[draft] * kept, accept + weights[draft] * chance
        return ConditionalLaw(law, accept)

    def draw(self, key: PRNGKeyArray, state: Any, drafts: Int[Array, " k"]) -> Decision:
        """Select a draft, and accept or reject it, at random.

        Parameters
        ----------
        key
            Typed key.
        state
            From :meth:`prepare`.
        drafts
            The drafted tokens, shape ``(k,)``.
        """
        select_key, accept_key, residual_key = random.split(key, 3)
        is_valid = self._is_valid(state, drafts)
        weights = jnp.where(is_valid, self.selection(state, drafts), 1)
        index = random.categorical(select_key, jnp.log(weights))
        chance = acceptance_probability(*self._at(state, drafts[index]))
        kept = random.bernoulli(accept_key, chance)
        own = random.categorical(residual_key, jnp.log(jnp.where(is_valid, state.residual, 1)))
        return self._decision(index, drafts, kept, own, is_valid)

    def num_uniforms(self, k: int = 1) -> int:
        """Three: one for the selection, one for the test, one for the residual."""
        del k
        return 3

    def decide(self, state: Any, drafts: Int[Array, " k"], uniforms: Float[Array, " 3"]) -> Decision:
        """Decide on uniforms: the selection, by inversion; the test; the residual, by inversion."""
        is_valid = self._is_valid(state, drafts)
        index = invert(jnp.where(is_valid, self.selection(state, drafts), 1), uniforms[0])
        kept = accepts(*self._at(state, drafts[index]), uniforms[1])
        own = invert(jnp.where(is_valid, state.residual, 1), uniforms[2])
        return self._decision(index, drafts, kept, own, is_valid)

    def alpha(self, state: Any) -> Any:
        """Return the overlap of the target with the law of the selected draft, ``sum min(p, selected)``."""
        xp = namespace(state.p)
        return xp.where(state.p < state.selected, state.p, state.selected).sum()

    @staticmethod
    def _at(state: Any, token: Any) -> tuple[Any, Any]:
        return at_token(state.p, token), at_token(state.selected, token)

    def _is_valid(self, state: Any, drafts: Int[Array, " k"]) -> Bool[Array, ""]:
        inside = are_tokens(drafts, state.p.shape[0], may_lack=self.may_lack_drafts)
        return inside & ~jnp.any(jnp.isnan(state.p) | jnp.isnan(state.selected))

    @staticmethod
    def _decision(index: Array, drafts: Array, kept: Array, own: Array, is_valid: Array) -> Decision:
        kept = kept & is_valid
        token = jnp.where(is_valid, jnp.where(kept, drafts[index], own), -1)
        return Decision(token.astype(jnp.int32), kept, jnp.where(kept, index, -1).astype(jnp.int32))
