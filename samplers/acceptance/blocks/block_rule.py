"""Rules for several positions: a drafted chain or tree becomes the first tokens of a draw from the target.

A rule emits the drafts that it accepts and one token of its own. It is exact if what it emits, continued by the target,
has the target's law. Models are tables of next-token laws by prefix where laws are computed, and rows of arrays, one for
each prefix that was drafted, where tokens are.
"""

import abc
import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from numbers import Rational
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ergodica.samplers.acceptance.laws import ROUNDING, as_law, check_logits, check_weights
from ergodica.samplers.acceptance.rule import AcceptanceRule
from ergodica.samplers.acceptance.verification import Verification, check_tokens
from ergodica.samplers.inputs import is_concrete

Prefix = tuple[int, ...]
Model = Mapping[Prefix, Sequence[Any]]
"""Weights of the next token by prefix, floats or fractions; the empty prefix is ``()``."""


class BlockLaw(NamedTuple):
    """The exact law of what a rule does with given drafts, in fractions.

    Parameters
    ----------
    emitted
        Probability of each string of tokens that is emitted.
    tau
        Probability of each number of accepted drafts.
    """

    emitted: dict[Prefix, Any]
    tau: dict[int, Any]


class BlockRule(AcceptanceRule):
    """Turns drafts for several positions into tokens."""

    @property
    def kind(self) -> Literal["equality", "invariance"]:
        """``"equality"``."""
        return "equality"

    @property
    @abc.abstractmethod
    def cost(self) -> str:
        """Operations for a vocabulary of ``V`` tokens, in words."""

    @abc.abstractmethod
    def conditional_law(self, P: Model, Q: Model, drafts: Any) -> BlockLaw:
        """Return the exact law of what is emitted given the drafts; no randomness.

        Parameters
        ----------
        P, Q
            Target and draft model.
        drafts
            The tokens that were drafted, in the form that the rule takes.
        """


class ChainRule(BlockRule):
    """A rule for one chain of drafts, whose decision needs the laws along the chain only."""

    @abc.abstractmethod
    def stop_law(self, tokens: Any, p: Any, q: Any) -> tuple[Any, Any]:
        """Return the law of ``tau``, shape ``(g + 1,)``, and that of the own token for each ``tau``, ``(g + 1, V)``.

        Parameters
        ----------
        tokens
            The drafts, shape ``(g,)``.
        p, q
            Laws along the chain, of shapes ``(g + 1, V)`` and ``(g, V)``.
        """

    @abc.abstractmethod
    def verify(
        self,
        key: PRNGKeyArray,
        tokens: Int[Array, "*B g"],
        p: Float[Array, "*B g+1 V"],
        q: Float[Array, "*B g V"],
    ) -> Verification:
        """Verify chains of drafts at random, through choice points.

        Parameters
        ----------
        key
            Typed key; sequence ``b`` of a batch uses ``jax.random.fold_in(key, b)``, whatever the size of the batch.
        tokens
            Drafted tokens, shape ``(g,)`` or ``(B, g)``; ``g`` may be zero.
        p
            Weights of the target after each prefix, one row more than there are drafts.
        q
            Weights that each token was drafted from.

        Raises
        ------
        TypeError, ValueError
            If shapes or dtypes do not fit; on the host also if a row is no law, or a token is outside the vocabulary.
        """

    @abc.abstractmethod
    def decide(
        self,
        tokens: Int[Array, "*B g"],
        p: Float[Array, "*B g+1 V"],
        q: Float[Array, "*B g V"],
        uniforms: Float[Array, "*B g+1"],
    ) -> Verification:
        """Do as :meth:`verify`, given uniforms in ``[0, 1)``.

        Parameters
        ----------
        tokens, p, q
            As in :meth:`verify`.
        uniforms
            Entry ``i < g`` tests draft ``i``; the last one draws the verifier's own token, by inversion.
        """

    def conditional_law(self, P: Model, Q: Model, drafts: Sequence[int]) -> BlockLaw:
        """Return the exact law of what is emitted given a chain; see :meth:`BlockRule.conditional_law`."""
        tokens = tuple(int(token) for token in drafts)
        prefixes = [tokens[:length] for length in range(len(tokens) + 1)]
        p = listed_laws("P", P, prefixes)
        q = listed_laws("Q", Q, prefixes[:-1]).reshape(len(tokens), p.shape[1])
        stop, own = self.stop_law(np.asarray(tokens, dtype=np.int64), p, q)
        return stopped(prefixes, stop, own)


