"""Loops and branches, in-place updates in them, and derivatives through them, against XLA."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.samplers.lowering.comparison import check

rng = np.random.default_rng(0)
X, V, K = jnp.asarray(rng.normal(size=(4, 5))), jnp.asarray(rng.normal(size=7)), jnp.asarray(3)


def test_branches():
    check(
        {
            "cond": lambda x, v, k: (
                lax.cond(k > 2, lambda v: v * 2, lambda v: v, v), lax.cond(k > 7, lambda v: (v, 1), lambda v: (v[::-1], 2), v)
            ),
            "switch": lambda x, v, k: [
                lax.switch(k - shift, [lambda v: v, lambda v: v + 1, lambda v: v.at[0].set(0.0)], v) for shift in (5, 3, 2, 1, -5)
            ],
            "scalars": lambda x, v, k: lax.switch(k - 2, [lambda v: v.sum(), lambda v: v[0], lambda v: v.max()], v),
            "closures": lambda x, v, k: lax.cond(k > 2, lambda: x @ v[:5], lambda: x[:, 0]),
        },
        X, V, K, ulps=8,
    )  # fmt: skip


def test_loops():
    check(
        {
            "while": lambda x, v, k: lax.while_loop(
                lambda c: c[0] < k + 5, lambda c: (c[0] + 1, c[2], c[1] + 1.0, c[3].at[c[0]].set(c[1].sum())),
                (0, v, v * 2, jnp.zeros(10)),
            ),
            "scan": lambda x, v, k: (
                lax.scan(lambda c, r: (c + r, c * r), jnp.zeros(5), x), lax.scan(lambda c, a: (c, a + c), v[0], jnp.arange(4)),
                lax.scan(lambda c, r: (c + r.sum(), (c, r)), 0.0, x, reverse=True), lax.scan(lambda c, a: (c + 1, a), 0, x[:1]),
                lax.scan(lambda c, _: (c * 1.5, c), 1.0, None, length=7), lax.scan(lambda c, a: (c + a, c), 0.0, v),
                lax.scan(lambda c, a: (c + 1, None), 0, jnp.zeros((0, 3))),
            ),
            "fori": lambda x, v, k: (
                lax.fori_loop(0, k, lambda j, c: c * 1.1 + j, v), lax.fori_loop(0, 7, lambda j, c: c.at[j].add(c[j - 1]), v),
                lax.fori_loop(0, 4, lambda j, c: (c[1], c[0]), (v, v + 1)), lax.fori_loop(0, 0, lambda j, c: c + 1, v),
                lax.fori_loop(0, 3, lambda j, c: c.T, x[:, :4]),
            ),
            "nested": lambda x, v, k: lax.fori_loop(
                0, 3,
                lambda j, c: lax.while_loop(
                    lambda d: d.sum() < 10 * (j + 1), lambda d: lax.cond(d[0] > 1, lambda e: e + 1, lambda e: e * 2 + 0.5, d), c
                ),
                jnp.abs(v),
            ),
            "large": lambda x, v, k: lax.fori_loop(
                0, 50, lambda j, c: (c[0].at[j].set(c[1]), c[1] * 1.01), (jnp.zeros((60, 30)), jnp.arange(30.0))
            ),
            "batched": lambda x, v, k: (
                jax.vmap(lambda a: lax.while_loop(lambda c: c < 3, lambda c: c * 2 + 0.1, a))(jnp.abs(v) + 0.1),
                lax.map(lambda r: r.sum() * r, x), lax.associative_scan(jnp.add, v),
            ),
        },
        X, V, K, ulps=64,
    )  # fmt: skip


def test_values_that_are_read_again_are_not_overwritten():
    check(
        {
            "updates": lambda x, v, k: (lambda w: (w.at[0].set(1.0), w.at[1].set(2.0), w))(v * 2),
            "history": lambda x, v, k: lax.scan(lambda c, j: (c.at[j].set(j * 1.0), c), v, jnp.arange(7)),
            "exchange": lambda x, v, k: lax.while_loop(
                lambda c: c[0] < 3, lambda c: (c[0] + 1, c[2][::-1], c[1].at[c[0]].set(9.0)), (0, v, v)
            ),
            "constant of a loop": lambda x, v, k: (lambda w: lax.fori_loop(0, 3, lambda j, c: c.at[j].add(w[j + 1]), w))(v * 3),
            "branch": lambda x, v, k: (lambda w: (lax.cond(k > 1, lambda w: w.at[0].set(5.0), lambda w: w, w), w))(v + 1),
            "view": lambda x, v, k: (lambda w: (w.at[2].set(0.0), w[1:4] * 2, w.reshape(7, 1)))(v + 1),
            "after a view": lambda x, v, k: (lambda w, u: (w.at[2].set(0.0), u))(*(lambda w: (w, w[1:4]))(v + 1)),
        },
        X, V, K,
    )  # fmt: skip


def test_derivatives():
    check(
        {
            "scan": lambda x, v, k: jax.grad(lambda v: lax.scan(lambda c, a: (jnp.sin(c) * a, c), v.sum(), v)[0])(v),
            "custom": lambda x, v, k: jax.grad(lambda v: (jax.nn.relu(v) + jax.nn.softplus(v) + jax.nn.silu(v)).sum())(v),
            "forward": lambda x, v, k: jax.jvp(jax.nn.softplus, (v,), (v,)),
            "second": lambda x, v, k: jax.hessian(lambda v: jnp.sum(jnp.exp(v) * v[::-1]))(v),
            "remat": lambda x, v, k: jax.grad(jax.checkpoint(lambda v: jnp.sum(jnp.sin(jnp.cos(v)))))(v),
        },
        X, V, K, ulps=64, absolute=1e-15,
    )  # fmt: skip
