"""Whole texts by rejection, with the law of a model tilted by a bounded reward."""

import dataclasses
import math
from collections.abc import Callable, Collection, Sequence

from jaxtyping import PRNGKeyArray

from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.sequences.ancestral import ancestral_texts
from ergodica.samplers.sequences.choices import Choices
from ergodica.samplers.sequences.dead_prefix_trie import AcceptedText
from ergodica.samplers.sequences.model import Prefix, SequenceModel

__all__ = ["SoftRejection"]


@dataclasses.dataclass(frozen=True)
class SoftRejection:
    """Texts with the law ``p exp(reward / temperature)``, exactly: accepted with ``exp((reward - bound) / temperature)``.

    Parameters
    ----------
    reward
        Of a complete text.
    bound
        No reward is larger; one that is raises an error.
    temperature
        Positive.

    References
    ----------
    J. von Neumann, 1951, Various techniques used in connection with random digits.
    """

    reward: Callable[[Prefix], float]
    bound: float
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature has to be positive; got {self.temperature}")
        if not math.isfinite(self.bound):
            raise ValueError(f"bound has to be finite; got {self.bound}")

    @property
    def claim(self) -> Claim:
        """Exact, and independent."""
        return Claim(
            Exactness.EXACT,
            "draws from the model's law tilted by exp(reward / temperature)",
            source="von Neumann 1951",
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
        max_tries: int | None = None,
    ) -> AcceptedText:
        """Draw a text.

        Parameters
        ----------
        key
            Typed key.
        model
            The model.
        max_tokens, prompt, stop
            As of :class:`~ergodica.samplers.sequences.ancestral.GrowingTexts`.
        max_tries
            Most texts to try; default: until one is accepted.

        Raises
        ------
        ValueError
            If a reward is NaN or larger than the bound.
        RuntimeError
            If none of ``max_tries`` texts was accepted. No text takes their place, which would change the law.
        """
        choices, tries = Choices(key), 0
        while max_tries is None or tries < max_tries:
            (text,) = ancestral_texts(
                model, choices, 1, max_tokens=max_tokens, prompt=prompt, stop=stop, stream=2 * tries
            )
            if choices.bernoulli(self._chance(text), 2 * tries + 1, 0):
                return AcceptedText(text, tries + 1)
            tries += 1
        raise RuntimeError(f"no text was accepted in {max_tries} tries; raise max_tries, or lower the bound")

    def _chance(self, text: Prefix) -> float:
        reward = float(self.reward(text))
        if not reward <= self.bound:
            raise ValueError(f"the reward of {text} is {reward}; expected at most the bound {self.bound}")
        return math.exp((reward - self.bound) / self.temperature)
