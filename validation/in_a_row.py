"""Several steps of a kernel as one, for exact laws of what a chain does and not only of its first step."""

from typing import Any

import equinox as eqx
from jaxtyping import PRNGKeyArray, PyTree

from ergodica.samplers import random
from ergodica.samplers.claim import Claim
from ergodica.samplers.kernel import Kernel

__all__ = ["InARow"]


class InARow(Kernel[Any, Any]):
    """Several steps of a kernel as one, its state handed on as it is: ``repeat`` would mend a stale cache.

    Parameters
    ----------
    inner
        The kernel, with its target.
    steps
        How many.
    """

    inner: Kernel[Any, Any]
    steps: int = eqx.field(static=True)

    @property
    def claim(self) -> Claim:
        """That of the kernel."""
        return self.inner.claim

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> Any:
        """Return the kernel's state."""
        return self.inner.init(position, key=key)

    def step(self, key: PRNGKeyArray, state: Any) -> tuple[Any, Any]:
        """Make the steps; the info is that of the last."""
        for step_key in random.split(key, self.steps):
            state, info = self.inner.step(step_key, state)
        return state, info
