"""Couplings: joint laws of two draws that make them equal, or close, and what they prove about mixing."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.sparse.csgraph
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike

from ergodica.theory.probability_vector import probability_vector

__all__ = [
    "ContinuousLaw",
    "CoupledPair",
    "RejectionCouplingCost",
    "draw_maximal_coupling",
    "gaussian_total_variation",
    "maximal_coupling",
    "monotone_coupling",
    "path_contraction",
    "path_coupling_bound",
    "reflection_maximal_coupling",
    "rejection_coupling",
    "rejection_coupling_cost",
]


def maximal_coupling(p: ArrayLike, q: ArrayLike) -> Float[np.ndarray, "*batch n n"]:
    """Return the joint law of a draw of ``p`` and one of ``q`` that agree as often as possible.

    The overlap ``min(p, q)`` is on the diagonal, and what is left of the two laws is independent: they agree with
    probability ``1 - TV(p, q)``. With rows of a transition matrix, ``maximal_coupling(P[:, None], P[None])`` has the
    transition probabilities ``[x, y, x', y']`` of two chains that stay together once they have met.

    Parameters
    ----------
    p, q
        Laws, shape ``(..., n)``; leading axes are broadcast.

    Returns
    -------
    array of shape (..., n, n)
        Sums over the last axis are ``p``, sums over the last but one ``q``.

    Raises
    ------
    ValueError
        If they are no laws on one space.
    """
    one, other = _two_laws(p, q)
    overlap = np.minimum(one, other)
    rest_one, rest_other = one - overlap, other - overlap
    # The two remainders have one mass but for rounding; the larger of the two keeps marginals right up to it.
    mass = np.maximum(rest_one.sum(axis=-1), rest_other.sum(axis=-1))[..., None, None]
    product = rest_one[..., :, None] * rest_other[..., None, :]
    joint = np.divide(product, mass, out=np.zeros_like(product), where=mass > 0)
    diagonal = np.arange(one.shape[-1])
    joint[..., diagonal, diagonal] += overlap
    return np.asarray(joint)


def _two_laws(p: ArrayLike, q: ArrayLike) -> tuple[Float[np.ndarray, "*batch n"], Float[np.ndarray, "*batch n"]]:
    one, other = probability_vector(p, "p"), probability_vector(q, "q")
    try:
        both = np.broadcast_shapes(one.shape, other.shape)
    except ValueError:
        both = ()
    if one.shape[-1] != other.shape[-1] or not both:
        raise ValueError(f"expected laws on one space; got shapes {one.shape} and {other.shape}")
    return np.broadcast_to(one, both), np.broadcast_to(other, both)


def draw_maximal_coupling(
    rng: np.random.Generator, p: ArrayLike, q: ArrayLike, size: int
) -> tuple[Int[np.ndarray, " size"], Int[np.ndarray, " size"]]:
    """Draw pairs from :func:`maximal_coupling` without building the joint law.

    Parameters
    ----------
    rng
        Generator.
    p, q
        Laws, shape ``(n,)``.
    size
        Number of pairs.

    Returns
    -------
    pair of integer arrays of shape (size,)
        The draws of ``p`` and those of ``q``.
    """
    one, other = _two_laws(p, q)
    if one.ndim != 1:
        raise ValueError(f"expected two laws of shape (n,); got shape {one.shape}")
    if size < 0:
        raise ValueError(f"size has to be at least 0; got {size}")
    overlap = np.minimum(one, other)
    rest_one, rest_other = one - overlap, other - overlap
    common = float(overlap.sum())
    together = rng.random(size) < common
    if min(rest_one.sum(), rest_other.sum()) <= 0:
        together[:] = True
    first, second = np.empty(size, np.int64), np.empty(size, np.int64)
    count = int(together.sum())
    if count:
        first[together] = second[together] = rng.choice(one.size, count, p=overlap / common)
    if count < size:
        first[~together] = rng.choice(one.size, size - count, p=rest_one / rest_one.sum())
        second[~together] = rng.choice(one.size, size - count, p=rest_other / rest_other.sum())
    return first, second


def monotone_coupling(p: ArrayLike, q: ArrayLike) -> Float[np.ndarray, "n m"]:
    """Return the joint law of the quantiles of ``p`` and ``q`` at one uniform level.

    With the atoms of both laws in increasing order it has the least expected cost ``c(x - y)`` of all couplings, for
    every convex ``c``, and no other coupling has larger probabilities ``P(X <= x, Y <= y)``. For laws with quantile
    functions ``F^{-1}`` and ``G^{-1}`` the same coupling is ``(F^{-1}(U), G^{-1}(U))``.

    Parameters
    ----------
    p, q
        Probabilities of the atoms in increasing order, shapes ``(n,)`` and ``(m,)``.

    Returns
    -------
    array of shape (n, m)
        With at most ``n + m - 1`` positive entries.
    """
    one, other = probability_vector(p, "p"), probability_vector(q, "q")
    if one.ndim != 1 or other.ndim != 1:
        raise ValueError(f"expected laws of shapes (n,) and (m,); got {one.shape} and {other.shape}")
    one_up, other_up = np.minimum(np.cumsum(one), 1.0), np.minimum(np.cumsum(other), 1.0)
    one_up[-1] = other_up[-1] = 1.0
    one_low, other_low = np.append(0.0, one_up[:-1]), np.append(0.0, other_up[:-1])
    upper = np.minimum(one_up[:, None], other_up)
    return np.asarray(np.maximum(0.0, upper - np.maximum(one_low[:, None], other_low)))


class ContinuousLaw(Protocol):
    """What a coupling needs of a law: draws and log densities. SciPy's frozen laws have both."""

    def rvs(self, *, random_state: np.random.Generator) -> Any:
        """Return a draw."""

    def logpdf(self, x: Any, /) -> Any:
        """Return the log of the normalised density at a point."""


