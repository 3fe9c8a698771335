"""The decisions that a Metropolis chain may take next, as a tree: which candidates to evaluate, and how to walk them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers import random
from ergodica.samplers.acceptance.rule import RatioRule
from ergodica.samplers.corrected import Proposal, choose
from ergodica.samplers.density import LogDensity, density_dtype, evaluate
from ergodica.samplers.kernel import DensityState
from ergodica.theory.prefetching import FutureNode

__all__ = ["Futures", "Walked", "grow", "grow_by_surrogate", "grow_in_batches", "step_keys", "walk"]


class Futures(NamedTuple):
    """Steps that may come, with their candidates; the first is the next step. Node ``i`` is on axis 0 of each leaf.

    Parameters
    ----------
    candidate
        What the step proposes.
    log_back
        Log ratio of the proposal's densities, shape ``(D,)``.
    after_rejection, after_acceptance
        The node that follows; -1 if it is not in the tree. Shape ``(D,)``.
    probability
        That the chain comes to the node, as predicted; shape ``(D,)``.
    """

    candidate: PyTree
    log_back: Float[Array, " D"]
    after_rejection: Int[Array, " D"]
    after_acceptance: Int[Array, " D"]
    probability: Float[Array, " D"]


class Walked(NamedTuple):
    """Where a walk through the tree came to.

    Parameters
    ----------
    state
        State of the chain.
    steps_made
        Since the start.
    path
        Positions by step; entries from ``steps_made`` on are not made yet.
    rate
        Sum of the acceptance probabilities of the steps made.
    num_accepted, num_invalid
        Counts over them.
    """

    state: DensityState
    steps_made: Int[Array, ""]
    path: PyTree
    rate: Float[Array, ""]
    num_accepted: Int[Array, ""]
    num_invalid: Int[Array, ""]


def step_keys(key: PRNGKeyArray, index: Any) -> tuple[PRNGKeyArray, PRNGKeyArray]:
    """Return the keys of the proposal and of the decision of step ``index``: those that the serial chain uses."""
    propose, decide = random.split(random.fold_in(key, index))
    return propose, decide


def _children(nodes: Sequence[FutureNode], after_acceptance: bool) -> np.ndarray:
    children = np.full(len(nodes), -1, np.int32)
    for number, node in enumerate(nodes):
        if node.parent >= 0 and node.after_acceptance is after_acceptance:
            children[node.parent] = number
    return children


def _origins(nodes: Sequence[FutureNode]) -> list[int]:
    """Return the node whose candidate each node proposes from, the nearest one accepted; -1 for the chain's position."""
    origins: list[int] = []
    for node in nodes:
        before = -1 if node.parent < 0 else origins[node.parent]
        origins.append(node.parent if node.after_acceptance else before)
    return origins


def _shaped(candidates: PyTree, log_back: Float[Array, " D"], nodes: Sequence[FutureNode]) -> Futures:
    probability = jnp.asarray([node.probability for node in nodes], log_back.dtype)
    rejected, accepted = (jnp.asarray(_children(nodes, which)) for which in (False, True))
    return Futures(candidates, log_back, rejected, accepted, probability)


def _room(nodes: Sequence[FutureNode], position: PyTree) -> tuple[PyTree, Float[Array, " D"]]:
    candidates = jax.tree.map(lambda leaf: jnp.zeros((len(nodes), *leaf.shape), leaf.dtype), position)
    return candidates, jnp.zeros(len(nodes), density_dtype(position))


def grow(
    key: PRNGKeyArray, index: Int[Array, ""], position: PyTree, proposal: Proposal, nodes: Sequence[FutureNode]
) -> Futures:
    """Draw the candidates of a tree whose shape is known, one after another.

    A compiler rounds a proposal that is drawn by itself as it does in the serial chain; in a batch it may not.

    Parameters
    ----------
    key
        Key of the chain.
    index
        Number of the next step.
    position
        Where the chain is.
    proposal
        Draws candidates.
    nodes
        The tree, from :func:`ergodica.theory.prefetching.likely_futures`.
    """
    origins = jnp.asarray(_origins(nodes), jnp.int32)
    depths = jnp.asarray([node.depth for node in nodes], jnp.int32)

    def add(node: Array, carry: tuple[PyTree, Array]) -> tuple[PyTree, Array]:
        candidates, log_back = carry
        origin = origins[node]
        here = jax.tree.map(lambda leaf, now: jnp.where(origin < 0, now, leaf[origin]), candidates, position)
        candidate, ratio = proposal.propose(step_keys(key, index + depths[node])[0], here)
        candidates = jax.tree.map(lambda leaf, new: leaf.at[node].set(new), candidates, candidate)
        return candidates, log_back.at[node].set(ratio)

    candidates, log_back = lax.fori_loop(0, len(nodes), add, _room(nodes, position))
    return _shaped(candidates, log_back, nodes)


def grow_in_batches(
    key: PRNGKeyArray, index: Int[Array, ""], position: PyTree, proposal: Proposal, nodes: Sequence[FutureNode]
) -> Futures:
    """Do as :func:`grow`, drawing the candidates that come after equally many acceptances side by side."""
    origins = np.asarray(_origins(nodes))
    candidates, log_back = _room(nodes, position)
    for level in range(max(node.acceptances for node in nodes) + 1):
        here = np.array([number for number, node in enumerate(nodes) if node.acceptances == level])
        steps = index + jnp.asarray([nodes[number].depth for number in here], jnp.int32)
        keys = jax.vmap(lambda step: step_keys(key, step)[0])(steps)
        if level == 0:
            drawn, ratio = jax.vmap(proposal.propose, (0, None))(keys, position)
        else:
            before = jax.tree.map(lambda leaf, at=origins[here]: leaf[at], candidates)
            drawn, ratio = jax.vmap(proposal.propose)(keys, before)
        candidates = jax.tree.map(lambda leaf, new, at=here: leaf.at[at].set(new), candidates, drawn)
        log_back = log_back.at[here].set(ratio)
    return _shaped(candidates, log_back, nodes)


