"""Interacting particles: coordinates without the centre, and four particles in the plane with double-well bonds.

The energies do not change when all particles are shifted, so a law exists only for the shape: a position here holds the
coordinates of the ``N`` particles in an orthonormal basis of the configurations with centre zero, ``(N - 1) d`` numbers.
What is left of the symmetries are rotations, reflections and permutations, which give zero means for free. Scaling gives
another exact truth: the mean of ``x . grad U(x)`` is the dimension, for every law ``exp(-U)`` that vanishes at infinity.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax.tree_util import Partial
from jaxtyping import Array, Float

from ergodica.samplers.inputs import static_count
from ergodica.validation.targets.quadrature import IntervalLaw
from ergodica.validation.targets.target import Expectation, Marginal, MomentTarget, coordinate, with_data


def centred_basis(particles: int) -> Float[np.ndarray, "N M"]:
    """Return the ``N x (N - 1)`` matrix whose columns are an orthonormal basis of the vectors with sum zero.

    The basis is Helmert's: column ``k`` sets particle ``k + 1`` against the mean of those before.
    """
    return np.asarray(scipy.linalg.helmert(static_count("particles", particles, at_least=2)).T)


def configuration(x: Float[Array, " k"], particles: int) -> Float[Array, "N d"]:
    """Return the particles' places, with centre zero, at a position of a target of this file.

    Parameters
    ----------
    x
        Shape ``((N - 1) d,)``.
    particles
        Their number ``N``.
    """
    return jnp.asarray(centred_basis(particles), x.dtype) @ x.reshape(particles - 1, -1)


def reduced(places: Float[Array, "N d"]) -> Float[Array, " k"]:
    """Return the position of given places: the inverse of :func:`configuration`, after a shift of the centre to zero."""
    return (jnp.asarray(centred_basis(len(places)), places.dtype).T @ places).reshape(-1)


def pair_distances(x: Float[Array, " k"], particles: int) -> Float[Array, " pairs"]:
    """Return the ``N (N - 1) / 2`` distances between the particles at a position of a target of this file."""
    return jnp.sqrt(squared_distances(configuration(x, particles)))


def squared_distances(places: Float[Array, "N d"]) -> Float[Array, " pairs"]:
    """Return the squared distances between places, in the order of ``numpy.triu_indices``."""
    first, second = np.triu_indices(len(places), 1)
    return jnp.sum((places[first] - places[second]) ** 2, axis=-1)


@dataclasses.dataclass(frozen=True)
class _DoubleWellBonds:
    """Log density, with the number of particles static."""

    particles: int

    def __call__(self, quadratic: np.ndarray, quartic: np.ndarray, length: np.ndarray, x: Array) -> Array:
        a, b, d0 = (jnp.asarray(value, x.dtype) for value in (quadratic, quartic, length))
        excess = pair_distances(x, self.particles) - d0
        return -jnp.sum(b * excess**4 + a * excess**2)


def virial(logdensity: Partial, dim: int) -> Expectation:
    """Return the mean of ``x . grad U(x)``, which is the dimension: partial integration of ``exp(-U)``."""
    return Expectation("x . grad U", lambda x: -jnp.vdot(x, jax.grad(logdensity)(x)), float(dim))


def double_well_particles(
    quadratic: float = -4.0, quartic: float = 0.9, length: float = 4.0, *, step: float = 0.15
) -> MomentTarget:
    """Return four particles in the plane, each pair with energy ``quartic (r - length)^4 + quadratic (r - length)^2``.

    The benchmark DW4 of equivariant samplers, at temperature one: two preferred distances, so that squares, stars and
    triangles with a particle inside compete.

    Parameters
    ----------
    quadratic, quartic, length
        Coefficients of the energy of a pair; ``quartic`` and ``length`` positive. The energy of particles in one place
        has to be at least 20 above the least one, so that the kink of ``r`` at zero does not matter.
    step
        Mesh of the quadrature.

    Returns
    -------
    MomentTarget
        With 6 coordinates, the normaliser, the law of the distance of the first two particles, and mean energies. The
        mean over three particles is exact: with the first two at a distance ``r``, the other two meet those and each
        other only, so that the rest is one convolution in the plane for each ``r``.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    References
    ----------
    J. Köhler, L. Klein, F. Noé, "Equivariant flows: exact likelihood generative learning for symmetric densities", ICML
    2020, arXiv:2006.02425.
    """
    if not (np.isfinite(quadratic) and 0 < quartic < np.inf and 0 < length < np.inf):
        raise ValueError(
            f"quadratic has to be finite, quartic and length positive; got {quadratic}, {quartic} and {length}"
        )

    def energy(r: np.ndarray) -> np.ndarray:
        return np.asarray(quartic * (r - length) ** 4 + quadratic * (r - length) ** 2)

    lowest = -(min(quadratic, 0.0) ** 2) / (4 * quartic)
    if energy(np.array(0.0)) - lowest < 20:
        raise ValueError("the energy of two particles in one place has to be at least 20 above the least one")
    # The pair's Boltzmann factor, relative to its best, is below exp(-40) outside of (low, high).
    spread = np.sqrt((-quadratic + np.sqrt(quadratic**2 + 4 * quartic * (lowest + 40))) / (2 * quartic))
    low, high = max(length - spread, 0.0), length + spread
    # The third and fourth particles are within reach of both others; twice that room, so that no copy is met.
    half_width = np.ceil(2 * high / step) * step
    axis = np.arange(-half_width, half_width, step)
    transformed = np.fft.rfft2(np.fft.ifftshift(np.exp(lowest - energy(np.hypot(axis[:, None], axis)))))

    def log_weight(r: np.ndarray) -> np.ndarray:
        """Return the log of the density of the distance of the first two, up to a constant."""
        values = []
        for distance in np.ravel(r):
            away = energy(np.hypot(axis[:, None] - distance / 2, axis)) + energy(
                np.hypot(axis[:, None] + distance / 2, axis)
            )
            third = np.exp(2 * lowest - away)
            meeting = np.fft.irfft2(np.fft.rfft2(third) * transformed, s=third.shape)
            values.append(np.sum(third * meeting) * step**4)
        inner = np.reshape(values, np.shape(r))
        return np.asarray(np.log(2 * np.pi * r * inner) - energy(r) - 5 * lowest)

    # A law on the interval asks for many nodes: interpolate the smooth log density once.
    nodes = low + (high - low) * 0.5 * (1 + np.cos(np.pi * (np.arange(80) + 0.5) / 80))
    fit = np.polynomial.Chebyshev.fit(nodes, log_weight(nodes) + energy(nodes) - np.log(nodes), 60, domain=[low, high])
    law = IntervalLaw(lambda r: fit(r) - energy(r) + np.log(np.maximum(r, 1e-300)), low, high)
    dim = 6
    logdensity = with_data(
        _DoubleWellBonds(4), *(np.asarray(value, np.float64) for value in (quadratic, quartic, length))
    )
    return MomentTarget(
        name="four particles with double-well bonds",
        dim=dim,
        logdensity=logdensity,
        expectations=(
            Expectation("energy", lambda x: -logdensity(x), 6 * law.mean(energy)),
            Expectation("mean distance", lambda x: jnp.mean(pair_distances(x, 4)), law.mean(lambda r: r)),
            # The squared distances of all pairs sum to N times the squared norm.
            Expectation("squared norm", lambda x: jnp.sum(x**2), 6 / 4 * law.mean(lambda r: r**2)),
            virial(logdensity, dim),
            Expectation("first coordinate", coordinate(0), 0.0),
            Expectation("product of the first two coordinates", lambda x: x[0] * x[1], 0.0),
        ),
        marginals=(Marginal("distance of the first two", lambda x: pair_distances(x, 4)[0], law.cdf),),
        # Places relative to the first particle are sqrt(N) times as voluminous as orthonormal coordinates, per axis.
        log_normalizer=law.log_normalizer - np.log(4.0),
        source="Köhler, Klein and Noé (2020), arXiv:2006.02425; convolutions on a grid, and symmetry",
    )
