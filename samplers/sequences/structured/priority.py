"""Priority sampling for programs: different strings in a fixed order, without chance."""

import heapq
from collections.abc import Callable
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Int

from ergodica.samplers import inputs
from ergodica.samplers.claim import Claim, Exactness
from ergodica.samplers.sequences.structured.stochastic_beam_search import host_law

__all__ = ["PrioritySearch"]


class PrioritySearch(eqx.Module):
    """Returns the greedy string, then at each turn the greedy completion of the likeliest token not taken so far.

    The tokens passed over on the way wait in a queue, each with its probability given its own prefix. These are not the
    most probable strings, which best-first search by the probability of whole prefixes would find; and no draws: the name
    *priority sampling* also belongs to the estimator :class:`ThresholdWeights`.

    Parameters
    ----------
    n
        Number of strings.
    length
        Most tokens of a string.
    end
        Token that ends a string; ``None`` if all strings have ``length`` tokens.

    Raises
    ------
    ValueError, TypeError
        If a count is no positive integer.

    References
    ----------
    D. Grubisic et al., 2024, Priority sampling of large language models for compilers, arXiv 2402.18734.
    """

    n: int = eqx.field(static=True)
    length: int = eqx.field(static=True)
    end: int | None = eqx.field(static=True)

    def __init__(self, n: int, length: int, end: int | None = None) -> None:
        self.n = inputs.static_count("n", n)
        self.length = inputs.static_count("length", length)
        self.end = None if end is None else inputs.static_count("end", end, at_least=0)

    @property
    def claim(self) -> Claim:
        """No law: deterministic."""
        return Claim(
            Exactness.HEURISTIC,
            "deterministic: different strings, the greedy one first; all strings if there are at most n",
            source="Grubisic et al. 2024, arXiv 2402.18734",
        )

    def search(self, law: Callable[[tuple[int, ...]], Any]) -> Int[np.ndarray, "m length"]:
        """Return the strings in the order in which they are found.

        Parameters
        ----------
        law
            ``law(prefix)`` returns the weights of the next token, shape ``(V,)``.

        Returns
        -------
        int array of shape (m, length)
            -1 after an end. ``m`` is ``n``, or the number of strings if there are fewer.
        """
        found: list[tuple[int, ...]] = []
        # Ties are broken by age: the first token that was put in comes out first.
        waiting: list[tuple[float, int, tuple[int, ...]]] = [(-1.0, 0, ())]
        age = 1
        while waiting and len(found) < self.n:
            prefix = heapq.heappop(waiting)[2]
            while len(prefix) < self.length and not (prefix and prefix[-1] == self.end):
                weights = host_law(law, prefix)
                best = int(np.argmax(weights))
                for token in np.flatnonzero(weights).tolist():
                    if token != best:
                        heapq.heappush(waiting, (-float(weights[token]), age, (*prefix, token)))
                        age += 1
                prefix = (*prefix, best)
            found.append(prefix)
        out = np.full((len(found), self.length), -1)
        for row, string in enumerate(found):
            out[row, : len(string)] = string
        return out
