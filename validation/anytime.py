"""Tests that may be watched while draws come in, and stopped at any time.

Each is a bettor who stakes a part of his wealth on the next draw, at odds that are fair if the sampler is right. Then
the probability that the wealth ever reaches ``1 / alpha`` is at most ``alpha`` (Ville), so the verdict may be looked at
after every draw, and the experiment ended when it is clear.

=========================  ========================================================================================
what is known of the law   bettor
=========================  ========================================================================================
probabilities of cells     :func:`ergodica.validation.evalues.multinomial_eprocess`
distribution function      :class:`UniformBets`, on ``u = F(x)``
an exact sampler           :class:`TwoSampleBets`, on pairs of a draw under test and an exact one; or a classifier's,
                           :func:`ergodica.validation.quality.classifier.classifier_bets`
=========================  ========================================================================================

Draws have to be independent. For a Markov kernel, start at an exact draw and compare the state after one or more steps
with a fresh exact draw, in many replicates; never feed the draws of one chain.
"""

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy import special

from ergodica.samplers.inputs import static_count
from ergodica.validation.evidence import Outcome
from ergodica.validation.quality.sample import same_dimension

# Step of the online Newton method for log wealth with stakes in [-1/2, 1/2].
_NEWTON = 2 / (2 - np.log(3))


class OnlineNewton:
    """Stakes on values in [-1, 1] that have mean zero given the past, learnt from the past by online Newton steps.

    Parameters
    ----------
    count
        Number of streams, each with a stake and a wealth of its own.

    References
    ----------
    Ashok Cutkosky and Francesco Orabona (2018), Black-box reductions for parameter-free online learning in Banach
    spaces, COLT. Shubhanshu Shekhar and Aaditya Ramdas (2023), Nonparametric two-sample testing by betting,
    arXiv:2112.09162.
    """

    def __init__(self, count: int) -> None:
        self.stake = np.zeros(count)
        self.log_wealth = np.zeros(count)
        self._curvature = np.ones(count)

    def bet(self, values: Float[np.ndarray, "n count"]) -> Float[np.ndarray, "n count"]:
        """Bet on values one after the other, and return the log wealth of every stream after each."""
        path = np.empty(values.shape)
        for t, z in enumerate(values):
            growth = 1 + self.stake * z
            self.log_wealth = self.log_wealth + np.log(growth)
            path[t] = self.log_wealth
            slope = z / growth
            self._curvature = self._curvature + slope**2
            self.stake = np.clip(self.stake + _NEWTON * slope / self._curvature, -0.5, 0.5)
        return path


class Bets(abc.ABC):
    """A bettor whose wealth is an e-process."""

    log_wealth: float
    """Log of the wealth now; it started at 0."""

    @abc.abstractmethod
    def update(self, *draws: Any) -> Float[np.ndarray, " n"]:
        """Bet on more draws, in their order, and return the log wealth after each."""


def _log_mean(logs: Float[np.ndarray, "n count"]) -> Float[np.ndarray, " n"]:
    return np.asarray(special.logsumexp(logs, axis=1) - np.log(logs.shape[1]))


def _last(path: Float[np.ndarray, " n"], before: float) -> float:
    return float(path[-1]) if path.size else before


class UniformBets(Bets):
    """Bets against independent values that are uniform on [0, 1], such as ``F(x)``.

    Half of the wealth is staked on ``cells`` equal cells by the Dirichlet rule of
    :func:`ergodica.validation.evalues.multinomial_eprocess`, half on the first four Legendre polynomials, by
    :class:`OnlineNewton`: location, scale, skewness and tails.

    Parameters
    ----------
    cells
        Number of cells.
    """

    def __init__(self, cells: int = 16) -> None:
        self.cells = static_count("cells", cells, at_least=2)
        self.log_wealth = 0.0
        self._newton = OnlineNewton(4)
        self._concentrations = np.array([100.0, cells / 2])
        self._seen = np.zeros(cells)
        self._log_cells = np.zeros(2)

    def update(self, *draws: ArrayLike) -> Float[np.ndarray, " n"]:
        """Bet on more values.

        Parameters
        ----------
        *draws
            One array of values in [0, 1], shape ``(n,)``.

        Raises
        ------
        ValueError
            If a value is NaN or outside [0, 1].
        """
        (values,) = draws
        u = np.asarray(values, float)
        if u.ndim != 1 or not np.all((u >= 0) & (u <= 1)):
            raise ValueError(f"expected values in [0, 1] of shape (n,); got {u}")
        cell = np.minimum((u * self.cells).astype(int), self.cells - 1)
        logs = np.empty((u.size, 2))
        for t, i in enumerate(cell):
            share = self._concentrations / self.cells + self._seen[i]
            self._log_cells = self._log_cells + np.log(share * self.cells / (self._concentrations + self._seen.sum()))
            self._seen[i] += 1
            logs[t] = self._log_cells
        waves = np.stack([special.eval_legendre(j, 2 * u - 1) for j in range(1, 5)], axis=1)
        path = _log_mean(np.stack([_log_mean(logs), _log_mean(self._newton.bet(waves))], axis=1))
        self.log_wealth = _last(path, self.log_wealth)
        return path


