r"""
Power sampling: sharper than the model, without training
========================================================

**The problem.** Among the strings of a language model, the likely ones are often the right ones. How are strings drawn from
the sharpened law :math:`\pi(x) \propto p(x)^\alpha`? Low temperature is not the answer: it sharpens each token by itself,

.. math::  \prod_t \frac{p(x_t \mid x_{<t})^\alpha}{\sum_v p(v \mid x_{<t})^\alpha},

and favours a token with many middling futures over one with a single good future.

**The idea.** Resample a suffix, and accept or reject it. From a string :math:`x`, a place :math:`m` is drawn, and
everything from there on is drawn anew at some temperature, from :math:`q(\cdot \mid x_{<m})`. The new string :math:`y` is
accepted with probability

.. math::  \min\left(1, \frac{p(y)^\alpha}{p(x)^\alpha}\,
           \frac{q(x_{\ge m} \mid x_{<m})}{q(y_{\ge m} \mid x_{<m})}\right),

which keeps :math:`p^\alpha` exactly, whatever the temperature.
"""

# %%
# A pivotal token
# ---------------
#
# The first token decides: after ``a`` one continuation is almost sure, after ``b`` two are equally likely. The model prefers
# ``b``; the square of its law prefers ``a``; low temperature prefers ``b`` even more. The chain's transition matrix is
# computed from the code that runs.

import itertools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from ergodica.samplers.sequences.power_sampling import PowerSampling
from ergodica.validation.enumeration import transition_matrix

jax.config.update("jax_enable_x64", True)

FIRST, SECOND = np.array([0.45, 0.55]), np.array([[0.02, 0.98], [0.5, 0.5]])


def pivotal(tokens, t):
    return jnp.where(t == 0, jnp.asarray(FIRST), jnp.asarray(SECOND)[tokens[0]])


strings = np.array(list(itertools.product((0, 1), repeat=2)))
model = (FIRST[:, None] * SECOND).reshape(-1)
power = model**2 / np.sum(model**2)
low = ((FIRST**2 / np.sum(FIRST**2))[:, None] * SECOND**2 / np.sum(SECOND**2, axis=1, keepdims=True)).reshape(-1)
matrix = transition_matrix(PowerSampling(pivotal, 2.0, length=2), strings)
print("error of one step from the target:", np.abs(power @ matrix - power).max())

fig, ax = plt.subplots(figsize=(6.4, 3.0))
for shift, law, name, colour in (
    (-0.27, model, "model", "#bbbbbb"),
    (0.0, low, "low temperature", "#c0562f"),
    (0.27, power, "power", "#1b5e7d"),
):
    ax.bar(np.arange(4) + shift, law, 0.25, color=colour, label=f"{name}: P(a) = {law[:2].sum():.2f}")
ax.set(xticks=range(4), xticklabels=["aa", "ab", "ba", "bb"], ylabel="probability")
ax.legend()
plt.tight_layout()
plt.show()

# %%
# How many moves?
# ---------------
#
# A string is built block by block, with a few moves after each block. With none this is low temperature; the error falls as
# moves are added. Here strings have six tokens out of three, so that the target can be listed.

VOCABULARY, LENGTH, ALPHA = 3, 6, 3.0
table = np.random.default_rng(5).dirichlet(np.full(VOCABULARY, 0.8), size=(VOCABULARY, VOCABULARY))


def trigram(tokens, t):
    before = tokens[jnp.maximum(t - 1, 0)] * (t > 0)
    earlier = tokens[jnp.maximum(t - 2, 0)] * (t > 1)
    return jnp.asarray(table)[earlier, before]


every = np.array(list(itertools.product(range(VOCABULARY), repeat=LENGTH)))
padded = np.concatenate([np.zeros((len(every), 2), int), every], axis=1)
log_p = sum(np.log(table[padded[:, t], padded[:, t + 1], padded[:, t + 2]]) for t in range(LENGTH))
target = np.exp(ALPHA * log_p - np.max(ALPHA * log_p))
target /= target.sum()

kernel = PowerSampling(trigram, ALPHA, length=LENGTH)
digits = VOCABULARY ** np.arange(LENGTH)[::-1]
draws, moves = 2000, (0, 6)
fig, axes = plt.subplots(1, 2, figsize=(9.4, 3.3))
grid = np.linspace(-7, log_p.max() + 0.2, 300)
axes[0].plot(grid, [target[log_p <= x].sum() for x in grid], color="black", linewidth=3, alpha=0.25, label="target")
for num_moves, colour in zip(moves, ("#c0562f", "#1b5e7d"), strict=True):
    run = jax.jit(jax.vmap(lambda key, n=num_moves: kernel.draw(key, block=2, num_moves=n)[0].position))
    drawn = np.asarray(run(jax.random.split(jax.random.key(num_moves), draws))) @ digits
    axes[0].plot(grid, [np.mean(log_p[drawn] <= x) for x in grid], color=colour, label=f"{num_moves} moves")
    print(f"{num_moves} moves: mean log p(x) {np.mean(log_p[drawn]):.3f}, target {target @ log_p:.3f}")
axes[0].set(xlabel="log p(x)", ylabel="distribution function")
axes[0].legend()

# %%
# A chain is exact in stationarity, and tells how well it moves: by ``place``, which part of the strings is stuck.

state = kernel.init(jnp.zeros(LENGTH, jnp.int32))


def step(state, key):
    state, info = kernel.step(key, state)
    return state, (info.place, info.acceptance_rate)


_, (place, rate) = jax.jit(lambda: jax.lax.scan(step, state, jax.random.split(jax.random.key(8), 3000)))()
starts = np.arange(LENGTH)
rates = [np.mean(rate[np.isclose(place, start / LENGTH)]) for start in starts]
axes[1].bar(starts, rates, color="#6aa6bf")
axes[1].set(xlabel="first token of the new suffix", ylabel="acceptance rate", ylim=(0, 1))
fig.tight_layout()
plt.show()

# %%
# What to tune
# ------------
#
# - ``temperature``: the default :math:`1/\alpha` is close to the target and seldom rejected. A temperature that is too low
#   proposes the same strings again; the chain then waits long in strings that it never proposes.
# - ``block`` and ``num_moves``: about ``length + num_moves * length**2 / (4 * block)`` tokens are drawn.
# - ``end``: strings that end early may be replaced by longer ones, and back. ``index="fixed"`` and ``"current"`` are both
#   exact; a place drawn among those of the current string without correction is not.
#
# When not to use it
# ------------------
#
# - One good string is wanted, not a sample: ``alpha=inf`` searches, and beam search is cheaper.
# - Suffixes come from a truncated law: strings outside it can never be proposed. Only temperature is offered here.
#
# Source: Karan and Du 2025, arXiv 2510.14901.
