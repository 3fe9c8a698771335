"""Truncations by surprisal and entropy.

For laws of fractions the kept set is decided in double precision, and the law on it is exact.
"""

from typing import Any

import numpy as np
from jax import numpy as jnp

from ergodica.samplers.acceptance.laws import namespace
from ergodica.samplers.claim import Claim
from ergodica.samplers.sequences.structured.target_transform import Truncation, comparable, conditional_claim, level
from ergodica.samplers.sequences.structured.truncation import above, ranks, shortest_prefix

__all__ = ["EtaCutoff", "TopH", "Typical"]


def _in_floats(p: Any, value: Any) -> tuple[Any, Any, Any]:
    """Return the namespace for logarithms, a law as floats, and a parameter as a float."""
    if namespace(p) is np:
        return np, np.asarray(p, np.float64), float(value)
    return jnp, p, comparable(p, value)


def _surprisal(xp: Any, p: Any) -> tuple[Any, Any]:
    """Return ``-log p``, infinite where ``p`` is zero, and the entropy."""
    positive = p > 0
    finite = -xp.log(xp.where(positive, p, 1))
    return xp.where(positive, finite, xp.inf), (p * finite).sum()


class Typical(Truncation):
    """Keeps the tokens whose surprisal is nearest to the entropy, as few as have a given mass.

    Parameters
    ----------
    mass
        In [0, 1]; 1 keeps everything. Of tokens equally near, the first is kept first.

    Raises
    ------
    ValueError
        If ``mass`` is outside [0, 1].

    References
    ----------
    C. Meister, T. Pimentel, G. Wiher, R. Cotterell, 2022, Locally typical sampling, arXiv 2202.00666.
    """

    mass: Any

    def __init__(self, mass: Any) -> None:
        self.mass = level("mass", mass)

    @property
    def claim(self) -> Claim:
        """The law given the locally typical set."""
        return conditional_claim(
            "a draw has the law p given the shortest prefix, by distance of surprisal from entropy, with the asked mass",
            "Meister et al. 2022, arXiv 2202.00666",
        )

    def keep(self, p: Any) -> Any:
        """Return which tokens are in the typical set."""
        xp, floats, _ = _in_floats(p, self.mass)
        surprisal, entropy = _surprisal(xp, floats)
        order = xp.argsort(xp.abs(surprisal - entropy), stable=True)
        return shortest_prefix(p, order, comparable(p, self.mass))


class EtaCutoff(Truncation):
    """Keeps the tokens likelier than ``min(epsilon, sqrt(epsilon) exp(-entropy))``; the likeliest token in any case.

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
        """The law given tokens above a threshold that falls with the entropy."""
        return conditional_claim(
            "a draw has the law p given p > min(epsilon, sqrt(epsilon) exp(-H))",
            "Hewitt et al. 2022, arXiv 2210.15191",
        )

    def keep(self, p: Any) -> Any:
        """Return which tokens are likelier than the threshold."""
        xp, floats, epsilon = _in_floats(p, self.epsilon)
        _, entropy = _surprisal(xp, floats)
        return above(floats, xp.minimum(epsilon, xp.sqrt(epsilon) * xp.exp(-entropy)))


class TopH(Truncation):
    """Keeps as many likeliest tokens as have at most ``fraction`` times the entropy.

    The entropy of the law given a prefix of the likeliest tokens grows with the prefix; the longest prefix whose entropy
    is at most ``fraction`` times that of the whole law is kept. Finding the set of largest mass is NP-hard; this greedy
    set is the definition.

    Parameters
    ----------
    fraction
        In [0, 1]; 1 keeps everything.

    Raises
    ------
    ValueError
        If ``fraction`` is outside [0, 1].

    References
    ----------
    Top-H decoding, 2025, arXiv 2509.02510.
    """

    fraction: Any

    def __init__(self, fraction: Any) -> None:
        self.fraction = level("fraction", fraction)

    @property
    def claim(self) -> Claim:
        """The law given a prefix of bounded entropy."""
        return conditional_claim(
            "a draw has the law p given the longest prefix of the likeliest tokens with entropy at most a H(p)",
            "arXiv 2509.02510",
        )

    def keep(self, p: Any) -> Any:
        """Return which tokens are in the prefix."""
        xp, floats, fraction = _in_floats(p, self.fraction)
        order = xp.argsort(-floats, stable=True)
        surprisal, entropy = _surprisal(xp, floats)
        terms = floats * xp.where(floats > 0, surprisal, 0)
        mass = xp.cumsum(floats[order])
        within = xp.log(mass) + xp.cumsum(terms[order]) / mass <= fraction * entropy
        within = within | (xp.arange(floats.shape[0]) == 0)
        # Entropies of prefixes grow; rounding must not let a later one in again.
        prefix = (xp.cumprod(within) > 0) | (fraction >= 1)
        return prefix[ranks(order)] & (p > 0)
