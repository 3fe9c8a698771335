"""Models of sequences: n-grams by hand, caches against rereading, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ergodica.samplers.sequences.cached_model import CachedModel
from ergodica.samplers.sequences.function_model import FunctionModel
from ergodica.samplers.sequences.n_gram import NGramModel
from ergodica.samplers.sequences.table_model import TableModel

SIZE, LENGTH = 4, 12
WEIGHTS = np.random.default_rng(1).normal(size=(3, SIZE))
"""A logit for each of the last token, the number of tokens, and the running sum of all tokens."""


def logits(last, count, total):
    at = jnp.asarray(WEIGHTS)
    return at[0] * last + at[1] * jnp.sin(1.0 * count) + at[2] * jnp.cos(1.0 * total)


def recurrent():
    """A model whose cache is a state: the tokens' number and sum."""

    def init():
        return (jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)), logits(0, 0, 0)

    def extend(cache, token):
        count, total = cache
        return (count + 1, total + token), logits(token, count + 1, total + token)

    return CachedModel(init, extend, SIZE)


def with_tape():
    """The same model with all tokens in the cache, which rewinds by moving the end, and reads several in parallel."""

    def init():
        return (jnp.zeros(LENGTH, jnp.int32), jnp.zeros((), jnp.int32)), logits(0, 0, 0)

    def extend_many(cache, tokens):
        tape, end = cache
        tape = jax.lax.dynamic_update_slice(tape, tokens, (end,))
        ends = end + 1 + jnp.arange(tokens.shape[0])
        totals = jnp.sum(jnp.where(jnp.arange(LENGTH) < ends[:, None], tape, 0), axis=1)
        return (tape, ends[-1]), jax.vmap(logits)(tokens, ends, totals)

    def extend(cache, token):
        cache, rows = extend_many(cache, token[None])
        return cache, rows[0]

    return CachedModel(init, extend, SIZE, extend_many=extend_many, rewind=lambda cache, length: (cache[0], length))


def reread():
    def rows(prefixes):
        texts = [logits(text[-1] if text else 0, len(text), sum(text)) for text in prefixes]
        return np.exp(np.asarray(texts, np.float64))

    return FunctionModel(rows, SIZE)


@pytest.mark.parametrize("model", [recurrent(), with_tape()], ids=["recurrent", "tape"])
def test_caches_agree_with_rereading(model):
    readers = [one.open([(1,), (), (3, 2)]) for one in (model, reread())]
    for reader in readers:
        reader.extend([[0, 3, 2], [1], []], 3)
        reader.cut(np.array([2, 1, 2]))
        reader.extend([[3], [2], [0]], 3)
        reader.extend([[1], [], [2]], 3)
        reader.cut(np.array([4, 1, 3]))
        reader.select(np.array([2, 0, 1]))
    first, second = (reader.extend([[1, 2], [3], [0, 1, 2]], 3) for reader in readers)
    np.testing.assert_allclose(readers[0].law, readers[1].law, atol=1e-12)
    np.testing.assert_array_equal(readers[0].lengths, readers[1].lengths)
    for row, other, count in zip(first, second, (2, 1, 3), strict=True):
        np.testing.assert_allclose(row[:count], other[:count], atol=1e-12)


def test_states_that_were_not_kept_are_asked_for_in_vain():
    reader = recurrent().open([(1, 2, 3)])
    reader.cut(np.array([3]))
    with pytest.raises(ValueError, match="cannot rewind"):
        reader.cut(np.array([1]))


def test_n_grams_by_hand():
    # "0 1 0 0": singles 0: 3, 1: 1, two kinds; after 0 came 1 and 0; after 1 came 0.
    single = (np.array([3, 1, 0]) + 2 / 3) / 6
    after = {0: (np.array([1, 1, 0]) + 2 * single) / 4, 1: (np.array([1, 0, 0]) + single) / 2, 2: single}
    model = NGramModel([0, 1, 0, 0], 2, 3)
    rows = model.laws([(), (0,), (2, 1), (2,)])
    np.testing.assert_allclose(rows, [single, after[0], after[1], after[2]], atol=1e-15)
    assert model.laws([(0,)])[0].min() > 0


def test_tables_fall_back_on_ends():
    model = TableModel({(): [1, 1], (1,): [1, 3], (0, 1): [0, 1]})
    np.testing.assert_allclose(model.laws([(1, 1, 1), (1, 0, 1), (0,)])[:, 1], [0.75, 1.0, 0.5])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TableModel({(0,): [1, 1]}), "empty prefix"),
        (lambda: TableModel({(): [1, -1]}), "table at"),
        (lambda: NGramModel([], 2, 3), "empty"),
        (lambda: NGramModel([5], 2, 3), "outside 0..2"),
        (lambda: FunctionModel(lambda prefixes: [[1, 1, 1]], 2).laws([()]), "each of 2 tokens"),
        (lambda: FunctionModel(lambda prefixes: [[1, 1]], 2).laws([(), ()]), "each of 2 prefixes"),
        (lambda: FunctionModel(lambda prefixes: [[1, np.nan]], 2).laws([()]), "nan"),
    ],
)
def test_what_is_no_model_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
