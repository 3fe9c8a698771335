"""Products of double wells: exponentially many modes, with every truth by quadrature in one dimension."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from scipy import special

from ergodica.samplers import random
from ergodica.samplers.inputs import static_count
from ergodica.validation.targets.quadrature import IntervalLaw
from ergodica.validation.targets.rejection import rejection_draws
from ergodica.validation.targets.target import Expectation, Marginal, Target, coordinate, with_data


@dataclasses.dataclass(frozen=True)
class DoubleWell:
    """The law on the line with log density ``-sharpness (x^2 - separation)^2 + tilt x``.

    Parameters
    ----------
    sharpness, separation
        Positive; without tilt the wells lie at ``-sqrt(separation)`` and ``sqrt(separation)``.
    tilt
        Lifts the right well above the left one.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    sharpness: float = 1.0
    separation: float = 3.0
    tilt: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.sharpness < np.inf and 0 < self.separation < np.inf):
            raise ValueError(
                f"sharpness and separation have to be positive and finite; got {self.sharpness} and {self.separation}"
            )
        if not np.isfinite(self.tilt):
            raise ValueError(f"tilt has to be finite; got {self.tilt}")

    def logdensity(self, x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Return the log density, not normalised; NumPy or JAX arrays of any shape."""
        return -self.sharpness * (x**2 - self.separation) ** 2 + self.tilt * x

    def law(self) -> IntervalLaw:
        """Return the law by quadrature: normaliser, means, distribution function."""
        # Where the quartic term is 60 above the best that the tilt can win, nothing is left.
        reach = np.sqrt(self.separation) + 1.0
        while self.sharpness * (reach**2 - self.separation) ** 2 < 60 + 2 * abs(self.tilt) * reach:
            reach *= 1.1
        return IntervalLaw(self.logdensity, -reach, reach)

    def sample(self, key: PRNGKeyArray, n: int) -> Float[Array, " n"]:
        """Draw exactly, by rejection.

        With ``x = t u``, side ``t = 1`` or ``-1``, ``u > 0`` and ``m = sqrt(separation)``, the quartic term is
        ``-sharpness (u - m)^2 (u + m)^2``, at most ``-sharpness m^2 (u - m)^2``. Proposals are therefore normal on each
        side, with the tilt's shift.
        """
        m, precision = np.sqrt(self.separation), 2 * self.sharpness * self.separation

        def propose(key: PRNGKeyArray, n: int) -> tuple[Array, Array]:
            side_key, normal_key = random.split(key)
            right = random.bernoulli(side_key, special.expit(2 * self.tilt * m), (n,))
            t = jnp.where(right, 1.0, -1.0)
            u = m + t * self.tilt / precision + random.normal(normal_key, (n,)) / np.sqrt(precision)
            log_acceptance = -self.sharpness * (u - m) ** 2 * ((u + m) ** 2 - self.separation)
            return (t * u)[:, None], jnp.where(u > 0, log_acceptance, -jnp.inf)

        return rejection_draws(key, n, propose)[:, 0]


def _many_well_logdensity(x: Array) -> Array:
    a, b = x[0::2], x[1::2]
    return jnp.sum(-(a**4) + 6 * a**2 + 0.5 * a) - 0.5 * jnp.sum(b**2)


def many_well(dim: int = 4) -> Target:
    """Return independent pairs ``(a, b)`` with log density ``-a^4 + 6 a^2 + a / 2 - b^2 / 2``: ``2^(dim/2)`` modes.

    Parameters
    ----------
    dim
        Even; 2 for one pair, 32 in the literature.

    Raises
    ------
    ValueError
        If the dimension is odd or below 2.

    References
    ----------
    F. Noé, S. Olsson, J. Köhler, H. Wu, "Boltzmann generators", Science 365 (2019), arXiv:1812.01729.
    L. Midgley et al., "Flow annealed importance sampling bootstrap", ICLR 2023, arXiv:2208.01893.
    """
    dim = static_count("dim", dim, at_least=2)
    if dim % 2:
        raise ValueError(f"dim has to be even, two coordinates a well; got {dim}")
    pairs, well = dim // 2, DoubleWell(1.0, 3.0, 0.5)
    law = well.law()
    mean, second = law.mean(lambda a: a), law.mean(lambda a: a**2)
    right = 1.0 - float(law.cdf(np.array(0.0)))

    def sample(key: PRNGKeyArray, n: int) -> Array:
        well_key, normal_key = random.split(key)
        a = well.sample(well_key, n * pairs).reshape(n, pairs, 1)
        return jnp.concatenate([a, random.normal(normal_key, (n, pairs, 1))], axis=-1).reshape(n, dim)

    def marginal(i: int) -> Marginal:
        return Marginal(f"coordinate {i}", coordinate(i), special.ndtr if i % 2 else law.cdf)

    shown = sorted({0, 1, dim - 2, dim - 1})
    # The wells' bottoms: stationary points of -a^4 + 6 a^2 + a / 2 without the middle one.
    bottoms = np.sort(np.roots([-4.0, 0.0, 12.0, 0.5]).real)[[0, 2]]
    modes = weights = None
    if pairs <= 10:
        sides = (np.arange(2**pairs)[:, None] >> np.arange(pairs)[::-1]) & 1
        modes = np.zeros((2**pairs, dim))
        modes[:, 0::2] = bottoms[sides]
        weights = np.prod(np.where(sides == 1, right, 1 - right), axis=1)
    return Target(
        name=f"many-well in dimension {dim}",
        dim=dim,
        logdensity=with_data(_many_well_logdensity),
        sample=sample,
        marginals=(
            *(marginal(i) for i in shown),
            *((Marginal("sum of the wells", lambda x: jnp.sum(x[0::2])),) if pairs > 1 else ()),
        ),
        mean=np.tile([mean, 0.0], pairs),
        variance=np.tile([second - mean**2, 1.0], pairs),
        covariance=np.diag(np.tile([second - mean**2, 1.0], pairs)),
        log_normalizer=pairs * (law.log_normalizer + 9.0 + 0.5 * float(np.log(2 * np.pi))),
        modes=modes,
        mode_weights=weights,
        expectations=(
            Expectation("wells on the right", lambda x: jnp.sum(x[0::2] > 0) * 1.0, pairs * right),
            Expectation("a^2 of the first pair", lambda x: x[0] ** 2, second),
        ),
        source="Noé et al. (2019), arXiv:1812.01729; quadrature in one dimension",
    )


@dataclasses.dataclass(frozen=True)
class _DoubleWellProduct:
    wells: int

    def __call__(self, separation: np.ndarray, x: Array) -> Array:
        a, b = x[: self.wells], x[self.wells :]
        return -jnp.sum((a**2 - jnp.asarray(separation, x.dtype)) ** 2) - jnp.sum(b**2)


def double_wells(dim: int = 5, wells: int = 5, separation: float = 4.0) -> Target:
    """Return ``exp(-sum_(i <= wells) (x_i^2 - separation)^2 - sum_(i > wells) x_i^2)``: ``2^wells`` equal modes.

    Parameters
    ----------
    dim
        Dimension.
    wells
        How many coordinates are double wells, at most ``dim``; the others are N(0, 1/2).
    separation
        Square of the distance of a well from zero; (5, 5, 4), (10, 5, 3) and (50, 5, 2) are common.

    Raises
    ------
    ValueError
        If there are more wells than coordinates, or the separation is not positive.

    References
    ----------
    H. Wu, J. Köhler, F. Noé, "Stochastic normalizing flows", NeurIPS 2020, arXiv:2002.06707.
    """
    dim, wells = static_count("dim", dim), static_count("wells", wells)
    if wells > dim:
        raise ValueError(f"wells has to be at most dim; got {wells} wells in dimension {dim}")
    well = DoubleWell(1.0, separation)
    law = well.law()
    second = law.mean(lambda a: a**2)

    def sample(key: PRNGKeyArray, n: int) -> Array:
        well_key, normal_key = random.split(key)
        a = well.sample(well_key, n * wells).reshape(n, wells)
        return jnp.concatenate([a, np.sqrt(0.5) * random.normal(normal_key, (n, dim - wells))], axis=1)

    def marginal(i: int) -> Marginal:
        return Marginal(
            f"coordinate {i}", coordinate(i), law.cdf if i < wells else lambda v: special.ndtr(np.sqrt(2) * v)
        )

    variance = np.array([second] * wells + [0.5] * (dim - wells))
    return Target(
        name=f"{wells} double wells in dimension {dim}",
        dim=dim,
        logdensity=with_data(_DoubleWellProduct(wells), np.asarray(separation, np.float64)),
        sample=sample,
        marginals=(
            *(marginal(i) for i in sorted({0, wells - 1, dim - 1})),
            Marginal("sum of the wells", lambda x: jnp.sum(x[:wells])),
        ),
        mean=np.zeros(dim),
        variance=variance,
        covariance=np.diag(variance),
        log_normalizer=wells * law.log_normalizer + 0.5 * (dim - wells) * float(np.log(np.pi)),
        expectations=(
            Expectation("wells on the right", lambda x: jnp.sum(x[:wells] > 0) * 1.0, wells / 2),
            Expectation("x1^4", lambda x: x[0] ** 4, law.mean(lambda a: a**4)),
        ),
        source="Wu, Köhler and Noé (2020), arXiv:2002.06707; quadrature in one dimension",
    )
