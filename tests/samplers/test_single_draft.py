"""Speculative sampling with one draft a position: exact laws, the numeric contract, published numbers, traps."""

import itertools
from fractions import Fraction

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings

from ergodica.samplers import random
from ergodica.samplers.acceptance import single_draft
from ergodica.samplers.acceptance.draft_law import IndependentDrafts
from ergodica.samplers.acceptance.laws import invert
from ergodica.samplers.acceptance.single_draft import SingleDraft, acceptance_probability, accepts
from ergodica.theory.block_lengths import expected_accepted_in_context
from ergodica.theory.draft_acceptance import acceptance
from ergodica.theory.token_laws import total_variation
from ergodica.validation.cases.acceptance import CASES, completed, emitted_law
from ergodica.validation.enumeration import enumerate_law
from tests.strategies import KEYS, SCALES, models, pairs, simplex
from tests.traps.acceptance import TRAPS, DiscardAfterDraw, ResampleFromTarget, TruncatedDrafts

RULE = SingleDraft()
PREPARE, DECIDE, DRAW, VERIFY, VERIFY_LOGITS = (
    jax.jit(verb) for verb in (RULE.prepare, RULE.decide, RULE.draw, RULE.verify, RULE.verify_logits)
)
KEY = jax.random.key(11)


def fractions(text):
    return np.array([Fraction(part) for part in text.split()], dtype=object)


def choose(rng, q):
    return np.array([[rng.choice(q.shape[-1], p=row / row.sum()) for row in chain] for chain in q.astype(float)], int)


def chains(seed, batch, gamma, size, dtype=float):
    """Random chains, with impossible tokens on both sides; drafts come from their laws."""
    rng = np.random.default_rng(seed)
    p = rng.integers(0, 9, (batch, gamma + 1, size)) + (
        np.arange(size) == rng.integers(size, size=(batch, gamma + 1, 1))
    )
    q = rng.integers(0, 9, (batch, gamma, size)) + (np.arange(size) == rng.integers(size, size=(batch, gamma, 1)))
    tokens = choose(rng, q).reshape(batch, gamma)
    uniforms = rng.integers(0, 64, (batch, gamma + 1)) / 64
    return tokens, p.astype(dtype), q.astype(dtype), uniforms


def reference(tokens, p, q, uniforms):
    """The definition, in fractions: test, stop at the first rejection, residual or bonus by inversion."""
    gamma = len(tokens)
    rows = [[Fraction(float(weight)) for weight in row] for row in p]
    rows = [[weight / sum(row) for weight in row] for row in rows]
    drafted = [[Fraction(float(weight)) for weight in row] for row in q]
    drafted = [[weight / sum(row) for weight in row] for row in drafted]
    u = [Fraction(float(number)) for number in uniforms]
    tau = 0
    while tau < gamma:
        p_at, q_at = rows[tau][tokens[tau]], drafted[tau][tokens[tau]]
        if not (q_at > 0 and (p_at >= q_at or u[tau] * q_at < p_at)):
            break
        tau += 1
    weights = rows[tau]
    if tau < gamma:
        excess = [max(a - b, Fraction(0)) for a, b in zip(rows[tau], drafted[tau], strict=True)]
        weights = excess if sum(excess) > 0 else weights
    running = list(itertools.accumulate(weights))
    own = next(token for token, total in enumerate(running) if total > u[gamma] * running[-1])
    return [*[int(token) for token in tokens[:tau]], own, *[-1] * (gamma - tau)], tau


# --- published numbers ----------------------------------------------------------------------------------------------

GOLDEN = (
    ("5/29 0 3/29 11/29 10/29", "1/5 9/20 1/20 0 3/10", 0.5224137931034483),
    ("1/6 11/30 2/15 1/3", "1/6 11/30 2/15 1/3", 1.0),
    ("5/6 1/6 0 0", "0 0 2/3 1/3", 0.0),
)


@pytest.mark.parametrize(("p", "q", "alpha"), GOLDEN)
def test_published_pairs(p, q, alpha):
    p, q = fractions(p), fractions(q)
    out = RULE.output_law(p, q)
    assert list(out.law) == list(p)
    assert float(out.accept_branch) == float(out.accept_member) == pytest.approx(alpha, abs=1e-12)
    assert out.accept_branch == RULE.alpha(RULE.prepare(p, q)) == RULE.optimum(p, IndependentDrafts(q))
    floats = RULE.output_law(p.astype(float), q.astype(float))
    np.testing.assert_allclose(floats.law, p.astype(float), atol=1e-12, rtol=0)


