"""The catalogue's rows hold, and the wrong variants are rejected."""

import jax
import pytest

from ergodica.samplers.acceptance.rejection.adaptive_weighted import AdaptiveWeightedRejection
from ergodica.samplers.kernel import replace
from ergodica.validation.cases.rejection import CASES
from ergodica.validation.evidence import run_check
from tests.traps import rejection as traps

ROWS = {case.name: case for case in CASES}
EXACT = [(case.name, i) for case in CASES for i, check in enumerate(case.checks) if check.name.startswith("exact")]
STATISTICAL = [
    (case.name, i) for case in CASES for i, check in enumerate(case.checks) if not check.name.startswith("exact")
]


def outcome(name, index, subject=None):
    case = ROWS[name]
    return run_check(
        case.checks[index], case.example() if subject is None else subject, name=name, key=jax.random.key(3)
    )


def disguised(trap, name):
    """Return the row's example as an instance of the trap."""
    copy = object.__new__(trap)
    for field, value in vars(ROWS[name].example()).items():
        object.__setattr__(copy, field, value)
    return copy


@pytest.mark.parametrize(("name", "index"), EXACT)
def test_exact_checks(name, index):
    record = outcome(name, index)
    assert record.passed, record.details


# Statistical checks: each with a false-alarm probability of at most 1e-6, and a fixed seed.
@pytest.mark.slow
@pytest.mark.parametrize(("name", "index"), STATISTICAL)
@pytest.mark.catalogue
def test_statistical_checks(name, index):
    record = outcome(name, index)
    assert record.passed, record.details


def test_geometric_weights_are_proper():
    subject = AdaptiveWeightedRejection("geometric", accepts=2, rejects=3)
    assert outcome("adaptive-weighted-rejection", 0, subject).passed


@pytest.mark.parametrize(
    ("name", "trap", "index"),
    [
        *[("rejection", trap, 0) for trap in traps.REJECTION_TRAPS],
        *[("squeezed-rejection", trap, 0) for trap in traps.SQUEEZE_TRAPS],
        *[("alias-table", trap, 0) for trap in traps.ALIAS_TRAPS],
        *[("adaptive-weighted-rejection", trap, 0) for trap in traps.WEIGHTED_TRAPS],
        *[("rerandomisation", trap, 0) for trap in traps.RERANDOMISATION_TRAPS],
        *[("two-coin-barker", trap, 0) for trap in traps.COIN_TRAPS],
        *[("coupling-from-the-past", trap, 0) for trap in traps.PAST_TRAPS],
        *[("read-once-coupling", trap, 0) for trap in traps.READ_ONCE_TRAPS],
        *[("partial-rejection", trap, 1) for trap in traps.PARTIAL_TRAPS],
    ],
)
def test_traps_are_rejected_exactly(name, trap, index):
    assert not outcome(name, index, disguised(trap, name)).passed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "trap", "index"),
    [
        *[("monotone-coupling-from-the-past", trap, 0) for trap in traps.MONOTONE_TRAPS],
        *[("truncated-normal", trap, 0) for trap in traps.TRUNCATED_TRAPS],
        *[("ratio-of-uniforms", trap, 0) for trap in traps.RATIO_TRAPS],
        *[("adaptive-rejection", trap, 1) for trap in traps.ADAPTIVE_TRAPS],
    ],
)
def test_traps_are_rejected_by_their_draws(name, trap, index):
    assert not outcome(name, index, disguised(trap, name)).passed


def test_redrawing_the_violated_is_right_in_extremal_instances():
    trap = disguised(traps.RedrawsTheViolatedOnly, "partial-rejection")
    assert outcome("partial-rejection", 0, trap).passed


def test_rows_say_what_they_claim():
    for case in CASES:
        subject = case.example()
        assert isinstance(subject, case.subject)
        assert subject.claim.source
        assert subject.claim.is_exact
        if getattr(subject, "takes_logdensity", False):
            assert replace(subject, logdensity=None).bind(lambda x: -(x**2)).logdensity is not None
