"""The self-repellent random walk on a graph, compiled.

A walk whose next node is drawn by the base chain's probabilities, times a power of how much each node has been visited
relative to its target. It visits every node in proportion to the target, as the base chain does, and the error of its
empirical measure shrinks with the strength ``alpha``, to order ``1 / alpha`` in variance. It is no Markov chain on the
nodes: it remembers its visits, which are part of the state.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers import random
from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.counter_rng import key_words
from ergodica.samplers.inputs import Numbers, integer_position, is_concrete, real_parameter, static_count
from ergodica.samplers.kernel import Kernel
from ergodica.samplers.native import NativeOperation
from ergodica.samplers.walks.base_chain import BaseChain
from ergodica.samplers.walks.self_repellent_core import FROM_GENERATOR, FROM_UNIFORMS

__all__ = ["SelfRepellentInfo", "SelfRepellentState", "SelfRepellentWalk"]


class SelfRepellentState(NamedTuple):
    """State of a self-repellent walk.

    Parameters
    ----------
    position
        The current node.
    visits
        Shape ``(n,)``, how often each node has been entered; the start is not counted.
    mass
        Shape ``(n,)``, the weighted empirical measure up to a factor: fake mass plus visits if ``decay`` is 1.
    num_steps
        Steps made so far.
    """

    position: Int[Array, ""]
    visits: Int[Array, " n"]
    mass: Float[Array, " n"]
    num_steps: Int[Array, ""]

    @property
    def measure(self) -> Float[Array, " n"]:
        """The weighted empirical measure ``x``, summing to one; what converges to the target."""
        return self.mass / jnp.sum(self.mass, axis=-1, keepdims=True)


class SelfRepellentInfo(NamedTuple):
    """What a step reports.

    Parameters
    ----------
    num_evals
        Evaluations of a log density: none, for the target is a table.
    moved
        Whether the walk left its node; over several steps, how often.
    """

    num_evals: Int[Array, ""]
    moved: Bool[Array, ""] | Int[Array, ""]


class SelfRepellentWalk(Kernel[SelfRepellentState, SelfRepellentInfo]):
    """Self-repellent random walk; asymptotically exact: time averages converge, single draws are not from the target.

    With the weighted empirical measure ``x``, the step from ``i`` goes to ``j`` with probability proportional to
    ``P_ij (x_j / mu_j)^-alpha``, after which ``x`` moves by ``gamma`` towards the node that was entered.

    Parameters
    ----------
    graph
        A :class:`BaseChain`, or a graph for :meth:`BaseChain.metropolis_hastings`.
    mu
        Target weights for a graph, positive, up to a factor. Default: uniform. Not with a :class:`BaseChain`.
    alpha
        Strength of the repulsion, at least 0; at 0 it is the base chain. 1 to 10 are usual; a large one slows the
        start.
    decay
        Exponent ``a`` of the step sizes, in (1/2, 1]. At 1 the measure is that of the visits, each counted once.
    fake
        Mass that the measure starts from: a total of at least 1, spread like ``mu``, or one positive number for each
        node. Default: the number of nodes. Step ``n = 1, 2, ...`` has ``gamma_n = (n + total)^-a``.
    growth
        If given, the strength of step ``n`` is ``min(alpha, growth log n)``: gentle at first. A heuristic.

    Raises
    ------
    ValueError
        If the graph is not connected or has isolated nodes, ``alpha`` is negative, ``decay`` is out of range, or some
        fake mass is not positive, or its total less than 1.

    Notes
    -----
    Claim: asymptotically exact. ``state.measure`` converges to ``mu`` almost surely, and ``(x_n - mu) / sqrt(gamma_n)``
    is asymptotically normal with the covariance of :func:`ergodica.theory.self_repellent.limit_covariance`. ``run(key,
    state, n)`` is one compiled loop with one stream of random numbers: the law of ``n`` steps, not their draws. A step
    costs the degree of the node in time, plus a copy of the state where it is a call of its own; the weights that the
    visits change are stored, one a step.

    References
    ----------
    V. Doshi, J. Hu and D. Y. Eun, Self-repellent random walks on general graphs, ICML 2023, arXiv:2305.05097.
    """

    base: BaseChain
    alpha: Float[Array, ""]
    decay: Float[Array, ""]
    fake: Float[Array, " n"]
    growth: Float[Array, ""]

    def __init__(
        self,
        graph: Any,
        mu: Numbers | None = None,
        *,
        alpha: ArrayLike = 5.0,
        decay: ArrayLike = 1.0,
        fake: Numbers | None = None,
        growth: ArrayLike | None = None,
    ) -> None:
        if isinstance(graph, BaseChain) and mu is not None:
            raise ValueError("a BaseChain brings its own target; pass mu to its constructor")
        self.base = graph if isinstance(graph, BaseChain) else BaseChain.metropolis_hastings(graph, mu)
        self.alpha = real_parameter("alpha", alpha, at_least=0.0)
        self.decay = real_parameter("decay", decay, above=0.5)
        if is_concrete(self.decay) and not np.all(np.asarray(self.decay) <= 1):
            raise ValueError(f"decay has to lie in (1/2, 1]; got {np.asarray(self.decay)}")
        size = self.base.num_nodes
        mass = real_parameter("fake", float(size) if fake is None else fake, ndim=None)
        if mass.shape not in ((), (size,)):
            raise ValueError(f"fake has to be one number, or one for each of {size} nodes; got shape {mass.shape}")
        if is_concrete(mass) and not np.all(np.asarray(mass) > 0):
            raise ValueError(
                "fake mass has to be positive at every node: a node with none would have an infinite weight; got "
                f"{np.asarray(mass)}"
            )
        self.fake = mass * self.base.mu if mass.ndim == 0 else mass
        if is_concrete(mass) and float(jnp.sum(self.fake)) < 1 - 1e-5:
            raise ValueError(f"fake mass has to be at least 1 in total, one visit; got {float(jnp.sum(self.fake)):g}")
        self.growth = jnp.asarray(jnp.inf) if growth is None else real_parameter("growth", growth, above=0.0)

    @property
    def claim(self) -> Claim:
        """Asymptotically exact, with memory."""
        return Claim(
            Exactness.ASYMPTOTIC,
            "the weighted empirical measure of the visited nodes converges almost surely to the target",
            source="Doshi, Hu and Eun 2023, arXiv:2305.05097",
            spaces=frozenset({Space.GRAPH}),
            memory=True,
        )

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> SelfRepellentState:
        """Start at a node, with the fake mass as measure.

        Raises
        ------
        TypeError
            If the position is not an integer.
        ValueError
            If it is not the number of a node.
        """
        del key
        node = integer_position(position, "SelfRepellentWalk")
        if not isinstance(node, jax.Array) or node.shape != ():
            raise ValueError(f"SelfRepellentWalk starts at one node, an integer; got {jax.tree.map(jnp.shape, node)}")
        if is_concrete(node) and not 0 <= int(node) < self.base.num_nodes:
            raise ValueError(f"SelfRepellentWalk has nodes 0 to {self.base.num_nodes - 1}; got {int(node)}")
        counts = jnp.zeros(self.base.num_nodes, int)
        return SelfRepellentState(node, counts, self.fake, jnp.zeros((), int))

    def step(self, key: PRNGKeyArray, state: SelfRepellentState) -> tuple[SelfRepellentState, SelfRepellentInfo]:
        """Make one step."""
        state, moved = self._walk(FROM_GENERATOR, key_words(key), state, 1)
        return state, SelfRepellentInfo(jnp.zeros((), jnp.int32), moved > 0)

    def run(
        self, key: PRNGKeyArray, state: SelfRepellentState, num_steps: int
    ) -> tuple[SelfRepellentState, SelfRepellentInfo]:
        """Make ``num_steps`` steps in one compiled loop."""
        state, moved = self._walk(FROM_GENERATOR, key_words(key), state, static_count("num_steps", num_steps))
        return state, SelfRepellentInfo(jnp.zeros((), jnp.int32), moved)

    def step_from_uniforms(self, uniforms: Float[Array, " steps"], state: SelfRepellentState) -> SelfRepellentState:
        """Make the steps that given uniforms decide, one each."""
        return self._walk(FROM_UNIFORMS, uniforms, state, uniforms.shape[0])[0]

    def _walk(
        self, operation: NativeOperation, randomness: Array, state: SelfRepellentState, count: int
    ) -> tuple[SelfRepellentState, Int[Array, ""]]:
        base = self.base
        outputs = (state.position, state.visits, state.mass)
        shapes = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in outputs]  # type: ignore[no-untyped-call]
        position, visits, mass, moved = operation(
            randomness, *outputs, state.num_steps, base.offsets, base.targets, base.probabilities, base.mu, self.fake,
            self.alpha, self.decay, self.growth, count, out_shapes=[*shapes, ()],
        )  # fmt: skip
        return SelfRepellentState(position, visits, mass, state.num_steps + count), moved

    def log_row(self, state: SelfRepellentState) -> Float[Array, " n"]:
        """Return the log of :meth:`transition_row` up to a constant, ``-inf`` where no step leads."""
        alpha = jnp.minimum(self.alpha, _strength(self.growth, state.num_steps))
        repulsion = -alpha * (jnp.log(state.mass) - jnp.log(self.base.mu))
        return jnp.log(self.base.row(state.position)) + repulsion.astype(self.base.mu.dtype)

    def transition_row(self, state: SelfRepellentState) -> Float[Array, " n"]:
        """Return the law of the next node given the state: the row ``K[x](i, .)``."""
        return jax.nn.softmax(self.log_row(state))

    def reference(self) -> "SelfRepellentReference":
        """Return the same walk written with choice points."""
        return SelfRepellentReference(self)


def _strength(growth: Float[Array, ""], num_steps: Int[Array, ""]) -> Float[Array, ""]:
    logarithm = jnp.log(num_steps + jnp.ones((), growth.dtype))
    return jnp.where(jnp.isfinite(growth), jnp.where(jnp.isfinite(growth), growth, 0.0) * logarithm, jnp.inf)


class SelfRepellentReference(Kernel[SelfRepellentState, SelfRepellentInfo]):
    """A self-repellent walk written with choice points; asymptotically exact, slow, and enumerable.

    Parameters
    ----------
    walk
        The compiled kernel whose law this is.
    """

    walk: SelfRepellentWalk

    @property
    def claim(self) -> Claim:
        """The walk's."""
        return self.walk.claim

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> SelfRepellentState:
        """Start as the walk does."""
        return self.walk.init(position, key=key)

    def step(self, key: PRNGKeyArray, state: SelfRepellentState) -> tuple[SelfRepellentState, SelfRepellentInfo]:
        """Make one step."""
        new = self._moved(state, lambda logits: random.categorical(key, logits))
        return new, SelfRepellentInfo(jnp.zeros((), jnp.int32), new.position != state.position)

    def step_from_uniforms(self, uniforms: Float[Array, " steps"], state: SelfRepellentState) -> SelfRepellentState:
        """Make the steps that given uniforms decide, by inversion."""

        def body(state: SelfRepellentState, u: Array) -> tuple[SelfRepellentState, None]:
            return self._moved(state, lambda logits: _inverse(u, logits)), None

        return jax.lax.scan(body, state, uniforms)[0]

    def _moved(self, state: SelfRepellentState, draw: Callable[[Array], Array]) -> SelfRepellentState:
        walk = self.walk
        node = draw(walk.log_row(state)).astype(state.position.dtype)
        done = state.num_steps + 1
        gamma = (done + jnp.sum(walk.fake)) ** -walk.decay
        visits = state.visits.at[node].add(1)
        measure = ((1 - gamma) * state.measure).at[node].add(gamma)
        mass = jnp.where(walk.decay == 1, walk.fake + visits, measure)
        return SelfRepellentState(node, visits, mass.astype(state.mass.dtype), done)


def _inverse(u: Float[Array, ""], logits: Float[Array, " n"]) -> Int[Array, ""]:
    below = jnp.cumsum(jax.nn.softmax(logits))
    return jnp.sum(u * below[-1] >= below[:-1])
