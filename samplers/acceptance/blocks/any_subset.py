"""Speculative decoding for models that give the law of any position given any others, with no draft model."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.acceptance.blocks.block_rule import Prefix, as_laws
from ergodica.samplers.acceptance.rule import AcceptanceRule
from ergodica.samplers.acceptance.single_draft import acceptance_probability
from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.inputs import static_count


class AnySubsetDraw(NamedTuple):
    """A sequence, and what it took.

    Parameters
    ----------
    tokens
        Shape ``(n,)``; -1 throughout if the model gave something that is no law.
    evaluations
        How often the model was evaluated: never more than ``n`` times.
    """

    tokens: Int[Array, " n"]
    evaluations: Int[Array, ""]


class AnySubset(AcceptanceRule):
    """Draft several positions from what is committed, independently; then verify them in their order.

    One evaluation gives the laws of the next ``k`` positions given what is committed, from which they are drafted; another
    gives the law of each given the drafts before it. They are tested from left to right by speculative sampling, up to the
    first rejection. The first draft is always kept, since both laws are the same; a round therefore commits two tokens
    at least, or the last one, and never takes more evaluations than drawing position after position.

    Drawing all positions from one evaluation gives the product of their laws instead of the joint one.

    Parameters
    ----------
    k
        Largest number of drafts of a round, at least 2.

    References
    ----------
    Guo, Ermon, ICLR 2026, arXiv 2504.20456.
    """

    k: int = eqx.field(static=True)

    def __init__(self, k: int) -> None:
        self.k = static_count("k", k, at_least=2)

    @property
    def kind(self) -> Literal["equality", "invariance"]:
        """``"equality"``."""
        return "equality"

    @property
    def claim(self) -> Claim:
        """Exact: the sequence has the model's law."""
        return Claim(
            Exactness.EXACT,
            "draws sequences with the model's law, in at most as many evaluations as there are tokens",
            "Guo, Ermon (2026), arXiv 2504.20456",
            spaces=frozenset({Space.FINITE, Space.SEQUENCE}),
            independent=True,
        )

    @property
    def cost(self) -> str:
        """Of a round, besides the two evaluations."""
        return "O(kV)"

    def sample(
        self,
        key: PRNGKeyArray,
        model: Callable[[Int[Array, " n"], Int[Array, " n"]], Float[Array, "n V"]],
        length: int,
    ) -> AnySubsetDraw:
        """Draw a sequence, through choice points.

        Parameters
        ----------
        key
            Typed key.
        model
            ``model(tokens, given)``: row ``i`` holds the weights of position ``i``, in the order of generation, given the
            tokens at positions before ``given[i] <= i``; what ``tokens`` holds elsewhere must not matter.
        length
            Number of positions ``n``.
        """
        length = static_count("length", length)
        place = jnp.arange(length, dtype=jnp.int32)

        def laws(tokens: Array, given: Array) -> tuple[Array, Array]:
            return as_laws(model(tokens, given))

        def advance(state: tuple[Any, ...]) -> tuple[Any, ...]:
            key, tokens, count, evaluations, is_valid = state
            key, draft_key, pass_key, own_key = random.split(key, 4)
            stop = jnp.minimum(count + self.k, length)
            in_round = (place >= count) & (place < stop)
            draft, draft_valid = laws(tokens, jnp.minimum(count, place))
            fit = in_round & draft_valid
            # Outside the round one outcome alone is possible, so that nothing is chosen there.
            sure = jnp.arange(draft.shape[1]) == 0
            drawn = random.categorical(draft_key, jnp.log(jnp.where(fit[:, None], draft, sure)))
            proposed = jnp.where(in_round, drawn, tokens).astype(tokens.dtype)
            is_last = stop - count == 1
            wanted, wanted_valid = jax.lax.cond(is_last, lambda: (draft, draft_valid), lambda: laws(proposed, place))

            def at(rows: Array) -> Array:
                return jnp.take_along_axis(rows, drawn[:, None], axis=1)[:, 0]

            chance = acceptance_probability(at(wanted), at(draft))
            kept = random.bernoulli(pass_key, jnp.where(in_round & (place > count), chance, 1))
            rejected = jnp.min(jnp.where(kept, length, place))
            row = jnp.minimum(rejected, length - 1)
            excess = jnp.maximum(wanted[row] - draft[row], 0)
            excess = jnp.where(excess.sum() > 0, excess, wanted[row])
            is_valid = is_valid & jnp.all(draft_valid | ~in_round) & jnp.all(wanted_valid | ~in_round)
            own = random.categorical(own_key, jnp.log(jnp.where((rejected < stop) & is_valid, excess, sure)))
            tokens = jnp.where(place == rejected, own, jnp.where(place < rejected, proposed, tokens))
            count = jnp.where(rejected < stop, rejected + 1, stop)
            return key, tokens.astype(jnp.int32), count, evaluations + jnp.where(is_last, 1, 2), is_valid

        start = (key, jnp.zeros(length, jnp.int32), jnp.int32(0), jnp.int32(0), jnp.bool_(True))
        _, tokens, _, evaluations, is_valid = jax.lax.while_loop(lambda state: state[2] < length, advance, start)
        return AnySubsetDraw(jnp.where(is_valid, tokens, -1), evaluations)

    def output_law(self, joint: Mapping[Prefix, Any]) -> tuple[dict[Prefix, Any], dict[int, Any]]:
        """Return the exact laws of the sequence and of the number of evaluations.

        Parameters
        ----------
        joint
            Probabilities of all sequences, floats or fractions; sequences that are left out are impossible.
        """
        length = len(next(iter(joint)))
        size = 1 + max(max(string) for string in joint)

        def conditional(prefix: Prefix, position: int) -> list[Any]:
            weights: list[Any] = [0] * size
            for string, mass in joint.items():
                if string[: len(prefix)] == prefix:
                    weights[string[position]] += mass
            total = sum(weights)
            return [weight / total for weight in weights]

        states: dict[tuple[Prefix, int], Any] = {((), 0): 1}
        law: dict[Prefix, Any] = {}
        evaluations: dict[int, Any] = {}
        while states:
            (prefix, used), mass = states.popitem()
            if len(prefix) == length:
                law[prefix] = law.get(prefix, 0) + mass
                evaluations[used] = evaluations.get(used, 0) + mass
                continue
            for string, chance in self._round_law(prefix, length, conditional).items():
                state = (string, used + (1 if len(prefix) == length - 1 else 2))
                states[state] = states.get(state, 0) + mass * chance
        return law, evaluations

    def _round_law(
        self, prefix: Prefix, length: int, conditional: Callable[[Prefix, int], list[Any]]
    ) -> dict[Prefix, Any]:
        """Return the law of what is committed after a round."""
        stop = min(len(prefix) + self.k, length)
        law: dict[Prefix, Any] = {}
        alive: dict[Prefix, Any] = {prefix: 1}
        for position in range(len(prefix), stop):
            following: dict[Prefix, Any] = {}
            draft = conditional(prefix, position)
            for string, mass in alive.items():
                wanted = conditional(string, position)
                # The drafts kept so far are independent of this one; what is emitted is the target's law in two parts.
                rejected = sum(max(drawn - want, 0) for want, drawn in zip(wanted, draft, strict=True))
                excess = [max(want - drawn, 0) for want, drawn in zip(wanted, draft, strict=True)]
                for token, (want, drawn) in enumerate(zip(wanted, draft, strict=True)):
                    if min(want, drawn) > 0:
                        following[(*string, token)] = mass * min(want, drawn)
                    if excess[token] > 0:
                        law[(*string, token)] = mass * rejected * excess[token] / sum(excess)
            alive = following
        for string, mass in alive.items():
            law[string] = law.get(string, 0) + mass
        return law
