"""Decisions on uniforms: the definition in plain Python, the JAX rules, the compiled core, single precision, errors."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ergodica.samplers.acceptance.blocks import block_verification_native as native
from ergodica.samplers.acceptance.blocks.block_verification import BlockVerification
from ergodica.samplers.acceptance.blocks.draft_length_policy import RejectionThreshold, SpeedThreshold
from ergodica.samplers.acceptance.blocks.draft_tree import DraftTree
from ergodica.samplers.acceptance.blocks.ideal_prefix_coupling import IdealPrefixCoupling
from ergodica.samplers.acceptance.blocks.ordered_paths import OrderedPaths
from ergodica.samplers.acceptance.blocks.token_verification import TokenVerification
from ergodica.samplers.acceptance.blocks.top_down import TopDown
from ergodica.samplers.acceptance.blocks.traversal import Traversal
from ergodica.samplers.acceptance.recursive_rejection_without_replacement import RecursiveRejectionWithoutReplacement
from ergodica.validation.cases.blocks import inputs_of, models
from ergodica.validation.enumeration import enumerate_law
from tests.samplers.test_single_draft import chains
from tests.samplers.test_single_draft_native import long_chains, normalised

RULE = BlockVerification()


def reference(tokens, p, q, uniforms):
    """Block verification as it is defined, on rows of one sequence; returns the padded tokens and tau."""
    gamma = len(q)
    budgets, chances, residuals = [1.0], [], []
    for i in range(gamma + 1):
        p_row = p[i] / p[i].sum()
        if i == gamma:
            chances.append(budgets[i])
            residuals.append(p_row)
            break
        q_row = q[i] / q[i].sum()
        left = np.maximum(budgets[i] * p_row - q_row, 0)
        whole = left.sum() + 1 - budgets[i]
        chances.append(left.sum() / whole if whole > 0 else 1.0)
        residuals.append(left if left.sum() > 0 else p_row)
        drafted = q_row[tokens[i]]
        budgets.append(min(1.0, budgets[i] * p_row[tokens[i]] / drafted) if drafted > 0 else 0.0)
    tau = max(i for i in range(gamma + 1) if i == 0 or uniforms[i - 1] < chances[i])
    running = np.cumsum(residuals[tau])
    own = int(np.argmax((running > uniforms[-1] * running[-1]) & (residuals[tau] > 0)))
    return [*tokens[:tau].tolist(), own, *[-1] * (gamma - tau)], tau


def assert_same(one, other):
    np.testing.assert_array_equal(np.asarray(one.tokens), np.asarray(other.tokens))
    np.testing.assert_array_equal(np.asarray(one.tau), np.asarray(other.tau))
    assert np.all(one.is_valid)
    assert np.all(other.is_valid)


def assert_as_defined(out, tokens, p, q, uniforms):
    for b in range(len(tokens)):
        assert (out.tokens[b].tolist(), out.tau[b]) == reference(tokens[b], p[b], q[b], uniforms[b])


# --- one chain ------------------------------------------------------------------------------------------------------


def test_jax_rule_decides_as_the_definition():
    tokens, p, q, uniforms = chains(24, 200, 3, 4)
    uniforms = uniforms + 2.0**-30  # dividing by a sum rounds, and a tie then falls either way
    out = RULE.decide(tokens, p, q, uniforms)
    assert 0.5 < np.mean(out.tau) < 2.5
    assert_as_defined(out, tokens, p, q, uniforms)


@pytest.mark.parametrize(("gamma", "size"), [(0, 4), (5, 6)])
@pytest.mark.slow
def test_all_shapes_decide_as_the_definition(gamma, size):
    tokens, p, q, uniforms = chains(gamma + 30, 300, gamma, size)
    off_ties = uniforms + 2.0**-30  # dividing by a sum rounds, and a tie then falls either way
    with np.errstate(divide="ignore"):
        logits = RULE.decide_logits(tokens, np.log(p), np.log(q), off_ties)
    assert_as_defined(RULE.decide(tokens, p, q, off_ties), tokens, p, q, off_ties)
    assert_as_defined(logits, tokens, p, q, off_ties)
    assert_as_defined(native.verify(tokens, p, q, off_ties, normalise=True), tokens, p, q, off_ties)
    assert_as_defined(native.verify(tokens, normalised(p), normalised(q), off_ties), tokens, p, q, off_ties)


def test_a_later_pass_overrides_an_earlier_failure():
    """The first token alone is unlikely under the target, the two together are not."""
    p = np.array([[0.1, 0.9], [0.95, 0.05], [0.5, 0.5]])
    q = np.array([[0.5, 0.5], [0.1, 0.9]])
    out = RULE.decide(np.array([0, 0]), p, q, np.array([0.99, 0.5, 0.25]))
    assert (out.tokens.tolist(), int(out.tau)) == ([0, 0, 0], 2)  # budgets 1, 0.2, 1


def test_impossible_tokens_are_not_accepted_at_zero():
    p, q = np.array([[0.0, 1.0], [0.5, 0.5], [0.5, 0.5]]), np.array([[0.5, 0.5], [0.5, 0.5]])
    out = RULE.decide(np.array([0, 1]), p, q, np.zeros(3))
    assert (out.tokens.tolist(), int(out.tau)) == ([1, -1, -1], 0)


@pytest.mark.slow
def test_law_in_single_precision_on_a_large_vocabulary():
    """The law of what one row emits, in float32, is within 1e-5 of the target's."""
    size, rng = 131_072, np.random.default_rng(5)
    logits = rng.normal(size=(3, size)) * 2
    p, q = (np.asarray(jax.nn.softmax(jnp.asarray(rows, jnp.float32)), np.float32) for rows in (logits[:2], logits[2:]))
    budgets = np.minimum(np.float32(1), p[0] / q[0])  # of each token that may be drafted
    excess = np.maximum(p[0] - q[0], np.float32(0))
    rejected = np.sum(q[0] * (1 - budgets), dtype=np.float64)
    law = (q[0] * budgets).astype(np.float64) + rejected * excess / np.sum(excess, dtype=np.float64)
    exact = np.exp(logits[0] - logits[0].max())
    assert 0.5 * np.abs(law - exact / exact.sum()).sum() < 1e-5
    token = int(np.argmin(budgets))
    with jax.enable_x64(False):
        stop, own = jax.jit(RULE.stop_law)(np.array([token]), jnp.asarray(p), jnp.asarray(q))
        assert stop.dtype == own.dtype == jnp.float32
    np.testing.assert_allclose(stop, [1 - budgets[token], budgets[token]], rtol=1e-5)
    np.testing.assert_allclose(own.sum(axis=1), 1, rtol=1e-5)


