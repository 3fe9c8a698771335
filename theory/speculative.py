"""Speculative decoding in numbers: how often drafts survive, how long blocks are, how much time they save.

A draft model proposes ``gamma`` tokens, the target model scores them in one pass, and each is kept with probability
``a``. Sources: Leviathan, Kalman, Matias (2023), arXiv 2211.17192; Chen et al. (2023), arXiv 2302.01318; for the
optimum over several drafts Sun et al. (2023), arXiv 2310.15141.

Vectors may hold floats or :class:`fractions.Fraction`; with fractions every result is exact.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = [
    "acceptance",
    "arithmetic_factor",
    "best_gamma",
    "expected_accepted",
    "expected_accepted_in_context",
    "expected_tokens",
    "law_of_accepted",
    "optimal_membership",
    "speed",
    "total_variation",
]


def _law(name: str, weights: Any) -> np.ndarray:
    array = np.asarray(weights)
    if array.dtype != object:
        array = array.astype(np.float64)
        if not np.all(np.isfinite(array)):
            raise ValueError(f"{name} contains NaN or inf; expected weights of outcomes")
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} has to be a vector with at least one entry; got shape {array.shape}")
    if np.any(array < 0):
        raise ValueError(f"{name} has a negative entry; expected weights of outcomes")
    total = array.sum()
    if not total > 0:
        raise ValueError(f"{name} has no positive entry; at least one outcome has to be possible")
    law: np.ndarray = array / total
    return law


def _pair(p: Any, q: Any) -> tuple[np.ndarray, np.ndarray]:
    target, draft = _law("p", p), _law("q", q)
    if target.shape != draft.shape:
        raise ValueError(f"p and q have to be laws on the same tokens; got {target.size} and {draft.size} entries")
    return target, draft


def total_variation(p: Any, q: Any) -> Any:
    """Return ``sum (p - q)+`` of two laws, given as weights.

    Parameters
    ----------
    p, q
        Non-negative weights, shape ``(V,)``; each is divided by its sum.
    """
    target, draft = _pair(p, q)
    return np.where(target > draft, target - draft, 0 * target).sum()


def acceptance(p: Any, q: Any) -> Any:
    """Return ``sum min(p, q) = 1 - TV(p, q)``, the probability that one draft is accepted.

    No coupling of the two laws agrees more often: this is also the optimum.
    """
    target, draft = _pair(p, q)
    return np.where(target < draft, target, draft).sum()


def optimal_membership(p: Any, q: Any, joint_in: Callable[[Any], Any]) -> Any:
    """Return the largest probability that a rule with law ``p`` emits one of its drafts.

    The minimum over sets of tokens is attained by a set of the tokens with the smallest ``p / q``, which costs a sort.

    Parameters
    ----------
    p
        The wanted law.
    q
        The law that orders the tokens: of one draft.
    joint_in
        ``joint_in(H)`` is the probability that all drafts lie in the set ``H``, given as an array of token indices. For
        independent drafts ``q(H) ** k``.
    """
    target, draft = _pair(p, q)
    possible = [token for token in range(target.size) if draft[token] > 0]
    never = [token for token in range(target.size) if not draft[token] > 0]
    order = np.array(sorted(possible, key=lambda token: target[token] / draft[token]) + never, dtype=np.int64)
    cuts = [target[order[:size]].sum() - joint_in(order[:size]) for size in range(target.size + 1)]
    return 1 + min(cuts)


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
            target, draft = _pair(P[prefix], Q[prefix])
            for token, (wanted, drafted) in enumerate(zip(target, draft, strict=True)):
                if wanted > 0 and drafted > 0:
                    following[(*prefix, token)] = mass * min(wanted, drafted)
        alive = following
        total = total + sum(alive.values())
    return total
