"""Continuous targets with exact draws, exact moments and exact laws of enough functions to pin them down."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import special as jsp
from jaxtyping import Array, PRNGKeyArray
from scipy import special

from ergodica.samplers import random
from ergodica.samplers.inputs import static_count
from ergodica.validation.targets.funnel import funnel as funnel
from ergodica.validation.targets.target import Marginal, Target, with_data
from ergodica.validation.targets.whitened import whitened_marginals

_LOG_2PI = float(np.log(2 * np.pi))


def _gaussian_logdensity(mean: Array, factor: Array, x: Array) -> Array:
    z = jax.scipy.linalg.solve_triangular(factor, x - mean, lower=True)
    return -0.5 * jnp.sum(z**2)


def gaussian(mean: Sequence[float], covariance: Sequence[Sequence[float]]) -> Target:
    """Return the normal law with a given mean and covariance; the log density is not normalised.

    Parameters
    ----------
    mean
        Shape ``(d,)``.
    covariance
        Shape ``(d, d)``, positive definite.
    """
    m = np.asarray(mean, dtype=float)
    c = np.asarray(covariance, dtype=float)
    factor = np.linalg.cholesky(c)
    dim = m.size

    def whiten(x: Array) -> Array:
        return jax.scipy.linalg.solve_triangular(jnp.asarray(factor, x.dtype), x - m.astype(x.dtype), lower=True)

    def sample(key: PRNGKeyArray, n: int) -> Array:
        return jnp.asarray(m) + random.normal(key, (n, dim)) @ jnp.asarray(factor).T

    return Target(
        name=f"gaussian in dimension {dim}",
        dim=dim,
        logdensity=with_data(_gaussian_logdensity, jnp.asarray(m), jnp.asarray(factor)),
        sample=sample,
        marginals=whitened_marginals(dim, whiten),
        mean=m,
        variance=np.diag(c).copy(),
        log_normalizer=float(0.5 * dim * _LOG_2PI + np.sum(np.log(np.diag(factor)))),
    )


def standard_normal(dim: int = 1) -> Target:
    """Return the standard normal law on R^dim."""
    dim = static_count("dim", dim)
    return gaussian(np.zeros(dim).tolist(), np.eye(dim).tolist())


def correlated_normal(dim: int = 2, correlation: float = 0.8) -> Target:
    """Return a normal law with variances 1, 2, ... and one correlation between neighbours, decaying geometrically."""
    index = np.arange(static_count("dim", dim))
    scale = np.sqrt(1.0 + index)
    covariance = correlation ** np.abs(index[:, None] - index[None, :]) * scale[:, None] * scale[None, :]
    return gaussian((0.5 * index).tolist(), covariance.tolist())


def agents4() -> Target:
    """Return N(0.3, 0.2), the product of four agents' factors ``exp(-a_i (x - b_i)^2 / 2)``.

    The agents have ``a = (1, 2, 0.5, 1.5)`` and ``b = (-1, 0, 2, 1)``; see :data:`AGENTS4`.
    """
    a, b = np.asarray(AGENTS4[0]), np.asarray(AGENTS4[1])
    return gaussian([float(a @ b / a.sum())], [[float(1 / a.sum())]])


AGENTS4 = ((1.0, 2.0, 0.5, 1.5), (-1.0, 0.0, 2.0, 1.0))
"""Precisions and centres of the four agents of :func:`agents4`."""


def _banana_logdensity(x: Array) -> Array:
    return -0.5 * (x[0] ** 2 + (x[1] - x[0] ** 2) ** 2 + x[2] ** 2)


def banana3() -> Target:
    """Return ``x1 ~ N(0, 1)``, ``x2 | x1 ~ N(x1^2, 1)``, ``x3 ~ N(0, 1)``: curved, uncorrelated, not independent."""

    def whiten(x: Array) -> Array:
        return jnp.stack([x[0], x[1] - x[0] ** 2, x[2]])

    def sample(key: PRNGKeyArray, n: int) -> Array:
        z = random.normal(key, (n, 3))
        return z.at[:, 1].add(z[:, 0] ** 2)

    return Target(
        name="banana3",
        dim=3,
        logdensity=with_data(_banana_logdensity),
        sample=sample,
        marginals=whitened_marginals(3, whiten),
        mean=np.array([0.0, 1.0, 0.0]),
        variance=np.array([1.0, 3.0, 1.0]),
        log_normalizer=1.5 * _LOG_2PI,
    )


def _normal_mixture(name: str, weights: Sequence[float], means: Sequence[float], variances: Sequence[float]) -> Target:
    w, m, v = (np.asarray(values, dtype=float) for values in (weights, means, variances))

    def cdf(values: Any) -> Any:
        return np.sum(w * special.ndtr((np.asarray(values)[..., None] - m) / np.sqrt(v)), axis=-1)

    def sample(key: PRNGKeyArray, n: int) -> Array:
        component_key, normal_key = random.split(key)
        component = random.categorical(component_key, jnp.log(w), shape=(n,))
        z = random.normal(normal_key, (n,))
        return (jnp.asarray(m)[component] + jnp.sqrt(jnp.asarray(v))[component] * z)[:, None]

    mean = float(w @ m)
    return Target(
        name=name,
        dim=1,
        logdensity=with_data(_mixture_logdensity, jnp.log(w), jnp.asarray(m), jnp.asarray(v)),
        sample=sample,
        marginals=(Marginal("x", lambda x: x[0], cdf),),
        mean=np.array([mean]),
        variance=np.array([float(w @ (m**2 + v)) - mean**2]),
    )


def _mixture_logdensity(log_weights: Array, means: Array, variances: Array, x: Array) -> Array:
    terms = log_weights - 0.5 * (x[0] - means) ** 2 / variances - 0.5 * jnp.log(variances) - 0.5 * _LOG_2PI
    return jsp.logsumexp(terms)


def bimodal1() -> Target:
    """Return 0.3 N(-3, 0.25) + 0.7 N(2, 1): proportional to 0.3 exp(-(x+3)^2/0.5) + 0.35 exp(-(x-2)^2/2)."""
    return _normal_mixture("bimodal1", (0.3, 0.7), (-3.0, 2.0), (0.25, 1.0))


def smooth1() -> Target:
    """Return 0.5 N(-2, 0.25) + 0.5 N(2, 0.25), variances in second place."""
    return _normal_mixture("smooth1", (0.5, 0.5), (-2.0, 2.0), (0.25, 0.25))


def _exponential_logdensity(x: Array) -> Array:
    return jnp.where(x[0] >= 0, -x[0], -jnp.inf)


def exponential1() -> Target:
    """Return Exp(1) on the half-line: a density with an edge."""
    return Target(
        name="exponential1",
        dim=1,
        logdensity=with_data(_exponential_logdensity),
        sample=lambda key, n: random.exponential(key, (n, 1)),
        marginals=(Marginal("x", lambda x: x[0], lambda values: -np.expm1(-np.maximum(values, 0))),),
        mean=np.array([1.0]),
        variance=np.array([1.0]),
    )


def _student_logdensity(degrees: Array, x: Array) -> Array:
    return -0.5 * (degrees + x.size) * jnp.log1p(jnp.sum(x**2) / degrees)


def student(dim: int = 2, degrees: float = 3.0) -> Target:
    """Return the multivariate Student law with identity scale: heavy tails in every direction.

    Parameters
    ----------
    dim
        Dimension.
    degrees
        Degrees of freedom, above 2 so that the variance exists.
    """
    dim = static_count("dim", dim)
    if not degrees > 2:
        raise ValueError(f"degrees has to be above 2, or there is no variance; got {degrees}")

    def sample(key: PRNGKeyArray, n: int) -> Array:
        normal_key, gamma_key = random.split(key)
        scale = random.gamma(gamma_key, degrees / 2, (n, 1)) / (degrees / 2)
        return random.normal(normal_key, (n, dim)) / jnp.sqrt(scale)

    def coordinate(i: int) -> Marginal:
        return Marginal(f"coordinate {i}", lambda x: x[i], lambda values: special.stdtr(degrees, values))

    marginals = [coordinate(i) for i in range(min(dim, 3))]
    if dim > 1:
        marginals += [
            Marginal("sum", lambda x: jnp.sum(x) / np.sqrt(dim), lambda values: special.stdtr(degrees, values)),
            Marginal(
                "squared norm over dim",
                lambda x: jnp.sum(x**2) / dim,
                lambda values: special.fdtr(dim, degrees, np.maximum(values, 0)),
            ),
        ]
    return Target(
        name=f"student with {degrees:g} degrees in dimension {dim}",
        dim=dim,
        logdensity=with_data(_student_logdensity, jnp.asarray(degrees, dtype=float)),
        sample=sample,
        marginals=tuple(marginals),
        mean=np.zeros(dim),
        variance=np.full(dim, degrees / (degrees - 2)),
        log_normalizer=float(
            special.gammaln(degrees / 2) - special.gammaln((degrees + dim) / 2) + 0.5 * dim * np.log(degrees * np.pi)
        ),
    )
