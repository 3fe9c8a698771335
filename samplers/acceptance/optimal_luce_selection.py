"""The best rule for independent drafts of one law, for vocabularies of any size."""

import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ergodica.samplers.acceptance.laws import namespace
from ergodica.samplers.acceptance.luce_selection import LuceSelection, selected_law
from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.inputs import is_concrete

_ROUNDS = 60
"""Most rounds of scaling the weights, of three quadratures each; ten are enough but for laws near what no weights give."""

_CLOSE = 4
"""Scaling stops when the acceptance is this many roundings from the optimum."""


_TOUCHES = 1e-13
"""Corners at most so far below the line past them are on it."""

_LEAST = -60.0
"""Smallest log weight, relative to the largest of its level."""


def optimal_selected_law(
    p: Float[np.ndarray, " V"], q: Float[np.ndarray, " V"], k: int
) -> tuple[Float[np.ndarray, " V"], Int[np.ndarray, " V"]]:
    """Return a law of the selected draft that is optimal, and the levels of the tokens.

    A law is that of a selected draft if it gives each set of tokens ``H`` at least ``q(H)^k``, the probability that all
    drafts lie in it. Among these laws the one whose ratio to ``p`` is most even has the largest overlap with ``p``. With
    the tokens in the order of ``p / q``, its ratio is the slope of the least concave majorant of the points ``(p(H),
    q(H)^k)`` over the prefixes ``H``. At each corner of the majorant the bound is attained: tokens before a corner are
    selected only if all drafts are, and so are of a lower level.

    Parameters
    ----------
    p, q
        Laws, shape ``(V,)``.
    k
        Number of drafts.

    Returns
    -------
    law
        Shape ``(V,)``; zero where ``q`` is.
    level
        From 0, shape ``(V,)``.
    """
    ratio = np.divide(p, q, out=np.zeros_like(p), where=q > 0)
    order = np.argsort(ratio, kind="stable")
    order = order[q[order] > 0]
    wanted = np.concatenate([[0.0], np.cumsum(p[order])])
    joint = np.concatenate([[0.0], np.cumsum(q[order])]) ** k
    # The stack of corners; a corner goes if it is below the line past it. One on the line stays: no finite weights
    # of one level would attain the bound there.
    corners = [0]
    for end in range(1, order.size + 1):
        while len(corners) > 1:
            before, last = corners[-2:]
            across = wanted[end] - wanted[before]
            share = (wanted[last] - wanted[before]) / across if across > 0 else 0.0
            line = joint[before] + (joint[end] - joint[before]) * share
            if across > 0 and joint[last] >= line - _TOUCHES:
                break
            corners.pop()
        corners.append(end)
    law, level = np.zeros_like(p), np.zeros(p.size, np.int64)
    for number, (start, end) in enumerate(itertools.pairwise(corners)):
        tokens = order[start:end]
        shares = p[tokens] if p[tokens].sum() > 0 else q[tokens]
        law[tokens] = shares / shares.sum() * (joint[end] - joint[start])
        level[tokens] = number
    return law, level


