"""Run a program on given uniforms, so that two implementations can be tied outcome for outcome."""

from collections.abc import Callable
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ergodica.samplers.random import resolved_by
from ergodica.validation.choice import EnumerationError


class UniformsResolver:
    """Decides each choice by the next uniform, by inversion: the first outcome whose cumulative probability exceeds it.

    Parameters
    ----------
    uniforms
        Numbers in [0, 1), used in the order of the choices.
    """

    def __init__(self, uniforms: Float[np.ndarray, " n"]) -> None:
        self.uniforms = np.asarray(uniforms, np.float64)
        self.used = 0

    def _next(self) -> float:
        if self.used == len(self.uniforms):
            raise ValueError(
                f"the program makes more than the {len(self.uniforms)} choices that uniforms were given for"
            )
        self.used += 1
        return float(self.uniforms[self.used - 1])

    def _index(self, weights: np.ndarray) -> int:
        cumulative = np.cumsum(np.asarray(weights, np.float64))
        index = int(np.searchsorted(cumulative, self._next() * cumulative[-1], side="right"))
        return min(index, int(np.flatnonzero(weights > 0)[-1]))

    def categorical(self, key: PRNGKeyArray, probabilities: Array) -> Array:
        """Choose an index for each row."""
        del key
        rows = np.asarray(probabilities)
        flat = rows.reshape(-1, rows.shape[-1])
        return jnp.asarray(np.array([self._index(row) for row in flat], int).reshape(rows.shape[:-1]))

    def integers(self, key: PRNGKeyArray, low: Array, high: Array) -> Array:
        """Choose an integer for each pair of bounds."""
        del key
        lows, highs = np.broadcast_arrays(np.asarray(low), np.asarray(high))
        drawn = [int(a) + int(self._next() * (int(b) - int(a))) for a, b in zip(lows.flat, highs.flat, strict=True)]
        return jnp.asarray(np.array(drawn, int).reshape(lows.shape))

    def ordered_sample(self, key: PRNGKeyArray, probabilities: Array, size: int) -> Array:
        """Choose distinct indices one after the other."""
        del key
        rows = np.asarray(probabilities)
        out = []
        for row in rows.reshape(-1, rows.shape[-1]):
            weights = np.array(row, np.float64)
            for _ in range(size):
                out.append(self._index(weights))
                weights[out[-1]] = 0.0
        return jnp.asarray(np.array(out, int).reshape(*rows.shape[:-1], size))

    def refuse(self, call: str, reason: str) -> NoReturn:
        """Refuse a call that no uniform can decide."""
        raise EnumerationError(
            f"{call} was called while running on given uniforms: {reason}. Only discrete choices can be tied."
        )


def run_on_uniforms(function: Callable[..., PyTree], *arguments: Any, uniforms: Float[np.ndarray, " n"]) -> PyTree:
    """Run a program with its choices decided by given uniforms.

    Parameters
    ----------
    function
        A program that draws through ``ergodica.samplers.random``; it runs in Python, without ``jit`` or ``vmap``.
    *arguments
        Its arguments.
    uniforms
        One number in [0, 1) for each choice, in the order in which the program makes them.

    Returns
    -------
    What the program returns.

    Raises
    ------
    ValueError
        If there are too few uniforms, or too many.
    """
    resolver = UniformsResolver(uniforms)
    with resolved_by(resolver), jax.disable_jit():
        out = function(*arguments)
    if resolver.used != len(resolver.uniforms):
        raise ValueError(f"the program made {resolver.used} choices; {len(resolver.uniforms)} uniforms were given")
    return out
