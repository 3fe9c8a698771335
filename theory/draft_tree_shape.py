"""The best shape of a tree of drafts, if acceptance depends on the place among the siblings alone.

A node's child of rank ``r`` is the accepted one with probability ``rates[r]``, given that the node is accepted. A node is
then accepted with the product of the rates on its path, and the mean number of accepted drafts is the sum over the nodes.
The best shape follows by dynamic programming over the sizes of subtrees (Z. Chen et al., 2024, Sequoia, arXiv 2402.12374).
With fractions every result is exact.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ergodica.theory.draft_acceptance import recursive_rejection

__all__ = ["TreeShape", "accepted_by_shape", "best_tree_shape", "fastest_tree_shape", "rates_of_recursive_rejection"]


@dataclass(frozen=True)
class TreeShape:
    """A tree and its value.

    Parameters
    ----------
    parents
        The parent of each node from 1 on, 0 for the root; parents come first, and siblings in the order of their ranks.
    depth
        Largest number of drafts on a path.
    value
        Mean number of accepted drafts, or tokens per unit of time, as the function says that made it.
    """

    parents: tuple[int, ...]
    depth: int
    value: Any


def _checked(rates: Sequence[Any]) -> tuple[Any, ...]:
    total = sum(rates)
    if len(rates) == 0 or any(not rate >= 0 for rate in rates) or not total <= 1 + 1e-12:
        raise ValueError(f"rates have to be probabilities of exclusive events, one for each rank; got {list(rates)}")
    return tuple(rates)


def rates_of_recursive_rejection(p: Any, q: Any, k: int) -> list[Any]:
    """Return the probability that each of ``k`` independent drafts is the accepted one, under recursive rejection.

    Parameters
    ----------
    p, q
        Weights of target and draft, shape ``(V,)``.
    k
        Number of drafts.
    """
    reached = [0, *(recursive_rejection(p, q, count) for count in range(1, k + 1))]
    return [after - before for before, after in itertools.pairwise(reached)]


def accepted_by_shape(rates: Sequence[Any], parents: Sequence[int]) -> Any:
    """Return the mean number of accepted drafts of a tree, the sum over its nodes of the rates on their paths.

    Parameters
    ----------
    rates
        By rank among the siblings; children of larger rank are never accepted.
    parents
        The parent of each node from 1 on.
    """
    rates = _checked(rates)
    reached: list[Any] = [1]
    children = [0] * (len(parents) + 1)
    for parent in parents:
        rank = children[parent]
        reached.append(reached[parent] * rates[rank] if rank < len(rates) else 0)
        children[parent] += 1
    return sum(reached[1:])


def _best(rates: tuple[Any, ...]) -> Callable[[int, int, int], tuple[Any, tuple[int, ...]]]:
    """Return a function to the value and the sizes of the best children.

    Its arguments are the nodes to place, the depth left, and the rank of the first child.
    """

    @functools.cache
    def best(nodes: int, depth: int, rank: int) -> tuple[Any, tuple[int, ...]]:
        if nodes == 0 or depth == 0 or rank == len(rates):
            return 0, ()
        found: tuple[Any, tuple[int, ...]] = (0, ())
        for size in range(1, nodes + 1):  # of the subtree of the child of this rank
            others, sizes = best(nodes - size, depth, rank + 1)
            value = rates[rank] * (1 + best(size - 1, depth - 1, 0)[0]) + others
            if value > found[0]:
                found = (value, (size, *sizes))
        return found

    return best


def _parents(best: Callable[[int, int, int], tuple[Any, tuple[int, ...]]], nodes: int, depth: int) -> tuple[int, ...]:
    parents: list[int] = []

    def place(parent: int, count: int, left: int) -> None:
        for size in best(count, left, 0)[1]:
            parents.append(parent)
            place(len(parents), size - 1, left - 1)

    place(0, nodes, depth)
    return tuple(parents)


def best_tree_shape(rates: Sequence[Any], nodes: int, *, depth: int | None = None) -> TreeShape:
    """Return the tree with the most accepted drafts on average.

    Parameters
    ----------
    rates
        By rank among the siblings; they need not fall.
    nodes
        Number of drafts; fewer are used if more would not help.
    depth
        Largest depth; default: no bound.

    Returns
    -------
    TreeShape
        Its value is the mean number of accepted drafts.

    Raises
    ------
    ValueError
        If the rates are no probabilities of exclusive events, or the number of nodes is negative.
    """
    if nodes != int(nodes) or nodes < 0:
        raise ValueError(f"nodes, the number of drafts, has to be a non-negative integer; got {nodes}")
    depth = nodes if depth is None else min(depth, nodes)
    best = _best(_checked(rates))
    parents = _parents(best, nodes, depth)
    return TreeShape(parents, _depth(parents), best(nodes, depth, 0)[0])


def fastest_tree_shape(
    rates: Sequence[Any], nodes: int, depth: int, draft_cost: Any, target_cost: Callable[[int], Any]
) -> TreeShape:
    """Return the tree with the most tokens per unit of time.

    Parameters
    ----------
    rates
        By rank among the siblings.
    nodes, depth
        Largest number of drafts, and largest depth.
    draft_cost
        Time of a draft pass, of which there is one for each level.
    target_cost
        From the number of drafts to the time of the pass that verifies them, positive.

    Returns
    -------
    TreeShape
        Its value is ``(1 + E[tau]) / (depth draft_cost + target_cost(nodes))``.
    """
    best = _best(_checked(rates))
    found = TreeShape((), 0, 1 / target_cost(0))
    for levels in range(1, depth + 1):
        for count in range(levels, nodes + 1):
            value = (1 + best(count, levels, 0)[0]) / (levels * draft_cost + target_cost(count))
            if value > found.value:
                found = TreeShape(_parents(best, count, levels), levels, value)
    return found


def _depth(parents: Sequence[int]) -> int:
    depths = [0]
    for parent in parents:
        depths.append(depths[parent] + 1)
    return max(depths)
