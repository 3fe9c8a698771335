"""An exponential that compiled loops can vectorise.

``math.exp`` in a compiled loop is one library call for each element. This one is a polynomial without branches, so that
the compiler turns the loop around it into vector instructions: some five times faster on rows of logits.
"""

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

# exp(x) = 2^k exp(r) with r = x - k log 2 in [-log(2)/2, log(2)/2], and exp(r) = 1 + r + r^2 P(r), where P minimises
# the largest relative error: 3.1e-9 in single and 7.7e-18 in double precision, below the rounding of the type.
_LOG2_E = 1.4426950408889634
_SINGLE = tuple(
    np.float32(coefficient)
    for coefficient in (
        0.4999999345170843359,
        0.16666520689833018806,
        0.041668387361261145548,
        0.008368709824171194323,
        0.0013814613260779770809,
    )
)
_DOUBLE = (
    0.50000000000000102143,
    0.16666666666666674522,
    0.041666666666522106485,
    0.0083333333333222161965,
    0.0013888888947785522855,
    0.00019841269886563801674,
    0.000024801487366025676172,
    2.7557242367449657774e-6,
    2.7632640675430235707e-7,
    2.5110038296727243219e-8,
)
# log 2 in two parts; the first has few enough bits that its product with k is exact.
_SINGLE_LOG2 = (np.float32(0.693145751953125), np.float32(1.428606820309417e-06))
_DOUBLE_LOG2 = (0.6931471803691238, 1.9082149292705877e-10)
# Adding 1.5 * 2^mantissa rounds to the nearest integer and leaves it in the low bits: no conversion to integers, which
# is undefined for NaN.
_SINGLE_ROUND, _DOUBLE_ROUND = np.float32(12582912.0), 6755399441055744.0
_SINGLE_RANGE, _DOUBLE_RANGE = (np.float32(-87.0), np.float32(88.0)), (-708.0, 709.0)


def exponential(x: Any) -> Any:
    """Return ``exp(x)``, callable from compiled code on a float.

    Parameters
    ----------
    x
        Float of single or double precision. Below -87 and -708 the result is 0, above 88 and 709 it is ``inf``; NaN
        stays NaN.

    Returns
    -------
    float
        In the type of ``x``, within one unit in the last place.
    """
    raise NotImplementedError("this function is for compiled code; use numpy.exp elsewhere")


@overload(exponential, jit_options={"fastmath": {"contract"}})  # type: ignore[untyped-decorator]
def _exponential(x: Any) -> Any:
    if x == types.float32:
        c0, c1, c2, c3, c4 = _SINGLE
        lowest, highest = _SINGLE_RANGE
        zero, infinity = np.float32(0.0), np.float32(np.inf)
        high, low = _SINGLE_LOG2
        log2_e, one, bias, shift = np.float32(_LOG2_E), np.float32(1.0), np.int32(127), np.int32(23)

        def single(x: Any) -> Any:
            rounded = x * log2_e + _SINGLE_ROUND
            k = rounded - _SINGLE_ROUND
            r = (x - k * high) - k * low
            series = one + (r + (r * r) * (c0 + r * (c1 + r * (c2 + r * (c3 + r * c4)))))
            scale = np.int32((np.float32(rounded).view(np.int32) + bias) << shift).view(np.float32)
            inside = infinity if x > highest else series * scale
            return zero if x < lowest else inside

        return single
    if x == types.float64:
        d0, d1, d2, d3, d4, d5, d6, d7, d8, d9 = _DOUBLE
        high_double, low_double = _DOUBLE_LOG2
        lowest_double, highest_double = _DOUBLE_RANGE

        def double(x: Any) -> Any:
            rounded = x * _LOG2_E + _DOUBLE_ROUND
            k = rounded - _DOUBLE_ROUND
            r = (x - k * high_double) - k * low_double
            tail = d4 + r * (d5 + r * (d6 + r * (d7 + r * (d8 + r * d9))))
            series = 1.0 + (r + (r * r) * (d0 + r * (d1 + r * (d2 + r * (d3 + r * tail)))))
            scale = np.int64((np.float64(rounded).view(np.int64) + np.int64(1023)) << np.int64(52)).view(np.float64)
            inside = np.inf if x > highest_double else series * scale
            return 0.0 if x < lowest_double else inside

        return double
    return None
