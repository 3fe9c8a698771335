"""Rings in the plane, and two moons: curved ridges around a hole, where straight proposals fail."""

import jax.numpy as jnp
import numpy as np
from jax.scipy import special as jsp
from jaxtyping import Array, Float, PRNGKeyArray
from scipy import special

from ergodica.samplers import random
from ergodica.validation.targets.quadrature import IntervalLaw
from ergodica.validation.targets.rejection import rejection_draws
from ergodica.validation.targets.target import Expectation, Marginal, Target, coordinate, with_data

_LOG_2PI = float(np.log(2 * np.pi))


def _norm(x: Array) -> Array:
    return jnp.sqrt(jnp.sum(x**2))


def _unit_vectors(key: PRNGKeyArray, n: int) -> Float[Array, "n 2"]:
    angle = 2 * jnp.pi * random.uniform(key, (n,))
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)


def _angle() -> Marginal:
    return Marginal("angle", lambda x: jnp.arctan2(x[1], x[0]), lambda values: (values + np.pi) / (2 * np.pi))


def _donut_logdensity(radius: np.ndarray, width: np.ndarray, x: Array) -> Array:
    return -0.5 * ((_norm(x) - jnp.asarray(radius, x.dtype)) / jnp.asarray(width, x.dtype)) ** 2


def _ring_proposals(key: PRNGKeyArray, n: int, radius: float, width: float) -> tuple[Array, Array]:
    """Propose points of a donut: its radial density, ``s phi((s - r) / w)``, lies below ``(r + |s - r|) phi``."""
    kind_key, bulk_key, tail_key, sign_key, angle_key = random.split(key, 5)
    ridge, side = radius, width * np.sqrt(2 / np.pi)  # masses of r phi(z) and of w |z| phi(z)
    bulk = random.normal(bulk_key, (n,))
    tail = jnp.sqrt(2 * random.exponential(tail_key, (n,))) * random.rademacher(sign_key, (n,))
    z = jnp.where(random.bernoulli(kind_key, ridge / (ridge + side), (n,)), bulk, tail)
    s = radius + width * z
    log_acceptance = jnp.log(jnp.maximum(s, 0.0)) - jnp.log(radius + width * jnp.abs(z))
    return s[:, None] * _unit_vectors(angle_key, n), log_acceptance


def donut(radius: float = 3.0, width: float = 0.5) -> Target:
    """Return the law in the plane with density proportional to ``exp(-(|x| - radius)^2 / (2 width^2))``.

    Parameters
    ----------
    radius, width
        Of the ridge, positive.

    Raises
    ------
    ValueError
        If one of them is not positive.
    """
    if not (0 < radius < np.inf and 0 < width < np.inf):
        raise ValueError(f"radius and width have to be positive and finite; got {radius} and {width}")
    r, w = float(radius), float(width)
    # Integrals of s^k exp(-(s - r)^2 / (2 w^2)) over s > 0; one step of integration by parts leads to the next.
    edge = np.exp(-0.5 * (r / w) ** 2)
    plain = w * np.sqrt(2 * np.pi) * special.ndtr(r / w)
    first = r * plain + w**2 * edge
    second = r * first + w**2 * plain
    third = r * second + 2 * w**2 * first

    def cdf(values: np.ndarray) -> np.ndarray:
        s = np.maximum(values, 0)
        below = special.ndtr((s - r) / w) - special.ndtr(-r / w)
        falling = edge - np.exp(-0.5 * ((s - r) / w) ** 2)
        return np.asarray((r * w * np.sqrt(2 * np.pi) * below + w**2 * falling) / first)

    return Target(
        name=f"donut of radius {r:g} and width {w:g}",
        dim=2,
        logdensity=with_data(_donut_logdensity, np.asarray(r), np.asarray(w)),
        sample=lambda key, n: rejection_draws(key, n, lambda k, m: _ring_proposals(k, m, r, w)),
        marginals=(Marginal("radius", _norm, cdf), _angle()),
        mean=np.zeros(2),
        variance=np.full(2, third / first / 2),
        covariance=third / first / 2 * np.eye(2),
        log_normalizer=float(np.log(2 * np.pi * first)),
        expectations=(Expectation("radius", _norm, float(second / first)),),
        source="closed form in polar coordinates",
    )


def _rings_logdensity(log_weights: np.ndarray, radii: np.ndarray, width: np.ndarray, x: Array) -> Array:
    s, w = _norm(x), jnp.asarray(width, x.dtype)
    terms = jnp.asarray(log_weights, x.dtype) - 0.5 * ((s - jnp.asarray(radii, x.dtype)) / w) ** 2
    return jsp.logsumexp(terms) - jnp.log(w) - 0.5 * _LOG_2PI - jnp.log(2 * jnp.pi * s)


