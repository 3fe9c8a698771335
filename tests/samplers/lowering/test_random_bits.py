"""Keys and random numbers: the same as JAX's, word for word."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from ergodica.samplers.lowering.errors import CannotLower
from ergodica.samplers.lowering.lower import lower
from tests.samplers.lowering.comparison import check

r = jax.random
KEY, A = jax.random.key(3), jnp.asarray([-0.3, 0.5, 1.2, 2.0])


def test_keys_and_bits():
    check(
        {
            "bits": lambda k, a: [r.bits(k, (3, 5), d) for d in (np.uint8, np.uint16, np.uint32, np.uint64)] + [r.bits(k, ())],
            "derived": lambda k, a: (
                r.split(k, 4), r.split(k, (2, 3)), r.fold_in(k, 7), r.split(k)[1], r.fold_in(k, a[2].astype(int)),
                r.fold_in(k, jnp.uint32(2**32 - 1)), r.split(k, 0),
            ),
            "data": lambda k, a: (
                r.key_data(k), r.key_data(r.split(k, 3)), r.wrap_key_data(r.key_data(r.split(k, 3))), r.PRNGKey(3),
                r.split(r.PRNGKey(3)), r.clone(k),
            ),
            "seeds": lambda k, a: (
                r.key(5), r.key(a[3].astype(int)), r.key(jnp.int32(-1)), r.key(jnp.asarray(-7)), r.key(2**40 + 3)
            ),
            "batches": lambda k, a: (
                jax.vmap(r.fold_in, (None, 0))(k, jnp.arange(5)), jax.vmap(lambda q: r.split(q, 2))(r.split(k, 3)),
                jax.vmap(r.fold_in, (0, None))(r.split(k, 2), 3), jax.vmap(lambda q: r.bits(q, (3,)))(r.split(k, 4)),
            ),
            "control": lambda k, a: (
                lax.fori_loop(0, 5, lambda i, c: (r.split(c[0])[0], c[1] + r.uniform(r.fold_in(c[0], i))), (k, 0.0)),
                lax.cond(a[0] > 0, lambda k: r.split(k), lambda k: r.split(r.fold_in(k, 1)), k),
                jnp.where(a[0] > 0, k, r.fold_in(k, 1)),
            ),
            "hash": lambda k, a: jax.extend.random.threefry_2x32(r.key_data(k), jnp.arange(10, dtype=np.uint32)),
        },
        KEY, A,
    )  # fmt: skip


def test_draws():
    check(
        {
            "uniform": lambda k, a: (
                r.uniform(k, (7,)), r.uniform(k), r.uniform(k, (3,), np.float32), r.uniform(k, (3,), minval=a[:3])
            ),
            "normal": lambda k, a: (r.normal(k, (200,)), r.normal(k, (200,), np.float32), r.normal(k)),
            "others": lambda k, a: (r.exponential(k, (5,)), r.gumbel(k, (3,)), r.laplace(k, (3,)), r.cauchy(k, (3,))),
            "discrete": lambda k, a: (
                r.randint(k, (9,), -3, 100), r.bernoulli(k, 0.3, (8,)), r.permutation(k, 9), r.choice(k, 5, (3,)),
                r.choice(k, 5, (3,), replace=False), r.categorical(k, a), r.rademacher(k, (4,)),
            ),
            "truncated": lambda k, a: r.truncated_normal(k, -1.0, 1.0, (4,)),
            "correlated": lambda k, a: r.multivariate_normal(k, a[:2], jnp.eye(2)),
        },
        KEY, A, ulps=dict.fromkeys(("normal", "others", "truncated", "correlated"), 64),
    )  # fmt: skip


@pytest.mark.slow
def test_draws_by_rejection():
    check(
        {
            "gamma": lambda k, a: (r.gamma(k, jnp.abs(a) + 0.2), r.loggamma(k, jnp.abs(a) + 0.2), r.gamma(k, 2.0, (300,))),
            "of gammas": lambda k, a: (r.beta(k, 2.0, 3.0, (3,)), r.t(k, 3.0, (3,)), r.dirichlet(k, jnp.abs(a) + 0.1)),
            "gradient": lambda k, a: jax.grad(lambda a: r.gamma(k, a).sum())(jnp.abs(a) + 0.3),
            "poisson": lambda k, a: (r.poisson(k, 3.0, (30,)), r.poisson(k, 30.0, (30,))),
            "binomial": lambda k, a: r.binomial(k, 10, 0.3, (30,)),
        },
        KEY, A, ulps=2000,
    )  # fmt: skip


def test_other_generators_are_refused():
    with pytest.raises(CannotLower, match="threefry"):
        lower(lambda: jax.random.uniform(jax.random.key(0, impl="rbg")))
    with pytest.raises(CannotLower, match="threefry"):
        lower(jax.random.uniform, jax.random.key(0, impl="rbg"))


def test_the_older_layout_is_refused():
    with jax.threefry_partitionable(False), pytest.raises(CannotLower, match="partitionable"):
        lower(jax.random.uniform, KEY)
