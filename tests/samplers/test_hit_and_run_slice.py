import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ergodica.samplers.slicing.hit_and_run import HitAndRunSlice
from ergodica.validation.cases.slicing import CASES
from tests.traps.slicing import DirectionFromPosition

CASE = next(case for case in CASES if case.name == "hit-and-run-slice")
COVARIANCE = np.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.3], [0.0, 0.3, 2.0]])


def banana(x):
    return -0.5 * (x[0] ** 2 + (x[1] - x[0] ** 2) ** 2 + x[2] ** 2)


@pytest.mark.parametrize("dtype", [jnp.float32, pytest.param(jnp.float64, marks=pytest.mark.slow)])
def test_protocol(dtype, getkey):
    kernel = HitAndRunSlice(1.0, scale=np.linalg.cholesky(COVARIANCE)).bind(banana)
    state = kernel.init(jnp.ones(3, dtype))
    key = getkey()
    step = jax.jit(kernel.step)
    once, info = step(key, state)
    jax.tree.map(np.testing.assert_array_equal, once, step(key, state)[0])
    assert once.position.dtype == dtype
    assert once.logdensity.dtype == dtype
    assert int(info.num_evals) >= 3
    np.testing.assert_allclose(once.logdensity, banana(once.position), rtol=1e-5)
    bare = kernel.unbound()
    assert bare.logdensity is None
    np.testing.assert_array_equal(bare.bind(banana).refresh(once).logdensity, banana(once.position))
    assert kernel.claim.reversible


def test_rotation_equivariance(getkey):
    # Without a scale a rotated target and rotated normal numbers give a rotated move.
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    kernel = HitAndRunSlice(1.3).bind(banana)
    rotated = HitAndRunSlice(1.3).bind(lambda y: banana(rotation.T @ y))
    state, turned = kernel.init(jnp.ones(3)), rotated.init(rotation @ jnp.ones(3))
    move, turned_move = jax.jit(kernel.move), jax.jit(rotated.move)
    for _ in range(5):
        key, normals = getkey(), jax.random.normal(getkey(), (3,))
        state, _ = move(key, state, normals)
        turned, _ = turned_move(key, turned, rotation @ normals)
        np.testing.assert_allclose(rotation @ state.position, turned.position, atol=1e-12)


def test_moves_along_the_direction():
    kernel = HitAndRunSlice(1.0, scale=[1.0, 2.0, 3.0]).bind(banana)
    start = jnp.array([0.1, 0.2, 0.3])
    state, _ = jax.jit(kernel.move)(jax.random.key(0), kernel.init(start), jnp.array([1.0, 1.0, 0.0]))
    moved = np.asarray(state.position - start)
    np.testing.assert_allclose(moved[1], 2 * moved[0])
    assert moved[2] == 0
    assert moved[0] != 0


def test_density_is_evaluated_once_a_turn():
    calls = []

    def counted(x):
        jax.debug.callback(lambda: calls.append(0))
        return banana(x)

    kernel = HitAndRunSlice(1.0).bind(counted)
    state = kernel.init(jnp.ones(3))
    jax.effects_barrier()
    calls.clear()
    states = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (4, *leaf.shape)), state)
    _, info = jax.jit(jax.vmap(kernel.step))(jax.random.split(jax.random.key(0), 4), states)
    jax.effects_barrier()
    assert len(calls) == int(jnp.max(info.num_evals))


def test_bad_input():
    with pytest.raises(ValueError, match="lower triangular"):
        HitAndRunSlice(1.0, scale=COVARIANCE)
    with pytest.raises(ValueError, match="positive"):
        HitAndRunSlice(1.0, scale=[1.0, -1.0])
    with pytest.raises(ValueError, match="square"):
        HitAndRunSlice(1.0, scale=np.ones((2, 3)))
    with pytest.raises(ValueError, match="width"):
        HitAndRunSlice(-1.0)
    with pytest.raises(ValueError, match="has 2 entries"):
        HitAndRunSlice(1.0, scale=[1.0, 1.0, 1.0]).bind(jnp.sum).init(jnp.ones(2))


@pytest.mark.slow
@pytest.mark.parametrize("check", CASE.checks, ids=lambda check: check.name)
@pytest.mark.parametrize(
    "kernel",
    [
        pytest.param(CASE.example(), marks=pytest.mark.catalogue),
        HitAndRunSlice(0.7, method="doubling", max_doublings=2, max_shrink=2),
    ],
)
def test_catalogue(check, kernel):
    # Proven false-alarm probability 1e-6 for each check.
    outcome = check.run(kernel, jax.random.key(5))
    assert outcome.passed, outcome.details


@pytest.mark.slow
def test_a_direction_that_depends_on_the_position_is_rejected():
    assert not CASE.checks[1].run(DirectionFromPosition(1.0), jax.random.key(0)).passed
