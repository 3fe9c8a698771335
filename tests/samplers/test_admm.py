"""Distributed ADMM: protocol, claim, exact laws, local solver, networks, bad input, and the traps."""

import dataclasses

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
import scipy.sparse
from jax.tree_util import Partial

from ergodica.samplers.claim import Exactness
from ergodica.samplers.distributed.admm import ADMMSampler, ADMMState
from ergodica.samplers.distributed.agents import ConvexAgents, QuadraticAgents
from ergodica.samplers.distributed.network import as_network
from ergodica.theory.admm import noise_variance, stationary_law
from ergodica.validation.cases.distributed import CASES
from ergodica.validation.evidence import run_check
from ergodica.validation.targets.continuous import AGENTS4
from tests.traps.distributed import (
    GaussSeidel,
    NeighboursByPosition,
    NoiseOfEachEdge,
    OldDuals,
    PaperNoiseCalledCalibrated,
    SharedNoise,
)

CHECKS = {check.name: check for check in CASES[0].checks}
SWEEP = "exact: a sweep on quadratics is the affine map of theory"
NOISE = "normal draws: noise of a sweep"
LAW = "stationary start: the exact biased law"
PATH = np.eye(4, k=1, dtype=int) + np.eye(4, k=-1, dtype=int)
CYCLE = nx.cycle_graph(4)


def quadratic(**fields):
    return ADMMSampler(**({"agents": QuadraticAgents(*AGENTS4), "network": PATH} | fields))


def logistic(x, data):
    design, labels = data
    return jnp.sum(jnp.logaddexp(0.0, -labels * (design @ x))) + 0.05 * jnp.sum(x**2)


def logistic_data(dtype=jnp.float64, size=12):
    rng = np.random.default_rng(0)
    design = rng.normal(size=(4, size, 2))
    labels = np.sign(design @ np.array([1.0, -1.0]) + 0.3)
    return jnp.asarray(design, dtype), jnp.asarray(labels, dtype)


