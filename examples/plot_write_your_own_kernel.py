r"""
Write your own kernel
=====================

You have an idea for a sampler. This page turns it into a kernel, finds the mistake in it, and gets a transition
matrix, a certificate and a rate of convergence, in about thirty lines of your own.

The idea: on the states :math:`0, \dots, n - 1`, hop to a neighbour and accept by Metropolis' rule,

.. math::  a(x, y) = \min\Bigl(1, \frac{\pi(y)}{\pi(x)}\Bigr).
"""

# %%
# Two methods and a claim
# -----------------------
#
# A kernel is a final class with its hyperparameters as fields. ``init`` checks the start, ``step`` makes one
# transition. The claim says what the class promises, so that the checks know what to hold against it.
#
# Randomness comes from ``ergodica.samplers.random`` and from nowhere else, and the decision ``u < a`` is written
# ``random.bernoulli(key, a)``: it says *what* is decided. This is what makes the exact check below possible.
#
# At the two ends there is only one neighbour, so we go there.

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import ergodica
from ergodica.samplers import inputs, random
from ergodica.samplers.density import as_logdensity, evaluate
from ergodica.samplers.kernel import DensityState, Kernel

jax.config.update("jax_enable_x64", True)  # exact laws are computed to 1e-12


def neighbour(key, x, size):
    """Return a neighbour, and the log of q(y, x) / q(x, y)."""
    inner = jnp.where(random.bernoulli(key), x + 1, x - 1)
    return jnp.where(x == 0, 1, jnp.where(x == size - 1, x - 1, inner)), 0.0


class Hop(Kernel):
    """Metropolis sampler on 0, ..., size - 1 that hops to a neighbour."""

    size: int
    propose: Callable = eqx.field(static=True)
    logdensity: jax.tree_util.Partial | None = None

    @property
    def claim(self):
        return ergodica.Claim(ergodica.Exactness.EXACT, "Leaves the target invariant.", reversible=True)

    def init(self, position, *, key=None):
        position = inputs.integer_position(position, "Hop")
        return DensityState(position, evaluate(self.logdensity, position, jnp.result_type(float))[0])

    def step(self, key, state):
        key_hop, key_accept = random.split(key)
        candidate, log_correction = self.propose(key_hop, state.position, self.size)
        logdensity, _ = evaluate(self.logdensity, candidate, state.logdensity.dtype)
        ratio = jnp.exp(logdensity - state.logdensity + log_correction)
        accepted = random.bernoulli(key_accept, jnp.minimum(1.0, ratio))
        moved = DensityState(candidate, logdensity)
        return jax.tree.map(lambda new, old: jnp.where(accepted, new, old), moved, state), {"accepted": accepted}


# %%
# Run it
# ------
#
# On a target that we know, of course.

from ergodica.validation.targets.finite import weighted

target = weighted("target", (0.4, 1.0, 3.0, 2.0, 4.0, 3.0, 1.0, 0.4))
n = len(target.probabilities)
kernel = Hop(n, neighbour, as_logdensity(target.logdensity))


def histogram(kernel, num_steps):
    def body(state, key):
        state, _ = kernel.step(key, state)
        return state, state.position

    _, path = jax.lax.scan(body, kernel.init(jnp.asarray(0)), jax.random.split(jax.random.key(1), num_steps))
    return np.bincount(np.asarray(path), minlength=n) / num_steps


frequencies = histogram(kernel, 3000)

fig, ax = plt.subplots()
ax.bar(range(n), target.probabilities, color="#c9dbe6", label="target")
ax.plot(range(n), frequencies, "o", label="3000 steps of the kernel", color="#1b5e7d")
ax.set(xlabel="state", ylabel="probability", xticks=range(n))
ax.legend(ncols=2)
plt.show()

# %%
# That looks right. Is it?
#
# Ask for the law
# ---------------
#
# ``check_exact`` follows every random choice of ``step`` from every state, and so computes the transition matrix of
# the code that runs, to rounding error. Nothing is drawn, so nothing is due to chance.

report = ergodica.check_exact(kernel, target)
print(report)

# %%
# It is wrong, and the report says where: more flows from 0 to 1 than back. At the ends we propose the only neighbour
# with probability one, and the neighbour proposes the end with probability one half. The proposal is not symmetric,
# so the ratio needs Hastings' correction,
#
# .. math::  a(x, y) = \min\Bigl(1, \frac{\pi(y)\, q(y, x)}{\pi(x)\, q(x, y)}\Bigr).
#
# The first version gives the two end states half of their probability. That is less than three percent of the mass,
# so no histogram, R-hat or effective sample size shows it.


def neighbour_corrected(key, x, size):
    """The same with the correction: an end is left for sure, any other state to either side with probability 1/2."""
    candidate, _ = neighbour(key, x, size)

    def log_probability(state):
        return jnp.where((state == 0) | (state == size - 1), 0.0, -jnp.log(2.0))

    return candidate, log_probability(candidate) - log_probability(x)


corrected = Hop(n, neighbour_corrected, as_logdensity(target.logdensity))
repaired = ergodica.check_exact(corrected, target)
print(repaired)

# %%
# What the matrix tells
# ---------------------
#
# With the matrix at hand, the rest of Markov chain theory is linear algebra: the law that the first version really
# samples, how fast the second one forgets its start, and the asymptotic variance of any average.

from ergodica.theory.finite_chain import asymptotic_variance, reversible_spectrum, stationary_law

wrong_law = stationary_law(report.matrix)
eigenvalues, _ = reversible_spectrum(repaired.matrix)
relaxation = 1 / (1 - eigenvalues[1])
states = np.arange(n)
spread = target.probabilities @ states**2 - (target.probabilities @ states) ** 2
inefficiency = asymptotic_variance(repaired.matrix, states) / spread
print(f"relaxation time {relaxation:.1f} steps; one independent draw of the mean costs {inefficiency:.1f} steps")

fig, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3.2), width_ratios=[1.25, 1])
left.axhline(1, color="#bbbbbb", linewidth=1)
left.plot(states, wrong_law / target.probabilities, "s", color="#d1603d", label="first version")
left.plot(states, stationary_law(repaired.matrix) / target.probabilities, "o", color="#1b5e7d", label="corrected")
left.set(xlabel="state", xticks=states, ylim=(0, 1.25), title="Probability that the code gives / target probability")
left.legend(loc="lower center")
image = right.imshow(repaired.matrix, vmin=0, vmax=1)
right.set(xlabel="to", ylabel="from", xticks=states, yticks=states, title="Transition probabilities")
fig.colorbar(image, ax=right, shrink=0.85)
plt.show()

# %%
# Certify
# -------
#
# ``certify`` puts the exact check and a statistical one together: chains that start with exact draws from the target
# must still have its law after some steps. The false-alarm probability of the second is a proven bound.

print(ergodica.certify(corrected, target))

# %%
# Next steps
# ----------
#
# - A kernel whose target is a field ``logdensity`` gets ``bind``, ``unbound`` and ``refresh`` from the base class, so
#   it works in ``cycle``, ``mixture``, ``on`` and ``tempered`` as it is, and one on real positions is a plug-in for
#   NumPyro.
# - For a kernel on the real line, pass a target of ``ergodica.validation.targets.continuous``. The exact check then
#   gives way to the statistical ones.
# - Metropolis-Hastings around a proposal need not be written again: ``corrected(proposal)`` does it, once.
