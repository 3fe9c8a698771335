# rules are named after their primitives
"""Rules of slices with computed starts, gather and scatter."""

from typing import Any

import numpy as np
from jax import lax
from llvmlite import ir

from ergodica.samplers.lowering.emitter import Emitter
from ergodica.samplers.lowering.lane import convert
from ergodica.samplers.lowering.program import Equation
from ergodica.samplers.lowering.reductions import Reduction
from ergodica.samplers.lowering.rules import general, view
from ergodica.samplers.lowering.values import I1, I64, Affine, Scalar, Splat, Value, View

__all__: list[str] = []

INT64 = np.dtype(np.int64)
CLIP, FILL, PROMISE = (
    lax.GatherScatterMode.CLIP,
    lax.GatherScatterMode.FILL_OR_DROP,
    lax.GatherScatterMode.PROMISE_IN_BOUNDS,
)


def _wide(emitter: Emitter, value: Any, dtype: np.dtype[Any]) -> Any:
    """Return an index as a signed 64-bit integer; unsigned ones beyond its range become its maximum."""
    wide = convert(emitter.builder, value, dtype, INT64)
    if dtype == np.uint64:
        most = ir.Constant(I64, 2**63 - 1)
        wide = emitter.builder.select(emitter.builder.icmp_signed("<", wide, ir.Constant(I64, 0)), most, wide)
    return wide


def _clamped(emitter: Emitter, index: Any, largest: int) -> Any:
    b, zero, most = emitter.builder, ir.Constant(I64, 0), ir.Constant(I64, largest)
    if largest <= 0:
        return zero
    index = b.select(b.icmp_signed("<", index, zero), zero, index)
    return b.select(b.icmp_signed(">", index, most), most, index)


def _starts(emitter: Emitter, starts: tuple[Value, ...], shape: tuple[int, ...], sizes: tuple[int, ...]) -> list[Any]:
    """Return the starts of a window, moved so far that the window lies inside."""
    return [
        _clamped(emitter, _wide(emitter, emitter.entry(start, []), start.dtype), length - size)
        for start, length, size in zip(starts, shape, sizes, strict=True)
    ]


@view("dynamic_slice")
def dynamic_slice(emitter: Emitter, equation: Equation, x: Value, *starts: Value) -> Value:
    shape = equation.outputs[0].shape
    if isinstance(x, Scalar | Splat):
        return (Scalar if equation.outputs[0].size == 1 else Splat)(shape, x.dtype, x.value)
    if equation.outputs[0].size == 0:
        return emitter.allocate(shape, x.dtype)
    at = _starts(emitter, starts, x.shape, shape)
    if isinstance(x, Affine):
        if equation.outputs[0].size == 1:
            return Scalar(shape, x.dtype, emitter.entry(x, at))
        x = emitter.view(x)
    return emitter.from_view(View(shape, x.dtype, x.strides, emitter.pointer_at(x, at), x.root, x.owned))


@general("dynamic_update_slice", updates=True)
def dynamic_update_slice(emitter: Emitter, equation: Equation, x: Value, update: Value, *starts: Value) -> Value:
    if isinstance(x, Scalar):
        return update if equation.inputs[1].size else x
    if not equation.inputs[1].size:
        return x
    at = _starts(emitter, starts, x.shape, update.shape)
    target = emitter.writable(equation, equation.inputs[0], x)
    if isinstance(update, View) and update.root is target.root:
        moved = emitter.allocate(update.shape, update.dtype)
        emitter.copy(update, moved)
        update = moved
    emitter.copy(
        update, View(update.shape, x.dtype, target.strides, emitter.pointer_at(target, at), target.root, owned=True)
    )
    return target


# --- gather ---------------------------------------------------------------------------------------------------------------


def _mode(equation: Equation) -> Any:
    mode = lax.GatherScatterMode.from_any(equation.params["mode"])
    if mode not in (CLIP, FILL, PROMISE):
        raise equation.refuse(f"indices are treated by 'clip', 'fill' or 'promise_in_bounds'; got {mode}")
    return mode


def _window_start(emitter: Emitter, indices: Value, batch: list[Any], map_: tuple[int, ...], rank: int) -> list[Any]:
    """Return the start of a window on every axis of the operand, zero where the indices do not say."""
    start: list[Any] = [ir.Constant(I64, 0)] * rank
    for position, axis in enumerate(map_):
        entry = emitter.entry(indices, [*batch, emitter.index(position)])
        start[axis] = _wide(emitter, entry, indices.dtype)
    return start


def _inside(emitter: Emitter, start: list[Any], limits: list[int], axes: tuple[int, ...]) -> Any:
    b, inside = emitter.builder, ir.Constant(I1, 1)
    for axis in axes:
        low = b.icmp_signed(">=", start[axis], ir.Constant(I64, 0))
        high = b.icmp_signed("<=", start[axis], ir.Constant(I64, limits[axis]))
        inside = b.and_(inside, b.and_(low, high))
    return inside


def _fill_value(equation: Equation, dtype: np.dtype[Any]) -> Any:
    given = equation.params.get("fill_value")
    if given is not None:
        return given
    if dtype.kind == "f":
        return np.nan
    if dtype.kind == "i":
        return np.iinfo(dtype).min
    if dtype.kind == "u":
        return np.iinfo(dtype).max
    return 1 if dtype.kind == "b" else 2**64 - 1


