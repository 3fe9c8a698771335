"""Sequential selection of independent drafts, k-SEQ: the same test for each, and one residual."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ergodica.samplers.acceptance.drafts_in_turn import DraftsInTurn, Trials, at_token, laws_on_same_tokens
from ergodica.samplers.acceptance.laws import namespace, residual_law
from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.inputs import static_count

_STEPS = 60
"""Halvings of an interval of length ``k - 1``: beyond the last digit of a double."""


class SequentialSelectionState(NamedTuple):
    """What :class:`SequentialSelection` computes once.

    Parameters
    ----------
    p
        Target, shape ``(V,)``.
    scaled
        ``rho q``, shape ``(V,)``.
    residual
        Law of the output if all drafts are rejected, shape ``(V,)``.
    rho
        The parameter.
    accept
        Probability that a draft is accepted.
    """

    p: Any
    scaled: Any
    residual: Any
    rho: Any
    accept: Any


def _passed(rho: Any, p: Any, q: Any, k: int) -> tuple[Any, Any]:
    """Return the probability that one draft passes its test, and that one of ``k`` does."""
    xp = namespace(p)
    scaled = rho * q
    one = xp.where(p < scaled, p, scaled).sum() / rho
    one = xp.where(one > 1, 1, one)[()]  # rounding
    return one, 1 - (1 - one) ** k


def smallest_rho(p: Any, q: Any, k: int) -> Any:
    """Return the smallest ``rho`` in ``[1, k]`` for which k-SEQ is exact, rounded up.

    The test emits no more of a token than the target has if ``1 - (1 - b)^k <= rho b``, with ``rho b`` the sum of
    ``min(p, rho q)``. The difference falls as ``rho`` rises; the root is found by bisection.

    Parameters
    ----------
    p, q
        Laws, shape ``(V,)``; for fractions the result is a fraction, and valid without rounding.
    k
        Number of drafts.
    """
    xp = namespace(p, q)
    slack = 0 if xp is np else 4 * jnp.finfo(p.dtype).eps  # rounding must not hide that rho = 1 is valid for p = q

    def is_valid(rho: Any) -> Any:
        one, any_of_them = _passed(rho, p, q, k)
        return any_of_them - rho * one <= slack

    one = 1 + 0 * p.sum()

    def halve(_: Any, ends: tuple[Any, Any]) -> tuple[Any, Any]:
        low, high = ends
        middle = (low + high) / 2
        lower = is_valid(middle)
        return xp.where(lower, low, middle)[()], xp.where(lower, middle, high)[()]

    ends = one, k * one
    if xp is np:
        for step in range(_STEPS):
            ends = halve(step, ends)
    else:
        ends = jax.lax.fori_loop(0, _STEPS, halve, ends)
    return xp.where(is_valid(one), one, ends[1])[()]


class SequentialSelection(DraftsInTurn):
    """Accept each draft in turn with probability ``min(1, p / (rho q))``; if none is, draw from what is left.

    One draft passes with probability ``b``, ``rho b = sum min(p, rho q)``. The rule emits ``min(q, p / rho) (1 - (1 -
    b)^k) / b`` by acceptance and the rest of the target by the residual, so that it is exact for every ``rho`` that leaves
    no negative rest; it takes the smallest one, where the acceptance is largest. It accepts at least as often as
    recursive rejection, and at least ``1 - (1 - 1/k)^k`` times as often as the best rule.

    References
    ----------
    Z. Sun et al., 2023, arXiv 2310.15141, algorithm 2.
    """

    @property
    def claim(self) -> Claim:
        """Exact for independent drafts of one law."""
        return Claim(
            Exactness.EXACT,
            "emits tokens with the target's law, for independent drafts of one law",
            "Z. Sun et al. (2023), arXiv 2310.15141",
            spaces=frozenset({Space.FINITE, Space.SEQUENCE}),
            independent=True,
        )

    @property
    def cost(self) -> str:
        """Of a decision, and of the state."""
        return "O(k) to accept, O(V) to reject; 60 V once for the parameter"

    @property
    def monotone_in_k(self) -> bool:
        """``True``."""
        return True

    def prepare(self, p: Any, q: Any, k: int = 1) -> SequentialSelectionState:
        """Find the parameter and form the residual; see :meth:`TokenRule.prepare`."""
        k = static_count("k", k)
        target, draft = laws_on_same_tokens(p, q)
        xp = namespace(target, draft)
        rho = smallest_rho(target, draft, k)
        one, accept = _passed(rho, target, draft, k)
        scaled = rho * draft
        share = accept / xp.where(one > 0, rho * one, 1)[()]
        accepted = xp.where(target < scaled, target, scaled) * share
        return SequentialSelectionState(target, scaled, residual_law(target, accepted), rho, accept)

    def trials(self, state: SequentialSelectionState, drafts: Any) -> Trials:
        """Return the same trial for each draft."""
        return Trials(
            np.arange(drafts.shape[0]), at_token(state.p, drafts), at_token(state.scaled, drafts), state.residual
        )

    def alpha(self, state: SequentialSelectionState) -> Any:
        """Return ``1 - (1 - b)^k``."""
        return state.accept
