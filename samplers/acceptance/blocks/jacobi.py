"""Jacobi iterations: all positions are drawn in each pass, and what is settled grows from the left.

Speculative Jacobi decoding verifies the drafts of the pass before; Jacobi iterations with fixed clocks wait until nothing
changes. Neither needs a draft model.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.acceptance.blocks.block_rule import as_laws
from ergodica.samplers.acceptance.rule import AcceptanceRule
from ergodica.samplers.acceptance.single_draft import acceptance_probability
from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.inputs import static_count

SequenceModel = Callable[[Int[Array, " n"]], Float[Array, "n V"]]
"""From the tokens of all positions to the weights of each position given the tokens before it, in one pass."""


class JacobiDraw(NamedTuple):
    """A sequence, and what it took.

    Parameters
    ----------
    tokens
        Shape ``(n,)``; -1 throughout if the model gave something that is no law.
    passes
        How often the model was evaluated.
    """

    tokens: Int[Array, " n"]
    passes: Int[Array, ""]


class SpeculativeJacobi(AcceptanceRule):
    """Verify the drafts of the pass before, and draw those after the first rejection anew from this pass.

    One pass gives the law of each position given the drafts before it. Drafts are tested from left to right with the
    laws that they were *recorded* to be drawn from; the token of the first rejection comes from the residual. Later drafts
    are drawn again, from the laws of this pass, which become their recorded laws. Given the past they are independent of
    the randomness of later tests, which is all that exactness needs. A pass settles one token at least.

    Parameters
    ----------
    window
        Number of drafts in a pass.

    References
    ----------
    Teng et al., ICLR 2025, arXiv 2410.01699.
    """

    window: int = eqx.field(static=True)

    def __init__(self, window: int) -> None:
        self.window = static_count("window", window)

    @property
    def kind(self) -> Literal["equality", "invariance"]:
        """``"equality"``."""
        return "equality"

    @property
    def claim(self) -> Claim:
        """Exact: the sequence has the model's law."""
        return Claim(
            Exactness.EXACT,
            "draws sequences with the model's law, in at most as many passes as there are tokens",
            "Teng et al. (2025), arXiv 2410.01699",
            spaces=frozenset({Space.FINITE, Space.SEQUENCE}),
            independent=True,
        )

    @property
    def cost(self) -> str:
        """Of a pass, besides the model's."""
        return "O(window V)"

    def sample(self, key: PRNGKeyArray, model: SequenceModel, length: int) -> JacobiDraw:
        """Draw a sequence, through choice points.

        Parameters
        ----------
        key
            Typed key.
        model
            From the tokens of all positions to weights, shape ``(n, V)``; row ``i`` must depend on positions before ``i``
            only.
        length
            Number of positions ``n``.
        """
        length = static_count("length", length)
        place = jnp.arange(length, dtype=jnp.int32)
        size = jax.eval_shape(model, jax.ShapeDtypeStruct((length,), jnp.int32)).shape[1]

        def advance(state: tuple[Any, ...]) -> tuple[Any, ...]:
            key, tokens, recorded, count, passes, is_valid = state
            key, pass_key, own_key, draft_key = random.split(key, 4)
            laws, are_valid = as_laws(model(tokens))
            is_valid = is_valid & jnp.all(are_valid)
            laws = jnp.where(is_valid, laws, 1 / size)

            def at(rows: Array) -> Array:
                return jnp.take_along_axis(rows, tokens[:, None], axis=1)[:, 0]

            # Where nothing was drafted the recorded law is zero: a sure rejection, with the model's law as residual.
            chance = jnp.where(place < count, 1, acceptance_probability(at(laws), at(recorded)))
            # Behind a position that was not drafted nothing has to be decided.
            chance = jnp.where(place > jnp.minimum(count + self.window, length), 1, chance)
            kept = random.bernoulli(pass_key, chance)
            rejected = jnp.min(jnp.where(kept, length, place))
            row = jnp.minimum(rejected, length - 1)
            excess = jnp.maximum(laws[row] - recorded[row], 0)
            excess = jnp.where(excess.sum() > 0, excess, laws[row])
            sure = jnp.arange(size) == 0
            own = random.categorical(own_key, jnp.log(jnp.where(rejected < length, excess, sure)))
            is_drafted = (place > rejected) & (place <= rejected + self.window)
            drawn = random.categorical(draft_key, jnp.log(jnp.where(is_drafted[:, None], laws, sure)))
            tokens = jnp.where(place == rejected, own, jnp.where(is_drafted, drawn, tokens)).astype(jnp.int32)
            recorded = jnp.where(is_drafted[:, None], laws, 0)
            return key, tokens, recorded, rejected + 1, passes + 1, is_valid

        wide = jax.eval_shape(lambda rows: as_laws(rows)[0], jax.eval_shape(model, jnp.zeros(length, jnp.int32))).dtype
        start = (
            key,
            jnp.zeros(length, jnp.int32),
            jnp.zeros((length, size), wide),
            jnp.asarray(0, place.dtype),
            jnp.int32(0),
            jnp.bool_(True),
        )
        _, tokens, _, _, passes, is_valid = jax.lax.while_loop(lambda state: state[3] < length, advance, start)
        return JacobiDraw(jnp.where(is_valid, tokens, -1), passes)


def coupled_jacobi(clocks: Float[Array, "n V"], model: SequenceModel) -> JacobiDraw:
    """Iterate all positions with fixed clocks until nothing changes.

    Position ``i`` takes the token with the least ``clocks[i] / P(token)``, which is a draw from ``P`` if the clocks are
    independent exponential variables. The fixed point is the sequence that the same clocks give position after position;
    the first ``j`` positions are settled after ``j`` passes, so that ``n + 1`` suffice.

    Parameters
    ----------
    clocks
        Positive numbers, shape ``(n, V)``; ``jax.random.exponential`` makes them.
    model
        From the tokens of all positions to weights, shape ``(n, V)``.

    Returns
    -------
    JacobiDraw
        Passes include the one that finds nothing to change.

    References
    ----------
    Wiggers, Hoogeboom, ICML 2020, arXiv 2002.09928.
    """
    clocks = jnp.asarray(clocks)

    def one_pass(tokens: Array) -> tuple[Array, Array]:
        laws, is_law = as_laws(model(tokens))
        times = jnp.where(laws > 0, clocks / jnp.where(laws > 0, laws, 1), jnp.inf)
        return jnp.argmin(times, axis=1).astype(jnp.int32), jnp.all(is_law)

    def advance(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        tokens, _, passes, _ = state
        new, is_valid = one_pass(tokens)
        return new, jnp.any(new != tokens) & is_valid, passes + 1, is_valid

    start = (jnp.zeros(clocks.shape[0], jnp.int32), jnp.bool_(True), jnp.int32(0), jnp.bool_(True))
    tokens, _, passes, is_valid = jax.lax.while_loop(lambda state: state[1], advance, start)
    return JacobiDraw(jnp.where(is_valid, tokens, -1), passes)
