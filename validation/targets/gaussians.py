"""Normal laws that are hard for their shape alone: badly conditioned, in many dimensions."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.inputs import static_count
from ergodica.validation.targets.target import Target, with_data
from ergodica.validation.targets.whitened import whitened_marginals

_LOG_2PI = float(np.log(2 * np.pi))


def _precision_logdensity(precision: np.ndarray, x: Array) -> Array:
    return -0.5 * x @ (jnp.asarray(precision, x.dtype) @ x)


def _centred_normal(name: str, covariance: Float[np.ndarray, "d d"], precision: np.ndarray, source: str) -> Target:
    dim = len(covariance)
    factor = np.linalg.cholesky(covariance)

    def whiten(x: Array) -> Array:
        return jax.scipy.linalg.solve_triangular(jnp.asarray(factor, x.dtype), x, lower=True)

    def sample(key: PRNGKeyArray, n: int) -> Array:
        return random.normal(key, (n, dim)) @ jnp.asarray(factor).T

    return Target(
        name=name,
        dim=dim,
        logdensity=with_data(_precision_logdensity, precision),
        sample=sample,
        marginals=whitened_marginals(dim, whiten),
        mean=np.zeros(dim),
        variance=np.diag(covariance).copy(),
        covariance=covariance,
        log_normalizer=float(0.5 * dim * _LOG_2PI + np.sum(np.log(np.diag(factor)))),
        source=source,
    )


def ill_conditioned_normal(dim: int = 50, decades: float = 2.0) -> Target:
    """Return a centred normal law with variances spread over decades, two of its axes rotated by 45 degrees.

    Parameters
    ----------
    dim
        Dimension, at least 2.
    decades
        The eigenvalues of the covariance run from ``10^(-decades/2)`` to ``10^(decades/2)``, geometrically. The
        eigenvectors of the first and the last one are ``(e_1 - e_d) / sqrt 2`` and ``(e_1 + e_d) / sqrt 2``.

    Raises
    ------
    ValueError
        If the dimension is below 2, or the decades not in [0, 12].
    """
    dim = static_count("dim", dim, at_least=2)
    if not 0 <= decades <= 12:
        raise ValueError(f"decades has to be between 0 and 12, where double precision still resolves it; got {decades}")
    eigenvalues = np.logspace(-decades / 2, decades / 2, dim)
    rotation = np.eye(dim)
    rotation[[0, 0, -1, -1], [0, -1, 0, -1]] = np.array([1.0, 1.0, -1.0, 1.0]) / np.sqrt(2)
    return _centred_normal(
        f"normal law over {decades:g} decades in dimension {dim}",
        (rotation * eigenvalues) @ rotation.T,
        (rotation / eigenvalues) @ rotation.T,
        "closed form",
    )


def random_walk_normal(dim: int = 20) -> Target:
    """Return the law of a Gaussian random walk: ``x1 ~ N(0, 1)``, ``xj | x(j-1) ~ N(x(j-1), 1)``.

    Its covariance is ``min(i, j)``; the condition number grows like the square of the number of steps.

    Parameters
    ----------
    dim
        Number of steps, at least 1.
    """
    index = np.arange(1, static_count("dim", dim) + 1, dtype=np.float64)
    precision = 2 * np.eye(dim) - np.eye(dim, k=1) - np.eye(dim, k=-1)
    precision[-1, -1] = 1.0
    return _centred_normal(
        f"random walk of {dim} steps", np.minimum(index[:, None], index[None, :]), precision, "closed form"
    )


def equicorrelated_normal(dim: int = 10, correlation: float = 0.9) -> Target:
    """Return a centred normal law with unit variances and one correlation between all pairs.

    Gibbs samplers and random-walk proposals feel the one long direction ``(1, ..., 1)``: its variance is
    ``1 + (d - 1) correlation``, all others have ``1 - correlation``.

    Parameters
    ----------
    dim
        Dimension, at least 2.
    correlation
        Strictly between ``-1 / (dim - 1)`` and 1.

    Raises
    ------
    ValueError
        If the matrix would not be positive definite.
    """
    dim = static_count("dim", dim, at_least=2)
    if not -1 / (dim - 1) < correlation < 1:
        raise ValueError(
            f"correlation has to lie strictly between {-1 / (dim - 1):g} and 1 in dimension {dim}; got {correlation}"
        )
    ones = np.ones((dim, dim))
    covariance = (1 - correlation) * np.eye(dim) + correlation * ones
    precision = (np.eye(dim) - correlation / (1 + (dim - 1) * correlation) * ones) / (1 - correlation)
    return _centred_normal(f"equicorrelated normal law in dimension {dim}", covariance, precision, "closed form")
