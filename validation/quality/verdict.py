"""What a measure of quality returns: an estimate, or a verdict with its false-alarm probability."""

import dataclasses

import numpy as np
from jaxtyping import Float

from ergodica.validation.evidence import Outcome


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number estimated from a sample.

    Parameters
    ----------
    value
        The estimate.
    standard_error
        Its standard error, or ``None`` where none is known.
    method
        What was computed, in words.
    """

    value: float
    standard_error: float | None
    method: str


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The result of a test.

    Parameters
    ----------
    value
        The statistic; large values speak against the null hypothesis.
    p_value
        Its p-value; never 0.
    exact
        Whether ``P(p_value <= u) <= u`` is proven for every ``u`` and every sample size under the null hypothesis.
        Otherwise the level holds in the limit of large samples, and the test is a diagnostic.
    guarantee
        How the level is guaranteed, and for which draws.
    resolution
        No p-value of this test is smaller; a level below it can never reject.
    method
        What was computed, in words.
    standard_error
        Standard error of the value, or ``None``.
    reference
        Values of the statistic under the null hypothesis that the p-value was counted from; empty if there are none.
    """

    value: float
    p_value: float
    exact: bool
    guarantee: str
    resolution: float
    method: str
    standard_error: float | None = None
    reference: Float[np.ndarray, " replicates"] = dataclasses.field(default_factory=lambda: np.empty(0), repr=False)

    def outcome(self, level: float) -> Outcome:
        """Hold the p-value against a level.

        Parameters
        ----------
        level
            The test fails at and below it. It is the false-alarm probability of an exact test; an asymptotic one has
            none, and its outcome is no evidence.

        Raises
        ------
        ValueError
            If the level is outside (0, 1), or so small that the test can never fail.
        """
        if not 0 < level < 1:
            raise ValueError(f"level has to lie in (0, 1); got {level}")
        if level < self.resolution:
            raise ValueError(
                f"at level {level:g} this test can never fail: no p-value is below {self.resolution:g}. Ask for at "
                f"least {int(np.ceil(1 / level)) - 1} permutations or replicates, or for more draws."
            )
        return Outcome(
            statistic=self.p_value,
            bound=level,
            passed=self.p_value > level,
            false_alarm=level if self.exact else None,
            details=f"{self.method}: {self.value:.6g}, p-value {self.p_value:.3g} ({self.guarantee})",
        )
