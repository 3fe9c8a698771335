"""Rows of the catalogue for categorical draws in finite precision."""

from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.acceptance.integer_weights import IntegerDraw, integer_weights
from ergodica.samplers.acceptance.sum_tree import SumTree
from ergodica.validation.enumeration import enumerate_law
from ergodica.validation.evidence import Case, Check, Outcome
from ergodica.validation.sequential import sequential
from ergodica.validation.stationary_start import binomial_pvalue

_ROUNDING = 1e-12


def exact_outcome(error: Any, details: str, bound: float = 0.0) -> Outcome:
    """Return the outcome of an error that has to be at most a bound; ``details`` are for a failure."""
    return Outcome(float(error), bound, bool(error <= bound), 0.0, "" if error <= bound else details)


def _integers(subject: Any, key: PRNGKeyArray) -> Outcome:
    """Decide for each integer below the sum: an outcome of weight ``w`` is given by ``w`` of them."""
    del key
    wrong = 0
    for weights in ([3, 0, 1, 5], [0, 1], [1, 2, 3, 4, 0, 0, 7]):
        drawn = type(subject)(weights).decide(np.arange(sum(weights)))
        wrong += int(np.abs(np.bincount(drawn, minlength=len(weights)) - weights).sum())
    large = [2**61, 1, 2**60, 0, 1]
    ends = np.cumsum(large)
    edges = np.array([0, ends[0] - 1, ends[0], ends[1], ends[2] - 1, ends[2]])
    wrong += int(np.count_nonzero(type(subject)(large).decide(edges) != [0, 0, 1, 2, 2, 4]))
    return exact_outcome(wrong, f"{wrong} integers give another outcome")


def _integer_law(subject: Any, key: PRNGKeyArray) -> Outcome:
    """Hold the integers made of floats against the floats, tails of 1e-13 of the sum included."""
    del subject, key
    weights = np.exp(-np.linspace(0, 25, 4096))
    integers = integer_weights(weights)
    exact = [Fraction(weight) for weight in weights]
    total, whole = sum(exact), int(integers.sum())
    error = max(abs(Fraction(int(n), whole) * total / w - 1) for n, w in zip(integers, exact, strict=True))
    return exact_outcome(error, "an integer's share is off", 1e-4)


def _tree_law(subject: Any, key: PRNGKeyArray) -> Outcome:
    """Enumerate draws from a few outcomes, in both precisions."""
    error = 0.0
    for double in (False, True):
        with jax.enable_x64(double):
            for weights in ([3.0, 0.0, 1.0, 5.0, 2.0], [0.0, 2.0, 0.0, 1e-30, 0.0]):
                tree = type(subject)(np.asarray(weights))
                found = enumerate_law(lambda key, tree=tree: tree.draw(key), key).vector(8)
                wanted = np.pad(np.asarray(weights) / sum(weights), (0, 3))
                scale = 1.0 if double else 1e-7 / _ROUNDING
                relative = np.abs(found - wanted) / np.where(wanted > 0, wanted, 1)
                error = max(error, float(relative.max()) / scale)
    return exact_outcome(error, "the enumerated law is not that of the weights", 3 * _ROUNDING)


def _rare_classes(subject: Any, key: PRNGKeyArray) -> Outcome:
    """Compute the relative error of all outcomes, in single precision: 4096 tails of mass 2^-32 each behind one head."""
    del key
    with jax.enable_x64(False):
        weights = np.full(4097, 2.0**-32, np.float32)
        weights[7] = 1.0
        law = type(subject)(weights).law()[:4097]
    wanted = weights.astype(np.float64) / weights.sum(dtype=np.float64)
    return exact_outcome(np.abs(law / wanted - 1).max(), "the share of a rare outcome is off", 3e-6)


def rare_draws(name: str, weights: np.ndarray, rare: slice, n: int) -> Check:
    """Count rare outcomes among draws in single precision.

    Parameters
    ----------
    name
        Name of the law.
    weights
        Weights, shape ``(V,)``.
    rare
        The outcomes to count.
    n
        Draws of the first stage, a multiple of 100.
    """
    share = float(weights[rare].sum() / weights.sum())

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        with jax.enable_x64(False):
            kernel = type(subject)(weights.astype(np.float32))

            def some(key: PRNGKeyArray) -> Array:
                drawn = kernel.draw(key, (100,))
                return jnp.sum((drawn >= rare.start) & (drawn < rare.stop))

            counted = jax.jit(lambda keys: jnp.sum(jax.lax.map(some, keys)))

            def pvalue(key: PRNGKeyArray, n: int) -> float:
                return binomial_pvalue(int(counted(random.split(key, n // 100))), n // 100 * 100, share)

            return sequential(pvalue, key, n=n)

    return Check(f"statistics, single precision: {name}", run, 2.0)


ONE_HEAD = np.append(1.0, np.full(4096, 1e-9 / 4096))
HALF_HEAD = np.append(0.5, np.full(256, 0.5 / 256))


CASES = (
    Case(
        "integer-draw",
        IntegerDraw,
        lambda: IntegerDraw([1, 2, 3]),
        (Check("exact: all integers", _integers, 0.1), Check("exact: integers of floats", _integer_law, 0.1)),
    ),
    Case(
        "sum-tree",
        SumTree,
        lambda: SumTree([1.0, 2.0, 3.0]),
        (
            Check("exact: enumerated laws", _tree_law, 1.0),
            Check("relative error, single precision: 4096 tails of 2^-32", _rare_classes, 0.5),
            rare_draws("half of the mass on 256 outcomes", HALF_HEAD, slice(1, 257), 4000),
            rare_draws("4096 tails of 1e-9 together", ONE_HEAD, slice(1, 4097), 12000),
        ),
    ),
)
