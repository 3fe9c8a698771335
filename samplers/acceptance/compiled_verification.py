"""What compiled verifiers share: their outcome, what they found wrong, batches on the host, and operations of JAX."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ergodica.samplers.acceptance.laws import check_logits, check_weights
from ergodica.samplers.acceptance.row_sums import in_order
from ergodica.samplers.acceptance.verification import Verification, check_shapes, check_tokens
from ergodica.samplers.inputs import is_concrete
from ergodica.samplers.native import NativeOperation

__all__ = [
    "NOT_NORMALISED", "NO_LAW", "OUTPUTS", "TOKEN", "TOLERANCE", "VALID", "finish", "refuse", "verify_in_jax",
    "verify_on_host",
]  # fmt: skip

TOLERANCE = 1e-3
"""How far the sum of a row that is taken as normalised may be from one."""

VALID, TOKEN, NO_LAW, NOT_NORMALISED = 0, 1, 2, 3
"""What a core found: the first thing that was wrong."""

OUTPUTS = [(np.int32, 1), (np.int32, 0), (np.int32, 1)]
"""Of an operation that verifies: tokens, how many drafts were accepted, what was wrong and where."""


@in_order
def finish(tokens, out, tau, accepted, own):  # type: ignore[no-untyped-def]
    """Write the accepted drafts and the own token."""
    for i in range(out.size):
        out[i] = tokens[i] if i < accepted else np.int32(-1)
    out[accepted] = own
    tau[0] = accepted


@in_order
def refuse(out, tau, status, code, position):  # type: ignore[no-untyped-def]
    """Emit nothing, and say what was wrong at which draft."""
    out[:] = np.int32(-1)
    tau[0] = -1
    status[0] = code
    status[1] = position


def checked_rows(name: str, values: Any) -> np.ndarray:
    rows = np.ascontiguousarray(values)
    if rows.dtype not in (np.float32, np.float64):
        raise TypeError(
            f"{name} has to be float32 or float64 here; got {rows.dtype}. Convert it with .astype(float32)."
        )
    return rows


def verify_on_host(
    batch: Callable[..., Any],
    tokens: Any,
    p: Any,
    q: Any,
    uniforms: Any,
    *flags: np.ndarray,
    logits: bool,
    parallel: bool,
) -> Verification:
    """Verify a batch, or one sequence, of arrays in the host's memory.

    Parameters
    ----------
    batch
        ``batch(dtype, parallel)`` returns the compiled loop.
    tokens, p, q, uniforms
        Drafts, rows of weights or logits, and numbers in ``[0, 1)``.
    *flags
        Passed on to the loop.
    logits
        What the rows hold.
    parallel
        Whether to spread the batch over threads.

    Raises
    ------
    TypeError, ValueError
        If an array does not fit, or what was read is no law.
    """
    tokens, uniforms = np.asarray(tokens), np.ascontiguousarray(uniforms, dtype=np.float64)
    p, q = checked_rows("p", p), checked_rows("q", q)
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
    batch(p.dtype, parallel)(narrow, p, q, uniforms, *flags, out, tau, status)
    if np.any(status[:, 0]):
        raise_what_was_wrong(status, p, q, logits=logits)
    is_valid = np.ones(count, bool)
    return Verification(out[0], tau[0], is_valid[0]) if single else Verification(out, tau, is_valid)


def raise_what_was_wrong(status: np.ndarray, p: np.ndarray, q: np.ndarray, *, logits: bool) -> None:
    b = int(np.argmax(status[:, 0] != VALID))
    code, position = (int(part) for part in status[b])
    if code == NO_LAW:
        check = check_logits if logits else check_weights
        check(f"p[{b}, {position}]", p[b, position])
        if position < q.shape[1]:
            check(f"q[{b}, {position}]", q[b, position])
    sums = [float(rows[b, position].sum(dtype=np.float64)) for rows in (p, q) if position < rows.shape[1]]
    raise ValueError(
        f"the laws at draft {position} of sequence {b} do not sum to one: the sums of the target's and the draft's are "
        f"{', '.join(f'{total:.6g}' for total in sums)}. Pass normalise=True, or logits to the verb that takes them."
    )


def verify_in_jax(
    operation: NativeOperation, tokens: Any, p: Any, q: Any, uniforms: Any, *flags: Array
) -> Verification:
    """Verify by an operation of JAX; where the host would raise, ``is_valid`` is false and no token is emitted."""
    tokens, p, q, uniforms = (jnp.asarray(array) for array in (tokens, p, q, uniforms))
    check_shapes(tokens, p, q, uniforms)
    if is_concrete(tokens):
        check_tokens(tokens, p.shape[-1])
    gamma = tokens.shape[-1]

    def one(*arrays: Array) -> Verification:
        out, tau, status = operation(*arrays, *flags, out_shapes=[(gamma + 1,), (), (2,)])
        return Verification(out, tau, status[0] == VALID)

    arrays = (tokens.astype(jnp.int32), p, q, uniforms)
    return one(*arrays) if tokens.ndim == 1 else jax.vmap(one)(*arrays)
