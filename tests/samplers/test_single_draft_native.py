"""The compiled core: outcome for outcome the reference, lazy, checked, and an operation of JAX."""

import jax
import jax.numpy as jnp
import numba
import numpy as np
import pytest

from ergodica.samplers.acceptance import single_draft_native as native
from ergodica.samplers.acceptance.single_draft import SingleDraft
from ergodica.samplers.acceptance.vector_exp import exponential
from tests.samplers.test_single_draft import chains, choose, reference

RULE = SingleDraft()


def normalised(rows):
    total = rows.sum(axis=-1, keepdims=True)
    return rows / np.where(total > 0, total, 1)


def long_chains(seed, batch=24, gamma=3, size=1300, dtype=np.float32):
    """Laws as of language models over several blocks of the core, with impossible tokens."""
    rng = np.random.default_rng(seed)
    p_logits = rng.normal(size=(batch, gamma + 1, size)) * 3
    q_logits = p_logits[:, :gamma] + rng.normal(size=(batch, gamma, size)) * 0.5
    p_logits[rng.random(p_logits.shape) < 0.05] = -np.inf
    q_logits[rng.random(q_logits.shape) < 0.05] = -np.inf
    p, q = (normalised(np.exp(logits)).astype(dtype) for logits in (p_logits, q_logits))
    tokens = choose(rng, q)
    return tokens, p, q, p_logits.astype(dtype), q_logits.astype(dtype), rng.random((batch, gamma + 1))


def assert_same(one, other):
    np.testing.assert_array_equal(np.asarray(one.tokens), np.asarray(other.tokens))
    np.testing.assert_array_equal(np.asarray(one.tau), np.asarray(other.tau))
    assert np.all(one.is_valid)
    assert np.all(other.is_valid)


# --- outcome for outcome --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gamma", "size"), [(0, 4), (1, 1), (2, 3), (4, 5)])
@pytest.mark.slow
def test_core_decides_as_the_definition(gamma, size):
    tokens, p, q, uniforms = chains(gamma + 20, 200, gamma, size)
    out = native.verify(tokens, p, q, uniforms, normalise=True)
    off_ties = uniforms + 2.0**-30  # dividing by a sum of three rounds, and a tie then falls either way
    lazy = native.verify(tokens, normalised(p), normalised(q), off_ties)
    with np.errstate(divide="ignore"):
        logits = native.verify_logits(tokens, np.log(p), np.log(q), off_ties)
    for b in range(len(tokens)):
        row, tau = reference(tokens[b], p[b], q[b], off_ties[b])
        assert (lazy.tokens[b].tolist(), lazy.tau[b]) == (row, tau)
        assert (logits.tokens[b].tolist(), logits.tau[b]) == (row, tau)
    assert_same(out, RULE.decide_chain(tokens, p, q, uniforms))


def test_ties_fall_as_in_the_definition_where_arithmetic_is_exact():
    rng = np.random.default_rng(3)
    p = np.array([[1, 2, 4, 1], [4, 0, 2, 2], [0, 8, 0, 0]]) / 8
    q = np.array([[4, 2, 1, 1], [1, 4, 1, 2]]) / 8
    for _ in range(200):
        tokens, uniforms = rng.integers(0, 4, 2), rng.integers(0, 8, 3) / 8
        out = native.verify(tokens, p, q, uniforms)
        assert (out.tokens.tolist(), int(out.tau)) == reference(tokens, p, q, uniforms)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.slow
def test_core_decides_as_the_jax_rule_on_long_rows(dtype):
    """In float32 the two differ where a uniform is within 1e-7 of a threshold, which these seeds are not."""
    tokens, p, q, p_logits, q_logits, uniforms = long_chains(1, dtype=dtype)
    expected = RULE.decide_chain(tokens, p, q, uniforms)
    assert 0 < np.mean(expected.tau) < 3
    assert_same(native.verify(tokens, p, q, uniforms), expected)
    assert_same(native.verify(tokens, p, q, uniforms, normalise=True), expected)
    assert_same(native.verify_logits(tokens, p_logits, q_logits, uniforms), expected)


@pytest.mark.slow
def test_threads_and_layouts_change_nothing():
    tokens, p, q, p_logits, q_logits, uniforms = long_chains(2)
    expected = native.verify(tokens, p, q, uniforms)
    assert_same(native.verify(tokens, p, q, uniforms, parallel=True), expected)
    assert_same(native.verify_logits(tokens, p_logits, q_logits, uniforms, parallel=True), expected)
    assert_same(native.verify(tokens, np.asfortranarray(p), q, uniforms), expected)
    assert_same(native.verify(jnp.asarray(tokens), jnp.asarray(p), jnp.asarray(q), uniforms), expected)  # read-only
    one = native.verify(tokens[3], p[3], q[3], uniforms[3])
    assert one.tokens.tolist() == expected.tokens[3].tolist()
    assert one.tau == expected.tau[3]