class CoupledPair(NamedTuple):
    """Two draws, and what they cost.

    Parameters
    ----------
    x, y
        The draws.
    equal
        Whether they are equal.
    extra_draws
        Number of draws of the second law that were needed; 0 if the draws are equal.
    """

    x: Any
    y: Any
    equal: bool
    extra_draws: int


def rejection_coupling(
    rng: np.random.Generator,
    p: ContinuousLaw,
    q: ContinuousLaw,
    *,
    eta: float = 1.0,
    max_draws: int = 1_000_000,
) -> CoupledPair:
    """Draw a pair from two laws that agrees with probability ``eta (1 - TV)``.

    A draw ``x`` of ``p`` is kept for both with probability ``eta min(1, q(x) / p(x))``; otherwise draws of ``q`` are
    proposed for the second, and accepted with probability ``1 - eta min(1, p(y) / q(y))``.

    Parameters
    ----------
    rng
        Generator.
    p, q
        With ``rvs(random_state=rng)`` and ``logpdf(x)``, like the frozen laws of :mod:`scipy.stats`.
    eta
        In (0, 1]. With 1 the coupling is maximal, and the number of draws has a variance that explodes for laws that
        are close; below 1 the variance is bounded, see :func:`rejection_coupling_cost`.
    max_draws
        Give up after so many draws of ``q``. Any other way out would change the law of the second draw. More than ``m``
        draws have a probability below ``1 / (e m)``, for every pair of laws.

    Raises
    ------
    ValueError
        If ``eta`` is out of range, or a density is NaN or vanishes at a draw of its own law.
    RuntimeError
        If ``max_draws`` draws were not enough.

    References
    ----------
    V. E. Johnson, 1998, A coupling-regeneration scheme for diagnosing convergence in Markov chain Monte Carlo
    algorithms, JASA 93; P. E. Jacob, J. O'Leary and Y. F. Atchadé, 2020, JRSS B 82,
    arXiv:1708.03625, and the discussion by M. Gerber and A. Lee for ``eta``.
    """
    if not 0 < eta <= 1:
        raise ValueError(f"eta has to lie in (0, 1]; got {eta}")
    if max_draws < 1:
        raise ValueError(f"max_draws has to be at least 1; got {max_draws}")
    x = p.rvs(random_state=rng)
    if math.log1p(-rng.random()) <= math.log(eta) + _log_ratio(q, p, x):
        return CoupledPair(x, x, True, 0)
    for draws in range(1, max_draws + 1):
        y = q.rvs(random_state=rng)
        if math.log1p(-rng.random()) > math.log(eta) + _log_ratio(p, q, y):
            return CoupledPair(x, y, False, draws)
    raise RuntimeError(
        f"{max_draws} draws of the second law were all rejected: the laws are very close, or their densities are not "
        "normalised. Set eta below 1 to bound the variance of the number of draws, or raise max_draws."
    )


