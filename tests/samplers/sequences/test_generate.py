"""Speculative generation: laws, caches, batches, streams, and what is reported of them."""

import itertools
from fractions import Fraction

import jax
import numpy as np
import pytest

from ergodica.samplers.acceptance.blocks.block_verification import BlockVerification
from ergodica.samplers.acceptance.blocks.draft_length_policy import RejectionThreshold
from ergodica.samplers.acceptance.blocks.ideal_prefix_coupling import IdealPrefixCoupling
from ergodica.samplers.acceptance.blocks.token_verification import TokenVerification
from ergodica.samplers.acceptance.single_draft import SingleDraft
from ergodica.samplers.sequences.choices import Choices, invert_rows
from ergodica.samplers.sequences.generate import generate, stream
from ergodica.samplers.sequences.table_model import TableModel
from ergodica.theory.block_acceptance import accepted_by_block
from ergodica.theory.block_lengths import expected_accepted_in_context
from ergodica.validation.block_law import string_law
from ergodica.validation.cases.sequences import law_of_texts, table
from tests.samplers.sequences.test_models import recurrent, reread, with_tape

KEY = jax.random.key(11)
TARGET, DRAFT = table(3, 2, 6), table(3, 2, 106)


def run(rule=None, target=TARGET, draft=DRAFT, **settings):
    settings = {"max_tokens": 12, "gamma": 3, "key": KEY, "num_texts": 40, **settings}
    return generate(target, draft, SingleDraft() if rule is None else rule, **settings)


@pytest.mark.slow
def test_a_text_depends_on_its_number_alone():
    whole = run()
    assert run(batch=7).texts == whole.texts
    assert run(num_texts=5).texts == whole.texts[:5]
    assert len(set(whole.texts)) > 30
    assert run(key=jax.random.key(12)).texts != whole.texts


def test_streams_bring_the_same_blocks():
    seen = []
    whole = run(num_texts=3, on_block=seen.append)
    blocks = list(stream(TARGET, DRAFT, SingleDraft(), max_tokens=12, gamma=3, key=KEY, num_texts=3))
    assert blocks == seen == list(whole.blocks)
    for number, text in enumerate(whole.texts):
        own = [block for block in blocks if block.text == number]
        assert sum((block.tokens for block in own), ()) == text
        assert [block.is_last for block in own] == [False] * (len(own) - 1) + [True]
        assert all(len(block.tokens) == block.accepted + 1 <= block.drafted + 1 for block in own)


@pytest.mark.slow
@pytest.mark.parametrize("model", [recurrent(), with_tape()], ids=["recurrent", "tape"])
def test_caches_do_not_change_texts(model):
    settings = {"max_tokens": 8, "num_texts": 4, "prompt": (1, 2), "stop": (3,)}
    assert run(None, model, reread(), **settings).texts == run(None, reread(), reread(), **settings).texts
    assert run(None, reread(), model, **settings).texts == run(None, reread(), reread(), **settings).texts


def test_stops_end_texts_and_belong_to_them():
    out = run(stop=(1,))
    for text in out.texts:
        assert 1 not in text[:-1]
        assert len(text) == 12 or text[-1] == 1
    assert {len(text) for text in run().texts} == {12}


def test_prompts_are_gone_on_from():
    prompts = [(0, 1), (), (2,)]
    out = run(prompt=prompts, num_texts=None, max_tokens=5)
    for number, prompt in enumerate(prompts):
        alone = generate(TARGET, DRAFT, SingleDraft(), prompt, max_tokens=5, gamma=3, key=KEY, num_texts=3)
        assert alone.texts[number] == out.texts[number]


def test_equal_models_keep_every_draft():
    out = run(draft=TARGET, max_tokens=12)
    assert all(block.accepted == block.drafted for block in out.blocks)
    assert out.predicted == (4.0, 4.0)
    assert (out.num_calls, out.tokens_per_call, out.share_of_optimum) == (3 * 40, 4.0, 1.0)


def test_rules_for_tokens_are_one():
    assert run(SingleDraft()).texts == run(TokenVerification()).texts


