"""NumPyro: our kernels under its MCMC and Gibbs, its models as our targets."""

import os
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import MCMC, NUTS, DiscreteGibbs, Gibbs
from numpyro.infer.gibbs import conditioned, discrete_latent_sites

from ergodica.samplers.gibbs.heat_bath import HeatBath
from ergodica.samplers.interop.numpyro import NumPyroKernel
from ergodica.samplers.interop.numpyro_model import model_density
from ergodica.samplers.metropolis.random_walk import RandomWalk
from ergodica.samplers.sample import sample
from ergodica.samplers.slicing.coordinate import CoordinateSlice
from ergodica.samplers.slicing.gibbsian_polar import GibbsianPolarSlice
from ergodica.samplers.tuning.proposal_scale import ProposalScale
from ergodica.samplers.tuning.whitening import Whitening
from tests.helpers.kernels import Importance, Stretch

DATA = jnp.array([0.3, -1.2, 0.5])


def scale_model(y):
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    numpyro.deterministic("twice", 2 * scale)
    numpyro.sample("y", dist.Normal(0.0, scale), obs=y)


def log_joint(theta, y):
    """The log density of `scale_model` in terms of theta = log(scale), up to a constant."""
    scale = jnp.exp(theta)
    return -0.5 * scale**2 + theta - jnp.sum(0.5 * (y / scale) ** 2 + jnp.log(scale))


def mixture_model(y):
    kind = numpyro.sample("kind", dist.Categorical(jnp.array([0.3, 0.7])))
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    mean = numpyro.sample("mean", dist.Normal(jnp.array([-1.0, 1.0])[kind], 1.0))
    numpyro.deterministic("ratio", mean / scale)
    numpyro.sample("y", dist.Normal(mean, scale), obs=y)


def potential(z):
    return 0.5 * (z[0] ** 2 + (z[1] / 3) ** 2)


def mcmc(kernel, warmup=20, samples=30, **options):
    return MCMC(kernel, num_warmup=warmup, num_samples=samples, progress_bar=False, **options)


# --- the plug-in ------------------------------------------------------------------------------------------------------


def test_one_chain_is_the_kernels_own_run():
    kernel = RandomWalk(0.7)
    key, start = jax.random.key(3), jnp.array([1.0, -1.0])
    run = mcmc(NumPyroKernel(kernel, potential_fn=potential, tuner=None), warmup=0, samples=5)
    run.run(key, init_params=start)
    bound = kernel.bind(lambda z: -potential(z))
    state = bound.init(start)
    for step in range(5):
        state, _ = bound.step(jax.random.fold_in(key, step), state)
        np.testing.assert_allclose(run.get_samples()[step], state.position, rtol=1e-12)


def test_the_kernels_own_target():
    own = RandomWalk(0.7, logdensity=lambda z: -potential(z))
    one, other = (
        mcmc(kernel) for kernel in (NumPyroKernel(own), NumPyroKernel(RandomWalk(0.7), potential_fn=potential))
    )
    for run in (one, other):
        run.run(jax.random.key(0), init_params=jnp.ones(2))
    np.testing.assert_array_equal(one.get_samples(), other.get_samples())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Some donated buffers")
def test_chain_methods_agree():
    starts = jnp.array([[1.0, 2.0], [3.0, -1.0]])
    results = {}
    for method in ("sequential", "vectorized", jax.vmap):
        run = mcmc(NumPyroKernel(RandomWalk(1.0), potential_fn=potential), num_chains=2, chain_method=method)
        run.run(jax.random.key(1), init_params=starts, extra_fields=("info.acceptance_rate", "params.scale"))
        results[method] = run.get_samples(group_by_chain=True), run.get_extra_fields(group_by_chain=True)
    reference, fields = results["sequential"]
    assert reference.shape == (2, 30, 2)
    assert fields["params.scale"].shape == fields["info.acceptance_rate"].shape == (2, 30)
    assert len(np.unique(fields["params.scale"])) == 2  # frozen after warm-up, a value for each chain
    for positions, others in results.values():
        np.testing.assert_allclose(positions, reference, rtol=1e-6)
        np.testing.assert_allclose(others["params.scale"], fields["params.scale"], rtol=1e-6)


PARALLEL = """
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
from numpyro.infer import MCMC
from ergodica.samplers.interop.numpyro import NumPyroKernel
from ergodica.samplers.metropolis.random_walk import RandomWalk
runs = []
for method in ("parallel", "sequential"):
    kernel = NumPyroKernel(RandomWalk(1.0), potential_fn=lambda z: 0.5 * (z[0] ** 2 + (z[1] / 3) ** 2))
    run = MCMC(kernel, num_warmup=20, num_samples=30, num_chains=2, chain_method=method, progress_bar=False)
    assert run.chain_method == method
    run.run(jax.random.key(1), init_params=jnp.array([[1.0, 2.0], [3.0, -1.0]]), extra_fields=("params.scale",))
    runs.append(run.get_samples())
np.testing.assert_allclose(*runs, rtol=1e-6)
"""


