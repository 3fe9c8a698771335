"""Stationary starts: right kernels pass, wrong ones fail, p-values are exact."""

import jax
import numpy as np
import pytest
from scipy import stats

from ergodica.validation.evidence import run_check
from ergodica.validation.stationary_start import (
    binomial_pvalue,
    kolmogorov_pvalue,
    stationary_start_check,
    two_sample_pvalue,
)
from ergodica.validation.targets import continuous, finite
from ergodica.validation.targets.target import Marginal
from tests.traps.evidence import Broken, Metropolis, RingMetropolis

TARGETS = [
    continuous.bimodal1(),
    pytest.param(continuous.banana3(), marks=pytest.mark.slow),
    pytest.param(continuous.standard_normal(10), marks=pytest.mark.slow),
]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.slow
def test_controls(target):
    # False alarm of the positive control: 1e-6 a target.
    check = stationary_start_check(target.name, target)
    good = run_check(check, Metropolis(), name="right", key=jax.random.key(1))
    assert good.passed
    assert good.false_alarm == 1e-6
    assert not run_check(check, Metropolis(power=0.8), name="tempered", key=jax.random.key(1)).passed


@pytest.mark.slow
@pytest.mark.parametrize(
    "target", [continuous.banana3(), continuous.standard_normal(10)], ids=lambda target: target.name
)
def test_repeat_until_accepted_is_rejected(target):
    check = stationary_start_check(target.name, target)
    outcome = run_check(check, Metropolis(tries=20), name="repeats", key=jax.random.key(1))
    assert not outcome.passed
    assert "replicates" in outcome.details


def test_finite_controls():
    check = stationary_start_check("ring4", finite.ring4())
    assert run_check(check, RingMetropolis(), name="right", key=jax.random.key(1)).passed
    assert not run_check(check, RingMetropolis(hastings=False), name="forgets", key=jax.random.key(1)).passed
    escaped = run_check(check, RingMetropolis(escape=True), name="escapes", key=jax.random.key(1))
    assert not escaped.passed
    assert "support" in escaped.details


@pytest.mark.slow
def test_marginals_known_through_draws_only():
    base = continuous.banana3()
    target = continuous.Target(
        **{**vars(base), "marginals": (Marginal("x1 + x2", lambda x: x[0] + x[1]), Marginal("x2", lambda x: x[1]))}
    )
    check = stationary_start_check("no distribution function", target, n=8000, steps=20)
    assert run_check(check, Metropolis(), name="right", key=jax.random.key(2)).passed
    assert not run_check(check, Metropolis(power=0.7), name="tempered", key=jax.random.key(2)).passed


def test_nan_is_a_hard_failure():
    outcome = run_check(
        stationary_start_check("x", continuous.bimodal1()), Broken(), name="broken", key=jax.random.key(0)
    )
    assert not outcome.passed
    assert "finite" in outcome.details


def test_one_step_and_float32():
    with jax.enable_x64(False):
        check = stationary_start_check("one step", continuous.standard_normal(1), steps=1, n=1000)
        assert run_check(check, Metropolis(), name="right", key=jax.random.key(1)).passed


def test_same_key_same_verdict():
    check = stationary_start_check("x", continuous.standard_normal(1), n=500)
    a = check.run(Metropolis(), jax.random.key(4))
    assert a == check.run(Metropolis(), jax.random.key(4))


def test_binomial_pvalue():
    n, q = 30, 0.3
    law = stats.binom.pmf(np.arange(n + 1), n, q)
    p = np.array([binomial_pvalue(k, n, q) for k in range(n + 1)])
    for level in (0.3, 0.05, 1e-3, 1e-6, 1e-9):
        assert law[p <= level].sum() <= level * (1 + 1e-9)  # super-uniform, exactly
    assert p[9] == 1.0
    assert binomial_pvalue(0, 5, 0.0) == 1.0
    assert binomial_pvalue(1, 5, 0.0) == 0.0
    assert binomial_pvalue(5, 5, 1.0) == 1.0
    assert binomial_pvalue(4, 5, 1.0) == 0.0


def test_kolmogorov_pvalue_bounds_the_exact_one():
    generator = np.random.default_rng(0)
    for n in (5, 50, 500):
        for shift in (0.0, 0.05, 0.2):
            u = np.clip(generator.random(n) * (1 - shift), 0, 1)
            exact = stats.kstest(u, "uniform", method="exact").pvalue
            assert kolmogorov_pvalue(u) >= exact * (1 - 1e-6)
            if exact < 0.05:
                assert kolmogorov_pvalue(u) == pytest.approx(exact, rel=1e-2)


def test_two_sample_pvalue():
    x = np.arange(10.0)
    assert two_sample_pvalue(x, x + 100) == pytest.approx(2 / 184756)  # two of the C(20, 10) orders are as extreme
    assert two_sample_pvalue(x, x) == 1.0
    with pytest.raises(ValueError, match="one size"):
        two_sample_pvalue(x, x[:5])


def test_bad_input():
    with pytest.raises(ValueError, match="steps"):
        stationary_start_check("x", continuous.bimodal1(), steps=0)
