"""Read draws that were made anywhere: NetCDF, CSV, NPZ, JSON, or a run on disk.

Files are read as data only: no pickles, no evaluation of what they hold.
"""

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

__all__ = ["read_draws"]

CHAIN_COLUMNS = ("chain", ".chain", "chain_", "chain__", "chain_id")
DRAW_COLUMNS = ("draw", ".draw", "draw_", "draw__", "iteration", ".iteration", "iter")
MOST_BYTES = 2**32


def read_draws(path: str | os.PathLike[str]) -> dict[str, Shaped[np.ndarray, "chains draws ..."]]:
    """Read draws; the ending of the name says how.

    ``.nc``
        What :meth:`ergodica.Draws.save` or ArviZ have written, or any NetCDF file: those variables of the group
        ``posterior``, else of the top group, that have dimensions ``chain`` and ``draw``.
    ``.csv``
        A column for each quantity, a row for each draw, a header with the names. A column ``chain`` (or ``.chain``,
        ``chain__``) tells chains apart, and one named ``draw`` puts draws in order. Lines that begin with ``#`` are
        skipped, and so are columns whose names end with ``__``, as Stan writes them.
    ``.npz``
        Arrays of shape ``(chains, draws, ...)``.
    ``.json``, ``.zip``
        As in posteriordb: a list of chains, each an object ``{name: [draws]}``; a ``.zip`` holds one such file.
    a folder
        A run on disk, as of ``sample(store=...)``.

    Parameters
    ----------
    path
        The file or folder.

    Returns
    -------
    dict
        Arrays of numbers of shape ``(chains, draws, ...)`` by name.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the ending is unknown, the file is damaged or too large, or what it holds are no draws, or weighted ones.
    """
    place = Path(path)
    if place.is_dir():
        from ergodica.samplers import naming
        from ergodica.samplers.draws import Draws

        return {name: np.asarray(leaf) for name, leaf in naming.encode(Draws.load(place).position)[1].items()}
    if not place.exists():
        raise FileNotFoundError(f"there is no file {place}")
    readers = {".nc": _netcdf, ".csv": _csv, ".npz": _npz, ".json": _json, ".zip": _zip}
    reader = readers.get(place.suffix.lower())
    if reader is None:
        raise ValueError(f"draws are read from files {', '.join(readers)} and folders of runs; got {place.name}")
    if place.stat().st_size > MOST_BYTES:
        raise ValueError(f"{place.name}: larger than {MOST_BYTES} bytes; thin the draws first")
    draws = {name: _numbers(place.name, name, values) for name, values in reader(place).items()}
    if not draws:
        raise ValueError(f"{place.name} holds no draws")
    for name, values in draws.items():
        if values.ndim < 2 or values.shape[:2] != next(iter(draws.values())).shape[:2]:
            raise ValueError(
                f"{place.name}: {name} has shape {values.shape}; expected (chains, draws, ...), alike for all"
            )
    return draws


def _numbers(file: str, name: str, values: Any) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{file}: {name} is ragged; every chain needs as many draws") from None
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{file}: {name} holds {array.dtype}; expected numbers")
    return array


def _netcdf(path: Path) -> dict[str, np.ndarray]:
    import xarray

    try:
        tree = xarray.open_datatree(path, engine="h5netcdf")
    except (OSError, ValueError) as error:
        raise ValueError(f"{path.name} is no NetCDF 4 file: {error}") from None
    with tree:
        groups = {group.strip("/"): tree[group] for group in tree.groups}
        if "weighted_posterior" in groups:
            raise ValueError(
                f"{path.name} holds weighted draws, which mean nothing without their weights; resample them first"
            )
        node: Any = groups.get("posterior", tree)
        found = {
            str(name): values.transpose("chain", "draw", ...).to_numpy()
            for name, values in node.data_vars.items()
            if {"chain", "draw"} <= set(values.dims)
        }
        if node.data_vars and not found:
            raise ValueError(f"{path.name}: no variable has the dimensions chain and draw; it has {dict(node.sizes)}")
        return found


def _csv(path: Path) -> dict[str, np.ndarray]:
    import pandas

    try:
        table = pandas.read_csv(path, comment="#", skipinitialspace=True)
    except (pandas.errors.ParserError, pandas.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is no table of comma-separated values: {error}") from None
    chain = next((name for name in CHAIN_COLUMNS if name in table.columns), None)
    draw = next((name for name in DRAW_COLUMNS if name in table.columns), None)
    parts = [table] if chain is None else [part for _, part in table.groupby(chain, sort=True)]
    if draw is not None:
        parts = [part.sort_values(draw, kind="stable") for part in parts]
    if len({len(part) for part in parts}) > 1:
        raise ValueError(f"{path.name}: the chains have {[len(part) for part in parts]} draws; cut them to one length")
    not_draws = (*CHAIN_COLUMNS, *DRAW_COLUMNS)
    names = [name for name in table.columns if name not in not_draws and not str(name).endswith("__")]
    return {str(name): np.stack([part[name].to_numpy() for part in parts]) for name in names}


def _npz(path: Path) -> Mapping[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except zipfile.BadZipFile:
        raise ValueError(f"{path.name} is no NPZ archive") from None
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise ValueError(
                f"{path.name} holds pickled objects, which are never loaded; save plain arrays of numbers"
            ) from None
        raise


def _json(path: Path) -> dict[str, Any]:
    return _posteriordb(path.name, path.read_bytes())


def _zip(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [entry for entry in archive.infolist() if entry.filename.lower().endswith(".json")]
            if len(members) != 1:
                raise ValueError(f"{path.name}: expected one JSON file inside; got {[m.filename for m in members]}")
            if members[0].file_size > MOST_BYTES:
                raise ValueError(f"{path.name} unpacks to more than {MOST_BYTES} bytes; thin the draws first")
            return _posteriordb(path.name, archive.read(members[0]))
    except zipfile.BadZipFile:
        raise ValueError(f"{path.name} is no ZIP archive") from None


def _posteriordb(file: str, text: bytes) -> dict[str, Any]:
    try:
        chains = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is no JSON: {error}") from None
    if not isinstance(chains, list) or not chains or not all(isinstance(chain, dict) for chain in chains):
        raise ValueError(f"{file}: expected a list of chains, each an object of names and lists of draws")
    for number, chain in enumerate(chains):
        if list(chain) != list(chains[0]):
            raise ValueError(f"{file}: chain {number} has other parameters than chain 0")
    return {name: [chain[name] for chain in chains] for name in chains[0]}
