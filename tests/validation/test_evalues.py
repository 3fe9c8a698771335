"""E-values: golden stopping times, expectations at most one, and rows of compiled kernels."""

import jax
import numpy as np
import pytest

from ergodica.validation.evalues import (
    bounded_mean_log_evalue,
    calibrate,
    mean_log_evalue,
    multinomial_eprocess,
    multinomial_log_evalue,
    pvalue_of,
    row_check,
    row_test,
)
from ergodica.validation.evidence import run_check
from ergodica.validation.targets.finite import ring4
from tests.traps.evidence import RingMetropolis

R5 = np.array([0.1, 0.2, 0.4, 0.2, 0.1])
OFF = np.array([0.12, 0.2, 0.38, 0.2, 0.1])
RING4 = np.array([[0.1, 0.6, 0, 0.3], [0.3, 0.25, 0.45, 0], [0, 0.3, 0.3, 0.4], [0.075, 0, 0.3, 0.625]])


def test_process_ends_at_the_evalue_of_the_counts():
    x = np.random.default_rng(0).choice(5, size=300, p=OFF)
    for concentrations in (None, (100.0,), (2.5,)):
        process = multinomial_eprocess(x, R5, concentrations)
        counts = np.bincount(x, minlength=5)
        assert process[-1] == pytest.approx(multinomial_log_evalue(counts, R5, concentrations), rel=1e-10, abs=1e-10)


def test_process_is_a_martingale():
    # One more draw, averaged over the null law, leaves the wealth as it is: exactly, for any past.
    past = np.array([0, 2, 2, 4, 1, 2])
    now = np.exp(multinomial_eprocess(past, R5)[-1])
    nexts = [np.exp(multinomial_eprocess(np.append(past, i), R5)[-1]) for i in range(5)]
    assert R5 @ nexts == pytest.approx(now, rel=1e-12)


def test_golden_stopping_time():
    # Golden: KL 0.0023871349, median stop 5213 at alpha = 1e-3 with weight 100. The median of 101 stops has a relative
    # sd of about 6 % (stops spread by about half their median): 35 % is more than 5 sd, false alarm < 1e-6.
    assert np.sum(OFF * np.log(OFF / R5)) == pytest.approx(0.0023871349, abs=1e-10)
    generator = np.random.default_rng(5)
    stops = []
    for _ in range(101):
        logs = multinomial_eprocess(generator.choice(5, size=25000, p=OFF), R5, (100.0,))
        reached = np.flatnonzero(logs >= np.log(1000))
        stops.append(reached[0] + 1 if reached.size else 25000)
    assert np.median(stops) == pytest.approx(5213, rel=0.35)


def test_null_exceedances_obey_ville():
    # Golden: P(sup over 4000 >= 20) = 0.040 <= 0.05. Bin(400, 0.05) exceeds 45 with probability < 1e-6.
    generator = np.random.default_rng(6)
    hits = sum(
        multinomial_eprocess(generator.choice(5, size=4000, p=R5), R5, (100.0,)).max() >= np.log(20) for _ in range(400)
    )
    assert hits <= 45


def test_impossible_outcome_is_infinite_evidence():
    logs = multinomial_eprocess(np.array([0, 1, 2, 0]), np.array([0.5, 0.5, 0.0]))
    assert np.all(np.isfinite(logs[:2]))
    assert np.all(np.isposinf(logs[2:]))
    assert np.isposinf(multinomial_log_evalue([1, 1, 1], [0.5, 0.5, 0.0]))


def test_inequality_behind_the_mean_test():
    x = np.linspace(-40, 40, 400001)
    assert np.all(np.exp(x - x**2 / 6) <= 1 + x + x**2 / 3 + 1e-12)


