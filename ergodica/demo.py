"""``make demo``: sample two real posteriors, compare with their exact moments, certify the kernel, store and plot.

``python -m ergodica.demo [FOLDER]`` does the same where the package is installed with the extra ``plot``.
"""

import dataclasses
import itertools
import json
import sys
import time
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import xarray
from arviz_base import from_dict
from arviz_stats.base import array_stats
from jaxtyping import Float
from numpyro.infer import MCMC
from rich.console import Console
from rich.table import Table

import ergodica
from ergodica.cli import console_for, print_reports
from ergodica.samplers.interop.numpyro import NumPyroKernel
from ergodica.samplers.kernel import Kernel
from ergodica.samplers.slicing.gibbsian_polar import GibbsianPolarSlice
from ergodica.validation.certify import certify

CHAINS = 4
BLUE, LIGHT, ORANGE, GREY = "#1b5e7d", "#c9dbe6", "#d1603d", "#777777"

Moments = Mapping[str, tuple[float, float]]
"""Exact mean and standard deviation by name of the parameter."""


# --- the posteriors -------------------------------------------------------------------------------------------------


def eight_schools(sigma: Any, y: Any = None) -> None:
    """Effects of coaching in eight schools (Rubin 1981), as a NumPyro model."""
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    with numpyro.plate("school", len(sigma)):
        z = numpyro.sample("z", dist.Normal(0, 1))
        theta = numpyro.deterministic("theta", mu + tau * z)
        numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def wells(distance: Any, switched: Any = None) -> None:
    """Who walks to a safe well in Bangladesh (Gelman and Hill 2006): logistic regression with flat priors."""
    alpha = numpyro.sample("alpha", dist.ImproperUniform(dist.constraints.real, (), ()))
    beta = numpyro.sample("beta", dist.ImproperUniform(dist.constraints.real, (), ()))
    numpyro.sample("switched", dist.Bernoulli(logits=alpha + beta * distance), obs=switched)


@dataclasses.dataclass(frozen=True)
class Posterior:
    """A model with data, the exact moments of its parameters, and the kernel that samples it.

    Parameters
    ----------
    name, title
        For files and for headings.
    model, data
        A NumPyro model and its keyword arguments.
    exact
        Content of the reference file under ``exact``.
    kernel
        Works on the unconstrained parameters.
    variables
        The sites to report, each with the names of its entries in ``exact``.
    num_samples
        Draws of each chain.
    """

    name: str
    title: str
    model: Callable[..., None]
    data: dict[str, Any]
    exact: dict[str, Any]
    kernel: Kernel[Any, Any]
    variables: dict[str, tuple[str, ...]]
    num_samples: int

    @property
    def moments(self) -> Moments:
        """Exact mean and standard deviation of each parameter."""
        return dict(zip(self.exact["parameters"], zip(self.exact["mean"], self.exact["sd"], strict=True), strict=True))


def read(name: str) -> dict[str, Any]:
    """Return the data and the reference moments of a posterior that ships with the package."""
    content: dict[str, Any] = json.loads(files("ergodica.data").joinpath(f"{name}.json").read_text(encoding="utf-8"))
    return content


def posteriors() -> tuple[Posterior, ...]:
    """Return the two posteriors of the demonstration."""
    schools = read("eight_schools-eight_schools_noncentered")
    village = read("wells_data-wells_dist100_model")
    sigma, y = (np.asarray(schools["data"][key], dtype=float) for key in ("sigma", "y"))
    return (
        Posterior(
            name="eight_schools",
            title="Eight schools: hierarchical normal model, 10 parameters",
            model=eight_schools,
            data={"sigma": sigma, "y": y},
            exact=schools["exact"],
            # About the spread of the unconstrained mu, log tau and z, in this order.
            kernel=GibbsianPolarSlice(scale=jnp.array([4.0] + 9 * [1.0])),
            variables={"theta": tuple(f"theta[{j}]" for j in range(1, 9)), "mu": ("mu",), "tau": ("tau",)},
            num_samples=5000,
        ),
        Posterior(
            name="wells",
            title="Wells: logistic regression on 3020 households, 2 parameters",
            model=wells,
            data={
                "distance": np.asarray(village["data"]["dist"]) / 100,
                "switched": np.asarray(village["data"]["switched"]),
            },
            exact=village["exact"],
            kernel=GibbsianPolarSlice(),
            variables={"alpha": ("alpha",), "beta": ("beta[1]",)},
            num_samples=2000,
        ),
    )


