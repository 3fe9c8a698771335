"""Sums over rows of a vocabulary, and draws from them: what compiled verification does at the speed of memory.

A row is summed in blocks, each in the order that vector instructions like and in double precision (from logits: in the
type of the logits), and the blocks in sequence; a draw finds its block first and then its entry.
"""

import numba
import numpy as np

from ergodica.samplers.acceptance.laws import ROUNDING
from ergodica.samplers.acceptance.vector_exp import exponential

__all__ = [
    "BLOCK", "block", "block_of", "in_order", "is_negative", "log_total", "search", "search_exponentials", "sum_checks",
    "sum_excess", "sum_excess_exponentials", "sum_exponentials", "sum_parts",
]  # fmt: skip

BLOCK = 512

in_order = numba.njit(error_model="numpy", nogil=True)
any_order = numba.njit(error_model="numpy", nogil=True, fastmath={"reassoc", "contract", "nsz"})


# --- sums over a block: the only loops over the vocabulary, all of them vector loops --------------------------------

# The blocks come as slices and are indexed from zero: with offsets, compiled code has to provide for negative ones, and
# then loads entry by entry.


@any_order
def sum_checks(block):  # type: ignore[no-untyped-def]
    """Return the sum of a block and of its negative entries, in the type of the block; both keep NaN."""
    zero = block.dtype.type(0)
    total, negative = zero, zero
    for i in range(block.size):
        total += block[i]
        negative += block[i] if block[i] < zero else zero
    return np.float64(total), negative


@any_order
def sum_weights(block):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(block.size):
        weight = np.float64(block[i])
        total += 0.0 if weight < 0.0 else weight  # keeps NaN
    return total


@any_order
def sum_excess(p, q, p_scale, q_scale):  # type: ignore[no-untyped-def]
    """Return the sum of ``(p_scale p - q_scale q)+`` over a block."""
    total = 0.0
    for i in range(p.size):
        drafted = np.float64(q[i])
        difference = np.float64(p[i]) * p_scale - (drafted if drafted > 0.0 else 0.0) * q_scale
        total += difference if difference > 0.0 else 0.0
    return total


@any_order
def sum_exponentials(block, shift):  # type: ignore[no-untyped-def]
    """Return the sum of ``exp(block - shift)``."""
    total = block.dtype.type(0)
    for i in range(block.size):
        total += exponential(block[i] - shift)
    return np.float64(total)


@any_order
def sum_excess_exponentials(p, q, p_shift, q_shift, ratio):  # type: ignore[no-untyped-def]
    """Return the sum of ``(exp(p - p_shift) - ratio exp(q - q_shift))+`` over a block."""
    zero = p.dtype.type(0)
    total = zero
    for i in range(p.size):
        difference = exponential(p[i] - p_shift) - ratio * exponential(q[i] - q_shift)
        total += difference if difference > zero else zero
    return np.float64(total)


# --- rows -----------------------------------------------------------------------------------------------------------


@in_order
def block(row, number):  # type: ignore[no-untyped-def]
    """Return a block of a row."""
    return row[number * BLOCK : min((number + 1) * BLOCK, row.size)]


@in_order
def is_negative(row):  # type: ignore[no-untyped-def]
    """Whether an entry is negative beyond rounding; for rows that have a negative entry."""
    for i in range(row.size):  # noqa: SIM110, a generator expression is slow here
        if row[i] < -ROUNDING:
            return True
    return False


@in_order
def sum_parts(row, parts):  # type: ignore[no-untyped-def]
    """Write the sums of the blocks of a row of weights, and return the row's; NaN if the weights are no law."""
    total, some_negative = 0.0, False
    for number in range(parts.size):
        part = block(row, number)
        _, negative = sum_checks(part)
        some_negative = some_negative or negative < 0
        parts[number] = sum_weights(part)
        total += parts[number]
    if not (total > 0.0 and total < np.inf) or (some_negative and is_negative(row)):
        return np.nan
    return total


@in_order
def log_total(row):  # type: ignore[no-untyped-def]
    """Return the log of the sum of exponentials of a row; NaN if the logits are no law."""
    # The largest of the first few serves as the shift. Should an entry further on be so much larger that the sum
    # overflows, or the first few all be impossible, the true maximum does.
    shift = row[0]
    for i in range(1, min(64, row.size)):
        if row[i] > shift:
            shift = row[i]
    for attempt in range(2):
        total = 0.0
        if np.isfinite(shift):
            for number in range((row.size + BLOCK - 1) // BLOCK):
                total += sum_exponentials(block(row, number), shift)
            if total < 1e30:
                return np.log(total) + np.float64(shift)
        if attempt == 0:
            for i in range(row.size):
                if not row[i] <= shift:
                    shift = row[i]
    return np.nan


@in_order
def block_of(parts, u):  # type: ignore[no-untyped-def]
    """Return the block in which the running sum exceeds ``u`` times the whole, and what is left of it there."""
    total = 0.0
    for number in range(parts.size):
        total += parts[number]
    goal, before, last, last_before = u * total, 0.0, 0, 0.0
    for number in range(parts.size):
        if parts[number] > 0.0:
            last, last_before = number, before
            if before + parts[number] > goal:
                break
            before += parts[number]
    return last, goal - last_before


@in_order
def search(p, q, p_scale, q_scale, goal):  # type: ignore[no-untyped-def]
    """Return the entry of a block at which the running sum of ``(p - q)+`` exceeds ``goal``, or the last above zero."""
    running, last = 0.0, 0
    for i in range(p.size):
        weight = max(np.float64(p[i]), 0.0) * p_scale - max(np.float64(q[i]), 0.0) * q_scale
        if weight > 0.0:
            last = i
            running += weight
            if running > goal:
                break
    return last


@in_order
def search_exponentials(p, q, p_shift, q_shift, ratio, goal):  # type: ignore[no-untyped-def]
    """Do as ``search`` for ``(exp(p - p_shift) - ratio exp(q - q_shift))+``."""
    running, last = 0.0, 0
    for i in range(p.size):
        weight = np.float64(exponential(p[i] - p_shift) - ratio * exponential(q[i] - q_shift))
        if weight > 0.0:
            last = i
            running += weight
            if running > goal:
                break
    return last
