"""Simultaneous bands: golden numbers, coverage by enumeration, exact p-values, chains among each other."""

import itertools

import jax
import numpy as np
import pytest

from ergodica.validation.calibration.chains_ecdf_band import chains_ecdf_band, chains_ecdf_test
from ergodica.validation.calibration.ecdf_band import (
    band_coverage,
    counts_below,
    ecdf_band,
    rank_ecdf_test,
    uniform_ecdf_test,
)

GOLDEN = [
    (50, 50, 0.0064194841, 0.95139707),
    (100, 100, 0.0041097495, 0.95053298),
    (100, 20, 0.0085483649, 0.95011484),
    (250, 100, 0.0032732035, 0.95038379),
    (1000, 100, 0.0026696108, 0.95002397),
]


@pytest.mark.parametrize(("size", "cells", "gamma", "coverage"), GOLDEN)
def test_golden_bands(size, cells, gamma, coverage):
    band = ecdf_band(size, cells, 0.05)
    assert band.gamma == pytest.approx(gamma, abs=1e-10)
    assert band.coverage == pytest.approx(coverage, abs=1e-8)
    assert band_coverage(size, cells, band.gamma) == band.coverage
    # The largest gamma: a little more is too little coverage.
    assert band_coverage(size, cells, band.gamma * (1 + 1e-9)) < 0.95


def test_golden_counts():
    band = ecdf_band(100, 100, 0.05)
    assert [(band.lower[j], band.upper[j]) for j in (9, 49, 89)] == [(3, 19), (36, 64), (81, 97)]
    low, high = band.differences
    assert low[49] == pytest.approx(-0.14)
    assert high[49] == pytest.approx(0.14)


def _compositions(size, cells):
    for bars in itertools.combinations(range(size + cells - 1), cells - 1):
        edges = (-1, *bars, size + cells - 1)
        yield np.diff(edges) - 1


def _probabilities(size, cells):
    """All ways to put values into cells, with their multinomial probabilities."""
    log_factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, size + 1)))])
    ways = np.array(list(_compositions(size, cells)))
    logs = log_factorials[size] - log_factorials[ways].sum(axis=1) - size * np.log(cells)
    return ways, np.exp(logs)


@pytest.mark.parametrize(("size", "cells"), [(6, 5), (3, 7), (9, 2)])
def test_coverage_and_pvalues_by_enumeration(size, cells):
    ways, law = _probabilities(size, cells)
    counts = np.cumsum(ways, axis=1)[:, :-1]
    for level in (0.01, 0.05, 0.3):
        band = ecdf_band(size, cells, level)
        inside = np.array([band.contains(row) for row in counts])
        assert band.coverage == pytest.approx(law[inside].sum(), rel=1e-12)
        assert band.coverage >= 1 - level
    pvalues = np.array([rank_ecdf_test(np.repeat(np.arange(cells), way), cells).p_value for way in ways])
    # Each p-value is the probability of one at most as large: exact, not only valid.
    for p in np.unique(np.round(pvalues, 12)):
        assert law[pvalues <= p + 1e-9].sum() == pytest.approx(p, rel=1e-8)


def test_band_and_pvalue_agree():
    rng = np.random.default_rng(0)
    band = ecdf_band(40, 10, 0.2)
    for _ in range(60):
        ranks = rng.integers(0, 10, 40)
        inside = band.contains(counts_below(ranks, 10))
        assert inside == (rank_ecdf_test(ranks, 10).p_value > 1 - band.coverage + 1e-9)


def test_far_tails_keep_their_size():
    # All values in the first of two cells: probability 2^-n on either side.
    for size in (20, 60):
        assert rank_ecdf_test(np.zeros(size, int), 2).p_value == pytest.approx(2.0 ** (1 - size), rel=1e-6)
    assert rank_ecdf_test(np.zeros(400, int), 2).p_value == pytest.approx(1e-25)


