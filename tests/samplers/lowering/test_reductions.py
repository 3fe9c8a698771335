"""Reductions, cumulative operations and sorting, against XLA."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.samplers.lowering.comparison import check

rng = np.random.default_rng(0)


@pytest.mark.slow
def test_reductions_over_any_axes():
    x = jnp.asarray(rng.normal(size=(3, 4, 5)))
    functions = {}
    for axes in (None, 0, 1, 2, (0, 2), (0, 1)):
        functions[f"{axes}"] = lambda x, axes=axes: (
            jnp.sum(x, axes), jnp.prod(x, axes), jnp.max(x, axes), jnp.min(x, axes), jnp.any(x > 2, axes), jnp.all(x > 0, axes),
        )  # fmt: skip
        if not isinstance(axes, tuple):
            functions[f"arg {axes}"] = lambda x, axes=axes: (jnp.argmax(x, axes), jnp.argmin(x, axes))
    check(functions, x, ulps=16)


def with_edges():
    x = np.array(rng.integers(-3, 4, size=(4, 6)), float)
    x[1, 2], x[2, 0], x[2, 1], x[3, 3], x[3, 4] = np.nan, np.inf, -np.inf, -0.0, 0.0
    return jnp.asarray(x)


def test_nan_infinities_and_signed_zeros():
    functions = {}
    for axis in (0, 1):
        for name in (
            "sum",
            "max",
            "min",
            "argmax",
            "argmin",
            "prod",
            "nanmax",
            "nansum",
            "cumsum",
            "cumprod",
            "sort",
            "argsort",
        ):
            functions[f"{name} {axis}"] = lambda x, name=name, axis=axis: getattr(jnp, name)(x, axis=axis)
    functions["cumulative"] = lambda x: (
        lax.cummax(x, 1), lax.cummin(x, 0, reverse=True), lax.cumlogsumexp(x[:1], 1), lax.cumlogsumexp(x, 0, reverse=True)
    )  # fmt: skip
    functions["normalised"] = lambda x: (jax.nn.logsumexp(x, 1), jax.nn.softmax(x, 1))
    functions["several keys"] = lambda x: lax.sort((x, -x, jnp.arange(24).reshape(4, 6)), num_keys=2)
    functions["unstable"] = lambda x: lax.sort(x, is_stable=False)
    functions["largest"] = lambda x: lax.top_k(x, 3)
    functions["quantiles"] = lambda x: (jnp.median(x), jnp.quantile(x[0], 0.3))
    functions["by a program"] = lambda x: lax.reduce(
        (x[:1], x[:1]), (0.0, 0.0), lambda a, b: (a[0] + b[0], jnp.maximum(a[1], b[1])), (1,)
    )
    check(functions, with_edges(), ulps=8, absolute=1e-15)


def test_integers_wrap_around():
    x = jnp.asarray(rng.integers(0, 255, size=(5, 40)).astype(np.uint8))
    check(
        {
            "reductions": lambda x: (
                x.sum(1),
                x.sum(dtype=np.uint8),
                x.prod(0),
                x.max(1),
                x.min(),
                x.argmax(1),
                x.argmin(0),
            ),
            "bits": lambda x: (lax.reduce_xor(x, (0,)), lax.reduce_and(x, (1,)), lax.reduce_or(x, (0, 1))),
            "order": lambda x: (jnp.sort(x, 1), jnp.argsort(x, 1), jnp.argsort(-x.astype(int), 0)),
            "cumulative": lambda x: (jnp.cumsum(x, 1), lax.cummax(x, 1)),
            "nothing": lambda x: (jnp.max(x[:, :0].astype(jnp.int32), 1, initial=-7), jnp.min(x[:0], 0, initial=9)),
        },
        x,
    )


@pytest.mark.slow
def test_long_arrays():
    x = jnp.asarray(rng.normal(size=(70, 90)))
    check(
        {
            "sums": lambda x: (x.sum(), x.sum(0), x.sum(1), (x * x + 1).sum(), x.T.sum(0)),
            "order": lambda x: (
                jnp.sort(x, 0),
                jnp.sort(x.ravel()),
                jnp.argsort(x[0]),
                jnp.sort(x.astype(np.float32), 1),
            ),
        },
        x,
        ulps=64,
        absolute=1e-12,
    )
