"""Draws beside the reference: errors in units of their standard errors, and effective sample sizes."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from arviz_stats.base import array_stats

from posteriors.posterior import Reference

AXES = {"chain_axis": 0, "draw_axis": 1}


@dataclasses.dataclass(frozen=True)
class Row:
    """A quantity as estimated, its true value, and the error in combined standard errors.

    Parameters
    ----------
    parameter
        Name of the parameter.
    quantity
        ``"mean"``, ``"sd"``, or a level: the probability of being below the reference's quantile.
    estimate, truth, error
        The estimate, the reference's value, and the standard error of their difference.
    """

    parameter: str
    quantity: str
    estimate: float
    truth: float
    error: float

    @property
    def z(self) -> float:
        """Difference in standard errors."""
        return (self.estimate - self.truth) / self.error


def compare(reference: Reference, draws: Mapping[str, np.ndarray]) -> list[Row]:
    """Compare means, standard deviations and quantiles.

    Parameters
    ----------
    reference
        The reference.
    draws
        For each of its parameters an array of shape ``(chains, draws)``.

    Returns
    -------
    list of Row
        Only quantiles where the reference has heavy tails. A quantile is compared through the share of draws below the
        reference's, whose standard error needs no density.
    """
    rows = []
    for index, name in enumerate(reference.parameters):
        values = np.asarray(draws[name], float)
        if not reference.heavy_tailed:
            mean_error = np.hypot(_mcse(values), reference.mean_error[index])
            rows.append(Row(name, "mean", float(values.mean()), float(reference.mean[index]), float(mean_error)))
            # By the squares' own autocorrelation: chains may be antithetic in the mean and not in the spread.
            sd = float(values.std(ddof=1))
            own = _mcse((values - values.mean()) ** 2) / (2 * sd)
            rows.append(
                Row(name, "sd", sd, float(reference.sd[index]), float(np.hypot(own, reference.sd_error[index])))
            )
        for level, quantile in zip(reference.levels, reference.quantiles[:, index], strict=True):
            below = (values <= quantile).astype(float)
            # Chains that have never been on one side have no error of their own; independent draws have one at least.
            own = max(_mcse(below), np.sqrt(level * (1 - level) / below.size))
            error = np.hypot(own, np.sqrt(level * (1 - level) / reference.draws))
            rows.append(Row(name, f"{level:g}", float(below.mean()), float(level), float(error)))
    return rows


def _mcse(values: np.ndarray) -> float:
    return float(array_stats.mcse(values, method="mean", **AXES))


def smallest_ess(draws: Mapping[str, np.ndarray]) -> float:
    """Return the smallest bulk effective sample size over the parameters."""
    return min(float(array_stats.ess(np.asarray(values, float), method="bulk", **AXES)) for values in draws.values())


def largest_rhat(draws: Mapping[str, np.ndarray]) -> float:
    """Return the largest rank-normalised R-hat over the parameters."""
    return max(float(array_stats.rhat(np.asarray(values, float), **AXES)) for values in draws.values())
