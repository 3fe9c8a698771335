"""What an acceptance rule is.

A rule couples a drafted value with a wanted law. Two kinds exist. Under *equality* the output itself has the target's
law (speculative decoding, rejection); under *invariance* a step keeps the target law if the chain already has it
(Metropolis, Barker). Metropolis is speculative sampling with an independence draft whose residual is 'stay'.
"""

import abc
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.claim import Claim


class AcceptanceRule(eqx.Module):
    """Anything that decides whether a draft is kept, and says what law results."""

    @property
    @abc.abstractmethod
    def kind(self) -> Literal["equality", "invariance"]:
        """Whether the output has the target's law, or the step leaves it invariant."""

    @property
    @abc.abstractmethod
    def claim(self) -> Claim:
        """What the rule promises."""


class RatioRule(AcceptanceRule):
    """A rule that decides by the ratio ``r = pi(y) q(y, x) / (pi(x) q(x, y))`` alone.

    It leaves the target invariant, reversibly, exactly if its acceptance probability satisfies ``a(r) = r a(1/r)``.
    """

    @property
    def kind(self) -> Literal["equality", "invariance"]:
        """``"invariance"``."""
        return "invariance"

    @abc.abstractmethod
    def probability(self, log_ratio: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return the acceptance probability at a log ratio; zero where the ratio is NaN."""

    def decide(
        self, key: PRNGKeyArray, log_ratio: Float[Array, "..."]
    ) -> tuple[Bool[Array, "..."], Float[Array, "..."]]:
        """Accept or reject.

        Parameters
        ----------
        key
            Typed key.
        log_ratio
            Log of the Metropolis-Hastings ratio; NaN, as from ``inf - inf``, means reject.

        Returns
        -------
        accepted, probability
        """
        probability = jnp.where(jnp.isnan(log_ratio), 0.0, self.probability(log_ratio)).astype(log_ratio.dtype)
        return random.bernoulli(key, probability), probability
