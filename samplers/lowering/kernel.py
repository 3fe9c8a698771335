"""A kernel whose steps are compiled code wherever it is used, also inside XLA's loops."""

import functools
from typing import Any

from jaxtyping import PRNGKeyArray, PyTree

from ergodica.samplers.claim import Claim
from ergodica.samplers.density import LogDensity
from ergodica.samplers.kernel import Kernel, replace
from ergodica.samplers.lowering.operation import call_lowered

__all__ = ["OnCompiledHost"]


class OnCompiledHost(Kernel[Any, Any]):
    """A kernel with its steps lowered to compiled code, for use inside programs of XLA: under NumPyro's ``MCMC``, say.

    The draws are those of the kernel up to rounding. :func:`ergodica.sample` with ``host="numba"`` needs no wrapper, and
    is faster, since its whole loop is compiled.

    Parameters
    ----------
    inner
        The kernel. Its leaves are operands of the compiled code: other parameters do not compile again.

    Notes
    -----
    Under ``vmap`` the chains of a batch go one after the other, each for as long as it needs.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from ergodica.samplers.lowering.kernel import OnCompiledHost
    >>> from ergodica.samplers.slicing.coordinate import CoordinateSlice
    >>> kernel = OnCompiledHost(CoordinateSlice(1.0, logdensity=lambda x: -0.5 * jnp.sum(x**2)))
    >>> state, info = kernel.step(jax.random.key(0), kernel.init(jnp.ones(2)))
    """

    inner: Kernel[Any, Any]

    def __init__(self, inner: Kernel[Any, Any]) -> None:
        if not isinstance(inner, Kernel):
            raise TypeError(f"OnCompiledHost takes a kernel; got {type(inner).__name__}")
        self.inner = inner

    @property
    def claim(self) -> Claim:
        """The claim of the kernel."""
        return self.inner.claim

    @property
    def takes_logdensity(self) -> bool:
        """Whether the kernel has a log density to bind."""
        return self.inner.takes_logdensity

    def bind(self, logdensity: LogDensity) -> "OnCompiledHost":
        """Return the same kernel with another target."""
        return replace(self, inner=self.inner.bind(logdensity))

    def unbound(self) -> "OnCompiledHost":
        """Return the kernel without its target."""
        return replace(self, inner=self.inner.unbound())

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> Any:
        """Start the kernel; see there."""
        return self.inner.init(position, key=key)

    def refresh(self, state: Any) -> Any:
        """Recompute what the state caches of the target."""
        return self.inner.refresh(state)

    def step(self, key: PRNGKeyArray, state: Any) -> tuple[Any, Any]:
        """Make a step in compiled code."""
        moved, info = call_lowered(_step, self.inner, key, state)
        return moved, info

    def run(self, key: PRNGKeyArray, state: Any, num_steps: int) -> tuple[Any, Any]:
        """Make steps in one call of compiled code."""
        moved, info = call_lowered(_run(num_steps), self.inner, key, state)
        return moved, info


def _step(kernel: Any, key: PRNGKeyArray, state: Any) -> Any:
    return kernel.step(key, state)


@functools.cache
def _run(num_steps: int) -> Any:
    def run(kernel: Any, key: PRNGKeyArray, state: Any) -> Any:
        return kernel.run(key, state, num_steps)

    return run
