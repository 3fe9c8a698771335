"""Recursive rejection of drafts that were drawn without replacement."""

from typing import Any, NamedTuple

import numpy as np

from ergodica.samplers.acceptance.dependent_drafts import DraftsWithoutReplacement
from ergodica.samplers.acceptance.draft_law import DraftLaw
from ergodica.samplers.acceptance.drafts_in_turn import DraftsInTurn, Trials, at_token, laws_on_same_tokens
from ergodica.samplers.acceptance.laws import namespace, residual_law
from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.inputs import static_count


class WithoutReplacementState(NamedTuple):
    """Target and law of the first draft, both of shape ``(V,)``."""

    p: Any
    q: Any


class RecursiveRejectionWithoutReplacement(DraftsInTurn):
    """Try each draft against what is left of the target, with the law of a draft among the tokens not drawn before.

    As :class:`RecursiveRejection`, where the law of draft ``i`` is ``q`` on the tokens that are none of the drafts before
    it. The drafts have to be examined in the order in which they were drawn; for the largest of ``log q`` plus Gumbel noise
    that is the sorted order. If all tokens of the target are drafted, one of them is accepted surely.

    References
    ----------
    W. Jeon et al., 2024, arXiv 2402.14160; S. Yang et al., 2024, arXiv 2401.06706.
    """

    @property
    def claim(self) -> Claim:
        """Exact for drafts without replacement, in their order."""
        return Claim(
            Exactness.EXACT,
            "emits tokens with the target's law, for drafts without replacement in their order",
            "Jeon et al. (2024), arXiv 2402.14160; Yang et al. (2024), arXiv 2401.06706",
            spaces=frozenset({Space.FINITE, Space.SEQUENCE}),
            independent=True,
        )

    @property
    def cost(self) -> str:
        """Of a decision, the laws being given."""
        return "O(kV)"

    @property
    def monotone_in_k(self) -> bool:
        """``True``."""
        return True

    @property
    def may_lack_drafts(self) -> bool:
        """``True``: there may be fewer tokens than drafts."""
        return True

    def draft_law(self, q: Any, k: int = 1) -> DraftLaw:
        """Return ``k`` drafts without replacement."""
        return DraftsWithoutReplacement(q, k)

    def prepare(self, p: Any, q: Any, k: int = 1) -> WithoutReplacementState:
        """Normalise both laws; see :meth:`TokenRule.prepare`. The residuals depend on the drafts."""
        static_count("k", k)
        return WithoutReplacementState(*laws_on_same_tokens(p, q))

    def trials(self, state: WithoutReplacementState, drafts: Any) -> Trials:
        """Return a trial for each draft, with the residual that those before it leave."""
        xp = namespace(state.p)
        tokens = xp.arange(state.p.shape[0])
        current, weights, wanted, drawn = state.p, state.q, [], []
        for draft in range(drafts.shape[0]):
            token, total = drafts[draft], weights.sum()
            law = weights / xp.where(total > 0, total, 1)[()]
            wanted.append(at_token(current, token))
            drawn.append(at_token(law, token))
            # No draft, no rejection: what is left stays as it is.
            current = xp.where(token >= 0, residual_law(current, law), current)
            weights = xp.where(tokens == token, 0 * weights, weights)
        return Trials(np.arange(drafts.shape[0]), xp.stack(wanted), xp.stack(drawn), current)

    def alpha(self, state: WithoutReplacementState) -> None:
        """Return ``None``: no closed form is known; ``theory.draft_acceptance`` has the value by enumeration."""
        del state
