"""Linear maps from whitened coordinates: numbers, vectors, triangular matrices, and few directions among many."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ergodica.samplers import inputs

__all__ = ["LowRankScale", "Scale", "scaled", "unscaled"]


class LowRankScale(eqx.Module):
    """The linear map ``L y = s * (y + V ((f - 1) * (V^T y)))`` with orthonormal columns ``V``.

    Whitened coordinates ``y`` are stretched by ``f`` along ``k`` directions and then by ``s`` along the axes. It is applied
    and inverted in ``O(d k)`` operations, where a Cholesky factor takes ``O(d^2)``.

    Parameters
    ----------
    deviations
        ``s``, shape ``(d,)``, positive.
    vectors
        ``V``, shape ``(d, k)``, with orthonormal columns.
    factors
        ``f``, shape ``(k,)``, positive.

    Raises
    ------
    ValueError, TypeError
        If an entry is not finite, or the shapes do not fit, or the columns are not orthonormal.

    References
    ----------
    Covariances of this form as metrics: A. Seyboldt, E. L. Carlson and B. Carpenter, Preconditioning Hamiltonian Monte
    Carlo by minimizing Fisher divergence, 2026, arXiv:2603.18845. The use in slice samplers is ours.
    """

    deviations: Float[Array, " d"]
    vectors: Float[Array, "d k"]
    factors: Float[Array, " k"]

    def __init__(self, deviations: inputs.Numbers, vectors: inputs.Numbers, factors: inputs.Numbers) -> None:
        self.deviations = inputs.real_parameter("deviations", deviations, above=0.0, ndim=1)
        self.vectors = inputs.real_parameter("vectors", vectors, ndim=2)
        self.factors = inputs.real_parameter("factors", factors, above=0.0, ndim=1)
        dim, rank = self.vectors.shape
        if self.deviations.shape != (dim,) or self.factors.shape != (rank,):
            raise ValueError(
                "a low-rank scale has d deviations, d x k vectors and k factors; got shapes "
                f"{self.deviations.shape}, {self.vectors.shape} and {self.factors.shape}"
            )
        if inputs.is_concrete(self.vectors):
            columns = np.asarray(self.vectors, np.float64)
            error = np.max(np.abs(columns.T @ columns - np.eye(rank)), initial=0.0)
            if error > 1e-3:
                raise ValueError(
                    f"the columns of vectors have to be orthonormal, and their products are off by {error:.2g}; "
                    "pass numpy.linalg.qr(vectors)[0]"
                )

    @classmethod
    def identity(cls, dim: int, rank: int) -> "LowRankScale":
        """Return the map that changes nothing, with room for so many directions to be tuned."""
        dim, rank = inputs.static_count("dim", dim), inputs.static_count("rank", rank)
        if rank > dim:
            raise ValueError(f"{dim} coordinates have at most {dim} directions; got rank {rank}")
        return cls(jnp.ones(dim), jnp.eye(dim, rank), jnp.ones(rank))

    def apply(self, vector: Float[Array, " d"]) -> Float[Array, " d"]:
        """Return ``L y``, in the dtype of ``y``."""
        return self.deviations.astype(vector.dtype) * self._stretched(vector, self.factors)

    def invert(self, vector: Float[Array, " d"]) -> Float[Array, " d"]:
        """Return ``L^{-1} x``, in the dtype of ``x``."""
        return self._stretched(vector / self.deviations.astype(vector.dtype), 1 / self.factors)

    def _stretched(self, vector: Float[Array, " d"], factors: Float[Array, " k"]) -> Float[Array, " d"]:
        vectors = self.vectors.astype(vector.dtype)
        return vector + vectors @ ((factors.astype(vector.dtype) - 1) * (vectors.T @ vector))


Scale = Float[Array, "..."] | LowRankScale
"""``L``: a number, a vector, a lower triangular matrix, or a map."""


def scaled(scale: Scale | None, vector: Float[Array, " d"]) -> Float[Array, " d"]:
    """Return ``L z``."""
    if scale is None:
        return vector
    if isinstance(scale, LowRankScale):
        return scale.apply(vector)
    factor = scale.astype(vector.dtype)
    return factor @ vector if factor.ndim == 2 else factor * vector


def unscaled(scale: Scale | None, vector: Float[Array, " d"]) -> Float[Array, " d"]:
    """Return ``L^{-1} y``."""
    if scale is None:
        return vector
    if isinstance(scale, LowRankScale):
        return scale.invert(vector)
    factor = scale.astype(vector.dtype)
    if factor.ndim == 2:
        return jax.scipy.linalg.solve_triangular(factor, vector, lower=True)
    return vector / factor
