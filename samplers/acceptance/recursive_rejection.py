"""Recursive rejection of independent drafts: what one draft leaves of the target is the target of the next."""

from typing import Any, NamedTuple

import numpy as np

from ergodica.samplers.acceptance.dependent_drafts import UnequalDrafts
from ergodica.samplers.acceptance.draft_law import DraftLaw, IndependentDrafts
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


class RecursiveRejectionState(NamedTuple):
    """What :class:`RecursiveRejection` computes once.

    Parameters
    ----------
    current
        What is left of the target before each draft and after the last, each divided by its sum; shape ``(k + 1, V)``.
    q
        Law of each draft, shape ``(k, V)``.
    """

    current: Any
    q: Any


def stacked_draft_laws(q: Any, k: int) -> list[Any]:
    """Return the weights of ``k`` drafts: one row for all, shape ``(V,)``, or a row for each, shape ``(k, V)``.

    Raises
    ------
    ValueError
        If there are several rows, but not ``k``.
    """
    k = static_count("k", k)
    if np.ndim(q) < 2:
        return [q] * k
    if np.ndim(q) > 2 or np.shape(q)[0] != k:
        raise ValueError(f"q has to be one law, shape (V,), or one for each of k={k} drafts; got shape {np.shape(q)}")
    return list(q)


class RecursiveRejection(DraftsInTurn):
    """Try each draft against what the drafts before it have left of the target.

    Draft ``i`` is accepted with probability ``min(1, r(x_i) / q_i(x_i))``, where ``r`` is the target at first and, after
    each rejection, ``(r - q_i)+`` divided by its sum. If all are rejected the token is drawn from the last ``r``. The
    drafts are independent; they may have different laws, but the order of their trials must not depend on their values.
    A repeated draft is rejected surely, and still changes ``r``.

    For equal laws ``r`` after ``i`` rejections is proportional to ``(p - lam_i q)+``, with sum ``s_i`` and
    ``lam_(i+1) = lam_i + s_i``, and the acceptance is ``1 - s_k``.

    References
    ----------
    X. Miao et al., 2024, arXiv 2305.09781; S. Yang et al., 2024, arXiv 2401.06706.
    """

    @property
    def claim(self) -> Claim:
        """Exact for independent drafts."""
        return Claim(
            Exactness.EXACT,
            "emits tokens with the target's law, for independent drafts",
            "Miao et al. (2024), arXiv 2305.09781; Yang et al. (2024), arXiv 2401.06706",
            spaces=frozenset({Space.FINITE, Space.SEQUENCE}),
            independent=True,
        )

    @property
    def cost(self) -> str:
        """Of a decision, without the state."""
        return "O(V) for each rejection, once for all drafts of the same laws"

    @property
    def monotone_in_k(self) -> bool:
        """``True``."""
        return True

    def draft_law(self, q: Any, k: int = 1) -> DraftLaw:
        """Return ``k`` independent drafts, from one law or from the rows of ``q``."""
        rows = stacked_draft_laws(q, k)
        return IndependentDrafts(q, k) if np.ndim(q) < 2 else UnequalDrafts(namespace(*rows).stack(rows))

    def prepare(self, p: Any, q: Any, k: int = 1) -> RecursiveRejectionState:
        """Form the residual after each draft; see :meth:`TokenRule.prepare`."""
        pairs = [laws_on_same_tokens(p, row) for row in stacked_draft_laws(q, k)]
        current = [pairs[0][0]]
        for _, draft in pairs:
            current.append(residual_law(current[-1], draft))
        xp = namespace(*current)
        return RecursiveRejectionState(xp.stack(current), xp.stack([draft for _, draft in pairs]))

    def trials(self, state: RecursiveRejectionState, drafts: Any) -> Trials:
        """Return a trial for each draft, against its residual."""
        xp, k = namespace(state.q), state.q.shape[0]
        wanted = xp.stack([at_token(state.current[draft], drafts[draft]) for draft in range(k)])
        drawn = xp.stack([at_token(state.q[draft], drafts[draft]) for draft in range(k)])
        return Trials(np.arange(k), wanted, drawn, state.current[-1])

    def alpha(self, state: RecursiveRejectionState) -> Any:
        """Return one minus the product of the rejection probabilities."""
        left: Any = 1
        for draft in range(state.q.shape[0]):
            left = left * positive_part(state.q[draft] - state.current[draft]).sum()
        return 1 - left
