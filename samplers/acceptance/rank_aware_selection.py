"""Selection of a draft by its rank among the drafts, in the order of the ratio of target to draft probability."""

import math
from typing import Any, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float
from scipy import optimize

from ergodica.samplers import inputs
from ergodica.samplers.acceptance.drafts_in_turn import at_token, laws_on_same_tokens
from ergodica.samplers.acceptance.laws import as_law, namespace, residual_law
from ergodica.samplers.acceptance.selected_draft import SelectedDraft
from ergodica.samplers.claim import Claim, Exactness, Space

_ROUNDS = 200
"""Most tangents; stopping early costs acceptance, not exactness."""

_TOLERANCE = 1e-12


class RankAwareSelectionState(NamedTuple):
    """What :class:`RankAwareSelection` computes once.

    Parameters
    ----------
    p, selected, residual
        Target, law of the selected draft, residual; shape ``(V,)``.
    rank
        Place of each token in the order, the most preferred last; shape ``(V,)``.
    weights
        Probability of selecting the draft of each rank, the most preferred first; shape ``(k,)``.
    """

    p: Any
    selected: Any
    residual: Any
    rank: Any
    weights: Any


def rank_laws(q: Any, order: Any, k: int) -> Any:
    """Return the law of the draft of each rank among ``k`` independent ones, the most preferred first, shape ``(k, V)``.

    The draft of rank ``r`` is at most the token ``x`` if at most ``r - 1`` of the drafts are preferred to ``x``.

    Parameters
    ----------
    q
        Law of a draft, shape ``(V,)``.
    order
        Tokens, the least preferred first.
    k
        Number of drafts.
    """
    xp = namespace(q)
    to = xp.cumsum(q[order])
    # The last sum is one: a rounding error there would be mass of no token.
    to = to / to[-1]
    edges = xp.concatenate([0 * to[:1], to])
    terms = [math.comb(k, above) * (1 - edges) ** above * edges ** (k - above) for above in range(k)]
    laws, below = [], 0 * edges
    for term in terms:
        below = below + term
        law = below[1:] - below[:-1]
        laws.append(xp.where(law > 0, law, 0 * law)[xp.argsort(order, stable=True)])
    return xp.stack(laws)


def best_weights(target: Any, laws: Any) -> Float[np.ndarray, " k"]:
    """Return the weights ``w`` of the rank laws with the largest overlap ``sum min(p, w laws)``.

    The overlap is concave and piecewise linear. A linear program with ``k`` weights and one bound maximises the smallest
    of its tangents found so far, and each solution adds one, until the bound is attained.

    Parameters
    ----------
    target
        Shape ``(V,)``.
    laws
        Shape ``(k, V)``.
    """
    p, table = np.asarray(target, np.float64), np.asarray(laws, np.float64)
    k = table.shape[0]
    weights = np.full(k, 1.0 / k)
    best, value = weights, -np.inf
    slopes: list[np.ndarray] = []
    heights: list[float] = []
    for _ in range(_ROUNDS):
        mixed = weights @ table
        is_short = mixed < p
        overlap = float(np.minimum(mixed, p).sum())
        if overlap > value:
            best, value = weights, overlap
        slopes.append(table[:, is_short].sum(axis=1))
        heights.append(float(p[~is_short].sum()))
        rows = np.column_stack([-np.array(slopes), np.ones(len(slopes))])
        program = optimize.linprog(
            np.append(np.zeros(k), -1.0),
            A_ub=rows,
            b_ub=heights,
            A_eq=np.append(np.ones(k), 0.0)[None],
            b_eq=[1.0],
            bounds=[(0, None)] * k + [(None, 1.0)],
            method="highs",
        )
        if program.x is None or program.x[k] <= value + _TOLERANCE:
            break
        weights = np.maximum(program.x[:k], 0.0)
        weights = weights / weights.sum()
    return best