@pytest.mark.slow
def test_parallel_chains_on_two_devices():
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    subprocess.run([sys.executable, "-c", PARALLEL], check=True, env={**os.environ, "XLA_FLAGS": flags})


def test_a_model_with_everything_that_hangs_on_it():
    import arviz_base

    run = mcmc(NumPyroKernel(RandomWalk(0.5), scale_model))
    run.run(jax.random.key(0), DATA, extra_fields=("potential_energy", "accept_prob", "num_steps", "diverging"))
    samples = run.get_samples()
    np.testing.assert_allclose(samples["twice"], 2 * samples["scale"], rtol=1e-12)
    assert np.all(samples["scale"] > 0)
    differences = np.diff(-np.asarray(run.get_extra_fields()["potential_energy"]))
    expected = np.diff([float(log_joint(jnp.log(scale), DATA)) for scale in samples["scale"]])
    np.testing.assert_allclose(differences, expected, atol=1e-9)
    tree = arviz_base.from_numpyro(run)
    assert {"scale", "twice"} <= set(tree["posterior"].data_vars)
    assert {"acceptance_rate", "lp", "n_steps", "diverging"} <= set(tree["sample_stats"].data_vars)
    again = pickle.loads(pickle.dumps(run))
    np.testing.assert_array_equal(again.get_samples()["scale"], samples["scale"])
    again.post_warmup_state = again.last_state
    again.run(again.post_warmup_state.rng_key, DATA)
    assert again.get_samples()["scale"].shape == (30,)


def test_resuming_goes_on_as_if_uninterrupted():
    whole = mcmc(NumPyroKernel(RandomWalk(1.0), potential_fn=potential), warmup=20, samples=40)
    key = jax.random.key(5)
    whole.run(key, init_params=jnp.ones(2))
    parts = mcmc(NumPyroKernel(RandomWalk(1.0), potential_fn=potential), warmup=20, samples=20)
    parts.warmup(key, init_params=jnp.ones(2))
    parts.run(key)
    first = parts.get_samples()
    parts.post_warmup_state = parts.last_state
    parts.run(parts.post_warmup_state.rng_key)
    np.testing.assert_array_equal(jnp.concatenate([first, parts.get_samples()]), whole.get_samples())


def test_legacy_keys_and_the_progress_bar(monkeypatch, capsys):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    kernel = NumPyroKernel(RandomWalk(1.0), potential_fn=potential)
    legacy = MCMC(kernel, num_warmup=5, num_samples=5, progress_bar=True)
    legacy.run(jax.random.PRNGKey(0), init_params=jnp.ones(2))
    assert "acc. prob=" in capsys.readouterr().err
    typed = mcmc(kernel, warmup=5, samples=5)
    typed.run(jax.random.key(0), init_params=jnp.ones(2))
    np.testing.assert_allclose(legacy.get_samples(), typed.get_samples(), rtol=1e-12)


@pytest.mark.slow
def test_new_data_with_jit_model_args():
    traced = []

    def model(y):
        traced.append(1)
        numpyro.sample("y", dist.Normal(numpyro.sample("mean", dist.Normal(0.0, 10.0)), 0.01), obs=y)

    run = mcmc(NumPyroKernel(CoordinateSlice(1.0), model), warmup=60, jit_model_args=True)
    run.run(jax.random.key(0), jnp.array([3.0, 3.0]))
    np.testing.assert_allclose(run.get_samples()["mean"].mean(), 3.0, atol=0.1)
    count = len(traced)
    run.run(jax.random.key(1), jnp.array([-2.0, -2.0]))
    np.testing.assert_allclose(run.get_samples()["mean"].mean(), -2.0, atol=0.1)
    assert len(traced) - count < count  # the start only


@pytest.mark.slow
def test_populations_are_vectorized_chains():
    run = mcmc(NumPyroKernel(Stretch(), scale_model), num_chains=6, chain_method="vectorized")
    run.run(jax.random.key(0), DATA, extra_fields=("info.acceptance_rate",))
    assert run.get_samples(group_by_chain=True)["twice"].shape == (6, 30)
    assert run.get_extra_fields(group_by_chain=True)["info.acceptance_rate"].shape == (6, 30)
    assert NumPyroKernel(Stretch(), scale_model).is_ensemble_kernel
    run.post_warmup_state = run.last_state
    run.run(jax.random.key(1), DATA)
    alone = mcmc(NumPyroKernel(Stretch(), scale_model))
    with pytest.raises(ValueError, match="chain_method='vectorized'"):
        alone.run(jax.random.key(0), DATA)


