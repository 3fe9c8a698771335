"""Dual averaging: a step size that meets an acceptance rate."""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from ergodica.samplers.tuning.leaves import put
from ergodica.samplers.tuning.tuner import KernelT, Tuner

__all__ = ["DualAverage", "StepSize", "StepSizeAdaptation", "check_rate", "mean_rate"]


class DualAverage(NamedTuple):
    """State of dual averaging on the logarithm of a factor."""

    log_factor: Float[Array, ""]
    log_average: Float[Array, ""]
    error: Float[Array, ""]
    turns: Float[Array, ""]
    center: Float[Array, ""]

    @classmethod
    def start(cls, center: ArrayLike, dtype: Any) -> "DualAverage":
        """Start at a log factor that later iterates are drawn towards."""
        at = jnp.asarray(center, dtype)
        zero = jnp.zeros((), dtype)
        return cls(at, at, zero, zero, at)

    def update(self, excess: Float[Array, ""]) -> "DualAverage":
        """Learn from the acceptance rate minus its target."""
        turns = self.turns + 1
        error = self.error + (excess - self.error) / (turns + 10)
        log_factor = self.center + jnp.sqrt(turns) / 0.05 * error
        # Bounded, so that a rate that no factor can reach ends in a number.
        log_factor = jnp.clip(log_factor, self.center - 50, self.center + 50)
        log_average = self.log_average + turns**-0.75 * (log_factor - self.log_average)
        return DualAverage(log_factor, log_average, error, turns, self.center)


class StepSizeAdaptation(NamedTuple):
    """What :class:`StepSize` carries: the start, and the dual average of the factor on it."""

    start: Array
    average: DualAverage


class StepSize(Tuner):
    """Dual averaging of a step size until the acceptance rate, averaged over the chains, meets its target.

    Parameters
    ----------
    target
        The acceptance rate, in (0, 1).
    field
        The kernel's field: a positive number, or an array whose entries are multiplied by one factor.

    References
    ----------
    M. D. Hoffman and A. Gelman, 2014, JMLR 15, section 3.2, arXiv:1111.4246. The default target is the optimum of
    Hamiltonian Monte Carlo in high dimension: A. Beskos et al., 2013, Bernoulli 19, arXiv:1001.4460.
    """

    target: float = eqx.field(static=True, default=0.65)
    field: str = eqx.field(static=True, default="step_size")

    def __check_init__(self) -> None:
        check_rate(self.target)

    def init(self, kernel: Any, states: Any, num_steps: Int[Array, ""]) -> StepSizeAdaptation:
        """Start at the step size of the kernel."""
        del states, num_steps
        start = getattr(kernel, self.field)
        return StepSizeAdaptation(start, DualAverage.start(0.0, start.dtype))

    def update(
        self, adaptation: StepSizeAdaptation, kernel: KernelT, states: Any, infos: Any, step: Int[Array, ""]
    ) -> tuple[StepSizeAdaptation, KernelT]:
        """Learn from the acceptance rate of a step."""
        del states, step
        start, average = adaptation
        average = average.update(mean_rate(infos, start.dtype) - self.target)
        return StepSizeAdaptation(start, average), put(kernel, self.field, start * jnp.exp(average.log_factor))

    def finish(self, adaptation: StepSizeAdaptation, kernel: KernelT) -> KernelT:
        """Set the averaged step size."""
        return put(kernel, self.field, adaptation.start * jnp.exp(adaptation.average.log_average))


def check_rate(rate: float | None) -> None:
    """Check the target of an acceptance rate."""
    if rate is not None and not 0 < rate < 1:
        raise ValueError(f"the target of an acceptance rate lies between 0 and 1; got {rate}")


def mean_rate(infos: Any, dtype: Any) -> Float[Array, ""]:
    """Return the mean acceptance rate of the chains."""
    if not hasattr(infos, "acceptance_rate"):
        raise TypeError(
            "this tuner goes by the acceptance rate, and the kernel reports none; use a kernel whose info has a field "
            "acceptance_rate, or another tuner"
        )
    return jnp.mean(infos.acceptance_rate).astype(dtype)
