"""Partial rejection sampling: a product law without bad events, by drawing again no more than is needed."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.rejection.trials import DrawState
from ergodica.samplers.kernel import Claim, Exactness, Kernel, Space

__all__ = ["PartialRejection", "PartialRejectionInfo", "sink_free_events"]


class PartialRejectionInfo(NamedTuple):
    """What a draw reports.

    Parameters
    ----------
    num_rounds
        Rounds in which something was drawn again.
    num_resampled
        Variables drawn again, over all rounds.
    num_evals
        Zero: no density is evaluated.
    cap_hit
        Whether bad events were left after ``max_rounds``, and the chain stayed.
    """

    num_rounds: Int[Array, ""]
    num_resampled: Int[Array, ""]
    num_evals: Int[Array, ""]
    cap_hit: Bool[Array, ""]


def sink_free_events(edges: Sequence[tuple[int, int]], num_nodes: int) -> list[dict[int, int]]:
    """Return the events that a node is a sink, for orientations of the edges of a graph.

    Parameters
    ----------
    edges
        Pairs of nodes; variable ``e`` is 1 if edge ``e`` points from the first to the second, and 0 otherwise.
    num_nodes
        Number of nodes; those without edges are left out.
    """
    events: list[dict[int, int]] = [{} for _ in range(inputs.static_count("num_nodes", num_nodes))]
    for number, (tail, head) in enumerate(edges):
        if tail == head or not (0 <= tail < num_nodes and 0 <= head < num_nodes):
            raise ValueError(f"edge {number} has to join two different nodes below {num_nodes}; got {(tail, head)}")
        events[head][number] = 1
        events[tail][number] = 0
    return [event for event in events if event]


class PartialRejection(Kernel[DrawState, PartialRejectionInfo]):
    """Exact independent draws of a product law, given that no bad event happens, by drawing again only what is needed.

    A bad event is a set of values of some variables. Where two events that share variables can never happen together (an
    extremal instance, such as that no node of an oriented graph is a sink), the variables of the events that happened are
    drawn again. In general more is: events that could happen, given what is known of the variables to be drawn again, are
    added until none can.

    Parameters
    ----------
    laws
        Probabilities of the values of each variable, shape ``(n, m)``; or ``(m,)`` with ``num_variables``.
    events
        Each a mapping from variables to their bad values. An event with several bad sets of values is given as several.
    num_variables
        Number of variables, if they all have one law.
    max_rounds
        After this many rounds the chain stays where it is. That keeps the target, since the draw is independent of what
        was drawn again.

    Raises
    ------
    ValueError
        If a law is none, or an event is empty or names a variable or value that does not exist. In an instance whose
        events cannot be avoided no draw ends; the chain then stays for ever, and ``cap_hit`` says so.

    References
    ----------
    H. Guo, M. Jerrum and J. Liu, Uniform sampling through the Lovász local lemma, 2019, J. ACM 66(3), arXiv:1611.01647.
    """

    laws: Float[Array, "n m"]
    bad: Int[Array, "events n"]
    max_rounds: int = eqx.field(static=True)

    def __init__(
        self,
        laws: inputs.Numbers,
        events: Sequence[Mapping[int, int]],
        *,
        num_variables: int | None = None,
        max_rounds: int = 100_000,
    ) -> None:
        values = inputs.probability_vector("laws", laws)
        if values.ndim == 1 and num_variables is not None:
            values = jnp.broadcast_to(values, (inputs.static_count("num_variables", num_variables), values.shape[0]))
        if values.ndim != 2 or (num_variables is not None and values.shape[0] != num_variables):
            raise ValueError(
                f"laws has to have shape (num_variables, values), or (values,) with num_variables=; got {values.shape}"
            )
        self.laws = values / jnp.sum(values, axis=1, keepdims=True)
        n, m = values.shape
        bad = np.full((len(events), n), -1, np.int32)
        for row, event in enumerate(events):
            if not event:
                raise ValueError(f"event {row} is empty: it always happens, and cannot be avoided")
            for variable, value in event.items():
                if not (0 <= variable < n and 0 <= value < m):
                    raise ValueError(
                        f"event {row} has variable {variable} at value {value}; there are {n} variables and {m} values"
                    )
                bad[row, variable] = value
        self.bad = jnp.asarray(bad)
        self.max_rounds = inputs.static_count("max_rounds", max_rounds)

    @property
    def claim(self) -> Claim:
        """Exact and independent."""
        return Claim(
            Exactness.EXACT,
            "draws independently from a product law, given that no bad event happens",
            source="Guo, Jerrum and Liu 2019, arXiv:1611.01647",
            reversible=True,
            spaces=frozenset({Space.FINITE}),
            independent=True,
        )

    @property
    def is_extremal(self) -> bool:
        """Whether no two events that share variables can happen together."""
        bad = np.asarray(self.bad)
        shared = (bad[:, None] >= 0) & (bad[None] >= 0)
        apart = np.any(shared & (bad[:, None] != bad[None]), axis=-1)
        return bool(np.all(apart | ~np.any(shared, axis=-1) | np.eye(len(bad), dtype=bool)))

    def happening(self, position: Int[Array, " n"]) -> Bool[Array, " events"]:
        """Which events happen."""
        return jnp.all((self.bad < 0) | (self.bad == position), axis=1)

    def resampling_set(self, position: Int[Array, " n"]) -> Bool[Array, " n"]:
        """Which variables are drawn again: those of the events that happen, and of all that these could hide."""
        scopes = self.bad >= 0

        def variables(chosen: Array) -> Array:
            return jnp.any(scopes & chosen[:, None], axis=0)

        def grown(chosen: Array) -> Array:
            known = variables(chosen)
            touches = jnp.any(scopes & known, axis=1)
            # With what is known of the position, the values of the variables to be drawn again, could it happen?
            possible = jnp.all(~scopes | ~known | (self.bad == position), axis=1)
            return chosen | (touches & possible)

        def body(carry: tuple[Array, Array]) -> tuple[Array, Array]:
            chosen, _ = carry
            more = grown(chosen)
            return more, jnp.any(more != chosen)

        chosen, _ = lax.while_loop(lambda carry: carry[1], body, (self.happening(position), jnp.asarray(True)))
        return variables(chosen)

    def resample(self, key: PRNGKeyArray, position: Int[Array, " n"]) -> Int[Array, " n"]:
        """Draw the variables of the resampling set again."""
        fresh = random.categorical(key, jnp.log(self.laws)).astype(position.dtype)
        return jnp.where(self.resampling_set(position), fresh, position)

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> DrawState:
        """Return the state at values for which no event happens, which the draws then forget."""
        del key
        position = inputs.integer_position(position, "PartialRejection")
        n, m = self.laws.shape
        if jnp.shape(position) != (n,):
            raise ValueError(f"PartialRejection needs the values of {n} variables; got shape {jnp.shape(position)}")
        if inputs.is_concrete((position, self)):
            values = np.asarray(position)
            if np.any((values < 0) | (values >= m)) or np.any(np.asarray(self.laws)[np.arange(n), values] <= 0):
                raise ValueError(f"a position holds values in 0, ..., {m - 1} of positive probability; got {values}")
            if np.any(np.asarray(self.happening(position))):
                raise ValueError(f"bad events happen at {values}: {np.flatnonzero(self.happening(position)).tolist()}")
        return DrawState(position)

    def step(self, key: PRNGKeyArray, state: DrawState) -> tuple[DrawState, PartialRejectionInfo]:
        """Draw from the target."""
        none = jnp.zeros((), jnp.int32)
        fresh = random.categorical(random.fold_in(key, 0), jnp.log(self.laws)).astype(state.position.dtype)

        def body(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            values, rounds, resampled = carry
            again = jnp.sum(self.resampling_set(values), dtype=jnp.int32)
            return self.resample(random.fold_in(key, rounds + 1), values), rounds + 1, resampled + again

        values, rounds, resampled = lax.while_loop(
            lambda carry: jnp.any(self.happening(carry[0])) & (carry[1] < self.max_rounds), body, (fresh, none, none)
        )
        bad = jnp.any(self.happening(values))
        position = jnp.where(bad, state.position, values)
        return DrawState(position), PartialRejectionInfo(rounds, resampled, none, bad)
