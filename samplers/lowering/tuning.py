"""Warm-up as one compiled loop: the steps of all chains in turn, and the tuner after each."""

import collections
import threading
from functools import partial
from typing import Any

import jax
from jaxtyping import Array, Int, PRNGKeyArray

from ergodica.samplers.chunks import Record, Tuned, tune_steps
from ergodica.samplers.lowering.errors import CannotLower
from ergodica.samplers.lowering.lower import Lowered, lower
from ergodica.samplers.lowering.run import kind_of
from ergodica.samplers.tuning.tuner import Tuner

__all__ = ["can_tune", "tune_compiled"]

_MOST_REMEMBERED = 16
_remembered: collections.OrderedDict[Any, Lowered | CannotLower] = collections.OrderedDict()
_compiling = threading.Lock()


def _lowered(tuner: Tuner, tuned: Tuned, key: PRNGKeyArray, number: Any, capacity: int) -> Lowered:
    kind = (kind_of(tuner), kind_of(tuned), kind_of(key), capacity)
    with _compiling:
        if kind not in _remembered:
            # Chains one after another: the loops inside a step end when their own chain is through.
            function = partial(tune_steps, capacity=capacity, method="sequential")
            try:
                _remembered[kind] = lower(function, tuner, tuned, key, number, number)
            except CannotLower as error:
                _remembered[kind] = error
            if len(_remembered) > _MOST_REMEMBERED:
                _remembered.popitem(last=False)
        _remembered.move_to_end(kind)
        found = _remembered[kind]
    if isinstance(found, CannotLower):
        raise found
    return found


def can_tune(tuner: Tuner, tuned: Tuned, key: PRNGKeyArray, capacity: int) -> str:
    """Return why this warm-up cannot be compiled; empty if it can."""
    number = jax.ShapeDtypeStruct((), jax.numpy.int32)  # type: ignore[no-untyped-call]
    try:
        _lowered(tuner, tuned, key, number, capacity)
    except CannotLower as error:
        return " ".join(str(error).split())
    return ""


def tune_compiled(
    tuner: Tuner,
    tuned: Tuned,
    key: PRNGKeyArray,
    first: Int[Array, ""],
    count: Int[Array, ""],
    *,
    capacity: int,
) -> tuple[Tuned, Record]:
    """Do what :func:`ergodica.samplers.chunks.tune_steps` does, without XLA and on one thread.

    Raises
    ------
    CannotLower
        If the kernel, its target or the tuner uses what the compiled host does not have.
    """
    out: tuple[Tuned, Record] = _lowered(tuner, tuned, key, first, capacity)(tuner, tuned, key, first, count)
    return out
