"""Speculative decoding in numbers: how long blocks are, how much time they save.

A draft model proposes ``gamma`` tokens, the target model scores them in one pass, and each is kept with probability
``a``. Sources: Leviathan, Kalman, Matias (2023), arXiv 2211.17192; Chen et al. (2023), arXiv 2302.01318. Numbers may be
floats or :class:`fractions.Fraction`; with fractions every result is exact.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from ergodica.theory.token_laws import checked_pair

__all__ = [
    "arithmetic_factor",
    "best_gamma",
    "expected_accepted",
    "expected_accepted_in_context",
    "expected_tokens",
    "expected_tokens_by_position",
    "law_of_accepted",
    "speed",
]


def _probability(name: str, value: Any) -> Any:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} has to be a probability; got {value}")
    return value


def _length(gamma: int) -> int:
    if gamma != int(gamma) or gamma < 0:
        raise ValueError(f"gamma, the number of drafted tokens, has to be a non-negative integer; got {gamma}")
    return int(gamma)


def _cost(c: Any) -> Any:
    if not c >= 0:
        raise ValueError(f"c, the cost of a draft in units of a target pass, has to be at least 0; got {c}")
    return c


def expected_accepted(a: Any, gamma: int) -> Any:
    """Return ``E[tau]``, the mean number of accepted drafts out of ``gamma``.

    Parameters
    ----------
    a
        Probability that a draft is accepted, the same and independent at each position.
    gamma
        Number of drafted tokens.
    """
    a = _probability("a", a)
    return sum(a**i for i in range(1, _length(gamma) + 1))


def expected_tokens(a: Any, gamma: int) -> Any:
    """Return the mean number of tokens that a block emits, ``E[tau] + 1 = (1 - a^(gamma+1)) / (1 - a)``."""
    return 1 + expected_accepted(a, gamma)


def expected_tokens_by_position(rates: Sequence[Any]) -> Any:
    """Return the mean number of tokens that a block emits, ``1 + sum_i prod_(j <= i) a_j``.

    Parameters
    ----------
    rates
        ``a_j``, the probability that draft ``j`` is accepted if all before it were, in their order.
    """
    products = itertools.accumulate((_probability("rates", rate) for rate in rates), lambda left, right: left * right)
    return 1 + sum(products)


def law_of_accepted(a: Any, gamma: int) -> list[Any]:
    """Return the probabilities of ``tau = 0, ..., gamma`` accepted drafts."""
    a = _probability("a", a)
    return [a**i * (1 - a) for i in range(_length(gamma))] + [a ** _length(gamma)]


def speed(a: Any, gamma: int, c: Any) -> Any:
    """Return how many times faster speculation is than one target pass a token.

    Parameters
    ----------
    a
        Probability that a draft is accepted.
    gamma
        Number of drafted tokens.
    c
        Time of a draft pass in units of a target pass.
    """
    return expected_tokens(a, gamma) / (_length(gamma) * _cost(c) + 1)


def arithmetic_factor(a: Any, gamma: int, c_operations: Any) -> Any:
    """Return how many times more arithmetic a token costs with speculation than without.

    A block spends ``gamma`` draft tokens and ``gamma + 1`` target tokens of arithmetic.

    Parameters
    ----------
    a
        Probability that a draft is accepted.
    gamma
        Number of drafted tokens.
    c_operations
        Operations of a draft token in units of those of a target token.
    """
    return (_length(gamma) * _cost(c_operations) + gamma + 1) / expected_tokens(a, gamma)


def best_gamma(a: Any, c: Any) -> int:
    """Return the draft length with the largest :func:`speed`; zero if speculation never pays, which is ``a <= c``.

    The speed rises and then falls in ``gamma``, so the first length that is no worse than its successor is the best.

    Raises
    ------
    ValueError
        If no length is best because the speed grows for ever: drafts that cost nothing or are never rejected.
    """
    a, c = _probability("a", a), _cost(c)
    if a > c and (c == 0 or a == 1):
        raise ValueError(f"with a={a} and c={c} longer drafts are always faster; choose gamma by memory and latency")
    gamma, power, tokens = 0, a, 1  # power = a ** (gamma + 1), tokens = its expected_tokens
    while power * (gamma * c + 1) > c * tokens:
        tokens = tokens + power
        power = power * a
        gamma += 1
    return gamma


def expected_accepted_in_context(
    P: Mapping[tuple[int, ...], Sequence[Any]], Q: Mapping[tuple[int, ...], Sequence[Any]], gamma: int
) -> Any:
    """Return ``E[tau]`` of token-by-token verification for models whose laws depend on the prefix.

    It is the sum over ``i`` of the probability that the first ``i`` drafts are all accepted.

    Parameters
    ----------
    P, Q
        Laws of the next token of target and draft, by prefix.
    gamma
        Number of drafted tokens; the tables need all prefixes shorter than that.
    """
    alive: dict[tuple[int, ...], Any] = {(): 1}
    total: Any = 0
    for _ in range(_length(gamma)):
        following: dict[tuple[int, ...], Any] = {}
        for prefix, mass in alive.items():
            target, draft = checked_pair(P[prefix], Q[prefix])
            for token, (wanted, drafted) in enumerate(zip(target, draft, strict=True)):
                if wanted > 0 and drafted > 0:
                    following[(*prefix, token)] = mass * min(wanted, drafted)
        alive = following
        total = total + sum(alive.values())
    return total
