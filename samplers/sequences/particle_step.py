"""One step of particles that are texts: how they get a token, and what it does to their weights."""

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ergodica.samplers.sequences.choices import Choices
from ergodica.samplers.sequences.model import Prefix

__all__ = ["Bootstrap", "ParticleStep", "Potential", "factors_of"]

Potential = Callable[[list[Prefix]], Any]
"""From texts to numbers in ``[0, inf)``, one for each."""


def factors_of(potential: Potential, texts: list[Prefix]) -> Float[np.ndarray, " n"]:
    """Return the values of a potential.

    Raises
    ------
    ValueError
        If there is not one for each text, or one is negative, NaN or infinite.
    """
    values = np.asarray(potential(texts), np.float64)
    if values.shape != (len(texts),):
        raise ValueError(f"the potential has to return one number for each of {len(texts)} texts; got {values.shape}")
    wrong = np.flatnonzero(~((values >= 0) & (values < np.inf)))
    if wrong.size:
        raise ValueError(f"the potential of {texts[wrong[0]]} is {values[wrong[0]]}; expected a number in [0, inf)")
    return values


class ParticleStep(abc.ABC):
    """Proposes a token for each text, and says what the weights are multiplied by."""

    @abc.abstractmethod
    def propose(
        self,
        texts: Sequence[Prefix],
        laws: Float[np.ndarray, "n V"],
        choices: Choices,
        place: int,
        has_ended: Callable[[Prefix], bool],
    ) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Return a token for each text, and a factor; a factor of zero gives the text up.

        Parameters
        ----------
        texts
            The texts so far, without the prompt.
        laws
            The model's laws of the next token.
        choices, place
            For random decisions: stream 0 and this place.
        has_ended
            Whether a text would be complete.
        """


@dataclasses.dataclass(frozen=True)
class Bootstrap(ParticleStep):
    """Tokens from the model, weights from a potential.

    Parameters
    ----------
    potential
        ``G_t``, a function of the texts with their new token. The target is the model's law times the product of the
        potentials along a text; ``r_t / r_(t-1)`` is the way to weight whole texts by ``r_T``.
    """

    potential: Potential

    def propose(
        self,
        texts: Sequence[Prefix],
        laws: Float[np.ndarray, "n V"],
        choices: Choices,
        place: int,
        has_ended: Callable[[Prefix], bool],
    ) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Propose; see :meth:`ParticleStep.propose`."""
        del has_ended
        tokens = choices.categorical(laws, 0, place)
        longer = [(*text, int(token)) for text, token in zip(texts, tokens, strict=True)]
        return tokens, factors_of(self.potential, longer)
