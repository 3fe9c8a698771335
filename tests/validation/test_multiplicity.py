"""Holm, e-Bonferroni and e-BH: golden numbers, error rates, refusals."""

import itertools

import numpy as np
import pytest

from ergodica.validation.multiplicity import e_bh, e_bonferroni, holm, mean_evalue, release_gate

EVALUES = np.array([900, 450, 150, 90, 30, 10, 1, 0.5, 0.2, 1e-300])


def test_golden_holm():
    p = np.array([0.0001, 0.004, 0.019, 0.03, 0.2])
    expected = np.array([0.0005, 0.016, 0.057, 0.06, 0.2])
    for order in ([0, 1, 2, 3, 4], [3, 0, 4, 2, 1]):
        assert holm(p[order]) == pytest.approx(expected[order], rel=1e-12)
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]


def test_golden_e_bh():
    found = e_bh(np.log(EVALUES), 0.05)
    assert found.count == 4
    assert found.rejected.tolist() == [True] * 4 + [False] * 6
    assert np.exp(found.log_threshold) == pytest.approx(50)
    shuffled = np.random.default_rng(0).permutation(10)
    assert np.array_equal(e_bh(np.log(EVALUES)[shuffled], 0.05).rejected, found.rejected[shuffled])
    none = e_bh(np.log([80, 45, 30, 12, 1, 1, 1, 1, 1, 1]), 0.05)
    assert none.count == 0
    assert np.isposinf(none.log_threshold)


def test_e_bonferroni_and_mean():
    assert e_bonferroni(np.log(EVALUES), 0.05).rejected.tolist() == [True, True] + [False] * 8
    assert e_bonferroni([np.inf, -np.inf], 0.05).rejected.tolist() == [True, False]
    assert np.exp(mean_evalue(np.log(EVALUES))) == pytest.approx(EVALUES.mean())


def test_holm_holds_its_level_for_the_worst_dependence():
    # Three nulls whose small p-values exclude each other: the union bound is met with equality, for p-values that are
    # uniform on a grid of 30 points. By enumeration: no randomness.
    level, grid = 0.1, 30
    wrong = 0
    for u in range(grid):
        p = [((u - shift) % grid + 1) / grid for shift in (0, 10, 20)]
        wrong += bool(np.any(holm(p) <= level + 1e-12))
    assert wrong / grid == pytest.approx(level)


def test_e_bh_holds_its_rate_for_the_worst_dependence():
    # Four e-values of 0 or 4 / 0.2 with probability 0.05 for the latter, dependent in every possible extreme way. All
    # nulls are true, so that the rate is the probability of any rejection.
    level, size, value = 0.2, 4, np.log(20.0)
    for together in (1, 2, 4):
        blocks = size // together
        rate = 0.0
        for outcome in itertools.product([False, True], repeat=blocks):
            probability = np.prod([0.05 if hit else 0.95 for hit in outcome])
            logs = np.repeat(np.where(outcome, value, -np.inf), together)
            rate += probability * (e_bh(logs, level).count > 0)
        assert rate <= level + 1e-12


def test_release_gate():
    good = release_gate({"slice": 0.3, "walk": 0.02}, 0.01)
    assert good.passed
    assert good.false_alarm == 0.01
    bad = release_gate({"slice": 1e-5, "walk": 0.02, "gibbs": 0.4}, 0.01)
    assert not bad.passed
    assert "slice (3e-05)" in bad.details
    assert "walk" not in bad.details


def test_bad_input():
    for call, message in [
        (lambda: holm([]), "at least one"),
        (lambda: holm([0.5, np.nan]), "number 1 is nan"),
        (lambda: holm([1.5]), "lie in"),
        (lambda: e_bh([], 0.1), "at least one"),
        (lambda: e_bh([0.0, np.nan], 0.1), "number 1 is NaN"),
        (lambda: e_bh([0.0], 0.0), "level"),
        (lambda: e_bonferroni([0.0], 1.0), "level"),
        (lambda: release_gate({}, 0.1), "at least one"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