def _log_ratio(numerator: ContinuousLaw, denominator: ContinuousLaw, point: Any) -> float:
    """Return ``log min(1, numerator / denominator)`` at a draw of the law in the denominator."""
    top, bottom = float(numerator.logpdf(point)), float(denominator.logpdf(point))
    if math.isnan(top) or not math.isfinite(bottom):
        raise ValueError(f"the log densities at {point!r} are {top} and {bottom}; the latter is that of its own draw")
    return min(0.0, top - bottom)


@dataclass(frozen=True)
class RejectionCouplingCost:
    """Law of the number of draws of the second law that :func:`rejection_coupling` needs.

    Parameters
    ----------
    agreement
        Probability that the draws are equal.
    mean
        Expected number of draws: 1.
    variance
        ``(2 - s) / s - 1`` with the probability ``s`` of no agreement.
    """

    agreement: float
    mean: float
    variance: float


def rejection_coupling_cost(total_variation: float, eta: float = 1.0) -> RejectionCouplingCost:
    """Return mean and variance of the number of draws in :func:`rejection_coupling`.

    The expectation is 1 for any two laws that differ. The variance is infinite in the limit of equal laws for ``eta = 1``,
    and at most ``2 eta / (1 - eta)`` otherwise.

    Parameters
    ----------
    total_variation
        Distance of the laws, in [0, 1].
    eta
        In (0, 1].
    """
    if not 0 <= total_variation <= 1 or not 0 < eta <= 1:
        raise ValueError(f"expected a distance in [0, 1] and eta in (0, 1]; got {total_variation} and {eta}")
    apart = total_variation if eta == 1 else 1 - eta * (1 - total_variation)
    if apart == 0:
        return RejectionCouplingCost(1.0, 0.0, 0.0)
    return RejectionCouplingCost(1 - apart, 1.0, 2 * (1 - apart) / apart)


