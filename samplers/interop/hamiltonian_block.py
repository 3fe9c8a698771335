"""BlackJAX's NUTS as a block of a Gibbs sampler: its step size and masses are learnt during warm-up."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers.claim import Claim
from ergodica.samplers.density import LogDensity, optional_logdensity
from ergodica.samplers.interop.algorithm_info import AlgorithmInfo
from ergodica.samplers.interop.blackjax import BlackJAXKernel
from ergodica.samplers.kernel import Kernel
from ergodica.samplers.moments import factor
from ergodica.samplers.tuning.leaves import in_dtype_of, put
from ergodica.samplers.tuning.step_size import DualAverage, mean_rate
from ergodica.samplers.tuning.tuner import KernelT, Tuner
from ergodica.samplers.tuning.windows import Windows

__all__ = ["HamiltonianBlock", "StepSizeAndScale"]


class HamiltonianBlock(Kernel[Any, Any]):
    """An algorithm of BlackJAX with a step size and an inverse mass matrix, both of which warm-up sets.

    Parameters
    ----------
    algorithm
        ``blackjax.nuts``, ``blackjax.barker``-like others: anything that takes ``step_size`` and
        ``inverse_mass_matrix`` and nothing else.
    scale
        Standard deviations of the coordinates, or rough guesses: the square root of a diagonal inverse mass matrix.
    step_size
        First step size.
    logdensity
        The target.
    """

    scale: Float[Array, " d"]
    step_size: Float[Array, ""]
    logdensity: Partial | None
    algorithm: Any = eqx.field(static=True)

    def __init__(
        self, algorithm: Any, scale: Any, *, step_size: Any = 0.1, logdensity: LogDensity | None = None
    ) -> None:
        self.scale = jnp.asarray(scale, float)
        self.step_size = jnp.asarray(step_size, float)
        self.logdensity = optional_logdensity(logdensity)
        self.algorithm = algorithm

    def _kernel(self) -> BlackJAXKernel:
        return BlackJAXKernel(
            self.algorithm,
            logdensity=self.logdensity,
            step_size=self.step_size,
            inverse_mass_matrix=self.scale**2,
        )

    @property
    def claim(self) -> Claim:
        """That of the algorithm."""
        return self._kernel().claim

    def tuner(self) -> Tuner:
        """Return the tuner of both parameters."""
        return StepSizeAndScale()

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> Any:
        """Start at a pytree of floating-point arrays."""
        size = ravel_pytree(position)[0].size
        if self.scale.shape != (size,):
            raise ValueError(f"scale has to have one entry for each of the {size} coordinates; got {self.scale.shape}")
        return self._kernel().init(position, key=key)

    def refresh(self, state: Any) -> Any:
        """Recompute the density and its gradient."""
        return self._kernel().refresh(state)

    def step(self, key: PRNGKeyArray, state: Any) -> tuple[Any, AlgorithmInfo]:
        """Make a step of the algorithm."""
        return self._kernel().step(key, state)


class _Adaptation(NamedTuple):
    average: DualAverage
    windows: Windows


class StepSizeAndScale(Tuner):
    """Dual averaging of a step size, and standard deviations from growing windows of the warm-up.

    Parameters
    ----------
    target
        The acceptance rate.

    References
    ----------
    M. D. Hoffman and A. Gelman, 2014, JMLR 15, arXiv:1111.4246.
    """

    target: float = eqx.field(static=True, default=0.8)

    def init(self, kernel: Any, states: Any, num_steps: Int[Array, ""]) -> _Adaptation:
        """Start at the parameters of the kernel."""
        start = DualAverage.start(jnp.log(kernel.step_size), kernel.step_size.dtype)
        return _Adaptation(start, Windows.start(states.position, num_steps, dense=False))

    def update(
        self, adaptation: _Adaptation, kernel: KernelT, states: Any, infos: Any, step: Int[Array, ""]
    ) -> tuple[_Adaptation, KernelT]:
        """Learn from the acceptance rate and the positions of a step."""
        old: Any = kernel
        average = adaptation.average.update(mean_rate(infos, old.step_size.dtype) - self.target)
        windows, due = adaptation.windows.update(states.position, step)
        scale = lax.cond(due, lambda: in_dtype_of(factor(windows.moments, old.scale), old.scale), lambda: old.scale)
        fresh = DualAverage.start(average.log_factor, average.log_factor.dtype)
        average = jax.tree.map(lambda new, was: jnp.where(due, new, was), fresh, average)
        new = put(put(kernel, "scale", scale), "step_size", jnp.exp(average.log_factor))
        return _Adaptation(average, windows.restart(due)), new

    def finish(self, adaptation: _Adaptation, kernel: KernelT) -> KernelT:
        """Set the averaged step size."""
        return put(kernel, "step_size", jnp.exp(adaptation.average.log_average))
