r"""
Gibbs sampling of a model with switches
=======================================

**The problem.** A line is to be fitted to points, some of which are blunders. Which ones is not known, and least squares
listens to all.

**The model** gives each point a switch :math:`z_i`, which says whether it is a blunder:

.. math::

   y_i \sim \mathrm{N}(a + b x_i, \; \sigma \, k^{z_i}), \qquad z_i \sim \mathrm{Bernoulli}(\pi), \qquad k = 10.

Switches have no gradient, so that NUTS cannot move them. A Gibbs sampler goes through the blocks of the model: all switches
are redrawn from their exact conditional law, the share :math:`\pi` from its beta law, and the line and its noise by a kernel
for real numbers (Geman and Geman 1984, Gelfand and Smith 1990).
"""

# %%
# Model and blocks
# ----------------
#
# The model is written as for NumPyro. ``"exact"`` asks for exact draws of a discrete site; a function that draws from a
# conditional law, where it is known, is a block as well; ``...`` stands for all sites that are not named.

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist

from ergodica import CoordinateSlice, sample
from ergodica.samplers import random
from ergodica.samplers.interop.numpyro_gibbs import Gibbs

rng = np.random.default_rng(4)
x = jnp.asarray(np.sort(rng.uniform(-1, 1, 60)))
blunders = rng.uniform(size=60) < 0.2
y = 0.5 + 2.0 * x + rng.normal(size=60) * np.where(blunders, 3.0, 0.3)


def model(x, y):
    line = numpyro.sample("line", dist.Normal(jnp.zeros(2), 3.0).to_event(1))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    share = numpyro.sample("share", dist.Beta(1.0, 4.0))
    with numpyro.plate("point", len(x)):
        z = numpyro.sample("z", dist.Bernoulli(share))
        numpyro.sample("y", dist.Normal(line[0] + line[1] * x, noise * 10.0**z), obs=y)


def draw_share(key, values):
    count = jnp.sum(values["z"])
    return random.beta(key, 1.0 + count, 4.0 + len(x) - count)


gibbs = Gibbs({"z": "exact", "share": draw_share, ...: CoordinateSlice(0.3)}).for_model(model, x, y)

# %%
# What each block has to evaluate is found from the model: the terms of the log density that depend on it. The share needs
# the switches only, not the data.

for block in gibbs.blocks:
    print(", ".join(block), "touches", ", ".join(gibbs.graph.touched(*block)))

# %%
# The switches are independent of each other given the rest. That too is found from the model, so that two evaluations, one
# for each value, redraw all sixty.

print(gibbs.kernel.parts[0].classes, "class of switches;", gibbs.kernel.claim)

# %%
# Sample
# ------

draws = sample(gibbs.kernel, gibbs.start, draws=1500, tune=300, seed=2, progress=False).transform(gibbs.constrain)
summary = draws.summary(["line", "noise", "share"])
print(summary[["mean", "sd", "mcse_mean", "ess_bulk", "r_hat"]].round(3).to_string())

# %%

probability = draws.position["z"].mean(axis=(0, 1))
line = draws.position["line"].reshape(-1, 2)
fig, axis = plt.subplots(figsize=(7.0, 4.0))
for row in line[::120]:
    axis.plot(x, row[0] + row[1] * x, color="#1b5e7d", alpha=0.12)
least = np.polyfit(x, y, 1)
axis.plot(x, np.polyval(least, x), "--", color="#888888", label="least squares")
points = axis.scatter(
    x, y, c=probability, cmap="coolwarm", vmin=0, vmax=1, edgecolor="#333333", linewidth=0.5, zorder=3
)
fig.colorbar(points, label="probability of a blunder")
axis.set(xlabel="$x$", ylabel="$y$")
axis.legend(loc="upper left")
plt.show()

# %%
# Is it right?
# ------------
#
# Here the switches can be summed out by hand, which gives a density of real numbers alone. Its means have to agree with
# those above, up to their Monte Carlo errors. The chains start where those above ended, so that they need no warm-up.


def summed_out(x, y):
    line = numpyro.sample("line", dist.Normal(jnp.zeros(2), 3.0).to_event(1))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    share = numpyro.sample("share", dist.Beta(1.0, 4.0))
    middle = line[0] + line[1] * x
    good, bad = (dist.Normal(middle, noise * factor).log_prob(y) for factor in (1.0, 10.0))
    numpyro.factor("y", jnp.logaddexp(jnp.log1p(-share) + good, jnp.log(share) + bad))


other = Gibbs({...: CoordinateSlice(0.3)}).for_model(summed_out, x, y)
ends = {name: draws.unconstrained[name][:, -1] for name in ("line", "noise", "share")}
check = sample(other.kernel, positions=ends, draws=1500, tune=0, seed=3, progress=False).transform(other.constrain)
table = check.summary(["line", "noise", "share"])
for name in summary.index:
    one, two = summary.loc[name], table.loc[name]
    score = (one["mean"] - two["mean"]) / np.hypot(one["mcse_mean"], two["mcse_mean"])
    print(f"{name:8} {one['mean']:7.3f} with switches, {two['mean']:7.3f} without: {score:+.1f} standard errors")

# %%
# What to tune, and when not to use it
# ------------------------------------
#
# - The widths of the slices are learnt. What matters is the choice of blocks: strongly correlated sites belong into one
#   block, such as the two coefficients of the line here; ``...: blackjax.nuts`` moves such a block along its gradient.
# - ``over_plate(kernel)`` from ``ergodica.samplers.interop.over_plate`` moves all elements of a continuous plate at once,
#   each by a kernel of its own: the groups of a hierarchical model, say.
# - Inside NumPyro: ``MCMC(NumPyroKernel(Gibbs({...}), model), ...)``.
#
# When not to use it: where the switches can be summed out at little cost, as here, the chain without them mixes faster.
# Where a few switches decide the rest, blocks hold each other in place and the chain seldom changes its mind; and a sum
# over the elements of a plate, as in a factor of all switches, leaves no element independent: they are then redrawn one by
# one.
