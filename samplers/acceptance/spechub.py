"""SpecHub: two drafts, of which one is always the likeliest token."""

from typing import Any, NamedTuple

from ergodica.samplers.acceptance.dependent_drafts import HubDrafts
from ergodica.samplers.acceptance.draft_law import DraftLaw
from ergodica.samplers.acceptance.drafts_in_turn import (
    DraftsInTurn,
    Trials,
    at_token,
    laws_on_same_tokens,
    positive_part,
)
from ergodica.samplers.acceptance.laws import namespace, residual_law
from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.inputs import static_count


class SpecHubState(NamedTuple):
    """What :class:`SpecHub` computes once.

    Parameters
    ----------
    p
        Target, shape ``(V,)``.
    hub
        The likeliest token of the draft law.
    first, second
        Probabilities of the pairs ``(i, hub)`` and ``(hub, i)`` by ``i``, shape ``(V,)``; zero at the hub.
    after_first
        What the pairs ``(i, hub)`` leave of the target by accepting ``i``, shape ``(V,)``.
    hub_after_second
        What the pairs ``(hub, i)`` leave of the hub's probability.
    lost_first, lost_second
        Probability of a pair of either kind whose ``i`` is rejected.
    residual
        Law of the output if both drafts are rejected, shape ``(V,)``.
    """

    p: Any
    hub: Any
    first: Any
    second: Any
    after_first: Any
    hub_after_second: Any
    lost_first: Any
    lost_second: Any
    residual: Any


class SpecHub(DraftsInTurn):
    """Try the draft that is not the hub; if it fails, try the hub; if both fail, draw from what is left.

    The four ways to accept are served one after another, each with what those before have left of the target: ``i`` of
    ``(i, a)``, ``i`` of ``(a, i)``, ``a`` of ``(a, i)``, ``a`` of ``(i, a)``. No rule accepts such pairs more often.

    References
    ----------
    R. Sun et al., 2024, arXiv 2411.05289.
    """

    @property
    def claim(self) -> Claim:
        """Exact for pairs with the hub."""
        return Claim(
            Exactness.EXACT,
            "emits tokens with the target's law, for pairs of drafts with the likeliest token",
            "R. Sun et al. (2024), arXiv 2411.05289",
            spaces=frozenset({Space.FINITE, Space.SEQUENCE}),
            independent=True,
        )

    @property
    def cost(self) -> str:
        """Of a decision, and of the state."""
        return "O(1) to accept, O(V) to reject; O(V) once for the state"

    @property
    def may_lack_drafts(self) -> bool:
        """``True``: there may be one possible token only."""
        return True

    def draft_law(self, q: Any, k: int = 2) -> DraftLaw:
        """Return the law of the pairs."""
        self._check(k)
        return HubDrafts(q)

    @staticmethod
    def _check(k: int) -> None:
        if static_count("k", k) != 2:
            raise ValueError(f"SpecHub takes two drafts for each position; got k={k}")

    def prepare(self, p: Any, q: Any, k: int = 2) -> SpecHubState:
        """Share the target out among the pairs; see :meth:`TokenRule.prepare`.

        Raises
        ------
        ValueError
            If ``k`` is not 2, or the weights are concrete and no laws on the same tokens.
        """
        self._check(k)
        target, draft = laws_on_same_tokens(p, q)
        xp, drafts = namespace(target, draft), HubDrafts(draft)
        hub, (first, second) = drafts.hub(), drafts.spokes()
        is_hub = xp.arange(target.shape[0]) == hub
        after_first = positive_part(target - first)
        lost_first = positive_part(first - target).sum()
        lost_second = xp.where(is_hub, 0 * target, positive_part(second - after_first)).sum()
        at_hub = positive_part(target[hub] - lost_second)
        # A lone token is the only draft, tried against its own probability.
        taken_at_hub = xp.where(first.sum() > 0, lost_second + lost_first, draft[hub])[()]
        accepted = xp.where(is_hub, taken_at_hub, first + second)
        return SpecHubState(
            target, hub, first, second, after_first, at_hub, lost_first, lost_second, residual_law(target, accepted)
        )

    def trials(self, state: SpecHubState, drafts: Any) -> Trials:
        """Return the trial of the draft that is not the hub, then that of the hub."""
        xp = namespace(state.p)
        other = xp.asarray(drafts[1] if drafts.shape[0] > 1 else -1)
        is_second, is_lone = drafts[0] == state.hub, other < 0
        token = xp.where(is_second, other, drafts[0])[()]
        wanted = xp.where(is_second, at_token(state.after_first, token), at_token(state.p, token))[()]
        drawn = xp.where(is_second, at_token(state.second, token), at_token(state.first, token))[()]
        hub_wanted = xp.where(is_second, state.p[state.hub], state.hub_after_second)[()]
        hub_drawn = xp.where(is_second, xp.where(is_lone, 1, state.lost_second), state.lost_first)[()]
        # Two drafts without the hub cannot have been drawn.
        is_possible = is_second | (other == state.hub)
        hub_drawn = xp.where(is_possible, hub_drawn, 0 * hub_drawn)[()]
        drawn = xp.where(is_possible, drawn, 0 * drawn)[()]
        index = xp.where(is_second, 1, 0)[()]
        return Trials(
            xp.stack([xp.where(is_lone, 0, index)[()], 1 - index]),
            xp.stack([wanted, hub_wanted]),
            xp.stack([drawn, hub_drawn]),
            state.residual,
        )

    def alpha(self, state: SpecHubState) -> Any:
        """Return ``s + min(p_a, 1 - s)``, ``s`` the sum of ``min(p_i, q_i / (1 - q_a))`` over the other tokens."""
        xp = namespace(state.p)
        pairs = state.first + state.second
        others = xp.where(state.p < pairs, state.p, pairs)
        others = xp.where(xp.arange(state.p.shape[0]) == state.hub, 0 * others, others).sum()
        at_hub = state.p[state.hub]
        return others + xp.where(at_hub < 1 - others, at_hub, 1 - others)[()]
