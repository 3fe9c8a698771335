r"""
Samples that are arranged: codes, and draws without replacement
================================================================

**The problem.** Sixteen strings are drawn from a language model to estimate a mean: the share of right answers, the length,
a reward. Independent strings repeat each other, and miss by chance what the model thinks likely.

**The idea.** Two arrangements keep means unbiased. *Arithmetic sampling* decodes codes :math:`u` in :math:`[0, 1)`: each
token owns an interval as long as its probability, and :math:`u` goes on with its place in the interval that holds it. The
codes are equally spaced, with one random offset :math:`U` for all,

.. math::  u_i = \frac{i + U}{n}, \qquad i = 0, \ldots, n - 1,

so that each string has the model's law, and each prefix :math:`s` begins :math:`n P(s)` of the strings, rounded up or down.
*Sampling without replacement* never draws a string twice; its strings get weights. With keys
:math:`\log p_i + \text{Gumbel}_i`, of which :math:`\kappa` is the largest outside the sample, the weights are

.. math::  w_i = \frac{p_i}{1 - \exp(-\exp(\log p_i - \kappa))}, \qquad
           \operatorname{E} \sum_{i \in S} w_i f_i = \sum_i p_i f_i .
"""

# %%
# Codes that are spread evenly
# ----------------------------
#
# A model of strings of four tokens whose next token likes to repeat the last. Each dot is a code, placed where its string
# lies among all strings in lexicographic order; bars are the probabilities of the first two tokens.

import jax
import matplotlib.pyplot as plt
import numpy as np

from ergodica.samplers.sequences.structured.arithmetic import ArithmeticSampling
from ergodica.samplers.sequences.structured.stochastic_beam_search import StochasticBeamSearch
from ergodica.samplers.sequences.structured.without_replacement import MurthyWeights, RajWeights

VOCABULARY, LENGTH = 4, 4


def law(prefix):
    weights = np.array([4.0, 2.0, 1.0, 1.0])
    if prefix:
        weights[prefix[-1]] += 6
    return weights / weights.sum()


def probability(string):
    return np.prod([law(string[:t])[token] for t, token in enumerate(string)])


every = [tuple(map(int, np.unravel_index(i, (VOCABULARY,) * LENGTH))) for i in range(VOCABULARY**LENGTH)]
p = np.array([probability(string) for string in every])
number = {string: i for i, string in enumerate(every)}
n = 16
rng = np.random.default_rng(2)
independent = rng.choice(len(every), size=n, p=p)
even = np.array([number[tuple(s)] for s in ArithmeticSampling(n, LENGTH).draw(jax.random.key(1), law).tolist()])
pairs = p.reshape(VOCABULARY**2, -1).sum(axis=1)
edges = np.append(0, np.cumsum(pairs))
fig, ax = plt.subplots(figsize=(8.6, 2.9))
for left, right, index in zip(edges[:-1], edges[1:], range(VOCABULARY**2), strict=True):
    ax.axvspan(left, right, color="#e8eef2" if index % 2 else "#f7f9fb", zorder=0)
running = np.append(0, np.cumsum(p))
for y, drawn, colour in ((0, independent, "#bbbbbb"), (1, even, "#1b5e7d")):
    ax.plot((running[drawn] + running[drawn + 1]) / 2, np.full(n, y), "o", color=colour, markersize=6)
