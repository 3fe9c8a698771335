"""BlackJAX's algorithms as kernels, and the way back."""

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import ergodica
from ergodica.samplers.claim import Claim, Exactness
from ergodica.samplers.interop.blackjax import BlackJAXKernel, to_blackjax
from ergodica.samplers.sample import sample

START = jnp.array([0.5, -1.0])
MASS = jnp.array([1.0, 4.0])


def density(scale, x):
    return -0.5 * jnp.sum((x / scale) ** 2)


TARGET = Partial(density, jnp.array([1.0, 2.0]))

ALGORITHMS = {
    "nuts": (blackjax.nuts, {"step_size": 0.5, "inverse_mass_matrix": MASS}),
    "hmc": (blackjax.hmc, {"step_size": 0.5, "inverse_mass_matrix": MASS, "num_integration_steps": 3}),
    "mala": (blackjax.mala, {"step_size": 0.3}),
    "ghmc": (blackjax.ghmc, {"step_size": 0.3, "momentum_inverse_scale": MASS, "alpha": 0.9, "delta": 0.1}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS)
def test_draws_are_those_of_blackjax(name):
    algorithm, parameters = ALGORITHMS[name]
    kernel = BlackJAXKernel(algorithm, logdensity=TARGET, **parameters)
    key = jax.random.key(3)
    ours = kernel.init(START, key=key)
    step = algorithm.build_kernel()
    extra = {"rng_key": key} if name == "ghmc" else {}
    theirs = algorithm.init(START, TARGET, **extra)
    for i in range(5):
        k = jax.random.fold_in(key, i)
        ours, info = jax.jit(lambda k, s: kernel.step(k, s))(k, ours)
        theirs, other = step(k, theirs, TARGET, **parameters)
        np.testing.assert_allclose(ours.position, theirs.position, rtol=1e-9)
        np.testing.assert_allclose(info.acceptance_rate, other.acceptance_rate, rtol=1e-9)
    assert kernel.claim.exactness is Exactness.EXACT


@pytest.mark.slow
def test_it_samples_composes_and_is_retargeted():
    algorithm, parameters = ALGORITHMS["nuts"]
    kernel = BlackJAXKernel(algorithm, **parameters)
    draws = sample(kernel.bind(TARGET), START, draws=20, tune=5, chains=2, progress=False)
    assert {"acceptance_rate", "diverging", "n_steps", "energy", "num_grad_evals", "lp"} == set(draws.stats)
    blocks = ergodica.cycle(ergodica.on("a", ergodica.RandomWalk(0.5)), ergodica.on("b", kernel))
    joint = blocks.bind(lambda x: -0.5 * jnp.sum(x["a"] ** 2) - 0.5 * jnp.sum((x["b"] - x["a"]) ** 2))
    out = sample(joint, {"a": START, "b": START}, draws=20, tune=5, chains=2, progress=False)
    assert np.all(np.isfinite(out.position["b"]))
    assert joint.claim.is_exact


def test_refresh_follows_the_target():
    algorithm, parameters = ALGORITHMS["ghmc"]
    kernel = BlackJAXKernel(algorithm, logdensity=TARGET, **parameters)
    state = kernel.init(START, key=jax.random.key(0))
    other = kernel.bind(Partial(density, jnp.array([3.0, 1.0]))).refresh(state)
    np.testing.assert_allclose(other.logdensity, density(jnp.array([3.0, 1.0]), START))
    np.testing.assert_allclose(other.logdensity_grad, -START / jnp.array([9.0, 1.0]))
    np.testing.assert_array_equal(other.momentum, state.momentum)


def test_there_and_back():
    kernel = ergodica.RandomWalk(0.7, logdensity=TARGET)
    algorithm = to_blackjax(kernel)
    final, (states, infos) = blackjax.util.run_inference_algorithm(
        jax.random.key(1), algorithm, num_steps=30, initial_position=START
    )
    assert states.position.shape == (30, 2)
    assert 0 < infos.acceptance_rate.mean() <= 1
    np.testing.assert_array_equal(final.position, states.position[-1])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: BlackJAXKernel(blackjax.mala(TARGET, 0.1)), TypeError, "Pass the algorithm itself"),
        (lambda: BlackJAXKernel(blackjax.mala), TypeError, "misses step_size"),
        (lambda: BlackJAXKernel(blackjax.mala, step_size=0.1, steps=3), TypeError, "does not take steps"),
        (lambda: BlackJAXKernel(blackjax.mala, step_size="a"), TypeError, "step_size has to be a number"),
        (lambda: BlackJAXKernel(blackjax.mala, step_size=-1.0), ValueError, "step_size has to be greater than 0"),
        (lambda: BlackJAXKernel(blackjax.mala, step_size=float("nan")), ValueError, "step_size has to be finite"),
        (lambda: to_blackjax(blackjax.mala), TypeError, "expected a kernel of this library"),
        (
            lambda: BlackJAXKernel(blackjax.ghmc, logdensity=TARGET, **ALGORITHMS["ghmc"][1]).init(START),
            ValueError,
            "call init",
        ),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_claims_are_stated_or_asked_for():
    class Foreign:
        init = staticmethod(lambda position, logdensity_fn: None)
        build_kernel = staticmethod(lambda: lambda rng_key, state, logdensity_fn: None)

    with pytest.raises(ValueError, match=r"what .* promises is not known here"):
        BlackJAXKernel(Foreign)
    claim = Claim(Exactness.HEURISTIC, "does nothing")
    assert BlackJAXKernel(Foreign, claim=claim).claim == claim
    mclmc = BlackJAXKernel(blackjax.mclmc, L=1.0, step_size=0.1, inverse_mass_matrix=MASS)
    assert mclmc.claim.exactness is Exactness.BIASED
