"""The best rule for greedy drafts: the likeliest tokens for certain, and one draw from the others."""

from typing import Any, NamedTuple

import numpy as np

from ergodica.samplers.acceptance.dependent_drafts import TopDrafts
from ergodica.samplers.acceptance.draft_law import DraftLaw
from ergodica.samplers.acceptance.drafts_in_turn import DraftsInTurn, Trials, at_token, laws_on_same_tokens
from ergodica.samplers.acceptance.laws import namespace, residual_law
from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.inputs import static_count


class GreedyMultiDraftState(NamedTuple):
    """What :class:`GreedyMultiDraft` computes once.

    Parameters
    ----------
    p
        Target, shape ``(V,)``.
    others
        Law of the last draft, shape ``(V,)``; all zero if there is none.
    residual
        ``p`` at the certain drafts and ``(p - others)+`` elsewhere, divided by its sum; shape ``(V,)``.
    top
        The certain drafts, shape ``(min(k - 1, V),)``.
    """

    p: Any
    others: Any
    residual: Any
    top: Any


class GreedyMultiDraft(DraftsInTurn):
    """Try the drawn draft; if it fails, draw from what is left, which may be one of the certain drafts.

    The last draft ``x`` has the law ``q`` off the ``k - 1`` likeliest tokens, ``others``, and is accepted with probability
    ``min(1, p(x) / others(x))``. Otherwise the token is drawn from ``(p - others)+``, and counts as accepted if it is one
    of the likeliest tokens. No rule accepts such drafts more often.

    References
    ----------
    Z. Hu et al., 2025, arXiv 2502.18779.
    """

    @property
    def claim(self) -> Claim:
        """Exact for greedy drafts."""
        return Claim(
            Exactness.EXACT,
            "emits tokens with the target's law, for the likeliest tokens and one draw as drafts",
            "Hu et al. (2025), arXiv 2502.18779",
            spaces=frozenset({Space.FINITE, Space.SEQUENCE}),
            independent=True,
        )

    @property
    def cost(self) -> str:
        """Of a decision, the laws being given."""
        return "O(1) to accept the draw, else O(V); O(V log V) once for the likeliest tokens"

    @property
    def monotone_in_k(self) -> bool:
        """``True``."""
        return True

    @property
    def counts_members(self) -> bool:
        """``True``: the certain drafts are accepted by the residual."""
        return True

    @property
    def may_lack_drafts(self) -> bool:
        """``True``: nothing may be left to draw."""
        return True

    def num_trials(self, k: int) -> int:
        """One, for the draft that was drawn."""
        del k
        return 1

    def draft_law(self, q: Any, k: int = 1) -> DraftLaw:
        """Return the ``k - 1`` likeliest tokens and a draw from the others."""
        return TopDrafts(q, k)

    def prepare(self, p: Any, q: Any, k: int = 1) -> GreedyMultiDraftState:
        """Split the tokens and form the residual; see :meth:`TokenRule.prepare`."""
        target, draft = laws_on_same_tokens(p, q)
        drafts = TopDrafts(draft, static_count("k", k))
        others = drafts.others()
        return GreedyMultiDraftState(target, others, residual_law(target, others), drafts.top())

    def trials(self, state: GreedyMultiDraftState, drafts: Any) -> Trials:
        """Return the trial of the draft after the certain ones."""
        xp, drawn = namespace(state.p), state.top.shape[0]
        if drafts.shape[0] <= drawn:  # all tokens with positive weight are certain drafts
            return Trials(np.zeros(1, int), 0 * state.p[:1], 0 * state.p[:1], state.residual)
        wanted, law = at_token(state.p, drafts[drawn]), at_token(state.others, drafts[drawn])
        return Trials(np.full(1, drawn), xp.stack([wanted]), xp.stack([law]), state.residual)

    def alpha(self, state: GreedyMultiDraftState) -> Any:
        """Return ``p(top) + sum min(p, others)``."""
        xp = namespace(state.p)
        return state.p[state.top].sum() + xp.where(state.p < state.others, state.p, state.others).sum()
