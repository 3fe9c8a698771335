"""The hierarchical normal model of the eight schools: a funnel from real data, with exact moments and exact draws."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from numpy.typing import ArrayLike

from ergodica.samplers import random
from ergodica.validation.targets.rejection import rejection_draws
from ergodica.validation.targets.target import Marginal, Target, coordinate, with_data

_LOG_2PI = float(np.log(2 * np.pi))


def _logposterior(
    y: np.ndarray, sigma: np.ndarray, mean_scale: np.ndarray, spread_scale: np.ndarray, x: Array
) -> Array:
    """Position: the standardised effects, the mean, the log of the spread."""
    effects, mu, log_tau = x[:-2], x[-2], x[-1]
    noise, m, s = (jnp.asarray(value, x.dtype) for value in (sigma, mean_scale, spread_scale))
    tau = jnp.exp(log_tau)
    z = (jnp.asarray(y, x.dtype) - mu - tau * effects) / noise
    likelihood = -0.5 * jnp.sum(z**2) - jnp.sum(jnp.log(noise)) - 0.5 * y.size * _LOG_2PI
    prior = -0.5 * jnp.sum(effects**2) - 0.5 * (mu / m) ** 2 - 0.5 * (y.size + 1) * _LOG_2PI - jnp.log(m)
    half_cauchy = jnp.log(2 / jnp.pi) - jnp.log(s) - jnp.log1p((tau / s) ** 2) + log_tau  # with the Jacobian of the log
    return likelihood + prior + half_cauchy


def school_effects(x: Float[Array, " d"]) -> Float[Array, " J"]:
    """Return the schools' effects ``mu + tau z_j`` at a position of :func:`eight_schools`."""
    return x[-2] + jnp.exp(x[-1]) * x[:-2]


