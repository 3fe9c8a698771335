"""Reference draws from a file: somebody's long run of a trusted sampler, as the truth about a target without formulas.

Files are read as data only: no pickles, no evaluation of what they hold.
"""

import dataclasses
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats.base import array_stats
from jax.tree_util import Partial
from jaxtyping import Array, Float

from ergodica.validation.targets.target import Expectation, MomentTarget, coordinate, with_data

_MOST_BYTES = 2**32
_CHAIN_COLUMNS = ("chain", ".chain", "chain_", "chain__")
_INDEX_COLUMNS = ("draw", ".draw", "draw_", "draw__", ".iteration", "iteration")


@dataclasses.dataclass(frozen=True)
class ReferenceDraws:
    """Draws of scalar parameters by several chains.

    Parameters
    ----------
    names
        Names of the parameters, distinct, such as ``theta[1]``.
    draws
        Shape ``(chains, draws, parameters)``, finite; at least four draws a chain, so that errors can be estimated.
    source
        Where they come from.

    Raises
    ------
    ValueError
        If shapes do not fit, or a draw is NaN or infinite.
    """

    names: tuple[str, ...]
    draws: Float[np.ndarray, "chains draws parameters"]
    source: str = ""

    def __post_init__(self) -> None:
        where = self.source or "the reference draws"
        if self.draws.ndim != 3 or self.draws.shape[2] != len(self.names) or self.draws.size == 0:
            raise ValueError(
                f"{where}: expected draws of shape (chains, draws, {len(self.names)}); got {self.draws.shape}"
            )
        if self.draws.shape[1] < 4:
            raise ValueError(f"{where}: expected at least four draws a chain; got {self.draws.shape[1]}")
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"{where}: names of parameters have to be distinct; got {list(self.names)}")
        wrong = ~np.all(np.isfinite(self.draws), axis=(0, 1))
        if np.any(wrong):
            raise ValueError(
                f"{where}: draws of {self.names[int(np.argmax(wrong))]!r} contain NaN or inf; drop the run"
            )

    def select(self, names: Sequence[str]) -> "ReferenceDraws":
        """Return the draws of some parameters, in the order that is asked for.

        Raises
        ------
        ValueError
            If a name is unknown.
        """
        unknown = [name for name in names if name not in self.names]
        if unknown:
            raise ValueError(f"no reference draws of {unknown}; the file has {list(self.names)}")
        return ReferenceDraws(tuple(names), self.draws[:, :, [self.names.index(name) for name in names]], self.source)

    def mean(self) -> Float[np.ndarray, " parameters"]:
        """Return the means over all chains."""
        return np.asarray(self.draws.mean(axis=(0, 1)))

    def variance(self) -> Float[np.ndarray, " parameters"]:
        """Return the variances over all chains."""
        return np.asarray(self.draws.reshape(-1, len(self.names)).var(axis=0, ddof=1))

    def quantile(self, probability: float | Sequence[float]) -> Float[np.ndarray, "... parameters"]:
        """Return quantiles over all chains; the shape of the probabilities comes first."""
        return np.asarray(np.quantile(self.draws.reshape(-1, len(self.names)), probability, axis=0))

    def standard_error(self) -> Float[np.ndarray, " parameters"]:
        """Return Monte Carlo standard errors of the means, autocorrelation taken into account."""
        return np.array([float(array_stats.mcse(self.draws[:, :, i], method="mean")) for i in range(len(self.names))])

    def r_hat(self) -> Float[np.ndarray, " parameters"]:
        """Return the rank-normalised split R-hat of every parameter: well above 1.01, the reference is none."""
        return np.array([float(array_stats.rhat(self.draws[:, :, i], method="rank")) for i in range(len(self.names))])

    def target(self, name: str, logdensity: Callable[[Array], Array]) -> MomentTarget:
        """Return a target whose known means, with their standard errors, are those of the draws.

        Parameters
        ----------
        name
            For the report.
        logdensity
            Log density of positions that hold the parameters in the order of ``names``.
        """
        values, errors = self.mean(), self.standard_error()
        return MomentTarget(
            name=name,
            dim=len(self.names),
            logdensity=logdensity if isinstance(logdensity, Partial) else with_data(logdensity),
            expectations=tuple(
                Expectation(parameter, coordinate(i), float(values[i]), float(errors[i]))
                for i, parameter in enumerate(self.names)
            ),
            source=self.source,
        )


