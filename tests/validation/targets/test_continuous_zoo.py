"""Continuous targets: goldens, moments by quadrature, dtypes, quantiles, and exact draws against exact laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from ergodica.validation.pearson import uniformity_pvalue
from ergodica.validation.stationary_start import kolmogorov_pvalue
from ergodica.validation.targets import banana, donut, gaussians, many_well, mixtures, student_t
from ergodica.validation.targets.funnel import funnel
from ergodica.validation.targets.quadrature import IntervalLaw
from ergodica.validation.targets.rejection import rejection_draws
from ergodica.validation.targets.target import Marginal

WHITENED = {
    "ill": lambda: gaussians.ill_conditioned_normal(5),
    "walk": lambda: gaussians.random_walk_normal(4),
    "equicorrelated": lambda: gaussians.equicorrelated_normal(4),
    "twisted": lambda: banana.twisted_normal(3),
    "rosenbrock": lambda: banana.hybrid_rosenbrock(2, 2),
    "rosenbrock3": lambda: banana.hybrid_rosenbrock(1, 3, 2.0),
    "funnel": lambda: funnel(4, 1.0),
}
PLANE = {  # target, half width of the box, points along an axis: the trapezoidal rule converges geometrically
    "funnel": (lambda: funnel(2, 0.4), 16.0, 1001),
    "twisted": (lambda: banana.twisted_normal(2, 0.2, 1.5), 20.0, 801),
    "donut": (donut.donut, 8.0, 401),
    "rings": (donut.rings, 7.5, 1001),
    "moons": (donut.two_moons, 4.0, 401),
    "grid": (mixtures.grid_mixture, 10.0, 401),
    "circle": (mixtures.circle_mixture, 17.0, 401),
    "unequal": (mixtures.unequal_mixture, 20.0, 601),
    "crossing": (mixtures.crossing_mixture, 10.0, 601),
    "golden": (lambda: mixtures.golden_ratio_mixture(7, 2, 9.0), 17.0, 401),
    "many-well": (lambda: many_well.many_well(2), 9.0, 601),
    "double wells": (lambda: many_well.double_wells(2, 1, 2.0), 8.0, 501),
}
ONLY_DRAWS = {
    "cauchy": lambda: student_t.cauchy(2),
    "student mixture": student_t.student_mixture,
    "asymmetric": mixtures.asymmetric_mixture,
    "many-well 4": lambda: many_well.many_well(4),
    "double wells 3": lambda: many_well.double_wells(3, 2, 3.0),
}
ALL = {f"{k}, whitened": v for k, v in WHITENED.items()} | {f"{k}, plane": v[0] for k, v in PLANE.items()} | ONLY_DRAWS


SLOW_PLANES = ("funnel", "crossing", "circle", "golden", "double wells")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW_PLANES else n for n in PLANE])
def test_quadrature_in_the_plane(name):
    make, reach, count = PLANE[name]
    target = make()
    axis, step = np.linspace(-reach, reach, count, retstep=True)
    grid = np.stack(np.meshgrid(axis, axis + step / 3, indexing="ij"), axis=-1).reshape(-1, 2)
    logs = np.asarray(jax.jit(jax.vmap(target.logdensity))(jnp.asarray(grid)))
    mass = np.exp(logs - target.log_normalizer) * step**2
    assert mass.sum() == pytest.approx(1, abs=2e-9)
    mean = mass @ grid
    assert mean == pytest.approx(target.mean, abs=1e-6)
    covariance = (mass[:, None] * (grid - mean)).T @ (grid - mean)
    assert np.diag(covariance) == pytest.approx(target.variance, rel=1e-6)
    if target.covariance is not None:
        assert covariance == pytest.approx(target.covariance, abs=1e-5)
    for known in target.expectations:
        smooth = not any(edge in known.name for edge in ("right", "|"))
        values = np.asarray(jax.jit(jax.vmap(known.function))(jnp.asarray(grid)))
        assert mass @ values == pytest.approx(known.value, abs=1e-6 if smooth else 2e-3), known.name


@pytest.mark.parametrize("name", WHITENED)
def test_density_and_draws_agree_with_the_map_to_the_normal_law(name, getkey):
    target = WHITENED[name]()
    draws = target.sample(getkey(), 2000)
    values = jax.jit(jax.vmap(lambda x: {m.name: m.function(x) for m in target.marginals}))(draws)
    logs = np.asarray(jax.jit(jax.vmap(target.logdensity))(draws)) + 0.5 * np.asarray(values["whitened squared norm"])
    if name == "funnel":  # the only map whose Jacobian is not constant
        logs += 0.5 * (target.dim - 1) * np.asarray(draws)[:, 0]
    assert np.ptp(logs) < 1e-8
    assert logs[0] == pytest.approx(0, abs=1e-8)
    # At most 5 p-values a target, 7 targets, each compared with 1e-8: false alarm < 4e-7.
    for marginal in target.marginals:
        assert kolmogorov_pvalue(marginal.cdf(np.asarray(values[marginal.name]))) > 1e-8, marginal.name


def test_normal_laws():
    ill = gaussians.ill_conditioned_normal(6, 4.0)
    values = np.linalg.eigvalsh(ill.covariance)
    assert values == pytest.approx(np.logspace(-2, 2, 6), rel=1e-9)
    assert ill.log_normalizer == pytest.approx(3 * np.log(2 * np.pi))
    assert np.linalg.eigh(ill.covariance)[1][:, -1] ** 2 == pytest.approx([0.5, 0, 0, 0, 0, 0.5], abs=1e-9)
    walk = gaussians.random_walk_normal(5)
    assert walk.log_normalizer == pytest.approx(2.5 * np.log(2 * np.pi))
    for target in (ill, walk, gaussians.equicorrelated_normal(5, -0.2), gaussians.equicorrelated_normal(3)):
        hessian = np.asarray(jax.jit(jax.hessian(target.logdensity))(jnp.zeros(target.dim)))
        assert np.linalg.inv(-hessian) == pytest.approx(target.covariance, rel=1e-7, abs=1e-9)
        assert target.log_normalizer == pytest.approx(
            0.5 * np.linalg.slogdet(2 * np.pi * target.covariance)[1], abs=1e-9
        )


def test_golden_mixtures():
    asymmetric = mixtures.asymmetric_mixture()
    assert (asymmetric.mean[0], asymmetric.variance[0]) == pytest.approx((1.6, 13.992))
    assert 1 - asymmetric.marginals[0].cdf(np.zeros(1))[0] == pytest.approx(0.7000095, abs=1e-7)
    assert mixtures.grid_mixture().variance == pytest.approx([16.9666667] * 2)
    assert mixtures.grid_mixture(5).variance == pytest.approx([50.3] * 2)
    forty = mixtures.golden_ratio_mixture()
    golden = [[20.390213, 5.587223], [0.780427, -28.825553], [-18.829360, 16.761670], [-24.391468, 23.488931]]
    assert forty.modes[[0, 1, 2, -1]] == pytest.approx(np.array(golden), abs=1e-6)
    assert forty.mean == pytest.approx([-2.000627, 2.538077], abs=1e-6)
    assert forty.variance + forty.mean**2 == pytest.approx([505.781345, 522.280691], abs=1e-6)
    assert forty.logdensity(jnp.zeros(2)) == pytest.approx(-29.24111650, abs=1e-8)
    assert forty.logdensity(jnp.asarray(forty.modes[0])) == pytest.approx(-5.52675652, abs=1e-8)
    gaps = np.linalg.norm(forty.modes[:, None] - forty.modes, axis=-1)[np.triu_indices(40, 1)]
    assert gaps.min() == pytest.approx(8.7289, abs=1e-4)
    crossing = mixtures.crossing_mixture()
    assert crossing.mean == pytest.approx([0.9166667] * 2)
    second = crossing.covariance + np.outer(crossing.mean, crossing.mean)
    assert second == pytest.approx(np.array([[5.2916667, 2.3166667], [2.3166667, 5.2916667]]))


def test_golden_wells_and_moons():
    pair = many_well.many_well(2)
    assert pair.log_normalizer == pytest.approx(10.293479707, abs=1e-8)
    assert many_well.many_well(32).log_normalizer == pytest.approx(164.695675, abs=1e-6)
    assert pair.mean[0] == pytest.approx(1.18796098, abs=1e-8)
    assert pair.variance[0] + pair.mean[0] ** 2 == pytest.approx(2.95980609, abs=1e-8)
    assert pair.mode_weights[1] == pytest.approx(0.84430710, abs=1e-8)
    four = many_well.many_well(4)
    assert four.mode_weights.sum() == pytest.approx(1)
    assert four.modes[3][[0, 2]] == pytest.approx([four.modes[3][0]] * 2)
    assert np.asarray(jax.vmap(jax.grad(four.logdensity))(jnp.asarray(four.modes))) == pytest.approx(0, abs=1e-9)
    golden = {4: (-0.10821110, 3.93410464), 3: (0.04711986, 2.90705934), 2: (0.29300174, 1.83534172)}
    for separation, (log_normalizer, second) in golden.items():
        well = many_well.double_wells(1, 1, float(separation))
        assert (well.log_normalizer, well.variance[0]) == pytest.approx((log_normalizer, second), abs=1e-8)
        # In closed form, by Bessel functions of the order 1/4.
        t = separation**2 / 2
        exact = np.pi / 2 * np.sqrt(separation) * (special.ive(0.25, t) + special.ive(-0.25, t))
        assert well.log_normalizer == pytest.approx(np.log(exact), abs=1e-10)
    assert many_well.double_wells(3, 1).log_normalizer == pytest.approx(-0.10821110 + np.log(np.pi), abs=1e-7)
    moons = donut.two_moons()
    assert moons.log_normalizer == pytest.approx(0.80421445, abs=1e-8)
    assert moons.variance == pytest.approx([3.58828265, 0.69335500], abs=1e-8)
    assert moons.expectations[0].value == pytest.approx(1.88218785, abs=1e-7)


def test_rosenbrock_and_funnel_moments():
    target = banana.hybrid_rosenbrock(2, 2, 0.5, 2.0)  # x1 ~ N(1, 1), noise of variance 1/4
    second = 4 + 2 + 0.25
    assert target.mean[:2] == pytest.approx([1, 2])
    assert target.variance[:2] == pytest.approx([1, second])
    assert target.mean[2] == pytest.approx(second + 4)
    assert target.mean[3:] == pytest.approx(target.mean[1:3])
    x = 1 + np.polynomial.hermite_e.hermegauss(40)[0]
    w = np.polynomial.hermite_e.hermegauss(40)[1] / np.sqrt(2 * np.pi)
    fourth = w @ (x**8 + 6 * x**4 * 0.25 + 3 * 0.25**2)  # of x2 given x1 ~ N(x1^2, 1/4)
    assert target.variance[2] == pytest.approx(fourth + 0.25 - target.mean[2] ** 2)
    assert funnel(10).variance[1] == pytest.approx(90.0171313)
    assert funnel(10, 1.0).variance[1] == pytest.approx(1.6487213)
    assert banana.twisted_normal().variance == pytest.approx([100, 201])


@pytest.mark.parametrize("name", ALL)
def test_both_precisions(name):
    target = ALL[name]()
    for dtype in (jnp.float32, jnp.float64):
        value = jax.eval_shape(target.logdensity, jax.ShapeDtypeStruct((target.dim,), dtype))
        assert (value.shape, value.dtype) == ((), dtype)
    assert target.source


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_single_precision_is_near(name):
    target = ALL[name]()
    x = jnp.linspace(0.3, 1.1, target.dim)
    logdensity = jax.jit(target.logdensity)
    assert logdensity(x.astype(jnp.float32)) == pytest.approx(float(logdensity(x)), rel=1e-3, abs=1e-3)
    assert np.all(np.isfinite(jax.jit(jax.grad(target.logdensity))(x)))


def test_quantiles_invert_the_distribution_function():
    p = np.array([[1e-3, 0.3], [0.5, 0.999]])
    for target in (mixtures.asymmetric_mixture(), many_well.many_well(2), student_t.student_mixture(), donut.donut()):
        marginal = target.marginals[0]
        assert marginal.cdf(marginal.quantile(p).reshape(-1)) == pytest.approx(p.reshape(-1), abs=1e-9)
    assert funnel().marginals[0].quantile(0.999) * 3 == pytest.approx(9.2706969, abs=1e-7)
    assert student_t.cauchy().marginals[0].quantile(0.75) == pytest.approx(1)


def test_interval_law():
    law = IntervalLaw(lambda x: -0.5 * x**2, -12, 12)
    assert law.log_normalizer == pytest.approx(0.5 * np.log(2 * np.pi), abs=1e-13)
    assert law.mean(lambda x: x**4) == pytest.approx(3, rel=1e-12)
    x = np.linspace(-13, 13, 40).reshape(5, 8)
    assert law.cdf(x) == pytest.approx(special.ndtr(x), abs=1e-13)
    with pytest.raises(ValueError, match="low has to be below high"):
        IntervalLaw(lambda x: x, 1, 1)
    with pytest.raises(ValueError, match="finite somewhere"):
        IntervalLaw(lambda x: x * np.nan, 0, 1)


def test_cauchy_normaliser():
    for dim in (1, 2):
        radial = IntervalLaw(  # r = tan(a)
            lambda a, dim=dim: (
                -0.5 * (1 + dim) * np.log1p(np.tan(a) ** 2) + (dim - 1) * np.log(np.tan(a)) - 2 * np.log(np.cos(a))
            ),
            0.0,
            np.pi / 2,
        )
        sphere = 2 if dim == 1 else 2 * np.pi
        assert student_t.cauchy(dim).log_normalizer == pytest.approx(radial.log_normalizer + np.log(sphere), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*PLANE, *ONLY_DRAWS])
def test_exact_draws_have_the_exact_laws(name, getkey):
    # At most 2 * 5 p-values and 4 z-scores of six standard deviations a target, 17 targets; each p-value is compared with
    # 2e-9 and each z-score has a tail of 2e-9: false alarm < 17 * 14 * 2e-9 < 5e-7.
    target = (PLANE[name][0] if name in PLANE else ONLY_DRAWS[name])()
    draws = target.sample(getkey(), 12000 if "well" in name else 4000)
    for marginal in target.marginals:
        if marginal.cdf is not None:
            u = np.clip(marginal.cdf(np.asarray(jax.vmap(marginal.function)(draws))), 0, 1)
            assert kolmogorov_pvalue(u) > 2e-9, marginal.name
            counts = np.bincount(np.minimum((20 * u).astype(int), 19), minlength=20)
            assert uniformity_pvalue(counts) > 2e-9, marginal.name
    for known in target.expectations:
        values = np.asarray(jax.vmap(known.function)(draws))
        assert abs(values.mean() - known.value) < 6 * values.std() / np.sqrt(len(values)), known.name
    if name not in ("cauchy", "student mixture"):
        z = (np.asarray(draws).mean(axis=0) - target.mean) / np.sqrt(target.variance / len(draws))
        assert np.all(np.abs(z) < 6)


def test_rejection_keeps_the_first_accepted_proposal(getkey):
    def propose(key, n):  # acceptance x of a uniform x: the density 2 x
        x = jax.random.uniform(key, (n, 1))
        return x, jnp.log(x[:, 0])

    draws = np.asarray(rejection_draws(getkey(), 4000, propose))[:, 0]
    assert kolmogorov_pvalue(draws**2) > 1e-7  # the false-alarm probability
    assert kolmogorov_pvalue(draws) < 1e-7


def test_bad_input():
    cases = [
        (lambda: gaussians.ill_conditioned_normal(1), "at least 2"),
        (lambda: gaussians.ill_conditioned_normal(3, 13), "between 0 and 12"),
        (lambda: gaussians.equicorrelated_normal(3, -0.5), "strictly between"),
        (lambda: banana.twisted_normal(2, np.nan), "bend has to be finite"),
        (lambda: banana.hybrid_rosenbrock(1, 4), "at most 3"),
        (lambda: banana.hybrid_rosenbrock(1, 1, 0.0), "positive"),
        (lambda: donut.donut(-1.0), "positive"),
        (lambda: donut.rings((1.0,), 0.2), "an eighth"),
        (lambda: donut.rings(()), "at least one"),
        (lambda: funnel(3, 0.0), "scale has to be positive"),
        (lambda: mixtures.gaussian_mixture([1.0], [[0.0]], [[-1.0]]), "positive definite"),
        (lambda: mixtures.gaussian_mixture([1.0, 0.0], [[0.0], [1.0]], [[1.0]]), "positive"),
        (lambda: mixtures.gaussian_mixture([1.0], [[0.0], [1.0]], [[1.0]]), "shape"),
        (lambda: mixtures.gaussian_mixture([1.0], [[0.0]], np.ones((2, 1, 1))), "covariances"),
        (lambda: mixtures.grid_mixture(3, 0.0), "positive"),
        (lambda: mixtures.golden_ratio_mixture(half_width=0.0), "half_width"),
        (lambda: mixtures.circle_mixture(3, 0.0), "positive"),
        (lambda: student_t.student_mixture(degrees=1.0), "above 1"),
        (lambda: student_t.student_mixture(half_width=-1.0), "half_width"),
        (lambda: many_well.many_well(3), "even"),
        (lambda: many_well.double_wells(2, 3), "at most dim"),
        (lambda: many_well.DoubleWell(1.0, -1.0), "separation"),
        (lambda: many_well.DoubleWell(1.0, 1.0, np.inf), "tilt"),
        (lambda: mixtures.asymmetric_mixture().marginals[0].quantile(1.0), "strictly between 0 and 1"),
        (lambda: Marginal("f", lambda x: x[0]).quantile(0.5), "no known distribution function"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
