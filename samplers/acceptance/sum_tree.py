"""Categorical draws that are right in single precision: a walk down a tree of sums."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.laws import check_logits, check_weights
from ergodica.samplers.claim import Claim, Exactness

__all__ = ["SumTree", "sum_tree_draw"]


class SumTree(eqx.Module):
    """Draws from a categorical law by ``log2 V`` decisions between halves.

    A leaf holds a weight, a node the sum of its two children. A draw walks from the root to a leaf and at each node takes
    the lighter child with its share of the sum. Sums of pairs and shares of the lighter child have small relative errors,
    so that the probability of every outcome, however unlikely, is right to about ``2 log2(V) 2^-24`` of itself in single
    precision: 2e-6 for 128 thousand outcomes. Running sums lose whatever is below ``2^-24`` of the total, and Gumbel or
    race keys in single precision are off as :mod:`ergodica.theory.truncated_gumbel` says.

    Building costs ``V`` additions, a draw ``log2 V`` random numbers in place of ``V``.

    Parameters
    ----------
    weights
        Non-negative weights, shape ``(V,)``, in single or double precision; may be traced.

    Raises
    ------
    ValueError
        If the weights are concrete and no law, or no vector.

    References
    ----------
    C. K. Wong, M. C. Easton, 1980, An efficient method for weighted sampling without replacement, SIAM J. Comput. 9,
    doi:10.1137/0209009, for the tree.

    Examples
    --------
    >>> import jax
    >>> from ergodica import SumTree
    >>> SumTree([1.0, 0.0, 3.0]).draw(jax.random.key(0), (5,)).shape
    (5,)
    """

    heap: Float[Array, " nodes"]

    def __init__(self, weights: Any) -> None:
        if inputs.is_concrete(weights):
            check_weights("weights", np.asarray(weights))
        leaves = jnp.asarray(weights)
        leaves = leaves if jnp.issubdtype(leaves.dtype, jnp.floating) else leaves.astype(float)
        if leaves.ndim != 1:
            raise ValueError(f"SumTree needs a vector of weights; got shape {leaves.shape}")
        # The same sums on the host, where nothing has to be compiled.
        xp: Any = np if inputs.is_concrete(leaves) else jnp
        leaves = xp.asarray(leaves)
        # Divided by the largest: no sum overflows.
        leaves = xp.maximum(leaves, 0) / xp.max(leaves)
        size = 1 << max(leaves.size - 1, 1).bit_length()
        levels = [xp.pad(leaves, (0, size - leaves.size))]
        while levels[-1].size > 1:
            half = levels[-1].size // 2
            levels.append(levels[-1][:half] + levels[-1][half:])
        # Level d holds 2^d nodes from entry 2^d on; node i has the children i and i + 2^d of the next level. Folding halves
        # reads memory in order.
        self.heap = jnp.asarray(xp.concatenate([0 * levels[-1], *reversed(levels)]))

    @classmethod
    def from_logits(cls, logits: Any) -> "SumTree":
        """Build the tree from unnormalised log probabilities; ``-inf`` marks an impossible outcome.

        In single precision, outcomes more than 87 below the largest have weight zero.
        """
        if inputs.is_concrete(logits):
            check_logits("logits", logits)
        logits = jnp.asarray(logits)
        return cls(jnp.exp(logits - jnp.max(logits)))

    @property
    def claim(self) -> Claim:
        """Exact up to the relative rounding of sums and shares."""
        return Claim(
            Exactness.EXACT,
            "draws independently from the normalised weights, each probability right to a relative rounding error",
            source="Wong and Easton 1980, doi:10.1137/0209009",
            independent=True,
        )

    @staticmethod
    def share(left: Any, right: Any) -> tuple[Any, Any]:
        """Return the share of the lighter child, and whether that is the left one."""
        xp: Any = np if isinstance(left, np.ndarray) else jnp
        total = left + right
        return xp.minimum(left, right) / xp.where(total > 0, total, 1), left <= right

    def draw(self, key: PRNGKeyArray, shape: tuple[int, ...] = ()) -> Int[Array, "..."]:
        """Draw outcomes.

        Parameters
        ----------
        key
            Typed key.
        shape
            Shape of the result.

        Returns
        -------
        int32 array
        """
        size = self.heap.shape[0] // 2

        def descend(depth: Int[Array, ""], node: Int[Array, "..."]) -> Int[Array, "..."]:
            width = jnp.left_shift(1, depth)
            light, is_left = self.share(self.heap[2 * width + node], self.heap[3 * width + node])
            takes_light = random.bernoulli(random.fold_in(key, depth), light)
            return node + jnp.where(takes_light == is_left, 0, width).astype(jnp.int32)

        return lax.fori_loop(0, size.bit_length() - 1, descend, jnp.zeros(shape, jnp.int32))

    def law(self) -> Float[np.ndarray, " leaves"]:
        """Return the law that draws have, from the shares as they are computed, multiplied in double precision.

        Padded with zeros to a power of two.
        """
        law, heap = np.ones(1), np.asarray(self.heap)
        while law.size < heap.size // 2:
            sums = heap[2 * law.size : 4 * law.size]
            light, is_left = self.share(sums[: law.size], sums[law.size :])
            share = np.asarray(light, np.float64)
            left = np.where(is_left, share, 1 - share)
            law = np.concatenate([law * left, law * (1 - left)])
        return law


def sum_tree_draw(key: PRNGKeyArray, logits: Float[Array, "*batch V"]) -> Int[Array, "*batch"]:
    """Draw one outcome from each row of logits.

    Parameters
    ----------
    key
        Typed key.
    logits
        Unnormalised log probabilities.
    """
    rows = logits.reshape(-1, logits.shape[-1])
    keys = random.split(key, rows.shape[0])
    drawn = jax.vmap(lambda key, row: SumTree.from_logits(row).draw(key))(keys, rows)
    return drawn.reshape(logits.shape[:-1])
