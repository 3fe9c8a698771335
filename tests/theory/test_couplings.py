"""Couplings: marginals exactly, and what each of them promises of the pair."""

import math

import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from scipy import integrate, stats

from ergodica.theory.couplings import (
    draw_maximal_coupling,
    gaussian_total_variation,
    maximal_coupling,
    monotone_coupling,
    path_contraction,
    path_coupling_bound,
    reflection_maximal_coupling,
    rejection_coupling,
    rejection_coupling_cost,
)
from ergodica.theory.finite_chain import FiniteChain
from ergodica.theory.metropolis import metropolis_matrix
from ergodica.theory.mixing import mixing_time
from ergodica.theory.ricci_curvature import graph_metric, ricci_curvature

STEP = (np.eye(5, k=1) + np.eye(5, k=-1) + np.diag([1, 0, 0, 0, 1])) / 2
R5 = metropolis_matrix([1, 2, 4, 2, 1], STEP)


def weights(n):
    entry = st.one_of(st.just(0.0), st.floats(1e-6, 1))
    return st.lists(entry, min_size=n, max_size=n).filter(any).map(lambda w: np.array(w) / np.sum(w))


pairs = st.integers(1, 6).flatmap(lambda n: st.tuples(weights(n), weights(n)))


@given(pairs)
def test_maximal_coupling(pair):
    p, q = pair
    joint = maximal_coupling(p, q)
    assert joint.min() >= 0
    np.testing.assert_allclose(joint.sum(axis=1), p, atol=1e-15)
    np.testing.assert_allclose(joint.sum(axis=0), q, atol=1e-15)
    assert np.trace(joint) == pytest.approx(1 - 0.5 * np.abs(p - q).sum(), abs=1e-15)
    np.testing.assert_allclose(maximal_coupling(p, p), np.diag(p), atol=1e-15)


def test_rows_of_a_chain():
    joint = maximal_coupling(R5[:, None], R5[None])
    assert joint.shape == (5, 5, 5, 5)
    for x in range(5):
        for y in range(5):
            np.testing.assert_array_equal(joint[x, y], maximal_coupling(R5[x], R5[y]))
        np.testing.assert_array_equal(joint[x, x], np.diag(R5[x]))


def compatible(counts, joint, level=1e-7):
    """Pearson's test, with the classes of small expectation in one."""
    size = counts.sum()
    assert counts[joint == 0].sum() == 0
    large = joint * size >= 50
    observed, expected = counts[large], joint[large] * size
    rest = size - expected.sum()
    if rest > 50:
        observed, expected = np.append(observed, size - observed.sum()), np.append(expected, rest)
    statistic = np.sum((observed - expected) ** 2 / expected)
    return stats.chi2.sf(statistic, max(1, len(expected) - 1)) > level


@pytest.mark.parametrize(
    ("p", "q"),
    [
        ((0.1, 0.2, 0.3, 0.4), (0.25, 0.25, 0.4, 0.1)),
        ((0.5, 0.5, 0, 0), (0, 0, 0.3, 0.7)),
        ((0.2, 0.8), (0.2, 0.8)),
    ],
)
def test_draws_of_the_maximal_coupling(p, q):
    """Pearson's tests at level 1e-7, three of them."""
    rng = np.random.default_rng(11)
    x, y = draw_maximal_coupling(rng, p, q, 100_000)
    counts = np.zeros((len(p), len(p)))
    np.add.at(counts, (x, y), 1)
    assert compatible(counts, maximal_coupling(p, q))
    assert draw_maximal_coupling(rng, p, q, 0)[0].shape == (0,)


def test_golden_transport_plan():
    joint = monotone_coupling([0.5, 0.3, 0.2], [0.2, 0.5, 0.3])
    np.testing.assert_allclose(joint, [[0.2, 0.3, 0], [0, 0.2, 0.1], [0, 0, 0.2]], atol=1e-15)
    cost = (np.array([0, 1, 3])[:, None] - np.array([0.5, 2, 5])) ** 2
    assert np.sum(joint * cost) == pytest.approx(3.85)


