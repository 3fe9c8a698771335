"""Certify: run the checks of a claim, and say what they found."""

import dataclasses
import json
import time
from collections.abc import Mapping
from typing import Any

import jax

from ergodica.samplers.claim import Claim
from ergodica.samplers.kernel import Kernel
from ergodica.validation.catalogue import case_of, catalogue
from ergodica.validation.choose_checks import Choice, choose_checks
from ergodica.validation.enumeration import EnumerationError
from ergodica.validation.evidence import Case, Check, Evidence, run_check
from ergodica.validation.host import Host, steps_on
from ergodica.validation.offer import KnownLaw, first_line, is_fault
from ergodica.validation.step_function import FunctionKernel
from ergodica.validation.targets.model import Model
from ergodica.validation.targets.target import FiniteTarget, Target


@dataclasses.dataclass(frozen=True)
class Report:
    """What :func:`certify` found.

    Parameters
    ----------
    evidence
        A record for each check that ran.
    skipped
        Names of the checks for which the budget did not suffice.
    elsewhere
        Names of the checks that make no step on the host that was asked for: those of the traced program.
    picked
        Where the checks were chosen for the kernel: why, by the name of the check.
    left_out
        Where they were chosen: which kinds of checks were not, and why.
    claim
        What the subject promises.
    """

    evidence: tuple[Evidence, ...]
    skipped: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    picked: Mapping[str, str] = dataclasses.field(default_factory=dict)
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)
    claim: Claim | None = None

    @property
    def passed(self) -> bool:
        """Whether there is evidence and none of it speaks against the claim."""
        proven = [record for record in self.evidence if record.false_alarm is not None]
        return bool(proven) and all(record.passed for record in self.evidence)

    @property
    def false_alarm(self) -> float:
        """Upper bound of the probability that a right subject fails: the sum over the checks."""
        return sum(record.false_alarm or 0.0 for record in self.evidence)

    @property
    def failures(self) -> tuple[Evidence, ...]:
        """The records that speak against the claim."""
        return tuple(record for record in self.evidence if not record.passed)

    def to_json(self) -> str:
        """Return the report as a JSON document."""
        return json.dumps(
            {
                "passed": self.passed,
                "false_alarm": self.false_alarm,
                "evidence": [record.to_record() for record in self.evidence],
                "skipped": list(self.skipped),
                "elsewhere": list(self.elsewhere),
                "picked": dict(self.picked),
                "left_out": dict(self.left_out),
            },
            indent=2,
        )

    def __str__(self) -> str:
        lines = []
        for record in self.evidence:
            verdict = "ok  " if record.passed else "FAIL"
            alarm = "diagnostic" if record.false_alarm is None else f"{record.false_alarm:.1g}"
            lines.append(
                f"{verdict} {record.subject} [{record.claim}] {record.check}: {record.statistic:.3g} "
                f"(bound {record.bound:.3g}, false alarm {alarm}, {record.seconds:.1f} s)"
            )
            if not record.passed and record.details:
                lines.append(f"       {record.details}")
            elif record.check in self.picked:
                lines.append(f"       because {self.picked[record.check]}")
        lines += [f"skip {name}: over budget" for name in self.skipped]
        lines += [f"skip {name}: not about the host" for name in self.elsewhere]
        lines += [f"no   {kind}: {why}" for kind, why in self.left_out.items()]
        lines.append(
            f"{'certified' if self.passed else 'NOT certified'}: {len(self.evidence)} checks, "
            f"false alarm at most {self.false_alarm:.1g}"
        )
        return "\n".join(lines)


def _choice_on(subject: Any, target: Any) -> Choice:
    if not isinstance(subject, Kernel):
        raise TypeError(
            f"certify with a target needs a kernel; got {type(subject).__name__}. Leave the target out for a rule of the "
            "catalogue."
        )
    if not isinstance(target, Target | FiniteTarget | Model):
        raise TypeError(
            f"certify needs a target with known truth, a Target, FiniteTarget or Model of ergodica.validation; got "
            f"{type(target).__name__}"
        )
    return choose_checks(subject, target)


