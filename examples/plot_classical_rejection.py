r"""
Rejection, squeezes and exact simulation
========================================

**The problem.** Draws from a density :math:`f` that is known up to a constant, independent of each other and with the
law of :math:`f` itself: no burn-in, no autocorrelation, nothing to diagnose.

**The idea.** Draw below a curve that lies above :math:`f`, and keep what lies below :math:`f` too. If :math:`f \le M g`
for a law :math:`g` that can be drawn from, draw :math:`x \sim g`, and keep it with probability

.. math::  \frac{f(x)}{M g(x)}.

What is kept follows :math:`f`, and a share :math:`Z / M` is kept, where :math:`Z = \int f`. Everything on this page is
that idea with a cleverer envelope: one made of tangents that learns, a region in the plane, a table; or, for a chain whose
stationary law nobody can write down, its own infinite past.
"""

# %%
# A hull that learns
# ------------------
#
# If :math:`\log f` is concave, its tangents lie above it and its chords below. ``AdaptiveRejection`` draws from the
# exponential pieces below the tangents. A candidate below the chords is accepted without asking for :math:`f`; any other
# one is evaluated and becomes a point of the hull. Here the posterior of a log rate given a count of 3.

import itertools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from ergodica.samplers import random
from ergodica.samplers.acceptance.rejection.adaptive import AdaptiveRejection
from ergodica.samplers.acceptance.rejection.adaptive_weighted import AdaptiveWeightedRejection
from ergodica.samplers.acceptance.rejection.coupling_from_the_past import CouplingFromThePast
from ergodica.validation.enumeration import enumerate_law, transition_matrix

jax.config.update("jax_enable_x64", True)


def logdensity(x):
    return 3 * x - jnp.exp(x) - x**2 / 8


kernel = AdaptiveRejection([-1.0, 2.5], logdensity=logdensity)
state = kernel.init(jnp.asarray(0.5))
first = state.hull


@jax.jit
def run(state):
    def body(state, index):
        state, info = kernel.step(jax.random.fold_in(jax.random.key(0), index), state)
        return state, (state.position, info.num_evals)

    return jax.lax.scan(body, state, jnp.arange(20_000))


last, (draws, evals) = run(state)
print("evaluations for the first 10, 100, 1000 and 20000 draws:", *np.cumsum(np.asarray(evals))[[9, 99, 999, -1]])

# %%
# The hull closes in on the density, so that evaluations become rare: about as many as the hull has points.

grid = np.linspace(-2.2, 3.2, 400)


def tangents(hull):
    size = int(hull.size)
    lines = hull.h[:size, None] + hull.d[:size, None] * (grid - hull.x[:size, None])
    return np.min(np.asarray(lines), axis=0)


f = np.exp(logdensity(grid))
fig, (left, right) = plt.subplots(1, 2, figsize=(9.2, 3.3))
left.plot(grid, np.exp(tangents(first)), color="#d1603d", label="first hull")
left.plot(grid, np.exp(tangents(last.hull)), color="#7a9e3a", label=f"after {draws.size} draws")
points = np.asarray(first.x[: int(first.size)])
left.plot(points, np.exp(logdensity(points)), "o", color="#d1603d")
left.plot(grid, f, color="#222222", label="density")
left.set(ylim=(0, 1.7 * f.max()), xlabel="log rate", title="an envelope of tangents")
left.legend()
right.hist(np.asarray(draws), bins=80, density=True, color="#c9dbe6")
right.plot(grid, f / (f.sum() * (grid[1] - grid[0])), color="#222222")
right.set(xlabel="log rate", title="draws and density")
plt.show()

# %%
# Tokens under a constraint
# -------------------------
#
# A language model proposes tokens with law :math:`p`; a parser says which are allowed, and it is slow. Testing one token
# after another, none twice, gives a token with the law of :math:`p` given the constraint. The weight that comes with it
# has the mean :math:`Z`, the probability of the constraint, so that sequential Monte Carlo can go on. With ``enumerate_law``
# all outcomes of the code that runs are followed: :math:`E[w\,1\{y = x\}] = p(x)` for the allowed tokens, without error.

p = np.array([4, 2, 1, 1]) / 8