Witness = Callable[[Float[np.ndarray, "n d"]], Float[np.ndarray, " n"]]


class TwoSampleBets(Bets):
    """Bets against two samples having one law: a sampler under test, and an exact reference.

    Of each pair ``(x, y)`` the bettor looks at ``tanh(g(x) - g(y))`` for several witnesses ``g``. If both have one law
    the pair could as well be swapped, so these are symmetric about zero. The wealth is the average over witnesses.

    Parameters
    ----------
    witnesses
        Functions from draws of shape ``(n, d)`` to values of shape ``(n,)``, fixed beforehand. Default: every coordinate
        and half its square, standardised by the mean and spread of all pairs before.

    References
    ----------
    Shubhanshu Shekhar and Aaditya Ramdas (2023), Nonparametric two-sample testing by betting, arXiv:2112.09162.
    """

    def __init__(self, witnesses: Sequence[Witness] | None = None) -> None:
        if witnesses is not None and len(witnesses) == 0:
            raise ValueError("expected at least one witness; got none")
        self.witnesses = None if witnesses is None else tuple(witnesses)
        self.log_wealth = 0.0
        self._newton: OnlineNewton | None = None
        # Number, sums and sums of squares of the past draws of both samples.
        self._past: tuple[int, np.ndarray, np.ndarray] | None = None

    def update(self, *draws: ArrayLike) -> Float[np.ndarray, " n"]:
        """Bet on more pairs.

        Parameters
        ----------
        *draws
            Draws under test and exact draws, each of shape ``(n, d)`` or ``(n,)``, independent.

        Raises
        ------
        TypeError, ValueError
            If the samples differ in shape, a draw is not finite, or a witness returns NaN.
        """
        x, y = same_dimension(*draws)
        if len(x) != len(y):
            raise ValueError(f"expected pairs, as many draws under test as exact ones; got {len(x)} and {len(y)}")
        values = self._standardised(x, y) if self.witnesses is None else self._given(x, y)
        if self._newton is None:
            self._newton = OnlineNewton(values.shape[1])
        if values.shape[1] != self._newton.stake.size:
            raise ValueError("the dimension of the draws has changed; start new bets")
        path = _log_mean(self._newton.bet(values))
        self.log_wealth = _last(path, self.log_wealth)
        return path

    def _given(self, x: np.ndarray, y: np.ndarray) -> Float[np.ndarray, "n count"]:
        assert self.witnesses is not None
        values = np.stack([np.tanh(np.asarray(g(x), float) - np.asarray(g(y), float)) for g in self.witnesses], axis=1)
        if values.shape != (len(x), len(self.witnesses)) or np.any(np.isnan(values)):
            raise ValueError(f"a witness has to return {len(x)} numbers for {len(x)} draws; got {values.shape} or NaN")
        return np.asarray(values)

    def _standardised(self, x: np.ndarray, y: np.ndarray) -> Float[np.ndarray, "n count"]:
        d = x.shape[1]
        count, total, squares = self._past or (0, np.zeros(d), np.zeros(d))
        # What was known before each pair: centre and spread are swapped with no pair.
        counts = count + 2 * np.arange(len(x) + 1)[:, None]
        totals = total + np.vstack([np.zeros(d), np.cumsum(x + y, axis=0)])
        powers = squares + np.vstack([np.zeros(d), np.cumsum(x**2 + y**2, axis=0)])
        self._past = (int(counts[-1, 0]), totals[-1], powers[-1])
        known = np.maximum(counts[:-1], 1)
        centre = totals[:-1] / known
        spread = np.sqrt(np.maximum(powers[:-1] / known - centre**2, 0))
        ready = (counts[:-1] >= 4) & (spread > 0)
        scale = np.where(ready, spread, 1.0)
        one, two = (x - centre) / scale, (y - centre) / scale
        values = np.concatenate([one - two, (one**2 - two**2) / 2], axis=1)
        return np.asarray(np.where(np.tile(ready, 2), np.tanh(values), 0.0))


@dataclasses.dataclass(frozen=True)
class Watched:
    """What a monitor has seen so far.

    Parameters
    ----------
    draws
        Number of draws, or pairs.
    log_wealth
        Log of the wealth now.
    largest
        Log of the largest wealth so far: what the verdict rests on.
    alarm_at
        Number of draws after which the wealth first reached ``1 / alpha``; ``None`` if it has not.
    """

    draws: int
    log_wealth: float
    largest: float
    alarm_at: int | None


