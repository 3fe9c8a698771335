# rules are named after their primitives
"""Rules of primitives that rearrange entries. Most are views: the memory stays, shape and strides change."""

import itertools
import math
from typing import Any

from ergodica.samplers.lowering.emitter import Emitter
from ergodica.samplers.lowering.program import Equation
from ergodica.samplers.lowering.rules import general, view
from ergodica.samplers.lowering.values import Affine, Scalar, Splat, Value, View, contiguous_strides

__all__: list[str] = []


def _same(value: Scalar | Splat, shape: tuple[int, ...]) -> Value:
    kind = Scalar if math.prod(shape) == 1 else Splat
    return kind(shape, value.dtype, value.value)


@view("iota")
def iota(emitter: Emitter, equation: Equation) -> Value:
    out = equation.outputs[0]
    axis = equation.params["dimension"]
    if out.size == 1:
        return Scalar(out.shape, out.dtype, emitter.const(0, out.dtype))
    return Affine(out.shape, out.dtype, tuple(int(position == axis) for position in range(len(out.shape))))


@view("empty", "empty2")
def empty(emitter: Emitter, equation: Equation) -> Value:
    out = equation.outputs[0]
    return _same(Splat(out.shape, out.dtype, emitter.const(0, out.dtype)), out.shape)


@view("broadcast_in_dim")
def broadcast_in_dim(emitter: Emitter, equation: Equation, x: Value) -> Value:
    shape, axes = equation.outputs[0].shape, equation.params["broadcast_dimensions"]
    if isinstance(x, Scalar | Splat):
        return _same(x, shape)
    strides = [0] * len(shape)
    for length, stride, axis in zip(x.shape, x.strides, axes, strict=True):
        strides[axis] = 0 if length == 1 else stride
    return _restrided(emitter, x, shape, tuple(strides))


def _restrided(emitter: Emitter, x: View | Affine, shape: tuple[int, ...], strides: tuple[int, ...]) -> Value:
    if isinstance(x, Affine):
        if math.prod(shape) == 1:
            return Scalar(shape, x.dtype, emitter.const(x.start, x.dtype))
        return Affine(shape, x.dtype, strides, x.start)
    return emitter.from_view(View(shape, x.dtype, strides, x.pointer, x.root, x.owned))


@view("reshape")
def reshape(emitter: Emitter, equation: Equation, x: Value) -> Value:
    if equation.params.get("dimensions") is not None:
        raise equation.refuse("it reshapes in another order than row by row; transpose first")
    shape = equation.outputs[0].shape
    if isinstance(x, Scalar | Splat):
        return _same(x, shape)
    strides = _reshaped_strides(x.shape, x.strides, shape)
    if strides is None:
        x = emitter.contiguous(x)
        strides = contiguous_strides(shape)
    return _restrided(emitter, x, shape, strides)