def listed_laws(name: str, model: Model, prefixes: Iterable[Prefix]) -> np.ndarray:
    """Return a model's laws after some prefixes, in fractions; a float is taken as the fraction that it is.

    Raises
    ------
    ValueError
        If the table lacks a prefix, or holds something that is no law.
    """
    rows = []
    for prefix in prefixes:
        if prefix not in model:
            raise ValueError(f"{name} has no law after the prefix {prefix}, which the drafts need")
        parts = [part if isinstance(part, Rational) else float(part) for part in model[prefix]]
        if not all(isinstance(part, Rational) or math.isfinite(part) for part in parts):
            raise ValueError(f"{name}[{prefix}] contains NaN or inf; expected probabilities")
        rows.append(as_law(f"{name}[{prefix}]", np.array([Fraction(part) for part in parts], dtype=object)))
    return np.array(rows, dtype=object)


def stopped(prefixes: Sequence[Prefix], stop: Any, own: Any) -> BlockLaw:
    """Return the law of what is emitted, from the law of the place to stop and of the own token there.

    Parameters
    ----------
    prefixes
        The accepted drafts at each place.
    stop
        Probability of each place.
    own
        Law of the own token at each place.
    """
    emitted: dict[Prefix, Any] = {}
    tau: dict[int, Any] = {}
    for place, prefix in enumerate(prefixes):
        if not stop[place] > 0:
            continue
        tau[len(prefix)] = tau.get(len(prefix), 0) + stop[place]
        for token, chance in enumerate(own[place]):
            if chance > 0:
                string = (*prefix, token)
                emitted[string] = emitted.get(string, 0) + stop[place] * chance
    return BlockLaw(emitted, tau)


# --- rows of arrays -------------------------------------------------------------------------------------------------


def as_laws(rows: Float[Array, "r V"]) -> tuple[Float[Array, "r V"], Bool[Array, " r"]]:
    """Return weights divided by their sums, in the widest float type at hand, and whether each row is a law."""
    wide = jnp.promote_types(rows.dtype, jnp.result_type(float))
    weights = jnp.maximum(rows.astype(wide), 0)  # keeps NaN
    total = weights.sum(axis=-1)
    is_law = jnp.isfinite(total) & (total > 0) & jnp.all(rows >= -ROUNDING, axis=-1)
    return weights / jnp.where(is_law, total, 1)[:, None], is_law


def laws_of_logits(logits: Any) -> Array:
    """Return the laws of unnormalised log probabilities, NaN where there is none."""
    wide = jnp.promote_types(logits.dtype, jnp.result_type(float))
    return jax.nn.softmax(logits.astype(wide), axis=-1)


def refused(is_valid: Any, tokens: Any, rows: Mapping[str, Any], *, logits: bool = False) -> None:
    """Raise if a sequence was invalid and can be looked at; the reason is searched for only then.

    Parameters
    ----------
    is_valid
        Whether the laws and tokens of each sequence are fit for use.
    tokens
        The drafts; ``None`` to leave them unchecked.
    rows
        Weights or logits by name.
    logits
        Which of the two.

    Raises
    ------
    ValueError
        With what is wrong, and where.
    """
    if is_concrete(is_valid) and not np.all(np.asarray(is_valid)):
        if tokens is not None:
            check_tokens(tokens, next(iter(rows.values())).shape[-1])
        for name, values in rows.items():
            if np.size(values):
                (check_logits if logits else check_weights)(name, jnp.asarray(values))