def is_allowed(token):
    return jnp.array([False, True, False, True])[token]


for weight in ("recursive", "geometric"):
    sampler = AdaptiveWeightedRejection(weight)
    law = enumerate_law(lambda key, sampler=sampler: sampler.draw(key, p, is_allowed), jax.random.key(0))
    mean = [law.expectation(lambda out, x=x: float(out.weight) * (int(out.token) == x)) for x in range(4)]
    spread = law.expectation(lambda out: float(out.weight) ** 2)
    tests = law.expectation(lambda out: float(out.num_tests))
    print(f"{weight}: E[w 1(y = x)] = {np.round(mean, 12)}, E[w^2] = {spread:.4f}, {tests:.2f} tests on average")

# %%
# The past of a chain
# -------------------
#
# Suppose that a chain has run for ever. Its state now has the stationary law. It can be found: draw the maps that moved
# all states at times :math:`-1, -2, \dots`, and stop as soon as all states of the distant past lead to one state now. The
# value counts at time zero. To look only at runs that were quick is a popular mistake, and it favours some states.


def walk(key, state):
    """Up with probability 3/5, down otherwise, held at the ends of {0, 1, 2}."""
    return jnp.clip(state + 2 * random.bernoulli(key, 0.6).astype(int) - 1, 0, 2)


stationary = np.array([4, 6, 9]) / 19
quick = {0: 0.0, 1: 0.0, 2: 0.0}
for ups in itertools.product((1, -1), repeat=2):
    ends = [np.clip(np.clip(x + ups[0], 0, 2) + ups[1], 0, 2) for x in range(3)]
    if len(set(ends)) == 1:
        quick[int(ends[0])] += np.prod([0.6 if up == 1 else 0.4 for up in ups])
quick = np.array(list(quick.values())) / sum(quick.values())
sampler = CouplingFromThePast(walk, 3)
keys = jax.random.split(jax.random.key(1), 20_000)
past, info = jax.jit(jax.vmap(lambda key: sampler.step(key, sampler.init(jnp.asarray(0)))))(keys)
frequencies = np.bincount(past.position, minlength=3) / keys.size

fig, ax = plt.subplots(figsize=(6, 3.2))
states = np.arange(3)
ax.bar(states - 0.2, frequencies, 0.4, color="#1b5e7d", label="coupling from the past")
ax.bar(states + 0.2, quick, 0.4, color="#bbbbbb", label="runs that met within two steps")
ax.stairs(stationary, np.arange(4) - 0.5, color="#222222", label="stationary law")
ax.set(xticks=states, xlabel="state", ylabel="probability")
ax.legend()
plt.show()

# %%
# What to do when patience ends? To stay where the chain is would be the same mistake. The kernel sends its position through
# the maps that were drawn, which keeps the stationary law whatever the cap. Its transition matrix, by enumeration:

matrix = transition_matrix(CouplingFromThePast(walk, 3, max_updates=4), np.arange(3))
print(matrix.round(4), "\nlargest change of the stationary law:", np.abs(stationary @ matrix - stationary).max())

# %%
# What to tune
# ------------
#
# - The envelope. The share of candidates that is kept is the ratio of two areas, and in :math:`d` dimensions a fixed
#   mismatch in each makes it fall like :math:`c^d`.
# - ``AdaptiveRejection``: nothing, or a point on either side of the mode. Pass the ends of a bounded support.
# - ``num_violations`` in the info: if it is not zero, the bound was too low and the draws are wrong.
# - Known laws need no envelope of yours: ``TruncatedNormal`` for tails however far out, ``AliasTable`` for finite laws in
#   constant time.
#
# When not to use it
# ------------------
#
# - In more than a few dimensions, or without a bound that is known: use a Markov chain.
# - On a density that is not log-concave: ``AdaptiveRejection`` notices, but too late. Use a slice sampler.
# - Coupling from the past needs maps that bring states together, and either few states or an order that the maps keep.
#
# Sources: von Neumann 1951; Gilks and Wild 1992, doi:10.2307/2347565; Lipkin et al. 2025, arXiv:2504.05410; Propp and Wilson
# 1996.
