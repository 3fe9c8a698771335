r"""
Forty real posteriors
=====================

**The problem.** A sampler that is right on toys may be wrong, or slow, on the posteriors that people have. To find out,
one needs posteriors whose answers are known.

**The idea.** Forty posteriors of posteriordb (Magnusson and others 2024, arXiv:2407.04967) are written as NumPyro models
in the folder ``examples/posteriors``: regressions, time series, hidden Markov models, a mixture, a Gaussian process,
differential equations. For thirty-seven the moments are known by quadrature or in closed form, for the others from long
runs of Stan.
An error is then measured in its own standard error,

.. math:: z = \frac{\text{estimate} - \text{truth}}{\sqrt{\mathrm{MCSE}^2 + \mathrm{error\ of\ the\ reference}^2}},

which for a right sampler with an honest error is close to a standard normal number.

The benchmark ``benchmarks/forty_posteriors.py`` runs our kernels and NUTS on them; this page draws its
records, after a run of one posterior. The table is in :doc:`the guide </guide/forty_posteriors>`.
"""

# %%
# One of them, live
# -----------------
#
# Test scores of children on whether the mother finished school, her IQ, and the product of the two: with raw predictors
# the four coefficients are nearly collinear. The warm-up of :func:`ergodica.sample` learns their covariance from all
# chains, and in coordinates that it makes round a polar slice moves almost independently.

import json
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
import posteriors
from posteriors.comparison import compare, smallest_ess

import ergodica

jax.config.update("jax_enable_x64", True)

posterior = posteriors.all_posteriors()["kidiq-kidscore_interaction"]
density = posterior.density()
kernel = posterior.kernel.bind(density.logdensity)
draws = ergodica.sample(
    kernel, density.start, draws=5000, tune=4000, tuner=posterior.tuner, seed=1, progress=False, host="numba"
)
values = posterior.quantities(draws.transform(density.constrain).position)

print(f"{'':10} {'mean':>10} {'exact':>10} {'z':>5}")
for row in compare(posterior.reference, values):
    if row.quantity == "mean":
        print(f"{row.parameter:10} {row.estimate:10.4f} {row.truth:10.4f} {row.z:5.1f}")
print(f"{smallest_ess(values):.0f} effective draws of {values['sigma'].size}")

# %%
# The recorded ones: are the answers right?
# -----------------------------------------
#
# Each line is a posterior; a dot is the largest error of a mean over its parameters, in standard errors. With up to
# thirteen parameters, values of two or three are what chance gives.

folder = Path(posteriors.__file__).resolve().parents[2] / "benchmarks" / "results" / "forty_posteriors"
records = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))]


def speed(record, way, to):
    runs = record["runs"]
    if runs[to]["rhat"] > 1.1:  # stuck: its effective draws mean nothing
        return np.nan
    return runs[way]["ess_per_second"] / runs[to]["ess_per_second"]


records.sort(key=lambda record: np.nan_to_num(speed(record, "compiled", "nuts-compiled"), nan=np.inf))
names = [record["name"].partition("-")[2] for record in records]
height = np.arange(len(records))

fig, ax = plt.subplots(figsize=(6.8, 7.4))
for way, label, mark in (("plug-in", "inside NumPyro", "o"), ("compiled", "on the compiled host", "s")):
    ax.plot(
        [abs(record["runs"][way]["worst_mean"]["z"]) for record in records], height, mark, label=label, markersize=5
    )
ax.axvline(4, color="#777777", linewidth=1, linestyle=":")
ax.set_yticks(height, names, fontsize=7)
ax.tick_params(axis="y", length=0)
ax.set(xlabel="largest error of a mean, in standard errors", xlim=(0, None), ylim=(-1, len(records)))
ax.legend(loc="lower right")
plt.show()

# %%
# What does an effective draw cost?
# ---------------------------------
#
# Effective draws for each second of the processor, relative to NUTS on the same host: of NumPyro under XLA, of BlackJAX on
# the compiled host. NUTS has a dense mass matrix here. To the right of the line ours is faster.

fig, ax = plt.subplots(figsize=(6.8, 7.4))
for way, to, label, mark in (
    ("plug-in", "nuts", "inside NumPyro", "o"),
    ("compiled", "nuts-compiled", "on the compiled host", "s"),
):
    ax.plot([speed(record, way, to) for record in records], height, mark, label=label, markersize=5)
ax.axvline(1, color="#777777", linewidth=1)
ax.set_xscale("log")
ax.set_yticks(height, names, fontsize=7)
ax.tick_params(axis="y", length=0)
ax.set(xlabel="effective draws a second, relative to NUTS on the same host", ylim=(-1, len(records)))
ax.legend(loc="lower right")
plt.show()

# %%
# And the hosts against each other: the same kernel with the same parameters, as a loop of compiled instructions and as a
# program of XLA. What is gained is the dispatch of small operations, so it is most where the density is cheap.

gain = [speed(record, "compiled", "plug-in") for record in records]
gain_nuts = [speed(record, "nuts-compiled", "nuts") for record in records]
fig, ax = plt.subplots(figsize=(6.8, 2.4))
bins = np.geomspace(np.nanmin(gain + gain_nuts), np.nanmax(gain + gain_nuts), 16)
ax.hist([gain, gain_nuts], bins=bins, label=["our kernels", "NUTS"])
ax.set_xscale("log")
ax.set(xlabel="effective draws a second, compiled host relative to XLA", ylabel="posteriors")
ax.legend()
plt.show()

# %%
# What to tune, and when not to use it
# ------------------------------------
#
# The number of steps of warm-up: a covariance of nearly collinear coefficients took 4000 here, and 1000 were too few. The
# centred eight schools are a funnel, for which no linear map is right at both ends; there slices along coordinates are
# slow but reach the neck, and a better parametrisation is worth more than any kernel. Correlated and curved posteriors such
# as the Gaussian process take many draws. All forty have at most thirteen dimensions; in a hundred take NUTS.
