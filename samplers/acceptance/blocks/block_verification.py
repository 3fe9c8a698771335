"""Block verification: the drafts of a chain are judged together, from the last to the first."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.acceptance.blocks.block_rule import ChainRule, as_laws, laws_of_logits, refused
from ergodica.samplers.acceptance.drafts_in_turn import positive_part
from ergodica.samplers.acceptance.laws import invert, namespace
from ergodica.samplers.acceptance.single_draft import acceptance_probability
from ergodica.samplers.acceptance.verification import Verification, check_shapes, emitted
from ergodica.samplers.claim import Claim, Exactness, Space


class BlockVerification(ChainRule):
    """Keep the longest prefix of the drafts that passes a test, where each test knows the whole prefix.

    The *budget* ``c_i = min(1, c_(i-1) P(x_i) / Q(x_i))``, with ``c_0 = 1``, is the probability that at least ``i`` drafts
    are kept, given these ``i``. What the levels from ``i + 1`` on leave of the next token is ``(c_i P - Q)+``, with the sum
    ``S_i``: level ``i`` stops with probability ``S_i / (S_i + 1 - c_i)`` if no longer prefix was kept, and draws from that
    residual. The last level stops with probability ``c_g`` and draws from the target.

    No exact rule keeps more of one chain on average: ``E[tau]`` is the sum of the means of the ``c_i``. It is never below
    that of :class:`SingleDraft` on chains, and costs the sums over the rows of the rejected levels in addition.

    A level that fails does not end the search: the last level that passes counts. On a CPU the compiled core,
    ``block_verification_native``, is many times faster: it reads the rows that a decision needs, and no others.

    References
    ----------
    Z. Sun et al., ICLR 2025, arXiv 2403.10444; the rule of Zhou et al., ICLR 2026, arXiv 2601.05724, with capped ratios is
    the same.
    """

    @property
    def claim(self) -> Claim:
        """Exact: the emitted tokens, continued by the target, have its law."""
        return Claim(
            Exactness.EXACT,
            "emits tokens with the target's law, and keeps as much of a chain as an exact rule can",
            "Sun et al. (2025), arXiv 2403.10444",
            spaces=frozenset({Space.FINITE, Space.SEQUENCE}),
            independent=True,
        )

    @property
    def cost(self) -> str:
        """For ``g`` drafts."""
        return "O(gV)"

    def budgets(self, tokens: Any, p: Any, q: Any) -> tuple[Any, Any]:
        """Return the budgets ``c`` and the probabilities that each level stops if no longer prefix was kept.

        Parameters
        ----------
        tokens
            The drafts, shape ``(g,)``.
        p, q
            Laws along the chain, of shapes ``(g + 1, V)`` and ``(g, V)``.

        Returns
        -------
        budgets, chances
            Both of shape ``(g + 1,)``.
        """
        xp, gamma = namespace(p, q), q.shape[0]
        budgets = [1 + 0 * p[0, 0]]
        for level in range(gamma):
            token = tokens[level]
            budgets.append(acceptance_probability(budgets[-1] * p[level, token], q[level, token])[()])
        budget = xp.stack(budgets)
        left = positive_part(budget[:gamma, None] * p[:gamma] - q).sum(axis=-1)
        whole = left + 1 - budget[:gamma]
        chances = xp.where(whole > 0, left / xp.where(whole > 0, whole, 1), 1 + 0 * whole)
        return budget, xp.concatenate([chances, budget[gamma:]])

    def own_weights(self, budgets: Any, p: Any, q: Any, tau: Any) -> Any:
        """Return the weights of the own token after ``tau`` accepted drafts, shape ``(V,)``."""
        xp, gamma = namespace(p, q), q.shape[0]
        if gamma == 0:
            return p[tau]
        is_last = tau >= gamma
        drafted = q[xp.minimum(tau, gamma - 1)]
        left = positive_part(budgets[tau] * p[tau] - xp.where(is_last, 0 * drafted, drafted))
        return xp.where(is_last | (left.sum() <= 0), p[tau], left)

    def stop_law(self, tokens: Any, p: Any, q: Any) -> tuple[Any, Any]:
        """Return the laws of ``tau`` and of the own token; see :meth:`ChainRule.stop_law`."""
        budgets, chances = self.budgets(tokens, p, q)
        xp, levels = namespace(p, q), range(chances.shape[0])
        left = 1 + 0 * chances[0]
        stop = []
        for level in reversed(levels):
            stop.append(left * chances[level])
            left = left - stop[-1]
        own = [self.own_weights(budgets, p, q, level) for level in levels]
        return xp.stack(stop[::-1]), xp.stack([weights / weights.sum() for weights in own])

    def verify(
        self,
        key: PRNGKeyArray,
        tokens: Int[Array, "*B g"],
        p: Float[Array, "*B g+1 V"],
        q: Float[Array, "*B g V"],
    ) -> Verification:
        """Verify chains at random; see :meth:`ChainRule.verify`."""
        tokens, p, q = _prepared(tokens, p, q)
        out = _verified(self, key, tokens, p, q)
        refused(out.is_valid, tokens, {"p": p, "q": q})
        return out

    def verify_logits(
        self,
        key: PRNGKeyArray,
        tokens: Int[Array, "*B g"],
        p_logits: Float[Array, "*B g+1 V"],
        q_logits: Float[Array, "*B g V"],
    ) -> Verification:
        """Do as :meth:`verify`, from unnormalised log probabilities; ``-inf`` marks an impossible token."""
        tokens, p, q = _prepared(tokens, p_logits, q_logits)
        out = _verified(self, key, tokens, laws_of_logits(p), laws_of_logits(q))
        refused(out.is_valid, tokens, {"p_logits": p, "q_logits": q}, logits=True)
        return out

    def decide(
        self,
        tokens: Int[Array, "*B g"],
        p: Float[Array, "*B g+1 V"],
        q: Float[Array, "*B g V"],
        uniforms: Float[Array, "*B g+1"],
    ) -> Verification:
        """Verify chains on uniforms; see :meth:`ChainRule.decide`."""
        tokens, p, q, uniforms = _prepared(tokens, p, q, uniforms)
        out = _decided(self, tokens, p, q, uniforms)
        refused(out.is_valid, tokens, {"p": p, "q": q})
        return out

    def decide_logits(
        self,
        tokens: Int[Array, "*B g"],
        p_logits: Float[Array, "*B g+1 V"],
        q_logits: Float[Array, "*B g V"],
        uniforms: Float[Array, "*B g+1"],
    ) -> Verification:
        """Do as :meth:`decide`, from unnormalised log probabilities."""
        tokens, p, q, uniforms = _prepared(tokens, p_logits, q_logits, uniforms)
        out = _decided(self, tokens, laws_of_logits(p), laws_of_logits(q), uniforms)
        refused(out.is_valid, tokens, {"p_logits": p, "q_logits": q}, logits=True)
        return out


def _prepared(*arrays: Any) -> tuple[Array, ...]:
    out = tuple(jnp.asarray(array) for array in arrays)
    check_shapes(*out)
    return out


def outcome(
    rule: BlockVerification,
    tokens: Int[Array, " g"],
    p: Float[Array, "g+1 V"],
    q: Float[Array, "g V"],
    passes: Callable[[Array], Array],
    own: Callable[[Array], Array],
) -> Verification:
    """Verify one chain.

    Parameters
    ----------
    rule
        The rule.
    tokens, p, q
        Drafts and weights along the chain.
    passes
        From the probabilities that levels ``1..g`` stop to whether they do.
    own
        From weights to a token.
    """
    (target, p_valid), (draft, q_valid) = as_laws(p), as_laws(q)
    inside = (tokens >= 0) & (tokens < p.shape[-1])
    is_valid = jnp.all(p_valid) & jnp.all(q_valid) & jnp.all(inside)
    budgets, chances = rule.budgets(jnp.where(inside, tokens, 0), target, draft)
    kept = passes(jnp.where(is_valid, chances[1:], 0))
    tau = jnp.max(jnp.where(kept, jnp.arange(1, kept.shape[0] + 1), 0), initial=0)
    weights = rule.own_weights(budgets, target, draft, tau)
    return emitted(tokens, tau, own(jnp.where(is_valid, weights, 1)), is_valid)


@jax.jit
def _verified(rule: BlockVerification, key: PRNGKeyArray, tokens: Array, p: Array, q: Array) -> Verification:
    def one(key: PRNGKeyArray, tokens: Array, p: Array, q: Array) -> Verification:
        pass_key, own_key = random.split(key)
        return outcome(
            rule,
            tokens,
            p,
            q,
            lambda chances: random.bernoulli(pass_key, chances),
            lambda weights: random.categorical(own_key, jnp.log(weights)),
        )

    if tokens.ndim == 1:
        return one(key, tokens, p, q)
    keys = jax.vmap(lambda index: random.fold_in(key, index))(jnp.arange(tokens.shape[0]))
    return jax.vmap(one)(keys, tokens, p, q)


@jax.jit
def _decided(rule: BlockVerification, tokens: Array, p: Array, q: Array, uniforms: Array) -> Verification:
    def one(tokens: Array, p: Array, q: Array, uniforms: Array) -> Verification:
        return outcome(
            rule, tokens, p, q, lambda chances: uniforms[:-1] < chances, lambda weights: invert(weights, uniforms[-1])
        )

    return one(tokens, p, q, uniforms) if tokens.ndim == 1 else jax.vmap(one)(tokens, p, q, uniforms)
