"""Coverage: how often credible regions hold the parameter that made the data."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from ergodica.validation.calibration.ecdf_band import rank_cells
from ergodica.validation.stationary_start import binomial_pvalue


@dataclasses.dataclass(frozen=True)
class IntervalCoverage:
    """Coverage of one kind of credible region.

    Parameters
    ----------
    probability
        Its exact probability of holding the truth, for a right sampler: a multiple of ``1 / (draws + 1)``.
    hits, simulations
        How often it did, of how many independent simulations.
    p_value
        Two-sided p-value of the hits by the binomial law; exact in the sense ``P(p <= u) <= u``.
    """

    probability: float
    hits: int
    simulations: int
    p_value: float

    @property
    def observed(self) -> float:
        """Share of simulations in which it held the truth."""
        return self.hits / self.simulations


def _coverage(inside: Int[np.ndarray, " S"], held: int, num_ranks: int) -> IntervalCoverage:
    hits, size = int(inside.sum()), inside.size
    probability = held / num_ranks
    return IntervalCoverage(probability, hits, size, binomial_pvalue(hits, size, probability))


def _probabilities(probabilities: Sequence[float]) -> list[float]:
    if not all(0 < p < 1 for p in probabilities) or len(probabilities) == 0:
        raise ValueError(f"probabilities have to lie in (0, 1), at least one; got {probabilities}")
    return [float(p) for p in probabilities]


def interval_coverage(
    ranks: ArrayLike, draws: int, probabilities: Sequence[float] = (0.5, 0.8, 0.9)
) -> list[IntervalCoverage]:
    """Return how often central intervals between order statistics of the draws hold the truth.

    Parameters
    ----------
    ranks
        Independent ranks of the truth in ``0, ..., draws``.
    draws
        Number of posterior draws.
    probabilities
        Nominal probabilities. The interval takes the same number of ranks off either end, so that its exact probability
        is the nearest one of that form; it is the one reported and tested.

    Raises
    ------
    TypeError, ValueError
        If ranks are out of range, a probability is outside (0, 1), or an interval would hold no rank or all of them.
    """
    x, num_ranks = rank_cells(ranks, draws + 1, None)
    table = []
    for p in _probabilities(probabilities):
        cut = round((1 - p) * num_ranks / 2)
        held = num_ranks - 2 * cut
        if cut == 0 or held <= 0:
            raise ValueError(f"{draws} draws are too few for a central interval of probability {p}")
        table.append(_coverage((x >= cut) & (x < num_ranks - cut), held, num_ranks))
    return table


def lower_coverage(
    ranks: ArrayLike, draws: int, probabilities: Sequence[float] = (0.1, 0.25, 0.5, 0.75, 0.9)
) -> list[IntervalCoverage]:
    """Return how often the truth is among the lowest ranks: for distances, how often a credible ball holds it.

    Parameters
    ----------
    ranks, draws
        As in :func:`interval_coverage`.
    probabilities
        Nominal probabilities; the exact ones are the nearest multiples of ``1 / (draws + 1)``.

    Raises
    ------
    TypeError, ValueError
        As :func:`interval_coverage`.
    """
    x, num_ranks = rank_cells(ranks, draws + 1, None)
    table = []
    for p in _probabilities(probabilities):
        held = round(p * num_ranks)
        if not 0 < held < num_ranks:
            raise ValueError(f"{draws} draws are too few for a region of probability {p}")
        table.append(_coverage(x < held, held, num_ranks))
    return table


def expected_coverage(ranks: ArrayLike, draws: int, levels: ArrayLike) -> Float[np.ndarray, " m"]:
    """Return the expected coverage probabilities ``mean 1{rank / draws < c}``: the curve that TARP draws.

    Parameters
    ----------
    ranks, draws
        As in :func:`interval_coverage`.
    levels
        Credibilities ``c`` in [0, 1].

    References
    ----------
    Pablo Lemos, Adam Coogan, Yashar Hezaveh and Laurence Perreault-Levasseur (2023), Sampling-based accuracy testing of
    posterior estimators for general inference, ICML, arXiv:2302.03026.
    """
    x, _ = rank_cells(ranks, draws + 1, None)
    c = np.asarray(levels, float)
    if not np.all((c >= 0) & (c <= 1)):
        raise ValueError(f"levels have to lie in [0, 1]; got {c}")
    return np.asarray((x[None, :] / draws < c.reshape(-1, 1)).mean(axis=1).reshape(c.shape))
