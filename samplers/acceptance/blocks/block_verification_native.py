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

import jax
import jax.numpy as jnp
import numba
import numpy as np
from jaxtyping import Array, Float, Int
from numba import types

from ergodica.samplers.acceptance.laws import ROUNDING
from ergodica.samplers.acceptance.single_draft_native import (
    _BLOCK,
    _NO_LAW,
    _NOT_NORMALISED,
    _TOKEN,
    _VALID,
    TOLERANCE,
    _block,
    _block_of,
    _finish,
    _in_order,
    _is_negative,
    _raise,
    _refuse,
    _rows,
    _search,
    _sum_checks,
    _sum_excess,
    _sum_parts,
)
from ergodica.samplers.acceptance.verification import Verification, check_shapes, check_tokens
from ergodica.samplers.inputs import is_concrete
from ergodica.samplers.native import NativeOperation

__all__ = ["decide", "verify"]


@_in_order
def _left(row, other, p_scale, q_scale, parts, totals):  # type: ignore[no-untyped-def]
    """Write the sums of ``(p_scale p - q_scale q)+`` over the blocks, and return the whole; NaN if a row is no law.

    ``totals`` gets the sums of the two rows.
    """
    left, p_total, q_total, some_negative = 0.0, 0.0, 0.0, False
    for number in range(parts.size):
        p_block, q_block = _block(row, number), _block(other, number)
        p_part, p_negative = _sum_checks(p_block)
        q_part, q_negative = _sum_checks(q_block)
        some_negative = some_negative or p_negative < 0 or q_negative < 0
        p_total += p_part
        q_total += q_part
        parts[number] = _sum_excess(p_block, q_block, p_scale, q_scale)
        left += parts[number]
    totals[0], totals[1] = p_total, q_total
    if not (p_total > 0.0 and p_total < np.inf and q_total > 0.0 and q_total < np.inf):
        return np.nan
    if some_negative and (_is_negative(row) or _is_negative(other)):
        return np.nan
    return left


@_in_order
def _core(tokens, p, q, uniforms, normalise, out, tau, status):  # type: ignore[no-untyped-def]
    """Verify one chain. ``status`` gets what was wrong, and at which draft."""
    gamma, size = tokens.size, p.shape[1]
    status[:] = 0
    parts, totals = np.empty((size + _BLOCK - 1) // _BLOCK), np.empty(2)
    budgets, p_sums, q_sums = np.ones(gamma + 1), np.ones(gamma + 1), np.ones(gamma + 1)
    for i in range(gamma):
        token = tokens[i]
        if token < 0 or token >= size:
            return _refuse(out, tau, status, _TOKEN, i)
        if normalise[0]:
            p_sums[i], q_sums[i] = _sum_parts(p[i], parts), _sum_parts(q[i], parts)
        p_at, q_at = np.float64(p[i, token]) / p_sums[i], np.float64(q[i, token]) / q_sums[i]
        if not (p_at >= -ROUNDING and q_at >= -ROUNDING and p_at < np.inf and q_at < np.inf):
            return _refuse(out, tau, status, _NO_LAW, i)
        if p_at > 1.0 + TOLERANCE or q_at > 1.0 + TOLERANCE:
            return _refuse(out, tau, status, _NOT_NORMALISED, i)
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
                    return _refuse(out, tau, status, _NO_LAW, accepted)
                if not normalise[0] and (abs(totals[0] - 1.0) > TOLERANCE or abs(totals[1] - 1.0) > TOLERANCE):
                    return _refuse(out, tau, status, _NOT_NORMALISED, accepted)
                if budget >= 1.0 or uniforms[accepted - 1] < left / (left + 1.0 - budget):
                    break
            accepted -= 1
    row, other, p_scale, q_scale = p[accepted], p[accepted], 1.0, 0.0
    if left > 0.0:
        other, p_scale, q_scale = q[accepted], budgets[accepted] / p_sums[accepted], 1.0 / q_sums[accepted]
    else:  # past the last draft, or rounding left no residual
        total = _sum_parts(row, parts)
        if np.isnan(total):
            return _refuse(out, tau, status, _NO_LAW, accepted)
        if not normalise[0] and abs(total - 1.0) > TOLERANCE:
            return _refuse(out, tau, status, _NOT_NORMALISED, accepted)
    number, goal = _block_of(parts, uniforms[gamma])
    own = _search(_block(row, number), _block(other, number), p_scale, q_scale, goal)
    return _finish(tokens, out, tau, accepted, number * _BLOCK + own)


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
    narrow, flag = np.ascontiguousarray(tokens, dtype=np.int32), np.array([normalise], np.int32)
    _batch(p.dtype, parallel)(narrow, p, q, uniforms, flag, out, tau, status)
    if np.any(status[:, 0]):
        _raise(status, p, q, logits=False)
    is_valid = np.ones(count, bool)
    return Verification(out[0], tau[0], is_valid[0]) if single else Verification(out, tau, is_valid)


_operation = NativeOperation(
    "acceptance.block_verification",
    _core,
    inputs=[(np.int32, 1), (None, 2), (None, 2), (None, 1), (np.int32, 0)],
    outputs=[(np.int32, 1), (np.int32, 0), (np.int32, 1)],
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
    tokens, p, q, uniforms = (jnp.asarray(array) for array in (tokens, p, q, uniforms))
    check_shapes(tokens, p, q, uniforms)
    if is_concrete(tokens):
        check_tokens(tokens, p.shape[-1])
    gamma, flag = tokens.shape[-1], jnp.int32(normalise)

    def one(*arrays: Array) -> Verification:
        out, tau, status = _operation(*arrays, flag, out_shapes=[(gamma + 1,), (), (2,)])
        return Verification(out, tau, status[0] == _VALID)

    arrays = (tokens.astype(jnp.int32), p, q, uniforms)
    return one(*arrays) if tokens.ndim == 1 else jax.vmap(one)(*arrays)