def test_invalid_laws_are_refused():
    tokens, p, q, uniforms = chains(24, 200, 3, 4)
    for wrong, message in ((np.nan, "nan"), (np.inf, "inf"), (-0.5, "negative")):
        bad = np.array(p)
        bad[1, 2, 0] = wrong
        with pytest.raises(ValueError, match=message):
            RULE.decide(tokens, bad, q, uniforms)
    with pytest.raises(ValueError, match="outside the vocabulary"):
        RULE.decide(tokens + 4, p, q, uniforms)
    with pytest.raises(ValueError, match="one row more"):
        RULE.decide(tokens, p[:, 1:], q, uniforms)
    bad = np.array(p)
    bad[0] = np.nan
    out = jax.jit(RULE.decide)(tokens, bad, q, uniforms)
    assert np.asarray(out.is_valid).tolist() == [False] + [True] * 199
    assert out.tokens[0].tolist() == [-1] * 4
    assert out.tau[0] == -1


@pytest.mark.slow
def test_sequences_of_a_batch_have_keys_of_their_own():
    tokens, p, q, _ = chains(5, 4, 2, 3)
    key = jax.random.key(4)
    both = RULE.verify(key, tokens, p, q)
    one = RULE.verify(jax.random.fold_in(key, 2), tokens[2], p[2], q[2])
    assert both.tokens[2].tolist() == one.tokens.tolist()
    with np.errstate(divide="ignore"):
        assert_same(RULE.verify_logits(key, tokens, np.log(p), np.log(q)), both)


# --- the compiled core ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.slow
def test_core_decides_as_the_jax_rule_on_long_rows(dtype):
    """In float32 the two differ where a uniform is within 1e-7 of a threshold, which these seeds are not."""
    tokens, p, q, *_, uniforms = long_chains(1, batch=200, gamma=4, dtype=dtype)
    expected = RULE.decide(tokens, p, q, uniforms)
    assert 1 < np.mean(expected.tau) < 3
    assert len(set(np.asarray(expected.tau).tolist())) == 5
    assert_same(native.verify(tokens, p, q, uniforms), expected)
    assert_same(native.verify(tokens, p, q, uniforms, normalise=True), expected)
    if dtype == np.float64:
        return
    assert_same(native.verify(tokens, p, q, uniforms, parallel=True), expected)
    assert_same(native.verify(tokens, np.asfortranarray(p), jnp.asarray(q), uniforms), expected)
    assert_same(jax.jit(native.decide)(tokens, p, q, uniforms), expected)
    one = native.verify(tokens[3], p[3], q[3], uniforms[3])
    assert one.tokens.tolist() == expected.tokens[3].tolist()


