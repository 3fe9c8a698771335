"""Calibration on NumPyro models: the model as simulator, NumPyro's NUTS and our kernels as samplers."""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.infer import NUTS

from ergodica.samplers.interop.numpyro import NumPyroKernel
from ergodica.samplers.metropolis.random_walk import RandomWalk
from ergodica.validation.calibration.numpyro_calibration import SimulatedModel, numpyro_calibration

KEY = jax.random.key(0)
X = jnp.linspace(-1, 1, 6)


def line(x, y=None):
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    with numpyro.plate("point", len(x)):
        numpyro.sample("y", dist.Normal(slope * x, noise), obs=y)


def ours(model):
    return NumPyroKernel(RandomWalk(1.0), model)


@pytest.mark.parametrize("given", [None, jnp.ones(6)])
def test_model_as_simulator(given):
    model = SimulatedModel(line, ["y"], (X,), {"y": given})
    theta = model.prior(KEY)
    assert model.latent == ("noise", "slope")
    data = model.simulate(KEY, theta)
    assert data["y"].shape == (6,)
    assert float(jnp.abs(data["y"] - 1).max()) > 0  # data that are given are not used
    expected = dist.Normal(theta["slope"] * X, theta["noise"]).log_prob(data["y"]).sum()
    prior = dist.Normal(0.0, 1.0).log_prob(theta["slope"]) + dist.HalfNormal(1.0).log_prob(theta["noise"])
    assert float(model.loglikelihood(theta, data)) == pytest.approx(float(expected))
    assert float(model.logjoint(theta, data)) == pytest.approx(float(expected + prior))
    assert list(model.quantities()) == ["noise", "slope", "log likelihood", "log joint"]


def test_bad_models():
    def with_factor(x):
        numpyro.factor("bonus", numpyro.sample("a", dist.Normal(0.0, 1.0)) * x)
        numpyro.sample("y", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match="observed has to name"):
        SimulatedModel(line, ["z"], (X,), {})
    with pytest.raises(ValueError, match="at least one"):
        SimulatedModel(line, [], (X,), {})
    with pytest.raises(ValueError, match="every sample site is observed"):
        SimulatedModel(line, ["y", "slope", "noise"], (X,), {})
    with pytest.raises(ValueError, match="factors \\['bonus'\\]"):
        SimulatedModel(with_factor, ["y"], (1.0,), {})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampler", "passes"),
    [
        pytest.param(ours, True, id="ours"),
        pytest.param(NUTS, True, id="nuts"),
        # Every log density twice: posteriors too narrow.
        pytest.param(lambda model: ours(handlers.scale(model, 2.0)), False, id="too narrow"),
    ],
)
def test_samplers(sampler, passes):
    # Thinned chains pass at 1e-4 with this seed.
    report = numpyro_calibration(
        line, X, observed=["y"], sampler=sampler, key=KEY, simulations=200, draws=49, warmup=200, thin=12
    )
    assert report.outcome(1e-4).passed == passes
    assert report.outcome(1e-4).false_alarm is None
