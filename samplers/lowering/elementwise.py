# rules are named after their primitives
"""Rules of elementwise primitives: arithmetic, comparisons, bits, conversions."""

from typing import Any

import numpy as np
from llvmlite import ir

from ergodica.samplers.lowering import vector_math
from ergodica.samplers.lowering.lane import Lane, call_intrinsic, convert, declare
from ergodica.samplers.lowering.rules import elementwise
from ergodica.samplers.lowering.values import llvm_type

__all__ = ["maximum", "minimum", "total_order"]

Value = Any

# --- arithmetic ---------------------------------------------------------------------------------------------------------


@elementwise("add", "add_any", "add_jaxvals")
def add(lane: Lane, x: Value, y: Value) -> Value:
    if lane.dtype.kind == "b":
        return lane.builder.or_(x, y)
    return lane.builder.fadd(x, y) if lane.is_float else lane.builder.add(x, y)


@elementwise("sub")
def sub(lane: Lane, x: Value, y: Value) -> Value:
    return lane.builder.fsub(x, y) if lane.is_float else lane.builder.sub(x, y)


@elementwise("mul")
def mul(lane: Lane, x: Value, y: Value) -> Value:
    if lane.dtype.kind == "b":
        return lane.builder.and_(x, y)
    return lane.builder.fmul(x, y) if lane.is_float else lane.builder.mul(x, y)


@elementwise("div")
def div(lane: Lane, x: Value, y: Value) -> Value:
    """Divide; integers by zero give -1, and the least integer by -1 gives itself."""
    b = lane.builder
    if lane.is_float:
        return b.fdiv(x, y)
    zero, safe = _safe_divisor(lane, x, y)
    quotient = b.sdiv(x, safe) if lane.is_signed else b.udiv(x, safe)
    if lane.is_signed:
        quotient = b.select(_overflows(lane, x, y), x, quotient)
    return b.select(zero, lane.const(-1 if lane.is_signed else np.iinfo(lane.dtype).max), quotient)


@elementwise("rem")
def rem(lane: Lane, x: Value, y: Value) -> Value:
    """Return the remainder with the sign of the dividend; of an integer by zero, the dividend."""
    b = lane.builder
    if lane.is_float:
        return lane.libm("fmod", x, y)
    zero, safe = _safe_divisor(lane, x, y)
    rest = b.srem(x, safe) if lane.is_signed else b.urem(x, safe)
    if lane.is_signed:
        rest = b.select(_overflows(lane, x, y), lane.const(0), rest)
    return b.select(zero, x, rest)


def _overflows(lane: Lane, x: Value, y: Value) -> Value:
    b = lane.builder
    least = b.icmp_signed("==", x, lane.const(np.iinfo(lane.dtype).min))
    return b.and_(least, b.icmp_signed("==", y, lane.const(-1)))


def _safe_divisor(lane: Lane, x: Value, y: Value) -> tuple[Value, Value]:
    b = lane.builder
    zero = b.icmp_signed("==", y, lane.const(0))
    bad = b.or_(zero, _overflows(lane, x, y)) if lane.is_signed else zero
    return zero, b.select(bad, lane.const(1), y)


@elementwise("neg")
def neg(lane: Lane, x: Value) -> Value:
    return lane.builder.fneg(x) if lane.is_float else lane.builder.neg(x)


@elementwise("abs")
def abs_(lane: Lane, x: Value) -> Value:
    if lane.is_float:
        return lane.intrinsic("llvm.fabs", x)
    if not lane.is_signed:
        return x
    return lane.select(lane.builder.icmp_signed("<", x, lane.const(0)), lane.builder.neg(x), x)


@elementwise("sign")
def sign(lane: Lane, x: Value) -> Value:
    b = lane.builder
    if lane.is_float:
        unit = lane.intrinsic("llvm.copysign", lane.const(1.0), x)
        keeps = b.fcmp_unordered("==", x, lane.const(0.0))  # zero keeps its sign, NaN stays
        return b.select(keeps, x, unit)
    positive = b.select(b.icmp_signed("==", x, lane.const(0)), x, lane.const(1))
    if not lane.is_signed:
        return positive
    return b.select(b.icmp_signed("<", x, lane.const(0)), lane.const(-1), positive)


@elementwise("max")
def max_(lane: Lane, x: Value, y: Value) -> Value:
    return maximum(lane.builder, lane.dtype, x, y)


@elementwise("min")
def min_(lane: Lane, x: Value, y: Value) -> Value:
    return minimum(lane.builder, lane.dtype, x, y)


def maximum(builder: Any, dtype: np.dtype[Any], x: Value, y: Value) -> Value:
    """Return the larger of two scalars; NaN if one of them is."""
    if dtype.kind == "f":
        return call_intrinsic(builder, "llvm.maximum", x, y)
    if dtype.kind == "b":
        return builder.or_(x, y)
    compare = builder.icmp_signed if dtype.kind == "i" else builder.icmp_unsigned
    return builder.select(compare(">", x, y), x, y)


