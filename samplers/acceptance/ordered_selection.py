"""Selection of the draft with the largest ratio of target to draft probability."""

from typing import Any, NamedTuple

from ergodica.samplers.acceptance.drafts_in_turn import at_token, laws_on_same_tokens
from ergodica.samplers.acceptance.laws import namespace, residual_law
from ergodica.samplers.acceptance.selected_draft import SelectedDraft
from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.inputs import static_count


class OrderedSelectionState(NamedTuple):
    """What :class:`OrderedSelection` computes once.

    Parameters
    ----------
    p, selected, residual
        Target, law of the selected draft, residual; shape ``(V,)``.
    rank
        Place of each token in the order, the most preferred last; shape ``(V,)``.
    """

    p: Any
    selected: Any
    residual: Any
    rank: Any


class OrderedSelection(SelectedDraft):
    """Select the draft with the largest ``p / q`` of independent ones, and accept it as if it were the only one.

    The selected draft has the law ``Q_to(x)^k - Q_below(x)^k`` with the sums of ``q`` in the order of the ratio. More drafts
    may lower the acceptance: for ``p = q`` one is the best number. Of tokens with equal ratio the later one is preferred.

    References
    ----------
    A. Khisti et al., 2025, arXiv 2410.18234.
    """

    @property
    def claim(self) -> Claim:
        """Exact for independent drafts of one law."""
        return Claim(
            Exactness.EXACT,
            "emits tokens with the target's law, for independent drafts of one law",
            "Khisti et al. (2025), arXiv 2410.18234",
            spaces=frozenset({Space.FINITE, Space.SEQUENCE}),
            independent=True,
        )

    @property
    def cost(self) -> str:
        """Of a decision, and of the state."""
        return "O(k) to accept, O(V) to reject; O(V log V) once for the order"

    @property
    def monotone_in_k(self) -> bool:
        """``False``."""
        return False

    def prepare(self, p: Any, q: Any, k: int = 1) -> OrderedSelectionState:
        """Sort the tokens and find the law of the selected draft; see :meth:`TokenRule.prepare`."""
        k = static_count("k", k)
        target, draft = laws_on_same_tokens(p, q)
        xp = namespace(target, draft)
        order = xp.argsort(target / xp.where(draft > 0, draft, 1), stable=True)
        to = xp.cumsum(draft[order])
        below = xp.concatenate([0 * to[:1], to[:-1]])
        rank = xp.argsort(order, stable=True)
        selected = (to**k - below**k)[rank]
        return OrderedSelectionState(target, selected, residual_law(target, selected), rank)

    def selection(self, state: OrderedSelectionState, drafts: Any) -> Any:
        """Return one for the first of the most preferred drafts."""
        xp = namespace(state.p)
        best = xp.argmax(at_token(state.rank, drafts))
        return xp.where(xp.arange(drafts.shape[0]) == best, 1 + 0 * state.p[0], 0 * state.p[0])
