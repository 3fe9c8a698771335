"""Twisted steps of particle filters: weights that look ahead."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ergodica.samplers.sequences.choices import Choices
from ergodica.samplers.sequences.model import Prefix, as_rows
from ergodica.samplers.sequences.particle_step import ParticleStep, Potential, factors_of

__all__ = ["TwistedStep"]

Proposal = Callable[[list[Prefix], Float[np.ndarray, "n V"]], Any]


@dataclasses.dataclass(frozen=True)
class TwistedStep(ParticleStep):
    """Tokens from a proposal, with the weight ``P / q`` times the ratio of the twists after and before.

    A twist is a guess of the mean of the terminal potential over the continuations of a text. On complete texts the
    potential itself takes its place, so that the ratios telescope: the target is the model's law times the potential,
    and the normaliser is unbiased, whatever the twist. If the twist is that mean and the proposal proportional to the
    model times the twist, all weights are equal.

    Parameters
    ----------
    potential
        Terminal potential, of complete texts.
    twist
        Of texts that are not complete, positive where the potential can still be; the empty text counts as one.
    proposal
        From texts and the model's laws of their next token to weights of that token, positive where the twist is; default:
        the model's law times the twist of each continuation, which takes ``V`` twists a text.

    References
    ----------
    S. Zhao et al., Probabilistic inference in language models via twisted sequential Monte Carlo, ICML 2024,
    arXiv:2404.17546.
    """

    potential: Potential
    twist: Potential
    proposal: Proposal | None = None

    def _twists(self, texts: list[Prefix], has_ended: Callable[[Prefix], bool]) -> Float[np.ndarray, " n"]:
        values = np.ones(len(texts))
        ended = np.array([has_ended(text) for text in texts], bool)
        for which, function in ((ended, self.potential), (~ended, self.twist)):
            at = [number for number in np.flatnonzero(which) if texts[number]]
            if at:
                values[at] = factors_of(function, [texts[number] for number in at])
        return values

    def propose(
        self,
        texts: Sequence[Prefix],
        laws: Float[np.ndarray, "n V"],
        choices: Choices,
        place: int,
        has_ended: Callable[[Prefix], bool],
    ) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Propose; see :meth:`ParticleStep.propose`."""
        size, every = laws.shape[1], np.arange(len(texts))
        before = self._twists(list(texts), has_ended)
        if self.proposal is None:
            longer = [(*text, token) for text in texts for token in range(size)]
            weights = laws * self._twists(longer, has_ended).reshape(laws.shape)
            weights = np.where(weights.any(axis=1, keepdims=True), weights, laws)
            q = weights / weights.sum(axis=1, keepdims=True)
        else:
            q = as_rows("the proposal", self.proposal(list(texts), laws), size)
        tokens = choices.categorical(q, 0, place)
        after = self._twists([(*text, int(token)) for text, token in zip(texts, tokens, strict=True)], has_ended)
        # A twist of zero before: the text was given up already.
        ratio = np.where(before > 0, after / np.where(before > 0, before, 1), 0.0)
        return tokens, laws[every, tokens] / q[every, tokens] * ratio
