"""Resampling: replace weighted particles by as many of equal weight."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ergodica.samplers import random

__all__ = ["effective_size", "systematic_ancestors"]


def effective_size(log_weights: Float[Array, " n"]) -> Float[Array, ""]:
    """Return ``(sum w)^2 / sum w^2``, between 1 and ``n``; 0 if all weights vanish."""
    peak = jnp.max(log_weights)
    w = jnp.exp(log_weights - jnp.where(jnp.isfinite(peak), peak, 0))
    return jnp.where(jnp.isfinite(peak), jnp.sum(w) ** 2 / jnp.maximum(jnp.sum(w**2), 1), 0)


def systematic_ancestors(key: PRNGKeyArray, log_weights: Float[Array, " n"]) -> Int[Array, " n"]:
    """Draw which particle each new particle is a copy of, by systematic resampling.

    Particle ``i`` of normalised weight ``W_i`` gets ``n W_i`` copies, rounded up or down, ``n W_i`` on average.

    Parameters
    ----------
    key
        Typed key.
    log_weights
        Log weights; ``-inf`` for particles without weight. If all are, every particle is kept.

    Returns
    -------
    array
        Indices in ascending order.

    References
    ----------
    G. Kitagawa, Monte Carlo filter and smoother for non-Gaussian nonlinear state space models, J. Comput. Graph. Statist.
    5, 1996, doi:10.2307/1390750.
    """
    n = log_weights.shape[0]
    peak = jnp.max(log_weights)
    total = jnp.cumsum(jnp.exp(log_weights - jnp.where(jnp.isfinite(peak), peak, 0)))
    points = (jnp.arange(n) + random.uniform(key, (), total.dtype)) / n
    # Rounding must not take the last point to 1, behind which there may be particles without weight.
    points = jnp.minimum(points, 1 - jnp.finfo(total.dtype).epsneg)
    ancestors = jnp.searchsorted(total / jnp.where(total[-1] > 0, total[-1], 1), points, side="right")
    return jnp.where(total[-1] > 0, ancestors, jnp.arange(n)).astype(jnp.int32)
