"""Targets that mix several models, of which one drafts.

A rule for chains takes any target. If the target is an average that includes the drafting model, acceptance is high by
construction: for ``lam q + (1 - lam) p`` it is ``1 - (1 - lam) TV(p, q)``, at least ``lam``. The last row needs the
drafting model's law too, one more pass of it than there are drafts.

Roles may alternate: after a block that is kept whole, the law with which the other model scored the next position can
draft it. A token is verified once the laws of all members are known, with the law it was drawn from.

Source: Fu et al., ICML 2025, arXiv 2502.01662.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ergodica.samplers.acceptance.laws import check_logits, check_weights, namespace
from ergodica.samplers.inputs import is_concrete


def linear_ensemble(laws: Any, weights: Any) -> Any:
    """Return the average of the members' laws.

    Parameters
    ----------
    laws
        Weights of the tokens under each member, shape ``(m, ..., V)``; floats, or fractions in an array of objects. Each
        row is divided by its sum.
    weights
        Weight of each member, shape ``(m,)``; divided by their sum.

    Returns
    -------
    array of shape (..., V)

    Raises
    ------
    ValueError
        If what can be looked at holds no laws, or there is not one weight for each member.
    """
    laws, weights = _members(laws, weights)
    if is_concrete(laws):
        check_weights("laws", laws)
    share = (weights / weights.sum()).reshape(-1, *[1] * (laws.ndim - 1))
    return (share * laws / laws.sum(axis=-1, keepdims=True)).sum(axis=0)


def geometric_ensemble(logits: Float[Array, "m *batch V"], weights: Float[Array, " m"]) -> Float[Array, "*batch V"]:
    """Return the law proportional to the product of powers of the members' laws.

    Parameters
    ----------
    logits
        Unnormalised log probabilities under each member, shape ``(m, ..., V)``; what one member excludes, of those with
        a positive weight, is excluded.
    weights
        Exponents, shape ``(m,)``, not normalised: contrasts between models have negative ones.

    Returns
    -------
    array of shape (..., V)
        Normalised; NaN under ``jit`` where no token is left.

    Raises
    ------
    ValueError
        If what can be looked at holds no laws, there is not one weight for each member, or no token is left.
    """
    logits, weights = (jnp.asarray(values) for values in _members(logits, weights))
    if is_concrete(logits):
        check_logits("logits", logits)
    share = weights.reshape(-1, *[1] * (logits.ndim - 1))
    total = jnp.where(share == 0, 0, share * logits).sum(axis=0)
    if is_concrete(total):
        check_logits("the ensemble", total)
    return jax.nn.softmax(total, axis=-1)


def _members(laws: Any, weights: Any) -> tuple[Any, Any]:
    if not isinstance(laws, jax.Array):
        laws = np.asarray(laws)
        laws = laws if laws.dtype == object else jnp.asarray(laws, float)
    weights = namespace(laws).asarray(weights)
    if laws.ndim < 2 or weights.shape != laws.shape[:1]:
        raise ValueError(
            f"one weight is needed for each member, the first axis of the laws; got shapes {weights.shape} and {laws.shape}"
        )
    return laws, weights
