"""Laws of several drafts that are not independent copies of each other."""

import itertools
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.draft_law import DraftLaw
from ergodica.samplers.acceptance.laws import as_law, namespace
from ergodica.theory.draft_acceptance import greedy_acceptance, hub_acceptance
from ergodica.theory.optimal_acceptance import optimal_acceptance_without_replacement


def _listed(law: Any) -> Any:
    """Return a law as an array of NumPy, fractions as they are."""
    return law if law.dtype == object else np.asarray(law)


class _EnumeratedDrafts(DraftLaw):
    """A law whose sets are found by enumeration."""

    def joint_in(self, tokens: Any) -> Any:
        """Return the probability that all drafts lie in a set, by enumeration."""
        inside = {int(token) for token in tokens}
        return sum(weight for drafts, weight in self.enumerate() if inside.issuperset(drafts))


class DraftsWithoutReplacement(_EnumeratedDrafts):
    """Draws from one law, each among the tokens that are not drawn yet.

    Parameters
    ----------
    q
        Weights of the tokens, shape ``(V,)``, floats or fractions; divided by their sum.
    k
        Number of drafts. Where fewer tokens are possible, the tuples are shorter, and samples end with -1.

    Raises
    ------
    ValueError
        If ``q`` is not a vector of weights, or ``k`` is not positive.

    References
    ----------
    W. Kool, H. van Hoof, M. Welling, 2019, Stochastic beams and where to find them, arXiv 1903.06059.
    """

    q: Any
    k: int = eqx.field(static=True)

    def __init__(self, q: Any, k: int = 1) -> None:
        self.q = as_law("q", q)
        self.k = inputs.static_count("k", k)

    def enumerate(self) -> Iterator[tuple[tuple[int, ...], Any]]:
        """Yield each ordered tuple of different possible tokens with its probability."""
        law = _listed(self.q)
        possible = [token for token in range(law.size) if law[token] > 0]
        for drafts in itertools.permutations(possible, min(self.k, len(possible))):
            weight: Any = 1
            left = possible
            for token in drafts:
                weight = weight * law[token] / sum(law[other] for other in left)
                left = [other for other in left if other != token]
            yield drafts, weight

    def sample(self, key: PRNGKeyArray) -> Int[Array, " k"]:
        """Draw ``k`` different tokens, in order; -1 where none is left."""
        weights, drafts = jnp.asarray(self.q), []
        for one in random.split(key, self.k):
            is_left = jnp.any(weights > 0)
            token = random.categorical(one, jnp.log(jnp.where(is_left, weights, 1)))
            drafts.append(jnp.where(is_left, token, -1))
            weights = jnp.where(jnp.arange(weights.size) == token, 0, weights)
        return jnp.stack(drafts)

    def optimum(self, p: Any) -> Any:
        """Return the smallest cut, over prefixes of the tokens in the order of ``p / q``."""
        return optimal_acceptance_without_replacement(p, _listed(self.q), self.k)


class UnequalDrafts(_EnumeratedDrafts):
    """Independent draws, each from a law of its own.

    Parameters
    ----------
    q
        Weights, shape ``(k, V)``; each row is divided by its sum.

    Raises
    ------
    ValueError
        If ``q`` is not a matrix of weights.
    """

    q: Any

    def __init__(self, q: Any) -> None:
        if np.ndim(q) != 2 or np.shape(q)[0] == 0:
            raise ValueError(f"q needs a row for each draft, shape (k, V); got shape {np.shape(q)}")
        rows = [as_law(f"q[{draft}]", row) for draft, row in enumerate(q)]
        self.q = namespace(*rows).stack(rows)

    def enumerate(self) -> Iterator[tuple[tuple[int, ...], Any]]:
        """Yield each tuple of possible tokens with its probability."""
        rows = _listed(self.q)
        possible = [[token for token in range(row.size) if row[token] > 0] for row in rows]
        for drafts in itertools.product(*possible):
            weight: Any = 1
            for row, token in zip(rows, drafts, strict=True):
                weight = weight * row[token]
            yield drafts, weight

    def sample(self, key: PRNGKeyArray) -> Int[Array, " k"]:
        """Draw a token from each law."""
        return random.categorical(key, jnp.log(jnp.asarray(self.q)))

    def joint_in(self, tokens: Any) -> Any:
        """Return the product of the probabilities of a set."""
        inside: Any = 1
        for row in self.q:
            inside = inside * row[np.asarray(tokens, dtype=np.int64)].sum()
        return inside

    def optimum(self, p: Any) -> Any:
        """Return the smallest cut over all sets of tokens; no order of the tokens finds it faster.

        Raises
        ------
        ValueError
            If there are more than 12 tokens; for sets of drafts there is ``theory.optimal_acceptance.acceptance_program``.
        """
        target, rows = _listed(as_law("p", p)), _listed(self.q)
        size = target.size
        if size > 12:
            raise ValueError(f"the optimum of unequal drafts tries all sets of tokens; {size} tokens are too many")
        sets = (list(itertools.compress(range(size), bits)) for bits in itertools.product((0, 1), repeat=size))
        cuts = []
        for inside in sets:
            joint: Any = 1
            for row in rows:
                joint = joint * row[inside].sum()
            cuts.append(target[inside].sum() - joint)
        return 1 + min(cuts)


