"""NumPy meanings of JAX primitives, for many paths at once.

A rule gets the operands of an equation with one leading axis of paths each (of length one where all paths agree), in
the order of the equation, and returns the result in the same form. Primitives without a rule are evaluated by JAX
itself, slower; a rule only has to exist where it pays.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special

Rule = Callable[..., np.ndarray]

RULES: dict[str, Rule] = {}
"""Rules by the primitive's name: ``rule(*operands, **params)``."""


def _truncated_division(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if np.issubdtype(x.dtype, np.integer):
        quotient = np.abs(x) // np.where(y == 0, 1, np.abs(y))
        return np.where(y == 0, -1, quotient * np.sign(x) * np.sign(y))
    return np.true_divide(x, y)


def _remainder(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if np.issubdtype(x.dtype, np.integer):
        return np.where(y == 0, x, np.fmod(x, np.where(y == 0, 1, y)))
    return np.fmod(x, y)


def _rsqrt(x: np.ndarray) -> np.ndarray:
    return 1 / np.sqrt(x)


def _population_count(x: np.ndarray) -> np.ndarray:
    return np.bitwise_count(x.view(x.dtype.str.replace("i", "u")))  # NumPy counts the bits of the absolute value


def _logistic(x: np.ndarray) -> np.ndarray:
    return scipy.special.expit(x)  # type: ignore[no-any-return]


_ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "add_any": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": _truncated_division,
    "rem": _remainder,
    "neg": np.negative,
    "sign": np.sign,
    "abs": np.abs,
    "max": np.maximum,
    "min": np.minimum,
    "pow": np.power,
    "exp": np.exp,
    "exp2": np.exp2,
    "log": np.log,
    "log1p": np.log1p,
    "expm1": np.expm1,
    "sqrt": np.sqrt,
    "rsqrt": _rsqrt,
    "cbrt": np.cbrt,
    "logistic": _logistic,
    "tanh": np.tanh,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "atan2": np.arctan2,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "erf": scipy.special.erf,
    "erfc": scipy.special.erfc,
    "lgamma": scipy.special.gammaln,
    "floor": np.floor,
    "ceil": np.ceil,
    "is_finite": np.isfinite,
    "square": np.square,
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "nextafter": np.nextafter,
    "population_count": _population_count,
    "shift_left": np.left_shift,
    "shift_right_arithmetic": np.right_shift,
    "copy": np.asarray,
    "copy_p": np.asarray,
    "stop_gradient": np.asarray,
    "optimization_barrier": np.asarray,
}


def _align(operands: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    """Put axes of length one behind the path axis, so that ranks agree."""
    rank = max(op.ndim for op in operands)
    return [op.reshape(op.shape[0], *(1,) * (rank - op.ndim), *op.shape[1:]) for op in operands]


def _elementwise(function: Callable[..., Any]) -> Rule:
    def rule(*operands: np.ndarray, **params: Any) -> np.ndarray:
        del params
        return np.asarray(function(*_align(operands)))

    return rule


for _name, _function in _ELEMENTWISE.items():
    RULES[_name] = _elementwise(_function)


def _bitwise(on_bool: Callable[..., Any], on_int: Callable[..., Any]) -> Rule:
    def rule(*operands: np.ndarray, **params: Any) -> np.ndarray:
        del params
        function = on_bool if operands[0].dtype == np.bool_ else on_int
        return np.asarray(function(*_align(operands)))

    return rule


RULES["and"] = _bitwise(np.logical_and, np.bitwise_and)
RULES["or"] = _bitwise(np.logical_or, np.bitwise_or)
RULES["xor"] = _bitwise(np.logical_xor, np.bitwise_xor)
RULES["not"] = _bitwise(np.logical_not, np.bitwise_not)


def _rule(name: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        RULES[name] = rule
        return rule

    return register


@_rule("integer_pow")
def _integer_pow(x: np.ndarray, *, y: int, **params: Any) -> np.ndarray:
    del params
    return np.asarray(np.power(x, y) if y >= 0 else 1 / np.power(x, -y))


@_rule("round")
def _round(x: np.ndarray, **params: Any) -> np.ndarray:
    if int(params["rounding_method"]) == 1:
        return np.asarray(np.round(x))
    return np.trunc(x + np.copysign(0.5, x))


@_rule("clamp")
def _clamp(low: np.ndarray, x: np.ndarray, high: np.ndarray, **params: Any) -> np.ndarray:
    del params
    low, x, high = _align((low, x, high))
    return np.minimum(np.maximum(x, low), high)


@_rule("select_n")
def _select_n(which: np.ndarray, *options: np.ndarray, **params: Any) -> np.ndarray:
    del params
    which, *rest = _align((which, *options))
    if len(rest) == 2:
        return np.where(which.astype(bool), rest[1], rest[0])
    return np.choose(which, rest)


@_rule("convert_element_type")
def _convert(x: np.ndarray, *, new_dtype: Any, **params: Any) -> np.ndarray:
    del params
    return x.astype(new_dtype)


@_rule("broadcast_in_dim")
def _broadcast_in_dim(
    x: np.ndarray, *, shape: tuple[int, ...], broadcast_dimensions: tuple[int, ...], **params: Any
) -> np.ndarray:
    del params
    inner = [1] * len(shape)
    for axis, length in zip(broadcast_dimensions, x.shape[1:], strict=True):
        inner[axis] = length
    return np.broadcast_to(x.reshape(x.shape[0], *inner), (x.shape[0], *shape))


@_rule("reshape")
def _reshape(x: np.ndarray, *, new_sizes: tuple[int, ...], **params: Any) -> np.ndarray:
    del params
    return x.reshape(x.shape[0], *new_sizes)


@_rule("squeeze")
def _squeeze(x: np.ndarray, *, dimensions: tuple[int, ...], **params: Any) -> np.ndarray:
    del params
    return np.squeeze(x, axis=tuple(axis + 1 for axis in dimensions))


@_rule("expand_dims")
def _expand_dims(x: np.ndarray, *, dimensions: tuple[int, ...], **params: Any) -> np.ndarray:
    del params
    return np.expand_dims(x, tuple(axis + 1 for axis in dimensions))


@_rule("transpose")
def _transpose(x: np.ndarray, *, permutation: tuple[int, ...], **params: Any) -> np.ndarray:
    del params
    return np.transpose(x, (0, *(axis + 1 for axis in permutation)))


@_rule("rev")
def _rev(x: np.ndarray, *, dimensions: tuple[int, ...], **params: Any) -> np.ndarray:
    del params
    return np.flip(x, tuple(axis + 1 for axis in dimensions))


@_rule("concatenate")
def _concatenate(*operands: np.ndarray, dimension: int, **params: Any) -> np.ndarray:
    del params
    rows = max(op.shape[0] for op in operands)
    return np.concatenate([np.broadcast_to(op, (rows, *op.shape[1:])) for op in operands], axis=dimension + 1)


@_rule("slice")
def _slice(
    x: np.ndarray,
    *,
    start_indices: tuple[int, ...],
    limit_indices: tuple[int, ...],
    strides: tuple[int, ...] | None,
    **params: Any,
) -> np.ndarray:
    del params
    steps = strides or (1,) * len(start_indices)
    index = tuple(slice(a, b, c) for a, b, c in zip(start_indices, limit_indices, steps, strict=True))
    return x[(slice(None), *index)]


def _start_index(x: np.ndarray, starts: tuple[np.ndarray, ...], sizes: tuple[int, ...]) -> tuple[int, tuple[Any, ...]]:
    """Return the number of paths and an index of the windows that begin at ``starts``, clamped as XLA does."""
    rows = max(x.shape[0], *(start.shape[0] for start in starts)) if starts else x.shape[0]
    rank = len(sizes)
    index: list[Any] = [
        np.arange(rows).reshape(rows, *(1,) * rank) if x.shape[0] > 1 else np.zeros((1,) * (rank + 1), int)
    ]
    for axis, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        first = np.clip(start.astype(np.int64), 0, x.shape[axis + 1] - size).reshape(-1, *(1,) * rank)
        offsets = np.arange(size).reshape(1, *(1,) * axis, size, *(1,) * (rank - axis - 1))
        index.append(first + offsets)
    return rows, tuple(index)


@_rule("dynamic_slice")
def _dynamic_slice(x: np.ndarray, *starts: np.ndarray, slice_sizes: tuple[int, ...], **params: Any) -> np.ndarray:
    del params
    _, index = _start_index(x, starts, slice_sizes)
    return x[index]


@_rule("dynamic_update_slice")
def _dynamic_update_slice(x: np.ndarray, update: np.ndarray, *starts: np.ndarray, **params: Any) -> np.ndarray:
    del params
    rows = max(x.shape[0], update.shape[0], *(start.shape[0] for start in starts)) if starts else x.shape[0]
    out = np.array(np.broadcast_to(x, (rows, *x.shape[1:])))
    _, index = _start_index(out, starts, update.shape[1:])
    out[index] = update
    return out


def _reduction(function: Callable[..., Any]) -> Rule:
    def rule(x: np.ndarray, *, axes: tuple[int, ...], **params: Any) -> np.ndarray:
        del params
        return np.asarray(function(x, axis=tuple(axis + 1 for axis in axes)))

    return rule


RULES["reduce_sum"] = _reduction(np.sum)
RULES["reduce_prod"] = _reduction(np.prod)
RULES["reduce_max"] = _reduction(np.max)
RULES["reduce_min"] = _reduction(np.min)
RULES["reduce_and"] = _reduction(np.all)
RULES["reduce_or"] = _reduction(np.any)


@_rule("argmax")
def _argmax(x: np.ndarray, *, axes: tuple[int, ...], **params: Any) -> np.ndarray:
    del params
    return np.argmax(x, axis=axes[0] + 1)


@_rule("argmin")
def _argmin(x: np.ndarray, *, axes: tuple[int, ...], **params: Any) -> np.ndarray:
    del params
    return np.argmin(x, axis=axes[0] + 1)


def _cumulative(function: Callable[..., Any]) -> Rule:
    def rule(x: np.ndarray, *, axis: int, reverse: bool, **params: Any) -> np.ndarray:
        del params
        if reverse:
            return np.flip(function(np.flip(x, axis + 1), axis=axis + 1), axis + 1)
        return np.asarray(function(x, axis=axis + 1))

    return rule


RULES["cumsum"] = _cumulative(np.cumsum)
RULES["cumprod"] = _cumulative(np.cumprod)
RULES["cummax"] = _cumulative(np.maximum.accumulate)
RULES["cummin"] = _cumulative(np.minimum.accumulate)


@_rule("iota")
def _iota(*, dtype: Any, shape: tuple[int, ...], dimension: int, **params: Any) -> np.ndarray:
    del params
    lengths = [1] * len(shape)
    lengths[dimension] = shape[dimension]
    return np.broadcast_to(np.arange(shape[dimension], dtype=dtype).reshape(lengths), shape)[None]


@_rule("dot_general")
def _dot_general(x: np.ndarray, y: np.ndarray, *, dimension_numbers: Any, **params: Any) -> np.ndarray:
    del params
    (x_contract, y_contract), (x_batch, y_batch) = dimension_numbers
    letters = iter("bcdefghijklmnopqrstuvwxyz")
    x_names = [""] * (x.ndim - 1)
    y_names = [""] * (y.ndim - 1)
    for i, j in [*zip(x_batch, y_batch, strict=True), *zip(x_contract, y_contract, strict=True)]:
        x_names[i] = y_names[j] = next(letters)
    x_names = [name or next(letters) for name in x_names]
    y_names = [name or next(letters) for name in y_names]
    out = [x_names[i] for i in x_batch]
    out += [name for i, name in enumerate(x_names) if i not in (*x_batch, *x_contract)]
    out += [name for j, name in enumerate(y_names) if j not in (*y_batch, *y_contract)]
    rows = max(x.shape[0], y.shape[0])
    x, y = (np.broadcast_to(op, (rows, *op.shape[1:])) for op in (x, y))
    return np.einsum(f"a{''.join(x_names)},a{''.join(y_names)}->a{''.join(out)}", x, y)


@_rule("split")
def _split_rule(x: np.ndarray, *, sizes: tuple[int, ...], axis: int, **params: Any) -> Any:
    del params
    return np.split(x, np.cumsum(sizes)[:-1], axis=axis + 1)
