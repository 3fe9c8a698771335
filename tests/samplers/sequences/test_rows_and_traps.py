"""The catalogue's rows hold, and the wrong variants are rejected."""

import jax
import pytest

from ergodica.validation.cases.sequences import CASES
from ergodica.validation.evidence import run_check
from tests.traps.blocks import BreaksAtFirstFailure, TokenResidual, UncappedLast
from tests.traps.sequences import TRAPS

ROWS = {case.name: case for case in CASES}


def outcome(name, index, subject):
    return run_check(ROWS[name].checks[index], subject, name=name, key=jax.random.key(3))


def disguised(trap, name):
    """Return the row's example as an instance of the trap."""
    copy = object.__new__(trap)
    for field, value in vars(ROWS[name].example()).items():
        object.__setattr__(copy, field, value)
    return copy


@pytest.mark.parametrize(
    ("name", "index"),
    [(case.name, i) for case in CASES for i in range(len(case.checks))],
)
def test_rows_hold(name, index):
    record = outcome(name, index, ROWS[name].example())
    assert record.passed, record.details
    assert record.statistic < 1e-13


@pytest.mark.slow
@pytest.mark.parametrize(("name", "trap"), [(name, trap) for name, traps in TRAPS.items() for trap in traps])
def test_traps_are_rejected(name, trap):
    subject = disguised(trap, name)
    assert not outcome(name, 0, subject).passed


@pytest.mark.slow
@pytest.mark.parametrize("trap", [UncappedLast, TokenResidual, BreaksAtFirstFailure])
def test_wrong_rules_show_in_the_law_of_texts(trap):
    assert not outcome("generation-by-blocks", 0, trap()).passed


def test_rows_say_what_they_claim():
    for case in CASES:
        subject = case.example()
        assert isinstance(subject, case.subject)
        assert subject.claim.source
        assert subject.claim.is_exact == (case.name != "approximate-futures")
