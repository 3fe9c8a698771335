"""A function on the host as a model of sequences."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from ergodica.samplers.inputs import static_count
from ergodica.samplers.sequences.model import Prefix, SequenceModel, as_rows

__all__ = ["FunctionModel"]


class FunctionModel(SequenceModel):
    """The model that a function computes, in NumPy or in whatever runs on the host.

    Parameters
    ----------
    function
        From a list of prefixes, tuples of tokens, to weights of the next token, shape ``(len(prefixes), V)``.
    vocabulary_size
        Number of tokens ``V``.

    Examples
    --------
    >>> from ergodica.samplers.sequences.function_model import FunctionModel
    >>> coin = FunctionModel(lambda prefixes: [[1, 1 + sum(prefix)] for prefix in prefixes], 2)
    >>> print(coin.laws([(), (1, 1)]))
    [[0.5  0.5 ]
     [0.25 0.75]]
    """

    def __init__(self, function: Callable[[list[Prefix]], Any], vocabulary_size: int) -> None:
        self.function = function
        self.vocabulary_size = static_count("vocabulary_size", vocabulary_size)

    def laws(self, prefixes: Sequence[Prefix]) -> Float[np.ndarray, "B V"]:
        """Return the laws of the next token; see :meth:`SequenceModel.laws`."""
        rows = as_rows("the model", self.function(list(prefixes)), self.vocabulary_size)
        if rows.shape != (len(prefixes), self.vocabulary_size):
            raise ValueError(f"the model has to return a row for each of {len(prefixes)} prefixes; got {rows.shape}")
        return rows