@pytest.mark.slow
def test_whitening_refreshes_what_the_state_caches():
    kernel = GibbsianPolarSlice(2.0, center=jnp.zeros(2), scale=jnp.ones(2))
    run = mcmc(NumPyroKernel(kernel, potential_fn=potential, tuner=Whitening()), warmup=40, samples=2)
    run.run(jax.random.key(0), init_params=jnp.ones(2))
    state = run.last_state
    rebuilt = state.params.center + state.params.scale * state.inner.radius * state.inner.direction
    np.testing.assert_allclose(rebuilt, state.z, rtol=1e-9)
    assert not np.allclose(state.params.scale, 1)


# --- Gibbs ------------------------------------------------------------------------------------------------------------


def blocks(kernel):
    return Gibbs(
        [
            (DiscreteGibbs(mixture_model), discrete_latent_sites),
            (NumPyroKernel(kernel, mixture_model), ["scale"]),
            (NumPyroKernel(RandomWalk(0.5), mixture_model), ["mean"]),
        ]
    )


@pytest.mark.slow
def test_a_block_of_gibbs_starts_at_constrained_values():
    run = mcmc(blocks(CoordinateSlice(1.0)), warmup=5, samples=5)
    run.run(jax.random.key(0), DATA, init_params={"scale": jnp.asarray(0.02), "mean": jnp.asarray(4.0)})
    assert set(run.get_samples()) == {"kind", "scale", "mean", "ratio"}
    block = NumPyroKernel(CoordinateSlice(1.0), mixture_model).wrap_model(conditioned)
    siblings = {"_gibbs_sites": {"kind": jnp.asarray(1), "mean": jnp.asarray(4.0)}}
    state = block.init(jax.random.key(0), 5, {"scale": jnp.asarray(0.02)}, (DATA,), siblings)
    np.testing.assert_allclose(state.z["scale"], np.log(0.02), rtol=1e-9)
    np.testing.assert_allclose(block.get_constrain_fn((DATA,), siblings)(state.z)["scale"], 0.02, rtol=1e-9)
    moved = {"_gibbs_sites": {"kind": jnp.asarray(0), "mean": jnp.asarray(0.0)}}
    fresh = block.refresh(state, (DATA,), moved)
    # Only the likelihood has changed: -(y - mean)^2 / 2 scale^2, and the prior of the mean.
    change = -0.5 * (np.sum(np.square(DATA)) - np.sum(np.square(DATA - 4.0))) / 0.02**2
    change += -0.5 * (0.0 + 1.0) ** 2 + 0.5 * (4.0 - 1.0) ** 2 + np.log(0.3) - np.log(0.7)
    assert float(fresh.inner.logdensity - state.inner.logdensity) == pytest.approx(change, rel=1e-9)


def test_supports_that_depend_on_sites_are_refused_as_blocks():
    def model():
        top = numpyro.sample("top", dist.HalfNormal(1.0))
        numpyro.sample("x", dist.Uniform(0.0, top + 1.0))

    run = mcmc(Gibbs([(NumPyroKernel(RandomWalk(1.0), model), [name]) for name in ("top", "x")]))
    with pytest.raises(ValueError, match=r"supports of the sites \['x'\] depend on values"):
        run.run(jax.random.key(0))


@pytest.mark.slow
def test_gibbs_has_the_right_law():
    """Means of 20,000 draws with our blocks and with NUTS, within 6 standard errors of each other by batch means.

    False alarm: three normal statistics beyond 6 sigma, 40 batches each: < 1e-6.
    """
    nuts = Gibbs([(DiscreteGibbs(mixture_model), discrete_latent_sites), (NUTS(mixture_model), None)])
    moments = []
    for kernel in (blocks(CoordinateSlice(1.0)), nuts):
        run = mcmc(kernel, warmup=1000, samples=20_000)
        run.run(jax.random.key(2), DATA)
        batches = np.stack([np.asarray(run.get_samples()[name], float) for name in ("kind", "scale", "mean")])
        batches = batches.reshape(3, 40, 500).mean(axis=2)
        moments.append((batches.mean(axis=1), batches.var(axis=1, ddof=1) / 40))
    (ours, error), (theirs, other) = moments
    assert np.all(np.abs(ours - theirs) < 6 * np.sqrt(error + other))


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"kernel": HeatBath([0, 1])}, ValueError, "works on another kind of space: finite"),
        ({"kernel": Importance(1.0)}, ValueError, "mean nothing without their weights"),
        ({"kernel": scale_model}, TypeError, "takes a kernel of this library"),
        ({"kernel": RandomWalk(1.0), "potential_fn": potential}, ValueError, "not both"),
        ({"kernel": RandomWalk(1.0), "model": None}, ValueError, "nothing to sample"),
        ({"kernel": RandomWalk(1.0), "tuner": "fast"}, TypeError, "tuner is"),
    ],
)
def test_refusals(arguments, error, message):
    with pytest.raises(error, match=message):
        NumPyroKernel(**{"model": scale_model, **arguments})


