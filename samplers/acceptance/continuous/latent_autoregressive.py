"""Drafts for models whose next value is made by a short denoising chain with normal transitions.

Only the transitions have densities; that of the value itself is an integral. What is exact is to verify every transition
of a drafted chain: :class:`DenoisingChainDraft`. Verifying the last one only, :class:`LastTransitionDraft`, is cheaper and
exact given the state before it, which comes from the wrong chain.
"""

from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.continuous.reflection import GaussianReflection
from ergodica.samplers.acceptance.rule import AcceptanceRule
from ergodica.samplers.claim import Claim, Exactness, Space


class DenoisingChain(eqx.Module):
    """A chain ``x_{t+1} ~ N(mean(t, x_t), scales[t]^2 I)``, ``t = 0, ..., T - 1``.

    Parameters
    ----------
    mean
        Traceable function of the step and the state, shape ``(d,)`` to ``(d,)``; what it depends on besides, such as the
        values before this one, goes in as the data of a ``jax.tree_util.Partial``.
    scales
        Standard deviations of the steps, shape ``(T,)``, positive; not variances.

    Raises
    ------
    TypeError, ValueError
        If the mean is no function, or a scale is not positive.
    """

    mean: Partial
    scales: Float[Array, " T"]

    def __init__(self, mean: Any, scales: inputs.Numbers) -> None:
        if not callable(mean):
            raise TypeError(f"mean is a function of the step and the state; got {mean!r}")
        self.mean = mean if isinstance(mean, Partial) else Partial(mean)
        self.scales = inputs.real_parameter("scales", scales, above=0.0, ndim=1)
        if self.scales.shape[0] == 0:
            raise ValueError("a chain needs at least one step; got no scales")

    @property
    def num_steps(self) -> int:
        """``T``."""
        return int(self.scales.shape[0])

    def at(self, step: Any, state: Float[Array, " d"]) -> Float[Array, " d"]:
        """Return the mean of the transition from a state, in the state's dtype."""
        mean = jnp.asarray(self.mean(step, state), state.dtype)
        if mean.shape != state.shape:
            raise ValueError(f"the mean of a transition has the state's shape {state.shape}; got {mean.shape}")
        return mean


class ChainDecision(NamedTuple):
    """What a rule for denoising chains emits.

    Parameters
    ----------
    value
        The last state, shape ``(d,)``.
    num_accepted
        Drafted transitions that were accepted.
    num_rounds
        Rounds: evaluations of the target's mean one after the other, each for several states at once.
    is_valid
        Whether the value is one; NaN otherwise.
    """

    value: Float[Array, " d"]
    num_accepted: Int[Array, ""]
    num_rounds: Int[Array, ""]
    is_valid: Bool[Array, ""]


def _checked(target: DenoisingChain, draft: DenoisingChain, start: Any) -> Float[Array, " d"]:
    for name, chain in (("target", target), ("draft", draft)):
        if not isinstance(chain, DenoisingChain):
            raise TypeError(f"{name} has to be a DenoisingChain; got {chain!r}")
    if target.num_steps != draft.num_steps:
        raise ValueError(f"both chains have to have as many steps; got {target.num_steps} and {draft.num_steps}")
    wanted, drafted = target.scales, draft.scales
    if inputs.is_concrete((wanted, drafted)) and not np.array_equal(np.asarray(wanted), np.asarray(drafted)):
        raise ValueError("both chains have to have the same scales, or no reflection maps one onto the other")
    return inputs.real_parameter("start", start, ndim=1)


