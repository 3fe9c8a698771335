"""Where a compiled core takes its uniforms from: a counter-based generator, or an array that is given.

A core is made for a source, and calls ``open``, ``uniform`` and ``integer`` of it. From the generator it runs in
production; from given uniforms it is tied, outcome for outcome, to its reference.
"""

from typing import Any, NamedTuple

import numpy as np

from ergodica.samplers import counter_rng
from ergodica.samplers.native import compiled

__all__ = ["GENERATOR", "UNIFORMS", "Source"]


class Source(NamedTuple):
    """Where a core takes its randomness from.

    Parameters
    ----------
    name
        For the operation's name.
    dtype
        Dtype of the operation's first input.
    open
        ``open(input) -> handle``.
    uniform
        ``uniform(handle)``, in [0, 1).
    integer
        ``integer(handle, n)``, in ``0, ..., n - 1``.
    """

    name: str
    dtype: Any
    open: Any
    uniform: Any
    integer: Any


@compiled
def _open_array(uniforms):  # type: ignore[no-untyped-def]
    return uniforms, np.zeros(1, np.int64)


@compiled
def _next_of_array(handle):  # type: ignore[no-untyped-def]
    uniforms, cursor = handle
    cursor[0] += 1
    return np.float64(uniforms[cursor[0] - 1])


@compiled
def _integer_of_array(handle, n):  # type: ignore[no-untyped-def]
    return int(_next_of_array(handle) * n)


GENERATOR = Source("generator", np.uint32, counter_rng.stream, counter_rng.uniform, counter_rng.integer)
UNIFORMS = Source("uniforms", None, _open_array, _next_of_array, _integer_of_array)
