"""The largest probability that a rule which emits the law ``p`` emits one of its drafts: closed forms, and by linear program.

Vectors may hold floats or :class:`fractions.Fraction`; with fractions the cuts are exact, the program is not.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize
import scipy.sparse

from ergodica.theory.token_laws import checked_drafts, checked_law, checked_pair

__all__ = [
    "OptimalAcceptance",
    "acceptance_program",
    "drafted_sets",
    "optimal_acceptance",
    "optimal_acceptance_without_replacement",
    "optimal_membership",
]


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
    target, draft = checked_pair(p, q)
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
    target, draft = (np.asarray(law, np.float64) for law in checked_pair(p, q))
    k = checked_drafts(k)
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
    draft = checked_law("q", q)
    possible = [token for token in range(draft.size) if draft[token] > 0]
    k = checked_drafts(k) if replacement else min(checked_drafts(k), len(possible))
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
    target = np.asarray(checked_law("p", p), np.float64)
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
