"""Train a flow on the chains that it helps to move, then freeze it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.independence import IndependenceState
from ergodica.samplers.acceptance.metropolis import as_ratio_rule
from ergodica.samplers.acceptance.rule import RatioRule
from ergodica.samplers.acceptance.weights import WeightReport
from ergodica.samplers.density import LogDensity, as_logdensity, density_dtype
from ergodica.samplers.flows.independence import FlowIndependence, check_flow
from ergodica.samplers.flows.losses import forward_kl, reverse_kl
from ergodica.samplers.kernel import Kernel

__all__ = ["TrainedFlow", "TrainingLog", "train_while_sampling"]


class TrainingLog(NamedTuple):
    """What happened during training, by cycle.

    Parameters
    ----------
    loss
        Mean of ``-log q`` over the chains, before the cycle's last gradient step.
    reverse_loss
        Mean of ``log q - log gamma`` over draws of the flow then; NaN where it has no weight.
    local_acceptance_rate
        Of the local kernel; NaN if it reports none.
    flow_acceptance_rate
        Of the candidates from the flow; NaN in the cycles that had none.
    num_skipped
        Gradient steps that were skipped, because the loss or a gradient was not finite.
    """

    loss: Float[Array, " cycles"]
    reverse_loss: Float[Array, " cycles"]
    local_acceptance_rate: Float[Array, " cycles"]
    flow_acceptance_rate: Float[Array, " cycles"]
    num_skipped: Int[Array, " cycles"]


class TrainedFlow(NamedTuple):
    """A trained flow.

    Parameters
    ----------
    flow
        The distribution, with new parameters.
    kernel
        :class:`FlowIndependence` on it, bound to the target: exact, since the flow is frozen.
    positions
        The last positions of the chains: starts for production.
    log
        What happened, by cycle.
    report
        The weights of fresh draws of the flow.
    """

    flow: Any
    kernel: FlowIndependence
    positions: PyTree
    log: TrainingLog
    report: WeightReport


def _optimizer(learning_rate: float, steps: int) -> Any:
    import optax

    return optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(learning_rate, max(steps, 1)))
    )


def _trainable(flow: Any) -> tuple[Any, Any]:
    import paramax

    return eqx.partition(flow, eqx.is_inexact_array, is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable))


Loss = Callable[[Any], tuple[Array, tuple[Array, Array]]]
"""From the flow's parameters to the loss, and to the forward and the reverse divergence."""


def _gradient_step(
    optimizer: Any, loss_of: Loss, carry: tuple[Any, Any]
) -> tuple[Any, Any, tuple[Array, Array], Array]:
    """Return parameters, optimizer state, the divergences, and whether the step was skipped."""
    params, memory = carry
    (loss, divergences), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
    finite = jnp.isfinite(loss)
    for leaf in jax.tree.leaves(gradients):
        finite = finite & jnp.all(jnp.isfinite(leaf))
    gradients = jax.tree.map(lambda leaf: jnp.where(finite, leaf, 0), gradients)
    updates, new_memory = optimizer.update(gradients, memory, params)
    new_params = eqx.apply_updates(params, updates)
    params, memory = jax.tree.map(
        lambda new, old: jnp.where(finite, new, old), (new_params, new_memory), (params, memory)
    )
    return params, memory, divergences, ~finite


@jax.jit
def _start(kernel: Kernel[Any, Any], keys: PRNGKeyArray, positions: PyTree) -> Any:
    return jax.vmap(lambda key, at: kernel.init(at, key=key))(keys, positions)