def rings(radii: tuple[float, ...] = (2.0, 4.0, 6.0), width: float = 0.1) -> Target:
    """Return concentric rings of equal mass in the plane: the radius is a normal mixture, the direction uniform.

    The log density is normalised, ``log sum_i N(|x|; r_i, width^2) / K - log(2 pi |x|)``, up to the mass of the normal
    laws below zero, which the limit on the width keeps below 1e-15.

    Parameters
    ----------
    radii
        Of the ridges, positive.
    width
        Standard deviation of the radius about each ridge; at most an eighth of the smallest radius.

    Raises
    ------
    ValueError
        If there are no rings, or the width does not fit.
    """
    r = np.asarray(radii, dtype=np.float64)
    if r.ndim != 1 or r.size == 0 or not np.all((r > 0) & np.isfinite(r)):
        raise ValueError(f"radii have to be at least one positive number; got {radii}")
    if not 0 < width <= r.min() / 8:
        raise ValueError(f"width has to be positive and at most an eighth of the smallest radius; got {width}")

    def sample(key: PRNGKeyArray, n: int) -> Array:
        ring_key, normal_key, angle_key = random.split(key, 3)
        centre = random.choice(ring_key, jnp.asarray(r), (n,))
        s = centre + width * random.normal(normal_key, (n,))
        return s[:, None] * _unit_vectors(angle_key, n)

    return Target(
        name=f"{r.size} rings",
        dim=2,
        logdensity=with_data(_rings_logdensity, np.full(r.size, -np.log(r.size)), r, np.asarray(width)),
        sample=sample,
        marginals=(
            Marginal(
                "radius", _norm, lambda values: np.mean(special.ndtr((np.asarray(values)[..., None] - r) / width), -1)
            ),
            _angle(),
        ),
        mean=np.zeros(2),
        variance=np.full(2, (np.mean(r**2) + width**2) / 2),
        covariance=(np.mean(r**2) + width**2) / 2 * np.eye(2),
        expectations=(Expectation("radius", _norm, float(np.mean(r))),),
        source="closed form in polar coordinates",
    )


def _moons_logdensity(x: Array) -> Array:
    ridge = -0.5 * ((_norm(x) - 2) / 0.2) ** 2
    return ridge + jnp.logaddexp(-0.5 * ((x[0] - 2) / 0.3) ** 2, -0.5 * ((x[0] + 2) / 0.3) ** 2)


def two_moons() -> Target:
    """Return the two moons: a ring of radius 2 and width 0.2, times two bumps of width 0.3 at the abscissae 2 and -2.

    References
    ----------
    D. Rezende, S. Mohamed, "Variational inference with normalizing flows", ICML 2015, arXiv:1505.05770.
    """
    angles = 2 * np.pi * (np.arange(240) + 0.5) / 240
    cosines, squares = np.cos(angles), np.cos(angles) ** 2

    def bumps(s: np.ndarray) -> np.ndarray:
        a = s[..., None] * cosines
        return np.exp(-0.5 * ((a - 2) / 0.3) ** 2) + np.exp(-0.5 * ((a + 2) / 0.3) ** 2)

    def radial(s: np.ndarray) -> np.ndarray:  # the trapezoidal rule over the angle converges geometrically
        return -0.5 * ((s - 2) / 0.2) ** 2 + np.log(s) + np.log(2 * np.pi * np.mean(bumps(s), axis=-1))

    law = IntervalLaw(radial, 1e-9, 4.4, panels=24, order=16)
    first = law.mean(lambda s: s**2 * (bumps(s) @ squares) / bumps(s).sum(axis=-1))
    absolute = law.mean(lambda s: s * (bumps(s) @ np.abs(cosines)) / bumps(s).sum(axis=-1))
    second = law.mean(lambda s: s**2) - first

    def propose(key: PRNGKeyArray, n: int) -> tuple[Array, Array]:
        points, log_acceptance = _ring_proposals(key, n, 2.0, 0.2)
        x = points[:, 0]
        bump = jnp.logaddexp(-0.5 * ((x - 2) / 0.3) ** 2, -0.5 * ((x + 2) / 0.3) ** 2)
        # Both bumps together are at most 1 + exp(-(2 / 0.3)^2 / 2): where one is larger, the other is in its tail.
        return points, log_acceptance + bump - np.log1p(np.exp(-0.5 * (2 / 0.3) ** 2))

    return Target(
        name="two moons",
        dim=2,
        logdensity=with_data(_moons_logdensity),
        sample=lambda key, n: rejection_draws(key, n, propose),
        marginals=(
            Marginal("radius", _norm, law.cdf),
            Marginal("first coordinate", coordinate(0)),
            Marginal("second coordinate", coordinate(1)),
        ),
        mean=np.zeros(2),
        variance=np.array([first, second]),
        covariance=np.diag([first, second]),
        log_normalizer=law.log_normalizer,
        modes=np.array([[2.0, 0.0], [-2.0, 0.0]]),
        mode_weights=np.array([0.5, 0.5]),
        expectations=(Expectation("|x1|", lambda x: jnp.abs(x[0]), absolute),),
        source="Rezende and Mohamed (2015), arXiv:1505.05770; quadrature in polar coordinates",
    )
