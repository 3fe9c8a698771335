"""The forty posteriors: each model is the one that its reference belongs to.

Densities are compared with ones written by hand in NumPy and SciPy, in differences between points, as constants do not
matter. No sampling but in the slow test.
"""

from functools import partial

import jax
import numpy as np
import pytest
from numpyro.infer import MCMC
from numpyro.infer.util import log_density, potential_energy
from posteriors import all_posteriors
from posteriors.comparison import compare, smallest_ess
from posteriors.posterior import read, unconstrained
from scipy import stats
from scipy.integrate import solve_ivp
from scipy.special import logsumexp

import ergodica

POSTERIORS = all_posteriors()
REGRESSIONS = [posterior for posterior in POSTERIORS.values() if "X" in posterior.data]


def raw(name):
    data, _ = read(name)
    return {key: np.asarray(value, float) if key != "K" else value for key, value in data.items()}


# --- densities by hand, from the words of the files -------------------------------------------------------------------


def earnings_interaction(s):
    c = raw("earnings-logearn_interaction")
    fit = s["beta"][0] + s["beta"][1] * c["height"] + s["beta"][2] * c["male"]
    fit = fit + s["beta"][3] * c["height"] * c["male"]
    return stats.norm.logpdf(np.log(c["earn"]), fit, s["sigma"]).sum()


def kidscore_momhsiq(s):
    c = raw("kidiq-kidscore_momhsiq")
    fit = s["beta"][0] + s["beta"][1] * c["mom_hs"] + s["beta"][2] * c["mom_iq"]
    return stats.norm.logpdf(c["kid_score"], fit, s["sigma"]).sum() + stats.cauchy.logpdf(s["sigma"], 0, 2.5)


def radon(s):
    c = raw("radon_mn-radon_pooled")
    fit = s["alpha"] + s["beta"] * c["floor_measure"]
    prior = stats.norm.logpdf([s["alpha"], s["beta"]], 0, 10).sum() + stats.norm.logpdf(s["sigma_y"], 0, 1)
    return prior + stats.norm.logpdf(c["log_radon"], fit, s["sigma_y"]).sum()


def blr(s):
    c = raw("sblrc-blr")
    prior = stats.norm.logpdf(s["beta"], 0, 10).sum() + stats.norm.logpdf(s["sigma"], 0, 10)
    return prior + stats.norm.logpdf(c["y"], c["X"] @ s["beta"], s["sigma"]).sum()


def wells(s):
    c = raw("wells_data-wells_dist100_model")
    odds = np.exp(s["alpha"] + s["beta"][0] * c["dist"] / 100)
    return stats.bernoulli.logpmf(c["switched"], odds / (1 + odds)).sum()


def poisson(s):
    c = raw("GLM_Poisson_Data-GLM_Poisson_model")
    logs = np.polyval([s["beta3"], s["beta2"], s["beta1"], s["alpha"]], c["year"])
    return stats.poisson.logpmf(c["C"], np.exp(logs)).sum()


def two_rates(s):
    c = raw("Rate_2_data-Rate_2_model")
    return sum(stats.binom.logpmf(c[f"k{i}"], c[f"n{i}"], s[f"theta{i}"]) for i in (1, 2))


def autoregression(s):
    y = raw("arK-arK")["y"]
    fit = [s["alpha"] + sum(s["beta"][k - 1] * y[t - k] for k in range(1, 6)) for t in range(5, len(y))]
    prior = stats.norm.logpdf([s["alpha"], *s["beta"]], 0, 10).sum() + stats.cauchy.logpdf(s["sigma"], 0, 2.5)
    return prior + stats.norm.logpdf(y[5:], fit, s["sigma"]).sum()


def arma(s):
    y = raw("arma-arma11")["y"]
    errors = [y[0] - (s["mu"] + s["phi"] * s["mu"])]
    for t in range(1, len(y)):
        errors.append(y[t] - (s["mu"] + s["phi"] * y[t - 1] + s["theta"] * errors[-1]))
    prior = stats.norm.logpdf(s["mu"], 0, 10) + stats.norm.logpdf([s["phi"], s["theta"]], 0, 2).sum()
    return prior + stats.cauchy.logpdf(s["sigma"], 0, 2.5) + stats.norm.logpdf(errors, 0, s["sigma"]).sum()


def paths(emissions, s):
    """Sum over paths by products of matrices, with their size kept aside."""
    transitions, size, weights = np.stack([s["theta1"], s["theta2"]]), 0.0, np.ones(2)
    for index, emission in enumerate(emissions):
        weights = (weights if index == 0 else weights @ transitions) * np.exp(emission - emission.max())
        size += emission.max() + np.log(weights.sum())
        weights = weights / weights.sum()
    return size


