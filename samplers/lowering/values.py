"""What a value of a program is while its instructions are written."""

import dataclasses
import math
from typing import Any

import numpy as np
from llvmlite import ir

from ergodica.samplers.lowering.program import KEY

__all__ = [
    "I1", "I8", "I32", "I64", "Affine", "Buffer", "Scalar", "Splat", "Value", "View", "contiguous_strides",
    "is_float", "is_signed", "llvm_type", "memory_type",
]  # fmt: skip

I1, I8, I32, I64 = ir.IntType(1), ir.IntType(8), ir.IntType(32), ir.IntType(64)


def llvm_type(dtype: np.dtype[Any]) -> ir.Type:
    """Return the type of an entry in a register."""
    if dtype == KEY:
        return I64
    if dtype.kind == "b":
        return I1
    if dtype.kind == "f":
        return ir.FloatType() if dtype.itemsize == 4 else ir.DoubleType()
    return ir.IntType(8 * dtype.itemsize)


def memory_type(dtype: np.dtype[Any]) -> ir.Type:
    """Return the type of an entry in memory."""
    return I8 if dtype.kind == "b" else llvm_type(dtype)


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether entries are floating-point numbers."""
    return dtype.kind == "f"


def is_signed(dtype: np.dtype[Any]) -> bool:
    """Whether entries are signed integers."""
    return dtype.kind == "i"


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides, in entries, of a C-contiguous array; zero along axes of length one."""
    strides, step = [], 1
    for length in reversed(shape):
        strides.append(0 if length == 1 else step)
        step *= length
    return tuple(reversed(strides))


class Buffer:
    """A piece of memory; compared by identity.

    Parameters
    ----------
    pointer
        Pointer to its first entry.
    nbytes
        Its size.
    place
        Offset in the workspace, ``None`` if it does not lie there.
    """

    __slots__ = ("nbytes", "place", "pointer")

    def __init__(self, pointer: Any, nbytes: int, place: int | None = None) -> None:
        self.pointer = pointer
        self.nbytes = nbytes
        self.place = place


@dataclasses.dataclass(frozen=True, eq=False)
class Scalar:
    """An array with one entry, in a register."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    value: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Splat:
    """An array whose entries are all the same, which is in a register."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    value: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Affine:
    """An array whose entries are a linear function of their index, as an iota's."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    strides: tuple[int, ...]
    start: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """An array in memory.

    Parameters
    ----------
    shape, dtype
        Of the array.
    strides
        In entries, zero or negative ones included.
    pointer
        To the entry with index zero.
    root
        The memory that it reads.
    owned
        Whether its reader may overwrite that memory, once nobody else reads it.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    strides: tuple[int, ...]
    pointer: Any
    root: Buffer
    owned: bool

    @property
    def is_contiguous(self) -> bool:
        """Whether the entries lie one after the other."""
        return (
            all(
                length == 1 or stride == expected
                for length, stride, expected in zip(
                    self.shape, self.strides, contiguous_strides(self.shape), strict=True
                )
            )
            or 0 in self.shape
        )

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)


Value = Scalar | Splat | Affine | View
