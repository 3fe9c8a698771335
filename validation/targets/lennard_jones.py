"""Lennard-Jones particles in a harmonic trap: exact truths for two and three, a long run for thirteen."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ergodica.samplers.inputs import static_count
from ergodica.validation.targets.particles import configuration, pair_distances, squared_distances, virial
from ergodica.validation.targets.quadrature import IntervalLaw
from ergodica.validation.targets.target import Expectation, Marginal, MomentTarget, coordinate, with_data

_PANELS, _ORDER = 40, 10

# Mean energy and mean squared norm of thirteen particles, each with its standard error: Hamiltonian Monte Carlo, twelve
# million trajectories for the strength 1 and sixty million for 2, errors from independent chains.
_THIRTEEN = {
    1.0: ((0.545, 0.01), (30.054, 0.01)),
    2.0: ((-42.961, 0.004), (18.128, 0.002)),
}


@dataclasses.dataclass(frozen=True)
class _LennardJones:
    """Log density, with the number of particles static."""

    particles: int

    def __call__(self, strength: np.ndarray, x: Array) -> Array:
        inverse = 1 / squared_distances(configuration(x, self.particles)) ** 3
        return -jnp.asarray(strength, x.dtype) * jnp.sum(inverse**2 - 2 * inverse) - 0.5 * jnp.sum(x**2)


def _few_particles(particles: int, strength: float) -> tuple[IntervalLaw, float]:
    """Return the law of the log of the distance of two among two or three particles, and log Z."""

    def log_factor(q: np.ndarray) -> np.ndarray:
        """Log Boltzmann factor of a pair; the harmonic energy is the sum of r^2 / (2 N) over all pairs."""
        return np.asarray(-strength * (np.exp(-12 * q) - 2 * np.exp(-6 * q)) - np.exp(2 * q) / (2 * particles))

    # Beyond these ends the factor is below exp(-100) of what it is at the bottom of the well.
    low = -float(np.log1p(np.sqrt(1 + 200 / strength))) / 6
    high = 0.5 * float(np.log(2 * particles * (100 + 3 * strength)))
    if particles == 2:
        law = IntervalLaw(lambda q: log_factor(q) + 3 * q, low, high)
        return law, law.log_normalizer + float(np.log(4 * np.pi) - 1.5 * np.log(2))
    # The sides r, s, t of a triangle have the measure r s t dr ds dt. Over t, from |r - s| to r + s, the integral is a
    # difference of the distribution function of a lone side.
    side = IntervalLaw(lambda q: log_factor(q) + 2 * q, low, high, panels=_PANELS, order=_ORDER)

    def log_rest(q: float) -> float:
        r = np.exp(q)

        def closes(p: np.ndarray) -> np.ndarray:
            s = np.exp(p)
            shortest = np.log(np.maximum(np.abs(r - s), 1e-300))
            return np.asarray(side.cdf(np.log(r + s)) - side.cdf(shortest))

        return float(np.log(side.mean(closes) + 1e-300))

    law = IntervalLaw(
        lambda q: log_factor(q) + 2 * q + np.vectorize(log_rest)(q), low, high, panels=_PANELS, order=_ORDER
    )
    return law, law.log_normalizer + 2 * side.log_normalizer + float(np.log(8 * np.pi**2) - 1.5 * np.log(3))


def lennard_jones_particles(particles: int = 13, strength: float = 2.0) -> MomentTarget:
    """Return Lennard-Jones particles in space, held together by a harmonic force.

    The energy is ``strength sum_(i<j) (r^-12 - 2 r^-6) + sum_i |x_i - centre|^2 / 2``, at temperature one. With thirteen
    particles it is the benchmark LJ13 of equivariant samplers.

    Parameters
    ----------
    particles
        Their number ``N``, at least 2.
    strength
        Depth of the well of a pair, positive. Two conventions are common: 2 (with mean energies near -43 in the
        literature) and 1.

    Returns
    -------
    MomentTarget
        With ``3 (N - 1)`` coordinates. For two and three particles the normaliser, the law of a distance and mean
        energies are known by quadrature, since a triangle is its three sides. For thirteen and the two usual strengths,
        mean energies come from long runs, with their standard errors. For the rest there are exact identities.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    References
    ----------
    J. Köhler, L. Klein, F. Noé, "Equivariant flows: exact likelihood generative learning for symmetric densities", ICML
    2020, arXiv:2006.02425.
    """
    particles = static_count("particles", particles, at_least=2)
    if not 0 < strength < np.inf:
        raise ValueError(f"strength has to be positive and finite; got {strength}")
    dim = 3 * (particles - 1)
    pairs = particles * (particles - 1) // 2
    logdensity = with_data(_LennardJones(particles), np.asarray(strength, np.float64))
    expectations = [
        virial(logdensity, dim),
        Expectation("first coordinate", coordinate(0), 0.0),
        Expectation("product of the first two coordinates", lambda x: x[0] * x[1], 0.0),
    ]
    marginals: tuple[Marginal, ...] = ()
    log_normalizer = None
    known: tuple[tuple[float, float], ...] = ()
    if particles <= 3:
        law, log_normalizer = _few_particles(particles, strength)
        well = law.mean(lambda q: np.exp(-12 * q) - 2 * np.exp(-6 * q))
        squared_norm = pairs / particles * law.mean(lambda q: np.exp(2 * q))
        known = ((strength * pairs * well + squared_norm / 2, 0.0), (squared_norm, 0.0))
        marginals = (
            Marginal(
                "distance of the first two",
                lambda x: pair_distances(x, particles)[0],
                lambda values: law.cdf(np.log(np.maximum(values, 1e-300))),
            ),
        )
    elif particles == 13 and strength in _THIRTEEN:
        known = _THIRTEEN[strength]
    named = (("energy", lambda x: -logdensity(x)), ("squared norm", lambda x: jnp.sum(x**2)))
    expectations += [Expectation(name, function, *value) for (name, function), value in zip(named, known, strict=False)]
    return MomentTarget(
        name=f"{particles} Lennard-Jones particles of strength {strength:g}",
        dim=dim,
        logdensity=logdensity,
        expectations=tuple(expectations),
        marginals=marginals,
        log_normalizer=log_normalizer,
        source="Köhler, Klein and Noé (2020), arXiv:2006.02425; "
        + (
            "quadrature"
            if particles <= 3
            else "symmetry and, for thirteen particles, long runs of Hamiltonian Monte Carlo"
        ),
    )