def train_while_sampling(
    key: PRNGKeyArray,
    local: Kernel[Any, Any],
    flow: Any,
    positions: PyTree,
    *,
    logdensity: LogDensity | None = None,
    num_cycles: int = 200,
    num_local_cycles: int = 50,
    local_steps: int = 10,
    gradient_steps: int = 5,
    learning_rate: float = 1e-3,
    optimizer: Any = None,
    rule: RatioRule | None = None,
    forward_weight: float | Callable[[Array], Array] = 1.0,
    num_reverse_draws: int | None = None,
) -> TrainedFlow:
    """Run chains, train a flow on where they are, and let it propose to them; then freeze it.

    A cycle makes ``local_steps`` steps of the local kernel in every chain, one step of :class:`FlowIndependence` with
    the flow as it is, and ``gradient_steps`` steps that increase the flow's mean log density over the latest positions
    (the forward Kullback-Leibler divergence), or decrease a mixture of that divergence and the reverse one. The first
    cycles are local only. While the flow learns from the chains that it moves, the draws are only asymptotically those
    of the target, so that none is returned but the last; the kernel that is returned has a frozen flow and is exact.

    Parameters
    ----------
    key
        Typed key.
    local
        Kernel that explores a mode, bound to the target or to be bound to ``logdensity``.
    flow
        Unconditional distribution of FlowJAX, with as many coordinates as a position.
    positions
        Starts of the chains, stacked on a leading axis. The method learns the relative weights of modes and does not
        discover them: start chains in every known mode. Some hundreds are better than some tens.
    logdensity
        The target; default: that of ``local``.
    num_cycles
        Number of cycles.
    num_local_cycles
        How many of them, the first, have no step of the flow.
    local_steps, gradient_steps
        Steps per cycle.
    learning_rate
        Of Adam; it decays to zero along a cosine, and gradients are clipped to norm 1.
    optimizer
        An Optax transformation, to be used instead.
    rule
        Acceptance rule of the flow's candidates; default: Metropolis's.
    forward_weight
        Weight ``alpha`` in [0, 1] of the loss ``alpha KL(pi | q) + (1 - alpha) KL(q | pi)``; or a function from the share of
        cycles that are done, from 0 to 1, to such a weight. With less than 1 the target has to be differentiable, and
        positive wherever the flow is: steps with an infinite loss are skipped. The reverse divergence learns from the
        density itself, also where no chain is; 0.9 is a good start.
    num_reverse_draws
        Draws of the flow for each gradient step of the reverse divergence. Default: the number of chains.

    Returns
    -------
    TrainedFlow

    Raises
    ------
    TypeError, ValueError
        If the flow is none or has the wrong size, there is no target, a start is bad, or a count is out of range.
    FloatingPointError
        If no gradient step had a finite loss and gradient.

    Warns
    -----
    HeavyWeightsWarning
        If the weights of the trained flow have a heavy tail.

    References
    ----------
    M. Gabrié, G. M. Rotskoff and E. Vanden-Eijnden, 2022, Adaptive Monte Carlo augmented with normalizing flows, PNAS
    119, arXiv:2105.12603. The mixture of divergences: S. Samsonov, E. Lagutin, M. Gabrié, A. Durmus, A. Naumov and
    E. Moulines, 2022, Local-global MCMC kernels, NeurIPS, arXiv:2111.02702.
    """
    check_flow(flow, "train_while_sampling")
    num_cycles = inputs.static_count("num_cycles", num_cycles)
    num_local_cycles = inputs.static_count("num_local_cycles", num_local_cycles, at_least=0)
    local_steps = inputs.static_count("local_steps", local_steps)
    gradient_steps = inputs.static_count("gradient_steps", gradient_steps)
    if not callable(forward_weight) and not (isinstance(forward_weight, int | float) and 0 <= forward_weight <= 1):
        raise ValueError(
            "forward_weight has to be a number in [0, 1], or a function from the share of cycles done to one; got "
            f"{forward_weight!r}"
        )
    if num_reverse_draws is not None:
        num_reverse_draws = inputs.static_count("num_reverse_draws", num_reverse_draws)
    if logdensity is not None:
        local = local.bind(logdensity)
    elif getattr(local, "logdensity", None) is None:
        raise ValueError(
            "train_while_sampling needs a target: pass logdensity=, or a local kernel that is bound to one"
        )
    target = as_logdensity(local.logdensity if logdensity is None else logdensity)  # type: ignore[attr-defined]
    chosen = as_ratio_rule(rule, "train_while_sampling")
    positions = inputs.real_position(positions, "train_while_sampling")
    sizes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(positions)}
    if len(sizes) != 1 or sizes == {()}:
        raise ValueError(
            f"positions have to be stacked, with the chains on axis 0 of every leaf; got leading axes {sorted(sizes)}"
        )
    count = next(iter(sizes))[0]
    one = jax.tree.map(lambda leaf: leaf[0], positions)
    unravel = ravel_pytree(one)[1]
    num_draws = count if num_reverse_draws is None else num_reverse_draws
    FlowIndependence(flow, chosen, target).check(one)

    init_key, cycle_key, report_key = random.split(key, 3)
    states = _start(local, random.split(init_key, count), positions)
    if hasattr(states, "logdensity"):
        inputs.finite_start(np.asarray(states.logdensity), positions, "train_while_sampling")
    params, static = _trainable(flow)
    optimizer = _optimizer(learning_rate, num_cycles * gradient_steps) if optimizer is None else optimizer

    def flat_target(x: Array) -> Array:
        flat = jnp.ravel(x).astype(density_dtype(one))
        return target(unravel(flat)).astype(x.dtype)

    def flow_step(key: PRNGKeyArray, kernel: Kernel[Any, Any], params: Any, states: Any) -> tuple[Any, Array]:
        proposing = FlowIndependence(eqx.combine(params, static), chosen, target)

        def move(key: PRNGKeyArray, state: Any) -> tuple[Any, Array]:
            nothing = jnp.zeros((), jnp.result_type(*jax.tree.leaves(state.position)))
            here = proposing.refresh(IndependenceState(state.position, nothing, nothing))
            there, info = proposing.step(key, here)
            return kernel.refresh(state._replace(position=there.position)), info.acceptance_rate.astype(float)

        moved, rates = jax.vmap(move)(random.split(key, count), states)
        return moved, jnp.mean(rates)

    def cycle(kernel: Kernel[Any, Any], carry: tuple[Any, Any, Any], index: Array) -> tuple[Any, TrainingLog]:
        states, params, memory = carry
        here = random.fold_in(cycle_key, index)
        local_key, flow_key = random.split(here)
        loss_key = random.fold_in(here, 2)
        states, info = jax.vmap(lambda k, s: kernel.run(k, s, local_steps))(random.split(local_key, count), states)
        local_rate = jnp.mean(getattr(info, "acceptance_rate", jnp.nan * jnp.ones(()))).astype(float)
        states, flow_rate = lax.cond(
            index >= num_local_cycles,
            lambda: flow_step(flow_key, kernel, params, states),
            lambda: (states, jnp.asarray(jnp.nan, float)),
        )
        points = jax.vmap(lambda at: ravel_pytree(at)[0])(states.position).reshape(count, *flow.shape)

        def divergences(params: Any, key: PRNGKeyArray) -> tuple[Array, tuple[Array, Array]]:
            flow = eqx.combine(params, static)
            forward = forward_kl(flow, points)
            if not callable(forward_weight) and forward_weight == 1:
                return forward, (forward, jnp.full_like(forward, jnp.nan))
            alpha = jnp.asarray(forward_weight(index / num_cycles) if callable(forward_weight) else forward_weight)
            reverse = reverse_kl(flow, flat_target, key, num_draws)
            if not callable(forward_weight) and forward_weight == 0:
                return reverse, (forward, reverse)
            return alpha * forward + (1 - alpha) * reverse, (forward, reverse)

        def descend(carry: tuple[Any, Any], key: PRNGKeyArray) -> tuple[tuple[Any, Any], tuple[Any, Array]]:
            params, memory, (forward, reverse), skipped = _gradient_step(
                optimizer, lambda params: divergences(params, key), carry
            )
            return (params, memory), ((forward.astype(float), reverse.astype(float)), skipped)

        (params, memory), ((losses, reverse_losses), skipped) = lax.scan(
            descend, (params, memory), random.split(loss_key, gradient_steps)
        )
        log = TrainingLog(losses[-1], reverse_losses[-1], local_rate, flow_rate, jnp.sum(skipped, dtype=jnp.int32))
        return (states, params, memory), log

    @jax.jit
    def train(kernel: Kernel[Any, Any], carry: tuple[Any, Any, Any]) -> tuple[Any, TrainingLog]:
        return lax.scan(lambda carry, index: cycle(kernel, carry, index), carry, jnp.arange(num_cycles))

    (states, params, _), log = train(local, (states, params, optimizer.init(params)))
    if int(jnp.sum(log.num_skipped)) == num_cycles * gradient_steps:
        raise FloatingPointError(
            "no gradient step had a finite loss and gradient: nothing was learnt. Likely causes: (a) the flow's "
            "support does not contain the chains, (b) the positions are far outside the region that the flow resolves: "
            "centre and scale them, (c) the initial parameters are not finite."
        )
    trained = eqx.combine(params, static)
    kernel = FlowIndependence(trained, chosen, target)
    report = kernel.report(report_key, one)
    return TrainedFlow(trained, kernel, states.position, log, report)
