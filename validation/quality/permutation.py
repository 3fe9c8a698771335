"""Permutation tests of statistics that are quadratic in the labels of the pooled points."""

import itertools
import math

import numpy as np
from jaxtyping import Float, Int8

from ergodica.validation.quality.kernels import DistanceKernel, KernelMatrix
from ergodica.validation.quality.verdict import Verdict

_LABELS = 2**23  # labels that are held as numbers at once, 64 MB


def splits(n: int, m: int, permutations: int, rng: np.random.Generator) -> tuple[Int8[np.ndarray, "N splits"], bool]:
    """Return labels of the pooled points, 1 for the first sample, and whether these are all the splits.

    The first column is the split that was observed. All splits are listed if there are no more than ``permutations``.
    """
    total = n + m
    if math.comb(total, n) <= permutations:
        labels = np.zeros((total, math.comb(total, n)), np.int8)
        for column, chosen in enumerate(itertools.combinations(range(total), n)):
            labels[list(chosen), column] = 1
        return labels, True
    labels = np.zeros((total, permutations + 1), np.int8)
    labels[:n, 0] = 1
    for column in range(1, permutations + 1):
        labels[rng.permutation(total)[:n], column] = 1
    return labels, False


def mean_discrepancies(
    pooled: Float[np.ndarray, "N d"], kernel: DistanceKernel, labels: Int8[np.ndarray, "N splits"], *, unbiased: bool
) -> Float[np.ndarray, " splits"]:
    """Return the squared mean discrepancy of every split of the pooled points.

    With the kernel matrix ``K``, labels ``l`` and ``r = K 1``, the sums within and between the parts are ``l K l``,
    ``l r - l K l`` and ``1 r - 2 l r + l K l``, so one pass over ``K`` serves all splits.

    Parameters
    ----------
    pooled
        Points of both samples.
    kernel
        The kernel.
    labels
        1 for the points of the first part; all columns of one sum.
    unbiased
        Whether the pairs of a point with itself are left out.
    """
    total, count = labels.shape
    n = int(labels[:, 0].sum(dtype=int))
    m = total - n
    step = max(1, _LABELS // total)
    forms = np.zeros(count)
    against = np.zeros(count)
    whole = 0.0
    for start, block in KernelMatrix(pooled, pooled, kernel).blocks():
        rows = np.arange(start, start + len(block))
        if unbiased:
            block[np.arange(len(block)), rows] = 0
        sums = block.sum(axis=1)
        whole += sums.sum()
        for first in range(0, count, step):
            some = labels[:, first : first + step].astype(np.float64)
            here = some[rows]
            forms[first : first + step] += np.einsum("ib,ib->b", here, block @ some)
            against[first : first + step] += sums @ here
    pairs_x, pairs_y = (n * (n - 1), m * (m - 1)) if unbiased else (n * n, m * m)
    within_y = whole - 2 * against + forms
    return np.asarray(forms / pairs_x + within_y / pairs_y - 2 * (against - forms) / (n * m))


def permutation_verdict(
    x: Float[np.ndarray, "n d"],
    y: Float[np.ndarray, "m d"],
    kernel: DistanceKernel,
    permutations: int,
    rng: np.random.Generator,
    *,
    unbiased: bool,
    method: str,
) -> Verdict:
    """Test whether two samples have one law, by the rank of their discrepancy among those of other splits.

    Parameters
    ----------
    x, y
        The samples.
    kernel
        The kernel; it may depend on the pooled points, but not on who they belong to.
    permutations
        Number of random splits; if there are no more splits than that, all are listed.
    rng
        Generator of the splits.
    unbiased
        Whether pairs of a point with itself are left out.
    method
        Name of the statistic.
    """
    labels, complete = splits(len(x), len(y), permutations, rng)
    values = mean_discrepancies(np.concatenate([x, y]), kernel, labels, unbiased=unbiased)
    # Splits that differ by a symmetry tie, up to round-off: ties count, so that the level holds.
    slack = 1e-10 * (np.abs(values).max() + np.finfo(float).tiny)
    reached = int(np.sum(values >= values[0] - slack))
    return Verdict(
        value=float(values[0]),
        p_value=reached / len(values),
        exact=True,
        guarantee=f"{'all' if complete else 'random'} splits of exchangeable draws; P(p <= u) <= u for every size",
        resolution=1 / len(values),
        method=method,
        reference=values if complete else values[1:],
    )
