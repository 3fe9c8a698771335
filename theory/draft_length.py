"""How many tokens to draft before the target looks at them.

A draft costs ``c`` in units of a target pass. Lengths are judged by tokens per unit of time, ``(1 + E[tau]) / (1 + c E[g])``,
and the best is found by Dinkelbach's iteration: at the optimal rate ``v`` nothing has a positive value
``1 + E[tau] - v (1 + c E[g])``, and each step of the iteration takes the best rule for the rate of the one before. Numbers
may be floats or :class:`fractions.Fraction`; with fractions the optimum is exact. Constant acceptances have a closed form,
:func:`ergodica.theory.block_lengths.best_gamma`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ergodica.theory.token_laws import checked_law

__all__ = ["AdaptiveLength", "DraftLength", "adaptive_length", "best_length", "cost_threshold", "threshold_length"]

Prefix = tuple[int, ...]


@dataclass(frozen=True)
class DraftLength:
    """The best length.

    Parameters
    ----------
    gamma
        Number of drafts.
    speed
        Tokens per unit of time at this length, the optimal value.
    """

    gamma: int
    speed: Any


@dataclass(frozen=True)
class AdaptiveLength:
    """The best rule that decides after each draft whether to go on.

    Parameters
    ----------
    goes_on
        The prefixes after which another token is drafted.
    speed
        Tokens per unit of time under the rule, the optimal value.
    """

    goes_on: frozenset[Prefix]
    speed: Any


def _cost(c: Any) -> Any:
    if not c >= 0:
        raise ValueError(f"c, the cost of a draft in units of a target pass, has to be at least 0; got {c}")
    return c


def best_length(rates: Sequence[Any], c: Any) -> DraftLength:
    """Return the number of drafts with the most tokens per unit of time.

    At the optimal speed ``v``, draft ``k + 1`` is worth drafting if and only if ``prod_(i <= k+1) a_i > c v``: drafts are
    taken in their order, and the products fall.

    Parameters
    ----------
    rates
        ``a_i``, the probability that draft ``i`` is accepted if all before it were; no more than these can be drafted.
    c
        Time of a draft pass in units of a target pass.

    References
    ----------
    W. Dinkelbach, 1967, On nonlinear fractional programming, Management Science 13.
    """
    c = _cost(c)
    for rate in rates:
        if not 0 <= rate <= 1:
            raise ValueError(f"rates have to be probabilities; got {rate}")
    gamma, speed = 0, 1 + 0 * c
    while True:
        count, tokens, product = 0, 1 + 0 * c, 1 + 0 * c
        for rate in rates:
            product = product * rate
            if not product > c * speed:
                break
            count, tokens = count + 1, tokens + product
        reached = tokens / (1 + count * c)
        if not reached > speed:
            return DraftLength(gamma, speed)
        gamma, speed = count, reached


def adaptive_length(
    Q: Mapping[Prefix, Sequence[Any]], kept: Mapping[Prefix, Any], gamma: int, c: Any
) -> AdaptiveLength:
    """Return the best rule for going on that may look at all tokens drafted so far, by dynamic programming.

    Parameters
    ----------
    Q
        Laws of the next token of the draft, by prefix.
    kept
        Probability that all tokens of a drafted string are kept, for all possible strings of 1 to ``gamma`` tokens:
        products of ``min(1, P / Q)`` for verification by tokens, the budgets ``c_i`` for verification by blocks.
    gamma
        Largest number of drafts.
    c
        Time of a draft pass in units of a target pass.
    """
    c = _cost(c)

    def best(prefix: Prefix, speed: Any) -> tuple[Any, Any, Any, frozenset[Prefix]]:
        """Return the most that drafting on is worth, the tokens and drafts that it brings, and where it goes on."""
        if len(prefix) == gamma:
            return 0, 0, 0, frozenset()
        worth: Any = -c * speed
        tokens: Any = 0
        drafts: Any = 1
        goes_on = frozenset({prefix})
        for token, chance in enumerate(checked_law("Q", Q[prefix])):
            if chance > 0:
                string = (*prefix, token)
                further = best(string, speed)
                worth = worth + chance * (kept[string] + further[0])
                tokens = tokens + chance * (kept[string] + further[1])
                drafts = drafts + chance * further[2]
                goes_on |= further[3]
        return (worth, tokens, drafts, goes_on) if worth > 0 else (0, 0, 0, frozenset())

    found, speed = AdaptiveLength(frozenset(), 1 + 0 * c), 1 + 0 * c
    while True:
        _, tokens, drafts, goes_on = best((), speed)
        reached = (1 + tokens) / (1 + c * drafts)
        if not reached > speed:
            return found
        found, speed = AdaptiveLength(goes_on, reached), reached


def threshold_length(rates: Sequence[Any], threshold: Any) -> int:
    """Return how many tokens are drafted if drafting ends once a rejection among them is likelier than ``threshold``.

    Parameters
    ----------
    rates
        Predicted acceptance of each draft, given that those before it are accepted.
    threshold
        In ``[0, 1]``.

    References
    ----------
    Huang, Guo, Wang, COLM 2025, arXiv 2405.19715.
    """
    product: Any = 1
    for count, rate in enumerate(rates):
        product = product * rate
        if 1 - product > threshold:
            return count + 1
    return len(rates)


def cost_threshold(draft_cost: Any, target_cost: Any, constant: Any) -> Any:
    """Return the probability of a rejection from which on stopping is optimal, ``(c2 + D) / (c1 + c2 + D)``.

    Parameters
    ----------
    draft_cost, target_cost
        ``c1``, the cost of a draft token, and ``c2``, that of a target pass.
    constant
        ``D``, which depends on the pair of models.

    References
    ----------
    Huang, Guo, Wang, COLM 2025, arXiv 2405.19715; the formula is taken from there and not derived here.
    """
    if not (draft_cost > 0 and target_cost >= 0 and constant >= 0):
        raise ValueError(f"costs have to be positive; got {draft_cost}, {target_cost} and the constant {constant}")
    return (target_cost + constant) / (draft_cost + target_cost + constant)