@pytest.mark.slow
def test_core_reads_no_row_that_it_does_not_need():
    """What is not read may be anything; what is read is checked."""
    p = np.array([[0.25, 0.75], [0.5, 0.5], [0.5, 0.5]])
    q = np.array([[0.5, 0.5], [0.25, 0.75]])
    unread = np.array(p)
    unread[0, 1], unread[1, 1] = np.nan, np.nan
    out = native.verify(np.array([0, 0]), unread, q, np.array([0.9, 0.4, 0.9]))  # budgets 1/2, 1: kept whole
    assert (out.tokens.tolist(), int(out.tau)) == ([0, 0, 1], 2)
    unread = np.array(p)
    unread[1, 1] = np.nan
    unread[2] = np.nan
    rows = np.array([[0.25, 0.75], [0.0, 1.0], [0.5, 0.5]])
    rows[2] = np.nan
    out = native.verify(np.array([0, 0]), rows, q, np.array([0.9, 0.0, 0.9]))  # the second draft is impossible
    assert int(out.tau) == 0
    with pytest.raises(ValueError, match="nan"):
        native.verify(np.array([0, 0]), np.full((3, 2), np.nan), q, np.full(3, 0.5))
    with pytest.raises(ValueError, match="do not sum to one"):
        native.verify(np.array([0, 0]), p * 0.9, q, np.array([0.9, 0.0, 0.9]))
    with pytest.raises(ValueError, match="uniforms"):
        native.verify(np.array([0, 0]), p, q, np.array([0.9, 1.0, 0.9]))
    with pytest.raises(TypeError, match="one dtype"):
        native.verify(np.array([0, 0]), p.astype(np.float32), q, np.full(3, 0.5))
    refused = native.decide(np.array([0, 0]), p * 0.9, q, np.array([0.9, 0.9, 0.9]))
    assert not bool(refused.is_valid)


@pytest.mark.slow
def test_no_rule_emits_nan_or_loops_where_laws_are_equal_up_to_rounding():
    rng = np.random.default_rng(8)
    p = rng.random((64, 4, 50)).astype(np.float32)
    p /= p.sum(axis=-1, keepdims=True)
    q = (p[:, :3] * np.float32(1 + 1e-7)).astype(np.float32)
    tokens, uniforms = rng.integers(0, 50, (64, 3)), rng.random((64, 4))
    for out in (native.verify(tokens, p, q, uniforms), RULE.decide(tokens, p, q, uniforms)):
        assert np.all(np.asarray(out.tau) == 3)
        assert np.all(np.asarray(out.tokens) >= 0)


# --- trees and paths ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_traversal_of_a_chain_decides_as_the_block_rule():
    tokens, p, q, uniforms = chains(9, 300, 3, 4)
    rule = Traversal(DraftTree.chain(3))
    rows = np.concatenate([q, np.full((300, 1, 4), np.nan)], axis=1)  # the row of the leaf is not looked at
    out = jax.vmap(rule.decide)(tokens, p, rows, uniforms)
    expected = RULE.decide(tokens, p, q, uniforms)
    assert_same(out, expected)
    assert np.asarray(out.node).tolist() == np.asarray(out.tau).tolist()


def test_a_tree_without_drafts_and_one_with_missing_drafts():
    P, Q = models(3, 2, 4)
    root = DraftTree(())
    out = Traversal(root).decide(jnp.zeros(0, int), np.array([[0.0, 1.0]]), np.array([[1.0, 1.0]]), np.array([0.3]))
    assert (out.tokens.tolist(), int(out.tau), int(out.node)) == ([1], 0, 0)
    tree = DraftTree.of_branching((2, 1))
    drafts = (1, -1, 0, -1)
    tokens, p, q = inputs_of(Traversal(tree), P, Q, drafts)
    p[2], p[4], q[2:] = np.nan, np.nan, np.nan
    key = jax.random.key(0)
    for rule in (Traversal(tree, replacement=False), TopDown(tree, RecursiveRejectionWithoutReplacement())):
        law = {}
        for emitted, mass in enumerate_law(lambda key, rule=rule: rule.verify(key, tokens, p, q).tokens, key):
            string = tuple(token for token in np.asarray(emitted).tolist() if token >= 0)
            law[string] = law.get(string, 0.0) + float(mass)
        wanted = {string: float(mass) for string, mass in rule.conditional_law(P, Q, drafts).emitted.items()}
        assert law == pytest.approx(wanted, abs=1e-12)


