"""Speculative sampling with one draft for each position.

Leviathan, Kalman, Matias, 'Fast inference from transformers via speculative decoding', ICML 2023, arXiv 2211.17192;
Chen et al., 'Accelerating large language model decoding with speculative sampling', 2023, arXiv 2302.01318. As a
coupling it is the maximal coupling of draft and target: no rule accepts more often.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.acceptance.laws import (
    ROUNDING,
    as_law,
    check_logits,
    check_weights,
    invert,
    namespace,
    residual_law,
)
from ergodica.samplers.acceptance.token_rule import ConditionalLaw, Decision, TokenRule
from ergodica.samplers.acceptance.verification import Verification, check_shapes, check_tokens, emitted
from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.inputs import is_concrete, static_count


class SingleDraftState(NamedTuple):
    """What :class:`SingleDraft` computes once for a pair of laws.

    Parameters
    ----------
    p, q
        Target and draft law, shape ``(V,)``.
    residual
        ``(p - q)+`` divided by its sum; ``p`` itself if that is zero.
    """

    p: Any
    q: Any
    residual: Any


def acceptance_probability(p_at: Any, q_at: Any) -> Any:
    """Return ``min(1, p / q)`` at a drafted token; zero where ``q`` is zero, since such a draft cannot have been drawn.

    Parameters
    ----------
    p_at, q_at
        Probabilities of the drafted tokens under target and draft, up to a common factor.
    """
    xp = namespace(p_at, q_at)
    possible = q_at > 0
    ratio = p_at / xp.where(possible, q_at, 1)
    return xp.where(possible, xp.where(p_at >= q_at, 1, ratio), 0 * ratio)


def accepts(p_at: Any, q_at: Any, u: Any) -> Any:
    """Return whether a uniform ``u`` in ``[0, 1)`` accepts: never if ``p`` is zero, surely if ``p >= q > 0``."""
    return (q_at > 0) & ((p_at >= q_at) | (u * q_at < p_at))


class SingleDraft(TokenRule):
    """Speculative sampling: keep ``x ~ q`` with probability ``min(1, p(x) / q(x))``, else draw from ``(p - q)+``.

    The output has law ``p`` exactly, and equals the draft with probability ``1 - TV(p, q)``, which no rule exceeds. A
    rejected token is never emitted again. On a chain of drafts the rule is applied from left to right until the first
    rejection, or, if all are accepted, one more token is drawn from the target (:meth:`verify`).

    Laws are given as weights and divided by their sum; weights that are NaN, infinite, negative or all zero are an
    error on the host, and give the token -1 under ``jit``. The ``q`` handed over has to be the very array that the
    drafts were drawn from, after temperature and truncation.

    Notes
    -----
    Choice points draw with more than 23 bits in single precision too, so that tails below ``2**-23`` keep their mass
    (Zheng et al. 2025, arXiv:2409.02908, on what happens otherwise).

    References
    ----------
    Leviathan, Kalman, Matias (2023), arXiv 2211.17192, algorithm 1; Chen et al. (2023), arXiv 2302.01318, algorithm 2.
    """

    @property
    def claim(self) -> Claim:
        """Exact: the emitted tokens have the target's law."""
        return Claim(
            Exactness.EXACT,
            "emits tokens with the target's law, whatever the draft's",
            "Leviathan, Kalman, Matias (2023), arXiv 2211.17192; Chen et al. (2023), arXiv 2302.01318",
            spaces=frozenset({Space.FINITE, Space.SEQUENCE}),
            independent=True,
        )

    @property
    def cost(self) -> str:
        """Of a decision, the laws being given."""
        return "O(1) to accept, O(V) to reject"

    # --- one position ---

    def prepare(self, p: Any, q: Any, k: int = 1) -> SingleDraftState:
        """Normalise both laws and form the residual.

        Parameters
        ----------
        p, q
            Weights of target and draft, shape ``(V,)``.
        k
            Number of drafts: one.

        Raises
        ------
        ValueError
            If ``k`` is not 1, or the weights are concrete and no laws on the same tokens.
        """
        if static_count("k", k) != 1:
            raise ValueError(f"this rule takes one draft for each position; got k={k}")
        target, draft = as_law("p", p), as_law("q", q)
        if target.shape != draft.shape:
            raise ValueError(f"p and q have to be laws on the same tokens; got {target.size} and {draft.size} entries")
        return SingleDraftState(target, draft, residual_law(target, draft))

    def conditional_law(self, state: SingleDraftState, drafts: Any) -> ConditionalLaw:
        """Return ``a e_x + (1 - a) residual`` with ``a = min(1, p(x) / q(x))`` for the draft ``x``."""
        token = drafts[0]
        accept = acceptance_probability(state.p[token], state.q[token])
        xp = namespace(state.p)
        kept = xp.where(xp.arange(state.p.shape[0]) == token, accept, 0 * state.p)
        return ConditionalLaw(kept + (1 - accept) * state.residual, accept)

    def draw(self, key: PRNGKeyArray, state: SingleDraftState, drafts: Int[Array, " 1"]) -> Decision:
        """Accept or reject the draft at random.

        Parameters
        ----------
        key
            Typed key.
        state
            From :meth:`prepare`.
        drafts
            The drafted token, shape ``(1,)``.
        """
        accept_key, residual_key = random.split(key)
        p_at, q_at, is_valid = _at_draft(state, drafts[0])
        kept = random.bernoulli(accept_key, acceptance_probability(p_at, q_at))
        own = random.categorical(residual_key, jnp.log(jnp.where(is_valid, state.residual, 1)))
        return _decision(drafts[0], kept, own, is_valid)

    def num_uniforms(self, k: int = 1) -> int:
        """Two: one for the test, one for the residual."""
        del k
        return 2

    def decide(self, state: SingleDraftState, drafts: Int[Array, " 1"], uniforms: Float[Array, " 2"]) -> Decision:
        """Accept or reject the draft, given uniforms for the test and for the residual."""
        p_at, q_at, is_valid = _at_draft(state, drafts[0])
        own = invert(state.residual, uniforms[1])
        return _decision(drafts[0], accepts(p_at, q_at, uniforms[0]), own, is_valid)

    def alpha(self, state: SingleDraftState) -> Any:
        """Return ``sum min(p, q) = 1 - TV(p, q)``."""
        xp = namespace(state.p)
        return xp.where(state.p < state.q, state.p, state.q).sum()

    # --- a chain of drafts ---

    def verify(
        self,
        key: PRNGKeyArray,
        tokens: Int[Array, "*B g"],
        p: Float[Array, "*B g+1 V"],
        q: Float[Array, "*B g V"],
    ) -> Verification:
        """Verify chains of drafts from left to right, up to the first rejection.

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

        Returns
        -------
        Verification

        Raises
        ------
        TypeError, ValueError
            If shapes or dtypes do not fit; on the host also if a row is no law, or a token is outside the vocabulary.
        """
        return _refused(_verify_weights(key, *_prepared(tokens, p, q)), tokens, p, q, check_weights)

    def verify_logits(
        self,
        key: PRNGKeyArray,
        tokens: Int[Array, "*B g"],
        p_logits: Float[Array, "*B g+1 V"],
        q_logits: Float[Array, "*B g V"],
    ) -> Verification:
        """Do as :meth:`verify`, from unnormalised log probabilities; ``-inf`` marks an impossible token."""
        out = _verify_logits(key, *_prepared(tokens, p_logits, q_logits))
        return _refused(out, tokens, p_logits, q_logits, check_logits)

    def decide_chain(
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
        return _refused(_decide_weights(*_prepared(tokens, p, q, uniforms)), tokens, p, q, check_weights)

    def decide_chain_logits(
        self,
        tokens: Int[Array, "*B g"],
        p_logits: Float[Array, "*B g+1 V"],
        q_logits: Float[Array, "*B g V"],
        uniforms: Float[Array, "*B g+1"],
    ) -> Verification:
        """Do as :meth:`decide_chain`, from unnormalised log probabilities."""
        out = _decide_logits(*_prepared(tokens, p_logits, q_logits, uniforms))
        return _refused(out, tokens, p_logits, q_logits, check_logits)


def _at_draft(state: SingleDraftState, token: Int[Array, ""]) -> tuple[Array, Array, Bool[Array, ""]]:
    inside = (token >= 0) & (token < state.p.shape[0])
    at = jnp.where(inside, token, 0)
    return state.p[at], state.q[at], inside & ~jnp.isnan(state.p[at]) & ~jnp.isnan(state.q[at])


def _decision(draft: Array, kept: Array, own: Array, is_valid: Array) -> Decision:
    token = jnp.where(is_valid, jnp.where(kept, draft, own), -1)
    return Decision(token.astype(jnp.int32), kept & is_valid, jnp.where(kept & is_valid, 0, -1).astype(jnp.int32))


class _Chain(NamedTuple):
    """A chain of drafts, in the form that both kinds of input are brought to.

    Parameters
    ----------
    p_at, q_at
        Probability of each draft under target and draft, up to a factor common to both, shape ``(g,)``.
    excess
        Function from ``tau`` to the weights of the verifier's own token.
    is_valid
        Whether every row is a law and every token inside the vocabulary.
    """

    p_at: Float[Array, " g"]
    q_at: Float[Array, " g"]
    excess: Callable[[Int[Array, ""]], Float[Array, " V"]]
    is_valid: Bool[Array, ""]


def _own_weights(p_row: Array, q_row: Array) -> Array:
    """Return ``(p - q)+``, or ``p`` where rounding leaves nothing of it."""
    excess = jnp.maximum(p_row - q_row, 0)
    return jnp.where(jnp.sum(excess) > 0, excess, p_row)


def _row(rows: Array, index: Array, wide: Any) -> Array:
    """Return a row in the widest float type at hand, or zeros if the index is past the end."""
    if rows.shape[0] == 0:
        return jnp.zeros(rows.shape[1], wide)
    row = jnp.take(rows, jnp.minimum(index, rows.shape[0] - 1), axis=0).astype(wide)
    return jnp.where(index < rows.shape[0], row, 0)


def _at(rows: Array, tokens: Array, wide: Any) -> Array:
    return jnp.take_along_axis(rows, tokens[:, None], axis=1, mode="clip")[:, 0].astype(wide)


def _inside(tokens: Array, vocabulary: int) -> Array:
    return jnp.all((tokens >= 0) & (tokens < vocabulary))


def _wide(*arrays: Array) -> Any:
    """Return the type to work in: double precision where JAX has it."""
    return jnp.promote_types(jnp.result_type(*arrays), jnp.result_type(float))


def _chain_of_weights(tokens: Array, p: Array, q: Array) -> _Chain:
    wide = _wide(p, q)
    gamma = tokens.shape[0]

    def total(rows: Array) -> tuple[Array, Array]:
        # The divisor keeps NaN, and a row that is no law makes the sequence invalid: no value is repaired here.
        sums = jnp.sum(jnp.maximum(rows, 0), axis=-1, dtype=wide)
        return sums, jnp.all(jnp.isfinite(sums) & (sums > 0)) & jnp.all(rows >= -ROUNDING)

    p_total, p_valid = total(p)
    q_total, q_valid = total(q)

    def excess(tau: Array) -> Array:
        p_row = jnp.maximum(_row(p, tau, wide), 0) / jnp.take(p_total, tau)
        q_row = jnp.maximum(_row(q, tau, wide), 0)
        if gamma:
            q_row = q_row / jnp.take(q_total, jnp.minimum(tau, gamma - 1))
        return _own_weights(p_row, q_row)

    p_at = jnp.maximum(_at(p[:gamma], tokens, wide), 0) / p_total[:gamma]
    q_at = jnp.maximum(_at(q, tokens, wide), 0) / q_total
    return _Chain(p_at, q_at, excess, p_valid & q_valid & _inside(tokens, p.shape[-1]))


def _chain_of_logits(tokens: Array, p: Array, q: Array) -> _Chain:
    wide = _wide(p, q)
    gamma = tokens.shape[0]

    def total(rows: Array) -> tuple[Array, Array]:
        # Two numbers: in single precision their sum would lose digits if the logits have a large offset.
        top = jnp.max(rows, axis=-1).astype(wide)
        top = jnp.where(jnp.isfinite(top), top, 0)
        return top, jnp.log(jnp.sum(jnp.exp(rows.astype(wide) - top[:, None]), axis=-1))

    (p_top, p_total), (q_top, q_total) = total(p), total(q)

    def excess(tau: Array) -> Array:
        p_row = jnp.exp(_row(p, tau, wide) - jnp.take(p_top, tau) - jnp.take(p_total, tau))
        if gamma == 0:
            return p_row
        draft = jnp.minimum(tau, gamma - 1)
        q_row = jnp.exp(_row(q, tau, wide) - jnp.take(q_top, draft) - jnp.take(q_total, draft))
        return _own_weights(p_row, jnp.where(tau < gamma, q_row, 0))

    p_log = _at(p[:gamma], tokens, wide) - p_top[:gamma] - p_total[:gamma]
    q_log = _at(q, tokens, wide) - q_top - q_total
    # The test needs the two up to a common factor only, and this one keeps the larger from underflowing.
    top = jnp.maximum(p_log, q_log)
    top = jnp.where(jnp.isfinite(top), top, 0)
    is_valid = jnp.all(jnp.isfinite(p_total)) & jnp.all(jnp.isfinite(q_total)) & _inside(tokens, p.shape[-1])
    return _Chain(jnp.exp(p_log - top), jnp.exp(q_log - top), excess, is_valid)


def _outcome(tokens: Array, chain: _Chain, kept: Array, own: Callable[[Array], Array]) -> Verification:
    tau = jnp.sum(jnp.cumprod(kept.astype(jnp.int32)), dtype=jnp.int32)
    weights = jnp.where(chain.is_valid, chain.excess(tau), 1)
    return emitted(tokens, tau, own(weights), chain.is_valid)


def _verified(make: Callable[..., _Chain]) -> Callable[..., Verification]:
    def one(key: PRNGKeyArray, tokens: Array, p: Array, q: Array) -> Verification:
        accept_key, own_key = random.split(key)
        chain = make(tokens, p, q)
        kept = random.bernoulli(accept_key, acceptance_probability(chain.p_at, chain.q_at))
        return _outcome(tokens, chain, kept, lambda weights: random.categorical(own_key, jnp.log(weights)))

    def batched(key: PRNGKeyArray, tokens: Array, p: Array, q: Array) -> Verification:
        if tokens.ndim == 1:
            return one(key, tokens, p, q)
        keys = jax.vmap(lambda index: random.fold_in(key, index))(jnp.arange(tokens.shape[0]))
        return jax.vmap(one)(keys, tokens, p, q)

    return jax.jit(batched)


def _decided(make: Callable[..., _Chain]) -> Callable[..., Verification]:
    def one(tokens: Array, p: Array, q: Array, uniforms: Array) -> Verification:
        chain = make(tokens, p, q)
        kept = accepts(chain.p_at, chain.q_at, uniforms[:-1])
        return _outcome(tokens, chain, kept, lambda weights: invert(weights, uniforms[-1]))

    def batched(tokens: Array, p: Array, q: Array, uniforms: Array) -> Verification:
        return one(tokens, p, q, uniforms) if tokens.ndim == 1 else jax.vmap(one)(tokens, p, q, uniforms)

    return jax.jit(batched)


_verify_weights = _verified(_chain_of_weights)
_verify_logits = _verified(_chain_of_logits)
_decide_weights = _decided(_chain_of_weights)
_decide_logits = _decided(_chain_of_logits)


def _prepared(*arrays: Any) -> tuple[Array, ...]:
    out = tuple(jnp.asarray(array) for array in arrays)
    check_shapes(*out)
    return out


def _refused(out: Verification, tokens: Any, p: Any, q: Any, check: Callable[[str, Any], None]) -> Verification:
    """Raise if the laws were invalid and can be looked at; the reason is searched for only then."""
    if is_concrete(out.is_valid) and not np.all(np.asarray(out.is_valid)):
        check_tokens(tokens, np.shape(p)[-1])
        for name, rows in (("p", p), ("q", q)):
            if np.size(rows):
                check(name, jnp.asarray(rows))
    return out
