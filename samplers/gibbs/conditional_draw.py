"""A Gibbs update whose full conditional law the user can draw from directly."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from ergodica.samplers.block import Block, as_block
from ergodica.samplers.claim import Claim, Exactness
from ergodica.samplers.kernel import Kernel


class PositionState(NamedTuple):
    """State of a kernel that needs nothing but the position.

    Parameters
    ----------
    position
        Pytree of arrays.
    """

    position: PyTree


class DrawInfo(NamedTuple):
    """What a direct draw reports.

    Parameters
    ----------
    num_evals
        Zero: no density is evaluated.
    """

    num_evals: Int[Array, ""]


def _as_draw(function: Callable[..., Any]) -> Partial:
    if isinstance(function, Partial):
        return function
    if not callable(function):
        raise TypeError(f"draw has to be a callable (key, position) -> block; got {type(function).__name__}")
    return Partial(function)


class ConditionalDraw(Kernel[PositionState, DrawInfo]):
    """Redraw a block from its full conditional law, which the user supplies; exact and reversible if it is that law.

    Parameters
    ----------
    block
        What is redrawn; selected as in :func:`ergodica.samplers.compose.on`.
    draw
        ``draw(key, position)`` returns a draw of the block given the rest of the position, with the block's structure,
        shapes and dtypes. It must not depend on the block's present value. Write it with
        ``ergodica.samplers.random`` if its law is to be enumerated, and as ``jax.tree_util.Partial(fn, data)`` if its
        data change.

    Raises
    ------
    TypeError
        If ``draw`` is not callable; at :meth:`init` if its result does not fit the block.

    Notes
    -----
    Claim: exact and reversible, as a projection onto the functions of the rest. Nothing checks that ``draw`` draws from
    the full conditional law of one joint law: conditionals that belong to no joint law give a chain that depends on the
    order of the updates.

    References
    ----------
    A. E. Gelfand and A. F. M. Smith, JASA 85 (1990), doi:10.1080/01621459.1990.10476213.
    """

    block: Block
    draw: Partial

    def __init__(self, block: Any, draw: Callable[[PRNGKeyArray, PyTree], PyTree]) -> None:
        self.block = as_block(block)
        self.draw = _as_draw(draw)

    @property
    def claim(self) -> Claim:
        """Exact, reversible."""
        return Claim(
            Exactness.EXACT,
            f"redraws the block {self.block.name} from its full conditional law",
            source="Gelfand and Smith 1990, doi:10.1080/01621459.1990.10476213",
            reversible=True,
        )

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> PositionState:
        """Start at a pytree of arrays.

        Raises
        ------
        TypeError
            If ``draw`` returns something that does not fit the block.
        """
        del key
        position = jax.tree.map(jnp.asarray, position)
        part = jax.eval_shape(self.block.get, position)
        drawn = jax.eval_shape(self.draw, jax.random.key(0), position)
        given, expected = (jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", tree) for tree in (drawn, part))
        if given != expected:
            raise TypeError(
                f"draw has to return the block {self.block.name} with its structure, shapes and dtypes, {expected}; it "
                f"returned {given}"
            )
        return PositionState(position)

    def step(self, key: PRNGKeyArray, state: PositionState) -> tuple[PositionState, DrawInfo]:
        """Redraw the block."""
        part = self.draw(key, state.position)
        return PositionState(self.block.put(state.position, part)), DrawInfo(jnp.zeros((), jnp.int32))
