"""Arrays of draws that stay on disk until somebody reads them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["StoreError", "StoredArray", "chunk_file"]


class StoreError(RuntimeError):
    """A run on disk cannot be written, read, or gone on with; the message says why."""


def chunk_file(folder: Path, number: int, ndim: int) -> Path:
    """Return the file of an array's chunk, in the default layout of Zarr 3 and chunked along the first axis only."""
    return folder.joinpath("c", str(number), *["0"] * (ndim - 1))


class StoredArray:
    """An array of shape ``(chains, draws, ...)`` that stays on disk until it is indexed or converted.

    Parameters
    ----------
    array
        The Zarr array, shape ``(draws, chains, ...)``.
    count
        How many draws of it are certain.
    """

    def __init__(self, array: Any, count: int) -> None:
        self._array, self._count = array, count

    @property
    def shape(self) -> tuple[int, ...]:
        """``(chains, draws, ...)``."""
        chains, *rest = self._array.shape[1:]
        return (chains, self._count, *rest)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype."""
        return np.dtype(self._array.dtype)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of entries."""
        return int(np.prod(self.shape))

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the draws in order, as many at a time as lie together on disk."""
        step = self._array.chunks[0]
        for first in range(0, self._count, step):
            yield np.swapaxes(self._array[first : min(first + step, self._count)], 0, 1)

    def verify(self, root: Path) -> None:
        """Read all chunks, which compares their checksums.

        Parameters
        ----------
        root
            The folder of the store.

        Raises
        ------
        StoreError
            If a chunk is missing or damaged.
        """
        name, length = self._array.path, self._array.chunks[0]
        if self._array.shape[0] < self._count:
            raise StoreError(f"{root / name} has {self._array.shape[0]} draws where the manifest counts {self._count}")
        for number in range(-(-self._count // length)):
            if not chunk_file(root / name, number, self._array.ndim).exists():
                raise StoreError(f"{root / name}: chunk {number} is missing")
        try:
            for _ in self.blocks():
                pass
        except Exception as error:  # whatever a codec raises on wrong bytes
            raise StoreError(f"{root / name} is damaged: {error}") from error

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        index = index if isinstance(index, tuple) else (index,)
        simple = len(index) >= 2 and all(isinstance(part, slice | int | np.integer) for part in index[:2])
        if not simple:
            return np.asarray(self)[index]
        chain, draw, *rest = index
        single = not isinstance(draw, slice)
        at = range(self._count)[draw]
        rows = range(at, at + 1) if isinstance(at, int) else at
        low, high = (min(rows), max(rows) + 1) if len(rows) else (0, 0)
        taken = np.swapaxes(self._array[low:high], 0, 1)
        picked = taken[:, [row - low for row in rows]]
        return np.asarray(picked[(chain, 0 if single else slice(None), *rest)])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        del copy
        return np.asarray(np.swapaxes(self._array[: self._count], 0, 1), dtype)

    def sum(self, axis: None = None, dtype: Any = None, out: None = None) -> Any:
        """Return the sum of all entries, a block at a time."""
        del axis, out
        return np.sum([block.sum(dtype=dtype) for block in self.blocks()], dtype=dtype)

    def mean(self, axis: None = None, dtype: Any = None, out: None = None) -> Any:
        """Return the mean of all entries, a block at a time."""
        return self.sum(axis, dtype or float, out) / self.size

    def __repr__(self) -> str:
        return f"StoredArray(shape={self.shape}, dtype={self.dtype})"
