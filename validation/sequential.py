"""A statistical test with a bounded false-alarm rate that repeats itself when in doubt.

A single test at level 1e-6 is blind to small errors, and one at level 0.01 cries wolf. The sequential wrapper of Gandy
and Scott looks at a p-value: a large one ends the test with PASS, a tiny one with FAIL, and one in between asks for a
new, larger sample. The probability that a right sampler fails is at most ``alpha``, whatever happens in between.

The level is as good as the p-value. It has to be *super-uniform*: ``P(p <= u) <= u`` for every ``u`` down to about
``alpha / k``, under the null hypothesis and with fresh randomness at every call. Asymptotic p-values (chi-square,
Kolmogorov, Student) are seldom that good in the far tail; use an exact law (:mod:`ergodica.validation.pearson`), an
exact binomial, or the inverse of an e-value (:mod:`ergodica.validation.evalues`).
"""

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import ArrayLike, PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.inputs import static_count
from ergodica.validation.evidence import Outcome

PValues = float | ArrayLike | Mapping[str, float]
"""One p-value, several, or several with names."""


@dataclasses.dataclass(frozen=True)
class SequentialPlan:
    """The thresholds of the sequential test.

    Parameters
    ----------
    alpha
        Bound of the probability that a right sampler fails, in (0, 1).
    k
        Largest number of stages.
    growth
        Factor by which the sample size grows after the first stage.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.

    Notes
    -----
    With ``beta = alpha / k`` and ``gamma = beta ** (1 / k)``, stage ``j`` fails at or below ``beta / gamma ** (j - 1)``
    and passes above that plus ``gamma``. It is reached with probability at most ``gamma ** (j - 1)``, so each of the
    ``k`` stages contributes at most ``alpha / k``.

    References
    ----------
    Axel Gandy and James Scott (2020), Unit testing for MCMC and other Monte Carlo methods, arXiv:2001.06465.
    """

    alpha: float = 1e-6
    k: int = 7
    growth: int = 4

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha has to lie in (0, 1); got {self.alpha}")
        static_count("k", self.k)
        static_count("growth", self.growth)

    @property
    def beta(self) -> float:
        """Threshold of failure at the first stage."""
        return self.alpha / self.k

    @property
    def gamma(self) -> float:
        """Probability of going on to the next stage, at most."""
        return float(self.beta ** (1 / self.k))

    @property
    def expected_cost(self) -> float:
        """Expected total sample size of a right sampler, in units of the first stage's, for uniform p-values."""
        return 1 + self.growth * sum(self.gamma**j for j in range(1, self.k))

    def thresholds(self, stage: int) -> tuple[float, float]:
        """Return the failure and pass thresholds of a stage, counted from 1; a pass needs a p-value above its own."""
        fail = self.beta / self.gamma ** (stage - 1)
        return fail, fail + self.gamma


def smallest_adjusted(pvalues: PValues) -> tuple[float, str]:
    """Return the smallest Bonferroni-adjusted p-value (also Holm's smallest), and the name of its component.

    Parameters
    ----------
    pvalues
        One p-value or several, of any dependence. NaN counts as 0: a statistic that cannot be computed is a failure.

    Raises
    ------
    ValueError
        If there is no p-value, or one outside [0, 1].
    """
    if isinstance(pvalues, Mapping):
        names = list(pvalues)
        values = np.asarray([pvalues[name] for name in names], dtype=float)
    else:
        values = np.atleast_1d(np.asarray(pvalues, dtype=float)).reshape(-1)
        names = [""] if values.size == 1 else [f"component {i}" for i in range(values.size)]
    if values.size == 0:
        raise ValueError("expected at least one p-value; got none")
    values = np.where(np.isnan(values), 0.0, values)
    if np.any(values < 0) or np.any(values > 1 + 1e-9):
        raise ValueError(f"p-values lie in [0, 1]; got {values}")
    worst = int(np.argmin(values))
    return min(1.0, float(values[worst]) * values.size), names[worst]


def sequential(
    pvalue: Callable[[PRNGKeyArray, int], PValues],
    key: PRNGKeyArray,
    *,
    alpha: float = 1e-6,
    k: int = 7,
    growth: int = 4,
    n: int = 1000,
) -> Outcome:
    """Test until the verdict is clear, with at most ``alpha`` probability of failing what is right.

    Parameters
    ----------
    pvalue
        ``pvalue(key, n)`` returns a p-value, a vector, or a mapping from names to p-values, from ``n`` fresh
        replicates. Each has to be super-uniform under the null hypothesis; they may depend on one another.
    key
        Typed key; every stage gets its own.
    alpha
        Bound of the false-alarm probability.
    k
        Largest number of stages.
    growth
        The sample size is multiplied by it once, after the first stage.
    n
        Sample size of the first stage.

    Returns
    -------
    Outcome
        The statistic is the smallest adjusted p-value of the last stage, the bound is that stage's failure threshold.

    References
    ----------
    Axel Gandy and James Scott (2020), Unit testing for MCMC and other Monte Carlo methods, arXiv:2001.06465.
    """
    plan = SequentialPlan(alpha, k, growth)
    size = static_count("n", n)
    total = 0
    trail: list[str] = []
    for stage in range(1, k + 1):
        smallest, name = smallest_adjusted(pvalue(random.fold_in(key, stage), size))
        total += size
        fail, proceed = plan.thresholds(stage)
        trail.append(f"{smallest:.3g}" + (f" ({name})" if name else ""))
        if smallest <= fail or smallest > proceed or stage == k:
            break
        if stage == 1:
            size = math.ceil(growth * size)
    return Outcome(
        statistic=smallest,
        bound=fail,
        passed=smallest > fail,
        false_alarm=alpha,
        details=f"smallest adjusted p-value by stage: {', '.join(trail)}; {total} replicates",
    )
