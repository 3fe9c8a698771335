"""Calibration of traced samplers: right ones pass, wrong ones are found, bad ones are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ergodica.samplers.metropolis.random_walk import RandomWalk
from ergodica.validation.calibration.parallel_chains import parallel_chains_calibration
from ergodica.validation.calibration.posterior_sbc import concatenated, posterior_calibration
from ergodica.validation.calibration.quantities import default_quantities, parameter_quantities, uses_second
from ergodica.validation.calibration.simulation_based import over_keys, simulation_based_calibration
from ergodica.validation.calibration.tarp import tarp
from ergodica.validation.targets.model import normal_model
from tests.traps.evidence import GUIDED5, Guided, Metropolis

MODEL = normal_model(1)
CHOSEN = {name: MODEL.statistics[name] for name in ("theta", "theta * mean y", "log-likelihood")}
KEY = jax.random.key(0)


def posterior(key, y, n, scale=1.0):
    """Draw from the posterior of the normal model, or with another spread."""
    return jnp.sum(y) / (len(y) + 1) + scale * jax.random.normal(key, (n, 1)) / jnp.sqrt(len(y) + 1.0)


def prior_again(key, y, n):
    """Ignore the data."""
    del y
    return jax.random.normal(key, (n, 1))


def calibrate(**options):
    return simulation_based_calibration(MODEL.sample_prior, MODEL.sample_data, key=KEY, **options)


@pytest.fixture(scope="module")
def right():
    # Half of the draws tie with the truth in the sign.
    quantities = CHOSEN | {"sign": lambda theta, y: jnp.sign(theta[0])}
    return calibrate(posterior_draws=posterior, quantities=quantities, simulations=1000)


def test_right_sampler_passes(right):
    # False alarm 1e-6.
    outcome = right.outcome(1e-6)
    assert outcome.passed
    assert outcome.false_alarm == 1e-6
    assert right.simulations == 1000
    assert right.sees_data == {"theta": False, "theta * mean y": True, "log-likelihood": True, "sign": False}


def test_prior_as_posterior_needs_quantities_that_see_the_data():
    report = calibrate(posterior_draws=prior_again, quantities=CHOSEN, simulations=1000)
    verdicts = report.verdicts()
    assert verdicts["theta"].p_value > 1e-6  # blind; false alarm 1e-6
    assert verdicts["theta * mean y"].p_value < 1e-9
    assert verdicts["log-likelihood"].p_value < 1e-9
    assert not report.outcome(1e-6).passed


def test_batches_change_nothing():
    keys = jax.random.split(KEY, 7)
    whole, parts, each = (over_keys(lambda key: jax.random.bits(key), keys, batch=batch) for batch in (None, 3, 1))
    assert np.array_equal(whole, parts)
    assert np.array_equal(whole, each)


def test_programs_that_jax_cannot_trace():
    def by_numpy(key, y, n):
        rng = np.random.default_rng(int(jax.random.bits(key)))
        return np.asarray(y).sum() / 4 + rng.normal(size=(n, 1)) / 2

    report, again = (
        calibrate(
            posterior_draws=by_numpy, quantities={"theta": CHOSEN["theta"]}, simulations=8, draws=9, traceable=False
        )
        for _ in range(2)
    )
    assert report.simulations == 8
    assert not report.sees_data
    assert np.array_equal(report.ranks["theta"], again.ranks["theta"])  # same key, same ranks


@pytest.mark.slow
def test_kernels_are_thinned_and_checked():
    # The thinned chains pass at 1e-4 with this seed; slow ones without warm-up and thinning do not.
    def kernel(scale):
        return lambda y: RandomWalk(scale, logdensity=MODEL.logposterior(y))

    report = calibrate(kernel=kernel(1.0), quantities=CHOSEN, simulations=300, warmup=50)
    assert report.outcome(1e-4).passed
    assert report.outcome(1e-4).false_alarm is None
    assert "thinned by" in report.null
    raw = calibrate(kernel=kernel(0.2), quantities=CHOSEN, simulations=1000, draws=19, warmup=0, thin=1)
    assert not raw.outcome(1e-4).passed


@pytest.mark.slow
def test_parallel_chains_are_exact():
    # False alarm 1e-6, although two small steps leave the chains close to the truth.
    def calibrated(scale, power, steps):
        return parallel_chains_calibration(
            MODEL.sample_prior,
            MODEL.sample_data,
            lambda y: Metropolis(scale=scale, power=power).bind(MODEL.logposterior(y)),
            key=KEY,
            quantities=CHOSEN,
            simulations=600,
            draws=49,
            steps=steps,
        )

    outcome = calibrated(0.1, 1.0, steps=2).outcome(1e-6)
    assert outcome.passed
    assert outcome.false_alarm == 1e-6
    assert not calibrated(1.0, 2.0, steps=10).outcome(1e-6).passed


def test_parallel_chains_need_a_reversal():
    for subject, message in ((Guided(), "needs its time reversal"), (Metropolis(memory=True), "depends on its past")):
        with pytest.raises(ValueError, match=message):
            parallel_chains_calibration(
                MODEL.sample_prior,
                MODEL.sample_data,
                lambda y, subject=subject: subject,
                key=KEY,
                quantities=CHOSEN,
                simulations=2,
                draws=3,
            )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reverse", "passes"),
    [
        pytest.param(lambda kernel: Guided(flipped=True), True, id="reversal"),
        pytest.param(lambda kernel: kernel, False, id="the kernel itself"),
    ],
)
def test_parallel_chains_of_a_kernel_that_is_not_reversible(reverse, passes):
    # False alarm 1e-6 with the time reversal.
    def prior(key):
        place_key, way_key = jax.random.split(key)
        x = jax.random.categorical(place_key, jnp.log(jnp.asarray(GUIDED5)))
        return jnp.stack([x, jnp.where(jax.random.bernoulli(way_key), 1, -1)])

    report = parallel_chains_calibration(
        prior,
        lambda key, theta: jnp.zeros(()),
        lambda y: Guided(),
        key=KEY,
        quantities={"x + 0.1 v": lambda theta, y: theta[0] + 0.1 * theta[1]},
        simulations=4000,
        draws=19,
        steps=3,
        reverse=reverse,
    )
    assert report.outcome(1e-6).passed == passes


@pytest.mark.parametrize(
    ("scale", "passes"),
    [pytest.param(0.8, False, id="narrow"), pytest.param(1.0, True, id="right", marks=pytest.mark.slow)],
)
def test_posterior_calibration(scale, passes):
    # Golden around y = (0.4, 1.3, 0.2) at 1000 simulations: sd x 0.8 of the second posterior: p 5e-13 (Pearson).
    # False alarm 1e-6 for the right sampler.
    observed = jnp.array([[0.4], [1.3], [0.2]])

    def sampler(key, y, n):
        return posterior(key, y, n, scale=scale if len(y) == 6 else 1.0)

    report = posterior_calibration(
        observed, MODEL.sample_data, key=KEY, posterior_draws=sampler, quantities=CHOSEN, simulations=1000
    )
    assert report.outcome(1e-6).passed == passes


def blind(key, y):
    """Draw a reference that ignores the data."""
    del y
    return jax.random.normal(key, (1,))


def seeing(key, y):
    """Place the reference far out on the side of the data."""
    del key
    return 3 * jnp.mean(y, axis=0)


@pytest.mark.parametrize(
    ("sampler", "reference", "passes"),
    [
        pytest.param(prior_again, seeing, False, id="prior"),
        pytest.param(posterior, seeing, True, id="right", marks=pytest.mark.slow),
        pytest.param(prior_again, blind, True, id="blind", marks=pytest.mark.slow),
    ],
)
def test_golden_tarp(sampler, reference, passes):
    # Golden: the prior returned passes with references that ignore the data (p = 0.10), and fails with 3 * mean y
    # (4e-153). False alarm 1e-6 where it passes.
    found = tarp(MODEL.sample_prior, MODEL.sample_data, reference, key=KEY, posterior_draws=sampler, simulations=1000)
    assert found.outcome(1e-6).passed == passes
    assert (min(row.p_value for row in found.coverage()) > 1e-6) == passes
    levels = np.linspace(0, 1, 11)
    assert (np.abs(found.expected_coverage(levels) - levels).max() < 0.1) == passes


def test_quantities():
    example = {"mu": jnp.zeros(()), "z": jnp.zeros((2, 2))}
    assert list(parameter_quantities(example)) == ["mu", "z[0, 0]", "z[0, 1]", "z[1, 0]", "z[1, 1]"]
    assert list(parameter_quantities(jnp.zeros(2))) == ["theta[0]", "theta[1]"]
    made = default_quantities(
        jnp.zeros(2), loglikelihood=lambda t, y: t @ y, logprior=lambda t: -t @ t, summary=lambda y: y[0]
    )
    theta, y = jnp.array([1.0, 2.0]), jnp.array([3.0, 5.0])
    values = {name: float(q(theta, y)) for name, q in made.items()}
    assert values == {
        "theta[0]": 1,
        "theta[1]": 2,
        "log likelihood": 13,
        "log joint": 8,
        "theta[0] * summary": 3,
        "theta[1] * summary": 6,
    }
    assert [uses_second(q, theta, y) for q in made.values()] == [False, False, True, True, True, True]
    assert not uses_second(lambda t, y: (jnp.sum(y), t[0])[1], theta, y)
    with pytest.raises(ValueError, match="at least one entry"):
        parameter_quantities({})


def test_bad_input():
    def broken(key, y, n):
        return jnp.where(jnp.sum(y) > 0, jnp.nan, 0.0) * posterior(key, y, n)

    small = {"simulations": 20, "draws": 5}
    for options, error, message in [
        ({}, TypeError, "either kernel= or posterior_draws="),
        ({"posterior_draws": posterior, "thin": 0}, ValueError, "thin"),
        ({"posterior_draws": posterior, "thin": "auto"}, ValueError, "'ess'"),
        ({"posterior_draws": posterior, "simulations": 0}, ValueError, "simulations"),
        ({"posterior_draws": posterior, "quantities": {}}, ValueError, "at least one test quantity"),
        ({"posterior_draws": lambda k, y, n: posterior(k, y, n)[0]}, ValueError, "leading axis of 5 draws"),
        ({"posterior_draws": posterior, "quantities": {"both": lambda t, y: y}}, ValueError, "has to return a scalar"),
        ({"posterior_draws": broken}, FloatingPointError, "at a posterior draw in"),
        ({"posterior_draws": posterior, "quantities": {"one": lambda t, y: 1.0}}, ValueError, "constant quantity"),
    ]:
        with pytest.raises(error, match=message):
            calibrate(**(small | options))
    with pytest.raises(TypeError, match="give posterior="):
        posterior_calibration(jnp.zeros(3), MODEL.sample_data, key=KEY, kernel=lambda y: None)
    with pytest.raises(TypeError, match="either kernel="):
        tarp(MODEL.sample_prior, MODEL.sample_data, lambda key, y: y, key=KEY)
    with pytest.raises(ValueError, match="one structure"):
        concatenated({"y": jnp.zeros(3)}, jnp.zeros(3))
    with pytest.raises(ValueError, match="no axis of observations"):
        concatenated(jnp.zeros(()), jnp.zeros(()))
