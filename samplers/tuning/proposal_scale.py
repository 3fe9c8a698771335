"""Scale of a random walk."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int

from ergodica.samplers.moments import factor
from ergodica.samplers.tuning.leaves import in_dtype_of, put
from ergodica.samplers.tuning.step_size import DualAverage, check_rate, mean_rate
from ergodica.samplers.tuning.tuner import KernelT, Tuner
from ergodica.samplers.tuning.windows import Windows

__all__ = ["ProposalScale", "ProposalScaleAdaptation"]


class ProposalScaleAdaptation(NamedTuple):
    """What :class:`ProposalScale` carries."""

    shape: Array
    average: DualAverage
    windows: Windows


class ProposalScale(Tuner):
    """Scale of a random walk: its shape from the covariance of the draws, its size from the acceptance rate.

    A number is multiplied by a factor until the acceptance rate, averaged over the chains, meets its target. A vector
    becomes that factor times the standard deviations of the draws of all chains, a lower triangular matrix the factor
    times a Cholesky factor of their covariance; both are estimated anew after a tenth, a fifth, two fifths and four
    fifths of the warm-up.

    Parameters
    ----------
    target
        The acceptance rate; ``None`` for ``0.234 + 0.206 / d`` in ``d`` dimensions, close to the optimum on normal
        targets: 0.44 in one dimension, 0.234 in many.
    field
        The kernel's field.

    References
    ----------
    G. O. Roberts and J. S. Rosenthal, 2001, Statistical Science 16, doi:10.1214/ss/1015346320; H. Haario, E. Saksman
    and J. Tamminen, 2001, Bernoulli 7, doi:10.2307/3318737; M. D. Hoffman and A. Gelman, 2014, arXiv:1111.4246.
    """

    target: float | None = eqx.field(static=True, default=None)
    field: str = eqx.field(static=True, default="scale")

    def __check_init__(self) -> None:
        check_rate(self.target)

    def init(self, kernel: Any, states: Any, num_steps: Int[Array, ""]) -> ProposalScaleAdaptation:
        """Start at the scale of the kernel."""
        scale = getattr(kernel, self.field)
        windows = Windows.start(states.position, num_steps, dense=scale.ndim == 2)
        return ProposalScaleAdaptation(scale, DualAverage.start(0.0, scale.dtype), windows)

    def update(
        self,
        adaptation: ProposalScaleAdaptation,
        kernel: KernelT,
        states: Any,
        infos: Any,
        step: Int[Array, ""],
    ) -> tuple[ProposalScaleAdaptation, KernelT]:
        """Learn from the acceptance rate and the positions of a step."""
        shape, average, windows = adaptation
        dim = windows.moments.mean.size
        target = 0.234 + 0.206 / dim if self.target is None else self.target
        average = average.update(mean_rate(infos, shape.dtype) - target)
        if shape.ndim > 0:
            windows, due = windows.update(states.position, step)
            shape = lax.cond(due, lambda: in_dtype_of(factor(windows.moments, shape), shape), lambda: shape)
            fresh = DualAverage.start(np.log(2.38 / np.sqrt(dim)), shape.dtype)
            average = jax.tree.map(lambda new, old: jnp.where(due, new, old), fresh, average)
            windows = windows.restart(due)
        adaptation = ProposalScaleAdaptation(shape, average, windows)
        return adaptation, put(kernel, self.field, shape * jnp.exp(average.log_factor))

    def finish(self, adaptation: ProposalScaleAdaptation, kernel: KernelT) -> KernelT:
        """Set the averaged scale."""
        return put(kernel, self.field, adaptation.shape * jnp.exp(adaptation.average.log_average))