def eight_schools(
    effects: ArrayLike, standard_errors: ArrayLike, *, mean_scale: float = 5.0, spread_scale: float = 5.0
) -> Target:
    """Return the posterior of the noncentred hierarchical model, log density with all constants.

    ``y_j ~ N(mu + tau z_j, sigma_j^2)``, ``z_j ~ N(0, 1)``, ``mu ~ N(0, mean_scale^2)``, ``tau`` half-Cauchy with scale
    ``spread_scale``. The position is ``(z_1, ..., z_J, mu, log tau)``.

    Parameters
    ----------
    effects, standard_errors
        ``y`` and ``sigma``, shape ``(J,)``; the classical data are in Rubin (1981).
    mean_scale, spread_scale
        Scales of the priors, positive.

    Returns
    -------
    Target
        Given ``tau``, everything else is normal, so means, variances and the evidence are integrals over ``tau``.

    Raises
    ------
    ValueError
        If data or scales do not fit.

    References
    ----------
    D. B. Rubin, "Estimation in parallel randomized experiments", Journal of Educational Statistics 6 (1981).
    doi:10.3102/10769986006004377.
    """
    y, sigma = np.asarray(effects, dtype=np.float64), np.asarray(standard_errors, dtype=np.float64)
    if y.ndim != 1 or y.size == 0 or sigma.shape != y.shape:
        raise ValueError(f"effects and standard_errors have to be vectors of one length; got {y.shape}, {sigma.shape}")
    if not (np.all(np.isfinite(y)) and np.all((sigma > 0) & np.isfinite(sigma))):
        raise ValueError("effects have to be finite, standard_errors positive and finite")
    if not (0 < mean_scale < np.inf and 0 < spread_scale < np.inf):
        raise ValueError(
            f"mean_scale and spread_scale have to be positive and finite; got {mean_scale}, {spread_scale}"
        )
    count = y.size

    def given_spread(tau: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return mean and variance of mu given tau, and the log evidence given tau."""
        v = sigma**2 + tau[..., None] ** 2
        precision = np.sum(1 / v, axis=-1) + mean_scale**-2
        centre = np.sum(y / v, axis=-1) / precision
        logs = -0.5 * np.sum(np.log(v) + y**2 / v, axis=-1) + 0.5 * centre**2 * precision - 0.5 * np.log(precision)
        return centre, 1 / precision, logs - np.log(mean_scale) - 0.5 * count * _LOG_2PI

    # The half-Cauchy law is that of spread_scale tan(angle), the angle uniform on (0, pi / 2).
    panel, weights = np.polynomial.legendre.leggauss(40)
    edges = np.pi / 2 * np.concatenate([[0.0], np.geomspace(1e-12, 1, 60)])
    half = np.diff(edges) / 2
    angle = ((edges[:-1] + half)[:, None] + half[:, None] * panel).reshape(-1)
    tau = spread_scale * np.tan(angle)
    centre, spread, logs = given_spread(tau)
    top = float(logs.max())
    mass = (half[:, None] * weights).reshape(-1) * np.exp(logs - top) * 2 / np.pi
    total = float(mass.sum())
    mass = mass / total
    log_tau = np.log(tau)
    # Given tau and mu, z_j is normal with precision 1 + tau^2 / sigma_j^2 and mean linear in mu.
    gain = tau[:, None] / (sigma**2 + tau[:, None] ** 2)
    z_mean = gain * (y - centre[:, None])
    z_variance = sigma**2 / (sigma**2 + tau[:, None] ** 2) + gain**2 * spread[:, None]
    conditional_mean = np.column_stack([z_mean, centre, log_tau])
    conditional_variance = np.column_stack([z_variance, spread, np.zeros_like(tau)])
    mean = mass @ conditional_mean
    variance = mass @ (conditional_variance + conditional_mean**2) - mean**2

    def log_tau_cdf(values: np.ndarray) -> np.ndarray:
        last = np.arctan(np.exp(np.asarray(values, dtype=np.float64)) / spread_scale)
        index = np.clip(np.searchsorted(edges, last, side="right") - 1, 0, len(half) - 1)
        below = np.concatenate([[0.0], np.cumsum(mass.reshape(len(half), -1).sum(axis=1))])[index]
        width = (last - edges[index]) / 2
        nodes = (edges[index] + width)[..., None] + width[..., None] * panel
        inside = np.exp(given_spread(spread_scale * np.tan(nodes))[2] - top) @ weights * width * 2 / np.pi / total
        return np.clip(below + inside, 0, 1)

    def propose(key: PRNGKeyArray, n: int) -> tuple[Array, Array]:
        # tau from its prior; the evidence given tau, smooth in the angle, is at most 0.1 % above its best quadrature node.
        turn = 0.5 * jnp.pi * random.uniform(key, (n,))
        t = spread_scale * jnp.tan(turn)
        v = jnp.asarray(sigma) ** 2 + t[:, None] ** 2
        precision = jnp.sum(1 / v, axis=1) + mean_scale**-2
        middle = jnp.sum(jnp.asarray(y) / v, axis=1) / precision
        value = -0.5 * jnp.sum(jnp.log(v) + jnp.asarray(y) ** 2 / v, axis=1) + 0.5 * middle**2 * precision
        value = value - 0.5 * jnp.log(precision) - np.log(mean_scale) - 0.5 * count * _LOG_2PI
        return t[:, None], jnp.minimum(value - top - 1e-3, 0.0)

    def sample(key: PRNGKeyArray, n: int) -> Array:
        tau_key, mu_key, effect_key = random.split(key, 3)
        t = rejection_draws(tau_key, n, propose)
        v = jnp.asarray(sigma) ** 2 + t**2
        precision = jnp.sum(1 / v, axis=1, keepdims=True) + mean_scale**-2
        mu = jnp.sum(jnp.asarray(y) / v, axis=1, keepdims=True) / precision
        mu = mu + random.normal(mu_key, (n, 1)) / jnp.sqrt(precision)
        z = t / v * (jnp.asarray(y) - mu) + jnp.asarray(sigma) / jnp.sqrt(v) * random.normal(effect_key, (n, count))
        return jnp.concatenate([z, mu, jnp.log(t)], axis=1)

    return Target(
        name=f"hierarchical normal model of {count} groups",
        dim=count + 2,
        logdensity=with_data(
            _logposterior, y, sigma, np.asarray(mean_scale, np.float64), np.asarray(spread_scale, np.float64)
        ),
        sample=sample,
        marginals=(
            Marginal("log tau", lambda x: x[-1], log_tau_cdf),
            Marginal("mu", lambda x: x[-2]),
            Marginal("effect 0", lambda x: school_effects(x)[0]),
            Marginal("standardised effect 0", coordinate(0)),
        ),
        mean=mean,
        variance=variance,
        log_normalizer=top + float(np.log(total)),
        source="Rubin (1981), doi:10.3102/10769986006004377; quadrature over the spread",
    )
