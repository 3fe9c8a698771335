r"""
Your first posterior
====================

**The problem.** Eight schools tried a coaching programme. Each reports an effect :math:`y_j` with a standard error
:math:`\sigma_j`. How large is the effect in each school, given that the schools have something in common?

**The model** (Rubin 1981) lets the effects vary around a common mean :math:`\mu` with a spread :math:`\tau`, which is
itself unknown:

.. math::

   y_j \sim \mathrm{N}(\theta_j, \sigma_j), \qquad \theta_j = \mu + \tau z_j, \quad z_j \sim \mathrm{N}(0, 1), \qquad
   \mu \sim \mathrm{N}(0, 5), \quad \tau \sim \mathrm{HalfCauchy}(5).
"""

# %%
# Model and kernel
# ----------------
#
# The model is a NumPyro model, as you would write it anyway. ``model_density`` turns it and its data into a log density
# on unconstrained parameters, with starts, and with the way back to the parameters of the model.

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist

import ergodica

sigma = jnp.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
y = jnp.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])


def model(sigma, y):
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    with numpyro.plate("school", len(sigma)):
        z = numpyro.sample("z", dist.Normal(0, 1))
        theta = numpyro.deterministic("theta", mu + tau * z)
        numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


target = ergodica.model_density(model, sigma, y)
scale = jnp.array([4.0] + 9 * [1.0])  # rough sizes of mu, log tau and z, in this order
kernel = ergodica.GibbsianPolarSlice(scale=scale, logdensity=target.logdensity)

# %%
# What does the kernel promise?

print(kernel.claim)
print(kernel.claim.statement)
print(kernel.claim.source)

# %%
# Sample
# ------
#
# Four chains run together; during warm-up the width of the slice sampler is learnt. The same seed gives the same draws.

draws = ergodica.sample(kernel, target.start, draws=3000, seed=1, progress=False).transform(target.constrain)
print(draws)

# %%
# Look
# ----
#
# Before the numbers mean anything, two questions: do the chains agree (``r_hat`` close to 1), and how many independent
# draws are these worth (``ess_bulk``)? Then ``mcse_mean`` says how exact a mean is.

summary = draws.summary(["mu", "tau", "theta"])
print(summary[["mean", "sd", "mcse_mean", "ess_bulk", "r_hat"]].round(3).to_string())

# %%

theta, tau = draws.position["theta"], draws.position["tau"]
fig, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.4), width_ratios=[1.4, 1])
for school in range(8):
    low, middle, high = np.quantile(theta[..., school], [0.05, 0.5, 0.95])
    left.plot([low, high], [school, school], color="#1b5e7d")
    left.plot(middle, school, "o", color="#1b5e7d", label="posterior, 90%" if school == 0 else None)
left.plot(y, range(8), "x", color="#d1603d", label="reported")
left.set(yticks=range(8), yticklabels=[f"school {name}" for name in "ABCDEFGH"], xlabel="effect", ylim=(7.5, -0.5))
left.legend(loc="lower right")
right.hist(tau.ravel(), bins=np.linspace(0, 20, 50), density=True, color="#c9dbe6")
right.set(xlabel=r"spread $\tau$", yticks=[])
right.spines.left.set_visible(False)
plt.show()

# %%
# The reports are drawn towards each other, the extreme ones most: little in the data says that the schools differ.
#
# Is it right?
# ------------
#
# For this posterior the exact means are known by quadrature. The errors have the size that ``mcse_mean`` promises.

exact = {"mu": 4.39682, "tau": 3.59771, "theta[0]": 6.21188}
for name, value in exact.items():
    row = summary.loc[name]
    print(
        f"{name:9} {row['mean']:.3f}, exactly {value:.3f}: {(row['mean'] - value) / row['mcse_mean']:+.1f} standard errors"
    )

# %%
# Other ways to the same draws
# ----------------------------
#
# - Inside NumPyro: ``MCMC(ergodica.NumPyroKernel(ergodica.GibbsianPolarSlice(), model), ...)``.
# - To files and to ArviZ: ``draws.save("schools.nc")`` and ``draws.to_arviz()``.
#
# What to tune: the ``scale``, if parameters differ much in size; without it the chains here mix several times more slowly,
# and ``r_hat`` shows it. The width is learnt. When not to use it: where
# gradients are cheap and the posterior is close to a Gaussian in many dimensions, NUTS makes longer moves.