def test_published_residual():
    p, q = (fractions(text) for text in GOLDEN[0][:2])
    expected = [0.0, 0.0, 0.11191335740072202, 0.7942238267148014, 0.09386281588447654]
    np.testing.assert_allclose(RULE.prepare(p, q).residual.astype(float), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("trap", "p", "q", "law", "branch", "member"),
    [
        (
            TruncatedDrafts,
            "11/32 9/32 7/32 5/32",
            "11/34 6/17 9/34 1/17",
            [0.4964758831521739, 0.4157608695652174, 0.0, 0.08776324728260869],
            0.8940217391304348,
            0.8940217391304348,
        ),
        (
            ResampleFromTarget,
            "1/19 12/19 6/19",
            "7/30 2/5 11/30",
            [0.06481994459833795, 0.5462603878116343, 0.3889196675900277],
            0.7684210526315789,
            0.7939981532779317,
        ),
        (
            DiscardAfterDraw,
            "0 5/14 0 9/14",
            "5/23 9/23 7/23 2/23",
            [0.0, 0.4658385093167702, 0.0, 0.5341614906832298],
            0.35714285714285715,
            0.41304347826086957,
        ),
    ],
)
def test_published_mistakes_have_the_published_law(trap, p, q, law, branch, member):
    out = trap().output_law(fractions(p), fractions(q))
    np.testing.assert_allclose(out.law.astype(float), law, atol=1e-12, rtol=0)
    assert float(out.accept_branch) == pytest.approx(branch, abs=1e-12)
    assert float(out.accept_member) == pytest.approx(member, abs=1e-12)


def test_published_chain():
    rows = {
        "": "5/8 3/8", "0": "11/18 7/18", "1": "2/7 5/7",
        "00": "1/2 1/2", "01": "11/19 8/19", "10": "8/13 5/13", "11": "1/6 5/6",
    }  # fmt: skip
    drafted = {"": "2/9 7/9", "0": "7/15 8/15", "1": "11/14 3/14"}
    target = {tuple(map(int, prefix)): fractions(row) for prefix, row in rows.items()}
    draft = {tuple(map(int, prefix)): fractions(row) for prefix, row in drafted.items()}
    expected = {
        "0": 0.4027777777777778, "00": 0.03209876543209877, "000": 0.05185185185185185, "001": 0.05185185185185185,
        "010": 0.050032488628979854, "011": 0.036387264457439894, "100": 0.06593406593406594,
        "101": 0.04120879120879121, "11": 0.1875, "110": 0.013392857142857142, "111": 0.06696428571428571,
    }  # fmt: skip
    law = emitted_law(RULE.verify, target, draft, 2, 2, KEY)
    assert set(law) == {tuple(map(int, string)) for string in expected}
    for string, probability in expected.items():
        assert law[tuple(map(int, string))] == pytest.approx(probability, abs=1e-12)
    mean = sum((len(string) - 1) * probability for string, probability in law.items())
    assert mean == pytest.approx(0.9748456790123456, abs=1e-12)


# --- exactness ------------------------------------------------------------------------------------------------------


@given(pairs())
def test_output_has_the_target_law_in_fractions(pair):
    p, q = pair
    out = RULE.output_law(p, q)
    assert list(out.law) == list(p)
    assert out.accept_branch == out.accept_member == acceptance(p, q) == RULE.optimum(p, IndependentDrafts(q))
    state = RULE.prepare(p, q)
    assert sum(state.residual) == 1
    assert all(part >= 0 for part in state.residual)
    if total_variation(p, q) > 0:
        assert all(state.residual[token] == 0 for token in range(p.size) if q[token] >= p[token])
    else:
        assert out.accept_branch == 1
    if not any(a > 0 and b > 0 for a, b in zip(p, q, strict=True)):
        assert out.accept_branch == 0


@given(pairs(), SCALES, SCALES, st.randoms(use_true_random=False))
def test_scale_and_labels(pair, p_scale, q_scale, shuffler):
    p, q = pair
    state = RULE.prepare(p, q)
    order = list(range(p.size))
    shuffler.shuffle(order)
    scaled, moved = RULE.prepare(p * p_scale, q * q_scale), RULE.prepare(p[order], q[order])
    for token in range(p.size):
        law, accept = RULE.conditional_law(state, np.array([token]))
        same, same_accept = RULE.conditional_law(scaled, np.array([token]))
        assert (list(same), same_accept) == (list(law), accept)
        other, other_accept = RULE.conditional_law(moved, np.array([order.index(token)]))
        assert (list(other), other_accept) == (list(law[order]), accept)