ax.set(
    yticks=(0, 1),
    yticklabels=("independent", "one offset"),
    ylim=(-0.6, 1.6),
    xlim=(0, 1),
    xlabel="place among all strings",
)
plt.tight_layout()
plt.show()
counts = np.bincount(even // VOCABULARY**2, minlength=pairs.size)
print("counts of first two tokens minus 16 P:", np.round(counts - n * pairs, 2))

# %%
# Errors of means
# ---------------
#
# Four ways to estimate three means from strings: how often the last token is 0, the number of distinct tokens, and a
# function that has nothing to do with the order of the strings. The sum of the weights varies about one, which hurts means far
# from zero; dividing by it trades the error for a bias.

functions = {
    "last token is 0": np.array([string[-1] == 0 for string in every], float),
    "distinct tokens": np.array([len(set(string)) for string in every], float),
    "unrelated": np.random.default_rng(0).normal(size=len(every)),
}
truth = {name: float(p @ f) for name, f in functions.items()}
repeats, sizes = 80, (4, 8, 16, 32)
errors = {
    name: {"independent": [], "arithmetic": [], "without replacement": [], "divided by sum": []} for name in functions
}
for size in sizes:
    sums = {name: dict.fromkeys(ways, 0.0) for name, ways in errors.items()}
    for repeat in range(repeats):
        key = jax.random.fold_in(jax.random.key(size), repeat)
        drawn = rng.choice(len(every), size=size, p=p)
        spread = [number[tuple(s)] for s in ArithmeticSampling(size, LENGTH).draw(key, law).tolist()]
        beam = StochasticBeamSearch(size, LENGTH).draw(key, law)
        chosen = [number[tuple(s)] for s in beam.strings.tolist()]
        for name, f in functions.items():
            weighted = beam.mean(f[chosen])
            estimates = (f[drawn].mean(), f[spread].mean(), weighted, weighted / beam.mean(np.ones(size)))
            for way, estimate in zip(errors[name], estimates, strict=True):
                sums[name][way] += (estimate - truth[name]) ** 2 / repeats
    for name in functions:
        for way in errors[name]:
            errors[name][way].append(np.sqrt(sums[name][way]))
fig, axes = plt.subplots(1, 3, figsize=(10.4, 3.2), sharex=True)
for ax, (name, ways) in zip(axes, errors.items(), strict=True):
    for (way, values), colour in zip(ways.items(), ("#bbbbbb", "#1b5e7d", "#c0562f", "#d9a441"), strict=True):
        ax.loglog(sizes, values, "o-", color=colour, label=way)
    ax.set(xlabel="strings", title=name, xticks=sizes, xticklabels=sizes)
    ax.minorticks_off()
axes[0].set_ylabel("root mean square error")
axes[0].legend()
plt.tight_layout()
plt.show()

# %%
# Weights of a small sample, exactly
# ----------------------------------
#
# Three weightings of a sample of two from four outcomes. All means over ordered samples are the law, in fractions; averaging
# Raj's weights over the orders of the draws gives Murthy's, whose variance is never larger.

from fractions import Fraction
from itertools import permutations

four = np.array([Fraction(1, 2), Fraction(1, 4), Fraction(3, 20), Fraction(1, 10)], dtype=object)
f = np.array([1, -2, 3, 5])
for rule in (RajWeights(), MurthyWeights()):
    mean, second = 0 * four, Fraction(0)
    for sample in permutations(range(4), 2):
        chance = four[sample[0]] * four[sample[1]] / (1 - four[sample[0]])
        weights = rule.weights(four[list(sample)], sample)
        mean[list(sample)] += chance * weights
        second += chance * (weights @ f[list(sample)]) ** 2
    print(type(rule).__name__, [str(x) for x in mean], "variance", float(second - (four @ f) ** 2))

# %%
# What to tune
# ------------
#
# - The order of the vocabulary. Codes are spread over strings in lexicographic order; a function that changes slowly along
#   it gains most. Any fixed order is allowed.
# - Several offsets. The strings of one set are dependent, so that their spread tells nothing about the error:
#   ``quasi_random_mean`` repeats sets with independent offsets.
# - Weights. ``ThresholdWeights`` for large samples, at no cost; ``MurthyWeights`` up to fourteen outcomes.
#
# When not to use them
# --------------------
#
# - Strings are used one at a time, or each has to be independent of the others.
# - The strings are long and all improbable: without replacement is then the same as with it.
# - Weights that are divided by their sum are biased; keep them as they are, or accept the bias for less variance.
#
# Sources: Vilnis et al. 2023, arXiv 2210.15458; Parashar et al. 2024, arXiv 2411.06251; Kool et al. 2019, arXiv 1903.06059.
