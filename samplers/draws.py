"""What a run returns: the draws, what was observed on the way, and where they come from."""

import dataclasses
import json
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree

from ergodica.samplers import naming, random
from ergodica.samplers.claim import Claim, Exactness
from ergodica.samplers.inputs import static_count
from ergodica.samplers.run_store import RunStore
from ergodica.samplers.stored_array import StoreError

if TYPE_CHECKING:
    import pandas
    import xarray

__all__ = ["COUNTS", "Draws", "describe", "package_versions"]

COUNTS = ("num_evals", "num_grad_evals", "num_invalid")
"""Statistics that are added up over a run."""

MAX_SHOWN = 64
FORMAT = 1
FLAGS = ("diverging", "reached_max_treedepth")
COUPLED = "walkers of a population are coupled: agreement between them is no evidence of convergence"


def describe(kernel: Any) -> str:
    """Return a kernel's name and parameters, with their values unless they are many."""
    size = sum(int(np.size(leaf)) for leaf in jax.tree.leaves(kernel))
    return eqx.tree_pformat(kernel, width=10_000, short_arrays=size > MAX_SHOWN)


def package_versions() -> dict[str, str]:
    """Return the versions that draws depend on."""
    # The package itself is loaded already: it is the parent of this module.
    own = getattr(sys.modules.get("ergodica"), "__version__", "unknown")
    return {
        "ergodica": own,
        "jax": jax.__version__,
        "jaxlib": metadata.version("jaxlib"),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Draws:
    """Draws of several chains, and the record of the run that made them.

    Parameters
    ----------
    raw_position
        The positions: a pytree like the kernel's, leaves NumPy arrays of shape ``(chains, draws, ...)``. Read them as
        :attr:`position`, which refuses if they mean nothing without weights.
    stats
        What each draw's step reported, arrays of shape ``(chains, draws)`` by the names of the ArviZ schema:
        ``acceptance_rate``, ``diverging``, ``lp`` (the log density), and ``num_evals``, ``cap_hit`` and the like. With
        thinning, counts are summed over the steps of a draw and flags are counted.
    raw_warmup, warmup_stats
        The same of the warm-up; ``None`` if there was none, or it was not kept.
    claim
        What the kernel promises.
    sampler
        Name of the kernel.
    description
        The kernel's parameters as they were frozen.
    tuned
        The parameters that warm-up has changed, by name.
    seed
        The integer, or the words of the key.
    tune, thin
        Steps of warm-up, and steps for each draw.
    warmup_counts
        Totals of the warm-up: evaluations, and invalid values of the density.
    seconds
        Duration of the run, compilation included.
    ending
        ``"complete"``; ``"precise"`` if ``until`` held before all draws were made; ``"interrupted"`` by Ctrl-C;
        ``"unfinished"`` for a run on disk that is going on or was killed.
    host
        What ran the steps: ``"jax"`` or ``"numba"``.
    host_reason
        Why.
    versions
        Of the packages.
    kernel, state
        The tuned kernel and the final states of the chains, to go on from; ``None`` for draws that were loaded.
    unconstrained
        Where :meth:`transform` was used, the positions before.
    """

    raw_position: PyTree
    stats: Mapping[str, Any]
    claim: Claim
    sampler: str
    raw_warmup: PyTree | None = None
    warmup_stats: Mapping[str, Any] | None = None
    description: str = ""
    tuned: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    seed: int | list[int] = 0
    tune: int = 0
    thin: int = 1
    warmup_counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    ending: str = "complete"
    host: str = "jax"
    host_reason: str = ""
    versions: Mapping[str, str] = dataclasses.field(default_factory=package_versions)
    kernel: Any = None
    state: Any = None
    unconstrained: PyTree | None = None

    # --- reading ------------------------------------------------------------------------------------------------------

    @property
    def num_chains(self) -> int:
        """Number of chains."""
        return int(jax.tree.leaves(self.raw_position)[0].shape[0])

    @property
    def num_draws(self) -> int:
        """Number of draws of each chain."""
        return int(jax.tree.leaves(self.raw_position)[0].shape[1])

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C has ended the run early."""
        return self.ending == "interrupted"

    def _refuse_unweighted(self) -> None:
        if self.claim.weighted:
            raise ValueError(
                f"draws of {self.sampler} mean nothing without their weights. Use draws.weighted() for positions and "
                "weights, draws.mean(f) for expectations, or draws.resample(n) for draws of equal weight."
            )

    @property
    def position(self) -> PyTree:
        """The positions, leaves of shape ``(chains, draws, ...)``.

        Raises
        ------
        ValueError
            If the draws are weighted.
        """
        self._refuse_unweighted()
        return self.raw_position

    @property
    def warmup_position(self) -> PyTree | None:
        """The positions of the warm-up."""
        self._refuse_unweighted()
        return self.raw_warmup

    @property
    def last_position(self) -> PyTree:
        """The last position of each chain: starts for another run."""
        return jax.tree.map(lambda leaf: leaf[:, -1], self.raw_position)

    def weighted(self) -> tuple[PyTree, Float[np.ndarray, "chains draws"]]:
        """Return positions and weights that sum to one over all chains and draws."""
        shape = (self.num_chains, self.num_draws)
        if not self.claim.weighted:
            return self.raw_position, np.full(shape, 1 / np.prod(shape))
        log_weight = np.asarray(self.stats["log_weight"], float)
        top = np.max(log_weight)
        if not np.isfinite(top):
            raise ValueError(f"no draw of {self.sampler} has a finite, positive weight; the largest is exp({top})")
        weight = np.exp(log_weight - top)
        return self.raw_position, weight / weight.sum()

    def mean(self, function: Callable[[PyTree], Any] | None = None) -> Any:
        """Return the mean of a function of the position over all draws, weighted if they are.

        Parameters
        ----------
        function
            From a position to an array or a pytree of them. Default: the position itself.
        """
        position, weight = self.weighted()
        if function is not None:
            position = self._mapped(function, position)
        return jax.tree.map(lambda leaf: np.tensordot(weight, leaf, axes=2), position)

    @staticmethod
    def _mapped(function: Callable[[PyTree], Any], position: PyTree) -> PyTree:
        mapped = jax.jit(jax.vmap(jax.vmap(function)))(jax.tree.map(jnp.asarray, position))
        return jax.tree.map(np.asarray, mapped)

    def transform(self, function: Callable[[PyTree], PyTree]) -> "Draws":
        """Apply a function to every position; the positions before go to ``unconstrained``.

        Parameters
        ----------
        function
            From a position to an array or a pytree of them, traceable: for instance from unconstrained parameters to
            those of a model.
        """
        warmup = None if self.raw_warmup is None else self._mapped(function, self.raw_warmup)
        return dataclasses.replace(
            self,
            raw_position=self._mapped(function, self.raw_position),
            raw_warmup=warmup,
            unconstrained=self.raw_position if self.unconstrained is None else self.unconstrained,
        )

    def resample(self, num: int, *, seed: int = 0) -> "Draws":
        """Draw with replacement in proportion to the weights: one chain of draws of equal weight.

        Parameters
        ----------
        num
            How many.
        seed
            An integer.

        Returns
        -------
        Draws
            Their claim is exact at best in the limit of many weighted draws.
        """
        num = static_count("num", num)
        position, weight = self.weighted()
        index = np.asarray(random.categorical(jax.random.key(seed), jnp.log(weight.reshape(-1)), shape=(num,)))

        def pick(leaf: np.ndarray) -> np.ndarray:
            return leaf.reshape(-1, *leaf.shape[2:])[index][None]

        claim = self.claim
        if claim.weighted and claim.exactness in (Exactness.EXACT, Exactness.ASYMPTOTIC):
            claim = dataclasses.replace(claim, exactness=Exactness.LIMIT, order="number of weighted draws -> infinity")
        return dataclasses.replace(
            self,
            raw_position=jax.tree.map(pick, position),
            stats={name: pick(values) for name, values in self.stats.items() if name != "log_weight"},
            raw_warmup=None,
            warmup_stats=None,
            unconstrained=None if self.unconstrained is None else jax.tree.map(pick, self.unconstrained),
            claim=dataclasses.replace(claim, weighted=False),
        )

    # --- cost ---------------------------------------------------------------------------------------------------------

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Totals over all chains, of the warm-up and of the draws."""
        drawn = {name: int(np.sum(self.stats[name])) for name in COUNTS if name in self.stats}
        return {"warmup": dict(self.warmup_counts), "draws": drawn}

    @property
    def num_evals(self) -> int:
        """Evaluations of the log density by all steps of all chains, warm-up included."""
        return sum(part.get("num_evals", 0) for part in self.counts.values())

    @property
    def num_grad_evals(self) -> int:
        """Evaluations of the gradient by all steps of all chains, warm-up included."""
        return sum(part.get("num_grad_evals", 0) for part in self.counts.values())

    def evaluations_per_effective_draw(self, *, include_warmup: bool = True) -> float:
        """Return the evaluations of the log density that one effective draw of the slowest coordinate has cost.

        Parameters
        ----------
        include_warmup
            Whether the warm-up's evaluations count.
        """
        total = self.num_evals if include_warmup else self.counts["draws"].get("num_evals", 0)
        column = self.summary()["ess_bulk" if not self.claim.weighted else "ess"]
        worst = float(np.nanmin(np.asarray(column, float)))
        return total / worst

    # --- summaries and files ------------------------------------------------------------------------------------------

    def summary(self, var_names: Sequence[str] | None = None) -> "pandas.DataFrame":
        """Return a table with a row for each number of the position.

        Parameters
        ----------
        var_names
            Which variables; default: all.

        Returns
        -------
        pandas.DataFrame
            With ``mean``, ``sd``, an interval, ``ess_bulk``, ``ess_tail``, ``r_hat`` and Monte Carlo standard errors,
            as ``arviz_stats`` computes them. For weighted draws ``mean``, ``sd``, ``mcse_mean`` and ``ess``, weights
            applied; the errors take the draws to be independent.
        """
        if self.claim.weighted:
            return self._weighted_summary(var_names)
        import arviz_stats

        table: pandas.DataFrame = arviz_stats.summary(
            self.to_arviz(), var_names=None if var_names is None else list(var_names), round_to="none"
        )
        return table

    def _weighted_summary(self, var_names: Sequence[str] | None) -> "pandas.DataFrame":
        import pandas

        position, weight = self.weighted()
        _, variables = naming.encode(position)
        flat = weight.reshape(-1)
        rows = {}
        for name, values in variables.items():
            if var_names is not None and name not in var_names:
                continue
            for place in np.ndindex(values.shape[2:]):
                x = np.asarray(values[(slice(None), slice(None), *place)], float).reshape(-1)
                mean = float(flat @ x)
                squares = (x - mean) ** 2
                label = f"{name}[{', '.join(map(str, place))}]" if place else name
                rows[label] = {
                    "mean": mean,
                    "sd": float(np.sqrt(flat @ squares)),
                    "mcse_mean": float(np.sqrt(flat**2 @ squares)),
                    "ess": float(1 / np.sum(flat**2)),
                }
        return pandas.DataFrame.from_dict(rows, orient="index")

    def to_arviz(
        self, *, coords: Mapping[str, Any] | None = None, dims: Mapping[str, Sequence[str]] | None = None
    ) -> "xarray.DataTree":
        """Return the draws as ArviZ takes them.

        Parameters
        ----------
        coords, dims
            Labels of the axes after chain and draw, as in ``arviz_base.from_dict``.

        Returns
        -------
        xarray.DataTree
            Groups ``posterior`` and ``sample_stats``, those of the warm-up, ``unconstrained_posterior`` after
            :meth:`transform`, and ``kernel_data`` with the tuned parameters. Draws that are weighted are in
            ``weighted_posterior`` instead, where no summary takes them for draws of equal weight. The walkers of a
            population are chains.
        """
        import warnings

        import arviz_base

        prefix = "weighted_" if self.claim.weighted else ""
        groups: dict[str, dict[str, np.ndarray]] = {}
        walkers = self._walkers
        for group, tree in (
            (f"{prefix}posterior", self.raw_position),
            (f"warmup_{prefix}posterior", self.raw_warmup),
            (f"{prefix}unconstrained_posterior", self.unconstrained),
        ):
            if tree is not None and jax.tree.leaves(tree)[0].shape[1] > 0:
                groups[group] = {
                    name: _walkers_as_chains(np.asarray(values), walkers)
                    for name, values in naming.encode(tree)[1].items()
                }
        for group, stats in (("sample_stats", self.stats), ("warmup_sample_stats", self.warmup_stats)):
            if stats and next(iter(stats.values())).shape[1] > 0:
                groups[group] = {
                    name: _walkers_as_chains(np.asarray(values) > 0 if name in FLAGS else np.asarray(values), walkers)
                    for name, values in stats.items()
                }
        if self.tuned:
            groups["kernel_data"] = dict(self.tuned)
        attributes = self.attributes()
        with warnings.catch_warnings():
            # Chains may be many and draws few; which axis is which is certain here.
            warnings.filterwarnings("ignore", message="Found chain dimension to be longer")
            tree = arviz_base.from_dict(
                groups,
                name="draws",
                coords=None if coords is None else dict(coords),
                dims=None if dims is None else {name: list(axes) for name, axes in dims.items()},
                save_warmup=True,
                attrs={"/": attributes, **{name: attributes for name in groups if name.endswith("posterior")}},
            )
        out: xarray.DataTree = tree
        return out

    @property
    def _walkers(self) -> int | None:
        return int(jax.tree.leaves(self.raw_position)[0].shape[2]) if self.claim.population else None

    def attributes(self) -> dict[str, Any]:
        """Return where the draws come from, as files can hold it: strings, numbers and lists of them."""
        claim = self.claim
        exact = claim.exactness in (Exactness.EXACT, Exactness.ASYMPTOTIC)
        attributes: dict[str, Any] = {
            "inference_library": "ergodica",
            "inference_library_version": self.versions.get("ergodica", "unknown"),
            "sampler": self.sampler,
            "kernel": self.description,
            "claim": f"{claim}: {claim.statement}",
            "source": claim.source,
            "approximate": "no" if exact else f"yes: {claim}",
            "seed": self.seed,
            "tuning_steps": self.tune,
            "thinning": self.thin,
            "num_evals": self.num_evals,
            "sampling_time": self.seconds,
            "ending": self.ending,
            "host": self.host,
            "host_reason": self.host_reason,
        }
        if claim.population:
            attributes["chains"] = COUPLED
        return attributes

    def save(self, path: str | PathLike[str]) -> None:
        """Write a NetCDF file, which ArviZ and Xarray read too.

        Parameters
        ----------
        path
            Where to; an existing file is replaced. The kernel itself and the final states are not in the file.
        """
        tree = self.to_arviz()
        walkers = self._walkers
        record = {
            "format": FORMAT,
            "claim": self.claim.to_record(),
            "position": naming.encode(self.raw_position)[0],
            "unconstrained": None if self.unconstrained is None else naming.encode(self.unconstrained)[0],
            "per_walker": [name for name, values in self.stats.items() if _is_per_walker(values, walkers)],
            "flags": {name: self.stats[name].dtype.str for name in FLAGS if name in self.stats},
            **{
                name: getattr(self, name)
                for name in (
                    "sampler",
                    "description",
                    "seed",
                    "tune",
                    "thin",
                    "seconds",
                    "ending",
                    "host",
                    "host_reason",
                )
            },
            "walkers": walkers,
            "warmup_counts": dict(self.warmup_counts),
            "versions": dict(self.versions),
        }
        tree.attrs["ergodica"] = json.dumps(record)
        tree.to_netcdf(path, engine="h5netcdf")

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "Draws":
        """Read what :meth:`save` has written, or the folder of a run on disk.

        Parameters
        ----------
        path
            The file; or the folder that ``sample(store=...)`` was given, whose arrays are read when they are used.

        Raises
        ------
        ValueError
            If the file was not written by :meth:`save`.
        StoreError
            If the folder is no run on disk, or it is damaged.
        """
        if Path(path).is_dir():
            return cls._stored(RunStore.open(path))
        import xarray

        with xarray.open_datatree(path, engine="h5netcdf") as tree:
            if "ergodica" not in tree.attrs:
                raise ValueError(f"{path} was not written by Draws.save; open it with xarray.open_datatree")
            record = json.loads(tree.attrs["ergodica"])
            if record["format"] > FORMAT:
                raise ValueError(
                    f"{path} was written by a later version, {record['versions']['ergodica']}; update ergodica"
                )
            groups = {
                group: {str(name): np.array(values) for name, values in tree[group].data_vars.items()}
                for group in (path.strip("/") for path in tree.groups)
                if group
            }
        claim = Claim.from_record(record["claim"])
        prefix, walkers = "weighted_" if claim.weighted else "", record["walkers"]

        def positions(group: str, skeleton: Any) -> PyTree | None:
            if group not in groups or skeleton is None:
                return None
            arrays = {name: _chains_as_walkers(values, walkers, True) for name, values in groups[group].items()}
            return naming.decode(skeleton, arrays)

        def stats(group: str) -> dict[str, np.ndarray] | None:
            if group not in groups:
                return None
            return {
                name: _chains_as_walkers(values, walkers, name in record["per_walker"])
                for name, values in groups[group].items()
            }

        return cls(
            raw_position=positions(f"{prefix}posterior", record["position"]),
            raw_warmup=positions(f"warmup_{prefix}posterior", record["position"]),
            unconstrained=positions(f"{prefix}unconstrained_posterior", record["unconstrained"]),
            stats=stats("sample_stats") or {},
            warmup_stats=stats("warmup_sample_stats"),
            claim=claim,
            tuned=groups.get("kernel_data", {}),
            **{
                name: record[name]
                for name in (
                    "sampler",
                    "description",
                    "seed",
                    "tune",
                    "thin",
                    "seconds",
                    "ending",
                    "host",
                    "host_reason",
                    "warmup_counts",
                    "versions",
                )
            },
        )

    @classmethod
    def _stored(cls, disk: RunStore) -> "Draws":
        header, progress = disk.header, disk.progress
        draws, warmup = disk.stored("draws"), disk.stored("warmup")
        if not draws["position"]:
            raise StoreError(f"{disk.path} has no draws yet; it has made {progress.get('steps', 0)} steps of warm-up")
        return cls(
            raw_position=naming.decode(header["position"], draws["position"]),
            stats=draws["stats"],
            raw_warmup=naming.decode(header["position"], warmup["position"]) if warmup["position"] else None,
            warmup_stats=warmup["stats"] or None,
            claim=Claim.from_record(header["claim"]),
            sampler=header["sampler"],
            description=progress.get("description", ""),
            tuned=disk.tuned(),
            seed=header["plan"]["seed"],
            tune=header["plan"]["tune"],
            thin=header["plan"]["thin"],
            warmup_counts=progress.get("warmup_counts", {}),
            seconds=progress.get("seconds", 0.0),
            ending=progress.get("ending", "unfinished"),
            host=header["plan"]["host"],
            host_reason=header["plan"]["host_reason"],
            versions=header["versions"],
        )

    def __repr__(self) -> str:
        claim = self.claim
        early = "" if self.ending == "complete" else f", {self.ending}"
        lines = [f"Draws of {self.sampler} ({claim}): {self.num_chains} chains x {self.num_draws} draws{early}"]
        for name, values in naming.encode(self.raw_position)[1].items():
            shape = "x".join(map(str, values.shape[2:])) or "scalar"
            lines.append(f"  {name}: {values.dtype}, {shape}")
        facts = []
        if "acceptance_rate" in self.stats:
            facts.append(f"acceptance {np.mean(self.stats['acceptance_rate']):.2f}")
        if "diverging" in self.stats:
            facts.append(f"{int(np.sum(self.stats['diverging']))} divergences")
        facts.append(f"{self.num_evals} evaluations in {self.seconds:.1f} s")
        if self.counts["draws"].get("num_invalid"):
            facts.append(f"{self.counts['draws']['num_invalid']} invalid values of the log density")
        lines.append("  " + ", ".join(facts))
        if self.tuned:
            shown = (
                f"{name} = {np.array2string(values, precision=3, threshold=6, separator=', ')}"
                for name, values in self.tuned.items()
            )
            lines.append("  tuned: " + ", ".join(" ".join(text.split()) for text in shown))
        if claim.weighted:
            lines.append("  weighted: use weighted(), mean(f) or resample(n)")
        return "\n".join(lines)


def _is_per_walker(values: np.ndarray, walkers: int | None) -> bool:
    return walkers is not None and values.ndim > 2 and values.shape[2] == walkers


def _walkers_as_chains(values: np.ndarray, walkers: int | None) -> np.ndarray:
    """Bring ``(chains, draws, walkers, ...)`` to ``(chains * walkers, draws, ...)``; repeat what walkers share."""
    if walkers is None:
        return values
    if not _is_per_walker(values, walkers):
        return np.repeat(values, walkers, axis=0)
    swapped = np.swapaxes(values, 1, 2)
    return swapped.reshape(-1, *swapped.shape[2:])


def _chains_as_walkers(values: np.ndarray, walkers: int | None, per_walker: bool) -> np.ndarray:
    if walkers is None:
        return values
    if not per_walker:
        return values[::walkers]
    return np.swapaxes(values.reshape(-1, walkers, *values.shape[1:]), 1, 2)
