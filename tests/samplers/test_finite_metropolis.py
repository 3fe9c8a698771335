"""Metropolis-Hastings on finite spaces: matrices, closed forms, protocol, bad input, and the traps."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from ergodica.samplers import random
from ergodica.samplers.acceptance.metropolis import Barker, Lazy, Metropolis
from ergodica.samplers.claim import Space
from ergodica.samplers.metropolis.finite import FiniteMetropolis, MatrixWalk, NeighbourWalk, RingWalk, UnitStep
from ergodica.theory.finite_chain import asymptotic_variance, stationary_law
from ergodica.theory.metropolis import barker, metropolis, metropolis_matrix
from ergodica.validation.cases.metropolis import CASES, graph5_proposal, holes, holes_proposal
from ergodica.validation.certify import certify
from ergodica.validation.exact import check_exact
from ergodica.validation.targets.finite import graph5, ring4, ring6, weighted
from tests.traps.metropolis import FINITE_TRAPS, ForgetsHastingsOnFinite

ROW = next(case for case in CASES if case.name == "finite-metropolis")


def table(log_weights, x):
    return log_weights[x]


FLAT = Partial(table, jnp.zeros(4))


@pytest.mark.slow
@pytest.mark.catalogue
def test_the_catalogue_certifies_it():
    report = certify("finite-metropolis")
    assert report.passed, str(report)
    assert report.false_alarm == 0


@pytest.mark.slow
@pytest.mark.parametrize("trap", FINITE_TRAPS)
def test_the_checks_catch_a_wrong_kernel(trap):
    subject = trap(RingWalk(4, 0.7))
    assert not all(check.run(subject, jax.random.key(0)).passed for check in ROW.checks)


def test_forgetting_the_ratio_on_ring4_gives_the_known_error():
    report = check_exact(ForgetsHastingsOnFinite(RingWalk(4, 0.7)), ring4())
    assert report.outcomes["invariance"].statistic == pytest.approx(0.08, abs=1e-12)
    assert not report.outcomes["transition_row"].passed
    wrong = stationary_law(report.matrix)
    assert 0.5 * np.abs(wrong - ring4().probabilities).sum() == pytest.approx(0.1127694859, abs=1e-10)


def test_spectra():
    eigenvalues = np.sort(np.linalg.eigvals(check_exact(FiniteMetropolis(RingWalk(4, 0.7)), ring4()).matrix).real)[::-1]
    np.testing.assert_allclose(eigenvalues, [1, 0.526092351, 0.1571446042, -0.4082369552], atol=1e-9)
    eigenvalues = np.sort(np.linalg.eigvals(check_exact(FiniteMetropolis(graph5_proposal()), graph5()).matrix).real)
    np.testing.assert_allclose(eigenvalues[::-1], [1, 0.80977263, 0.03522782, -0.30245460, -0.42032363], atol=1e-8)


@pytest.mark.parametrize(
    ("rule", "variance"), [(Metropolis(), 15.3214545455), (Barker(), 21.3549000000)], ids=["Metropolis", "Barker"]
)
def test_asymptotic_variances_on_ring6(rule, variance):
    report = check_exact(FiniteMetropolis(RingWalk(6), rule), ring6())
    assert report.passed, str(report)
    assert asymptotic_variance(report.matrix, np.arange(6)) == pytest.approx(variance, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("rule", "acceptance"), [(Metropolis(), metropolis), (Barker(), barker)])
def test_random_proposals_with_zeros(rule, acceptance, seed):
    rng = np.random.default_rng(seed)
    size = 5
    weights = rng.gamma(0.5, size=size) + 1e-3
    matrix = rng.random((size, size)) * (rng.random((size, size)) < 0.7) + 0.05 * np.eye(size)
    matrix += 0.3 * np.roll(np.eye(size), 1, 1) + 0.2 * np.roll(np.eye(size), -1, 1)
    matrix /= matrix.sum(axis=1, keepdims=True)
    report = check_exact(FiniteMetropolis(MatrixWalk(matrix), rule), weighted("random", tuple(weights)))
    assert report.passed, str(report)
    np.testing.assert_allclose(report.matrix, metropolis_matrix(weights, matrix, acceptance), atol=1e-13)


def test_states_of_probability_zero():
    report = check_exact(FiniteMetropolis(holes_proposal()), holes())
    assert report.passed, str(report)
    np.testing.assert_allclose(
        report.matrix, metropolis_matrix(holes().probabilities, holes_proposal().matrix), atol=1e-14
    )


def test_lazy_rows():
    kernel = FiniteMetropolis(RingWalk(4, 0.7))
    lazy = FiniteMetropolis(RingWalk(4, 0.7), Lazy())
    report = check_exact(lazy, ring4())
    assert report.passed, str(report)
    np.testing.assert_allclose(report.matrix, 0.5 * (np.eye(4) + check_exact(kernel, ring4()).matrix), atol=1e-15)


def test_a_one_way_neighbour_is_never_moved_to():
    proposal = NeighbourWalk(np.array([[1, 2], [0, -1], [1, 2]]))
    report = check_exact(FiniteMetropolis(proposal), weighted("three", (1.0, 2.0, 3.0)))
    assert report.matrix[0, 2] == 0
    assert report.matrix[2, 1] == 0
    assert report.outcomes["invariance"].passed
    assert not report.outcomes["irreducible"].passed


def test_repeated_neighbours_count_twice():
    proposal = NeighbourWalk(np.array([[1, 1, 2], [0, 2, -1], [0, 0, 1]]))
    report = check_exact(FiniteMetropolis(proposal), weighted("three", (1.0, 2.0, 3.0)))
    assert report.passed, str(report)
    np.testing.assert_allclose(proposal.row(jnp.asarray(0)), [0, 2 / 3, 1 / 3], atol=1e-15)
    np.testing.assert_allclose(proposal.column(jnp.asarray(0)), [0, 1 / 2, 2 / 3], atol=1e-15)


def test_protocol(getkey):
    kernel = FiniteMetropolis(RingWalk(4), logdensity=Partial(table, jnp.arange(4.0)))
    state = kernel.init(np.array(2, np.int32))
    key = getkey()
    after, info = jax.jit(lambda k, key, s: k.run(key, s, 10))(kernel, key, state)
    again, _ = kernel.run(key, state, 10)
    assert after.position == again.position
    assert after.position.dtype == jnp.int32
    assert after.logdensity.dtype == jnp.float64
    assert info.num_evals == 10
    many = jax.vmap(kernel.init)(jnp.arange(4))
    together, _ = jax.vmap(kernel.step)(random.split(key, 4), many)
    assert together.position.shape == (4,)
    other = kernel.bind(FLAT)
    assert other.refresh(state).logdensity == 0
    assert other.refresh(state).logdensity.dtype == jnp.float64
    assert all(eqx.is_array(leaf) for leaf in jax.tree.leaves(kernel.unbound()))
    assert kernel.claim.spaces == {Space.FINITE}


def test_nothing_recompiles_for_new_parameters_or_data(getkey):
    traces = []

    @jax.jit
    def run(kernel, key, state):
        traces.append(1)
        return kernel.run(key, state, 3)

    for up, slope in ((0.5, 1.0), (0.6, 2.0)):
        kernel = FiniteMetropolis(RingWalk(4, up), logdensity=Partial(table, slope * jnp.arange(4.0)))
        run(kernel, getkey(), kernel.init(jnp.asarray(0)))
    assert len(traces) == 1


def test_single_precision(getkey):
    with jax.enable_x64(False):
        kernel = FiniteMetropolis(RingWalk(4, 0.7), logdensity=Partial(table, jnp.arange(4.0, dtype=jnp.float32)))
        state = kernel.init(jnp.asarray(0))
        assert state.logdensity.dtype == jnp.float32
        state, _ = kernel.run(jax.random.key(0), state, 10)
        row = kernel.transition_row(state)
        assert row.dtype == jnp.float32
        assert float(jnp.sum(row)) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("make", "position", "error", "message"),
    [
        (lambda: RingWalk(2), None, ValueError, "at least 3"),
        (lambda: RingWalk(4, 1.0), None, ValueError, "below 1"),
        (lambda: RingWalk(4, 0.0), None, ValueError, "greater than 0"),
        (lambda: MatrixWalk(np.ones((2, 3)) / 3), None, ValueError, "square"),
        (lambda: MatrixWalk(np.ones((2, 2))), None, ValueError, "sum to one"),
        (lambda: MatrixWalk(np.array([[1.5, -0.5], [0.5, 0.5]])), None, ValueError, "negative"),
        (lambda: NeighbourWalk(np.array([[1.0], [0.0]])), None, TypeError, "integer"),
        (lambda: NeighbourWalk(np.array([1, 0])), None, ValueError, "row for each state"),
        (lambda: NeighbourWalk(np.array([[1], [2]])), None, ValueError, "the states are 0, ..., 1"),
        (lambda: NeighbourWalk(np.array([[1], [-1]])), None, ValueError, "state 1 has no neighbour"),
        (lambda: FiniteMetropolis(UnitStep()), None, TypeError, "FiniteProposal"),
        (lambda: FiniteMetropolis(RingWalk(4), "Barker"), None, TypeError, "decides by the ratio"),
        (lambda: FiniteMetropolis(RingWalk(4)), 0, ValueError, "no target"),
        (lambda: FiniteMetropolis(RingWalk(4), logdensity=FLAT), 0.0, TypeError, "integer positions"),
        (lambda: FiniteMetropolis(RingWalk(4), logdensity=FLAT), -1, ValueError, "states 0, ..., 3"),
        (lambda: FiniteMetropolis(RingWalk(4), logdensity=FLAT), [0, 1], ValueError, "an integer in"),
        (
            lambda: FiniteMetropolis(RingWalk(4), logdensity=lambda x: jnp.where(x == 1, -jnp.inf, 0.0)),
            1,
            ValueError,
            "probability zero",
        ),
    ],
)
def test_bad_input(make, position, error, message):
    with pytest.raises(error, match=message):
        make().init(jnp.asarray(position))
