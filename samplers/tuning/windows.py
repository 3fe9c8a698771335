"""Moments of the draws over the windows of a warm-up."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree

from ergodica.samplers.moments import Moments
from ergodica.samplers.tuning.leaves import flat_positions
from ergodica.samplers.tuning.low_rank import SpreadDraws

__all__ = ["Windows"]

WINDOW_ENDS = (0.1, 0.2, 0.4, 0.8)
"""When covariances are estimated anew, from the draws since the last time, as fractions of the warm-up."""


class Windows(NamedTuple):
    """Moments of the draws since the last estimate, some of the draws if asked for, and when estimates are due."""

    ends: Int[Array, " windows"]
    moments: Moments
    spread: SpreadDraws | None = None

    @classmethod
    def start(cls, positions: PyTree, num_steps: Int[Array, ""], *, dense: bool, rank: int | None = None) -> "Windows":
        """Plan the windows for a warm-up of so many steps.

        Parameters
        ----------
        positions
            Of the chains.
        num_steps
            Length of the warm-up.
        dense
            Whether covariances are wanted, else variances.
        rank
            Keep draws enough for so many directions; ``None`` for none.
        """
        flat = flat_positions(positions)
        ends = jnp.ceil(jnp.asarray(WINDOW_ENDS, jnp.float32) * num_steps).astype(jnp.int32)
        spread = None if rank is None else SpreadDraws.empty(rank, flat.shape[1], flat.dtype)
        return cls(ends, Moments.empty(flat.shape[1], flat.dtype, dense=dense), spread)

    def update(self, positions: PyTree, step: Int[Array, ""]) -> tuple["Windows", Bool[Array, ""]]:
        """Add the positions of the chains; also say whether an estimate is due."""
        flat = flat_positions(positions)
        moments = self.moments.add(flat)
        due = jnp.any(self.ends == step + 1) & (moments.total >= 10)
        spread = self.spread
        if spread is not None:
            begin = jnp.max(jnp.where(self.ends <= step, self.ends, 0))
            end = jnp.min(jnp.where(self.ends > step, self.ends, jnp.max(self.ends)))
            spread = spread.add(flat, step - begin, end - begin)
        return Windows(self.ends, moments, spread), due

    def restart(self, due: Bool[Array, ""]) -> "Windows":
        """Forget the draws if an estimate was made."""
        zero = self.moments.forgotten()
        spread = self.spread
        if spread is not None:  # the rows stay where they are until they are written over
            spread = spread._replace(filled=jnp.where(due, 0, spread.filled))
        moments = jax.tree.map(lambda new, old: jnp.where(due, new, old), zero, self.moments)
        return Windows(self.ends, moments, spread)
