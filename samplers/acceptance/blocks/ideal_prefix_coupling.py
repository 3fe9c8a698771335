"""The coupling of drafted and emitted strings whose common prefix is the longest on average."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ergodica.samplers.acceptance.blocks.block_rule import BlockLaw, BlockRule, Model, Prefix, listed_laws
from ergodica.samplers.claim import Claim, Exactness, Space


class IdealPrefixCoupling(BlockRule):
    """Keep the longest prefix that passes a test on joint probabilities, and draw the rest anew, token by token.

    With the joint probabilities ``P(s)`` and ``Q(s)`` of the drafted strings, the whole chain is kept with probability
    ``min(1, P(s) / Q(s))``, and a shorter prefix ``s``, if no longer one is, with ``D+ / max(D+, D-)``, where ``D+`` and
    ``D-`` are the sums over the next token of the positive and negative parts of ``P(sy) - Q(sy)``. All following tokens
    are then drawn from ``(P(sy) - Q(sy))+``, normalised at each prefix on the way. The rule emits as many tokens as were
    drafted.

    It attains the largest mean length of a common prefix of any coupling, ``theory.block_acceptance.longest_common_prefix``,
    which no other rule here can exceed. The price are passes of both models, one after another, for the tokens drawn
    anew: it serves as a bound, not for speed. Laws are taken from tables; there is nothing to compile.

    References
    ----------
    Zhou et al., ICLR 2026, arXiv 2601.05724.
    """

    @property
    def claim(self) -> Claim:
        """Exact: the emitted tokens have the target's law."""
        return Claim(
            Exactness.EXACT,
            "emits tokens with the target's law, with the longest prefix in common with the draft",
            "Zhou et al. (2026), arXiv 2601.05724",
            spaces=frozenset({Space.FINITE, Space.SEQUENCE}),
            independent=True,
        )

    @property
    def cost(self) -> str:
        """For ``g`` drafts."""
        return "O(gV), and a pass of both models for each token drawn anew"

    def conditional_law(self, P: Model, Q: Model, drafts: Sequence[int]) -> BlockLaw:
        """Return the exact law of what is emitted given a chain; see :meth:`BlockRule.conditional_law`."""
        tokens = tuple(int(token) for token in drafts)
        joint = _joint(P, Q, tokens)
        chances = _chances(P, Q, tokens, joint)
        emitted: dict[Prefix, Any] = {}
        tau: dict[int, Any] = {}
        left: Any = 1

        def spread(string: Prefix, wanted: Any, drawn: Any, mass: Any) -> None:
            if len(string) == len(tokens):
                emitted[string] = emitted.get(string, 0) + mass
                return
            law, target, draft = _next_law(P, Q, string, wanted, drawn)
            for token, chance in enumerate(law):
                if chance > 0:
                    spread((*string, token), wanted * target[token], drawn * draft[token], mass * chance)

        for level in reversed(range(len(tokens) + 1)):
            mass = left * chances[level]
            left = left - mass
            if mass > 0:
                tau[level] = mass
                spread(tokens[:level], *joint[level], mass)
        return BlockLaw(emitted, tau)

    def decide(self, P: Model, Q: Model, drafts: Sequence[int], uniforms: Sequence[float]) -> tuple[list[int], int]:
        """Return the emitted tokens and how many drafts were kept, given uniforms in ``[0, 1)``.

        Parameters
        ----------
        P, Q, drafts
            As in :meth:`conditional_law`.
        uniforms
            Shape ``(2 g,)``: the first half tests prefixes of length ``1..g``, the second draws each position.

        Raises
        ------
        ValueError
            If there are not two uniforms for each draft.
        """
        tokens = tuple(int(token) for token in drafts)
        gamma = len(tokens)
        if len(uniforms) != 2 * gamma:
            raise ValueError(f"two uniforms are needed for each of {gamma} drafts; got {len(uniforms)}")
        joint = _joint(P, Q, tokens)
        chances = _chances(P, Q, tokens, joint)
        tau = max(level for level in range(gamma + 1) if level == 0 or uniforms[level - 1] < chances[level])
        return _continued(P, Q, tokens[:tau], joint[tau], lambda place: uniforms[gamma + place], gamma), tau


def _joint(P: Model, Q: Model, tokens: Prefix) -> list[tuple[Any, Any]]:
    """Return the probabilities under target and draft of each prefix of the drafts."""
    joint: list[tuple[Any, Any]] = [(1, 1)]
    for level, token in enumerate(tokens):
        wanted, drawn = joint[-1]
        target, draft = listed_laws("P", P, [tokens[:level]])[0], listed_laws("Q", Q, [tokens[:level]])[0]
        joint.append((wanted * target[token], drawn * draft[token]))
    return joint


def _chances(P: Model, Q: Model, tokens: Prefix, joint: list[tuple[Any, Any]]) -> list[Any]:
    """Return the probability that each prefix is kept if no longer one is."""
    chances = []
    for level, (wanted, drawn) in enumerate(joint[:-1]):
        target, draft = (listed_laws(name, model, [tokens[:level]])[0] for name, model in (("P", P), ("Q", Q)))
        difference = wanted * target - drawn * draft
        more = sum(part for part in difference if part > 0)
        less = sum(-part for part in difference if part < 0)
        chances.append(more / max(more, less) if max(more, less) > 0 else 1)
    wanted, drawn = joint[-1]
    chances.append(min(wanted, drawn) / drawn if drawn > 0 else 0)
    return chances


def _next_law(P: Model, Q: Model, string: Prefix, wanted: Any, drawn: Any) -> tuple[np.ndarray, Any, Any]:
    """Return the law of the next token that is drawn anew, and the two models' laws; past the draft its own is unused."""
    target = listed_laws("P", P, [string])[0]
    draft = listed_laws("Q", Q, [string])[0]
    excess = np.where(wanted * target > drawn * draft, wanted * target - drawn * draft, 0 * target)
    total = excess.sum()
    return (excess / total if total > 0 else target), target, draft


def _continued(
    P: Model, Q: Model, string: Prefix, joint: tuple[Any, Any], uniform: Callable[[int], float], length: int
) -> list[int]:
    wanted, drawn = joint
    while len(string) < length:
        law, target, draft = _next_law(P, Q, string, wanted, drawn)
        running, goal, chosen = 0.0, uniform(len(string)), -1
        for token, chance in enumerate(law):
            if chance > 0:
                running, chosen = running + float(chance), token
                if running > goal:
                    break
        string = (*string, chosen)
        wanted, drawn = wanted * target[chosen], drawn * draft[chosen]
    return list(string)
