"""Parallel copies and restarts: published numbers, brute force over subsets, closed forms."""

import itertools
import math

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from scipy import special, stats

from ergodica.theory.restarts import (
    ExtrapolationWarning,
    best_cutoff,
    expected_minimum,
    fit_runtime,
    goodness_of_fit,
    luby_sequence,
    output_time_dependence,
    parallel_speedup,
    restarted_mean,
)

TIMES = (3, 5, 8, 13, 21, 34)


def lognormal(mu, sigma):
    return stats.lognorm(s=sigma, scale=math.exp(mu))


@pytest.mark.parametrize(("n", "speedup"), [(1, 1.0), (2, 11 / 6), (10, 5.5), (100, 10.0)])
def test_golden_shifted_exponential(n, speedup):
    assert parallel_speedup(stats.expon(loc=100, scale=1000), n) == pytest.approx(speedup, rel=1e-12)
    # The quadrature without the closed form.
    general = stats.gamma(a=1, loc=100, scale=1000)
    assert parallel_speedup(general, n) == pytest.approx(speedup, rel=1e-9)


@pytest.mark.parametrize(
    ("n", "least", "speedup"),
    [
        (2, 117.3298114189, 2.0855052037),
        (10, 37.3787354124, 6.5462870684),
        (100, 13.1566144766, 18.5983964720),
    ],
)
def test_golden_lognormal(n, least, speedup):
    assert expected_minimum(lognormal(5, 1), n) == pytest.approx(least, rel=1e-11)
    assert parallel_speedup(lognormal(5, 1), n) == pytest.approx(speedup, rel=1e-10)


@pytest.mark.parametrize("n", [1, 3, 50])
def test_closed_forms_of_other_laws(n):
    assert expected_minimum(stats.uniform(), n) == pytest.approx(1 / (n + 1), rel=1e-9)
    assert expected_minimum(stats.weibull_min(0.5), n) == pytest.approx(2 / n**2, rel=1e-9)
    assert expected_minimum(stats.pareto(1.5), n) == pytest.approx(1.5 * n / (1.5 * n - 1), rel=1e-9)
    assert expected_minimum(stats.geom(0.2), n) == pytest.approx(1 / (1 - 0.8**n), rel=1e-12)


def test_golden_sample():
    found = [expected_minimum(TIMES, n) for n in (1, 2, 3)]
    assert found == pytest.approx([14, 7.0666666667, 4.85], abs=1e-10)
    assert parallel_speedup(np.array(TIMES), 2) == pytest.approx(14 / 7.0666666667, rel=1e-10)
    assert expected_minimum(TIMES, 6) == pytest.approx(3, rel=1e-12)
    large = np.arange(1.0, 5001)  # the binomial coefficients overflow
    assert expected_minimum(large, 700) == pytest.approx(5001 / 701, rel=1e-10)


@hypothesis.settings(max_examples=25)
@hypothesis.given(st.lists(st.integers(0, 50), min_size=1, max_size=7), st.data())
def test_samples_by_all_subsets(times, data):
    n = data.draw(st.integers(1, len(times)))
    brute = np.mean([min(subset) for subset in itertools.combinations(times, n)])
    assert expected_minimum(times, n) == pytest.approx(brute, rel=1e-12, abs=1e-12)


def test_golden_fits():
    fits = {fit.name: fit for fit in fit_runtime(TIMES)}
    assert fits["shifted exponential"].speedup(4) == pytest.approx(2.4347826087, abs=1e-10)
    corrected = {fit.name: fit for fit in fit_runtime(TIMES, bias_correct=True)}
    keywords = corrected["lognormal"].distribution.kwds
    assert math.log(keywords["scale"]) == pytest.approx(2.3205540104, abs=1e-10)
    assert keywords["s"] == pytest.approx(0.9049631614, abs=1e-10)
    # min - (mean - min) / (N - 1), with the mean kept.
    exponential = corrected["shifted exponential"].distribution
    assert exponential.kwds["loc"] == pytest.approx(3 - 11 / 5, rel=1e-12)
    assert exponential.mean() == pytest.approx(14, rel=1e-12)
    # The criterion compares the largest likelihoods, corrected or not.
    assert [fit.aic for fit in fit_runtime(TIMES)] == [fit.aic for fit in fit_runtime(TIMES, bias_correct=True)]
    with pytest.warns(ExtrapolationWarning, match="7 copies from 6 runs"):
        fits["lognormal"].speedup(7)


