"""Anytime-valid tests: fair bets, golden powers, alarms, accumulation over nights."""

import numpy as np
import pytest

from ergodica.validation.anytime import Accumulation, Monitor, OnlineNewton, TwoSampleBets, UniformBets
from ergodica.validation.evalues import multinomial_eprocess


def test_bets_on_symmetric_values_are_fair():
    # All 2^8 sign patterns of given sizes are equally probable: the mean wealth is one after every step.
    sizes = np.array([0.9, 0.3, 1.0, 0.7, 0.2, 0.5, 1.0, 0.8])
    signs = np.array([[1 if (i >> b) & 1 else -1 for b in range(8)] for i in range(256)])
    wealth = np.exp(OnlineNewton(256).bet((signs * sizes).T))
    assert wealth.mean(axis=1) == pytest.approx(np.ones(8), rel=1e-12)
    assert wealth.min() > 0


def test_swapping_pairs_is_fair_for_the_default_witnesses():
    # Given the unordered pairs, all 2^7 orders are equally probable under the null hypothesis: exactly mean one, with
    # the centre and spread that the bettor takes from the past.
    pairs = np.random.default_rng(0).standard_exponential(size=(7, 2))
    total = np.zeros(7)
    for i in range(128):
        swapped = np.array([(i >> b) & 1 for b in range(7)], bool)
        x, y = np.where(swapped, pairs[:, 1], pairs[:, 0]), np.where(swapped, pairs[:, 0], pairs[:, 1])
        total += np.exp(TwoSampleBets().update(x, y))
    assert total / 128 == pytest.approx(np.ones(7), rel=1e-12)


def test_default_witnesses_are_standardised_by_the_past():
    x, y = np.random.default_rng(9).normal(5.0, 3.0, size=(2, 12))
    values = np.zeros((12, 2))
    for t in range(2, 12):
        past = np.concatenate([x[:t], y[:t]])
        one, two = ((v[t] - past.mean()) / past.std() for v in (x, y))
        values[t] = np.tanh([one - two, (one**2 - two**2) / 2])
    wealth = np.exp(OnlineNewton(2).bet(values)).mean(axis=1)
    assert np.exp(TwoSampleBets().update(x, y)) == pytest.approx(wealth, rel=1e-10)


def test_bets_on_uniform_values_are_fair():
    # One more uniform value, averaged by Gauss quadrature inside each cell, leaves the wealth as it is.
    past = np.array([0.1, 0.95, 0.12, 0.5, 0.03])
    nodes, weights = np.polynomial.legendre.leggauss(6)
    values = ((np.arange(4)[:, None] + (nodes + 1) / 2) / 4).ravel()
    bets = UniformBets(4)
    bets.update(past)
    before = np.exp(bets.log_wealth)
    after = []
    for value in values:
        bets = UniformBets(4)
        bets.update(past)
        after.append(np.exp(bets.update([value])[-1]))
    assert np.tile(weights, 4) / 8 @ after == pytest.approx(before, rel=1e-12)


def test_uniform_bets_contain_the_multinomial_process():
    u = np.random.default_rng(1).uniform(size=200)
    bets = UniformBets(16)
    path = bets.update(u)
    cells = multinomial_eprocess((u * 16).astype(int), np.full(16, 1 / 16))
    assert np.all(path >= cells - np.log(2) - 1e-9)
    assert bets.log_wealth == path[-1]


def test_golden_power_of_two_samples():
    # Golden within 3000 pairs at 1e-3, witnesses x and x^2 / 2: shift 0.2: 0.99, median stop 1114; scale 1.1: 0.56; scale
    # 1.2: 1.0, median 736; right: sup >= 20 with probability 0.0395. 300 runs: sd of a share at most 0.029, of a
    # median stop about 4 %; bounds are 5 sd, and 45 of 300 for Ville's 0.05 has probability < 1e-9.
    rng = np.random.default_rng(2)
    found = {}
    for name, shift, scale in (("null", 0, 1), ("shift", 0.2, 1), ("scale", 0, 1.1), ("wide", 0, 1.2)):
        x, y = shift + scale * rng.normal(size=(3000, 300)), rng.normal(size=(3000, 300))
        z = np.concatenate([np.tanh(x - y), np.tanh((x**2 - y**2) / 2)], axis=1)
        path = OnlineNewton(600).bet(z)
        found[name] = np.logaddexp(path[:, :300], path[:, 300:]) - np.log(2)
    hits = {name: logs >= np.log(1000) for name, logs in found.items()}
    assert np.sum(found["null"].max(axis=0) >= np.log(20)) < 45
    assert hits["shift"].any(axis=0).mean() > 0.9
    assert hits["scale"].any(axis=0).mean() == pytest.approx(0.56, abs=0.145)
    assert hits["wide"].any(axis=0).mean() > 0.95
    assert np.median(hits["shift"].argmax(axis=0)) == pytest.approx(1114, rel=0.25)
    assert np.median(hits["wide"].argmax(axis=0)) == pytest.approx(736, rel=0.25)


