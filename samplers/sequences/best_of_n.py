"""Best of n: the text with the largest reward of several draws."""

import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from jaxtyping import PRNGKeyArray

from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.inputs import static_count
from ergodica.samplers.sequences.ancestral import ancestral_texts
from ergodica.samplers.sequences.choices import Choices
from ergodica.samplers.sequences.model import Prefix, SequenceModel

__all__ = ["BestOfN"]


@dataclasses.dataclass(frozen=True)
class BestOfN:
    """The text with the largest reward of ``n`` independent draws, ties broken at random.

    Its law is that of :func:`ergodica.theory.best_of_n.best_of_n_law`, at a divergence of at most ``log n - (n - 1) / n``
    from the model's. It is not the exponential tilt ``p exp(reward / beta)`` of any temperature; for that law see
    :class:`~ergodica.samplers.sequences.soft_rejection.SoftRejection`.

    Parameters
    ----------
    reward
        From texts to numbers, one for each.
    n
        How many texts are drawn.

    References
    ----------
    A. Beirami et al., 2024, Theoretical guarantees on the best-of-n alignment policy, arXiv:2401.01879.
    """

    reward: Callable[[list[Prefix]], Any]
    n: int

    def __post_init__(self) -> None:
        static_count("n", self.n)

    @property
    def claim(self) -> Claim:
        """Exact, for the law of the best of n."""
        return Claim(
            Exactness.EXACT,
            "draws from the law of the best of n draws, which is no exponential tilt",
            source="Beirami et al. 2024, arXiv:2401.01879",
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
        """Draw a text.

        Parameters
        ----------
        key
            Typed key.
        model
            The model.
        max_tokens, prompt, stop
            As of :class:`~ergodica.samplers.sequences.ancestral.GrowingTexts`.

        Raises
        ------
        ValueError
            If there is not one reward for each text, or one is NaN.
        """
        choices = Choices(key)
        texts = ancestral_texts(model, choices, self.n, max_tokens=max_tokens, prompt=prompt, stop=stop)
        rewards = np.asarray(self.reward(list(texts)), np.float64)
        if rewards.shape != (self.n,) or np.isnan(rewards).any():
            raise ValueError(f"expected a reward, not NaN, for each of {self.n} texts; got {rewards}")
        return texts[int(choices.categorical([rewards == rewards.max()], 1, 0)[0])]