def _standardised(
    mean_x: ArrayLike, mean_y: ArrayLike, factor: ArrayLike
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"], Float[np.ndarray, "d d"], Float[np.ndarray, " d"]]:
    x, y, L = (np.asarray(array, np.float64) for array in (mean_x, mean_y, factor))
    if x.ndim != 1 or x.shape != y.shape or L.shape != (x.size, x.size):
        raise ValueError(f"expected means of shape (d,) and a factor (d, d); got {x.shape}, {y.shape} and {L.shape}")
    if not all(np.all(np.isfinite(array)) for array in (x, y, L)):
        raise ValueError("a mean or the factor has an entry that is not finite")
    if np.any(np.triu(L, 1)) or np.any(np.diag(L) == 0):
        raise ValueError("the factor has to be lower triangular and invertible: the Cholesky factor of the covariance")
    return x, y, L, np.asarray(scipy.linalg.solve_triangular(L, x - y, lower=True))


def gaussian_total_variation(mean_x: ArrayLike, mean_y: ArrayLike, factor: ArrayLike) -> float:
    """Return the total variation distance ``2 Phi(|z| / 2) - 1`` of two normal laws with one covariance.

    Parameters
    ----------
    mean_x, mean_y
        Shape ``(d,)``.
    factor
        Cholesky factor ``L`` of the covariance, shape ``(d, d)``; ``z = L^{-1} (mean_x - mean_y)``.
    """
    z = _standardised(mean_x, mean_y, factor)[3]
    return math.erf(float(np.linalg.norm(z)) / math.sqrt(8))


def reflection_maximal_coupling(
    rng: np.random.Generator, mean_x: ArrayLike, mean_y: ArrayLike, factor: ArrayLike, size: int
) -> tuple[Float[np.ndarray, "size d"], Float[np.ndarray, "size d"], Bool[np.ndarray, " size"]]:
    """Draw pairs from two normal laws of one covariance: equal as often as possible, mirror images otherwise.

    Parameters
    ----------
    rng
        Generator.
    mean_x, mean_y
        Shape ``(d,)``.
    factor
        Cholesky factor ``L`` of the covariance, shape ``(d, d)``.
    size
        Number of pairs.

    Returns
    -------
    tuple of arrays
        Draws of both laws, shape ``(size, d)``, and whether they are equal, which has the probability
        ``2 Phi(-|z| / 2)``, one minus :func:`gaussian_total_variation`.

    References
    ----------
    N. Bou-Rabee, A. Eberle and R. Zimmer, 2020, Coupling and convergence for Hamiltonian Monte Carlo, Ann. Appl.
    Probab. 30, arXiv:1805.00452; P. E. Jacob, J. O'Leary and Y. F. Atchadé, 2020, JRSS B 82, arXiv:1708.03625.
    """
    x, y, L, z = _standardised(mean_x, mean_y, factor)
    if size < 0:
        raise ValueError(f"size has to be at least 0; got {size}")
    noise = rng.standard_normal((size, x.size))
    length = float(np.linalg.norm(z))
    direction = z / length if length > 0 else z
    # log phi(noise + z) - log phi(noise)
    equal = np.log1p(-rng.random(size)) <= -(noise @ z) - length**2 / 2
    first = x + noise @ L.T
    mirrored = noise - 2 * np.outer(noise @ direction, direction)
    return first, np.where(equal[:, None], first, y + mirrored @ L.T), equal


def path_contraction(joint: ArrayLike, metric: ArrayLike) -> float:
    """Return ``k``, such that coupled chains from neighbours have an expected distance of at most ``1 - k``.

    By the triangle inequality along a path of neighbours, ``E d(X', Y') <= (1 - k) d(x, y)`` for every pair, whether or
    not the coupling of pairs that are no neighbours is any good. Never above the coarse Ricci curvature, and equal to it
    for the best coupling.

    Parameters
    ----------
    joint
        Transition probabilities ``[x, y, x', y']`` of the pair, shape ``(n, n, n, n)``; only those from neighbours count.
    metric
        Distances in a connected graph, the neighbours at distance one, shape ``(n, n)``.

    Returns
    -------
    float
        At most 1; negative if neighbours move apart.

    Raises
    ------
    ValueError
        If shapes do not fit, the transition probabilities are none, or ``metric`` is no graph metric.

    References
    ----------
    R. Bubley and M. Dyer, 1997, Path coupling: a technique for proving rapid mixing in Markov chains, FOCS,
    doi:10.1109/SFCS.1997.646111.
    """
    distance = np.asarray(metric, np.float64)
    if distance.ndim != 2 or distance.shape[0] != distance.shape[1] or len(distance) < 2:
        raise ValueError(f"expected a metric of shape (n, n) with n >= 2; got shape {distance.shape}")
    n = len(distance)
    shortest = scipy.sparse.csgraph.shortest_path(scipy.sparse.csr_array(distance == 1), unweighted=True)
    if not np.array_equal(shortest, distance) or not np.all(np.isfinite(distance)):
        raise ValueError("the metric has to be that of a connected graph: whole numbers, lengths of shortest paths")
    pairs = np.asarray(joint, np.float64)
    if pairs.shape != (n, n, n, n):
        raise ValueError(f"expected transition probabilities of shape {(n, n, n, n)}; got {pairs.shape}")
    neighbours = distance == 1
    rows = probability_vector(pairs[neighbours].reshape(-1, n * n), "a row of the coupling")
    return 1 - float((rows @ distance.ravel()).max())


def path_coupling_bound(contraction: float, diameter: float, eps: float = 0.25) -> int:
    """Return ``ceil(log(diameter / eps) / k)``, steps after which the distance to stationarity is at most ``eps``.

    Parameters
    ----------
    contraction
        ``k`` in (0, 1]: the expected distance of coupled neighbours is at most ``1 - k``; see :func:`path_contraction`.
    diameter
        Largest distance of two states, at least 1.
    eps
        In (0, 1).

    References
    ----------
    R. Bubley and M. Dyer, 1997, FOCS, doi:10.1109/SFCS.1997.646111; D. A. Levin and Y. Peres, 2017, Markov Chains and
    Mixing Times, corollary 14.8.
    """
    if not 0 < contraction <= 1:
        raise ValueError(
            f"path coupling needs a contraction in (0, 1]; got {contraction}: neighbours have to come closer"
        )
    if not 1 <= diameter < math.inf or not 0 < eps < 1:
        raise ValueError(f"expected a finite diameter of at least 1 and eps in (0, 1); got {diameter} and {eps}")
    return math.ceil(math.log(diameter / eps) / contraction)
