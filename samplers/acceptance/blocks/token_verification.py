"""Token verification of a chain: speculative sampling at each position, up to the first rejection."""

from typing import Any

from jaxtyping import Array, Float, Int, PRNGKeyArray

from ergodica.samplers.acceptance.blocks.block_rule import ChainRule
from ergodica.samplers.acceptance.laws import namespace, residual_law
from ergodica.samplers.acceptance.single_draft import SingleDraft, acceptance_probability
from ergodica.samplers.acceptance.verification import Verification
from ergodica.samplers.claim import Claim, Exactness, Space


class TokenVerification(ChainRule):
    """Test the drafts from the first to the last with ``min(1, P / Q)``, and stop at the first rejection.

    This is how :class:`~ergodica.samplers.acceptance.single_draft.SingleDraft` verifies chains, as a rule for blocks: with
    an exact law of what it emits, to compare with other rules. ``E[tau]`` is the sum over ``i`` of the probability that
    the first ``i`` drafts are all accepted.

    References
    ----------
    Leviathan, Kalman, Matias (2023), arXiv 2211.17192; Chen et al. (2023), arXiv 2302.01318.
    """

    @property
    def claim(self) -> Claim:
        """Exact: the emitted tokens, continued by the target, have its law."""
        return Claim(
            Exactness.EXACT,
            "emits tokens with the target's law, whatever the draft's",
            "Leviathan, Kalman, Matias (2023), arXiv 2211.17192; Chen et al. (2023), arXiv 2302.01318",
            spaces=frozenset({Space.FINITE, Space.SEQUENCE}),
            independent=True,
        )

    @property
    def cost(self) -> str:
        """For ``g`` drafts."""
        return "O(g + V)"

    def stop_law(self, tokens: Any, p: Any, q: Any) -> tuple[Any, Any]:
        """Return the laws of ``tau`` and of the own token; see :meth:`ChainRule.stop_law`."""
        xp, gamma = namespace(p, q), q.shape[0]
        alive = 1 + 0 * p[0, 0]
        stop, own = [], []
        for level in range(gamma):
            token = tokens[level]
            chance = acceptance_probability(p[level, token], q[level, token])[()]
            stop.append(alive * (1 - chance))
            own.append(residual_law(p[level], q[level]))
            alive = alive * chance
        return xp.stack([*stop, alive]), xp.stack([*own, p[gamma]])

    def verify(
        self,
        key: PRNGKeyArray,
        tokens: Int[Array, "*B g"],
        p: Float[Array, "*B g+1 V"],
        q: Float[Array, "*B g V"],
    ) -> Verification:
        """Verify chains at random; see :meth:`ChainRule.verify`."""
        return SingleDraft().verify(key, tokens, p, q)

    def decide(
        self,
        tokens: Int[Array, "*B g"],
        p: Float[Array, "*B g+1 V"],
        q: Float[Array, "*B g V"],
        uniforms: Float[Array, "*B g+1"],
    ) -> Verification:
        """Verify chains on uniforms; see :meth:`ChainRule.decide`."""
        return SingleDraft().decide_chain(tokens, p, q, uniforms)