def _reshaped_strides(old: tuple[int, ...], strides: tuple[int, ...], new: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the strides of a reshaped view, ``None`` if the entries have to move."""
    if math.prod(old) == 0:
        return contiguous_strides(new)
    axes = [(length, stride) for length, stride in zip(old, strides, strict=True) if length != 1]
    out: list[int] = []
    position = 0
    pending: list[int] = []  # lengths of new axes that together make up some old axes
    wanted = 1
    for length in new:
        if length == 1:
            pending.append(1)
            continue
        pending.append(length)
        wanted *= length
        have, end = 1, position
        while have < wanted and end < len(axes):
            have *= axes[end][0]
            end += 1
        if have != wanted:
            continue
        group = axes[position:end]
        for (_, outer), (inner_length, inner) in itertools.pairwise(group):
            if outer != inner * inner_length:
                return None
        step, part = group[-1][1], []
        for size in reversed(pending):
            part.append(0 if size == 1 else step)
            step *= size
        out += reversed(part)
        position, pending, wanted = end, [], 1
    if wanted != 1 or position != len(axes):
        return None
    return tuple(out + [0] * len(pending))


@view("squeeze")
def squeeze(emitter: Emitter, equation: Equation, x: Value) -> Value:
    shape = equation.outputs[0].shape
    if isinstance(x, Scalar | Splat):
        return _same(x, shape)
    gone = set(equation.params["dimensions"])
    strides = tuple(stride for axis, stride in enumerate(x.strides) if axis not in gone)
    return _restrided(emitter, x, shape, strides)


@view("expand_dims")
def expand_dims(emitter: Emitter, equation: Equation, x: Value) -> Value:
    return reshape(emitter, equation, x)


@view("transpose")
def transpose(emitter: Emitter, equation: Equation, x: Value) -> Value:
    if isinstance(x, Scalar | Splat):
        return _same(x, equation.outputs[0].shape)
    order = equation.params["permutation"]
    return _restrided(emitter, x, tuple(x.shape[axis] for axis in order), tuple(x.strides[axis] for axis in order))


@view("rev")
def rev(emitter: Emitter, equation: Equation, x: Value) -> Value:
    if isinstance(x, Scalar | Splat):
        return x
    axes = set(equation.params["dimensions"])
    start = [length - 1 if axis in axes else 0 for axis, length in enumerate(x.shape)]
    strides = tuple(-stride if axis in axes else stride for axis, stride in enumerate(x.strides))
    return _moved(emitter, x, start, x.shape, strides)


def _moved(
    emitter: Emitter, x: View | Affine, start: list[Any], shape: tuple[int, ...], strides: tuple[int, ...]
) -> Value:
    """Return the part of ``x`` that begins at the index ``start``, of constants."""
    if math.prod(shape) == 0:
        return emitter.allocate(shape, x.dtype)
    if isinstance(x, Affine):
        first = x.start + sum(index * stride for index, stride in zip(start, x.strides, strict=True))
        return _restrided(emitter, Affine(x.shape, x.dtype, x.strides, first), shape, strides)
    pointer = emitter.pointer_at(x, start)
    return emitter.from_view(View(shape, x.dtype, strides, pointer, x.root, x.owned))


@view("slice")
def slice_(emitter: Emitter, equation: Equation, x: Value) -> Value:
    shape = equation.outputs[0].shape
    if isinstance(x, Scalar | Splat):
        return _same(x, shape) if math.prod(shape) else emitter.allocate(shape, x.dtype)
    steps = equation.params["strides"] or (1,) * len(shape)
    strides = tuple(stride * step for stride, step in zip(x.strides, steps, strict=True))
    return _moved(emitter, x, list(equation.params["start_indices"]), shape, strides)


@view("split")
def split(emitter: Emitter, equation: Equation, x: Value) -> list[Value]:
    if isinstance(x, Scalar | Splat):
        return [_same(x, out.shape) if out.size else emitter.allocate(out.shape, x.dtype) for out in equation.outputs]
    axis, first, parts = equation.params["axis"], 0, []
    for out in equation.outputs:
        start = [first if position == axis else 0 for position in range(len(x.shape))]
        parts.append(_moved(emitter, x, start, out.shape, x.strides))
        first += out.shape[axis]
    return parts


@view("unstack")
def unstack(emitter: Emitter, equation: Equation, x: Value) -> list[Value]:
    axis = equation.params["axis"]
    if isinstance(x, Scalar | Splat):
        return [_same(x, out.shape) for out in equation.outputs]
    strides = tuple(stride for position, stride in enumerate(x.strides) if position != axis)
    parts = []
    for number, out in enumerate(equation.outputs):
        start = [number if position == axis else 0 for position in range(len(x.shape))]
        whole = View(x.shape, x.dtype, x.strides, x.pointer, x.root, x.owned) if isinstance(x, View) else x
        parts.append(_moved(emitter, whole, start, out.shape, strides))
    return parts


@general("concatenate")
def concatenate(emitter: Emitter, equation: Equation, *parts: Value) -> Value:
    out, axis = equation.outputs[0], equation.params["dimension"]
    if out.size == 1:
        (only,) = [part for part in parts if math.prod(part.shape)]
        return only
    target = emitter.allocate(out.shape, out.dtype)
    first = 0
    for part in parts:
        if math.prod(part.shape):
            pointer = emitter.pointer_at(
                target, [first if position == axis else 0 for position in range(len(out.shape))]
            )
            emitter.copy(part, View(part.shape, out.dtype, target.strides, pointer, target.root, owned=True))
        first += part.shape[axis]
    return target


@general("stack")
def stack(emitter: Emitter, equation: Equation, *parts: Value) -> Value:
    out, axis = equation.outputs[0], equation.params["axis"]
    if out.size == 1:
        return _same(parts[0], out.shape)  # type: ignore[arg-type]
    target = emitter.allocate(out.shape, out.dtype)
    strides = tuple(stride for position, stride in enumerate(target.strides) if position != axis)
    for number, part in enumerate(parts):
        if math.prod(part.shape):
            at = [number if position == axis else 0 for position in range(len(out.shape))]
            emitter.copy(
                part, View(part.shape, out.dtype, strides, emitter.pointer_at(target, at), target.root, owned=True)
            )
    return target


@general("tile")
def tile(emitter: Emitter, equation: Equation, x: Value) -> Value:
    out = equation.outputs[0]
    if isinstance(x, Scalar | Splat):
        return _same(x, out.shape)
    target = emitter.allocate(out.shape, out.dtype)
    if not out.size:
        return target
    for number in emitter.indices([o // i if i else 0 for o, i in zip(out.shape, x.shape, strict=True)]):
        at = [emitter.builder.mul(n, emitter.index(length)) for n, length in zip(number, x.shape, strict=True)]
        emitter.copy(
            x, View(x.shape, out.dtype, target.strides, emitter.pointer_at(target, at), target.root, owned=True)
        )
    return target


@general("pad")
def pad(emitter: Emitter, equation: Equation, x: Value, filling: Value) -> Value:
    """Put entries apart and fill what is between and around them; negative margins cut entries off."""
    out, config = equation.outputs[0], equation.params["padding_config"]
    fill = Splat(out.shape, out.dtype, emitter.entry(filling, [0] * len(filling.shape)))
    if not out.size or not math.prod(x.shape):
        return _same(fill, out.shape) if out.size else emitter.allocate(out.shape, out.dtype)
    target = emitter.allocate(out.shape, out.dtype)
    emitter.copy(fill, target)
    start, first, counts = [], [], []
    for length, size, (low, _, interior) in zip(x.shape, out.shape, config, strict=True):
        step = interior + 1
        begin = max(0, -(low // step))  # the first entry that is not cut off
        end = min(length, (size - 1 - low) // step + 1)
        if end <= begin:
            return emitter.from_view(target)
        first.append(begin)
        counts.append(end - begin)
        start.append(low + begin * step)
    strides = tuple(stride * (interior + 1) for stride, (_, _, interior) in zip(target.strides, config, strict=True))
    pointer = emitter.pointer_at(target, start)
    if isinstance(x, Scalar | Splat):
        part: Value = _same(x, tuple(counts))
    else:
        part = _moved(emitter, x, first, tuple(counts), x.strides)
    emitter.copy(part, View(tuple(counts), out.dtype, strides, pointer, target.root, owned=True))
    return emitter.from_view(target)
