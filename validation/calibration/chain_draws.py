"""Posterior draws from a kernel: a chain with warm-up and thinning, as a function that calibration can call."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.inputs import static_count
from ergodica.validation.targets.target import several_steps

PosteriorDraws = Callable[[PRNGKeyArray, Any, int], Any]
"""``(key, data, n) -> draws``, a pytree whose leaves have a leading axis of length ``n``."""


def chain_draws(
    kernel: Callable[[Any], Any],
    start: Callable[[PRNGKeyArray, Any], Any],
    *,
    warmup: int = 500,
    thin: int = 1,
) -> PosteriorDraws:
    """Return posterior draws along one chain.

    Parameters
    ----------
    kernel
        ``kernel(data)`` returns a kernel with the posterior of the data as its target.
    start
        ``start(key, data)`` returns the position at which the chain starts. Not the parameter that made the data: then
        short chains would look better than they are.
    warmup
        Steps before the first draw. Nothing is tuned in them.
    thin
        Steps for each draw.

    Returns
    -------
    function
        ``(key, data, n) -> draws``.
    """
    warmup, thin = static_count("warmup", warmup, at_least=0), static_count("thin", thin)

    def draw(key: PRNGKeyArray, data: Any, n: int) -> Any:
        start_key, init_key, warm_key, chain_key = random.split(key, 4)
        bound = kernel(data)
        state = bound.init(start(start_key, data), key=init_key)
        if warmup:
            state = several_steps(bound, warm_key, state, warmup)

        def body(state: Any, index: Array) -> tuple[Any, Any]:
            state = several_steps(bound, random.fold_in(chain_key, index), state, thin)
            return state, state.position

        return jax.lax.scan(body, state, jnp.arange(n))[1]

    return draw


@dataclasses.dataclass(frozen=True)
class Thinning:
    """A stride that pilot chains ask for.

    Parameters
    ----------
    stride
        Steps for each draw.
    efficiency
        Smallest effective sample size, bulk or tail, per draw of a pilot chain.
    quantity
        Name of the quantity that it belongs to.
    """

    stride: int
    efficiency: float
    quantity: str


def thinning_for(values: Float[np.ndarray, "pilots n Q"], names: list[str]) -> Thinning:
    """Return the stride after which draws are worth as many independent ones, in every pilot chain and quantity.

    Parameters
    ----------
    values
        Quantities along independent pilot chains.
    names
        Names of the quantities.

    Raises
    ------
    ValueError
        If a pilot chain is worth less than 20 draws, or does not move.
    """
    from arviz_stats.base import array_stats

    pilots, n, _ = values.shape
    worst = Thinning(1, np.inf, names[0])
    for i, name in enumerate(names):
        for pilot in range(pilots):
            x = values[pilot, :, i]
            if not np.all(np.isfinite(x)):
                raise ValueError(f"the quantity {name!r} is not finite along a pilot chain")
            if np.ptp(x) == 0:
                raise ValueError(f"the quantity {name!r} stays at {x[0]} along a pilot chain of {n} draws")
            bulk = array_stats.ess(x[None], method="bulk")
            tail = array_stats.ess(x[None], method="tail", prob=(0.05, 0.95))
            effective = min(float(bulk), float(tail))
            if effective < worst.efficiency * n:
                worst = Thinning(1, effective / n, name)
    if not worst.efficiency * n >= 20:
        raise ValueError(
            f"a pilot chain of {n} draws is worth {worst.efficiency * n:.1f} independent ones in {worst.quantity!r}: too few "
            "to estimate a thinning. (a) The warm-up is too short; (b) the kernel mixes slowly: give thin= or longer pilots"
        )
    return dataclasses.replace(worst, stride=max(1, int(np.ceil(1 / worst.efficiency))))
