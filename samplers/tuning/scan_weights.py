"""How often a random scan visits each block."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

from ergodica.samplers.inputs import real_parameter
from ergodica.samplers.moments import variances
from ergodica.samplers.tuning.leaves import flat_positions, in_dtype_of, put
from ergodica.samplers.tuning.tuner import KernelT, Tuner
from ergodica.samplers.tuning.windows import Windows

__all__ = ["ScanWeights", "ScanWeightsAdaptation", "blocks_of"]


class ScanWeightsAdaptation(NamedTuple):
    """What :class:`ScanWeights` carries: moments, where the chains were, and the jumps since the last estimate."""

    windows: Windows
    before: Array
    jumps: Array


class ScanWeights(Tuner):
    """Weights of a mixture of kernels that each update a block of their own: slow blocks are visited more often.

    If block ``k`` is picked with probability ``w_k``, and a pick leaves the correlation ``rho_k`` with what was there before,
    its correlation falls at the rate ``w_k (1 - rho_k)`` a step. The rate of the slowest block is largest if all are equal,
    hence ``w_k`` proportional to ``1 / (1 - rho_k)``. ``1 - rho`` is half the mean squared jump at a pick over the variance,
    averaged over the block; jumps are counted in steps, and divided by the weights to be those of a pick.

    Parameters
    ----------
    floor
        Share of the weights that stays equal, in (0, 1]: no block is forgotten because it seemed fast.

    Notes
    -----
    The rule is the optimum for blocks that are independent of each other, and a heuristic otherwise: blocks that hang
    together have a correlation that no weight removes. The weights are frozen after warm-up, and every choice of positive
    ones keeps the target.

    References
    ----------
    C. Chimisov, K. Latuszynski and G. O. Roberts, Adapting the Gibbs sampler, 2018, arXiv:1801.09299, whose criterion for
    blocks that depend on each other needs their covariance.
    """

    floor: float = eqx.field(static=True, default=0.1)

    def __check_init__(self) -> None:
        real_parameter("floor", self.floor, above=0.0)
        if self.floor > 1:
            raise ValueError(f"floor is a share of the weights, at most 1; got {self.floor}")

    def init(self, kernel: Any, states: Any, num_steps: Int[Array, ""]) -> ScanWeightsAdaptation:
        """Plan the windows.

        Raises
        ------
        ValueError
            If the kernel is no mixture of kernels that each update a block of their own.
        """
        one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), states.position)  # type: ignore[no-untyped-call]
        if blocks_of(kernel, one) is None:
            raise ValueError(
                "ScanWeights needs a mixture whose parts each update a block of their own, as in mixture(on('a', ...), "
                f"on('b', ...)); got {type(kernel).__name__}"
            )
        before = flat_positions(states.position)
        return ScanWeightsAdaptation(
            Windows.start(states.position, num_steps, dense=False), before, jnp.zeros_like(before[0])
        )

    def update(
        self, adaptation: ScanWeightsAdaptation, kernel: KernelT, states: Any, infos: Any, step: Int[Array, ""]
    ) -> tuple[ScanWeightsAdaptation, KernelT]:
        """Learn from the jumps of a step."""
        del infos
        one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), states.position)  # type: ignore[no-untyped-call]
        blocks = jnp.asarray(blocks_of(kernel, one))
        weights: Array = kernel.weights  # type: ignore[attr-defined]
        now = flat_positions(states.position)
        chance = (weights / jnp.sum(weights)).astype(now.dtype) @ blocks.astype(now.dtype)
        # The weights may change within a window, so that jumps are brought to those of a pick at once.
        jumps = adaptation.jumps + jnp.mean((now - adaptation.before) ** 2, axis=0) / jnp.maximum(chance, 1e-12)
        windows, due = adaptation.windows.update(states.position, step)

        def estimate() -> Array:
            steps = windows.moments.total / now.shape[0]
            relaxed = jumps / jnp.maximum(steps, 1) / (2 * variances(windows.moments, jnp.asarray(1.0, now.dtype)))
            mean = (blocks @ jnp.clip(relaxed, 1e-4, 1.0)) / jnp.maximum(jnp.sum(blocks, axis=1), 1)
            wanted = (1 / mean) / jnp.sum(1 / mean)
            return in_dtype_of((1 - self.floor) * wanted + self.floor / wanted.size, weights)

        tuned = lax.cond(due, estimate, lambda: weights)
        jumps = jnp.where(due, jnp.zeros_like(jumps), jumps)
        return ScanWeightsAdaptation(windows.restart(due), now, jumps), put(kernel, "weights", tuned)


def blocks_of(kernel: Any, position: PyTree) -> Float[np.ndarray, "parts d"] | None:
    """Return which coordinates each part of a mixture updates, as zeros and ones.

    Parameters
    ----------
    kernel
        A mixture.
    position
        Shapes and dtypes of a position.

    Returns
    -------
    array or None
        ``None`` if a part says nothing of its block, blocks overlap, or a coordinate is in none.
    """
    if not (hasattr(kernel, "parts") and hasattr(kernel, "weights")):
        return None
    with jax.ensure_compile_time_eval():
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), position)
        rows = []
        for part in kernel.parts:
            filled = _filled(part, zeros)
            if filled is None:
                return None
            rows.append(np.asarray(ravel_pytree(filled)[0]))
    table = np.stack(rows)
    return table if np.all(table.sum(axis=0) == 1) else None


def _filled(part: Any, zeros: PyTree) -> PyTree | None:
    """Return a position that has ones where a part updates it, and zeros elsewhere."""
    if hasattr(part, "block"):
        return part.block.put(zeros, jax.tree.map(jnp.ones_like, part.block.get(zeros)))
    # Blocks of a model's sampler name their sites.
    names = getattr(part, "names", None) or getattr(part, "values", None)
    if names and isinstance(zeros, dict) and set(names) <= set(zeros):
        return {name: jnp.ones_like(leaf) if name in names else leaf for name, leaf in zeros.items()}
    return None
