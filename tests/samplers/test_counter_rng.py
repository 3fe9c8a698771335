"""The generator of compiled cores: reference words, uniformity, independence of streams."""

import doctest

import jax
import numpy as np
import pytest

from ergodica.samplers import counter_rng
from ergodica.samplers.native import compiled
from ergodica.validation.enumeration import enumerate_law
from ergodica.validation.pearson import uniformity_pvalue

LEVEL = 1e-6
"""False-alarm probability of each assertion below; the p-values are exact or bounds."""


@compiled
def uniforms(words, out):
    stream = counter_rng.stream(words)
    for i in range(out.shape[0]):
        out[i] = counter_rng.uniform(stream)


@compiled
def integers(words, bound, out):
    stream = counter_rng.stream(words)
    for i in range(out.shape[0]):
        out[i] = counter_rng.integer(stream, bound)


@compiled
def exponentials(words, out):
    stream = counter_rng.stream(words)
    for i in range(out.shape[0]):
        out[i] = counter_rng.exponential(stream)


def words_of(seed):
    return np.asarray(counter_rng.key_words(jax.random.key(seed)))


def draw(core, seed, count, *arguments):
    out = np.empty(count)
    core(words_of(seed), *arguments, out)
    return out


def test_the_example_of_the_docstring():
    assert doctest.testmod(counter_rng).failed == 0


def test_words_of_splitmix64():
    """The published sequence of the generator from seed 1234567 with the golden increment."""
    stream = np.array([1234567, int(counter_rng._GOLDEN)], np.uint64)
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert [int(counter_rng.word(stream)) for _ in expected] == expected


@pytest.mark.parametrize("seed", [0, 1, 2**31])
def test_uniforms_fill_their_cells(seed):
    out = draw(uniforms, seed, 1_000_000)
    assert out.min() >= 0
    assert out.max() < 1
    assert uniformity_pvalue(np.bincount((out * 1000).astype(int), minlength=1000)) > LEVEL
    low_bits = (out * 2**53).astype(np.int64) % 1024
    assert uniformity_pvalue(np.bincount(low_bits, minlength=1024)) > LEVEL


def test_successive_uniforms_are_independent():
    out = (draw(uniforms, 7, 2_000_000) * 30).astype(int)
    assert uniformity_pvalue(np.bincount(out[::2] * 30 + out[1::2], minlength=900)) > LEVEL


@pytest.mark.parametrize("distance", [1, 2, 2**16])
def test_streams_of_neighbouring_keys_are_independent(distance):
    """Pairs at the same place of two streams fill the square, also over many streams of one draw each."""
    a, b = ((draw(uniforms, seed, 500_000) * 30).astype(int) for seed in (5, 5 + distance))
    assert uniformity_pvalue(np.bincount(a * 30 + b, minlength=900)) > LEVEL
    words = jax.vmap(lambda s: jax.random.key_data(jax.random.key(s)))(distance * np.arange(40_001, dtype=np.uint32))
    first = np.empty((len(words), 1))
    for row, out in zip(np.asarray(words), first, strict=True):
        uniforms(row, out)
    cells = (first[:, 0] * 12).astype(int)
    assert uniformity_pvalue(np.bincount(cells[:-1] * 12 + cells[1:], minlength=144)) > LEVEL


@pytest.mark.parametrize("bound", [1, 2, 3, 7, 1000])
def test_integers_are_uniform(bound):
    out = draw(integers, 11, 400_000, bound).astype(int)
    assert out.min() >= 0
    assert out.max() < bound
    if bound > 1:
        assert uniformity_pvalue(np.bincount(out, minlength=bound)) > LEVEL


def test_integers_are_not_biased_for_large_bounds():
    """A multiplication without rejection would put a third too much mass on two of three residues."""
    bound = 3 * 2**30
    out = draw(integers, 13, 600_000, bound).astype(np.int64)
    assert uniformity_pvalue(np.bincount(out % 3, minlength=3)) > LEVEL
    assert uniformity_pvalue(np.bincount(out // 2**30, minlength=3)) > LEVEL


def test_exponentials_have_their_law():
    out = draw(exponentials, 17, 500_000)
    assert np.all(np.isfinite(out))
    assert uniformity_pvalue(np.bincount((-np.expm1(-out) * 500).astype(int), minlength=500)) > LEVEL


def test_every_word_of_a_key_counts():
    for impl in ("threefry2x32", "rbg"):
        words = np.asarray(counter_rng.key_words(jax.random.key(3, impl=impl)))
        base = counter_rng.stream(words)
        for index in range(len(words)):
            changed = words.copy()
            changed[index] ^= np.uint32(1)
            other = counter_rng.stream(changed)
            assert np.all(base != other)


def test_increments_are_odd_and_seeds_distinct():
    streams = np.array([counter_rng.stream(np.array([0, s], np.uint32)) for s in range(2000)])
    assert np.all(streams[:, 1] % 2 == 1)
    assert len(np.unique(streams[:, 0])) == len(streams)
    assert len(np.unique(streams[:, 1])) == len(streams)


def test_keys_have_to_be_typed():
    with pytest.raises(TypeError, match="typed key"):
        counter_rng.key_words(jax.random.PRNGKey(0))


def test_enumeration_is_refused():
    with pytest.raises(Exception, match="compiled core"):
        enumerate_law(counter_rng.key_words, jax.random.key(0))
