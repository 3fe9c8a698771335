"""Exact checks: golden chains pass, each kind of defect is found and named."""

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from jax.tree_util import Partial

from ergodica.samplers import random
from ergodica.samplers.claim import Claim, Exactness
from ergodica.samplers.kernel import DensityState, Kernel
from ergodica.validation.exact import check_exact, check_matrix, exact_check
from ergodica.validation.targets.target import FiniteTarget

RING = np.array([1.0, 2.0, 3.0, 4.0]) / 10
RING_MATRIX = np.array([[0.1, 0.6, 0, 0.3], [0.3, 0.25, 0.45, 0], [0, 0.3, 0.3, 0.4], [0.075, 0, 0.3, 0.625]])


def finite_target(probabilities):
    table = jnp.log(jnp.asarray(probabilities))
    states = np.arange(len(probabilities))
    return FiniteTarget("ring", states, np.asarray(probabilities), Partial(lambda t, x: t[x], table))


class RingWalk(Kernel):
    """A Metropolis walk round a ring, with the ways to get it wrong as switches."""

    size: int
    forget_hastings: bool = False
    retry: bool = False
    logdensity: Partial | None = None

    @property
    def claim(self):
        return Claim(Exactness.EXACT, "leaves the target invariant", reversible=True)

    def init(self, position, *, key=None):
        position = jnp.asarray(position)
        return DensityState(position, self.logdensity(position))

    def _propose(self, key, state):
        key_move, key_accept = random.split(key)
        move = jnp.where(random.bernoulli(key_move, 0.7), 1, -1)
        candidate = (state.position + move) % self.size
        hastings = jnp.where(move == 1, jnp.log(0.3 / 0.7), jnp.log(0.7 / 0.3))
        ratio = self.logdensity(candidate) - state.logdensity + (0.0 if self.forget_hastings else hastings)
        return candidate, random.bernoulli(key_accept, jnp.exp(ratio))

    def step(self, key, state):
        candidate, accepted = self._propose(key, state)
        position = jnp.where(accepted, candidate, state.position)
        return DensityState(position, self.logdensity(position)), None


def test_ring4_matches_its_golden_matrix():
    report = check_exact(RingWalk(4), finite_target(RING))
    assert report.passed, str(report)
    np.testing.assert_allclose(report.matrix, RING_MATRIX, atol=1e-15)
    assert report.period == 1
    eigenvalues = np.sort(np.linalg.eigvals(report.matrix).real)
    np.testing.assert_allclose(eigenvalues, [-0.4082369552, 0.1571446042, 0.526092351, 1], atol=1e-9)


def test_a_forgotten_hastings_ratio_is_found_and_its_states_named():
    report = check_exact(RingWalk(4, forget_hastings=True), finite_target(RING))
    assert not report.passed
    assert report.outcomes["invariance"].statistic == pytest.approx(0.08, abs=1e-12)
    assert "after one step from the target, state" in report.outcomes["invariance"].details
    stationary = np.linalg.matrix_power(report.matrix, 4000)[0]
    assert 0.5 * np.abs(stationary - RING).sum() == pytest.approx(0.1127694859, abs=1e-9)
    outcome = exact_check("ring4", finite_target(RING)).run(RingWalk(4, forget_hastings=True), jax.random.key(0))
    assert not outcome.passed
    assert outcome.false_alarm == 0.0


def _flow_chain(flows):
    """Make a reversible chain from symmetric flows."""
    flows = (flows + flows.T) / 2
    target = flows.sum(axis=1)
    return flows / target[:, None], target / target.sum()


@given(st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_random_reversible_chains_pass_and_a_tilted_one_fails(size, seed):
    rng = np.random.default_rng(seed)
    matrix, target = _flow_chain(rng.exponential(size=(size, size)))
    states = np.arange(size)
    assert check_matrix(matrix, target, states, reversible=True).passed
    tilted = matrix.copy()
    moved = 1e-6 * tilted[0, 1]
    tilted[0, 0] += moved
    tilted[0, 1] -= moved
    report = check_matrix(tilted, target, states, reversible=True)
    assert not report.outcomes["invariance"].passed
    assert not report.outcomes["detailed balance"].passed
    assert report.outcomes["rows"].passed


def test_each_defect_has_its_check():
    uniform = np.full(3, 1 / 3)
    states = np.arange(3)

    def failing(matrix, target=uniform, reversible=False):
        report = check_matrix(np.asarray(matrix, float), np.asarray(target), states, reversible=reversible)
        return {name for name, outcome in report.outcomes.items() if not outcome.passed}, report

    rotation = [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert failing(rotation)[0] == set()
    assert failing(rotation)[1].period == 3
    assert failing(rotation)[1].balance_defect == pytest.approx(1 / 3)
    assert failing(rotation, reversible=True)[0] == {"detailed balance"}
    assert failing(np.eye(3))[0] == {"irreducible"}
    assert "3 classes" in failing(np.eye(3))[1].outcomes["irreducible"].details
    assert "rows" in failing([[0.5, 0.4, 0], [0, 1, 0], [0, 0, 1]])[0]
    leaking = [[0.5, 0.5, 0], [0.4, 0.5, 0.1], [0, 0, 1]]
    assert "closed support" in failing(leaking, target=[0.5, 0.5, 0])[0]


def test_an_analytic_row_is_held_against_the_code():
    class WithRow(RingWalk):
        wrong: bool = False

        def transition_row(self, state):
            rows = jnp.asarray(RING_MATRIX)
            return rows[state.position] + (1e-6 if self.wrong else 0.0)

    assert check_exact(WithRow(4), finite_target(RING)).passed
    report = check_exact(WithRow(4, wrong=True), finite_target(RING))
    assert not report.outcomes["transition_row"].passed
    assert "transition_row says" in report.outcomes["transition_row"].details
