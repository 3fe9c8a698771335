"""What a target with known truth offers to the checks."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ergodica.samplers import random


@dataclasses.dataclass(frozen=True)
class Marginal:
    """A real function of the position, with its exact law under the target.

    Parameters
    ----------
    name
        For the report.
    function
        Traceable function ``position -> scalar``.
    cdf
        Continuous distribution function of its law, vectorised over NumPy arrays; ``None`` if it is known only through
        exact draws.
    """

    name: str
    function: Callable[[Any], Array]
    cdf: Callable[[Float[np.ndarray, " n"]], Float[np.ndarray, " n"]] | None = None


@dataclasses.dataclass(frozen=True)
class Target:
    """A law on R^d with known truth.

    Parameters
    ----------
    name
        For the report.
    dim
        Dimension ``d``.
    logdensity
        ``position (d,) -> scalar``, up to ``log_normalizer``.
    sample
        ``sample(key, n)`` returns ``n`` exact and independent draws, shape ``(n, d)``; traceable with static ``n``.
    marginals
        What the checks look at; together they should pin the law down.
    mean, variance
        Exact moments of the coordinates, shape ``(d,)``.
    log_normalizer
        Log of the integral of ``exp(logdensity)``.
    """

    name: str
    dim: int
    logdensity: Partial
    sample: Callable[[PRNGKeyArray, int], Float[Array, "n d"]]
    marginals: tuple[Marginal, ...]
    mean: Float[np.ndarray, " d"]
    variance: Float[np.ndarray, " d"]
    log_normalizer: float = 0.0


@dataclasses.dataclass(frozen=True)
class FiniteTarget:
    """A law on finitely many states.

    Parameters
    ----------
    name
        For the report.
    states
        The states along axis 0, integers; axis 0 removed gives a position.
    probabilities
        Their probabilities, summing to one.
    logdensity
        ``position -> scalar``, the log of the probability up to a constant.
    """

    name: str
    states: Int[np.ndarray, "S ..."]
    probabilities: Float[np.ndarray, " S"]
    logdensity: Partial

    @property
    def dim(self) -> int:
        """Number of coordinates of a position."""
        return int(np.prod(self.states.shape[1:], dtype=int))

    def sample(self, key: PRNGKeyArray, n: int) -> Int[Array, "n ..."]:
        """Draw ``n`` exact and independent states."""
        index = random.categorical(key, jnp.log(jnp.asarray(self.probabilities)), shape=(n,))
        return jnp.asarray(self.states)[index]

    def index(self, positions: Array) -> Int[Array, " n"]:
        """Return the index of each position along axis 0, or -1 for one that is no state."""
        flat = jnp.asarray(positions).reshape(positions.shape[0], -1)
        same = jnp.all(flat[:, None] == jnp.asarray(self.states).reshape(len(self.states), -1)[None], axis=-1)
        return jnp.where(jnp.any(same, axis=1), jnp.argmax(same, axis=1), -1)


def with_data(function: Callable[..., Array], *data: Any) -> Partial:
    """Return ``position -> function(*data, position)`` as a pytree whose leaves are the data."""
    return Partial(function, *data)


AnyTarget = Target | FiniteTarget


def bind_to(kernel: Any, target: Any) -> Any:
    """Give a kernel the log density of a target: how checks bind their subject unless told otherwise."""
    return kernel.bind(target.logdensity)


def start_state(kernel: Any, key: PRNGKeyArray, position: Any) -> Any:
    """Start a chain at an exact draw: what a check does unless told otherwise.

    A state that holds more than the position (a momentum, a level) has to draw it here from its exact conditional law.
    """
    return kernel.init(position, key=key)


def several_steps(kernel: Any, key: PRNGKeyArray, state: Any, steps: int) -> Any:
    """Return the state after a static number of steps, at least one."""
    if steps == 1:
        return kernel.step(random.fold_in(key, 0), state)[0]

    def body(carry: Any, index: Array) -> tuple[Any, None]:
        return kernel.step(random.fold_in(key, index), carry)[0], None

    return jax.lax.scan(body, state, jnp.arange(steps))[0]
