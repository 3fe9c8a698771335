"""Logistic regressions with flat priors."""

from typing import Any

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from posteriors.linear_regression import flat
from posteriors.posterior import Posterior, polar, read


def logistic(x: Any, y: Any) -> None:
    alpha = numpyro.sample("alpha", flat())
    beta = numpyro.sample("beta", flat((1,)))
    numpyro.sample("y", dist.Bernoulli(logits=alpha + beta[0] * x), obs=y)


def posteriors() -> list[Posterior]:
    """Return the income of voters, and the wells of Bangladesh."""
    votes, votes_reference = read("nes_logit_data-nes_logit_model")
    wells, wells_reference = read("wells_data-wells_dist100_model")
    return [
        Posterior(
            "nes_logit_data-nes_logit_model",
            logistic,
            {"x": jnp.asarray(votes["income"], float), "y": jnp.asarray(votes["vote"])},
            votes_reference,
            **polar(2),
        ),
        Posterior(
            "wells_data-wells_dist100_model",
            logistic,
            {"x": jnp.asarray(wells["dist"]) / 100, "y": jnp.asarray(wells["switched"])},
            wells_reference,
            **polar(2),
        ),
    ]
