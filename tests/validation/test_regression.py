"""Conditional means: a closed form passes, wrong dynamics fail even where the target is invariant."""

import jax
import pytest

from ergodica.validation.evidence import run_check
from ergodica.validation.regression import regression_check
from ergodica.validation.targets.continuous import exponential1
from tests.traps.evidence import Broken, ExponentialSlice


def first(x):
    return x[0]


# The ideal slice sampler of Exp(1): x' = u (x + E), so E[x' | x] = (x + 1) / 2, and after two steps (x + 3) / 4.
CHECK = regression_check("slice on Exp(1)", exponential1(), first, lambda x: (x[0] + 1) / 2, variance=1.0)


def test_right_kernel_passes():
    # False alarm 1e-6, proven.
    outcome = run_check(CHECK, ExponentialSlice(), name="right", key=jax.random.key(1))
    assert outcome.passed
    assert outcome.false_alarm == 1e-6
    two = regression_check("two", exponential1(), first, lambda x: (x[0] + 3) / 4, variance=1.0, lag=2)
    assert run_check(two, ExponentialSlice(), name="right", key=jax.random.key(1)).passed


def test_wrong_mean_fails():
    assert not run_check(CHECK, ExponentialSlice(factor=0.95), name="short", key=jax.random.key(1)).passed


def test_wrong_dynamics_fail_though_the_target_is_invariant():
    # An independent draw leaves Exp(1) invariant; its residual has mean zero, and only the slope sees it.
    independent = regression_check("independent", exponential1(), first, lambda x: 0 * x[0] + 1, variance=1.0)
    outcome = run_check(independent, ExponentialSlice(), name="slice", key=jax.random.key(1))
    assert not outcome.passed


def test_nan_is_a_hard_failure():
    outcome = run_check(CHECK, Broken(), name="broken", key=jax.random.key(1))
    assert not outcome.passed
    assert "not finite" in outcome.details


def test_bad_input():
    with pytest.raises(ValueError, match="variance"):
        regression_check("x", exponential1(), first, first, variance=0.0)
    with pytest.raises(ValueError, match="lag"):
        regression_check("x", exponential1(), first, first, variance=1.0, lag=0)