def load_reference_draws(path: str | Path, names: Sequence[str] | None = None) -> ReferenceDraws:
    """Read reference draws; the ending of the name says how.

    ``.csv``
        One column a parameter, one row a draw, a header with the names; lines that start with ``#`` are skipped. A column
        ``chain`` (or ``.chain``, ``chain__``) tells chains apart; without one, it is all one chain. Other columns that
        end in ``__`` are sampler statistics, and dropped.
    ``.nc``
        NetCDF as written by ArviZ: the group ``posterior``, else the top group; dimensions ``chain`` and ``draw``.
    ``.npz``
        One array a parameter, of shape ``(chains, draws, ...)``.
    ``.json``, ``.zip``
        As in posteriordb: a list of chains, each an object ``{name: [draws]}``; a ``.zip`` holds one such file.

    Parameters
    ----------
    path
        The file.
    names
        Which parameters, in which order. Default: all, in the order of the file. Entries of arrays are called
        ``name[1]``, ``name[2,1]``, counted from one as Stan does.

    Returns
    -------
    ReferenceDraws

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the ending is unknown, the file is damaged or too large, or what it holds are no draws.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file with reference draws at {path}")
    readers = {".csv": _read_csv, ".nc": _read_netcdf, ".npz": _read_npz, ".json": _read_json, ".zip": _read_zip}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path.name}: expected a file that ends in {', '.join(readers)}; got {path.suffix!r}")
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path.name}: larger than {_MOST_BYTES} bytes; thin the draws first")
    columns = reader(path)
    if not columns:
        raise ValueError(f"{path.name}: found no parameters")
    shapes = {array.shape for array in columns.values()}
    if len(shapes) != 1:
        raise ValueError(f"{path.name}: all parameters need as many chains and draws; got shapes {sorted(shapes)}")
    loaded = ReferenceDraws(tuple(columns), np.stack(list(columns.values()), axis=-1), path.name)
    return loaded if names is None else loaded.select(names)


def _numbers(file: str, name: str, value: Any, ndim: int | None = None) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{file}: {name!r} is ragged; every chain needs as many draws") from None
    if not (np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)):
        raise ValueError(f"{file}: {name!r} has to hold real numbers; got dtype {array.dtype}")
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{file}: {name!r} has to have {ndim} axes; got shape {array.shape}")
    return array.astype(np.float64)


def _scalars(file: str, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Split arrays of shape (chains, draws, ...) into one of shape (chains, draws) for each entry."""
    columns: dict[str, np.ndarray] = {}
    for name, value in arrays.items():
        array = _numbers(file, name, value)
        if array.ndim < 2:
            raise ValueError(f"{file}: {name!r} has to have shape (chains, draws, ...); got {array.shape}")
        for index in np.ndindex(array.shape[2:]):
            label = f"{name}[{','.join(str(i + 1) for i in index)}]" if index else name
            columns[label] = array[(slice(None), slice(None), *index)]
    return columns


def _read_csv(path: Path) -> dict[str, np.ndarray]:
    try:
        table = pd.read_csv(path, comment="#", skipinitialspace=True)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name}: is no table of comma-separated values: {error}") from None
    chain = next((name for name in table.columns if name in _CHAIN_COLUMNS), None)
    labels = table[chain].to_numpy() if chain else np.zeros(len(table))
    kept = [c for c in table.columns if c not in (*_CHAIN_COLUMNS, *_INDEX_COLUMNS) and not str(c).endswith("__")]
    chains = [np.flatnonzero(labels == label) for label in pd.unique(labels)]
    if len({len(rows) for rows in chains}) > 1:
        raise ValueError(f"{path.name}: chains have different lengths, {[len(rows) for rows in chains]}; cut them")
    columns = {}
    for name in kept:
        values = _numbers(path.name, str(name), table[name].to_numpy(), 1)
        columns[str(name)] = np.stack([values[rows] for rows in chains]) if chains else values[None]
    return columns


def _read_netcdf(path: Path) -> dict[str, np.ndarray]:
    try:
        try:
            data = xr.load_dataset(path, group="posterior", engine="h5netcdf")
        except (KeyError, OSError):
            data = xr.load_dataset(path, engine="h5netcdf")
    except (OSError, ValueError) as error:
        raise ValueError(f"{path.name}: is no NetCDF 4 file: {error}") from None
    arrays = {}
    for name, variable in data.data_vars.items():
        if not {"chain", "draw"} <= set(variable.dims):
            raise ValueError(f"{path.name}: {name!r} needs the dimensions chain and draw; it has {list(variable.dims)}")
        arrays[str(name)] = variable.transpose("chain", "draw", ...).to_numpy()
    return _scalars(path.name, arrays)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return _scalars(path.name, {name: archive[name] for name in archive.files})
    except zipfile.BadZipFile:
        raise ValueError(f"{path.name}: is no NPZ archive") from None
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise ValueError(
                f"{path.name}: holds pickled objects, which are never loaded; save plain arrays of numbers"
            ) from None
        raise


def _posteriordb(file: str, text: bytes) -> dict[str, np.ndarray]:
    try:
        chains = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: is no JSON: {error}") from None
    if not isinstance(chains, list) or not chains or not all(isinstance(chain, dict) for chain in chains):
        raise ValueError(f"{file}: expected a list of chains, each an object of names and lists of draws")
    for number, chain in enumerate(chains):
        if list(chain) != list(chains[0]):
            raise ValueError(f"{file}: chain {number} has other parameters than chain 0")
    return {name: _numbers(file, name, [chain[name] for chain in chains], 2) for name in chains[0]}


def _read_json(path: Path) -> dict[str, np.ndarray]:
    return _posteriordb(path.name, path.read_bytes())


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [entry for entry in archive.infolist() if entry.filename.lower().endswith(".json")]
            if len(members) != 1:
                raise ValueError(f"{path.name}: expected one JSON file inside; got {[m.filename for m in members]}")
            if members[0].file_size > _MOST_BYTES:
                raise ValueError(f"{path.name}: unpacks to more than {_MOST_BYTES} bytes; thin the draws first")
            return _posteriordb(path.name, archive.read(members[0]))
    except zipfile.BadZipFile:
        raise ValueError(f"{path.name}: is no ZIP archive") from None
