"""Block verification, compiled, on arrays in the host's memory.

The same decisions as :class:`~ergodica.samplers.acceptance.blocks.block_verification.BlockVerification` makes on the
same uniforms. The budgets cost two entries of the arrays for each draft. The levels are then tested from the last to the
first, and only a test that its budget does not decide reads its rows, once: what the rows leave decides the test and
draws the token.

:func:`verify` takes NumPy arrays (or JAX arrays on a CPU, without copying them); :func:`decide` is the same core as an
operation of JAX.
"""

import functools
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
    search,
    sum_checks,
    sum_excess,
    sum_parts,
)
from ergodica.samplers.acceptance.verification import Verification
from ergodica.samplers.native import NativeOperation

__all__ = ["decide", "verify"]


@in_order
def _left(row, other, p_scale, q_scale, parts, totals):  # type: ignore[no-untyped-def]
    """Write the sums of ``(p_scale p - q_scale q)+`` over the blocks, and return the whole; NaN if a row is no law.

    ``totals`` gets the sums of the two rows.
    """
    left, p_total, q_total, some_negative = 0.0, 0.0, 0.0, False
    for number in range(parts.size):
        p_block, q_block = block(row, number), block(other, number)
        p_part, p_negative = sum_checks(p_block)
        q_part, q_negative = sum_checks(q_block)
        some_negative = some_negative or p_negative < 0 or q_negative < 0
        p_total += p_part
        q_total += q_part
        parts[number] = sum_excess(p_block, q_block, p_scale, q_scale)
        left += parts[number]
    totals[0], totals[1] = p_total, q_total
    if not (p_total > 0.0 and p_total < np.inf and q_total > 0.0 and q_total < np.inf):
        return np.nan
    if some_negative and (is_negative(row) or is_negative(other)):
        return np.nan
    return left


@in_order
def _core(tokens, p, q, uniforms, normalise, out, tau, status):  # type: ignore[no-untyped-def]
    """Verify one chain. ``status`` gets what was wrong, and at which draft."""
    gamma, size = tokens.size, p.shape[1]
    status[:] = 0
    parts, totals = np.empty((size + BLOCK - 1) // BLOCK), np.empty(2)
    budgets, p_sums, q_sums = np.ones(gamma + 1), np.ones(gamma + 1), np.ones(gamma + 1)
    for i in range(gamma):
        token = tokens[i]
        if token < 0 or token >= size:
            return refuse(out, tau, status, TOKEN, i)
        if normalise[0]:
            p_sums[i], q_sums[i] = sum_parts(p[i], parts), sum_parts(q[i], parts)
        p_at, q_at = np.float64(p[i, token]) / p_sums[i], np.float64(q[i, token]) / q_sums[i]
        if not (p_at >= -ROUNDING and q_at >= -ROUNDING and p_at < np.inf and q_at < np.inf):
            return refuse(out, tau, status, NO_LAW, i)
        if p_at > 1.0 + TOLERANCE or q_at > 1.0 + TOLERANCE:
            return refuse(out, tau, status, NOT_NORMALISED, i)
        wanted = budgets[i] * max(p_at, 0.0)
        budgets[i + 1] = (1.0 if wanted >= q_at else wanted / q_at) if q_at > 0.0 else 0.0
    accepted, left = gamma, 0.0
    if gamma > 0 and not uniforms[gamma - 1] < budgets[gamma]:
        accepted = gamma - 1
        while True:
            budget = budgets[accepted]
            # An empty budget fails and a full one passes, whatever the rows: those of a failure are not read.
            if budget > 0.0:
                row, other = p[accepted], q[accepted]
                left = _left(row, other, budget / p_sums[accepted], 1.0 / q_sums[accepted], parts, totals)
                if np.isnan(left):
                    return refuse(out, tau, status, NO_LAW, accepted)
                if not normalise[0] and (abs(totals[0] - 1.0) > TOLERANCE or abs(totals[1] - 1.0) > TOLERANCE):
                    return refuse(out, tau, status, NOT_NORMALISED, accepted)
                if budget >= 1.0 or uniforms[accepted - 1] < left / (left + 1.0 - budget):
                    break
            accepted -= 1
    row, other, p_scale, q_scale = p[accepted], p[accepted], 1.0, 0.0
    if left > 0.0:
        other, p_scale, q_scale = q[accepted], budgets[accepted] / p_sums[accepted], 1.0 / q_sums[accepted]
    else:  # past the last draft, or rounding left no residual
        total = sum_parts(row, parts)
        if np.isnan(total):
            return refuse(out, tau, status, NO_LAW, accepted)
        if not normalise[0] and abs(total - 1.0) > TOLERANCE:
            return refuse(out, tau, status, NOT_NORMALISED, accepted)
    number, goal = block_of(parts, uniforms[gamma])
    own = search(block(row, number), block(other, number), p_scale, q_scale, goal)
    return finish(tokens, out, tau, accepted, number * BLOCK + own)


def _loop(tokens, p, q, uniforms, normalise, out, tau, status):  # type: ignore[no-untyped-def]
    for b in numba.prange(tokens.shape[0]):
        _core(tokens[b], p[b], q[b], uniforms[b], normalise, out[b], tau[b : b + 1], status[b])


@functools.cache
def _batch(dtype: np.dtype[Any], parallel: bool) -> Any:
    """Compile the loop over a batch for one type of rows, which may be read-only."""

    def given(scalar: Any, ndim: int) -> Any:
        return types.Array(scalar, ndim, "C", readonly=True)

    rows = given(numba.from_dtype(dtype), 3)
    inputs = [given(types.int32, 2), rows, rows, given(types.float64, 2), given(types.int32, 1)]
    signature = types.void(*inputs, types.int32[:, ::1], types.int32[::1], types.int32[:, ::1])
    return numba.njit(signature, error_model="numpy", nogil=True, parallel=parallel)(_loop)


def verify(
    tokens: Int[np.ndarray, "*B g"],
    p: Float[np.ndarray, "*B g+1 V"],
    q: Float[np.ndarray, "*B g V"],
    uniforms: Float[np.ndarray, "*B g+1"],
    *,
    normalise: bool = False,
    parallel: bool = False,
) -> Verification:
    """Verify chains of drafts as blocks.

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
        Numbers in ``[0, 1)``: entry ``i < g`` tests the first ``i + 1`` drafts, the last one draws the own token.
    normalise
        Whether to divide every row by its sum, at the price of reading it. By default rows are taken as they are, as
        from a softmax; an error of their sums shifts the output's law by as much for each draft.
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
    return verify_on_host(_batch, tokens, p, q, uniforms, flag, logits=False, parallel=parallel)


_operation = NativeOperation(
    "acceptance.block_verification",
    _core,
    inputs=[(np.int32, 1), (None, 2), (None, 2), (None, 1), (np.int32, 0)],
    outputs=OUTPUTS,
)


def decide(
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
    return verify_in_jax(_operation, tokens, p, q, uniforms, jnp.int32(normalise))
