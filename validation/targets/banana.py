"""Bananas: normal laws bent along a parabola, with unit Jacobian, so that everything stays known."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.inputs import static_count
from ergodica.validation.targets.target import Expectation, Target, with_data
from ergodica.validation.targets.whitened import whitened_marginals

_LOG_2PI = float(np.log(2 * np.pi))


def _twisted_logdensity(bend: np.ndarray, scale: np.ndarray, x: Array) -> Array:
    b, s = jnp.asarray(bend, x.dtype), jnp.asarray(scale, x.dtype)
    straight = x[1] - b * (x[0] ** 2 - s**2)
    return -0.5 * ((x[0] / s) ** 2 + straight**2 + jnp.sum(x[2:] ** 2))


def twisted_normal(dim: int = 2, bend: float = 0.1, scale: float = 10.0) -> Target:
    """Return ``x1 ~ N(0, scale^2)``, ``x2 | x1 ~ N(bend (x1^2 - scale^2), 1)``, all others N(0, 1).

    Parameters
    ----------
    dim
        Dimension, at least 2.
    bend
        Curvature: 0.03 and 0.1 with the scale 10 are common in the literature.
    scale
        Standard deviation of the first coordinate.

    Raises
    ------
    ValueError
        If the dimension is below 2, the bend is not finite, or the scale not positive.

    References
    ----------
    H. Haario, E. Saksman, J. Tamminen, "Adaptive proposal distribution for random walk Metropolis algorithm",
    Computational Statistics 14 (1999). doi:10.1007/s001800050022.
    """
    dim = static_count("dim", dim, at_least=2)
    if not np.isfinite(bend) or not 0 < scale < np.inf:
        raise ValueError(f"bend has to be finite, and scale positive and finite; got {bend} and {scale}")

    def whiten(x: Array) -> Array:
        return x.at[1].add(-bend * (x[0] ** 2 - scale**2)).at[0].divide(scale)

    def sample(key: PRNGKeyArray, n: int) -> Array:
        z = random.normal(key, (n, dim))
        first = scale * z[:, 0]
        return z.at[:, 0].set(first).at[:, 1].add(bend * (first**2 - scale**2))

    variance = np.array([scale**2, 1 + 2 * bend**2 * scale**4] + [1.0] * (dim - 2))
    return Target(
        name=f"twisted normal law in dimension {dim}",
        dim=dim,
        logdensity=with_data(_twisted_logdensity, np.asarray(bend, np.float64), np.asarray(scale, np.float64)),
        sample=sample,
        marginals=whitened_marginals(dim, whiten),
        mean=np.zeros(dim),
        variance=variance,
        covariance=np.diag(variance),
        log_normalizer=0.5 * dim * _LOG_2PI + float(np.log(scale)),
        expectations=(
            Expectation("x1^2 x2", lambda x: x[0] ** 2 * x[1], 2 * bend * scale**4),
            Expectation("x1^4", lambda x: x[0] ** 4, 3 * scale**4),
        ),
        source="Haario, Saksman and Tamminen (1999), doi:10.1007/s001800050022; Gaussian moments",
    )


@dataclasses.dataclass(frozen=True)
class _HybridRosenbrock:
    """The log density, with its static shape; frozen, so that equal targets compile once."""

    blocks: int
    length: int

    def __call__(self, first: np.ndarray, stiffness: np.ndarray, x: Array) -> Array:
        chains = x[1:].reshape(self.blocks, self.length)
        full = jnp.concatenate([jnp.full((self.blocks, 1), x[0]), chains], axis=1)
        a, b = jnp.asarray(first, x.dtype), jnp.asarray(stiffness, x.dtype)
        return -a * (x[0] - 1) ** 2 - b * jnp.sum((full[:, 1:] - full[:, :-1] ** 2) ** 2)


def hybrid_rosenbrock(blocks: int = 2, length: int = 2, first: float = 0.05, stiffness: float = 5.0) -> Target:
    """Return the hybrid Rosenbrock law: chains of parabolas that share their first coordinate.

    ``x_1 ~ N(1, 1 / (2 first))``; in every block ``x_(j,1) | x_1 ~ N(x_1^2, 1 / (2 stiffness))`` and
    ``x_(j,i) | x_(j,i-1) ~ N(x_(j,i-1)^2, 1 / (2 stiffness))``. The coordinates are ``x_1``, then block by block.

    Parameters
    ----------
    blocks
        Number of chains that start at the first coordinate.
    length
        Coordinates of a chain, without the shared one; 1 to 3. (Moments grow doubly exponentially with it.)
    first, stiffness
        Half precisions of the first coordinate and of all others, positive.

    Raises
    ------
    ValueError
        If a count or a precision is out of range.

    References
    ----------
    F. Pagani, M. Wiegand, S. Nadarajah, "An n-dimensional Rosenbrock distribution for Markov chain Monte Carlo
    testing", Scandinavian Journal of Statistics 49 (2022). doi:10.1111/sjos.12532.
    """
    blocks, length = static_count("blocks", blocks), static_count("length", length)
    if length > 3:
        raise ValueError(f"length has to be at most 3; got {length}. Take more blocks for a higher dimension.")
    if not (0 < first < np.inf and 0 < stiffness < np.inf):
        raise ValueError(f"first and stiffness have to be positive and finite; got {first} and {stiffness}")
    dim = 1 + blocks * length
    spread, width = 1 / np.sqrt(2 * first), 1 / np.sqrt(2 * stiffness)

    def parents(x: Array) -> Array:
        chains = x[1:].reshape(blocks, length)
        return jnp.concatenate([jnp.full((blocks, 1), x[0]), chains[:, :-1]], axis=1).reshape(-1)

    def whiten(x: Array) -> Array:
        return jnp.concatenate([(x[:1] - 1) / spread, (x[1:] - parents(x) ** 2) / width])

    def sample(key: PRNGKeyArray, n: int) -> Array:
        z = random.normal(key, (n, dim))
        start = 1 + spread * z[:, :1]
        columns = [start]
        for k in range(blocks):
            last = start
            for i in range(length):
                last = last**2 + width * z[:, 1 + k * length + i, None]
                columns.append(last)
        return jnp.concatenate(columns, axis=1)

    # A chain's last coordinate is a polynomial of degree at most 8 in each normal variable: for its square, rules of
    # nine nodes are exact.
    nodes, weights = np.polynomial.hermite_e.hermegauss(9)
    weights = weights / weights.sum()
    grids = np.meshgrid(*([nodes] * (length + 1)), indexing="ij")
    mass = np.prod(np.meshgrid(*([weights] * (length + 1)), indexing="ij"), axis=0)
    values = [1 + spread * grids[0]]
    for grid in grids[1:]:
        values.append(values[-1] ** 2 + width * grid)
    chain_mean = np.array([np.sum(mass * value) for value in values])
    chain_variance = np.array(
        [np.sum(mass * (value - centre) ** 2) for value, centre in zip(values, chain_mean, strict=True)]
    )
    return Target(
        name=f"hybrid Rosenbrock law of {blocks} chains of {length}",
        dim=dim,
        logdensity=with_data(
            _HybridRosenbrock(blocks, length), np.asarray(first, np.float64), np.asarray(stiffness, np.float64)
        ),
        sample=sample,
        marginals=whitened_marginals(dim, whiten),
        mean=np.concatenate([chain_mean[:1], np.tile(chain_mean[1:], blocks)]),
        variance=np.concatenate([chain_variance[:1], np.tile(chain_variance[1:], blocks)]),
        log_normalizer=0.5 * dim * _LOG_2PI + float(np.log(spread) + blocks * length * np.log(width)),
        source="Pagani, Wiegand and Nadarajah (2022), doi:10.1111/sjos.12532; moments by exact Gauss-Hermite rules",
    )