def hmm_example(s):
    y = raw("hmm_example-hmm_example")["y"]
    prior = stats.norm.logpdf(s["mu"], [3, 10], 1).sum()
    return prior + paths(stats.norm.logpdf(y[:, None], s["mu"], 1), s)


def hmm_drive(s):
    c = raw("bball_drive_event_0-hmm_drive_0")
    prior = sum(stats.norm.logpdf(s[name], [0, 3], 1).sum() for name in ("phi", "lambda"))
    prior += sum(stats.dirichlet.logpdf(s[f"theta{k}"], c["alpha"][k - 1]) for k in (1, 2))
    emissions = stats.expon.logpdf(c["u"][:, None], scale=1 / s["phi"])
    return prior + paths(emissions + stats.expon.logpdf(c["v"][:, None], scale=1 / s["lambda"]), s)


def bones(s):
    c = raw("bones_data-bones_model")
    total = stats.norm.logpdf(s["theta"], 0, 36).sum()
    for theta, grades in zip(s["theta"], c["grade"], strict=True):
        for grade, delta, gamma, count in zip(grades, c["delta"], c["gamma"], c["ncat"], strict=True):
            above = 1 / (1 + np.exp(-delta * (theta - gamma[: int(count) - 1])))
            probabilities = -np.diff(np.concatenate([[1.0], above, [0.0]]))
            total += 0 if grade == -1 else np.log(probabilities[int(grade) - 1])
    return total


def schools(s, theta):
    c = raw("eight_schools-eight_schools_centered")
    prior = stats.norm.logpdf(s["mu"], 0, 5) + stats.cauchy.logpdf(s["tau"], 0, 5)
    return prior + stats.norm.logpdf(c["y"], theta, c["sigma"]).sum()


def centred(s):
    return schools(s, s["theta"]) + stats.norm.logpdf(s["theta"], s["mu"], s["tau"]).sum()


def noncentred(s):
    return schools(s, s["mu"] + s["tau"] * s["z"]) + stats.norm.logpdf(s["z"]).sum()


def latent_process(s):
    c = raw("gp_pois_regr-gp_pois_regr")
    kernel = s["alpha"] ** 2 * np.exp(-(np.subtract.outer(c["x"], c["x"]) ** 2) / (2 * s["rho"] ** 2))
    f = np.linalg.cholesky(kernel + 1e-10 * np.eye(11)) @ s["z"]
    prior = stats.gamma.logpdf(s["rho"], 25, scale=1 / 4) + stats.norm.logpdf(s["alpha"], 0, 2)
    return prior + stats.norm.logpdf(s["z"]).sum() + stats.poisson.logpmf(c["k"], np.exp(f)).sum()


def mixture(s):
    y = raw("low_dim_gauss_mix-low_dim_gauss_mix")["y"]
    weights = np.array([s["theta"], 1 - s["theta"]])
    parts = np.log(weights) + stats.norm.logpdf(y[:, None], s["mu"], s["sigma"])
    prior = stats.norm.logpdf(s["mu"], 0, 2).sum() + stats.norm.logpdf(s["sigma"], 0, 2).sum()
    return prior + stats.beta.logpdf(s["theta"], 5, 5) + logsumexp(parts, axis=1).sum()


def pelts(s):
    c = raw("hudson_lynx_hare-lotka_volterra")
    th, sigma = s["theta"], s["sigma"]
    solution = solve_ivp(
        lambda t, z: [(th[0] - th[1] * z[1]) * z[0], (-th[2] + th[3] * z[0]) * z[1]],
        (0, 20), s["z_init"], t_eval=c["ts"], rtol=1e-10, atol=1e-10, method="DOP853",
    )  # fmt: skip
    prior = stats.norm.logpdf(th, [1, 0.05, 1, 0.05], [0.5, 0.05, 0.5, 0.05]).sum()
    prior += (
        stats.lognorm.logpdf(sigma, 1, scale=np.exp(-1)).sum() + stats.lognorm.logpdf(s["z_init"], 1, scale=10).sum()
    )
    first = stats.lognorm.logpdf(c["y_init"], sigma, scale=s["z_init"]).sum()
    return prior + first + stats.lognorm.logpdf(c["y"], sigma, scale=solution.y.T).sum()


