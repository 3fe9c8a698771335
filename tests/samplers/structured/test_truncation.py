"""Transforms of the target: published numbers, properties, jit, bad input."""

import itertools
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ergodica.samplers.acceptance.single_draft import SingleDraft
from ergodica.samplers.sequences.structured.entropy_truncation import EtaCutoff, TopH, Typical
from ergodica.samplers.sequences.structured.target_transform import Temperature, TransformsInTurn
from ergodica.samplers.sequences.structured.truncation import EpsilonCutoff, MinP, TopK, TopP
from ergodica.validation.cases.target_transforms import LAWS, as_fractions

PUBLISHED = np.array(
    [Fraction(*pair) for pair in ((2, 7), (11, 42), (1, 6), (1, 7), (2, 21), (1, 21), (0, 1))], dtype=object
)
TWENTY_THREE = [0.5217391304347826, 0.4782608695652174, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (TopK(3), [0.4, 0.36666666666666664, 0.23333333333333334, 0, 0, 0, 0]),
        (TopP(0.7), [0.4, 0.36666666666666664, 0.23333333333333334, 0, 0, 0, 0]),
        (MinP(0.3), [0.3, 0.275, 0.175, 0.15, 0.1, 0.0, 0.0]),
        (TopH(0.6), TWENTY_THREE),
    ],
    ids=lambda value: type(value).__name__,
)
def test_published_laws(transform, expected):
    np.testing.assert_allclose(transform(PUBLISHED).astype(float), expected, atol=1e-15)
    np.testing.assert_allclose(transform(PUBLISHED.astype(float)), expected, atol=1e-12)


def neutral():
    return (
        Temperature(1),
        TopK(10),
        TopP(1),
        MinP(0),
        Typical(1),
        EpsilonCutoff(0),
        EtaCutoff(0),
        TopH(1),
    )


@pytest.mark.parametrize("transform", neutral(), ids=lambda transform: type(transform).__name__)
def test_neutral_parameters_change_nothing(transform):
    for weights in LAWS:
        p = as_fractions(weights)
        assert np.all(transform(p) == p)
        assert transform.total_variation(p) == 0
    tiny = np.array([1.0, 1e-20, 0.0, 1e-30, 0.0, 0.0, 0.0])  # the running sum is one after the first token already
    assert np.array_equal(np.asarray(transform(tiny)) > 0, tiny > 0)


@pytest.mark.parametrize("transform", [TopK(2), MinP(Fraction(3, 10))], ids=["top-k", "min-p"])
def test_ranks_and_ratios_are_idempotent(transform):
    for weights in LAWS:
        once = transform(as_fractions(weights))
        assert np.all(transform(once) == once)


def test_a_nucleus_of_a_nucleus_is_smaller():
    once = TopP(Fraction(7, 10))(PUBLISHED)
    assert np.count_nonzero(TopP(Fraction(7, 10))(once)) < np.count_nonzero(once)


@pytest.mark.parametrize("kind", [TopP, Typical, TopH], ids=lambda kind: kind.__name__)
def test_kept_sets_are_nested_in_the_parameter(kind):
    for weights in LAWS:
        p = as_fractions(weights)
        sets = [np.asarray(kind(level).keep(p)) for level in (0.0, 0.3, 0.6, 0.9, 1.0)]
        assert all(np.all(inner <= outer) for inner, outer in itertools.pairwise(sets))
        assert np.count_nonzero(sets[0]) == 1


@pytest.mark.parametrize("transform", [TopK(3), TopP(0.7), Typical(0.6), TopH(0.6), EtaCutoff(0.1)], ids=str)
def test_permuting_the_vocabulary_permutes_the_law(transform):
    order = np.array([3, 0, 5, 1, 6, 4, 2])
    assert np.all(transform(PUBLISHED[order]) == transform(PUBLISHED)[order])


def test_under_jit_and_vmap_with_a_traced_parameter():
    rows = jnp.asarray(np.stack([PUBLISHED.astype(float), PUBLISHED[::-1].astype(float)]))
    program = jax.jit(lambda mass, rows: jax.vmap(TransformsInTurn(TopP(mass), Temperature(mass)))(rows))
    found = program(0.7, rows)
    np.testing.assert_allclose(found[1], found[0][::-1], atol=1e-14)
    np.testing.assert_allclose(found[0], TransformsInTurn(TopP(0.7), Temperature(0.7))(rows[0]), atol=1e-14)


def test_logits_and_the_error_of_a_truncation():
    log_law = TopK(3).logits(jnp.log(jnp.asarray(PUBLISHED.astype(float))))
    np.testing.assert_allclose(jnp.exp(log_law), [0.4, 11 / 30, 7 / 30, 0, 0, 0, 0], atol=1e-12)
    assert TopK(3).total_variation(PUBLISHED) == Fraction(2, 7)


def test_speculation_with_one_transform_for_the_drafts_and_another_for_the_target():
    target, drafts = MinP(Fraction(3, 10))(PUBLISHED), TopK(2)(PUBLISHED[::-1])
    assert np.all(SingleDraft().output_law(target, drafts).law == target)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TopK(0), "k has to be at least 1"),
        (lambda: TopP(1.5), "mass has to be at most 1"),
        (lambda: MinP(-0.1), "fraction has to be at least 0"),
        (lambda: TransformsInTurn(), "at least one transform"),
        (lambda: TopK(2)([0.0, 0.0]), "all zero"),
        (lambda: Temperature(Fraction(2, 3))(PUBLISHED), "no power"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_is_no_transform():
    with pytest.raises(TypeError, match="takes transforms"):
        TransformsInTurn(TopK(2), "top-p")
