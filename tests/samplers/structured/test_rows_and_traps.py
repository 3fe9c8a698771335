"""The rows of structured draws pass, and what is done wrong is found."""

import itertools

import jax
import pytest

from ergodica.validation.cases.structured import CASES
from ergodica.validation.cases.target_transforms import speculation_check
from tests.traps import structured as traps

ROWS = {case.name: case for case in CASES}
KEY = jax.random.key(2302)
# Each statistical check has a false alarm of at most 1e-6; seeds are fixed.
SLOW = {("sum-tree", 2), ("sum-tree", 3), ("stochastic-beam-search", 1), ("cautious-decoding", 0)}
EVERY = [(name, index) for name, row in ROWS.items() for index in range(len(row.checks))]


def marked(name, index, *trap):
    slow = (pytest.mark.slow,) if trap else (pytest.mark.slow, pytest.mark.catalogue)
    return pytest.param(name, index, *trap, marks=slow if (name, index) in SLOW else ())


@pytest.mark.parametrize(("name", "index"), list(itertools.starmap(marked, EVERY)))
def test_the_check_accepts(name, index):
    row = ROWS[name]
    outcome = row.checks[index].run(row.example(), KEY)
    assert outcome.passed, outcome.details


TRAPS = [
    *[(name, 0, trap) for name, trap in (*traps.TRANSFORM_TRAPS, *traps.WEIGHT_TRAPS)],
    ("transforms-in-turn", 0, traps.OtherOrder),
    *[("arithmetic-sampling", index, trap) for trap, index in traps.ARITHMETIC_TRAPS],
    *[("stochastic-beam-search", 1, trap) for trap in traps.BEAM_TRAPS],
    *[("integer-draw", 0, trap) for trap in traps.INTEGER_TRAPS],
    ("sum-tree", 0, traps.LightIsLeft),
    ("sum-tree", 1, traps.CancelledShares),
    ("sum-tree", 2, traps.CoarseGumbel),
    ("sum-tree", 3, traps.Race32),
    *[("first-hitting", index, trap) for trap, index in traps.HITTING_TRAPS],
    *[("power-sampling", index, trap) for trap, index in traps.POWER_TRAPS],
    ("priority-search", 0, traps.ByWholePrefixes),
    ("cautious-decoding", 0, traps.PrefersLong),
]


def made_wrong(name, trap):
    """Return an instance of a trap with the fields of the row's example."""
    example = ROWS[name].example()
    wrong = object.__new__(trap)
    for field, value in vars(example).items():
        object.__setattr__(wrong, field, value)
    return wrong


@pytest.mark.parametrize(("name", "index", "trap"), list(itertools.starmap(marked, TRAPS)))
def test_the_check_rejects(name, index, trap):
    outcome = ROWS[name].checks[index].run(made_wrong(name, trap), KEY)
    assert not outcome.passed
    assert outcome.details


@pytest.mark.parametrize("name", ["temperature", "top-p", "min-p", "typical"])
def test_a_residual_that_is_transformed_again_is_found(name):
    check = speculation_check(traps.WarpedResidual)
    assert not check.run(ROWS[name].example(), KEY).passed