class RankAwareSelection(SelectedDraft):
    """Sort independent drafts by ``p / q``, select the one of rank ``r`` with probability ``w_r``, and accept it or not.

    The selected draft has the law ``sum_r w_r law_r`` with the laws of the order statistics. All weight on the first rank
    is ordered selection; equal weights are speculative sampling with one draft. The best weights come from a linear
    program with ``k`` unknowns, and never lose by another draft. Of tokens with equal ratio the later one is preferred.

    Parameters
    ----------
    weights
        Of the ranks, the most preferred first, shape ``(k,)``, floats or fractions; divided by their sum. Default: the best
        ones for each pair of laws, found on the host.

    Raises
    ------
    ValueError
        If the weights are no law.

    References
    ----------
    Bullo et al., 2026, arXiv 2610.02251, in its discrete form.
    """

    weights: Any
    is_fixed: bool = eqx.field(static=True)

    def __init__(self, weights: Any = None) -> None:
        self.is_fixed = weights is not None
        self.weights = None if weights is None else as_law("weights", weights)

    @property
    def claim(self) -> Claim:
        """Exact for independent drafts of one law."""
        return Claim(
            Exactness.EXACT,
            "emits tokens with the target's law, for independent drafts of one law",
            "Bullo et al. (2026), arXiv 2610.02251; Khisti et al. (2025), arXiv 2410.18234",
            spaces=frozenset({Space.FINITE, Space.SEQUENCE}),
            independent=True,
        )

    @property
    def cost(self) -> str:
        """Of a decision, and of the state."""
        return "O(k log k) to accept, O(V) to reject; O(V log V + k V) once, and a linear program for the best weights"

    @property
    def monotone_in_k(self) -> bool | None:
        """``True`` with the best weights; fixed ones belong to one number of drafts."""
        return None if self.is_fixed else True

    def prepare(self, p: Any, q: Any, k: int = 1) -> RankAwareSelectionState:
        """Sort the tokens, choose the weights, and find the law of the selected draft; see :meth:`TokenRule.prepare`.

        Raises
        ------
        ValueError
            If there are not as many weights as drafts, or ``p`` and ``q`` are no laws on the same tokens.
        TypeError
            If the best weights are asked for and the laws are traced: the program runs on the host.
        """
        k = inputs.static_count("k", k)
        if not self.is_fixed and not inputs.is_concrete((p, q)):
            raise TypeError(
                "the best weights need concrete laws; call prepare outside jit and hand its state in, or give weights"
            )
        target, draft = laws_on_same_tokens(p, q)
        xp = namespace(target, draft)
        order = xp.argsort(target / xp.where(draft > 0, draft, 1), stable=True)
        laws = rank_laws(draft, order, k)
        weights = self._weights(target, laws, k)
        selected = (weights[:, None] * laws).sum(axis=0)
        rank = xp.argsort(order, stable=True)
        return RankAwareSelectionState(target, selected, residual_law(target, selected), rank, weights)

    def _weights(self, target: Any, laws: Any, k: int) -> Any:
        xp = namespace(target)
        weights: Any = self.weights if self.is_fixed else best_weights(target, laws)
        if weights.shape != (k,):
            raise ValueError(f"expected a weight for each of {k} drafts; got shape {weights.shape}")
        if xp is np:
            # Exact in fractions, whatever the program's tolerance: weights need to sum to one and nothing else.
            one = type(target[0])
            exact = np.array([one(weight) for weight in weights.tolist()], dtype=object)
            return exact / exact.sum()
        return xp.asarray(weights, target.dtype)

    def selection(self, state: RankAwareSelectionState, drafts: Any) -> Any:
        """Return the weight of each draft's rank; of equal drafts the first is preferred."""
        xp = namespace(state.p)
        order = xp.argsort(-at_token(state.rank, drafts), stable=True)
        weights: Array = state.weights[xp.argsort(order, stable=True)]
        return weights
