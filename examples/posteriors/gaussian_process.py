"""A Gaussian process on eleven points, seen through Poisson counts."""

from typing import Any

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from posteriors.posterior import Posterior, polar, read

JITTER = 1e-10


def latent_process(x: Any, k: Any) -> None:
    rho = numpyro.sample("rho", dist.Gamma(25.0, 4.0))
    alpha = numpyro.sample("alpha", dist.HalfNormal(2.0))
    z = numpyro.sample("z", dist.Normal(0, 1).expand([len(x)]).to_event(1))
    squares = (x[:, None] - x) ** 2
    covariance = alpha**2 * jnp.exp(-squares / (2 * rho**2)) + JITTER * jnp.eye(len(x))
    f = numpyro.deterministic("f", jnp.linalg.cholesky(covariance) @ z)
    numpyro.sample("k", dist.Poisson(jnp.exp(f)), obs=k)


def posteriors() -> list[Posterior]:
    """Return the one posterior."""
    name = "gp_pois_regr-gp_pois_regr"
    raw, reference = read(name)
    data = {"x": jnp.asarray(raw["x"], float), "k": jnp.asarray(raw["k"])}
    return [Posterior(name, latent_process, data, reference, **polar(13))]
