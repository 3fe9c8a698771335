"""Targets: golden moments, normalisation by quadrature, exact draws, laws of the marginals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from ergodica.validation.pearson import uniformity_pvalue
from ergodica.validation.stationary_start import binomial_pvalue, kolmogorov_pvalue
from ergodica.validation.targets import continuous, finite, model
from ergodica.validation.targets.target import Target

CONTINUOUS = {
    "normal1": continuous.standard_normal,
    "normal3": lambda: continuous.standard_normal(3),
    "correlated": continuous.correlated_normal,
    "agents4": continuous.agents4,
    "banana3": continuous.banana3,
    "bimodal1": continuous.bimodal1,
    "smooth1": continuous.smooth1,
    "funnel": continuous.funnel,
    "exponential1": continuous.exponential1,
    "student1": lambda: continuous.student(1),
    "student2": continuous.student,
}
FINITE = {
    "ring4": finite.ring4,
    "ring6": finite.ring6,
    "slice6": finite.slice6,
    "graph5": finite.graph5,
    "spin3": finite.spin3,
    "ar2x3": finite.ar2x3,
}


def _density(target: Target):
    compiled = jax.jit(jax.vmap(target.logdensity))
    return lambda x: np.exp(np.asarray(compiled(jnp.asarray(x).reshape(-1, target.dim))) - target.log_normalizer)


@pytest.mark.parametrize("name", ["normal1", "agents4", "bimodal1", "smooth1", "exponential1", "student1"])
def test_one_dimensional_quadrature(name):
    target = CONTINUOUS[name]()
    density = _density(target)
    reach = 4000.0 if name == "student1" else 40.0
    edges = np.concatenate([-np.geomspace(reach, 1e-3, 60), [0.0], np.geomspace(1e-3, reach, 60)])
    nodes, weights = np.polynomial.legendre.leggauss(40)
    half = np.diff(edges) / 2
    x = ((edges[:-1] + half)[:, None] + half[:, None] * nodes).reshape(-1)
    w = (half[:, None] * weights).reshape(-1) * density(x)
    heavy = name == "student1"
    assert w.sum() == pytest.approx(1, rel=1e-9)
    assert w @ x == pytest.approx(target.mean[0], abs=1e-9)
    assert w @ (x - target.mean[0]) ** 2 == pytest.approx(target.variance[0], rel=2e-3 if heavy else 1e-9)
    marginal = target.marginals[0]
    below = np.array([w[x <= edge].sum() for edge in edges[1:-1]])
    values = np.asarray(jax.vmap(marginal.function)(jnp.asarray(edges[1:-1, None])))
    assert marginal.cdf(values) == pytest.approx(below, abs=1e-9)


def test_two_dimensional_quadrature():
    for target in (continuous.correlated_normal(2), continuous.student(2, 5.0)):
        density = _density(target)
        heavy = target.name.startswith("student")
        u, v = np.polynomial.legendre.leggauss(300)
        x, w = (np.sinh(7 * u), v * 7 * np.cosh(7 * u)) if heavy else (10 * u, 10 * v)
        grid = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1).reshape(-1, 2)
        mass = np.outer(w, w).reshape(-1) * density(grid)
        assert mass.sum() == pytest.approx(1, rel=1e-6)
        for i in range(2):
            assert mass @ grid[:, i] == pytest.approx(target.mean[i], abs=1e-8)
            assert mass @ (grid[:, i] - target.mean[i]) ** 2 == pytest.approx(target.variance[i], rel=1e-4)


def test_banana_and_funnel_conditionals_are_normalised():
    banana, funnel = _density(continuous.banana3()), _density(continuous.funnel(2))
    for first in (-1.3, 0.4, 2.0):
        slab = integrate.quad(lambda b, first=first: float(banana([first, b, 0.0])[0]), -12, 16, points=[first**2])[0]
        # N(first; 0, 1) times N(0; 0, 1): the second coordinate integrates out.
        assert slab == pytest.approx(np.exp(-(first**2) / 2) / (2 * np.pi), rel=1e-8)
        width = 12 * np.exp(first / 2)
        slab = integrate.quad(lambda b, first=first: float(funnel([first, b])[0]), -width, width)[0]
        assert slab == pytest.approx(np.exp(-(first**2) / 18) / (3 * np.sqrt(2 * np.pi)), rel=1e-8)


def test_golden_moments():
    agents = continuous.agents4()
    assert (agents.mean[0], agents.variance[0]) == pytest.approx((0.3, 0.2))
    banana = continuous.banana3()
    assert banana.mean.tolist() == [0, 1, 0]
    assert banana.variance.tolist() == [1, 3, 1]
    bimodal = continuous.bimodal1()
    assert bimodal.mean[0] == pytest.approx(0.5)
    assert bimodal.variance[0] + 0.25 == pytest.approx(6.275)
    assert bimodal.marginals[0].cdf(np.array([-0.9]))[0] == pytest.approx(0.3013020656, rel=1e-9)
    # As the fixture is written: 0.3 exp(-(x+3)^2 / 0.5) + 0.35 exp(-(x-2)^2 / 2), up to a constant.
    x = np.linspace(-5, 5, 9)
    raw = np.log(0.3 * np.exp(-((x + 3) ** 2) / 0.5) + 0.35 * np.exp(-((x - 2) ** 2) / 2))
    shift = np.asarray(jax.vmap(bimodal.logdensity)(jnp.asarray(x)[:, None])) - raw
    assert np.ptp(shift) < 1e-12
    funnel = continuous.funnel()
    assert funnel.dim == 10
    quantile = 9.2706969  # the 0.999 quantile of x1; the first marginal sees x1 / 3
    assert funnel.marginals[0].cdf(np.array([quantile / 3]))[0] == pytest.approx(0.999, rel=1e-7)
    smooth = continuous.smooth1()
    assert (smooth.mean[0], smooth.variance[0]) == pytest.approx((0, 4.25))


@pytest.mark.parametrize("name", CONTINUOUS)
def test_exact_draws_have_the_laws_of_the_marginals(name, getkey):
    # At most 2 * 5 p-values a target, 11 targets, each compared with 5e-9: false alarm < 1e-6.
    target = CONTINUOUS[name]()
    draws = target.sample(getkey(), 4000)
    assert draws.shape == (4000, target.dim)
    assert np.all(np.isfinite(jax.vmap(target.logdensity)(draws)))
    for marginal in target.marginals:
        u = np.clip(marginal.cdf(np.asarray(jax.vmap(marginal.function)(draws))), 0, 1)
        assert kolmogorov_pvalue(u) > 5e-9, marginal.name
        assert uniformity_pvalue(np.bincount(np.minimum((20 * u).astype(int), 19), minlength=20)) > 5e-9, marginal.name


def test_wrong_draws_are_noticed(getkey):
    target = continuous.banana3()
    wrong = target.sample(getkey(), 4000) * jnp.array([1.0, 1.1, 1.0])
    values = jax.vmap(target.marginals[1].function)(wrong)
    assert kolmogorov_pvalue(target.marginals[1].cdf(np.asarray(values))) < 1e-6


@pytest.mark.parametrize("name", FINITE)
def test_finite_targets(name, getkey):
    target = FINITE[name]()
    logs = np.asarray(jax.vmap(target.logdensity)(jnp.asarray(target.states)))
    weights = np.exp(logs - logs.max())
    assert weights / weights.sum() == pytest.approx(target.probabilities, rel=1e-12)
    assert target.probabilities.sum() == pytest.approx(1, rel=1e-12)
    index = np.asarray(target.index(target.sample(getkey(), 4000)))
    # At most 8 binomials a target, 6 targets, each compared with 2e-8: false alarm < 1e-6.
    for count, probability in zip(np.bincount(index, minlength=len(weights)), target.probabilities, strict=True):
        assert binomial_pvalue(int(count), 4000, float(probability)) > 2e-8
    outside = jnp.asarray(target.states)[:1] + 99
    assert int(target.index(outside)[0]) == -1


def test_golden_finite():
    golden = [
        0.2750094539,
        0.0678164964,
        0.007514282,
        0.045458757,
        0.1011703242,
        0.0249482948,
        0.0678164964,
        0.4102658954,
    ]
    assert finite.spin3().probabilities == pytest.approx(golden, rel=1e-8)
    assert finite.spin3().states[0].tolist() == [-1, -1, -1]
    assert finite.ring4().probabilities == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert finite.ring6().probabilities @ np.arange(6) == pytest.approx(2.9)
    assert finite.slice6().probabilities * 13 == pytest.approx([1, 3, 2, 1, 4, 2])
    assert finite.ar2x3().probabilities[:2] == pytest.approx([0.6 * 0.49, 0.6 * 0.21])
    matrix = finite.graph5_matrix()
    rows = [
        [0, 1 / 2, 1 / 2, 0, 0],
        [1 / 3, 2 / 9, 4 / 9, 0, 0],
        [1 / 4, 1 / 3, 1 / 12, 1 / 3, 0],
        [0, 0, 4 / 15, 7 / 30, 1 / 2],
        [0, 0, 0, 5 / 12, 7 / 12],
    ]
    assert matrix == pytest.approx(np.array(rows), abs=1e-12)
    values = np.sort(np.linalg.eigvals(matrix).real)[::-1]
    assert values == pytest.approx([1, 0.80977263, 0.03522782, -0.30245460, -0.42032363], abs=1e-8)


def test_off_table_positions_have_probability_zero():
    logdensity = finite.ring4().logdensity
    assert np.isneginf(logdensity(jnp.asarray(4)))
    assert np.isneginf(logdensity(jnp.asarray(-1)))


@pytest.mark.parametrize("make", [model.normal_model, model.square_model, model.heavy_tail_model])
def test_models_are_consistent(make, getkey):
    built = make(2)
    theta = built.sample_prior(getkey())
    y = built.sample_data(getkey(), theta)
    assert theta.shape == (2,)
    assert built.logposterior(y)(theta) == pytest.approx(float(built.logjoint(theta, y)))
    assert len(jax.tree.leaves(built.logposterior(y))) == 1  # the data are leaves

    def gain(key):
        # E exp(logjoint(theta + h, y) - logjoint(theta, y)) = 1 if simulator and density are of one law; h is small, so
        # that the ratio has a second moment near one.
        prior_key, data_key = jax.random.split(key)
        theta = built.sample_prior(prior_key)
        y = built.sample_data(data_key, theta)
        return jnp.exp(built.logjoint(theta + 0.1, y) - built.logjoint(theta, y))

    gains = np.asarray(jax.jit(jax.vmap(gain))(jax.random.split(getkey(), 20000)))
    # Six standard errors of a nearly normal mean: false alarm below 1e-8.
    assert abs(gains.mean() - 1) < 6 * gains.std() / np.sqrt(gains.size)
    assert gains.std() > 0.01


@pytest.mark.slow
def test_posterior_of_the_normal_model():
    y = np.array([[0.4, 1.0], [1.3, -2.0], [0.2, 0.5]])
    mean, variance = model.posterior_of_normal_model(y)
    posterior = model.normal_model(2).logposterior(jnp.asarray(y))
    assert np.asarray(jax.grad(posterior)(jnp.asarray(mean))) == pytest.approx([0, 0], abs=1e-12)
    assert -np.asarray(jax.hessian(posterior)(jnp.asarray(mean))) == pytest.approx(np.eye(2) / variance)


def test_bad_input():
    with pytest.raises(ValueError, match="above 2"):
        continuous.student(2, 2.0)
    with pytest.raises(ValueError, match="at least 2"):
        continuous.funnel(1)
    with pytest.raises(ValueError, match="at least 1"):
        model.normal_model(0)
    with pytest.raises(ValueError, match="positive"):
        model.heavy_tail_model(1, 0.0)