def test_fits_recover_the_law_and_prefer_it():
    rng = np.random.default_rng(0)
    for kind, law in (("shifted exponential", stats.expon(loc=50, scale=20)), ("lognormal", lognormal(3, 1.5))):
        times = law.rvs(size=400, random_state=rng)
        best = fit_runtime(times)[0]
        assert best.name == kind
        # A fixed seed; medians are off by a tenth at most in standard error, 0.5 is five of them: 6e-7.
        assert best.distribution.median() == pytest.approx(law.median(), rel=0.5)
        late = np.quantile(times, 0.7)
        finished = times[times < late]
        censored = next(f for f in fit_runtime(finished, np.full(120, late)) if f.name == kind)
        assert censored.distribution.median() == pytest.approx(law.median(), rel=0.5)
        assert censored.num_runs == 400
        ignored = next(f for f in fit_runtime(finished) if f.name == kind)
        assert abs(ignored.distribution.mean() / law.mean() - 1) > abs(censored.distribution.mean() / law.mean() - 1)


def test_censored_exponential_in_closed_form():
    fit = next(f for f in fit_runtime([2.0, 4.0, 6.0], [6.0, 1.0]) if f.name == "shifted exponential")
    assert fit.distribution.kwds == {"loc": 2.0, "scale": pytest.approx((0 + 2 + 4 + 4 + 0) / 3)}
    scales = fit.distribution.kwds["scale"] * np.array([0.9, 1.1])
    for scale in scales:
        other = stats.expon(loc=2, scale=scale)
        assert np.sum(other.logpdf([2.0, 4, 6])) + np.sum(other.logsf([6.0, 1])) < fit.log_likelihood


def test_goodness_of_fit_tells_the_models_apart():
    times = lognormal(3, 1.5).rvs(size=150, random_state=np.random.default_rng(1))
    fits = {fit.name: fit for fit in fit_runtime(times)}
    right = goodness_of_fit(fits["lognormal"], times, jax.random.key(0), 199)
    wrong = goodness_of_fit(fits["shifted exponential"], times, jax.random.key(0), 199)
    assert right > 0.02
    assert wrong == pytest.approx(1 / 200)


def test_golden_restart():
    law = lognormal(5, 1.5)
    assert restarted_mean(law, math.inf) == pytest.approx(457.14, abs=5e-3)
    assert restarted_mean(law, 51.1) == pytest.approx(188.98, abs=5e-3)
    found = best_cutoff(law)
    assert found.cutoff == pytest.approx(51.1, abs=1)
    assert found.mean == pytest.approx(188.97, abs=1e-2)
    assert found.speedup == pytest.approx(457.14 / 188.97, rel=1e-4)
    around = [restarted_mean(law, found.cutoff * factor) for factor in (0.9, 0.99, 1.01, 1.1)]
    assert min(around) > found.mean
    # The integral of the survival function up to the cutoff, in closed form.
    z = (math.log(51.1) - 5) / 1.5
    inside = math.exp(5 + 1.125) * special.ndtr(z - 1.5) + 51.1 * special.ndtr(-z)
    assert restarted_mean(law, 51.1) == pytest.approx(inside / special.ndtr(z), rel=1e-10)


