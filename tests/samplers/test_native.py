"""Compiled cores as JAX operations."""

import doctest
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ergodica.samplers import native
from ergodica.samplers.native import NativeOperation, compiled, native_calls_work


@compiled
def affine_core(values, shift, out, largest):
    largest[0] = -np.inf
    for i in range(values.shape[0]):
        out[i] = 2 * values[i] + shift[0]
        largest[0] = max(largest[0], out[i])


@compiled
def transpose_core(matrix, code, out):
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[1]):
            out[j, i] = matrix[i, j] + code[0]


def affine_operation(**options):
    return NativeOperation("test.affine", affine_core, [(None, 1), (None, 0)], [(None, 1), (np.float64, 0)], **options)


DIRECT = affine_operation()
CALLBACK = affine_operation(callback=True)
TRANSPOSE = NativeOperation("test.transpose", transpose_core, [(np.int32, 2), (np.int32, 0)], [(np.int32, 2)])


def affine(operation, values, shift):
    return operation(values, shift, out_shapes=[jax.ShapeDtypeStruct(values.shape, values.dtype), ()])


def test_layout_is_as_described():
    assert native_calls_work()


def test_the_example_of_the_docstring():
    assert doctest.testmod(native).failed == 0


@pytest.mark.parametrize("operation", [DIRECT, CALLBACK], ids=["direct", "callback"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_plain_jit_and_scan(operation, dtype):
    values = jnp.arange(5, dtype=dtype)
    expected = 2 * np.arange(5) + 3
    for call in (affine, jax.jit(affine, static_argnums=0)):
        out, largest = call(operation, values, jnp.asarray(3, dtype))
        assert out.dtype == dtype
        np.testing.assert_array_equal(out, expected)
        assert float(largest) == 11.0

    def body(carry, _):
        return affine(operation, carry, jnp.asarray(1, dtype))[0], None

    out, _ = jax.lax.scan(body, jnp.zeros(2, dtype), None, length=5)
    np.testing.assert_array_equal(out, [31, 31])


@pytest.mark.parametrize("operation", [DIRECT, CALLBACK], ids=["direct", "callback"])
@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
def test_vmap_broadcasts_what_is_not_mapped(operation, axes):
    values, shift = jnp.arange(12.0).reshape(3, 4), jnp.array([5.0, 6.0, 7.0])
    given = (values if axes[0] == 0 else values[0], shift if axes[1] == 0 else shift[0])
    out, largest = jax.jit(jax.vmap(lambda v, s: affine(operation, v, s), axes))(*given)
    rows = np.broadcast_to(np.asarray(given[0]), (3, 4))
    expected = 2 * rows + np.broadcast_to(np.asarray(given[1]), (3,))[:, None]
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(largest, expected.max(axis=1))


@pytest.mark.parametrize("operation", [DIRECT, CALLBACK], ids=["direct", "callback"])
@pytest.mark.parametrize("outer", [(0, None), (None, 0)])
def test_nested_vmap(operation, outer):
    values, shift = jnp.arange(12.0).reshape(3, 4), jnp.array([5.0, 6.0])
    inner = (None, 0) if outer == (0, None) else (0, None)
    call = jax.vmap(jax.vmap(lambda v, s: affine(operation, v, s)[0], inner), outer)
    expected = 2 * np.asarray(values)[:, None] + np.asarray(shift)[None, :, None]
    np.testing.assert_array_equal(call(values, shift), expected if outer == (0, None) else expected.swapaxes(0, 1))


def test_a_mapped_axis_that_is_not_the_first():
    matrices = jnp.arange(24, dtype=jnp.int32).reshape(2, 4, 3)
    out = jax.vmap(lambda m: TRANSPOSE(m, 10, out_shapes=[(3, 2)])[0], in_axes=1)(matrices)
    np.testing.assert_array_equal(out, np.asarray(matrices).transpose(1, 2, 0) + 10)


def test_empty_batches_and_empty_items():
    out, _ = jax.vmap(lambda v: affine(DIRECT, v, 1.0))(jnp.zeros((0, 4)))
    assert out.shape == (0, 4)
    out, largest = affine(DIRECT, jnp.zeros(0), 1.0)
    assert out.shape == (0,)
    assert float(largest) == -np.inf


def test_inside_another_trace_as_first_use():
    native_calls_work.cache_clear()
    assert float(jax.jit(lambda v: affine(DIRECT, v, 1.0)[1])(jnp.ones(2))) == 3.0


def test_environment_asks_for_the_callback(monkeypatch):
    monkeypatch.setenv("ERGODICA_NATIVE", "callback")
    text = jax.jit(lambda v: affine(DIRECT, v, 1.0)).lower(jnp.ones(2)).as_text()
    assert "ergodica.test.affine" not in text
    assert "callback" in text
    monkeypatch.delenv("ERGODICA_NATIVE")
    assert "ergodica.test.affine" in jax.jit(lambda v: affine(DIRECT, v, 1.0)).lower(jnp.ones(2)).as_text()


@compiled
def wrong_core(values, shift, out, code):
    out[0] = 0.0
    code[0] = 7


def raising(*arguments):
    raise RuntimeError("no such layout")


@pytest.mark.parametrize(("name", "broken"), [("_register", raising), ("_probe_core", wrong_core)])
def test_a_failed_round_trip_falls_back_with_one_warning(monkeypatch, name, broken):
    monkeypatch.setattr(native, name, broken)
    native_calls_work.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="pure_callback"):
            first = affine(DIRECT, jnp.ones(3), 1.0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            second = affine(DIRECT, jnp.ones(3), 1.0)
        for out in (first, second):
            np.testing.assert_array_equal(out[0], [3.0, 3.0, 3.0])
    finally:
        monkeypatch.undo()
        native_calls_work.cache_clear()
    assert native_calls_work()


def test_inputs_are_not_written_to():
    values = jnp.arange(3.0)
    affine(DIRECT, values, 1.0)
    np.testing.assert_array_equal(values, [0.0, 1.0, 2.0])


def test_names_stay_unique():
    assert affine_operation().name != affine_operation().name


def test_operands_are_checked():
    with pytest.raises(TypeError, match="takes 2 operands; got 1"):
        DIRECT(jnp.ones(3), out_shapes=[(3,), ()])
    with pytest.raises(ValueError, match=r"operand 0 of .* has 1 axes; got shape"):
        DIRECT(jnp.ones((3, 3)), 1.0, out_shapes=[(3,), ()])
    with pytest.raises(TypeError, match="has 2 outputs; got 1 shapes"):
        DIRECT(jnp.ones(3), 1.0, out_shapes=[()])
    with pytest.raises(TypeError, match="ShapeDtypeStruct"):
        DIRECT(jnp.ones(3), 1.0, out_shapes=[(3,), ()])
    with pytest.raises(ValueError, match=r"output 1 of .* has 0 axes"):
        DIRECT(jnp.ones(3), 1.0, out_shapes=[jax.ShapeDtypeStruct((3,), float), (1,)])
    with pytest.raises(ValueError, match="at least one input"):
        NativeOperation("test.none", affine_core, [], [(None, 1)])


def test_double_precision_is_asked_for_by_name():
    with jax.enable_x64(False), pytest.raises(TypeError, match="jax_enable_x64"):
        affine(DIRECT, jnp.ones(3), 1.0)
