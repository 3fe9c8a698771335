"""Speculative sampling with one draft for each position, compiled, on arrays in the host's memory.

The same decisions as :class:`ergodica.samplers.acceptance.single_draft.SingleDraft` makes on the same uniforms, at the
speed of memory. A draft that is accepted costs two entries of the arrays; rows are read where a token is drawn, once.
From logits the rows of every tested draft have to be normalised, in one pass each.

:func:`verify` and :func:`verify_logits` take NumPy arrays (or JAX arrays on a CPU, without copying them).
:func:`decide_chain` and :func:`decide_chain_logits` are the same cores as operations of JAX.
"""

import functools
from functools import partial
from typing import Any

import jax.numpy as jnp
import numba
import numpy as np
from jaxtyping import Array, Float, Int
from numba import types

from ergodica.samplers.acceptance.compiled_verification import (
    NO_LAW,
    NOT_NORMALISED,
    OUTPUTS,
    TOKEN,
    TOLERANCE,
    finish,
    refuse,
    verify_in_jax,
    verify_on_host,
)
from ergodica.samplers.acceptance.laws import ROUNDING
from ergodica.samplers.acceptance.row_sums import (
    BLOCK,
    block,
    block_of,
    in_order,
    is_negative,
    log_total,
    search,
    search_exponentials,
    sum_checks,
    sum_excess,
    sum_excess_exponentials,
    sum_exponentials,
    sum_parts,
)
from ergodica.samplers.acceptance.verification import Verification
from ergodica.samplers.native import NativeOperation

__all__ = ["decide_chain", "decide_chain_logits", "verify", "verify_logits"]

# --- cores: one sequence --------------------------------------------------------------------------------------------


