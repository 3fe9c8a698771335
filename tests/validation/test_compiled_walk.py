"""Laws of compiled code: those of the traced program, and another one as soon as the compiler is wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ergodica import HeatBath, cycle, enumerate_law, on, transition_matrix
from ergodica.samplers import random
from ergodica.samplers.lowering import rules
from ergodica.samplers.lowering.rules import load_rules
from ergodica.validation.enumeration import EnumerationError
from ergodica.validation.walk import TooManyPathsError

KEY = jax.random.key(0)


def everything(key):
    """Each kind of choice, in loops, branches, and batches."""
    keys = random.split(key, 6)
    law = jnp.array([0.2, 0.0, 0.5, 0.3])
    one = random.categorical(keys[0], jnp.log(law))
    several = random.randint(keys[1], (2,), -1, 2)
    order = random.choice(keys[2], 3, (2,), replace=False, p=jnp.array([0.5, 0.25, 0.25]))
    batch = jax.vmap(lambda k, p: random.bernoulli(k, p))(random.split(keys[3], 2), jnp.array([0.25, 1.0]))

    def unlucky(carry):
        tries, found = carry
        return (tries < 3) & ~found

    def again(carry):
        tries, _ = carry
        return tries + 1, random.bernoulli(random.fold_in(keys[4], tries), 0.3)

    tries, _ = jax.lax.while_loop(unlucky, again, (0, jnp.asarray(False)))
    late = jax.lax.cond(one > 1, lambda: random.bernoulli(keys[5], 0.1), lambda: jnp.asarray(False))
    return {"one": one, "sum": several.sum(), "order": order, "batch": batch, "tries": tries, "late": late}


def test_laws_agree():
    expected, found = (enumerate_law(everything, KEY, host=host) for host in ("jax", "numba"))
    assert found.num_paths == expected.num_paths
    assert found.total_variation(expected) < 1e-14
    assert len(found) == len(expected)


def test_transition_matrices_agree():
    spins = cycle(on(0, HeatBath([-1, 1])), on(1, HeatBath([-1, 1]))).bind(lambda s: 0.7 * s[0] * s[1] + 0.2 * s[0])
    states = np.array([[a, b] for a in (-1, 1) for b in (-1, 1)])
    expected = transition_matrix(spins, states)
    np.testing.assert_allclose(transition_matrix(spins, states, host="numba"), expected, atol=1e-15)


def test_a_compiler_that_is_wrong_is_noticed(monkeypatch):
    load_rules()
    spins = HeatBath([0, 1, 2]).bind(lambda x: 0.5 * x)
    states = np.arange(3)
    right = transition_matrix(spins, states)
    monkeypatch.setitem(rules.RULES, "mul", rules.RULES["add"])
    monkeypatch.setenv("ERGODICA_CACHE_DIR", "")
    wrong = transition_matrix(spins, states, host="numba")
    assert np.max(np.abs(wrong - right)) > 0.01


def test_paths_are_cut_off_and_counted():
    def rejection(key):
        def body(carry):
            tries, _ = carry
            return tries + 1, random.bernoulli(random.fold_in(key, tries), 0.5)

        return jax.lax.while_loop(lambda carry: ~carry[1], body, (0, jnp.asarray(False)))[0]

    law = enumerate_law(rejection, KEY, host="numba", min_probability=1e-4)
    same = enumerate_law(rejection, KEY, min_probability=1e-4)
    assert law.truncated == same.truncated
    assert law.total_variation(same) == 0
    with pytest.raises(EnumerationError, match="more than 4096 choices"):
        enumerate_law(rejection, KEY, host="numba")
    with pytest.raises(TooManyPathsError, match="max_paths=5"):
        enumerate_law(everything, KEY, host="numba", max_paths=5)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (lambda key: jax.random.bernoulli(key), "jax.random was called directly"),
        (lambda key: random.categorical(key, jnp.array([jnp.nan, 0.0])), "NaN, infinite, negative or all zero"),
        (lambda key: jnp.abs(jnp.fft.fft(random.bernoulli(key)[None].astype(float))), "cannot lower"),
    ],
    ids=["raw", "no law", "no rule"],
)
def test_what_has_no_law_is_refused(program, words):
    with pytest.raises(EnumerationError, match=words):
        enumerate_law(program, KEY, host="numba")
