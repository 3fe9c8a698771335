"""Models with a simulator: a prior, data given the parameter, and the joint density, for joint tests of samplers."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.inputs import static_count
from ergodica.validation.targets.target import with_data

Statistic = Callable[[Any, Any], Array]
"""A traceable function ``(theta, y) -> scalar``."""


@dataclasses.dataclass(frozen=True)
class Model:
    """A Bayesian model that can be simulated.

    Parameters
    ----------
    name
        For the report.
    sample_prior
        ``sample_prior(key) -> theta``, a position of the kernel under test.
    sample_data
        ``sample_data(key, theta) -> y``.
    logjoint
        ``logjoint(theta, y) -> scalar``, the log of prior times likelihood up to a constant.
    statistics
        Named functions ``(theta, y) -> scalar``. Functions of theta alone are blind to a kernel that returns the prior;
        products with data and the log joint density are not.
    """

    name: str
    sample_prior: Callable[[PRNGKeyArray], Any]
    sample_data: Callable[[PRNGKeyArray, Any], Any]
    logjoint: Callable[[Any, Any], Array]
    statistics: Mapping[str, Statistic]

    def logposterior(self, y: Any) -> Partial:
        """Return the log density of theta given ``y``, with the data as leaves."""
        return with_data(_posterior, with_data(self.logjoint), y)


def _posterior(logjoint: Partial, y: Any, theta: Any) -> Array:
    return logjoint(theta, y)  # type: ignore[no-any-return]


def bind_data(kernel: Any, model: Model, y: Any) -> Any:
    """Give a kernel the posterior of a model: how joint tests bind their subject unless told otherwise."""
    return kernel.bind(model.logposterior(y))


def _statistics(logjoint: Statistic, loglikelihood: Statistic) -> dict[str, Statistic]:
    return {
        "theta": lambda theta, _: theta[0],
        "theta^2": lambda theta, _: jnp.sum(theta**2),
        "theta * mean y": lambda theta, y: jnp.sum(theta * jnp.mean(y, axis=0)),
        "log-likelihood": loglikelihood,
        "log-joint": logjoint,
    }


def normal_model(dim: int = 1, observations: int = 3) -> Model:
    """Return the conjugate model ``theta ~ N(0, I)``, ``y_j | theta ~ N(theta, I)``.

    Parameters
    ----------
    dim
        Dimension of theta, shape ``(dim,)``.
    observations
        Number of observations; ``y`` has shape ``(observations, dim)``.
    """
    dim, observations = static_count("dim", dim), static_count("observations", observations)

    def loglikelihood(theta: Array, y: Array) -> Array:
        return -0.5 * jnp.sum((y - theta) ** 2)

    def logjoint(theta: Array, y: Array) -> Array:
        return loglikelihood(theta, y) - 0.5 * jnp.sum(theta**2)

    return Model(
        name=f"normal model in dimension {dim}",
        sample_prior=lambda key: random.normal(key, (dim,)),
        sample_data=lambda key, theta: theta + random.normal(key, (observations, dim)),
        logjoint=logjoint,
        statistics=_statistics(logjoint, loglikelihood),
    )


def square_model(dim: int = 1) -> Model:
    """Return ``theta ~ N(0, I)``, ``y | theta ~ N(theta^2, I)`` by coordinate: a posterior with ``2^dim`` modes.

    Parameters
    ----------
    dim
        Dimension of theta, shape ``(dim,)``; ``y`` has shape ``(1, dim)``.
    """
    dim = static_count("dim", dim)

    def loglikelihood(theta: Array, y: Array) -> Array:
        return -0.5 * jnp.sum((y - theta**2) ** 2)

    def logjoint(theta: Array, y: Array) -> Array:
        return loglikelihood(theta, y) - 0.5 * jnp.sum(theta**2)

    return Model(
        name=f"square model in dimension {dim}",
        sample_prior=lambda key: random.normal(key, (dim,)),
        sample_data=lambda key, theta: theta**2 + random.normal(key, (1, dim)),
        logjoint=logjoint,
        statistics=_statistics(logjoint, loglikelihood),
    )


def heavy_tail_model(dim: int = 1, degrees: float = 3.0) -> Model:
    """Return ``theta ~ Student(degrees)`` (spherical), ``y | theta ~ N(theta, 4 I)``: rare far-out posteriors.

    Parameters
    ----------
    dim
        Dimension of theta, shape ``(dim,)``; ``y`` has shape ``(1, dim)``.
    degrees
        Degrees of freedom of the prior, positive.
    """
    dim = static_count("dim", dim)
    if not degrees > 0:
        raise ValueError(f"degrees has to be positive; got {degrees}")

    def sample_prior(key: PRNGKeyArray) -> Array:
        normal_key, gamma_key = random.split(key)
        scale = random.gamma(gamma_key, degrees / 2) / (degrees / 2)
        return random.normal(normal_key, (dim,)) / jnp.sqrt(scale)

    def loglikelihood(theta: Array, y: Array) -> Array:
        return -0.5 * jnp.sum((y - theta) ** 2) / 4.0

    def logjoint(theta: Array, y: Array) -> Array:
        return loglikelihood(theta, y) - 0.5 * (degrees + dim) * jnp.log1p(jnp.sum(theta**2) / degrees)

    return Model(
        name=f"heavy-tail model in dimension {dim}",
        sample_prior=sample_prior,
        sample_data=lambda key, theta: theta + 2.0 * random.normal(key, (1, dim)),
        logjoint=logjoint,
        statistics=_statistics(logjoint, loglikelihood),
    )


def posterior_of_normal_model(y: np.ndarray) -> tuple[np.ndarray, float]:
    """Return mean and variance by coordinate of the posterior of :func:`normal_model`."""
    observations = y.shape[0]
    return y.sum(axis=0) / (observations + 1), 1.0 / (observations + 1)
