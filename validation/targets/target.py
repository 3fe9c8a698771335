"""What a target with known truth offers to the checks."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, PRNGKeyArray
from numpy.typing import ArrayLike
from scipy.optimize import elementwise

from ergodica.samplers import random
from ergodica.validation.host import on_chosen_host


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

    def quantile(self, probability: ArrayLike) -> Float[np.ndarray, "..."]:
        """Return the quantiles at given probabilities, by inverting the distribution function.

        Parameters
        ----------
        probability
            Probabilities strictly between 0 and 1, any shape.

        Returns
        -------
        float64 array of the same shape

        Raises
        ------
        ValueError
            If a probability is not inside (0, 1), or the law is known only through draws.
        """
        p = np.asarray(probability, dtype=np.float64)
        if not np.all((p > 0) & (p < 1)):
            raise ValueError(f"probabilities of quantiles have to lie strictly between 0 and 1; got {p}")
        cdf = self.cdf
        if cdf is None:
            raise ValueError(f"the law of {self.name!r} has no known distribution function; estimate from exact draws")

        def excess(value: Any, level: Any) -> Any:
            return cdf(np.asarray(value, dtype=np.float64).reshape(-1)).reshape(np.shape(value)) - level

        bracket = elementwise.bracket_root(excess, np.full(p.shape, -1.0), np.full(p.shape, 1.0), args=(p,))
        if not np.all(bracket.success):
            raise ValueError(f"no quantile of {self.name!r} was found at {p[~bracket.success].reshape(-1)[0]:g}")
        return np.asarray(elementwise.find_root(excess, bracket.bracket, args=(p,)).x)


@dataclasses.dataclass(frozen=True)
class Expectation:
    """A real function of the position, with its mean under the target.

    Parameters
    ----------
    name
        For the report.
    function
        Traceable function ``position -> scalar``.
    value
        Its mean.
    standard_error
        Of the value: zero if it is exact up to round-off, positive if it comes from somebody's long run.
    """

    name: str
    function: Callable[[Any], Array]
    value: float
    standard_error: float = 0.0


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
    covariance
        Exact covariance, shape ``(d, d)``; ``None`` if it is not stated.
    modes, mode_weights
        Centres of the modes, shape ``(K, d)``, and the probabilities of the components they stand for, shape ``(K,)``;
        ``None`` if the law is not made of separate modes.
    expectations
        Means of further functions.
    source
        Where the law comes from, and how the truth is known.
    """

    name: str
    dim: int
    logdensity: Partial
    sample: Callable[[PRNGKeyArray, int], Float[Array, "n d"]]
    marginals: tuple[Marginal, ...]
    mean: Float[np.ndarray, " d"]
    variance: Float[np.ndarray, " d"]
    log_normalizer: float = 0.0
    covariance: Float[np.ndarray, "d d"] | None = None
    modes: Float[np.ndarray, "K d"] | None = None
    mode_weights: Float[np.ndarray, " K"] | None = None
    expectations: tuple[Expectation, ...] = ()
    source: str = ""


@dataclasses.dataclass(frozen=True)
class MomentTarget:
    """A law of which only some truths are known: no exact draws, or no moments of every coordinate.

    Parameters
    ----------
    name
        For the report.
    dim
        Number of coordinates; positions have shape ``(dim,)``.
    logdensity
        ``position -> scalar``, up to ``log_normalizer``.
    expectations
        Known means.
    marginals
        Functions with known laws.
    log_normalizer
        Log of the integral, or sum, of ``exp(logdensity)``; ``None`` if it is not known.
    sample
        ``sample(key, n)`` returns exact and independent draws, shape ``(n, dim)``; ``None`` if there is no such sampler.
    source
        Where the law comes from, and how the truth is known.
    """

    name: str
    dim: int
    logdensity: Partial
    expectations: tuple[Expectation, ...]
    marginals: tuple[Marginal, ...] = ()
    log_normalizer: float | None = None
    sample: Callable[[PRNGKeyArray, int], Array] | None = None
    source: str = ""

    def expectation(self, name: str) -> Expectation:
        """Return the expectation of a given name.

        Raises
        ------
        KeyError
            With the names that there are.
        """
        for known in self.expectations:
            if known.name == name:
                return known
        raise KeyError(f"{self.name} has no expectation {name!r}; known: {[e.name for e in self.expectations]}")


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
    source
        Where the law comes from.
    """

    name: str
    states: Int[np.ndarray, "S ..."]
    probabilities: Float[np.ndarray, " S"]
    logdensity: Partial
    source: str = ""

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


def coordinate(index: int) -> Callable[[Any], Array]:
    """Return the function that takes a position to one of its coordinates."""
    return lambda x: x[index]


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
    """Return the state after a static number of steps, at least one, made on the host that checks look at."""
    kernel = on_chosen_host(kernel)
    if steps == 1:
        return kernel.step(random.fold_in(key, 0), state)[0]

    def body(carry: Any, index: Array) -> tuple[Any, None]:
        return kernel.step(random.fold_in(key, index), carry)[0], None

    return jax.lax.scan(body, state, jnp.arange(steps))[0]
