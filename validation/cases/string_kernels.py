"""Rows of the catalogue for kernels on strings: first hitting of masked diffusion, power sampling."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ergodica.samplers.sequences.power_sampling import PowerSampling
from ergodica.samplers.sequences.structured.first_hitting import FirstHitting
from ergodica.validation.cases.rejection import adapted, finite_law
from ergodica.validation.evidence import Case
from ergodica.validation.exact import exact_check


def strings_of(
    law: Callable[[tuple[int, ...]], Any], length: int, end: int | None, prefix: tuple[int, ...] = (), p: Any = 1
) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Yield all strings of a model with their probabilities, in lexicographic order."""
    if len(prefix) == length or (prefix and prefix[-1] == end):
        yield prefix, p
        return
    for token, weight in enumerate(law(prefix)):
        if weight > 0:
            yield from strings_of(law, length, end, (*prefix, token), p * weight)


# --- masked diffusion ------------------------------------------------------------------------------------------------

JOINT = np.array([1, 1, 2, 1, 3, 0, 3, 3]).reshape(2, 2, 2) / 14
"""A joint law of three binary tokens."""


def joint_conditionals(tokens: Array) -> Array:
    """Return the conditionals of :data:`JOINT` at each place given the places that are not masked."""
    grids = jnp.indices((2, 2, 2))
    fits = jnp.all((tokens[:, None, None, None] < 0) | (grids == tokens[:, None, None, None]), axis=0)
    weights = jnp.where(fits, jnp.asarray(JOINT), 0.0)
    rows = [jnp.sum(weights, axis=tuple(axis for axis in range(3) if axis != place)) for place in range(3)]
    return jnp.stack(rows)


def unmatched_conditionals(tokens: Array) -> Array:
    """Return conditionals of no joint law: each depends on how many ones there are, and on the place."""
    ones = jnp.sum(jnp.where(tokens == 1, 1.0, 0.0))
    up = (1 + ones + jnp.arange(3)) / 8
    return jnp.stack([1 - up, up], axis=1)


def average_over_orders(conditionals: Callable[[Array], Array], length: int = 3) -> np.ndarray:
    """Return the average over orders of the products of conditionals, by string."""
    law = np.zeros((2,) * length)
    orders = list(itertools.permutations(range(length)))
    for order, string in itertools.product(orders, itertools.product((0, 1), repeat=length)):
        tokens, probability = np.full(length, -1), 1.0
        for place in order:
            with jax.enable_x64(True):
                row = np.asarray(conditionals(jnp.asarray(tokens)))[place]
            probability *= row[string[place]] / row.sum() if row.sum() > 0 else 0.0
            tokens[place] = string[place]
        law[string] += probability / len(orders)
    return law.reshape(-1)


BINARY3 = np.array(list(itertools.product((0, 1), repeat=3)))


def _hitting(conditionals: Callable[[Array], Array]) -> Callable[[Any], Any]:
    return lambda subject: type(subject)(conditionals, 3)


# --- power sampling --------------------------------------------------------------------------------------------------

FIRST, NEXT = np.array([0.6, 0.4]), np.array([[0.7, 0.3], [0.2, 0.8]])


def binary_law(tokens: Array, t: Array) -> Array:
    """Return the law of token ``t`` of a binary chain."""
    return jnp.where(t == 0, jnp.asarray(FIRST), jnp.asarray(NEXT)[tokens[jnp.maximum(t - 1, 0)]])


ENDING_FIRST = np.array([0.4, 0.35, 0.25])
ENDING_NEXT = np.array([[0.5, 0.2, 0.3], [0.1, 0.6, 0.3], [0.0, 0.0, 1.0]])


def ending_law(tokens: Array, t: Array) -> Array:
    """Return the law of token ``t`` of a chain on two tokens and an end."""
    return jnp.where(t == 0, jnp.asarray(ENDING_FIRST), jnp.asarray(ENDING_NEXT)[tokens[jnp.maximum(t - 1, 0)]])


def power_target(first: np.ndarray, following: np.ndarray, alpha: float, length: int, end: int | None) -> Any:
    """Return the power of the law of a chain on strings of at most ``length`` tokens, padded with -1."""
    strings = list(strings_of(lambda prefix: following[prefix[-1]] if prefix else first, length, end))
    states = np.full((len(strings), length), -1)
    for row, (string, _) in enumerate(strings):
        states[row, : len(string)] = string
    return finite_law("power", states, np.array([p for _, p in strings]) ** alpha)


BINARY_POWER = power_target(FIRST, NEXT, 2.0, 3, None)
ENDING_POWER = power_target(ENDING_FIRST, ENDING_NEXT, 2.0, 3, 2)


def _power(law: Any, **options: Any) -> Callable[[Any], Any]:
    return lambda subject: type(subject)(law, 2.0, length=3, **options)


CASES = (
    Case(
        "first-hitting",
        FirstHitting,
        lambda: FirstHitting(joint_conditionals, 3),
        (
            adapted(
                exact_check("conditionals of a joint law", finite_law("joint", BINARY3, JOINT.reshape(-1))),
                _hitting(joint_conditionals),
            ),
            adapted(
                exact_check(
                    "conditionals of no joint law",
                    finite_law("orders", BINARY3, average_over_orders(unmatched_conditionals)),
                ),
                _hitting(unmatched_conditionals),
            ),
        ),
    ),
    Case(
        "power-sampling",
        PowerSampling,
        lambda: PowerSampling(binary_law, 2.0, length=3),
        (
            adapted(exact_check("square of a binary chain", BINARY_POWER), _power(binary_law)),
            adapted(
                exact_check("square of a binary chain, temperature 1", BINARY_POWER), _power(binary_law, temperature=1)
            ),
            adapted(exact_check("strings that end", ENDING_POWER), _power(ending_law, end=2)),
            adapted(
                exact_check("strings that end, places of the string", ENDING_POWER),
                _power(ending_law, end=2, index="current"),
            ),
        ),
    ),
)
