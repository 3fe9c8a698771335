"""Drawing from the target and looking whether the token was drafted."""

from typing import Any, NamedTuple

import numpy as np

from ergodica.samplers.acceptance.drafts_in_turn import DraftsInTurn, Trials, laws_on_same_tokens
from ergodica.samplers.acceptance.laws import namespace
from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.inputs import static_count


class NaiveState(NamedTuple):
    """Target, law of a draft, both of shape ``(V,)``, and the number of drafts."""

    p: Any
    q: Any
    k: Any


class Naive(DraftsInTurn):
    """Draw the token from the target, and call it accepted if it is one of the drafts.

    It is exact for drafts of any law, and accepts ``sum p (1 - (1 - q)^k)`` of independent ones: less than every rule that
    looks at the drafts first.

    References
    ----------
    X. Miao et al., 2024, arXiv 2305.09781, 'naive sampling'.
    """

    @property
    def claim(self) -> Claim:
        """Exact, whatever the drafts."""
        return Claim(
            Exactness.EXACT,
            "emits tokens with the target's law, whatever the drafts",
            "Miao et al. (2024), arXiv 2305.09781",
            spaces=frozenset({Space.FINITE, Space.SEQUENCE}),
            independent=True,
        )

    @property
    def cost(self) -> str:
        """Of a decision, the laws being given."""
        return "O(V)"

    @property
    def monotone_in_k(self) -> bool:
        """``True``."""
        return True

    @property
    def counts_members(self) -> bool:
        """``True``: there is no other way to accept."""
        return True

    @property
    def may_lack_drafts(self) -> bool:
        """``True``."""
        return True

    def num_trials(self, k: int) -> int:
        """One, which always fails."""
        del k
        return 1

    def prepare(self, p: Any, q: Any, k: int = 1) -> NaiveState:
        """Normalise both laws; see :meth:`TokenRule.prepare`."""
        return NaiveState(*laws_on_same_tokens(p, q), static_count("k", k))

    def trials(self, state: NaiveState, drafts: Any) -> Trials:
        """Return a trial that fails, with the target for a residual."""
        del drafts
        xp = namespace(state.p)
        return Trials(np.zeros(1, int), 0 * state.p[:1], xp.ones_like(state.p[:1]), state.p)

    def alpha(self, state: NaiveState) -> Any:
        """Return ``sum p (1 - (1 - q)^k)``, for independent drafts."""
        return (state.p * (1 - (1 - state.q) ** state.k)).sum()