def certify(
    subject: Any,
    target: KnownLaw | None = None,
    *,
    budget: float | None = None,
    seed: int = 0,
    host: Host = "jax",
) -> Report:
    """Check the claim of a kernel or a rule.

    Parameters
    ----------
    subject
        A kernel or acceptance rule, or the name of a row of the catalogue. With a target also a function
        ``step(key, position) -> position``.
    target
        A target with known truth. Without one, the checks of the catalogue's row for the subject's class run, which
        bring their own targets. With one, the kernel may be any that the library has never seen: the checks are chosen by
        what it offers and claims, and the report says which and why; see
        :func:`ergodica.validation.choose_checks.choose_checks`.
    budget
        Seconds to spend; checks that would go beyond are skipped and listed. Chosen checks run cheap ones first. Default:
        all checks.
    seed
        Seed of the statistical checks.
    host
        What makes the steps that are looked at: ``"jax"``, or ``"numba"`` for the code that
        :mod:`ergodica.samplers.lowering` compiles. Exact laws are those of the traced program; with ``"numba"`` their checks
        compare compiled steps with XLA's, key by key. Checks that make no step are left out.

    Returns
    -------
    Report

    Raises
    ------
    KeyError
        If there is no row of that name.
    TypeError, ValueError
        If the subject is in no row and no target is given, or the two do not fit.

    Examples
    --------
    >>> from ergodica import certify
    >>> certify("heat-bath").passed
    True
    """
    case: Case | None
    if target is not None and callable(subject) and not hasattr(subject, "claim"):
        subject = FunctionKernel(subject)
    if isinstance(subject, str):
        if subject not in catalogue():
            raise KeyError(f"the catalogue has no {subject!r}; it has {', '.join(catalogue())}")
        case = catalogue()[subject]
        with jax.enable_x64(True):
            subject = case.example()
    else:
        case = case_of(subject)
    if not hasattr(subject, "claim"):
        raise TypeError(
            "certify needs a kernel or a rule with a claim, or, with a target, a function step(key, position) -> position; "
            f"got {type(subject).__name__}"
        )
    name = case.name if case is not None else type(subject).__name__
    if isinstance(subject, FunctionKernel):
        name = getattr(subject.move, "__name__", name)
    choice = Choice((), {}, {})
    if target is not None:
        with jax.enable_x64(True):
            choice = _choice_on(subject, target)
        checks = choice.checks
    elif case is not None:
        checks = case.checks
    else:
        raise ValueError(
            f"the catalogue has no row for {type(subject).__name__}; pass a target with known truth, as in "
            "certify(kernel, target)"
        )
    if host not in ("jax", "numba"):
        raise ValueError(f"host is one of 'jax', 'numba'; got {host!r}")
    return _run(subject, name, checks, choice, budget=budget, seed=seed, host=host)


def _run(
    subject: Any, name: str, checks: tuple[Check, ...], choice: Choice, *, budget: float | None, seed: int, host: Host
) -> Report:
    started = time.perf_counter()
    evidence, skipped, elsewhere = [], [], []
    left_out = dict(choice.left_out)
    with jax.enable_x64(True):
        key = jax.random.key(seed)
        for index, check in enumerate(checks):
            if budget is not None and time.perf_counter() - started + check.seconds > budget:
                skipped.append(check.name)
                continue
            with steps_on(host) as use:
                try:
                    record = run_check(check, subject, name=name, key=jax.random.fold_in(key, index))
                except EnumerationError as error:
                    if check.name not in choice.picked:
                        raise
                    if not is_fault(str(error)):
                        left_out[check.name] = first_line(error)
                        continue
                    record = _refused(subject, name, check, str(error))
            if host == "jax" or use.happened:
                evidence.append(record)
            else:
                elsewhere.append(check.name)
    return Report(tuple(evidence), tuple(skipped), tuple(elsewhere), choice.picked, left_out, subject.claim)


def _refused(subject: Any, name: str, check: Check, words: str) -> Evidence:
    return Evidence(name, str(subject.claim), check.name, float("inf"), 0.0, False, 0.0, 0.0, words)
