"""Heavy tails: Cauchy laws and mixtures of Student laws, where the variance does not exist."""

import jax.numpy as jnp
import numpy as np
from jax.scipy import special as jsp
from jaxtyping import Array, PRNGKeyArray
from scipy import special

from ergodica.samplers import random
from ergodica.samplers.inputs import static_count
from ergodica.validation.targets.mixtures import golden_ratio_points
from ergodica.validation.targets.target import Marginal, Target, coordinate, with_data


def _cauchy_logdensity(x: Array) -> Array:
    return -0.5 * (1 + x.size) * jnp.log1p(jnp.sum(x**2))


def cauchy(dim: int = 1) -> Target:
    """Return the spherical Cauchy law, Student's with one degree of freedom: it has no mean.

    Parameters
    ----------
    dim
        Dimension.

    Returns
    -------
    Target
        Its ``mean`` is NaN and its ``variance`` infinite; check quantiles instead.
    """
    dim = static_count("dim", dim)

    def sample(key: PRNGKeyArray, n: int) -> Array:
        normal_key, scale_key = random.split(key)
        return random.normal(normal_key, (n, dim)) / jnp.abs(random.normal(scale_key, (n, 1)))

    def cdf(values: np.ndarray) -> np.ndarray:
        return np.asarray(special.stdtr(1.0, values))

    marginals = [Marginal(f"coordinate {i}", coordinate(i), cdf) for i in range(min(dim, 3))]
    if dim > 1:
        marginals += [
            Marginal("scaled sum", lambda x: jnp.sum(x) / np.sqrt(dim), cdf),
            Marginal(
                "squared norm over dim",
                lambda x: jnp.sum(x**2) / dim,
                lambda values: special.fdtr(dim, 1.0, np.maximum(values, 0)),
            ),
        ]
    return Target(
        name=f"Cauchy law in dimension {dim}",
        dim=dim,
        logdensity=with_data(_cauchy_logdensity),
        sample=sample,
        marginals=tuple(marginals),
        mean=np.full(dim, np.nan),
        variance=np.full(dim, np.inf),
        log_normalizer=float(0.5 * (1 + dim) * np.log(np.pi) - special.gammaln((1 + dim) / 2)),
        source="closed form",
    )


def _student_mixture_logdensity(locations: np.ndarray, degrees: np.ndarray, x: Array) -> Array:
    nu = jnp.asarray(degrees, x.dtype)
    z = x - jnp.asarray(locations, x.dtype)
    constant = special.gammaln((degrees + 1) / 2) - special.gammaln(degrees / 2) - 0.5 * np.log(degrees * np.pi)
    terms = jnp.sum(constant.astype(x.dtype) - 0.5 * (nu + 1) * jnp.log1p(z**2 / nu), axis=1)
    return jsp.logsumexp(terms) - float(np.log(len(locations)))


def student_mixture(dim: int = 2, components: int = 10, degrees: float = 2.0, half_width: float = 10.0) -> Target:
    """Return a uniform mixture of products of Student laws at quasi-random points of a cube; normalised.

    Parameters
    ----------
    dim
        Dimension.
    components
        Number of modes.
    degrees
        Degrees of freedom, above 1 so that the mean exists; the variance is infinite up to 2.
    half_width
        The locations lie in ``[-half_width, half_width]^dim``; see
        :func:`ergodica.validation.targets.mixtures.golden_ratio_points`.

    Raises
    ------
    ValueError
        If the degrees are at most 1 or the half width is not positive.
    """
    if not 1 < degrees < np.inf:
        raise ValueError(f"degrees has to be above 1, or there is no mean; got {degrees}")
    if not half_width > 0:
        raise ValueError(f"half_width has to be positive; got {half_width}")
    locations = half_width * (2 * golden_ratio_points(components, dim) - 1)
    dim = locations.shape[1]

    def sample(key: PRNGKeyArray, n: int) -> Array:
        component_key, student_key = random.split(key)
        centres = random.choice(component_key, jnp.asarray(locations), (n,))
        return centres + random.student_t(student_key, degrees, (n, dim))

    def marginal(i: int) -> Marginal:
        return Marginal(
            f"coordinate {i}",
            coordinate(i),
            lambda values: np.mean(special.stdtr(degrees, np.asarray(values)[..., None] - locations[:, i]), axis=-1),
        )

    variance = np.full(dim, np.inf)
    if degrees > 2:
        variance = locations.var(axis=0) + degrees / (degrees - 2)
    return Target(
        name=f"mixture of {components} Student laws in dimension {dim}",
        dim=dim,
        logdensity=with_data(_student_mixture_logdensity, locations, np.asarray(degrees, np.float64)),
        sample=sample,
        marginals=(
            *(marginal(i) for i in range(min(dim, 3))),
            Marginal("distance to the first mode", lambda x: jnp.max(jnp.abs(x - jnp.asarray(locations[0], x.dtype)))),
        ),
        mean=locations.mean(axis=0),
        variance=variance,
        modes=locations,
        mode_weights=np.full(len(locations), 1 / len(locations)),
        source="closed form",
    )
