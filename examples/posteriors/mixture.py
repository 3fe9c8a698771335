"""A mixture of two normal laws, the lower one first."""

from typing import Any

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from posteriors.posterior import Posterior, polar, read

ORDERED = dist.ImproperUniform(dist.constraints.ordered_vector, (), (2,))


def two_components(y: Any) -> None:
    mu = numpyro.sample("mu", ORDERED)
    numpyro.factor("mu_prior", dist.Normal(0, 2).log_prob(mu).sum())
    sigma = numpyro.sample("sigma", dist.HalfNormal(2).expand([2]).to_event(1))
    theta = numpyro.sample("theta", dist.Beta(5, 5))
    log_weights = jnp.log(jnp.stack([theta, 1 - theta]))
    log_parts = log_weights + dist.Normal(mu, sigma).log_prob(y[:, None])
    numpyro.factor("y", jnp.logaddexp(log_parts[:, 0], log_parts[:, 1]).sum())


def posteriors() -> list[Posterior]:
    """Return the one posterior."""
    name = "low_dim_gauss_mix-low_dim_gauss_mix"
    raw, reference = read(name)
    return [Posterior(name, two_components, {"y": jnp.asarray(raw["y"])}, reference, **polar(5))]
