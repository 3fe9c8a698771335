"""Rates of successes, with known laws: the smallest of the forty."""

from typing import Any

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from posteriors.posterior import Posterior, coordinates, polar, read


def one_rate(n: Any, k: Any) -> None:
    theta = numpyro.sample("theta", dist.Beta(1, 1))
    numpyro.sample("k", dist.Binomial(n, theta), obs=k)


def two_rates(n1: Any, n2: Any, k1: Any, k2: Any) -> None:
    theta1 = numpyro.sample("theta1", dist.Beta(1, 1))
    theta2 = numpyro.sample("theta2", dist.Beta(1, 1))
    numpyro.deterministic("delta", theta1 - theta2)
    numpyro.sample("k1", dist.Binomial(n1, theta1), obs=k1)
    numpyro.sample("k2", dist.Binomial(n2, theta2), obs=k2)


def posteriors() -> list[Posterior]:
    """Return one rate, and the difference of two."""
    one, one_reference = read("Rate_1_data-Rate_1_model")
    two, two_reference = read("Rate_2_data-Rate_2_model")
    return [
        Posterior(
            "Rate_1_data-Rate_1_model",
            one_rate,
            {name: jnp.asarray(one[name]) for name in ("n", "k")},
            one_reference,
            **coordinates(),
            remark="polar coordinates need two dimensions",
        ),
        Posterior(
            "Rate_2_data-Rate_2_model",
            two_rates,
            {name: jnp.asarray(two[name]) for name in ("n1", "n2", "k1", "k2")},
            two_reference,
            **polar(2),
        ),
    ]
