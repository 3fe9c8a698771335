"""Ranks, coverage and thinning, in NumPy: golden laws, wrong posteriors found, right ones not."""

import jax
import numpy as np
import pytest

from ergodica.validation.calibration.chain_draws import thinning_for
from ergodica.validation.calibration.coverage import expected_coverage, interval_coverage, lower_coverage
from ergodica.validation.calibration.rank_report import RankReport, randomised_ranks

KEY = jax.random.key(0)


def _simulated(rng, simulations, draws, *, scale=1.0, shift=0.0, prior=False):
    """The normal model theta ~ N(0, 1) with three data: truths and draws of three quantities."""
    theta = rng.normal(size=simulations)
    y = theta[:, None] + rng.normal(size=(simulations, 3))
    noise = rng.normal(size=(simulations, draws))
    drawn = noise if prior else y.sum(axis=1, keepdims=True) / 4 + shift / 2 + scale * noise / 2

    def likelihood(t):
        return -0.5 * np.sum((y[:, None, :] - t[:, :, None]) ** 2, axis=2)

    mean = y.mean(axis=1)
    return {
        "theta": (theta, drawn),
        "log likelihood": (likelihood(theta[:, None])[:, 0], likelihood(drawn)),
        "theta * mean y": (theta * mean, drawn * mean[:, None]),
    }


def _report(rng, simulations=1000, draws=99, **posterior):
    values = _simulated(rng, simulations, draws, **posterior)
    sees = {"theta": False, "log likelihood": True, "theta * mean y": True}
    return RankReport({name: randomised_ranks(*v, key=KEY) for name, v in values.items()}, draws, sees_data=sees)


def test_right_posterior_passes():
    # False alarm 1e-6.
    outcome = _report(np.random.default_rng(0)).outcome(1e-6)
    assert outcome.passed
    assert outcome.false_alarm == 1e-6


def test_golden_prior_as_posterior():
    # Golden medians of Pearson's p with 20 bins: theta 0.49, log likelihood 6e-222, theta * mean y 2e-102.
    report = _report(np.random.default_rng(1), prior=True)
    alone = RankReport({"theta": report.ranks["theta"]}, 99, sees_data={"theta": False})
    assert alone.outcome(1e-3).passed  # blind, and says so
    assert "returns the prior passes" in alone.outcome(1e-3).details
    assert "returns the prior passes" in str(alone)
    outcome = report.outcome(1e-6)
    assert not outcome.passed
    assert "returns the prior" not in outcome.details
    pearson = report.pearson(bins=20)
    assert pearson["theta"] > 1e-3
    assert pearson["log likelihood"] < 1e-9
    assert pearson["theta * mean y"] < 1e-9


def test_golden_wrong_posteriors():
    # Golden medians at 1000 simulations: sd x 0.9: theta 8e-3; shifted by 0.15 sd: theta 7e-4, log likelihood 0.53.
    narrow = [_report(np.random.default_rng(s), scale=0.9).pearson()["theta"] for s in range(9)]
    assert 1e-4 < np.median(narrow) < 0.2
    shifted = [_report(np.random.default_rng(s), shift=0.15).pearson() for s in range(9)]
    assert 1e-6 < np.median([p["theta"] for p in shifted]) < 0.05
    assert np.median([p["log likelihood"] for p in shifted]) > 0.05
    assert not _report(np.random.default_rng(2), 4000, scale=0.8).outcome(1e-6).passed


def test_golden_autocorrelated_draws():
    # Golden: AR(1) with phi = 0.9 and 99 draws puts 0.278 of the ranks into the outer tenths instead of 0.20. 4000
    # simulations: sd 0.007. Thinned by 25 (phi^25 = 0.07), the ranks are close to uniform.
    rng = np.random.default_rng(3)
    size, length = 4000, 99 * 25
    x = np.empty((size, length))
    x[:, 0] = rng.normal(size=size)
    for t in range(1, length):
        x[:, t] = 0.9 * x[:, t - 1] + np.sqrt(1 - 0.81) * rng.normal(size=size)
    truth = rng.normal(size=size)
    ranks = randomised_ranks(truth, x[:, :99], key=KEY)
    assert np.mean((ranks < 10) | (ranks >= 90)) == pytest.approx(0.278, abs=0.035)
    assert not RankReport({"x": ranks}, 99).outcome(1e-6).passed
    thinned = randomised_ranks(truth, x, key=KEY, thin=25)
    assert RankReport({"x": thinned}, 99).outcome(1e-4).passed


