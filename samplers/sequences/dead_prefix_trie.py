"""Rejection under a constraint that learns which prefixes are dead."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, PRNGKeyArray

from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.sequences.choices import Choices
from ergodica.samplers.sequences.constraint import Constraint, TextTree
from ergodica.samplers.sequences.model import Prefix, SequenceModel

__all__ = ["AcceptedText", "DeadPrefixTrie"]


class AcceptedText(NamedTuple):
    """An allowed text.

    Parameters
    ----------
    text
        The tokens.
    num_tries
        How many texts were tried.
    """

    text: Prefix
    num_tries: int


class DeadPrefixTrie:
    """Texts with the law of a model given a constraint, exactly: rejection that never tries a dead prefix twice.

    Texts are proposed from the model without the prefixes that are known to be dead, and rejected at the first token that
    is not allowed; that prefix is dead from then on. Only texts that are not allowed are ever left out, so that each
    accepted text has the law of the model given the constraint, whatever was learnt: accepted texts are independent. The
    chance to accept can only grow.

    Parameters
    ----------
    model, allowed, max_tokens, prompt, stop
        As of :class:`~ergodica.samplers.sequences.constraint.TextTree`.

    References
    ----------
    P. Parys et al., Constrained adaptive rejection sampling, ICML 2026, arXiv:2510.01902.
    """

    def __init__(
        self,
        model: SequenceModel,
        allowed: Constraint,
        *,
        max_tokens: int,
        prompt: Sequence[int] = (),
        stop: Collection[int] = (),
    ) -> None:
        self.tree = TextTree(model, allowed, max_tokens, prompt, stop)
        self._dead: dict[Prefix, dict[int, float]] = {}

    @property
    def claim(self) -> Claim:
        """Exact, and independent."""
        return Claim(
            Exactness.EXACT,
            "draws from the law of the model given the constraint, independently of what it learnt before",
            source="Parys et al. 2026, arXiv:2510.01902",
            spaces=frozenset({Space.SEQUENCE}),
            independent=True,
        )

    def acceptance_bound(self) -> float:
        """Return an upper bound of the constraint's probability: what is not known to be dead."""
        return float(self._alive((), self.tree.law(())).sum())

    def _alive(self, text: Prefix, law: Float[np.ndarray, " V"]) -> Float[np.ndarray, " V"]:
        """Return the probability of each next token times what is alive below it."""
        alive = law.copy()
        for token, dead in self._dead.get(text, {}).items():
            alive[token] *= 1 - dead
        return alive

    def sample(self, key: PRNGKeyArray, *, max_tries: int | None = None) -> AcceptedText:
        """Draw an allowed text.

        Parameters
        ----------
        key
            Typed key.
        max_tries
            Most texts to try; default: until one is allowed.

        Raises
        ------
        ValueError
            If no text is allowed.
        RuntimeError
            If none of ``max_tries`` texts is allowed. What they taught is kept.
        """
        choices, tries = Choices(key), 0
        while max_tries is None or tries < max_tries:
            tries += 1
            text = self._try(choices, tries)
            if text is not None:
                return AcceptedText(text, tries)
        raise RuntimeError(f"no text was allowed in {max_tries} tries; call again, which goes on from what was learnt")

    def _try(self, choices: Choices, number: int) -> Prefix | None:
        text: Prefix = ()
        path = []
        while not self.tree.has_ended(text):
            law = self.tree.law(text)
            alive = self._alive(text, law)
            path.append((text, law))
            if not alive.any():  # the whole tree is dead: no other prefix of this kind is ever reached
                raise ValueError(f"no text is allowed: all that go on from {text} are dead")
            text = (*text, int(choices.categorical(alive[None], number, len(text))[0]))
            if not self.tree.is_allowed(text):
                self._bury(text, path)
                return None
        return text

    def _bury(self, text: Prefix, path: list[tuple[Prefix, Float[np.ndarray, " V"]]]) -> None:
        dead = 1.0
        for (prefix, law), token in zip(reversed(path), reversed(text), strict=True):
            self._dead.setdefault(prefix, {})[token] = dead
            below = self._dead[prefix]
            # One exactly if nothing is left, whatever the rounding: a dead prefix must not be proposed again.
            left = [token for token in np.flatnonzero(law > 0).tolist() if below.get(token, 0.0) < 1]
            dead = float(sum(law[token] * share for token, share in below.items())) if left else 1.0
            dead = min(dead, 1 - 2.0**-53) if left else dead
