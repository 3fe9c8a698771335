"""What users of ``numpyro.infer.MCMC`` take for granted, and NumPyro's kinds of test targets with exact moments."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import MCMC, Predictive
from scipy import stats

from ergodica.samplers.interop.numpyro import NumPyroKernel
from ergodica.samplers.interop.numpyro_gibbs import Gibbs
from ergodica.samplers.metropolis.random_walk import RandomWalk
from ergodica.samplers.slicing.coordinate import CoordinateSlice
from ergodica.samplers.slicing.gibbsian_polar import GibbsianPolarSlice
from ergodica.samplers.slicing.hit_and_run import HitAndRunSlice

DATA = jnp.array([0.3, -1.2, 0.5])


def location_model(y=None, *, width=1.0, rows=3):
    mean = numpyro.sample("mean", dist.Normal(0.0, 2.0))
    numpyro.deterministic("far", mean + 10.0)
    with numpyro.plate("row", rows):
        numpyro.sample("y", dist.Normal(mean, width), obs=y)


def mcmc(kernel=None, *, warmup=10, samples=12, **options):
    kernel = NumPyroKernel(RandomWalk(1.0), location_model) if kernel is None else kernel
    return MCMC(kernel, num_warmup=warmup, num_samples=samples, progress_bar=False, **options)


@pytest.fixture(scope="module")
def plain():
    run = mcmc()
    run.run(jax.random.key(0), DATA, width=0.5)
    return run


# --- what a kernel of NumPyro does ------------------------------------------------------------------------------------


def test_thinning_keeps_every_third(plain):
    thinned = mcmc(thinning=3)
    thinned.run(jax.random.key(0), DATA, width=0.5)
    np.testing.assert_array_equal(thinned.get_samples()["mean"], plain.get_samples()["mean"][2::3])


def test_keywords_of_the_model_count(plain):
    other = mcmc()
    other.run(jax.random.key(0), DATA, width=5.0)
    assert not np.array_equal(other.get_samples()["mean"], plain.get_samples()["mean"])


def test_a_postprocess_of_the_users(plain):
    run = mcmc(postprocess_fn=lambda z: {"twice": 2 * z["mean"]})
    run.run(jax.random.key(0), DATA, width=0.5)
    np.testing.assert_allclose(run.get_samples()["twice"], 2 * plain.get_samples()["mean"], rtol=1e-12)


def test_what_the_bar_says(plain):
    words = plain.sampler.get_diagnostics_str(plain.last_state)
    assert "1 evaluations" in words
    assert "acc. prob=" in words


def test_the_bar_of_a_gibbs_sampler(monkeypatch, capsys):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    kernel = NumPyroKernel(Gibbs({"mean": RandomWalk(1.0)}), location_model)
    run = MCMC(kernel, num_warmup=3, num_samples=3, progress_bar=True)
    run.run(jax.random.key(0), DATA)
    assert "2 evaluations" in capsys.readouterr().err  # a refresh and a proposal


def test_predictions(plain):
    predictive = Predictive(location_model, plain.get_samples())
    drawn = predictive(jax.random.key(1), rows=4)
    assert drawn["y"].shape == (12, 4)
    np.testing.assert_allclose(drawn["far"], plain.get_samples()["far"], rtol=1e-12)
    assert abs(float(jnp.mean(drawn["y"] - plain.get_samples()["mean"][:, None]))) < 1  # within 6 of 1 / sqrt(48)


def test_starts_of_the_users():
    start = {"mean": jnp.asarray(123.0)}
    for kernel in (RandomWalk(1e-6), Gibbs({"mean": RandomWalk(1e-6)})):
        run = mcmc(NumPyroKernel(kernel, location_model, tuner=None), warmup=0, samples=2)
        run.run(jax.random.key(0), DATA, init_params=start)
        np.testing.assert_allclose(run.get_samples()["mean"], 123.0, atol=1e-3)
    with pytest.raises(ValueError, match="init_params misses mean"):
        run.run(jax.random.key(0), DATA, init_params={})


@pytest.mark.slow
def test_a_gibbs_sampler_goes_on_as_if_uninterrupted():
    def new():
        return mcmc(NumPyroKernel(Gibbs({"mean": RandomWalk(1.0)}), location_model))

    whole, parts = new(), new()
    whole.run(jax.random.key(0), DATA)
    parts.warmup(jax.random.key(0), DATA)
    parts.run(jax.random.key(0), DATA)
    np.testing.assert_array_equal(parts.get_samples()["mean"], whole.get_samples()["mean"])


@pytest.mark.slow
def test_a_gibbs_sampler_takes_new_data_as_arguments():
    kernel = NumPyroKernel(Gibbs({"mean": CoordinateSlice(1.0)}), location_model)
    run = mcmc(kernel, warmup=50, samples=50, jit_model_args=True)
    for middle in (3.0, -2.0):
        run.run(jax.random.key(0), jnp.full(3, middle), width=0.01)
        np.testing.assert_allclose(run.get_samples()["mean"].mean(), middle, atol=0.1)


# --- targets with known moments ---------------------------------------------------------------------------------------

CORRELATED = jnp.array(0.95 ** np.abs(np.subtract.outer(np.arange(5), np.arange(5))))
RNG = np.random.default_rng(7)
COINS = RNG.uniform(size=(200, 2)) < np.array([0.9, 0.1])
FACES = RNG.choice(3, p=[0.1, 0.6, 0.3], size=500)
COUNTS = np.concatenate([RNG.poisson(3.0, 12), RNG.poisson(8.0, 18)])
FEATURES = RNG.normal(size=(300, 2))
LABELS = RNG.uniform(size=300) < 1 / (1 + np.exp(-FEATURES @ np.array([1.0, 2.0])))
READINGS = RNG.normal(0.9, 1.0, 100)


def normal():
    numpyro.factor(
        "x", -0.5 * ((numpyro.sample("x_", dist.ImproperUniform(dist.constraints.real, (), ())) - 1) / 0.5) ** 2
    )


def correlated_normal():
    numpyro.sample("x", dist.MultivariateNormal(jnp.arange(5.0), CORRELATED))


def beta_bernoulli():
    p = numpyro.sample("p", dist.Beta(jnp.array([1.1, 1.1]), jnp.array([1.1, 1.1])).to_event(1))
    numpyro.sample("coins", dist.Bernoulli(p).to_event(1), obs=COINS)


def dirichlet_categorical():
    p = numpyro.sample("p", dist.Dirichlet(jnp.array([1.1, 1.1, 1.1])))
    numpyro.sample("faces", dist.Categorical(p), obs=FACES)


def binomial():
    p = numpyro.sample("p", dist.Beta(1.0, 1.0))
    numpyro.sample("hits", dist.Binomial(10_000, probs=p), obs=7_021)


def binomial_near_one():
    logit = numpyro.sample("logit", dist.Logistic(0.0, 1.0))
    numpyro.deterministic("p", jax.nn.sigmoid(logit))
    numpyro.sample("hits", dist.Binomial(10_000, logits=logit), obs=9_997)


def change_point():
    size = len(COUNTS)
    rate = 1 / np.mean(COUNTS)
    early = numpyro.sample("early", dist.Exponential(rate))
    late = numpyro.sample("late", dist.Exponential(rate))
    place = numpyro.sample("place", dist.Uniform(0.0, 1.0))
    numpyro.sample("counts", dist.Poisson(jnp.where(jnp.arange(size) < size * place, early, late)), obs=COUNTS)


def change_point_moments():
    """Sum over the 30 intervals of the place, in each of which the rates have gamma laws."""
    from scipy.special import gammaln, logsumexp

    size, rate = len(COUNTS), 1 / np.mean(COUNTS)
    logs, means = [], []
    for before in range(1, size + 1):  # the place lies in ((before - 1) / size, before / size)
        sums = COUNTS[:before].sum(), COUNTS[before:].sum()
        lengths = before, size - before
        logs.append(sum(gammaln(1 + s) - (1 + s) * np.log(rate + n) for s, n in zip(sums, lengths, strict=True)))
        means.append([(1 + s) / (rate + n) for s, n in zip(sums, lengths, strict=True)] + [(before - 0.5) / size])
    weights = np.exp(np.array(logs) - logsumexp(logs))
    early, late, place = weights @ np.array(means)
    return {"early": early, "late": late, "place": place}


def logistic_regression():
    weights = numpyro.sample("weights", dist.Normal(jnp.zeros(2), jnp.ones(2)).to_event(1))
    numpyro.sample("labels", dist.Bernoulli(logits=FEATURES @ weights), obs=LABELS)


def logistic_moments():
    """Mean of the weights by quadrature on a grid."""
    grid = np.linspace(-1.0, 5.0, 601)
    first, second = np.meshgrid(grid, grid, indexing="ij")
    signs = FEATURES * np.where(LABELS, 1.0, -1.0)[:, None]
    log = -0.5 * (first**2 + second**2)
    for row in signs:
        log -= np.logaddexp(0.0, -(row[0] * first + row[1] * second))
    law = np.exp(log - log.max())
    return {"weights": np.array([np.sum(law * first), np.sum(law * second)]) / np.sum(law)}


def improper_location():
    mean = numpyro.sample("mean", dist.ImproperUniform(dist.constraints.real, (), ()))
    with numpyro.plate("row", len(READINGS)):
        numpyro.sample("y", dist.Normal(mean, 1.0), obs=READINGS)


TARGETS = {
    normal: lambda: {"x_": 1.0, "x_^2": 1.25},
    correlated_normal: lambda: {"x": np.arange(5.0), "x^2": np.arange(5.0) ** 2 + 1},
    beta_bernoulli: lambda: {"p": (1.1 + COINS.sum(axis=0)) / (2.2 + 200)},
    dirichlet_categorical: lambda: {"p": (1.1 + np.bincount(FACES)) / (3.3 + 500)},
    binomial: lambda: {"p": stats.beta(7_022, 2_980).mean(), "p^2": stats.beta(7_022, 2_980).moment(2)},
    binomial_near_one: lambda: {"p": stats.beta(9_998, 4).mean()},
    change_point: change_point_moments,
    logistic_regression: logistic_moments,
    improper_location: lambda: {"mean": READINGS.mean(), "mean^2": READINGS.mean() ** 2 + 0.01},
}
KERNELS = {
    "slices": lambda: CoordinateSlice(1.0),
    "walk": lambda: RandomWalk(0.5),
    "polar": lambda: GibbsianPolarSlice(),
    "lines": lambda: HitAndRunSlice(1.0),
    "blocks": lambda: Gibbs({...: CoordinateSlice(1.0)}),
}
IN_TURN = ("slices", "lines", "blocks"), ("walk", "polar", "slices")
PAIRS = [(model, name) for index, model in enumerate(TARGETS) for name in IN_TURN[index % 2]]
PAIRS.remove((binomial_near_one, "polar"))  # a line has no directions


@pytest.mark.slow
@pytest.mark.parametrize(("model", "kernel"), PAIRS, ids=[f"{model.__name__}-{name}" for model, name in PAIRS])
def test_targets_with_known_moments(model, kernel):
    """Means of 8 chains of 2000 draws within 8 standard errors, by 40 batch means.

    False alarm of all: some 100 statistics of Student's law with 39 degrees beyond 8: < 1e-6.
    """
    run = mcmc(
        NumPyroKernel(KERNELS[kernel](), model), warmup=1000, samples=2000, num_chains=8, chain_method="vectorized"
    )
    run.run(jax.random.key(11))
    draws = {name: np.asarray(value) for name, value in run.get_samples(group_by_chain=True).items()}
    for name, expected in TARGETS[model]().items():
        values = draws[name.removesuffix("^2")] ** (2 if name.endswith("^2") else 1)
        batches = values.reshape(40, 400, *values.shape[2:]).mean(axis=1)
        error = batches.std(axis=0, ddof=1) / np.sqrt(40)
        assert np.all(error > 0)
        np.testing.assert_array_less(np.abs(batches.mean(axis=0) - expected), 8 * error)
