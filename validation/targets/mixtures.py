"""Normal mixtures: several modes, with their weights known."""

import jax.numpy as jnp
import numpy as np
from jax.scipy import special as jsp
from jaxtyping import Array, PRNGKeyArray
from numpy.typing import ArrayLike
from scipy import special

from ergodica.samplers import random
from ergodica.samplers.inputs import static_count
from ergodica.validation.targets.target import Marginal, Target, with_data

_LOG_2PI = float(np.log(2 * np.pi))


def _mixture_logdensity(
    log_weights: np.ndarray, means: np.ndarray, whiteners: np.ndarray, log_dets: np.ndarray, x: Array
) -> Array:
    z = jnp.einsum("kij,kj->ki", jnp.asarray(whiteners, x.dtype), x - jnp.asarray(means, x.dtype))
    constants = jnp.asarray(log_weights + log_dets - 0.5 * means.shape[1] * _LOG_2PI, x.dtype)
    return jsp.logsumexp(constants - 0.5 * jnp.sum(z**2, axis=1))


def gaussian_mixture(
    weights: ArrayLike, means: ArrayLike, covariances: ArrayLike, *, name: str | None = None, source: str = ""
) -> Target:
    """Return a mixture of normal laws; the log density is normalised.

    Parameters
    ----------
    weights
        Shape ``(K,)``, positive; divided by their sum.
    means
        Shape ``(K, d)``.
    covariances
        Shape ``(K, d, d)``, or ``(d, d)`` for all components.
    name
        For the report. Default: says how many components there are.
    source
        For the report.

    Returns
    -------
    Target
        With the means of the components as ``modes``. Its marginals are the first two coordinates, the last one, and
        the projection on ``(1, 2, ..., d)``, which tells permuted coordinates apart.

    Raises
    ------
    ValueError
        If the shapes do not fit, a weight is not positive, or a covariance is not positive definite.
    """
    w, m = np.asarray(weights, dtype=np.float64), np.asarray(means, dtype=np.float64)
    if m.ndim != 2 or m.size == 0 or w.shape != m.shape[:1]:
        raise ValueError(f"means has to have shape (K, d) and weights (K,); got {m.shape} and {w.shape}")
    if not (np.all(w > 0) and np.all(np.isfinite(w)) and np.all(np.isfinite(m))):
        raise ValueError("weights have to be positive, and weights and means finite")
    count, dim = m.shape
    c = np.asarray(covariances, dtype=np.float64)
    if c.shape not in ((dim, dim), (count, dim, dim)):
        raise ValueError(f"covariances has to have shape ({dim}, {dim}) or ({count}, {dim}, {dim}); got {c.shape}")
    c = np.broadcast_to(c, (count, dim, dim))
    try:
        factors = np.linalg.cholesky(c)
    except np.linalg.LinAlgError:
        raise ValueError("every covariance has to be positive definite") from None
    w = w / w.sum()

    def sample(key: PRNGKeyArray, n: int) -> Array:
        component_key, normal_key = random.split(key)
        component = random.categorical(component_key, jnp.log(w), shape=(n,))
        z = random.normal(normal_key, (n, dim))
        return jnp.asarray(m)[component] + jnp.einsum("nij,nj->ni", jnp.asarray(factors)[component], z)

    def projection(label: str, direction: np.ndarray) -> Marginal:
        centre, scale = m @ direction, np.sqrt(np.einsum("i,kij,j->k", direction, c, direction))

        def cdf(values: np.ndarray) -> np.ndarray:
            return np.asarray(special.ndtr((np.asarray(values)[..., None] - centre) / scale) @ w)

        return Marginal(label, lambda x: x @ jnp.asarray(direction, x.dtype), cdf)

    unit = np.eye(dim)
    marginals = [projection(f"coordinate {i}", unit[i]) for i in sorted({0, min(1, dim - 1), dim - 1})]
    if dim > 1:
        slope = np.arange(1.0, dim + 1)
        marginals.append(projection("projection on (1, 2, ...)", slope / np.linalg.norm(slope)))
    mean = w @ m
    covariance = np.einsum("k,kij->ij", w, c + m[:, :, None] * m[:, None, :]) - np.outer(mean, mean)
    whiteners = np.linalg.solve(factors, np.broadcast_to(unit, factors.shape))
    log_dets = -np.sum(np.log(np.diagonal(factors, axis1=1, axis2=2)), axis=1)
    return Target(
        name=name or f"mixture of {count} normal laws in dimension {dim}",
        dim=dim,
        logdensity=with_data(_mixture_logdensity, np.log(w), m, whiteners, log_dets),
        sample=sample,
        marginals=tuple(marginals),
        mean=mean,
        variance=np.diag(covariance).copy(),
        covariance=covariance,
        modes=m,
        mode_weights=w,
        source=source or "closed form",
    )


