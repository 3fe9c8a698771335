"""Bands for several chains at once: whether their draws are distributed alike, by the ranks of each among all.

The draws of all chains are ranked together. If the draws are exchangeable, every assignment of the ranks to the chains
is equally probable, so the number of a chain's draws among the ``k`` smallest is hypergeometric, and the law of all
counts together follows by shuffling labels. Correlated draws are not exchangeable: thin them first.
"""

import dataclasses
import functools

import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray
from numpy.typing import ArrayLike
from scipy import stats

from ergodica.samplers.inputs import static_count
from ergodica.validation.quality.generator import generator_of
from ergodica.validation.quality.verdict import Verdict

_BATCH = 256


@dataclasses.dataclass(frozen=True)
class ChainsEcdfBand:
    """A simultaneous band of the counts of every chain.

    Parameters
    ----------
    chains, draws
        Numbers of chains and of draws of each.
    ranks
        Numbers ``k_j`` of smallest draws that are looked at, shape ``(K - 1,)``.
    lower, upper
        Smallest and largest counts of one chain's draws among them that are inside, shape ``(K - 1,)``.
    gamma
        Tail probability that is cut off at each point.
    simulations
        Number of shuffles that ``gamma`` was estimated from: the coverage is nominal up to their Monte Carlo error. For a
        level that is exact, use :func:`chains_ecdf_test`.
    """

    chains: int
    draws: int
    ranks: Int[np.ndarray, " K-1"]
    lower: Int[np.ndarray, " K-1"]
    upper: Int[np.ndarray, " K-1"]
    gamma: float
    simulations: int


def _ranks(chains: int, draws: int, cells: int) -> Int[np.ndarray, " m"]:
    looked_at = (np.arange(1, cells) * chains * draws) // cells
    return np.unique(looked_at[looked_at > 0])


@functools.lru_cache(maxsize=8)
def _tails(chains: int, draws: int, cells: int) -> Float[np.ndarray, "count point"]:
    """Return twice the smaller tail of each count at each point, by the hypergeometric law."""
    counts = np.arange(draws + 1)[:, None]
    law = stats.hypergeom(chains * draws, draws, _ranks(chains, draws, cells)[None, :])
    return np.asarray(2 * np.minimum(law.cdf(counts), law.sf(counts - 1)))


def _smallest_tail(labels: Int[np.ndarray, "batch total"], chains: int, draws: int, cells: int) -> np.ndarray:
    tails = _tails(chains, draws, cells)
    at = _ranks(chains, draws, cells) - 1
    points = np.arange(at.size)
    smallest = np.full(len(labels), np.inf)
    for chain in range(chains):
        counts = np.cumsum(labels == chain, axis=1)[:, at]
        smallest = np.minimum(smallest, tails[counts, points].min(axis=1))
    return smallest


def _shuffled(
    chains: int, draws: int, cells: int, simulations: int, rng: np.random.Generator
) -> Float[np.ndarray, " m"]:
    labels = np.repeat(np.arange(chains), draws)
    parts = []
    for start in range(0, simulations, _BATCH):
        batch = np.tile(labels, (min(_BATCH, simulations - start), 1))
        parts.append(_smallest_tail(rng.permuted(batch, axis=1), chains, draws, cells))
    return np.concatenate(parts)


def _checked(chains: int, draws: int, cells: int) -> None:
    if chains < 2:
        raise ValueError(
            f"expected at least two chains to compare with each other; got {chains}. One chain of exact ranks is "
            "tested by rank_ecdf_test"
        )
    static_count("draws", draws)
    static_count("cells", cells, at_least=2)


def chains_ecdf_band(
    chains: int,
    draws: int,
    *,
    key: PRNGKeyArray,
    cells: int | None = None,
    level: float = 0.05,
    simulations: int = 4000,
) -> ChainsEcdfBand:
    """Return a band that the counts of all chains of exchangeable draws are inside with probability ``1 - level``.

    Parameters
    ----------
    chains
        Number of chains, at least two.
    draws
        Draws of each chain.
    key
        Typed key of the shuffles.
    cells
        Number ``K`` of cells; the chains are compared at ``K - 1`` points. Default: the draws, at most 100.
    level
        Nominal probability that a count is outside.
    simulations
        Number of shuffles.

    Raises
    ------
    ValueError
        If there are fewer than two chains, or the level is outside (0, 1).

    References
    ----------
    Teemu Säilynoja, Paul-Christian Bürkner and Aki Vehtari (2022), Statistics and Computing 32, arXiv:2103.10522,
    Section 3.
    """
    cells = max(2, min(100, draws)) if cells is None else cells
    _checked(chains, draws, cells)
    static_count("simulations", simulations)
    if not 0 < level < 1:
        raise ValueError(f"level has to lie in (0, 1); got {level}")
    smallest = np.sort(_shuffled(chains, draws, cells, simulations, generator_of(key)))
    gamma = float(smallest[max(0, int(np.floor(level * simulations)) - 1)])
    inside = _tails(chains, draws, cells) >= gamma
    lower = np.argmax(inside, axis=0)
    upper = draws - np.argmax(inside[::-1], axis=0)
    return ChainsEcdfBand(chains, draws, _ranks(chains, draws, cells), lower, upper, gamma, simulations)


def chains_ecdf_test(
    draws: ArrayLike, *, key: PRNGKeyArray, cells: int | None = None, permutations: int = 999
) -> Verdict:
    """Test whether the draws of several chains are exchangeable, by the ranks of each chain's among all.

    Parameters
    ----------
    draws
        One quantity, shape ``(chains, draws)``, thinned until the draws of a chain are close to independent.
    key
        Typed key of the shuffles and of the order of ties.
    cells
        As in :func:`chains_ecdf_band`.
    permutations
        Number of shuffles; no p-value is below ``1 / (permutations + 1)``.

    Returns
    -------
    Verdict
        The p-value is exact for exchangeable draws, whatever their law, ties included.

    Raises
    ------
    ValueError
        If there are fewer than two chains, a draw is not finite, or all draws are equal.
    """
    x = np.asarray(draws, float)
    if x.ndim != 2:
        raise ValueError(f"draws has to have shape (chains, draws), one quantity at a time; got shape {x.shape}")
    chains, size = x.shape
    cells = max(2, min(100, size)) if cells is None else cells
    _checked(chains, size, cells)
    static_count("permutations", permutations)
    if not np.all(np.isfinite(x)):
        chain, draw = np.argwhere(~np.isfinite(x))[0]
        raise ValueError(f"draws has to be finite; draw {draw} of chain {chain} is {x[chain, draw]}")
    if np.ptp(x) == 0:
        raise ValueError(f"all draws are {x[0, 0]}: ties broken at random would pass for anything")
    rng = generator_of(key)
    order = np.lexsort((rng.random(x.size), x.ravel()))
    observed = float(_smallest_tail((order // size)[None], chains, size, cells)[0])
    reference = _shuffled(chains, size, cells, permutations, rng)
    extreme = int(np.sum(reference <= observed * (1 + 1e-10)))
    return Verdict(
        value=float(-np.log(max(observed, 1e-300))),
        p_value=(1 + extreme) / (permutations + 1),
        exact=True,
        guarantee="rank among shuffled chains; P(p <= u) <= u for exchangeable draws of every size",
        resolution=1 / (permutations + 1),
        method=f"ECDF of {chains} chains in their joint ranks",
        reference=-np.log(np.maximum(reference, 1e-300)),
    )
