"""Hypothesis strategies for laws on small vocabularies, in fractions, so that exactness is `==`."""

import itertools
from fractions import Fraction

import hypothesis.strategies as st
import numpy as np

VOCABULARIES = st.integers(1, 6)


def law(weights) -> np.ndarray:
    """Integer weights as a law: an array of fractions that sum to one."""
    total = sum(weights)
    return np.array([Fraction(weight, total) for weight in weights], dtype=object)


@st.composite
def simplex(draw, size: int, *, largest: int = 12) -> np.ndarray:
    """Laws on `size` tokens: generic, with zeros, one-hot, nearly one-hot, uniform, of two levels."""
    mode = draw(st.sampled_from(("generic", "zeros", "one-hot", "near", "uniform", "two-level")))
    if mode == "uniform":
        return law([1] * size)
    if mode == "one-hot":
        chosen = draw(st.integers(0, size - 1))
        return law([int(token == chosen) for token in range(size)])
    if mode == "two-level":
        return law([draw(st.sampled_from((1, 4))) for _ in range(size)])
    least = 0 if mode == "zeros" else 1
    weights = draw(st.lists(st.integers(least, largest), min_size=size, max_size=size).filter(any))
    if mode == "near":
        weights[draw(st.integers(0, size - 1))] = 10**6
    return law(weights)


@st.composite
def pairs(draw, sizes=VOCABULARIES) -> tuple[np.ndarray, np.ndarray]:
    """Target and draft: independent, equal, disjoint, one entry zeroed, ratios that are powers of two, swapped."""
    size = draw(sizes)
    p = draw(simplex(size))
    mode = draw(st.sampled_from(("independent", "equal", "disjoint", "zeroed", "ties", "swapped")))
    if mode == "equal":
        return p, p.copy()
    if mode == "disjoint" and size > 1:
        cut = draw(st.integers(1, size - 1))
        left, right = draw(simplex(cut)), draw(simplex(size - cut))
        zero = Fraction(0)
        return np.array([*left, *[zero] * (size - cut)], dtype=object), np.array([*[zero] * cut, *right], dtype=object)
    if mode == "zeroed":
        q = p.copy()
        q[draw(st.integers(0, size - 1))] = Fraction(0)
        return (p, q / q.sum()) if q.sum() > 0 else (p, p.copy())
    if mode == "ties":
        q = p * np.array([Fraction(2) ** draw(st.integers(-2, 2)) for _ in range(size)], dtype=object)
        return p, q / q.sum()
    q = draw(simplex(size))
    return (q, p) if mode == "swapped" else (p, q)


@st.composite
def models(draw, size: int, depth: int) -> dict[tuple[int, ...], np.ndarray]:
    """A language model: the law of the next token after every prefix of at most `depth` tokens."""
    prefixes = itertools.chain.from_iterable(
        itertools.product(range(size), repeat=length) for length in range(depth + 1)
    )
    return {prefix: draw(simplex(size)) for prefix in prefixes}


KEYS = st.integers(0, 2**32 - 1)
"""Seeds; make the key inside the test, `jax.random.key(seed)`."""

SCALES = st.sampled_from((Fraction(1, 7), Fraction(1), Fraction(3), Fraction(1000)))
"""Positive constants for tests of scale invariance."""
