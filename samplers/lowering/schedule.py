"""The order of the equations, and which of them share a loop.

Elementwise equations of one shape, and reductions of their results to a scalar, are gathered into one loop as long as
their operands are there. Their intermediate results then never see memory. Everything else keeps its order as far as the
operands allow.
"""

import dataclasses

from ergodica.samplers.lowering.program import Equation, Program, Variable
from ergodica.samplers.lowering.rules import RULES

__all__ = ["Step", "schedule"]


@dataclasses.dataclass(eq=False)
class Step:
    """Equations that are emitted together.

    Parameters
    ----------
    equations
        In an order that respects their operands.
    shape
        Shape of the loop that they share, ``None`` for a single equation that brings its own.
    """

    equations: list[Equation]
    shape: tuple[int, ...] | None = None


def loop_shape(equation: Equation) -> tuple[int, ...] | None:
    """Return the shape of the loop that an equation may share, ``None`` if it has none to share."""
    rule = RULES[equation.name]
    if rule.kind == "elementwise":
        return equation.outputs[0].shape
    operand = equation.inputs[0] if equation.inputs else None
    if (
        rule.kind == "reduction"
        and operand is not None
        and set(equation.params["axes"]) == set(range(len(operand.shape)))
    ):
        return operand.shape
    return None


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def schedule(program: Program) -> list[Step]:
    """Return the steps of a program."""
    equations = program.equations
    shapes = [loop_shape(equation) for equation in equations]
    waits = [{v for v in equation.inputs if isinstance(v, Variable)} for equation in equations]
    done: set[Variable] = set(program.inputs)
    left = list(range(len(equations)))
    steps: list[Step] = []

    def ready(index: int) -> bool:
        return waits[index] <= done

    def take(indices: list[int], shape: tuple[int, ...] | None) -> None:
        steps.append(Step([equations[i] for i in indices], shape))
        for i in indices:
            done.update(equations[i].outputs)
        gone = set(indices)
        left[:] = [i for i in left if i not in gone]

    def is_cheap(index: int) -> bool:
        shape = shapes[index]
        return RULES[equations[index].name].kind == "view" or (shape is not None and _size(shape) == 1)

    while left:
        cheap: list[int] = []
        for index in left:
            if is_cheap(index) and ready(index):
                cheap.append(index)
                done.update(equations[index].outputs)
        if cheap:
            for index in cheap:
                shape = shapes[index]
                steps.append(Step([equations[index]], shape))
            gone = set(cheap)
            left[:] = [i for i in left if i not in gone]
            continue
        first = next((i for i in left if shapes[i] is not None and ready(i)), None)
        if first is not None:
            shape, inside, members = shapes[first], set(done), []
            for index in left:
                if shapes[index] == shape and waits[index] <= inside:
                    members.append(index)
                    if RULES[equations[index].name].kind == "elementwise":
                        inside.update(equations[index].outputs)
            take(members, shape)
            continue
        candidates = [i for i in left if ready(i)]
        calm = [i for i in candidates if not RULES[equations[i].name].updates]
        take([(calm or candidates)[0]], None)
    return steps