class Monitor:
    """Watches a sampler, and raises an alarm with a bounded probability of ever being wrong.

    Parameters
    ----------
    bets
        A bettor, such as :class:`TwoSampleBets`.
    alpha
        Bound of the probability that a right sampler ever sets off the alarm, over all time.

    Examples
    --------
    >>> import numpy as np
    >>> from ergodica.validation.anytime import Monitor, UniformBets
    >>> rng = np.random.default_rng(0)
    >>> monitor = Monitor(UniformBets(), alpha=1e-3)
    >>> monitor.update(rng.uniform(size=500)).alarm_at is None
    True
    >>> monitor.update(rng.beta(1.3, 1.0, size=2000)).alarm_at is None
    False
    """

    def __init__(self, bets: Bets, *, alpha: float = 1e-6) -> None:
        if not 0 < alpha < 1:
            raise ValueError(f"alpha has to lie in (0, 1); got {alpha}")
        self.bets = bets
        self.alpha = alpha
        self._parts: list[np.ndarray] = []
        self._seen = Watched(0, 0.0, 0.0, None)

    @property
    def path(self) -> Float[np.ndarray, " n"]:
        """Log wealth after every draw so far."""
        return np.concatenate(self._parts) if self._parts else np.empty(0)

    def update(self, *draws: ArrayLike) -> Watched:
        """Show the bettor more draws, and return what has been seen so far.

        Raises
        ------
        TypeError, ValueError
            If the draws are not fit to bet on.
        """
        part = self.bets.update(*draws)
        self._parts.append(part)
        before = self._seen
        reached = np.flatnonzero(part >= np.log(1 / self.alpha))
        alarm = before.alarm_at
        if alarm is None and reached.size:
            alarm = before.draws + int(reached[0]) + 1
        largest = max(before.largest, float(part.max(initial=0.0)))
        self._seen = Watched(before.draws + part.size, self.bets.log_wealth, largest, alarm)
        return self._seen

    def outcome(self) -> Outcome:
        """Return the verdict on all draws so far; it may be asked for at any time."""
        seen = self._seen
        details = f"largest wealth {np.exp(min(seen.largest, 700.0)):.3g} in {seen.draws} draws"
        if seen.alarm_at is not None:
            details += f", alarm after {seen.alarm_at}"
        return Outcome(seen.largest, float(np.log(1 / self.alpha)), seen.alarm_at is None, self.alpha, details)


@dataclasses.dataclass(frozen=True)
class Accumulation:
    """Evidence of one check over many nights, with one false-alarm probability for all of them.

    E-values of independent nights are multiplied. When the code changes, the product starts anew, with the ``r``-th
    share ``6 / (pi^2 r^2)`` of the level, so that the shares of all restarts add up to it.

    Parameters
    ----------
    alpha
        Bound of the probability of a false alarm, ever.
    version
        Name of the code that the product belongs to, such as a hash of its source.
    log_evalue
        Log of the product.
    restarts
        How many versions there have been, this one included; 0 before the first night.
    nights
        Number of nights of this version.
    """

    alpha: float = 0.01
    version: str = ""
    log_evalue: float = 0.0
    restarts: int = 0
    nights: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha has to lie in (0, 1); got {self.alpha}")

    @property
    def level(self) -> float:
        """Share of the level that this version has."""
        return self.alpha * 6 / (np.pi**2 * max(self.restarts, 1) ** 2)

    @property
    def alarm(self) -> bool:
        """Whether the product has reached the inverse of the level."""
        return bool(self.log_evalue >= np.log(1 / self.level))

    def after(self, log_evalue: float, *, version: str) -> "Accumulation":
        """Return the record after one more night.

        Parameters
        ----------
        log_evalue
            Log of an e-value from randomness of this night alone: the last wealth of an e-process, not its largest.
        version
            The code that it belongs to.

        Raises
        ------
        ValueError
            If the e-value is NaN.
        """
        if np.isnan(log_evalue):
            raise ValueError("the log of an e-value is NaN; a check that could not be made adds no night")
        if self.restarts and version == self.version:
            return dataclasses.replace(self, log_evalue=self.log_evalue + log_evalue, nights=self.nights + 1)
        return Accumulation(self.alpha, version, float(log_evalue), self.restarts + 1, 1)

    def outcome(self) -> Outcome:
        """Return the verdict after the nights so far."""
        details = f"{self.nights} nights of version {self.version!r}, number {self.restarts}"
        return Outcome(self.log_evalue, float(np.log(1 / self.level)), not self.alarm, self.alpha, details)