@in_order
def _core(tokens, p, q, uniforms, normalise, out, tau, status):  # type: ignore[no-untyped-def]
    """Verify one chain from weights. ``status`` gets what was wrong, and at which draft."""
    gamma, size = tokens.size, p.shape[1]
    status[:] = 0
    parts = np.empty((size + BLOCK - 1) // BLOCK)
    p_sum, q_sum = 1.0, 1.0
    accepted = 0
    while accepted < gamma:
        token = tokens[accepted]
        if token < 0 or token >= size:
            return refuse(out, tau, status, TOKEN, accepted)
        if normalise[0]:
            p_sum, q_sum = sum_parts(p[accepted], parts), sum_parts(q[accepted], parts)
        p_at, q_at = np.float64(p[accepted, token]) / p_sum, np.float64(q[accepted, token]) / q_sum
        if not (p_at >= -ROUNDING and q_at >= -ROUNDING and p_at < np.inf and q_at < np.inf):
            return refuse(out, tau, status, NO_LAW, accepted)
        if p_at > 1.0 + TOLERANCE or q_at > 1.0 + TOLERANCE:
            return refuse(out, tau, status, NOT_NORMALISED, accepted)
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
            p_block, q_block = block(row, number), block(other, number)
            p_part, p_negative = sum_checks(p_block)
            q_part, q_negative = sum_checks(q_block)
            some_negative = some_negative or p_negative < 0 or q_negative < 0
            p_total += p_part
            q_total += q_part
            parts[number] = sum_excess(p_block, q_block, p_scale, q_scale)
            excess += parts[number]
        if not (p_total > 0.0 and p_total < np.inf and q_total > 0.0 and q_total < np.inf):
            return refuse(out, tau, status, NO_LAW, accepted)
        if some_negative and (is_negative(row) or is_negative(other)):
            return refuse(out, tau, status, NO_LAW, accepted)
    if excess == 0.0:  # past the last draft, or rounding left no residual
        p_scale, q_scale = 1.0, 0.0
        p_total = sum_parts(row, parts)
        q_total = q_total if accepted < gamma else 1.0
        if np.isnan(p_total):
            return refuse(out, tau, status, NO_LAW, accepted)
    if not normalise[0] and (abs(p_total - 1.0) > TOLERANCE or abs(q_total - 1.0) > TOLERANCE):
        return refuse(out, tau, status, NOT_NORMALISED, accepted)
    number, goal = block_of(parts, uniforms[gamma])
    own = search(block(row, number), block(other, number), p_scale, q_scale, goal)
    return finish(tokens, out, tau, accepted, number * BLOCK + own)


@in_order
def _core_logits(tokens, p, q, uniforms, out, tau, status):  # type: ignore[no-untyped-def]
    """Verify one chain from logits. ``status`` gets what was wrong, and at which draft."""
    gamma, size = tokens.size, p.shape[1]
    status[:] = 0
    p_log_total, q_log_total = 0.0, 0.0
    accepted = 0
    while accepted < gamma:
        token = tokens[accepted]
        if token < 0 or token >= size:
            return refuse(out, tau, status, TOKEN, accepted)
        p_log_total, q_log_total = log_total(p[accepted]), log_total(q[accepted])
        if np.isnan(p_log_total) or np.isnan(q_log_total):
            return refuse(out, tau, status, NO_LAW, accepted)
        p_log = np.float64(p[accepted, token]) - p_log_total
        q_log = np.float64(q[accepted, token]) - q_log_total
        if not (q_log > -np.inf and (p_log >= q_log or uniforms[accepted] < np.exp(p_log - q_log))):
            break
        accepted += 1
    row = p[accepted]
    parts = np.empty((size + BLOCK - 1) // BLOCK)
    total = 0.0
    other, p_shift, q_shift, ratio = row, row.dtype.type(0), row.dtype.type(0), row.dtype.type(0)
    if accepted < gamma:
        # The shifts are the logs of the sums, rounded to the type of the rows, and the ratio makes up for the rounding.
        other, p_shift, q_shift = q[accepted], row.dtype.type(p_log_total), row.dtype.type(q_log_total)
        ratio = row.dtype.type(np.exp((q_shift - q_log_total) - (p_shift - p_log_total)))
        for number in range(parts.size):
            p_block, q_block = block(row, number), block(other, number)
            parts[number] = sum_excess_exponentials(p_block, q_block, p_shift, q_shift, ratio)
            total += parts[number]
    if total == 0.0:  # past the last draft, or rounding left no residual
        p_log_total = log_total(row)
        if np.isnan(p_log_total):
            return refuse(out, tau, status, NO_LAW, accepted)
        p_shift, q_shift, ratio = row.dtype.type(p_log_total), row.dtype.type(p_log_total), row.dtype.type(0)
        other = row
        for number in range(parts.size):
            parts[number] = sum_exponentials(block(row, number), p_shift)
    number, goal = block_of(parts, uniforms[gamma])
    own = search_exponentials(block(row, number), block(other, number), p_shift, q_shift, ratio, goal)
    return finish(tokens, out, tau, accepted, number * BLOCK + own)


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
    flag = np.array([normalise], np.int32)
    return verify_on_host(partial(_batch, False), tokens, p, q, uniforms, flag, logits=False, parallel=parallel)


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
    return verify_on_host(partial(_batch, True), tokens, p_logits, q_logits, uniforms, logits=True, parallel=parallel)


# --- operations of JAX ----------------------------------------------------------------------------------------------

_operation = NativeOperation(
    "acceptance.single_draft.weights",
    _core,
    inputs=[(np.int32, 1), (None, 2), (None, 2), (None, 1), (np.int32, 0)],
    outputs=OUTPUTS,
)
_operation_logits = NativeOperation(
    "acceptance.single_draft.logits",
    _core_logits,
    inputs=[(np.int32, 1), (None, 2), (None, 2), (None, 1)],
    outputs=OUTPUTS,
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
    return verify_in_jax(_operation, tokens, p, q, uniforms, flag)


def decide_chain_logits(
    tokens: Int[Array, "*B g"],
    p_logits: Float[Array, "*B g+1 V"],
    q_logits: Float[Array, "*B g V"],
    uniforms: Float[Array, "*B g+1"],
) -> Verification:
    """Do as :func:`verify_logits`, as an operation of JAX; see :func:`decide_chain`."""
    return verify_in_jax(_operation_logits, tokens, p_logits, q_logits, uniforms)
