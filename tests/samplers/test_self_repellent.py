"""The self-repellent walk: rows, limit theorems, the tie of core and reference, and the traps."""

import jax
import jax.numpy as jnp
import networkx
import numpy as np
import pytest
import scipy.sparse

from ergodica.samplers.claim import Exactness
from ergodica.samplers.kernel import replace
from ergodica.samplers.walks.base_chain import BaseChain
from ergodica.samplers.walks.self_repellent import SelfRepellentWalk
from ergodica.theory.self_repellent import limit_covariance
from ergodica.validation.cases.walks import BASE, CASES, MU
from ergodica.validation.enumeration import enumerate_law
from ergodica.validation.targets.finite import GRAPH5_EDGES
from ergodica.validation.uniforms import run_on_uniforms
from tests.traps.walks import NoSelfLoop, TargetIgnored, WrongSign, ZeroMass

EDGES = np.array(GRAPH5_EDGES)


def walk(kind=SelfRepellentWalk, **options):
    return kind(EDGES, MU, **{"alpha": 2.0, **options})


def passes(subject, kind, seed=0):
    (check,) = [check for check in CASES[0].checks if check.name.startswith(kind)]
    return bool(check.run(subject, jax.random.key(seed)).passed)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.slow
@pytest.mark.catalogue
def test_catalogue(case):
    """Statistical checks have a false-alarm probability of 1e-6 each, in the normal limit."""
    for check in case.checks:
        outcome = check.run(case.example(), jax.random.key(1))
        assert outcome.passed, f"{check.name}: {outcome.details}"


def test_golden_rows():
    expected = [
        [0, 0.36, 0.64, 0, 0],
        [0.12765957, 0.19148936, 0.68085106, 0, 0],
        [0.07317073, 0.21951220, 0.09756098, 0.60975610, 0],
        [0, 0, 0.15183867, 0.20759193, 0.64056940],
        [0, 0, 0, 0.33156499, 0.66843501],
    ]
    for scale in (1.0, 3.0):
        kernel = walk(fake=np.full(5, scale))
        rows = [kernel.transition_row(kernel.init(jnp.asarray(node))) for node in range(5)]
        np.testing.assert_allclose(rows, expected, atol=6e-9)
        law = enumerate_law(lambda k, s: kernel.reference().step(k, s)[0].position, jax.random.key(0), kernel.init(2))  # noqa: B023
        np.testing.assert_allclose(law.vector(5), expected[2], atol=6e-9)


@pytest.mark.slow
def test_base_chain_and_the_scale_of_mu():
    for scale in (1.0, 20.0):
        base = BaseChain.metropolis_hastings(EDGES, scale * MU)
        np.testing.assert_allclose([base.row(jnp.asarray(node)) for node in range(5)], BASE, atol=1e-15)
        state = walk().init(0)
        uniforms = jax.random.uniform(jax.random.key(0), (200,))
        out = SelfRepellentWalk(EDGES, scale * MU, alpha=2.0).step_from_uniforms(uniforms, state)
        np.testing.assert_array_equal(out.visits, walk().step_from_uniforms(uniforms, state).visits)


@pytest.mark.parametrize(("alpha", "as_matrix"), [(0.0, False), (1.0, False), (5.0, False), (1.0, True)])
@pytest.mark.slow
def test_covariance_of_two_thousand_runs(alpha, as_matrix):
    """2000 runs of 5000 steps against V(alpha), entry by entry.

    In the normal limit a sample covariance of m runs has standard error sqrt((V_ij^2 + V_ii V_jj) / m); 15 entries in 4
    cases at 6 standard errors have a false-alarm probability below 60 * 2e-9 = 1.2e-7, and the chi-square skewness at
    m = 2000 raises it by less than a factor of 5. A further 2 % is allowed for finite runs.
    """
    runs, steps = 2000, 5000
    base = BaseChain.from_matrix(scipy.sparse.csr_array(BASE), MU) if as_matrix else None
    kernel = SelfRepellentWalk(base, alpha=alpha) if as_matrix else walk(alpha=alpha)
    starts = jnp.asarray(np.random.default_rng(0).choice(5, size=runs, p=MU))
    keys = jax.random.split(jax.random.key(7 + as_matrix), runs)
    x = np.asarray(jax.vmap(lambda key, s: kernel.run(key, kernel.init(s), steps)[0].measure)(keys, starts))
    limit = limit_covariance(BASE, MU, alpha)
    got = (x - MU).T @ (x - MU) / runs * (steps + 5)
    scale = np.sqrt(np.outer(np.diag(limit), np.diag(limit)))
    assert np.all(np.abs(got - limit) < 6 * np.sqrt((limit**2 + scale**2) / runs) + 0.02 * scale)
    assert abs(np.trace(got) / np.trace(limit) - 1) < 0.2


# --- the tie --------------------------------------------------------------------------------------------------------

