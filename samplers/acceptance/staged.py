"""The product of two decisions: one by a cheap ratio, and if it accepts, one by what the cheap ratio got wrong."""

from typing import Literal

from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.acceptance.metropolis import as_ratio_rule
from ergodica.samplers.acceptance.rule import AcceptanceRule, RatioRule
from ergodica.samplers.claim import Claim, Exactness


class Staged(AcceptanceRule):
    """Exact, reversible rule that accepts if two rules do, at ratios ``r1`` and ``r2`` with ``r1 r2 = r``.

    ``a1(r1) a2(r2) = r a1(1/r1) a2(1/r2)``, so that the product is balanced if both are. With Metropolis's rule twice it
    accepts at most as often as Metropolis's at ``r``: what it saves is the second ratio of candidates that fail the first.

    Parameters
    ----------
    first, second
        Rules that decide by a ratio; default: Metropolis's.

    Raises
    ------
    TypeError
        If one is none.

    References
    ----------
    J. A. Christen and C. Fox, 2005, Markov chain Monte Carlo using an approximation, JCGS 14,
    doi:10.1198/106186005X76983.
    """

    first: RatioRule
    second: RatioRule

    def __init__(self, first: RatioRule | None = None, second: RatioRule | None = None) -> None:
        self.first = as_ratio_rule(first, "Staged")
        self.second = as_ratio_rule(second, "Staged")

    @property
    def kind(self) -> Literal["equality", "invariance"]:
        """``"invariance"``."""
        return "invariance"

    @property
    def claim(self) -> Claim:
        """Exact and reversible."""
        return Claim(
            Exactness.EXACT,
            "acceptance in two stages leaves the target invariant",
            source="Christen and Fox 2005, doi:10.1198/106186005X76983",
            reversible=True,
        )

    def probability(self, log_first: Float[Array, "..."], log_second: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return the probability that both stages accept, at the logs of their ratios; zero where one is NaN."""
        return self.first.probability(log_first) * self.second.probability(log_second)

    def decide(
        self, key: PRNGKeyArray, log_first: Float[Array, "..."], log_second: Float[Array, "..."]
    ) -> tuple[Bool[Array, "..."], Float[Array, "..."]]:
        """Accept or reject, the second ratio being known already.

        Returns
        -------
        accepted, probability
        """
        first_key, second_key = random.split(key)
        passed, a1 = self.first.decide(first_key, log_first)
        confirmed, a2 = self.second.decide(second_key, log_second)
        return passed & confirmed, a1 * a2