@pytest.mark.parametrize(
    ("kind", "dtype"), [("quadratic", jnp.float32), ("quadratic", jnp.float64), ("logistic", jnp.float32)]
)
@pytest.mark.slow
def test_protocol(kind, dtype):
    if kind == "quadratic":
        kernel, position = quadratic(penalty=2.0), jnp.zeros((4, 1), dtype)
    else:
        kernel = quadratic(agents=ConvexAgents(logistic, logistic_data(dtype), num_newton=2), penalty=2.0)
        position = jnp.zeros((4, 2), dtype)
    state = kernel.init(position)
    step = jax.jit(lambda kernel, key, state: kernel.step(key, state))
    key = jax.random.key(0)
    new, info = step(kernel, key, state)
    assert new.position.dtype == new.dual.dtype == info.disagreement.dtype == dtype
    assert new.position.shape == position.shape
    jax.tree.map(np.testing.assert_array_equal, step(kernel, key, state), (new, info))
    end, total = kernel.run(key, state, 3)
    assert np.all(np.isfinite(end.position))
    assert total.num_invalid == 0
    keys = jax.random.split(key, 3)
    states = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), state)
    many, _ = jax.vmap(step, in_axes=(None, 0, 0))(kernel, keys, states)
    np.testing.assert_allclose(many.position[1], step(kernel, keys[1], state)[0].position, rtol=1e-4, atol=1e-6)
    kernels = jax.vmap(lambda rho: dataclasses.replace(kernel, penalty=rho))(jnp.array([1.0, 2.0]))
    several, _ = jax.vmap(step, in_axes=(0, None, None))(kernels, key, state)
    np.testing.assert_allclose(several.position[1], new.position, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_positions_are_pytrees():
    def potential(x, center):
        return 0.5 * jnp.sum((x["a"] - center) ** 2) + jnp.sum(x["b"] ** 2)

    kernel = quadratic(agents=ConvexAgents(potential, jnp.arange(4.0)))
    start = {"a": jnp.zeros((4, 2)), "b": jnp.zeros((4, 1, 3))}
    state, _ = kernel.step(jax.random.key(0), kernel.init(start))
    assert state.position["a"].shape == (4, 2)
    assert state.position["b"].shape == (4, 1, 3)
    assert state.dual.shape == (4, 5)


def test_target_lives_in_the_agents():
    kernel = quadratic()
    state = kernel.init(jnp.zeros((4, 1)))
    assert not kernel.takes_logdensity
    assert kernel.unbound() is kernel
    assert kernel.refresh(state) is state
    with pytest.raises(TypeError, match="nothing to bind"):
        kernel.bind(lambda x: 0.0)

    def body(carry, key):
        kernel, state = carry
        return (kernel, kernel.step(key, state)[0]), state.position

    assert jax.lax.scan(body, (kernel, state), jax.random.split(jax.random.key(0), 3))[1].shape == (3, 4, 1)


def test_no_retracing():
    traces = []

    def potential(x, data):
        traces.append(1)
        return logistic(x, data)

    step = jax.jit(lambda kernel, key, state: kernel.step(key, state))
    design, labels = logistic_data()
    for scale, network in ((1.0, PATH), (2.0, [[0, 2], [2, 1], [1, 3]])):
        agents = ConvexAgents(Partial(potential), (scale * design, labels))
        kernel = ADMMSampler(agents, network, penalty=scale)
        state = kernel.init(jnp.zeros((4, 2)))
        before = len(traces)
        step(kernel, jax.random.key(0), state)
        assert (len(traces) == before) == (scale > 1)


def test_claim():
    claim = quadratic().claim
    assert claim.exactness is Exactness.BIASED
    assert claim.order == "O(1/rho)"
    assert claim.population
    assert claim.reversible is False
    assert quadratic(noise="paper").claim.order.startswith("O(1) unless")


@pytest.mark.parametrize("noise", ["calibrated", "paper"])
def test_noise_variance(noise):
    assert quadratic(noise=noise, penalty=3.0).noise_variance() == pytest.approx(noise_variance(PATH, 3.0, noise))


@pytest.mark.parametrize(("name", "noise"), [*((name, "calibrated") for name in CHECKS), (LAW, "paper")])
@pytest.mark.slow
def test_right_kernel_passes(name, noise):
    # False alarm at most 1e-6 each; the exact ones do not depend on the draws.
    evidence = run_check(CHECKS[name], quadratic(noise=noise), name="admm", key=jax.random.key(3))
    assert evidence.passed, evidence.details


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        (PaperNoiseCalledCalibrated, NOISE),
        (PaperNoiseCalledCalibrated, LAW),
        (GaussSeidel, SWEEP),
        (GaussSeidel, LAW),
        (NeighboursByPosition, SWEEP),
        (NeighboursByPosition, LAW),
        (NoiseOfEachEdge, NOISE),
        (NoiseOfEachEdge, LAW),
        (SharedNoise, NOISE),
        (OldDuals, SWEEP),
    ],
)
def test_wrong_kernels_are_caught(wrong, name):
    subject = wrong(QuadraticAgents(*AGENTS4), PATH)
    assert not run_check(CHECKS[name], subject, name="trap", key=jax.random.key(0)).passed


