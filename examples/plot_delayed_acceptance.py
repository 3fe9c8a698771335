r"""
Delayed acceptance: ask a cheap model first
===========================================

**The problem.** Each evaluation of the target solves an equation, runs a simulator or reads a large data set. Random-walk
Metropolis spends most of them on candidates that it then rejects. A cheap approximation of the target is at hand: a
coarse grid, a subset of the data, a normal law at the mode. How can it save evaluations without changing the result?

**The idea.** Let the surrogate :math:`s` decide first, and ask the target :math:`\pi` only about candidates that it lets
through; the second decision corrects what the first got wrong. With a symmetric proposal a candidate :math:`y` is accepted
with probability

.. math::  a(x, y) = \min\left(1, \frac{s(y)}{s(x)}\right) \min\left(1, \frac{\pi(y)\, s(x)}{\pi(x)\, s(y)}\right).

The product satisfies detailed balance for :math:`\pi`, whatever the surrogate is. It never exceeds Metropolis's
:math:`\min(1, \pi(y) / \pi(x))`, so a step is worth a little less; but most bad candidates cost nothing.
"""

# %%
# Exact on three states
# ---------------------
#
# ``check_exact`` follows the code's choices and returns its transition matrix. It keeps the target, and no move is likelier
# than under Metropolis's rule.

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from ergodica.samplers.metropolis.delayed_acceptance import DelayedAcceptance
from ergodica.samplers.metropolis.finite import MatrixWalk
from ergodica.samplers.metropolis.random_walk import GaussianStep, RandomWalk
from ergodica.theory.delayed_acceptance import delayed_acceptance_rates
from ergodica.theory.metropolis import metropolis_matrix
from ergodica.validation.exact import check_exact
from ergodica.validation.targets.finite import weighted

target = weighted("three states", (7.0, 1.0, 9.0))
surrogate = np.array([5.0, 4.0, 2.0])
proposal = np.array([[7 / 20, 1 / 10, 11 / 20], [10 / 17, 6 / 17, 1 / 17], [3 / 16, 1 / 4, 9 / 16]])
kernel = DelayedAcceptance(MatrixWalk(proposal), lambda x: jnp.log(jnp.asarray(surrogate))[x])
report = check_exact(kernel, target)
print(report)

plain = metropolis_matrix(target.probabilities, proposal)
fig, axes = plt.subplots(1, 2, figsize=(7.4, 3.2))
for ax, matrix, title in zip(axes, (plain, report.matrix), ("Metropolis", "delayed acceptance"), strict=True):
    ax.imshow(matrix, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(3, 3):
        ax.text(j, i, f"{matrix[i, j]:.3f}", ha="center", va="center", color="white" if matrix[i, j] > 0.6 else "black")
    ax.set(xticks=range(3), yticks=range(3), xlabel="to", ylabel="from", title=title)
plt.show()
rates = delayed_acceptance_rates(target.probabilities, surrogate, proposal)
print(f"the target is evaluated for {rates.evaluated:.3f} of the candidates, and {rates.accepted:.3f} are accepted")

# %%
# A regression and the normal law at its mode
# -------------------------------------------
#
# The target is the posterior of a logistic regression with 4000 observations; the surrogate is the normal law at its mode,
# a little widened. ``num_evals`` counts evaluations of the target.

rng = np.random.default_rng(3)
features = rng.normal(size=(4000, 2))
labels = rng.uniform(size=4000) < 1 / (1 + np.exp(-features @ np.array([1.0, -0.5])))
signed = jnp.asarray(np.where(labels, 1.0, -1.0)[:, None] * features)


def posterior(w):
    return -jnp.sum(jnp.log1p(jnp.exp(-signed @ w))) - 0.5 * jnp.sum(w**2)


mode = jnp.array([1.0, -0.5])
for _ in range(10):
    mode = mode - jnp.linalg.solve(jax.hessian(posterior)(mode), jax.grad(posterior)(mode))
precision = -0.9 * jax.hessian(posterior)(mode)


def normal_at_mode(w):
    return -0.5 * (w - mode) @ precision @ (w - mode)


def run(kernel, steps=6000):
    def body(state, key):
        state, info = kernel.step(key, state)
        return state, (state.position, info.num_evals)

    return jax.jit(lambda: jax.lax.scan(body, kernel.init(mode), jax.random.split(jax.random.key(0), steps))[1])()


scale = 0.12
walk, delayed = (
    run(kernel)
    for kernel in (
        RandomWalk(scale, logdensity=posterior),
        DelayedAcceptance(GaussianStep(scale), normal_at_mode, logdensity=posterior),
    )
)
fig, axes = plt.subplots(1, 2, figsize=(9.2, 3.4))
for (positions, evaluations), name, colour in ((walk, "random walk", "#bbbbbb"), (delayed, "delayed", "#1b5e7d")):
    axes[0].hist(positions[:, 0], bins=40, density=True, histtype="step", linewidth=1.6, color=colour, label=name)
    axes[1].plot(np.cumsum(evaluations), color=colour, label=name)
    moved = np.mean(np.any(np.diff(positions, axis=0) != 0, axis=1))
    print(f"{name}: {int(np.sum(evaluations))} evaluations of the target, {moved:.3f} of the steps moved")
axes[0].set(xlabel="first coefficient", title="the same law")
axes[1].set(xlabel="steps", ylabel="evaluations of the target", title="at a fraction of the evaluations")
for ax in axes:
    ax.legend()
plt.show()

# %%
# What to tune
# ------------
#
# - The surrogate. It has to be positive wherever the target is, and should have tails no lighter: where it is much too
#   small the second stage accepts nothing for a long time. Tempering it, :math:`s^{0.8}`, is a cheap insurance. A subset of
#   the data, scaled up, is a poor one: its mode is several standard deviations off.
# - The steps. Bad candidates are cheap, so that larger steps than for Metropolis's rule pay: try twice the scale.
# - ``num_evals`` and ``acceptance_rate`` in the info tell the price of an accepted step.
#
# When not to use it
# ------------------
#
# - The surrogate costs a tenth of the target or more: the second stage loses what the first saves.
# - Chains are run side by side under ``vmap``: they evaluate the target together. Use ``chain_method="sequential"``.
#
# Source: Christen and Fox 2005, doi:10.1198/106186005X76983.