@given(st.data())
def test_drafts_from_another_law_move_the_output_by_at_most_their_distance(data):
    size = data.draw(st.integers(1, 5))
    p, q, drawn = (data.draw(simplex(size)) for _ in range(3))
    out = RULE.output_law(p, q, drafts_from=IndependentDrafts(drawn))
    assert total_variation(out.law, p) <= total_variation(drawn, q)


@given(st.data())
def test_output_is_independent_of_what_the_drafts_were_made_from(data):
    """The draft law of the second sample is a function of the first: the joint law is a product all the same."""
    p = data.draw(simplex(3))
    made = [data.draw(simplex(3)) for _ in range(3)]
    for first in range(3):
        assert list(RULE.output_law(p, made[first]).law) == list(p)


@given(pairs(st.integers(1, 4)), KEYS)
def test_enumerated_law_of_drafting_and_drawing(pair, seed):
    p, q = (part.astype(float) for part in pair)

    def program(key, p, q):
        draft_key, rule_key = random.split(key)
        draft = IndependentDrafts(q).sample(draft_key)
        decision = RULE.draw(rule_key, RULE.prepare(p, q), draft)
        return decision.token, decision.is_accepted, decision.draft_index

    law = enumerate_law(program, jax.random.key(seed), jnp.asarray(p), jnp.asarray(q))
    np.testing.assert_allclose(law.map(lambda out: out[0]).vector(p.size), p, atol=1e-12, rtol=0)
    accepted = law.expectation(lambda out: out[1])
    assert accepted == pytest.approx(float(acceptance(*pair)), abs=1e-12)
    assert all((index == 0) == kept for (_, kept, index), _ in law)


@given(st.data())
def test_enumerated_law_of_chains(data):
    gamma, size = data.draw(st.sampled_from(((1, 3), (2, 2))))
    target, draft = data.draw(models(size, gamma)), data.draw(models(size, gamma))
    law = emitted_law(RULE.verify, target, draft, gamma, size, KEY)
    assert sum(law.values()) == pytest.approx(1, abs=1e-12)
    for string, probability in completed(law, target, gamma + 1, size).items():
        wanted = np.prod([float(target[string[:at]][string[at]]) for at in range(gamma + 1)])
        assert probability == pytest.approx(wanted, abs=1e-12)
    mean = sum((len(string) - 1) * probability for string, probability in law.items())
    assert mean == pytest.approx(float(expected_accepted_in_context(target, draft, gamma)), abs=1e-12)


def test_enumerated_law_from_logits():
    tokens, p, q, _ = chains(3, 1, 2, 3)
    p, q = p[0], q[0]
    with np.errstate(divide="ignore"):
        logits = np.log(p) + 40, np.log(q) - 300
    law = enumerate_law(RULE.verify, KEY, tokens[0], p, q)
    other = enumerate_law(RULE.verify_logits, KEY, tokens[0], *logits)
    assert law.total_variation(other) < 1e-12


@pytest.mark.slow
def test_decisions_and_draws_have_the_conditional_law():
    """Exact binomial tails per cell; false alarm at most 1e-6 in all, by Bonferroni over 3 drafts, 2 ways, 4 cells."""
    p, q, count = jnp.asarray([0.1, 0.2, 0.3, 0.4]), jnp.asarray([0.4, 0.3, 0.2, 0.1]), 20_000
    state = RULE.prepare(p, q)
    uniforms = jax.random.uniform(KEY, (count, 2))
    for token in range(3):
        drafts = jnp.array([token])
        wanted = np.asarray(RULE.conditional_law(state, drafts).law)
        decided = jax.vmap(lambda u, at=drafts: RULE.decide(state, at, u).token)(uniforms)
        drawn = jax.vmap(lambda key, at=drafts: RULE.draw(key, state, at).token)(jax.random.split(KEY, count))
        for outcome in (decided, drawn):
            counts = np.bincount(np.asarray(outcome), minlength=4)
            for cell in range(4):
                if wanted[cell] == 0:
                    assert counts[cell] == 0
                else:
                    assert scipy.stats.binomtest(int(counts[cell]), count, wanted[cell]).pvalue > 1e-6 / 24


# --- the same decisions as the definition ---------------------------------------------------------------------------


