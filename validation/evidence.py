"""Checks, what they found, and the record that is kept of it."""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import PRNGKeyArray

from ergodica.validation.pictures import Picture


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a check found.

    Parameters
    ----------
    statistic
        The number that was computed: an error, a p-value, a z-score.
    bound
        What the statistic was held against.
    passed
        The verdict.
    false_alarm
        Proven upper bound of the probability that a right sampler fails; 0 for exact checks; ``None`` for a diagnostic,
        which is no evidence.
    details
        A sentence for a person: on failure, the states, flows or quantities that are wrong.
    pictures
        Numbers for the pictures of an evidence card.
    """

    statistic: float
    bound: float
    passed: bool
    false_alarm: float | None
    details: str = ""
    pictures: tuple[Picture, ...] = dataclasses.field(default=(), compare=False, repr=False)


@dataclasses.dataclass(frozen=True)
class Check:
    """A named test of a claim.

    Parameters
    ----------
    name
        What is tested, in a few words; the first is the method: ``"exact: Metropolis on ring4"``.
    run
        ``run(subject, key) -> Outcome``, where the subject is a kernel or a rule. The check gives the subject its
        target.
    seconds
        Rough cost on one core, for the budget.
    """

    name: str
    run: Callable[[Any, PRNGKeyArray], Outcome]
    seconds: float = 1.0


@dataclasses.dataclass(frozen=True)
class Evidence:
    """The record of one check of one subject.

    Parameters
    ----------
    subject
        Name of the kernel or rule.
    claim
        Its claim, in words.
    check
        Name of the check.
    statistic, bound, passed, false_alarm, details, pictures
        As in :class:`Outcome`.
    seconds
        How long the check took.
    """

    subject: str
    claim: str
    check: str
    statistic: float
    bound: float
    passed: bool
    false_alarm: float | None
    seconds: float
    details: str = ""
    pictures: tuple[Picture, ...] = dataclasses.field(default=(), compare=False, repr=False)

    @property
    def kind(self) -> str:
        """``"exact"``, ``"statistical"`` with a proven level, or ``"diagnostic"``, which is no evidence."""
        if self.false_alarm is None:
            return "diagnostic"
        return "exact" if self.false_alarm == 0 else "statistical"

    def to_record(self) -> dict[str, Any]:
        """Return the record without its pictures, as numbers and words."""
        fields = (field.name for field in dataclasses.fields(self) if field.name != "pictures")
        return {name: getattr(self, name) for name in fields}


@dataclasses.dataclass(frozen=True)
class Case:
    """A row of the catalogue: a kind of kernel, an example of it, and the checks that its claim has to pass.

    Parameters
    ----------
    name
        Name in the catalogue and on the command line: ``"gibbsian-polar-slice"``.
    subject
        The class of the kernel or rule; ``certify`` finds the row of an instance by it.
    example
        Makes the instance that the catalogue certifies.
    checks
        Run on an instance of ``subject``. A check has to hold for every instance that the claim covers.
    only_example
        Whether the checks fit the example alone, as those of a composition do: other instances need a target.
    """

    name: str
    subject: type
    example: Callable[[], Any]
    checks: tuple[Check, ...]
    only_example: bool = False


def run_check(check: Check, subject: Any, *, name: str, key: PRNGKeyArray) -> Evidence:
    """Run a check and record what it found.

    Parameters
    ----------
    check
        The check.
    subject
        A kernel or a rule, with a ``claim``.
    name
        The subject's name, for the record.
    key
        Typed key; exact checks do not use it.
    """
    started = time.perf_counter()
    outcome = check.run(subject, key)
    jax.effects_barrier()
    return Evidence(
        subject=name,
        claim=str(subject.claim),
        check=check.name,
        statistic=float(outcome.statistic),
        bound=float(outcome.bound),
        passed=bool(outcome.passed) and not math.isnan(outcome.statistic),
        false_alarm=outcome.false_alarm,
        seconds=time.perf_counter() - started,
        details=outcome.details,
        pictures=outcome.pictures,
    )
