"""Checks of the draws of chains."""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike


def chain_draws(draws: ArrayLike, *, at_least: int = 2, min_chains: int = 1) -> Float[np.ndarray, "chains draws p"]:
    """Check draws and return them in double precision, with all three axes.

    Parameters
    ----------
    draws
        Shape ``(chains, draws, p)``; ``(chains, draws)`` for one quantity, as in ArviZ; ``(draws,)`` for one chain of it.
    at_least
        Smallest number of draws of a chain.
    min_chains
        Smallest number of chains.

    Raises
    ------
    TypeError
        If the entries are not real numbers.
    ValueError
        If the shape is wrong, there are too few draws or chains, or a draw is not finite.
    """
    try:
        given = np.asarray(draws)
    except ValueError:
        raise ValueError("draws has to be an array; got chains of different lengths") from None
    if given.dtype.kind not in "biuf":
        raise TypeError(f"draws has to be an array of real numbers; got dtype {given.dtype}")
    array = given.astype(np.float64)
    if array.ndim == 1:
        array = array[None, :, None]
    elif array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] == 0:
        raise ValueError(f"draws has to have shape (chains, draws, p), (chains, draws) or (draws,); got {given.shape}")
    if array.shape[0] < min_chains:
        raise ValueError(f"expected at least {min_chains} chains; got shape {given.shape}")
    if array.shape[1] < at_least:
        raise ValueError(f"expected at least {at_least} draws of each chain; got shape {given.shape}")
    if not np.all(np.isfinite(array)):
        chain, draw, _ = np.argwhere(~np.isfinite(array))[0]
        raise ValueError(
            f"draws has to be finite; draw {draw} of chain {chain} is {array[chain, draw]}. A sampler that returns such "
            "draws is wrong; do not drop them."
        )
    return array