@pytest.mark.parametrize(("gamma", "size"), [(0, 4), (1, 1), (3, 5)])
def test_chain_decides_as_the_definition(gamma, size):
    tokens, p, q, uniforms = chains(gamma, 60, gamma, size)
    out = RULE.decide_chain(tokens, p, q, uniforms)
    for b in range(len(tokens)):
        row, tau = reference(tokens[b], p[b], q[b], uniforms[b])
        assert (np.asarray(out.tokens[b]).tolist(), int(out.tau[b])) == (row, tau)
    assert np.all(out.is_valid)
    with np.errstate(divide="ignore"):
        from_logits = RULE.decide_chain_logits(tokens, np.log(p), np.log(q), uniforms + 2.0**-30)
        shifted = RULE.decide_chain(tokens, p, q, uniforms + 2.0**-30)  # off the ties, which rounding decides
    np.testing.assert_array_equal(from_logits.tokens, shifted.tokens)


@settings(max_examples=25)
@given(pairs(), st.integers(0, 31), st.integers(0, 31), st.data())
def test_position_decides_as_the_definition(pair, first, second, data):
    p, q = pair
    # Equal thresholds occur, and have to fall the right way, wherever the weights are exact in binary.
    assume(all((part.denominator & (part.denominator - 1)) == 0 for part in (*p, *q)) or (first % 2 and second % 2))
    token = data.draw(st.integers(0, p.size - 1))
    u = np.array([first, second]) / 32 + (0 if first % 2 == 0 else 1e-3)
    state = RULE.prepare(jnp.asarray(p.astype(float)), jnp.asarray(q.astype(float)))
    decision = RULE.decide(state, jnp.array([token]), jnp.asarray(u))
    row, tau = reference([token], np.array([p, p]).astype(float), q[None].astype(float), u)
    assert bool(decision.is_accepted) == (tau == 1)
    if tau == 0:
        assert int(decision.token) == row[0]


def test_inversion_skips_what_is_impossible():
    weights = jnp.asarray([0.0, 0.25, 0.0, 0.75, 0.0])
    u = jnp.asarray([0.0, 0.25, 0.24, 1 - 2.0**-53])
    np.testing.assert_array_equal(invert(jnp.broadcast_to(weights, (4, 5)), u), [1, 3, 1, 3])
    tail = jnp.concatenate([jnp.asarray([1 - 2.0**-20]), jnp.full(4096, 2.0**-32)])
    assert int(invert(tail, jnp.asarray(1 - 2.0**-20 - 2.0**-40))) == 0
    assert int(invert(tail, jnp.asarray(1 - 2.0**-21))) == 2049


# --- the numeric contract -------------------------------------------------------------------------------------------


def test_acceptance_test_is_strict_and_never_divides_by_zero():
    p, q = jnp.asarray([0.0, 0.5, 0.2]), jnp.asarray([0.5, 0.5, 0.0])
    np.testing.assert_array_equal(accepts(p, q, jnp.zeros(3)), [False, True, False])
    np.testing.assert_array_equal(acceptance_probability(p, q), [0.0, 1.0, 0.0])
    assert not accepts(0.25, 0.5, 0.5)
    assert accepts(0.25, 0.5, 0.5 - 2**-53)


def test_equal_laws_are_always_accepted():
    rng = np.random.default_rng(5)
    logits = rng.normal(size=(20, 4, 1000)).astype(np.float32) * 3
    p = np.asarray(jax.nn.softmax(jnp.asarray(logits)))
    tokens = rng.integers(0, 1000, (20, 3))
    uniforms = np.full((20, 4), 1 - 2.0**-24, np.float32)
    for out in (
        RULE.decide_chain(tokens, p, p[:, :3], uniforms),
        RULE.decide_chain_logits(tokens, logits, logits[:, :3], uniforms),
    ):
        np.testing.assert_array_equal(out.tau, 3)
        np.testing.assert_array_equal(out.tokens[:, :3], tokens)


def test_draft_that_cannot_have_been_drawn_is_rejected_into_the_target():
    p = np.array([[0.5, 0.25, 0.25, 0.0]] * 2)
    q = np.array([[0.5, 0.25, 0.25, 0.0]])
    law = enumerate_law(RULE.verify, KEY, np.array([3]), p, q)
    assert {tuple(np.asarray(out.tokens).tolist()) for out, _ in law} == {(0, -1), (1, -1), (2, -1)}
    assert law.probability(law.support[0]) > 0
    np.testing.assert_allclose(law.map(lambda out: out.tokens[0]).vector(4), p[0], atol=1e-12)


