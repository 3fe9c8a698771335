"""Selection of a draft in proportion to weights: Luce's choice."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ergodica.samplers.acceptance.draft_law import IndependentDrafts
from ergodica.samplers.acceptance.drafts_in_turn import laws_on_same_tokens
from ergodica.samplers.acceptance.laws import namespace, residual_law
from ergodica.samplers.acceptance.selected_draft import SelectedDraft
from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.inputs import static_count

_STEP = 0.2
"""Distance of the quadrature's nodes in ``log s``, at which its error is ``exp(-pi^2 / 0.2)``, below rounding."""

_RANGE = 60.0
"""Weights below ``exp(-60)`` of the largest count as this: the selection stays a selection."""


class LuceSelectionState(NamedTuple):
    """What :class:`LuceSelection` computes once.

    Parameters
    ----------
    p, selected, residual
        Target, law of the selected draft, residual; shape ``(V,)``.
    weights, level
        Among the drafts of the highest level one is selected in proportion to its weight; shape ``(V,)``.
    """

    p: Any
    selected: Any
    residual: Any
    weights: Any
    level: Any


def choice_probabilities(weights: Any, level: Any) -> Any:
    """Return the weights of the draws of the highest level, divided by their sum, and zero for the others.

    Parameters
    ----------
    weights
        Positive, shape ``(k,)``.
    level
        Integers, shape ``(k,)``.
    """
    chosen = namespace(weights).where(level == level.max(), weights, 0 * weights)
    return chosen / chosen.sum()


def selected_law(q: Any, weights: Any, level: Any, k: int) -> Any:
    """Return the law of one of ``k`` independent draws, chosen by weight among those of the highest level.

    In a level it is ``k q_x w_x`` times the integral over ``s > 0`` of ``exp(-s w_x) (b + sum_z q_z exp(-s w_z))^(k - 1)``
    with the probability ``b`` of all levels below. With floats it is the trapezoidal rule in ``log s``, whose error falls
    exponentially in the number of nodes; with fractions all tuples are enumerated.

    Parameters
    ----------
    q
        Law of a draw, shape ``(V,)``.
    weights
        Positive, at most 1 and 1 somewhere in each level; shape ``(V,)``.
    level
        From 0 to ``V``, shape ``(V,)``.
    k
        Number of draws.
    """
    if namespace(q, weights) is np:
        law = 0 * q
        for drawn, mass in IndependentDrafts(q, k).enumerate():
            tokens = np.array(drawn)
            for token, share in zip(drawn, choice_probabilities(weights[tokens], level[tokens]), strict=True):
                law[token] = law[token] + mass * share
        return law
    return _by_quadrature(q, weights, level, k)


@functools.partial(jax.jit, static_argnames="k")
def _by_quadrature(q: Float[Array, " V"], weights: Float[Array, " V"], level: Int[Array, " V"], k: int) -> Array:
    size, logs = q.shape[0], jnp.log(weights)
    mass = jax.ops.segment_sum(q, level, size + 1)
    below = jnp.cumsum(mass) - mass
    start, end = -38.0, 3.8 - jnp.min(jnp.where(q > 0, logs, 0))  # beyond, the integrand is below rounding

    def add(node: Array, total: Array) -> Array:
        rate = jnp.exp(logs + start + _STEP * node)
        none_chosen = below + jax.ops.segment_sum(q * jnp.exp(-rate), level, size + 1)
        return total + rate * jnp.exp(-rate) * none_chosen[level] ** (k - 1)

    count = jnp.ceil((end - start) / _STEP).astype(int) + 1
    total = jax.lax.fori_loop(0, jnp.where(jnp.isnan(end), 1, count), add, jnp.zeros_like(q))
    law = q * total
    return law / jnp.sum(law)


class LuceSelection(SelectedDraft):
    """Select one of independent drafts with probability proportional to ``p / q``, and accept it as if it were the only one.

    The acceptance is never below that of one draft.

    References
    ----------
    A. Khisti et al., 2025, arXiv 2410.18234, 'importance weighted sampling'; R. D. Luce, 1959, Individual choice behavior.
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
        return "O(k) to accept, O(V) to reject; some 200 to 500 V once for the law of the selected draft"

    @property
    def monotone_in_k(self) -> bool | None:
        """``None``: not known."""
        return None

    def preference(self, p: Any, q: Any, k: int) -> tuple[Any, Any]:
        """Return the weights and levels of the tokens; a subclass may have others.

        Tokens that the target does not have are of the lower level: they are selected only if all drafts are such.

        Parameters
        ----------
        p, q
            Laws, shape ``(V,)``.
        k
            Number of drafts.
        """
        del k
        xp = namespace(p, q)
        weights = xp.where(q > 0, p / xp.where(q > 0, q, 1), 0 * p)
        top = weights.max()
        weights = weights / xp.where(top > 0, top, 1)[()]  # zero for disjoint laws
        is_wanted = weights > 0
        if xp is not np:
            weights = jnp.maximum(weights, jnp.exp(-_RANGE))
        return xp.where(is_wanted, weights, 1 + 0 * weights), is_wanted.astype(int)

    def prepare(self, p: Any, q: Any, k: int = 1) -> LuceSelectionState:
        """Find the law of the selected draft; see :meth:`TokenRule.prepare`."""
        k = static_count("k", k)
        target, draft = laws_on_same_tokens(p, q)
        weights, level = self.preference(target, draft, k)
        selected = selected_law(draft, weights, level, k)
        return LuceSelectionState(target, selected, residual_law(target, selected), weights, level)

    def selection(self, state: LuceSelectionState, drafts: Any) -> Any:
        """Return the weights of the drafts of the highest level, divided by their sum."""
        xp = namespace(state.p)
        tokens = xp.clip(drafts, 0, state.p.shape[0] - 1)
        return choice_probabilities(state.weights[tokens], state.level[tokens])
