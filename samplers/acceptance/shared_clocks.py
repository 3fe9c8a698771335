"""Draft and target race the same exponential clocks: no test, no residual, and the target never sees the draft's law."""

from typing import Any, Literal

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.drafts_in_turn import laws_on_same_tokens
from ergodica.samplers.acceptance.laws import as_law
from ergodica.samplers.acceptance.rule import AcceptanceRule
from ergodica.samplers.acceptance.token_rule import Decision
from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.theory.draft_acceptance import shared_randomness_bound
from ergodica.theory.shared_clocks import match_probability


def exponential_clocks(key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any = float) -> Float[Array, "..."]:
    """Draw exponential variables of mean one, fine enough near zero for races.

    A clock that reads zero wins whatever its weight. With the 23 random bits of a float32 this happens once in eight
    million draws, so that unlikely tokens win too often; a second uniform fills in the bits below.

    Parameters
    ----------
    key
        Typed key.
    shape
        Of the result.
    dtype
        Floating-point type.
    """
    coarse_key, fine_key = random.split(key)
    coarse = random.uniform(coarse_key, shape, dtype)
    fine = random.uniform(fine_key, shape, dtype)
    step = jnp.finfo(coarse.dtype).eps
    # Below one: the logarithm of zero would be a clock that never rings.
    u = jnp.minimum(coarse + step * fine, 1 - step)
    return -jnp.log1p(-u)


def _winner(clocks: Float[Array, "... V"], law: Float[Array, " V"]) -> Int[Array, "..."]:
    """Return the token whose clock, divided by its probability, rings first; -1 if the law is none."""
    times = jnp.where(law > 0, clocks / jnp.where(law > 0, law, 1), jnp.inf)
    return jnp.where(jnp.any(jnp.isnan(law)), -1, jnp.argmin(times, axis=-1)).astype(jnp.int32)


class SharedClocks(AcceptanceRule):
    """Draft the first token of a race under ``q``, emit the first of the same race under ``p``.

    On each of ``k`` lists every token has a clock, exponential with mean one. List ``i`` drafts the token with the
    smallest clock divided by ``q``. The target takes the smallest of a token's clocks over the lists that are still alive,
    divides by ``p``, and emits the winner: a race with rates proportional to ``p``, so its law is ``p``. Given the clocks
    and the live lists the output does not depend on ``q`` at all. A list stays alive as long as it has drafted what
    was emitted.

    The probability of a match is below that of the best rules, by a little: with one list at least ``(1 - TV) / (1 + TV)``.

    References
    ----------
    M. Daliri, C. Musco and A. T. Suresh, 2024, arXiv 2408.07978, for one list; J. Rowan, B. Phan and A. Khisti, 2025,
    arXiv 2506.05632, for several.
    """

    @property
    def kind(self) -> Literal["equality", "invariance"]:
        """``"equality"``."""
        return "equality"

    @property
    def claim(self) -> Claim:
        """Exact: tokens have the target's law, and given the clocks do not depend on the draft's."""
        return Claim(
            Exactness.EXACT,
            "emits tokens with the target's law, which given the clocks and the live lists do not depend on the draft's",
            "Daliri, Musco and Suresh (2024), arXiv 2408.07978; Rowan, Phan and Khisti (2025), arXiv 2506.05632",
            spaces=frozenset({Space.FINITE, Space.SEQUENCE}),
            independent=True,
        )

    @property
    def cost(self) -> str:
        """Of a decision."""
        return "O(k V) clocks, no test"

    def clocks(self, key: PRNGKeyArray, size: int, k: int = 1, dtype: Any = float) -> Float[Array, "k V"]:
        """Draw the clocks of one position.

        Parameters
        ----------
        key
            Typed key; draft and target have to use the same one at a position, and a new one at the next.
        size
            Number of tokens.
        k
            Number of lists.
        dtype
            Of the clocks.
        """
        shape = inputs.static_count("k", k), inputs.static_count("size", size)
        return exponential_clocks(key, shape, dtype)

    def drafts(self, clocks: Float[Array, "k V"], q: Any) -> Int[Array, " k"]:
        """Return the draft of each list: independent draws of ``q``.

        Parameters
        ----------
        clocks
            From :meth:`clocks`.
        q
            Weights of the draft law, shape ``(V,)``.

        Raises
        ------
        ValueError
            If the weights are concrete and no law on the tokens that have clocks.
        """
        return _winner(clocks, _law_with_clocks("q", q, clocks))

    def emit(self, clocks: Float[Array, "k V"], p: Any, is_live: Bool[Array, " k"] | None = None) -> Int[Array, ""]:
        """Return the target's token.

        Parameters
        ----------
        clocks
            From :meth:`clocks`.
        p
            Weights of the target, shape ``(V,)``.
        is_live
            The lists that have drafted all tokens emitted so far; default: all. If none has, the first stands in, whose
            clocks are then as good as fresh ones.

        Raises
        ------
        ValueError
            If the weights are concrete and no law on the tokens that have clocks.
        """
        law = _law_with_clocks("p", p, clocks)
        live = jnp.ones(clocks.shape[0], bool) if is_live is None else jnp.asarray(is_live)
        if live.shape != clocks.shape[:1] or live.dtype != jnp.bool_:
            raise ValueError(f"is_live is a boolean for each of {clocks.shape[0]} lists; got {live.dtype}{live.shape}")
        live = live | (~jnp.any(live) & (jnp.arange(clocks.shape[0]) == 0))
        return _winner(jnp.min(jnp.where(live[:, None], clocks, jnp.inf), axis=0), law)

    def draw(self, key: PRNGKeyArray, p: Any, q: Any, k: int = 1) -> Decision:
        """Draft on ``k`` lists and emit, for one position.

        Parameters
        ----------
        key
            Typed key.
        p, q
            Weights of target and draft, shape ``(V,)``.
        k
            Number of lists.

        Returns
        -------
        Decision
            ``draft_index`` is the first list that drafted the token.
        """
        target, draft = laws_on_same_tokens(p, q)
        clocks = self.clocks(key, target.shape[0], k, target.dtype)
        token, drafts = self.emit(clocks, target), self.drafts(clocks, draft)
        matches = (drafts == token) & (token >= 0)
        accepted = jnp.any(matches)
        return Decision(token, accepted, jnp.where(accepted, jnp.argmax(matches), -1).astype(jnp.int32))

    def alpha(self, p: Any, q: Any, k: int = 1) -> Any:
        """Return the probability that the token is one of the drafts, by quadrature on the host."""
        return match_probability(p, q, k)

    def alpha_bound(self, p: Any, q: Any, k: int = 1) -> Any:
        """Return a lower bound of :meth:`alpha`; equal for one list, for equal laws, and for a draft that is certain."""
        return shared_randomness_bound(p, q, k)


def _law_with_clocks(name: str, weights: Any, clocks: Float[Array, "k V"]) -> Float[Array, " V"]:
    law = as_law(name, weights)
    if clocks.ndim != 2 or clocks.shape[1:] != law.shape:
        raise ValueError(f"{name} has {law.size} tokens; expected clocks of shape (k, {law.size}), got {clocks.shape}")
    return jnp.asarray(law, clocks.dtype)