def drug(s):
    c = raw("one_comp_mm_elim_abs-one_comp_mm_elim_abs")

    def slope(t, z):
        return s["k_a"] * c["D"] * np.exp(-s["k_a"] * t) / c["V"] - s["V_m"] / c["V"] * z / (s["K_m"] + z)

    options = {"rtol": 1e-10, "atol": 1e-10, "method": "DOP853"}
    solution = solve_ivp(slope, (0, 10), [0.0], t_eval=c["times"], **options)
    prior = stats.cauchy.logpdf([s["k_a"], s["K_m"], s["V_m"], s["sigma"]]).sum()
    return prior + stats.lognorm.logpdf(c["C_hat"], s["sigma"], scale=solution.y[0]).sum()


BY_HAND = {
    "earnings-logearn_interaction": earnings_interaction,
    "kidiq-kidscore_momhsiq": kidscore_momhsiq,
    "radon_mn-radon_pooled": radon,
    "sblrc-blr": blr,
    "wells_data-wells_dist100_model": wells,
    "GLM_Poisson_Data-GLM_Poisson_model": poisson,
    "Rate_2_data-Rate_2_model": two_rates,
    "arK-arK": autoregression,
    "arma-arma11": arma,
    "hmm_example-hmm_example": hmm_example,
    "bball_drive_event_0-hmm_drive_0": hmm_drive,
    "bones_data-bones_model": bones,
    "eight_schools-eight_schools_centered": centred,
    "eight_schools-eight_schools_noncentered": noncentred,
    "gp_pois_regr-gp_pois_regr": latent_process,
    "low_dim_gauss_mix-low_dim_gauss_mix": mixture,
    "hudson_lynx_hare-lotka_volterra": pelts,
    "one_comp_mm_elim_abs-one_comp_mm_elim_abs": drug,
}
"""One of each model; the other regressions differ from those here in their predictors, which another test checks."""


def bulk(posterior, count=3):
    """Return values of all sites of a few points near the reference's means."""
    rng, points = np.random.default_rng(0), []
    means = dict(zip(posterior.reference.parameters, posterior.reference.mean, strict=True))
    sds = dict(zip(posterior.reference.parameters, posterior.reference.sd, strict=True))
    for _ in range(count):
        values = {name: means[name] + 0.5 * min(sds[name], abs(means[name])) * rng.uniform(-1, 1) for name in means}
        sites = {}
        for name in values:
            site = name.partition("[")[0]
            sites[site] = [values[n] for n in values if n == site or n.startswith(site + "[")]
            sites[site] = np.asarray(sites[site] if "[" in name else sites[site][0])
        for name, size in {"eight_schools-eight_schools_noncentered": 8, "gp_pois_regr-gp_pois_regr": 11}.items():
            if posterior.name == name:
                sites["z"] = rng.normal(size=size)
                sites.pop("theta" if size == 8 else "f")  # follows from z
        for site in sites:
            if site in ("theta1", "theta2") and sites[site].ndim:  # a row of probabilities
                sites[site] = sites[site] / sites[site].sum()
        points.append(sites)
    return points


@pytest.mark.parametrize("name", BY_HAND)
def test_the_density_is_that_of_the_words(name):
    posterior = POSTERIORS[name]
    points = bulk(posterior)
    density = jax.jit(lambda point: log_density(posterior.model, (), posterior.data, point)[0])
    of_model = [float(density(point)) for point in points]
    by_hand = [float(BY_HAND[name](point)) for point in points]
    # The differential equations are solved with a fixed step; all else is the same up to rounding.
    tolerance = 1e-3 if name in ("hudson_lynx_hare-lotka_volterra", "one_comp_mm_elim_abs-one_comp_mm_elim_abs") else 0
    assert np.diff(of_model) == pytest.approx(np.diff(by_hand), abs=tolerance, rel=1e-7)
    assert np.abs(np.diff(by_hand)).max() > 0.01


@pytest.mark.parametrize("posterior", REGRESSIONS, ids=lambda posterior: posterior.name)
def test_predictors_are_those_of_the_reference(posterior):
    """With flat priors on the coefficients their mean is the least-squares fit; the blr prior is nearly flat."""
    X, y = (np.asarray(posterior.data[name]) for name in ("X", "y"))
    fit = np.linalg.lstsq(X, y)[0]
    mean, sd = posterior.reference.mean[: X.shape[1]], posterior.reference.sd[: X.shape[1]]
    assert (fit - mean) / sd == pytest.approx(0, abs=1e-3)
    assert posterior.reference.parameters == (*(f"beta[{j + 1}]" for j in range(X.shape[1])), "sigma")


