"""Cautious decoding: where the model is unsure, several trials, and the one of lowest perplexity."""

from collections.abc import Callable, Collection
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, PRNGKeyArray

from ergodica.samplers import inputs, random
from ergodica.samplers.claim import Claim, Exactness
from ergodica.samplers.sequences.structured.stochastic_beam_search import host_law

__all__ = ["CautiousDecoding"]


class CautiousDecoding(eqx.Module):
    """At places of high entropy, draws several continuations and keeps the one of lowest perplexity.

    A continuation goes on to the next token that stops it (punctuation) or to the end. The law is that of a best-of-n
    choice whose n depends on the data: not the model's. On small models :func:`ergodica.enumerate_law` gives it, and its
    distance from the model's law.

    Parameters
    ----------
    threshold
        Entropy, in nats, above which there are several trials.
    trials
        How many.
    stops
        Tokens that end a trial.
    length
        Most tokens of a string.
    end
        Token that ends a string; ``None`` if all strings have ``length`` tokens.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of its range.

    References
    ----------
    Cautious next token prediction, 2025, arXiv 2507.03038.
    """

    threshold: float = eqx.field(static=True)
    trials: int = eqx.field(static=True)
    stops: frozenset[int] = eqx.field(static=True)
    length: int = eqx.field(static=True)
    end: int | None = eqx.field(static=True)

    def __init__(
        self, threshold: ArrayLike, trials: int, stops: Collection[int], length: int, end: int | None = None
    ) -> None:
        self.threshold = float(inputs.real_parameter("threshold", threshold, at_least=0.0))
        self.trials = inputs.static_count("trials", trials)
        self.stops = frozenset(int(token) for token in stops)
        self.length = inputs.static_count("length", length)
        self.end = None if end is None else inputs.static_count("end", end, at_least=0)

    @property
    def claim(self) -> Claim:
        """A heuristic: the law is not the model's."""
        return Claim(
            Exactness.HEURISTIC,
            "prefers continuations of low perplexity where the entropy is high; the law is not the model's",
            source="arXiv 2507.03038",
        )

    def draw(self, key: PRNGKeyArray, law: Callable[[tuple[int, ...]], Any]) -> tuple[int, ...]:
        """Draw a string.

        Parameters
        ----------
        key
            Typed key.
        law
            ``law(prefix)`` returns the weights of the next token, shape ``(V,)``.
        """
        prefix: tuple[int, ...] = ()
        turn = 0
        while not self._is_whole(prefix):
            weights = host_law(law, prefix)
            entropy = -float(np.sum(weights * np.log(np.where(weights > 0, weights, 1))))
            here = random.fold_in(key, turn)
            if entropy > self.threshold:
                tried = [self._trial(random.fold_in(here, trial), law, prefix) for trial in range(self.trials)]
                prefix = min(tried, key=lambda trial: trial[0])[1]
            else:
                prefix = (*prefix, int(random.categorical(here, jnp.log(jnp.asarray(weights)))))
            turn += 1
        return prefix

    def _trial(
        self, key: PRNGKeyArray, law: Callable[[tuple[int, ...]], Any], prefix: tuple[int, ...]
    ) -> tuple[float, tuple[int, ...]]:
        """Return the mean surprisal of a continuation, and the string with it."""
        surprisal, start = 0.0, len(prefix)
        while True:
            weights = host_law(law, prefix)
            token = int(random.categorical(random.fold_in(key, len(prefix)), jnp.log(jnp.asarray(weights))))
            surprisal -= float(np.log(weights[token]))
            prefix = (*prefix, token)
            if token in self.stops or self._is_whole(prefix):
                return surprisal / (len(prefix) - start), prefix

    def _is_whole(self, prefix: tuple[int, ...]) -> bool:
        return len(prefix) >= self.length or bool(prefix and prefix[-1] == self.end)
