# rules are named after their primitives
"""Rules of sort and of the largest entries."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from ergodica.samplers.lowering.elementwise import total_order
from ergodica.samplers.lowering.emitter import Emitter
from ergodica.samplers.lowering.program import Equation
from ergodica.samplers.lowering.rules import general
from ergodica.samplers.lowering.values import I64, Value, View, contiguous_strides

__all__: list[str] = []

INT64 = np.dtype(np.int64)
_POINTER = types.CPointer(types.int64)
_SORT = types.int64(_POINTER, _POINTER, _POINTER, types.int64)


def stable_order(keys: Any, order: Any, spare: Any, size: int) -> int:
    """Sort the numbers in ``order`` by ``keys[number]``; equal ones stay in order. Insertion, then merging."""
    run = 16
    for first in range(0, size, run):
        for position in range(first + 1, min(first + run, size)):
            moving = order[position]
            key = keys[moving]
            place = position
            while place > first and keys[order[place - 1]] > key:
                order[place] = order[place - 1]
                place -= 1
            order[place] = moving
    while run < size:
        for first in range(0, size, 2 * run):
            middle, end = min(first + run, size), min(first + 2 * run, size)
            left, right = first, middle
            for place in range(first, end):
                if left < middle and (right >= end or keys[order[left]] <= keys[order[right]]):
                    spare[place] = order[left]
                    left += 1
                else:
                    spare[place] = order[right]
                    right += 1
        for place in range(size):
            order[place] = spare[place]
        run *= 2
    return 0


def _sort_key(emitter: Emitter, value: Any, dtype: np.dtype[Any]) -> Any:
    """Return a signed 64-bit integer in the order of XLA's sort: both zeros are equal, and NaN comes last."""
    b = emitter.builder
    if dtype.kind == "f":
        zero, nan = ir.Constant(value.type, 0.0), ir.Constant(value.type, float("nan"))
        value = b.select(b.fcmp_ordered("==", value, zero), zero, value)
        value = b.select(b.fcmp_unordered("uno", value, value), nan, value)
        key = total_order(b, dtype, value)
        return key if dtype.itemsize == 8 else b.sext(key, I64)
    if dtype.kind == "i":
        return value if dtype.itemsize == 8 else b.sext(value, I64)
    if dtype.itemsize == 8 and dtype.kind == "u":
        return b.xor(value, ir.Constant(I64, -(2**63)))
    return b.zext(value, I64)


def _orders(emitter: Emitter, keys: list[View], at: list[Any], axis: int, work: tuple[View, View, View]) -> View:
    """Return the order that sorts one line along ``axis``, by the first key, then by the next ones."""
    column, order, spare = work
    length = keys[0].shape[axis]
    for number in emitter.range(length):
        emitter.store(emitter.pointer_at(order, [number]), number, INT64)
    for key in reversed(keys):
        for number in emitter.range(length):
            value = emitter.entry(key, [*at[:axis], number, *at[axis:]])
            emitter.store(emitter.pointer_at(column, [number]), _sort_key(emitter, value, key.dtype), INT64)
        emitter.helper(
            stable_order, column.pointer, order.pointer, spare.pointer, emitter.index(length), signature=_SORT
        )
    return order


def _work(emitter: Emitter, length: int) -> tuple[View, View, View]:
    first, second, third = (emitter.allocate((max(length, 1),), INT64) for _ in range(3))
    return first, second, third


def _with_strides(view: View) -> View:
    return View(view.shape, view.dtype, contiguous_strides(view.shape), view.pointer, view.root, view.owned)


@general("sort")
def sort(emitter: Emitter, equation: Equation, *operands: Value) -> list[Value]:
    axis, count = equation.params["dimension"], equation.params["num_keys"]
    shape = operands[0].shape
    if equation.outputs[0].size <= 1:
        return list(operands)
    views = [emitter.view(operand) for operand in operands]
    targets = [emitter.allocate(shape, view.dtype) for view in views]
    work = _work(emitter, shape[axis])
    for at in emitter.indices([*shape[:axis], *shape[axis + 1 :]]):
        order = _orders(emitter, views[:count], at, axis, work)
        for number in emitter.range(shape[axis]):
            source = emitter.load(emitter.pointer_at(order, [number]), INT64)
            for view, target in zip(views, targets, strict=True):
                value = emitter.entry(view, [*at[:axis], source, *at[axis:]])
                emitter.store(emitter.pointer_at(target, [*at[:axis], number, *at[axis:]]), value, view.dtype)
    return list(targets)


@general("top_k")
def top_k(emitter: Emitter, equation: Equation, x: Value) -> list[Value]:
    """Return the largest entries, NaN before all others, equal ones in order, and where they were."""
    axis = equation.params.get("axis", len(x.shape) - 1) % len(x.shape)
    values, places = (emitter.allocate(out.shape, out.dtype) for out in equation.outputs)
    if not values.size:
        return [values, places]
    b, view, length = emitter.builder, emitter.view(x), x.shape[axis]
    column, order, spare = _work(emitter, length)
    for at in emitter.indices([*x.shape[:axis], *x.shape[axis + 1 :]]):
        for number in emitter.range(length):
            value = emitter.entry(view, [*at[:axis], number, *at[axis:]])
            key = b.not_(_top_key(emitter, value, x.dtype))  # in descending order
            emitter.store(emitter.pointer_at(column, [number]), key, INT64)
            emitter.store(emitter.pointer_at(order, [number]), number, INT64)
        emitter.helper(
            stable_order, column.pointer, order.pointer, spare.pointer, emitter.index(length), signature=_SORT
        )
        for number in emitter.range(values.shape[axis]):
            source = emitter.load(emitter.pointer_at(order, [number]), INT64)
            place = [*at[:axis], number, *at[axis:]]
            value = emitter.entry(view, [*at[:axis], source, *at[axis:]])
            emitter.store(emitter.pointer_at(values, place), value, x.dtype)
            index = b.trunc(source, ir.IntType(32)) if places.dtype.itemsize == 4 else source
            emitter.store(emitter.pointer_at(places, place), index, places.dtype)
    return [emitter.from_view(values), emitter.from_view(places)]


def _top_key(emitter: Emitter, value: Any, dtype: np.dtype[Any]) -> Any:
    if dtype.kind != "f":
        return _sort_key(emitter, value, dtype)
    key = total_order(emitter.builder, dtype, value)  # by the total order: -0 is less than 0
    return key if dtype.itemsize == 8 else emitter.builder.sext(key, I64)
