"""Conjugate linear regression: a normal posterior with the evidence in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from numpy.typing import ArrayLike

from ergodica.samplers import random
from ergodica.validation.targets.target import Target, with_data
from ergodica.validation.targets.whitened import whitened_marginals

_LOG_2PI = float(np.log(2 * np.pi))


def design_and_outcomes(design: ArrayLike, outcomes: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return a design matrix and its outcomes as float64 arrays, or say what does not fit.

    Parameters
    ----------
    design
        Shape ``(n, d)``, one row an observation; give the column of ones too.
    outcomes
        Shape ``(n,)``.

    Raises
    ------
    ValueError
        If the shapes do not fit, or an entry is not finite.
    """
    X, y = np.asarray(design, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    if X.ndim != 2 or X.size == 0 or y.shape != X.shape[:1]:
        raise ValueError(f"design has to have shape (n, d) and outcomes (n,); got {X.shape} and {y.shape}")
    if not (np.all(np.isfinite(X)) and np.all(np.isfinite(y))):
        raise ValueError("design and outcomes have to be finite; drop or impute missing rows first")
    return X, y


def _logposterior(X: np.ndarray, y: np.ndarray, noise: np.ndarray, prior: np.ndarray, w: Array) -> Array:
    s, t = jnp.asarray(noise, w.dtype), jnp.asarray(prior, w.dtype)
    residual = (jnp.asarray(y, w.dtype) - jnp.asarray(X, w.dtype) @ w) / s
    likelihood = -0.5 * jnp.sum(residual**2) - len(y) * (jnp.log(s) + 0.5 * _LOG_2PI)
    return likelihood - 0.5 * jnp.sum((w / t) ** 2) - w.size * (jnp.log(t) + 0.5 * _LOG_2PI)


def linear_regression(
    design: ArrayLike, outcomes: ArrayLike, *, noise: float = 1.0, prior_scale: float = 1.0
) -> Target:
    """Return the posterior of ``y ~ N(X w, noise^2 I)``, ``w ~ N(0, prior_scale^2 I)``.

    The log density is the log of likelihood times prior, both normalised, so that ``log_normalizer`` is the evidence.

    Parameters
    ----------
    design, outcomes
        See :func:`design_and_outcomes`.
    noise, prior_scale
        Standard deviations, positive.

    Raises
    ------
    ValueError
        If the data do not fit, or a scale is not positive.
    """
    X, y = design_and_outcomes(design, outcomes)
    if not (0 < noise < np.inf and 0 < prior_scale < np.inf):
        raise ValueError(f"noise and prior_scale have to be positive and finite; got {noise} and {prior_scale}")
    n, dim = X.shape
    precision = X.T @ X / noise**2 + np.eye(dim) / prior_scale**2
    covariance = np.linalg.inv(precision)
    mean = covariance @ (X.T @ y) / noise**2
    factor = np.linalg.cholesky(covariance)
    marginal = noise**2 * np.eye(n) + prior_scale**2 * X @ X.T
    evidence = -0.5 * (n * _LOG_2PI + np.linalg.slogdet(marginal)[1] + y @ np.linalg.solve(marginal, y))

    def whiten(w: Array) -> Array:
        return jax.scipy.linalg.solve_triangular(
            jnp.asarray(factor, w.dtype), w - jnp.asarray(mean, w.dtype), lower=True
        )

    def sample(key: PRNGKeyArray, n: int) -> Array:
        return jnp.asarray(mean) + random.normal(key, (n, dim)) @ jnp.asarray(factor).T

    return Target(
        name=f"linear regression on {dim} columns",
        dim=dim,
        logdensity=with_data(_logposterior, X, y, np.asarray(noise, np.float64), np.asarray(prior_scale, np.float64)),
        sample=sample,
        marginals=whitened_marginals(dim, whiten),
        mean=mean,
        variance=np.diag(covariance).copy(),
        covariance=covariance,
        log_normalizer=float(evidence),
        source="conjugacy, closed form",
    )
