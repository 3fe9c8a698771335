"""NumPyro's kernels as ours: the same steps, frozen parameters, both hosts, composition, bad input."""

import blackjax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import AIES, HMC, NUTS, SA, BarkerMH

import ergodica
from ergodica.samplers.claim import Claim, Exactness
from ergodica.samplers.interop.from_numpyro import from_numpyro
from ergodica.validation.stationary_start import stationary_start_check
from ergodica.validation.targets.continuous import standard_normal

SD = jnp.array([1.0, 3.0])
START = jnp.array([0.5, -1.0])
OPTIONS = {"draws": 20, "tune": 0, "chains": 2, "progress": False}


def potential(x):
    return 0.5 * jnp.sum((x / SD) ** 2)


def model(y=None):
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    numpyro.deterministic("twice", 2 * scale)
    numpyro.sample("y", dist.Normal(0.0, scale), obs=y)


@pytest.fixture(scope="module")
def nuts():
    return from_numpyro(NUTS(model), jnp.array([0.3, -1.2]), num_warmup=60)


@pytest.mark.parametrize(
    "make", [lambda: NUTS(potential_fn=potential, step_size=0.5), lambda: BarkerMH(potential_fn=potential)]
)
def test_steps_are_those_of_numpyro(make):
    kernel = from_numpyro(make(), start=START)
    state, _ = kernel.step(jax.random.key(3), kernel.init(START))
    theirs = make()
    begun = theirs.init(jax.random.key(0), 0, START, (), {})
    place = begun._fields.index("rng_key")
    moved = theirs.sample(begun._replace(rng_key=jax.random.fold_in(jax.random.key(3), place)), (), {})
    np.testing.assert_allclose(state.position, moved.z, rtol=1e-12)


def test_warm_up_is_found_once_and_kept(nuts):
    assert nuts.adaptation.step_size != 1.0
    again = from_numpyro(NUTS(model), jnp.array([0.3, -1.2]), num_warmup=60)
    assert again.adaptation.step_size == nuts.adaptation.step_size
    state = nuts.init(nuts.start(jax.random.key(0)))
    moved, info = nuts.step(jax.random.key(1), state)
    assert moved.rest.adapt_state is None
    assert jax.tree.structure(moved) == jax.tree.structure(state)
    assert 0 <= info.acceptance_rate <= 1
    assert info.n_steps >= 1
    assert nuts.claim.is_exact


@pytest.mark.slow
def test_it_is_sampled_on_both_hosts_and_constrained(nuts):
    draws = ergodica.sample(nuts, nuts.start, **OPTIONS)
    compiled = ergodica.sample(nuts, nuts.start, host="numba", **OPTIONS)
    for name in draws.position:
        np.testing.assert_allclose(draws.position[name], compiled.position[name], rtol=1e-9)
    scale = draws.transform(nuts.constrain).position
    np.testing.assert_allclose(scale["twice"], 2 * scale["scale"])
    assert (scale["scale"] > 0).all()
    assert {"acceptance_rate", "diverging", "n_steps", "energy"} <= set(draws.stats)


def test_it_composes():
    kernel = from_numpyro(HMC(potential_fn=potential, step_size=0.5, trajectory_length=2.0), start=START)
    walk = ergodica.RandomWalk(0.5, logdensity=lambda x: -potential(x))
    both = ergodica.cycle(kernel, walk)
    state, _ = both.step(jax.random.key(0), both.init(START))
    assert state.position.shape == (2,)
    assert both.claim.is_exact


@pytest.mark.slow
def test_means_and_variances_are_right():
    """Independent enough: 4 x 4000 draws, tolerance 6 standard errors for at least 4000 effective ones; below 1e-7."""
    kernel = from_numpyro(NUTS(potential_fn=potential), start=START, num_warmup=500)
    draws = ergodica.sample(kernel, START, draws=4000, tune=100, chains=4, host="numba", progress=False)
    x = np.asarray(draws.position).reshape(-1, 2) / np.asarray(SD)
    assert np.all(np.abs(x.mean(axis=0)) < 6 / np.sqrt(4000))
    assert np.all(np.abs((x**2).mean(axis=0) - 1) < 6 * np.sqrt(2 / 4000))


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "right"), [(1.0, True), (0.9, False)])
def test_the_claim_is_checked_from_exact_draws(scale, right):
    """False alarm at most 1e-6, by the check; a density that is a tenth too narrow has to fail."""
    target = standard_normal(2)
    algorithm = HMC(potential_fn=lambda x: -target.logdensity(x / scale), step_size=0.5, trajectory_length=2.0)
    kernel = from_numpyro(algorithm, start=jnp.zeros(2))
    check = stationary_start_check(target.name, target, bind=lambda subject, target: subject)
    assert check.run(kernel, jax.random.key(5)).passed == right


def test_bad_input(nuts):
    with pytest.raises(TypeError, match=r"got NUTS; write NUTS\(model\)"):
        from_numpyro(NUTS)
    with pytest.raises(TypeError, match="expected a kernel of NumPyro's"):
        from_numpyro(blackjax.nuts)
    with pytest.raises(TypeError, match="population of chains"):
        from_numpyro(AIES(model))
    with pytest.raises(ValueError, match="state what SA promises"):
        from_numpyro(SA(model))
    with pytest.raises(ValueError, match="give start="):
        from_numpyro(HMC(potential_fn=potential))
    with pytest.raises(ValueError, match="num_warmup has to be at least 0"):
        from_numpyro(NUTS(model), num_warmup=-1)
    for wrong in ({"other": jnp.zeros(())}, {"scale": jnp.zeros(2)}, jnp.zeros(1)):
        with pytest.raises(ValueError, match="a position has the structure and shapes"):
            nuts.init(wrong)
    with pytest.raises(TypeError, match="nothing to bind"):
        nuts.bind(potential)
    stated = Claim(Exactness.HEURISTIC, "anneals")
    assert from_numpyro(SA(potential_fn=potential), start=START, claim=stated).claim == stated
    bounded = from_numpyro(HMC(potential_fn=lambda x: jnp.where(x[0] > 0, 0.5 * jnp.sum(x**2), jnp.inf)), start=START)
    with pytest.raises(ValueError, match="start where it is finite"):
        bounded.init(-START)
    assert eqx.tree_equal(bounded.init(START).position, START)
