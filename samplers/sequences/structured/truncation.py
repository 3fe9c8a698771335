"""Truncations by rank and by probability."""

from typing import Any

import equinox as eqx
import jax
import numpy as np

from ergodica.samplers import inputs
from ergodica.samplers.acceptance.laws import namespace
from ergodica.samplers.claim import Claim
from ergodica.samplers.sequences.structured.target_transform import Truncation, comparable, conditional_claim, level

__all__ = ["EpsilonCutoff", "MinP", "TopK", "TopP", "above", "ranks", "shortest_prefix"]


def ranks(order: Any) -> Any:
    """Return the place of each token in an order."""
    return namespace(order).argsort(order) if isinstance(order, jax.Array) else np.argsort(order)


def descending(law: Any) -> Any:
    return namespace(law).argsort(-law, stable=True)


def before(values: Any) -> Any:
    """Return the sums of all entries before each."""
    xp = namespace(values)
    running = xp.cumsum(values)
    return xp.concatenate([0 * values[:1], running[:-1]])


def shortest_prefix(p: Any, order: Any, mass: Any) -> Any:
    """Return which tokens are in the shortest prefix of an order with at least a given mass, which may be all of it."""
    needed = before(p[order]) < mass
    first = namespace(p).arange(p.shape[0]) == 0
    # Rounded sums may reach one early.
    return (needed | first | (mass >= 1))[ranks(order)] & (p > 0)


def above(p: Any, threshold: Any) -> Any:
    """Return which tokens are likelier than a threshold; the likeliest in any case."""
    xp = namespace(p)
    return (p > threshold) | (xp.arange(p.shape[0]) == p.argmax())


class TopK(Truncation):
    """Keeps the ``k`` likeliest tokens; of equally likely ones, the first.

    Parameters
    ----------
    k
        Static number of tokens, at least 1.

    Raises
    ------
    ValueError, TypeError
        If ``k`` is no positive integer.

    References
    ----------
    A. Fan, M. Lewis, Y. Dauphin, 2018, Hierarchical neural story generation, arXiv 1805.04833.
    """

    k: int = eqx.field(static=True)

    def __init__(self, k: int) -> None:
        self.k = inputs.static_count("k", k)

    @property
    def claim(self) -> Claim:
        """The law given one of the ``k`` likeliest tokens."""
        return conditional_claim(
            "a draw has the law p given the k likeliest tokens", "Fan et al. 2018, arXiv 1805.04833"
        )

    def keep(self, p: Any) -> Any:
        """Return which tokens are among the ``k`` likeliest."""
        return ranks(descending(p)) < self.k


class TopP(Truncation):
    """Keeps the fewest likeliest tokens that have a given mass together (nucleus sampling).

    Parameters
    ----------
    mass
        In [0, 1]; 1 keeps everything, 0 the likeliest token.

    Raises
    ------
    ValueError
        If ``mass`` is outside [0, 1].

    References
    ----------
    A. Holtzman, J. Buys, L. Du, M. Forbes, Y. Choi, 2020, The curious case of neural text degeneration, arXiv 1904.09751.
    """

    mass: Any

    def __init__(self, mass: Any) -> None:
        self.mass = level("mass", mass)

    @property
    def claim(self) -> Claim:
        """The law given the nucleus."""
        return conditional_claim(
            "a draw has the law p given the shortest prefix of the likeliest tokens with the asked mass",
            "Holtzman et al. 2020, arXiv 1904.09751",
        )

    def keep(self, p: Any) -> Any:
        """Return which tokens are in the nucleus."""
        return shortest_prefix(p, descending(p), comparable(p, self.mass))


class MinP(Truncation):
    """Keeps the tokens that are at least ``fraction`` times as likely as the likeliest.

    Parameters
    ----------
    fraction
        In [0, 1]; 0 keeps everything.

    Raises
    ------
    ValueError
        If ``fraction`` is outside [0, 1].

    References
    ----------
    N. Minh et al., 2024, Turning up the heat: min-p sampling for creative and coherent LLM outputs, arXiv 2407.01082.
    """

    fraction: Any

    def __init__(self, fraction: Any) -> None:
        self.fraction = level("fraction", fraction)

    @property
    def claim(self) -> Claim:
        """The law given tokens of at least a fraction of the largest probability."""
        return conditional_claim("a draw has the law p given p >= b max p", "Minh et al. 2024, arXiv 2407.01082")

    def keep(self, p: Any) -> Any:
        """Return which tokens are likely enough."""
        return p >= comparable(p, self.fraction) * p.max()


class EpsilonCutoff(Truncation):
    """Keeps the tokens likelier than ``epsilon``; the likeliest token in any case.

    Parameters
    ----------
    epsilon
        In [0, 1]; 0 keeps everything.

    Raises
    ------
    ValueError
        If ``epsilon`` is outside [0, 1].

    References
    ----------
    J. Hewitt, C. Manning, P. Liang, 2022, Truncation sampling as language model desmoothing, arXiv 2210.15191.
    """

    epsilon: Any

    def __init__(self, epsilon: Any) -> None:
        self.epsilon = level("epsilon", epsilon)

    @property
    def claim(self) -> Claim:
        """The law given tokens above a threshold."""
        return conditional_claim("a draw has the law p given p > epsilon", "Hewitt et al. 2022, arXiv 2210.15191")

    def keep(self, p: Any) -> Any:
        """Return which tokens are likelier than the threshold."""
        return above(p, comparable(p, self.epsilon))
