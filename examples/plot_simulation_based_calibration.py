r"""
Simulation-based calibration of a NumPyro model
===============================================

**The problem.** A sampler returned draws, chains agree, effective sample sizes are large. Are they draws from *this*
posterior? A wrong prior, a doubled likelihood or a forgotten volume term leave all of these diagnostics content.

**The idea** (Cook, Gelman and Rubin 2006, Talts et al. 2018). Let the model itself make the data, so that the truth is
known: draw :math:`\theta^*` from the prior, :math:`y` given :math:`\theta^*`, and :math:`\theta_1, \dots, \theta_L` from
the posterior given :math:`y`. Truth and draws are then exchangeable, so that

.. math::

   r = \#\{l : f(\theta_l, y) < f(\theta^*, y)\} \quad \text{is uniform on} \quad 0, 1, \dots, L

for every real function :math:`f` of parameter *and data*. Repeat, and test the ranks for uniformity.
"""

# %%
# A model and two samplers
# ------------------------
#
# A line through a few points. The model is written as for NumPyro; it simulates its own data where ``y`` is observed.

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpyro
import numpyro.distributions as dist

from ergodica import NumPyroKernel, RandomWalk
from ergodica.validation.calibration.numpyro_calibration import SimulatedModel, numpyro_calibration
from ergodica.validation.calibration.simulation_based import simulation_based_calibration

x = jnp.linspace(-1.0, 1.0, 6)


def model(x, y=None):
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    with numpyro.plate("point", len(x)):
        numpyro.sample("y", dist.Normal(slope * x, noise), obs=y)


# %%
# The right sampler is a random walk, tuned in each warm-up; ``sampler=NUTS`` would do as well. The wrong one counts every
# density twice, as happens when a model is written down once as a likelihood and once more as a potential. All simulations
# run side by side in one compiled program. Chains are thinned: ranks among correlated draws pile up at both ends though
# nothing is wrong.


def right(model):
    return NumPyroKernel(RandomWalk(1.0), model)


def twice(model):
    return NumPyroKernel(RandomWalk(1.0), numpyro.handlers.scale(model, 2.0))


settings = {"observed": ["y"], "simulations": 300, "draws": 49, "warmup": 300, "thin": 20}
reports = {
    "right": numpyro_calibration(model, x, sampler=right, key=jax.random.key(1), **settings),
    "every density twice": numpyro_calibration(model, x, sampler=twice, key=jax.random.key(1), **settings),
}
print(reports["right"])
print(reports["every density twice"])

# %%
# A sampler that ignores the data
# -------------------------------
#
# The third sampler returns the prior. Ranks of the *parameters* are then uniform as well: truth and draws come from one
# law, only not from the posterior. Functions that see the data notice at once (Modrák et al. 2023), which is why the log
# likelihood and the log joint density are among the quantities unless told otherwise.

simulated = SimulatedModel(model, ["y"], (x,), {})
reports["the prior again"] = simulation_based_calibration(
    simulated.prior,
    simulated.simulate,
    key=jax.random.key(1),
    posterior_draws=lambda key, y, n: jax.vmap(simulated.prior)(jax.random.split(key, n)),
    quantities=simulated.quantities(),
    simulations=300,
    draws=49,
)
print(reports["the prior again"])

# %%
# Look
# ----
#
# The difference between the distribution function of the ranks and the uniform one, with a band that holds the whole curve
# at once with probability 95 % (Säilynoja, Bürkner and Vehtari 2022). Its coverage is computed, not simulated. Above the
# band at the left and below it at the right: posteriors are too narrow. On one side all along: they are shifted.

band = reports["right"].band(level=0.05)
low, high = band.differences
fig, axes = plt.subplots(2, 3, figsize=(8.6, 4.6), sharex=True, sharey="row")
for column, (name, report) in zip(axes.T, reports.items(), strict=True):
    column[0].set_title(name)
    for axis, quantity in zip(column, ["slope", "log likelihood"], strict=True):
        axis.fill_between(band.points, low, high, step="mid", color="#c9dbe6", label=f"{band.coverage:.1%} band")
        axis.plot(band.points, report.differences(quantity), color="#d1603d", label=quantity)
        axis.axhline(0, color="#555555", linewidth=0.8)
for axis, quantity in zip(axes[:, 0], ["slope", "log likelihood"], strict=True):
    axis.set_ylabel(f"{quantity}\nECDF difference")
axes[1, 1].set_xlabel("rank of the truth, scaled to [0, 1]")
plt.show()

# %%
# A verdict
# ---------
#
# All quantities together, by Holm's method, at one level. The p-values are exact for independent draws. Thinned chains are
# only close to that, so their outcome is called a diagnostic: its false-alarm probability is ``None``. The draws of the
# third sampler are independent, so its verdict is evidence.

for name, report in reports.items():
    outcome = report.outcome(level=1e-4)
    print(f"{name:20} passed: {outcome.passed!s:5}  false alarm: {outcome.false_alarm}")

# %%
# How often central intervals hold the truth, with the exact probability that they should:

for name, report in reports.items():
    row = report.coverage("slope", [0.8])[0]
    print(f"{name:20} {row.observed:.3f}, should be {row.probability:.2f} (p = {row.p_value:.2g})")

# %%
# What to choose, and when not to use it
# --------------------------------------
#
# - ``thin="ess"``, the default, lets pilot chains choose the thinning. ``draws + 1`` with many divisors leaves a choice of
#   cells; 99 is a good number.
# - More simulations see smaller errors: a spread that is 10 % too small takes about a thousand. The right quantity matters
#   more: products of a parameter with a summary of the data see what the log likelihood does not.
# - For a kernel of this library, ``parallel_chains_calibration`` has exactly uniform ranks, whatever its autocorrelation, so
#   that its verdicts are evidence with a proven false-alarm probability. ``posterior_calibration`` asks the same
#   questions around the data at hand, and ``tarp`` about all parameters at once.
#
# When not to use it: with vague priors, most simulated data sets look like nothing that will ever be observed, and samplers
# fail on them for reasons that do not matter; tighten the priors, or use ``posterior_calibration``. It says nothing about
# whether the model fits the data.
