"""Laws of drafts: how the tokens that a rule examines were drawn."""

import abc
import itertools
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.laws import as_law
from ergodica.theory.optimal_acceptance import optimal_membership


class DraftLaw(eqx.Module):
    """The joint law of ``k`` drafts for one position."""

    @abc.abstractmethod
    def enumerate(self) -> Iterator[tuple[tuple[int, ...], Any]]:
        """Yield each possible tuple of drafts with its probability."""

    @abc.abstractmethod
    def sample(self, key: PRNGKeyArray) -> Int[Array, " k"]:
        """Draw a tuple of drafts."""

    @abc.abstractmethod
    def joint_in(self, tokens: Any) -> Any:
        """Return the probability that all drafts lie in the set of ``tokens``, an array of indices."""

    @abc.abstractmethod
    def optimum(self, p: Any) -> Any:
        """Return the largest probability, over all rules with law ``p``, that the output is one of the drafts."""


class IndependentDrafts(DraftLaw):
    """Independent draws from one law.

    Parameters
    ----------
    q
        Weights of the tokens, shape ``(V,)``, floats or fractions; divided by their sum.
    k
        Number of drafts.

    Raises
    ------
    ValueError
        If ``q`` is not a vector of weights, or ``k`` is not positive.
    """

    q: Any
    k: int = eqx.field(static=True)

    def __init__(self, q: Any, k: int = 1) -> None:
        self.q = as_law("q", q)
        self.k = inputs.static_count("k", k)

    def enumerate(self) -> Iterator[tuple[tuple[int, ...], Any]]:
        """Yield each of the up to ``V ** k`` tuples of possible tokens with its probability."""
        law = self.q if self.q.dtype == object else np.asarray(self.q)
        possible = [token for token in range(law.size) if law[token] > 0]
        for drafts in itertools.product(possible, repeat=self.k):
            weight = law[drafts[0]]
            for token in drafts[1:]:
                weight = weight * law[token]
            yield drafts, weight

    def sample(self, key: PRNGKeyArray) -> Int[Array, " k"]:
        """Draw ``k`` tokens."""
        return random.categorical(key, jnp.log(self.q), shape=(self.k,))

    def joint_in(self, tokens: Any) -> Any:
        """Return ``q(tokens) ** k``."""
        return self.q[np.asarray(tokens, dtype=np.int64)].sum() ** self.k

    def optimum(self, p: Any) -> Any:
        """Return ``1 + min over H of (p(H) - q(H)^k)``; for one draft that is ``1 - TV(p, q)``."""
        return optimal_membership(p, self.q, self.joint_in)
