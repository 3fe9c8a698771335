"""Neal's funnel: one coordinate sets the scale of all others, over many orders of magnitude."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.inputs import static_count
from ergodica.validation.targets.target import Target, with_data
from ergodica.validation.targets.whitened import whitened_marginals

_LOG_2PI = float(np.log(2 * np.pi))


def _funnel_logdensity(scale: np.ndarray, x: Array) -> Array:
    variance = jnp.asarray(scale, x.dtype) ** 2
    return -0.5 * x[0] ** 2 / variance - 0.5 * jnp.exp(-x[0]) * jnp.sum(x[1:] ** 2) - 0.5 * (x.size - 1) * x[0]


def funnel(dim: int = 10, scale: float = 3.0) -> Target:
    """Return ``x1 ~ N(0, scale^2)``, ``xj | x1 ~ N(0, exp(x1))`` for ``j = 2, ..., dim``.

    Parameters
    ----------
    dim
        Dimension, at least 2.
    scale
        Standard deviation of ``x1``: 3 is the hard one, 1 an easy one.

    Raises
    ------
    ValueError
        If the dimension is below 2 or the scale not positive.

    References
    ----------
    R. M. Neal, "Slice sampling", Annals of Statistics 31 (2003), section 8. doi:10.1214/aos/1056562461.
    """
    dim = static_count("dim", dim, at_least=2)
    if not 0 < scale < np.inf:
        raise ValueError(f"scale has to be positive and finite; got {scale}")

    def whiten(x: Array) -> Array:
        return jnp.concatenate([x[:1] / scale, x[1:] * jnp.exp(-0.5 * x[0])])

    def sample(key: PRNGKeyArray, n: int) -> Array:
        z = random.normal(key, (n, dim))
        return jnp.concatenate([scale * z[:, :1], z[:, 1:] * jnp.exp(0.5 * scale * z[:, :1])], axis=1)

    variance = np.array([scale**2] + [float(np.exp(scale**2 / 2))] * (dim - 1))
    return Target(
        name=f"funnel in dimension {dim}" + ("" if scale == 3.0 else f" of scale {scale:g}"),
        dim=dim,
        logdensity=with_data(_funnel_logdensity, np.asarray(scale, dtype=np.float64)),
        sample=sample,
        marginals=whitened_marginals(dim, whiten),
        mean=np.zeros(dim),
        variance=variance,
        covariance=np.diag(variance),
        log_normalizer=0.5 * dim * _LOG_2PI + float(np.log(scale)),
        source="Neal (2003), doi:10.1214/aos/1056562461; moments of the log-normal law",
    )
