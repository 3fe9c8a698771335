"""Which inputs of a program can influence which of its outputs."""

from collections.abc import Sequence
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from ergodica.samplers.scan_layout import scan_layout

__all__ = ["called", "input_influence"]


def input_influence(jaxpr: Jaxpr, inputs: Sequence[frozenset[Any]]) -> list[frozenset[Any]]:
    """Return the labels of the inputs that can influence each output.

    Parameters
    ----------
    jaxpr
        The program.
    inputs
        Labels of its inputs.
    """
    nothing: frozenset[Any] = frozenset()
    known: dict[Any, frozenset[Any]] = dict(zip(jaxpr.invars, inputs, strict=True))

    def read(variable: Any) -> frozenset[Any]:
        return nothing if isinstance(variable, Literal) else known.get(variable, nothing)

    for equation in jaxpr.eqns:
        given = [read(variable) for variable in equation.invars]
        union = nothing.union(*given) if given else nothing
        name, body = equation.primitive.name, called(equation)
        if not union:
            found = [nothing] * len(equation.outvars)
        elif body is not None:
            found = input_influence(body.jaxpr, given)
        elif name == "scan":
            found = _scan_labels(equation, given)
        else:
            found = [union] * len(equation.outvars)
        known.update(zip(equation.outvars, found, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _scan_labels(equation: Any, given: list[frozenset[Any]]) -> list[frozenset[Any]]:
    """Go around the loop until the carried labels no longer grow."""
    consts, carried = scan_layout(equation.params)
    body = equation.params["jaxpr"].jaxpr
    carry = given[consts : consts + carried]
    while True:
        found = input_influence(body, [*given[:consts], *carry, *given[consts + carried :]])
        grown = [old | new for old, new in zip(carry, found, strict=False)]
        if grown == carry:
            return [*carry, *found[carried:]]
        carry = grown


def called(equation: Any) -> ClosedJaxpr | None:
    """Return the program that an equation merely calls, such as one under ``jit``."""
    if equation.primitive.name in ("scan", "while", "cond"):
        return None
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        body = equation.params.get(name)
        if isinstance(body, Jaxpr) and not body.constvars:
            body = ClosedJaxpr(body, ())
        if isinstance(body, ClosedJaxpr) and len(body.jaxpr.invars) == len(equation.invars):
            return body
    return None