def grow_by_surrogate(
    key: PRNGKeyArray,
    index: Int[Array, ""],
    position: PyTree,
    proposal: Proposal,
    rule: RatioRule,
    surrogate: LogDensity,
    size: int,
) -> Futures:
    """Draw the candidates of the most probable nodes, as a cheap density predicts the decisions.

    Parameters
    ----------
    key, index, position, proposal
        As in :func:`grow`.
    rule
        Decides in the chain; at the surrogate's ratio it predicts.
    surrogate
        Log density.
    size
        Number of nodes.
    """
    value, _ = evaluate(surrogate, position)
    dtype = value.dtype
    # Entries are nodes that could be added: 0 is the next step, 2 i + 1 and 2 i + 2 follow node i.
    entries = 2 * size + 1

    def repeated(leaf: Array, count: int) -> Array:
        return jnp.broadcast_to(leaf, (count, *jnp.shape(leaf)))

    first = jnp.arange(entries) == 0
    start = (
        jnp.where(first, 1.0, -1.0).astype(dtype),  # probability of entries that wait; others are negative
        jnp.zeros(entries, jnp.int32),  # depth
        jax.tree.map(lambda leaf: repeated(leaf, entries), position),
        repeated(value, entries),  # surrogate at the entry's position
        jnp.full(entries, -1, jnp.int32),  # node that the entry became
        jax.tree.map(lambda leaf: repeated(leaf, size), position),
        jnp.zeros(size, dtype),
        jnp.zeros(size, dtype),
    )

    def add(node: Array, carry: tuple[Any, ...]) -> tuple[Any, ...]:
        waiting, depth, origin, values, became, candidates, log_back, probability = carry
        entry = jnp.argmax(waiting)
        here = jax.tree.map(lambda leaf: leaf[entry], origin)
        candidate, ratio = proposal.propose(step_keys(key, index + depth[entry])[0], here)
        ratio = jnp.asarray(ratio, dtype)
        value, _ = evaluate(surrogate, candidate, dtype)
        chance = jnp.nan_to_num(rule.probability(value - values[entry] + ratio))
        reached = waiting[entry]
        both = 2 * node + jnp.array([1, 2])
        moved = jax.tree.map(lambda leaf, new, old: leaf.at[both].set(jnp.stack([old, new])), origin, candidate, here)
        return (
            waiting.at[both].set(reached * jnp.stack([1 - chance, chance])).at[entry].set(-1.0),
            depth.at[both].set(depth[entry] + 1),
            moved,
            values.at[both].set(jnp.stack([values[entry], value])),
            became.at[entry].set(node.astype(jnp.int32)),
            jax.tree.map(lambda leaf, new: leaf.at[node].set(new), candidates, candidate),
            log_back.at[node].set(ratio),
            probability.at[node].set(reached),
        )

    became, candidates, log_back, probability = lax.fori_loop(0, size, add, start)[4:]
    return Futures(candidates, log_back, became[1::2], became[2::2], probability)


def walk(
    key: PRNGKeyArray,
    walked: Walked,
    futures: Futures,
    values: Float[Array, " D"],
    invalid: Bool[Array, " D"],
    rule: RatioRule,
    num_steps: int,
) -> Walked:
    """Take the decisions in their order, as long as the candidates were evaluated.

    Parameters
    ----------
    key
        Key of the chain.
    walked
        Where the chain is.
    futures
        The tree.
    values, invalid
        Log densities of the candidates, as :func:`ergodica.samplers.density.evaluate` gives them.
    rule
        Decides by the ratio.
    num_steps
        Stop after so many steps in all.
    """

    def is_known(carry: tuple[Array, Walked]) -> Bool[Array, ""]:
        node, walked = carry
        return (node >= 0) & (walked.steps_made < num_steps)

    def decide(carry: tuple[Array, Walked]) -> tuple[Array, Walked]:
        node, walked = carry
        state = walked.state
        value, log_back = values[node], futures.log_back[node].astype(values.dtype)
        candidate = DensityState(jax.tree.map(lambda leaf: leaf[node], futures.candidate), value)
        unusable = invalid[node] | jnp.isnan(log_back) | jnp.isposinf(log_back)
        log_ratio = jnp.where(unusable, -jnp.inf, value - state.logdensity + log_back)
        accepted, probability = rule.decide(step_keys(key, walked.steps_made)[1], log_ratio)
        state = choose(accepted, candidate, state)
        after = Walked(
            state,
            walked.steps_made + 1,
            jax.tree.map(lambda leaf, new: leaf.at[walked.steps_made].set(new), walked.path, state.position),
            walked.rate + probability,
            walked.num_accepted + accepted,
            walked.num_invalid + unusable,
        )
        return jnp.where(accepted, futures.after_acceptance[node], futures.after_rejection[node]), after

    return lax.while_loop(is_known, decide, (jnp.zeros((), jnp.int32), walked))[1]