@settings(max_examples=25)
@given(st.tuples(st.integers(1, 5), st.integers(1, 5)).flatmap(lambda s: st.tuples(weights(s[0]), weights(s[1]))))
def test_the_monotone_coupling_is_optimal(pair):
    p, q = pair
    joint = monotone_coupling(p, q)
    assert joint.min() >= 0
    assert np.count_nonzero(joint > 1e-15) <= p.size + q.size - 1
    np.testing.assert_allclose(joint.sum(axis=1), p, atol=1e-15)
    np.testing.assert_allclose(joint.sum(axis=0), q, atol=1e-15)
    x, y = np.cumsum(np.cos(np.arange(p.size)) + 1.1), np.cumsum(np.sin(np.arange(q.size)) + 1.1)
    sums = np.vstack([np.kron(np.eye(p.size), np.ones(q.size)), np.kron(np.ones(p.size), np.eye(q.size))])
    for power in (1.0, 1.5, 2.0):
        cost = np.abs(x[:, None] - y) ** power
        best = scipy.optimize.linprog(cost.ravel(), A_eq=sums[:-1], b_eq=np.append(p, q)[:-1])
        assert np.sum(joint * cost) == pytest.approx(best.fun, abs=1e-6)


def test_cost_of_rejection():
    cost = rejection_coupling_cost(0.3)
    assert cost.agreement == pytest.approx(0.7)
    assert (cost.mean, round(cost.variance, 4)) == (1, 4.6667)
    assert rejection_coupling_cost(0.0).mean == 0
    assert rejection_coupling_cost(1.0).variance == 0
    # A geometric number of draws, if the pair is apart.
    for distance, eta in ((0.3, 1.0), (0.05, 1.0), (0.0, 0.8), (0.4, 0.5)):
        apart = 1 - eta * (1 - distance)
        m = np.arange(1, 5000)
        chance = apart * stats.geom.pmf(m, apart)
        cost = rejection_coupling_cost(distance, eta)
        assert cost.mean == pytest.approx(chance @ m, rel=1e-12)
        assert cost.variance == pytest.approx(chance @ m**2 - 1, rel=1e-9)
        if eta < 1:
            assert cost.variance <= 2 * eta / (1 - eta) * (1 + 1e-12)


class Normal:
    """The frozen laws of SciPy are slow, one draw at a time."""

    def __init__(self, mean, scale):
        self.mean, self.scale = mean, scale

    def rvs(self, *, random_state):
        return random_state.normal(self.mean, self.scale)

    def logpdf(self, x):
        return -0.5 * ((x - self.mean) / self.scale) ** 2 - math.log(self.scale) - 0.5 * math.log(2 * math.pi)


@pytest.mark.parametrize("eta", [1.0, 0.7])
def test_draws_of_the_rejection_coupling(eta):
    """Five tests for each value of eta, at levels of 1e-7."""
    rng = np.random.default_rng(5)
    p, q = stats.norm(0, 1), stats.norm(1, 1.5)
    distance = 0.5 * integrate.quad(lambda x: abs(p.pdf(x) - q.pdf(x)), -12, 14, limit=200, points=[-2.5, 0.5])[0]
    found = [rejection_coupling(rng, Normal(0, 1), Normal(1, 1.5), eta=eta) for _ in range(20_000)]
    cost = rejection_coupling_cost(distance, eta)
    x, y = np.array([pair.x for pair in found]), np.array([pair.y for pair in found])
    equal, draws = np.array([pair.equal for pair in found]), np.array([pair.extra_draws for pair in found])
    np.testing.assert_array_equal(x == y, equal)
    assert np.all(draws[equal] == 0)
    assert stats.kstest(x, p.cdf).pvalue > 1e-7
    assert stats.kstest(y, q.cdf).pvalue > 1e-7
    assert stats.binomtest(int(equal.sum()), equal.size, cost.agreement).pvalue > 1e-7
    # The number of draws beyond the first, given that the pair is apart, is geometric.
    apart = draws[~equal]
    assert stats.binomtest(apart.size, int(apart.sum()), 1 - cost.agreement).pvalue > 1e-7
    # Where the pair is equal it has the density of the overlap.
    overlap = integrate.quad(lambda x: min(p.pdf(x), q.pdf(x)), 1, 12)[0]
    assert stats.binomtest(int(equal[x > 1].sum()), equal.size, eta * overlap).pvalue > 1e-7


class Uniform:
    """A law on an interval, with densities that are zero elsewhere."""

    def __init__(self, low, high, scale=1.0):
        self.low, self.high, self.scale = low, high, scale

    def rvs(self, *, random_state):
        return random_state.uniform(self.low, self.high)

    def logpdf(self, x):
        return -math.log((self.high - self.low) * self.scale) if self.low <= x <= self.high else -math.inf


