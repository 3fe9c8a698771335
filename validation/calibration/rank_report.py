"""Ranks of the true parameter among posterior draws, and what follows from them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray
from numpy.typing import ArrayLike

from ergodica.samplers.inputs import static_count
from ergodica.validation.calibration.coverage import IntervalCoverage, interval_coverage
from ergodica.validation.calibration.ecdf_band import EcdfBand, counts_below, ecdf_band, rank_cells, rank_ecdf_test
from ergodica.validation.evalues import multinomial_eprocess
from ergodica.validation.evidence import Outcome
from ergodica.validation.pearson import uniformity_pvalue
from ergodica.validation.quality.generator import generator_of
from ergodica.validation.quality.verdict import Verdict


def _on_coarse_grid(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    # A grid, not a tolerance: ties have to be transitive, or ranks are not uniform.
    mantissa, exponent = np.frexp(values)
    return np.asarray(np.ldexp(np.round(np.ldexp(mantissa, 34)), exponent - 34))


def randomised_ranks(truths: ArrayLike, draws: ArrayLike, *, key: PRNGKeyArray, thin: int = 1) -> Int[np.ndarray, " S"]:
    """Rank true values among draws, with ties broken at random.

    Parameters
    ----------
    truths
        One value a simulation, shape ``(S,)``.
    draws
        The same quantity at the posterior draws of that simulation, shape ``(S, L)``.
    key
        Typed key of the ties.
    thin
        Keep every ``thin``-th draw.

    Returns
    -------
    integers, shape ``(S,)``
        In ``0, ..., L // thin``. Values are rounded to ten digits first, so that those that differ by round-off alone tie.

    Raises
    ------
    ValueError
        If the shapes do not fit, no draw is left, a value is not finite, or all values of all simulations tie.
    """
    truth, drawn = np.asarray(truths, float), np.asarray(draws, float)
    thin = static_count("thin", thin)
    if truth.ndim != 1 or truth.size == 0 or drawn.ndim != 2 or len(drawn) != truth.size:
        raise ValueError(
            f"expected truths of shape (S,) and draws of shape (S, L), S >= 1; got {truth.shape} and {drawn.shape}"
        )
    if drawn.shape[1] < thin:
        raise ValueError(f"thinning by {thin} leaves none of {drawn.shape[1]} draws; draw more, or thin less")
    drawn = drawn[:, thin - 1 :: thin]
    finite = np.isfinite(truth) & np.isfinite(drawn).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"{int((~finite).sum())} of {truth.size} simulations have a value that is not finite, the first is number "
            f"{int(np.argmin(finite))}. Failed fits are not missing at random: mend them, do not drop them"
        )
    coarse, own = _on_coarse_grid(drawn), _on_coarse_grid(truth)[:, None]
    below, ties = np.sum(coarse < own, axis=1), np.sum(coarse == own, axis=1)
    if np.all(ties == drawn.shape[1]):
        raise ValueError("all draws tie with the truth in every simulation: a constant quantity tests nothing")
    return np.asarray(below + generator_of(key).integers(0, ties + 1))


@dataclasses.dataclass(frozen=True)
class RankReport:
    """Ranks of test quantities over independent simulations.

    Parameters
    ----------
    ranks
        By quantity: ranks in ``0, ..., draws``, shape ``(simulations,)``.
    draws
        Number ``L`` of posterior draws that each truth was ranked among.
    exact
        Whether ranks are proven to be uniform for a right sampler: draws are independent by construction, or
        exchangeable with the truth. Thinned chains are neither, so that their verdicts are diagnostics.
    null
        What a right sampler is, in words.
    sees_data
        By quantity, whether it depends on the data; empty where that is unknown.
    """

    ranks: Mapping[str, Int[np.ndarray, " S"]]
    draws: int
    exact: bool = True
    null: str = "independent draws from the posterior"
    sees_data: Mapping[str, bool] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        static_count("draws", self.draws)
        if not self.ranks:
            raise ValueError("expected the ranks of at least one quantity; got none")
        sizes = set()
        for values in self.ranks.values():
            sizes.add(rank_cells(values, self.draws + 1, None)[0].size)
        if len(sizes) > 1:
            raise ValueError(f"all quantities need the same number of simulations; got {sorted(sizes)}")

    @property
    def simulations(self) -> int:
        """Number of simulations."""
        return int(np.size(next(iter(self.ranks.values()))))

    @property
    def blind(self) -> bool:
        """Whether no quantity is known to depend on the data, so that a sampler that returns the prior passes."""
        return bool(self.sees_data) and not any(self.sees_data.values())

    def verdicts(self, *, cells: int | None = None) -> dict[str, Verdict]:
        """Test the ranks of each quantity by :func:`.ecdf_band.rank_ecdf_test`, each for itself."""
        out = {}
        for name, values in self.ranks.items():
            verdict = rank_ecdf_test(values, self.draws + 1, cells=cells)
            guarantee = f"{verdict.guarantee}; null hypothesis: {self.null}"
            out[name] = dataclasses.replace(verdict, exact=self.exact, guarantee=guarantee)
        return out

    def pearson(self, *, bins: int = 20) -> dict[str, float]:
        """Return the p-value of Pearson's test on ``bins`` equal cells for each quantity, by its exact law.

        Raises
        ------
        ValueError
            If the bins do not divide the ``draws + 1`` ranks.
        """
        cells = {name: rank_cells(values, self.draws + 1, bins) for name, values in self.ranks.items()}
        return {name: uniformity_pvalue(np.bincount(cell, minlength=count)) for name, (cell, count) in cells.items()}

    def outcome(self, level: float, *, cells: int | None = None) -> Outcome:
        """Hold all quantities against one level, by Holm's method.

        Parameters
        ----------
        level
            Bound of the probability that a right sampler fails. It is the false-alarm probability where ranks are exact;
            for thinned chains it holds for independent draws only, and the outcome is a diagnostic.
        cells
            As in :func:`.ecdf_band.rank_ecdf_test`.

        Returns
        -------
        Outcome
            The statistic is the smallest p-value times the number of quantities.
        """
        verdicts = self.verdicts(cells=cells)
        worst = min(verdicts, key=lambda name: verdicts[name].p_value)
        smallest = min(1.0, len(verdicts) * verdicts[worst].p_value)
        single = dataclasses.replace(verdicts[worst], p_value=smallest).outcome(level)
        details = f"{worst}: {single.details}; smallest of {len(verdicts)} quantities, {self.simulations} simulations"
        if self.blind:
            details += "; no quantity depends on the data: a sampler that returns the prior passes this"
        return dataclasses.replace(single, details=details)

    def band(self, level: float = 0.05, *, cells: int | None = None) -> EcdfBand:
        """Return the simultaneous band for one quantity; see :func:`.ecdf_band.ecdf_band`."""
        return ecdf_band(self.simulations, self.draws + 1 if cells is None else cells, level)

    def differences(self, name: str, *, cells: int | None = None) -> Float[np.ndarray, " K-1"]:
        """Return what to draw into the band: the ECDF of a quantity's ranks minus the uniform one, at its points."""
        cell, count = rank_cells(self.ranks[name], self.draws + 1, cells)
        return np.asarray(counts_below(cell, count) / cell.size - np.arange(1, count) / count)

    def log_eprocess(self, name: str, *, bins: int = 20) -> Float[np.ndarray, " S"]:
        """Return the log of an e-process along the simulations of one quantity: stop when it is at ``log(1 / alpha)``."""
        cell, count = rank_cells(self.ranks[name], self.draws + 1, bins)
        return multinomial_eprocess(cell, np.full(count, 1 / count))

    def coverage(self, name: str, probabilities: Sequence[float] = (0.5, 0.8, 0.9)) -> list[IntervalCoverage]:
        """Return how often central intervals of one quantity hold the truth; see :func:`.coverage.interval_coverage`."""
        return interval_coverage(self.ranks[name], self.draws, probabilities)

    def to_datatree(self) -> Any:
        """Return the ranks, scaled to [0, 1], as group ``prior_sbc`` of a DataTree, as ArviZ's plots of them expect."""
        from arviz_base import from_dict

        values = {name: (np.asarray(x)[None] + 0.5) / (self.draws + 1) for name, x in self.ranks.items()}
        return from_dict({"prior_sbc": values}, sample_dims=["chain", "draw"])

    def __str__(self) -> str:
        lines = [f"{self.simulations} simulations, ranks among {self.draws} draws; null hypothesis: {self.null}"]
        for name, verdict in self.verdicts().items():
            seen = "" if self.sees_data.get(name, True) else "  (does not see the data)"
            lines.append(f"  {name:24} p = {verdict.p_value:.3g}{seen}")
        if self.blind:
            lines.append("  No quantity depends on the data: a sampler that returns the prior passes this.")
        return "\n".join(lines)
