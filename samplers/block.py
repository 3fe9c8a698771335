"""Blocks: parts of a position that a kernel can update while the rest stays."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
from jaxtyping import PyTree


class Block(eqx.Module):
    """A part of a position: how to read it, and how to put a new value in its place.

    Parameters
    ----------
    get
        ``get(position) -> part``.
    put
        ``put(position, part) -> position`` with the part replaced.
    name
        For errors and displays.
    """

    get: Callable[[PyTree], PyTree] = eqx.field(static=True)
    put: Callable[[PyTree, PyTree], PyTree] = eqx.field(static=True)
    name: str = eqx.field(static=True, default="block")


def as_block(selector: Any) -> Block:
    """Make a block from a selector.

    Parameters
    ----------
    selector
        A name, for positions that are dictionaries; a list of names, for a sub-dictionary; an integer, a slice or a
        tuple of integers, for entries of a position that is one array; or a :class:`Block`.

    Raises
    ------
    TypeError
        For anything else.
    """
    if isinstance(selector, Block):
        return selector
    if isinstance(selector, str):
        return _entry(selector)
    if isinstance(selector, Sequence) and selector and all(isinstance(name, str) for name in selector):
        return _entries(tuple(selector))
    if isinstance(selector, bool):
        raise TypeError("a block cannot be selected by a boolean; give a name, an index, a slice or a Block")
    if isinstance(selector, int | slice) or (
        isinstance(selector, Sequence) and selector and all(isinstance(index, int) for index in selector)
    ):
        return _indices(selector)
    raise TypeError(
        f"a block is selected by a name, a list of names, an integer, a slice, a tuple of integers, or a Block; got "
        f"{selector!r}"
    )


def _entry(name: str) -> Block:
    def get(position: PyTree) -> PyTree:
        _has(position, (name,))
        return position[name]

    def put(position: PyTree, part: PyTree) -> PyTree:
        return {**position, name: part}

    return Block(get, put, name)


def _entries(names: tuple[str, ...]) -> Block:
    def get(position: PyTree) -> PyTree:
        _has(position, names)
        return {name: position[name] for name in names}

    def put(position: PyTree, part: PyTree) -> PyTree:
        return {**position, **part}

    return Block(get, put, ", ".join(names))


def _has(position: PyTree, names: tuple[str, ...]) -> None:
    if not isinstance(position, dict):
        raise TypeError(
            f"the block {', '.join(names)} names entries of a dictionary; the position is {type(position).__name__}"
        )
    missing = [name for name in names if name not in position]
    if missing:
        raise ValueError(f"the position has no entry {', '.join(missing)}; it has {', '.join(map(str, position))}")


def _indices(selector: Any) -> Block:
    index = list(selector) if isinstance(selector, Sequence) else selector

    def get(position: PyTree) -> PyTree:
        return position[index] if not isinstance(index, list) else position[(index,)]

    def put(position: PyTree, part: PyTree) -> PyTree:
        where = index if not isinstance(index, list) else (index,)
        return position.at[where].set(part)

    return Block(get, put, str(selector))
