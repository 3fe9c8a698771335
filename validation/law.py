"""Laws with finite support: what enumeration returns."""

import dataclasses
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree


def outcome_key(outcome: PyTree, decimals: int = 12) -> Hashable:
    """Return a hashable stand-in for an outcome; floats are compared after rounding to ``decimals`` places."""
    leaves, treedef = jax.tree.flatten(outcome)
    parts = []
    for leaf in leaves:
        array = np.asarray(leaf)
        if np.issubdtype(array.dtype, np.floating):
            array = np.round(array.astype(np.float64), decimals) + 0.0  # + 0.0 turns -0.0 into 0.0
        parts.append((array.shape, array.tobytes()))
    return str(treedef), tuple(parts)


def _plain(leaf: Any) -> Any:
    array = np.asarray(leaf)
    return array.item() if array.ndim == 0 else array.tolist()


@dataclasses.dataclass(frozen=True, eq=False)
class Law:
    """A probability law with finite support.

    Parameters
    ----------
    support
        The outcomes, pytrees of NumPy arrays, without repetition.
    probabilities
        Their probabilities, in the same order, shape ``(len(support),)``.
    num_paths
        How many paths of the program led to them.
    truncated
        Mass of the paths that were cut off because their probability fell below the asked minimum; 0 by default.
    """

    support: tuple[PyTree, ...]
    probabilities: np.ndarray
    num_paths: int
    truncated: float = 0.0

    def __len__(self) -> int:
        return len(self.support)

    def __iter__(self) -> Iterator[tuple[PyTree, float]]:
        return zip(self.support, self.probabilities.tolist(), strict=True)

    def as_dict(self) -> dict[Hashable, float]:
        """Return probabilities by outcome, in the form of :func:`outcome_key`."""
        return {outcome_key(outcome): probability for outcome, probability in self}

    def probability(self, outcome: PyTree) -> float:
        """Return the probability of an outcome; zero if it is not in the support.

        Parameters
        ----------
        outcome
            What the program returns; an array may be given as nested lists.
        """
        for candidate, probability in self:
            if isinstance(candidate, np.ndarray | np.generic):
                same = _plain(candidate) == _plain(outcome)
            else:
                leaves = zip(jax.tree.leaves(candidate), jax.tree.leaves(outcome), strict=True)
                same = all(_plain(mine) == _plain(wanted) for mine, wanted in leaves)
            if same:
                return probability
        return 0.0

    def expectation(self, function: Callable[[PyTree], Any]) -> Any:
        """Return the expectation of ``function(outcome)``."""
        values = np.asarray([np.asarray(function(outcome), dtype=np.float64) for outcome in self.support])
        return np.tensordot(self.probabilities, values, axes=1)

    def map(self, function: Callable[[PyTree], PyTree]) -> "Law":
        """Return the law of ``function(outcome)``; outcomes that become equal merge."""
        return merged(
            [jax.tree.map(np.asarray, function(outcome)) for outcome in self.support],
            self.probabilities,
            num_paths=self.num_paths,
            truncated=self.truncated,
        )

    def vector(self, size: int) -> np.ndarray:
        """Return the probabilities of ``0, ..., size - 1``, for a law over one integer.

        Raises
        ------
        ValueError
            If an outcome is not an integer in that range.
        """
        out = np.zeros(size)
        for outcome, probability in self:
            value = _plain(outcome)
            if not isinstance(value, int) or not 0 <= value < size:
                raise ValueError(f"the law has the outcome {value!r}, which is no integer in [0, {size})")
            out[value] += probability
        return out

    def total_variation(self, other: "Law") -> float:
        """Return half the sum of absolute differences to another law."""
        mine, theirs = self.as_dict(), other.as_dict()
        return 0.5 * sum(abs(mine.get(key, 0.0) - theirs.get(key, 0.0)) for key in mine.keys() | theirs.keys())

    def __str__(self) -> str:
        lines = [f"Law with {len(self)} outcomes from {self.num_paths} paths"]
        if self.truncated:
            lines[0] += f" (mass {self.truncated:.3g} cut off)"
        order = np.argsort(-self.probabilities, kind="stable")
        for index in order[:20]:
            shown = jax.tree.map(_plain, self.support[index])
            bar = "#" * round(40 * float(self.probabilities[index]))
            lines.append(f"  {self.probabilities[index]:.6f}  {shown}  {bar}")
        if len(self) > 20:
            lines.append(f"  ... and {len(self) - 20} more")
        return "\n".join(lines)


def merged(outcomes: list[PyTree], probabilities: np.ndarray, *, num_paths: int, truncated: float = 0.0) -> Law:
    """Make a law from outcomes that may repeat."""
    where: dict[Hashable, int] = {}
    support: list[PyTree] = []
    totals: list[float] = []
    for outcome, probability in zip(outcomes, np.asarray(probabilities).tolist(), strict=True):
        key = outcome_key(outcome)
        if key in where:
            totals[where[key]] += probability
        else:
            where[key] = len(support)
            support.append(outcome)
            totals.append(probability)
    return Law(tuple(support), np.asarray(totals), num_paths, truncated)