def minimum(builder: Any, dtype: np.dtype[Any], x: Value, y: Value) -> Value:
    """Return the smaller of two scalars; NaN if one of them is."""
    if dtype.kind == "f":
        return call_intrinsic(builder, "llvm.minimum", x, y)
    if dtype.kind == "b":
        return builder.and_(x, y)
    compare = builder.icmp_signed if dtype.kind == "i" else builder.icmp_unsigned
    return builder.select(compare("<", x, y), x, y)


@elementwise("clamp")
def clamp(lane: Lane, low: Value, x: Value, high: Value) -> Value:
    return minimum(lane.builder, lane.dtype, maximum(lane.builder, lane.dtype, low, x), high)


@elementwise("nextafter")
def nextafter(lane: Lane, x: Value, y: Value) -> Value:
    return lane.libm("nextafter", x, y)


@elementwise("integer_pow")
def integer_pow(lane: Lane, x: Value) -> Value:
    exponent = lane.params["y"]
    times = lane.builder.fmul if lane.is_float else lane.builder.mul
    if exponent == 0:
        return lane.const(1)
    left, total = abs(exponent), None
    if exponent == 3:
        return times(times(x, x), x)
    while left:
        if left & 1:
            total = x if total is None else times(total, x)
        left >>= 1
        if left:
            x = times(x, x)
    return lane.builder.fdiv(lane.const(1.0), total) if exponent < 0 else total


@elementwise("square")
def square(lane: Lane, x: Value) -> Value:
    return lane.builder.fmul(x, x) if lane.is_float else lane.builder.mul(x, x)


@elementwise("mulhi")
def mulhi(lane: Lane, x: Value, y: Value) -> Value:
    b, bits = lane.builder, 8 * lane.dtype.itemsize
    wide = ir.IntType(2 * bits)
    widen = b.sext if lane.is_signed else b.zext
    product = b.mul(widen(x, wide), widen(y, wide))
    return b.trunc(b.lshr(product, ir.Constant(wide, bits)), x.type)


# --- functions of the C library and of LLVM -----------------------------------------------------------------------------

for _name, _intrinsic in {
    "exp2": "llvm.exp2", "sqrt": "llvm.sqrt", "sin": "llvm.sin",
    "cos": "llvm.cos", "floor": "llvm.floor", "ceil": "llvm.ceil",
}.items():  # fmt: skip

    @elementwise(_name)
    def _by_intrinsic(lane: Lane, x: Value, _intrinsic: str = _intrinsic) -> Value:
        return lane.intrinsic(_intrinsic, x)


for _name in ("expm1", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "cbrt"):

    @elementwise(_name)
    def _by_libm(lane: Lane, x: Value, _name: str = _name) -> Value:
        return lane.libm(_name, x)


for _name in ("exp", "log", "log1p", "tanh"):

    @elementwise(_name)
    def _vectorised(lane: Lane, x: Value, _name: str = _name) -> Value:
        """Call the C library for a single number; loops should be fit for vector instructions."""
        if lane.in_loop:
            return vector_math.in_double(getattr(vector_math, _name), lane, x)
        return lane.libm(_name, x)


@elementwise("atan2")
def atan2(lane: Lane, y: Value, x: Value) -> Value:
    return lane.libm("atan2", y, x)


@elementwise("pow")
def pow_(lane: Lane, x: Value, y: Value) -> Value:
    """Raise to a power; an integer exponent counts as the floating-point number of the same value."""
    y = convert(lane.builder, y, lane.equation.inputs[1].dtype, lane.dtype)
    return lane.intrinsic("llvm.pow", x, y)


@elementwise("rsqrt")
def rsqrt(lane: Lane, x: Value) -> Value:
    return lane.builder.fdiv(lane.const(1.0), lane.intrinsic("llvm.sqrt", x))


@elementwise("logistic")
def logistic(lane: Lane, x: Value) -> Value:
    """Return 1 / (1 + exp(-x)), which neither overflows to NaN nor loses the left tail."""
    b, one = lane.builder, lane.const(1.0)
    power = vector_math.in_double(vector_math.exp, lane, b.fneg(x)) if lane.in_loop else lane.libm("exp", b.fneg(x))
    return b.fdiv(one, b.fadd(one, power))


@elementwise("round")
def round_(lane: Lane, x: Value) -> Value:
    away = getattr(lane.params["rounding_method"], "name", str(lane.params["rounding_method"])) == "AWAY_FROM_ZERO"
    return lane.intrinsic("llvm.round" if away else "llvm.rint", x)


# --- comparisons --------------------------------------------------------------------------------------------------------


def _compare(lane: Lane, operator: str, x: Value, y: Value) -> Value:
    b = lane.builder
    if lane.is_float:
        return b.fcmp_unordered(operator, x, y) if operator == "!=" else b.fcmp_ordered(operator, x, y)
    return b.icmp_signed(operator, x, y) if lane.is_signed else b.icmp_unsigned(operator, x, y)


for _name, _operator in {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}.items():

    @elementwise(_name)
    def _comparison(lane: Lane, x: Value, y: Value, _operator: str = _operator) -> Value:
        return _compare(lane, _operator, x, y)


