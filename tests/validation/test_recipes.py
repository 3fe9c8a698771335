"""Recipes of exact matrices: golden spectra, invariance, balance, and frozen histories against their closed form."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ergodica.samplers.claim import Claim, Exactness
from ergodica.samplers.kernel import DensityState, Kernel
from ergodica.samplers.metropolis.finite import FiniteMetropolis, RingWalk
from ergodica.samplers.walks.base_chain import BaseChain
from ergodica.samplers.walks.self_repellent import SelfRepellentWalk
from ergodica.theory.stationary import stationary_law
from ergodica.validation.exact import check_matrix
from ergodica.validation.matrix_agreement import matrix_agreement
from ergodica.validation.recipes.frozen_history import frozen_matrix
from ergodica.validation.recipes.particle_gibbs import particle_gibbs_matrix
from ergodica.validation.targets.finite import ring4
from ergodica.validation.targets.hidden_markov import HiddenMarkovModel, hmm3

# Second-largest moduli of the chain on the paths of hmm3.
GOLDEN = {
    (2, "tracing"): 0.9402227217,
    (2, "sampling"): 0.6444314270,
    (2, "backward"): 0.6444314270,
    (3, "tracing"): 0.8236388192,
    (3, "sampling"): 0.4206871088,
    (3, "backward"): 0.4206871088,
}


@pytest.mark.parametrize(("particles", "ancestors"), GOLDEN)
def test_particle_gibbs_is_reversible_and_mixes_as_it_should(particles, ancestors):
    target = hmm3().paths()
    matrix = particle_gibbs_matrix(hmm3(), particles, ancestors)
    report = check_matrix(matrix, target.probabilities, target.states, reversible=True)
    assert report.passed, str(report)
    moduli = np.sort(np.abs(np.linalg.eigvals(matrix)))
    assert moduli[-2] == pytest.approx(GOLDEN[particles, ancestors], abs=1e-9)


def test_particle_gibbs_at_four_times():
    model = HiddenMarkovModel((0.6, 0.4), ((0.7, 0.3), (0.2, 0.8)), ((0.9, 0.1), (0.3, 0.7)), (0, 1, 1, 0))
    target = model.paths()
    matrix = particle_gibbs_matrix(model, 3, "backward")
    assert check_matrix(matrix, target.probabilities, target.states, reversible=True).passed
    with pytest.raises(ValueError, match="particles"):
        particle_gibbs_matrix(model, 1)
    with pytest.raises(ValueError, match="'tracing', 'sampling', 'backward'; got 'none'"):
        particle_gibbs_matrix(model, 2, "none")


def test_a_particle_filter_that_forgets_its_reference_is_caught(monkeypatch):
    """The retained path is replaced by a fresh one at the first time."""
    from ergodica.validation.recipes import particle_gibbs

    first = particle_gibbs._first

    def forgetful(model, reference, free):
        law = {}
        for value, weight in enumerate(model.initial):
            for (_, others), probability in first(model, reference, free).items():
                key = ((value,), others)
                law[key] = law.get(key, 0.0) + weight * probability
        return law

    monkeypatch.setattr(particle_gibbs, "_first", forgetful)
    target = hmm3().paths()
    report = check_matrix(particle_gibbs_matrix(hmm3(), 2), target.probabilities, target.states, reversible=True)
    assert not report.outcomes["invariance"].passed


# Law that the self-repellent walk on five nodes in a row leaves invariant while its measure is frozen, by strength.
MEASURE = np.array([0.15, 0.25, 0.3, 0.2, 0.1])
FROZEN = {
    1.0: [0.04276827, 0.14463453, 0.52099533, 0.20412131, 0.08748056],
    5.0: [0.00061967, 0.02983169, 0.84224047, 0.10682083, 0.02048734],
}


def test_frozen_history_of_the_self_repellent_walk():
    weights = np.array([1.0, 2.0, 4.0, 2.0, 1.0])
    base = np.zeros((5, 5))
    for i, j in itertools.pairwise(range(5)):
        base[i, j], base[j, i] = (0.5 * min(1.0, ratio) for ratio in (weights[j] / weights[i], weights[i] / weights[j]))
    base += np.diag(1 - base.sum(axis=1))
    chain = BaseChain.from_matrix(base, weights / 10)
    for alpha, golden in FROZEN.items():
        walk = SelfRepellentWalk(chain, alpha=alpha)
        matrix = frozen_matrix(walk, lambda node, walk=walk: walk.init(node)._replace(mass=MEASURE), jnp.arange(5))
        law = stationary_law(matrix)
        np.testing.assert_allclose(law, golden, atol=1e-8)
        assert check_matrix(matrix, law, np.arange(5), reversible=True).passed


class Claimed(Kernel):
    """A walk round the ring whose formula may be wrong."""

    off: float = 0.0

    @property
    def claim(self):
        return Claim(Exactness.EXACT, "uniform", reversible=True)

    def init(self, position, *, key=None):
        return DensityState(jnp.asarray(position), jnp.zeros(()))

    def step(self, key, state):
        moved = (state.position + jnp.where(jax.random.bernoulli(key, 0.25), 1, 0)) % 4
        return DensityState(moved, state.logdensity), None

    def transition_row(self, state):
        stay = 0.75 + self.off
        row = jnp.zeros(4).at[state.position].set(stay)
        return row.at[(state.position + 1) % 4].set(1 - stay)


@pytest.mark.slow
def test_three_ways_to_a_matrix():
    """A right kernel fails with probability at most 1e-6 for each comparison with counts."""
    kernel = FiniteMetropolis(RingWalk(4))
    agreement = matrix_agreement(kernel, ring4(), jax.random.key(1), n=2000)
    assert agreement.passed, agreement.outcomes
    assert set(agreement.outcomes) == {"enumerated and formula", "enumerated and counted", "formula and counted"}
    assert agreement.counts.sum() == 8000


def test_a_wrong_formula_disagrees_with_counted_steps():
    lying = matrix_agreement(Claimed(0.2), ring4(), jax.random.key(1), n=2000)
    assert "jax.random was called directly" in lying.missing["enumerated"]
    assert not lying.outcomes["formula and counted"].passed
