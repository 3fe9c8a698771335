"""Counted rows: exact baseline of the total variation, wrong rows found, refusals."""

import itertools
import math

import numpy as np
import pytest

from ergodica.validation.row_test import expected_total_variation, row_counts_test

RING4 = np.array([[0.1, 0.6, 0, 0.3], [0.3, 0.25, 0.45, 0], [0, 0.3, 0.3, 0.4], [0.075, 0, 0.3, 0.625]])


def test_golden_total_variation():
    # Golden, simulated: 0.0238060; the normal approximation says 0.0238423.
    law = np.array([0.1, 0.2, 0.4, 0.2, 0.1])
    assert expected_total_variation(law, 1000) == pytest.approx(0.0238060, rel=2e-3)
    approximate = 0.5 * np.sum(np.sqrt(2 * law * (1 - law) / (np.pi * 1000)))
    assert approximate == pytest.approx(0.0238423, abs=5e-8)


def test_total_variation_by_enumeration():
    law, n = np.array([0.1, 0.6, 0.0, 0.3]), 5
    total = 0.0
    for counts in itertools.product(range(n + 1), repeat=4):
        if sum(counts) != n:
            continue
        ways = math.factorial(n) / math.prod(math.factorial(c) for c in counts)
        total += ways * np.prod(law ** np.array(counts)) * 0.5 * np.abs(np.array(counts) / n - law).sum()
    assert expected_total_variation(law, n) == pytest.approx(total, rel=1e-12)
    assert expected_total_variation([1.0, 0.0], 7) == 0


def test_rows():
    # False alarm 1e-6.
    rng = np.random.default_rng(0)
    counts = np.array([rng.multinomial(4000, row) for row in RING4])
    good = row_counts_test(counts, RING4)
    assert good.passed
    assert good.false_alarm == 1e-6
    forgets = np.array([rng.multinomial(4000, row) for row in (RING4 + 0.1) / 1.4])
    assert not row_counts_test(np.where(RING4 > 0, forgets, 0), RING4).passed
    impossible = counts.copy()
    impossible[1, 3] += 1
    outcome = row_counts_test(impossible, RING4)
    assert not outcome.passed
    assert np.isposinf(outcome.statistic)
    assert "1 steps of probability zero, to [3]" in outcome.details


def test_rows_hold_their_level():
    # Two rows of two cells, three steps each: the expectation of every row's e-value by enumeration.
    law = np.array([[0.5, 0.5], [0.2, 0.8]])
    for row in law:
        mean = sum(
            math.comb(3, k)
            * row[0] ** k
            * row[1] ** (3 - k)
            * np.exp(row_counts_test(np.array([[k, 3 - k]]), row[None]).statistic)
            for k in range(4)
        )
        assert mean == pytest.approx(1, rel=1e-12)


def test_bad_input():
    for counts, matrix, message in [
        (np.ones((4, 3), int), RING4, "one shape"),
        (np.ones((4, 4)), RING4, "integers"),
        (-np.ones((4, 4), int), RING4, "not negative"),
        (np.diag([1, 1, 0, 1]), RING4, "row 2 has no steps"),
        (np.ones((2, 2), int), np.ones((2, 2)), "sum to one"),
    ]:
        with pytest.raises(ValueError, match=message):
            row_counts_test(counts, matrix)
    with pytest.raises(ValueError, match="alpha"):
        row_counts_test(np.ones((4, 4), int), RING4, alpha=0)
    with pytest.raises(ValueError, match="sum to one"):
        expected_total_variation([0.5, 0.6], 10)
