"""The self-repellent random walk on a graph, compiled.

A walk whose next node is drawn by the base chain's probabilities, times a power of how much each node has been visited
relative to its target. It visits every node in proportion to the target, as the base chain does, and the error of its
empirical measure shrinks with the strength ``alpha``, to order ``1 / alpha`` in variance. It is no Markov chain on the
nodes: it remembers its visits, which are part of the state.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers import counter_rng, random
from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.counter_rng import key_words
from ergodica.samplers.graph import as_graph
from ergodica.samplers.inputs import Numbers, integer_position, is_concrete, real_parameter, static_count
from ergodica.samplers.kernel import Kernel
from ergodica.samplers.native import NativeOperation, compiled

__all__ = ["BaseChain", "SelfRepellentInfo", "SelfRepellentState", "SelfRepellentWalk"]


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


class BaseChain(eqx.Module):
    """A reversible chain on a graph, in compressed rows.

    Build it with :meth:`metropolis_hastings` or :meth:`from_matrix`.

    Parameters
    ----------
    offsets, targets, probabilities
        The transitions from node ``i`` are ``targets[e]`` with ``probabilities[e]`` for ``e`` from ``offsets[i]`` to
        ``offsets[i + 1]``; self-loops are among them where they are possible.
    mu
        Its stationary law, shape ``(n,)``.
    """

    offsets: Int[Array, " n_plus_1"]
    targets: Int[Array, " entries"]
    probabilities: Float[Array, " entries"]
    mu: Float[Array, " n"]

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return self.mu.shape[0]

    @classmethod
    def metropolis_hastings(cls, graph: Any, mu: Numbers | None = None) -> "BaseChain":
        """Propose a uniform neighbour, and accept by Metropolis-Hastings.

        Parameters
        ----------
        graph
            Anything that :func:`ergodica.samplers.graph.as_graph` takes; connected.
        mu
            Positive weights of the nodes, up to a factor. Default: uniform.

        Raises
        ------
        ValueError
            If the graph is not connected, or a weight is not positive.
        """
        structure = as_graph(graph)
        size = structure.num_nodes
        isolated = np.flatnonzero(structure.degrees == 0)
        if len(isolated):
            raise ValueError(f"node {isolated[0]} has no neighbours, so the walk can never reach it; drop it")
        _check_connected(structure.components())
        law = _weights(np.ones(size) if mu is None else mu, size)
        sources = np.repeat(np.arange(size), structure.degrees)
        level = law / structure.degrees
        accepted = np.minimum(1.0, level[structure.neighbours] / level[sources]) / structure.degrees[sources]
        loop = np.maximum(1.0 - np.bincount(sources, accepted, size), 0.0)
        # Rounding leaves loops of 1e-16 where every proposal is accepted.
        loop = np.where(loop > 1e-12, loop, 0.0)
        return cls._from_triplets(
            np.concatenate([sources, np.arange(size)]),
            np.concatenate([structure.neighbours, np.arange(size)]),
            np.concatenate([accepted, loop]),
            law,
        )

    @classmethod
    def from_matrix(cls, matrix: Any, mu: Numbers) -> "BaseChain":
        """Take a transition matrix that is reversible with respect to ``mu``.

        Parameters
        ----------
        matrix
            SciPy sparse array or dense array, shape ``(n, n)``, rows summing to one.
        mu
            Positive weights, up to a factor.

        Raises
        ------
        ValueError
            If the rows are no probabilities, detailed balance fails, or the chain falls apart.
        """
        import scipy.sparse

        coo = scipy.sparse.coo_array(matrix) if not hasattr(matrix, "tocoo") else matrix.tocoo()
        if coo.ndim != 2 or coo.shape[0] != coo.shape[1]:
            raise ValueError(f"a transition matrix is square; got shape {coo.shape}")
        size = int(coo.shape[0])
        law = _weights(mu, size)
        csr = coo.astype(np.float64).tocsr()
        csr.eliminate_zeros()
        sums = np.asarray(csr.sum(axis=1)).reshape(-1)
        worst = int(np.argmax(np.abs(sums - 1)))
        if csr.data.min(initial=0.0) < 0 or not np.all(np.abs(sums - 1) <= 1e-9):
            raise ValueError(
                f"the rows of a transition matrix are probabilities; row {worst} sums to {sums[worst]:.12g}, and the "
                f"smallest entry is {csr.data.min(initial=0.0):.6g}"
            )
        flows = scipy.sparse.diags_array(law) @ csr
        imbalance = abs(flows - flows.T).tocoo()
        if imbalance.data.max(initial=0.0) > 1e-9:
            where = int(np.argmax(imbalance.data))
            i, j = int(imbalance.row[where]), int(imbalance.col[where])
            raise ValueError(
                f"the self-repellent walk needs a reversible base chain; here the flow from {i} to {j} differs from "
                f"the flow back by {imbalance.data[where]:.3g}. Check that mu is its stationary law, or make the chain "
                "reversible: (P + D^-1 P^T D) / 2 with D = diag(mu)."
            )
        import scipy.sparse.csgraph

        _check_connected(scipy.sparse.csgraph.connected_components(csr, directed=False)[1])
        entries = csr.tocoo()
        return cls._from_triplets(entries.row, entries.col, entries.data, law)

    @classmethod
    def _from_triplets(
        cls, sources: np.ndarray, targets: np.ndarray, probabilities: np.ndarray, law: np.ndarray
    ) -> "BaseChain":
        keep = probabilities > 0
        sources, targets, probabilities = sources[keep], targets[keep], probabilities[keep]
        order = np.lexsort((targets, sources))
        offsets = np.concatenate([[0], np.cumsum(np.bincount(sources, minlength=len(law)))])
        return cls(
            jnp.asarray(offsets, jnp.int32),
            jnp.asarray(targets[order], jnp.int32),
            jnp.asarray(probabilities[order], float),
            jnp.asarray(law, float),
        )

    def row(self, node: Int[Array, ""]) -> Float[Array, " n"]:
        """Return the transition probabilities from a node to all nodes."""
        entries = jnp.arange(self.targets.shape[0])
        own = (entries >= self.offsets[node]) & (entries < self.offsets[node + 1])
        return jnp.zeros_like(self.mu).at[self.targets].add(jnp.where(own, self.probabilities, 0.0))


def _weights(mu: Numbers, size: int) -> np.ndarray:
    law = np.asarray(mu, np.float64)
    if law.shape != (size,):
        raise ValueError(f"mu has to have one weight for each of {size} nodes; got shape {law.shape}")
    if not np.all(np.isfinite(law)) or not np.all(law > 0):
        worst = int(np.argmin(np.where(np.isfinite(law), law, -np.inf)))
        raise ValueError(f"mu has to be positive and finite everywhere; node {worst} has {law[worst]}")
    return np.asarray(law / law.sum())


def _check_connected(component: np.ndarray) -> None:
    if component.max() > 0:
        other = int(np.argmax(component != component[0]))
        raise ValueError(
            f"the graph has {component.max() + 1} components: no path leads from node 0 to node {other}, so the walk "
            "cannot visit all nodes. Walk on one component."
        )


# --- the compiled core ----------------------------------------------------------------------------------------------

_LARGEST_INTEGER_POWER = 32
_RESCALE_AT = 1e30


@compiled
def _power(mass, mu, alpha, integer_alpha):  # type: ignore[no-untyped-def]
    """Return ``(mass / mu)^-alpha``, by multiplication if ``alpha`` is a small integer."""
    ratio = mu / mass
    if integer_alpha < 0:
        return ratio**alpha
    out = 1.0
    for _ in range(integer_alpha):
        out *= ratio
    return out


@compiled
def _choose(uniform, first, last, targets, probabilities, weight):  # type: ignore[no-untyped-def]
    """Draw an entry of a row from stored weights; ``last`` if they have overflowed or vanished."""
    total = 0.0
    for entry in range(first, last):
        total += probabilities[entry] * weight[np.uint64(targets[entry])]
    if not 1e-280 < total < 1e280:
        return last
    drawn = first
    level = uniform * total - probabilities[drawn] * weight[np.uint64(targets[drawn])]
    while level >= 0 and drawn + np.uint64(1) < last:
        drawn += np.uint64(1)
        level -= probabilities[drawn] * weight[np.uint64(targets[drawn])]
    return drawn


@compiled
def _choose_by_logs(uniform, first, last, targets, probabilities, mass, mu, alpha):  # type: ignore[no-untyped-def]
    """Draw an entry of a row from log weights: slower, and right however large the ratios are."""
    logs = np.empty(last - first)
    largest = -np.inf
    for entry in range(first, last):
        node = np.uint64(targets[entry])
        logs[entry - first] = np.log(np.float64(probabilities[entry])) - alpha * np.log(
            np.float64(mass[node]) / mu[node]
        )
        largest = max(largest, logs[entry - first])
    total = 0.0
    for k in range(logs.shape[0]):
        total += np.exp(logs[k] - largest)
        logs[k] = total
    level = uniform * total
    drawn = 0
    while drawn < logs.shape[0] - 1 and level >= logs[drawn]:
        drawn += 1
    return first + np.uint64(drawn)


@compiled
def _divide(values, divisor):  # type: ignore[no-untyped-def]
    for i in range(values.shape[0]):  # a loop: Numba takes seconds to compile array expressions
        values[i] /= divisor


@compiled
def _total(values):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(values.shape[0]):
        total += values[i]
    return total


@compiled
def _enter(here, step, visits, mass, fake, decay, total):  # type: ignore[no-untyped-def]
    """Count a visit, and return the total of the mass; without counting, others shrink by growing the total."""
    visits[here] += 1
    if decay == 1.0:
        mass[here] = fake[here] + visits[here]  # exact however large the count, as a running sum is not
        return total
    gamma = step**-decay
    total /= 1 - gamma
    mass[here] += gamma * total
    if total > _RESCALE_AT:
        _divide(mass, total)
        return 1.0
    return total


def _core(open_source: Any, uniform: Any) -> Any:
    @compiled
    def stored_walk(  # type: ignore[no-untyped-def]
        handle, here, done, visits, given_mass, offsets, targets, probabilities, given_mu, fake, alpha, decay, num_steps
    ):
        """Store a weight for each node: the common normaliser cancels, so that a visit changes one of them."""
        size = visits.shape[0]
        mass, mu, weight = np.empty(size), np.empty(size), np.empty(size)
        # What a counted visit needs of a node lies side by side: on a large graph each array would be a cache miss.
        beside = np.empty((size, 2))
        counting = decay == 1.0
        integer_alpha = int(alpha) if alpha == np.floor(alpha) and alpha <= _LARGEST_INTEGER_POWER else -1
        for i in range(size):
            mass[i], mu[i] = given_mass[i], given_mu[i]
            beside[i, 0], beside[i, 1] = fake[i], given_mu[i]
            weight[i] = _power(mass[i], mu[i], alpha, integer_alpha)
        total, start, moved = mass.sum(), fake.sum() + done, 0
        for step in range(1, num_steps + 1):
            first, last = np.uint64(offsets[here]), np.uint64(offsets[here + np.uint64(1)])
            u = uniform(handle)
            drawn = _choose(u, first, last, targets, probabilities, weight)
            if drawn == last:
                if counting:
                    for entry in range(first, last):
                        node = np.uint64(targets[entry])
                        mass[node] = beside[node, 0] + visits[node]
                drawn = _choose_by_logs(u, first, last, targets, probabilities, mass, mu, alpha)
            there = np.uint64(targets[drawn])
            moved += there != here
            here = there
            if counting:
                visits[here] += 1
                weight[here] = _power(beside[here, 0] + visits[here], beside[here, 1], alpha, integer_alpha)
                continue
            before = total
            total = _enter(here, start + step, visits, mass, fake, decay, total)
            if total < before:
                for i in range(size):
                    weight[i] = _power(mass[i], mu[i], alpha, integer_alpha)
            weight[here] = _power(mass[here], mu[here], alpha, integer_alpha)
        for i in range(size):
            given_mass[i] = beside[i, 0] + visits[i] if counting else mass[i] / total
        return here, moved

    @compiled
    def direct_walk(  # type: ignore[no-untyped-def]
        handle, here, done, visits, mass, offsets, targets, probabilities, mu, fake, largest_alpha, decay, growth,
        num_steps,
    ):  # fmt: skip
        """Compute weights where they are needed: for few steps, or a strength that changes."""
        counting = decay == 1.0
        total = 1.0 if counting else _total(mass)
        start, alpha, moved = _total(fake) + done, largest_alpha, 0
        for step in range(1, num_steps + 1):
            if np.isfinite(growth):
                alpha = min(largest_alpha, growth * np.log(np.float64(done + step)))
            first, last = np.uint64(offsets[here]), np.uint64(offsets[here + np.uint64(1)])
            drawn = _choose_by_logs(uniform(handle), first, last, targets, probabilities, mass, mu, alpha)
            there = np.uint64(targets[drawn])
            moved += there != here
            here = there
            total = _enter(here, start + step, visits, mass, fake, decay, total)
        if not counting:
            _divide(mass, total)
        return here, moved

    @compiled
    def core(  # type: ignore[no-untyped-def]
        randomness, position, visits, mass, done, offsets, targets, probabilities, mu, fake, alpha, decay, growth,
        num_steps, out_position, out_visits, out_mass, out_moved,
    ):  # fmt: skip
        handle = open_source(randomness)
        for i in range(mass.shape[0]):
            out_visits[i], out_mass[i] = visits[i], mass[i]
        here, moved = np.uint64(position[0]), 0
        alpha_, decay_, growth_ = np.float64(alpha[0]), np.float64(decay[0]), np.float64(growth[0])
        if np.isfinite(growth_) or 8 * num_steps[0] < mu.shape[0]:
            here, moved = direct_walk(
                handle, here, done[0], out_visits, out_mass, offsets, targets, probabilities, mu, fake, alpha_, decay_,
                growth_, num_steps[0],
            )  # fmt: skip
        else:
            here, moved = stored_walk(
                handle, here, done[0], out_visits, out_mass, offsets, targets, probabilities, mu, fake, alpha_, decay_,
                num_steps[0],
            )  # fmt: skip
        out_position[0] = here
        out_moved[0] = moved

    return core


@compiled
def _open_array(uniforms):  # type: ignore[no-untyped-def]
    return uniforms, np.zeros(1, np.int64)


@compiled
def _next_of_array(handle):  # type: ignore[no-untyped-def]
    uniforms, cursor = handle
    cursor[0] += 1
    return np.float64(uniforms[cursor[0] - 1])


def _operation(name: str, dtype: Any, open_source: Any, uniform: Any) -> NativeOperation:
    number, vector, rows = (None, 0), (None, 1), (np.int32, 1)
    return NativeOperation(
        f"walks.self_repellent.{name}",
        _core(open_source, uniform),
        inputs=[
            (dtype, 1), number, vector, vector, number, rows, rows, vector, vector, vector, number, number, number,
            (np.int32, 0),
        ],
        outputs=[number, vector, vector, (np.int32, 0)],
    )  # fmt: skip


_FROM_KEY = _operation("generator", np.uint32, counter_rng.stream, counter_rng.uniform)
_FROM_UNIFORMS = _operation("uniforms", None, _open_array, _next_of_array)


# --- kernels --------------------------------------------------------------------------------------------------------


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
        state, moved = self._walk(_FROM_KEY, key_words(key), state, 1)
        return state, SelfRepellentInfo(jnp.zeros((), jnp.int32), moved > 0)

    def run(
        self, key: PRNGKeyArray, state: SelfRepellentState, num_steps: int
    ) -> tuple[SelfRepellentState, SelfRepellentInfo]:
        """Make ``num_steps`` steps in one compiled loop."""
        state, moved = self._walk(_FROM_KEY, key_words(key), state, static_count("num_steps", num_steps))
        return state, SelfRepellentInfo(jnp.zeros((), jnp.int32), moved)

    def step_from_uniforms(self, uniforms: Float[Array, " steps"], state: SelfRepellentState) -> SelfRepellentState:
        """Make the steps that given uniforms decide, one each."""
        return self._walk(_FROM_UNIFORMS, uniforms, state, uniforms.shape[0])[0]

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
