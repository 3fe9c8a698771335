"""The interface: arguments, results, threads, and what is said of programs that cannot be lowered."""

from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ergodica.samplers.lowering import rules
from ergodica.samplers.lowering.errors import CannotLower
from ergodica.samplers.lowering.lower import lower


def test_pytrees_in_and_out():
    tree = {"a": jnp.arange(3.0), "b": (jnp.asarray(2), np.float32(0.5))}
    lowered = lower(lambda t: {"sum": t["a"].sum(), "rest": [t["b"][0] + 1, t["b"][1] * 2]}, tree)
    out = lowered(tree)
    assert out["sum"] == 3.0
    assert out["rest"][0] == 3
    assert out["rest"][1].dtype == np.float32


def test_shapes_and_dtypes_stand_for_arguments():
    lowered = lower(lambda x: x * 2, jax.ShapeDtypeStruct((3,), jnp.float32))
    np.testing.assert_array_equal(lowered(np.ones(3, np.float32)), np.full(3, 2, np.float32))


def test_arguments_that_do_not_fit_are_refused():
    lowered = lower(lambda x: x * 2, jnp.ones(3))
    with pytest.raises(TypeError, match=r"float64\[4\].*lowered for float64\[3\]"):
        lowered(np.ones(4))
    with pytest.raises(TypeError, match=r"int64\[3\]"):
        lowered(np.ones(3, int))
    with pytest.raises(TypeError, match="structure"):
        lowered(np.ones(3), np.ones(3))


def test_arguments_that_are_not_contiguous():
    lowered = lower(lambda x: x.sum(0), jnp.ones((3, 2)))
    np.testing.assert_array_equal(lowered(np.arange(6.0).reshape(2, 3).T), [3.0, 12.0])


def test_large_constants_and_the_workspace():
    data = jnp.asarray(np.random.default_rng(0).normal(size=(200, 30)))

    def function(x):
        fit = jnp.exp(-jnp.abs(data @ x))
        return jnp.sum(fit[:, None] * data, axis=0), jnp.sort(fit)[:3]

    lowered = lower(function, jnp.ones(30))
    assert lowered.compiled.workspace_bytes > 0
    for ours, theirs in zip(lowered(jnp.ones(30)), jax.jit(function)(jnp.ones(30)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_threads_do_not_disturb_each_other():
    def function(x):
        return jax.lax.fori_loop(0, 2000, lambda i, c: jnp.cos(c) + x, jnp.zeros((40, 20)) + x)

    lowered = lower(function, jnp.asarray(0.0))
    alone = [lowered(np.float64(k)) for k in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda k: lowered(np.float64(k)), range(8)))
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_result_may_be_an_argument():
    x, y = jnp.arange(3.0), jnp.arange(3.0) + 5
    a, b = lower(lambda x, y: (y, x), x, y)(x, y)
    np.testing.assert_array_equal(a, y)
    np.testing.assert_array_equal(b, x)


@pytest.mark.parametrize(
    ("function", "primitive", "reason"),
    [
        (lambda x: jnp.fft.fft(x), "convert_element_type", "complex128"),
        (lambda x: jax.pure_callback(lambda v: v, x, x), "pure_callback", "Python"),
        (lambda x: jax.debug.print("{x}", x=x) or x, "debug", "remove the print"),
        (lambda x: x.astype(jnp.complex128).real, "convert_element_type", "complex128"),
        (lambda x: x.astype(jnp.bfloat16), "convert_element_type", "bfloat16"),
        (lambda x: jnp.convolve(x, x), "conv_general_dilated", "no rule"),
    ],
)
def test_what_cannot_be_lowered_is_named_with_its_place(function, primitive, reason):
    with pytest.raises(CannotLower, match=reason) as caught:
        lower(function, jnp.ones(4))
    assert primitive in caught.value.primitive
    assert "test_lower.py" in caught.value.place
    assert "\n" not in str(caught.value)


def test_what_nobody_reads_need_not_be_lowered():
    def function(x):
        jnp.fft.fft(x)
        return x + 1

    np.testing.assert_array_equal(lower(function, jnp.ones(4))(np.ones(4)), np.full(4, 2.0))


def test_the_place_is_known_inside_loops():
    def function(x):
        return jax.lax.fori_loop(0, 3, lambda i, c: jnp.convolve(c, c, mode="same"), x)

    with pytest.raises(CannotLower) as caught:
        lower(function, jnp.ones(4))
    assert "test_lower.py" in caught.value.place


def test_a_rule_that_is_wrong_says_so(monkeypatch):
    rules.load_rules()
    wrong = rules.Rule("general", lambda emitter, equation, x: x)
    monkeypatch.setitem(rules.RULES, "cumsum", wrong)
    lower(lambda x: jnp.cumsum(x), jnp.ones(3))
    monkeypatch.setitem(rules.RULES, "argmax", wrong)
    with pytest.raises(Exception, match="error of the rule"):
        lower(lambda x: jnp.argmax(x), jnp.ones(3))


def test_a_second_rule_for_a_primitive_is_refused():
    rules.load_rules()
    with pytest.raises(ValueError, match="has a rule already"):
        rules.elementwise("add")(lambda lane, x, y: x)
