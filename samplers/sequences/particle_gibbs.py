"""Particle Gibbs over texts: a particle filter that keeps the present text among its particles."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.inputs import static_count
from ergodica.samplers.sequences.ancestral import GrowingTexts, ancestral_texts
from ergodica.samplers.sequences.choices import Choices
from ergodica.samplers.sequences.model import Prefix, SequenceModel, as_text
from ergodica.samplers.sequences.particle_step import Bootstrap, Potential, factors_of

__all__ = ["ParticleGibbs"]


@dataclasses.dataclass(frozen=True)
class ParticleGibbs:
    """A chain of texts with the law of a model times potentials, exactly, for any number of particles from two on.

    A step is a conditional particle filter: particle 0 is the present text, token by token; the others are drawn and
    resampled around it, after each turn but the last; the next text is one of them, by their weights. More particles
    mix better.

    Parameters
    ----------
    model
        The model.
    potential
        As of :class:`~ergodica.samplers.sequences.particle_step.Bootstrap`.
    num_particles
        How many, the present text included.
    max_tokens
        Most tokens of a text.
    prompt
        What the texts go on from; it is no part of them.
    stop
        Tokens that end a text, as its last.

    References
    ----------
    C. Andrieu, A. Doucet and R. Holenstein, 2010, J. R. Stat. Soc. B 72, doi:10.1111/j.1467-9868.2009.00736.x; I. Puri et
    al., NeurIPS 2025, arXiv:2502.01618.
    """

    model: SequenceModel
    potential: Potential
    num_particles: int
    max_tokens: int
    prompt: Sequence[int] = ()
    stop: Sequence[int] = ()

    def __post_init__(self) -> None:
        static_count("num_particles", self.num_particles, at_least=2)
        static_count("max_tokens", self.max_tokens)

    @property
    def claim(self) -> Claim:
        """Exact and reversible."""
        return Claim(
            Exactness.EXACT,
            "leaves the law of the model times the potentials invariant, for any number of particles",
            source="Andrieu, Doucet, Holenstein 2010, doi:10.1111/j.1467-9868.2009.00736.x; Puri et al. 2025, arXiv:2502.01618",
            reversible=True,
            spaces=frozenset({Space.SEQUENCE}),
        )

    def start(self, key: PRNGKeyArray) -> Prefix:
        """Draw a text from the model alone, to start from."""
        return ancestral_texts(
            self.model, Choices(key), 1, max_tokens=self.max_tokens, prompt=self.prompt, stop=self.stop
        )[0]

    def step(self, key: PRNGKeyArray, text: Sequence[int]) -> Prefix:
        """Make a step of the chain.

        Parameters
        ----------
        key
            Typed key.
        text
            The present text, complete: of ``max_tokens`` tokens, or ended by one of ``stop``.

        Raises
        ------
        ValueError
            If the text is not complete.
        """
        kept = as_text("text", text, self.model.vocabulary_size)
        choices, step = Choices(key), Bootstrap(self.potential)
        growing = GrowingTexts(self.model, self.num_particles, self.prompt, self.max_tokens, self.stop)
        if not growing.has_ended(kept) or any(growing.has_ended(kept[:length]) for length in range(len(kept))):
            raise ValueError(
                f"the text of {len(kept)} tokens is not complete: expected {self.max_tokens}, or one of stop"
            )
        weights, place = np.ones(self.num_particles), 0
        while (live := growing.live).size:
            present, others = live[live == 0], live[live > 0]
            forced = np.array(kept[place : place + present.size], int)
            texts, laws = [growing.texts[number] for number in others], growing.laws(others)
            tokens, factors = (
                step.propose(texts, laws, choices, place, growing.has_ended) if others.size else (forced[:0],) * 2
            )
            weights[others] *= factors
            if present.size:
                weights[0] *= factors_of(self.potential, [kept[: place + 1]])[0]
            if not weights.any():
                return kept
            growing.append(live, np.concatenate([forced, tokens]))
            if growing.live.size:
                growing.select(self._ancestors(choices, weights, place))
                weights = np.ones(self.num_particles)
            place += 1
        return growing.texts[self._picked(choices, weights, place)]

    def _picked(self, choices: Choices, weights: Float[np.ndarray, " n"], place: int) -> int:
        return int(choices.categorical(weights[None], 2, place)[0])

    def _ancestors(self, choices: Choices, weights: Float[np.ndarray, " n"], place: int) -> Int[np.ndarray, " n"]:
        """Return the particles that go on; the present text does, in its own place."""
        others = choices.categorical(np.tile(weights, (self.num_particles - 1, 1)), 1, place)
        return np.concatenate([[0], others])