SETTINGS = [
    {"alpha": 2.0},
    {"alpha": 2.5, "decay": 0.7},
    {"alpha": 3.0, "growth": 0.8},
    {"alpha": 5.0, "decay": 0.6, "growth": 0.3},
    {"alpha": 900.0, "decay": 0.51},  # every stored weight overflows or vanishes
    {"alpha": 400.0, "fake": 1.0},
]


@pytest.mark.slow
@pytest.mark.parametrize("options", SETTINGS)
def test_core_reference_and_chunks_agree(options):
    graph = networkx.random_regular_graph(4, 60, seed=1)
    kernel = SelfRepellentWalk(graph, np.arange(1.0, 61.0), **options)
    state = kernel.init(0)
    uniforms = jax.random.uniform(jax.random.key(0), (1500,))
    compiled = kernel.step_from_uniforms(uniforms, state)
    reference = kernel.reference().step_from_uniforms(uniforms, state)
    chunked = state
    for start in range(0, 1500, 5):  # fewer steps than nodes: weights are not stored
        chunked = kernel.step_from_uniforms(uniforms[start : start + 5], chunked)
    for other in (reference, chunked):
        np.testing.assert_array_equal(compiled.visits, other.visits)
        np.testing.assert_allclose(compiled.measure, other.measure, atol=1e-14)
        assert int(compiled.position) == int(other.position)
        assert int(other.num_steps) == 1500
    assert int(compiled.visits.sum()) == 1500


@pytest.mark.slow
def test_the_reference_step_makes_the_choices_that_uniforms_say():
    kernel = walk(alpha=1.5, decay=0.9)
    reference, state = kernel.reference(), kernel.init(3)
    for u in np.random.default_rng(2).random(20):
        fast = kernel.step_from_uniforms(jnp.asarray([u]), state)
        state = run_on_uniforms(lambda s: reference.step(jax.random.key(0), s)[0], state, uniforms=[u])
        np.testing.assert_array_equal(fast.visits, state.visits)
        np.testing.assert_allclose(fast.measure, state.measure, atol=1e-15)


@pytest.mark.slow
def test_measure_is_that_of_the_visits():
    kernel = walk(fake=10.0)
    state, info = kernel.run(jax.random.key(1), kernel.init(0), 1000)
    np.testing.assert_allclose(state.measure, (10 * MU + np.asarray(state.visits)) / 1010, atol=1e-15)
    assert 0 < int(info.moved) <= 1000
    slow = walk(decay=0.8)
    np.testing.assert_allclose(slow.run(jax.random.key(1), slow.init(0), 1000)[0].mass.sum(), 1.0, atol=1e-13)


# --- protocol -------------------------------------------------------------------------------------------------------


def test_protocol():
    kernel = walk()
    assert kernel.claim.exactness is Exactness.ASYMPTOTIC
    assert kernel.claim.memory
    state, key = kernel.init(4), jax.random.key(3)
    plain, info = kernel.step(key, state)
    jitted, _ = jax.jit(kernel.step)(key, state)
    assert jax.tree.all(jax.tree.map(np.array_equal, plain, jitted))
    assert info.moved.dtype == jnp.bool_
    assert bool(info.moved) == (int(plain.position) != 4)
    keys = jax.random.split(key, 4)
    batch, _ = jax.vmap(kernel.step, in_axes=(0, None))(keys, state)
    for index, one in enumerate(keys):
        np.testing.assert_array_equal(batch.visits[index], kernel.step(one, state)[0].visits)
    ran, _ = kernel.run(key, state, 100)
    np.testing.assert_array_equal(ran.visits, jax.jit(lambda k, s: kernel.run(k, s, 100)[0])(key, state).visits)

    def body(carry, key):
        kernel, state = carry
        return (kernel, kernel.step(key, state)[0]), None

    (_, last), _ = jax.lax.scan(body, (kernel.unbound(), state), keys)
    assert int(last.num_steps) == 4
    with pytest.raises(TypeError, match="nothing to bind"):
        kernel.bind(lambda x: 0.0)
    with pytest.raises(ValueError, match="num_steps"):
        kernel.run(key, state, 0)


def test_no_retrace_and_vmap_over_kernels():
    traces = []

    @jax.jit
    def run(kernel, key, state):
        traces.append(1)
        return kernel.run(key, state, 10)[0]

    for alpha in (0.5, 1.0, 3.0):
        run(walk(alpha=alpha), jax.random.key(0), walk().init(0))
    assert len(traces) == 1
    kernel = walk()
    alphas = jnp.array([0.0, 2.0, 7.5])
    both = jax.vmap(lambda a: replace(kernel, alpha=a).run(jax.random.key(0), kernel.init(0), 500)[0].visits)(alphas)
    for alpha, visits in zip(alphas, both, strict=True):
        one, _ = replace(kernel, alpha=alpha).run(jax.random.key(0), kernel.init(0), 500)
        np.testing.assert_array_equal(visits, one.visits)


@pytest.mark.slow
def test_single_precision():
    with jax.enable_x64(False):
        for options in ({}, {"decay": 0.7}, {"growth": 0.5}):
            kernel = walk(**options)
            state = kernel.init(0)
            assert state.mass.dtype == jnp.float32
            assert state.visits.dtype == jnp.int32
            state, _ = kernel.run(jax.random.key(0), state, 200_000)
            np.testing.assert_allclose(state.measure, MU, atol=0.02)
            kernel.step(jax.random.key(0), state)