def test_ranks_and_values_of_the_same_cells():
    rng = np.random.default_rng(1)
    ranks = rng.integers(0, 20, 100)
    values = (ranks + rng.uniform(0.01, 0.99, 100)) / 20
    assert uniform_ecdf_test(values, cells=20).p_value == rank_ecdf_test(ranks, 20).p_value
    assert rank_ecdf_test(ranks, 20, cells=5).p_value == rank_ecdf_test(ranks // 4, 5).p_value


def test_bad_input():
    for call, message in [
        (lambda: rank_ecdf_test(np.array([], int), 10), "at least one"),
        (lambda: rank_ecdf_test(np.array([0, 10]), 10), "reach from 0 to 10"),
        (lambda: rank_ecdf_test(np.array([-1, 3]), 10), "reach from -1 to 3"),
        (lambda: rank_ecdf_test(np.array([1, 2]), 101, cells=20), "do not divide"),
        (lambda: uniform_ecdf_test([0.5, np.nan]), "nan"),
        (lambda: uniform_ecdf_test([0.5, 1.2]), "1.2"),
        (lambda: ecdf_band(10, 1), "cells"),
        (lambda: ecdf_band(0, 5), "size"),
        (lambda: ecdf_band(10, 5, 0.0), "level"),
        (lambda: band_coverage(10, 5, 1.0), "gamma"),
        (lambda: ecdf_band(10, 5).contains(np.zeros(5)), "one a point"),
        (lambda: chains_ecdf_test(np.zeros((1, 9)), key=jax.random.key(0)), "at least two chains"),
        (lambda: chains_ecdf_test(np.zeros((2, 9)), key=jax.random.key(0)), "all draws are"),
        (lambda: chains_ecdf_test([[0.0, 1.0], [np.nan, 2.0]], key=jax.random.key(0)), "draw 0 of chain 1 is nan"),
        (lambda: chains_ecdf_test(np.zeros(9), key=jax.random.key(0)), "one quantity at a time"),
        (lambda: chains_ecdf_band(1, 9, key=jax.random.key(0)), "at least two chains"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match="uniform_ecdf_test"):
        rank_ecdf_test(np.array([0.5]), 10)


# --- several chains -------------------------------------------------------------------------------------------------


def test_golden_gammas_of_chains():
    # Golden 0.0050 and 0.0011 from 4000 shuffles. The tail that gamma is the quantile of has an sd of 3.4e-3 around 0.05
    # in 4000 shuffles; the tails at 0.6 and 1.5 times the golden value differ from it by more than 5 sd.
    for chains, golden in ((2, 0.0050), (4, 0.0011)):
        band = chains_ecdf_band(chains, 100, key=jax.random.key(1))
        assert 0.6 * golden < band.gamma < 1.5 * golden
        assert band.lower.shape == band.upper.shape == (99,)
        assert np.all(band.lower <= band.ranks / chains)
        assert np.all(band.ranks / chains <= band.upper)


def test_test_of_chains_is_exact():
    # P(p <= 1/20) = 1/20 with 19 shuffles; 400 tests of correlated normal coordinates. Bin(400, 1/20) exceeds 44 with
    # probability 8e-7.
    rng = np.random.default_rng(2)
    key = jax.random.key(3)
    rejected = sum(
        chains_ecdf_test(rng.normal(size=(3, 12)), key=jax.random.fold_in(key, i), permutations=19).p_value <= 0.05
        for i in range(400)
    )
    assert rejected <= 44


def test_chains_that_differ_are_found():
    rng = np.random.default_rng(3)
    key = jax.random.key(4)
    right = rng.normal(size=(4, 200))
    # False alarm 1e-3 with a fixed seed.
    assert chains_ecdf_test(right, key=key).p_value > 1e-3
    for wrong in (right + np.array([0, 0, 0, 0.8])[:, None], right * np.array([1, 1, 1, 2.0])[:, None]):
        assert chains_ecdf_test(wrong, key=key).p_value == 1e-3
    # An autocorrelated chain is not exchangeable with independent ones.
    slow = np.repeat(rng.normal(size=(4, 10)), 20, axis=1)
    assert chains_ecdf_test(slow, key=key).p_value == 1e-3


def test_ties_between_chains():
    rng = np.random.default_rng(4)
    assert chains_ecdf_test(rng.integers(0, 2, (3, 60)).astype(float), key=jax.random.key(5)).p_value > 1e-3
