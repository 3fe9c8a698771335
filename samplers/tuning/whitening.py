"""Centre and scale of kernels that work in whitened coordinates."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int, PyTree

from ergodica.samplers.kernel import replace
from ergodica.samplers.linear_scale import LowRankScale
from ergodica.samplers.moments import Moments, factor, variances
from ergodica.samplers.tuning.leaves import first_of, in_dtype_of, per_coordinate
from ergodica.samplers.tuning.low_rank import SpreadDraws, learnt_directions
from ergodica.samplers.tuning.tuner import KernelT, Tuner
from ergodica.samplers.tuning.windows import Windows

__all__ = ["Whitening"]


class Whitening(Tuner):
    """Centre and scale of a kernel that works in coordinates ``x = centre + L y``.

    The centre becomes the mean of the draws of all chains and ``L`` their standard deviations, or a Cholesky factor of
    their covariance if the kernel's scale is a matrix, or standard deviations and the directions of the strongest
    correlations if it is a :class:`~ergodica.samplers.linear_scale.LowRankScale`. What the kernel leaves ``None`` stays so:
    give it ``scale=jnp.ones(d)``, ``scale=jnp.eye(d)`` or ``scale=LowRankScale.identity(d, k)`` to have it tuned.

    Parameters
    ----------
    centre, scale
        The kernel's fields; a missing one is skipped.
    """

    centre: str = eqx.field(static=True, default="center")
    scale: str = eqx.field(static=True, default="scale")

    @property
    def invalidates(self) -> bool:
        """``True``: states may hold whitened coordinates."""
        return True

    def init(self, kernel: Any, states: Any, num_steps: Int[Array, ""]) -> Windows:
        """Plan the windows."""
        scale = getattr(kernel, self.scale, None)
        if scale is None and getattr(kernel, self.centre, None) is None:
            raise ValueError(
                f"Whitening has nothing to tune: {type(kernel).__name__} has neither {self.centre} nor {self.scale}. "
                f"Construct it with {self.centre}=jnp.zeros(d) and {self.scale}=jnp.ones(d) or jnp.eye(d)."
            )
        if isinstance(scale, LowRankScale):
            return Windows.start(states.position, num_steps, dense=False, rank=scale.factors.size)
        return Windows.start(states.position, num_steps, dense=scale is not None and scale.ndim == 2)

    def update(
        self, adaptation: Windows, kernel: KernelT, states: Any, infos: Any, step: Int[Array, ""]
    ) -> tuple[Windows, KernelT]:
        """Learn from the positions of a step."""
        del infos
        windows, due = adaptation.update(states.position, step)
        fields = self.fields(kernel)
        # Only what is tuned goes through the branches, lest the data of the target be copied.
        tuned = lax.cond(
            due,
            lambda: self.estimate(windows.moments, fields, first_of(states.position), windows.spread),
            lambda: fields,
        )
        return windows.restart(due), self.put(kernel, tuned)

    def fields(self, kernel: Any) -> dict[str, Any]:
        """Return the fields of a kernel that there are to tune."""
        fields = {name: getattr(kernel, name, None) for name in (self.centre, self.scale)}
        return {name: value for name, value in fields.items() if value is not None}

    @staticmethod
    def put(kernel: KernelT, fields: dict[str, Any]) -> KernelT:
        """Return the kernel with other fields."""
        return replace(kernel, **fields)

    def estimate(
        self, moments: Moments, fields: dict[str, Any], position: PyTree, spread: SpreadDraws | None = None
    ) -> dict[str, Any]:
        """Return centre and scale of draws with these moments, in the form of the fields as they are."""
        new = {}
        for name, old in fields.items():
            if name == self.centre:
                value = per_coordinate(moments.mean, old, position)
            elif isinstance(old, LowRankScale):
                assert spread is not None
                deviations = jnp.sqrt(variances(moments, old.deviations.astype(moments.mean.dtype) ** 2))
                value = learnt_directions(old, spread, deviations, moments.mean)
            elif old.ndim > 0:
                value = factor(moments, old)
            else:
                value = jnp.sqrt(jnp.mean(variances(moments, old**2)))
            new[name] = jax.tree.map(in_dtype_of, value, old)
        return new
