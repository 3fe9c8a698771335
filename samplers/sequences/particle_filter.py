"""Sequential Monte Carlo over texts: weighted particles, resampled as they grow."""

import dataclasses
import math
from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Float, PRNGKeyArray

from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.inputs import static_count
from ergodica.samplers.sequences.ancestral import GrowingTexts
from ergodica.samplers.sequences.choices import Choices
from ergodica.samplers.sequences.model import Prefix, SequenceModel
from ergodica.samplers.sequences.particle_step import ParticleStep

__all__ = ["ParticleFilter", "Particles"]


@dataclasses.dataclass(frozen=True)
class Particles:
    """Weighted texts.

    Parameters
    ----------
    texts
        One for each particle.
    weights
        Shares of the texts, with sum one; all zero if every particle was given up.
    log_normaliser
        Log of an estimate whose mean is the normaliser; ``-inf`` if all weights are zero. The mean of
        ``exp(log_normaliser) sum(weights f(texts))`` is the sum of ``f`` under the target as it was given, not normalised.
    """

    texts: tuple[Prefix, ...]
    weights: Float[np.ndarray, " n"]
    log_normaliser: float


@dataclasses.dataclass(frozen=True)
class ParticleFilter:
    """Properly weighted texts under the law of a model times potentials, with an unbiased estimate of the normaliser.

    Each turn gives every particle a token and multiplies its weight; particles are resampled, with replacement, before
    the next. A text drawn from the particles by their weights follows the target in the limit of many particles only;
    the weighted particles are unbiased for any number. :class:`ParticleGibbs` makes a chain with the target's law of them.

    Parameters
    ----------
    step
        How particles get tokens and weights.
    num_particles
        How many.
    threshold
        Resample if the effective number of particles, ``(sum w)^2 / sum w^2``, is not above this share of them; 1
        resamples after each turn but the last.

    References
    ----------
    N. Gordon, D. Salmond and A. Smith, 1993, doi:10.1049/ip-f-2.1993.0015; I. Puri et al., NeurIPS 2025,
    arXiv:2502.01618.
    """

    step: ParticleStep
    num_particles: int
    threshold: float = 1.0

    def __post_init__(self) -> None:
        static_count("num_particles", self.num_particles)
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold is a share of the particles, in [0, 1]; got {self.threshold}")

    @property
    def claim(self) -> Claim:
        """Exact, and weighted."""
        return Claim(
            Exactness.EXACT,
            "weights texts so that weighted averages, not normalised, are unbiased",
            source="Gordon, Salmond, Smith 1993, doi:10.1049/ip-f-2.1993.0015; Puri et al. 2025, arXiv:2502.01618",
            spaces=frozenset({Space.SEQUENCE}),
            independent=True,
            weighted=True,
        )

    def run(
        self,
        key: PRNGKeyArray,
        model: SequenceModel,
        *,
        max_tokens: int,
        prompt: Sequence[int] = (),
        stop: Collection[int] = (),
    ) -> Particles:
        """Draw weighted texts.

        Parameters
        ----------
        key
            Typed key.
        model
            The model.
        max_tokens
            Most tokens of a text.
        prompt
            What the texts go on from; it is no part of them.
        stop
            Tokens that end a text, as its last. Ended texts stay among the particles.
        """
        choices = Choices(key)
        growing = GrowingTexts(model, self.num_particles, prompt, max_tokens, stop)
        weights, log_mean = np.ones(self.num_particles), 0.0
        place = 0
        while (live := growing.live).size:
            texts = [growing.texts[number] for number in live]
            tokens, factors = self.step.propose(texts, growing.laws(live), choices, place, growing.has_ended)
            weights[live] *= factors
            if not weights.any():
                return Particles(tuple(growing.texts), weights, -math.inf)
            growing.append(live, tokens)
            if growing.live.size and self._is_uneven(weights):
                log_mean += math.log(weights.mean())
                ancestors = choices.categorical(np.tile(weights, (self.num_particles, 1)), 1, place)
                growing.select(ancestors)
                weights = np.ones(self.num_particles)
            place += 1
        log_normaliser = log_mean + math.log(weights.mean())
        return Particles(tuple(growing.texts), weights / weights.sum(), log_normaliser)

    def _is_uneven(self, weights: Float[np.ndarray, " n"]) -> bool:
        effective = weights.sum() ** 2 / (weights**2).sum()
        return self.threshold == 1 or bool(effective <= self.threshold * self.num_particles)