@pytest.mark.parametrize("large", [3000.0, -3000.0])
def test_large_offsets_of_logits_cancel(large):
    tokens, p, q, uniforms = chains(8, 20, 2, 6)
    with np.errstate(divide="ignore"):
        plain = RULE.decide_chain_logits(tokens, np.log(p), np.log(q), uniforms + 2.0**-20)
        moved = RULE.decide_chain_logits(tokens, np.log(p) + large, np.log(q) - large, uniforms + 2.0**-20)
    np.testing.assert_array_equal(plain.tokens, moved.tokens)


def bad_rows():
    good = np.full((3, 4), 0.25)
    nan, inf, negative, zero = (good.copy() for _ in range(4))
    nan[1, 2], inf[2, 0], negative[0, 3], zero[1] = np.nan, np.inf, -1e-6, 0.0
    return {"nan": nan, "inf": inf, "negative": negative, "all zero": zero}


@pytest.mark.parametrize("name", ["nan", "inf", "negative", "all zero"])
@pytest.mark.parametrize("side", ["p", "q"])
def test_no_law_is_an_error_on_the_host_and_a_flag_under_jit(name, side):
    good, bad = np.full((3, 4), 0.25), bad_rows()[name]
    p, q = (
        (bad, good[:2]) if side == "p" else (good, np.concatenate([bad[1:2], bad[1:2] if name == "nan" else bad[:1]]))
    )
    if side == "q" and name == "inf":
        q = bad[1:]
    tokens = np.array([0, 1])
    with pytest.raises(ValueError, match=f"{side}.*(nan|inf|negative|all zero)"):
        RULE.verify(KEY, tokens, p, q)
    out = VERIFY(KEY, tokens, p, q)
    assert not bool(out.is_valid)
    assert int(out.tau) == -1
    np.testing.assert_array_equal(out.tokens, -1)
    row = p[np.argmax([not (np.isfinite(r).all() and (r >= 0).all() and r.any()) for r in p])] if side == "p" else None
    if row is not None:
        with pytest.raises(ValueError, match="p"):
            RULE.prepare(row, good[0])
        state = PREPARE(row, good[0])
        assert int(DECIDE(state, jnp.array([0]), jnp.array([0.5, 0.5])).token) == -1
        assert int(DRAW(KEY, state, jnp.array([0])).token) == -1


def test_no_law_among_logits():
    good = np.zeros((2, 3))
    for value, words in ((np.nan, "nan"), (np.inf, "inf")):
        bad = good.copy()
        bad[0, 1] = value
        with pytest.raises(ValueError, match=f"p contains {words}"):
            RULE.verify_logits(KEY, np.array([0]), bad, good[:1])
        assert not bool(VERIFY_LOGITS(KEY, np.array([0]), bad, good[:1]).is_valid)
    with pytest.raises(ValueError, match="all -inf"):
        RULE.verify_logits(KEY, np.array([0]), good, np.full((1, 3), -np.inf))
    with pytest.raises(ValueError, match="p_logits contains nan"):
        RULE.prepare_logits(np.array([0.0, np.nan]), np.zeros(2))
    legal = np.array([0.0, -np.inf, 1.0])
    state = RULE.prepare_logits(legal, legal)
    np.testing.assert_allclose(state.p, np.array([1, 0, np.e]) / (1 + np.e), atol=1e-12)


def test_rounding_errors_below_zero_are_clipped():
    p, q = np.array([0.5, 0.5, -1e-14]), np.array([0.5, -1e-14, 0.5])
    state = RULE.prepare(p, q)
    assert float(state.p[2]) == 0
    np.testing.assert_array_equal(state.residual, [0, 1, 0])


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((np.array([0.0]), np.ones((2, 3)), np.ones((1, 3))), TypeError, "integers"),
        ((np.array([0]), np.ones((2, 3), int), np.ones((1, 3))), TypeError, "floating"),
        ((np.array([0]), np.ones((1, 3)), np.ones((1, 3))), ValueError, r"p has to have shape \(2, 3\)"),
        ((np.array([0]), np.ones((2, 3)), np.ones((1, 4))), ValueError, r"q has to have shape \(1, 3\)"),
        ((np.array([0]), np.ones((2, 0)), np.ones((1, 0))), ValueError, "empty"),
        ((np.array([3]), np.ones((2, 3)), np.ones((1, 3))), ValueError, "outside the vocabulary"),
        ((np.array([-1]), np.ones((2, 3)), np.ones((1, 3))), ValueError, "outside the vocabulary"),
        ((np.zeros((1, 1, 1), int), np.ones((1, 1, 2, 3)), np.ones((1, 1, 1, 3))), ValueError, "jax.vmap"),
    ],
)
def test_shapes_and_tokens_are_checked(arguments, error, words):
    with pytest.raises(error, match=words):
        RULE.verify(KEY, *arguments)


