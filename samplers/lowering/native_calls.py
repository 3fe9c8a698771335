# rules are named after their primitives
"""Rule of compiled cores: an operation of :mod:`ergodica.samplers.native` becomes a direct call of its core."""

import functools
import itertools
from typing import Any

import numba
from numba import types

from ergodica.samplers import native
from ergodica.samplers.lowering.emitter import Emitter
from ergodica.samplers.lowering.program import Equation
from ergodica.samplers.lowering.rules import general
from ergodica.samplers.lowering.values import Value

__all__: list[str] = []

_numbers = itertools.count()


@functools.lru_cache(maxsize=1024)
def _caller(core: Any, shapes: tuple[tuple[int, ...], ...]) -> Any:
    """Return a function of pointers that calls a core with arrays of these shapes; items without axes get one."""
    names = [f"p{number}" for number in range(len(shapes))]
    arrays = [f"carray({name}, {shape or (1,)})" for name, shape in zip(names, shapes, strict=True)]
    namespace: dict[str, Any] = {"carray": numba.carray, "core": core}
    # Numba remembers what it has compiled by the code alone, in which the core does not show: hence the number.
    call = f"call_{next(_numbers)}"
    exec(f"def {call}({', '.join(names)}):\n    core({', '.join(arrays)})\n    return 0\n", namespace)
    return namespace[call]


@general("ffi_call")
def ffi_call(emitter: Emitter, equation: Equation, *operands: Value) -> list[Value]:
    target = str(equation.params["target_name"])
    core = native.CORES.get(target)
    if core is None:
        raise equation.refuse(f"it calls {target!r}, which is compiled for XLA alone; run on the XLA host")
    num_inputs = len(operands)
    # The name of a target ends with a dtype and a number of axes for each operand and result.
    axes = [int(part.split("x")[-1]) for part in target.split(".")[-num_inputs - len(equation.outputs) :]]
    if any(variable.dtype.kind == "b" for variable in (*equation.inputs, *equation.outputs)):
        raise equation.refuse("cores work on numbers, not on bools")
    views = [emitter.contiguous(operand) for operand in operands]
    results = [emitter.allocate(out.shape, out.dtype) for out in equation.outputs]
    everything = [*views, *results]
    items = [view.shape[len(view.shape) - count :] for view, count in zip(everything, axes, strict=True)]
    batch = results[0].shape[: len(results[0].shape) - axes[num_inputs]]
    call = _caller(core, tuple(items))
    kinds = [types.CPointer(numba.from_dtype(view.dtype)) for view in everything]
    signature = types.int64(*kinds)
    for at in emitter.indices(batch):
        pointers = []
        for view, item in zip(everything, items, strict=True):
            heads = view.shape[: len(view.shape) - len(item)]
            # An axis of length one is shared by the batch.
            place = [
                0 if length == 1 else index for length, index in zip(heads, at[len(at) - len(heads) :], strict=True)
            ]
            pointers.append(emitter.pointer_at(view, [*place, *[0] * len(item)]))
        emitter.helper(call, *pointers, signature=signature)
    return [emitter.from_view(result) for result in results]
