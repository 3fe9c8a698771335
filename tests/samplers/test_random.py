"""Choice points in production: ``jax.random``'s draws, and enough bits in single precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ergodica.samplers import random

KEY = jax.random.key(7)


@pytest.mark.parametrize(("dtype", "mode"), [(jnp.float32, "high"), (jnp.float64, "low"), (jnp.bfloat16, "high")])
def test_draws_are_those_of_jax(dtype, mode):
    logits = jnp.log(jnp.arange(1, 7, dtype=dtype).reshape(2, 3))
    expected = jax.random.categorical(KEY, logits, shape=(100, 2), mode=mode)
    np.testing.assert_array_equal(random.categorical(KEY, logits, shape=(100, 2)), expected)
    p = jnp.linspace(0, 1, 50, dtype=dtype)
    np.testing.assert_array_equal(random.bernoulli(KEY, p), jax.random.bernoulli(KEY, p, mode=mode))


@pytest.mark.slow
def test_what_is_all_but_impossible_does_not_happen_in_single_precision():
    """Uniforms of 23 bits are zero, hence below any ``p``, once in 2^23 draws: 8 times here. False alarm: below 1e-20."""
    p = jnp.full((1 << 22,), 1e-30, jnp.float32)
    draw = jax.jit(lambda key: random.bernoulli(key, p).sum())
    assert sum(int(draw(key)) for key in jax.random.split(KEY, 16)) == 0