def test_mean_evalues_have_expectation_at_most_one():
    # Two draws from skewed three-point laws with mean zero: the expectation by summation, no randomness.
    for values, law in [((-1.0, 0.2, 1.0), (0.2, 0.5, 0.3)), ((-0.5, 0.1, 0.9), (0.3, 0.6, 0.1))]:
        v, p = np.array(values), np.array(law)
        v = (v - v @ p) / 2
        pairs = [((a, b), p[i] * p[j]) for i, a in enumerate(v) for j, b in enumerate(v)]
        variance = float(p @ v**2)
        assert sum(q * np.exp(bounded_mean_log_evalue(pair)) for pair, q in pairs) == pytest.approx(1, rel=1e-12)
        assert sum(q * np.exp(mean_log_evalue(pair, variance)) for pair, q in pairs) <= 1 + 1e-12


def test_mean_evalues_have_power():
    generator = np.random.default_rng(7)
    x = generator.exponential(size=20000) - 1
    assert mean_log_evalue(x, 1.0) < np.log(1e6)
    assert mean_log_evalue(x + 0.06, 1.0) > np.log(1e6)
    y = np.clip(generator.normal(size=2000) * 0.2, -0.8, 0.8)
    assert bounded_mean_log_evalue(y) < np.log(1e6)
    assert bounded_mean_log_evalue(y + 0.04) > np.log(1e6)


def test_calibrators():
    assert [calibrate(p) for p in (0.05, 0.01, 1e-5)] == pytest.approx([1.783322, 4.450992, 754.3524], rel=1e-6)
    assert calibrate(1.0) == pytest.approx(0.5)
    assert calibrate(1 - 1e-3) == pytest.approx(0.5, abs=1e-3)
    assert np.isposinf(calibrate(0.0))
    assert pvalue_of(np.log(20)) == pytest.approx(0.05)
    assert pvalue_of(-3.0) == 1.0
    with pytest.raises(ValueError, match="lies in"):
        calibrate(1.5)


@pytest.mark.slow
def test_rows_of_a_compiled_kernel():
    # False alarm 1e-6 by Ville and the union over four states.
    check = row_check("Metropolis on ring4", ring4(), RING4)
    good = run_check(check, RingMetropolis(), name="ring", key=jax.random.key(1))
    assert good.passed
    assert good.false_alarm == 1e-6
    computed = row_check("computed", ring4(), lambda kernel: RING4)
    assert run_check(computed, RingMetropolis(), name="ring", key=jax.random.key(1)).passed
    forgets = run_check(check, RingMetropolis(hastings=False), name="ring", key=jax.random.key(1))
    assert not forgets.passed
    leaves = run_check(check, RingMetropolis(escape=True), name="ring", key=jax.random.key(1))
    assert not leaves.passed
    assert "left the state space" in leaves.details


@pytest.mark.slow
def test_row_test_of_run():
    kernel = RingMetropolis().bind(ring4().logdensity)
    outcome = row_test(kernel, ring4(), RING4, jax.random.key(2), move=lambda k, key, s: k.run(key, s, 1)[0])
    assert outcome.passed
    two = row_test(kernel, ring4(), RING4, jax.random.key(2), move=lambda k, key, s: k.run(key, s, 2)[0])
    assert not two.passed
    assert row_test(
        kernel, ring4(), RING4 @ RING4, jax.random.key(2), move=lambda k, key, s: k.run(key, s, 2)[0]
    ).passed


def test_bad_input():
    with pytest.raises(ValueError, match="sum to one"):
        multinomial_eprocess(np.array([0]), [0.5, 0.6])
    with pytest.raises(ValueError, match="integers in"):
        multinomial_eprocess(np.array([0, 2]), [0.5, 0.5])
    with pytest.raises(ValueError, match="rescale"):
        bounded_mean_log_evalue([0.5, 1.5])
    with pytest.raises(ValueError, match="variance"):
        mean_log_evalue([0.5], 0.0)
    with pytest.raises(ValueError, match="one row a state"):
        row_test(RingMetropolis(), ring4(), np.eye(3), jax.random.key(0))
