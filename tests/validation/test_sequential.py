"""The sequential wrapper: golden thresholds, false-alarm rate, escalation, bad input."""

import jax
import numpy as np
import pytest

from ergodica.validation.sequential import SequentialPlan, sequential, smallest_adjusted


@pytest.mark.parametrize(
    ("alpha", "k", "growth", "beta", "gamma", "cost"),
    [
        (1e-5, 7, 4, 1.428571e-6, 0.1462130021, 1.685),
        (1e-4, 5, 4, 2.0e-5, 0.1148698355, 1.519),
        (1e-3, 3, 2, 3.333333e-4, 0.0693361274, 1.148),
    ],
)
def test_golden_plan(alpha, k, growth, beta, gamma, cost):
    plan = SequentialPlan(alpha, k, growth)
    assert plan.beta == pytest.approx(beta, rel=1e-6)
    assert plan.gamma == pytest.approx(gamma, rel=1e-9)
    assert plan.expected_cost == pytest.approx(cost, abs=5e-4)
    assert plan.thresholds(k)[0] == pytest.approx(plan.gamma, rel=1e-12)  # as beta = gamma^k


def _failures(alpha, k, repeats, seed, power=1.0):
    """Run the wrapper on uniform p-values (to a power), with its own key handling, and count failures."""
    generator = np.random.default_rng(seed)
    sizes = []

    def pvalue(key, n):
        sizes.append(n)
        return generator.random() ** power

    key = jax.random.key(0)
    failures = sum(not sequential(pvalue, key, alpha=alpha, k=k, growth=4, n=1).passed for _ in range(repeats))
    return failures, sum(sizes) / repeats


def test_false_alarm_rate_of_uniform_pvalues():
    # Equality holds for uniform p-values: failures ~ Bin(3000, 0.05), mean 150, sd 11.9; 5 sd: false alarm < 1e-6.
    failures, cost = _failures(0.05, 3, 3000, 1)
    assert abs(failures - 150) < 60
    # Stages beyond the first: expected cost 1 + 4 (gamma + gamma^2), gamma = 0.2554; its sd is below 0.05.
    assert cost == pytest.approx(SequentialPlan(0.05, 3, 4).expected_cost, abs=0.25)


def test_level_holds_exactly_for_uniform_pvalues():
    for alpha, k in [(0.05, 3), (1e-3, 5), (1e-6, 7)]:
        plan = SequentialPlan(alpha, k)
        reach, fail = 1.0, 0.0
        for stage in range(1, k + 1):
            below, above = plan.thresholds(stage)
            fail += reach * min(below, 1.0)
            reach *= max(0.0, min(above, 1.0) - below)
        assert fail == pytest.approx(alpha, rel=1e-9)


def test_liberal_pvalues_are_noticed():
    # Negative control: squared uniforms are not super-uniform, and the rate exceeds the level by far.
    failures, _ = _failures(0.05, 3, 500, 2, power=2.0)
    assert failures > 75


def test_sample_size_grows_once_and_keys_differ():
    seen = []

    def pvalue(key, n):
        seen.append((n, int(jax.random.bits(key))))
        return 0.05

    outcome = sequential(pvalue, jax.random.key(3), n=100, growth=4)
    assert [n for n, _ in seen][:3] == [100, 400, 400]
    assert len({bits for _, bits in seen}) == len(seen)
    assert not outcome.passed  # 0.05 again and again: the last threshold is gamma = 0.105
    assert outcome.false_alarm == 1e-6
    again = sequential(pvalue, jax.random.key(3), n=100, growth=4)
    assert again == outcome


def test_components_are_adjusted_and_named():
    smallest, name = smallest_adjusted({"theta": 0.4, "theta^2": 0.001})
    assert (smallest, name) == (0.002, "theta^2")
    assert smallest_adjusted([0.3, 0.02, 0.5])[0] == pytest.approx(0.06)
    assert smallest_adjusted(0.3) == (0.3, "")
    assert smallest_adjusted([0.5, float("nan")]) == (0.0, "component 1")  # a hard failure
    assert not sequential(lambda key, n: float("nan"), jax.random.key(0)).passed
    assert "theta^2" in sequential(lambda key, n: {"theta^2": 0.0}, jax.random.key(0)).details


def test_bad_input():
    with pytest.raises(ValueError, match="alpha"):
        sequential(lambda key, n: 0.5, jax.random.key(0), alpha=0.0)
    with pytest.raises(ValueError, match="at least 1"):
        SequentialPlan(k=0)
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        smallest_adjusted(1.5)
    with pytest.raises(ValueError, match="at least one"):
        smallest_adjusted({})
