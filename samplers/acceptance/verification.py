"""What the verification of drafted sequences takes and returns, whatever the rule."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int


class Verification(NamedTuple):
    """The outcome for each drafted sequence; arrays of JAX, or of NumPy from a compiled core.

    Parameters
    ----------
    tokens
        The accepted drafts, then one token of the verifier's own, then -1; shape ``(..., g + 1)``, int32.
    tau
        How many drafts were accepted, so that ``tau + 1`` tokens were emitted; shape ``(...)``, int32.
    is_valid
        Whether the laws and tokens were fit for use; where not, no token is emitted and ``tau`` is -1. On the host this
        is an error, so it matters under ``jit`` only.
    """

    tokens: Int[Array | np.ndarray, "... h"]
    tau: Int[Array | np.ndarray, "..."]
    is_valid: Bool[Array | np.ndarray, "..."]


def emitted(
    tokens: Int[Array, " g"], tau: Int[Array, ""], own: Int[Array, ""], is_valid: Bool[Array, ""]
) -> Verification:
    """Put the outcome for one sequence together.

    Parameters
    ----------
    tokens
        The drafts.
    tau
        How many of them were accepted.
    own
        The verifier's own token.
    is_valid
        Whether the laws were.
    """
    place = jnp.arange(tokens.shape[0] + 1)
    drafted = jnp.append(tokens, -1)
    row = jnp.where(place < tau, drafted, jnp.where(place == tau, own, -1))
    return Verification(
        jnp.where(is_valid, row, -1).astype(jnp.int32), jnp.where(is_valid, tau, -1).astype(jnp.int32), is_valid
    )


def check_shapes(tokens: Any, target: Any, draft: Any, uniforms: Any = None, *, batched: bool | None = None) -> None:
    """Compare the shapes and dtypes of drafts, laws and uniforms.

    Parameters
    ----------
    tokens, target, draft, uniforms
        Arrays of shapes ``(g,)``, ``(g + 1, V)``, ``(g, V)``, ``(g + 1,)``, or all with one more leading axis.
    batched
        Whether the leading axis has to be there; default: either way.

    Raises
    ------
    TypeError
        If tokens are not integers or the laws not floats.
    ValueError
        If a shape does not fit.
    """
    if not np.issubdtype(tokens.dtype, np.integer):
        raise TypeError(f"tokens have to be integers; got dtype {tokens.dtype}")
    for name, array in (("p", target), ("q", draft)):
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(f"{name} has to hold floating-point numbers; got dtype {array.dtype}")
    if tokens.ndim not in ((1, 2) if batched is None else (2,) if batched else (1,)):
        raise ValueError(f"tokens have to have shape (g,) or (B, g); got {tokens.shape}. Use jax.vmap for more axes.")
    head, gamma = tokens.shape[:-1], tokens.shape[-1]
    vocabulary = target.shape[-1] if target.ndim else 0
    expected = {"p": (target, (*head, gamma + 1, vocabulary)), "q": (draft, (*head, gamma, vocabulary))}
    if uniforms is not None:
        expected["uniforms"] = (uniforms, (*head, gamma + 1))
    for name, (array, shape) in expected.items():
        if array.shape != shape:
            raise ValueError(
                f"{name} has to have shape {shape} for tokens of shape {tokens.shape} and {vocabulary} words; got "
                f"{array.shape}. The target's laws p have one row more than the draft's q: that after the last draft."
            )
    if vocabulary == 0:
        raise ValueError("the vocabulary is empty: p and q need at least one entry a row")


def check_tokens(tokens: Any, vocabulary: int) -> None:
    """Refuse tokens outside the vocabulary.

    Raises
    ------
    ValueError
        With the first such token.
    """
    values = np.asarray(tokens)
    wrong = (values < 0) | (values >= vocabulary)
    if np.any(wrong):
        where = tuple(np.argwhere(wrong)[0].tolist())
        raise ValueError(f"the drafted token {values[where]} at {where} is outside the vocabulary 0..{vocabulary - 1}")
