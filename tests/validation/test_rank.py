"""The rank test: exact null law, golden powers, non-reversible kernels, the two-sample variant."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ergodica.samplers import random
from ergodica.validation.evidence import run_check
from ergodica.validation.pearson import uniformity_pvalue
from ergodica.validation.rank import RankTest, pilot_thinning, rank_check, two_sample_check
from ergodica.validation.stationary_start import binomial_pvalue
from ergodica.validation.targets.model import Model, heavy_tail_model, normal_model, square_model
from tests.traps.evidence import GUIDED5, Broken, Guided, Metropolis

NORMAL = normal_model(1)
HALVED = dataclasses.replace(
    NORMAL, logjoint=lambda theta, y: -0.5 * jnp.sum((y - theta) ** 2) - 0.25 * jnp.sum(theta**2)
)


def halved_precision(kernel, model, y):
    """Bind the posterior under a prior with half the precision: the wrong target."""
    return kernel.bind(HALVED.logposterior(y))


def _guided_model():
    weights = jnp.asarray(GUIDED5)

    def sample_prior(key):
        place_key, way_key = random.split(key)
        x = random.categorical(place_key, jnp.log(weights))
        return jnp.stack([x, jnp.where(random.bernoulli(way_key), 1, -1)])

    return Model(
        name="guided5",
        sample_prior=sample_prior,
        sample_data=lambda key, theta: jnp.zeros(()),
        logjoint=lambda theta, y: jnp.log(weights)[theta[0]],
        statistics={"x + 0.1 v": lambda theta, y: theta[0] + 0.1 * theta[1]},
    )


def unchanged(kernel, model, y):
    return kernel


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        pytest.param(NORMAL, id="normal"),
        pytest.param(square_model(2), id="square", marks=pytest.mark.slow),
        pytest.param(heavy_tail_model(2), id="heavy tail", marks=pytest.mark.slow),
    ],
)
def test_right_kernel_passes(model):
    # False alarm 1e-6 a model.
    outcome = run_check(rank_check(model.name, model), Metropolis(), name="right", key=jax.random.key(1))
    assert outcome.passed
    assert outcome.false_alarm == 1e-6


@pytest.mark.slow
def test_wrong_kernels_fail():
    check = rank_check("halved prior precision", NORMAL, bind=halved_precision)
    assert not run_check(check, Metropolis(), name="halved", key=jax.random.key(1)).passed
    check = rank_check("square", square_model(2))
    assert not run_check(check, Metropolis(tries=20), name="repeats", key=jax.random.key(1)).passed
    outcome = run_check(check, Broken(), name="broken", key=jax.random.key(1))
    assert not outcome.passed
    assert "finite" in outcome.details


@pytest.mark.slow
def test_null_law_is_uniform_for_every_kernel_setting():
    # 200 tests of 1000 ranks: Bin(200, 0.05) within its two-sided 5e-7 limits; false alarm < 1e-6.
    test = RankTest(NORMAL, Metropolis(), statistics={"theta": NORMAL.statistics["theta"]}, thin=2)
    ranks = np.concatenate([test.ranks(jax.random.key(i), 20000)["theta"] for i in range(10)]).reshape(200, 1000)
    pvalues = np.array([uniformity_pvalue(np.bincount(row, minlength=10)) for row in ranks])
    assert binomial_pvalue(int(np.sum(pvalues < 0.05)), 200, 0.05) > 5e-7
    assert uniformity_pvalue(np.bincount(ranks.reshape(-1), minlength=10)) > 5e-7


@pytest.mark.slow
def test_golden_power_of_statistics():
    # Golden medians at n = 4000 (chi-square): theta 0.73, theta^2 4e-13, theta * mean y 7e-13 for halved precision.
    chosen = {name: NORMAL.statistics[name] for name in ("theta", "theta^2", "theta * mean y")}
    test = RankTest(NORMAL, Metropolis(), statistics=chosen, bind=halved_precision)
    found = {name: [] for name in chosen}
    for seed in range(7):
        for name, ranks in test.ranks(jax.random.key(seed), 4000).items():
            found[name].append(stats.chisquare(np.bincount(ranks, minlength=10)).pvalue)
    medians = {name: np.median(values) for name, values in found.items()}
    assert medians["theta"] > 0.01  # blind
    assert 1e-18 < medians["theta^2"] < 1e-8
    assert 1e-18 < medians["theta * mean y"] < 1e-8


@pytest.mark.slow
def test_golden_repeat_until_accepted():
    # Golden: theta, n = 16000: p about 2e-6.
    test = RankTest(NORMAL, Metropolis(tries=30), statistics={"theta": NORMAL.statistics["theta"]})
    pvalues = [
        stats.chisquare(np.bincount(test.ranks(jax.random.key(seed), 16000)["theta"], minlength=10)).pvalue
        for seed in range(5)
    ]
    assert np.median(pvalues) < 1e-3


@pytest.mark.slow
def test_golden_guided_walk():
    # Golden medians at n = 4000: 3e-73 with the kernel both ways, 0.69 with the reversed backward leg.
    model = _guided_model()
    right = RankTest(model, Guided(), bind=unchanged, reverse=lambda kernel: Guided(flipped=True))
    # Five p-values above 1e-7 each: false alarm < 1e-6.
    values = [right.pvalue(jax.random.key(seed), 4000)["x + 0.1 v"] for seed in range(5)]
    assert min(values) > 1e-7
    wrong = RankTest(model, Guided(), bind=unchanged, reverse=lambda kernel: kernel)
    counts = np.bincount(wrong.ranks(jax.random.key(0), 4000)["x + 0.1 v"], minlength=10)
    assert 1e-100 < stats.chisquare(counts).pvalue < 1e-50


@pytest.mark.slow
def test_kernel_that_never_moves_has_uniform_ranks():
    # Ties are broken at random: the blind spot of rank tests, stated in the module. One p-value: false alarm 1e-6.
    test = RankTest(NORMAL, Metropolis(scale=1e-300))
    assert min(test.pvalue(jax.random.key(0), 1000).values()) > 2e-7


def test_refusals():
    with pytest.raises(ValueError, match="not reversible, and the backward leg"):
        RankTest(_guided_model(), Guided(), bind=unchanged)
    with pytest.raises(ValueError, match="two_sample_check"):
        rank_check("guided", _guided_model(), bind=unchanged).run(Guided(), jax.random.key(0))
    with pytest.raises(ValueError, match="depends on its past"):
        RankTest(NORMAL, Metropolis(memory=True))
    with pytest.raises(ValueError, match="length"):
        RankTest(NORMAL, Metropolis(), length=1)
    with pytest.raises(ValueError, match="thin"):
        RankTest(NORMAL, Metropolis(), thin=0)


@pytest.mark.slow
def test_two_sample_controls():
    # False alarm 1e-6 a check. The second kernel claims no reversibility, and needs none here.
    assert run_check(two_sample_check("n", NORMAL), Metropolis(), name="right", key=jax.random.key(1)).passed
    several = two_sample_check("n", NORMAL, rounds=5)
    assert run_check(several, Metropolis(reversible=False), name="right", key=jax.random.key(1)).passed
    wrong = two_sample_check("n", NORMAL, rounds=5, bind=halved_precision)
    assert not run_check(wrong, Metropolis(), name="halved", key=jax.random.key(1)).passed
    assert not run_check(several, Broken(), name="broken", key=jax.random.key(1)).passed


@pytest.mark.slow
def test_two_samples_need_no_reversal():
    # False alarm 1e-6.
    guided = two_sample_check("guided", _guided_model(), bind=unchanged)
    assert run_check(guided, Guided(), name="guided", key=jax.random.key(1)).passed


@pytest.mark.slow
def test_more_replicates_do_not_compile_again():
    traces = []

    def theta(position, y):
        traces.append(1)
        return position[0]

    test = RankTest(NORMAL, Metropolis(), statistics={"theta": theta})
    test.ranks(jax.random.key(0), 100)
    seen = len(traces)
    ranks = test.ranks(jax.random.key(1), 450)["theta"]
    assert ranks.shape == (450,)
    assert len(traces) == seen


@pytest.mark.slow
def test_pilot_thinning():
    slow = pilot_thinning(NORMAL, Metropolis(scale=0.1), jax.random.key(0))
    fast = pilot_thinning(NORMAL, Metropolis(scale=1.0), jax.random.key(0))
    assert 1 <= fast.lag < slow.lag <= 50
