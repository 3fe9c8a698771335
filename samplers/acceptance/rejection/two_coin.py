"""The two-coin algorithm: Barker's decision from coins whose probabilities nobody knows."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jax.tree_util import Partial
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.rejection.trials import DrawState
from ergodica.samplers.corrected import Proposal, choose
from ergodica.samplers.density import as_logdensity, density_dtype, evaluate
from ergodica.samplers.kernel import Claim, Exactness, Kernel

__all__ = ["TwoCoinBarker", "TwoCoinInfo", "TwoCoinResult", "two_coin", "two_coin_turn"]

Coin = Callable[[PRNGKeyArray], Bool[Array, ""]]
"""Tosses a coin: true with a probability that nobody needs to know."""


class TwoCoinResult(NamedTuple):
    """What the two-coin algorithm found.

    Parameters
    ----------
    outcome
        True with probability ``c1 p1 / (c1 p1 + c2 p2)``; false if ``cap_hit``.
    num_loops
        Coins tossed.
    cap_hit
        Whether no coin came up heads.
    """

    outcome: Bool[Array, ""]
    num_loops: Int[Array, ""]
    cap_hit: Bool[Array, ""]


def two_coin_turn(
    key: PRNGKeyArray, coin1: Coin, coin2: Coin, log_odds: Float[Array, ""]
) -> tuple[Bool[Array, ""], Bool[Array, ""]]:
    """Choose a coin, the first one with log odds ``log(c1 / c2)``, and toss it.

    Returns
    -------
    is_first
        Which coin it was.
    heads
        Whether it came up heads, which ends the algorithm.
    """
    key_which, key_toss = random.split(key)
    is_first = random.bernoulli(key_which, lax.logistic(log_odds))
    heads = lax.cond(is_first, coin1, coin2, key_toss)
    return is_first, heads


def two_coin(
    key: PRNGKeyArray,
    coin1: Coin,
    coin2: Coin,
    log_c1: ArrayLike = 0.0,
    log_c2: ArrayLike = 0.0,
    *,
    max_loops: int = 1_000_000,
) -> TwoCoinResult:
    """Return true with probability ``c1 p1 / (c1 p1 + c2 p2)``, from tosses of coins with unknown ``p1`` and ``p2``.

    A coin is chosen in proportion to ``c1`` and ``c2``, and tossed; heads of the first mean true, heads of the second
    false, tails that all starts again. The mean number of loops is ``(c1 + c2) / (c1 p1 + c2 p2)``.

    Parameters
    ----------
    key
        Typed key.
    coin1, coin2
        Functions of a key, traceable, whose results are independent for different keys.
    log_c1, log_c2
        Logs of the known factors.
    max_loops
        Where to stop if both coins show nothing but tails.

    Returns
    -------
    TwoCoinResult

    Raises
    ------
    ValueError
        If a factor is NaN or infinite, as far as that can be seen.

    References
    ----------
    F. B. Gonçalves, K. Łatuszyński, G. O. Roberts, Barker's algorithm for Bayesian inference with intractable likelihoods,
    2017, Brazilian Journal of Probability and Statistics 31(4), arXiv:1709.07710; M. S. Keane and G. L. O'Brien, A Bernoulli
    factory, 1994, ACM TOMACS 4(2), doi:10.1145/175007.175019.
    """
    first, second = inputs.real_parameter("log_c1", log_c1), inputs.real_parameter("log_c2", log_c2)
    return _two_coin(key, coin1, coin2, first - second, inputs.static_count("max_loops", max_loops))


def _two_coin(key: PRNGKeyArray, coin1: Coin, coin2: Coin, log_odds: Array, max_loops: int) -> TwoCoinResult:
    def body(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        _, _, loops = carry
        is_first, heads = two_coin_turn(random.fold_in(key, loops), coin1, coin2, log_odds)
        return is_first, heads, loops + 1

    start = (jnp.asarray(False), jnp.asarray(False), jnp.zeros((), jnp.int32))
    is_first, heads, loops = lax.while_loop(lambda carry: ~carry[1] & (carry[2] < max_loops), body, start)
    return TwoCoinResult(is_first & heads, loops, ~heads)


class TwoCoinInfo(NamedTuple):
    """What a step reports.

    Parameters
    ----------
    is_accepted
        Whether the candidate was accepted.
    num_loops
        Coins tossed.
    num_evals
        Evaluations of the log bound.
    num_invalid
        Candidates rejected because the bound or the proposal's ratio was NaN or ``+inf``.
    cap_hit
        Whether no coin came up heads, and the chain stayed.
    """

    is_accepted: Bool[Array, ""]
    num_loops: Int[Array, ""]
    num_evals: Int[Array, ""]
    num_invalid: Int[Array, ""]
    cap_hit: Bool[Array, ""]


class TwoCoinBarker(Kernel[DrawState, TwoCoinInfo]):
    """Barker's rule for targets known through coins: exact and reversible, though the density is never evaluated.

    The target is proportional to ``bound(x) P(coin(key, x) is heads)``. Barker's acceptance probability is that of the
    two-coin algorithm. Metropolis's, ``min(1, r)``, has no such algorithm.

    Parameters
    ----------
    proposal
        Draws candidates, and knows the ratio of its densities.
    coin
        ``coin(key, position) -> bool``, traceable: heads with probability ``pi(x) / bound(x)``. A pytree such as
        ``jax.tree_util.Partial(function, data)`` keeps its data as leaves.
    log_bound
        ``log_bound(position) -> scalar``.
    max_loops
        After so many tails the candidate is rejected. Whether that happens depends on ``x`` and the candidate in the same
        way, so that the chain stays reversible.

    Raises
    ------
    TypeError, ValueError
        If the proposal is none, a function is not callable, or the cap is out of range.

    References
    ----------
    F. B. Gonçalves, K. Łatuszyński, G. O. Roberts, 2017, arXiv:1709.07710.
    """

    proposal: Proposal
    coin: Partial
    log_bound: Partial
    max_loops: int = eqx.field(static=True)

    def __init__(
        self,
        proposal: Proposal,
        coin: Callable[[PRNGKeyArray, Any], Any],
        log_bound: Callable[[Any], Any],
        *,
        max_loops: int = 1_000_000,
    ) -> None:
        if not isinstance(proposal, Proposal):
            raise TypeError(f"TwoCoinBarker needs a Proposal; got {type(proposal).__name__}")
        self.proposal = proposal
        self.coin = as_logdensity(coin)
        self.log_bound = as_logdensity(log_bound)
        self.max_loops = inputs.static_count("max_loops", max_loops)

    @property
    def claim(self) -> Claim:
        """Exact and reversible."""
        return Claim(
            Exactness.EXACT,
            "leaves invariant the law proportional to the bound times the coin's probability of heads",
            source="Goncalves, Latuszynski and Roberts 2017, arXiv:1709.07710",
            reversible=True,
            spaces=self.proposal.spaces,
        )

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> DrawState:
        """Return the state at a position where the bound is positive."""
        del key
        self.proposal.check(position)
        inputs.start_density(self.log_bound, position, "TwoCoinBarker", density_dtype(position))
        return DrawState(position)

    def step(self, key: PRNGKeyArray, state: DrawState) -> tuple[DrawState, TwoCoinInfo]:
        """Propose, and decide by coins."""
        key_propose, key_coins = random.split(key)
        candidate, log_ratio = self.proposal.propose(key_propose, state.position)
        dtype = density_dtype(state.position)
        there, invalid = evaluate(self.log_bound, candidate, dtype)
        here, _ = evaluate(self.log_bound, state.position, dtype)
        log_odds = there + log_ratio.astype(dtype) - here
        invalid = invalid | jnp.isnan(log_odds)
        # Where the candidate is impossible its coin is never tossed, and the other one only delays the rejection.
        possible = ~invalid & ~jnp.isneginf(log_odds)
        result = _two_coin(
            key_coins,
            lambda toss: jnp.asarray(self.coin(toss, candidate), bool),
            lambda toss: jnp.asarray(self.coin(toss, state.position), bool) | ~possible,
            jnp.where(possible, log_odds, -jnp.inf),
            self.max_loops,
        )
        accepted = result.outcome & possible
        info = TwoCoinInfo(
            accepted,
            result.num_loops,
            jnp.asarray(2, jnp.int32),
            invalid.astype(jnp.int32),
            result.cap_hit,
        )
        return DrawState(choose(accepted, candidate, state.position)), info