class Anonymous(BlockVerification):
    """The same rule, not known to have a compiled core."""


@pytest.mark.slow
def test_compiled_cores_decide_as_their_rules():
    few = {"num_texts": 8, "max_tokens": 3, "gamma": 2}
    assert run(BlockVerification(), **few).texts == run(Anonymous(), **few).texts
    assert run(BlockVerification()).predicted[1] > run(BlockVerification()).predicted[0]


def test_reported_means_are_those_of_theory():
    # A model without memory: every block has the same law, so that one block's mean is exact over its drafts.
    p, q = [Fraction(1, 3), Fraction(2, 3)], [Fraction(2, 3), Fraction(1, 3)]
    target, draft = TableModel({(): p}), TableModel({(): q})
    out = run(TokenVerification(), target, draft, gamma=2, max_tokens=3, num_texts=2000)
    first = [block for block in out.blocks if block.drafted == 2]
    laws = [dict.fromkeys([(), (0,), (1,)], law) for law in (p, q)]
    wanted = expected_accepted_in_context(*laws, 2), accepted_by_block(*laws, 2)
    assert wanted == (Fraction(10, 9), Fraction(11, 9))
    # Hoeffding with 2000 first blocks in [0, 2]: a deviation of 0.12 has probability below 1e-6 each.
    assert len(first) >= 2000
    by_first_call = first[:2000]
    assert abs(np.mean([block.by_token for block in by_first_call]) - 10 / 9) < 0.12
    assert abs(np.mean([block.by_block for block in by_first_call]) - 11 / 9) < 0.12
    assert abs(np.mean([block.accepted for block in by_first_call]) - 10 / 9) < 0.12


def test_production_draws_from_the_law_of_enumeration():
    # Production draws by inversion and a compiled core. Hoeffding with 4000 texts: a deviation of 0.047 in one of 16
    # frequencies has probability below 1e-6.
    p, q = [0.5, 0.5], [0.8, 0.2]
    out = run(None, TableModel({(): p}), TableModel({(): q}), gamma=1, max_tokens=4, num_texts=4000)
    assert max(abs(out.texts.count(text) / 4000 - 1 / 16) for text in itertools.product(range(2), repeat=4)) < 0.047


def test_short_blocks_keep_the_law():
    policy = RejectionThreshold(0.4)
    found = law_of_texts(
        lambda key: generate(TARGET, DRAFT, SingleDraft(), max_tokens=3, key=key, gamma=2, policy=policy).texts[0],
        KEY,
        3,
    )
    wanted = string_law({text: TARGET.table[text].tolist() for text in TARGET.table}, 3)
    assert max(abs(found.get(text, 0) - float(mass)) for text, mass in wanted.items()) < 1e-12
    assert {block.drafted for block in run(policy=policy).blocks} >= {1, 2}


def test_choices_are_addressed():
    choices = Choices(KEY)
    np.testing.assert_array_equal(choices.uniforms(3, 4, 5), Choices(KEY).uniforms(3, 4, 9)[:5])
    addresses = [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert len({choices.uniforms(*address, 1)[0] for address in addresses}) == 4
    assert invert_rows(np.array([[0.0, 1.0, 0.0]] * 3), np.array([0.0, 0.5, 1 - 2.0**-53])).tolist() == [1, 1, 1]
    assert sorted(choices.order([1.0, 0.0, 2.0, 3.0], 0, 9)) == [0, 2, 3]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"draft": table(2, 1, 1)}, ValueError, "one vocabulary"),
        ({"rule": IdealPrefixCoupling()}, TypeError, "verify chains"),
        ({"gamma": -1}, ValueError, "gamma"),
        ({"max_tokens": 0}, ValueError, "max_tokens"),
        ({"prompt": (7,)}, ValueError, "outside 0..2"),
        ({"prompt": (0.5,)}, TypeError, "integers"),
        ({"prompt": [(0,), (1,)], "num_texts": 3}, ValueError, "2 prompts"),
    ],
)
def test_what_does_not_fit_is_refused(settings, error, message):
    with pytest.raises(error, match=message):
        run(**settings)
