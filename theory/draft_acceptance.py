"""How often the known rules for drafts of one token emit one of them.

The rate is the probability that the token which is emitted is one of the drafts. Vectors may hold floats or
:class:`fractions.Fraction`; with fractions every rate without a root in its formula is exact. The best rate of any rule
is in :mod:`ergodica.theory.optimal_acceptance`.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ergodica.theory.token_laws import checked_drafts, checked_pair

__all__ = [
    "SequentialAcceptance",
    "acceptance",
    "greedy_acceptance",
    "hub_acceptance",
    "naive_acceptance",
    "ordered_acceptance",
    "recursive_rejection",
    "recursive_rejection_without_replacement",
    "sequential_acceptance",
    "shared_randomness_bound",
    "single_acceptance",
]


def acceptance(p: Any, q: Any) -> Any:
    """Return ``sum min(p, q) = 1 - TV(p, q)``, the probability that one draft is accepted.

    No coupling of the two laws agrees more often: this is also the optimum.
    """
    target, draft = checked_pair(p, q)
    return np.where(target < draft, target, draft).sum()


def naive_acceptance(p: Any, q: Any, k: int = 1) -> Any:
    """Return the rate of drawing from ``p`` and looking whether the token was drafted, ``sum p (1 - (1 - q)^k)``."""
    target, draft = checked_pair(p, q)
    return (target * (1 - (1 - draft) ** checked_drafts(k))).sum()


def single_acceptance(p: Any, q: Any, k: int = 1) -> Any:
    """Return the rate of a rule for one draft, where its own token may happen to be one of ``k - 1`` more drafts."""
    target, draft = checked_pair(p, q)
    excess = np.where(target > draft, target - draft, 0 * target)
    return acceptance(p, q) + (excess * (1 - (1 - draft) ** (checked_drafts(k) - 1))).sum()


def recursive_rejection(p: Any, q: Any, k: int = 1) -> Any:
    """Return the rate of recursive rejection of ``k`` independent drafts.

    Each draft is tried against what is left of ``p`` after the drafts before it. After ``i`` rejections this is
    proportional to ``(p - lam_i q)+``, with the sum ``s_i``, where ``lam_i = lam_(i-1) + s_(i-1)``, ``lam_0 = 0`` and
    ``s_0 = 1``; the rate is ``1 - s_k``.

    Parameters
    ----------
    p, q
        Weights of target and draft, shape ``(V,)``.
    k
        Number of drafts.

    References
    ----------
    X. Miao et al., 2024, arXiv 2305.09781.
    S. Yang et al., 2024, arXiv 2401.06706.
    """
    target, draft = checked_pair(p, q)
    multiple: Any = 0
    left: Any = 1
    for _ in range(checked_drafts(k)):
        multiple = multiple + left
        excess = target - multiple * draft
        left = np.where(excess > 0, excess, 0 * excess).sum()
    return 1 - left


def recursive_rejection_without_replacement(p: Any, q: Any, k: int) -> Any:
    """Return the rate of recursive rejection of ``k`` drafts without replacement, by enumeration.

    Parameters
    ----------
    p, q
        Weights of target and draft, shape ``(V,)``.
    k
        Number of drafts; the work grows like ``V^(k-1)``.

    References
    ----------
    W. Jeon et al., 2024, arXiv 2402.14160.
    """
    target, draft = checked_pair(p, q)
    if int(np.count_nonzero(draft)) ** (checked_drafts(k) - 1) > 10**6:
        raise ValueError(f"{k} drafts of {target.size} tokens are too many to enumerate")

    def rejected(current: np.ndarray, weights: np.ndarray, drafts: int) -> Any:
        """Return the probability that all further drafts are rejected."""
        total = weights.sum()
        if drafts == 0 or not total > 0:
            return 1
        law = weights / total
        excess = np.where(current > law, current - law, 0 * law)
        mass = excess.sum()
        if not mass > 0:
            return 0
        lost: Any = 0
        for token in range(law.size):
            if law[token] > current[token]:
                left = weights.copy()
                left[token] = 0 * left[token]
                lost = lost + (law[token] - current[token]) * rejected(excess / mass, left, drafts - 1)
        return lost

    return 1 - rejected(target, draft, checked_drafts(k))


@dataclass(frozen=True)
class SequentialAcceptance:
    """The rate of the rule that tries each draft with probability ``min(1, p / (rho q))``.

    Parameters
    ----------
    value
        ``sum min(p, rho q)``.
    rho
        The smallest valid one, in ``[1, k]``.
    residual
        ``1 - (1 - b)^k - value`` with ``b = value / rho``: zero at the root, and never positive.
    """

    value: float
    rho: float
    residual: float


def sequential_acceptance(p: Any, q: Any, k: int = 1) -> SequentialAcceptance:
    """Return the rate of k-SEQ, sequential selection of ``k`` independent drafts, at its best parameter.

    Parameters
    ----------
    p, q
        Weights of target and draft, shape ``(V,)``.
    k
        Number of drafts.

    References
    ----------
    Z. Sun et al., 2023, arXiv 2310.15141, algorithm 2.
    """
    target, draft = (np.asarray(law, np.float64) for law in checked_pair(p, q))
    k = checked_drafts(k)

    def value(rho: float) -> float:
        return float(np.minimum(target, rho * draft).sum())

    def excess(rho: float) -> float:
        return -math.expm1(k * math.log1p(-min(value(rho) / rho, 1 - 1e-300))) - value(rho) if value(rho) < rho else 0.0

    low, high = 1.0, float(k)
    if excess(low) <= 0:
        return SequentialAcceptance(value(low), low, excess(low))
    while True:  # the upper end is valid, the lower is not
        middle = (low + high) / 2
        if not low < middle < high:
            return SequentialAcceptance(value(high), high, excess(high))
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)


def greedy_acceptance(p: Any, q: Any, k: int = 1) -> Any:
    """Return the best rate for drafts that are the ``k - 1`` most likely tokens and one draw from the others.

    Parameters
    ----------
    p, q
        Weights of target and draft, shape ``(V,)``.
    k
        Number of drafts.

    References
    ----------
    Z. Hu et al., 2025, arXiv 2502.18779.
    """
    target, draft = checked_pair(p, q)
    order = np.array(sorted(range(draft.size), key=lambda token: -draft[token]), dtype=np.int64)
    top, others = order[: checked_drafts(k) - 1], order[checked_drafts(k) - 1 :]
    sure = target[top].sum()
    rest = draft[others].sum()
    if not rest > 0:
        return sure
    law = draft[others] / rest
    return sure + np.where(target[others] < law, target[others], law).sum()


def hub_acceptance(p: Any, q: Any) -> Any:
    """Return the rate of SpecHub, for pairs of drafts of which one is the most likely token ``a``.

    The pairs are ``(i, a)`` with probability ``q_i`` and ``(a, i)`` with ``q_a q_i / (1 - q_a)``. The rule is optimal for
    them: ``p_a + sum_(i != a) min(p_i, q_i / (1 - q_a))``.

    Parameters
    ----------
    p, q
        Weights of target and draft, shape ``(V,)``.

    References
    ----------
    R. Sun et al., 2024, arXiv 2411.05289.
    """
    target, draft = checked_pair(p, q)
    hub = max(range(draft.size), key=lambda token: draft[token])
    rest = 1 - draft[hub]
    if not rest > 0:
        return acceptance(p, q)
    return target[hub] + sum(min(target[i], draft[i] / rest) for i in range(draft.size) if i != hub)


def ordered_acceptance(p: Any, q: Any, k: int = 1) -> tuple[Any, Any]:
    """Return the rates of trying only the draft with the largest ``p / q`` of ``k`` independent ones.

    Parameters
    ----------
    p, q
        Weights of target and draft, shape ``(V,)``.
    k
        Number of drafts. The rate may fall with it.

    Returns
    -------
    tuple
        The probability that this draft is accepted, and the probability that the token emitted is any of the drafts.

    References
    ----------
    A. Khisti et al., 2025, arXiv 2410.18234.
    """
    target, draft = checked_pair(p, q)
    k = checked_drafts(k)
    possible = [token for token in range(draft.size) if draft[token] > 0]
    order = sorted(possible, key=lambda token: target[token] / draft[token])
    chosen = 0 * draft
    below: Any = 0
    ends: dict[int, tuple[Any, Any]] = {}
    for token in order:
        ends[token] = (below, below + draft[token])
        chosen[token] = ends[token][1] ** k - below**k
        below = below + draft[token]
    branch = np.where(target < chosen, target, chosen).sum()
    member = branch
    if branch < 1:
        excess = np.where(target > chosen, target - chosen, 0 * target)
        for best in order:
            # A draft that is not accepted may still be joined by the token emitted.
            lost = chosen[best] - target[best] if chosen[best] > target[best] else 0
            if not lost > 0:
                continue
            start, end = ends[best]
            for token in order:
                if excess[token] > 0 and ends[token][1] <= start:
                    without = (end - draft[token]) ** k - (start - draft[token]) ** k
                    seen = 1 - without / chosen[best]
                    member = member + lost * excess[token] / (1 - branch) * seen
    return branch, member


def shared_randomness_bound(p: Any, q: Any, k: int = 1) -> Any:
    """Return a lower bound of the rate when drafts and target share exponential clocks; exact for one draft.

    ``sum_j k / (sum_x max(p_x / p_j, q_x / q_j) + (k - 1) / p_j)`` over tokens with ``p_j q_j > 0``.

    Parameters
    ----------
    p, q
        Weights of target and draft, shape ``(V,)``.
    k
        Number of lists.

    References
    ----------
    M. Daliri, C. Musco and A. T. Suresh, 2024, arXiv 2408.07978.
    J. Rowan, B. Phan and A. Khisti, 2025, arXiv 2506.05632.
    """
    target, draft = checked_pair(p, q)
    k = checked_drafts(k)
    total: Any = 0
    for j in range(target.size):
        if target[j] > 0 and draft[j] > 0:
            left, right = target / target[j], draft / draft[j]
            total = total + k / (np.where(left > right, left, right).sum() + (k - 1) / target[j])
    return total
