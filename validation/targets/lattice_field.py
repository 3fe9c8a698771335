"""The scalar field on a lattice with a quartic potential: two phases, correlations, and truth by transfer operators.

A chain or a ring of sites with neighbour interactions is a product of integral operators on the line. Their kernels are
smooth and decay fast, so the trapezoidal rule makes matrices of them with an error far below round-off.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ergodica.samplers.inputs import static_count
from ergodica.validation.targets.many_well import DoubleWell
from ergodica.validation.targets.quadrature import IntervalLaw
from ergodica.validation.targets.rejection import rejection_draws
from ergodica.validation.targets.target import Expectation, Marginal, MomentTarget, coordinate, with_data

_NODES = 601


def _chain_logdensity(stiffness: np.ndarray, depth: np.ndarray, tilt: np.ndarray, x: Array) -> Array:
    """Dirichlet chain: the field is zero just outside of both ends."""
    k, d, b = (jnp.asarray(value, x.dtype) for value in (stiffness, depth, tilt))
    steps = jnp.diff(x, prepend=0, append=0)
    return -0.5 * k * jnp.sum(steps**2) - d * jnp.sum(0.25 * (1 - x**2) ** 2 + b * x)


def phi4_chain(sites: int = 32, tilt: float = 0.0, *, spacing: float = 0.1, beta: float = 20.0) -> MomentTarget:
    """Return the chain of the Allen-Cahn energy with zero ends: two phases, all plus or all minus.

    The log density is ``-beta U`` with ``U = (spacing N / 2) sum_(i=0)^N (x_(i+1) - x_i)^2 + sum_i [(1 - x_i^2)^2 / 4 +
    tilt x_i] / (spacing N)``, where ``x_0 = x_(N+1) = 0``.

    Parameters
    ----------
    sites
        Number ``N`` of sites.
    tilt
        Favours the minus phase if positive.
    spacing, beta
        The constant ``a`` of the energy, and the inverse temperature; positive.

    Returns
    -------
    MomentTarget
        With the normaliser, moments of the middle site ``N // 2``, and its law. No exact draws.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    References
    ----------
    M. Gabrié, G. Rotskoff, E. Vanden-Eijnden, "Adaptive Monte Carlo augmented with normalizing flows", PNAS 119 (2022),
    arXiv:2105.12603.
    """
    sites = static_count("sites", sites, at_least=2)
    if not (0 < spacing < np.inf and 0 < beta < np.inf and np.isfinite(tilt)):
        raise ValueError(f"spacing and beta have to be positive, tilt finite; got {spacing}, {beta} and {tilt}")
    stiffness, depth = beta * spacing * sites, beta / (spacing * sites)
    # The site weight is below exp(-60) of its best beyond this reach.
    reach = 1.5
    while depth * (0.25 * (1 - reach**2) ** 2 - 2 * abs(tilt) * reach) + 0.5 * stiffness * reach**2 / sites < 60:
        reach *= 1.05
    spread = 1 / np.sqrt(stiffness + depth)
    count = max(_NODES, 2 * int(np.ceil(5 * reach / spread)) + 1)
    grid, step = np.linspace(-reach, reach, count, retstep=True)

    def site(x: np.ndarray) -> np.ndarray:
        return np.exp(-depth * (0.25 * (1 - x**2) ** 2 + tilt * x))

    def bond(x: np.ndarray, y: np.ndarray | float) -> np.ndarray:
        return np.exp(-0.5 * stiffness * (x - y) ** 2)

    weight = step * site(grid)
    kernel = bond(grid[:, None], grid[None, :])
    forward, backward, log_scale = [bond(grid, 0.0)], [bond(grid, 0.0)], 0.0
    for _ in range(sites - 1):
        message = kernel @ (weight * forward[-1])
        forward.append(message / message.max())
        log_scale += float(np.log(message.max()))
        message = kernel @ (weight * backward[-1])
        backward.append(message / message.max())
    middle = sites // 2
    mass = weight * forward[middle] * backward[sites - 1 - middle]
    mass = mass / mass.sum()
    log_normalizer = log_scale + float(np.log(np.sum(weight * forward[-1] * backward[0])))
    pair = (weight * forward[middle - 1])[:, None] * kernel * (weight * backward[sites - 1 - middle])[None, :]
    neighbours = float(grid @ pair @ grid / pair.sum())

    def middle_logdensity(x: np.ndarray) -> np.ndarray:
        near = np.exp(-0.5 * stiffness * (x[..., None] - grid) ** 2)
        left = near @ (weight * forward[middle - 1])
        beyond = sites - 1 - middle
        right = near @ (weight * backward[beyond - 1]) if beyond else bond(x, 0.0)
        return np.log(site(x) * left * right + 1e-300)

    law = IntervalLaw(middle_logdensity, -reach, reach, panels=40, order=16)
    return MomentTarget(
        name=f"phi^4 chain of {sites} sites" + (f" with tilt {tilt:g}" if tilt else ""),
        dim=sites,
        logdensity=with_data(
            _chain_logdensity, np.asarray(stiffness), np.asarray(depth), np.asarray(tilt, dtype=np.float64)
        ),
        expectations=(
            Expectation("middle site", coordinate(middle), float(mass @ grid)),
            Expectation("middle site squared", lambda x: x[middle] ** 2, float(mass @ grid**2)),
            Expectation("middle site positive", lambda x: (x[middle] > 0) * 1.0, float(1 - law.cdf(np.array(0.0)))),
            Expectation("middle site times its left neighbour", lambda x: x[middle] * x[middle - 1], neighbours),
        ),
        marginals=(Marginal("middle site", coordinate(middle), law.cdf),),
        log_normalizer=log_normalizer,
        source="Gabrié, Rotskoff and Vanden-Eijnden (2022), arXiv:2105.12603; transfer operator on a grid",
    )


@dataclasses.dataclass(frozen=True)
class _PeriodicLattice:
    """Log density on a periodic square, the sites row by row."""

    side: int

    def __call__(self, mass: np.ndarray, quartic: np.ndarray, x: Array) -> Array:
        m2, lam = jnp.asarray(mass, x.dtype), jnp.asarray(quartic, x.dtype)
        field = x.reshape(self.side, self.side)
        bonds = sum(jnp.sum((field - jnp.roll(field, 1, axis)) ** 2) for axis in (0, 1))
        return -bonds - jnp.sum(m2 * field**2 + lam * field**4)


def _ring_moments(
    mass: float, quartic: float, coupling: float, sites: int
) -> tuple[float, Float[np.ndarray, " sites"], float]:
    """Return log Z, the correlations ``E x_0 x_k`` and ``E x_0^4`` of a ring ``exp(-c sum (x_i - x_(i+1))^2 - sum V)``."""
    reach = 1.0
    while mass * reach**2 + quartic * reach**4 < 60 + max(0.0, mass**2 / (4 * quartic) * (mass < 0)):
        reach *= 1.05
    grid, step = np.linspace(-reach, reach, 161, retstep=True)
    root = np.exp(-0.5 * (mass * grid**2 + quartic * grid**4)) * np.sqrt(step)
    values, vectors = np.linalg.eigh(
        root[:, None] * np.exp(-coupling * (grid[:, None] - grid[None, :]) ** 2) * root[None, :]
    )
    ratios = np.clip(values / values[-1], 0, None)
    normalizer = np.sum(ratios**sites)
    x = vectors.T @ (grid[:, None] * vectors)
    fourth = float(np.sum(ratios**sites * np.einsum("ji,j,ji->i", vectors, grid**4, vectors)) / normalizer)
    correlations = [
        np.sum(x**2 * ratios[:, None] ** k * ratios[None, :] ** (sites - k)) / normalizer for k in range(sites)
    ]
    return float(np.log(normalizer) + sites * np.log(values[-1])), np.array(correlations), fourth


def phi4_lattice(side: int = 2, mass: float = -4.75, quartic: float = 5.1) -> MomentTarget:
    """Return the phi^4 theory on a periodic square lattice.

    The log density is ``-sum_x [p_x (4 p_x - sum_(y ~ x) p_y) + mass p_x^2 + quartic p_x^4]``, the same as ``-sum_bonds
    (p_x - p_y)^2 - sum_x [mass p_x^2 + quartic p_x^4]``.

    Parameters
    ----------
    side
        At least 2. With 2 there are exact moments, the normaliser and, for a negative mass, exact draws; then every
        neighbour counts twice, once for each way round. Beyond, all that is known is that odd moments vanish.
    mass, quartic
        Coefficients of the square and of the fourth power; ``quartic`` positive.

    Returns
    -------
    MomentTarget
        Positions are the ``side^2`` sites row by row.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    References
    ----------
    M. S. Albergo, G. Kanwar, P. E. Shanahan, "Flow-based generative models for Markov chain Monte Carlo in lattice field
    theory", Physical Review D 100 (2019), arXiv:1904.12072.
    A. Matthews, M. Arbel, D. Rezende, A. Doucet, "Continual repeated annealed flow transport Monte Carlo", ICML 2022,
    arXiv:2201.13117.
    """
    side = static_count("side", side, at_least=2)
    if not np.isfinite(mass) or not 0 < quartic < np.inf:
        raise ValueError(f"mass has to be finite, quartic positive and finite; got {mass} and {quartic}")
    sites = side**2
    odd = Expectation("mean field", jnp.mean, 0.0)
    name = f"phi^4 lattice of side {side}"
    logdensity = with_data(_PeriodicLattice(side), np.asarray(mass, np.float64), np.asarray(quartic, np.float64))
    if side > 2:
        return MomentTarget(
            name=name, dim=sites, logdensity=logdensity, expectations=(odd,), source="arXiv:1904.12072; symmetry"
        )
    log_normalizer, correlations, fourth = _ring_moments(mass, quartic, 2.0, sites)

    def sample(key: PRNGKeyArray, n: int) -> Array:
        well = DoubleWell(quartic, -mass / (2 * quartic))

        def propose(
            key: PRNGKeyArray, n: int
        ) -> tuple[Array, Array]:  # uncoupled sites: the bonds only lower the density
            x = well.sample(key, n * sites).reshape(n, 2, 2)
            bonds = sum(jnp.sum((x - jnp.roll(x, 1, axis)) ** 2, axis=(1, 2)) for axis in (1, 2))
            return x.reshape(n, sites), -jnp.asarray(bonds)

        return rejection_draws(key, n, propose)

    return MomentTarget(
        name=name,
        dim=sites,
        logdensity=logdensity,
        expectations=(
            odd,
            Expectation("mean square", lambda x: jnp.mean(x**2), float(correlations[0])),
            Expectation("mean fourth power", lambda x: jnp.mean(x**4), fourth),
            Expectation("square of the mean field", lambda x: jnp.mean(x) ** 2, float(np.mean(correlations))),
            Expectation("neighbours", lambda x: x[0] * x[1], float(correlations[1])),
            Expectation("diagonal", lambda x: x[0] * x[3], float(correlations[2])),
        ),
        log_normalizer=log_normalizer,
        sample=sample if mass < 0 else None,
        source="arXiv:1904.12072; the four sites are a ring with doubled bonds, solved by its transfer operator",
    )
