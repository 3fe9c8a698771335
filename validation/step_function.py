"""A sampler that is only a function, as a kernel."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from ergodica.samplers.claim import Claim, Exactness
from ergodica.samplers.kernel import Kernel

__all__ = ["FunctionKernel", "PositionState"]


class PositionState(NamedTuple):
    """A state that is a position and nothing else.

    Parameters
    ----------
    position
        Pytree of arrays.
    """

    position: PyTree


class FunctionKernel(Kernel[PositionState, Any]):
    """The kernel whose step is a function ``move(key, position) -> position``.

    Parameters
    ----------
    move
        The function; traceable by JAX. Its target is written into it.
    reversible
        Whether detailed balance is claimed, in addition to the invariance of the target.
    """

    move: Callable[[PRNGKeyArray, PyTree], PyTree] = eqx.field(static=True)
    reversible: bool = eqx.field(static=True, default=False)

    @property
    def claim(self) -> Claim:
        """Exact, which is what there is to be tested."""
        return Claim(Exactness.EXACT, "leaves the target invariant", reversible=self.reversible or None)

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> PositionState:
        """Return the state at a position."""
        del key
        return PositionState(jax.tree.map(jnp.asarray, position))

    def step(self, key: PRNGKeyArray, state: PositionState) -> tuple[PositionState, None]:
        """Call the function."""
        moved = self.move(key, state.position)
        # Python numbers and wider integers are welcome: what counts is the value.
        return PositionState(jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), moved, state.position)), None
