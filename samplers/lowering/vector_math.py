"""Exponential, logarithm and hyperbolic tangent without branches, so that the compiler can vectorise loops over them.

Each is accurate to about one unit in the last place of float64; float32 goes through float64. A call of the C library,
which loops would make once for each entry, takes three to five times as long.

References
----------
The argument reductions and polynomials are those of FDLIBM (Sun Microsystems, 1993) and, for the hyperbolic tangent, of
Cephes (S. L. Moshier, 1989).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir

from ergodica.samplers.lowering.lane import Lane, call_intrinsic, polynomial
from ergodica.samplers.lowering.values import I64

DOUBLE = ir.DoubleType()
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
EXP = (4.13813679705723846039e-08, -1.65339022054652515390e-06, 6.61375632143793436117e-05, -2.77777777770155933842e-03,
       1.66666666666666019037e-01)  # fmt: skip
LOG_EVEN = (1.531383769920937332e-01, 2.222219843214978396e-01, 3.999999999940941908e-01)
LOG_ODD = (1.479819860511658591e-01, 1.818357216161805012e-01, 2.857142874366239149e-01, 6.666666666666735130e-01)
TANH_ABOVE = (-9.64399179425052238628e-1, -9.92877231001918586564e1, -1.61468768441708447952e3)
TANH_BELOW = (1.0, 1.12811678491632931402e2, 2.23548839060100448583e3, 4.84406305325125486048e3)
ROUND = 1.5 * 2.0**52  # added to a number, it leaves the nearest integer in the last bits
ROOT_HALF = 0x3FE6A09E << 32  # the bits of sqrt(1/2), rounded
ONE = 0x3FF << 52


def _f(value: float) -> Any:
    return ir.Constant(DOUBLE, float(value))


def _i(value: int) -> Any:
    return ir.Constant(I64, value)


def exp(b: Any, x: Any) -> Any:
    """Return the exponential."""
    x = b.select(b.fcmp_ordered(">", x, _f(710.0)), _f(710.0), x)
    x = b.select(b.fcmp_ordered("<", x, _f(-746.0)), _f(-746.0), x)
    shifted = b.fadd(b.fmul(x, _f(1 / np.log(2.0))), _f(ROUND))
    count = b.fsub(shifted, _f(ROUND))
    high = b.fsub(x, b.fmul(count, _f(LN2_HIGH)))
    low = b.fmul(count, _f(LN2_LOW))
    rest = b.fsub(high, low)
    square = b.fmul(rest, rest)
    c = b.fsub(rest, b.fmul(square, polynomial(b, EXP, square)))
    fraction = b.fdiv(b.fmul(rest, c), b.fsub(_f(2.0), c))
    value = b.fsub(_f(1.0), b.fsub(b.fsub(low, fraction), high))
    # Two factors, as the power of two may lie outside the range of exponents.
    power = b.sub(b.bitcast(shifted, I64), _i(int(np.float64(ROUND).view(np.int64))))
    half = b.sub(b.lshr(b.add(power, _i(4096)), _i(1)), _i(2048))
    for part in (half, b.sub(power, half)):
        value = b.fmul(value, b.bitcast(b.shl(b.add(part, _i(1023)), _i(52)), DOUBLE))
    return value


def _split(b: Any, x: Any) -> tuple[Any, Any]:
    """Return ``k`` and ``m`` with ``x = 2^k m`` and ``m`` between the roots of one half and of two."""
    bits = b.add(b.bitcast(x, I64), _i(ONE - ROOT_HALF))
    power = b.bitcast(b.or_(b.lshr(bits, _i(52)), _i(0x433 << 52)), DOUBLE)
    power = b.fsub(power, _f(2.0**52 + 1023))
    return power, b.bitcast(b.add(b.and_(bits, _i(2**52 - 1)), _i(ROOT_HALF)), DOUBLE)


def _log_from(b: Any, power: Any, f: Any, correction: Any) -> Any:
    """Return ``power * log(2) + log(1 + f) + correction``."""
    half = b.fmul(_f(0.5), b.fmul(f, f))
    s = b.fdiv(f, b.fadd(_f(2.0), f))
    z = b.fmul(s, s)
    w = b.fmul(z, z)
    series = b.fadd(b.fmul(w, polynomial(b, LOG_EVEN, w)), b.fmul(z, polynomial(b, LOG_ODD, w)))
    low = b.fadd(b.fmul(power, _f(LN2_LOW)), correction)
    tail = b.fsub(b.fadd(b.fmul(s, b.fadd(half, series)), low), half)
    return b.fadd(b.fadd(tail, f), b.fmul(power, _f(LN2_HIGH)))


def log(b: Any, x: Any) -> Any:
    """Return the logarithm."""
    power, m = _split(b, x)
    value = _log_from(b, power, b.fsub(m, _f(1.0)), _f(0.0))
    value = b.select(b.fcmp_ordered(">", x, _f(0.0)), value, _f(np.nan))
    value = b.select(b.fcmp_ordered("==", x, _f(0.0)), _f(-np.inf), value)
    return b.select(b.fcmp_ordered("==", x, _f(np.inf)), x, value)


def log1p(b: Any, x: Any) -> Any:
    """Return the logarithm of one plus a number."""
    u = b.fadd(_f(1.0), x)
    power, m = _split(b, u)
    large = b.fcmp_ordered(">=", x, _f(1.0))
    lost = b.select(large, b.fsub(_f(1.0), b.fsub(u, x)), b.fsub(x, b.fsub(u, _f(1.0))))
    correction = b.fdiv(lost, u)
    near = b.and_(b.fcmp_ordered(">", x, _f(-0.2928)), b.fcmp_ordered("<", x, _f(0.4142)))
    f = b.select(near, x, b.fsub(m, _f(1.0)))
    value = _log_from(b, b.select(near, _f(0.0), power), f, b.select(near, _f(0.0), correction))
    value = b.select(b.fcmp_ordered("<", x, _f(-1.0)), _f(np.nan), value)
    value = b.select(b.fcmp_ordered("==", x, _f(-1.0)), _f(-np.inf), value)
    stays = b.or_(b.fcmp_ordered("==", x, _f(0.0)), b.fcmp_ordered("==", x, _f(np.inf)))
    return b.select(stays, x, value)


def tanh(b: Any, x: Any) -> Any:
    """Return the hyperbolic tangent."""
    size = call_intrinsic(b, "llvm.fabs", x)
    square = b.fmul(x, x)
    ratio = b.fdiv(polynomial(b, TANH_ABOVE, square), polynomial(b, TANH_BELOW, square))
    small = b.fadd(x, b.fmul(x, b.fmul(square, ratio)))
    large = b.fsub(_f(1.0), b.fdiv(_f(2.0), b.fadd(exp(b, b.fadd(size, size)), _f(1.0))))
    large = call_intrinsic(b, "llvm.copysign", large, x)
    return b.select(b.fcmp_ordered("<", size, _f(0.625)), small, large)


def in_double(function: Callable[[Any, Any], Any], lane: Lane, x: Any) -> Any:
    """Apply a function of float64 numbers in the precision of the operand."""
    if lane.dtype.itemsize == 8:
        return function(lane.builder, x)
    return lane.builder.fptrunc(function(lane.builder, lane.builder.fpext(x, DOUBLE)), ir.FloatType())
