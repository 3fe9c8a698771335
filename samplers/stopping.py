"""Stop a run when its estimates are precise enough.

The error of a mean is estimated from batch means, kept in a fixed amount of memory however long the run is. Batches are
cut by the number of the draw, not by the clock, and the rule is asked at fixed numbers of draws, so that a run that is
stopped and resumed ends at the same draw as one that was left alone.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, PyTree
from scipy import special

from ergodica.samplers import naming
from ergodica.samplers.inputs import static_count

__all__ = ["BatchMeans", "Precision", "Until"]

MAX_BATCHES = 128
MIN_BATCHES = 10
GROWTH = 1.1
"""Factor between two numbers of draws at which the rule is asked."""


def _shifted(draws: np.ndarray, shift: Float[np.ndarray, "chains d"]) -> Float[np.ndarray, "chains count d"]:
    """Subtract a number from each chain's coordinates, in double precision."""
    chains, count, size = draws.shape
    out = np.array(draws, float, order="C")
    # Several draws at once, since NumPy's loops over few coordinates cost more than their arithmetic.
    group = max(1, 512 // max(size, 1))
    whole = count - count % group
    grouped = out[:, :whole].reshape(chains, whole // group, group * size)  # a view
    grouped -= np.tile(shift, group)[:, None]
    out[:, whole:] -= shift[:, None]
    return out


class BatchMeans:
    """Means of batches of draws, and the spread of the draws, of each coordinate and chain.

    Parameters
    ----------
    chains
        Number of chains.
    size
        Number of coordinates ``d``.

    Notes
    -----
    Batches have ``2^k`` draws; when there are 128 of them, pairs are joined. At least 64 remain of each chain.
    """

    def __init__(self, chains: int, size: int) -> None:
        self.length = 1
        self.count = 0
        self._sums = np.empty((MAX_BATCHES, chains, size))
        self._full = 0
        self._partial = np.zeros((chains, size))
        self._shift = np.zeros((chains, size))
        self._squares = np.zeros((chains, size))

    def add(self, draws: Float[np.ndarray, "chains count d"]) -> None:
        """Add draws that follow those added before."""
        draws = np.asarray(draws)
        if self.count == 0 and draws.shape[1]:
            self._shift = draws[:, 0].astype(float)
        draws = _shifted(draws, self._shift)
        self._squares += np.einsum("cnd,cnd->cd", draws, draws)
        while draws.shape[1]:
            room = self.length - self.count % self.length
            taken, draws = draws[:, :room], draws[:, room:]
            whole = 0
            if taken.shape[1] == self.length:  # many whole batches at once
                whole = min(MAX_BATCHES - self._full - 1, draws.shape[1] // self.length)
            self._partial += taken.sum(axis=1)
            self.count += taken.shape[1]
            if self.count % self.length == 0:
                self._close()
            if whole > 0:
                chains, _, size = draws.shape
                batches = draws[:, : whole * self.length].reshape(chains, whole, self.length, size)
                sums = np.einsum("cbld->cbd", batches)
                self._sums[self._full : self._full + whole] = np.swapaxes(sums, 0, 1)
                self._full += whole
                self.count += whole * self.length
                draws = draws[:, whole * self.length :]
                if self._full == MAX_BATCHES:
                    self._join()

    def _close(self) -> None:
        self._sums[self._full] = self._partial
        self._partial = np.zeros_like(self._partial)
        self._full += 1
        if self._full == MAX_BATCHES:
            self._join()

    def _join(self) -> None:
        self._full //= 2
        self._sums[: self._full] = self._sums[0::2] + self._sums[1::2]
        self.length *= 2

    def means(self) -> Float[np.ndarray, "batches chains d"]:
        """Return the means of the batches that are full."""
        return self._sums[: self._full] / self.length + self._shift

    @property
    def num_batches(self) -> int:
        """Number of full batches of each chain."""
        return self._full

    def grouped_means(self) -> Float[np.ndarray, "batches chains d"]:
        """Return the means of batches that are at least as long as they are many, as their consistency needs."""
        means = self.means()
        group = max(1, int(np.ceil(np.sqrt(self.count) / self.length)))
        whole = len(means) // group * group
        return means[:whole].reshape(-1, group, *means.shape[1:]).mean(axis=1)

    def sd(self) -> Float[np.ndarray, " d"]:
        """Return the standard deviations of the draws of all chains."""
        chains = self._shift.shape[0]
        total = self._sums[: self._full].sum(axis=0) + self._partial
        squares = self._squares - total**2 / self.count
        mean = total / self.count + self._shift
        between = self.count * (mean - mean.mean(axis=0)) ** 2
        return np.sqrt(np.maximum((squares + between).sum(axis=0), 0.0) / max(chains * self.count - 1, 1))


@dataclasses.dataclass(frozen=True)
class Precision:
    """How precise the means of a run are.

    Parameters
    ----------
    names
        Of the numbers of a position.
    mcse
        Monte Carlo standard errors of their means, over all chains.
    sd
        Standard deviations of the draws.
    ess
        Effective numbers of draws, ``(sd / mcse)^2``.
    rhat
        Classical split R-hat.
    draws
        Draws of each chain.
    """

    names: tuple[str, ...]
    mcse: Float[np.ndarray, " d"]
    sd: Float[np.ndarray, " d"]
    ess: Float[np.ndarray, " d"]
    rhat: Float[np.ndarray, " d"]
    draws: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Until:
    """When a run may stop: as soon as everything that is asked for holds, for every number of the position.

    Parameters
    ----------
    mcse
        Largest Monte Carlo standard error of a mean: one number, or numbers by the name of a variable, others being
        free. A variable is named as in ``Draws.to_arviz``.
    relative
        Largest Monte Carlo standard error in units of the standard deviation: 0.1 means 100 effective draws.
    ess
        Smallest effective number of draws.
    rhat
        Largest split R-hat: a guard, since the other criteria believe what the chains agree on. ``None`` for no guard.
    confidence
        If given, ``mcse`` and ``relative`` bound the half-widths of intervals that hold for all numbers together with
        this probability, by Bonferroni's inequality, instead of single standard errors.
    min_draws
        Draws of each chain before the rule is asked.

    Raises
    ------
    ValueError
        If nothing is asked for, or a bound is out of range.

    Notes
    -----
    Standard errors come from batch means, in batches of at least the square root of the number of draws. That a run stops
    when its error *looks* small makes intervals slightly too short; they are right in the limit of small tolerances
    (Glynn and Whitt 1992), and ``min_draws`` guards the start.

    References
    ----------
    P. W. Glynn and W. Whitt, Annals of Applied Probability 2 (1992), doi:10.1214/aoap/1177005777. J. M. Flegal and
    L. Gong, Statistica Sinica 25 (2015), arXiv:1303.0238.
    """

    mcse: float | Mapping[str, float] | None = None
    relative: float | None = None
    ess: float | None = None
    rhat: float | None = 1.05
    confidence: float | None = None
    min_draws: int = 400

    def __post_init__(self) -> None:
        if self.mcse is None and self.relative is None and self.ess is None and self.rhat is None:
            raise ValueError("Until needs at least one of mcse, relative, ess and rhat; got rhat=None and no other")
        bounds = list(self.mcse.values()) if isinstance(self.mcse, Mapping) else [self.mcse]
        if not bounds:
            raise ValueError("mcse names no variable; give a number, or numbers by name")
        numbers = {"relative": self.relative, "ess": self.ess, "rhat": self.rhat, "confidence": self.confidence}
        for name, value in [*(("mcse", bound) for bound in bounds), *numbers.items()]:
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float | np.number)):
                raise TypeError(f"{name} has to be a number; got {value!r}")
        static_count("min_draws", self.min_draws)
        for name, value in [*(("mcse", bound) for bound in bounds), ("relative", self.relative), ("ess", self.ess)]:
            if value is not None and not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name} has to be positive and finite; got {value}")
        if self.rhat is not None and not self.rhat > 1:
            raise ValueError(f"rhat has to be above 1, as in rhat=1.01; got {self.rhat}")
        if self.confidence is not None and not 0 < self.confidence < 1:
            raise ValueError(f"confidence is a probability in (0, 1), as in 0.95; got {self.confidence}")

    def failures(self, precision: Precision) -> dict[str, float]:
        """Return by how much what is asked for is missed, worst ratio for each criterion; empty if all holds.

        Parameters
        ----------
        precision
            Of the run.

        Raises
        ------
        ValueError
            If ``mcse`` names a variable that the position does not have.
        """
        worst: dict[str, float] = {}
        width = precision.mcse
        if self.confidence is not None:
            level = (1 - self.confidence) / (2 * max(len(width), 1))
            width = width * -special.ndtri(level)
        # Numbers that have not moved have no error that could be estimated.
        if self.mcse is not None:
            worst["mcse"] = _largest(width / self._tolerances(precision.names))
        if self.relative is not None:
            worst["relative"] = _largest(np.where(width == 0, 0.0, _ratio(width, precision.sd)) / self.relative)
        if self.ess is not None:
            worst["ess"] = _largest(self.ess / precision.ess)
        if self.rhat is not None:
            worst["rhat"] = _largest((precision.rhat - 1) / (self.rhat - 1))
        return {name: value for name, value in worst.items() if not value <= 1}

    def _tolerances(self, names: tuple[str, ...]) -> np.ndarray:
        if not isinstance(self.mcse, Mapping):
            return np.full(len(names), self.mcse, float)
        variables = [name.partition("[")[0] for name in names]
        unknown = sorted(set(self.mcse) - set(variables))
        if unknown:
            raise ValueError(f"mcse names {unknown}; the variables are {sorted(set(variables))}")
        return np.array([self.mcse.get(name, np.inf) for name in variables], float)


