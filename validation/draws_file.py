"""Read draws that were made anywhere: NetCDF, CSV, NPZ, or a run on disk."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

__all__ = ["read_draws"]

CHAIN_COLUMNS = ("chain", ".chain", "chain__", "chain_id")
DRAW_COLUMNS = ("draw", ".draw", "draw__", "iteration", ".iteration", "iter")


def read_draws(path: str | os.PathLike[str]) -> dict[str, Float[np.ndarray, "chains draws ..."]]:
    """Read draws.

    Parameters
    ----------
    path
        By its ending: ``.nc``, what :meth:`ergodica.Draws.save` or ArviZ have written, or any NetCDF file whose variables
        have dimensions ``chain`` and ``draw``; ``.csv``, a column for each quantity and, where there are several chains,
        one named ``chain`` (lines that begin with ``#`` are skipped, and so are columns whose names end with ``__``, as
        Stan writes them); ``.npz``, arrays of shape ``(chains, draws, ...)``. Or the folder of a run on disk.

    Returns
    -------
    dict
        Arrays of shape ``(chains, draws, ...)`` by name.

    Raises
    ------
    ValueError
        If the file holds no draws, or weighted ones, or its ending is unknown.
    OSError
        If it cannot be read.

    Notes
    -----
    Nothing that a file holds is executed.
    """
    place = Path(path)
    if place.is_dir():
        from ergodica.samplers import naming
        from ergodica.samplers.draws import Draws

        return {name: np.asarray(leaf) for name, leaf in naming.encode(Draws.load(place).position)[1].items()}
    if not place.exists():
        raise FileNotFoundError(f"there is no file {place}")
    readers = {".nc": _netcdf, ".csv": _csv, ".npz": _npz}
    if place.suffix not in readers:
        raise ValueError(f"draws are read from {', '.join(readers)} and folders of runs; got {place.name}")
    draws = readers[place.suffix](place)
    if not draws:
        raise ValueError(f"{place} holds no draws")
    for name, values in draws.items():
        if values.ndim < 2 or values.shape[:2] != next(iter(draws.values())).shape[:2]:
            raise ValueError(f"{place}: {name} has shape {values.shape}; expected (chains, draws, ...), alike for all")
        if values.dtype.kind not in "fiub":
            raise ValueError(f"{place}: {name} holds {values.dtype}; expected numbers")
    return draws


def _netcdf(path: Path) -> dict[str, np.ndarray]:
    import xarray

    with xarray.open_datatree(path, engine="h5netcdf") as tree:
        groups = {group.strip("/"): tree[group] for group in tree.groups}
        if "weighted_posterior" in groups:
            raise ValueError(
                f"{path} holds weighted draws, which mean nothing without their weights; resample them first"
            )
        node: Any = groups.get("posterior", tree)
        found = {}
        for name, values in node.data_vars.items():
            if {"chain", "draw"} <= set(values.dims):
                rest = [dim for dim in values.dims if dim not in ("chain", "draw")]
                found[str(name)] = np.array(values.transpose("chain", "draw", *rest))
        return found


def _csv(path: Path) -> dict[str, np.ndarray]:
    import pandas

    table = pandas.read_csv(path, comment="#")
    chain = next((name for name in CHAIN_COLUMNS if name in table.columns), None)
    draw = next((name for name in DRAW_COLUMNS if name in table.columns), None)
    parts = [table] if chain is None else [part for _, part in table.groupby(chain, sort=True)]
    if draw is not None:
        parts = [part.sort_values(draw, kind="stable") for part in parts]
    lengths = {len(part) for part in parts}
    if len(lengths) > 1:
        raise ValueError(f"{path}: the chains have {sorted(lengths)} draws; cut them to one length")
    names = [name for name in table.columns if name not in (chain, draw) and not str(name).endswith("__")]
    return {str(name): np.stack([part[name].to_numpy() for part in parts]) for name in names}


def _npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
