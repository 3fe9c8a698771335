"""What an exact draw costs by rejection."""

import math
from dataclasses import dataclass
from typing import Any

from ergodica.theory.token_laws import checked_pair

__all__ = [
    "RejectionCost",
    "rejection_cost",
]


@dataclass(frozen=True)
class RejectionCost:
    """What an exact draw costs by rejection; the number of trials is geometric.

    Parameters
    ----------
    bound
        ``M = max p / q``, the exponential of the Renyi divergence of infinite order; infinite if a token of ``p`` is never
        proposed.
    acceptance
        ``1 / M``, the probability that a trial is accepted.
    variance
        Of the number of trials, ``M (M - 1)``; the mean is ``M``.
    """

    bound: Any
    acceptance: Any
    variance: Any

    def trials(self, probability: float) -> int:
        """Return how many trials are enough with this probability."""
        if not 0 < probability < 1:
            raise ValueError(f"probability has to lie in (0, 1); got {probability}")
        if not self.acceptance > 0:
            raise ValueError("no number of trials is enough: a token of p is never proposed")
        if self.acceptance >= 1:
            return 1
        return max(1, math.ceil(math.log1p(-probability) / math.log1p(-float(self.acceptance))))

    def rounds(self, n: int) -> Any:
        """Return the mean number of rounds of ``n`` trials side by side, ``1 / (1 - (1 - 1 / M)^n)``."""
        if n != int(n) or n < 1:
            raise ValueError(f"n, the trials of a round, has to be a positive integer; got {n}")
        return 1 / (1 - (1 - self.acceptance) ** int(n)) if self.acceptance > 0 else math.inf


def rejection_cost(p: Any, q: Any) -> RejectionCost:
    """Return the cost of drawing from ``p`` by rejection of proposals from ``q`` with the smallest valid bound.

    Parameters
    ----------
    p, q
        Weights of target and proposal, shape ``(V,)``.

    References
    ----------
    J. von Neumann, 1951, Various techniques used in connection with random digits.
    """
    target, proposal = checked_pair(p, q)
    if any(wanted > 0 and not proposed > 0 for wanted, proposed in zip(target, proposal, strict=True)):
        return RejectionCost(math.inf, 0.0, math.inf)
    bound = max(wanted / proposed for wanted, proposed in zip(target, proposal, strict=True) if proposed > 0)
    return RejectionCost(bound, 1 / bound, bound * (bound - 1))
