"""Widths of slice samplers."""

from functools import partial
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ergodica.samplers.inputs import real_parameter
from ergodica.samplers.linear_scale import unscaled
from ergodica.samplers.tuning.leaves import first_of, flat_positions, in_dtype_of, per_coordinate, put
from ergodica.samplers.tuning.tuner import KernelT, Tuner

__all__ = ["SliceWidth", "SliceWidthAdaptation"]


class SliceWidthAdaptation(NamedTuple):
    """What :class:`SliceWidth` carries: running means of the jumps, and where the chains were."""

    mean: Array
    before: Array


class SliceWidth(Tuner):
    """Width of a slice sampler's first interval: a multiple of the mean size of its jumps, pooled over the chains.

    Parameters
    ----------
    of
        What jumps: each ``"coordinate"``, the point along a random ``"line"``, or its ``"radius"``.
    multiple
        Width in mean jumps; ``None`` for 1.5, and for 3.5 of the radius, where too small a width costs more.
    field
        The kernel's field.

    Notes
    -----
    The jumps of a slice sampler do not depend on its width, up to its cap on stepping out, so there is no feedback.
    """

    of: Literal["coordinate", "line", "radius"] = eqx.field(static=True, default="coordinate")
    multiple: float | None = eqx.field(static=True, default=None)
    field: str = eqx.field(static=True, default="width")

    def __check_init__(self) -> None:
        if self.of not in ("coordinate", "line", "radius"):
            raise ValueError(f'SliceWidth is that of a "coordinate", a "line" or the "radius"; got {self.of!r}')
        if self.multiple is not None:
            real_parameter("multiple", self.multiple, above=0.0)

    def _where(self, states: Any) -> Array:
        return states.radius[:, None] if self.of == "radius" else flat_positions(states.position)

    def _jumps(self, kernel: Any, moves: Float[Array, "chains k"]) -> Float[Array, "chains k"]:
        if self.of != "line":
            return jnp.abs(moves)
        scale = getattr(kernel, "scale", None)
        if scale is None:
            return jnp.linalg.norm(moves, axis=1, keepdims=True)
        moves = jax.vmap(partial(unscaled, scale))(moves)
        # A direction has length sqrt(d) in these coordinates, and widths are in units of it.
        return jnp.sqrt(jnp.mean(moves**2, axis=1, keepdims=True))

    def init(self, kernel: Any, states: Any, num_steps: Int[Array, ""]) -> SliceWidthAdaptation:
        """Start with the width of the kernel."""
        del num_steps
        before = self._where(states)
        return SliceWidthAdaptation(jnp.zeros_like(self._jumps(kernel, before)[0]), before)

    def update(
        self, adaptation: SliceWidthAdaptation, kernel: KernelT, states: Any, infos: Any, step: Int[Array, ""]
    ) -> tuple[SliceWidthAdaptation, KernelT]:
        """Learn from the jumps of a step."""
        del infos
        now = self._where(states)
        jumps = jnp.mean(self._jumps(kernel, now - adaptation.before), axis=0)
        # The gain falls more slowly than 1 / n, so that the way from the start to the bulk is forgotten.
        gain = jnp.asarray(step + 1, now.dtype) ** -0.75
        mean = adaptation.mean + gain * (jumps - adaptation.mean)
        width = getattr(kernel, self.field)
        multiple = self.multiple or (3.5 if self.of == "radius" else 1.5)
        if self.of == "coordinate":
            proposed = per_coordinate(multiple * mean, width, first_of(states.position))
        else:
            proposed = jax.tree.map(lambda old: jnp.broadcast_to(multiple * mean[0], jnp.shape(old)), width)
        proposed = jax.tree.map(lambda new, old: jnp.where(new > 0, in_dtype_of(new, old), old), proposed, width)
        return SliceWidthAdaptation(mean, now), put(kernel, self.field, proposed)
