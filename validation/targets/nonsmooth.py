"""Mixtures whose density has kinks or jumps: Laplace components, and normal ones behind a staircase."""

import dataclasses

import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.inputs import static_count
from ergodica.validation.targets.mixtures import golden_ratio_points, unequal_mixture
from ergodica.validation.targets.rejection import rejection_draws
from ergodica.validation.targets.target import Expectation, Marginal, MomentTarget, Target, coordinate, with_data


def _laplace_logdensity(locations: np.ndarray, scale: np.ndarray, x: Array) -> Array:
    m, s = jnp.asarray(locations, x.dtype), jnp.asarray(scale, x.dtype)
    logs = -jnp.sum(jnp.abs(x - m), axis=1) / s - x.size * jnp.log(2 * s)
    return jsp.logsumexp(logs) - float(np.log(len(locations)))


def laplace_mixture(dim: int = 2, components: int = 5, scale: float = 1.0, half_width: float = 6.0) -> Target:
    """Return equally many products of Laplace laws around points of a low discrepancy sequence: kinks along all axes.

    Parameters
    ----------
    dim
        Dimension.
    components
        Number of components.
    scale
        Of every coordinate, positive.
    half_width
        The locations lie in ``[-half_width, half_width]^dim``, positive.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """
    dim, components = static_count("dim", dim), static_count("components", components)
    if not (0 < scale < np.inf and 0 < half_width < np.inf):
        raise ValueError(f"scale and half_width have to be positive and finite; got {scale} and {half_width}")
    locations = half_width * (2 * golden_ratio_points(components, dim) - 1)

    def sample(key: PRNGKeyArray, n: int) -> Array:
        component_key, place_key = random.split(key)
        component = random.randint(component_key, (n,), 0, components)
        return jnp.asarray(locations)[component] + scale * random.laplace(place_key, (n, dim))

    def marginal(i: int) -> Marginal:
        def cdf(values: np.ndarray) -> np.ndarray:
            z = (np.asarray(values, np.float64)[..., None] - locations[:, i]) / scale
            tail = 0.5 * np.exp(-np.abs(z))
            return np.asarray(np.mean(np.where(z < 0, tail, 1 - tail), axis=-1))

        return Marginal(f"coordinate {i}", coordinate(i), cdf)

    mean = locations.mean(axis=0)
    covariance = np.cov(locations.T, bias=True).reshape(dim, dim) + 2 * scale**2 * np.eye(dim)
    return Target(
        name=f"mixture of {components} Laplace laws in dimension {dim}",
        dim=dim,
        logdensity=with_data(_laplace_logdensity, locations, np.asarray(scale, np.float64)),
        sample=sample,
        marginals=(*(marginal(i) for i in sorted({0, dim - 1})), Marginal("sum", jnp.sum)),
        mean=mean,
        variance=np.diag(covariance).copy(),
        covariance=covariance,
        modes=locations,
        mode_weights=np.full(components, 1 / components),
        source="closed form",
    )


@dataclasses.dataclass(frozen=True)
class _Staircase:
    """The log density: that of the mixture less the height of the stairs."""

    def __call__(self, smooth: jax.tree_util.Partial, x: Array) -> Array:
        return smooth(x) - staircase(jnp.sqrt(jnp.sum(x**2)))


def staircase(radius: Array) -> Array:
    """Return ``floor(8 radius)`` for radii between 5 and 11, and zero elsewhere."""
    return jnp.where((radius > 5) & (radius < 11), jnp.floor(8 * radius), jnp.zeros_like(radius))


def discontinuous_mixture() -> MomentTarget:
    """Return the mixture :func:`~ergodica.validation.targets.mixtures.unequal_mixture` behind a ring of stairs.

    The log density is that of the mixture less ``floor(8 |x|)`` where ``5 < |x| < 11``: gradients see nothing of the wall,
    40 high at its inside, that parts the mode at zero from the other three and cuts two of those in half.

    Returns
    -------
    MomentTarget
        With normaliser and means by quadrature in polar coordinates, panel edges at the jumps. Exact draws by rejection
        from the mixture.

    References
    ----------
    Y. He, K. Rojas, M. Tao, "Zeroth-order sampling methods for non-log-concave distributions: alleviating metastability
    by denoising diffusion", NeurIPS 2024, arXiv:2402.17886.
    """
    base = unequal_mixture()
    unit, weight = np.polynomial.legendre.leggauss(8)
    edges = np.concatenate([np.linspace(0, 5, 17)[:-1], np.arange(5, 11, 0.125), np.linspace(11, 21, 41)])
    half = np.diff(edges)[:, None] / 2
    radius = (edges[:-1, None] + half + half * unit).reshape(-1)
    angle = 2 * np.pi * np.arange(600) / 600
    points = radius[:, None, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    logs = np.asarray(jax.jit(jax.vmap(base.logdensity))(points.reshape(-1, 2))).reshape(points.shape[:2])
    stairs = np.where((radius > 5) & (radius < 11), np.floor(8 * radius), 0.0)
    mass = np.exp(logs - stairs[:, None]) * ((half * weight).reshape(-1) * radius)[:, None] * 2 * np.pi / len(angle)
    total = float(mass.sum())
    mass = mass / total
    first, second = (float(np.sum(mass * points[..., i])) for i in (0, 1))

    def propose(key: PRNGKeyArray, n: int) -> tuple[Array, Array]:
        x = base.sample(key, n)
        return x, -staircase(jnp.sqrt(jnp.sum(x**2, axis=1)))

    return MomentTarget(
        name="mixture of 4 normal laws behind stairs",
        dim=2,
        logdensity=with_data(_Staircase(), base.logdensity),
        expectations=(
            Expectation("coordinate 0", coordinate(0), first),
            Expectation("coordinate 1", coordinate(1), second),
            Expectation("squared norm", lambda x: jnp.sum(x**2), float(np.sum(mass * radius[:, None] ** 2))),
            Expectation(
                "product of the coordinates", lambda x: x[0] * x[1], float(np.sum(mass * points.prod(axis=-1)))
            ),
            Expectation("inside of the stairs", lambda x: (jnp.sum(x**2) < 25) * 1.0, float(np.sum(mass[radius < 5]))),
        ),
        log_normalizer=float(np.log(total)),
        sample=lambda key, n: rejection_draws(key, n, propose),
        source="He, Rojas and Tao (2024), arXiv:2402.17886; quadrature in polar coordinates",
    )