@general("gather")
def gather(emitter: Emitter, equation: Equation, x: Value, indices: Value) -> Value:
    """Copy windows of the operand, each at the start that a vector of indices gives."""
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    mode, out, b = _mode(equation), equation.outputs[0], emitter.builder
    if not out.size:
        return emitter.allocate(out.shape, out.dtype)
    rank = len(x.shape)
    batching = tuple(getattr(numbers, "operand_batching_dims", ()))
    batch_of = tuple(getattr(numbers, "start_indices_batching_dims", ()))
    gone = set(numbers.collapsed_slice_dims) | set(batching)
    window_axes = [axis for axis in range(rank) if axis not in gone]
    offset_axes = set(numbers.offset_dims)
    batch_axes = [axis for axis in range(len(out.shape)) if axis not in offset_axes]
    limits = [length - size for length, size in zip(x.shape, sizes, strict=True)]
    fill = emitter.const(_fill_value(equation, out.dtype), out.dtype)
    if 0 in x.shape:
        return (Scalar if out.size == 1 else Splat)(out.shape, out.dtype, fill)
    x = emitter.view(x) if isinstance(x, Affine) else x
    target = emitter.allocate(out.shape, out.dtype)
    for batch in emitter.indices([out.shape[axis] for axis in batch_axes]):
        start = _window_start(emitter, indices, batch, numbers.start_index_map, rank)
        inside = _inside(emitter, start, limits, numbers.start_index_map)
        for axis in numbers.start_index_map:
            start[axis] = _clamped(emitter, start[axis], limits[axis])  # XLA clamps in every mode
        for axis, source in zip(batching, batch_of, strict=True):
            start[axis] = batch[source]
        for window in emitter.indices([sizes[axis] for axis in window_axes]):
            place, to = list(start), list(out.shape)
            for axis, index in zip(window_axes, window, strict=True):
                place[axis] = b.add(place[axis], index)
            for axis, index in zip([*batch_axes, *sorted(offset_axes)], [*batch, *window], strict=True):
                to[axis] = index
            value = emitter.entry(x, place)
            if mode == FILL:
                value = b.select(inside, value, fill)
            emitter.store(emitter.pointer_at(target, to), value, out.dtype)
    return emitter.from_view(target)


# --- scatter --------------------------------------------------------------------------------------------------------------


def _scatter(emitter: Emitter, equation: Equation, x: Value, indices: Value, updates: Value, how: str) -> Value:
    numbers, mode, b = equation.params["dimension_numbers"], _mode(equation), emitter.builder
    rank, out = len(x.shape), equation.outputs[0]
    target = emitter.writable(equation, equation.inputs[0], x)
    if not equation.inputs[2].size or not out.size:
        return emitter.from_view(target)
    if isinstance(updates, View) and updates.root is target.root:
        moved = emitter.allocate(updates.shape, updates.dtype)
        emitter.copy(updates, moved)
        updates = moved
    batching = tuple(getattr(numbers, "operand_batching_dims", ()))
    batch_of = tuple(getattr(numbers, "scatter_indices_batching_dims", ()))
    gone = set(numbers.inserted_window_dims) | set(batching)
    window_axes = [axis for axis in range(rank) if axis not in gone]
    update_window = sorted(numbers.update_window_dims)
    update_batch = [axis for axis in range(len(updates.shape)) if axis not in set(update_window)]
    sizes = [1] * rank
    for axis, position in zip(window_axes, update_window, strict=True):
        sizes[axis] = updates.shape[position]
    limits = [length - size for length, size in zip(x.shape, sizes, strict=True)]
    axes = numbers.scatter_dims_to_operand_dims
    for batch in emitter.indices([updates.shape[axis] for axis in update_batch]):
        start = _window_start(emitter, indices, batch, axes, rank)
        for axis, source in zip(batching, batch_of, strict=True):
            start[axis] = batch[source]
        if mode == CLIP:
            for axis in axes:
                start[axis] = _clamped(emitter, start[axis], limits[axis])
        inside = _inside(emitter, start, limits, axes)  # XLA drops windows that reach outside, in every mode
        with b.if_then(inside):
            for window in emitter.indices([sizes[axis] for axis in window_axes]):
                place, source_index = list(start), list(updates.shape)
                for axis, index in zip(window_axes, window, strict=True):
                    place[axis] = b.add(place[axis], index)
                for axis, index in zip([*update_batch, *update_window], [*batch, *window], strict=True):
                    source_index[axis] = index
                value = emitter.entry(updates, source_index)
                pointer = emitter.pointer_at(target, place)
                if how != "set":
                    value = _combined(emitter, out.dtype, how, emitter.load(pointer, out.dtype), value)
                emitter.store(pointer, value, out.dtype)
    return emitter.from_view(target)


def _combined(emitter: Emitter, dtype: np.dtype[Any], how: str, old: Any, value: Any) -> Any:
    if how == "sub":
        return emitter.builder.fsub(old, value) if dtype.kind == "f" else emitter.builder.sub(old, value)
    if dtype.kind == "b" and how in ("sum", "prod"):
        how = "or" if how == "sum" else "and"
    return Reduction(how).combine(emitter, dtype, old, value)


for _name, _how in {
    "scatter": "set",
    "scatter_add": "sum",
    "scatter-add": "sum",
    "scatter_sub": "sub",
    "scatter-sub": "sub",
    "scatter_mul": "prod",
    "scatter-mul": "prod",
    "scatter_min": "min",
    "scatter-min": "min",
    "scatter_max": "max",
    "scatter-max": "max",
}.items():

    @general(_name, updates=True)
    def _scatter_rule(
        emitter: Emitter, equation: Equation, x: Value, indices: Value, updates: Value, _how: str = _how
    ) -> Value:
        jaxpr = equation.params.get("update_jaxpr")
        if _how == "set" and jaxpr is not None and getattr(jaxpr, "eqns", None):
            raise equation.refuse("entries are set, or combined by add, mul, min or max; not by a function")
        return _scatter(emitter, equation, x, indices, updates, _how)
