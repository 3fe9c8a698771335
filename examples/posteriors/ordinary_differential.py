"""Two models with differential equations: lynx and hares, and the uptake and elimination of a drug.

The equations are solved by the classical Runge-Kutta method with a fixed step, in the logarithm of what is measured, so
that it stays positive. A fixed step makes the density a smooth function that costs the same everywhere; it is fine
enough that the log density is within 1e-3 of that of an adaptive solver in the bulk of the posterior; a test checks it.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from posteriors.posterior import Posterior, polar, read


def runge_kutta(slope: Callable[[Any, Any], Any], begin: Any, *, spacing: float, count: int, substeps: int) -> Any:
    """Solve ``dx/dt = slope(t, x)`` from ``x(0) = begin``; return ``x`` at the first ``count`` multiples of ``spacing``."""
    h = spacing / substeps

    def step(x: Any, index: Any) -> Any:
        t = index * h
        k1 = slope(t, x)
        k2 = slope(t + h / 2, x + h / 2 * k1)
        k3 = slope(t + h / 2, x + h / 2 * k2)
        k4 = slope(t + h, x + h * k3)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return x, x

    return jax.lax.scan(step, begin, jnp.arange(count * substeps, dtype=float))[1][substeps - 1 :: substeps]


def lotka_volterra(y_init: Any, y: Any, substeps: int = 10) -> None:
    """Hares and lynx in yearly pelts."""
    theta = numpyro.sample(
        "theta",
        dist.TruncatedNormal(jnp.array([1.0, 0.05, 1.0, 0.05]), jnp.array([0.5, 0.05, 0.5, 0.05]), low=0.0).to_event(1),
    )
    sigma = numpyro.sample("sigma", dist.LogNormal(-1, 1).expand([2]).to_event(1))
    z_init = numpyro.sample("z_init", dist.LogNormal(jnp.log(10.0), 1).expand([2]).to_event(1))

    def slope(t: Any, logs: Any) -> Any:
        del t
        hares, lynx = jnp.exp(logs)
        return jnp.stack([theta[0] - theta[1] * lynx, -theta[2] + theta[3] * hares])

    logs = runge_kutta(slope, jnp.log(z_init), spacing=1.0, count=len(y), substeps=substeps)
    numpyro.sample("y_init", dist.LogNormal(jnp.log(z_init), sigma).to_event(1), obs=y_init)
    numpyro.sample("y", dist.LogNormal(logs, sigma).to_event(2), obs=y)


def one_compartment(dose: float, volume: float, spacing: float, concentration: Any, substeps: int = 10) -> None:
    """First-order absorption, and elimination that saturates (Michaelis and Menten)."""
    k_a, K_m, V_m, sigma = (numpyro.sample(name, dist.HalfCauchy(1.0)) for name in ("k_a", "K_m", "V_m", "sigma"))

    def slope(t: Any, c: Any) -> Any:
        return (k_a * dose * jnp.exp(-k_a * t) - V_m * c / (K_m + c)) / volume

    values = runge_kutta(slope, 0.0, spacing=spacing, count=len(concentration), substeps=substeps)
    numpyro.sample("concentration", dist.LogNormal(jnp.log(values), sigma).to_event(1), obs=concentration)


def posteriors() -> list[Posterior]:
    """Return both."""
    pelts, pelts_reference = read("hudson_lynx_hare-lotka_volterra")
    drug, drug_reference = read("one_comp_mm_elim_abs-one_comp_mm_elim_abs")
    return [
        Posterior(
            "hudson_lynx_hare-lotka_volterra",
            lotka_volterra,
            {name: jnp.asarray(pelts[name], float) for name in ("y_init", "y")},
            pelts_reference,
            **polar(8),
            starts={"theta": [0.5, 0.03, 0.8, 0.03], "sigma": [0.3, 0.3], "z_init": [30.0, 5.0]},
        ),
        Posterior(
            "one_comp_mm_elim_abs-one_comp_mm_elim_abs",
            one_compartment,
            {
                "dose": float(drug["D"]),
                "volume": float(drug["V"]),
                "spacing": float(drug["times"][0]),
                "concentration": jnp.asarray(drug["C_hat"]),
            },
            drug_reference,
            **polar(4),
            starts={"k_a": 0.8, "K_m": 1.0, "V_m": 1.0, "sigma": 0.2},
        ),
    ]
