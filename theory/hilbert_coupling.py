"""Couplings of particle systems by order along Hilbert's curve: the monotone coupling in more than one dimension.

Two clouds of weighted particles are sorted along a curve that fills a box, and coupled as laws on the line are: by their
quantiles. What is near on the curve is near in space, so that particles of clouds that are close move together; with more
than one dimension the coupling is not optimal.
"""

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from ergodica.theory.couplings import monotone_coupling
from ergodica.theory.transport import masses

__all__ = ["hilbert_coupling", "hilbert_index"]


def hilbert_index(cells: ArrayLike, bits: int) -> Int[np.ndarray, " n"]:
    """Return when Hilbert's curve comes to cells of a grid with ``2^bits`` cells along each axis.

    Parameters
    ----------
    cells
        Integers from 0 to ``2^bits - 1``, shape ``(n, d)``.
    bits
        At least 1, and ``bits d`` at most 62.

    Returns
    -------
    int64 array of shape (n,)
        From 0 to ``2^(bits d) - 1``; cells that follow each other on the curve share a side.

    Raises
    ------
    ValueError
        If the cells are no integers of the grid, or the grid has too many.

    References
    ----------
    J. Skilling, 2004, AIP Conference Proceedings 707, doi:10.1063/1.1751381.
    """
    x = np.array(cells)
    if x.ndim != 2 or x.shape[1] == 0 or not np.issubdtype(x.dtype, np.integer):
        raise ValueError(f"expected integer cells of shape (n, d); got {x.dtype} of shape {x.shape}")
    dim = x.shape[1]
    if bits < 1 or bits * dim > 62:
        raise ValueError(f"bits has to be at least 1, and times the dimension at most 62; got {bits} and {dim}")
    if x.size and (x.min() < 0 or x.max() >= 2**bits):
        raise ValueError(f"cells have to lie between 0 and {2**bits - 1}; got {x.min()} to {x.max()}")
    x = x.astype(np.int64)
    # Undo the turns of the curve from the coarsest level to the finest: swap or reflect what is finer.
    for level in range(bits - 1, 0, -1):
        finer = (1 << level) - 1
        for i in range(dim):
            upper = (x[:, i] >> level) & 1 == 1
            swapped = np.where(upper, 0, (x[:, 0] ^ x[:, i]) & finer)
            x[:, 0] ^= np.where(upper, finer, swapped)
            x[:, i] ^= swapped
    # The levels visit their halves in the order of a Gray code.
    for i in range(1, dim):
        x[:, i] ^= x[:, i - 1]
    turn = np.zeros(len(x), np.int64)
    for level in range(bits - 1, 0, -1):
        turn ^= np.where((x[:, -1] >> level) & 1 == 1, (1 << level) - 1, 0)
    x ^= turn[:, None]
    index = np.zeros(len(x), np.int64)
    for level in range(bits - 1, -1, -1):
        for i in range(dim):
            index = (index << 1) | ((x[:, i] >> level) & 1)
    return index


def hilbert_coupling(
    x: ArrayLike, y: ArrayLike, a: ArrayLike | None = None, b: ArrayLike | None = None, *, bits: int | None = None
) -> Float[np.ndarray, "n m"]:
    """Return the coupling of two clouds of particles that is monotone along Hilbert's curve.

    Parameters
    ----------
    x, y
        Particles, shapes ``(n, d)`` and ``(m, d)``.
    a, b
        Their weights, each divided by its sum; default: equal.
    bits
        Of the grid along each axis of the box that holds both clouds. Default: as many as fit, at most 20.

    Returns
    -------
    float64 array of shape (n, m)
        Masses with sums ``a`` and ``b``. In one dimension it is the optimal coupling for convex costs, up to the cells of
        the grid.

    Raises
    ------
    ValueError
        If particles or weights do not fit.

    References
    ----------
    M. Gerber and N. Chopin, 2015, J. R. Stat. Soc. B 77(3), arXiv:1402.4039, for the order; P. E. Jacob, F. Lindsten and
    T. B. Schön, 2016, arXiv:1606.01156, for couplings of particle systems.
    """
    one, two = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if one.ndim != 2 or two.ndim != 2 or one.shape[1:] != two.shape[1:] or 0 in one.shape or 0 in two.shape:
        raise ValueError(f"expected particles (n, d) and (m, d); got shapes {one.shape} and {two.shape}")
    both = np.concatenate([one, two])
    if not np.all(np.isfinite(both)):
        raise ValueError("particles have to be finite")
    wa, wb = masses("a", a, len(one)), masses("b", b, len(two))
    depth = min(20, 62 // one.shape[1]) if bits is None else bits
    low, size = both.min(axis=0), np.ptp(both, axis=0)
    share = (both - low) / np.where(size > 0, size, 1.0)
    cells = np.minimum((share * 2.0**depth).astype(np.int64), 2**depth - 1)
    index = hilbert_index(cells, depth)
    first, second = (np.argsort(part, kind="stable") for part in (index[: len(one)], index[len(one) :]))
    plan = np.zeros((len(one), len(two)))
    plan[np.ix_(first, second)] = monotone_coupling(wa[first], wb[second])
    return plan
