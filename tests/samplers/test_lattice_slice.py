import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ergodica.samplers.slicing.lattice import LatticeSlice
from ergodica.validation.cases.slicing import CASES
from ergodica.validation.enumeration import transition_matrix
from ergodica.validation.exact import check_exact
from ergodica.validation.targets.finite import slice6, spin3
from ergodica.validation.targets.target import FiniteTarget
from tests.traps.slicing import AsksTheLastCell

CASE = next(case for case in CASES if case.name == "lattice-slice")


def matrix_of(kernel):
    target = slice6()
    return transition_matrix(kernel.bind(target.logdensity), target.states), target.probabilities


def moduli(matrix):
    return np.sort(np.abs(np.linalg.eigvals(matrix)))[::-1]


@pytest.mark.parametrize(
    ("width", "max_steps", "second"), [(2, 3, 0.7237607500), (1, 6, 0.7835466084), (3, 2, 0.6790701379)]
)
def test_exact_law_on_slice6(width, max_steps, second):
    matrix, probabilities = matrix_of(LatticeSlice(width, max_steps=max_steps))
    flows = probabilities[:, None] * matrix
    np.testing.assert_allclose(flows, flows.T, atol=1e-15)
    assert moduli(matrix)[1] == pytest.approx(second, abs=1e-9)
    if width == 2:
        assert np.trace(matrix) == pytest.approx(2.7697916667, abs=1e-9)


def test_the_ideal_sampler_mixes_faster():
    weights = np.array([1.0, 3, 2, 1, 4, 2])
    levels = np.unique(weights)
    steps = np.diff(np.concatenate([[0.0], levels]))
    inside = weights >= levels[:, None]
    ideal = sum(
        step / weights[:, None] * np.outer(row, row) / row.sum() for step, row in zip(steps, inside, strict=True)
    )
    assert moduli(ideal)[1] == pytest.approx(0.3178190760, abs=1e-9)
    assert np.trace(ideal) == pytest.approx(1.5347222222, abs=1e-9)
    wide, _ = matrix_of(LatticeSlice(6, max_steps=1))
    assert 0.3178190760 < moduli(wide)[1] < 0.65


def test_the_last_cell_does_not_do():
    trap = AsksTheLastCell(2, max_steps=3)
    report = check_exact(trap, slice6())
    assert report.outcomes["invariance"].statistic == pytest.approx(0.0032051282, abs=1e-9)
    matrix, probabilities = matrix_of(trap)
    values, vectors = np.linalg.eig(matrix.T)
    stationary = np.real(vectors[:, np.argmax(np.real(values))])
    stationary = stationary / stationary.sum()
    assert 0.5 * np.abs(stationary - probabilities).sum() == pytest.approx(0.0100863935, abs=1e-9)
    for check in CASE.checks:
        assert not check.run(trap, jax.random.key(0)).passed


def test_several_coordinates():
    grid = np.stack(np.meshgrid([-1, 0, 1], [0, 1], indexing="ij"), axis=-1).reshape(-1, 2)

    def logdensity(x):
        outside = (jnp.abs(x[0]) > 1) | (x[1] < 0) | (x[1] > 1)
        return jnp.where(outside, -jnp.inf, 0.7 * x[0] * x[1] - 0.3 * x[0] ** 2)

    logs = np.asarray(jax.vmap(logdensity)(jnp.asarray(grid)))
    weights = np.exp(logs)
    target = FiniteTarget("grid", grid, weights / weights.sum(), jax.tree_util.Partial(logdensity))
    report = check_exact(LatticeSlice(1, max_steps=2), target)
    assert all(outcome.passed for outcome in report.outcomes.values()), str(report)


def test_spins_are_reached_across_the_gap():
    # The support is {-1, 1}, so that a width of one cell never sees the other side.
    target = spin3()

    def on_spins(x):
        return jnp.where(jnp.all(jnp.abs(x) == 1), target.logdensity(x), -jnp.inf)

    spins = FiniteTarget("spins", target.states, target.probabilities, jax.tree_util.Partial(on_spins))
    report = check_exact(LatticeSlice(3, max_steps=1), spins)
    assert all(outcome.passed for outcome in report.outcomes.values()), str(report)
    stuck = check_exact(LatticeSlice(1, max_steps=2), spins)
    assert not stuck.outcomes["irreducible"].passed


@pytest.mark.slow
def test_protocol(getkey):
    target = slice6()
    kernel = LatticeSlice(2, max_steps=3).bind(target.logdensity)
    state = kernel.init(jnp.asarray(3))
    key = getkey()
    step = jax.jit(kernel.step)
    once, info = step(key, state)
    jax.tree.map(np.testing.assert_array_equal, once, step(key, state)[0])
    assert once.position.dtype == state.position.dtype
    np.testing.assert_array_equal(once.logdensity, kernel.refresh(once).logdensity)
    assert int(info.num_evals) >= 1
    states = jax.vmap(kernel.init)(jnp.asarray(target.states))
    states, info = jax.jit(jax.vmap(lambda key, s: kernel.run(key, s, 50)))(jax.random.split(key, 6), states)
    assert np.all((np.asarray(states.position) >= 0) & (np.asarray(states.position) < 6))
    assert kernel.unbound().logdensity is None


def test_bad_input():
    with pytest.raises(ValueError, match="width"):
        LatticeSlice(0)
    with pytest.raises(TypeError, match="integer"):
        LatticeSlice(2).bind(slice6().logdensity).init(jnp.asarray(1.0))
    with pytest.raises(ValueError, match="-inf"):
        LatticeSlice(2).bind(slice6().logdensity).init(jnp.asarray(9))


@pytest.mark.parametrize("check", CASE.checks, ids=lambda check: check.name)
def test_catalogue(check):
    outcome = check.run(CASE.example(), jax.random.key(0))
    assert outcome.passed, outcome.details
