"""Linear algebra of finite chains."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.sparse

from ergodica.theory.finite_chain import (
    FiniteChain,
    asymptotic_covariance,
    asymptotic_variance,
    fundamental_matrix,
    reversibility_defect,
    reversible_spectrum,
    spectral_covariance,
    stationary_law,
)

MU = np.array([0.10, 0.15, 0.20, 0.25, 0.30])
GRAPH5 = np.array(
    [
        [0, 1 / 2, 1 / 2, 0, 0],
        [1 / 3, 2 / 9, 4 / 9, 0, 0],
        [1 / 4, 1 / 3, 1 / 12, 1 / 3, 0],
        [0, 0, 4 / 15, 7 / 30, 1 / 2],
        [0, 0, 0, 5 / 12, 7 / 12],
    ]
)


@st.composite
def chains(draw, reversible=False):
    size = draw(st.integers(2, 6))
    weights = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).exponential(size=(size, size))
    if reversible:
        weights = weights + weights.T
    return weights / weights.sum(axis=1, keepdims=True)


def test_golden_spectrum():
    spectrum = reversible_spectrum(GRAPH5, MU)
    np.testing.assert_allclose(
        spectrum.eigenvalues, [1, 0.80977263, 0.03522782, -0.30245460, -0.42032363], atol=5e-9, rtol=0
    )
    np.testing.assert_allclose(spectrum.left[0], MU, atol=1e-14)
    np.testing.assert_allclose(spectrum.left @ GRAPH5, spectrum.eigenvalues[:, None] * spectrum.left, atol=1e-14)
    np.testing.assert_allclose((spectrum.left / MU) @ spectrum.left.T, np.eye(5), atol=1e-13)


def test_golden_variance():
    np.testing.assert_allclose(asymptotic_variance(GRAPH5, np.arange(5)), 15.3314772727, rtol=1e-11)
    covariance = asymptotic_covariance(GRAPH5)
    np.testing.assert_allclose(
        np.diag(covariance), [0.19678636, 0.42776932, 0.30350909, 0.34923295, 1.13889545], atol=5e-9, rtol=0
    )
    np.testing.assert_allclose(np.trace(covariance), 2.4161931818, atol=5e-11)


def test_stationary_law_with_transient_and_rare_states():
    np.testing.assert_allclose(stationary_law(GRAPH5), MU, atol=1e-15)
    np.testing.assert_allclose(
        stationary_law([[0.5, 0.5, 0], [0, 0.25, 0.75], [0, 0.5, 0.5]]), [0, 0.4, 0.6], atol=1e-15
    )
    tiny = 1e-200
    np.testing.assert_allclose(stationary_law([[1 - tiny, tiny], [1.0, 0.0]])[1], tiny, rtol=1e-14)
    with pytest.raises(ValueError, match="2 closed classes"):
        stationary_law(np.eye(2))


@hypothesis.given(chains(reversible=True))
def test_the_two_covariances_agree(matrix):
    np.testing.assert_allclose(asymptotic_covariance(matrix), spectral_covariance(matrix), rtol=1e-10, atol=1e-11)


@hypothesis.given(chains())
def test_covariance_is_the_sum_of_autocovariances(matrix):
    """Also for chains that are not reversible; the sum is taken directly."""
    law = stationary_law(matrix)
    np.testing.assert_allclose(law @ matrix, law, atol=1e-14)
    expected, power = np.diag(law) - np.outer(law, law), np.eye(len(law))
    while np.abs(power).max() > 1e-18:
        power = power @ (matrix - law)
        term = law[:, None] * power
        expected += term + term.T
    np.testing.assert_allclose(asymptotic_covariance(matrix), expected, rtol=1e-9, atol=1e-12)


def test_independent_draws():
    matrix = np.tile(MU, (5, 1))
    np.testing.assert_allclose(fundamental_matrix(matrix), np.eye(5), atol=1e-14)
    np.testing.assert_allclose(asymptotic_covariance(matrix), np.diag(MU) - np.outer(MU, MU), atol=1e-15)


def test_a_periodic_chain_has_a_covariance():
    flip = np.array([[0.0, 1.0], [1.0, 0.0]])
    np.testing.assert_allclose(asymptotic_covariance(flip), np.zeros((2, 2)), atol=1e-15)
    np.testing.assert_allclose(spectral_covariance(flip), np.zeros((2, 2)), atol=1e-15)


def test_what_is_no_reversible_chain_is_refused():
    cycle = np.array([[0, 0.9, 0.1], [0.1, 0, 0.9], [0.9, 0.1, 0]])
    np.testing.assert_allclose(reversibility_defect(cycle, [1, 1, 1]), 0.8 / 3)
    with pytest.raises(ValueError, match="not reversible"):
        reversible_spectrum(cycle)
    with pytest.raises(ValueError, match=r"row 0 sums to 1\.1"):
        stationary_law([[0.6, 0.5], [0.5, 0.5]])
    with pytest.raises(ValueError, match="square"):
        stationary_law(np.ones((2, 3)))
    with pytest.raises(ValueError, match="positive weights"):
        asymptotic_covariance(GRAPH5, [1, 1, 1, 1, 0])


R5 = np.array(
    [
        [0.5, 0.5, 0, 0, 0],
        [0.25, 0.25, 0.5, 0, 0],
        [0, 0.25, 0.5, 0.25, 0],
        [0, 0, 0.5, 0.25, 0.25],
        [0, 0, 0, 0.5, 0.5],
    ]
)
X = np.arange(5.0)


def guided5():
    """Return the guided walk: (x, v) moves to (x + v, v) if accepted, else to (x, -v)."""
    weights, matrix = [1, 2, 4, 2, 1], np.zeros((10, 10))
    for x in range(5):
        for b, v in enumerate((-1, 1)):
            accept = min(1.0, weights[x + v] / weights[x]) if 0 <= x + v < 5 else 0.0
            if accept > 0:
                matrix[2 * x + b, 2 * (x + v) + b] += accept
            matrix[2 * x + b, 2 * x + 1 - b] += 1 - accept
    return matrix


def test_golden_chain():
    chain = FiniteChain(R5)
    assert chain.reversible
    assert chain.irreducible
    assert chain.residual < 1e-15
    np.testing.assert_allclose(chain.law, [0.1, 0.2, 0.4, 0.2, 0.1], atol=1e-15)
    np.testing.assert_allclose(chain.spectrum.eigenvalues, [1, 0.75, 0.5, 0, -0.25], atol=1e-14)
    for method in ("fundamental", "eigen"):
        of_x = chain.asymptotic_variance(X, method)
        np.testing.assert_allclose([of_x.value, of_x.variance, of_x.integrated_autocorrelation_time], [8.4, 1.2, 7])
        np.testing.assert_allclose(chain.asymptotic_variance(X == 0, method).value, 0.354, rtol=1e-13)
        assert of_x.residual < 1e-13
    np.testing.assert_allclose(chain.mode_weights(X), [1.2, 0, 0, 0], atol=1e-14)
    np.testing.assert_allclose(chain.mode_weights(X == 0), [1 / 30, 1 / 30, 1 / 60, 1 / 150], rtol=1e-13)
    np.testing.assert_allclose(chain.variance_of_mean(X, 10), 0.5682182922, atol=5e-11)
    np.testing.assert_allclose(chain.kemeny_constant(), 7.8, rtol=1e-13)
    hitting = [[0, 2, 5, 12, 30], [18, 0, 3, 10, 28], [25, 7, 0, 7, 25], [28, 10, 3, 0, 18], [30, 12, 5, 2, 0]]
    np.testing.assert_allclose(chain.hitting_times(), hitting, atol=1e-12)


def test_guided_walk():
    chain = FiniteChain(guided5())
    x = np.repeat(X, 2)
    assert not chain.reversible
    np.testing.assert_allclose(reversibility_defect(chain.P, chain.law), 0.1, atol=1e-15)
    # The period is 2, and time averages do not mind.
    np.testing.assert_allclose(chain.asymptotic_variance(x).value, 2.4, rtol=1e-12)
    np.testing.assert_allclose(chain.time_reversal().asymptotic_variance(x).value, 2.4, rtol=1e-12)
    with pytest.raises(ValueError, match="needs a reversible chain"):
        chain.asymptotic_variance(x, "eigen")


@pytest.mark.parametrize("matrix", [R5, guided5(), GRAPH5])
def test_variance_of_mean_by_brute_force(matrix):
    chain = FiniteChain(matrix)
    f = np.sin(np.arange(chain.size))
    centred = f - chain.law @ f
    lags = [chain.law * centred @ np.linalg.matrix_power(matrix, k) @ centred for k in range(3000)]
    for n in (1, 2, 7, 3000):
        brute = (n * lags[0] + 2 * sum((n - k) * lags[k] for k in range(1, n))) / n**2
        np.testing.assert_allclose(chain.variance_of_mean(f, n), brute, rtol=1e-9)


@hypothesis.given(chains(reversible=True))
def test_both_routes_agree(matrix):
    chain = FiniteChain(matrix)
    f = np.cos(3.0 * np.arange(chain.size))
    np.testing.assert_allclose(
        chain.asymptotic_variance(f).value, chain.asymptotic_variance(f, "eigen").value, rtol=1e-10
    )
    rows = chain.hitting_times() @ chain.law
    np.testing.assert_allclose(rows, chain.kemeny_constant(), rtol=1e-9)
    np.testing.assert_allclose(rows, np.sum(1 / (1 - chain.spectrum.eigenvalues[1:])), rtol=1e-9)


@hypothesis.given(chains())
def test_hitting_times_solve_their_equation(matrix):
    chain = FiniteChain(matrix)
    times = chain.hitting_times()
    back = 1 + matrix @ times
    np.testing.assert_allclose(back - np.diag(np.diag(back)), times, rtol=1e-8)
    np.testing.assert_allclose(np.diag(back), 1 / chain.law, rtol=1e-8)


def test_long_run_covariance():
    chain = FiniteChain(guided5())
    f = np.random.default_rng(0).normal(size=(10, 3))
    np.testing.assert_allclose(
        chain.long_run_covariance(f), f.T @ asymptotic_covariance(chain.P, chain.law) @ f, atol=1e-12
    )


def test_edge_cases():
    single = FiniteChain([[1.0]])
    assert single.asymptotic_variance([3.0]).value == 0
    assert np.isnan(single.asymptotic_variance([3.0]).integrated_autocorrelation_time)
    assert single.kemeny_constant() == 0
    constant = FiniteChain(R5).asymptotic_variance(np.full(5, 0.3))
    assert constant.value == 0
    assert np.isnan(constant.integrated_autocorrelation_time)
    transient = FiniteChain([[0.5, 0.5, 0], [0, 0.25, 0.75], [0, 0.5, 0.5]])
    recurrent, states = transient.recurrent()
    assert states.tolist() == [1, 2]
    f = np.array([7.0, 1.0, 3.0])
    np.testing.assert_allclose(
        transient.asymptotic_variance(f).value, recurrent.asymptotic_variance(f[1:]).value, rtol=1e-13
    )
    for quantity in (transient.hitting_times, transient.time_reversal, lambda: transient.spectrum):
        with pytest.raises(ValueError, match="transient"):
            quantity()
    with pytest.raises(ValueError, match="2 closed classes"):
        FiniteChain(np.eye(2))
    with pytest.raises(ValueError, match="several closed classes"):
        FiniteChain(np.eye(2), [1, 1])
    with pytest.raises(ValueError, match="not stationary"):
        FiniteChain(R5, np.ones(5))
    with pytest.raises(ValueError, match="5 weights"):
        FiniteChain(R5, [1, 2])
    with pytest.raises(ValueError, match="5 states; got shape"):
        FiniteChain(R5).asymptotic_variance([1.0, 2.0])
    with pytest.raises(ValueError, match="methods are"):
        FiniteChain(R5).asymptotic_variance(X, "guess")
    with pytest.raises(ValueError, match="num_steps"):
        FiniteChain(R5).variance_of_mean(X, 0)
    with pytest.warns(RuntimeWarning, match="nearly reducible"):
        FiniteChain([[1 - 1e-13, 1e-13], [1e-13, 1 - 1e-13]], [1, 1]).spectrum  # noqa: B018


def lattice(size):
    i = np.arange(size)
    data = np.concatenate([np.full(size, 0.5), np.full(size, 0.2), np.full(size, 0.3)])
    columns = np.concatenate([i, (i + 1) % size, (i - 1) % size])
    return scipy.sparse.csr_array((data, (np.tile(i, 3), columns)), (size, size))


def test_sparse_and_dense_agree():
    graph = scipy.sparse.random_array((600, 600), density=0.01, rng=np.random.default_rng(3))
    weights = graph + graph.T + scipy.sparse.eye_array(600)
    matrix = scipy.sparse.csr_array(scipy.sparse.diags_array(1 / weights.sum(axis=1)) @ weights)
    f = np.random.default_rng(4).normal(size=600)
    sparse, dense = FiniteChain(matrix), FiniteChain(matrix.toarray())
    assert not isinstance(sparse.P, np.ndarray)
    assert sparse.reversible
    one, other = sparse.asymptotic_variance(f), dense.asymptotic_variance(f)
    assert (one.method, other.method) == ("conjugate gradients", "fundamental matrix")
    np.testing.assert_allclose(one.value, other.value, rtol=1e-10)
    np.testing.assert_allclose(sparse.variance_of_mean(f, 20), dense.variance_of_mean(f, 20), rtol=1e-10)


@pytest.mark.slow
def test_a_hundred_thousand_states():
    # A drifting walk on a ring: cosines are eigenfunctions of the symmetric part, and the chain is not reversible.
    size = 100_000
    chain = FiniteChain(lattice(size))
    assert not chain.reversible
    # A cosine of 1000 waves: with the eigenvalue z of its complex wave the variance is Re (1 + z) / (1 - z) / 2.
    angle = 2 * np.pi * 1000 / size
    z = 0.5 + 0.2 * np.exp(1j * angle) + 0.3 * np.exp(-1j * angle)
    found = chain.asymptotic_variance(np.cos(angle * np.arange(size)))
    assert found.method == "sparse LU"
    np.testing.assert_allclose(found.value, 0.5 * ((1 + z) / (1 - z)).real, rtol=1e-8)
    with pytest.raises(ValueError, match="at most 5000"):
        chain.dense()
