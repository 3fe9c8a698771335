r"""
Anytime-valid monitoring of a sampler
=====================================

**The problem.** A sampler runs every night, and every morning somebody looks at a p-value. Looked at often enough, a right
sampler fails as well; looked at once a year, a wrong one has a year.

**The idea.** Bet against the sampler. A bettor stakes a part of his wealth on how the next draw will differ from an exact
one. If the sampler is right, no bet has an advantage, the wealth :math:`W_t` is a martingale that started at 1, and

.. math::

   P\bigl(\sup_t W_t \ge 1 / \alpha\bigr) \le \alpha

(Ville 1939): the wealth may be watched after every draw, for ever, with one false-alarm probability for all looks. If the
sampler is wrong the bettor learns how, and the wealth grows exponentially.
"""

# %%
# Pairs of a draw and an exact draw
# ---------------------------------
#
# A Metropolis kernel on a normal law, and one with a mistake that is easily made: rejected proposals are tried again until
# one is accepted, instead of staying. Each replicate starts at an exact draw, so that after a few steps a right kernel is at
# an exact draw again. Replicates are independent, which a bettor needs; draws along one chain are not.

import matplotlib.pyplot as plt
import numpy as np

from ergodica.validation.anytime import Accumulation, Monitor, TwoSampleBets, UniformBets

rng = np.random.default_rng(3)


def metropolis(n, repeat, steps=5, width=2.0):
    """Return n independent replicates after some steps from an exact draw."""
    x = rng.normal(size=n)
    for _ in range(steps):
        moved = np.zeros(n, bool)
        for _ in range(30 if repeat else 1):
            proposal = x + width * rng.normal(size=n)
            accepted = ~moved & (rng.uniform(size=n) < np.exp((x**2 - proposal**2) / 2))
            x, moved = np.where(accepted, proposal, x), moved | accepted
    return x


# %%
# The monitor is shown a batch of pairs at a time. By default it bets on every coordinate and its square.

monitors = {}
for name, repeat in (("right", False), ("repeats until accepted", True)):
    monitors[name] = Monitor(TwoSampleBets(), alpha=1e-3)
    for _ in range(40):
        seen = monitors[name].update(metropolis(200, repeat), rng.normal(size=200))
        if seen.alarm_at is not None:
            break
    print(f"{name:24} {monitors[name].outcome().details}, in {seen.draws // 200} nights")

# %%

fig, axis = plt.subplots()
for name, monitor in monitors.items():
    axis.plot(monitor.path / np.log(10), label=name)
axis.axhline(3, color="#555555", linestyle="--", linewidth=1, label=r"$1 / \alpha$")
axis.set(xlabel="pairs", ylabel=r"$\log_{10}$ wealth", ylim=(-3, 4))
axis.legend(loc="center left", bbox_to_anchor=(0.02, 0.68))
plt.show()

# %%
# Is the alarm honest?
# --------------------
#
# Many right samplers, all watched after every draw: the share whose wealth *ever* reaches a height stays below its inverse.
# A t-test that is repeated after every draw from the twentieth on crosses its 5 % line far more often.

paths = []
ever = 0
for _ in range(200):
    x, y = rng.normal(size=1000), rng.normal(size=1000)
    paths.append(Monitor(TwoSampleBets(), alpha=0.05).update(x, y).largest)
    difference = x - y
    count = np.arange(1, 1001)
    mean = np.cumsum(difference) / count
    spread = np.sqrt(np.maximum(np.cumsum(difference**2) / count - mean**2, 1e-12))
    ever += bool(np.any(np.abs(mean / spread * np.sqrt(count))[19:] > 1.96))
for height in (5, 10, 20):
    print(f"wealth ever at {height:2}: {np.mean(np.exp(paths) >= height):.3f}, at most {1 / height:.3f}")
print(f"t-test ever below 0.05: {ever / 200:.3f}")

# %%
# Known laws, and many nights
# ---------------------------
#
# Where the distribution function is known, ``UniformBets`` bets on :math:`F(x)`, which needs no exact draws. The wealth at
# the end of a night is an e-value; those of independent nights are multiplied by ``Accumulation``, which starts anew when the
# code changes, with a smaller share of the level each time.

record = Accumulation(alpha=0.01)
for night in range(6):
    bets = UniformBets()
    bets.update(rng.beta(1.12, 1.0, size=1000) if night >= 2 else rng.uniform(size=1000))
    record = record.after(bets.log_wealth, version="first" if night < 2 else "second")
    print(f"night {night + 1}, version {record.version:6}: log e-value {record.log_evalue:6.2f}, alarm: {record.alarm}")

# %%
# What to choose, and when not to use it
# --------------------------------------
#
# - ``witnesses`` of ``TwoSampleBets``: functions in which errors are likely to show, such as the log density. Their number
#   costs little, since the wealth is an average.
# - For finitely many outcomes use ``multinomial_eprocess``, for shapes that no list of functions foresees the bets of a
#   classifier, ``classifier_bets``.
#
# When not to use it: where the number of draws is fixed and looked at once, an exact test of that size finds the same error
# with fewer draws. And never on the draws of one chain, where the next draw can be foretold from the last.
