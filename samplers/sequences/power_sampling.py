"""Power sampling: strings from ``p(x)^alpha``, by resampling suffixes and accepting or rejecting them."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.metropolis import Metropolis
from ergodica.samplers.corrected import choose
from ergodica.samplers.kernel import Claim, Exactness, Kernel, Space, replace

__all__ = ["PowerInfo", "PowerSampling", "PowerState", "TracedLaw"]

TracedLaw = Callable[[Int[Array, " length"], Int[Array, ""]], Float[Array, " V"]]
"""``law(tokens, t)`` returns the weights of token ``t`` given ``tokens[:t]``; what comes later must be ignored."""


class PowerState(NamedTuple):
    """A string with the terms of its log probabilities.

    Parameters
    ----------
    position
        Tokens, shape ``(length,)``; -1 after an end and beyond the limit.
    log_target
        Term of each token in the log of the target, ``sum of alpha_c log p_c``; 0 where there is none.
    log_proposal
        Log probability of each token as a proposal.
    """

    position: Int[Array, " length"]
    log_target: Float[Array, " length"]
    log_proposal: Float[Array, " length"]


class PowerInfo(NamedTuple):
    """What a step reports.

    Parameters
    ----------
    acceptance_rate
        Probability with which the new suffix was accepted; 1 if there was nothing to resample.
    is_accepted
        Whether it was.
    place
        Where the suffix began, as a fraction of the limit: tells which part of the strings moves.
    num_evals
        Tokens for which the model was asked.
    """

    acceptance_rate: Float[Array, ""]
    is_accepted: Bool[Array, ""]
    place: Float[Array, ""]
    num_evals: Int[Array, ""]


class PowerSampling(Kernel[PowerState, PowerInfo]):
    """Metropolis-Hastings on strings: draws a place, resamples everything behind it, and accepts or rejects.

    The target is ``p(x)^alpha``, or a product of such powers. It weighs a prefix by all its futures; drawing each token
    from ``p(. | prefix)^alpha``, which is low temperature, does not.

    Parameters
    ----------
    law
        ``law(tokens, t)`` returns the weights of token ``t``, shape ``(V,)``, traceable by JAX; or a sequence of such
        functions, for a product of experts. Suffixes are drawn from the first.
    alpha
        Exponent, positive, below one for flatter laws; for several functions, one each. ``inf`` takes a suffix if it is
        likelier: a local search without a law.
    length
        Most tokens of a string.
    end
        Token that ends a string; ``None`` if all strings have ``length`` tokens.
    temperature
        Suffixes are drawn from ``p(. | prefix)^(1 / temperature)``, token by token. Default: ``1 / alpha`` of the first
        function, or 1 for ``alpha = inf``.
    index
        ``"fixed"`` draws the place among all ``limit`` places, and stays put if the string has ended before it;
        ``"current"`` draws it among those of the string, and corrects for the string's length.
    limit
        Strings are complete when they have this many tokens: the target is the power of the law of so many. Default:
        ``length``.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of its range.

    Notes
    -----
    Claim: exact and reversible for every temperature. The caller's law has to give every token that the target gives;
    truncated proposals would break that, so that none can be given. The progressive scheme of :meth:`draw` starts each
    block where the last one stopped, and is exact only as the number of moves grows.

    References
    ----------
    A. Karan, Y. Du, 2025, Reasoning with sampling: your base model is smarter than you think, arXiv 2510.14901.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from ergodica import PowerSampling
    >>> kernel = PowerSampling(lambda tokens, t: jnp.array([0.4, 0.6]), alpha=2.0, length=3)
    >>> state, info = kernel.draw(jax.random.key(0), block=1, num_moves=4)
    >>> state.position.shape
    (3,)
    """

    laws: tuple[Partial, ...]
    alpha: Float[Array, " laws"]
    temperature: Float[Array, ""]
    limit: Int[Array, ""]
    length: int = eqx.field(static=True)
    end: int | None = eqx.field(static=True)
    index: Literal["fixed", "current"] = eqx.field(static=True)
    is_greedy: bool = eqx.field(static=True)

    def __init__(
        self,
        law: TracedLaw | Sequence[TracedLaw],
        alpha: inputs.Numbers = 4.0,
        *,
        length: int,
        end: int | None = None,
        temperature: inputs.Numbers | None = None,
        index: Literal["fixed", "current"] = "fixed",
        limit: int | None = None,
    ) -> None:
        laws = tuple(law) if isinstance(law, Sequence) else (law,)
        for one in laws:
            if not callable(one):
                raise TypeError(f"law has to be a function law(tokens, t) -> weights, or several; got {one!r}")
        self.laws = tuple(one if isinstance(one, Partial) else Partial(one) for one in laws)
        self.is_greedy = bool(np.all(np.isposinf(np.asarray(alpha)))) if inputs.is_concrete(alpha) else False
        exponents = inputs.real_parameter("alpha", 1.0 if self.is_greedy else alpha, above=0.0, ndim=None)
        if exponents.ndim > 1 or exponents.size not in (1, len(laws)):
            raise ValueError(f"alpha needs one exponent for each of {len(laws)} laws; got shape {exponents.shape}")
        self.alpha = jnp.broadcast_to(exponents, (len(laws),))
        default = 1.0 if self.is_greedy else 1 / self.alpha[0]
        self.temperature = inputs.real_parameter(
            "temperature", default if temperature is None else temperature, above=0
        )
        self.length = inputs.static_count("length", length)
        self.end = None if end is None else inputs.static_count("end", end, at_least=0)
        if index not in ("fixed", "current"):
            raise ValueError(f"index has to be 'fixed' or 'current'; got {index!r}")
        self.index = index
        places = self.length if limit is None else inputs.static_count("limit", limit)
        if places > self.length:
            raise ValueError(f"limit has to be at most length={self.length}; got {places}")
        self.limit = jnp.asarray(places, jnp.int32)

    @property
    def claim(self) -> Claim:
        """Exact and reversible; a heuristic for ``alpha = inf``."""
        source = "Karan and Du 2025, arXiv 2510.14901"
        spaces = frozenset({Space.SEQUENCE})
        if self.is_greedy:
            return Claim(Exactness.HEURISTIC, "a local search for likely strings", source=source, spaces=spaces)
        return Claim(
            Exactness.EXACT,
            "leaves the law proportional to the power of the model's probabilities of strings invariant",
            source=source,
            reversible=True,
            spaces=spaces,
        )

    # --- scoring -----------------------------------------------------------------------------------------------------

    def scores(self, tokens: Int[Array, " length"], t: Int[Array, ""]) -> tuple[Float[Array, " V"], Float[Array, " V"]]:
        """Return the terms of all tokens at place ``t`` in the log of the target, and their log proposals."""
        log_laws = []
        for law in self.laws:
            weights = jnp.asarray(law(tokens, t))
            weights = weights if jnp.issubdtype(weights.dtype, jnp.floating) else weights.astype(float)
            log_laws.append(jnp.log(weights) - jnp.log(jnp.sum(weights)))
        terms = [jnp.where(jnp.isneginf(log), -jnp.inf, a * log) for a, log in zip(self.alpha, log_laws, strict=True)]
        return sum(terms[1:], start=terms[0]), jax.nn.log_softmax(log_laws[0] / self.temperature)

    def num_tokens(self, tokens: Int[Array, " length"]) -> Int[Array, ""]:
        """Return the length of a string, its end included."""
        return jnp.sum(tokens >= 0)

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> PowerState:
        """Return the state of a chain that starts at a complete string.

        Parameters
        ----------
        position
            Integers, shape ``(length,)``; -1 after the end and beyond the limit.
        key
            Not used.

        Raises
        ------
        ValueError, TypeError
            If the string is not complete, is padded with something else, or has probability zero.
        """
        del key
        tokens = inputs.integer_array("position", position)
        if tokens.shape != (self.length,):
            raise ValueError(f"PowerSampling needs a string of shape ({self.length},); got shape {tokens.shape}")
        if inputs.is_concrete((tokens, self.limit)):
            self._check_string(np.asarray(tokens).tolist(), int(self.limit))
        places = jnp.arange(self.length, dtype=jnp.int32)
        target, proposal = jax.vmap(lambda t: self.scores(tokens, t))(places)
        there, at = tokens >= 0, jnp.maximum(tokens, 0)[:, None]
        terms = [jnp.where(there, jnp.take_along_axis(log, at, axis=1)[:, 0], 0.0) for log in (target, proposal)]
        if inputs.is_concrete(terms):
            inputs.finite_start(np.asarray(terms[0].sum()), tokens, "PowerSampling")
        return PowerState(tokens, *terms)

    def _check_string(self, tokens: list[int], limit: int) -> None:
        ends = [place for place, token in enumerate(tokens) if token == self.end]
        count = ends[0] + 1 if ends and ends[0] < limit else limit
        if min(tokens[:count]) < 0 or any(token != -1 for token in tokens[count:]):
            raise ValueError(
                f"PowerSampling starts from a complete string: tokens up to the first end ({self.end}) or place {limit}, "
                f"then -1; got {tokens}"
            )

    def refresh(self, state: PowerState) -> PowerState:
        """Score the string again."""
        return self.init(state.position)

    # --- moving ------------------------------------------------------------------------------------------------------

    def extend(self, key: PRNGKeyArray, state: PowerState, start: Int[Array, ""]) -> PowerState:
        """Keep the tokens before ``start``, and draw what follows up to an end or the limit."""
        kept = jnp.arange(self.length) < start
        blank = PowerState(*(jnp.where(kept, leaf, fill) for leaf, fill in zip(state, (-1, 0, 0), strict=True)))
        end = -2 if self.end is None else self.end

        def goes_on(carry: tuple[Any, PowerState, Any]) -> Bool[Array, ""]:
            t, _, last = carry
            return (t < self.limit) & (last != end)

        def append(carry: tuple[Any, PowerState, Any]) -> tuple[Any, PowerState, Any]:
            t, built, _ = carry
            target, proposal = self.scores(built.position, t)
            token = random.categorical(random.fold_in(key, t), proposal).astype(built.position.dtype)
            built = PowerState(
                built.position.at[t].set(token),
                built.log_target.at[t].set(target[token].astype(built.log_target.dtype)),
                built.log_proposal.at[t].set(proposal[token].astype(built.log_proposal.dtype)),
            )
            return t + 1, built, token

        start = jnp.asarray(start, jnp.int32)
        last = jnp.where(start > 0, state.position[jnp.maximum(start - 1, 0)], -1)
        return lax.while_loop(goes_on, append, (start, blank, last))[1]

    def log_ratio(self, start: Int[Array, ""], candidate: PowerState, state: PowerState) -> Float[Array, ""]:
        """Return the log of Metropolis's ratio of two strings that agree before ``start``: complete suffixes, both."""
        behind = jnp.arange(self.length) >= start
        gain = jnp.sum(jnp.where(behind, candidate.log_target - state.log_target, 0.0))
        if self.is_greedy:
            return jnp.where(gain > 0, 0.0, -jnp.inf)
        gain += jnp.sum(jnp.where(behind, state.log_proposal - candidate.log_proposal, 0.0))
        if self.index == "current":
            gain += jnp.log(self.num_tokens(state.position) / self.num_tokens(candidate.position))
        return gain

    def step(self, key: PRNGKeyArray, state: PowerState) -> tuple[PowerState, PowerInfo]:
        """Resample a suffix, and accept or stay."""
        key_place, key_suffix, key_decide = random.split(key, 3)
        count = self.num_tokens(state.position)
        places = self.limit if self.index == "fixed" else count
        start = random.randint(key_place, (), 0, places, jnp.int32)
        moves = start < count
        candidate = self.extend(key_suffix, state, jnp.where(moves, start, count))
        accepted, probability = Metropolis().decide(key_decide, self.log_ratio(start, candidate, state))
        info = PowerInfo(
            acceptance_rate=jnp.where(moves, probability, 1.0),
            is_accepted=accepted | ~moves,
            place=start / self.limit,
            num_evals=jnp.where(moves, self.num_tokens(candidate.position) - start, 0).astype(jnp.int32),
        )
        return choose(accepted & moves, candidate, state), info

    def draw(self, key: PRNGKeyArray, *, block: int, num_moves: int) -> tuple[PowerState, PowerInfo]:
        """Build a string block by block, with moves after each: a start for a chain, or a draw that is nearly right.

        Parameters
        ----------
        key
            Typed key.
        block
            Tokens that are added at a time.
        num_moves
            Steps after each block, for the power of the law of the string so far. With 0 this is low temperature.

        Returns
        -------
        state, info
            The string, and the infos of all moves stacked, shape ``(blocks, num_moves)``. Its law tends to the target as
            ``num_moves`` grows; about ``length + num_moves length^2 / (4 block)`` tokens are drawn.
        """
        block, num_moves = inputs.static_count("block", block), inputs.static_count("num_moves", num_moves, at_least=0)
        blocks = -(-self.length // block)
        empty = jnp.full((self.length,), -1, jnp.int32)
        # A function of its own: JAX compares functions, and comparing bound methods would compare traced leaves.
        terms = jax.eval_shape(lambda tokens: self.scores(tokens, self.limit), empty)
        start = PowerState(empty, *(jnp.zeros((self.length,), term.dtype) for term in terms))

        def one_block(state: PowerState, number: Int[Array, ""]) -> tuple[PowerState, PowerInfo]:
            here = replace(self, limit=jnp.minimum((number + 1) * block, self.limit).astype(jnp.int32))
            key_block = random.fold_in(key, number)
            state = here.extend(random.fold_in(key_block, num_moves), state, self.num_tokens(state.position))

            def move(state: PowerState, index: Int[Array, ""]) -> tuple[PowerState, PowerInfo]:
                return here.step(random.fold_in(key_block, index), state)

            return lax.scan(move, state, jnp.arange(num_moves))

        return lax.scan(one_block, start, jnp.arange(blocks))
