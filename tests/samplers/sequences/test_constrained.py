"""Particles, constraints and rewards: published numbers, self-checks, what is refused."""

import itertools
import math

import jax
import numpy as np
import pytest

from ergodica.samplers.sequences.asap import ApproximateFutures
from ergodica.samplers.sequences.best_of_n import BestOfN
from ergodica.samplers.sequences.dead_prefix_trie import DeadPrefixTrie
from ergodica.samplers.sequences.particle_filter import ParticleFilter
from ergodica.samplers.sequences.particle_gibbs import ParticleGibbs
from ergodica.samplers.sequences.particle_step import Bootstrap
from ergodica.samplers.sequences.segment_rejection import SegmentRejection
from ergodica.samplers.sequences.soft_rejection import SoftRejection
from ergodica.samplers.sequences.table_model import TableModel
from ergodica.samplers.sequences.twisted import TwistedStep
from ergodica.samplers.sequences.weighted_rejection_step import WeightedRejectionStep
from ergodica.validation.cases.sequences import law_of_texts, odd_without_pairs, potential, table, text_law
from ergodica.validation.enumeration import enumerate_law

KEY = jax.random.key(2)
MODEL = table(3, 2, 9)


# --- published instances --------------------------------------------------------------------------------------------


def test_published_particle_gibbs():
    model = TableModel({(): [11, 3], (0,): [4, 3], (1,): [5, 3]})
    factors = {(0,): 5, (1,): 3, (0, 0): 3, (0, 1): 3, (1, 0): 2, (1, 1): 2}
    chain = ParticleGibbs(model, lambda texts: [factors[text] for text in texts], 2, 2)
    texts = list(itertools.product(range(2), repeat=2))
    rows = [law_of_texts(lambda key, text=text: chain.step(key, text), KEY, 2) for text in texts]
    published = [
        [0.7707908163265306, 0.19706632653061223, 0.020089285714285716, 0.012053571428571429],
        [0.2627551020408163, 0.7051020408163265, 0.020089285714285716, 0.012053571428571429],
        [0.1683673469387755, 0.12627551020408162, 0.6099330357142857, 0.09542410714285714],
        [0.1683673469387755, 0.12627551020408162, 0.15904017857142858, 0.5463169642857143],
    ]
    np.testing.assert_allclose([[row[text] for text in texts] for row in rows], published, atol=1e-12)
    stationary = [0.5152224824355972, 0.3864168618266979, 0.06147540983606557, 0.036885245901639344]
    np.testing.assert_allclose(stationary @ np.array(published), stationary, atol=1e-12)


def test_published_best_of_n():
    model, rewards = TableModel({(): [2, 9, 11, 12]}), [2, 1, 0, 2]
    best = BestOfN(lambda texts: [rewards[text[0]] for text in texts], 3)
    law = law_of_texts(lambda key: best.sample(key, model, max_tokens=1), KEY, 1)
    published = [0.11377976796254834, 0.16967738652554448, 0.03386423773661714, 0.68267860777529]
    np.testing.assert_allclose([law[(token,)] for token in range(4)], published, atol=1e-12)


def test_futures_by_hand():
    # Two tokens, 00 and 11 allowed: masked 1/2 each; 1/11 for 00 once its prefix was seen; 1/6 once both were.
    model = TableModel({(): [1, 1], (0,): [1, 9], (1,): [1, 1]})
    allowed = lambda text, is_complete: not is_complete or text in ((0, 0), (1, 1))  # noqa: E731
    sampler = ApproximateFutures(model, allowed, max_tokens=2)
    assert sampler.future(()) == 1
    laws, seen = [0.5], set()
    for seed in range(40):
        text = sampler.sample(jax.random.key(seed))
        assert text in ((0, 0), (1, 1))
        seen.add(text)
        shares = [0.5 * sampler.future((0,)), 0.5 * sampler.future((1,))]
        laws.append(shares[0] / sum(shares))
        if seen == {(0, 0)}:
            assert laws[-1] == pytest.approx(1 / 11, abs=1e-15)
    assert seen == {(0, 0), (1, 1)}
    assert laws[-1] == pytest.approx(1 / 6, abs=1e-15)
    assert sampler.future(()) == pytest.approx(0.3, abs=1e-15)


# --- properties -----------------------------------------------------------------------------------------------------


def test_the_optimal_twist_leaves_no_variance():
    law = text_law(MODEL, 3)

    def ahead(texts):
        """Return the mean of the terminal potential over the continuations of each text."""
        out = []
        for text in texts:
            below = {whole: mass for whole, mass in law.items() if whole[: len(text)] == text}
            out.append(
                sum(mass * potential([whole])[0] for whole, mass in below.items()) / max(sum(below.values()), 1e-300)
            )
        return out

    filtered = ParticleFilter(TwistedStep(potential, ahead), 4)
    wanted = sum(mass * potential([text])[0] for text, mass in law.items())
    for seed in range(3):
        out = filtered.run(jax.random.key(seed), MODEL, max_tokens=3)
        assert math.exp(out.log_normaliser) == pytest.approx(wanted, rel=1e-12)


