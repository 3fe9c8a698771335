"""Laws on a finite vocabulary: checking, normalising, taking residuals, drawing by inversion.

The functions work on JAX arrays, traced or not, and on NumPy arrays of :class:`fractions.Fraction`, for which all
results are exact: the same lines serve production and proof.
"""

from fractions import Fraction
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ergodica.samplers.inputs import is_concrete

ROUNDING = 1e-12
"""Negative weights no larger than this are rounding errors and count as zero."""


def namespace(*arrays: Any) -> ModuleType:
    """Return ``numpy`` if an array holds Python objects such as fractions, else ``jax.numpy``."""
    exact = (isinstance(array, Fraction) or getattr(array, "dtype", None) == np.dtype(object) for array in arrays)
    return np if any(exact) else jnp


def _as_array(values: Any) -> Any:
    if is_concrete(values) and not isinstance(values, jax.Array):
        values = np.asarray(values)
        if values.dtype == object:
            return values
    array = jnp.asarray(values)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)


def check_weights(name: str, weights: Any) -> None:
    """Refuse weights that are no law: NaN, ``inf``, negative, or all zero along the last axis.

    Parameters
    ----------
    name
        Name of the argument, for the error.
    weights
        Concrete array, shape ``(..., V)``.

    Raises
    ------
    ValueError
        With what is wrong, and where.
    """
    if weights.ndim == 0 or weights.shape[-1] == 0:
        raise ValueError(f"{name} needs one probability for each token; got shape {weights.shape}")
    values = weights if weights.dtype == object else np.asarray(weights)
    if values.dtype != object and not np.all(np.isfinite(values)):
        where = tuple(np.argwhere(~np.isfinite(values))[0].tolist())
        raise ValueError(f"{name} contains {values[where]} at {where}; expected probabilities")
    if np.any(values < -ROUNDING):
        where = tuple(np.argwhere(values < -ROUNDING)[0].tolist())
        raise ValueError(
            f"{name} is negative at {where}: {values[where]}; expected probabilities. Logits have verbs of their own."
        )
    if not np.all(np.any(values > 0, axis=-1)):
        where = tuple(np.argwhere(~np.any(values > 0, axis=-1))[0].tolist())
        raise ValueError(f"{name}{list(where) if where else ''} is all zero; at least one token has to be possible")


def check_logits(name: str, logits: Any) -> None:
    """Refuse logits that are no law: NaN, ``+inf``, or all ``-inf`` along the last axis.

    Raises
    ------
    ValueError
        With what is wrong, and where.
    """
    values = np.asarray(logits)
    if values.ndim == 0 or values.shape[-1] == 0:
        raise ValueError(f"{name} needs one logit for each token; got shape {values.shape}")
    wrong = np.isnan(values) | np.isposinf(values)
    if np.any(wrong):
        where = tuple(np.argwhere(wrong)[0].tolist())
        raise ValueError(f"{name} contains {values[where]} at {where}; expected logits, -inf for an impossible token")
    if np.any(np.all(np.isneginf(values), axis=-1)):
        where = tuple(np.argwhere(np.all(np.isneginf(values), axis=-1))[0].tolist())
        raise ValueError(f"{name}{list(where) if where else ''} is all -inf; at least one token has to be possible")


def as_law(name: str, weights: Any) -> Any:
    """Return weights as a law: checked, rounding errors clipped, divided by their own sum.

    Parameters
    ----------
    name
        Name of the argument, for the error.
    weights
        Shape ``(V,)``; floats, or fractions in an array of objects.

    Returns
    -------
    array of shape (V,)
        Under ``jit``, where nothing can be raised, weights that are no law come back as NaN throughout.

    Raises
    ------
    ValueError
        If the weights are concrete and no law, or not a vector.
    """
    array = _as_array(weights)
    if array.ndim != 1:
        raise ValueError(f"{name} has to be one law, a vector; got shape {array.shape}")
    if is_concrete(array):
        check_weights(name, array)
    xp = namespace(array)
    clipped = xp.where(array > 0, array, 0 * array) if xp is np else jnp.maximum(array, 0)  # maximum keeps NaN
    total = clipped.sum()
    if xp is np:
        return clipped / total
    valid = jnp.isfinite(total) & (total > 0) & jnp.all(array >= -ROUNDING)
    return jnp.where(valid, clipped / total, jnp.nan)


def residual_law(target: Any, accepted: Any) -> Any:
    """Return the law to draw from after a rejection: ``(target - accepted)+``, divided by its sum.

    Parameters
    ----------
    target
        The wanted law, shape ``(..., V)``.
    accepted
        The mass of each token that acceptance already emits, same shape.

    Returns
    -------
    array of shape (..., V)
        Where nothing is left, which rounding alone can bring about while a rejection is pending, the target itself.
    """
    xp = namespace(target, accepted)
    excess = xp.where(target > accepted, target - accepted, 0 * target)
    total = excess.sum(axis=-1, keepdims=True)
    return xp.where(total > 0, excess / xp.where(total > 0, total, 1), target)


def invert(weights: Float[Array, "*batch V"], u: Float[Array, "*batch"]) -> Int[Array, "*batch"]:
    """Draw by inversion: the first token at which the running sum of the weights exceeds ``u`` times their sum.

    Parameters
    ----------
    weights
        Non-negative weights, not necessarily normalised.
    u
        Uniforms in ``[0, 1)``.

    Returns
    -------
    integer array
        Never a token of weight zero: if rounding leaves no token, the last one of positive weight.
    """
    running = jnp.cumsum(weights, axis=-1)
    positive = weights > 0
    exceeds = positive & (running > (u * running[..., -1])[..., None])
    last = weights.shape[-1] - 1 - jnp.argmax(positive[..., ::-1], axis=-1)
    return jnp.where(jnp.any(exceeds, axis=-1), jnp.argmax(exceeds, axis=-1), last)
