"""The best rule for a small vocabulary, by a linear program over the sets of drafts."""

from typing import Any, NamedTuple

import equinox as eqx
import numpy as np

from ergodica.samplers.acceptance.dependent_drafts import DraftsWithoutReplacement
from ergodica.samplers.acceptance.draft_law import DraftLaw, IndependentDrafts
from ergodica.samplers.acceptance.drafts_in_turn import laws_on_same_tokens
from ergodica.samplers.acceptance.laws import namespace, residual_law
from ergodica.samplers.acceptance.selected_draft import SelectedDraft
from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.inputs import is_concrete, static_count
from ergodica.theory.optimal_acceptance import acceptance_program, drafted_sets

_LARGEST = 12
"""Most tokens: the table of selections has a row for each set of them."""


class OptimalSelectionState(NamedTuple):
    """What :class:`OptimalSelection` computes once.

    Parameters
    ----------
    p, selected, residual
        Target, law of the selected draft, residual; shape ``(V,)``.
    table
        Selection by set: row ``sum of 2^x over the drafts x`` has the probability of each token; shape ``(2^V, V)``.
    """

    p: Any
    selected: Any
    residual: Any
    table: Any


class OptimalSelection(SelectedDraft):
    """Select a draft so that the output is one of the drafts as often as possible.

    A linear program sends the probability of each set of drafts to its tokens, without sending a token more than the
    target has. What it sends gives the selection; the law of the selected draft is then computed from the selection as it
    is, so that inexact arithmetic in the program costs acceptance and not exactness.

    Parameters
    ----------
    replacement
        False: the drafts are drawn without replacement.

    References
    ----------
    Z. Sun et al., 2023, arXiv 2310.15141, for the program; A. Khisti et al., 2025, arXiv 2410.18234, for the selection.
    """

    replacement: bool = eqx.field(static=True)

    def __init__(self, *, replacement: bool = True) -> None:
        self.replacement = bool(replacement)

    @property
    def claim(self) -> Claim:
        """Exact for independent drafts of one law, or for drafts without replacement."""
        return Claim(
            Exactness.EXACT,
            "emits tokens with the target's law, for drafts of one law with or without replacement, as told",
            "Sun et al. (2023), arXiv 2310.15141; Khisti et al. (2025), arXiv 2410.18234",
            spaces=frozenset({Space.FINITE, Space.SEQUENCE}),
            independent=True,
        )

    @property
    def cost(self) -> str:
        """Of a decision, and of the state."""
        return f"O(k) to accept, O(V) to reject; a linear program once, for at most {_LARGEST} tokens"

    @property
    def monotone_in_k(self) -> bool:
        """``True``."""
        return True

    @property
    def may_lack_drafts(self) -> bool:
        """Without replacement there may be fewer tokens than drafts."""
        return not self.replacement

    def draft_law(self, q: Any, k: int = 1) -> DraftLaw:
        """Return ``k`` draws from ``q``, with or without replacement."""
        return IndependentDrafts(q, k) if self.replacement else DraftsWithoutReplacement(q, k)

    def prepare(self, p: Any, q: Any, k: int = 1) -> OptimalSelectionState:
        """Solve the program; see :meth:`TokenRule.prepare`.

        Raises
        ------
        ValueError
            If there are more than 12 tokens, or the weights are no laws on the same tokens.
        TypeError
            If the weights are traced: the program runs on the host, and its result may enter ``jit``.
        """
        k = static_count("k", k)
        if not (is_concrete(p) and is_concrete(q)):
            raise TypeError("the linear program needs concrete weights; call prepare outside jit and hand its state in")
        target, draft = laws_on_same_tokens(p, q)
        xp = namespace(target, draft)
        target, draft = (law if xp is np else np.asarray(law) for law in (target, draft))
        if target.size > _LARGEST:
            raise ValueError(f"the program has a row for each set of tokens; {target.size} tokens are too many")
        sets = drafted_sets(draft, k, replacement=self.replacement)
        flow = acceptance_program(target.astype(float), sets).flow
        # Sets that cannot be drafted have a row as well: each of their tokens with equal probability.
        table = np.arange(2**target.size)[:, None] >> np.arange(target.size) & 1
        table = table * (1 + 0 * target[:1]) / np.maximum(table.sum(axis=1, keepdims=True), 1)
        selected = 0 * draft
        for drafted, mass in sets.items():
            tokens = sorted(drafted)
            if xp is np:
                share = np.array([type(mass)(max(0.0, flow[drafted][token])) / mass for token in tokens], dtype=object)
            else:
                share = np.maximum(flow[drafted][tokens], 0) / mass
            # The rest goes to any of them; rounding may have sent more than there is.
            share = share / max(1, share.sum())
            share = share + (1 - share.sum()) / len(tokens)
            table[sum(1 << token for token in tokens), tokens] = share
            selected[tokens] = selected[tokens] + mass * share
        arrays = target, selected, residual_law(*(xp.asarray(law) for law in (target, selected))), table
        return OptimalSelectionState(*(xp.asarray(array) for array in arrays))

    def selection(self, state: OptimalSelectionState, drafts: Any) -> Any:
        """Return the share of each draft in the table's row, divided by how often it was drafted."""
        xp, size = namespace(state.p), state.p.shape[0]
        tokens = xp.arange(size)
        is_drafted = xp.any(tokens[:, None] == drafts, axis=1)
        row = state.table[xp.where(is_drafted, 2**tokens, 0).sum()]
        times = (drafts[:, None] == drafts).sum(axis=1)
        is_token = (drafts >= 0) & (drafts < size)
        return xp.where(is_token, row[xp.where(is_token, drafts, 0)], 0 * row[0]) / times
