r"""
Slice sampling, pictured
========================

**The problem.** You can evaluate a density up to a constant, in one dimension or coordinate by coordinate. You have
no gradient, and you do not want to find a step size by trial and error.

**The idea.** To draw from a density is to draw a point uniformly from the area below its graph and to forget the
height. Alternate: given the point, draw a height below the graph; given the height, draw a point from the *slice*
where the graph is higher,

.. math::  t \mid x \sim \mathrm{U}\bigl(0, p(x)\bigr), \qquad  x \mid t \sim \mathrm{U}\bigl\{x : p(x) > t\bigr\}.

Both are exact draws from conditional laws, so the density is left invariant: this is Gibbs sampling on the area.
"""

# %%
# One step, from left to right
# ----------------------------
#
# The slice is found without knowing it. *Step out*: put an interval of width :math:`w` at random around the point and
# widen it until both ends are outside the slice. *Shrink*: draw uniformly from the interval; a point outside the
# slice is rejected and becomes the new end on its side, so that rejections are cheap and few.

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

WEIGHTS, MEANS, SCALES = jnp.array([0.55, 0.45]), jnp.array([-1.2, 1.5]), jnp.array([0.6, 0.9])


def logdensity(x):
    parts = jnp.log(WEIGHTS / SCALES) - 0.5 * ((x - MEANS) / SCALES) ** 2
    return jax.scipy.special.logsumexp(parts) - 0.5 * jnp.log(2 * jnp.pi)


def density(x):
    return np.exp(jax.vmap(logdensity)(jnp.atleast_1d(x)))


grid = np.linspace(-4, 5, 800)
p = density(grid)
x0, width, rng = -1.55, 1.4, np.random.default_rng(4)
height = 0.62 * density(x0)[0]
left = x0 - 0.55 * width
steps = [(left, left + width)]
while density(steps[-1][0])[0] > height:
    steps.append((steps[-1][0] - width, steps[-1][1]))
while density(steps[-1][1])[0] > height:
    steps.append((steps[-1][0], steps[-1][1] + width))
low, high = steps[-1]
rejected = []
while True:
    candidate = rng.uniform(low, high)
    if density(candidate)[0] > height:
        break
    rejected.append(candidate)
    low, high = (candidate, high) if candidate < x0 else (low, candidate)

fig, axes = plt.subplots(1, 3, figsize=(9.2, 2.8), sharey=True)
titles = ["1. draw a height", "2. step out", "3. shrink until a point is inside"]
for ax, title in zip(axes, titles, strict=True):
    ax.plot(grid, p, color="#555555")
    ax.fill_between(grid, 0, p, color="#eef3f6")
    ax.set(title=title, xlabel="$x$", ylim=(0, None), yticks=[], xlim=(-4, 5))
    ax.plot(x0, height, "o", color="#1b5e7d", zorder=3)
axes[0].vlines(x0, 0, density(x0), color="#1b5e7d", linewidth=1, linestyle=":")
axes[0].annotate("$t$", (x0, height), (-14, -3), textcoords="offset points")
inside = p > height
for ax in axes[1:]:
    ax.fill_between(grid, 0, height, where=inside, color="#c9dbe6")
    ax.axhline(height, color="#1b5e7d", linewidth=0.8)
for level, (a, b) in enumerate(steps):
    axes[1].plot([a, b], [height * (1.07 + 0.1 * level)] * 2, "|-", color="#d1603d")
axes[2].plot([low, high], [height * 1.07] * 2, "|-", color="#d1603d")
axes[2].plot(rejected, [height] * len(rejected), "x", color="#d1603d")
axes[2].plot(candidate, height, "o", markerfacecolor="white", color="#1b5e7d", zorder=3)
plt.show()

# %%
# On the right, the cross is a rejected point and the open circle the new one. The slice (shaded) has two pieces here;
# the chain can go from one to the other.
#
# The kernel
# ----------
#
# ``CoordinateSlice`` does this for one coordinate after the other. Its claim holds for every width.

from ergodica import CoordinateSlice

kernel = CoordinateSlice(width=1.4, logdensity=logdensity)
print(kernel.claim, "--", kernel.claim.source)


def chain(kernel, seed, num_steps=20_000):
    def body(state, key):
        state, info = kernel.step(key, state)
        return state, (state.position, info.num_evals)

    keys = jax.random.split(jax.random.key(seed), num_steps)
    return jax.lax.scan(body, kernel.init(jnp.asarray(0.0)), keys)[1]


draws, evaluations = jax.jit(chain)(kernel, 0)
print(f"{evaluations.mean():.1f} evaluations of the density per step")

fig, ax = plt.subplots()
ax.hist(draws, bins=np.linspace(-4, 5, 91), density=True, color="#c9dbe6", label="20 000 draws")
ax.plot(grid, p, color="#1b5e7d", label="density")
ax.set(xlabel="$x$", yticks=[])
ax.spines.left.set_visible(False)
ax.legend()
plt.show()

# %%
# What to tune
# ------------
#
# Only the width, and only for speed. A small one steps out often, a large one rejects often. The hyperparameters are
# leaves of the kernel, so ``vmap`` runs twenty widths at once, without compiling anew.

from arviz_stats.base import array_stats

widths = jnp.geomspace(0.05, 100, 20)
draws, evaluations = jax.jit(jax.vmap(lambda w: chain(CoordinateSlice(width=w, logdensity=logdensity), 1, 4000)))(
    widths
)
sizes = np.array([array_stats.ess(np.asarray(d)[None], chain_axis=0, draw_axis=1, method="mean") for d in draws])

fig, ax = plt.subplots()
ax.plot(widths, 1000 * sizes / np.asarray(evaluations.sum(axis=1)), "o-", color="#1b5e7d")
ax.set(xscale="log", xlabel="width", ylabel="effective draws\nper 1000 evaluations", ylim=(0, None))
plt.show()

# %%
# Between widths of 1 and 100 the cost changes by less than a factor of two, because each rejected point shrinks the
# interval: too wide costs little, too narrow costs more. When in doubt, choose a large width. A random-walk
# Metropolis sampler has no such slack.
#
# When not to use it
# ------------------
#
# - With a gradient and many dimensions, NUTS makes longer moves.
# - With strongly correlated coordinates, updates along axes are short. Pass other directions: ``HitAndRunSlice`` with
#   a ``scale``; or change coordinates: :doc:`plot_polar_slice_donut`.
#
# Source: R. M. Neal, Slice sampling, Annals of Statistics 31(3), 2003.
