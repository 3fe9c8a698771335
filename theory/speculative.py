"""Speculative decoding in numbers: how often drafts survive, how long blocks are, how much time they save.

A draft model proposes ``gamma`` tokens, the target model scores them in one pass, and each is kept with probability
``a``. Sources: Leviathan, Kalman, Matias (2023), arXiv 2211.17192; Chen et al. (2023), arXiv 2302.01318; for the
optimum over several drafts Sun et al. (2023), arXiv 2310.15141.

For several drafts of one position there are the best rate that any rule can have, and the rates of the known rules.
A rate is here the probability that the token that is emitted is one of the drafts. Rejection sampling and best-of-n are
at the end.

Vectors may hold floats or :class:`fractions.Fraction`; with fractions every result is exact, unless a logarithm, a root
or a linear program is in its formula.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize
import scipy.sparse

__all__ = [
    "OptimalAcceptance",
    "RejectionCost",
    "SequentialAcceptance",
    "acceptance",
    "acceptance_program",
    "arithmetic_factor",
    "best_gamma",
    "best_of_n_divergence",
    "best_of_n_law",
    "drafted_sets",
    "expected_accepted",
    "expected_accepted_in_context",
    "expected_tokens",
    "expected_tokens_by_position",
    "greedy_acceptance",
    "hub_acceptance",
    "law_of_accepted",
    "naive_acceptance",
    "optimal_acceptance",
    "optimal_acceptance_without_replacement",
    "optimal_membership",
    "ordered_acceptance",
    "recursive_rejection",
    "recursive_rejection_without_replacement",
    "rejection_cost",
    "sequential_acceptance",
    "shared_randomness_bound",
    "single_acceptance",
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


def optimal_acceptance(p: Any, q: Any, k: int = 1) -> float:
    """Return the largest probability that a rule with law ``p`` emits one of ``k`` independent drafts.

    It is ``1 - max_H (q(H)^k - p(H))``, the case ``joint_in(H) = q(H)^k`` of :func:`optimal_membership`, in double
    precision and for large vocabularies: a sort and two cumulative sums.

    Parameters
    ----------
    p, q
        Non-negative weights of target and draft, shape ``(V,)``; each is divided by its sum.
    k
        Number of drafts, at least 1.
    """
    target, draft = (np.asarray(law, np.float64) for law in _pair(p, q))
    k = _drafts(k)
    ratio = np.divide(target, draft, out=np.full(target.shape, np.inf), where=draft > 0)
    order = np.argsort(ratio)
    gain = np.cumsum(draft[order]) ** k - np.cumsum(target[order])
    return float(1.0 - max(0.0, gain.max()))


@dataclass(frozen=True)
class OptimalAcceptance:
    """The best rate over all rules, with the proof that no rule is better.

    Parameters
    ----------
    value
        The rate of ``flow``.
    flow
        By set of drafts, how much of its probability goes to each token, shape ``(V,)``.
    cut
        The tokens ``H`` of a cut: no rule has a rate above ``p(H) + 1 - P(all drafts lie in H)``.
    gap
        The bound of the cut minus ``value``.
    """

    value: float
    flow: dict[frozenset[int], np.ndarray]
    cut: frozenset[int]
    gap: float


def _drafts(k: int) -> int:
    if k != int(k) or k < 1:
        raise ValueError(f"k, the number of drafts, has to be a positive integer; got {k}")
    return int(k)


def drafted_sets(q: Any, k: int, *, replacement: bool = True) -> dict[frozenset[int], Any]:
    """Return the law of the set of ``k`` drafts: what a rule can choose from, without order and repetition.

    Parameters
    ----------
    q
        Law of a draft, shape ``(V,)``.
    k
        Number of drafts. Without replacement at most the number of possible tokens, and it is lowered to that.
    replacement
        False: each draft has the law ``q`` on the tokens that are not drafted yet.

    Raises
    ------
    ValueError
        If there could be more than a million sets.
    """
    draft = _law("q", q)
    possible = [token for token in range(draft.size) if draft[token] > 0]
    k = _drafts(k) if replacement else min(_drafts(k), len(possible))
    if sum(math.comb(len(possible), size) for size in range(1, min(k, len(possible)) + 1)) > 10**6:
        raise ValueError(f"{k} drafts of {len(possible)} tokens have more than a million sets; use the closed forms")
    sets: dict[frozenset[int], Any] = {frozenset(): 1}
    for _ in range(k):
        following: dict[frozenset[int], Any] = {}
        for drafted, mass in sets.items():
            left = 1 if replacement else sum(draft[token] for token in possible if token not in drafted)
            for token in possible:
                if replacement or token not in drafted:
                    larger = drafted | {token}
                    following[larger] = following.get(larger, 0) + mass * draft[token] / left
        sets = following
    return sets


def acceptance_program(p: Any, sets: Mapping[frozenset[int], Any]) -> OptimalAcceptance:
    """Return the largest rate over all rules by a linear program, for any law of the drafts and a small vocabulary.

    Parameters
    ----------
    p
        The wanted law, shape ``(V,)``.
    sets
        The law of the set of drafts, as of :func:`drafted_sets`; probabilities that sum to one.

    Raises
    ------
    ValueError
        If the sets hold other tokens, or their probabilities are no law.
    RuntimeError
        If the program was not solved.

    References
    ----------
    Z. Sun et al., 2023, arXiv 2310.15141.
    Z. Hu et al., 2025, arXiv 2502.18779, for the cut.
    """
    target = np.asarray(_law("p", p), np.float64)
    V, drawn = target.size, list(sets)
    mass = np.array([float(sets[drafted]) for drafted in drawn])
    if not drawn or np.any(mass < 0) or not abs(mass.sum() - 1) < 1e-9:
        raise ValueError(f"the probabilities of the sets have to sum to one; got a sum of {mass.sum()}")
    if any(not drafted or min(drafted) < 0 or max(drafted) >= V for drafted in drawn):
        raise ValueError(f"each set has to hold tokens below {V}, and at least one")
    arcs = [(index, token) for index, drafted in enumerate(drawn) for token in sorted(drafted)]
    number = np.arange(len(arcs))
    source, sink = np.array(arcs).T
    capacity: Any = scipy.sparse.csr_array(
        (np.ones(2 * len(arcs)), (np.concatenate([source, len(drawn) + sink]), np.concatenate([number, number])))
    )
    limits = np.concatenate([mass, target])[: capacity.shape[0]]
    solved = scipy.optimize.linprog(
        -np.ones(len(arcs)),
        A_ub=capacity,
        b_ub=limits,
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if solved.status != 0 or solved.x is None:
        raise RuntimeError(f"the program of the acceptance was not solved: {solved.message}")
    # Prices of a maximum flow are 0 or 1, and those of 1 are a cut.
    prices = np.zeros(V)
    prices[: capacity.shape[0] - len(drawn)] = -solved.ineqlin.marginals[len(drawn) :]
    cut = frozenset(int(token) for token in np.flatnonzero(prices > 0.5))
    bound = target[list(cut)].sum() + sum(m for drafted, m in zip(drawn, mass, strict=True) if not drafted <= cut)
    flow = {drafted: np.zeros(V) for drafted in drawn}
    for (index, token), amount in zip(arcs, solved.x, strict=True):
        flow[drawn[index]][token] = amount
    value = float(solved.x.sum())
    return OptimalAcceptance(value, flow, cut, float(bound) - value)


def optimal_acceptance_without_replacement(p: Any, q: Any, k: int) -> Any:
    """Return the largest rate for ``k`` drafts without replacement, by the cuts of :func:`optimal_membership`.

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
    sets = drafted_sets(q, k, replacement=False)

    def joint_in(tokens: Any) -> Any:
        inside = {int(token) for token in tokens}
        return sum(mass for drafted, mass in sets.items() if drafted <= inside)

    return optimal_membership(p, q, joint_in)


