"""Influences found from programs are never too few, and exact for programs that only move entries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from ergodica.samplers.interop.element_influence import EVERYTHING, element_influence

INDEX = jnp.array([3, 0, 0, 2])
ROWS = jnp.arange(12.0).reshape(4, 3)


def running(x):
    def body(carry, now):
        return now, carry * now

    return lax.scan(body, jnp.asarray(0.3), x)[1]


def branched(x):
    return lax.cond(x[0] > 0, lambda y: y[1:], lambda y: y[:-1], x)


# A program of four numbers; and how many elements influence each of its entries, at most.
PROGRAMS = {
    "moves": (lambda x: jnp.concatenate([x[::-1], jnp.pad(x[1:3], 1)]), [1] * 4 + [0, 1, 1, 0]),
    "arithmetic": (lambda x: jnp.where(x > 0, jnp.exp(x), x**3) + x * x[0], [1, 2, 2, 2]),
    "known places": (lambda x: x[INDEX] * ROWS[:, 0], [1, 1, 1, 1]),
    "known block": (lambda x: lax.dynamic_slice(x, (INDEX[3],), (2,)), [1, 1]),
    "unknown places": (lambda x: ROWS[jnp.asarray(jnp.abs(x) * 3, int) % 4], [1] * 12),
    "its own places": (lambda x: x[jnp.asarray(jnp.abs(x) * 3, int) % 4], [4] * 4),
    "along an axis": (lambda x: jnp.take_along_axis(jnp.outer(x, x), jnp.asarray(x[:, None] > 0, int), 1), [4] * 4),
    "reduction": (lambda x: jnp.max(x.reshape(2, 2), axis=1), [2, 2]),
    "cumulative": (lambda x: jnp.cumsum(x.reshape(2, 2), axis=0), [2] * 4),
    "product": (lambda x: x.reshape(2, 2) @ jnp.ones((2, 3)), [2] * 6),
    "batched product": (lambda x: jnp.einsum("bi,bji->bj", x.reshape(2, 2), jnp.ones((2, 3, 2))), [2] * 6),
    "sorted": (lambda x: jnp.sort(x.reshape(2, 2), axis=0), [2] * 4),
    "factors": (lambda x: jax.vmap(lambda s: jnp.linalg.cholesky(jnp.eye(2) * (1 + s**2)))(x), [1] * 16),
    "loop": (running, [1, 2, 2, 2]),
    "branch": (branched, [4] * 3),
    "nested": (jax.jit(lambda x: jax.nn.relu(jax.checkpoint(jnp.sin)(x))), [1] * 4),
    "while": (lambda x: lax.while_loop(lambda y: jnp.sum(y) < 5, lambda y: y + 1, x), [4] * 4),
    "constant": (lambda x: ROWS[:, 0] + 0 * x.shape[0], [0] * 4),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_influence_is_missed(name):
    function, most = PROGRAMS[name]
    closed = jax.make_jaxpr(function)(jnp.zeros(4))
    (found,) = element_influence(closed, [np.arange(4)], 4, [0])
    size = len(most)
    matrix = np.zeros((size, 4)) if found is None else np.ones((size, 4)) if found is EVERYTHING else found.toarray()
    np.testing.assert_array_less(matrix.sum(axis=1), np.array(most) + 0.5)
    rng = np.random.default_rng(0)
    run = jax.jit(function)
    for _ in range(20):
        x = rng.normal(size=4)
        for element in range(4):
            y = x.copy()
            y[element] = rng.normal()
            changed = np.ravel(run(x) != run(y))
            assert not np.any(changed & (matrix[:, element] == 0))


def test_elements_of_several_entries_and_inputs_that_are_not_followed():
    closed = jax.make_jaxpr(lambda x, y: (x.sum(axis=1), y + 1, x[0] * y))(jnp.zeros((2, 3)), jnp.zeros(3))
    labels = np.repeat([[0], [1]], 3, axis=1)
    sums, other, product = element_influence(closed, [labels, None], 2, [0, 1, 2])
    np.testing.assert_array_equal(sums.toarray(), np.eye(2))
    assert other is None
    np.testing.assert_array_equal(product.toarray(), [[1, 0]] * 3)
