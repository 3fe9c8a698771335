"""Train a flow on the chains that it helps to move, then freeze it."""

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
from ergodica.samplers.density import LogDensity, as_logdensity
from ergodica.samplers.flows.independence import FlowIndependence, check_flow
from ergodica.samplers.kernel import Kernel

__all__ = ["TrainedFlow", "TrainingLog", "train_while_sampling"]


class TrainingLog(NamedTuple):
    """What happened during training, by cycle.

    Parameters
    ----------
    loss
        Mean of ``-log q`` over the chains, before the cycle's last gradient step.
    local_acceptance_rate
        Of the local kernel; NaN if it reports none.
    flow_acceptance_rate
        Of the candidates from the flow; NaN in the cycles that had none.
    num_skipped
        Gradient steps that were skipped, because the loss or a gradient was not finite.
    """

    loss: Float[Array, " cycles"]
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


def _loss(params: Any, static: Any, points: Float[Array, "n d"]) -> Array:
    flow = eqx.combine(params, static)
    return -jnp.mean(flow.log_prob(points))


def _gradient_step(optimizer: Any, static: Any, points: Array, carry: tuple[Any, Any]) -> tuple[Any, Any, Array, Array]:
    """Return parameters, optimizer state, loss, and whether the step was skipped."""
    params, memory = carry
    loss, gradients = jax.value_and_grad(_loss)(params, static, points)
    finite = jnp.isfinite(loss)
    for leaf in jax.tree.leaves(gradients):
        finite = finite & jnp.all(jnp.isfinite(leaf))
    gradients = jax.tree.map(lambda leaf: jnp.where(finite, leaf, 0), gradients)
    updates, new_memory = optimizer.update(gradients, memory, params)
    new_params = eqx.apply_updates(params, updates)
    params, memory = jax.tree.map(
        lambda new, old: jnp.where(finite, new, old), (new_params, new_memory), (params, memory)
    )
    return params, memory, loss, ~finite


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
) -> TrainedFlow:
    """Run chains, train a flow on where they are, and let it propose to them; then freeze it.

    A cycle makes ``local_steps`` steps of the local kernel in every chain, one step of :class:`FlowIndependence` with
    the flow as it is, and ``gradient_steps`` steps that increase the flow's mean log density over the latest positions
    (the forward Kullback-Leibler divergence). The first cycles are local only. While the flow learns from the chains
    that it moves, the draws are only asymptotically those of the target, so that none is returned but the last; the
    kernel that is returned has a frozen flow and is exact.

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
    119, arXiv:2105.12603.
    """
    check_flow(flow, "train_while_sampling")
    num_cycles = inputs.static_count("num_cycles", num_cycles)
    num_local_cycles = inputs.static_count("num_local_cycles", num_local_cycles, at_least=0)
    local_steps = inputs.static_count("local_steps", local_steps)
    gradient_steps = inputs.static_count("gradient_steps", gradient_steps)
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
    FlowIndependence(flow, chosen, target).check_size(one)

    init_key, cycle_key, report_key = random.split(key, 3)
    states = _start(local, random.split(init_key, count), positions)
    if hasattr(states, "logdensity"):
        inputs.finite_start(np.asarray(states.logdensity), positions, "train_while_sampling")
    params, static = _trainable(flow)
    optimizer = _optimizer(learning_rate, num_cycles * gradient_steps) if optimizer is None else optimizer

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
        local_key, flow_key = random.split(random.fold_in(cycle_key, index))
        states, info = jax.vmap(lambda k, s: kernel.run(k, s, local_steps))(random.split(local_key, count), states)
        local_rate = jnp.mean(getattr(info, "acceptance_rate", jnp.nan * jnp.ones(()))).astype(float)
        states, flow_rate = lax.cond(
            index >= num_local_cycles,
            lambda: flow_step(flow_key, kernel, params, states),
            lambda: (states, jnp.asarray(jnp.nan, float)),
        )
        points = jax.vmap(lambda at: ravel_pytree(at)[0])(states.position).reshape(count, *flow.shape)

        def descend(carry: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], tuple[Array, Array]]:
            params, memory, loss, skipped = _gradient_step(optimizer, static, points, carry)
            return (params, memory), (loss.astype(float), skipped)

        (params, memory), (losses, skipped) = lax.scan(descend, (params, memory), None, length=gradient_steps)
        log = TrainingLog(losses[-1], local_rate, flow_rate, jnp.sum(skipped, dtype=jnp.int32))
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
