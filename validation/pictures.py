"""What checks leave for the pictures of an evidence card: numbers, not drawings."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, Int

__all__ = [
    "MOST_STATES",
    "Flows",
    "Picture",
    "RankCounts",
    "UniformCounts",
    "picture_record",
    "rank_counts",
    "uniform_counts",
]

MOST_STATES = 64
"""Flow matrices of more states are not kept: nobody could read them."""


@dataclasses.dataclass(frozen=True, eq=False)
class Flows:
    """Flows of probability between the states of a finite space, in one step from the target.

    Parameters
    ----------
    name
        What they are the flows of.
    labels
        Names of the states.
    flows
        ``flows[x, y] = pi(x) P(x, y)``, shape ``(n, n)``: symmetric if the chain is reversible.
    """

    name: str
    labels: tuple[str, ...]
    flows: Float[np.ndarray, "n n"]


@dataclasses.dataclass(frozen=True, eq=False)
class UniformCounts:
    """How many of some values that should be uniform on [0, 1] lie below the points of a grid.

    Parameters
    ----------
    name
        What the values are.
    size
        Number of values.
    counts
        Values of at most ``1 / K, ..., (K - 1) / K``, shape ``(K - 1,)``.
    """

    name: str
    size: int
    counts: Int[np.ndarray, " K-1"]


@dataclasses.dataclass(frozen=True, eq=False)
class RankCounts:
    """How often each rank occurred among independent replicates that should rank uniformly.

    Parameters
    ----------
    name
        What was ranked.
    counts
        By rank, shape ``(L,)``.
    """

    name: str
    counts: Int[np.ndarray, " L"]


Picture = Flows | UniformCounts | RankCounts


def uniform_counts(name: str, uniforms: Float[np.ndarray, " N"], cells: int = 50) -> UniformCounts:
    """Count values that should be uniform on [0, 1].

    Parameters
    ----------
    name
        What they are.
    uniforms
        The values; those that are NaN are left out.
    cells
        Cells ``K`` of the grid.
    """
    known = np.asarray(uniforms)[~np.isnan(uniforms)]
    at = np.clip(np.ceil(known * cells).astype(int) - 1, 0, cells - 1)
    return UniformCounts(name, int(known.size), np.cumsum(np.bincount(at, minlength=cells))[:-1])


def rank_counts(name: str, ranks: Int[np.ndarray, " N"], length: int) -> RankCounts:
    """Count ranks.

    Parameters
    ----------
    name
        What was ranked.
    ranks
        In ``0, ..., length - 1``.
    length
        Number of ranks.
    """
    return RankCounts(name, np.bincount(np.asarray(ranks), minlength=length))


def picture_record(picture: Picture) -> dict[str, Any]:
    """Return a picture's numbers as lists and words, fit for JSON."""
    kinds = {Flows: "flows", UniformCounts: "uniform counts", RankCounts: "rank counts"}
    fields = {field.name: getattr(picture, field.name) for field in dataclasses.fields(picture)}
    plain = {
        name: value.tolist() if isinstance(value, np.ndarray) else list(value) if isinstance(value, tuple) else value
        for name, value in fields.items()
    }
    return {"kind": kinds[type(picture)], **plain}