class TopDrafts(_EnumeratedDrafts):
    """The ``k - 1`` likeliest tokens, for certain, and one draw from the others.

    Parameters
    ----------
    q
        Weights of the tokens, shape ``(V,)``, floats or fractions; divided by their sum. Of equally likely tokens the
        first counts as likelier.
    k
        Number of drafts. If no token is possible beside the likeliest ones, the tuple is shorter and samples have -1.

    Raises
    ------
    ValueError
        If ``q`` is not a vector of weights, or ``k`` is not positive.

    References
    ----------
    Z. Hu et al., 2025, arXiv 2502.18779.
    """

    q: Any
    k: int = eqx.field(static=True)

    def __init__(self, q: Any, k: int = 1) -> None:
        self.q = as_law("q", q)
        self.k = inputs.static_count("k", k)

    def top(self) -> Any:
        """Return the certain drafts, likeliest first, shape ``(min(k - 1, V),)``."""
        return namespace(self.q).argsort(-self.q, stable=True)[: self.k - 1]

    def others(self) -> Any:
        """Return the law of the last draft, shape ``(V,)``; all zero if there is none."""
        xp = namespace(self.q)
        is_top = xp.any(xp.arange(self.q.shape[0])[:, None] == self.top(), axis=1)
        weights = xp.where(is_top, 0 * self.q, self.q)
        total = weights.sum()
        return weights / xp.where(total > 0, total, 1)[()]

    def enumerate(self) -> Iterator[tuple[tuple[int, ...], Any]]:
        """Yield the likeliest tokens with each possible last draft."""
        top, others = tuple(int(token) for token in self.top()), _listed(self.others())
        if not others.sum() > 0:
            yield top, 1 + 0 * others.sum()
        for token in range(others.size):
            if others[token] > 0:
                yield (*top, token), others[token]

    def sample(self, key: PRNGKeyArray) -> Int[Array, " k"]:
        """Return the likeliest tokens and draw the last one; -1 where there is none."""
        top, others = self.top(), jnp.asarray(self.others())
        is_left = jnp.any(others > 0)
        token = jnp.where(is_left, random.categorical(key, jnp.log(jnp.where(is_left, others, 1))), -1)
        return jnp.concatenate([top, token[None], jnp.full(self.k - 1 - top.shape[0], -1, top.dtype)])

    def optimum(self, p: Any) -> Any:
        """Return the probability of the certain drafts under ``p``, plus the overlap of the others with their law."""
        return greedy_acceptance(p, _listed(self.q), self.k)


class HubDrafts(_EnumeratedDrafts):
    """Pairs of drafts of which one is the likeliest token ``a``.

    The pair ``(i, a)`` has probability ``q_i``, and ``(a, i)`` has ``q_a q_i / (1 - q_a)``, so that the first draft has
    the law ``q``.

    Parameters
    ----------
    q
        Weights of the tokens, shape ``(V,)``, floats or fractions; divided by their sum. Of equally likely tokens the
        first is the hub. If no other token is possible, there is one draft only and samples are ``(a, -1)``.

    Raises
    ------
    ValueError
        If ``q`` is not a vector of weights.

    References
    ----------
    R. Sun et al., 2024, arXiv 2411.05289.
    """

    q: Any

    def __init__(self, q: Any) -> None:
        self.q = as_law("q", q)

    def hub(self) -> Any:
        """Return the likeliest token."""
        return namespace(self.q).argmax(self.q)

    def spokes(self) -> tuple[Any, Any]:
        """Return the probabilities of ``(i, a)`` and of ``(a, i)`` by ``i``, zero at ``a``; shape ``(V,)`` each."""
        xp, hub = namespace(self.q), self.hub()
        first = xp.where(xp.arange(self.q.shape[0]) == hub, 0 * self.q, self.q)
        rest = first.sum()
        return first, self.q[hub] * first / xp.where(rest > 0, rest, 1)[()]

    def enumerate(self) -> Iterator[tuple[tuple[int, ...], Any]]:
        """Yield the pairs with the hub second, then those with the hub first."""
        hub, (first, second) = int(self.hub()), (_listed(part) for part in self.spokes())
        if not first.sum() > 0:
            yield (hub,), 1 + 0 * first.sum()
        for token in range(first.size):
            if first[token] > 0:
                yield (token, hub), first[token]
                yield (hub, token), second[token]

    def sample(self, key: PRNGKeyArray) -> Int[Array, " 2"]:
        """Draw a pair."""
        first_key, second_key = random.split(key)
        hub, (others, _) = self.hub(), self.spokes()
        first = random.categorical(first_key, jnp.log(jnp.asarray(self.q)))
        is_left = jnp.any(others > 0)
        other = random.categorical(second_key, jnp.log(jnp.where(is_left, others, 1)))
        return jnp.stack([first, jnp.where(first == hub, jnp.where(is_left, other, -1), hub)])

    def optimum(self, p: Any) -> Any:
        """Return ``s + min(p_a, 1 - s)`` with ``s`` the sum over ``i != a`` of ``min(p_i, q_i / (1 - q_a))``."""
        return hub_acceptance(p, _listed(self.q))