def _largest(values: np.ndarray) -> float:
    return float(np.max(values)) if values.size else 0.0


def _ratio(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(one / other)


class Watch:
    """Follows a run, and says when the rule may be asked and whether it holds.

    Parameters
    ----------
    until
        The rule.
    """

    def __init__(self, until: Until) -> None:
        self.until = until
        self._means: BatchMeans | None = None
        self._names: tuple[str, ...] = ()
        self.next = until.min_draws
        self.holds = False

    def add(self, positions: PyTree) -> None:
        """Add draws, leaves of shape ``(chains, count, ...)``, at most as many as are missing to ``next``."""
        _, arrays = naming.encode(positions)
        flat = {name: np.asarray(leaf, float).reshape(*leaf.shape[:2], -1) for name, leaf in arrays.items()}
        if self._means is None:
            self._names = tuple(
                f"{name}[{', '.join(map(str, place))}]" if place else name
                for name, leaf in arrays.items()
                for place in np.ndindex(leaf.shape[2:])
            )
            if isinstance(self.until.mcse, Mapping):
                self.until._tolerances(self._names)
            chains = next(iter(flat.values())).shape[0]
            self._means = BatchMeans(chains, len(self._names))
        self._means.add(np.concatenate(list(flat.values()), axis=2))

    def precision(self) -> Precision:
        """Return how precise the means are."""
        if self._means is None:
            raise ValueError("no draws have been added")
        return precision_of(self._means, self._names)

    def needed(self) -> int | None:
        """Return after how many draws of each chain the rule is likely to hold; ``None`` if that cannot be told yet.

        Standard errors fall like the root of the number of draws, effective draws grow with it, and so does what R-hat has
        beyond one fall.
        """
        if self._means is None or len(self._means.grouped_means()) < MIN_BATCHES:
            return None
        with np.errstate(all="ignore"):
            missed = self.until.failures(self.precision())
        powers = {"mcse": 2, "relative": 2}
        factor = max([value ** powers.get(name, 1) for name, value in missed.items()], default=1.0)
        return max(self.next, int(np.ceil(self._means.count * factor))) if np.isfinite(factor) else None

    def is_satisfied(self) -> bool:
        """Ask the rule, and set when to ask it next."""
        if self._means is None or self._means.count < self.next:
            return False
        while self.next <= self._means.count:
            self.next = max(int(np.ceil(self.next * GROWTH)), self.next + 1)
        enough = len(self._means.grouped_means()) >= MIN_BATCHES
        self.holds = enough and not self.until.failures(self.precision())
        return self.holds


def precision_of(batches: BatchMeans, names: tuple[str, ...]) -> Precision:
    """Return how precise the means of the draws in these batches are.

    Parameters
    ----------
    batches
        At least one draw.
    names
        Of the coordinates.
    """
    means = batches.grouped_means()
    count, chains, size = means.shape
    sd = batches.sd()
    if count < 2:
        unknown = np.full(size, np.inf)
        return Precision(names, unknown, sd, np.zeros(size), unknown, batches.count)
    mcse = np.sqrt(means.reshape(-1, size).var(axis=0, ddof=1) / (count * chains))
    still = sd == 0
    ess = np.where(still, np.nan, _ratio(sd, mcse) ** 2)
    mcse = np.where(still, 0.0, mcse)
    return Precision(names, mcse, sd, np.where(still, np.inf, ess), _split_rhat(means, sd), batches.count)


def _split_rhat(means: Float[np.ndarray, "batches chains d"], sd: Float[np.ndarray, " d"]) -> Float[np.ndarray, " d"]:
    """Return R-hat of half chains: the spread of their means against that of the draws."""
    half = len(means) // 2
    parts = np.concatenate([means[:half].mean(axis=0), means[half : 2 * half].mean(axis=0)])
    between = parts.var(axis=0, ddof=1)
    within = np.maximum(sd**2 - between, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.sqrt(1 + between / within)
    return np.where(sd == 0, 1.0, value)