def test_output_law_by_integration_over_uniforms():
    """The midpoints of a grid of 24 integrate exactly: the thresholds are multiples of 1/24."""
    p, q, cells = np.array([1, 3, 4, 0]) / 8, np.array([4, 2, 1, 1]) / 8, 24
    middles = (np.arange(cells) + 0.5) / cells
    uniforms = np.stack(np.meshgrid(middles, middles, indexing="ij"), axis=-1).reshape(-1, 2)
    law = np.zeros(4)
    for token, weight in enumerate(q):
        count = len(uniforms)
        out = native.verify(np.full((count, 1), token), np.tile(p, (count, 2, 1)), np.tile(q, (count, 1, 1)), uniforms)
        law += weight * np.bincount(out.tokens[:, 0], minlength=4) / count
    np.testing.assert_allclose(law, p, atol=1e-12, rtol=0)


# --- lazy, and checked where it looks -------------------------------------------------------------------------------


def test_rows_that_no_decision_needs_are_not_read():
    p, q = np.full((1, 3, 4), 0.25), np.full((1, 2, 4), 0.25)
    p[0, 1], q[0, 1] = np.nan, np.nan
    p[0, 1, 2], q[0, 1, 2] = 0.25, 0.25  # the entries that the test of an accepted draft reads
    out = native.verify(np.array([[1, 2]]), p, q, np.full((1, 3), 0.9))
    assert out.tokens.tolist() == [[1, 2, 3]]
    q[0, 0] = [0.1, 0.9, 0.0, 0.0]
    p[0, 2] = np.nan
    out = native.verify(np.array([[1, 2]]), p, q, np.full((1, 3), 0.9))
    assert (out.tokens[0, 1:].tolist(), out.tau.tolist()) == ([-1, -1], [0])


@pytest.mark.slow
def test_zero_probability_is_never_emitted_at_the_ends_of_the_uniforms():
    p, q = np.array([[0.0, 0.0, 0.5, 0.5, 0.0]] * 2), np.array([[0.5, 0.5, 0.0, 0.0, 0.0]])
    for dtype in (np.float32, np.float64):
        for token, u, v in ((t, u, v) for t in range(5) for u in (0.0, 1 - 2.0**-53) for v in (0.0, 1 - 2.0**-53)):
            given = np.array([token]), p.astype(dtype), q.astype(dtype), np.array([u, v])
            assert native.verify(*given).tokens[0] == (2 if v == 0 else 3)
            with np.errstate(divide="ignore"):
                logits = native.verify_logits(given[0], np.log(given[1]), np.log(given[2]), given[3])
            assert logits.tokens[0] == (2 if v == 0 else 3)


def test_empty_residual_falls_back_to_the_target():
    row = np.array([0.0, 0.25, 0.75, 0.0])
    for v, token in ((0.0, 1), (0.3, 2)):
        out = native.verify(np.array([3]), np.stack([row, row]), row[None], np.array([0.5, v]))
        assert (out.tokens.tolist(), int(out.tau)) == ([token, -1], 0)
        with np.errstate(divide="ignore"):
            out = native.verify_logits(
                np.array([3]), np.log(np.stack([row, row])), np.log(row[None]), np.array([0.5, v])
            )
        assert (out.tokens.tolist(), int(out.tau)) == ([token, -1], 0)


def test_equal_rows_are_always_accepted():
    _, p, _, p_logits, _, uniforms = long_chains(4)
    uniforms[:, :3] = 1 - 2.0**-53
    possible = np.argmax(p[:, :3], axis=-1)
    assert np.all(native.verify(possible, p, p[:, :3], uniforms).tau == 3)
    assert np.all(native.verify(possible, p * 4, p[:, :3], uniforms, normalise=True).tau == 3)
    assert np.all(native.verify_logits(possible, p_logits, p_logits[:, :3], uniforms).tau == 3)


def test_shift_of_the_logits_is_found_wherever_it_hides():
    """The first entries do not bound the rest, are impossible, or carry an offset that float32 cannot add."""
    rng = np.random.default_rng(6)
    base = rng.normal(size=(1, 2, 1200))
    for head, offset in ((-np.inf, 0.0), (-500.0, 0.0), (0.0, 2000.0), (0.0, -2000.0)):
        rows = base + offset
        rows[..., :600] += head
        rows = rows.astype(np.float32)
        weights = np.exp(rows.astype(float) - rows.max())
        u = np.array([[0.5, 0.37]])
        out = native.verify_logits(np.array([[700]]), rows, rows[:, :1], u)
        expected = np.searchsorted(np.cumsum(weights[0, 1]), 0.37 * weights[0, 1].sum(), side="right")
        assert out.tokens.tolist() == [[700, expected]]