def test_rule_takes_one_draft_and_laws_on_the_same_tokens():
    with pytest.raises(ValueError, match="one draft"):
        RULE.prepare(np.ones(3), np.ones(3), 2)
    with pytest.raises(ValueError, match="same tokens"):
        RULE.prepare(np.ones(3), np.ones(4))
    with pytest.raises(ValueError, match="a vector"):
        RULE.prepare(np.ones((2, 3)), np.ones(3))
    assert RULE.kind == "equality"
    assert RULE.claim.is_exact
    assert RULE.num_uniforms() == 2


# --- transformations ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_jit_vmap_and_batches_agree():
    tokens, p, q, uniforms = chains(2, 12, 2, 4, np.float32)
    whole = RULE.verify(KEY, tokens, p, q)
    jitted = VERIFY(KEY, tokens, p, q)
    single = RULE.verify(jax.random.fold_in(KEY, 4), tokens[4], p[4], q[4])
    np.testing.assert_array_equal(whole.tokens, jitted.tokens)
    np.testing.assert_array_equal(whole.tokens[4], single.tokens)
    mapped = jax.vmap(RULE.decide_chain)(tokens, p, q, uniforms)
    np.testing.assert_array_equal(mapped.tokens, RULE.decide_chain(tokens, p, q, uniforms).tokens)
    assert whole.tokens.dtype == whole.tau.dtype == jnp.int32
    emitted = np.asarray(whole.tokens) >= 0
    np.testing.assert_array_equal(emitted.sum(axis=1), np.asarray(whole.tau) + 1)  # at least one token a block


@pytest.mark.slow
def test_single_precision_without_double():
    tokens, p, q, _ = chains(2, 40, 3, 7, np.float32)
    with jax.enable_x64(False):
        out = RULE.verify(jax.random.key(0), tokens, p, q)
        state = RULE.prepare(p[0, 0], q[0, 0])
        assert state.p.dtype == jnp.float32
    emitted = np.asarray(out.tokens)
    rows = np.take_along_axis(p, np.maximum(emitted, 0)[..., None].astype(int), axis=2)[..., 0]
    assert np.all((emitted < 0) | (rows > 0))


def test_new_laws_do_not_compile_again():
    tokens, p, q, _ = chains(2, 12, 2, 4, np.float32)
    RULE.verify(KEY, tokens, p, q)
    before = single_draft._verify_weights._cache_size()
    RULE.verify(jax.random.key(1), tokens, p * 2, q * 3)
    assert single_draft._verify_weights._cache_size() == before


# --- the catalogue --------------------------------------------------------------------------------------------------

CHECKS = {check.name: check for case in CASES if case.subject is SingleDraft for check in case.checks}


@pytest.mark.parametrize("name", CHECKS)
def test_checks_of_the_catalogue_accept_the_rule(name):
    outcome = CHECKS[name].run(RULE, KEY)
    assert outcome.passed, outcome.details
    assert outcome.false_alarm == 0


CATCHES = {
    "ResampleFromTarget": "rational",
    "WarpedResidual": "rational",
    "AbsoluteResidual": "rational",
    "TruncatedDrafts": "rational",
    "GreedyDrafts": "rational",
    "DiscardAfterDraw": "enumerated law of the code",
    "ReversedRatio": "enumerated law of the code",
    "SharedUniform": "decisions",
    "NonStrictTest": "impossible",
    "ZeroFallback": "no residual",
    "AcceptsImpossibleDraft": "no residual",
    "NotNormalised": "invariant",
    "GoesOnAfterRejection": "chains",
    "LastAcceptedCounts": "chains",
    "StaleBonus": "chains",
    "AlwaysResidual": "chains",
}
"""For each trap a check that has to reject it, by a part of its name."""


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.__name__)
def test_checks_of_the_catalogue_reject_the_trap(trap):
    (check,) = (check for name, check in CHECKS.items() if CATCHES[trap.__name__] in name)
    outcome = check.run(trap(), KEY)
    assert not outcome.passed
    assert outcome.details
