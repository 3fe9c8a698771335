"""A JAX function with a cache as a model of sequences: recurrent networks, transformers with keys and values."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PyTree

from ergodica.samplers.inputs import static_count
from ergodica.samplers.sequences.model import Prefix, Reader, SequenceModel, as_rows

__all__ = ["CachedModel"]


class CachedModel(SequenceModel):
    """A model that reads one token after the other and keeps what it needs of them in a cache.

    Texts are read side by side under ``vmap``, so that the functions see one text.

    Parameters
    ----------
    init
        ``init() -> cache, logits``: the cache before the first token, a pytree of arrays, and the logits of that token.
    extend
        ``extend(cache, token) -> cache, logits`` reads a token and returns the logits of the next one, shape ``(V,)``.
    vocabulary_size
        Number of tokens ``V``.
    extend_many
        ``extend_many(cache, tokens) -> cache, logits`` reads several tokens in parallel, as transformers can; logits of
        shape ``(n, V)``. Default: one after the other.
    rewind
        ``rewind(cache, length) -> cache`` forgets all tokens but the first ``length``. A cache of keys and values only has
        to move its end; a recurrent network cannot rewind, and its states are kept until it is clear which are needed.

    Notes
    -----
    The laws are those of the logits in double precision. XLA may round differently for another number of texts side by
    side, so that a text can depend on the batch through the last bits of its laws.
    """

    def __init__(
        self,
        init: Callable[[], tuple[PyTree, Array]],
        extend: Callable[[PyTree, Array], tuple[PyTree, Array]],
        vocabulary_size: int,
        *,
        extend_many: Callable[[PyTree, Array], tuple[PyTree, Array]] | None = None,
        rewind: Callable[[PyTree, Array], PyTree] | None = None,
    ) -> None:
        self.init = init
        self.extend = extend
        self.vocabulary_size = static_count("vocabulary_size", vocabulary_size)
        self.extend_many = extend_many
        self.rewind = rewind
        self.read = jax.jit(jax.vmap(self._read))
        self.take = jax.jit(_take)
        self.move_back = None if rewind is None else jax.jit(jax.vmap(rewind))

    def _read(
        self, cache: PyTree, tokens: Int[Array, " n"], start: Int[Array, ""], count: Int[Array, ""]
    ) -> tuple[PyTree, Float[Array, "n V"], PyTree | None]:
        """Read the first ``count`` tokens; return the cache, the logits, and the caches on the way if they are needed."""
        if self.extend_many is not None and self.rewind is not None:
            cache, logits = self.extend_many(cache, tokens)
            return self.rewind(cache, start + count), logits, None

        def step(cache: PyTree, turn: tuple[Array, Array]) -> tuple[PyTree, tuple[Array, PyTree | None]]:
            token, number = turn
            read, logits = self.extend(cache, token)
            if self.rewind is not None:
                return read, (logits, None)
            read = jax.tree.map(lambda new, old: jnp.where(number < count, new, old), read, cache)
            return read, (logits, read)

        cache, (logits, caches) = lax.scan(step, cache, (tokens, jnp.arange(tokens.shape[0])))
        if self.rewind is not None:
            cache = self.rewind(cache, start + count)
        return cache, logits, caches

    def laws(self, prefixes: Sequence[Prefix]) -> Float[np.ndarray, "B V"]:
        """Return the laws of the next token; see :meth:`SequenceModel.laws`. Every prefix is read from its beginning."""
        return self.open(prefixes).law

    def open(self, prompts: Sequence[Prefix]) -> Reader:
        """Read some prompts; see :meth:`SequenceModel.open`."""
        return _CachedReader(self, prompts)


def _take(path: list[PyTree], index: Int[Array, " B"]) -> PyTree:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves)[index, jnp.arange(index.shape[0])], *path)


class _CachedReader(Reader):
    """Texts of a model with a cache; see :class:`Reader`."""

    def __init__(self, model: CachedModel, prompts: Sequence[Prefix]) -> None:
        self.model = model
        self.lengths = np.zeros(len(prompts), int)
        cache, logits = model.init()
        self.cache = jax.tree.map(lambda leaf: jnp.stack([jnp.asarray(leaf)] * len(prompts)), cache)
        self.path: list[PyTree] = [self.cache]  # caches since the last cut, with the lengths that they belong to
        self.path_lengths = [self.lengths]
        first = _softmax(np.asarray(logits, np.float64), model.vocabulary_size)
        self.law = np.tile(first, (len(prompts), 1))
        if any(prompts):
            rows = self.extend(prompts)
            last = np.maximum(self.lengths - 1, 0)
            self.law = np.where((self.lengths > 0)[:, None], rows[np.arange(len(prompts)), last], self.law)
        self.num_calls = 0

    def extend(self, tokens: Sequence[Sequence[int]], width: int | None = None) -> Float[np.ndarray, "B n V"]:
        """Read on; see :meth:`Reader.extend`."""
        counts = np.array([len(new) for new in tokens], int)
        width = int(counts.max(initial=0)) if width is None else width
        padded = np.zeros((len(tokens), width), np.int32)
        for row, new in zip(padded, tokens, strict=True):
            row[: len(new)] = new
        if not counts.any():
            return np.zeros((len(tokens), width, self.model.vocabulary_size))
        lengths = jnp.asarray(self.lengths, jnp.int32)
        self.cache, logits, caches = self.model.read(self.cache, padded, lengths, jnp.asarray(counts, jnp.int32))
        self.num_calls += 1
        if self.model.rewind is None:
            for step in range(width):
                self.path.append(jax.tree.map(lambda leaf, step=step: leaf[:, step], caches))
                self.path_lengths.append(self.lengths + np.minimum(counts, step + 1))
        self.lengths = self.lengths + counts
        return _softmax(np.asarray(logits, np.float64), self.model.vocabulary_size)

    def cut(self, lengths: Int[np.ndarray, " B"]) -> None:
        """Forget; see :meth:`Reader.cut`."""
        wanted = np.minimum(lengths, self.lengths)
        if self.model.move_back is not None:
            self.cache = self.model.move_back(self.cache, jnp.asarray(wanted, jnp.int32))
        else:
            reached = np.stack(self.path_lengths) == wanted
            if not reached.any(axis=0).all():
                raise ValueError(
                    "a text cannot be cut before the end that it had at the last cut: the model cannot rewind"
                )
            self.cache = self.model.take(self.path, jnp.asarray(reached.argmax(axis=0), jnp.int32))
            self.path, self.path_lengths = [self.cache], [wanted]
        self.lengths = wanted

    def select(self, index: Int[np.ndarray, " B"]) -> None:
        """Resample; see :meth:`Reader.select`."""
        self.cache = jax.tree.map(lambda leaf: leaf[index], self.cache)
        self.lengths = self.lengths[index]
        self.path, self.path_lengths = [self.cache], [self.lengths]


def _softmax(logits: Float[np.ndarray, "... V"], size: int) -> Float[np.ndarray, "... V"]:
    top = logits.max(axis=-1, keepdims=True)
    return as_rows("the model", np.exp(logits - top), size)
