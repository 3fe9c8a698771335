"""The exact law of Pearson's statistic."""

import itertools
from math import factorial

import numpy as np
import pytest
from scipy import stats

from ergodica.validation import pearson
from ergodica.validation.pearson import uniformity_pvalue


@pytest.mark.parametrize(("n", "cells"), [(1, 2), (7, 3), (9, 4), (12, 2), (8, 5)])
def test_against_enumeration(n, cells):
    outcomes = [x for x in itertools.product(range(n + 1), repeat=cells) if sum(x) == n]
    probability = {x: factorial(n) / np.prod([factorial(c) for c in x], dtype=float) / cells**n for x in outcomes}
    statistic = {x: sum((c - n / cells) ** 2 for c in x) for x in outcomes}
    for x in outcomes:
        exact = sum(probability[y] for y in outcomes if statistic[y] >= statistic[x] - 1e-9)
        assert uniformity_pvalue(np.array(x)) == pytest.approx(min(1, exact), rel=1e-8, abs=2e-11)


def test_chi_square_tail_is_liberal_and_the_inflated_one_is_not():
    # 100 in each of 10 cells: the chi-square tail at 1e-7 is too small by a quarter.
    exact = pearson._tail(1000, 10)
    index = int(np.ceil(stats.chi2.isf(1e-7, 9) * 100))
    assert exact[index] == pytest.approx(1.2464e-7, rel=1e-3)
    # Where the chi-square tail is used, from 200 a cell on, 1.25 times it covers the exact tail down to 1e-9.
    exact = pearson._tail(2000, 10)
    for level in 10.0 ** -np.arange(0.5, 9.1, 0.5):
        index = int(np.ceil(stats.chi2.isf(level, 9) * 200))
        assert exact[index] <= pearson._INFLATION * level + 1e-9


def test_large_counts_use_the_bound():
    counts = np.full(10, 400) + np.array([30, -30, 10, -10, 0, 0, 5, -5, 20, -20])
    tail = stats.chisquare(counts).pvalue
    assert uniformity_pvalue(counts) == pytest.approx(min(1.0, 1.25 * tail + 1e-9), rel=1e-9)


def test_gross_deviation_hits_the_floor():
    assert uniformity_pvalue(np.array([1000, 0, 0, 0])) < 2e-9
    assert uniformity_pvalue(np.array([100, 0, 0, 0])) < 2e-11


def test_bad_input():
    for counts in ([1.0, 2.0], [5], [3, -1], [[1, 2]]):
        with pytest.raises(ValueError, match="non-negative integer counts"):
            uniformity_pvalue(np.array(counts))
    with pytest.raises(ValueError, match="observations"):
        uniformity_pvalue(np.array([0, 0]))
