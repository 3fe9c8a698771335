"""Heat-bath sweeps of spin systems: exact laws, known tables, the tie of core and reference, and the traps."""

import itertools

import jax
import jax.numpy as jnp
import networkx
import numpy as np
import pytest
import scipy.sparse

from ergodica.samplers.gibbs.ising import IsingHeatBath
from ergodica.samplers.gibbs.potts import PottsHeatBath
from ergodica.samplers.gibbs.spin_sites import SquareLattice
from ergodica.samplers.gibbs.spin_sweep import SpinState
from ergodica.samplers.graph import as_graph, greedy_colouring
from ergodica.samplers.kernel import replace
from ergodica.validation.cases.gibbs import CASES, COUPLINGS4, FIELD4, GRAPH4, TORUS3X3, ising_target
from ergodica.validation.enumeration import enumerate_law
from ergodica.validation.exact import exact_check
from ergodica.validation.uniforms import run_on_uniforms
from tests.traps.gibbs import HalfField, HalfFieldCore, OddCheckerboard, Simultaneous, StaleCore, WrongCore

ROWS = {case.name: case for case in CASES}


def passes(case, subject, kind, seed=0):
    (check,) = [check for check in case.checks if check.name.startswith(kind)]
    return bool(check.run(subject, jax.random.key(seed)).passed)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.slow
@pytest.mark.catalogue
def test_catalogue(case):
    """Statistical checks have a false-alarm probability of 1e-6 each."""
    for check in case.checks:
        outcome = check.run(case.example(), jax.random.key(1))
        assert outcome.passed, f"{check.name}: {outcome.details}"


# --- known numbers --------------------------------------------------------------------------------------------------

TABLE = {
    0.2: (6.6697446043, -0.5380991112, 0.4599774002, 0.2941340231, 0.1787137663),
    0.3: (7.3469159029, -0.9876831556, 0.6365022700, 0.5020845402, 0.3900820165),
    0.4406867935: (9.0202134009, -1.6112463816, 0.8710719355, 0.8094299893, 0.7466136052),
}


def enumerated(kernel, size):
    states = np.array(list(itertools.product((-1, 1), repeat=size)), np.int8)
    logs = np.asarray(jax.vmap(kernel.logdensity)(jnp.asarray(states.reshape(-1, *kernel.sites.shape))))
    log_normaliser = np.logaddexp.reduce(logs)
    return states, logs, log_normaliser, np.exp(logs - log_normaliser)


@pytest.mark.parametrize("beta", TABLE)
def test_three_by_three_torus(beta):
    log_z, energy, *moments = TABLE[beta]
    states, logs, log_normaliser, law = enumerated(IsingHeatBath(np.array(TORUS3X3), beta), 9)
    m = states.mean(axis=1)
    np.testing.assert_allclose(log_normaliser, log_z, atol=6e-11)
    np.testing.assert_allclose(-law @ logs / beta / 9, energy, atol=6e-11)
    np.testing.assert_allclose([law @ np.abs(m), law @ m**2, law @ m**4], moments, atol=6e-11)


def test_four_by_four_torus():
    beta = 0.4406867935
    states, logs, log_normaliser, law = enumerated(IsingHeatBath(SquareLattice(4, 4), beta), 16)
    m = states.mean(axis=1)
    np.testing.assert_allclose(log_normaliser, 15.5219154588, atol=6e-11)
    got = [-law @ logs / beta / 16, law @ np.abs(m), law @ m**2]
    np.testing.assert_allclose(got, [-1.5656237876, 0.8438604448, 0.7613589086], atol=6e-11)


def test_open_path():
    kernel = IsingHeatBath(np.array([(0, 1), (1, 2), (2, 3)]), 0.7)
    states, _, log_normaliser, law = enumerated(kernel, 4)
    np.testing.assert_allclose(log_normaliser, 3.4543994103, atol=6e-11)
    for distance in range(1, 4):
        np.testing.assert_allclose(law @ (states[:, 0] * states[:, distance]), np.tanh(0.7) ** distance, atol=1e-14)


