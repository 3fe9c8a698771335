"""Pytrees as named arrays, and back: how positions go into files."""

import collections
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from ergodica.samplers.stored_array import StoredArray

__all__ = ["decode", "encode"]

RESERVED = frozenset({"chain", "draw", "sample"})


def encode(tree: PyTree) -> tuple[Any, dict[str, np.ndarray]]:
    """Take a pytree apart.

    Parameters
    ----------
    tree
        Of arrays. Dictionaries with strings as keys, lists, tuples and named tuples come back as they were; other nodes
        come back as dictionaries.

    Returns
    -------
    skeleton, arrays
        The structure, fit for JSON; and the arrays by name. A single array is called ``x``; the entry ``b`` of the
        entry ``a`` is called ``a.b``.
    """
    arrays: dict[str, np.ndarray] = {}
    return _skeleton(tree, "", arrays), arrays


def _name(path: str, taken: Mapping[str, Any]) -> str:
    # A slash would mean a group in a file, and the names of the sampling axes are taken.
    name = path.replace("/", ".") or "x"
    while name in taken or name in RESERVED:
        name += "_"
    return name


def _skeleton(tree: PyTree, path: str, arrays: dict[str, np.ndarray]) -> Any:
    def below(key: Any, branch: PyTree) -> Any:
        return _skeleton(branch, f"{path}.{key}" if path else str(key), arrays)

    if tree is None:
        return {"kind": "none"}
    if isinstance(tree, dict) and all(isinstance(key, str) for key in tree):
        return {"kind": "dict", "items": [[key, below(key, branch)] for key, branch in tree.items()]}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        items = [[key, below(key, branch)] for key, branch in zip(tree._fields, tree, strict=True)]
        return {"kind": "namedtuple", "name": type(tree).__name__, "items": items}
    if isinstance(tree, list | tuple):
        kind = "list" if isinstance(tree, list) else "tuple"
        return {"kind": kind, "items": [below(index, branch) for index, branch in enumerate(tree)]}
    stays_on_disk = isinstance(tree, StoredArray)
    if stays_on_disk or isinstance(tree, jax.Array | np.ndarray | np.generic | int | float):
        name = _name(path, arrays)
        arrays[name] = tree if stays_on_disk else np.asarray(tree)
        return {"kind": "array", "name": name}
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    if not leaves or leaves[0][1] is tree:
        raise TypeError(f"a position has to consist of arrays; {path or 'it'} is a {type(tree).__name__}")
    return _skeleton(
        {jax.tree_util.keystr(place, simple=True, separator="."): leaf for place, leaf in leaves}, path, arrays
    )


def decode(skeleton: Any, arrays: Mapping[str, Any]) -> PyTree:
    """Put together what :func:`encode` took apart."""
    kind = skeleton["kind"]
    if kind == "none":
        return None
    if kind == "array":
        return arrays[skeleton["name"]]
    if kind == "dict":
        return {key: decode(branch, arrays) for key, branch in skeleton["items"]}
    if kind == "namedtuple":
        fields = [key for key, _ in skeleton["items"]]
        values = [decode(branch, arrays) for _, branch in skeleton["items"]]
        return collections.namedtuple(skeleton["name"], fields)(*values)  # type: ignore[misc]
    values = [decode(branch, arrays) for branch in skeleton["items"]]
    return values if kind == "list" else tuple(values)
