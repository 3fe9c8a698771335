"""Policies that decide after each draft whether to draft another token.

A policy may look at all tokens drafted so far, and at whatever predicts their acceptance. The rules for chains and trees
stay exact, since they are exact for each length. A token must not be thrown away once it is drawn: that would change the
law of the drafts.
"""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import Array, Bool, Float

from ergodica.samplers.inputs import is_concrete
from ergodica.theory.draft_length import best_length


class DraftLengthPolicy(eqx.Module):
    """Decides whether drafting goes on."""

    @abc.abstractmethod
    def goes_on(self, so_far: Float[Array, "..."], following: Float[Array, "..."]) -> Bool[Array, "..."]:
        """Return whether to draft another token.

        Parameters
        ----------
        so_far
            Predicted probability that all tokens drafted so far are accepted; 1 at the start.
        following
            The same with the next token, whose prediction is not conditional on its value.
        """


class RejectionThreshold(DraftLengthPolicy):
    """Stop once a rejection among the drafts is likelier than a threshold.

    Parameters
    ----------
    threshold
        In ``[0, 1]``; ``theory.draft_length.cost_threshold`` has the form of the optimal one.

    References
    ----------
    Huang, Guo, Wang, COLM 2025, arXiv 2405.19715.
    """

    threshold: Any

    def __init__(self, threshold: Any) -> None:
        if is_concrete(threshold) and not 0 <= threshold <= 1:
            raise ValueError(f"threshold has to be a probability; got {threshold}")
        self.threshold = threshold

    def goes_on(self, so_far: Float[Array, "..."], following: Float[Array, "..."]) -> Bool[Array, "..."]:
        """Return whether a rejection so far is no likelier than the threshold."""
        del following
        return 1 - so_far <= self.threshold


class SpeedThreshold(DraftLengthPolicy):
    """Go on while the next draft is kept with more probability than the time it takes is worth.

    At the optimal speed ``v``, in tokens per target pass, this is the rule of the largest speed for known acceptances. The
    value for typical acceptances serves where they vary: :meth:`for_rates`.

    Parameters
    ----------
    speed
        Tokens per time of a target pass.
    cost
        Time of a draft in units of a target pass.
    """

    speed: Any
    cost: Any

    def __init__(self, speed: Any, cost: Any) -> None:
        for name, value in (("speed", speed), ("cost", cost)):
            if is_concrete(value) and not value >= 0:
                raise ValueError(f"{name} has to be at least 0; got {value}")
        self.speed = speed
        self.cost = cost

    @classmethod
    def for_rates(cls, rates: Any, cost: Any) -> "SpeedThreshold":
        """Return the policy with the optimal speed for the acceptances ``a_i`` of successive drafts."""
        return cls(best_length(rates, cost).speed, cost)

    def goes_on(self, so_far: Float[Array, "..."], following: Float[Array, "..."]) -> Bool[Array, "..."]:
        """Return whether ``following > cost speed``."""
        del so_far
        return following > self.cost * self.speed