def asymmetric_mixture() -> Target:
    """Return 0.3 N(-4, 1) + 0.7 N(4, 0.36) on the line, variances in second place."""
    return gaussian_mixture((0.3, 0.7), [[-4.0], [4.0]], [[[1.0]], [[0.36]]], name="asymmetric mixture")


def grid_mixture(side: int = 3, spacing: float = 5.0, variance: float = 0.3) -> Target:
    """Return the uniform mixture of round normal laws on a square grid in the plane.

    Parameters
    ----------
    side
        Modes along an axis: 3 for nine, 5 for twenty-five modes.
    spacing
        Distance of neighbours, positive; the grid is centred at zero.
    variance
        Of every component, positive.

    Raises
    ------
    ValueError
        If spacing or variance is not positive.
    """
    side = static_count("side", side)
    if not (spacing > 0 and variance > 0):
        raise ValueError(f"spacing and variance have to be positive; got {spacing} and {variance}")
    axis = spacing * (np.arange(side) - (side - 1) / 2)
    modes = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    return gaussian_mixture(np.ones(side**2), modes, variance * np.eye(2), name=f"grid of {side} by {side} normal laws")


def golden_ratio_points(count: int, dim: int) -> np.ndarray:
    """Return the low-discrepancy points ``frac(k / g^j)``, ``k = 1, ..., count``, ``j = 1, ..., dim``.

    ``g`` is the generalised golden ratio, the positive root of ``g^(dim+1) = g + 1``.

    Returns
    -------
    float64 array of shape (count, dim)
        In the unit cube.
    """
    count, dim = static_count("count", count), static_count("dim", dim)
    ratio = 2.0
    for _ in range(200):  # a contraction: converges to double precision well before
        ratio = (1 + ratio) ** (1 / (dim + 1))
    return np.mod(np.arange(1, count + 1)[:, None] / ratio ** np.arange(1, dim + 1), 1.0)


def golden_ratio_mixture(components: int = 40, dim: int = 2, half_width: float = 40.0) -> Target:
    """Return a uniform mixture of unit normal laws at quasi-random points of a cube: many modes, some close, some far.

    A stand-in, the same on every machine, for the mixture of forty normal laws with random centres that the literature
    on neural samplers uses.

    Parameters
    ----------
    components
        Number of modes.
    dim
        Dimension.
    half_width
        The centres lie in ``[-half_width, half_width]^dim``.
    """
    if not half_width > 0:
        raise ValueError(f"half_width has to be positive; got {half_width}")
    modes = half_width * (2 * golden_ratio_points(components, dim) - 1)
    return gaussian_mixture(
        np.ones(len(modes)), modes, np.eye(dim), name=f"golden-ratio mixture of {components} in dimension {dim}"
    )


def circle_mixture(components: int = 8, radius: float = 10.0, variance: float = 0.7) -> Target:
    """Return the uniform mixture of round normal laws at equal distances on a circle.

    Parameters
    ----------
    components
        Number of modes.
    radius, variance
        Of the circle, and of every component; positive.
    """
    components = static_count("components", components)
    if not (radius > 0 and variance > 0):
        raise ValueError(f"radius and variance have to be positive; got {radius} and {variance}")
    angle = 2 * np.pi * np.arange(components) / components
    modes = radius * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return gaussian_mixture(
        np.ones(components), modes, variance * np.eye(2), name=f"{components} normal laws on a circle"
    )


def unequal_mixture() -> Target:
    """Return four correlated normal laws in the plane with weights 0.1, 0.2, 0.3 and 0.4."""
    return gaussian_mixture(
        (0.1, 0.2, 0.3, 0.4),
        [[0.0, 0.0], [0.0, 11.0], [9.0, 9.0], [11.0, 0.0]],
        [[[1.0, 0.5], [0.5, 1.0]], [[0.3, -0.2], [-0.2, 0.3]], [[1.0, 0.3], [0.3, 1.0]], [[1.2, -1.0], [-1.0, 1.2]]],
        name="four unequal normal laws",
    )


def crossing_mixture() -> Target:
    """Return six elongated normal laws in the plane that cross, symmetric under exchange of the coordinates.

    Half of the weight is on ``N((3, 0), diag(.7, .05))``, ``N((-2.5, 0), diag(.7, .05))`` and ``N((2, 3), C)`` with
    correlation 0.95 and unit variances, equally; the other half on their mirror images.
    """
    flat, steep = np.diag([0.7, 0.05]), np.array([[1.0, 0.95], [0.95, 1.0]])
    means = np.array([[3.0, 0.0], [-2.5, 0.0], [2.0, 3.0]])
    covariances = np.stack([flat, flat, steep])
    return gaussian_mixture(
        np.ones(6),
        np.concatenate([means, means[:, ::-1]]),
        np.concatenate([covariances, covariances[:, ::-1, ::-1]]),
        name="crossing mixture",
    )