def test_ranks_by_hand_and_ties():
    draws = np.array([[1.0, 2.0, 3.0], [5.0, 6.0, 7.0]])
    assert randomised_ranks([2.5, 0.0], draws, key=KEY).tolist() == [2, 0]
    assert randomised_ranks([2.5, 9.0], draws, key=KEY, thin=2).tolist() == [1, 1]
    # Ties in either direction of round-off are broken at random, uniformly: Bin(3000, 1/4) sd 24, bound 5 sd.
    tied = np.full((3000, 3), 0.3) + np.array([0.0, 1e-14, -1e-14])
    tied[0, 0] = 5.0
    counts = np.bincount(randomised_ranks(np.full(3000, 0.3), tied, key=KEY), minlength=4)
    assert np.all(np.abs(counts - 750) < 120)


def test_same_key_same_verdict():
    rng = np.random.default_rng(5)
    truth, drawn = np.round(rng.normal(size=50)), np.round(rng.normal(size=(50, 9)))
    one, two = (randomised_ranks(truth, drawn, key=KEY) for _ in range(2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, randomised_ranks(truth, drawn, key=jax.random.key(1)))


def test_chains_are_diagnostics():
    ranks = np.random.default_rng(6).integers(0, 100, 200)
    report = RankReport({"x": ranks}, 99, exact=False, null="thinned chains")
    assert report.outcome(0.01).false_alarm is None
    assert not report.verdicts()["x"].exact


def test_eprocess_and_figure():
    report = _report(np.random.default_rng(7), 400, 19, prior=True)
    logs = report.log_eprocess("log likelihood")
    assert logs.shape == (400,)
    assert logs[-1] > np.log(1e6)
    band = report.band(0.05)
    difference = report.differences("log likelihood")
    low, high = band.differences
    assert difference.shape == low.shape == (19,)
    assert np.any((difference < low) | (difference > high))
    tree = report.to_datatree()
    assert tree["prior_sbc"]["theta"].shape == (1, 400)
    assert float(tree["prior_sbc"]["theta"].min()) > 0


def test_coverage_is_exact():
    # Ranks that are uniform by construction: every interval has the exact coverage that is reported.
    ranks = np.repeat(np.arange(100), 3)
    for row in [*interval_coverage(ranks, 99), *lower_coverage(ranks, 99)]:
        assert row.observed == pytest.approx(row.probability, abs=1e-12)
        assert row.p_value == pytest.approx(1.0)
    assert [row.probability for row in interval_coverage(ranks, 99)] == pytest.approx([0.5, 0.8, 0.9])
    (narrow,) = interval_coverage(np.array([0] * 30 + [50] * 70), 99, [0.9])
    assert narrow.hits == 70
    assert narrow.p_value < 1e-6


def test_expected_coverage_curve():
    assert expected_coverage([0, 1, 2, 4], 4, [0.0, 0.25, 0.3, 1.0]).tolist() == [0.0, 0.25, 0.5, 0.75]


def test_thinning_for_autoregression():
    # ESS of AR(1) with phi = 0.5 is a third of the draws in the bulk; eight pilots, the worst of them.
    rng = np.random.default_rng(8)
    x = np.empty((8, 2000, 1))
    x[:, 0] = rng.normal(size=(8, 1))
    for t in range(1, 2000):
        x[:, t] = 0.5 * x[:, t - 1] + np.sqrt(0.75) * rng.normal(size=(8, 1))
    assert 3 <= thinning_for(x, ["x"]).stride <= 6
    with pytest.raises(ValueError, match="stays at"):
        thinning_for(np.zeros((8, 100, 1)), ["x"])
    with pytest.raises(ValueError, match="mixes slowly"):
        thinning_for(np.cumsum(rng.normal(size=(8, 100, 1)), axis=1), ["x"])
    x[3, 5] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        thinning_for(x, ["x"])


def test_bad_input():
    good = np.zeros(5), np.arange(15.0).reshape(5, 3)
    for call, message in [
        (lambda: randomised_ranks(*good, key=KEY, thin=4), "leaves none of 3 draws"),
        (lambda: randomised_ranks(np.zeros(4), good[1], key=KEY), "shape"),
        (lambda: randomised_ranks(np.zeros(0), np.zeros((0, 3)), key=KEY), "S >= 1"),
        (lambda: randomised_ranks(np.full(5, np.nan), good[1], key=KEY), "5 of 5 simulations"),
        (lambda: randomised_ranks(np.ones(5), np.ones((5, 3)), key=KEY), "constant quantity"),
        (lambda: RankReport({}, 9), "at least one quantity"),
        (lambda: RankReport({"x": np.array([10])}, 9), "reach from 10 to 10"),
        (lambda: RankReport({"x": np.array([1]), "y": np.array([1, 2])}, 9), "same number of simulations"),
        (lambda: RankReport({"x": np.array([1])}, 100).pearson(bins=20), "do not divide"),
        (lambda: interval_coverage([0, 1], 3, [0.9]), "too few"),
        (lambda: lower_coverage([0, 1], 3, [0.05]), "too few"),
        (lambda: interval_coverage([0, 1], 9, [1.0]), "lie in"),
        (lambda: expected_coverage([0, 1], 9, [1.5]), "lie in"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
