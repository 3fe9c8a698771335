r"""
Is my sampler right?
====================

You have written a sampler, and its histogram looks fine. Hand the function to ``certify``, with a target whose law is
known, and it looks at what the function offers, picks the checks that apply, and says what is wrong in words that tell
you what to mend.
"""

# %%
# A sampler of somebody's own
# ---------------------------
#
# Thirty buses came within an hour. With a flat prior on the log of their rate :math:`\lambda`, its posterior is a gamma
# law, :math:`\pi(\lambda) \propto \lambda^{29} e^{-\lambda}` in buses an hour. Rates are positive, so the sampler
# multiplies: it proposes :math:`\lambda' = \lambda e^{\sigma z}` with normal :math:`z`, and accepts with probability
# :math:`\min(1, \pi(\lambda') / \pi(\lambda))`.

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

import ergodica
from ergodica.samplers import random

jax.config.update("jax_enable_x64", True)


def logdensity(rate):
    inside = rate[0] > 0
    return jnp.where(inside, 29 * jnp.log(jnp.where(inside, rate[0], 1.0)) - rate[0], -jnp.inf)


def my_sampler(key, rate):
    key_move, key_accept = random.split(key)
    candidate = rate * jnp.exp(0.3 * random.normal(key_move, rate.shape))
    ratio = jnp.exp(logdensity(candidate) - logdensity(rate))
    return jnp.where(random.bernoulli(key_accept, jnp.minimum(1.0, ratio)), candidate, rate)


# %%
# Ten thousand steps, and the exact density behind them:


def path_of(step, num_steps=10_000):
    def body(rate, key):
        rate = step(key, rate)
        return rate, rate[0]

    keys = jax.random.split(jax.random.key(3), num_steps)
    return np.asarray(jax.lax.scan(body, jnp.array([30.0]), keys)[1])


grid = np.linspace(10, 55, 300)
fig, ax = plt.subplots()
ax.hist(path_of(my_sampler), bins=50, density=True, color="#c9dbe6", label="10 000 steps of my sampler")
ax.plot(grid, stats.gamma(30).pdf(grid), color="#1b5e7d", label="the posterior")
ax.set(xlabel="buses an hour", yticks=[])
ax.legend()
plt.show()

# %%
# Ask
# ---
#
# A target with known truth holds what the checks need: exact draws, here as sums of thirty waiting times, and functions
# with a known law. The only function is the rate itself.

from ergodica.validation.targets.target import Marginal, Target

posterior = Target(
    name="rate of buses",
    dim=1,
    logdensity=jax.tree_util.Partial(logdensity),
    sample=lambda key, n: jnp.sum(random.exponential(key, (n, 30)), axis=1, keepdims=True),
    marginals=(Marginal("rate", lambda rate: rate[0], stats.gamma(30).cdf),),
    mean=np.array([30.0]),
    variance=np.array([30.0]),
)

# %%
# A plain function promises nothing but to leave the target invariant. Metropolis samplers promise more, detailed
# balance, and a stronger promise can be tested harder. ``FunctionKernel`` is where to say so.

from ergodica.validation.step_function import FunctionKernel

before = ergodica.certify(FunctionKernel(my_sampler, reversible=True), posterior)
print(before)

# %%
# The sampler is wrong, beyond doubt: the level of each check is proven, so that a right sampler fails one of them once in
# a million runs. The flow balance says how: exact draws that make one step go down more often than up.
#
# Mend
# ----
#
# More steps lower the rate than raise it: something that favours small rates. The proposal is symmetric in
# :math:`\log \lambda`, not in :math:`\lambda`; in :math:`\lambda`, the densities of a move and of its way back differ,
# :math:`q(\lambda', \lambda) / q(\lambda, \lambda') = \lambda' / \lambda`. This factor, the Jacobian, was missing.


def mended(key, rate):
    key_move, key_accept = random.split(key)
    candidate = rate * jnp.exp(0.3 * random.normal(key_move, rate.shape))
    ratio = jnp.exp(logdensity(candidate) - logdensity(rate)) * candidate[0] / rate[0]
    return jnp.where(random.bernoulli(key_accept, jnp.minimum(1.0, ratio)), candidate, rate)


after = ergodica.certify(FunctionKernel(mended, reversible=True), posterior)
print(after)

# %%
# The starts of the checks are exact draws, so after some steps the share of draws below each quantile should still be what it
# was. The difference, against the band that nineteen of twenty right samplers stay inside:

from ergodica.validation.calibration.ecdf_band import ecdf_band

fig, axes = plt.subplots(1, 2, figsize=(7.6, 3.0), sharex=True, sharey=True, layout="constrained")
for ax, report, title in zip(axes, (before, after), ("my sampler", "with the Jacobian"), strict=True):
    (picture,) = (p for record in report.evidence if "stationary start" in record.check for p in record.pictures)
    band = ecdf_band(picture.size, len(picture.counts) + 1)
    ax.fill_between(band.points, *band.differences, color="#e4e9ec")
    ax.plot(band.points, picture.counts / picture.size - band.points, color="#1b5e7d")
    ax.set(xlabel="probability under the posterior", title=f"{title}, {picture.size} exact draws, five steps")
    ax.title.set_fontsize(9)
plt.show()

# %%
# On a finite space nothing is left to chance
# -------------------------------------------
#
# If the states can be listed, ``certify`` follows all random choices of the function and gets its transition matrix.
# The next sampler hops up a staircase of weights, with probability 0.7, because most of the mass is there.

from ergodica.validation.targets.finite import weighted

stairs = weighted("stairs", (1.0, 2.0, 3.0, 4.0, 5.0, 6.0))


def hop(key, x):
    key_move, key_accept = random.split(key)
    candidate = x + jnp.where(random.bernoulli(key_move, 0.7), 1, -1)
    ratio = jnp.exp(stairs.logdensity(candidate) - stairs.logdensity(x))
    return jnp.where(random.bernoulli(key_accept, jnp.minimum(1.0, ratio)), candidate, x)


report = ergodica.certify(FunctionKernel(hop, reversible=True), stairs, budget=1.0)
print(report)

# %%
# The message names two states, the flow between them there and back, and the factor by which one move is too frequent:
# :math:`7/3`, which is :math:`0.7 / 0.3`. A proposal that prefers a direction needs Hastings' correction, the inverse of
# exactly this factor.
#
# Exact checks come first, since they are cheap. What the budget of a second did not reach is listed as skipped.
#
# A card for the record
# ---------------------
#
# ``evidence_page`` makes one page of HTML of any number of reports: claims, checks, figures, pictures of flows and
# distributions. On the command line, ``ergodica certify --html evidence.html --json evidence.json`` does it for the
# kernels of the library.

from ergodica.validation.report.card import evidence_page

page = evidence_page({"hop": report}, title="My samplers")
print(f"{len(page) // 1000} kB, no scripts: {'<script' not in page}")

# %%
# Next steps
# ----------
#
# - A sampler with a state of its own, a cached density for example, is a kernel: a class with ``init`` and ``step``
#   (:doc:`plot_write_your_own_kernel`). Then the checks also look at what the state holds.
# - If the posterior has no exact sampler but the model can be simulated, pass a
#   ``Model`` of ``ergodica.validation.targets.model`` instead of a target: rank tests and Geweke's joint test take over.
# - A passed check is no proof. What each kind can and cannot see is told in :doc:`/guide/evidence`.
