r"""
Polar slice sampling on a donut
===============================

**The problem.** The mass of many targets lies in a thin shell around a centre: a donut, a sphere, the typical set of
any density in high dimension. Samplers that move along straight lines have to leave the shell to get ahead.

**The idea.** Move in polar coordinates :math:`x = r\theta`, with the direction :math:`\theta` on the unit sphere and
the radius :math:`r > 0`. In these coordinates a density :math:`p` becomes

.. math::  p_1(r, \theta) = r^{d-1}\, p(r\theta).

Draw a height :math:`t` below :math:`p_1(r, \theta)`; turn the direction along a random great circle, inside the slice
:math:`\{\theta : p_1(r, \theta) > t\}`; then move the radius inside the slice :math:`\{r : p_1(r, \theta) > t\}`.
Both moves shrink an interval until they land in the slice, so no step size has to be found and no gradient is needed.
"""

# %%
# A donut
# -------
#
# A ring of radius 5 and width 0.15, where some directions are preferred. It is written for any dimension: the ring is
# then a thin shell.

import blackjax
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from arviz_stats.base import array_stats

from ergodica import GibbsianPolarSlice

RADIUS, WIDTH = 5.0, 0.15


def logdensity(x):
    r = jnp.linalg.norm(x)
    return -0.5 * ((r - RADIUS) / WIDTH) ** 2 + 0.8 * x[0] / r + 0.4 * x[1] / r


def chain(step, state, seed, num_steps):
    """Return positions and evaluations of a chain; the step is traced once."""

    def body(state, key):
        state, cost = step(key, state)
        return state, (state.position, cost)

    keys = jax.random.split(jax.random.key(seed), num_steps)
    return jax.jit(lambda state: jax.lax.scan(body, state, keys)[1])(state)


# %%
# Three samplers
# --------------
#
# *Gibbsian polar slice* needs a width for the radius, chosen generously, and nothing else.


def polar_slice(d, num_steps):
    kernel = GibbsianPolarSlice(width=4 * WIDTH, logdensity=logdensity)

    def step(key, state):
        state, info = kernel.step(key, state)
        return state, info.num_evals

    return chain(step, kernel.init(start(d)), 0, num_steps)


# %%
# *NUTS* (of BlackJAX) with a step size adapted to an acceptance rate of 0.8; an evaluation is one of the gradient.


def nuts(d, num_steps):
    warmup = blackjax.window_adaptation(blackjax.nuts, logdensity)
    (state, parameters), _ = warmup.run(jax.random.key(1), start(d), num_steps=500)
    algorithm = blackjax.nuts(logdensity, **parameters)

    def step(key, state):
        state, info = algorithm.step(key, state)
        return state, info.num_integration_steps

    return chain(step, state, 1, num_steps)


# %%
# *Elliptical slice* (of BlackJAX) splits off a Gaussian as wide as the donut and slices along the ellipses of that
# Gaussian.


def elliptical_slice(d, num_steps):
    variance = RADIUS**2 / d

    def likelihood(x):
        return logdensity(x) + 0.5 * x @ x / variance

    algorithm = blackjax.elliptical_slice(likelihood, mean=jnp.zeros(d), cov=variance * jnp.eye(d))

    def step(key, state):
        state, info = algorithm.step(key, state)
        return state, info.subiter

    return chain(step, algorithm.init(start(d)), 2, num_steps)


def start(d):
    return jnp.zeros(d).at[0].set(-RADIUS)


SAMPLERS = {"Gibbsian polar slice": polar_slice, "NUTS": nuts, "elliptical slice": elliptical_slice}
COLOURS = dict(zip(SAMPLERS, ("#1b5e7d", "#d1603d", "#7a9e3a"), strict=True))

# %%
# The first 60 steps in the plane
# -------------------------------
#
# All three start at the far left, opposite to the preferred side.

runs = {(name, 2): sampler(2, 3000) for name, sampler in SAMPLERS.items()}

side = np.linspace(-6.5, 6.5, 300)
plane = np.stack(np.meshgrid(side, side), axis=-1)
image = np.exp(jax.vmap(jax.vmap(logdensity))(plane))

fig, axes = plt.subplots(1, 3, figsize=(9.6, 4.0), sharey=True)
for ax, name in zip(axes, SAMPLERS, strict=True):
    path, evaluations = runs[name, 2]
    ax.imshow(image, extent=(-6.5, 6.5, -6.5, 6.5), origin="lower", cmap="Greys", vmax=1.8 * image.max())
    ax.plot(*np.asarray(path[:60]).T, "o-", color=COLOURS[name], markersize=3, linewidth=0.6)
    ax.set(
        title=f"{name}\n{evaluations.mean():.0f} evaluations per step",
        xlabel="$x_1$",
        xticks=[-5, 0, 5],
        yticks=[-5, 0, 5],
    )
axes[0].set_ylabel("$x_2$")
plt.show()

# %%
# The polar sampler crosses the donut in single steps. NUTS follows the ring and pays with a long trajectory.
# Elliptical slice shrinks its ellipse until it meets the ring, often close to where it began.
#
# In higher dimension
# -------------------
#
# Effective draws of :math:`x_1` for 1000 evaluations.

DIMENSIONS = [2, 10, 50]
runs |= {(name, d): sampler(d, 3000) for name, sampler in SAMPLERS.items() for d in DIMENSIONS[1:]}


def rate(path, evaluations):
    size = array_stats.ess(np.asarray(path[500:, 0])[None], chain_axis=0, draw_axis=1, method="mean")
    return 1000 * size / float(evaluations[500:].sum())


fig, ax = plt.subplots()
for name, colour in COLOURS.items():
    rates = [rate(*runs[name, d]) for d in DIMENSIONS]
    ax.plot(DIMENSIONS, rates, "o-", color=colour)
    ax.annotate(name, (DIMENSIONS[-1], rates[-1]), (8, -3), textcoords="offset points", color=colour)
ax.set(xscale="log", yscale="log", xlabel="dimension", ylabel="effective draws\nper 1000 evaluations", xlim=(1.8, 160))
ax.set_xticks(DIMENSIONS, map(str, DIMENSIONS))
ax.minorticks_off()
plt.show()

# %%
# An evaluation of NUTS is one of the gradient, which costs a few times as much as one of the density. In fifty
# dimensions the Gaussian that elliptical slice splits off is itself nearly a shell of the right radius, so that it
# wins: it was given the answer. The polar sampler was given nothing but the centre.
#
# What to tune
# ------------
#
# - ``width``: a few standard deviations of the radius. Too small costs evaluations, never correctness.
# - ``center`` and ``scale``: polar coordinates need an origin. Put it near the mean, and make the target round with
#   the Cholesky factor of a covariance, both from other chains or an earlier run, not from the one that is running.
#
# When not to use it
# ------------------
#
# - If the target is close to a Gaussian and gradients are cheap, NUTS does as well and needs no centre.
# - With several modes far apart that no great circle connects; temper, or use a flow.
#
# Source: P. Schär, M. Habeck, D. Rudolf, Gibbsian polar slice sampling, ICML 2023, arXiv:2302.03945.
