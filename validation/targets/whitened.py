"""Exact laws of functions of a target that a known map takes to the standard normal law."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import special

from ergodica.validation.targets.target import Marginal


def whitened_marginals(
    dim: int, whiten: Callable[[Float[Array, " d"]], Float[Array, " d"]], shown: int = 3
) -> tuple[Marginal, ...]:
    """Return marginals of a law that ``whiten`` maps to the standard normal law.

    Parameters
    ----------
    dim
        Dimension.
    whiten
        Traceable map ``(d,) -> (d,)`` that takes the law to the standard normal law.
    shown
        How many single coordinates to look at, at most.

    Returns
    -------
    tuple of Marginal
        Coordinates, and for ``dim`` above one also the scaled sum and the squared norm.
    """

    def coordinate(i: int) -> Marginal:
        return Marginal(f"whitened coordinate {i}", lambda x: whiten(x)[i], special.ndtr)

    marginals = [coordinate(i) for i in range(min(dim, shown))]
    if dim > 1:
        marginals += [
            Marginal("whitened sum", lambda x: jnp.sum(whiten(x)) / np.sqrt(dim), special.ndtr),
            Marginal(
                "whitened squared norm",
                lambda x: jnp.sum(whiten(x) ** 2),
                lambda values: special.gammainc(dim / 2, np.maximum(values, 0) / 2),
            ),
        ]
    return tuple(marginals)
