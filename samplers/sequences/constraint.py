"""Which texts are allowed, and the tree of the prefixes that were looked at."""

from collections.abc import Callable, Collection, Sequence

import numpy as np
from jaxtyping import Float

from ergodica.samplers.sequences.model import Prefix, SequenceModel

__all__ = ["Constraint", "TextTree"]

Constraint = Callable[[Prefix, bool], bool]
"""``allowed(text, is_complete)``: for complete texts, whether they are allowed; for others, whether they might go on to be.

For texts that are not complete it may say yes too often, but never no wrongly.
"""


class TextTree:
    """The texts of a model under a constraint, with laws remembered along paths.

    Parameters
    ----------
    model
        The model.
    allowed
        The constraint.
    max_tokens
        Most tokens of a text.
    prompt
        What the texts go on from; it is no part of them.
    stop
        Tokens that end a text, as its last.
    """

    def __init__(
        self,
        model: SequenceModel,
        allowed: Constraint,
        max_tokens: int,
        prompt: Sequence[int] = (),
        stop: Collection[int] = (),
    ) -> None:
        self.model, self.allowed, self.max_tokens = model, allowed, max_tokens
        self.prompt, self.stop = tuple(prompt), frozenset(stop)

    def has_ended(self, text: Prefix) -> bool:
        """Whether a text is complete."""
        return len(text) >= self.max_tokens or (len(text) > 0 and text[-1] in self.stop)

    def is_allowed(self, text: Prefix) -> bool:
        """Whether a text is allowed, or might go on to be."""
        return bool(self.allowed(text, self.has_ended(text)))

    def law(self, text: Prefix) -> Float[np.ndarray, " V"]:
        """Return the model's law of the next token."""
        return self.model.laws([self.prompt + text])[0]