@pytest.mark.parametrize(("noise", "golden"), [("paper", 0.0099230758), ("calibrated", 0.1984615152)])
def test_average_over_a_long_run(noise, golden):
    # Penalty 20 on a cycle: 1000 chains from the consensus, run for 250 sweeps at rate 0.985 a sweep; 0.1 % of the
    # variance is missing. The relative standard error of a variance is sqrt(2 / 1000) = 4.5 %: 27 % are six of them,
    # and the false alarm is below 1e-6 (chi-square with 999 degrees). The two noises differ by a factor of twenty.
    kernel = quadratic(network=CYCLE, penalty=20.0, noise=noise)
    state = kernel.init(jnp.full((4, 1), 0.3))
    run = jax.jit(jax.vmap(lambda key: kernel.run(key, state, 250)[0].position.mean()))
    averages = run(jax.random.split(jax.random.key(0), 1000))
    assert np.var(averages) == pytest.approx(golden, rel=0.27)
    law = stationary_law(*AGENTS4, nx.to_numpy_array(CYCLE), 20.0, noise)
    assert law.average_covariance[0, 0] == pytest.approx(golden, abs=1e-10)


def test_newton_on_logistic_potentials():
    steps = 5
    agents = ConvexAgents(logistic, logistic_data(), num_newton=steps)
    kernel = quadratic(agents=agents, penalty=5.0)
    state = kernel.init(jnp.zeros((4, 2)))
    end, info = jax.jit(lambda key: kernel.run(key, state, 300))(jax.random.key(0))
    # Averaged over the sweeps of the largest over the agents.
    assert info.gradient_norm < 1e-8
    np.testing.assert_allclose(end.dual.sum(axis=0), 0.0, atol=1e-12)
    # One evaluation at the start of a solve and one a Newton step, more only where a step is halved.
    assert info.num_evals == info.num_grad_evals >= 300 * 4 * (1 + steps)
    assert info.num_hessian_evals == 300 * 4 * steps


def test_backtracking():
    # Newton's full step overshoots far from the minimum of sqrt(1 + x^2), whose curvature fades.
    def potential(x, scale):
        return scale * jnp.sqrt(1 + jnp.sum(x**2))

    agents = ConvexAgents(potential, jnp.full((2,), 50.0), num_newton=30)
    points = jnp.array([[9.0], [-7.0]])
    solution = agents.solve(jnp.zeros((2, 1)), jnp.full((2,), 0.01), points, lambda flat: flat)
    np.testing.assert_allclose(solution.point, 0.0, atol=1e-9)
    assert solution.num_evals > 2 * 31


def test_counts_are_exact():
    calls = []

    def counted(x, data):
        jax.debug.callback(lambda _: calls.append(1), x[0])
        return logistic(x, data)

    design, labels = logistic_data()
    plain = ConvexAgents(logistic, (design, labels), num_newton=2)
    agents = dataclasses.replace(plain, potential=counted)
    points = jnp.zeros((4, 2))
    linear = jnp.ones((4, 2))
    seen = [a.solve(linear, jnp.ones(4), points, lambda flat: flat) for a in (plain, agents)]
    jax.effects_barrier()
    # The Hessians run the potential as well, and are counted apart.
    assert len(calls) >= int(seen[1].num_evals)
    np.testing.assert_array_equal(seen[0].num_evals, seen[1].num_evals)


def test_failing_agent_stays_and_is_counted():
    def potential(x, number):
        return jnp.where((number == 3) & (x[0] != 0), jnp.nan, x[0] ** 2)

    kernel = quadratic(agents=ConvexAgents(potential, jnp.arange(4.0)), penalty=0.1)
    state = kernel.init(jnp.zeros((4, 1)))
    moved = ADMMState(jnp.ones((4, 1)), state.dual)
    new, info = kernel.step(jax.random.key(0), moved)
    assert info.num_invalid == 1
    assert new.position[3] == 1.0
    assert np.all(new.position[:3] != 1.0)
    np.testing.assert_allclose(new.dual.sum(), 0.0, atol=1e-12)


