"""Optimal scaling: acceptance rates at which samplers are the most efficient in many dimensions.

In the limit of a product target the acceptance rate is ``a = 2 Phi(-z)`` with ``z`` proportional to a power ``l^r`` of the
scale, and the efficiency is ``l^s a``: proportional to ``z^e a`` with ``e = s / r``. All optima here are roots of the
derivative, solved for, not tabulated. The theory assumes independent components, smooth densities and stationarity:
it guides a choice of the scale, and no sampler is wrong for missing it.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.optimize
from scipy import special, stats

from ergodica.theory.metropolis import random_walk_acceptance

__all__ = [
    "OptimalScaling",
    "PseudoMarginalScaling",
    "optimal_barker_random_walk",
    "optimal_pseudo_marginal",
    "optimal_random_walk",
    "optimal_scaling",
    "scaling_exponents",
]

scaling_exponents: dict[str, float] = {
    "random walk": 2.0,
    "parallel tempering": 2.0,
    "MALA": 2 / 3,
    "HMC": 1 / 2,
    "HMC, order 4": 1 / 4,
    "HMC, order 6": 1 / 6,
}
"""The exponent ``e`` by sampler; for Hamiltonian Monte Carlo one over the order of the integrator, at a fixed time."""


@dataclass(frozen=True)
class OptimalScaling:
    """An optimum of efficiency.

    Parameters
    ----------
    acceptance
        The acceptance rate there.
    scale
        The scale there; what it is the scale of depends on the function.
    efficiency
        The largest value of what is maximised.
    derivative
        Of the logarithm of the efficiency by the logarithm of the scale at the optimum: zero up to rounding.
    """

    acceptance: float
    scale: float
    efficiency: float
    derivative: float


def optimal_scaling(sampler: str | float) -> OptimalScaling:
    """Return the optimal acceptance rate of a sampler in many dimensions.

    Parameters
    ----------
    sampler
        A key of :data:`scaling_exponents`, or an exponent ``e``: one over the order for Hamiltonian Monte Carlo.

    Returns
    -------
    OptimalScaling
        ``scale`` is ``z = -Phi^{-1}(a / 2)``. For the random walk with steps ``N(0, l^2 / d)`` on a product of densities
        with Fisher information ``I``, ``l = 2 z / sqrt(I)``.

    Raises
    ------
    ValueError
        If the name is not known, or the exponent not positive.

    References
    ----------
    G. O. Roberts, A. Gelman and W. R. Gilks, 1997, Ann. Appl. Probab. 7, doi:10.1214/aoap/1034625254; G. O. Roberts and
    J. S. Rosenthal, 1998, JRSS B 60, doi:10.1111/1467-9868.00123; A. Beskos et al., 2013, Bernoulli 19,
    arXiv:1001.4460; Y. F. Atchade, G. O. Roberts and J. S. Rosenthal, 2011, Stat. Comput. 21,
    doi:10.1007/s11222-010-9192-1, for tempering.
    """
    if isinstance(sampler, str):
        if sampler not in scaling_exponents:
            raise ValueError(f"the samplers are {sorted(scaling_exponents)}; got {sampler!r}")
        exponent = scaling_exponents[sampler]
    else:
        exponent = float(sampler)
    if not (exponent > 0 and math.isfinite(exponent)):
        raise ValueError(f"the exponent has to be positive; got {exponent}")

    def derivative(z: float) -> float:
        # z phi(z) / Phi(-z), in logarithms for large z.
        return exponent - z * math.exp(-0.5 * z * z - 0.5 * math.log(2 * math.pi) - float(special.log_ndtr(-z)))

    z = float(scipy.optimize.brentq(derivative, 1e-12, 2 * math.sqrt(exponent) + 2 * exponent, xtol=1e-15, rtol=1e-15))
    acceptance = float(2 * special.ndtr(-z))
    return OptimalScaling(acceptance, z, acceptance * z**exponent, derivative(z))


def optimal_random_walk(dim: int) -> OptimalScaling:
    """Return the scale of random-walk Metropolis with the largest expected squared jump on ``N(0, I_d)``, exactly.

    Parameters
    ----------
    dim
        Dimension ``d``.

    Returns
    -------
    OptimalScaling
        ``scale`` is ``l`` for steps ``N(0, l^2 / d I)``; ``efficiency`` the expected squared jump.

    Notes
    -----
    The expected squared jump is ``s^2 E[|z|^2 a(|z|)]`` with ``s = l / sqrt(d)``; weighting by ``|z|^2`` adds two degrees of
    freedom to the law of ``|z|``, so that it is ``l^2`` times the acceptance rate in dimension ``d + 2`` at that scale.
    """
    if dim < 1:
        raise ValueError(f"dim has to be at least 1; got {dim}")
    freedom = dim + 2

    def derivative(x: float) -> float:
        return float(2 - x * stats.t.pdf(x, freedom) / special.stdtr(freedom, -x))

    x = float(scipy.optimize.brentq(derivative, 0.1, 10.0, xtol=1e-14, rtol=1e-14))
    step = 2 * x / math.sqrt(freedom)
    scale = step * math.sqrt(dim)
    jump = scale**2 * random_walk_acceptance(freedom, step)
    return OptimalScaling(random_walk_acceptance(dim, step), scale, jump, derivative(x))


def optimal_barker_random_walk() -> OptimalScaling:
    """Return the optimum of the random walk with Barker's acceptance rule in many dimensions.

    The acceptance rate is ``E[1 / (1 + exp(-B))]`` with ``B`` normal of mean ``-l^2 / 2`` and variance ``l^2``.

    Returns
    -------
    OptimalScaling
        ``scale`` is ``l``, for unit Fisher information; ``efficiency`` is ``l^2 a``.

    References
    ----------
    A. Agrawal, D. Vats, K. Łatuszyński and G. O. Roberts, 2023, J. Appl. Probab. 60, arXiv:2104.11731.
    """
    # The trapezoidal rule converges geometrically for an analytic function that decays.
    node = np.linspace(-12, 12, 1201)
    weight = np.exp(-0.5 * node**2)
    weight /= weight.sum()

    def acceptance(scale: float) -> float:
        return float(weight @ special.expit(scale * node - 0.5 * scale**2))

    def derivative(scale: float) -> float:
        accept = special.expit(scale * node - 0.5 * scale**2)
        return 2 + scale * float(weight @ (accept * (1 - accept) * (node - scale))) / float(weight @ accept)

    scale = float(scipy.optimize.brentq(derivative, 0.5, 6.0, xtol=1e-14, rtol=1e-14))
    return OptimalScaling(acceptance(scale), scale, scale**2 * acceptance(scale), derivative(scale))


@dataclass(frozen=True)
class PseudoMarginalScaling:
    """The optimum of the pseudo-marginal random walk.

    Parameters
    ----------
    acceptance
        The acceptance rate there.
    scale
        ``l``, for unit Fisher information.
    variance
        Of the estimate of the log-likelihood.
    efficiency
        ``variance * l^2 * acceptance``: cost is inverse to the variance.
    """

    acceptance: float
    scale: float
    variance: float
    efficiency: float


def optimal_pseudo_marginal() -> PseudoMarginalScaling:
    """Return scale and noise that maximise ``sigma^2 l^2 2 Phi(-sqrt(2 sigma^2 + l^2) / 2)``.

    For a given rate the product is largest at ``2 sigma^2 = l^2 = 2 z^2``, where it is ``2 z^4 a``: the exponent is 4.

    References
    ----------
    C. Sherlock, A. H. Thiery, G. O. Roberts and J. S. Rosenthal, 2015, Ann. Statist. 43, arXiv:1309.7209.
    """
    best = optimal_scaling(4.0)
    return PseudoMarginalScaling(best.acceptance, math.sqrt(2) * best.scale, best.scale**2, 2 * best.efficiency)