def test_particles_that_are_all_given_up_have_no_normaliser():
    out = ParticleFilter(WeightedRejectionStep(lambda text, is_complete: len(text) < 2), 3).run(
        KEY, MODEL, max_tokens=4
    )
    assert out.log_normaliser == -math.inf
    assert not out.weights.any()


def test_many_particles_give_the_normaliser():
    law = text_law(MODEL, 3)
    wanted = sum(mass for text, mass in law.items() if odd_without_pairs(text, True))
    out = ParticleFilter(WeightedRejectionStep(odd_without_pairs), 2000, threshold=0.5).run(KEY, MODEL, max_tokens=3)
    assert math.exp(out.log_normaliser) == pytest.approx(wanted, rel=0.1)
    assert all(odd_without_pairs(text, True) for text, weight in zip(out.texts, out.weights, strict=True) if weight > 0)


def test_tries_fall_as_prefixes_die():
    sampler = DeadPrefixTrie(MODEL, odd_without_pairs, max_tokens=3)
    bounds, tries = [sampler.acceptance_bound()], []
    for seed in range(150):
        drawn = sampler.sample(jax.random.key(seed))
        assert odd_without_pairs(drawn.text, True)
        bounds.append(sampler.acceptance_bound())
        tries.append(drawn.num_tries)
    wanted = sum(mass for text, mass in text_law(MODEL, 3).items() if odd_without_pairs(text, True))
    assert bounds[0] == pytest.approx(1.0)
    assert all(later <= before for before, later in itertools.pairwise(bounds))
    assert bounds[-1] == pytest.approx(wanted, abs=1e-12)
    assert tries[-30:] == [1] * 30


@pytest.mark.parametrize("sampler", [DeadPrefixTrie, ApproximateFutures])
def test_constraints_that_nothing_meets_are_refused(sampler):
    with pytest.raises(ValueError, match="no text is allowed"):
        sampler(MODEL, lambda text, is_complete: not is_complete, max_tokens=2).sample(KEY)


def test_tries_can_be_bounded():
    never = DeadPrefixTrie(MODEL, lambda text, is_complete: False, max_tokens=2)
    with pytest.raises(RuntimeError, match="1 tries"):
        never.sample(KEY, max_tries=1)
    with pytest.raises(RuntimeError, match="2 tries"):
        SoftRejection(lambda text: -1e9, 0.0).sample(KEY, MODEL, max_tokens=2, max_tries=2)


def test_segments_end_where_the_model_is_unsure_and_are_no_tilt():
    model = TableModel({(): [1, 1], (1,): [1, 3]})
    rule = SegmentRejection(lambda text: 2.0 * sum(text), 0.6, 0.0, 2.0, min_segment=1, max_segment=2, max_tries=2)
    assert not rule.claim.is_exact
    found = law_of_texts(lambda key: rule.sample(key, model, max_tokens=2), KEY, 2)
    tilted = {text: mass * math.exp(2.0 * sum(text)) for text, mass in text_law(model, 2).items()}
    assert sum(found.values()) == pytest.approx(1)
    assert max(abs(found[text] - mass / sum(tilted.values())) for text, mass in tilted.items()) > 0.01


def test_segments_without_clipping_or_cap_are_tilted():
    # One segment, the level above all rewards; what is left of 12 tries is below 1e-4 of the mass here.
    model = TableModel({(): [1, 2]})
    rule = SegmentRejection(lambda text: float(text[0]), 9.0, 1.0, 1.0, min_segment=1, max_segment=1, max_tries=12)
    found = law_of_texts(lambda key: rule.sample(key, model, max_tokens=1), KEY, 1)
    weights = np.array([1.0, 2.0 * math.e])
    np.testing.assert_allclose([found[(0,)], found[(1,)]], weights / weights.sum(), atol=1e-4)


def test_ended_texts_stay_among_the_particles():
    law = enumerate_law(
        lambda key: (
            ParticleFilter(Bootstrap(lambda texts: [1.0] * len(texts)), 2)
            .run(key, TableModel({(): [1, 1]}), max_tokens=2, stop=(0,))
            .log_normaliser
        ),
        KEY,
        engine="replay",
    )
    assert len(law) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ParticleFilter(Bootstrap(potential), 2, threshold=1.5), "share of the particles"),
        (lambda: ParticleFilter(Bootstrap(lambda texts: [-1.0] * len(texts)), 2).run(KEY, MODEL, max_tokens=1), "-1.0"),
        (lambda: ParticleFilter(Bootstrap(lambda texts: [1.0]), 2).run(KEY, MODEL, max_tokens=1), "each of 2 texts"),
        (lambda: ParticleGibbs(MODEL, potential, 1, 2), "num_particles"),
        (lambda: ParticleGibbs(MODEL, potential, 2, 2).step(KEY, (0,)), "not complete"),
        (lambda: BestOfN(lambda texts: [float("nan")] * len(texts), 2).sample(KEY, MODEL, max_tokens=1), "NaN"),
        (lambda: SoftRejection(lambda text: 1.0, 0.0).sample(KEY, MODEL, max_tokens=1), "at most the bound"),
        (lambda: SoftRejection(lambda text: 1.0, 0.0, temperature=0.0), "temperature"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
