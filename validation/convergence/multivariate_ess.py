"""Effective sample size of all coordinates together, and the rule to stop at a fixed volume.

For one coordinate at a time use ``arviz_stats.ess``.
"""

import dataclasses
import math

import numpy as np
import scipy.special
from numpy.typing import ArrayLike

from ergodica.samplers.inputs import static_count
from ergodica.validation.convergence.asymptotic_covariance import Method, monte_carlo_covariance
from ergodica.validation.convergence.chains import chain_draws
from ergodica.validation.quality.verdict import Estimate


def multivariate_ess(draws: ArrayLike, *, method: Method = "batch-means", batch: int | None = None) -> Estimate:
    """Return the number of independent draws that give a confidence ellipsoid of the same volume.

    ``n (det Lambda / det Sigma)^(1/p)`` with the covariance ``Lambda`` of the draws and ``Sigma`` in the central limit
    theorem.

    Parameters
    ----------
    draws
        Shape ``(chains, draws, p)``, ``(chains, draws)`` or ``(draws,)``.
    method, batch
        As in :func:`.asymptotic_covariance.monte_carlo_covariance`.

    Returns
    -------
    Estimate
        No standard error is known.

    Raises
    ------
    TypeError, ValueError
        If the draws are not fit, a combination of coordinates is constant, or there are too few batches for ``p``
        coordinates.

    References
    ----------
    Dootika Vats, James Flegal and Galin Jones (2019), Multivariate output analysis for Markov chain Monte Carlo,
    Biometrika 106(2), arXiv:1512.07713.
    """
    x = chain_draws(draws, at_least=4)
    chains, n, p = x.shape
    flat = x.reshape(-1, p)
    scale = flat.std(axis=0)
    constant = np.flatnonzero(scale <= 1e-14 * np.abs(flat).max(axis=0))
    if constant.size:
        raise ValueError(
            f"coordinate {constant[0]} is constant: either it is known, or the chain is stuck; leave it out"
        )
    standardised = (x - flat.mean(axis=0)) / scale
    covariance = np.atleast_2d(np.cov(standardised.reshape(-1, p).T))
    if np.linalg.matrix_rank(covariance, hermitian=True) < p:
        raise ValueError("the coordinates are linearly dependent; leave out those that follow from others")
    sigma = monte_carlo_covariance(standardised, method=method, batch=batch)
    if np.linalg.eigvalsh(sigma)[0] <= 1e-12 * np.trace(sigma):
        raise ValueError(
            f"the estimate of the asymptotic covariance of {p} coordinates is not positive definite: (a) too few "
            "batches: run longer, or pass a smaller batch=; (b) method='lugsail': use 'batch-means'"
        )
    log_ratio = np.linalg.slogdet(covariance)[1] - np.linalg.slogdet(sigma)[1]
    return Estimate(chains * n * math.exp(log_ratio / p), None, f"multivariate effective sample size, {method}")


def fixed_volume_threshold(p: int, *, alpha: float = 0.05, epsilon: float = 0.05) -> float:
    """Return the multivariate effective sample size at which to stop.

    Then the volume of the confidence ellipsoid of level ``1 - alpha``, to the power ``1 / p``, is ``epsilon`` times that
    of the target's covariance.

    Parameters
    ----------
    p
        Number of coordinates.
    alpha
        One minus the confidence level, in (0, 1).
    epsilon
        Relative precision, positive.

    References
    ----------
    Dootika Vats, James Flegal and Galin Jones (2019), Multivariate output analysis for Markov chain Monte Carlo,
    Biometrika 106(2), arXiv:1512.07713.
    """
    static_count("p", p)
    if not 0 < alpha < 1 or not 0 < epsilon < math.inf:
        raise ValueError(f"alpha has to lie in (0, 1) and epsilon to be positive; got {alpha} and {epsilon}")
    quantile = float(scipy.special.chdtri(p, alpha))
    log_volume = 2 / p * math.log(2) + math.log(math.pi) - 2 / p * (math.log(p) + math.lgamma(p / 2))
    return math.exp(log_volume) * quantile / epsilon**2


@dataclasses.dataclass(frozen=True)
class StoppingReport:
    """What the stopping rule says.

    Parameters
    ----------
    stop
        Whether to stop.
    value
        Multivariate effective sample size; NaN where it was too early to look.
    threshold
        What it has to reach.
    next_check
        Number of draws of each chain to look at next.
    """

    stop: bool
    value: float
    threshold: float
    next_check: int


@dataclasses.dataclass(frozen=True)
class FixedVolumeStopping:
    """Stop when the confidence ellipsoid of the mean is small beside the target.

    The rule is looked at when the number of draws has grown by a factor, not after every draw: frequent looks stop too
    early. Coverage is asymptotic, so a stop is no evidence that the chains have converged.

    Parameters
    ----------
    alpha, epsilon
        As in :func:`fixed_volume_threshold`.
    first
        Number of draws of each chain at the first look.
    growth
        Factor between looks, above 1.
    method
        As in :func:`.asymptotic_covariance.monte_carlo_covariance`.

    Raises
    ------
    TypeError, ValueError
        If a parameter is out of range.

    References
    ----------
    Peter Glynn and Ward Whitt (1992), The asymptotic validity of sequential stopping rules, Annals of Applied
    Probability 2(1).
    """

    alpha: float = 0.05
    epsilon: float = 0.05
    first: int = 1000
    growth: float = 1.5
    method: Method = "batch-means"

    def __post_init__(self) -> None:
        static_count("first", self.first, at_least=16)
        if not 1 < self.growth < math.inf:
            raise ValueError(f"growth has to be greater than 1; got {self.growth}")
        fixed_volume_threshold(1, alpha=self.alpha, epsilon=self.epsilon)

    def next_check(self, draws: int) -> int:
        """Return the first number of draws after ``draws`` at which to look."""
        count = self.first
        while count <= draws:
            count = math.ceil(count * self.growth)
        return count

    def report(self, draws: ArrayLike) -> StoppingReport:
        """Look at the draws so far.

        Parameters
        ----------
        draws
            Shape ``(chains, draws, p)``, ``(chains, draws)`` or ``(draws,)``.

        Raises
        ------
        TypeError, ValueError
            As :func:`multivariate_ess`.
        """
        x = chain_draws(draws)
        _, n, p = x.shape
        threshold = fixed_volume_threshold(p, alpha=self.alpha, epsilon=self.epsilon)
        following = self.next_check(n)
        if n < self.first:
            return StoppingReport(False, math.nan, threshold, following)
        value = multivariate_ess(x, method=self.method).value
        return StoppingReport(value >= threshold, value, threshold, following)
