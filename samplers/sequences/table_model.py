"""A table of laws by prefix as a model of sequences."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from ergodica.samplers.sequences.model import Prefix, SequenceModel, as_rows

__all__ = ["TableModel"]


class TableModel(SequenceModel):
    """The model of a table, small enough that laws of whole texts can be written down.

    Parameters
    ----------
    table
        Weights of the next token by prefix, floats or fractions; the empty prefix is ``()``. What a prefix depends on may
        be its end only: the longest suffix that is listed counts.

    Raises
    ------
    ValueError
        If the table lacks the empty prefix, or a row is no law.
    """

    def __init__(self, table: Mapping[Prefix, Sequence[Any]]) -> None:
        if () not in table:
            raise ValueError("the table has no law after the empty prefix (), which all others fall back on")
        self.vocabulary_size = len(table[()])
        self.table = {
            tuple(prefix): as_rows(f"the table at {prefix}", [float(w) for w in weights], self.vocabulary_size)
            for prefix, weights in table.items()
        }
        self.depth = max(len(prefix) for prefix in self.table)

    def laws(self, prefixes: Sequence[Prefix]) -> Float[np.ndarray, "B V"]:
        """Return the laws of the next token; see :meth:`SequenceModel.laws`."""
        return (
            np.stack([self._law(tuple(prefix)) for prefix in prefixes])
            if prefixes
            else np.zeros((0, self.vocabulary_size))
        )

    def _law(self, prefix: Prefix) -> Float[np.ndarray, " V"]:
        for start in range(max(0, len(prefix) - self.depth), len(prefix)):
            if prefix[start:] in self.table:
                return self.table[prefix[start:]]
        return self.table[()]
