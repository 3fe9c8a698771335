"""The exact law of the code that runs: both engines, control flow, keys, limits and refusals."""

import itertools

import equinox as eqx
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from jax import lax

from ergodica.samplers import random
from ergodica.validation.enumeration import EnumerationError, enumerate_law, transition_matrix
from ergodica.validation.walk import TooManyPathsError

KEY = jax.random.key(0)
ENGINES = ["trace", "replay"]
TABLE = jnp.array([[-1.5, 0.5, 2.0], [0.25, -0.75, 3.0], [1.0, 1.0, -2.0], [0.0, 4.0, 0.125]])
WHOLE = jnp.array([[-7, 2, 5], [3, -2, 6], [1, 1, -4], [0, 9, 2]])

REAL_FUNCTIONS = {
    "arithmetic": lambda x: (x + 1) * 2 - x / 3,
    "elementary": lambda x: jnp.exp(x) + jnp.log1p(jnp.abs(x)) + jnp.tanh(x) - jnp.expm1(x / 2),
    "powers": lambda x: x**2 + x**-3.0 + jnp.sqrt(jnp.abs(x)) + lax.rsqrt(jnp.abs(x) + 1),
    "trigonometric": lambda x: jnp.sin(x) * jnp.cos(x) + jnp.arctan2(x, x + 1),
    "special": lambda x: jax.scipy.special.erf(x) + jax.scipy.special.gammaln(jnp.abs(x) + 1) + jax.nn.sigmoid(x),
    "rounding": lambda x: jnp.floor(x) + jnp.ceil(x) + jnp.round(x) + jnp.sign(x) + jnp.trunc(x),
    "order": lambda x: jnp.maximum(x, 0.3) + jnp.minimum(x, x[::-1]) + jnp.clip(x, -1, 1),
    "comparisons": lambda x: jnp.where((x > 0) & ~(x >= 2) | (x == -2), x, jnp.nan_to_num(x) - 1),
    "reductions": lambda x: jnp.stack([x.sum(), x.max(), x.min(), x.prod(), jnp.mean(x), jnp.any(x > 1).astype(float)]),
    "cumulative": lambda x: jnp.cumsum(x) + jnp.cumprod(x) + lax.cummax(x) + jnp.flip(jnp.cumsum(jnp.flip(x))),
    "softmax": lambda x: jax.nn.softmax(x) + jax.nn.log_softmax(x) + jax.nn.logsumexp(x),
    "shapes": lambda x: jnp.concatenate([x[None], x[None] + 1]).T.reshape(-1)[::2],
    "products": lambda x: jnp.outer(x, x) @ x + jnp.einsum("i,jk->k", x, jnp.ones((2, 3))),
    "sorting": lambda x: jnp.sort(x) + x[jnp.argsort(x)],
    "selection": lambda x: jnp.stack([x[jnp.argmax(x)], x[jnp.argmin(x)]]),
    "updates": lambda x: x.at[jnp.argmax(x)].set(9.0).at[0].add(1.0),
    "padding": lambda x: jnp.pad(x, (1, 2), constant_values=5.0),
    "gather": lambda x: x[jnp.array([2, 0, 0])] + jnp.roll(x, 1),
    "convolution": lambda x: jnp.convolve(x, jnp.array([1.0, 2.0])),
    "linear algebra": lambda x: jnp.linalg.solve(jnp.eye(3) * 3 + jnp.outer(x, x), x),
    "gradient": jax.grad(lambda x: jnp.sum(jnp.tanh(x) ** 2)),
    "custom derivative": lambda x: jax.nn.relu(x) + jax.nn.softplus(x),
    "vmapped": lambda x: jax.vmap(lambda a: lax.cond(a > 0, lambda b: b * 2, lambda b: b - 1, a))(x),
    "scanned": lambda x: lax.scan(lambda c, a: (c * 0.5 + a, c), 0.0, x)[1],
    "scanned backwards": lambda x: lax.scan(lambda c, a: (c * 0.5 + a, c), 0.0, x, reverse=True)[1],
    "looped": lambda x: lax.while_loop(lambda c: c.sum() < 20, lambda c: c + 1.5, x),
    "switched": lambda x: lax.switch(jnp.argmax(x), [jnp.sin, jnp.cos, jnp.exp], x),
    "iota": lambda x: x * jnp.arange(3) + jnp.eye(3)[1],
}
WHOLE_FUNCTIONS = {
    "division": lambda n: jnp.stack(
        [n // 2, n % 3, lax.div(n, jnp.array([2, -3, 4])), lax.rem(n, jnp.array([2, -3, 4]))]
    ),
    "bits": lambda n: (n & 3) ^ (n | 4) + (n << 1) - (n >> 1) + ~n + lax.population_count(n),
    "powers": lambda n: n**3,
    "conversion": lambda n: n.astype(float) / 2 + (n > 0),
    "dynamic": lambda n: lax.dynamic_slice(n, (n[0] % 3,), (2,)),
    "dynamic update": lambda n: lax.dynamic_update_slice(n, n[:1], (n[1] % 3,)),
    "counting": lambda n: jnp.bincount(n % 3, length=3),
}


@pytest.mark.parametrize(
    ("table", "function"),
    [pytest.param(TABLE, f, id=f"real {name}") for name, f in REAL_FUNCTIONS.items()]
    + [pytest.param(WHOLE, f, id=f"whole {name}") for name, f in WHOLE_FUNCTIONS.items()],
)
def test_paths_are_evaluated_as_jax_would(table, function):
    def program(key):
        which = random.randint(key, (), 0, len(table))
        return which, function(table[which])

    law = enumerate_law(program, KEY, engine="trace")
    assert law.num_paths == len(table)
    for (which, value), probability in law:
        expected = function(table[int(which)])
        assert probability == pytest.approx(1 / len(table), abs=1e-15)
        assert value.dtype == expected.dtype
        np.testing.assert_allclose(value, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("engine", ENGINES)
def test_each_kind_of_choice(engine):
    weights = jnp.array([0.5, 0.3, 0.2])

    def law(program):
        return enumerate_law(program, KEY, engine=engine)

    assert law(lambda k: random.bernoulli(k, 0.3)).probability(True) == pytest.approx(0.3, abs=1e-15)
    np.testing.assert_allclose(law(lambda k: random.categorical(k, jnp.log(weights))).vector(3), weights, atol=1e-15)
    np.testing.assert_allclose(
        law(lambda k: random.randint(k, (), 1, 4)).vector(4), [0, 1 / 3, 1 / 3, 1 / 3], atol=1e-15
    )
    permutations = law(lambda k: random.permutation(k, 3))
    assert len(permutations) == 6
    np.testing.assert_allclose(permutations.probabilities, 1 / 6, atol=1e-15)
    pairs = law(lambda k: random.choice(k, 3, (2,), replace=False, p=weights))
    for first, second in itertools.permutations(range(3), 2):
        expected = weights[first] * weights[second] / (1 - weights[first])
        assert pairs.probability([first, second]) == pytest.approx(float(expected), abs=1e-15)
    independent = law(lambda k: random.choice(k, jnp.array([4, 7]), (2,), p=jnp.array([0.25, 0.75])))
    assert independent.probability([4, 7]) == pytest.approx(0.1875, abs=1e-15)
    assert law(lambda k: random.rademacher(k)).probability(-1) == 0.5


def _staircase(key, stop):
    """A loop, a branch and a scan with choices in all of them."""

    def climb(carry):
        height, key, _ = carry
        key, sub = random.split(key)
        return height + 1 + random.randint(sub, (), 0, 2), key, height

    height, key, _ = lax.while_loop(lambda c: c[0] < stop, climb, (0, key, 0))
    keys = random.split(key, 4)
    bonus = lax.cond(height > stop, lambda k: random.randint(k, (), 5, 7), lambda k: jnp.asarray(9), keys[0])
    _, coins = lax.scan(lambda c, k: (c, random.bernoulli(k, 0.25)), 0, keys[1:])
    return height, bonus, coins


def test_the_engines_agree_through_control_flow():
    traced = enumerate_law(_staircase, KEY, 3, engine="trace")
    replayed = enumerate_law(lambda k: _staircase(k, 3), KEY, engine="replay")
    assert traced.num_paths == replayed.num_paths
    assert traced.total_variation(replayed) < 1e-15
    assert abs(traced.probabilities.sum() - 1) < 1e-14


def _loops_over_a_drawn_constant(key):
    """Loops whose constants differ from path to path, while their own choices multiply the paths."""
    key_constant, key_while, key_scan = random.split(key, 3)
    constant = random.randint(key_constant, (), 1, 4)

    def grow(carry):
        count, height = carry
        return count + 1, height + constant * random.randint(random.fold_in(key_while, count), (), 1, 3)

    count, height = lax.while_loop(lambda carry: carry[1] < 4 * constant - 1, grow, (0, 0))

    def add(total, k):
        total = total + constant * random.bernoulli(k)
        return total, total - constant

    total, steps = lax.scan(add, 0, random.split(key_scan, 2))
    return constant, count, height, total, steps


def test_constants_of_loops_follow_their_paths():
    traced = enumerate_law(_loops_over_a_drawn_constant, KEY, engine="trace")
    replayed = enumerate_law(_loops_over_a_drawn_constant, KEY, engine="replay")
    assert traced.num_paths == replayed.num_paths
    assert traced.total_variation(replayed) < 1e-15


def test_jit_and_vmap_inside_the_program():
    @eqx.filter_jit
    def biased(key, p):
        return random.bernoulli(key, p)

    ps = jnp.array([0.1, 0.2, 0.5])
    biased(KEY, 0.1)  # a production trace in the cache must not be found by the enumeration
    law = enumerate_law(lambda k: jax.vmap(biased)(random.split(k, 3), ps), KEY)
    for outcome in itertools.product([False, True], repeat=3):
        expected = np.prod([p if flag else 1 - p for p, flag in zip(ps, outcome, strict=True)])
        assert law.probability(list(outcome)) == pytest.approx(expected, abs=1e-15)
    assert biased(KEY, 1.0).shape == ()  # and the other way round


def test_plain_python_programs_are_replayed():
    def program(key):
        first, second = random.split(key)
        return 1 if random.bernoulli(first, 0.3) else int(random.randint(second, (), 5, 7))

    law = enumerate_law(program, KEY)
    assert law.probability(1) == pytest.approx(0.3, abs=1e-15)
    assert law.probability(5) == pytest.approx(0.35, abs=1e-15)


def test_unbounded_loops_are_cut_off_and_say_so():
    def first_success(key):
        def body(carry):
            count, _ = carry
            return count + 1, random.bernoulli(random.fold_in(key, count), 0.5)

        return lax.while_loop(lambda c: ~c[1], body, (0, False))[0]

    law = enumerate_law(first_success, KEY, min_probability=1e-6)
    assert law.truncated == pytest.approx(2.0**-19, abs=1e-18)
    assert law.probability(3) == 0.125
    with pytest.raises(EnumerationError, match="did not end within 50 iterations"):
        enumerate_law(first_success, KEY, max_iterations=50)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("program", "message"),
    [
        (lambda k: random.normal(k), "random.normal was called"),
        (lambda k: random.exponential(k, (2,)), "random.exponential was called"),
        (lambda k: jax.random.uniform(k), "jax.random was called directly"),
        (lambda k: jax.random.bernoulli(k), "jax.random was called directly"),
        (lambda k: (random.bernoulli(k), random.randint(k, (), 0, 2)), "consumed twice"),
        (lambda k: random.categorical(k, jnp.array([jnp.nan, 0.0])), "NaN, negative or all zero"),
        (lambda k: jax.random.key_data(k), "key's words|words of a key"),
    ],
)
def test_what_has_no_exact_law_is_refused_with_the_reason(engine, program, message):
    with pytest.raises(EnumerationError, match=message):
        enumerate_law(program, KEY, engine=engine)


def test_a_refusal_names_the_line_of_the_call():
    with pytest.raises(EnumerationError, match=r"test_enumeration.py:\d+"):
        enumerate_law(lambda k: jax.random.uniform(k), KEY)


def test_a_key_shared_by_lanes_is_reported():
    with pytest.raises(EnumerationError, match="consumed twice"):
        enumerate_law(lambda k: jax.vmap(lambda p: random.bernoulli(k, p))(jnp.array([0.1, 0.2])), KEY)


@pytest.mark.parametrize("engine", ENGINES)
def test_too_many_paths(engine):
    with pytest.raises(TooManyPathsError, match="more than 100 paths"):
        enumerate_law(lambda k: random.bernoulli(k, 0.5, (8,)), KEY, max_paths=100, engine=engine)


@given(hnp.arrays(np.float64, st.integers(1, 6), elements=st.floats(0, 1)).filter(lambda w: w.sum() > 1e-3))
def test_impossible_outcomes_are_never_taken(weights):
    law = enumerate_law(lambda k, w: random.categorical(k, jnp.log(w)), KEY, jnp.asarray(weights))
    np.testing.assert_allclose(law.vector(len(weights)), weights / weights.sum(), atol=1e-14)
    assert len(law) == np.count_nonzero(law.vector(len(weights)))


def test_law_merges_maps_and_prints():
    law = enumerate_law(lambda k: random.bernoulli(k, 0.5, (3,)).sum(), KEY)
    assert law.num_paths == 8
    assert len(law) == 4
    np.testing.assert_allclose(law.vector(4), [0.125, 0.375, 0.375, 0.125])
    assert law.expectation(lambda n: n) == pytest.approx(1.5)
    parity = law.map(lambda n: n % 2)
    np.testing.assert_allclose(parity.vector(2), 0.5)
    assert law.total_variation(law) == 0
    assert "8 paths" in str(law)
    with pytest.raises(ValueError, match="no integer in"):
        law.vector(2)


def test_production_draws_are_those_of_jax():
    key = jax.random.key(7)
    logits = jnp.log(jnp.array([0.2, 0.3, 0.5]))
    assert random.categorical(key, logits) == jax.random.categorical(key, logits)
    assert random.bernoulli(key, 0.3) == jax.random.bernoulli(key, 0.3)
    assert random.randint(key, (), 0, 9) == jax.random.randint(key, (), 0, 9)
    np.testing.assert_array_equal(random.permutation(key, 5), jax.random.permutation(key, 5))
    np.testing.assert_array_equal(random.normal(key, (3,)), jax.random.normal(key, (3,)))
    with pytest.raises(TypeError, match="typed key"):
        random.normal(jax.random.PRNGKey(0))


def test_speculative_decoding_enumerates_fast_enough():
    """A chain of four drafts over three symbols: one walk covers hundreds of paths."""
    rng = np.random.default_rng(1)
    target, draft = (jnp.asarray(rng.dirichlet(np.ones(3), 3)) for _ in range(2))

    def decode(key):
        key_draft, key_accept, key_rest = random.split(key, 3)

        def propose(context, k):
            token = random.categorical(k, jnp.log(draft[context]))
            return token, token

        _, tokens = lax.scan(propose, 0, random.split(key_draft, 4))
        contexts = jnp.concatenate([jnp.zeros(1, tokens.dtype), tokens[:-1]])

        def body(carry):
            index, _, key = carry
            key, sub = random.split(key)
            token, context = tokens[index], contexts[index]
            kept = random.bernoulli(sub, jnp.minimum(1.0, target[context, token] / draft[context, token]))
            return index + kept, kept, key

        accepted, _, _ = lax.while_loop(lambda c: (c[0] < 4) & c[1], body, (0, jnp.asarray(True), key_accept))
        context = jnp.where(accepted < 4, contexts[jnp.minimum(accepted, 3)], tokens[3])
        residual = jnp.maximum(target[context] - draft[context], 0.0)
        law = jnp.where(accepted < 4, residual, target[context])
        emitted = jnp.where(jnp.arange(5) < accepted, jnp.append(tokens, 0), -1)
        return emitted.at[accepted].set(random.categorical(key_rest, jnp.log(law)))

    law = enumerate_law(decode, KEY)
    first = law.map(lambda emitted: emitted[0]).vector(3)
    np.testing.assert_allclose(first, target[0], atol=1e-15)
    assert law.num_paths > 400


def test_transition_matrix_names_the_state_that_was_left_out():
    from ergodica.samplers.gibbs.heat_bath import HeatBath

    kernel = HeatBath([0, 1, 2], lambda x: 0.0 * x)
    np.testing.assert_allclose(transition_matrix(kernel, jnp.arange(3)), 1 / 3, atol=1e-15)
    with pytest.raises(EnumerationError, match=r"leads to 2, which is not among"):
        transition_matrix(kernel, jnp.arange(2))
