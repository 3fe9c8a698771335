"""Moments of the draws over the windows of a warm-up."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree

from ergodica.samplers.moments import Moments
from ergodica.samplers.tuning.leaves import flat_positions

__all__ = ["Windows"]

WINDOW_ENDS = (0.1, 0.2, 0.4, 0.8)
"""When covariances are estimated anew, from the draws since the last time, as fractions of the warm-up."""


class Windows(NamedTuple):
    """Moments of the draws since the last estimate, and when the next ones are due."""

    ends: Int[Array, " windows"]
    moments: Moments

    @classmethod
    def start(cls, positions: PyTree, num_steps: Int[Array, ""], *, dense: bool) -> "Windows":
        """Plan the windows for a warm-up of so many steps."""
        flat = flat_positions(positions)
        ends = jnp.ceil(jnp.asarray(WINDOW_ENDS, jnp.float32) * num_steps).astype(jnp.int32)
        return cls(ends, Moments.empty(flat.shape[1], flat.dtype, dense=dense))

    def update(self, positions: PyTree, step: Int[Array, ""]) -> tuple["Windows", Bool[Array, ""]]:
        """Add the positions of the chains; also say whether an estimate is due."""
        moments = self.moments.add(flat_positions(positions))
        due = jnp.any(self.ends == step + 1) & (moments.total >= 10)
        return Windows(self.ends, moments), due

    def restart(self, due: Bool[Array, ""]) -> "Windows":
        """Forget the draws if an estimate was made."""
        zero = self.moments.forgotten()
        return Windows(self.ends, jax.tree.map(lambda new, old: jnp.where(due, new, old), zero, self.moments))