def test_rejection_on_intervals():
    rng = np.random.default_rng(2)
    pairs = [rejection_coupling(rng, Uniform(0, 2), Uniform(1, 3)) for _ in range(300)]
    # Equal if and only if in the overlap; otherwise each in its own part.
    assert all(pair.equal == (pair.x > 1) for pair in pairs)
    assert all(pair.equal or pair.y > 2 for pair in pairs)
    disjoint = rejection_coupling(rng, Uniform(0, 1), Uniform(2, 3))
    assert (disjoint.equal, disjoint.extra_draws) == (False, 1)
    same = [rejection_coupling(rng, Uniform(0, 1), Uniform(0, 1)) for _ in range(50)]
    assert all(pair.equal for pair in same)
    vector = rejection_coupling(rng, stats.multivariate_normal([0, 0]), stats.multivariate_normal([9, 9]))
    assert vector.x.shape == vector.y.shape == (2,)


def test_rejection_never_gives_up_silently():
    # The second law claims a tiny density: draws of it are then always rejected.
    with pytest.raises(RuntimeError, match="20 draws"):
        rejection_coupling(np.random.default_rng(0), Uniform(0, 1), Uniform(0, 1, 1e9), max_draws=20)


class Misplaced(Uniform):
    """Draws where its own density is zero."""

    def rvs(self, *, random_state):
        return self.high + 1


def test_rejection_checks_densities():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="that of its own draw"):
        rejection_coupling(rng, Misplaced(0, 1), Uniform(0, 1))
    with pytest.raises(ValueError, match="that of its own draw"):
        rejection_coupling(rng, Uniform(0, 1), Misplaced(1.5, 2))


def test_golden_gaussians():
    assert gaussian_total_variation([0.0], [1.0], [[1.0]]) == pytest.approx(0.3829249225, abs=6e-11)
    L = np.array([[2.0, 0.0], [0.6, 0.5]])
    z = np.linalg.solve(L, [1.0, -0.4])
    value = gaussian_total_variation([1.0, 0.0], [0.0, 0.4], L)
    assert value == pytest.approx(2 * stats.norm.cdf(np.linalg.norm(z) / 2) - 1, rel=1e-12)


def test_reflection_maximal_coupling():
    """Seven tests at levels of 1e-7."""
    rng = np.random.default_rng(8)
    L, m, n = np.array([[1.0, 0.0], [0.6, 0.8]]), np.array([1.0, -1.0]), np.array([0.2, 0.3])
    x, y, equal = reflection_maximal_coupling(rng, m, n, L, 40_000)
    assert x.shape == y.shape == (40_000, 2)
    np.testing.assert_array_equal(np.all(x == y, axis=1), equal)
    agree = 1 - gaussian_total_variation(m, n, L)
    assert stats.binomtest(int(equal.sum()), equal.size, agree).pvalue > 1e-7
    for draws, mean in ((x, m), (y, n)):
        noise = np.linalg.solve(L, (draws - mean).T)
        for direction in ([1, 0], [0.6, -0.8]):
            assert stats.kstest(direction @ noise, "norm").pvalue > 1e-7
        assert stats.kstest(np.sum(noise**2, axis=0), stats.chi2(2).cdf).pvalue > 1e-7
    # Apart, the noises are mirror images in the direction of z.
    z = np.linalg.solve(L, m - n)
    e = z / np.linalg.norm(z)
    one, two = np.linalg.solve(L, (x - m)[~equal].T), np.linalg.solve(L, (y - n)[~equal].T)
    np.testing.assert_allclose(two, one - 2 * np.outer(e, e @ one), atol=1e-12)
    same = reflection_maximal_coupling(rng, m, m, L, 10)
    assert same[2].all()


