"""How many drafts of a chain or tree the rules for blocks keep on average.

Models are tables of next-token laws by prefix. Weights may be floats or :class:`fractions.Fraction`; with fractions every
result is exact. For token-by-token verification see :func:`ergodica.theory.block_lengths.expected_accepted_in_context`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ergodica.theory.token_laws import checked_law, checked_pair

__all__ = ["accepted_by_block", "accepted_by_fixed_tree", "longest_common_prefix"]

Model = Mapping[tuple[int, ...], Sequence[Any]]


def _drafted(P: Model, Q: Model, gamma: int) -> Iterator[list[tuple[Any, Any, Any]]]:
    """Yield, for each length from 1 to ``gamma``, the probabilities of the drafted strings and their budgets.

    The entries are the probability under the target, that under the draft, and the budget of block verification.
    """
    if gamma != int(gamma) or gamma < 0:
        raise ValueError(f"gamma, the number of drafted tokens, has to be a non-negative integer; got {gamma}")
    level: dict[tuple[int, ...], tuple[Any, Any, Any]] = {(): (1, 1, 1)}
    for _ in range(int(gamma)):
        following = {}
        for prefix, (wanted, drawn, budget) in level.items():
            target, draft = checked_pair(P[prefix], Q[prefix])
            for token in range(target.size):
                if draft[token] > 0:
                    left = min(draft[token], budget * target[token]) / draft[token]
                    following[(*prefix, token)] = (wanted * target[token], drawn * draft[token], left)
        level = following
        yield list(level.values())


def accepted_by_block(P: Model, Q: Model, gamma: int) -> Any:
    """Return ``E[tau]`` of block verification, the most that an exact rule keeps of one chain.

    It is the sum over ``i`` of the mean of ``c_i = min(1, c_(i-1) P(x_i) / Q(x_i))`` over the first ``i`` drafts.

    Parameters
    ----------
    P, Q
        Laws of the next token of target and draft, by prefix.
    gamma
        Number of drafted tokens; the tables need all prefixes shorter than that.

    References
    ----------
    Z. Sun et al., ICLR 2025, arXiv 2403.10444.
    """
    return sum(drawn * budget for level in _drafted(P, Q, gamma) for _, drawn, budget in level)


def longest_common_prefix(P: Model, Q: Model, gamma: int) -> Any:
    """Return the largest mean length of the common prefix of a draft and an output, over all couplings of the two laws.

    It is the sum over all strings ``s`` of up to ``gamma`` tokens of ``min(P(s), Q(s))``. Reaching it takes further passes
    of both models, for the tokens after the common prefix.

    Parameters
    ----------
    P, Q
        Laws of the next token of target and draft, by prefix.
    gamma
        Number of drafted tokens.

    References
    ----------
    Zhou et al., ICLR 2026, arXiv 2601.05724.
    """
    return sum(min(wanted, drawn) for level in _drafted(P, Q, gamma) for wanted, drawn, _ in level)


def accepted_by_fixed_tree(P: Model, strings: Iterable[tuple[int, ...]]) -> Any:
    """Return ``E[tau]`` for drafts that form a fixed tree: the sum of the target's probabilities of its nodes.

    Parameters
    ----------
    P
        Laws of the next token of the target, by prefix.
    strings
        The string of tokens down to each node, the root left out.

    Raises
    ------
    ValueError
        If a node occurs twice, or a node's parent is no node.
    """
    nodes = [tuple(string) for string in strings]
    known: dict[tuple[int, ...], Any] = {(): 1}
    for string in sorted(nodes, key=len):
        if string in known or string[:-1] not in known:
            raise ValueError(
                f"the nodes are no tree: {string} occurs twice, or the node {string[:-1]} above it is missing"
            )
        known[string] = known[string[:-1]] * checked_law("P", P[string[:-1]])[string[-1]]
    return sum(known.values()) - 1