def test_restarts_do_not_help_an_exponential_and_save_an_infinite_mean():
    for law in (stats.expon(scale=3), stats.expon(loc=1, scale=3), stats.uniform(), stats.geom(0.2)):
        found = best_cutoff(law)
        assert (found.cutoff, found.speedup) == (math.inf, 1.0)
        assert found.mean == pytest.approx(law.mean(), rel=1e-9)
    assert restarted_mean(stats.expon(scale=3), 0.7) == pytest.approx(3, rel=1e-9)
    assert restarted_mean(stats.geom(0.2), 4) == pytest.approx(5, rel=1e-12)
    heavy = best_cutoff(stats.pareto(0.8))
    assert heavy.speedup == math.inf
    assert heavy.mean == pytest.approx(restarted_mean(stats.pareto(0.8), heavy.cutoff), rel=1e-12)
    with pytest.raises(ValueError, match="infinite"):
        expected_minimum(stats.pareto(0.8), 1)


def test_restarts_of_a_sample():
    times = [1, 1, 100, 100]
    found = best_cutoff(times)
    assert (found.cutoff, found.mean) == (1, 2)
    assert restarted_mean(times, 0.5) == math.inf
    assert best_cutoff([2, 2]).cutoff == math.inf


def test_luby_sequence():
    assert luby_sequence(15).tolist() == [1, 1, 2, 1, 1, 2, 4, 1, 1, 2, 1, 1, 2, 4, 8]
    assert luby_sequence(0).tolist() == []
    # Its definition by cases.
    found = luby_sequence(200)
    for i in range(1, 201):
        k = i.bit_length()
        assert found[i - 1] == (2 ** (k - 1) if i == 2**k - 1 else found[i - 2 ** (k - 1)])


def test_rejection_may_be_raced_and_dependent_times_may_not():
    # Rejection: the number of trials says nothing about the value.
    trials = 0.3 * 0.7 ** np.arange(60)
    rejection = output_time_dependence(np.outer([0.2, 0.5, 0.3], trials), 8)
    assert rejection.dependence < 1e-15
    assert rejection.bias < 1e-15
    # A value that takes longer is lost to the others.
    joint = np.array([[0.5, 0.0], [0.1, 0.4]])
    raced = output_time_dependence(joint, 3)
    assert raced.dependence > 0.1
    brute = np.zeros(2)
    for runs in itertools.product(range(4), repeat=3):
        times = [run % 2 for run in runs]
        mass = np.prod([joint[run // 2, run % 2] for run in runs])
        first = [run // 2 for run, time in zip(runs, times, strict=True) if time == min(times)]
        for output in first:
            brute[output] += mass / len(first)
    np.testing.assert_allclose(raced.first_law, brute, rtol=1e-12)
    assert raced.bias == pytest.approx(abs(brute[0] - 0.5), rel=1e-12)
    assert output_time_dependence(joint, 1).bias < 1e-15


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: expected_minimum(TIMES, 0), "positive integer"),
        (lambda: expected_minimum(TIMES, 7), "without a model"),
        (lambda: expected_minimum([-1.0], 1), "at least 0"),
        (lambda: expected_minimum([np.nan], 1), "finite"),
        (lambda: expected_minimum(stats.norm(), 2), "not negative"),
        (lambda: parallel_speedup([0.0, 0.0], 1), "no time"),
        (lambda: fit_runtime([2.0, 2.0]), "2 different"),
        (lambda: goodness_of_fit(fit_runtime(TIMES, [9.0])[0], TIMES, jax.random.key(0)), "all finished"),
        (lambda: restarted_mean(TIMES, 0.0), "cutoff"),
        (lambda: luby_sequence(-1), "length"),
        (lambda: output_time_dependence([0.5, 0.5]), "matrix"),
    ],
)
def test_bad_input_is_refused_with_the_reason(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_keys_are_typed():
    with pytest.raises(TypeError, match="typed key"):
        goodness_of_fit(fit_runtime(TIMES)[0], TIMES, 0)