def test_path_coupling_on_a_line():
    chain = FiniteChain(R5)
    metric = graph_metric(chain)
    joint = np.stack([np.stack([monotone_coupling(R5[x], R5[y]) for y in range(5)]) for x in range(5)])
    # The monotone coupling is the best one on a line.
    assert path_contraction(joint, metric) == pytest.approx(ricci_curvature(chain), abs=1e-12) == pytest.approx(0.25)
    bound = path_coupling_bound(0.25, 4)
    assert bound == math.ceil(4 * math.log(16)) == 12
    assert mixing_time(chain) <= bound
    assert path_contraction(maximal_coupling(R5[:, None], R5[None]), metric) <= 0.25 + 1e-12
    # From neighbours to all pairs: composing along the path is enough.
    distance = np.einsum("xyij,ij->xy", joint, metric)
    assert np.all(distance <= 0.75 * metric + 1e-12)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_path_coupling_bounds_mixing(seed, size):
    rng = np.random.default_rng(seed)
    P = 0.5 / size + 0.5 * rng.dirichlet(np.ones(size), size)
    chain = FiniteChain(P)
    line = np.abs(np.arange(size)[:, None] - np.arange(size)).astype(float)
    complete = 1 - np.eye(size)
    maximal = maximal_coupling(P[:, None], P[None])
    k = path_contraction(maximal, complete)
    # In the discrete metric a maximal coupling is the best one, and the contraction Dobrushin's coefficient.
    assert k == pytest.approx(ricci_curvature(chain, complete), abs=1e-12)
    assert path_contraction(maximal, line) <= ricci_curvature(chain, line) + 1e-12
    for eps in (0.25, 0.01):
        assert mixing_time(chain, eps) <= path_coupling_bound(k, 1, eps)


def test_arrays_of_jax():
    joint = maximal_coupling(jnp.asarray([0.1, 0.9], jnp.float32), jnp.asarray([0.3, 0.7], jnp.float32))
    np.testing.assert_allclose(joint, [[0.1, 0.0], [0.2, 0.7]], atol=1e-7)
    assert joint.sum() == pytest.approx(1, abs=1e-15)


EYE = np.eye(2)
LINE = np.array([[0.0, 1, 2], [1, 0, 1], [2, 1, 0]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda rng: maximal_coupling([0.5, 0.5], [1.0]), "one space"),
        (lambda rng: maximal_coupling(np.full((2, 2), 0.5), np.full((3, 2), 0.5)), "one space"),
        (lambda rng: maximal_coupling([0.5, 0.6], [0.5, 0.5]), "p sums to 1.1"),
        (lambda rng: maximal_coupling([0.5, 0.5], [1.5, -0.5]), "q has an entry"),
        (lambda rng: monotone_coupling([[1.0]], [1.0]), "shapes"),
        (lambda rng: monotone_coupling([math.nan], [1.0]), "not finite"),
        (lambda rng: draw_maximal_coupling(rng, [0.5, 0.5], [0.5, 0.5], -1), "size"),
        (lambda rng: draw_maximal_coupling(rng, EYE, EYE, 3), "two laws"),
        (lambda rng: rejection_coupling(rng, stats.norm(), stats.norm(), eta=0.0), "eta"),
        (lambda rng: rejection_coupling(rng, stats.norm(), stats.norm(), max_draws=0), "max_draws"),
        (lambda rng: rejection_coupling_cost(1.5), "distance"),
        (lambda rng: rejection_coupling_cost(0.5, 0.0), "eta"),
        (lambda rng: reflection_maximal_coupling(rng, [0.0], [1.0], EYE, 3), "shape"),
        (lambda rng: reflection_maximal_coupling(rng, [0.0, 0], [1.0, 0], EYE, -3), "size"),
        (lambda rng: gaussian_total_variation([0.0, 0], [1.0, 0], [[1.0, 0.5], [0.5, 1.0]]), "lower triangular"),
        (lambda rng: gaussian_total_variation([0.0, 0], [1.0, 0], [[1.0, 0], [0.5, 0]]), "invertible"),
        (lambda rng: gaussian_total_variation([0.0, math.inf], [1.0, 0], EYE), "not finite"),
        (lambda rng: path_coupling_bound(0.0, 4), "contraction"),
        (lambda rng: path_coupling_bound(0.5, math.inf), "diameter"),
        (lambda rng: path_coupling_bound(0.5, 4, 1.0), "eps"),
        (lambda rng: path_contraction(np.ones((3, 3)), LINE), "shape"),
        (lambda rng: path_contraction(np.ones((3, 3, 3, 3)), LINE), "sums to 9"),
        (lambda rng: path_contraction(np.ones((3, 3, 3, 3)), LINE / 2), "connected graph"),
        (lambda rng: path_contraction(np.ones((3, 3, 3, 3)), np.minimum(LINE, 1.5)), "connected graph"),
        (lambda rng: path_contraction(np.ones((1, 1, 1, 1)), [[0.0]]), "n >= 2"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.random.default_rng(0))