@pytest.mark.slow
def test_visits_beyond_the_precision_of_the_mass_still_count():
    """In single precision 2**24 + 1 is no number; the visits go on."""
    with jax.enable_x64(False):
        kernel = walk()
        state = kernel.init(0)
        many = jnp.full(5, 2**25, jnp.int32)
        state = state._replace(visits=many, mass=kernel.fake + many, num_steps=jnp.asarray(5 * 2**25))
        state, _ = kernel.run(jax.random.key(0), state, 1000)
        assert int(jnp.sum(state.visits - 2**25)) == 1000
        np.testing.assert_allclose(state.mass, kernel.fake + state.visits, rtol=1e-6)


def test_callback_gives_the_same_draws(monkeypatch):
    kernel = walk()
    state = kernel.init(0)
    direct = kernel.run(jax.random.key(5), state, 300)[0]
    monkeypatch.setenv("ERGODICA_NATIVE", "callback")
    called = kernel.run(jax.random.key(5), state, 300)[0]
    np.testing.assert_array_equal(direct.visits, called.visits)


def test_a_periodic_base_chain_is_allowed():
    kernel = SelfRepellentWalk(networkx.path_graph(2), alpha=3.0)
    state, info = kernel.run(jax.random.key(0), kernel.init(0), 100)
    assert int(info.moved) == 100
    np.testing.assert_array_equal(state.visits, [50, 50])


# --- bad input ------------------------------------------------------------------------------------------------------


def test_bad_graphs_and_chains():
    with pytest.raises(ValueError, match="2 components: no path leads from node 0 to node 2"):
        SelfRepellentWalk(np.array([(0, 1), (2, 3)]))
    graph = networkx.path_graph(2)
    graph.add_node(2)
    with pytest.raises(ValueError, match="node 2 has no neighbours"):
        SelfRepellentWalk(graph)
    with pytest.raises(ValueError, match="positive and finite everywhere; node 3"):
        SelfRepellentWalk(EDGES, [1, 1, 1, 0, 1])
    with pytest.raises(ValueError, match="one weight for each of 5 nodes"):
        SelfRepellentWalk(EDGES, [1, 1])
    cycle = np.array([[0, 0.9, 0.1], [0.1, 0, 0.9], [0.9, 0.1, 0]])
    with pytest.raises(ValueError, match="reversible base chain; here the flow from"):
        BaseChain.from_matrix(cycle, [1, 1, 1])
    with pytest.raises(ValueError, match=r"row 0 sums to 1\.2"):
        BaseChain.from_matrix(np.array([[0.6, 0.6], [0.5, 0.5]]), [1, 1])
    with pytest.raises(ValueError, match="2 components"):
        BaseChain.from_matrix(np.eye(2), [1, 1])
    with pytest.raises(ValueError, match="square"):
        BaseChain.from_matrix(np.ones((2, 3)), [1, 1])
    with pytest.raises(ValueError, match="brings its own target"):
        SelfRepellentWalk(BaseChain.metropolis_hastings(EDGES), MU)


def test_bad_parameters():
    with pytest.raises(ValueError, match="alpha has to be at least 0"):
        walk(alpha=-1.0)
    for decay in (0.5, 1.1):
        with pytest.raises(ValueError, match="decay"):
            walk(decay=decay)
    with pytest.raises(ValueError, match="positive at every node"):
        walk(fake=[0.0, 1.0, 1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="at least 1 in total"):
        walk(fake=0.1)
    with pytest.raises(ValueError, match="one for each of 5 nodes"):
        walk(fake=[1.0, 2.0])
    with pytest.raises(ValueError, match="growth"):
        walk(growth=0.0)


def test_bad_starts():
    with pytest.raises(ValueError, match="nodes 0 to 4; got 5"):
        walk().init(5)
    with pytest.raises(ValueError, match="one node"):
        walk().init(jnp.arange(2))
    with pytest.raises(TypeError, match="integer positions"):
        walk().init(1.0)


# --- traps ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trap", [ZeroMass, NoSelfLoop, WrongSign, TargetIgnored])
def test_rows_catch_traps(trap):
    assert not passes(walk(trap), "exact law: rows")


@pytest.mark.parametrize("trap", [NoSelfLoop, WrongSign, TargetIgnored])
def test_balance_catches_traps(trap):
    assert not passes(walk(trap), "exact law: detailed balance")


@pytest.mark.parametrize("trap", [NoSelfLoop, WrongSign])
@pytest.mark.parametrize("kind", ["limit theorem", "law of large numbers"])
def test_limit_theorems_catch_traps(trap, kind):
    assert not passes(walk(trap), kind)


@pytest.mark.parametrize("trap", [ZeroMass, TargetIgnored])
def test_the_tie_catches_traps(trap):
    assert not passes(walk(trap), "tied")
