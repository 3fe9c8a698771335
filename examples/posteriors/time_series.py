"""An autoregression of order five, and a process with one autoregressive and one moving-average term."""

from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from posteriors.posterior import Posterior, polar, read


def autoregression(lags: Any, y: Any) -> None:
    """Regress on the rows of ``lags``, whose entry ``k`` is the value ``k + 1`` steps before."""
    alpha = numpyro.sample("alpha", dist.Normal(0, 10))
    beta = numpyro.sample("beta", dist.Normal(0, 10).expand([lags.shape[1]]).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(2.5))
    numpyro.sample("y", dist.Normal(alpha + lags @ beta, sigma), obs=y)


def arma(y: Any) -> None:
    """Follow the errors of the predictions; the first prediction takes the mean for the value before."""
    mu = numpyro.sample("mu", dist.Normal(0, 10))
    phi = numpyro.sample("phi", dist.Normal(0, 2))
    theta = numpyro.sample("theta", dist.Normal(0, 2))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(2.5))

    def follow(error: Any, pair: Any) -> Any:
        before, now = pair
        error = now - (mu + phi * before + theta * error)
        return error, error

    first = y[0] - (mu + phi * mu)
    _, errors = jax.lax.scan(follow, first, (y[:-1], y[1:]))
    numpyro.factor("errors", dist.Normal(0, sigma).log_prob(jnp.append(errors, first)).sum())


def posteriors() -> list[Posterior]:
    """Return the two of them."""
    ark, ark_reference = read("arK-arK")
    order, series = ark["K"], jnp.asarray(ark["y"])
    lags = jnp.stack([series[order - k : -k] for k in range(1, order + 1)], axis=1)
    arma11, arma_reference = read("arma-arma11")
    return [
        Posterior("arK-arK", autoregression, {"lags": lags, "y": series[order:]}, ark_reference, **polar(order + 2)),
        Posterior(
            "arma-arma11",
            arma,
            {"y": jnp.asarray(arma11["y"])},
            arma_reference,
            **polar(4),
            # Where theta is beyond one, errors grow like its powers, and a chain does not come back from there.
            starts={"mu": 0.0, "phi": 0.9, "theta": 0.0, "sigma": 0.2},
            remark="early steps of NUTS may put a chain beyond theta = 1, where it stays",
        ),
    ]
