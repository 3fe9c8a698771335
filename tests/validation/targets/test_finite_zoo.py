"""Hidden Markov models, autoregressive laws and chains on graphs: recursions against enumeration, and closed spectra."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import special

from ergodica.theory.finite_chain import reversibility_defect
from ergodica.validation.stationary_start import binomial_pvalue
from ergodica.validation.targets import autoregressive, finite, graph_chains
from ergodica.validation.targets.hidden_markov import HiddenMarkovModel, hmm3


def _logs(target):
    return np.asarray(jax.jit(jax.vmap(target.logdensity))(jnp.asarray(target.states)))


def test_golden_hidden_markov_model():
    model, paths = hmm3(), hmm3().paths()
    assert np.exp(model.log_evidence) == pytest.approx(0.116004, rel=1e-12)
    golden = [
        *(0.0228095583, 0.0684286749, 0.01955105, 0.547429399),
        *(0.0014482259, 0.0043446778, 0.0115858074, 0.3244026068),
    ]
    assert paths.probabilities == pytest.approx(golden, abs=1e-9)
    assert _logs(paths) == pytest.approx(np.log(paths.probabilities) + model.log_evidence)


@hypothesis.settings(max_examples=20)
@hypothesis.given(seed=st.integers(0, 2**32 - 1), states=st.integers(1, 3), length=st.integers(1, 5))
def test_recursions_against_enumeration(seed, states, length):
    draw = np.random.default_rng(seed)
    model = HiddenMarkovModel(
        draw.dirichlet(np.ones(states)),
        draw.dirichlet(np.ones(states), size=states),
        draw.dirichlet(np.ones(3), size=states),
        draw.integers(0, 3, size=length),
    )
    paths = model.paths()
    by_hand = []
    for path in paths.states:
        p = model.initial[path[0]]
        for t, x in enumerate(path):
            p *= model.emission[x, model.observations[t]] * (model.transition[path[t - 1], x] if t else 1)
        by_hand.append(p)
    assert np.log(np.sum(by_hand)) == pytest.approx(model.log_evidence)
    assert paths.probabilities == pytest.approx(np.array(by_hand) / np.sum(by_hand))
    smoothed = [[paths.probabilities @ (paths.states[:, t] == k) for k in range(states)] for t in range(length)]
    assert model.smoothed() == pytest.approx(np.array(smoothed))


def test_exact_draws_of_hidden_paths(getkey):
    # 8 binomials, each compared with 1e-7: false alarm < 1e-6.
    model = hmm3()
    index = np.asarray(model.paths().index(model.sample(getkey(), 4000)))
    for count, p in zip(np.bincount(index, minlength=8), model.paths().probabilities, strict=True):
        assert binomial_pvalue(int(count), 4000, float(p)) > 1e-7


def test_autoregressive_laws():
    known = finite.ar2x3()
    tables = autoregressive.markov_conditionals(finite.AR2X3_START, finite.AR2X3_TRANSITIONS, 3)
    same = autoregressive.autoregressive(tables)
    assert np.array_equal(same.states, known.states)
    assert same.probabilities == pytest.approx(known.probabilities)
    tree = autoregressive.prefix_tree(3, 3)
    for power in (1.0, 4.0):
        target = autoregressive.autoregressive(tree, power)
        by_hand = [tree[0][a] * tree[1][a, b] * tree[2][a, b, c] for a, b, c in target.states]
        assert target.probabilities == pytest.approx(np.array(by_hand) ** power / np.sum(np.array(by_hand) ** power))
        logs = _logs(target)
        assert np.exp(logs - special.logsumexp(logs)) == pytest.approx(target.probabilities)
    # Token by token at low temperature is another law.
    trap = autoregressive.autoregressive(autoregressive.tempered_conditionals(tree, 4.0))
    assert 0.5 * np.abs(trap.probabilities - target.probabilities).sum() > 0.1
    # Two tokens by hand: p = (.5, .5), then (1, 0) or (.5, .5). Squares of joints: 1/4, 0, 1/16, 1/16.
    two = autoregressive.autoregressive([[0.5, 0.5], [[1.0, 0.0], [0.5, 0.5]]], 2.0)
    assert two.probabilities == pytest.approx([2 / 3, 0, 1 / 6, 1 / 6])
    assert np.isneginf(two.logdensity(jnp.array([0, 1])))


@pytest.mark.parametrize("laziness", [0.0, 0.5])
def test_spectra_of_walks(laziness):
    for chain in (
        graph_chains.cycle_walk(3, laziness),
        graph_chains.cycle_walk(6, laziness),
        graph_chains.path_walk(2, laziness),
        graph_chains.path_walk(7, laziness),
        graph_chains.complete_walk(5, laziness),
        graph_chains.hypercube_walk(4, laziness),
        graph_chains.barbell_walk(4, laziness),
    ):
        pi = chain.target.probabilities
        assert pi @ chain.matrix == pytest.approx(pi)
        assert chain.matrix.sum(axis=1) == pytest.approx(1)
        assert reversibility_defect(chain.matrix, pi) < 1e-14
        if chain.eigenvalues is not None:
            root = np.sqrt(pi)
            values = np.linalg.eigvalsh(root[:, None] * chain.matrix / root[None, :])[::-1]
            assert values == pytest.approx(chain.eigenvalues, abs=1e-12)


def test_metropolis_chain():
    chain = graph_chains.metropolis_chain(finite.GRAPH5_EDGES, [0.10, 0.15, 0.20, 0.25, 0.30])
    assert chain.matrix == pytest.approx(finite.graph5_matrix(), abs=1e-14)
    assert chain.target.probabilities == pytest.approx(finite.graph5().probabilities)


def test_bad_input():
    good = ([0.5, 0.5], np.eye(2), np.full((2, 2), 0.5))
    for call, message in [
        (lambda: HiddenMarkovModel([0.5, 0.6], good[1], good[2], [0]), "sum to one"),
        (lambda: HiddenMarkovModel(good[0], np.eye(3), good[2], [0]), "2 states"),
        (lambda: HiddenMarkovModel(*good, [2]), "lie in 0, ..., 1"),
        (lambda: HiddenMarkovModel(*good, [0.5]), "integers"),
        (lambda: HiddenMarkovModel(*good, []), "non-empty"),
        (lambda: HiddenMarkovModel([1.0, 0.0], np.eye(2), np.eye(2), [1]), "probability zero"),
        (lambda: HiddenMarkovModel(*good, [0] * 20).paths(), "too many"),
        (lambda: autoregressive.autoregressive([]), "first token"),
        (lambda: autoregressive.autoregressive([[0.5, 0.6]]), "sum to one"),
        (lambda: autoregressive.autoregressive([[0.5, 0.5], [0.5, 0.5]]), "shape"),
        (lambda: autoregressive.autoregressive([[0.5, 0.5]], -1.0), "power"),
        (lambda: autoregressive.tempered_conditionals([[1.0]], 0.0), "power"),
        (lambda: autoregressive.markov_conditionals([1.0], np.eye(2), 2), "shapes"),
        (lambda: graph_chains.metropolis_chain([(0, 1)], [1.0, 1.0, 1.0]), "every node needs an edge"),
        (lambda: graph_chains.metropolis_chain([(0, 1)], [1.0, 0.0]), "positive"),
        (lambda: graph_chains.cycle_walk(4, 1.0), "laziness"),
        (lambda: graph_chains.hypercube_walk(13), "at most 12"),
        (lambda: graph_chains.barbell_walk(2), "at least 3"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
