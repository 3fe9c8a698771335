"""Running means and covariances of draws that arrive in batches."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


class Moments(NamedTuple):
    """Mean and sums of squares or products of the draws so far, updated without cancellation.

    Parameters
    ----------
    total
        Number of draws.
    mean
        Their mean, shape ``(d,)``.
    products
        Sum of the squares of the deviations from it, shape ``(d,)``; or of their outer products, shape ``(d, d)``.

    References
    ----------
    T. F. Chan, G. H. Golub and R. J. LeVeque, 1983, The American Statistician 37, doi:10.1080/00031305.1983.10483115.
    """

    total: Float[Array, ""]
    mean: Float[Array, " d"]
    products: Float[Array, "..."]

    @classmethod
    def empty(cls, dim: int, dtype: Any, *, dense: bool) -> "Moments":
        """Return the moments of no draws; ``dense`` for covariances, else variances."""
        return cls(jnp.zeros((), dtype), jnp.zeros(dim, dtype), jnp.zeros((dim, dim) if dense else dim, dtype))

    def forgotten(self) -> "Moments":
        """Return the moments of no draws, of the same kind."""
        return Moments(jnp.zeros_like(self.total), jnp.zeros_like(self.mean), jnp.zeros_like(self.products))

    def add(self, draws: Float[Array, "batch d"]) -> "Moments":
        """Add a batch."""
        size = draws.shape[0]
        mean = jnp.mean(draws, axis=0)
        within = draws - mean
        shift = mean - self.mean
        total = self.total + size
        weight = self.total * size / total
        if self.products.ndim == 2:
            products = within.T @ within + weight * jnp.outer(shift, shift)
        else:
            products = jnp.sum(within**2, axis=0) + weight * shift**2
        return Moments(total, self.mean + shift * size / total, self.products + products)


def variances(moments: Moments, otherwise: Float[Array, "..."]) -> Float[Array, " d"]:
    """Return the variances, and ``otherwise`` where a coordinate has not moved."""
    products = moments.products
    squares = jnp.diagonal(products) if products.ndim == 2 else products
    estimate = squares / jnp.maximum(moments.total - 1, 1)
    return jnp.where((estimate > 0) & jnp.isfinite(estimate), estimate, otherwise)


def factor(moments: Moments, otherwise: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return standard deviations, or a Cholesky factor of the covariance.

    The covariance is drawn towards its own diagonal by as much as ``d + 5`` draws weigh, so that it is positive
    definite however few draws there were, whatever the units of the coordinates.

    Parameters
    ----------
    moments
        Of kind ``(d, d)`` if ``otherwise`` is a matrix.
    otherwise
        Present value: a vector, or a lower triangular matrix. It is kept where nothing was learnt.
    """
    if otherwise.ndim < 2:
        return jnp.sqrt(variances(moments, otherwise**2))
    dim = moments.mean.size
    spread = jnp.sqrt(variances(moments, jnp.sum(otherwise**2, axis=1)))
    covariance = moments.products / jnp.maximum(moments.total - 1, 1)
    correlation = covariance / jnp.outer(spread, spread) * (moments.total / (moments.total + dim + 5))
    correlation = jnp.where(jnp.eye(dim, dtype=bool), 1.0, correlation)
    lower = spread[:, None] * jnp.linalg.cholesky(correlation)
    return jnp.where(jnp.all(jnp.isfinite(lower)), lower, otherwise)
