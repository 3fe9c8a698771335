"""Rejection sampling: exact draws of a target that lies below a known multiple of a law one can draw from."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.inputs import static_count

Proposals = Callable[[PRNGKeyArray, int], tuple[Float[Array, "n d"], Float[Array, " n"]]]
"""``propose(key, n)`` returns proposals and the logs of their acceptance probabilities, none above zero."""


def rejection_draws(key: PRNGKeyArray, n: int, propose: Proposals) -> Float[Array, "n d"]:
    """Return exact and independent draws: every row is the first accepted one of its own row of proposals.

    Parameters
    ----------
    key
        Typed key.
    n
        Number of draws, static.
    propose
        See :data:`Proposals`. The log density of the proposals plus the log acceptance probability has to be, up to a
        constant, the log density of the target.

    Returns
    -------
    array of shape (n, d)
    """
    n = static_count("n", n)

    def round_of(index: Array) -> tuple[Array, Array]:
        proposal_key, accept_key = random.split(random.fold_in(key, index))
        proposed, log_acceptance = propose(proposal_key, n)
        return proposed, random.bernoulli(accept_key, jnp.exp(log_acceptance))

    def unfinished(carry: tuple[Array, Array, Array]) -> Array:
        return ~jnp.all(carry[2])

    def another(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        index, draws, done = carry
        proposed, accepted = round_of(index)
        return index + 1, jnp.where((accepted & ~done)[:, None], proposed, draws), done | accepted

    start = round_of(jnp.asarray(0))
    return jax.lax.while_loop(unfinished, another, (jnp.asarray(1), *start))[1]