def test_what_is_read_and_is_no_law_is_refused():
    rows = np.full((2, 4), 0.25)
    u, token = np.array([0.99, 0.5]), np.array([0])
    for value, words in ((np.nan, "nan"), (-0.1, "negative"), (np.inf, "inf")):
        for place in (0, 2):
            bad = rows.copy()
            bad[0, place] = value
            draft = np.array([[0.7, 0.1, 0.1, 0.1]])
            with pytest.raises(ValueError, match=rf"p\[0, 0\].*{words}"):
                native.verify(token, bad, draft, u)
            with pytest.raises(ValueError, match=rf"p\[0, 0\].*{words}"):
                native.verify(token, bad, draft, u, normalise=True)
            assert not bool(native.decide_chain(token, bad, draft, u).is_valid)
    with pytest.raises(ValueError, match="normalise=True"):
        native.verify(token, 3 * rows, np.array([[0.7, 0.1, 0.1, 0.1]]), u)
    with pytest.raises(ValueError, match="all zero"):
        native.verify(token, 0 * rows, np.array([[0.7, 0.1, 0.1, 0.1]]), u)
    for value, words in ((np.nan, "nan"), (np.inf, "inf")):
        bad = np.zeros((2, 4))
        bad[0, 3] = value
        with pytest.raises(ValueError, match=rf"p\[0, 0\] contains {words}"):
            native.verify_logits(token, bad, np.zeros((1, 4)), u)
    with pytest.raises(ValueError, match="all -inf"):
        native.verify_logits(token, np.full((2, 4), -np.inf), np.zeros((1, 4)), u)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"tokens": np.array([4])}, ValueError, "outside the vocabulary"),
        ({"tokens": np.array([2**33])}, ValueError, "outside the vocabulary"),
        ({"tokens": np.array([0.0])}, TypeError, "integers"),
        ({"p": np.full((2, 4), 0.25, np.float16)}, TypeError, "float32 or float64"),
        ({"p": np.full((2, 4), 0.25, np.float32)}, TypeError, "one dtype"),
        ({"p": np.full((1, 4), 0.25)}, ValueError, "p has to have shape"),
        ({"uniforms": np.array([0.1])}, ValueError, "uniforms has to have shape"),
        ({"uniforms": np.array([0.1, 1.0])}, ValueError, r"\[0, 1\)"),
        ({"uniforms": np.array([0.1, np.nan])}, ValueError, r"\[0, 1\)"),
    ],
)
def test_bad_input_is_refused_with_the_reason(change, error, words):
    given = {
        "tokens": np.array([0]),
        "p": np.full((2, 4), 0.25),
        "q": np.full((1, 4), 0.25),
        "uniforms": np.array([0.1, 0.2]),
    }
    with pytest.raises(error, match=words):
        native.verify(**(given | change))


# --- as operations of JAX -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_operations_agree_with_the_host_under_jit_and_vmap():
    tokens, p, q, p_logits, q_logits, uniforms = long_chains(5)
    expected = native.verify(tokens, p, q, uniforms)
    assert_same(jax.jit(native.decide_chain)(tokens, p, q, uniforms), expected)
    assert_same(jax.vmap(native.decide_chain)(tokens, p, q, uniforms), expected)
    assert_same(native.decide_chain(tokens, p * 3, q * 2, uniforms, normalise=True), expected)
    assert_same(jax.jit(native.decide_chain_logits)(tokens, p_logits, q_logits, uniforms), expected)
    shared = jax.vmap(native.decide_chain, in_axes=(None, None, None, 0))(tokens[0], p[0], q[0], uniforms)
    assert_same(shared, native.verify(np.tile(tokens[:1], (24, 1)), p[[0] * 24], q[[0] * 24], uniforms))


def test_tokens_outside_the_vocabulary_are_flagged_under_jit():
    p = np.full((2, 4), 0.25)
    out = jax.jit(native.decide_chain)(np.array([9]), p, p[:1], np.array([0.1, 0.2]))
    assert (bool(out.is_valid), int(out.tau), out.tokens.tolist()) == (False, -1, [-1, -1])


# --- the exponential ------------------------------------------------------------------------------------------------


@numba.njit
def _map(values):
    out = np.empty_like(values)
    for i in range(values.size):
        out[i] = exponential(values[i])
    return out


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exponential_is_within_a_unit_in_the_last_place(dtype):
    lowest, highest = (-87.0, 88.0) if dtype is np.float32 else (-708.0, 709.0)
    x = np.concatenate([np.linspace(lowest, highest, 200_001), np.linspace(-1e-3, 1e-3, 1001)]).astype(dtype)
    relative = np.abs(_map(x) / np.exp(x.astype(np.longdouble)) - 1)
    assert np.max(relative) < np.finfo(dtype).eps
    special = _map(np.array([-np.inf, np.inf, np.nan, 0.0, -0.0, 2 * lowest, 2 * highest, 1e30], dtype))
    np.testing.assert_array_equal(special, [0, np.inf, np.nan, 1, 1, 0, np.inf, np.inf])
