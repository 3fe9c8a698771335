"""Losses of a flow: Kullback-Leibler divergences in both directions, up to a constant."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ergodica.samplers import random

__all__ = ["forward_kl", "reverse_kl"]


def forward_kl(flow: Any, points: Float[Array, "n ..."]) -> Float[Array, ""]:
    """Return the mean of ``-log q`` over draws of the target: the divergence ``KL(pi | q)`` up to the target's entropy.

    It covers every mode that the draws cover, and none else.

    Parameters
    ----------
    flow
        Unconditional distribution of FlowJAX.
    points
        Points with the shape of the flow, on axis 0.
    """
    return -jnp.mean(flow.log_prob(points))


def reverse_kl(flow: Any, logdensity: Callable[[Array], Array], key: PRNGKeyArray, num_draws: int) -> Float[Array, ""]:
    """Return the mean of ``log q - log gamma`` over draws of the flow: ``KL(q | pi) - log Z``.

    Its value is the usual one. Its gradient is the path gradient: the parameters act through the draws alone, and those
    inside ``log q`` are held fixed, which changes nothing on average. Where the flow equals the target the gradient
    vanishes for every single draw, so that training can settle there. The divergence prefers to lose a mode to straying
    outside one: mix it with :func:`forward_kl`.

    Parameters
    ----------
    flow
        Unconditional distribution of FlowJAX, whose draws are differentiable in its parameters.
    logdensity
        The target's, from a point with the shape of the flow to a scalar.
    key
        Typed key.
    num_draws
        Number of draws.

    References
    ----------
    G. Roeder, Y. Wu, D. Duvenaud, Sticking the landing: simple, lower-variance gradient estimators for variational
    inference, NeurIPS 2017, arXiv:1703.09194.
    """
    arrays, rest = eqx.partition(flow, eqx.is_inexact_array)
    frozen = eqx.combine(jax.lax.stop_gradient(arrays), rest)

    def one(key: PRNGKeyArray) -> Array:
        x = flow.sample(key)
        return frozen.log_prob(x) - logdensity(x)

    return jnp.mean(jax.vmap(one)(random.split(key, num_draws)))