class OptimalLuceSelection(LuceSelection):
    """Select one of independent drafts, so that the output is one of them as often as under any rule.

    The selection has levels and, in each, weights. :func:`optimal_selected_law` says which law the selected draft should
    have; the weights that give it are found by scaling each by what its token is short of. Like every selection this one
    is exact, since the law of the selected draft is computed from the weights as they are; if scaling ends early, it costs
    acceptance alone.

    References
    ----------
    A. Khisti et al., 2025, arXiv 2410.18234, for the optimum; R. Thomas and A. Pal, 2025, arXiv 2511.15898, for convex
    minimisation over polymatroids; D. R. Hunter, 2004, MM algorithms for generalized Bradley-Terry models, for scaling;
    R. Varadhan and C. Roland, 2008, doi:10.1111/j.1467-9469.2007.00585.x, for extrapolating it.
    """

    @property
    def claim(self) -> Claim:
        """Exact for independent drafts of one law."""
        return Claim(
            Exactness.EXACT,
            "emits tokens with the target's law, for independent drafts of one law",
            "Khisti et al. (2025), arXiv 2410.18234; Thomas, Pal (2025), arXiv 2511.15898",
            spaces=frozenset({Space.FINITE, Space.SEQUENCE}),
            independent=True,
        )

    @property
    def cost(self) -> str:
        """Of a decision, and of the state."""
        return f"O(k) to accept, O(V) to reject; a sort and some 10 to {3 * _ROUNDS} quadratures once"

    @property
    def monotone_in_k(self) -> bool:
        """``True``."""
        return True

    def preference(self, p: Any, q: Any, k: int) -> tuple[Any, Any]:
        """Return levels and weights by scaling.

        Raises
        ------
        TypeError
            If the laws are traced: the search runs on the host, and its result may enter ``jit``.
        """
        if not (is_concrete(p) and is_concrete(q)):
            raise TypeError("the search needs concrete weights; call prepare outside jit and hand its state in")
        is_exact = namespace(p, q) is np
        dtype = jnp.result_type(float) if is_exact else q.dtype
        target, draft = np.asarray(p, np.float64), np.asarray(q, np.float64)
        logs, level = _search(target, draft, k, dtype)
        if is_exact:
            return np.array([type(p[0])(float(weight)) for weight in np.exp(logs)], dtype=object), level
        return jnp.exp(jnp.asarray(logs, dtype)), jnp.asarray(level)


def _search(
    p: Float[np.ndarray, " V"], q: Float[np.ndarray, " V"], k: int, dtype: Any
) -> tuple[Float[np.ndarray, " V"], Int[np.ndarray, " V"]]:
    """Return log weights that select the optimal law, as nearly as ``dtype`` tells, and the levels."""
    wanted, level = optimal_selected_law(p, q, k)
    is_drafted = wanted > 0
    log_wanted = np.log(np.where(is_drafted, wanted, 1))
    best, close = np.minimum(p, wanted).sum(), _CLOSE * float(jnp.finfo(dtype).eps)
    law_of_draft = jnp.asarray(q, dtype)

    def relative(logs: np.ndarray) -> np.ndarray:
        top = np.full(p.size, -np.inf)
        np.maximum.at(top, level[is_drafted], logs[is_drafted])
        return np.where(is_drafted, np.maximum(logs - np.where(np.isfinite(top), top, 0)[level], _LEAST), 0)

    def scaled(logs: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the next log weights and how far the acceptance of the given ones is from the best."""
        law = np.asarray(selected_law(law_of_draft, jnp.exp(jnp.asarray(logs, dtype)), level, k), np.float64)
        step = log_wanted - np.log(np.where(is_drafted & (law > 0), law, np.exp(log_wanted)))
        return relative(logs + step), float(best - np.minimum(p, law).sum())

    logs = np.zeros(p.size)
    following, gap = scaled(logs)
    for _ in range(_ROUNDS):
        if gap <= close:
            break
        second, gap_of_following = scaled(following)
        # Two steps extrapolate to where their shrinking leads; if that is no better, two more plain steps are taken.
        step, change = following - logs, second - 2 * following + logs
        length = np.linalg.norm(change)
        far = max(1.0, float(np.linalg.norm(step) / length)) if length > 0 else 1.0
        ahead = relative(logs + 2 * far * step + far**2 * change)
        (after_ahead, gap_ahead), (after_second, gap_second) = scaled(ahead), scaled(second)
        candidates = [
            (gap, logs, following),
            (gap_of_following, following, second),
            (gap_ahead, ahead, after_ahead),
            (gap_second, second, after_second),
        ]
        before = gap
        gap, logs, following = min(candidates[1:], key=lambda candidate: candidate[0])
        if gap > before and before <= 16 * close:  # rounding
            gap, logs, following = candidates[0]
            break
    return logs, level
