"""Resampling: expected copies, edges, effective size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ergodica.samplers.diffusion import resampling
from ergodica.samplers.diffusion.resampling import effective_size, systematic_ancestors


def copies(monkeypatch, log_weights, u):
    monkeypatch.setattr(resampling.random, "uniform", lambda key, shape, dtype: jnp.asarray(u, dtype))
    return np.bincount(systematic_ancestors(jax.random.key(0), log_weights), minlength=len(log_weights))


def test_the_expected_number_of_copies_is_proportional_to_the_weight(monkeypatch):
    weights = np.array([0.1, 0.0, 0.5, 0.4])
    log_weights = jnp.log(jnp.asarray(weights)) + 700.0
    # The copies change where the uniform number passes a multiple of 0.2: the mean over midpoints is exact.
    seen = np.array([copies(monkeypatch, log_weights, u) for u in (0.1, 0.3, 0.5, 0.7, 0.9)])
    np.testing.assert_allclose(seen.mean(axis=0), 4 * weights, atol=1e-12)
    assert np.all(np.abs(seen - 4 * weights) < 1)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_a_particle_without_weight_has_no_copies(monkeypatch, dtype):
    log_weights = jnp.concatenate([-jnp.inf * jnp.ones(3), jnp.zeros(1000), -jnp.inf * jnp.ones(3)]).astype(dtype)
    for u in (0.0, 1 - float(jnp.finfo(dtype).epsneg)):
        seen = copies(monkeypatch, log_weights, u)
        assert seen.sum() == 1006
        assert np.all(seen[:3] == 0)
        assert np.all(seen[-3:] == 0)


def test_without_any_weight_all_are_kept():
    log_weights = -jnp.inf * jnp.ones(5)
    np.testing.assert_array_equal(systematic_ancestors(jax.random.key(0), log_weights), np.arange(5))
    assert effective_size(log_weights) == 0


def test_effective_size():
    assert effective_size(jnp.full(7, -1e4)) == 7
    assert effective_size(jnp.array([0.0, -jnp.inf, -jnp.inf])) == 1
    assert effective_size(jnp.log(jnp.array([3.0, 1.0]))) == pytest.approx(16 / 10)