# --- sampling and comparing -----------------------------------------------------------------------------------------


def draw(posterior: Posterior, *, num_samples: int, seed: int) -> xarray.DataTree:
    """Run the kernel inside ``numpyro.infer.MCMC`` and return the draws in ArviZ's schema."""
    mcmc = MCMC(
        NumPyroKernel(posterior.kernel, posterior.model),
        num_warmup=500,
        num_samples=num_samples,
        num_chains=CHAINS,
        chain_method="vectorized",
        progress_bar=False,
    )
    mcmc.run(jax.random.key(seed), **posterior.data)
    draws = mcmc.get_samples(group_by_chain=True)
    tree: xarray.DataTree = from_dict(
        {
            "posterior": {name: np.asarray(draws[name]) for name in posterior.variables},
            "observed_data": {name: np.asarray(value) for name, value in posterior.data.items()},
        },
        attrs={
            "posterior": {
                "inference_library": "ergodica",
                "inference_library_version": ergodica.__version__,
                "kernel": type(posterior.kernel).__name__,
                "claim": str(posterior.kernel.claim),
            }
        },
    )
    return tree


@dataclasses.dataclass(frozen=True)
class Row:
    """The summary of a parameter beside the truth."""

    name: str
    mean: float
    sd: float
    mcse: float
    ess: float
    rhat: float
    exact_mean: float
    exact_sd: float

    @property
    def z(self) -> float:
        """Error of the mean in units of its Monte Carlo standard error."""
        return (self.mean - self.exact_mean) / self.mcse


def flat_draws(posterior: Posterior, draws: xarray.DataTree) -> dict[str, Float[np.ndarray, "chain draw"]]:
    """Return the draws of each parameter under its name in the reference file."""
    out = {}
    for variable, names in posterior.variables.items():
        values = draws["posterior"][variable].to_numpy()
        values = values.reshape(*values.shape[:2], -1)
        out.update({name: values[..., index] for index, name in enumerate(names)})
    return out


def compare(posterior: Posterior, draws: xarray.DataTree) -> list[Row]:
    """Return mean, standard deviation, Monte Carlo error, effective sample size and R-hat beside the exact moments."""
    axes: dict[str, Any] = {"chain_axis": 0, "draw_axis": 1}
    return [
        Row(
            name,
            float(values.mean()),
            float(values.std(ddof=1)),
            float(array_stats.mcse(values, method="mean", **axes)),
            float(array_stats.ess(values, method="mean", **axes)),
            float(array_stats.rhat(values, **axes)),
            *posterior.moments[name],
        )
        for name, values in flat_draws(posterior, draws).items()
    ]


def print_rows(title: str, rows: list[Row], console: Console) -> None:
    """Print the comparison."""
    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left", title_style="bold")
    columns = ("", "mean", "sd", "MCSE", "ESS", "R-hat", "exact mean", "exact sd", "error / MCSE")
    for column in columns:
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for row in rows:
        cells = [f"{value:.3f}" for value in (row.mean, row.sd, row.mcse)]
        cells += [f"{row.ess:.0f}", f"{row.rhat:.3f}", f"{row.exact_mean:.3f}", f"{row.exact_sd:.3f}", f"{row.z:+.1f}"]
        table.add_row(row.name, *cells)
    console.print(table)


# --- pictures -------------------------------------------------------------------------------------------------------

STYLE: Any = {
    "figure.dpi": 150,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.edgecolor": "#555555",
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "legend.frameon": False,
    "legend.fontsize": 9,
}


