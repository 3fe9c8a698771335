"""Losses of a flow: values in closed form, the path gradient, and training with a mixture of them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flowjax.distributions import Normal
from flowjax.flows import coupling_flow

from ergodica.samplers.flows.losses import forward_kl, reverse_kl
from ergodica.samplers.flows.training import train_while_sampling
from ergodica.samplers.metropolis.random_walk import RandomWalk
from ergodica.validation.cases.flows import affine_flow


def gradients(flow, loss, keys):
    """Return the gradient by the flow's parameters, a row for each key."""
    arrays, rest = eqx.partition(flow, eqx.is_inexact_array)
    one = jax.grad(lambda arrays, key: loss(eqx.combine(arrays, rest), key))
    tree = jax.jit(jax.vmap(one, in_axes=(None, 0)))(arrays, keys)
    return np.concatenate([np.asarray(leaf).reshape(len(keys), -1) for leaf in jax.tree.leaves(tree)], axis=1)


def plain_reverse_kl(flow, logdensity, key):
    x = flow.sample(key)
    return flow.log_prob(x) - logdensity(x)


def test_values():
    """For q = N(0, sigma^2) and a standard normal target; 20000 draws, six standard errors: 2e-9 each."""
    sigma, n = 1.5, 20_000
    flow = affine_flow(2, sigma)
    value = reverse_kl(flow, lambda x: -0.5 * jnp.sum(x**2), jax.random.key(0), n)
    # log q - log gamma = -log(2 pi sigma^2) + (sigma^2 - 1) |z|^2 / 2 with the variance (sigma^2 - 1)^2.
    exact = -np.log(2 * np.pi * sigma**2) + sigma**2 - 1
    assert value == pytest.approx(exact, abs=6 * (sigma**2 - 1) / np.sqrt(n))
    points = jnp.array([[0.0, 0.0], [3.0, 0.0]])
    assert forward_kl(flow, points) == pytest.approx(np.log(2 * np.pi * sigma**2) + 9 / (4 * sigma**2))


def test_the_gradient_has_no_variance_at_the_optimum():
    flow = affine_flow(2, 1.5)

    def logdensity(x):
        return 4.0 - 0.5 * jnp.sum(x**2) / 1.5**2

    keys = jax.random.split(jax.random.key(0), 20)
    path = gradients(flow, lambda flow, key: reverse_kl(flow, logdensity, key, 1), keys)
    np.testing.assert_allclose(path, 0, atol=1e-14)
    # The gradient through log q as well has mean zero and does vary.
    assert gradients(flow, lambda flow, key: plain_reverse_kl(flow, logdensity, key), keys).std(axis=0).max() > 0.1


@pytest.mark.slow
def test_the_gradient_is_that_of_the_divergence():
    """Both gradients have one mean; 20000 draws of each, six standard errors of the difference, 1e-7 in all."""
    flow, n = affine_flow(2, 1.5), 20_000

    def logdensity(x):
        return -0.5 * jnp.sum((x - 1) ** 2)

    first, second = jax.random.split(jax.random.key(0))
    path = gradients(flow, lambda flow, key: reverse_kl(flow, logdensity, key, 1), jax.random.split(first, n))
    plain = gradients(flow, lambda flow, key: plain_reverse_kl(flow, logdensity, key), jax.random.split(second, n))
    error = np.sqrt((path.var(axis=0) + plain.var(axis=0)) / n)
    assert np.all(np.abs(path.mean(axis=0) - plain.mean(axis=0)) <= 6 * error + 1e-9)
    assert np.all(np.abs(path.mean(axis=0)) > 10 * error)


def two_modes(x):
    return jnp.logaddexp(jnp.log(0.7) - 0.5 * jnp.sum((x - 2) ** 2), jnp.log(0.3) - 0.5 * jnp.sum((x + 2) ** 2))


LOCAL = RandomWalk(1.0, logdensity=two_modes)


def starts(count=64):
    centres = jnp.where(jnp.arange(count)[:, None] % 2 == 0, 2.0, -2.0)
    return centres + jax.random.normal(jax.random.key(7), (count, 2))


def small_flow():
    base = Normal(jnp.zeros(2), 2.0 * jnp.ones(2))
    return coupling_flow(jax.random.key(1), base_dist=base, flow_layers=2, nn_width=8)


@pytest.mark.slow
def test_a_mixture_of_losses_learns_two_modes():
    """The reverse divergence approaches its least value, -log Z; the mean weight is within 7 standard errors of Z.

    1000 weights with an effective sample size above 0.6 have a standard deviation below 0.82 Z.
    """
    options = {"num_cycles": 80, "num_local_cycles": 20, "local_steps": 3, "learning_rate": 1e-2}
    trained = train_while_sampling(
        jax.random.key(0), LOCAL, small_flow(), starts(), forward_weight=0.9, num_reverse_draws=32, **options
    )
    reverse = np.asarray(trained.log.reverse_loss)
    assert reverse[-10:].mean() < reverse[:5].mean() - 0.5
    assert reverse[-10:].mean() < -np.log(2 * np.pi) + 0.5
    assert trained.report.ess_fraction > 0.6
    assert abs(np.exp(trained.report.log_normalizer) / (2 * np.pi) - 1) < 0.2
    assert int(trained.log.num_skipped.sum()) == 0


@pytest.mark.slow
def test_weights_that_change_with_time():
    """The weight is asked for the share of cycles done; weight one is the forward divergence alone."""
    options = {"num_cycles": 4, "num_local_cycles": 2, "local_steps": 2}
    alone = train_while_sampling(jax.random.key(0), LOCAL, small_flow(), starts(), **options)
    assert np.all(np.isnan(alone.log.reverse_loss))
    ramped = train_while_sampling(
        jax.random.key(0),
        LOCAL,
        small_flow(),
        starts(),
        forward_weight=lambda share: jnp.where(share < 0.5, 1.0, 0.2),
        **options,
    )
    np.testing.assert_allclose(ramped.log.loss[:2], alone.log.loss[:2], rtol=1e-9)
    assert np.all(np.isfinite(ramped.log.reverse_loss))
    assert ramped.log.loss[3] != alone.log.loss[3]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"forward_weight": 1.5}, ValueError, "forward_weight"),
        ({"forward_weight": float("nan")}, ValueError, "forward_weight"),
        ({"forward_weight": "half"}, ValueError, "forward_weight"),
        ({"num_reverse_draws": 0}, ValueError, "num_reverse_draws"),
    ],
)
def test_bad_training(change, error, message):
    with pytest.raises(error, match=message):
        train_while_sampling(jax.random.key(0), LOCAL, affine_flow(2, 1.0), jnp.zeros((4, 2)), **change)
