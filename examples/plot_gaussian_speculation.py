r"""
Speculation with normal laws
============================

**The problem.** A diffusion model draws each state from a normal law whose mean is a slow network's output, hundreds of
times in a row. A fast network has nearly the same means. Can its path be used without changing the law of the result?

**The idea.** Draft :math:`x = m_q + L e` from the fast model. Keep it with probability
:math:`\min(1, p(x) / q(x))`; otherwise reflect it at the plane midway between the means,

.. math::  y = m_p + L \left(e - 2\, \frac{z^T e}{|z|^2}\, z\right), \qquad z = L^{-1} (m_q - m_p).

Rejected drafts lie where :math:`q > p`, and their mirror images fill up exactly what is missing where :math:`p > q`. No
second draw is needed, the output has the law :math:`N(m_p, L L^T)`, and the draft is kept with probability
:math:`2 \Phi(-|z| / 2)`, which no other rule exceeds. Along a path the slow model's means are computed at all drafted
states in one batch.
"""

# %%
# One step
# --------

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

from ergodica.samplers.acceptance.continuous.gaussian_drafts import SequentialGaussianDrafts
from ergodica.samplers.acceptance.continuous.latent_autoregressive import DenoisingChain, DenoisingChainDraft
from ergodica.samplers.acceptance.continuous.reflection import GaussianReflection
from ergodica.theory import gaussian_drafts

n, distance = 20_000, 1.5
rule = GaussianReflection()
keys = jax.random.split(jax.random.key(0), n)
drafts = jax.random.normal(jax.random.key(1), (n, 1))
decide = jax.jit(jax.vmap(lambda key, x: rule.draw(key, x, jnp.array([distance]), jnp.zeros(1), 1.0)))
out = decide(keys, drafts)
kept = np.asarray(out.is_accepted)

grid, bins = np.linspace(-4, 6, 300), np.linspace(-4, 6, 61)
fig, (left, right) = plt.subplots(1, 2, figsize=(9.2, 3.3), sharey=True)
left.hist(
    [drafts[kept, 0], drafts[~kept, 0]],
    bins,
    density=True,
    stacked=True,
    color=["#d1603d", "#e9c3b4"],
    label=["kept", "rejected"],
)
left.plot(grid, stats.norm.pdf(grid), color="#888888", label="draft $q$")
right.hist(
    [out.value[kept, 0], out.value[~kept, 0]],
    bins,
    density=True,
    stacked=True,
    color=["#d1603d", "#7a9e3a"],
    label=["kept", "reflected"],
)
for ax, title in ((left, "what is drafted"), (right, "what is emitted")):
    ax.plot(grid, stats.norm.pdf(grid - distance), color="#222222", label="target $p$")
    ax.set(title=title, xlabel="x")
    ax.legend(fontsize=8)
plt.show()
print(f"kept: {kept.mean():.4f}; in theory {gaussian_drafts.single_acceptance(distance):.4f}")

# %%
# Several drafts
# --------------
#
# With several independent drafts the chances rise. The rules for tokens carry over, since along the line between the means
# there is one dimension only. The dotted line is what no rule can exceed.

distances = np.linspace(0.05, 4, 25)
fig, ax = plt.subplots()
for k, colour in ((1, "#c9dbe6"), (2, "#5b93b3"), (4, "#1b5e7d")):
    ax.plot(distances, [gaussian_drafts.sequential_acceptance(d, k) for d in distances], color=colour, label=f"k = {k}")
    ax.plot(distances, [gaussian_drafts.optimal_acceptance(d, k) for d in distances], ":", color=colour)
ax.set(xlabel="distance of the means in standard deviations", ylabel="probability of keeping a draft")
ax.legend()
plt.show()

several = SequentialGaussianDrafts()
pairs = jax.random.normal(jax.random.key(2), (n, 2, 1))
both = jax.jit(jax.vmap(lambda key, x: several.draw(key, x, jnp.array([distance]), jnp.zeros(1), 1.0)))(keys, pairs)
print(
    f"two drafts: {np.mean(both.is_accepted):.4f} kept; {gaussian_drafts.sequential_acceptance(distance, 2):.4f} in theory"
)

# %%
# A denoising chain
# -----------------
#
# Twenty steps; the draft's means are off by a little. Each round drafts to the end, verifies all steps at once, and goes
# on from the first rejection: the number of rounds is the number of times that one has to wait for the slow model.


def slow(step, x):
    return 0.9 * x + 0.3 * jnp.tanh(3 * x)


def fast(step, x):
    return 0.9 * x + 0.25 * jnp.tanh(2.5 * x)


scales = np.linspace(0.5, 0.1, 20)
target, draft = DenoisingChain(slow, scales), DenoisingChain(fast, scales)
chain = DenoisingChainDraft(window=5)
run = jax.jit(jax.vmap(lambda key: chain.draw(key, target, draft, jnp.zeros(1))))
results = run(keys[:5000])


def directly(key):
    x = jnp.zeros(1)
    for step, one in enumerate(jax.random.split(key, 20)):
        x = slow(step, x) + scales[step] * jax.random.normal(one, (1,))
    return x


reference = jax.jit(jax.vmap(directly))(keys[:5000])
fig, (left, right) = plt.subplots(1, 2, figsize=(9.2, 3.2))
bins = np.linspace(-4.5, 4.5, 50)
left.hist(reference[:, 0], bins, density=True, color="#dddddd", label="the slow chain, step by step")
left.hist(results.value[:, 0], bins, density=True, histtype="step", linewidth=1.6, color="#1b5e7d", label="speculation")
left.set(xlabel="last state", title="the same law")
left.legend(fontsize=8)
rounds = np.asarray(results.num_rounds)
right.bar(*np.unique(rounds, return_counts=True), color="#d1603d")
right.set(xlabel="rounds for 20 steps", ylabel="chains", title=f"{rounds.mean():.1f} rounds on average")
plt.show()

# %%
# What to tune
# ------------
#
# - ``window``: as many steps as the slow model takes in a batch at the price of one, and not many more than the drafts that
#   survive. The value does not depend on it, only the time.
# - The draft. It has to use the standard deviations of the target, and changes the speed and never the law.
#
# When not to use it
# ------------------
#
# - Unequal covariances: there is :class:`~ergodica.samplers.acceptance.continuous.density_draft.DensityDraft`.
# - Verifying the last step only (``LastTransitionDraft``) is not exact, unless the chains agree before it.
# - Many dimensions with a poor draft: the distance of the means grows with the dimension, and nothing is kept.
#
# Sources: De Bortoli et al. 2025, arXiv:2501.05370; Jacob, O'Leary and Atchadé 2020, arXiv:1708.03625.