def plot_eight_schools(posterior: Posterior, draws: xarray.DataTree, file: Path) -> None:
    """Plot the intervals of the effects beside the exact ones, and the density of the spread ``tau``."""
    import matplotlib.pyplot as plt

    values = flat_draws(posterior, draws)
    exact = dict(zip(posterior.exact["parameters"], np.asarray(posterior.exact["quantiles"]).T, strict=True))
    levels = posterior.exact["quantile_levels"]
    low, quarter, median, three_quarters, high = (levels.index(level) for level in (0.05, 0.25, 0.5, 0.75, 0.95))
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), width_ratios=[1.5, 1])

    names = [*posterior.variables["theta"], "mu"]
    for row, name in enumerate(reversed(names)):
        ours = np.quantile(values[name], levels)
        left.plot(ours[[low, high]], [row, row], color=BLUE, linewidth=1.2)
        left.plot(ours[[quarter, three_quarters]], [row, row], color=BLUE, linewidth=4, solid_capstyle="butt")
        left.plot(ours[median], row, "o", color="white", markeredgecolor=BLUE, markersize=6)
        left.plot(
            exact[name][[low, quarter, median, three_quarters, high]], [row - 0.3] * 5, "|", color=ORANGE, markersize=7
        )
    left.plot(posterior.data["y"], np.arange(len(names) - 1, 0, -1), "x", color=GREY, markersize=5)
    left.set_yticks(range(len(names)), ["population mean", *(f"school {letter}" for letter in "HGFEDCBA")])
    left.set(xlabel="effect of coaching, points", title="50% and 90% intervals of the effects", ylim=(-1.9, 8.6))
    left.tick_params(axis="y", length=0)
    left.plot([], [], color=BLUE, linewidth=4, label="draws")
    left.plot([], [], "|", color=ORANGE, markersize=7, label="exact quantiles")
    left.plot([], [], "x", color=GREY, markersize=5, label="observed")
    left.legend(ncols=3, loc="lower center", handlelength=1.2, columnspacing=1.4)

    tau = values["tau"].ravel()
    right.hist(tau, bins=np.linspace(0, 20, 61), density=True, color=LIGHT)
    top = right.get_ylim()[1]
    for level, at in zip(("5%", "50%", "95%"), exact["tau"][[low, median, high]], strict=True):
        right.axvline(at, color=ORANGE, linewidth=1.2)
        right.annotate(level, (at, top), (3, -10), textcoords="offset points", color=ORANGE, fontsize=9)
    right.set(xlabel=r"spread $\tau$ of the effects", yticks=[], xlim=(0, 20), title="draws, and exact quantiles")
    right.spines["left"].set_visible(False)
    fig.savefig(file)
    plt.close(fig)


def plot_wells(posterior: Posterior, draws: xarray.DataTree, file: Path) -> None:
    """Plot the draws of the two coefficients over the exact ellipses, and the fitted curve over the data."""
    import matplotlib.pyplot as plt

    values = flat_draws(posterior, draws)
    alpha, beta = values["alpha"].ravel(), values["beta[1]"].ravel()
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), width_ratios=[1, 1.25])

    left.plot(alpha[::4], beta[::4], ".", color=BLUE, markersize=2, alpha=0.25, rasterized=True)
    mean, factor = np.asarray(posterior.exact["mean"]), np.linalg.cholesky(posterior.exact["covariance"])
    turn = np.linspace(0, 2 * np.pi, 200)
    for probability in (0.5, 0.95):
        radius = np.sqrt(-2 * np.log1p(-probability))
        left.plot(
            *(mean[:, None] + radius * factor @ np.stack([np.cos(turn), np.sin(turn)])), color=ORANGE, linewidth=1.4
        )
    left.plot(*mean, "+", color=ORANGE, markersize=10)
    left.set(
        xlabel=r"intercept $\alpha$",
        ylabel=r"slope $\beta$, per 100 m",
        title="draws, and ellipses of the exact moments",
    )

    distance, switched = posterior.data["distance"], posterior.data["switched"]
    grid = np.linspace(0, 3.4, 100)
    curves = 1 / (1 + np.exp(-(alpha[::20, None] + beta[::20, None] * grid)))
    right.fill_between(100 * grid, *np.quantile(curves, [0.025, 0.975], axis=0), color=LIGHT, label="95% band")
    right.plot(100 * grid, curves.mean(axis=0), color=BLUE, label="posterior mean")
    edges = np.quantile(distance, np.linspace(0, 1, 13))
    inside = [(distance >= a) & (distance <= b) for a, b in itertools.pairwise(edges)]
    share = [switched[group].mean() for group in inside]
    right.plot([100 * distance[group].mean() for group in inside], share, "x", color=GREY, label="data, by twelfths")
    right.set(xlabel="distance to a safe well, m", ylabel="share that switches", ylim=(0, 0.8), title="fit")
    right.legend(loc="lower left")
    fig.savefig(file)
    plt.close(fig)