def total_order(builder: Any, dtype: np.dtype[Any], x: Value) -> Value:
    """Return an integer that is ordered, signed, as a floating-point number in the IEEE total order."""
    kind = ir.IntType(8 * dtype.itemsize)
    bits = builder.bitcast(x, kind)
    flipped = builder.xor(bits, ir.Constant(kind, 2 ** (kind.width - 1) - 1))
    return builder.select(builder.icmp_signed("<", bits, ir.Constant(kind, 0)), flipped, bits)


for _name, _operator in {"eq_to": "==", "lt_to": "<", "le_to": "<="}.items():

    @elementwise(_name)
    def _total_comparison(lane: Lane, x: Value, y: Value, _operator: str = _operator) -> Value:
        if not lane.is_float:
            return _compare(lane, _operator, x, y)
        b = lane.builder
        return b.icmp_signed(_operator, total_order(b, lane.dtype, x), total_order(b, lane.dtype, y))


@elementwise("is_finite")
def is_finite(lane: Lane, x: Value) -> Value:
    return lane.builder.fcmp_ordered("<", lane.intrinsic("llvm.fabs", x), lane.const(np.inf))


@elementwise("select_n")
def select_n(lane: Lane, which: Value, *cases: Value) -> Value:
    """Pick a case by a bool or an integer; an integer out of range picks the nearest case."""
    b = lane.builder
    if len(cases) == 1:
        return cases[0]
    if lane.dtype.kind == "b":
        return b.select(which, cases[1], cases[0])
    result = cases[-1]
    for number in range(len(cases) - 2, -1, -1):
        result = b.select(b.icmp_signed("<=", which, lane.const(number)), cases[number], result)
    return result


# --- bits ---------------------------------------------------------------------------------------------------------------


@elementwise("and")
def and_(lane: Lane, x: Value, y: Value) -> Value:
    return lane.builder.and_(x, y)


@elementwise("or")
def or_(lane: Lane, x: Value, y: Value) -> Value:
    return lane.builder.or_(x, y)


@elementwise("xor")
def xor(lane: Lane, x: Value, y: Value) -> Value:
    return lane.builder.xor(x, y)


@elementwise("not")
def not_(lane: Lane, x: Value) -> Value:
    return lane.builder.not_(x)


def _shift(lane: Lane, x: Value, y: Value, shift: Any, too_far: Value) -> Value:
    """Shift; by the width or more, or by a negative number, gives ``too_far``."""
    b = lane.builder
    inside = b.icmp_unsigned("<", y, lane.const(8 * lane.dtype.itemsize))
    return b.select(inside, shift(x, b.select(inside, y, lane.const(0))), too_far)


@elementwise("shift_left")
def shift_left(lane: Lane, x: Value, y: Value) -> Value:
    return _shift(lane, x, y, lane.builder.shl, lane.const(0))


@elementwise("shift_right_logical")
def shift_right_logical(lane: Lane, x: Value, y: Value) -> Value:
    return _shift(lane, x, y, lane.builder.lshr, lane.const(0))


@elementwise("shift_right_arithmetic")
def shift_right_arithmetic(lane: Lane, x: Value, y: Value) -> Value:
    signs = lane.builder.ashr(x, lane.const(8 * lane.dtype.itemsize - 1))
    return _shift(lane, x, y, lane.builder.ashr, signs)


@elementwise("population_count")
def population_count(lane: Lane, x: Value) -> Value:
    return lane.intrinsic("llvm.ctpop", x)


@elementwise("clz")
def clz(lane: Lane, x: Value) -> Value:
    b, flag = lane.builder, ir.IntType(1)
    function = declare(b.module, f"llvm.ctlz.i{8 * lane.dtype.itemsize}", x.type, [x.type, flag])
    return b.call(function, [x, ir.Constant(flag, 0)])


# --- conversions --------------------------------------------------------------------------------------------------------


@elementwise("convert_element_type")
def convert_element_type(lane: Lane, x: Value) -> Value:
    return convert(lane.builder, x, lane.dtype, lane.out)


@elementwise("bitcast_convert_type")
def bitcast_convert_type(lane: Lane, x: Value) -> Value:
    if lane.dtype.itemsize != lane.out.itemsize or "b" in (lane.dtype.kind, lane.out.kind):
        raise lane.equation.refuse(f"bits are reinterpreted at equal width only; got {lane.dtype} to {lane.out}")
    return x if x.type == llvm_type(lane.out) else lane.builder.bitcast(x, llvm_type(lane.out))


@elementwise("reduce_precision")
def reduce_precision(lane: Lane, x: Value) -> Value:
    """Round to fewer bits; only to those of float32, or to what the number has anyway."""
    bits = (lane.params["exponent_bits"], lane.params["mantissa_bits"])
    own = {4: (8, 23), 8: (11, 52)}[lane.dtype.itemsize]
    if bits == own:
        return x
    if bits == (8, 23):
        single = lane.builder.fptrunc(x, ir.FloatType())
        return lane.builder.fpext(single, x.type)
    raise lane.equation.refuse(
        f"numbers are rounded to float32 only; got {bits[0]} exponent and {bits[1]} mantissa bits"
    )
