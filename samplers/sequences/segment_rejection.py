"""Segments accepted by their reward, one after the other: a heuristic, whose law is not the tilted one."""

import dataclasses
import math
from collections.abc import Callable, Collection, Sequence

import numpy as np
from jaxtyping import PRNGKeyArray

from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.inputs import static_count
from ergodica.samplers.sequences.ancestral import GrowingTexts
from ergodica.samplers.sequences.choices import Choices
from ergodica.samplers.sequences.model import Prefix, SequenceModel

__all__ = ["SegmentRejection"]


@dataclasses.dataclass(frozen=True)
class SegmentRejection:
    """Not exact: rejection of segments by their reward, where the model is unsure what comes next.

    A segment ends where the entropy of the next token's law exceeds a threshold. It is accepted with
    ``min(1, exp((reward - level) / temperature))``, with a level that rises in proportion to the length; after some tries
    the best one is taken. Rewards above the level are clipped, the cap misplaces mass, and each segment is chosen without
    regard to how it can go on: the law of the text is not ``p exp(reward / temperature)``. For that law see
    :class:`~ergodica.samplers.sequences.soft_rejection.SoftRejection`.

    Parameters
    ----------
    reward
        Of a text, complete or not, without the prompt.
    entropy
        Threshold, in nats.
    first_level, last_level
        The level for an empty text, and for one of ``max_tokens``.
    temperature
        Positive.
    min_segment, max_segment
        Bounds of a segment's length.
    max_tries
        Most tries for a segment.

    References
    ----------
    B. Li et al., Cascade reward sampling for efficient decoding-time alignment, COLM 2025, arXiv:2406.16306.
    """

    reward: Callable[[Prefix], float]
    entropy: float
    first_level: float
    last_level: float
    temperature: float = 1.0
    min_segment: int = 4
    max_segment: int = 64
    max_tries: int = 20

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature has to be positive; got {self.temperature}")
        static_count("min_segment", self.min_segment)
        static_count("max_segment", self.max_segment, at_least=self.min_segment)
        static_count("max_tries", self.max_tries)

    @property
    def claim(self) -> Claim:
        """A heuristic."""
        return Claim(
            Exactness.HEURISTIC,
            "favours texts of large reward; the law is not the model's tilted by the reward",
            source="Li et al. 2025, arXiv:2406.16306",
            spaces=frozenset({Space.SEQUENCE}),
            independent=True,
        )

    def sample(
        self,
        key: PRNGKeyArray,
        model: SequenceModel,
        *,
        max_tokens: int,
        prompt: Sequence[int] = (),
        stop: Collection[int] = (),
    ) -> Prefix:
        """Draw a text; not exact.

        Parameters
        ----------
        key
            Typed key.
        model
            The model.
        max_tokens, prompt, stop
            As of :class:`~ergodica.samplers.sequences.ancestral.GrowingTexts`.
        """
        choices, stream = Choices(key), 0
        text: Prefix = ()
        ended = GrowingTexts(model, 1, prompt, max_tokens, stop)
        while not ended.has_ended(text):
            best, best_reward = text, -math.inf
            for _ in range(self.max_tries):
                candidate = self._segment(model, choices, stream, text, prompt, max_tokens, stop)
                reward = float(self.reward(candidate))
                level = self.first_level + (self.last_level - self.first_level) * len(candidate) / max_tokens
                accepted = choices.bernoulli(math.exp(min(0.0, (reward - level) / self.temperature)), stream + 1, 0)
                stream += 2
                if accepted or reward > best_reward or best == text:
                    best, best_reward = candidate, reward
                if accepted:
                    break
            text = best
        return text

    def _segment(
        self,
        model: SequenceModel,
        choices: Choices,
        stream: int,
        text: Prefix,
        prompt: Sequence[int],
        max_tokens: int,
        stop: Collection[int],
    ) -> Prefix:
        growing = GrowingTexts(model, 1, (*prompt, *text), max_tokens - len(text), stop)
        only = np.zeros(1, int)
        while growing.live.size and len(growing.texts[0]) < self.max_segment:
            law = growing.laws(only)
            positive = law[law > 0]
            if len(growing.texts[0]) >= self.min_segment and -(positive @ np.log(positive)) > self.entropy:
                break
            growing.append(only, choices.categorical(law, stream, len(growing.texts[0])))
        return text + growing.texts[0]
