"""Gaussian linear regressions: twenty-two of the forty.

Most have flat priors on the coefficients and on the standard deviation itself, not its logarithm. What they differ in is
the matrix of predictors: raw, centred, rescaled or in logarithms, which is what a sampler feels.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

from posteriors.posterior import Posterior, polar, read

Columns = dict[str, np.ndarray]


def flat(shape: tuple[int, ...] = ()) -> dist.Distribution:
    """Return the improper uniform law on the real numbers."""
    support = dist.constraints.real_vector if shape else dist.constraints.real
    return dist.ImproperUniform(support, (), shape)


def flat_positive() -> dist.Distribution:
    """Return the improper uniform law on the positive numbers."""
    return dist.ImproperUniform(dist.constraints.positive, (), ())


def with_flat_priors(X: Any, y: Any) -> None:
    beta = numpyro.sample("beta", flat((X.shape[1],)))
    sigma = numpyro.sample("sigma", flat_positive())
    numpyro.sample("y", dist.Normal(X @ beta, sigma), obs=y)


def with_half_cauchy(X: Any, y: Any) -> None:
    beta = numpyro.sample("beta", flat((X.shape[1],)))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(2.5))
    numpyro.sample("y", dist.Normal(X @ beta, sigma), obs=y)


def with_normal_priors(X: Any, y: Any) -> None:
    beta = numpyro.sample("beta", dist.Normal(0, 10).expand([X.shape[1]]).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(10))
    numpyro.sample("y", dist.Normal(X @ beta, sigma), obs=y)


def pooled(floor: Any, y: Any) -> None:
    """Model of the radon data, which names its two coefficients."""
    alpha = numpyro.sample("alpha", dist.Normal(0, 10))
    beta = numpyro.sample("beta", dist.Normal(0, 10))
    sigma = numpyro.sample("sigma_y", dist.HalfNormal(1))
    numpyro.sample("y", dist.Normal(alpha + beta * floor, sigma), obs=y)


# --- predictors -----------------------------------------------------------------------------------------------------


def interaction(a: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
    return [a, b, a * b]


def indicators(column: np.ndarray, values: tuple[int, ...]) -> list[np.ndarray]:
    return [(column == value).astype(float) for value in values]


def nes(c: Columns) -> list[np.ndarray]:
    ages = indicators(c["age_discrete"], (2, 3, 4))
    return [c["real_ideo"], c["race_adj"], *ages, c["educ1"], c["gender"], c["income"]]


def mesquite(c: Columns) -> list[np.ndarray]:
    return [c[name] for name in ("diam1", "diam2", "canopy_height", "total_height", "density", "group")]


def logmesquite(c: Columns) -> list[np.ndarray]:
    *sizes, group = mesquite(c)
    return [*np.log(sizes), group]


def log_volume(c: Columns) -> np.ndarray:
    return np.log(c["diam1"] * c["diam2"] * c["canopy_height"])


def log_area(c: Columns) -> np.ndarray:
    return np.log(c["diam1"] * c["diam2"])


def log_shapes(c: Columns) -> list[np.ndarray]:
    heights = [np.log(c["total_height"]), np.log(c["density"])]
    return [log_volume(c), log_area(c), np.log(c["diam1"] / c["diam2"]), *heights, c["group"]]


Predictors = Callable[[Columns], list[np.ndarray]]
Outcome = Callable[[Columns], np.ndarray]

EARNINGS: dict[str, tuple[Predictors, Outcome]] = {
    "earnings-earn_height": (lambda c: [c["height"]], lambda c: c["earn"]),
    "earnings-log10earn_height": (lambda c: [c["height"]], lambda c: np.log10(c["earn"])),
    "earnings-logearn_height": (lambda c: [c["height"]], lambda c: np.log(c["earn"])),
    "earnings-logearn_interaction": (lambda c: interaction(c["height"], c["male"]), lambda c: np.log(c["earn"])),
    "earnings-logearn_logheight_male": (lambda c: [np.log(c["height"]), c["male"]], lambda c: np.log(c["earn"])),
}

KIDS: dict[str, Predictors] = {
    "kidiq-kidscore_interaction": lambda c: interaction(c["mom_hs"], c["mom_iq"]),
    "kidiq-kidscore_momhs": lambda c: [c["mom_hs"]],
    "kidiq-kidscore_momhsiq": lambda c: [c["mom_hs"], c["mom_iq"]],
    "kidiq-kidscore_momiq": lambda c: [c["mom_iq"]],
}

KIDS_FLAT: dict[str, Predictors] = {
    "kidiq_with_mom_work-kidscore_interaction_c": lambda c: interaction(
        c["mom_hs"] - c["mom_hs"].mean(), c["mom_iq"] - c["mom_iq"].mean()
    ),
    "kidiq_with_mom_work-kidscore_interaction_c2": lambda c: interaction(c["mom_hs"] - 0.5, c["mom_iq"] - 100),
    "kidiq_with_mom_work-kidscore_mom_work": lambda c: indicators(c["mom_work"], (2, 3, 4)),
}

MESQUITE: dict[str, tuple[Predictors, Outcome]] = {
    "mesquite-logmesquite": (logmesquite, lambda c: np.log(c["weight"])),
    "mesquite-logmesquite_logva": (
        lambda c: [log_volume(c), log_area(c), c["group"]],
        lambda c: np.log(c["weight"]),
    ),
    "mesquite-logmesquite_logvas": (log_shapes, lambda c: np.log(c["weight"])),
    "mesquite-logmesquite_logvolume": (lambda c: [log_volume(c)], lambda c: np.log(c["weight"])),
    "mesquite-mesquite": (mesquite, lambda c: c["weight"]),
}


def with_intercept(predictors: list[np.ndarray]) -> Any:
    return jnp.asarray(np.column_stack([np.ones_like(predictors[0]), *predictors]))


def regression(name: str, predictors: Predictors, outcome: Outcome, model: Callable[..., None]) -> Posterior:
    raw, reference = read(name)
    columns = {key: np.asarray(value, float) for key, value in raw.items()}
    X, y = with_intercept(predictors(columns)), jnp.asarray(outcome(columns))
    return Posterior(name, model, {"X": X, "y": y}, reference, **polar(X.shape[1] + 1))


def radon_pooled() -> Posterior:
    name = "radon_mn-radon_pooled"
    raw, reference = read(name)
    data = {"floor": jnp.asarray(raw["floor_measure"], float), "y": jnp.asarray(raw["log_radon"])}
    return Posterior(name, pooled, data, reference, **polar(3))


def blr() -> Posterior:
    name = "sblrc-blr"
    raw, reference = read(name)
    data = {"X": jnp.asarray(raw["X"]), "y": jnp.asarray(raw["y"])}
    return Posterior(name, with_normal_priors, data, reference, **polar(6))


def posteriors() -> list[Posterior]:
    """Return the twenty-two linear regressions."""
    found = [regression(name, *columns, with_flat_priors) for name, columns in {**EARNINGS, **MESQUITE}.items()]
    found += [regression(name, x, lambda c: c["kid_score"], with_half_cauchy) for name, x in KIDS.items()]
    found += [regression(name, x, lambda c: c["kid_score"], with_flat_priors) for name, x in KIDS_FLAT.items()]
    found += [
        regression(f"nes{year}-nes", nes, lambda c: c["partyid7"], with_flat_priors)
        for year in (1972, 1976, 1980, 1984)
    ]
    sesame = regression(
        "sesame_data-sesame_one_pred_a", lambda c: [c["encouraged"]], lambda c: c["watched"], with_flat_priors
    )
    return [*found, sesame, radon_pooled(), blr()]