def test_there_are_forty_with_their_references():
    assert len(POSTERIORS) == 40
    for name, posterior in POSTERIORS.items():
        content, reference = read(name)
        assert reference.parameters == posterior.reference.parameters
        assert np.all(reference.sd > 0)
        assert content


@partial(jax.jit, static_argnums=0)
def value_and_gradient(model, data, starts):
    """Evaluate at the centre of the starts; one program for all data of the same shapes."""

    def density(at):
        return potential_energy(model, (), data, at)

    return jax.value_and_grad(density)(unconstrained(model, data, starts))


SOME = [pytest.param(name, marks=() if i % 5 == 0 else pytest.mark.slow) for i, name in enumerate(POSTERIORS)]


@pytest.mark.parametrize("name", SOME)
def test_value_and_gradient_are_finite_at_a_start(name):
    posterior = POSTERIORS[name]
    value, gradient = value_and_gradient(posterior.model, posterior.data, posterior.starts)
    assert np.isfinite(value)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


# --- comparing and sampling -------------------------------------------------------------------------------------------


def test_quantities_are_read_by_name():
    regression = POSTERIORS["kidiq-kidscore_momhs"]
    sites = {"beta": np.arange(24.0).reshape(4, 3, 2), "sigma": np.ones((4, 3))}
    found = regression.quantities(sites)
    assert list(found) == ["beta[1]", "beta[2]", "sigma"]
    np.testing.assert_array_equal(found["beta[2]"], sites["beta"][..., 1])


@pytest.mark.parametrize(("shift", "stretch"), [(0.0, 1.0), (0.3, 1.0), (0.0, 1.2)])
def test_wrong_draws_are_noticed(shift, stretch):
    """Negative control: a mean off by 0.3 standard deviations, a spread too large by a fifth. The seed is fixed."""
    reference = POSTERIORS["wells_data-wells_dist100_model"].reference
    rng = np.random.default_rng(0)
    draws = {
        name: mean + sd * (shift + stretch * rng.normal(size=(4, 1000)))
        for name, mean, sd in zip(reference.parameters, reference.mean, reference.sd, strict=True)
    }
    worst = max(abs(row.z) for row in compare(reference, draws))
    assert (worst < 6) == (shift == 0 and stretch == 1), worst


def test_a_tail_never_visited_is_noticed():
    reference = POSTERIORS["Rate_1_data-Rate_1_model"].reference
    stuck = {"theta": np.random.default_rng(0).uniform(0.55, 0.57, size=(4, 1000))}
    rows = {row.quantity: row for row in compare(reference, stuck)}
    assert rows["0.5"].estimate == 0
    assert rows["0.5"].z < -20


SAMPLED = (
    "arK-arK",
    "eight_schools-eight_schools_noncentered",
    "hmm_example-hmm_example",
    "kidiq-kidscore_interaction",
    "low_dim_gauss_mix-low_dim_gauss_mix",
    "Rate_2_data-Rate_2_model",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLED)
def test_draws_have_the_moments_of_the_reference(name):
    """Means, standard deviations and quantiles; some 250 comparisons of the six posteriors in all.

    Were standardised errors normal, one of them beyond 6 would have probability 250 * 2e-9 = 5e-7. The seed is fixed.
    """
    posterior = POSTERIORS[name]
    density = posterior.density()
    kernel = posterior.kernel.bind(density.logdensity)
    options = {"tuner": posterior.tuner, "progress": False, "host": "numba"}
    draws = ergodica.sample(kernel, density.start, draws=10_000, tune=4000, seed=1, **options)
    found = posterior.quantities(draws.transform(density.constrain).position)
    rows = compare(posterior.reference, found)
    assert smallest_ess(found) > 1000
    worst = max(rows, key=lambda row: abs(row.z))
    assert abs(worst.z) < 6, worst


@pytest.mark.slow
def test_inside_numpyro():
    """Same comparison through ``numpyro.infer.MCMC``: 20 of them, so false alarms have probability 4e-8."""
    posterior = POSTERIORS["GLM_Poisson_Data-GLM_Poisson_model"]
    kernel = ergodica.NumPyroKernel(posterior.kernel, posterior.model, tuner=posterior.tuner)
    mcmc = MCMC(kernel, num_warmup=4000, num_samples=4000, num_chains=4, chain_method="vectorized", progress_bar=False)
    mcmc.run(jax.random.key(0), **posterior.data)
    found = posterior.quantities(mcmc.get_samples(group_by_chain=True))
    assert smallest_ess(found) > 500
    assert max(abs(row.z) for row in compare(posterior.reference, found)) < 6
