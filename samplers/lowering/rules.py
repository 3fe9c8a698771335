"""The table of rules: how each primitive of JAX is lowered.

The files of the rules fill it when they are imported, by decorators. A rule for a primitive of scalars reads::

    @elementwise("square")
    def square(lane: Lane, x: Value) -> Value:
        return lane.builder.fmul(x, x) if lane.is_float else lane.builder.mul(x, x)
"""

import dataclasses
import functools
import importlib
from collections.abc import Callable
from typing import Any, Literal

import jax

__all__ = [
    "EXPANSIONS",
    "REFUSED",
    "RULES",
    "Rule",
    "elementwise",
    "expand",
    "general",
    "load_rules",
    "reduction",
    "view",
]

Kind = Literal["elementwise", "reduction", "view", "general"]


@dataclasses.dataclass(frozen=True)
class Rule:
    """How one primitive is lowered.

    Parameters
    ----------
    kind
        ``"elementwise"``: scalars in, scalars out. ``"reduction"``: over axes. ``"view"``: costs nothing, so it is
        never delayed. ``"general"``: anything else.
    emit
        The function that writes the instructions.
    updates
        Whether it would like to overwrite its first operand: it is then put after the other readers of that operand.
    """

    kind: Kind
    emit: Any
    updates: bool = False


RULE_FILES = (
    "control",
    "elementwise",
    "indexing",
    "linear_algebra",
    "native_calls",
    "oracle",
    "random_bits",
    "reductions",
    "shape_rules",
    "sorting",
    "special",
)
"""The files that fill the table."""

RULES: dict[str, Rule] = {}
"""Rules by the name of the primitive."""

EXPANSIONS: dict[str, Callable[[list[Any], dict[str, Any]], Any]] = {}
"""Primitives that are replaced by a traced function of others: from abstract operands and parameters to a jaxpr."""

REFUSED: dict[str, str] = {
    "shard_map": "programs for several devices run on the XLA host",
    "pmap": "programs for several devices run on the XLA host",
    "xla_pmap": "programs for several devices run on the XLA host",
    "pure_callback": "it calls Python, which a compiled loop cannot; run on the XLA host",
    "io_callback": "it calls Python, which a compiled loop cannot; run on the XLA host",
    "debug_callback": "it calls Python, which a compiled loop cannot; remove the print, or run on the XLA host",
    "debug_print": "it calls Python, which a compiled loop cannot; remove the print, or run on the XLA host",
}
"""Primitives that are not lowered, and why."""


def _put(names: tuple[str, ...], rule: Rule) -> None:
    for name in names:
        if name in RULES:
            raise ValueError(f"the primitive {name!r} has a rule already")
        RULES[name] = rule


def elementwise(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register ``emit(lane, *values)``, which computes one entry of the result from those of the operands."""

    def register(emit: Callable[..., Any]) -> Callable[..., Any]:
        _put(names, Rule("elementwise", emit))
        return emit

    return register


def reduction(*names: str) -> Callable[[Any], Any]:
    """Register a reduction over ``params["axes"]``; see :mod:`ergodica.samplers.lowering.reductions`."""

    def register(emit: Any) -> Any:
        _put(names, Rule("reduction", emit))
        return emit

    return register


def view(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register ``emit(emitter, equation, *operands) -> values`` that mostly reinterprets memory."""

    def register(emit: Callable[..., Any]) -> Callable[..., Any]:
        _put(names, Rule("view", emit))
        return emit

    return register


def general(*names: str, updates: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register ``emit(emitter, equation, *operands) -> values``."""

    def register(emit: Callable[..., Any]) -> Callable[..., Any]:
        _put(names, Rule("general", emit, updates))
        return emit

    return register


def expand(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function ``f(*arrays, **params)`` of JAX that is traced in place of the primitive."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        def trace(avals: list[Any], params: dict[str, Any]) -> Any:
            call = functools.partial(function, **params)
            return jax.make_jaxpr(lambda *operands: call(*operands))(*avals)

        for name in names:
            if name in EXPANSIONS or name in RULES:
                raise ValueError(f"the primitive {name!r} has a rule already")
            EXPANSIONS[name] = trace
        return function

    return register


@functools.cache
def load_rules() -> None:
    """Import the files of the rules."""
    for name in RULE_FILES:
        importlib.import_module(f"ergodica.samplers.lowering.{name}")
