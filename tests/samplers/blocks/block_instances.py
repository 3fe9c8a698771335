"""Published instances of rules for chains and trees, and models made by Hypothesis."""

import itertools
import json
from fractions import Fraction
from pathlib import Path

import hypothesis.strategies as st

from tests.strategies import simplex


def model(table):
    """A table of laws by prefix, from rational strings by ``0,1``; the empty string is the empty prefix."""
    return {
        tuple(int(token) for token in prefix.split(",") if token): [Fraction(part) for part in law]
        for prefix, law in table.items()
    }


def context_free(law, depth):
    """The model with one law after all prefixes."""
    strings = (prefix for length in range(depth + 1) for prefix in itertools.product(range(len(law)), repeat=length))
    return dict.fromkeys(strings, law)


THIRDS = context_free([Fraction(1, 3), Fraction(2, 3)], 4), context_free([Fraction(2, 3), Fraction(1, 3)], 4)
"""The binary models of the self-checks: target and draft."""


@st.composite
def model_pairs(draw, size=3, gamma=2):
    """Target and draft with a law for each prefix: of weights with zeros, equal in places."""
    target, drafted = {}, {}
    for length in range(gamma + 1):
        for prefix in itertools.product(range(size), repeat=length):
            target[prefix] = list(draw(simplex(size)))
            equal = draw(st.booleans()) if length == 0 else False
            if length < gamma:
                drafted[prefix] = target[prefix] if equal else list(draw(simplex(size)))
    return target, drafted


PUBLISHED = [
    json.loads(line) for line in Path(__file__).with_name("published_instances.jsonl").read_text("utf-8").splitlines()
]
"""Rule, models, and what comes out: one instance a line."""
