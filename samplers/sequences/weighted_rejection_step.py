"""Tokens under a constraint by adaptive weighted rejection, as a step of particle filters."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from ergodica.samplers.acceptance.rejection.adaptive_weighted import recursive_weight
from ergodica.samplers.sequences.choices import Choices
from ergodica.samplers.sequences.constraint import Constraint
from ergodica.samplers.sequences.model import Prefix
from ergodica.samplers.sequences.particle_step import ParticleStep

__all__ = ["WeightedRejectionStep"]

_STREAM = 16
"""First of the streams of random decisions, one for each particle; those below are the particle filter's."""


@dataclasses.dataclass(frozen=True)
class WeightedRejectionStep(ParticleStep):
    """The next allowed token, with a weight whose mean is the probability that a token is allowed.

    Tokens are tested in an order drawn without replacement, up to one after the first that is allowed, so that few are
    tested where the constraint is likely. In a
    :class:`~ergodica.samplers.sequences.particle_filter.ParticleFilter` the normaliser is the probability of the
    constraint under the model.

    Parameters
    ----------
    allowed
        The constraint; decisive for complete texts.

    References
    ----------
    B. Lipkin et al., Fast controlled generation from language models with adaptive weighted rejection sampling, COLM 2025,
    arXiv:2504.05410.
    """

    allowed: Constraint

    def propose(
        self,
        texts: Sequence[Prefix],
        laws: Float[np.ndarray, "n V"],
        choices: Choices,
        place: int,
        has_ended: Callable[[Prefix], bool],
    ) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Propose; see :meth:`ParticleStep.propose`."""
        tokens, factors = np.zeros(len(texts), int), np.zeros(len(texts))
        for number, (text, law) in enumerate(zip(texts, laws, strict=True)):

            def is_allowed(token: int, text: Prefix = text) -> bool:
                longer = (*text, token)
                return bool(self.allowed(longer, has_ended(longer)))

            order = choices.order(law, _STREAM + number, place)
            found = recursive_weight(order, law.tolist(), is_allowed)
            # A text without any allowed continuation gets some token, and no weight.
            tokens[number], factors[number] = max(int(found.token), 0), found.weight
        return tokens, factors