class DenoisingChainDraft(AcceptanceRule):
    """Draft a whole chain, verify every transition by reflection, and go on from the first rejection.

    Each round drafts up to ``window`` transitions, computes the target's means at all of them in one batch, and keeps them
    up to the first rejection, whose mirror image is the next state. The states are those of the target's chain in law. Noise
    and coin of a transition belong to its number, so that the value depends on the key and not on the window.

    Parameters
    ----------
    window
        Transitions drafted in a round; default: all that are left.

    Raises
    ------
    ValueError, TypeError
        If the window is not a positive integer.

    References
    ----------
    V. De Bortoli et al., 2025, Accelerated diffusion models via speculative sampling, arXiv:2501.05370.
    """

    window: int | None = eqx.field(static=True)

    def __init__(self, window: int | None = None) -> None:
        self.window = None if window is None else inputs.static_count("window", window)

    @property
    def kind(self) -> Literal["equality", "invariance"]:
        """``"equality"``."""
        return "equality"

    @property
    def claim(self) -> Claim:
        """Exact, for the target's chain as it is discretised."""
        return Claim(
            Exactness.EXACT,
            "emits values with the law of the target's denoising chain, whatever the draft's",
            "De Bortoli et al. 2025, arXiv:2501.05370",
            spaces=frozenset({Space.REAL}),
            independent=True,
        )

    def draw(
        self, key: PRNGKeyArray, target: DenoisingChain, draft: DenoisingChain, start: inputs.Numbers
    ) -> ChainDecision:
        """Run the target's chain by speculation.

        Parameters
        ----------
        key
            Typed key.
        target, draft
            Chains with the same scales.
        start
            State at step 0, shape ``(d,)``, a draw of the law that both chains start from.

        Raises
        ------
        TypeError, ValueError
            If the chains do not fit each other.
        """
        state = _checked(target, draft, start)
        total = target.num_steps
        window = total if self.window is None else min(self.window, total)
        scales = target.scales.astype(state.dtype)

        def one_round(carry: tuple[Any, ...]) -> tuple[Any, ...]:
            begin, state, accepted, rounds = carry
            steps = jnp.minimum(begin + jnp.arange(window), total - 1)  # beyond the end, drafts that are not used

            def one_draft(state: Array, step: Array) -> tuple[Array, tuple[Array, Array, Array]]:
                mean = draft.at(step, state)
                noise_key = random.fold_in(random.fold_in(key, step), 0)
                drafted = mean + scales[step] * random.normal(noise_key, state.shape, state.dtype)
                return drafted, (state, mean, drafted)

            _, (before, means, drafts) = lax.scan(one_draft, state, steps)
            wanted = jax.vmap(target.at)(steps, before)
            coins = jax.vmap(lambda step: random.fold_in(random.fold_in(key, step), 1))(steps)
            decisions = jax.vmap(GaussianReflection._decide)(coins, drafts, wanted, means, scales[steps])
            run = jnp.cumprod(decisions.is_accepted.astype(jnp.int32))
            tau = jnp.minimum(jnp.sum(run), total - begin)
            made = jnp.minimum(jnp.minimum(tau + 1, window), total - begin)
            return begin + made, decisions.value[made - 1], accepted + tau, rounds + 1

        zero = jnp.zeros((), jnp.int32)
        loop = (zero, state, zero, zero)
        _, value, accepted, rounds = lax.while_loop(
            lambda carry: carry[0] < total, lambda carry: _as_int32(one_round(carry)), loop
        )
        return ChainDecision(value, accepted, rounds, jnp.all(jnp.isfinite(value)))


def _as_int32(carry: tuple[Any, ...]) -> tuple[Any, ...]:
    return carry[0].astype(jnp.int32), carry[1], carry[2].astype(jnp.int32), carry[3]


class LastTransitionDraft(AcceptanceRule):
    """Draft a whole chain and verify the last transition only: not exact.

    The value has the law of the target's last transition, given the state before it. That state comes from the draft's
    chain, so the value has the target's law only if both chains agree up to there. Use it to see what such a rule costs;
    :class:`DenoisingChainDraft` is exact.

    References
    ----------
    Z. Wang et al., 2024, Continuous speculative decoding for autoregressive image generation, arXiv 2411.11925.
    """

    @property
    def kind(self) -> Literal["equality", "invariance"]:
        """``"equality"``."""
        return "equality"

    @property
    def claim(self) -> Claim:
        """No statement about the law of the value; exact given the state before it."""
        return Claim(
            Exactness.HEURISTIC,
            "emits values of the target's last transition from a state of the draft's chain",
            "Wang et al. 2024, arXiv 2411.11925",
            spaces=frozenset({Space.REAL}),
            independent=True,
        )

    def draw(
        self, key: PRNGKeyArray, target: DenoisingChain, draft: DenoisingChain, start: inputs.Numbers
    ) -> ChainDecision:
        """Run the draft's chain and verify its last transition; arguments as of :meth:`DenoisingChainDraft.draw`."""
        state = _checked(target, draft, start)
        scales = target.scales.astype(state.dtype)
        mean = before = state
        for step in range(target.num_steps):
            noise_key = random.fold_in(random.fold_in(key, step), 0)
            before, mean = state, draft.at(step, state)
            state = mean + scales[step] * random.normal(noise_key, state.shape, state.dtype)
        last = target.num_steps - 1
        coin = random.fold_in(random.fold_in(key, last), 1)
        decision = GaussianReflection._decide(coin, state, target.at(last, before), mean, scales[last])
        one = jnp.ones((), jnp.int32)
        return ChainDecision(decision.value, decision.is_accepted.astype(jnp.int32), one, decision.is_valid)
