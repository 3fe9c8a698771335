"""Generation under a constraint by approximate expected futures: not exact after finitely many texts."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, PRNGKeyArray

from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.sequences.choices import Choices
from ergodica.samplers.sequences.constraint import Constraint, TextTree
from ergodica.samplers.sequences.model import Prefix, SequenceModel

__all__ = ["ApproximateFutures", "WeightedText"]


class WeightedText(NamedTuple):
    """A text with the weight that makes it proper.

    Parameters
    ----------
    text
        The tokens; ``None`` if the draw came to a prefix without allowed continuation.
    weight
        ``E[weight 1{text = x}]`` is the model's probability of ``x`` if ``x`` is allowed, whatever was learnt before.
    """

    text: Prefix | None
    weight: float


class ApproximateFutures:
    """Not exact: texts under a constraint from estimates of how probable it is that a prefix can be completed.

    Each draw is allowed, and teaches the sampler: the estimate of a prefix, one at first, becomes the mean of those of its
    continuations. Estimates fall towards the truth, so that the law of the draws tends to the model's given the constraint
    as the tree is explored. A draw's law is not that law, draws are dependent, and the distance may grow on the way. For
    exact draws there is :class:`~ergodica.samplers.sequences.dead_prefix_trie.DeadPrefixTrie`; for exact averages, the
    weights.

    Parameters
    ----------
    model, allowed, max_tokens, prompt, stop
        As of :class:`~ergodica.samplers.sequences.constraint.TextTree`.

    References
    ----------
    K. Park et al., Grammar-aligned decoding, NeurIPS 2024, arXiv:2405.21047.
    """

    def __init__(
        self,
        model: SequenceModel,
        allowed: Constraint,
        *,
        max_tokens: int,
        prompt: Sequence[int] = (),
        stop: Collection[int] = (),
    ) -> None:
        self.tree = TextTree(model, allowed, max_tokens, prompt, stop)
        self._estimates: dict[Prefix, float] = {}

    @property
    def claim(self) -> Claim:
        """Exact in the limit of many draws."""
        return Claim(
            Exactness.LIMIT,
            "draws allowed texts; their law tends to the model's given the constraint",
            source="Park et al. 2024, arXiv:2405.21047",
            order="draws -> infinity",
            spaces=frozenset({Space.SEQUENCE}),
            memory=True,
        )

    def future(self, text: Prefix) -> float:
        """Return the estimate of the probability that a prefix goes on to be allowed, an upper bound."""
        known = self._estimates.get(text)
        if known is None:
            known = self._estimates[text] = float(self.tree.is_allowed(text))
        return known

    def weighted_draw(self, key: PRNGKeyArray) -> WeightedText:
        """Draw a text with its weight, and learn from it.

        Parameters
        ----------
        key
            Typed key.
        """
        return self._draw(Choices(key), 0)

    def sample(self, key: PRNGKeyArray) -> Prefix:
        """Draw an allowed text, and learn from it; not exact.

        Parameters
        ----------
        key
            Typed key.

        Raises
        ------
        ValueError
            If no text is allowed.
        """
        choices, tries = Choices(key), 0
        while self.future(()) > 0:
            text = self._draw(choices, tries).text
            if text is not None:
                return text
            tries += 1
        raise ValueError("no text is allowed: all of them are dead")

    def _draw(self, choices: Choices, number: int) -> WeightedText:
        text: Prefix = ()
        path: list[tuple[Prefix, Float[np.ndarray, " V"]]] = []
        weight = 1.0
        while not self.tree.has_ended(text):
            law = self.tree.law(text)
            path.append((text, law))
            futures = self._futures(text, law)
            mass = float(law @ futures)
            if not mass > 0:
                weight = 0.0
                break
            token = int(choices.categorical((law * futures)[None], number, len(text))[0])
            weight *= mass / futures[token]
            text = (*text, token)
        for prefix, law in reversed(path):
            self._estimates[prefix] = min(self.future(prefix), float(law @ self._futures(prefix, law)))
        return WeightedText(text if weight > 0 else None, weight)

    def _futures(self, text: Prefix, law: Float[np.ndarray, " V"]) -> Float[np.ndarray, " V"]:
        return np.array([self.future((*text, token)) if law[token] > 0 else 0.0 for token in range(law.size)])
