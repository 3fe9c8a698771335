"""Enumerate a Python program by running it again for every path.

The fallback for programs that cannot be traced, such as reference implementations in plain Python and NumPy: under
``jax.disable_jit()``, with concrete values everywhere, the program is re-run along a prefix of recorded choices, the
first possible outcome is taken after it, and the last choice is then advanced.
"""

from collections.abc import Callable
from typing import Any, NoReturn

import jax
import jax.extend.random
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from ergodica.samplers.random import resolved_by
from ergodica.validation.choice import EnumerationError, TracingResolver
from ergodica.validation.law import Law, merged
from ergodica.validation.walk import TooManyPathsError


def _no_bits(*arguments: Any) -> NoReturn:
    del arguments
    raise EnumerationError(
        "jax.random was called directly while a law was being enumerated; draw through ergodica.samplers.random"
    )


_barren = jax.extend.random.define_prng_impl(
    key_shape=(2,),
    seed=jax.extend.random.threefry_prng_impl.seed,
    split=jax.extend.random.threefry_prng_impl.split,
    random_bits=_no_bits,
    fold_in=jax.extend.random.threefry_prng_impl.fold_in,
    name="ergodica_barren",
    tag="barren",
)


def _barren_key(leaf: Any, salt: int = 0) -> Any:
    """Replace a key by one that can be split but yields no bits."""
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        words = jax.random.key_data(leaf)[..., :2] ^ jnp.uint32(salt)
        return jax.random.wrap_key_data(words, impl=_barren)
    return leaf


def _same(left: PyTree, right: PyTree) -> bool:
    same_structure = bool(jax.tree.structure(left) == jax.tree.structure(right))  # type: ignore[operator]
    return same_structure and all(
        np.array_equal(a, b, equal_nan=np.issubdtype(a.dtype, np.floating))
        for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    )


def _concrete(array: Any) -> np.ndarray:
    if isinstance(array, jax.core.Tracer):
        raise EnumerationError(
            "a choice was made under vmap while a program was being replayed; make the program traceable instead"
        )
    return np.asarray(array)


class ReplayResolver:
    """Follows a prefix of choices, then takes the first possible outcome of each."""

    def __init__(self, prefix: list[int]) -> None:
        self.prefix = prefix
        self.position = 0
        self.probability = 1.0
        self.laws: list[np.ndarray] = []
        self.consumed: set[bytes] = set()

    def choose(self, probabilities: np.ndarray) -> int:
        """Return the next outcome of the prefix, or the first possible one."""
        weights = np.asarray(probabilities, np.float64)
        total = weights.sum()
        if not np.all(np.isfinite(weights)) or np.any(weights < -1e-12) or total <= 0:
            raise EnumerationError(f"a choice has probabilities that are NaN, negative or all zero: {weights}")
        law = np.maximum(weights, 0.0) / total
        if self.position == len(self.prefix):
            self.prefix.append(int(np.flatnonzero(law > 0)[0]))
        outcome = self.prefix[self.position]
        self.laws.append(law)
        self.probability *= float(law[outcome])
        self.position += 1
        return outcome

    def _consume(self, key: PRNGKeyArray) -> None:
        words = _concrete(jax.random.key_data(key)).tobytes()
        if words in self.consumed:
            raise EnumerationError("a key is consumed twice on one path: the two draws are not independent. Split it.")
        self.consumed.add(words)

    def categorical(self, key: PRNGKeyArray, probabilities: Array) -> Array:
        """Choose an index for each row."""
        self._consume(key)
        rows = _concrete(probabilities)
        flat = rows.reshape(-1, rows.shape[-1])
        return jnp.asarray(np.array([self.choose(row) for row in flat], int).reshape(rows.shape[:-1]))

    def integers(self, key: PRNGKeyArray, low: Array, high: Array) -> Array:
        """Choose an integer for each pair of bounds."""
        self._consume(key)
        lows, highs = np.broadcast_arrays(_concrete(low), _concrete(high))
        drawn = [
            int(a) + self.choose(np.ones(max(int(b) - int(a), 0))) for a, b in zip(lows.flat, highs.flat, strict=True)
        ]
        return jnp.asarray(np.array(drawn, int).reshape(lows.shape))

    def ordered_sample(self, key: PRNGKeyArray, probabilities: Array, size: int) -> Array:
        """Choose distinct indices one after the other, for each row."""
        self._consume(key)
        rows = _concrete(probabilities)
        out = []
        for row in rows.reshape(-1, rows.shape[-1]):
            weights = np.array(row, np.float64)
            for _ in range(size):
                out.append(self.choose(weights))
                weights[out[-1]] = 0.0
        return jnp.asarray(np.array(out, int).reshape(*rows.shape[:-1], size))

    def refuse(self, call: str, reason: str) -> NoReturn:
        """Refuse a call that has no finite law."""
        TracingResolver().refuse(call, reason)


def replay_law(function: Callable[..., PyTree], *arguments: Any, max_paths: int) -> Law:
    """Enumerate the law of ``function(*arguments)`` by running it once for every path.

    Parameters
    ----------
    function
        A program that draws through ``ergodica.samplers.random``; need not be traceable.
    *arguments
        Its arguments; typed keys among them lose their randomness.
    max_paths
        Most paths to run.

    Raises
    ------
    TooManyPathsError
        If there are more paths.
    EnumerationError
        If a choice is continuous, made under ``vmap``, or shares its key with another.
    """
    other_keys = jax.tree.map(lambda leaf: _barren_key(leaf, salt=0x5BD1E995), arguments)
    arguments = jax.tree.map(_barren_key, arguments)
    prefix: list[int] = []
    outcomes: list[PyTree] = []
    probabilities: list[float] = []
    while True:
        resolver = ReplayResolver(prefix)
        with resolved_by(resolver), jax.disable_jit():
            outcome = function(*arguments)
        outcome = jax.tree.map(np.asarray, outcome)
        if not outcomes:
            with resolved_by(ReplayResolver(list(prefix))), jax.disable_jit():
                again = jax.tree.map(np.asarray, function(*other_keys))
            if not _same(outcome, again):
                raise EnumerationError(
                    "the program gives another result for another key although all its choices are the same: it takes "
                    "randomness from the key's words, as compiled cores do, or returns a key. Enumerate the kernel's "
                    "reference() instead."
                )
        outcomes.append(outcome)
        probabilities.append(resolver.probability)
        if len(outcomes) > max_paths:
            raise TooManyPathsError(f"the program has more than {max_paths} paths; make it smaller or raise max_paths")
        del prefix[resolver.position :]
        while prefix:
            law = resolver.laws[len(prefix) - 1]
            later = np.flatnonzero(law[prefix[-1] + 1 :] > 0)
            if len(later):
                prefix[-1] += 1 + int(later[0])
                break
            prefix.pop()
        if not prefix:
            return merged(outcomes, np.asarray(probabilities), num_paths=len(outcomes))
