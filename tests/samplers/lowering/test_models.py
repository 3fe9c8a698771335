"""Densities of NumPyro models with their gradients, against XLA."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer.util import initialize_model

from ergodica.samplers.lowering.lower import lower

rng = np.random.default_rng(0)
X, T, C = rng.normal(size=(30, 4)), rng.normal(size=30), rng.integers(0, 5, size=30)


def correlations():
    factor, scale = numpyro.sample("L", dist.LKJCholesky(4, 2.0)), numpyro.sample("s", dist.HalfCauchy(1.0).expand([4]))
    numpyro.sample("y", dist.MultivariateNormal(0.0, scale_tril=scale[:, None] * factor), obs=X)


def gaussian_process():
    length = numpyro.sample("length", dist.LogNormal(0, 1))
    kernel = jnp.exp(-0.5 * (T[:, None] - T[None]) ** 2 / length**2) + 0.1 * jnp.eye(30)
    numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(30), kernel), obs=X[:, 0])


def mixture():
    weights = numpyro.sample("w", dist.Dirichlet(jnp.ones(3)))
    means = numpyro.sample("m", dist.Normal(0, 3).expand([3]))
    numpyro.sample("y", dist.MixtureSameFamily(dist.Categorical(weights), dist.Normal(means, 1.0)), obs=T)


def counts():
    slopes, shape = numpyro.sample("b", dist.Normal(0, 1).expand([4])), numpyro.sample("k", dist.Gamma(2.0, 1.0))
    numpyro.sample("y", dist.NegativeBinomial2(jnp.exp(X @ slopes), shape), obs=C)


def ordinal():
    ordered = dist.TransformedDistribution(dist.Normal(0, 1).expand([4]), dist.transforms.OrderedTransform())
    numpyro.sample(
        "y", dist.OrderedLogistic(numpyro.sample("b", dist.Normal(0, 1)) * T, numpyro.sample("cut", ordered)), obs=C
    )


def hidden_markov():
    moves = numpyro.sample("moves", dist.Dirichlet(jnp.ones(3)).expand([3]))
    means = numpyro.sample("m", dist.Normal(0, 1).expand([3]))

    def forward(alpha, y):
        return jax.nn.logsumexp(alpha[:, None] + jnp.log(moves), 0) + dist.Normal(means, 1.0).log_prob(y), None

    numpyro.factor("y", jax.nn.logsumexp(jax.lax.scan(forward, jnp.zeros(3), T)[0]))


def heavy_tails():
    nu, scale = numpyro.sample("nu", dist.Gamma(2.0, 0.1)), numpyro.sample("s", dist.InverseGamma(2.0, 1.0))
    group = numpyro.sample("a", dist.Normal(0.0, scale).expand([5]))
    numpyro.sample("y", dist.StudentT(nu, group[C], scale), obs=T)
    numpyro.sample("angle", dist.VonMises(group[0], nu), obs=T)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [correlations, gaussian_process, mixture, counts, ordinal, hidden_markov, heavy_tails],
    ids=lambda f: f.__name__,
)
def test_density_and_gradient(model):
    info = initialize_model(jax.random.key(0), model)
    value_and_grad = jax.value_and_grad(info.potential_fn)
    point = info.param_info.z
    ours, theirs = lower(value_and_grad, point)(point), jax.jit(value_and_grad)(point)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)