def test_what_a_potential_cannot_do():
    kernel = NumPyroKernel(RandomWalk(1.0), potential_fn=potential)
    with pytest.raises(ValueError, match="pass init_params"):
        mcmc(kernel).run(jax.random.key(0))
    with pytest.raises(ValueError, match="no model to wrap"):
        kernel.wrap_model(lambda model: model)
    with pytest.raises(ValueError, match="is NaN"):
        mcmc(NumPyroKernel(RandomWalk(1.0), potential_fn=lambda z: jnp.log(-1 - z[0] ** 2))).run(
            jax.random.key(0), init_params=jnp.ones(2)
        )


def test_the_tuner_is_the_users():
    run = mcmc(NumPyroKernel(RandomWalk(jnp.ones(2)), potential_fn=potential, tuner=ProposalScale(0.5)), warmup=30)
    run.run(jax.random.key(0), init_params=jnp.ones(2))
    assert run.last_state.params.scale.shape == (2,)
    assert not np.allclose(run.last_state.params.scale, 1)
    frozen = mcmc(NumPyroKernel(RandomWalk(0.3), potential_fn=potential, tuner=None))
    frozen.run(jax.random.key(0), init_params=jnp.ones(2))
    assert float(frozen.last_state.params.scale) == 0.3


# --- models as targets ------------------------------------------------------------------------------------------------


def test_a_model_as_a_log_density():
    target = model_density(scale_model, DATA)
    thetas = jnp.array([-1.0, 0.0, 0.7])
    values = jnp.stack([target.logdensity({"scale": theta}) for theta in thetas])
    expected = jnp.stack([log_joint(theta, DATA) for theta in thetas])
    np.testing.assert_allclose(jnp.diff(values), jnp.diff(expected), rtol=1e-9)
    start = target.start(jax.random.key(0))
    assert set(start) == {"scale"}
    constrained = target.constrain(start)
    np.testing.assert_allclose(constrained["twice"], 2 * jnp.exp(start["scale"]), rtol=1e-12)


def test_new_data_are_leaves_and_compile_nothing():
    targets = [model_density(scale_model, y).logdensity for y in (DATA, np.asarray(DATA) * 2)]
    assert jax.tree.structure(targets[0]) == jax.tree.structure(targets[1])
    traced = []

    @jax.jit
    def value(target, z):
        traced.append(1)
        return target(z)

    results = [value(target, {"scale": jnp.asarray(0.3)}) for target in targets]
    assert len(traced) == 1
    expected = log_joint(0.3, DATA * 2) - log_joint(0.3, DATA)
    assert float(results[1] - results[0]) == pytest.approx(float(expected), rel=1e-9)


def test_sizes_and_names_stay_static():
    def model(size, y, *, kind):
        assert kind == "normal"
        with numpyro.plate("rows", size):
            numpyro.sample("y", dist.Normal(numpyro.sample("mean", dist.Normal(0, 1)), 1), obs=y)

    target = model_density(model, 3, DATA, kind="normal")
    assert jax.jit(target.logdensity)({"mean": jnp.zeros(3)}).shape == ()


def test_models_that_remember_their_first_arguments_are_told_apart():
    def model(y):
        offset = numpyro.param("offset", jnp.mean(y))
        numpyro.sample("y", dist.Normal(numpyro.sample("mean", dist.Normal(0, 1)) + offset, 1), obs=y)

    one, other = (model_density(model, y).logdensity for y in (DATA, DATA + 5))
    assert jax.tree.structure(one) != jax.tree.structure(other)


def test_nothing_to_sample():
    with pytest.raises(ValueError, match="no latent site"):
        model_density(lambda: numpyro.sample("y", dist.Normal(0, 1), obs=0.0))


@pytest.mark.slow
def test_our_driver_on_a_model():
    target = model_density(scale_model, DATA)
    kernel = CoordinateSlice(1.0, logdensity=target.logdensity)
    draws = sample(kernel, target.start, draws=30, tune=30, chains=2, progress=False).transform(target.constrain)
    assert set(draws.position) == {"scale", "twice"}
    np.testing.assert_allclose(draws.position["scale"], np.exp(draws.unconstrained["scale"]), rtol=1e-12)
