"""Random-walk Metropolis: certificate, scales, protocol, bad input, and the traps."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from ergodica.samplers import random
from ergodica.samplers.acceptance.metropolis import Barker
from ergodica.samplers.metropolis.random_walk import RandomWalk
from ergodica.validation.cases.metropolis import CASES
from ergodica.validation.certify import certify
from tests.traps.metropolis import RANDOM_WALK_TRAPS, HalvesPriorPrecision, NeverMoves

ROW = next(case for case in CASES if case.name == "random-walk")


def normal(precision, x):
    return -0.5 * sum(jnp.sum(precision * leaf**2) for leaf in jax.tree.leaves(x))


STANDARD = Partial(normal, jnp.asarray(1.0))


@pytest.mark.slow
@pytest.mark.catalogue
def test_the_catalogue_certifies_it():
    report = certify("random-walk")
    assert report.passed, str(report)


@pytest.mark.parametrize("rule", [Barker()])
@pytest.mark.slow
def test_other_rules_and_scales_pass_too(rule):
    kernel = RandomWalk(jnp.array([[0.7, 0.0], [0.4, 1.1]]), rule)
    for check in ROW.checks[:2]:
        outcome = check.run(kernel, jax.random.key(1))
        assert outcome.passed, outcome.details


@pytest.mark.slow
@pytest.mark.parametrize("trap", RANDOM_WALK_TRAPS)
def test_the_checks_catch_a_wrong_kernel(trap):
    failed = [check.name for check in ROW.checks if not check.run(trap(1.0), jax.random.key(0)).passed]
    assert failed
    if trap is HalvesPriorPrecision:
        assert "rank: normal model" in failed
    if trap is NeverMoves:
        assert failed == [ROW.checks[2].name]


def test_scales_of_all_kinds_agree(getkey):
    key, start = getkey(), jnp.array([0.3, -1.0, 2.0])
    draws = [
        RandomWalk(scale, logdensity=STANDARD)
        .run(key, RandomWalk(1.0, logdensity=STANDARD).init(start), 20)[0]
        .position
        for scale in (0.7, 0.7 * jnp.ones(3), 0.7 * jnp.eye(3))
    ]
    np.testing.assert_allclose(draws[1], draws[0], rtol=1e-12)
    np.testing.assert_allclose(draws[2], draws[0], rtol=1e-12)


def test_the_step_has_the_covariance_of_its_factor(getkey):
    """Squared Mahalanobis lengths of steps are chi-squared with 3 degrees: mean 3, standard error sqrt(6 / n).

    Six standard errors: false-alarm probability 2e-9.
    """
    factor = jnp.array([[1.0, 0, 0], [0.5, 2.0, 0], [-0.3, 0.2, 0.1]])
    kernel = RandomWalk(factor, logdensity=lambda x: 0.0 * jnp.sum(x))
    state = kernel.init(jnp.zeros(3))
    n = 40_000
    steps = jax.vmap(lambda key: kernel.step(key, state)[0].position)(random.split(getkey(), n))
    lengths = jnp.sum(jax.scipy.linalg.solve_triangular(factor, steps.T, lower=True) ** 2, axis=0)
    assert abs(float(lengths.mean()) - 3) < 6 * np.sqrt(6 / n)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_protocol(dtype, getkey):
    kernel = RandomWalk(0.5, logdensity=STANDARD)
    position = {"a": jnp.ones(2, dtype), "b": jnp.zeros((2, 2), dtype)}
    state = kernel.init(position)
    key = getkey()
    after, info = jax.jit(lambda k, key, s: k.run(key, s, 5))(kernel, key, state)
    again, _ = kernel.run(key, state, 5)
    np.testing.assert_allclose(after.position["b"], again.position["b"], rtol=1e-5)
    assert {leaf.dtype for leaf in jax.tree.leaves((after, info.acceptance_rate))} == {jnp.dtype(dtype)}
    assert int(info.num_evals) == 5
    np.testing.assert_allclose(after.logdensity, STANDARD(after.position), rtol=1e-5)

    many = jax.vmap(kernel.init)(jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), position))
    keys = random.split(key, 3)
    together, _ = jax.vmap(kernel.step)(keys, many)
    np.testing.assert_allclose(together.position["a"][2], kernel.step(keys[2], state)[0].position["a"], rtol=1e-5)

    assert all(eqx.is_array(leaf) for leaf in jax.tree.leaves(kernel.unbound()))
    doubled = kernel.bind(Partial(normal, jnp.asarray(2.0)))
    np.testing.assert_allclose(doubled.refresh(state).logdensity, 2 * state.logdensity, rtol=1e-6)


def test_nothing_recompiles_for_a_new_scale_or_new_data(getkey):
    traces = []

    @jax.jit
    def run(kernel, key, state):
        traces.append(1)
        return kernel.run(key, state, 3)

    for scale, precision in ((0.5, 1.0), (jnp.asarray(1.5), 3.0)):
        kernel = RandomWalk(scale, logdensity=Partial(normal, jnp.asarray(precision)))
        run(kernel, getkey(), kernel.init(jnp.zeros(2)))
    assert len(traces) == 1


def test_kernels_can_be_mapped_over(getkey):
    kernels = jax.vmap(lambda scale: RandomWalk(scale, logdensity=STANDARD))(jnp.array([1e-3, 1.0]))
    states = jax.vmap(lambda k, x: k.init(x))(kernels, jnp.zeros((2, 3)))
    after, _ = jax.vmap(lambda k, key, s: k.step(key, s))(kernels, random.split(getkey(), 2), states)
    assert jnp.abs(after.position[0]).max() < 0.01


def test_invalid_values_are_counted(getkey):
    kernel = RandomWalk(1.0, logdensity=lambda x: jnp.where(x[0] > 0, jnp.nan, 0.0))
    state, info = kernel.run(getkey(), kernel.init(-jnp.ones(1)), 200)
    assert info.num_invalid > 0
    assert state.position[0] <= 0


@pytest.mark.parametrize(
    ("make", "position", "error", "message"),
    [
        (lambda: RandomWalk(0.0), jnp.zeros(2), ValueError, "greater than 0"),
        (lambda: RandomWalk(jnp.array([1.0, -1.0])), jnp.zeros(2), ValueError, "greater than 0"),
        (lambda: RandomWalk(jnp.nan), jnp.zeros(2), ValueError, "finite"),
        (lambda: RandomWalk(jnp.ones((2, 2))), jnp.zeros(2), ValueError, "cholesky"),
        (lambda: RandomWalk(jnp.ones((2, 3))), jnp.zeros(2), ValueError, "d x d"),
        (lambda: RandomWalk(jnp.array([[1.0, 0.0], [1.0, 0.0]])), jnp.zeros(2), ValueError, "diagonal"),
        (lambda: RandomWalk(jnp.ones(3), logdensity=STANDARD), jnp.zeros(2), ValueError, "as many entries"),
        (lambda: RandomWalk(1.0, logdensity=STANDARD), jnp.zeros(2, int), TypeError, "floating-point"),
        (lambda: RandomWalk(1.0, logdensity=STANDARD), jnp.array([jnp.nan]), ValueError, "not finite"),
        (lambda: RandomWalk(1.0), jnp.zeros(2), ValueError, "no target"),
        (lambda: RandomWalk(1.0, rule="Barker"), jnp.zeros(2), TypeError, "decides by the ratio"),
        (lambda: RandomWalk(1.0, logdensity=lambda x: x), jnp.zeros(2), TypeError, "scalar"),
    ],
)
def test_bad_input(make, position, error, message):
    with pytest.raises(error, match=message):
        make().init(position)
