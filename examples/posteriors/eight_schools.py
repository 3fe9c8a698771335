"""Effects of coaching in eight schools (Rubin 1981), in two parametrisations of one posterior."""

from typing import Any

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from posteriors.posterior import Posterior, coordinates, polar, read


def noncentred(sigma: Any, y: Any) -> None:
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    with numpyro.plate("school", len(sigma)):
        z = numpyro.sample("z", dist.Normal(0, 1))
        theta = numpyro.deterministic("theta", mu + tau * z)
        numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def centred(sigma: Any, y: Any) -> None:
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    with numpyro.plate("school", len(sigma)):
        theta = numpyro.sample("theta", dist.Normal(mu, tau))
        numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def posteriors() -> list[Posterior]:
    """Return both parametrisations."""
    names = {word: f"eight_schools-eight_schools_{word}" for word in ("centered", "noncentered")}
    raw, reference = read(names["noncentered"])
    data = {key: jnp.asarray(raw[key], float) for key in ("sigma", "y")}
    return [
        # In the neck of the funnel all effects shrink with tau: no linear map suits both ends.
        Posterior(
            names["centered"],
            centred,
            data,
            read(names["centered"])[1],
            **coordinates(),
            remark="a funnel: whitening does not help, and NUTS misses its neck",
        ),
        Posterior(names["noncentered"], noncentred, data, reference, **polar(10)),
    ]
