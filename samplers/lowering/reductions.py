# rules are named after their primitives
"""Rules of reductions and of cumulative operations."""

from typing import Any

import numpy as np
from llvmlite import ir

from ergodica.samplers.lowering.elementwise import maximum, minimum
from ergodica.samplers.lowering.emitter import Emitter
from ergodica.samplers.lowering.lane import call_intrinsic, call_libm
from ergodica.samplers.lowering.program import Equation
from ergodica.samplers.lowering.rules import general, reduction
from ergodica.samplers.lowering.values import Scalar, Splat, Value, contiguous_strides, memory_type

__all__ = ["Reduction"]

# --- reductions ---------------------------------------------------------------------------------------------------------


class Reduction:
    """How entries are put together.

    Parameters
    ----------
    name
        ``"sum"``, ``"prod"``, ``"max"``, ``"min"``, ``"and"``, ``"or"`` or ``"xor"``.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def start(self, emitter: Emitter, dtype: np.dtype[Any]) -> Any:
        """Return what an empty reduction gives."""
        if self.name in ("max", "min") and dtype.kind != "b":
            if dtype.kind == "f":
                least, most = -np.inf, np.inf
            else:
                least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
            return emitter.const(least if self.name == "max" else most, dtype)
        if self.name in ("and", "min"):
            return emitter.const(1 if dtype.kind == "b" else -1, dtype)
        return emitter.const(1 if self.name == "prod" else 0, dtype)

    def combine(self, emitter: Emitter, dtype: np.dtype[Any], total: Any, value: Any, *, reorder: bool = False) -> Any:
        """Return the total with one more entry; sums of many numbers may be put together in any order."""
        builder = emitter.builder
        if self.name == "max":
            return maximum(builder, dtype, total, value)
        if self.name == "min":
            return minimum(builder, dtype, total, value)
        if self.name in ("and", "or", "xor"):
            return {"and": builder.and_, "or": builder.or_, "xor": builder.xor}[self.name](total, value)
        if dtype.kind == "f":
            flags = ("reassoc",) if reorder else ()
            return (builder.fadd if self.name == "sum" else builder.fmul)(total, value, flags=flags)
        return (builder.add if self.name == "sum" else builder.mul)(total, value)

    def over_axes(self, emitter: Emitter, equation: Equation, operand: Value) -> Value:
        """Reduce over some axes, in a loop of its own."""
        out, axes = equation.outputs[0], set(equation.params["axes"])
        kept = [axis for axis in range(len(operand.shape)) if axis not in axes]
        gone = [axis for axis in range(len(operand.shape)) if axis in axes]
        target = emitter.allocate(out.shape, out.dtype)
        start = self.start(emitter, out.dtype)
        if not out.size:
            return target
        place = [0] * len(operand.shape)

        def entry(indices: list[Any]) -> Any:
            return emitter.entry(operand, indices)

        strides = getattr(operand, "strides", contiguous_strides(operand.shape))
        if kept and kept[-1] == len(operand.shape) - 1 and strides[-1] != 0 and operand.shape[-1] >= 4:
            # The last axis stays: add whole rows to the result, which reads memory in order.
            emitter.copy(Splat(out.shape, out.dtype, start), target)
            for outer in emitter.indices([operand.shape[axis] for axis in gone]):
                for inner in emitter.indices(out.shape):
                    full = _merged(place, gone, outer, kept, inner)
                    pointer = emitter.pointer_at(target, inner)
                    total = emitter.load(pointer, out.dtype)
                    emitter.store(pointer, self.combine(emitter, out.dtype, total, entry(full)), out.dtype)
            return emitter.from_view(target)
        total = emitter.alloca(memory_type(out.dtype))
        count = int(np.prod([operand.shape[axis] for axis in gone]))
        for outer in emitter.indices(out.shape):
            emitter.store(total, start, out.dtype)
            for inner in emitter.indices([operand.shape[axis] for axis in gone]):
                full = _merged(place, kept, outer, gone, inner)
                value = self.combine(
                    emitter, out.dtype, emitter.load(total, out.dtype), entry(full), reorder=count >= 8
                )
                emitter.store(total, value, out.dtype)
            emitter.store(emitter.pointer_at(target, outer), emitter.load(total, out.dtype), out.dtype)
        return emitter.from_view(target)


def _merged(place: list[Any], axes: list[int], at: list[Any], others: list[int], there: list[Any]) -> list[Any]:
    full = list(place)
    for axis, index in zip([*axes, *others], [*at, *there], strict=True):
        full[axis] = index
    return full


for _name in ("sum", "prod", "max", "min", "and", "or", "xor"):
    reduction(f"reduce_{_name}")(Reduction(_name))


def _arg(emitter: Emitter, equation: Equation, x: Value, operator: str) -> Value:
    """Return the first index of the extreme entry; NaN counts as extreme."""
    builder, out = emitter.builder, equation.outputs[0]
    (axis,) = equation.params["axes"]
    dtype = x.dtype
    target = emitter.allocate(out.shape, out.dtype)
    best, where = emitter.alloca(memory_type(dtype)), emitter.alloca(memory_type(out.dtype))
    length = x.shape[axis]
    for outer in emitter.indices(out.shape):
        emitter.store(best, emitter.entry(x, [*outer[:axis], emitter.index(0), *outer[axis:]]), dtype)
        emitter.store(where, emitter.const(0, out.dtype), out.dtype)
        for number in emitter.range(length):
            value = emitter.entry(x, [*outer[:axis], number, *outer[axis:]])
            current = emitter.load(best, dtype)
            if dtype.kind == "f":
                better = builder.fcmp_ordered(operator, value, current)
                nan = builder.fcmp_unordered("uno", value, value)
                had = builder.fcmp_unordered("uno", current, current)
                better = builder.and_(builder.or_(better, nan), builder.not_(had))
            elif dtype.kind == "i":
                better = builder.icmp_signed(operator, value, current)
            else:
                better = builder.icmp_unsigned(operator, value, current)
            emitter.store(best, builder.select(better, value, current), dtype)
            index = number if out.dtype.itemsize == 8 else builder.trunc(number, memory_type(out.dtype))
            old = emitter.load(where, out.dtype)
            emitter.store(where, builder.select(better, index, old), out.dtype)
        emitter.store(emitter.pointer_at(target, outer), emitter.load(where, out.dtype), out.dtype)
    return emitter.from_view(target)


@general("argmax")
def argmax(emitter: Emitter, equation: Equation, x: Value) -> Value:
    return _arg(emitter, equation, x, ">")


@general("argmin")
def argmin(emitter: Emitter, equation: Equation, x: Value) -> Value:
    return _arg(emitter, equation, x, "<")


@general("reduce")
def reduce(emitter: Emitter, equation: Equation, *operands: Value) -> list[Value]:
    """Reduce by a program; the entries are taken in order."""
    count = len(operands) // 2
    arrays, starts = operands[:count], operands[count:]
    program, axes = equation.params["jaxpr"], list(equation.params["dimensions"])
    shape = arrays[0].shape
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    targets = [emitter.allocate(out.shape, out.dtype) for out in equation.outputs]
    slots = [emitter.alloca(memory_type(out.dtype)) for out in equation.outputs]
    for outer in emitter.indices(equation.outputs[0].shape):
        for slot, start in zip(slots, starts, strict=True):
            emitter.store(slot, emitter.entry(start, []), start.dtype)
        for inner in emitter.indices([shape[axis] for axis in axes]):
            full = _merged([0] * len(shape), kept, outer, axes, inner)
            totals = [
                Scalar((), start.dtype, emitter.load(slot, start.dtype))
                for slot, start in zip(slots, starts, strict=True)
            ]
            values = [Scalar((), array.dtype, emitter.entry(array, full)) for array in arrays]
            for slot, value in zip(slots, emitter.emit(program, [*totals, *values]), strict=True):
                emitter.store(slot, emitter.entry(value, []), value.dtype)
        for slot, target in zip(slots, targets, strict=True):
            emitter.store(emitter.pointer_at(target, outer), emitter.load(slot, target.dtype), target.dtype)
    return [emitter.from_view(target) for target in targets]


# --- cumulative operations ----------------------------------------------------------------------------------------------


def _log_add(emitter: Emitter, x: Any, y: Any) -> Any:
    """Return log(exp(x) + exp(y))."""
    builder = emitter.builder
    larger = call_intrinsic(builder, "llvm.maximum", x, y)
    difference = builder.fsub(x, y)
    tail = call_libm(builder, "log1p", call_intrinsic(builder, "llvm.exp", builder.fneg(
        call_intrinsic(builder, "llvm.fabs", difference))))  # fmt: skip
    equal = builder.fcmp_ordered("==", x, y)  # of two equal infinities the difference is NaN
    both = builder.fadd(x, ir.Constant(x.type, float(np.log(2.0))))
    return builder.select(equal, both, builder.fadd(larger, tail))


def _cumulative(emitter: Emitter, equation: Equation, x: Value, combine: Any) -> Value:
    axis, backwards = equation.params["axis"], equation.params["reverse"]
    shape, dtype = x.shape, x.dtype
    target = emitter.allocate(shape, dtype)
    if target.size == 0:
        return target
    length = shape[axis]
    total = emitter.alloca(memory_type(dtype))
    for outer in emitter.indices([*shape[:axis], *shape[axis + 1 :]]):
        for number in emitter.range(length):
            at = emitter.builder.sub(emitter.index(length - 1), number) if backwards else number
            full = [*outer[:axis], at, *outer[axis:]]
            value = emitter.entry(x, full)
            is_first = emitter.builder.icmp_signed("==", number, emitter.index(0))
            so_far = emitter.builder.select(is_first, value, combine(emitter.load(total, dtype), value))
            emitter.store(total, so_far, dtype)
            emitter.store(emitter.pointer_at(target, full), so_far, dtype)
        del outer
    return emitter.from_view(target)


for _name in ("sum", "prod", "max", "min"):

    @general(f"cum{_name}")
    def _cum(emitter: Emitter, equation: Equation, x: Value, _how: Reduction = Reduction(_name)) -> Value:  # noqa: B008
        return _cumulative(emitter, equation, x, lambda total, value: _how.combine(emitter, x.dtype, total, value))


@general("cumlogsumexp")
def cumlogsumexp(emitter: Emitter, equation: Equation, x: Value) -> Value:
    return _cumulative(emitter, equation, x, lambda total, value: _log_add(emitter, total, value))
