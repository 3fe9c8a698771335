"""Stopping rules: batch means against their definition, and the error that they promise."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal, special, stats

import ergodica
from ergodica.samplers.stopping import BatchMeans, Precision, Until, Watch


@settings(max_examples=30)
@given(pieces=st.lists(st.integers(0, 400), min_size=1, max_size=12), seed=st.integers(0, 2**16))
def test_batches_do_not_depend_on_the_pieces_in_which_draws_arrive(pieces, seed):
    total = sum(pieces)
    draws = np.random.default_rng(seed).normal(5, 2, size=(3, total, 2))
    means = BatchMeans(3, 2)
    for part in np.split(draws, np.cumsum(pieces)[:-1], axis=1):
        means.add(part)
    assert means.count == total
    length, full = means.length, means.num_batches
    assert full == total // length
    assert full < 128
    assert length == 1 or full >= 64
    expected = draws[:, : full * length].reshape(3, full, length, 2).mean(axis=2)
    np.testing.assert_allclose(means.means(), np.swapaxes(expected, 0, 1), rtol=1e-12)
    if total > 1:
        np.testing.assert_allclose(means.sd(), draws.reshape(-1, 2).std(axis=0, ddof=1), rtol=1e-9)


def autoregression(rho, chains, count, seed):
    noise = np.random.default_rng(seed).normal(size=(chains, count + 100)) * np.sqrt(1 - rho**2)
    return signal.lfilter([1.0], [1.0, -rho], noise)[:, 100:]


@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.9])
def test_error_of_a_correlated_chain(rho):
    """The estimate of 4 chains has about 400 degrees of freedom; off by 20 per cent with probability below 1e-7."""
    watch = Watch(Until(ess=1.0))
    watch.add({"x": autoregression(rho, 4, 60_000, 1)})
    precision = watch.precision()
    truth = np.sqrt((1 + rho) / (1 - rho) / 240_000)
    np.testing.assert_allclose(precision.mcse, truth, rtol=0.2)
    np.testing.assert_allclose(precision.ess, 240_000 * (1 - rho) / (1 + rho), rtol=0.4)
    assert precision.names == ("x",)
    assert precision.draws == 60_000
    assert 0.99 < precision.rhat[0] < 1.01


def test_chains_that_disagree_are_seen():
    watch = Watch(Until(rhat=1.05))
    draws = autoregression(0.0, 4, 4000, 2) + np.arange(4)[:, None]
    watch.add(draws)
    precision = watch.precision()
    assert precision.rhat[0] > 1.4
    assert not watch.is_satisfied()
    assert not Until(ess=100, rhat=None).failures(precision)  # without the guard, each chain looks precise
    assert set(Until(ess=100).failures(precision)) == {"rhat"}


@pytest.mark.slow
def test_coverage_when_stopped():
    """Intervals at the stopping time: 400 runs, nominal 95 per cent; below 88 has probability 2e-8 at 95."""
    until, covered = Until(mcse=0.04, min_draws=200), 0
    quantile = special.ndtri(0.975)
    for seed in range(400):
        watch = Watch(until)
        draws = autoregression(0.5, 2, 6000, seed)
        at = 0
        while not watch.is_satisfied():
            assert watch.next <= 6000
            watch.add(draws[:, at : watch.next])
            at = watch.next
        covered += abs(draws[:, :at].mean()) < quantile * watch.precision().mcse[0]
    assert covered > 352
    assert stats.binom.cdf(352, 400, 0.95) < 1e-6


def precise(mcse, sd=1.0, rhat=1.0, names=("a[0]", "a[1]", "b")):
    size = len(names)
    mcse, sd, rhat = (np.broadcast_to(np.asarray(value, float), size) for value in (mcse, sd, rhat))
    return Precision(tuple(names), mcse, sd, (sd / mcse) ** 2, rhat, 1000)


@pytest.mark.parametrize(
    ("until", "precision", "missed"),
    [
        (Until(mcse=0.1), precise(0.1), set()),
        (Until(mcse=0.1), precise([0.1, 0.2, 0.1]), {"mcse"}),
        (Until(mcse={"b": 0.1}), precise([9, 9, 0.1]), set()),
        (Until(mcse={"a": 0.1}), precise([0.1, 0.2, 0.1]), {"mcse"}),
        (Until(relative=0.1), precise(1.0, sd=10.0), set()),
        (Until(relative=0.1), precise(1.0, sd=[10.0, 10.0, 9.0]), {"relative"}),
        (Until(ess=100), precise(0.1), set()),
        (Until(ess=101, rhat=1.01), precise(0.1, rhat=1.02), {"ess", "rhat"}),
        (Until(mcse=0.1, confidence=0.95), precise(0.1 / 2.39), {"mcse"}),
        (Until(mcse=0.1, confidence=0.95), precise(0.1 / 2.40), set()),  # Bonferroni: ndtri(1 - 0.05 / 6) = 2.394
        (Until(mcse=0.1), precise(np.nan), {"mcse"}),
    ],
)
def test_criteria(until, precision, missed):
    assert set(until.failures(precision)) == missed


def test_constants_are_known_exactly():
    watch = Watch(Until(mcse=0.1, relative=0.1, ess=10, rhat=1.01, min_draws=10))
    watch.add(np.full((2, 100), 3.0))
    assert watch.is_satisfied()


def test_too_few_batches_never_satisfy():
    watch = Watch(Until(ess=1e-3, min_draws=2))
    watch.add(np.random.default_rng(0).normal(size=(2, 10)))
    assert not watch.is_satisfied()
    with pytest.raises(ValueError, match="no draws"):
        Watch(Until(ess=1)).precision()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rhat": None}, "at least one of"),
        ({"mcse": 0.0}, "mcse has to be positive and finite; got 0.0"),
        ({"mcse": {"a": -1.0}}, "mcse has to be positive"),
        ({"relative": np.nan}, "relative has to be positive"),
        ({"ess": np.inf}, "ess has to be positive"),
        ({"rhat": 1.0}, "rhat has to be above 1"),
        ({"ess": 1, "confidence": 1.0}, "confidence is a probability"),
        ({"ess": 1, "min_draws": 0}, "min_draws has to be at least 1"),
    ],
)
def test_bad_rules(options, message):
    with pytest.raises(ValueError, match=message):
        Until(**options)


@pytest.mark.parametrize(
    "options", [{"mcse": "a"}, {"ess": [1]}, {"confidence": "x", "ess": 1}, {"ess": 1, "min_draws": 1.5}]
)
def test_rules_that_are_no_numbers(options):
    with pytest.raises(TypeError, match="has to be a"):
        Until(**options)
    with pytest.raises(ValueError, match="mcse names no variable"):
        Until(mcse={})


def test_weighted_draws_have_no_such_rule():
    kernel = ergodica.ReverseDiffusion("importance", logdensity=lambda x: -0.5 * jnp.sum(x**2))
    with pytest.raises(ValueError, match="draws of equal weight"):
        ergodica.sample(kernel, jnp.ones(2), draws=5, until=Until(ess=10), progress=False)


def test_unknown_variables_are_named():
    watch = Watch(Until(mcse={"c": 0.1}))
    with pytest.raises(ValueError, match=r"mcse names \['c'\]; the variables are \['a', 'b'\]"):
        watch.add({"a": np.zeros((2, 3)), "b": np.zeros((2, 3))})
