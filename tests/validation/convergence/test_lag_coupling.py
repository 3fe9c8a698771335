"""L-lag couplings: bounds and unbiased estimates, exact on finite chains."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from ergodica.theory.couplings import maximal_coupling
from ergodica.validation.convergence.lag_coupling import (
    exact_total_variation_bound,
    exact_unbiased_mean,
    lag_coupled_runs,
    total_variation_bound,
)
from ergodica.validation.convergence.maximal_coupling import (
    coupled_matrix,
    reflection_maximal_normal,
)

R5 = np.array(
    [
        [0.5, 0.5, 0, 0, 0],
        [0.25, 0.25, 0.5, 0, 0],
        [0, 0.25, 0.5, 0.25, 0],
        [0, 0, 0.5, 0.25, 0.25],
        [0, 0, 0, 0.5, 0.5],
    ]
)
PI5 = np.array([0.1, 0.2, 0.4, 0.2, 0.1])
START = np.eye(5)[0]
STEPS = [0, 5, 10, 20, 30]


def ring6():
    pi = np.array([0.05, 0.20, 0.10, 0.30, 0.15, 0.20])
    P = np.zeros((6, 6))
    for i in range(6):
        for j in ((i + 1) % 6, (i - 1) % 6):
            P[i, j] = 0.5 * min(1, pi[j] / pi[i])
        P[i, i] = 1 - P[i].sum()
    return P, pi


def test_golden_bounds():
    one = [1.23076923, 0.19561298, 0.04620881, 0.00260202, 0.00014653]
    twenty = [0.90154463, 0.19536445, 0.04620802, 0.00260202, 0.00014653]
    np.testing.assert_allclose(exact_total_variation_bound(R5, START, STEPS, lag=1), one, atol=6e-9)
    np.testing.assert_allclose(exact_total_variation_bound(R5, START, STEPS, lag=20), twenty, atol=6e-9)
    truth = [0.5 * np.abs(START @ np.linalg.matrix_power(R5, t) - PI5).sum() for t in STEPS]
    np.testing.assert_allclose(truth, [0.9, 0.16875, 0.03786774, 0.00211446, 0.00011906], atol=6e-9)


def test_golden_bounds_ring():
    P, pi = ring6()
    golden = {
        1: [3.916618, 2.416618, 1.634182, 1.101165, 0.740735, 0.497930],
        5: [1.338188, 0.742221, 0.490890, 0.327373, 0.219270, 0.147135],
        20: [0.963494, 0.513058, 0.334906, 0.221981, 0.148301, 0.099410],
    }
    steps = [0, 2, 4, 6, 8, 10]
    truth = [0.5 * np.abs(np.eye(6)[0] @ np.linalg.matrix_power(P, t) - pi).sum() for t in steps]
    for lag, bound in golden.items():
        value = exact_total_variation_bound(P, np.eye(6)[0], steps, lag=lag)
        np.testing.assert_allclose(value, bound, atol=6e-7)
        assert np.all(value >= truth)
    for burn_in, lag in ((0, 1), (3, 1), (2, 3), (0, 7)):
        mean = exact_unbiased_mean(P, np.eye(6)[0], np.arange(6), burn_in=burn_in, lag=lag)
        assert mean == pytest.approx(2.9, rel=1e-11)


def test_golden_unbiased_means():
    for burn_in in (0, 3):
        assert exact_unbiased_mean(R5, START, np.arange(5), burn_in=burn_in, lag=1) == pytest.approx(2.0, rel=1e-11)


def test_coupling_is_faithful_and_has_the_right_margins():
    coupled = coupled_matrix(R5)
    np.testing.assert_allclose(coupled.sum(axis=3), np.broadcast_to(R5[:, None], (5, 5, 5)), atol=1e-15)
    np.testing.assert_allclose(coupled.sum(axis=2), np.broadcast_to(R5[None], (5, 5, 5)), atol=1e-15)
    for x in range(5):
        np.testing.assert_allclose(coupled[x, x], np.diag(R5[x]), atol=1e-15)
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.3, 0.6])
    assert np.trace(maximal_coupling(p, q)) == pytest.approx(1 - 0.5 * np.abs(p - q).sum())


def finite_chain(P):
    n = len(P)
    joint = jnp.log(jnp.asarray(coupled_matrix(P).reshape(n * n, n * n)))
    rows = jnp.log(jnp.asarray(P))

    def step(key, x):
        return jax.random.categorical(key, rows[x])

    def coupled_step(key, x, y):
        pair = jax.random.categorical(key, joint[n * x + y])
        return pair // n, pair % n

    return lambda key: jnp.asarray(0), step, coupled_step


@pytest.mark.parametrize(("lag", "burn_in", "length"), [pytest.param(1, 0, 1, marks=pytest.mark.slow), (3, 2, 8)])
def test_simulation_meets_the_exact_numbers(lag, burn_in, length):
    """Bounds and means within 5.5 standard errors: normal tail 4e-8 each."""
    runs = lag_coupled_runs(
        *finite_chain(R5),
        key=jax.random.key(0),
        lag=lag,
        replicates=4000,
        function=lambda x: 1.0 * x,
        burn_in=burn_in,
        length=length,
    )
    assert runs.met.all()
    bound = total_variation_bound(runs.meeting_times, [0, 3, 5], lag=lag, met=runs.met)
    exact = exact_total_variation_bound(R5, START, [0, 3, 5], lag=lag)
    assert np.all(np.abs(bound.value - exact) < 5.5 * bound.standard_error)
    error = runs.estimates.std(ddof=1) / np.sqrt(4000)
    assert abs(runs.estimates.mean() - 2.0) < 5.5 * error
    assert error < 0.1


@pytest.mark.slow
def test_reflection_coupling():
    """Meets with probability 2 Phi(-|z|/2), and has the right margins; tolerances are 5.5 standard errors."""
    n = 20000
    mean_x, mean_y = jnp.array([0.3, 0.0]), jnp.array([0.3, 1.0])
    factor = jnp.array([[2.0, 0.0], [0.5, 1.0]])
    draw = jax.jit(jax.vmap(lambda key: reflection_maximal_normal(key, mean_x, mean_y, factor)))
    x, y = (np.asarray(z) for z in draw(jax.random.split(jax.random.key(1), n)))
    met = np.all(x == y, axis=1).mean()
    assert met == pytest.approx(0.6170750775, abs=5.5 * np.sqrt(0.236 / n))
    for sample, mean in ((x, mean_x), (y, mean_y)):
        white = np.linalg.solve(np.asarray(factor), (sample - np.asarray(mean)).T)
        assert np.abs(white.mean(axis=1)).max() < 5.5 / np.sqrt(n)
        np.testing.assert_allclose(np.cov(white), np.eye(2), atol=5.5 * np.sqrt(2 / n))
        assert scipy.stats.kstest(white[1], "norm").pvalue > 1e-7
    same = reflection_maximal_normal(jax.random.key(0), mean_x, mean_x, factor)
    np.testing.assert_array_equal(*same)


@pytest.mark.slow
def test_continuous_chain():
    """Coupled normal random walk Metropolis: once met, together; the mean of the target is met without bias."""

    def logdensity(x):
        return -0.5 * jnp.sum(x**2)

    def step(key, x):
        move, coin = jax.random.split(key)
        proposal = x + jax.random.normal(move, x.shape)
        return jnp.where(jnp.log(jax.random.uniform(coin)) < logdensity(proposal) - logdensity(x), proposal, x)

    def coupled_step(key, x, y):
        move, coin = jax.random.split(key)
        to_x, to_y = reflection_maximal_normal(move, x, y, jnp.eye(1))
        u = jnp.log(jax.random.uniform(coin))
        return (
            jnp.where(u < logdensity(to_x) - logdensity(x), to_x, x),
            jnp.where(u < logdensity(to_y) - logdensity(y), to_y, y),
        )

    runs = lag_coupled_runs(
        lambda key: 4 + jax.random.normal(key, (1,)),
        step,
        coupled_step,
        key=jax.random.key(2),
        lag=5,
        replicates=2000,
        function=lambda x: x[0] ** 2,
        burn_in=10,
        length=20,
    )
    assert runs.met.all()
    error = runs.estimates.std(ddof=1) / np.sqrt(2000)
    assert abs(runs.estimates.mean() - 1) < 5.5 * error
    bound = total_variation_bound(runs.meeting_times, [0, 5, 15, 200], lag=5)
    assert bound.value[0] > bound.value[1] > bound.value[2] > -1e-12
    assert bound.value[-1] < 0.05


def test_pairs_that_have_not_met():
    def stay(key, x, y):
        return x, y

    runs = lag_coupled_runs(
        lambda key: jax.random.normal(key),
        lambda key, x: x,
        stay,
        key=jax.random.key(0),
        lag=2,
        replicates=5,
        max_steps=20,
        function=lambda x: x,
    )
    assert not runs.met.any()
    np.testing.assert_array_equal(runs.meeting_times, 20)
    assert np.isnan(runs.estimates).all()
    bound = total_variation_bound(runs.meeting_times, [0, 100], lag=2, met=runs.met)
    assert np.isinf(bound.value).all()
    assert bound.unmet == 5


def test_bound_by_hand():
    bound = total_variation_bound([3, 4, 10], [0, 2, 9], lag=2)
    # ceil((tau - 2 - t) / 2) = (1, 1, 4), (0, 0, 3), (0, 0, 0)
    np.testing.assert_allclose(bound.value, [2.0, 1.0, 0.0])
    assert bound.standard_error[0] == pytest.approx(1.0)
    assert np.isnan(total_variation_bound([3], [0], lag=1).standard_error[0])


def test_bad_input():
    initial, step, coupled_step = finite_chain(R5)
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="lag"):
        lag_coupled_runs(initial, step, coupled_step, key=key, lag=0)
    with pytest.raises(ValueError, match="max_steps"):
        lag_coupled_runs(initial, step, coupled_step, key=key, lag=10, max_steps=10)
    with pytest.raises(TypeError, match="pair of states"):
        lag_coupled_runs(initial, step, lambda k, x, y: x, key=key, lag=1)
    with pytest.raises(TypeError, match="step has to return"):
        lag_coupled_runs(initial, lambda k, x: x * 1.0, coupled_step, key=key, lag=1)
    with pytest.raises(TypeError, match="typed key"):
        lag_coupled_runs(initial, step, coupled_step, key=0, lag=1)
    for times, message in (([], "non-empty"), ([1.0], "integers"), ([0, 5], "at least the lag")):
        with pytest.raises(ValueError, match=message):
            total_variation_bound(times, [0], lag=1)
    with pytest.raises(ValueError, match="steps has to hold"):
        total_variation_bound([3], [-1], lag=1)
    with pytest.raises(ValueError, match="met has to have shape"):
        total_variation_bound([3, 4], [0], lag=1, met=[True])
    with pytest.raises(ValueError, match="never meet"):
        exact_total_variation_bound(np.eye(2), [1, 0], [0], lag=1)
    with pytest.raises(ValueError, match="never meet"):
        exact_total_variation_bound(np.eye(2)[::-1], [1, 0], [0], lag=1)
    with pytest.raises(ValueError, match="sum to one"):
        coupled_matrix([[0.5, 0.4], [0.5, 0.5]])
    with pytest.raises(ValueError, match="square"):
        coupled_matrix([[0.5, 0.5]])
    with pytest.raises(ValueError, match="start has to be a law"):
        exact_total_variation_bound(R5, [1, 0], [0], lag=1)
    with pytest.raises(ValueError, match="f has to hold"):
        exact_unbiased_mean(R5, START, [1, 2], burn_in=0, lag=1)


@pytest.mark.parametrize(("lag", "burn_in", "length"), [(1, 0, 1), (1, 2, 5), (3, 1, 4), (2, 0, 9), (4, 3, 15)])
def test_estimate_is_the_average_over_burn_ins(lag, burn_in, length):
    """On chains without randomness that meet at time 12, against the definition for each burn-in."""
    runs = lag_coupled_runs(
        lambda key: jnp.asarray(0),
        lambda key, x: x + 1,
        lambda key, x, y: (x + 1, jnp.where(x + 1 >= 12, x + 1, y + 1)),
        key=jax.random.key(0),
        lag=lag,
        replicates=1,
        max_steps=100,
        function=lambda x: 1.0 * x**2,
        burn_in=burn_in,
        length=length,
    )
    assert runs.meeting_times[0] == 12
    single = [
        k**2 + sum(t**2 - (t - lag) ** 2 for t in range(k + lag, 12, lag)) for k in range(burn_in, burn_in + length)
    ]
    assert runs.estimates[0] == pytest.approx(np.mean(single), rel=1e-12)
