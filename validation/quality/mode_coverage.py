"""Mode coverage: whether a sampler visits the modes of a target, and as often as their weights ask for.

Discrepancies from scores are blind to the weights of separated modes; counts are not.
"""

import dataclasses

import numpy as np
import scipy.special
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from ergodica.validation.quality.sample import sample_points, sample_weights


def nearest_mode(
    points: ArrayLike, centres: ArrayLike, *, covariances: ArrayLike | None = None, radius: float | None = None
) -> Int[np.ndarray, " n"]:
    """Return the mode that each point belongs to: the one with the nearest centre.

    Parameters
    ----------
    points
        Shape ``(n, d)`` or ``(n,)``.
    centres
        Shape ``(K, d)`` or ``(K,)``.
    covariances
        Shape ``(K, d, d)``, or ``(d, d)`` for all modes: distances are taken in their metric. Default: Euclidean.
    radius
        Points farther than that from every centre belong to no mode.

    Returns
    -------
    array of shape (n,)
        Numbers of the modes; -1 for no mode.

    Raises
    ------
    TypeError, ValueError
        If points, centres or covariances are not fit, or the radius is not positive.
    """
    x, c = sample_points("points", points), sample_points("centres", centres)
    if x.shape[1] != c.shape[1]:
        raise ValueError(f"points and centres have to be of one dimension; got {x.shape[1]} and {c.shape[1]}")
    if radius is not None and not radius > 0:
        raise ValueError(f"radius has to be positive; got {radius}")
    dim = x.shape[1]
    factors = np.broadcast_to(np.eye(dim), (len(c), dim, dim))
    if covariances is not None:
        given = np.asarray(covariances, np.float64)
        if given.shape not in ((dim, dim), (len(c), dim, dim)):
            raise ValueError(
                f"covariances have to have shape ({dim}, {dim}) or ({len(c)}, {dim}, {dim}); got {given.shape}"
            )
        try:
            factors = np.broadcast_to(np.linalg.cholesky(given), (len(c), dim, dim))
        except np.linalg.LinAlgError:
            raise ValueError("every covariance has to be positive definite") from None
    nearest, best = np.zeros(len(x), int), np.full(len(x), np.inf)
    for k in range(len(c)):
        square = np.sum(np.linalg.solve(factors[k], (x - c[k]).T) ** 2, axis=0)
        nearest, best = np.where(square < best, k, nearest), np.minimum(square, best)
    return nearest if radius is None else np.where(best <= radius**2, nearest, -1)


@dataclasses.dataclass(frozen=True)
class ModeCoverage:
    """How the modes of a target were visited.

    Parameters
    ----------
    value
        Total variation between the fractions and the weights; points of no mode are a class of weight zero.
    coverage
        ``1 - JS / log 2`` with the Jensen-Shannon divergence: one for the right fractions, zero for disjoint ones.
    entropy
        Entropy of the fractions over ``log K``, the usual measure where the weights are equal; one if ``K = 1``.
    fractions
        Of the points in each mode, shape ``(K,)``.
    outside
        Fraction of the points in no mode.
    missing
        Modes with fewer points than any sampler with the right weights would give, except with probability ``level``
        for all modes together.
    p_value
        Smallest binomial p-value for too few points in a mode, times the number of modes.
    level
        Bound of the probability that any mode of a right sampler is called missing.
    exact
        Whether level and p-value are proven, which takes independent points; otherwise they are a guide.
    guarantee
        How they are guaranteed.
    method
        What was computed, in words.
    """

    value: float
    coverage: float
    entropy: float
    fractions: Float[np.ndarray, " K"]
    outside: float
    missing: tuple[int, ...]
    p_value: float
    level: float
    exact: bool
    guarantee: str
    method: str


def _entropy(p: Float[np.ndarray, " K"]) -> float:
    return float(scipy.special.entr(p).sum())


def mode_coverage(
    modes: ArrayLike, weights: ArrayLike, *, effective_size: float | None = None, level: float = 1e-6
) -> ModeCoverage:
    """Compare the modes that points are in with the weights of the modes.

    Parameters
    ----------
    modes
        Number of each point's mode, shape ``(n,)``, -1 for none; see :func:`nearest_mode`. For exact levels the points
        are independent: one of each chain.
    weights
        True weights of the modes, shape ``(K,)``, any unit; zero for a mode that should not be visited.
    effective_size
        For dependent points: the number of independent ones that they are worth, at most ``n``. Levels are then a
        guide. A chain that never switches modes is worth one point, whatever its autocorrelation says.
    level
        Bound of the false-alarm probability for the missing modes.

    Raises
    ------
    ValueError
        If there are no points, a mode is out of range, the weights sum to zero, or a number is out of range.
    """
    labels = np.asarray(modes)
    w = np.asarray(weights, np.float64)
    if w.ndim != 1 or w.size == 0:
        raise ValueError(f"weights have to have shape (K,), one for each mode; got {w.shape}")
    w = sample_weights("weights", w, w.size)
    count = w.size
    if labels.ndim != 1 or labels.size == 0 or labels.dtype.kind not in "iu":
        raise ValueError(f"modes has to be a non-empty vector of integers; got shape {labels.shape}, {labels.dtype}")
    if labels.min() < -1 or labels.max() >= count:
        raise ValueError(f"modes has to lie in -1, ..., {count - 1}; got {labels.min()} to {labels.max()}")
    if not 0 < level < 1:
        raise ValueError(f"level has to lie in (0, 1); got {level}")
    n = labels.size
    size = float(n if effective_size is None else effective_size)
    if not 1 <= size <= n:
        raise ValueError(f"effective_size has to lie between 1 and the number of points, {n}; got {effective_size}")
    counts = np.bincount(labels + 1, minlength=count + 1)
    fractions, outside = counts[1:] / n, counts[0] / n
    seen = np.concatenate([[outside], fractions])
    wanted = np.concatenate([[0.0], w])
    mixture = 0.5 * (seen + wanted)
    divergence = _entropy(mixture) - 0.5 * _entropy(seen) - 0.5 * _entropy(wanted)
    trials = np.floor(size)
    positive = w > 0
    # Rounded up, so that too few effective points do not accuse; for independent points these are the counts.
    effective = np.minimum(np.ceil(fractions * size - 1e-9), trials)
    lower = np.where(positive, scipy.special.bdtr(effective, int(trials), np.minimum(w, 1.0)), 1.0)
    lower = np.where(effective >= trials, 1.0, lower)
    adjusted = np.minimum(lower * positive.sum(), 1.0)
    return ModeCoverage(
        value=float(0.5 * np.abs(seen - wanted).sum()),
        coverage=float(np.clip(1 - divergence / np.log(2), 0, 1)),
        entropy=_entropy(fractions) / np.log(count) if count > 1 else 1.0,
        fractions=fractions,
        outside=float(outside),
        missing=tuple(int(k) for k in np.flatnonzero(adjusted <= level)),
        p_value=float(max(adjusted.min(), np.finfo(float).tiny)),
        level=level,
        exact=effective_size is None,
        guarantee="binomial counts of independent points, Bonferroni over modes"
        if effective_size is None
        else "binomial counts at an effective size; a guide",
        method="mode coverage",
    )
