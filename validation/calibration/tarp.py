"""Tests of accuracy with random points (TARP): coverage of credible balls around reference points.

Draw a reference point given the data, without looking at the parameter. If the posterior draws are right, the parameter
and the draws are exchangeable given data and reference, so the rank of the parameter's distance from the reference is
uniform, for every distance: all of the posterior is tested through one number, in any dimension. Whether errors are
seen depends on the references. Those that ignore the data miss a sampler that returns the prior.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from numpy.typing import ArrayLike

from ergodica.samplers import random
from ergodica.validation.calibration.chain_draws import PosteriorDraws
from ergodica.validation.calibration.coverage import IntervalCoverage, expected_coverage, lower_coverage
from ergodica.validation.calibration.rank_report import RankReport
from ergodica.validation.calibration.simulation_based import Prior, Simulate, simulation_based_calibration
from ergodica.validation.evidence import Outcome
from ergodica.validation.quality.verdict import Verdict

NAME = "distance from the reference"


def euclidean_distance(theta: Any, reference: Any) -> Array:
    """Return the distance of two parameters over all entries. Scale them by fixed constants if their units differ."""
    squares = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), theta, reference)
    return jnp.sqrt(sum(jax.tree.leaves(squares), jnp.zeros(())))


@dataclasses.dataclass(frozen=True)
class Tarp:
    """Ranks of distances from reference points.

    Parameters
    ----------
    report
        The ranks, of one quantity.
    """

    report: RankReport

    @property
    def ranks(self) -> np.ndarray:
        """Ranks in ``0, ..., draws``, shape ``(simulations,)``."""
        return np.asarray(self.report.ranks[NAME])

    @property
    def verdict(self) -> Verdict:
        """The test of all credibilities at once, by the distribution function of the ranks."""
        return self.report.verdicts()[NAME]

    def outcome(self, level: float) -> Outcome:
        """Hold the test of all credibilities against a level; see :meth:`.rank_report.RankReport.outcome`."""
        return self.report.outcome(level)

    def expected_coverage(self, levels: ArrayLike) -> Float[np.ndarray, " m"]:
        """Return the curve of expected coverage probabilities; see :func:`.coverage.expected_coverage`."""
        return expected_coverage(self.ranks, self.report.draws, levels)

    def coverage(self, probabilities: Sequence[float] = (0.1, 0.25, 0.5, 0.75, 0.9)) -> list[IntervalCoverage]:
        """Return the coverage of balls of given credibility, each with its exact binomial test."""
        return lower_coverage(self.ranks, self.report.draws, probabilities)


def tarp(
    prior: Prior,
    simulate: Simulate,
    reference: Callable[[PRNGKeyArray, Any], Any],
    *,
    key: PRNGKeyArray,
    kernel: Callable[[Any], Any] | None = None,
    posterior_draws: PosteriorDraws | None = None,
    distance: Callable[[Any, Any], Array] = euclidean_distance,
    simulations: int = 500,
    draws: int = 99,
    thin: int | Literal["ess"] | None = None,
    warmup: int = 500,
    independent: bool = True,
    batch: int | None = None,
) -> Tarp:
    """Test posterior draws by their distances from random reference points.

    Parameters
    ----------
    reference
        ``reference(key, y)`` returns a point like theta, with randomness of its own. Let it depend on the data, for
        example a prior draw shifted by a statistic of them.
    distance
        ``distance(theta, reference) -> scalar``, not negative. Use fixed constants for scales: those taken from the
        simulated parameters would tie simulations to each other.
    prior, simulate, key, kernel, posterior_draws, simulations, draws, thin, warmup, independent, batch
        As in :func:`.simulation_based.simulation_based_calibration`.

    Returns
    -------
    Tarp

    Raises
    ------
    TypeError, ValueError, FloatingPointError
        As :func:`.simulation_based.simulation_based_calibration`.

    References
    ----------
    Pablo Lemos, Adam Coogan, Yashar Hezaveh and Laurence Perreault-Levasseur (2023), Sampling-based accuracy testing of
    posterior estimators for general inference, ICML, arXiv:2302.03026.
    """
    if posterior_draws is None and kernel is None:
        raise TypeError("give either kernel= or posterior_draws=, not both and not none")
    make_kernel, make_draws = kernel, posterior_draws

    def simulate_both(key: PRNGKeyArray, theta: Any) -> tuple[Any, Any]:
        data_key, reference_key = random.split(key)
        y = simulate(data_key, theta)
        return y, reference(reference_key, y)

    report = simulation_based_calibration(
        prior,
        simulate_both,
        key=key,
        kernel=None if make_kernel is None else lambda data: make_kernel(data[0]),
        posterior_draws=None if make_draws is None else lambda key, data, n: make_draws(key, data[0], n),
        quantities={NAME: lambda theta, data: distance(theta, data[1])},
        simulations=simulations,
        draws=draws,
        thin=thin,
        warmup=warmup,
        independent=independent,
        batch=batch,
    )
    # The distance depends on the reference; whether that depends on the data cannot be told from it.
    return Tarp(dataclasses.replace(report, sees_data={}))
