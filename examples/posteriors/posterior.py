"""What there is to a posterior: model, data, the reference to compare with, and the kernel that samples it."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import biject_to
from numpyro.handlers import seed, substitute, trace
from numpyro.infer.initialization import init_to_feasible
from numpyro.infer.util import transform_fn

from ergodica.samplers.interop.numpyro_model import ModelDensity, model_density
from ergodica.samplers.kernel import Kernel
from ergodica.samplers.slicing.coordinate import CoordinateSlice
from ergodica.samplers.slicing.gibbsian_polar import GibbsianPolarSlice
from ergodica.samplers.tuning.slice_width import SliceWidth
from ergodica.samplers.tuning.tuner import Tuner
from ergodica.samplers.tuning.whitening import Whitening

DATA = Path(__file__).resolve().parent / "data"


@dataclasses.dataclass(frozen=True)
class Reference:
    """Moments and quantiles of the parameters, with their errors.

    Parameters
    ----------
    parameters
        Names, such as ``beta[2]``.
    mean, sd
        One number for each parameter.
    mean_error, sd_error
        Their errors: of the quadrature where ``exact``, else Monte Carlo standard errors.
    levels, quantiles
        Levels, and for each level one number for each parameter; empty where there are none.
    draws
        Effective draws behind the quantiles; infinite where ``exact``.
    exact
        Whether the numbers come from quadrature or a closed form.
    heavy_tailed
        Whether only quantiles mean anything.
    """

    parameters: tuple[str, ...]
    mean: np.ndarray
    sd: np.ndarray
    mean_error: np.ndarray
    sd_error: np.ndarray
    levels: np.ndarray
    quantiles: np.ndarray
    draws: float
    exact: bool
    heavy_tailed: bool


@dataclasses.dataclass(frozen=True)
class Posterior:
    """A model with its data, and what to compare its draws with.

    Parameters
    ----------
    name
        As in posteriordb.
    model, data
        A NumPyro model and its keyword arguments. Sites have the names of the reference's parameters.
    reference
        What the draws have to agree with.
    kernel, tuner
        Works on the unconstrained parameters; how its warm-up tunes it.
    starts
        Constrained values that starts scatter around; without them starts are uniform on (-2, 2) in each unconstrained
        coordinate, as in NumPyro and Stan.
    remark
        What is special.
    """

    name: str
    model: Callable[..., None]
    data: dict[str, Any]
    reference: Reference
    kernel: Kernel[Any, Any]
    tuner: Tuner | None
    starts: dict[str, Any] | None = None
    remark: str = ""

    def density(self) -> ModelDensity:
        """Return the log density of the unconstrained parameters, starts, and the way back."""
        density = model_density(self.model, **self.data)
        if self.starts is None:
            return density
        begin = unconstrained(self.model, self.data, self.starts)

        def start(key: Any) -> Any:
            leaves, structure = jax.tree.flatten(begin)
            keys = jax.random.split(key, len(leaves))
            moved = [leaf + 0.1 * jax.random.normal(one, leaf.shape) for one, leaf in zip(keys, leaves, strict=True)]
            return jax.tree.unflatten(structure, moved)

        return density._replace(start=start)

    def quantities(self, sites: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Return the parameters of the reference, from draws of the sites with any leading axes.

        Sites carry the names that the reference uses, so that ``beta[2]`` is the second entry of the site ``beta``.
        """
        return {name: _entry(sites, name) for name in self.reference.parameters}


def _entry(sites: Mapping[str, Any], name: str) -> np.ndarray:
    site, bracket, index = name.partition("[")
    values = np.asarray(sites[site])
    return values[..., int(index.rstrip("]")) - 1] if bracket else values


def unconstrained(
    model: Callable[..., None], data: Mapping[str, Any], sites: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return unconstrained coordinates: of constrained values of all latent sites, or else the origin."""
    traced = trace(substitute(seed(model, jax.random.key(0)), substitute_fn=init_to_feasible))
    found = {
        name: site
        for name, site in traced.get_trace(**data).items()
        if site["type"] == "sample" and not site["is_observed"]
    }
    transforms = {name: biject_to(site["fn"].support) for name, site in found.items()}
    values = {name: jnp.asarray(site["value"] if sites is None else sites[name], float) for name, site in found.items()}
    return transform_fn(transforms, values, invert=True)


# --- reading --------------------------------------------------------------------------------------------------------


def read(name: str) -> tuple[dict[str, Any], Reference]:
    """Return data and reference of a file of the folder ``data``."""
    content = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    return content["data"], _reference(content)


def _reference(content: dict[str, Any]) -> Reference:
    exact = "exact" in content
    table = content["exact" if exact else "reference"]
    mean, sd = np.asarray(table["mean"]), np.asarray(table["sd"])
    if exact:
        # Quadrature errors are told in standard deviations, some as "below ...".
        size = float(table["error_estimate"].replace("below ", "").split()[0])
        mean_error = sd_error = size * sd
        draws = np.inf
    else:
        chains = np.asarray(table["chain_sds"])
        mean_error = np.asarray(table["mcse_mean"])
        sd_error = chains.std(axis=0, ddof=1) / np.sqrt(len(chains))
        draws = float(min(table["ess_bulk"] + table["ess_tail"]))
    levels = np.asarray(table.get("quantile_levels", []))
    heavy = content["recommended_test"].startswith("quantiles")
    if heavy:
        kept = np.isin(levels, (0.25, 0.5, 0.75))
        table = {**table, "quantiles": np.asarray(table["quantiles"])[kept]}
        levels = levels[kept]
    quantiles = np.asarray(table.get("quantiles", np.empty((0, len(mean)))))
    return Reference(tuple(table["parameters"]), mean, sd, mean_error, sd_error, levels, quantiles, draws, exact, heavy)


# --- kernels, with how they are tuned ---------------------------------------------------------------------------------


def polar(dimension: int) -> dict[str, Any]:
    """Return Gibbsian polar slices in coordinates that the warm-up whitens; it suits most of the forty."""
    kernel = GibbsianPolarSlice(center=jnp.zeros(dimension), scale=jnp.eye(dimension))
    return {"kernel": kernel, "tuner": Whitening()}


def coordinates() -> dict[str, Any]:
    """Return slices along one coordinate after the other, whose widths the warm-up sets."""
    return {"kernel": CoordinateSlice(2.0), "tuner": SliceWidth("coordinate")}
