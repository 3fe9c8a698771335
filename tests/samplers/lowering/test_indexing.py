"""Slices with computed starts, gather and scatter, against XLA: indices in range, out of range and negative."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.samplers.lowering.comparison import check


def test_indexing():
    rng = np.random.default_rng(0)
    x, v = jnp.asarray(rng.normal(size=(4, 5))), jnp.asarray(rng.normal(size=7))
    i, k = jnp.asarray([2, -1, 9, 0, -8, 6]), jnp.asarray(3)
    check(
        {
            "dynamic_slice": lambda x, v, i, k: (
                lax.dynamic_slice(x, (k, k), (2, 2)), lax.dynamic_slice(v, (k - 9,), (3,)), v[k], x[k, k - 1], x[k - 1],
                lax.dynamic_slice(v, ((85 * k).astype(np.uint8),), (2,)), lax.dynamic_slice(v, (-k.astype(np.uint64),), (2,)),
                lax.dynamic_slice(jnp.arange(9), (k,), (2,)), jnp.arange(9)[k],
            ),
            "dynamic_update_slice": lambda x, v, i, k: (
                lax.dynamic_update_slice(x, x[:2, :2] * 2, (k, k)), lax.dynamic_update_slice(v, v[:3], (k,)),
                v.at[k].set(7.0), x.at[1].set(v[:5]), v.at[k - 20].set(0.0),
            ),
            "in place": lambda x, v, i, k: (lambda w: lax.dynamic_update_slice(w, w[1:4], (k,)))(v * 2),
            "gather": lambda x, v, i, k: (
                v[i], x[i % 4], x[i % 4, i % 5], x[:, i % 5], i[i % 6], (v > 0)[i], v[jnp.asarray([250, 3], np.uint8)],
                *(jnp.take(v, i, mode=mode) for mode in ("clip", "fill", "wrap")), jnp.take(i, i, mode="fill"),
                v.at[i].get(mode="drop", fill_value=5.0), v.at[i].get(mode="promise_in_bounds"),
                jnp.take_along_axis(x, jnp.argsort(x, 1), 1), v[jnp.asarray([-3, 100], np.int8)],
            ),
            "scatter": lambda x, v, i, k: (
                v.at[i].set(1.0), v.at[i].add(2.0), v.at[i].mul(3.0), v.at[i].min(0.1), v.at[i].max(0.1), v.at[i].subtract(1.0),
                v.at[i % 7].add(v[:6]), x.at[i % 4].add(1.0), x.at[i % 4, i % 5].set(v[:6]), x.at[:, i % 5].add(1.0),
                v.at[i].set(1.0, mode="clip"), v.at[i].add(1.0, mode="promise_in_bounds"), (v > 0).at[i].set(True),
                i.at[i].add(3), x.at[jnp.arange(4), jnp.arange(4)].add(1.0),
            ),
            "batches": lambda x, v, i, k: (
                jax.vmap(lambda r, j: r[j])(x, i[:4] % 5), jax.vmap(lambda r, j: r.at[j].add(1.0))(x, i[:4]),
                jax.vmap(lambda r, j: lax.dynamic_update_slice(r, r[:2], (j,)))(x, i[:4]),
                jax.vmap(lambda r, j: lax.dynamic_slice(r, (j,), (2,)))(x, i[:4]),
            ),
            "gradients": lambda x, v, i, k: (
                jax.grad(lambda v: jnp.sum(v[i] ** 2))(v),
                jax.grad(lambda x: jnp.sum(lax.dynamic_slice(x, (k, k), (2, 2)) ** 2))(x),
                jax.grad(lambda x: jnp.sum(jnp.sort(x, 1) * x))(x),
            ),
            "made of these": lambda x, v, i, k: (
                jax.ops.segment_sum(v[:6], i % 3, num_segments=4), jnp.bincount(i % 7, length=7),
                jnp.searchsorted(jnp.sort(v), v), jnp.zeros((3, 3)).at[jnp.tril_indices(3)].set(v[:6]),
                jnp.select([v > 1, v > 0], [v, 2 * v], 0.0),
            ),
        },
        x, v, i, k, ulps=4,
    )  # fmt: skip
