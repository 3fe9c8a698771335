"""Masked diffusion by first hitting times: one token is unmasked at a time, exactly when it would be."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers import inputs, random
from ergodica.samplers.kernel import Claim, Exactness, Kernel, Space

__all__ = ["FirstHitting", "FirstHittingInfo", "FirstHittingState", "expected_evaluations", "hitting_levels"]

Conditionals = Callable[[Int[Array, " length"]], Float[Array, "length V"]]
"""Weights of the token at each place, given a string in which -1 stands for a mask."""


class FirstHittingState(NamedTuple):
    """State of :class:`FirstHitting`.

    Parameters
    ----------
    position
        The string last drawn, shape ``(length,)``.
    """

    position: Int[Array, " length"]


class FirstHittingInfo(NamedTuple):
    """What a draw reports.

    Parameters
    ----------
    num_evals
        Calls of the model.
    """

    num_evals: Int[Array, ""]


class FirstHitting(Kernel[FirstHittingState, FirstHittingInfo]):
    """Draws strings from a masked diffusion model without discretising its time.

    A place that is masked is chosen uniformly and drawn from the model's conditional law, until none is left. The jumps
    of the continuous-time sampler are in the same order and have the same laws, and a model that is not told the time
    cannot know when they happen; :func:`hitting_levels` draws the times where they are wanted.

    Parameters
    ----------
    conditionals
        ``conditionals(tokens)`` returns the weights of the token at each place, shape ``(length, V)``, given a string with
        -1 for masks. Rows of places that are not masked are ignored.
    length
        Number of tokens.
    given
        Tokens that are known, -1 elsewhere; default: none.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of its range.

    Notes
    -----
    Claim: exact for the law of the continuous-time sampler, the average over all orders of the places of the products of
    conditionals. If the conditionals are those of one joint law, that is the joint law. Unmasking several places from one
    call of the model, as samplers with a grid of times do, draws them independently of each other, which is biased.

    References
    ----------
    K. Zheng et al., 2025, Masked diffusion models are secretly time-agnostic masked models and exploit inaccurate
    categorical sampling, arXiv 2409.02908; J. Ou et al., 2024, arXiv 2406.03736.
    """

    conditionals: Partial
    given: Int[Array, " length"]
    length: int = eqx.field(static=True)

    def __init__(self, conditionals: Conditionals, length: int, given: inputs.Numbers | None = None) -> None:
        if not callable(conditionals):
            raise TypeError(f"conditionals has to be a function of a string with masks; got {conditionals!r}")
        self.conditionals = conditionals if isinstance(conditionals, Partial) else Partial(conditionals)
        self.length = inputs.static_count("length", length)
        known = jnp.full(self.length, -1) if given is None else inputs.integer_array("given", given)
        if known.shape != (self.length,):
            raise ValueError(f"given has to have shape ({self.length},), -1 for masks; got shape {known.shape}")
        self.given = known.astype(jnp.int32)

    @property
    def claim(self) -> Claim:
        """Exact for the continuous-time law."""
        return Claim(
            Exactness.EXACT,
            "draws from the law of the continuous-time sampler: products of conditionals, averaged over orders",
            source="Zheng et al. 2025, arXiv 2409.02908",
            reversible=True,
            spaces=frozenset({Space.SEQUENCE}),
            independent=True,
        )

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> FirstHittingState:
        """Return a state that holds ``position``, which the next step forgets."""
        del key
        tokens = inputs.integer_array("position", position)
        if tokens.shape != (self.length,):
            raise ValueError(f"FirstHitting draws strings of shape ({self.length},); got shape {tokens.shape}")
        return FirstHittingState(tokens)

    def step(self, key: PRNGKeyArray, state: FirstHittingState) -> tuple[FirstHittingState, FirstHittingInfo]:
        """Draw a string."""
        count = jnp.sum(self.given < 0)

        def unmask(turn: Int[Array, ""], tokens: Int[Array, " length"]) -> Int[Array, " length"]:
            return self.unmask(random.fold_in(key, turn), tokens)

        tokens = lax.fori_loop(0, count, unmask, self.given)
        return FirstHittingState(tokens.astype(state.position.dtype)), FirstHittingInfo(count.astype(jnp.int32))

    def unmask(self, key: PRNGKeyArray, tokens: Int[Array, " length"]) -> Int[Array, " length"]:
        """Draw one masked place uniformly, and its token from the model."""
        key_place, key_token = random.split(key)
        place = random.categorical(key_place, jnp.where(tokens < 0, 0.0, -jnp.inf))
        weights = self.conditionals(tokens)[place]
        return tokens.at[place].set(random.categorical(key_token, jnp.log(weights)).astype(tokens.dtype))

    def draw(self, key: PRNGKeyArray) -> Int[Array, " length"]:
        """Draw a string."""
        return self.step(key, FirstHittingState(self.given))[0].position


def hitting_levels(key: PRNGKeyArray, n: int) -> Float[Array, " n"]:
    """Draw when the masks of ``n`` places fall, as levels of ``1 - alpha``, the probability of a mask.

    Parameters
    ----------
    key
        Typed key.
    n
        Number of masked places.

    Returns
    -------
    array of shape (n,)
        Falling from 1: the largest of ``n`` uniforms, the second largest, and so on. With the linear schedule they are the
        times; another schedule is inverted at them.
    """
    n = inputs.static_count("n", n)
    uniforms = random.uniform(key, (n,))
    return jnp.exp(jnp.cumsum(jnp.log(uniforms) / jnp.arange(n, 0, -1)))


def expected_evaluations(steps: int, n: int) -> float:
    """Return how many of ``steps`` equal steps unmask anything, on average: ``N (1 - (1 - 1/N)^n)``.

    That is what a sampler on a grid calls the model if it keeps the last answer; first hitting calls it ``n`` times.
    """
    steps = inputs.static_count("steps", steps)
    return float(-steps * np.expm1(n * np.log1p(-1 / steps))) if steps > 1 else float(n > 0)
