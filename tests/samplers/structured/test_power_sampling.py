"""Power sampling: published tables, the progressive scheme, strings that end, options, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ergodica.samplers import random
from ergodica.samplers.kernel import Exactness
from ergodica.samplers.sequences.power_sampling import PowerSampling
from ergodica.validation.cases.string_kernels import (
    BINARY3,
    BINARY_POWER,
    ENDING_POWER,
    binary_law,
    ending_law,
)
from ergodica.validation.enumeration import enumerate_law, transition_matrix
from ergodica.validation.exact import check_exact
from tests.traps.structured import TruncatedSuffix, UncorrectedLength

KEY = jax.random.key(8)


def test_published_target():
    expected = [
        *(0.4372344300, 0.0803083647, 0.0065557849, 0.1048925580),
        *(0.0158633807, 0.0029136822, 0.0207195176, 0.3315122820),
    ]
    np.testing.assert_allclose(BINARY_POWER.probabilities, expected, atol=5e-11)
    law = dict(zip(map(tuple, ENDING_POWER.states.tolist()), ENDING_POWER.probabilities, strict=True))
    assert len(law) == 15
    for string, expected in (((2, -1, -1), 0.49282253), ((0, 2, -1), 0.11354631), ((1, 0, 2), 0.00086934)):
        assert law[string] == pytest.approx(expected, abs=5e-9)


@pytest.mark.parametrize(
    ("temperature", "gap", "acceptance"),
    [
        (1.0, 0.2407763127, 0.7880489391),
        pytest.param(0.5, 0.2762572091, 0.9697555913, marks=pytest.mark.slow),
        pytest.param(0.25, 0.0300341709, 0.7843451278, marks=pytest.mark.slow),
    ],
)
def test_published_gaps_and_acceptance(temperature, gap, acceptance):
    kernel = PowerSampling(binary_law, 2.0, length=3, temperature=temperature)
    pi = BINARY_POWER.probabilities
    matrix = check_exact(kernel, BINARY_POWER).matrix
    root = np.sqrt(pi)
    values = np.linalg.eigvalsh(root[:, None] * matrix / root)
    assert 1 - values[-2] == pytest.approx(gap, abs=1e-10)

    def program(key):
        first, second = random.split(key)
        start = random.categorical(first, jnp.log(jnp.asarray(pi)))
        return kernel.step(second, kernel.init(jnp.asarray(BINARY3)[start]))[1].is_accepted

    assert enumerate_law(program, KEY).vector(2)[1] == pytest.approx(acceptance, abs=1e-10)


def distance(law):
    return 0.5 * sum(abs(law.probability(s) - p) for s, p in zip(BINARY3, BINARY_POWER.probabilities, strict=True))


def test_the_progressive_scheme_as_it_runs():
    """With no moves it is low temperature; with one it is nearer to the target, by the published amounts."""
    kernel = PowerSampling(binary_law, 2.0, length=3)
    for num_moves, expected in ((0, 0.0673378419), (1, 0.0345587717)):
        law = enumerate_law(lambda key, n=num_moves: kernel.draw(key, block=1, num_moves=n)[0].position, KEY)
        assert distance(law) == pytest.approx(expected, abs=1e-10)


@pytest.mark.slow
def test_the_progressive_scheme_for_many_moves():
    """The same by powers of the matrices of the three blocks."""
    tables = []
    for limit in (1, 2, 3):
        strings = np.unique(np.where(np.arange(3) < limit, BINARY3, -1), axis=0)
        tables.append((strings, transition_matrix(PowerSampling(binary_law, 2.0, length=3, limit=limit), strings)))
    kernel = PowerSampling(binary_law, 2.0, length=3)
    for num_moves, expected in ((2, 0.0205215729), (5, 0.0060404653), (10, 0.0011335903), (20, 4.456036e-5)):
        law = {(-1, -1, -1): 1.0}
        for limit, (strings, matrix) in enumerate(tables):
            grown = np.zeros(len(strings))
            for row, string in enumerate(strings.tolist()):
                prefix = np.array([*string[:limit], *[-1] * (3 - limit)])
                scores = kernel.scores(jnp.asarray(prefix), jnp.asarray(limit))[1]
                grown[row] = law[tuple(prefix.tolist())] * float(jnp.exp(scores[string[limit]]))
            grown = grown @ np.linalg.matrix_power(matrix, num_moves)
            law = dict(zip(map(tuple, strings.tolist()), grown, strict=True))
        final = np.array([law[tuple(string)] for string in BINARY3.tolist()])
        assert 0.5 * np.abs(final - BINARY_POWER.probabilities).sum() == pytest.approx(expected, abs=1e-9)


class TruncatedAndUncorrected(TruncatedSuffix, UncorrectedLength):
    """Both mistakes: the published number for truncated suffixes has both."""


@pytest.mark.parametrize(
    ("wrong", "index", "expected"),
    [
        (UncorrectedLength, "current", 0.2211265192),
        (TruncatedAndUncorrected, "current", 0.2215464610),
        (TruncatedSuffix, "fixed", 0.0041867012),
    ],
)
def test_published_errors_of_wrong_lengths(wrong, index, expected):
    """Stationary laws of wrong kernels, in total variation from the target."""
    matrix = transition_matrix(wrong(ending_law, 2.0, length=3, end=2, index=index), ENDING_POWER.states)
    values, vectors = np.linalg.eig(matrix.T)
    stationary = np.real(vectors[:, np.argmax(np.real(values))])
    stationary /= stationary.sum()
    assert 0.5 * np.abs(stationary - ENDING_POWER.probabilities).sum() == pytest.approx(expected, abs=1e-9)


def test_everything_is_accepted_where_proposal_and_target_agree():
    kernel = PowerSampling(ending_law, 1.0, length=3, end=2)
    start = jnp.asarray([0, 1, 2])
    law = enumerate_law(lambda key: jnp.round(kernel.step(key, kernel.init(start))[1].acceptance_rate, 12), KEY)
    assert len(law) == 1
    assert float(law.support[0]) == 1.0


def test_products_of_experts():
    """Two laws with exponents of their own; suffixes come from the first."""

    def other(tokens, t):
        return jnp.array([0.3, 0.7]) + 0.0 * t

    kernel = PowerSampling([binary_law, other], [1.5, 0.5], length=3)
    weights = np.array([0.294, 0.126, 0.036, 0.144, 0.056, 0.024, 0.064, 0.256]) ** 1.5
    weights *= np.prod(np.where(BINARY3 == 1, 0.7, 0.3), axis=1) ** 0.5
    matrix = transition_matrix(kernel, BINARY3)
    np.testing.assert_allclose(weights @ matrix, weights, atol=1e-14)


def test_greedy_search_never_goes_down():
    kernel = PowerSampling(binary_law, jnp.inf, length=3)
    assert kernel.claim.exactness is Exactness.HEURISTIC
    p = np.array([0.294, 0.126, 0.036, 0.144, 0.056, 0.024, 0.064, 0.256])
    matrix = transition_matrix(kernel, BINARY3)
    assert not np.any((matrix > 0) & (p[None, :] < p[:, None]))
    assert matrix[0, 0] == pytest.approx(1)


@pytest.mark.slow
def test_run_counts_tokens():
    kernel = PowerSampling(ending_law, 2.0, length=3, end=2)
    state, info = jax.jit(lambda key: kernel.run(key, kernel.init(jnp.asarray([2, -1, -1])), 50))(KEY)
    assert 0 < int(info.num_evals) <= 150
    assert 0 < float(info.acceptance_rate) <= 1
    again = kernel.refresh(state)
    np.testing.assert_allclose(again.log_target, state.log_target, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PowerSampling(binary_law, 0.0, length=3), "alpha has to be greater than 0"),
        (lambda: PowerSampling(binary_law, [1.0, 2.0], length=3), "one exponent for each"),
        (lambda: PowerSampling(binary_law, 2.0, length=3, index="late"), "fixed"),
        (lambda: PowerSampling(binary_law, 2.0, length=3, limit=4), "at most length"),
        (lambda: PowerSampling(binary_law, 2.0, length=3).init(jnp.asarray([0, 1])), "shape"),
        (lambda: PowerSampling(ending_law, 2.0, length=3, end=2).init(jnp.asarray([2, 0, 0])), "complete string"),
        (lambda: PowerSampling(ending_law, 2.0, length=3, end=2).init(jnp.asarray([0, -1, -1])), "complete string"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