def test_trees_refuse_what_does_not_fit():
    tree = DraftTree.of_branching((2,))
    rule, rows, u = Traversal(tree), np.full((3, 4), 0.25), np.full(3, 0.5)
    with pytest.raises(TypeError, match="tokens have to be integers"):
        rule.decide(np.zeros(2), rows, rows, u)
    with pytest.raises(ValueError, match=r"tokens have to have shape \(2,\)"):
        rule.decide(np.zeros(3, int), rows, rows, u)
    with pytest.raises(ValueError, match="a row for each of the 3 nodes"):
        rule.decide(np.zeros(2, int), rows, rows[:2], u)
    with pytest.raises(TypeError, match="p has to hold"):
        rule.decide(np.zeros(2, int), np.ones((3, 4), int), rows, u)
    with pytest.raises(ValueError, match="shapes"):
        OrderedPaths(2).decide(np.zeros((3, 1), int), np.ones((3, 2, 4)), np.ones((3, 1, 4)), np.zeros(2))


@pytest.mark.slow
def test_invalid_trees_emit_nothing():
    tree = DraftTree.of_branching((2, 1))
    tokens, p, q = np.array([0, 1, 2, 0]), np.full((5, 3), 1 / 3), np.full((5, 3), 1 / 3)
    bad = np.array(p)
    bad[3, 0] = np.nan
    rule = Traversal(tree)
    uniforms = np.full(rule.num_uniforms(), 0.5)
    for drafts, rows in ((tokens, bad), (tokens + 2, p)):
        out = rule.decide(drafts, rows, q, uniforms)
        assert (bool(out.is_valid), out.tokens.tolist(), int(out.tau), int(out.node)) == (False, [-1] * 3, -1, -1)
    paths = jax.jit(OrderedPaths(2).decide)(
        np.zeros((2, 1), int), np.full((2, 2, 3), np.nan), np.ones((2, 1, 3)), np.zeros(2)
    )
    assert (bool(paths.is_valid), int(paths.path)) == (False, -1)


@pytest.mark.slow
def test_drawn_trees_have_the_law_of_enumerated_ones():
    _, Q = models(2, 2, 6)
    table = np.array([[float(part) for part in Q[prefix]] for prefix in [(), (0,), (1,)]])

    def draft(prefix):
        row = 0 if prefix.shape[0] == 0 else prefix[-1] + 1
        return jnp.asarray(table)[row]

    tree = DraftTree.of_branching((2, 1))
    for rule in (Traversal(tree), Traversal(tree, replacement=False)):
        law = {}
        program = enumerate_law(lambda key, rule=rule: tree.draw(key, draft, rule.sibling_law), jax.random.key(0))
        for tokens, mass in program:
            drafts = tuple(np.asarray(tokens).tolist())
            law[drafts] = law.get(drafts, 0.0) + float(mass)
        wanted = {drafts: float(mass) for drafts, mass in tree.enumerate(Q, rule.sibling_law)}
        assert law == pytest.approx(wanted, abs=1e-12)


# --- on tables, and policies ----------------------------------------------------------------------------------------


def test_ideal_coupling_decides_with_the_conditional_law():
    """The average over a grid of midpoints for each uniform is off by a cell for each at most."""
    P, Q = models(2, 1, 3)
    rule, cells = IdealPrefixCoupling(), 20
    middles = (np.arange(cells) + 0.5) / cells
    for drafts in ((0,), (1,)):
        found = {}
        for uniforms in itertools.product(middles, repeat=2):
            emitted, tau = rule.decide(P, Q, drafts, uniforms)
            assert tuple(emitted[:tau]) == drafts[:tau]
            found[tuple(emitted)] = found.get(tuple(emitted), 0) + 1 / cells**2
        for string, mass in rule.conditional_law(P, Q, drafts).emitted.items():
            assert abs(found.get(string, 0) - float(mass)) <= 2 / cells


def test_policies():
    rates = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    products = np.cumprod(rates)
    speed = SpeedThreshold.for_rates(list(rates), 0.1)
    goes_on = speed.goes_on(np.append(1, products[:-1]), products)
    assert goes_on.tolist() == [True, True, True, True, False, False]
    patient = RejectionThreshold(0.4)
    assert patient.goes_on(np.append(1, products[:-1]), products).tolist() == [True, True, True, False, False, False]
    with pytest.raises(ValueError, match="probability"):
        RejectionThreshold(1.5)
    with pytest.raises(ValueError, match="at least 0"):
        SpeedThreshold(-1.0, 0.1)
    assert TokenVerification().cost == "O(g + V)"
