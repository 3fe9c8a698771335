"""How many steps of a Metropolis chain a round of parallel evaluations makes."""

import heapq
import math
from typing import NamedTuple

__all__ = ["FutureNode", "expected_steps", "likely_futures"]


class FutureNode(NamedTuple):
    """A step of the chain that may come: its candidate is evaluated ahead of time.

    Parameters
    ----------
    parent
        Number of the step before; -1 for the next step of the chain.
    after_acceptance
        Whether this one follows if that step's candidate is accepted, or if it is rejected.
    depth
        How many steps lie before it.
    acceptances
        How many of those are acceptances: the number of candidates that have to be drawn one after another.
    probability
        That the chain comes here.
    """

    parent: int
    after_acceptance: bool
    depth: int
    acceptances: int
    probability: float


def likely_futures(evaluations: int, acceptance: float = 0.5) -> list[FutureNode]:
    """Return the nodes of the tree of decisions that the chain visits most probably, parents before children.

    Parameters
    ----------
    evaluations
        Number of nodes.
    acceptance
        Probability of every acceptance, in [0, 1]. With 1/2 and ``2^h - 1`` nodes it is the full tree of depth ``h``;
        with 0 the chain of rejections.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    References
    ----------
    A. E. Brockwell, 2006, Parallel Markov chain Monte Carlo simulation by pre-fetching, JCGS 15,
    doi:10.1198/106186006X100579; E. Angelino et al., 2014, arXiv:1403.7265.
    """
    if evaluations < 1 or not 0 <= acceptance <= 1:
        raise ValueError(f"expected at least one evaluation and a rate in [0, 1]; got {evaluations} and {acceptance}")
    nodes: list[FutureNode] = []
    # Ties go to the node that was found first, so that equal probabilities fill level after level.
    frontier = [(-1.0, 0, FutureNode(-1, False, 0, 0, 1.0))]
    found = 1
    while len(nodes) < evaluations:
        node = heapq.heappop(frontier)[2]
        nodes.append(node)
        for accepted, chance in ((False, 1 - acceptance), (True, acceptance)):
            probability = node.probability * chance
            child = FutureNode(len(nodes) - 1, accepted, node.depth + 1, node.acceptances + accepted, probability)
            heapq.heappush(frontier, (-probability, found, child))
            found += 1
    return nodes


def expected_steps(evaluations: int, acceptance: float, predicted: float | None = None) -> float:
    """Return the expected number of steps of a round: the sum over the evaluated nodes of the probability to visit them.

    Parameters
    ----------
    evaluations
        Candidates evaluated at once.
    acceptance
        The chain's acceptance rate, taken as independent of the past.
    predicted
        The rate by which the nodes were chosen; default: the same.

    Examples
    --------
    >>> expected_steps(7, 0.5)
    3.0
    >>> round(expected_steps(7, 0.25), 3), round(expected_steps(7, 0.25, predicted=0.5), 3)
    (3.538, 3.0)
    """
    if not 0 <= acceptance <= 1:
        raise ValueError(f"a rate lies in [0, 1]; got {acceptance}")
    visited: list[float] = []
    for node in likely_futures(evaluations, acceptance if predicted is None else predicted):
        before = 1.0 if node.parent < 0 else visited[node.parent]
        visited.append(
            before if node.parent < 0 else before * (acceptance if node.after_acceptance else 1 - acceptance)
        )
    return math.fsum(visited)
