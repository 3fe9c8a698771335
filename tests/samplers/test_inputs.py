"""Bad input is answered by a clear error: what was given, what was expected, what to do."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ergodica.samplers import inputs


@pytest.mark.parametrize(
    ("position", "error", "message"),
    [
        (jnp.array([1, 2]), TypeError, "needs floating-point positions; position has dtype int64"),
        ({"a": 1.0, "b": True}, TypeError, r"position\['b'\] has dtype bool"),
        (jnp.array([1.0 + 2.0j]), TypeError, "needs real floating-point positions"),
        (jnp.array([1.0, jnp.nan]), ValueError, "not finite; position is"),
        ({"a": jnp.array(jnp.inf)}, ValueError, r"position\['a'\] is inf"),
        ({}, ValueError, "at least one entry"),
        (jnp.zeros((0,)), ValueError, "at least one entry"),
        ({"a": "text"}, TypeError, r"position\['a'\] is a str"),
    ],
)
def test_real_position(position, error, message):
    with pytest.raises(error, match=message):
        inputs.real_position(position, "RandomWalk")


def test_good_positions_pass_through():
    out = inputs.real_position({"a": 1.0, "b": np.zeros(3, np.float32)}, "RandomWalk")
    assert out["b"].dtype == jnp.float32
    np.testing.assert_array_equal(inputs.integer_position(jnp.arange(3), "HeatBath"), np.arange(3))
    with pytest.raises(TypeError, match="integer positions; position has dtype float64"):
        inputs.integer_position(jnp.ones(2), "HeatBath")


@pytest.mark.parametrize(
    ("density", "error", "message"),
    [
        (lambda x: jnp.log(-x).sum(), ValueError, "at the start is NaN"),
        (lambda x: -jnp.inf * x.sum(), ValueError, "-inf: the start has probability zero"),
        (lambda x: jnp.inf * x.sum(), ValueError, r"\+inf: the density has a pole"),
        (lambda x: x, TypeError, r"returned shape \(2,\)"),
        (lambda x: x.sum() * 1j, TypeError, "returned dtype complex128"),
        (lambda x: None, TypeError, "returned None"),
        (lambda x: (x.sum(), 1.0), TypeError, "one real number"),
        (lambda x: np.log(np.asarray(x)).sum(), TypeError, "JAX can trace"),
        (lambda x: math.log(x[0]), TypeError, "JAX can trace"),
        (lambda x: x.sum() if x[0] > 0 else -x.sum(), TypeError, "branches"),
    ],
)
def test_start_density(density, error, message):
    with pytest.raises(error, match=message):
        inputs.start_density(density, jnp.ones(2), "RandomWalk")


def test_start_density_works_under_jit_and_takes_python_numbers():
    assert inputs.start_density(lambda x: 1.0, jnp.ones(2), "RandomWalk") == 1.0
    assert jax.jit(lambda x: inputs.start_density(lambda y: -(y @ y), x, "RandomWalk"))(jnp.ones(2)) == -2.0


def test_a_bad_start_names_its_chain():
    with pytest.raises(ValueError, match=r"at the start of chain 1 is -inf.*\[3. 4.\]"):
        inputs.finite_start(np.array([0.0, -np.inf]), np.array([[1.0, 2.0], [3.0, 4.0]]), "RandomWalk")


@pytest.mark.parametrize(
    ("value", "bounds", "error", "message"),
    [
        (0.0, {"above": 0.0}, ValueError, "scale has to be greater than 0"),
        (-1, {"at_least": 0.0}, ValueError, "scale has to be at least 0"),
        (float("nan"), {}, ValueError, "scale has to be finite"),
        ([1.0, 2.0], {}, ValueError, "0 axes"),
        ("wide", {}, TypeError, "scale has to be a real number"),
        (1j, {}, TypeError, "scale has to be a real number"),
        (None, {}, TypeError, "scale has to be a real number"),
    ],
)
def test_real_parameter(value, bounds, error, message):
    with pytest.raises(error, match=message):
        inputs.real_parameter("scale", value, **bounds)


def test_parameters_have_strong_types():
    assert not inputs.real_parameter("scale", 1).weak_type
    assert not inputs.real_parameter("scale", 1.5).weak_type
    assert inputs.real_parameter("scale", np.float32(1.5)).dtype == jnp.float32


@pytest.mark.parametrize(
    ("value", "message"), [(0, "at least 1"), (1.5, "integer"), (True, "integer"), ("3", "integer")]
)
def test_static_count(value, message):
    with pytest.raises((TypeError, ValueError), match=message):
        inputs.static_count("cap", value)
    assert inputs.static_count("cap", np.int64(3)) == 3


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([0.5, -0.1], "negative entry"),
        ([0.0, 0.0], "no positive entry"),
        ([0.5, float("nan")], "NaN or inf"),
        ([0.5, float("inf")], "NaN or inf"),
        ([], "empty"),
        ([0.5, 0.6], "sum to one"),
    ],
)
def test_probability_vector(value, message):
    with pytest.raises(ValueError, match=message):
        inputs.probability_vector("p", value, tolerance=1e-9)
