"""Counts of breeding pairs over forty years: Poisson regression on a cubic of the year."""

from typing import Any

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from posteriors.posterior import Posterior, polar, read


def cubic(year: Any, count: Any) -> None:
    alpha = numpyro.sample("alpha", dist.Uniform(-20, 20))
    beta1, beta2, beta3 = (numpyro.sample(f"beta{power}", dist.Uniform(-10, 10)) for power in (1, 2, 3))
    log_rate = alpha + beta1 * year + beta2 * year**2 + beta3 * year**3
    numpyro.sample("count", dist.Poisson(jnp.exp(log_rate)), obs=count)


def posteriors() -> list[Posterior]:
    """Return the one posterior."""
    name = "GLM_Poisson_Data-GLM_Poisson_model"
    raw, reference = read(name)
    data = {"year": jnp.asarray(raw["year"]), "count": jnp.asarray(raw["C"])}
    return [Posterior(name, cubic, data, reference, **polar(4))]