@pytest.mark.parametrize(
    "graph",
    [
        PATH,
        PATH.astype(float),
        PATH.astype(bool),
        np.array([[0, 1], [2, 1], [2, 3]]),
        nx.path_graph(4),
        scipy.sparse.csr_array(PATH),
        as_network(PATH),
    ],
)
def test_networks(graph):
    network = as_network(graph)
    np.testing.assert_array_equal(network.degrees, [1, 2, 2, 1])
    np.testing.assert_array_equal(network.neighbours, [[1, 0], [0, 2], [1, 3], [2, 3]])
    x = jnp.array([[1.0], [10.0], [100.0], [1000.0]])
    np.testing.assert_allclose(network.sum_over_neighbours(x)[:, 0], PATH @ x[:, 0])
    np.testing.assert_allclose(network.laplacian(x)[:, 0], (np.diag(PATH.sum(0)) - PATH) @ x[:, 0])


def test_two_edges_are_no_adjacency_matrix():
    assert as_network(np.array([[0, 1], [1, 0]])).num_agents == 2
    assert as_network(np.array([[0, 1], [1, 2]])).num_agents == 3


ISOLATED = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: quadratic(penalty=0.0), ValueError, "penalty has to be greater than 0"),
        (lambda: quadratic(penalty=-1.0), ValueError, "penalty"),
        (lambda: quadratic(noise="none"), ValueError, "noises"),
        (lambda: quadratic(agents=3), TypeError, "QuadraticAgents or ConvexAgents"),
        (lambda: quadratic(network=nx.path_graph(5)), ValueError, "agent 4 has no data"),
        (lambda: quadratic(network=nx.path_graph(3)), ValueError, "agent 3 has data and is no node"),
        (lambda: quadratic(network=ISOLATED), ValueError, "agent 2 is isolated"),
        (lambda: quadratic(network=[[0, 1], [2, 3]]), ValueError, "agent 2 cannot be reached"),
        (lambda: quadratic(network=nx.path_graph(4, create_using=nx.DiGraph)), ValueError, "undirected"),
        (lambda: quadratic(network=np.triu(PATH)), ValueError, "symmetric"),
        (lambda: quadratic(network=0.5 * PATH), ValueError, "entries 0 and 1"),
        (lambda: QuadraticAgents([1.0, 2.0], [0.0]), ValueError, "agent 1 has only one"),
        (lambda: QuadraticAgents([[1.0]], [0.0]), ValueError, "precision of shape"),
        (lambda: QuadraticAgents([[[1.0, 1.0], [0.0, 1.0]]], [[0.0, 0.0]]), ValueError, "agent 0 has to be symmetric"),
        (lambda: QuadraticAgents([1.0, -1.0], [0.0, 0.0]), ValueError, "agent 1 has to be positive"),
        (lambda: QuadraticAgents([0.0, 0.0], [0.0, 0.0]), ValueError, "add up"),
        (lambda: ConvexAgents(3.0, jnp.zeros(4)), TypeError, "callable"),
        (lambda: ConvexAgents(logistic, ()), ValueError, "got none"),
        (lambda: ConvexAgents(logistic, (jnp.zeros((4, 2)), jnp.zeros(3))), ValueError, "agents on axis 0"),
        (lambda: quadratic().init(jnp.zeros(1)), ValueError, "agents on axis 0"),
        (lambda: quadratic().init(jnp.zeros((4, 2))), ValueError, "1 entries an agent"),
        (lambda: quadratic().init(jnp.zeros((4, 1), int)), TypeError, "dtype"),
        (lambda: ADMMSampler(failing(jnp.nan), PATH).init(jnp.zeros((4, 1))), ValueError, "potential of agent 2"),
        (
            lambda: ADMMSampler(failing(-5.0), PATH, penalty=1.0).init(jnp.zeros((4, 1))),
            ValueError,
            "Raise the penalty",
        ),
        (lambda: ADMMSampler(vector(), PATH).init(jnp.zeros((4, 1))), TypeError, "scalar"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()


def failing(value):
    return ConvexAgents(lambda x, c: 0.5 * c * jnp.sum(x**2) + 0 * c, jnp.array([1.0, 1.0, value, 1.0]))


def vector():
    return ConvexAgents(lambda x, c: c * x, jnp.ones(4))
