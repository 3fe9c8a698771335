"""The directions of the strongest correlations, from few draws."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ergodica.samplers.linear_scale import LowRankScale

__all__ = ["SpreadDraws", "learnt_directions"]


class SpreadDraws(NamedTuple):
    """Draws spread over a window of warm-up, as many as fit into fixed memory.

    Parameters
    ----------
    rows
        Draws, shape ``(rows, d)``.
    filled
        How many there are.
    """

    rows: Float[Array, "rows d"]
    filled: Int[Array, ""]

    @classmethod
    def empty(cls, rank: int, dim: int, dtype: object) -> "SpreadDraws":
        """Return room for eight draws for each direction, and for 64 at least."""
        return cls(jnp.zeros((max(64, 8 * rank), dim), dtype), jnp.zeros((), jnp.int32))  # type: ignore[arg-type]

    def add(self, draws: Float[Array, "chains d"], offset: Int[Array, ""], length: Int[Array, ""]) -> "SpreadDraws":
        """Keep the draw of one chain, in turn, where the window asks for one.

        Parameters
        ----------
        draws
            Of all chains.
        offset
            Steps since the window began.
        length
            Of the window.
        """
        capacity = self.rows.shape[0]
        stride = jnp.maximum(length // capacity, 1)
        row = offset // stride
        wanted = (offset % stride == 0) & (row < capacity)
        # Outside the array, where nothing is kept.
        index = jnp.where(wanted, row, capacity)
        one = draws[row % draws.shape[0]]
        return SpreadDraws(self.rows.at[index].set(one, mode="drop"), self.filled + wanted)


def learnt_directions(
    scale: LowRankScale, draws: SpreadDraws, deviations: Float[Array, " d"], mean: Float[Array, " d"]
) -> LowRankScale:
    """Return the scale that draws call for, of the same rank.

    Directions are those of the largest eigenvalues of the correlation matrix. Each sample eigenvalue is replaced by
    the eigenvalue of the law that it comes from if the others are one (the spiked model), and by one if it does not
    stand out.

    Parameters
    ----------
    scale
        Present value, kept where nothing was learnt.
    draws
        Some of the draws.
    deviations, mean
        Of all draws.

    References
    ----------
    D. L. Donoho, M. Gavish and I. M. Johnstone, Optimal shrinkage of eigenvalues in the spiked covariance model,
    Annals of Statistics 46(4), 2018, doi:10.1214/17-AOS1601.
    """
    rows, dim = draws.rows.shape
    rank = scale.factors.size
    here = jnp.arange(rows) < draws.filled
    count = jnp.maximum(draws.filled, 1).astype(draws.rows.dtype)
    whitened = jnp.where(here[:, None], (draws.rows - mean) / deviations, 0)
    # The rows' products have the eigenvalues of the columns', and there are few rows.
    values, vectors = jnp.linalg.eigh(whitened @ whitened.T / count)
    values, vectors = values[::-1][:rank], vectors[:, ::-1][:, :rank]
    ratio = dim / count
    shifted = values + 1 - ratio
    spikes = 0.5 * (shifted + jnp.sqrt(jnp.maximum(shifted**2 - 4 * values, 0)))
    stands_out = values > 1.1 * (1 + jnp.sqrt(ratio)) ** 2
    columns = whitened.T @ vectors / jnp.sqrt(jnp.where(stands_out, count * values, 1))
    factors = jnp.where(stands_out, jnp.sqrt(jnp.maximum(spikes, 1)), 1)
    # A direction that means nothing is multiplied by zero, so it need not be orthogonal to the others.
    columns = jnp.where(stands_out, columns, 0)
    usable = jnp.all(jnp.isfinite(columns)) & jnp.all(jnp.isfinite(factors)) & (draws.filled >= 2)
    columns = jnp.where(usable, columns, scale.vectors.astype(columns.dtype))
    factors = jnp.where(usable, factors, scale.factors.astype(factors.dtype))
    new = (deviations, columns, factors)
    old = (scale.deviations, scale.vectors, scale.factors)
    pairs = [value.astype(like.dtype) for value, like in zip(new, old, strict=True)]
    return eqx.tree_at(lambda one: (one.deviations, one.vectors, one.factors), scale, tuple(pairs))
