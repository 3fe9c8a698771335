"""Speculative sampling with one draft for each position, compiled, on arrays in the host's memory.

The same decisions as :class:`ergodica.samplers.acceptance.single_draft.SingleDraft` makes on the same uniforms, at the
speed of memory. A draft that is accepted costs two entries of the arrays; rows are read where a token is drawn, once.
From logits the rows of every tested draft have to be normalised, in one pass each.

:func:`verify` and :func:`verify_logits` take NumPy arrays (or JAX arrays on a CPU, without copying them).
:func:`decide_chain` and :func:`decide_chain_logits` are the same cores as operations of JAX.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numba
import numpy as np
from jaxtyping import Array, Float, Int
from numba import types

from ergodica.samplers.acceptance.laws import ROUNDING, check_logits, check_weights
from ergodica.samplers.acceptance.vector_exp import exponential
from ergodica.samplers.acceptance.verification import Verification, check_shapes, check_tokens
from ergodica.samplers.inputs import is_concrete
from ergodica.samplers.native import NativeOperation

__all__ = ["decide_chain", "decide_chain_logits", "verify", "verify_logits"]

TOLERANCE = 1e-3
"""How far the sum of a row that is taken as normalised may be from one."""

# What a core found: the first thing that was wrong.
_VALID, _TOKEN, _NO_LAW, _NOT_NORMALISED = 0, 1, 2, 3

# A row is summed in blocks, each in the order that vector instructions like and in double precision (from logits: in
# the type of the logits), and the blocks in sequence; a draw finds its block first and then its entry.
_BLOCK = 512

_in_order = numba.njit(error_model="numpy", nogil=True)
_any_order = numba.njit(error_model="numpy", nogil=True, fastmath={"reassoc", "contract", "nsz"})


# --- sums over a block: the only loops over the vocabulary, all of them vector loops --------------------------------

# The blocks come as slices and are indexed from zero: with offsets, compiled code has to provide for negative ones, and
# then loads entry by entry.


@_any_order
def _sum_checks(block):  # type: ignore[no-untyped-def]
    """Return the sum of a block and of its negative entries, in the type of the block; both keep NaN."""
    zero = block.dtype.type(0)
    total, negative = zero, zero
    for i in range(block.size):
        total += block[i]
        negative += block[i] if block[i] < zero else zero
    return np.float64(total), negative


@_any_order
def _sum_weights(block):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(block.size):
        weight = np.float64(block[i])
        total += 0.0 if weight < 0.0 else weight  # keeps NaN
    return total


@_any_order
def _sum_excess(p, q, p_scale, q_scale):  # type: ignore[no-untyped-def]
    """Return the sum of ``(p_scale p - q_scale q)+`` over a block."""
    total = 0.0
    for i in range(p.size):
        drafted = np.float64(q[i])
        difference = np.float64(p[i]) * p_scale - (drafted if drafted > 0.0 else 0.0) * q_scale
        total += difference if difference > 0.0 else 0.0
    return total


@_any_order
def _sum_exponentials(block, shift):  # type: ignore[no-untyped-def]
    """Return the sum of ``exp(block - shift)``."""
    total = block.dtype.type(0)
    for i in range(block.size):
        total += exponential(block[i] - shift)
    return np.float64(total)


@_any_order
def _sum_excess_exponentials(p, q, p_shift, q_shift, ratio):  # type: ignore[no-untyped-def]
    """Return the sum of ``(exp(p - p_shift) - ratio exp(q - q_shift))+`` over a block."""
    zero = p.dtype.type(0)
    total = zero
    for i in range(p.size):
        difference = exponential(p[i] - p_shift) - ratio * exponential(q[i] - q_shift)
        total += difference if difference > zero else zero
    return np.float64(total)


# --- rows -----------------------------------------------------------------------------------------------------------


@_in_order
def _block(row, number):  # type: ignore[no-untyped-def]
    return row[number * _BLOCK : min((number + 1) * _BLOCK, row.size)]


@_in_order
def _is_negative(row):  # type: ignore[no-untyped-def]
    """Whether an entry is negative beyond rounding; for rows that have a negative entry."""
    for i in range(row.size):  # noqa: SIM110, a generator expression is slow here
        if row[i] < -ROUNDING:
            return True
    return False


@_in_order
def _sum_parts(row, parts):  # type: ignore[no-untyped-def]
    """Write the sums of the blocks of a row of weights, and return the row's; NaN if the weights are no law."""
    total, some_negative = 0.0, False
    for number in range(parts.size):
        block = _block(row, number)
        _, negative = _sum_checks(block)
        some_negative = some_negative or negative < 0
        parts[number] = _sum_weights(block)
        total += parts[number]
    if not (total > 0.0 and total < np.inf) or (some_negative and _is_negative(row)):
        return np.nan
    return total