def naive_acceptance(p: Any, q: Any, k: int = 1) -> Any:
    """Return the rate of drawing from ``p`` and looking whether the token was drafted, ``sum p (1 - (1 - q)^k)``."""
    target, draft = _pair(p, q)
    return (target * (1 - (1 - draft) ** _drafts(k))).sum()


def single_acceptance(p: Any, q: Any, k: int = 1) -> Any:
    """Return the rate of a rule for one draft, where its own token may happen to be one of ``k - 1`` more drafts."""
    target, draft = _pair(p, q)
    excess = np.where(target > draft, target - draft, 0 * target)
    return acceptance(p, q) + (excess * (1 - (1 - draft) ** (_drafts(k) - 1))).sum()


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
    target, draft = _pair(p, q)
    multiple: Any = 0
    left: Any = 1
    for _ in range(_drafts(k)):
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
    target, draft = _pair(p, q)
    if int(np.count_nonzero(draft)) ** (_drafts(k) - 1) > 10**6:
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

    return 1 - rejected(target, draft, _drafts(k))


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
    target, draft = (np.asarray(law, np.float64) for law in _pair(p, q))
    k = _drafts(k)

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
    target, draft = _pair(p, q)
    order = np.array(sorted(range(draft.size), key=lambda token: -draft[token]), dtype=np.int64)
    top, others = order[: _drafts(k) - 1], order[_drafts(k) - 1 :]
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
    target, draft = _pair(p, q)
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
    target, draft = _pair(p, q)
    k = _drafts(k)
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
    target, draft = _pair(p, q)
    k = _drafts(k)
    total: Any = 0
    for j in range(target.size):
        if target[j] > 0 and draft[j] > 0:
            left, right = target / target[j], draft / draft[j]
            total = total + k / (np.where(left > right, left, right).sum() + (k - 1) / target[j])
    return total


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
            target, draft = _pair(P[prefix], Q[prefix])
            for token, (wanted, drafted) in enumerate(zip(target, draft, strict=True)):
                if wanted > 0 and drafted > 0:
                    following[(*prefix, token)] = mass * min(wanted, drafted)
        alive = following
        total = total + sum(alive.values())
    return total


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
    target, proposal = _pair(p, q)
    if any(wanted > 0 and not proposed > 0 for wanted, proposed in zip(target, proposal, strict=True)):
        return RejectionCost(math.inf, 0.0, math.inf)
    bound = max(wanted / proposed for wanted, proposed in zip(target, proposal, strict=True) if proposed > 0)
    return RejectionCost(bound, 1 / bound, bound * (bound - 1))


