"""The data of a model, from a file, and matched to what its function takes."""

import inspect
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ergodica.commands.console import BadInputError, did_you_mean

__all__ = ["match_arguments", "read_data"]


def read_data(content: bytes, name: str, key: str = "") -> dict[str, Any]:
    """Read data by name; the ending of the file's name says how. Nothing in it is executed.

    Parameters
    ----------
    content
        The file's bytes.
    name
        The file's name: ``.json`` an object, ``.csv`` a column for each name, ``.npz`` an array for each name.
    key
        For JSON: the entry of the file that holds the data, if it is not the whole.

    Returns
    -------
    dict
        Arrays; numbers and texts of JSON stay what they are, fit for sizes and options.

    Raises
    ------
    BadInputError
        If the file is damaged, of an unknown kind, or holds what is no data.
    """
    readers: dict[str, Callable[[bytes, str, str], dict[str, Any]]] = {".json": _json, ".csv": _csv, ".npz": _npz}
    reader = readers.get(Path(name).suffix.lower())
    if reader is None:
        raise BadInputError(f"data are read from files {', '.join(readers)}; got {name}")
    if key and reader is not _json:
        raise BadInputError(f"{name}: an entry after a colon, here {key!r}, is for JSON files only")
    return reader(content, name, key)


def _json(content: bytes, name: str, key: str) -> dict[str, Any]:
    try:
        whole = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{name} is no JSON: {error}") from None
    if key:
        if not isinstance(whole, dict) or key not in whole:
            hint = did_you_mean(key, whole if isinstance(whole, dict) else ())
            raise BadInputError(f"{name} has no entry {key!r}. {hint}".strip())
        whole = whole[key]
    if not isinstance(whole, dict):
        raise BadInputError(f"{name}: expected an object with the data by name; got a {type(whole).__name__}")
    return {entry: _value(f"{name}: {entry}", value, name) for entry, value in whole.items()}


def _value(where: str, value: Any, file: str) -> Any:
    if isinstance(value, dict):
        entry = where.rpartition(": ")[2]
        raise BadInputError(
            f"{where} is an object; expected numbers. If the data are in there, write --data {file}:{entry}"
        )
    if not isinstance(value, list):
        return value
    if value and all(isinstance(item, str) for item in value):
        return tuple(value)
    try:
        array = np.asarray(value)
    except ValueError:
        raise BadInputError(f"{where} is ragged: its lists have different lengths") from None
    if array.dtype.kind not in "biuf":
        raise BadInputError(f"{where} holds something else than numbers")
    return array


def _csv(content: bytes, name: str, key: str) -> dict[str, Any]:
    del key
    import pandas

    try:
        table = pandas.read_csv(io.BytesIO(content), skipinitialspace=True)
    except (ValueError, UnicodeDecodeError) as error:
        raise BadInputError(f"{name} is no table of comma-separated values: {error}") from None
    out: dict[str, Any] = {}
    for column in table.columns:
        values = table[column]
        missing = np.flatnonzero(values.isna())
        if missing.size:
            raise BadInputError(f"{name}: row {missing[0] + 1} has no {column}; fill it in or leave the row out")
        array = values.to_numpy()
        # Texts cannot go to a model, unless as constants; a column that no argument takes may well be one.
        out[str(column)] = array if array.dtype.kind in "biuf" else tuple(map(str, array))
    return out


def _npz(content: bytes, name: str, key: str) -> dict[str, Any]:
    del key
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            out = {entry: archive[entry] for entry in archive.files}
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, AttributeError) as error:
        pickled = "allow_pickle" in str(error) or "pickle" in str(error)
        reason = "it holds pickled objects, which are never loaded" if pickled else str(error) or "it is damaged"
        raise BadInputError(f"{name} is no NPZ archive of plain arrays: {reason}") from None
    for entry, value in out.items():
        if value.dtype.kind not in "biuf":
            raise BadInputError(f"{name}: {entry} holds {value.dtype}; expected numbers")
    return out


def match_arguments(
    function: Callable[..., Any], data: Mapping[str, Any], what: str, source: str, *, skip: int = 0
) -> tuple[dict[str, Any], list[str]]:
    """Match data to the parameters of a function by name.

    Parameters
    ----------
    function
        The model.
    data
        By name.
    what, source
        How errors call the function and the file.
    skip
        How many first parameters are none of the data's.

    Returns
    -------
    arguments, notes
        What to call the function with; and what a user might want to know.

    Raises
    ------
    BadInputError
        If a parameter is missing; or data are left over while a parameter has its default, as after a misspelling.
    """
    parameters = list(inspect.signature(function).parameters.values())[skip:]
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return dict(data), []
    named = {
        parameter.name: parameter
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    left_over = [name for name in data if name not in named]
    absent = [name for name in named if name not in data]
    missing = [name for name in absent if named[name].default is inspect.Parameter.empty]
    if missing:
        hints = [
            f"{did_you_mean(other, missing)[:-1]} for {other!r}?" for other in left_over if did_you_mean(other, missing)
        ]
        has = f"{source} has {', '.join(data) or 'nothing'}" if source else "give them by --data FILE"
        raise BadInputError(" ".join([f"{what} needs {', '.join(missing)}; {has}.", *hints]))
    if left_over and absent:
        hint = did_you_mean(left_over[0], absent, f"It takes {', '.join(named)}.")
        raise BadInputError(
            f"{what} does not take {', '.join(left_over)}, and {', '.join(absent)} would be left at the default. {hint}"
        )
    notes = [f"not used by {what}: {', '.join(left_over)}"] if left_over else []
    notes += [f"left at the default of {what}: {', '.join(absent)}"] if absent else []
    return {name: value for name, value in data.items() if name in named}, notes
