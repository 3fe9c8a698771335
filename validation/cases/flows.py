"""Rows of the catalogue for samplers that propose from flows."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.flows.independence import FlowIndependence
from ergodica.theory.independence import gaussian_acceptance, gaussian_weight_bound
from ergodica.validation.evidence import Case, Check, Outcome
from ergodica.validation.host import on_chosen_host
from ergodica.validation.rank import rank_check
from ergodica.validation.stationary_start import stationary_start_check
from ergodica.validation.targets.continuous import standard_normal
from ergodica.validation.targets.model import normal_model


def perturbed_flow(dim: int = 2, *, size: float = 0.4, spread: float = 1.4, seed: int = 3) -> Any:
    """Return a coupling flow with random parameters, far from the identity: a flow that was never trained.

    Parameters
    ----------
    dim
        Number of coordinates, at least 2.
    size
        Standard deviation of what is added to each parameter.
    spread
        Standard deviation of the base law.
    seed
        Of the parameters.
    """
    import equinox as eqx
    from flowjax.distributions import Normal
    from flowjax.flows import coupling_flow

    flow_key, noise_key = random.split(jax.random.key(seed))
    flow = coupling_flow(
        flow_key, base_dist=Normal(jnp.zeros(dim), spread * jnp.ones(dim)), flow_layers=2, nn_width=6, nn_depth=1
    )
    arrays, rest = eqx.partition(flow, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(arrays)
    keys = random.split(noise_key, len(leaves))
    leaves = [leaf + size * random.normal(key, leaf.shape, leaf.dtype) for key, leaf in zip(keys, leaves, strict=True)]
    return eqx.combine(jax.tree.unflatten(structure, leaves), rest)


def affine_flow(dim: int, sigma: float) -> Any:
    """Return the law ``N(0, sigma^2 I)`` as an affine map of the standard normal law."""
    from flowjax.bijections import Affine
    from flowjax.distributions import StandardNormal, Transformed

    return Transformed(StandardNormal((dim,)), Affine(jnp.zeros(dim), sigma * jnp.ones(dim)))


def _in_dimension(make: Callable[[int], Check], name: str, seconds: float) -> Check:
    """Make a check in the dimension of the subject's flow."""
    return Check(name, lambda subject, key: make(subject.dim).run(subject, key), seconds)


def affine_check(*, dim: int = 2, sigma: float = 1.5, n: int = 40_000, alpha: float = 1e-6) -> Check:
    """Make a check of acceptance rate and mean weight for ``N(0, I)`` and an affine flow, against closed forms.

    From exact draws the acceptance probabilities lie in [0, 1] and have the mean ``2 P(F < sigma^-2)``; the weights of
    draws of the flow lie between 0 and ``sigma^dim`` and have the mean 1. Each mean of ``n`` is off by more than its
    range times ``sqrt(log(4 / alpha) / (2 n))`` with probability at most ``alpha / 2`` (Hoeffding).

    Parameters
    ----------
    dim, sigma
        Dimension, and standard deviation of the flow.
    n
        Number of steps, and of weights.
    alpha
        Proven bound of the false-alarm probability.
    """

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        target = standard_normal(dim)
        kernel = type(subject)(affine_flow(dim, sigma)).bind(target.logdensity)
        stepping = on_chosen_host(kernel)

        def one(key: PRNGKeyArray) -> tuple[Array, Array]:
            start_key, step_key, draw_key = random.split(key, 3)
            state = kernel.init(target.sample(start_key, 1)[0])
            drawn = kernel.draw(draw_key, state.position)
            rate: Array = stepping.step(step_key, state)[1].acceptance_rate
            weight: Array = jnp.exp(drawn.logdensity - drawn.log_proposal - target.log_normalizer)
            return rate, weight

        rates, weights = jax.jit(jax.vmap(one))(random.split(key, n))
        unit = math.sqrt(math.log(4 / alpha) / (2 * n))
        errors = {
            "acceptance rate": abs(float(np.mean(rates)) - gaussian_acceptance(dim, sigma)) / unit,
            "mean weight": abs(float(np.mean(weights)) - 1) / (unit * gaussian_weight_bound(dim, sigma)),
        }
        worst = max(errors, key=lambda name: errors[name])
        return Outcome(
            errors[worst],
            1.0,
            errors[worst] <= 1,
            alpha,
            f"the {worst} is off by {errors[worst]:.3g} times what Hoeffding's bound allows",
        )

    return Check("closed forms: normal law and affine flow", run, 2.0)


def _ridge(x: Array) -> Array:
    return -0.5 * jnp.sum(x**2) - 0.5 * jnp.sum((x[1:] - x[:-1] ** 2) ** 2)


def jacobian_check(*, points: int = 64) -> Check:
    """Make a check that the cached density of the flow is that of the point, by the Jacobian of its map.

    For each draw, the log density that the kernel holds against it is compared with the base law's minus the log
    determinant of the map's Jacobian, from automatic differentiation.

    Parameters
    ----------
    points
        Number of draws.
    """

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        flow = subject.flow.get()
        kernel = subject.bind(Partial(_ridge))

        def one(key: PRNGKeyArray) -> Array:
            drawn = kernel.draw(key, jnp.zeros(subject.dim))
            point = drawn.position.reshape(flow.shape)
            if not hasattr(flow, "bijection"):  # a law without a map: its own density is all there is
                return jnp.abs(flow.log_prob(point) - drawn.log_proposal)
            base = flow.bijection.inverse(point)
            jacobian = jax.jacfwd(lambda z: flow.bijection.transform(z).reshape(-1))(base).reshape(subject.dim, -1)
            exact = flow.base_dist.log_prob(base) - jnp.linalg.slogdet(jacobian)[1]
            return jnp.abs(exact - drawn.log_proposal)

        with jax.enable_x64(True):
            error = float(jnp.max(jax.vmap(one)(random.split(key, points))))
        return Outcome(
            error, 1e-8, error <= 1e-8, 0.0, "the flow's log density is not the base law's minus the log det"
        )

    return Check("log determinant: against the Jacobian by automatic differentiation", run, 1.0)


CASES: tuple[Case, ...] = (
    Case(
        "flow-independence",
        FlowIndependence,
        lambda: FlowIndependence(perturbed_flow()),
        (
            _in_dimension(
                lambda dim: stationary_start_check("normal law", standard_normal(dim)),
                "stationary start: normal law",
                3.0,
            ),
            _in_dimension(lambda dim: rank_check("normal model", normal_model(dim)), "rank: normal model", 3.0),
            affine_check(),
            jacobian_check(),
        ),
    ),
)