def best_of_n_law(p: Any, reward: Any, n: int) -> np.ndarray:
    """Return the law of the draw with the largest reward of ``n`` draws from ``p``, ties broken at random.

    ``[F(r)^n - F(r-)^n] p / p(level)`` with the distribution function ``F`` of the reward.

    Parameters
    ----------
    p
        Weights of the outcomes, shape ``(V,)``.
    reward
        Of each outcome, shape ``(V,)``.
    n
        Number of draws.
    """
    law, r = _law("p", p), np.asarray(reward)
    if r.shape != law.shape or any(value != value for value in r):
        raise ValueError(f"expected a reward, not NaN, for each of {law.size} outcomes; got shape {r.shape}")
    if n != int(n) or n < 1:
        raise ValueError(f"n, the number of draws, has to be a positive integer; got {n}")
    values, level = np.unique(r, return_inverse=True)
    masses = np.zeros(values.size, law.dtype)
    np.add.at(masses, level, law)
    up_to = np.cumsum(masses)
    powers = up_to ** int(n) - (up_to - masses) ** int(n)
    share = np.array([power / mass if mass > 0 else 0 * mass for power, mass in zip(powers, masses, strict=True)])
    out: np.ndarray = share[level] * law
    return out


def best_of_n_divergence(p: Any, reward: Any, n: int) -> tuple[float, float]:
    """Return the divergence ``KL(best of n | p)`` and its bound ``log n - (n - 1) / n``.

    The bound is attained if no two outcomes have one reward and each has a small probability.

    Parameters
    ----------
    p, reward, n
        As for :func:`best_of_n_law`.

    References
    ----------
    A. Beirami et al., 2024, Theoretical guarantees on the best-of-n alignment policy, arXiv 2401.01879.
    """
    law = np.asarray(_law("p", p), np.float64)
    best = np.asarray(best_of_n_law(p, reward, n), np.float64)
    used = best > 0
    return float(np.sum(best[used] * np.log(best[used] / law[used]))), math.log(n) - (n - 1) / n