def test_monitor_of_two_samples():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2000, 2)), rng.normal(size=(2000, 2))
    # False alarm 1e-6.
    right = Monitor(TwoSampleBets())
    for start in range(0, 2000, 300):
        right.update(x[start : start + 300], y[start : start + 300])
    assert right.outcome().passed
    assert right.outcome().false_alarm == 1e-6
    whole = Monitor(TwoSampleBets())
    seen = whole.update(x, y)
    assert np.allclose(right.path, whole.path, atol=1e-9)  # batches change nothing
    assert seen.draws == 2000
    wrong = Monitor(TwoSampleBets())
    seen = wrong.update(x * np.array([1.0, 1.6]), y)
    assert not wrong.outcome().passed
    assert wrong.path[seen.alarm_at - 1] >= np.log(1e6) > wrong.path[: seen.alarm_at - 1].max()
    assert f"alarm after {seen.alarm_at}" in wrong.outcome().details
    given = Monitor(TwoSampleBets([lambda v: v[:, 1] ** 2 / 2]))
    assert given.update(x * np.array([1.0, 1.6]), y).alarm_at is not None


def test_alarm_stays():
    rng = np.random.default_rng(4)
    monitor = Monitor(UniformBets(), alpha=1e-3)
    first = monitor.update(rng.beta(2, 1, 1000)).alarm_at
    assert first is not None
    assert monitor.update(rng.uniform(size=2000)).alarm_at == first
    assert not monitor.outcome().passed
    # False alarm 1e-3 for a right sampler, with a fixed seed.
    assert Monitor(UniformBets(), alpha=1e-3).update(rng.uniform(size=2000)).alarm_at is None


def test_accumulation_over_nights():
    record = Accumulation(alpha=0.01)
    assert not record.alarm
    for _ in range(3):
        record = record.after(1.5, version="a")
    assert (record.nights, record.restarts, record.log_evalue) == (3, 1, 4.5)
    assert record.level == pytest.approx(0.01 * 6 / np.pi**2)
    assert not record.alarm
    assert record.after(2.0, version="a").alarm
    changed = record.after(4.0, version="b")
    assert (changed.nights, changed.restarts, changed.log_evalue) == (1, 2, 4.0)
    assert changed.level == pytest.approx(record.level / 4)
    assert changed.outcome().false_alarm == 0.01
    # The shares of all restarts add up to the level.
    shares = [Accumulation(alpha=0.01, restarts=r).level for r in range(1, 20001)]
    assert 0.0099 < sum(shares) <= 0.01


def test_bad_input():
    bets = TwoSampleBets()
    bets.update(np.zeros((2, 3)), np.zeros((2, 3)))
    for call, message in [
        (lambda: UniformBets().update([0.5, np.nan]), r"values in \[0, 1\]"),
        (lambda: UniformBets().update([1.5]), r"values in \[0, 1\]"),
        (lambda: TwoSampleBets([]), "at least one witness"),
        (lambda: TwoSampleBets().update(np.zeros((3, 1)), np.zeros((2, 1))), "expected pairs"),
        (lambda: TwoSampleBets().update(np.zeros((3, 1)), np.zeros((3, 2))), "one dimension"),
        (lambda: TwoSampleBets().update([np.nan], [0.0]), "finite"),
        (lambda: TwoSampleBets([lambda v: v]).update(np.zeros((3, 1)), np.zeros((3, 1))), "a witness has to return"),
        (lambda: bets.update(np.zeros((2, 2)), np.zeros((2, 2))), "dimension of the draws has changed|broadcast"),
        (lambda: Monitor(UniformBets(), alpha=0), "alpha"),
        (lambda: Accumulation(alpha=2.0), "alpha"),
        (lambda: Accumulation().after(np.nan, version="a"), "NaN"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
