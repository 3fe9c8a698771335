"""Skeletal age of thirteen boys from graded indicators: thirteen independent posteriors of one dimension."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

from posteriors.posterior import Posterior, polar, read


def graded_response(lower: Any, upper: Any, delta: Any) -> None:
    """Each boy's grades, as intervals of a logistic variable.

    Parameters
    ----------
    lower, upper
        Thresholds below and above the grade of each boy (row) at each indicator (column), infinite at the ends and
        where the grade is missing.
    delta
        Discrimination of each indicator.
    """
    with numpyro.plate("boy", len(lower)):
        theta = numpyro.sample("theta", dist.Normal(0, 36))
    # The difference of two logistic functions as a product, which does not cancel far from the thresholds.
    log_above = jax.nn.log_sigmoid(delta * (theta[:, None] - lower))
    log_below = jax.nn.log_sigmoid(delta * (upper - theta[:, None]))
    numpyro.factor("grades", (log_above + log_below + jnp.log1p(-jnp.exp(delta * (lower - upper)))).sum())


def bounds(grade: np.ndarray, gamma: np.ndarray, ncat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the thresholds around each grade; grades count from 1, and -1 is a missing one."""
    lower, upper = np.full(grade.shape, -np.inf), np.full(grade.shape, np.inf)
    for (boy, indicator), value in np.ndenumerate(grade):
        if value > 1:
            lower[boy, indicator] = gamma[indicator, value - 2]
        if 1 <= value < ncat[indicator]:
            upper[boy, indicator] = gamma[indicator, value - 1]
    return lower, upper


def posteriors() -> list[Posterior]:
    """Return the one posterior."""
    name = "bones_data-bones_model"
    raw, reference = read(name)
    lower, upper = bounds(*(np.asarray(raw[key]) for key in ("grade", "gamma", "ncat")))
    data = {"lower": jnp.asarray(lower), "upper": jnp.asarray(upper), "delta": jnp.asarray(raw["delta"])}
    return [Posterior(name, graded_response, data, reference, **polar(len(lower)))]