@pytest.mark.parametrize("order", ["systematic", "palindromic", pytest.param("random", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_sampled_table_of_the_four_by_four_torus(order):
    """Replicates from exact draws are independent, so each mean is normal with its own standard error.

    Three means a kernel, 9 in all, at 5.5 standard errors: false alarm below 9 * 3.8e-8 = 3.5e-7 in the normal limit;
    averages of 20000 bounded variables over sweeps are normal enough to leave it below 1e-6.
    """
    beta, replicates, sweeps = 0.4406867935, 20_000, 20
    kernel = IsingHeatBath(SquareLattice(4, 4), beta, order=order)
    states, _, _, law = enumerated(kernel, 16)
    start = np.random.default_rng(1).choice(len(states), size=replicates, p=law)
    keys = jax.random.split(jax.random.key(2), replicates)
    positions = jnp.asarray(states[start].reshape(-1, 4, 4))
    out = jax.jit(jax.vmap(lambda key, s: kernel.run(key, SpinState(s), sweeps)[0].position))(keys, positions)
    m = np.asarray(out, float).mean(axis=(1, 2))
    energy = -np.asarray(jax.vmap(kernel.logdensity)(out)) / beta / 16
    for values, expected in ((energy, -1.5656237876), (np.abs(m), 0.8438604448), (m**2, 0.7613589086)):
        assert abs(values.mean() - expected) < 5.5 * values.std() / np.sqrt(replicates)


# --- the tie --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["systematic", "palindromic", "random"])
@pytest.mark.parametrize("kind", ["ising", "potts"])
@pytest.mark.slow
def test_the_reference_step_makes_the_choices_that_uniforms_say(order, kind):
    """The step that is enumerated, run on uniforms, against the compiled core."""
    if kind == "ising":
        kernel = IsingHeatBath(np.array(GRAPH4), 0.7, np.array(COUPLINGS4), np.array(FIELD4), order=order)
    else:
        kernel = PottsHeatBath(np.array(GRAPH4), 3, 0.7, np.array(COUPLINGS4), np.array(FIELD4[:3]), order=order)
    generator = np.random.default_rng(3)
    reference = kernel.reference()
    for _ in range(10):
        start = jnp.asarray(generator.choice(np.asarray(kernel.spins()), 4))
        uniforms = generator.random(8 if order == "random" else len(kernel.sites.visits))
        with jax.disable_jit():
            slow = run_on_uniforms(
                lambda s: reference.step(jax.random.key(0), SpinState(s))[0], start, uniforms=uniforms
            )
        fast = kernel.step_from_uniforms(jnp.asarray(uniforms), SpinState(start))
        np.testing.assert_array_equal(fast.position, slow.position)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["systematic", "palindromic", "random"])
@pytest.mark.parametrize("shape", [(2, 2), (4, 6)])
def test_lattice_and_graph_cores_agree(order, shape):
    lattice = SquareLattice(*shape)
    fast = IsingHeatBath(lattice, 0.4, field=0.1, order=order)
    by_edges = IsingHeatBath(lattice, 0.4, np.ones(2 * np.prod(shape)), 0.1, order=order)
    start = SpinState(jax.random.choice(jax.random.key(1), fast.spins(), (50, *shape)))
    keys = jax.random.split(jax.random.key(2), 50)
    one = jax.vmap(lambda key, s: fast.run(key, s, 5)[0])(keys, start)
    other = jax.vmap(lambda key, s: by_edges.run(key, s, 5)[0])(keys, start)
    np.testing.assert_array_equal(one.position, other.position)
    assert np.any(one.position != start.position)


# --- protocol -------------------------------------------------------------------------------------------------------

KERNELS = {
    "lattice": (lambda: IsingHeatBath(SquareLattice(4, 4), 0.4), np.ones((4, 4), np.int8)),
    "graph": (lambda: IsingHeatBath(np.array(GRAPH4), 0.7, np.array(COUPLINGS4), 0.1), np.ones(4, np.int8)),
    "potts": (lambda: PottsHeatBath(SquareLattice(4, 4), 3, 0.7), np.zeros((4, 4), np.int8)),
}


@pytest.mark.parametrize("name", KERNELS)
def test_protocol(name):
    make, start = KERNELS[name]
    kernel = make()
    state = kernel.init(start)
    key = jax.random.key(4)
    plain, info = kernel.step(key, state)
    jitted, _ = jax.jit(kernel.step)(key, state)
    np.testing.assert_array_equal(plain.position, jitted.position)
    assert plain.position.dtype == start.dtype
    assert plain.position.shape == start.shape
    assert int(info.num_evals) == 0
    keys = jax.random.split(key, 3)
    batch, _ = jax.vmap(kernel.step, in_axes=(0, None))(keys, state)
    for row, one in zip(batch.position, keys, strict=True):
        np.testing.assert_array_equal(row, kernel.step(one, state)[0].position)
    ran, _ = kernel.run(key, state, 7)
    np.testing.assert_array_equal(ran.position, jax.jit(lambda k, s: kernel.run(k, s, 7)[0])(key, state).position)
    np.testing.assert_array_equal(kernel.run(key, state, 1)[0].position, plain.position)
    assert kernel.refresh(state) is state
    assert kernel.unbound() is kernel
    with pytest.raises(TypeError, match="nothing to bind"):
        kernel.bind(lambda x: 0.0)

    def body(carry, key):
        kernel, state = carry
        return (kernel, kernel.step(key, state)[0]), None

    (_, last), _ = jax.lax.scan(body, (kernel, state), keys)
    assert last.position.shape == start.shape


def test_the_dtype_of_the_position_is_kept():
    kernel = IsingHeatBath(np.array(GRAPH4), 0.7)
    out = [kernel.run(jax.random.key(0), kernel.init(np.ones(4, d)), 5)[0].position for d in (np.int8, np.int64)]
    assert [each.dtype for each in out] == [np.int8, np.int64]
    np.testing.assert_array_equal(*out)


def test_no_retrace_and_vmap_over_kernels():
    kernel = IsingHeatBath(SquareLattice(4, 4), 0.4)
    state = kernel.init(np.ones((4, 4), np.int8))
    traces = []

    @jax.jit
    def step(kernel, key, state):
        traces.append(1)
        return kernel.step(key, state)[0]

    for beta in (0.1, 0.2, 0.9):
        step(IsingHeatBath(SquareLattice(4, 4), beta), jax.random.key(0), state)
    assert len(traces) == 1
    betas = jnp.array([-5.0, 0.0, 5.0])
    out = jax.vmap(lambda beta: replace(kernel, beta=beta).run(jax.random.key(0), state, 50)[0].position)(betas)
    m = np.abs(np.asarray(out, float).mean(axis=(1, 2)))
    assert m[0] == 0  # the staggered ground state: each of 16 sites leaves it with probability below 1e-17
    assert m[2] == 1


@pytest.mark.slow
def test_single_precision():
    with jax.enable_x64(False):
        for make, start in KERNELS.values():
            kernel = make()
            assert kernel.beta.dtype == jnp.float32
            state = kernel.init(start.astype(np.int8))
            uniforms = jax.random.uniform(jax.random.key(1), (len(kernel.sites.visits),))
            fast = kernel.step_from_uniforms(uniforms, state)
            slow = kernel.reference().step_from_uniforms(uniforms, state)
            np.testing.assert_array_equal(fast.position, slow.position)
            kernel.run(jax.random.key(0), state, 3)


def test_callback_gives_the_same_draws(monkeypatch):
    kernel = IsingHeatBath(np.array(GRAPH4), 0.7, np.array(COUPLINGS4))
    state = kernel.init(np.ones(4, np.int8))
    keys = jax.random.split(jax.random.key(5), 4)
    direct = jax.vmap(lambda key: kernel.run(key, state, 10)[0].position)(keys)
    monkeypatch.setenv("ERGODICA_NATIVE", "callback")
    called = jax.vmap(lambda key: kernel.run(key, state, 10)[0].position)(keys)
    np.testing.assert_array_equal(direct, called)


def test_enumerating_the_compiled_step_is_refused():
    kernel = IsingHeatBath(np.array(GRAPH4), 0.7)
    state = kernel.init(np.ones(4, np.int8))
    with pytest.raises(Exception, match="compiled core"):
        enumerate_law(lambda key: kernel.step(key, state)[0].position, jax.random.key(0))


# --- graphs and bad input -------------------------------------------------------------------------------------------


def test_graph_intake_and_colouring():
    graph = networkx.karate_club_graph()
    structure = as_graph(graph)
    from_sparse = as_graph(networkx.to_scipy_sparse_array(graph))
    np.testing.assert_array_equal(structure.neighbours, from_sparse.neighbours)
    for each in (structure, from_sparse, as_graph(np.array(TORUS3X3)), as_graph(networkx.complete_graph(6))):
        colours = greedy_colouring(each)
        assert np.all(colours[each.edges[:, 0]] != colours[each.edges[:, 1]])
        assert colours.max() <= each.degrees.max()
        for node in range(each.num_nodes):
            row = slice(each.offsets[node], each.offsets[node + 1])
            ends = each.edges[each.edge_of[row]]
            assert np.all((ends == node).sum(axis=1) == 1)
            np.testing.assert_array_equal(ends.sum(axis=1) - node, each.neighbours[row])


def test_bad_graphs():
    with pytest.raises(ValueError, match="directed"):
        as_graph(networkx.DiGraph([(0, 1)]))
    with pytest.raises(ValueError, match="symmetric"):
        as_graph(scipy.sparse.csr_array(np.array([[0, 1], [0, 0]])))
    with pytest.raises(ValueError, match="self-loops; node 1"):
        as_graph(np.array([(0, 1), (1, 1)]))
    with pytest.raises(ValueError, match="listed once"):
        as_graph(np.array([(0, 1), (1, 0)]))
    with pytest.raises(ValueError, match="at least one edge"):
        as_graph(networkx.empty_graph(3))
    with pytest.raises(ValueError, match="have to lie in"):
        as_graph(np.array([(0, 5)]), num_nodes=3)
    with pytest.raises(TypeError, match="expected a graph"):
        as_graph(np.array([0.5, 1.0]))


@pytest.mark.parametrize("shape", [(3, 3), (3, 4), (4, 5)])
def test_odd_lattices_are_refused_with_the_reason(shape):
    with pytest.raises(ValueError, match="no checkerboard"):
        IsingHeatBath(SquareLattice(*shape), 0.4)


def test_bad_parameters_and_positions():
    lattice = SquareLattice(4, 4)
    with pytest.raises(ValueError, match="order has to be one of"):
        IsingHeatBath(lattice, 0.4, order="sideways")
    with pytest.raises(ValueError, match="beta has to be finite"):
        IsingHeatBath(lattice, np.nan)
    with pytest.raises(ValueError, match=r"coupling has to have shape \(\) \(one for all\), or shape \(32,\)"):
        IsingHeatBath(lattice, 0.4, np.ones(16))
    with pytest.raises(ValueError, match="field has to have"):
        IsingHeatBath(lattice, 0.4, field=np.ones(16))
    with pytest.raises(ValueError, match="num_states"):
        PottsHeatBath(lattice, 1, 0.4)
    kernel = IsingHeatBath(lattice, 0.4)
    with pytest.raises(ValueError, match=r"pass 2 \* s - 1"):
        kernel.init(np.zeros((4, 4), np.int8))
    with pytest.raises(ValueError, match=r"shape \(4, 4\)"):
        kernel.init(np.ones(16, np.int8))
    with pytest.raises(TypeError, match="integer positions"):
        kernel.init(np.ones((4, 4)))
    with pytest.raises(TypeError, match="dtype that holds"):
        kernel.init(np.ones((4, 4), np.uint8))
    with pytest.raises(ValueError, match="spins in"):
        PottsHeatBath(lattice, 3, 0.4).init(np.full((4, 4), 3, np.int8))
    with pytest.raises(ValueError, match="num_steps"):
        kernel.run(jax.random.key(0), kernel.init(np.ones((4, 4), np.int8)), 0)


# --- traps ----------------------------------------------------------------------------------------------------------


def ising4(kind):
    return kind(np.array(GRAPH4), 0.7, np.array(COUPLINGS4), np.array(FIELD4))


@pytest.mark.parametrize("trap", [Simultaneous, HalfField])
def test_exact_law_catches_wrong_references(trap):
    assert passes(ROWS["ising-systematic"], ising4(IsingHeatBath), "exact")
    assert not passes(ROWS["ising-systematic"], ising4(trap), "exact")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trap", "kind"), [(StaleCore, "tied"), (StaleCore, "stationary"), (HalfFieldCore, "stationary")]
)
def test_tie_and_stationary_start_catch_wrong_cores(trap, kind):
    assert not passes(ROWS["ising-systematic"], ising4(trap), kind)


def test_the_core_from_which_the_wrong_ones_are_made_is_right():
    assert passes(ROWS["ising-systematic"], ising4(WrongCore), "stationary")


def test_a_checkerboard_on_an_odd_torus_is_caught():
    """On two rows and three columns, where sites 0 and 2 of a row touch and share a colour."""
    edges = tuple((3 * row + column, 3 * row + (column + 1) % 3) for row in range(2) for column in range(3))
    edges += tuple((column, 3 + column) for column in range(3))
    check = exact_check("prism", ising_target("prism", edges, 0.4))
    assert check.run(IsingHeatBath(np.array(edges), 0.4), jax.random.key(0)).passed

    assert not check.run(OddCheckerboard(np.array(edges), 0.4), jax.random.key(0)).passed