def plot_accuracy(results: Mapping[str, list[Row]], file: Path) -> None:
    """Plot the error of each mean in Monte Carlo standard errors."""
    import matplotlib.pyplot as plt

    rows = [(name, row) for name, group in results.items() for row in group]
    fig, ax = plt.subplots(figsize=(7, 3.6))
    ax.axvspan(-2, 2, color="#eef3f6", linewidth=0)
    ax.axvline(0, color="#bbbbbb", linewidth=1)
    height = np.arange(len(rows))[::-1]
    ax.plot([row.z for _, row in rows], height, "o", color=BLUE)
    ax.set_yticks(height, [f"{name.replace('_', ' ')}: {row.name}" for name, row in rows], fontsize=9)
    ax.tick_params(axis="y", length=0)
    reach = max(4.0, max(abs(row.z) for _, row in rows) + 0.5)
    ax.set(xlabel="error of the mean / Monte Carlo standard error", xlim=(-reach, reach))
    ax.set_title("about 95% of the points belong inside the band")
    fig.savefig(file)
    plt.close(fig)


# --- all together ---------------------------------------------------------------------------------------------------


def run(folder: Path, *, num_samples: int | None = None, seed: int = 0, console: Console | None = None) -> bool:
    """Sample, compare, certify, store and plot.

    Parameters
    ----------
    folder
        Where NetCDF files and pictures go; made if it is not there.
    num_samples
        Draws of each of the four chains; default: as each posterior says.
    seed
        Seed of the draws and of the statistical checks.
    console
        Where to print; default: standard output.

    Returns
    -------
    bool
        Whether all means are within five Monte Carlo standard errors of the exact ones and the kernel is certified.
    """
    import matplotlib as mpl

    console = console or console_for(sys.stdout)
    folder.mkdir(parents=True, exist_ok=True)
    results = {}
    plots = {"eight_schools": plot_eight_schools, "wells": plot_wells}
    with mpl.rc_context(STYLE):
        for posterior in posteriors():
            started = time.perf_counter()
            count = num_samples or posterior.num_samples
            draws = draw(posterior, num_samples=count, seed=seed)
            seconds = time.perf_counter() - started
            results[posterior.name] = compare(posterior, draws)
            print_rows(posterior.title, results[posterior.name], console)
            console.print(
                f"{CHAINS} chains of {count} draws by {type(posterior.kernel).__name__} inside numpyro.infer.MCMC "
                f"in {seconds:.1f} s, compilation included\n"
            )
            draws.to_netcdf(folder / f"{posterior.name}.nc")
            plots[posterior.name](posterior, draws, folder / f"{posterior.name}.png")
        plot_accuracy(results, folder / "accuracy.png")

    console.print("[bold]Evidence for the kernel[/]")
    report = certify(posteriors()[0].kernel, seed=seed)
    print_reports([report], console)
    worst = max((row for rows in results.values() for row in rows), key=lambda row: abs(row.z))
    console.print(f"Largest error of a mean: {abs(worst.z):.1f} Monte Carlo standard errors ({worst.name}).")
    console.print(f"Draws (NetCDF) and pictures (PNG) are in {folder}/")
    return report.passed and abs(worst.z) < 5


def main() -> None:
    """Run the demonstration; leave with status 1 if something is off."""
    import matplotlib as mpl

    mpl.use("Agg")
    jax.config.update("jax_enable_x64", True)
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo_output")
    sys.exit(0 if run(folder) else 1)


if __name__ == "__main__":
    main()
