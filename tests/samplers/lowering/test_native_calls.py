"""Compiled cores are called directly, alone and in batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ergodica.samplers import native
from ergodica.samplers.lowering.errors import CannotLower
from ergodica.samplers.lowering.lower import lower
from tests.samplers.lowering.comparison import check


@native.compiled
def scaled(values, scale, out, total):
    total[0] = 0.0
    for i in range(values.shape[0]):
        out[i] = scale[0] * values[i]
        total[0] += out[i]


@native.compiled
def shifted(values, scale, out, total):
    total[0] = values[0]
    for i in range(values.shape[0]):
        out[i] = scale[0] + values[i]


def operation(name, core=scaled):
    call = native.NativeOperation(
        name, core, inputs=[(np.float64, 1), (np.float64, 0)], outputs=[(np.float64, 1), (np.float64, 0)]
    )

    def apply(x, s):
        return call(x, s, out_shapes=[x.shape, ()])

    return apply


def test_cores():
    apply = operation("test.lowered")
    x, s = jnp.arange(6.0).reshape(2, 3), jnp.asarray([0.5, 2.0])
    check(
        {
            "one": lambda x, s: apply(x[0], s[0]),
            "loop": lambda x, s: jax.lax.fori_loop(0, 3, lambda i, c: apply(c, s[1])[0] + 1, x[1]),
            "batch": lambda x, s: (
                jax.vmap(apply)(x, s), jax.vmap(apply, (None, 0))(x[0], s), jax.vmap(apply, (0, None))(x, s[0])
            ),
        },
        x, s,
    )  # fmt: skip


def test_cores_with_the_same_shapes_are_told_apart():
    check(operation("test.first"), jnp.arange(4.0), jnp.asarray(3.0))
    check(operation("test.second", shifted), jnp.arange(4.0), jnp.asarray(3.0))


def test_foreign_operations_are_refused(monkeypatch):
    apply = operation("test.foreign")
    arguments = jnp.ones(3), jnp.asarray(1.0)
    jax.eval_shape(apply, *arguments)  # registers the core
    monkeypatch.setattr(native, "CORES", {})
    with pytest.raises(CannotLower, match="XLA alone"):
        lower(apply, *arguments)
