"""Rules that examine the drafts of one position one after another and, if all are rejected, draw from a residual law.

Such a rule is a list of acceptance probabilities, each given that the drafts before were rejected, and one residual.
What it emits, in law, by choice points or from uniforms, follows from these alone.
"""

import abc
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.acceptance.laws import as_law, invert, namespace
from ergodica.samplers.acceptance.single_draft import acceptance_probability, accepts
from ergodica.samplers.acceptance.token_rule import ConditionalLaw, Decision, TokenRule


class Trials(NamedTuple):
    """What a rule does with given drafts.

    Parameters
    ----------
    index
        Which draft each trial examines, shape ``(m,)``.
    wanted, drawn
        Trial ``i`` accepts with probability ``min(1, wanted[i] / drawn[i])`` if those before it did not, and never if
        ``drawn[i]`` is zero; shape ``(m,)``.
    residual
        Law of the output if no trial accepts, shape ``(V,)``.
    """

    index: Any
    wanted: Any
    drawn: Any
    residual: Any


def laws_on_same_tokens(p: Any, q: Any) -> tuple[Any, Any]:
    """Return target and draft weights as laws; under ``jit`` both are NaN if one is no law.

    Raises
    ------
    ValueError
        If the weights are concrete and no laws, or the shapes differ.
    """
    target, draft = as_law("p", p), as_law("q", q)
    if target.shape != draft.shape:
        raise ValueError(f"p and q have to be laws on the same tokens; got {target.size} and {draft.size} entries")
    if namespace(target, draft) is np:
        return target, draft
    is_valid = ~(jnp.any(jnp.isnan(target)) | jnp.any(jnp.isnan(draft)))
    return jnp.where(is_valid, target, jnp.nan), jnp.where(is_valid, draft, jnp.nan)


def at_token(law: Any, token: Any) -> Any:
    """Return the entry of a law at a token, and zero outside the vocabulary, where -1 stands for no draft."""
    xp = namespace(law)
    is_inside = (token >= 0) & (token < law.shape[-1])
    value = law[xp.where(is_inside, token, 0)]
    return xp.where(is_inside, value, 0 * value)[()]


def positive_part(values: Any) -> Any:
    """Return ``max(values, 0)`` of floats or fractions; NaN stays."""
    xp = namespace(values)
    return xp.where(values < 0, 0 * values, values)[()]


def are_tokens(drafts: Int[Array, " k"], size: int, *, may_lack: bool) -> Bool[Array, ""]:
    """Return whether all drafts are tokens of a vocabulary, or, if allowed, the -1 of a draft that was not drawn."""
    return jnp.all((drafts >= (-1 if may_lack else 0)) & (drafts < size))


class DraftsInTurn(TokenRule):
    """A rule made of trials; a subclass defines ``claim``, ``cost``, ``prepare``, ``trials`` and ``alpha``."""

    @abc.abstractmethod
    def trials(self, state: Any, drafts: Any) -> Trials:
        """Return the trials for given drafts, at least one."""

    @property
    def counts_members(self) -> bool:
        """Whether a draw from the residual that is one of the drafts counts as accepted."""
        return False

    @property
    def may_lack_drafts(self) -> bool:
        """Whether drafts may be -1, because there were fewer tokens than drafts to draw."""
        return False

    def num_trials(self, k: int) -> int:
        """Return the number of trials for ``k`` drafts."""
        return k

    def conditional_law(self, state: Any, drafts: Any) -> ConditionalLaw:
        """Return the sum over the trials of what reaches and passes them, and of the residual."""
        trials = self.trials(state, drafts)
        xp = namespace(trials.residual)
        chances = acceptance_probability(trials.wanted, trials.drawn)
        tokens, nothing = xp.arange(trials.residual.shape[0]), 0 * trials.residual
        law, left = nothing, 1 + nothing.sum()
        for trial in range(chances.shape[0]):
            law = law + xp.where(tokens == drafts[trials.index[trial]], left * chances[trial], nothing)
            left = left * (1 - chances[trial])
        accept = 1 - left
        if self.counts_members:
            is_member = xp.any(tokens[:, None] == drafts, axis=1)
            accept = accept + left * xp.where(is_member, trials.residual, nothing).sum()
        return ConditionalLaw(law + left * trials.residual, accept)

    def draw(self, key: PRNGKeyArray, state: Any, drafts: Int[Array, " k"]) -> Decision:
        """Try the drafts at random.

        Parameters
        ----------
        key
            Typed key.
        state
            From :meth:`prepare`.
        drafts
            The drafted tokens, shape ``(k,)``.
        """
        accept_key, residual_key = random.split(key)
        trials = self.trials(state, drafts)
        is_valid = self._is_valid(trials, drafts)
        kept = random.bernoulli(accept_key, acceptance_probability(trials.wanted, trials.drawn))
        own = random.categorical(residual_key, jnp.log(jnp.where(is_valid, trials.residual, 1)))
        return self._decision(trials, drafts, kept, own, is_valid)

    def num_uniforms(self, k: int = 1) -> int:
        """One for each trial, one for the residual."""
        return self.num_trials(k) + 1

    def decide(self, state: Any, drafts: Int[Array, " k"], uniforms: Float[Array, " n"]) -> Decision:
        """Decide on uniforms: one for each trial in its order, the last for the residual, by inversion."""
        trials = self.trials(state, drafts)
        is_valid = self._is_valid(trials, drafts)
        kept = accepts(trials.wanted, trials.drawn, uniforms[:-1])
        own = invert(jnp.where(is_valid, trials.residual, 1), uniforms[-1])
        return self._decision(trials, drafts, kept, own, is_valid)

    def _is_valid(self, trials: Trials, drafts: Int[Array, " k"]) -> Bool[Array, ""]:
        numbers = jnp.concatenate([trials.wanted, trials.drawn, trials.residual])
        inside = are_tokens(drafts, trials.residual.shape[0], may_lack=self.may_lack_drafts)
        return inside & ~jnp.any(jnp.isnan(numbers))

    def _decision(self, trials: Trials, drafts: Array, kept: Array, own: Array, is_valid: Array) -> Decision:
        is_kept = jnp.any(kept)
        index = jnp.where(is_kept, jnp.asarray(trials.index)[jnp.argmax(kept)], -1)
        token = jnp.where(is_kept, drafts[index], own)
        if self.counts_members:
            is_member = drafts == own
            index = jnp.where(~is_kept & jnp.any(is_member), jnp.argmax(is_member), index)
        index = jnp.where(is_valid, index, -1)
        return Decision(jnp.where(is_valid, token, -1).astype(jnp.int32), index >= 0, index.astype(jnp.int32))
