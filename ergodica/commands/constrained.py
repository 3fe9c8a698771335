"""From the positions of a kernel to the parameters of the model, some draws at a time."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import PyTree

if TYPE_CHECKING:
    from ergodica.samplers.draws import Draws

__all__ = ["Constrainer"]

BATCH = 512


class Constrainer:
    """Maps draws to the parameters of a model, by a program that is compiled once however many draws there are.

    Parameters
    ----------
    constrain
        From a position to the parameters.
    """

    def __init__(self, constrain: Callable[[Any], Any]) -> None:
        import jax

        self._batch = jax.jit(jax.vmap(constrain))

    def positions(self, positions: PyTree) -> PyTree:
        """Map positions, leaves of shape ``(chains, draws, ...)``."""
        import jax

        leaves = jax.tree.map(np.asarray, positions)
        chains, count = jax.tree.leaves(leaves)[0].shape[:2]
        total = chains * count
        flat = jax.tree.map(lambda leaf: leaf.reshape(total, *leaf.shape[2:]), leaves)
        parts = []
        for first in range(0, total, BATCH):
            rows = np.minimum(np.arange(first, first + BATCH), total - 1)
            mapped = self._batch(jax.tree.map(lambda leaf, rows=rows: leaf[rows], flat))
            size = min(BATCH, total - first)
            parts.append(jax.tree.map(lambda leaf, size=size: np.asarray(leaf)[:size], mapped))
        whole = jax.tree.map(lambda *pieces: np.concatenate(pieces), *parts)
        return jax.tree.map(lambda leaf: leaf.reshape(chains, count, *leaf.shape[1:]), whole)

    def draws(self, draws: "Draws") -> "Draws":
        """Return draws of the parameters; the positions go to ``unconstrained``."""
        warmup = draws.raw_warmup
        return dataclasses.replace(
            draws,
            raw_position=self.positions(draws.raw_position),
            raw_warmup=None if warmup is None else self.positions(warmup),
            unconstrained=draws.raw_position,
        )