@_in_order
def _log_total(row):  # type: ignore[no-untyped-def]
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
            for number in range((row.size + _BLOCK - 1) // _BLOCK):
                total += _sum_exponentials(_block(row, number), shift)
            if total < 1e30:
                return np.log(total) + np.float64(shift)
        if attempt == 0:
            for i in range(row.size):
                if not row[i] <= shift:
                    shift = row[i]
    return np.nan


@_in_order
def _block_of(parts, u):  # type: ignore[no-untyped-def]
    """Return the block in which the running sum exceeds ``u`` times the whole, and what is left of it there."""
    total = 0.0
    for block in range(parts.size):
        total += parts[block]
    goal, before, last, last_before = u * total, 0.0, 0, 0.0
    for block in range(parts.size):
        if parts[block] > 0.0:
            last, last_before = block, before
            if before + parts[block] > goal:
                break
            before += parts[block]
    return last, goal - last_before


@_in_order
def _search(p, q, p_scale, q_scale, goal):  # type: ignore[no-untyped-def]
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


@_in_order
def _search_exponentials(p, q, p_shift, q_shift, ratio, goal):  # type: ignore[no-untyped-def]
    """Do as ``_search`` for ``(exp(p - p_shift) - ratio exp(q - q_shift))+``."""
    running, last = 0.0, 0
    for i in range(p.size):
        weight = np.float64(exponential(p[i] - p_shift) - ratio * exponential(q[i] - q_shift))
        if weight > 0.0:
            last = i
            running += weight
            if running > goal:
                break
    return last


# --- cores: one sequence --------------------------------------------------------------------------------------------


@_in_order
def _finish(tokens, out, tau, accepted, own):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = tokens[i] if i < accepted else np.int32(-1)
    out[accepted] = own
    tau[0] = accepted


@_in_order
def _refuse(out, tau, status, code, position):  # type: ignore[no-untyped-def]
    out[:] = np.int32(-1)
    tau[0] = -1
    status[0] = code
    status[1] = position


@_in_order
def _core(tokens, p, q, uniforms, normalise, out, tau, status):  # type: ignore[no-untyped-def]
    """Verify one chain from weights. ``status`` gets what was wrong, and at which draft."""
    gamma, size = tokens.size, p.shape[1]
    status[:] = 0
    parts = np.empty((size + _BLOCK - 1) // _BLOCK)
    p_sum, q_sum = 1.0, 1.0
    accepted = 0
    while accepted < gamma:
        token = tokens[accepted]
        if token < 0 or token >= size:
            return _refuse(out, tau, status, _TOKEN, accepted)
        if normalise[0]:
            p_sum, q_sum = _sum_parts(p[accepted], parts), _sum_parts(q[accepted], parts)
        p_at, q_at = np.float64(p[accepted, token]) / p_sum, np.float64(q[accepted, token]) / q_sum
        if not (p_at >= -ROUNDING and q_at >= -ROUNDING and p_at < np.inf and q_at < np.inf):
            return _refuse(out, tau, status, _NO_LAW, accepted)
        if p_at > 1.0 + TOLERANCE or q_at > 1.0 + TOLERANCE:
            return _refuse(out, tau, status, _NOT_NORMALISED, accepted)
        if not (q_at > 0.0 and (p_at >= q_at or uniforms[accepted] * q_at < p_at)):
            break
        accepted += 1
    row = p[accepted]
    other = row
    p_scale, q_scale = 1.0 / p_sum, 1.0 / q_sum
    excess, p_total, q_total, some_negative = 0.0, 0.0, 0.0, False
    if accepted < gamma:
        other = q[accepted]
        for number in range(parts.size):
            p_block, q_block = _block(row, number), _block(other, number)
            p_part, p_negative = _sum_checks(p_block)
            q_part, q_negative = _sum_checks(q_block)
            some_negative = some_negative or p_negative < 0 or q_negative < 0
            p_total += p_part
            q_total += q_part
            parts[number] = _sum_excess(p_block, q_block, p_scale, q_scale)
            excess += parts[number]
        if not (p_total > 0.0 and p_total < np.inf and q_total > 0.0 and q_total < np.inf):
            return _refuse(out, tau, status, _NO_LAW, accepted)
        if some_negative and (_is_negative(row) or _is_negative(other)):
            return _refuse(out, tau, status, _NO_LAW, accepted)
    if excess == 0.0:  # past the last draft, or rounding left no residual
        p_scale, q_scale = 1.0, 0.0
        p_total = _sum_parts(row, parts)
        q_total = q_total if accepted < gamma else 1.0
        if np.isnan(p_total):
            return _refuse(out, tau, status, _NO_LAW, accepted)
    if not normalise[0] and (abs(p_total - 1.0) > TOLERANCE or abs(q_total - 1.0) > TOLERANCE):
        return _refuse(out, tau, status, _NOT_NORMALISED, accepted)
    number, goal = _block_of(parts, uniforms[gamma])
    own = _search(_block(row, number), _block(other, number), p_scale, q_scale, goal)
    return _finish(tokens, out, tau, accepted, number * _BLOCK + own)


@_in_order
def _core_logits(tokens, p, q, uniforms, out, tau, status):  # type: ignore[no-untyped-def]
    """Verify one chain from logits. ``status`` gets what was wrong, and at which draft."""
    gamma, size = tokens.size, p.shape[1]
    status[:] = 0
    p_log_total, q_log_total = 0.0, 0.0
    accepted = 0
    while accepted < gamma:
        token = tokens[accepted]
        if token < 0 or token >= size:
            return _refuse(out, tau, status, _TOKEN, accepted)
        p_log_total, q_log_total = _log_total(p[accepted]), _log_total(q[accepted])
        if np.isnan(p_log_total) or np.isnan(q_log_total):
            return _refuse(out, tau, status, _NO_LAW, accepted)
        p_log = np.float64(p[accepted, token]) - p_log_total
        q_log = np.float64(q[accepted, token]) - q_log_total
        if not (q_log > -np.inf and (p_log >= q_log or uniforms[accepted] < np.exp(p_log - q_log))):
            break
        accepted += 1
    row = p[accepted]
    parts = np.empty((size + _BLOCK - 1) // _BLOCK)
    total = 0.0
    other, p_shift, q_shift, ratio = row, row.dtype.type(0), row.dtype.type(0), row.dtype.type(0)
    if accepted < gamma:
        # The shifts are the logs of the sums, rounded to the type of the rows, and the ratio makes up for the rounding.
        other, p_shift, q_shift = q[accepted], row.dtype.type(p_log_total), row.dtype.type(q_log_total)
        ratio = row.dtype.type(np.exp((q_shift - q_log_total) - (p_shift - p_log_total)))
        for number in range(parts.size):
            p_block, q_block = _block(row, number), _block(other, number)
            parts[number] = _sum_excess_exponentials(p_block, q_block, p_shift, q_shift, ratio)
            total += parts[number]
    if total == 0.0:  # past the last draft, or rounding left no residual
        p_log_total = _log_total(row)
        if np.isnan(p_log_total):
            return _refuse(out, tau, status, _NO_LAW, accepted)
        p_shift, q_shift, ratio = row.dtype.type(p_log_total), row.dtype.type(p_log_total), row.dtype.type(0)
        other = row
        for number in range(parts.size):
            parts[number] = _sum_exponentials(_block(row, number), p_shift)
    number, goal = _block_of(parts, uniforms[gamma])
    own = _search_exponentials(_block(row, number), _block(other, number), p_shift, q_shift, ratio, goal)
    return _finish(tokens, out, tau, accepted, number * _BLOCK + own)


# --- batches on the host --------------------------------------------------------------------------------------------


def _loop(tokens, p, q, uniforms, normalise, out, tau, status):  # type: ignore[no-untyped-def]
    for b in numba.prange(tokens.shape[0]):
        _core(tokens[b], p[b], q[b], uniforms[b], normalise, out[b], tau[b : b + 1], status[b])


def _loop_logits(tokens, p, q, uniforms, out, tau, status):  # type: ignore[no-untyped-def]
    for b in numba.prange(tokens.shape[0]):
        _core_logits(tokens[b], p[b], q[b], uniforms[b], out[b], tau[b : b + 1], status[b])


@functools.cache
def _batch(logits: bool, dtype: np.dtype[Any], parallel: bool) -> Any:
    """Compile the loop over a batch for one type of rows, which may be read-only."""

    def given(scalar: Any, ndim: int) -> Any:
        return types.Array(scalar, ndim, "C", readonly=True)

    rows = given(numba.from_dtype(dtype), 3)
    tail = [types.int32[:, ::1], types.int32[::1], types.int32[:, ::1]]
    flags = [] if logits else [given(types.int32, 1)]
    signature = types.void(given(types.int32, 2), rows, rows, given(types.float64, 2), *flags, *tail)
    return numba.njit(signature, error_model="numpy", nogil=True, parallel=parallel)(_loop_logits if logits else _loop)


def _rows(name: str, values: Any) -> np.ndarray:
    rows = np.ascontiguousarray(values)
    if rows.dtype not in (np.float32, np.float64):
        raise TypeError(
            f"{name} has to be float32 or float64 here; got {rows.dtype}. Convert it with .astype(float32)."
        )
    return rows


def _on_host(
    tokens: Any, p: Any, q: Any, uniforms: Any, *, logits: bool, parallel: bool, flags: tuple[Any, ...]
) -> Any:
    tokens, uniforms = np.asarray(tokens), np.ascontiguousarray(uniforms, dtype=np.float64)
    p, q = _rows("p", p), _rows("q", q)
    check_shapes(tokens, p, q, uniforms)
    if p.dtype != q.dtype:
        raise TypeError(f"p and q have to be of one dtype; got {p.dtype} and {q.dtype}")
    if not np.all((uniforms >= 0) & (uniforms < 1)):
        raise ValueError("uniforms have to lie in [0, 1)")
    single = tokens.ndim == 1
    if single:
        tokens, p, q, uniforms = tokens[None], p[None], q[None], uniforms[None]
    check_tokens(tokens, p.shape[-1])  # before the conversion, which would wrap large integers around
    count, gamma = tokens.shape
    out, tau = np.empty((count, gamma + 1), np.int32), np.empty(count, np.int32)
    status = np.empty((count, 2), np.int32)
    narrow = np.ascontiguousarray(tokens, dtype=np.int32)
    _batch(logits, p.dtype, parallel)(narrow, p, q, uniforms, *flags, out, tau, status)
    if np.any(status[:, 0]):
        _raise(status, p, q, logits=logits)
    is_valid = np.ones(count, bool)
    return Verification(out[0], tau[0], is_valid[0]) if single else Verification(out, tau, is_valid)


def _raise(status: np.ndarray, p: np.ndarray, q: np.ndarray, *, logits: bool) -> None:
    b = int(np.argmax(status[:, 0] != _VALID))
    code, position = (int(part) for part in status[b])
    if code == _NO_LAW:
        check = check_logits if logits else check_weights
        check(f"p[{b}, {position}]", p[b, position])
        if position < q.shape[1]:
            check(f"q[{b}, {position}]", q[b, position])
    sums = [float(rows[b, position].sum(dtype=np.float64)) for rows in (p, q) if position < rows.shape[1]]
    raise ValueError(
        f"the laws at draft {position} of sequence {b} do not sum to one: the sums of the target's and the draft's are "
        f"{', '.join(f'{total:.6g}' for total in sums)}. Pass normalise=True, or logits to the verb that takes them."
    )


def verify(
    tokens: Int[np.ndarray, "*B g"],
    p: Float[np.ndarray, "*B g+1 V"],
    q: Float[np.ndarray, "*B g V"],
    uniforms: Float[np.ndarray, "*B g+1"],
    *,
    normalise: bool = False,
    parallel: bool = False,
) -> Verification:
    """Verify chains of drafts from left to right, up to the first rejection.

    Parameters
    ----------
    tokens
        Drafted tokens, shape ``(g,)`` or ``(B, g)``; ``g`` may be zero.
    p
        Law of the target after each prefix, float32 or float64, one row more than there are drafts. Arrays that are not
        C-contiguous are copied.
    q
        Law that each token was drafted from.
    uniforms
        Numbers in ``[0, 1)``: entry ``i < g`` tests draft ``i``, the last one draws the verifier's own token.
    normalise
        Whether to divide every row that matters by its sum, at the price of reading it. By default rows are taken as
        they are, as from a softmax; an error of their sums shifts the output's law by as much.
    parallel
        Whether to spread the batch over threads.

    Returns
    -------
    Verification
        NumPy arrays. The output is independent of ``parallel``.

    Raises
    ------
    TypeError
        If a dtype is wrong.
    ValueError
        If a shape does not fit, a token is outside the vocabulary, or what was read is no law: NaN, infinite, negative,
        all zero, or (without ``normalise``) with a sum further than 0.001 from one. Rows that no decision needs are not
        read, and so not checked either.
    """
    flags = (np.array([normalise], np.int32),)
    return _on_host(tokens, p, q, uniforms, logits=False, parallel=parallel, flags=flags)  # type: ignore[no-any-return]


def verify_logits(
    tokens: Int[np.ndarray, "*B g"],
    p_logits: Float[np.ndarray, "*B g+1 V"],
    q_logits: Float[np.ndarray, "*B g V"],
    uniforms: Float[np.ndarray, "*B g+1"],
    *,
    parallel: bool = False,
) -> Verification:
    """Do as :func:`verify`, from unnormalised log probabilities; ``-inf`` marks an impossible token.

    Exponentials are computed in the type of the logits and summed in blocks; in single precision each probability comes
    out with a relative error of some 1e-7, and so does the law of the output, in total variation.
    """
    return _on_host(  # type: ignore[no-any-return]
        tokens, p_logits, q_logits, uniforms, logits=True, parallel=parallel, flags=()
    )


# --- operations of JAX ----------------------------------------------------------------------------------------------

_OUTPUTS = [(np.int32, 1), (np.int32, 0), (np.int32, 1)]
_operation = NativeOperation(
    "acceptance.single_draft.weights",
    _core,
    inputs=[(np.int32, 1), (None, 2), (None, 2), (None, 1), (np.int32, 0)],
    outputs=_OUTPUTS,
)
_operation_logits = NativeOperation(
    "acceptance.single_draft.logits",
    _core_logits,
    inputs=[(np.int32, 1), (None, 2), (None, 2), (None, 1)],
    outputs=_OUTPUTS,
)


def decide_chain(
    tokens: Int[Array, "*B g"],
    p: Float[Array, "*B g+1 V"],
    q: Float[Array, "*B g V"],
    uniforms: Float[Array, "*B g+1"],
    *,
    normalise: bool = False,
) -> Verification:
    """Do as :func:`verify`, as an operation of JAX: under ``jit``, ``vmap`` and ``scan``, on a CPU.

    Returns
    -------
    Verification
        JAX arrays. Where :func:`verify` would raise, ``is_valid`` is false and no token is emitted.
    """
    flag = jnp.int32(normalise)
    return _apply(_operation, tokens, p, q, uniforms, flag)


def decide_chain_logits(
    tokens: Int[Array, "*B g"],
    p_logits: Float[Array, "*B g+1 V"],
    q_logits: Float[Array, "*B g V"],
    uniforms: Float[Array, "*B g+1"],
) -> Verification:
    """Do as :func:`verify_logits`, as an operation of JAX; see :func:`decide_chain`."""
    return _apply(_operation_logits, tokens, p_logits, q_logits, uniforms)


def _apply(operation: NativeOperation, tokens: Any, p: Any, q: Any, uniforms: Any, *flags: Array) -> Verification:
    tokens, p, q, uniforms = (jnp.asarray(array) for array in (tokens, p, q, uniforms))
    check_shapes(tokens, p, q, uniforms)
    if is_concrete(tokens):
        check_tokens(tokens, p.shape[-1])
    gamma = tokens.shape[-1]

    def one(*arrays: Array) -> Verification:
        out, tau, status = operation(*arrays, *flags, out_shapes=[(gamma + 1,), (), (2,)])
        return Verification(out, tau, status[0] == _VALID)

    arrays = (tokens.astype(jnp.int32), p, q, uniforms)
    return one(*arrays) if tokens.ndim == 1 else jax.vmap(one)(*arrays)
