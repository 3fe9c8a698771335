"""Metropolis-Hastings on finite and countable spaces, and the proposals for it."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.metropolis import as_ratio_rule
from ergodica.samplers.acceptance.rule import RatioRule
from ergodica.samplers.corrected import Corrected, MetropolisInfo, Proposal
from ergodica.samplers.density import LogDensity, evaluate, optional_logdensity
from ergodica.samplers.kernel import Claim, DensityState, Exactness, Kernel, Space

__all__ = ["FiniteMetropolis", "FiniteProposal", "MatrixWalk", "NeighbourWalk", "RingWalk", "UnitStep"]

_FINITE = frozenset({Space.FINITE})


class FiniteProposal(Proposal):
    """A proposal on the states ``0, ..., size - 1`` whose probabilities are known.

    To write one, subclass, and define :attr:`size`, ``propose``, :meth:`row` and :meth:`column`.
    """

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """Number of states."""

    @property
    def spaces(self) -> frozenset[Space]:
        """Finite spaces."""
        return _FINITE

    def check(self, position: PyTree) -> None:
        """Raise ``ValueError`` if the position is not a state."""
        if jnp.shape(position) != ():
            raise ValueError(
                f"{type(self).__name__} moves an integer in 0, ..., {self.size - 1}; got shape {jnp.shape(position)}"
            )
        if inputs.is_concrete(position) and not 0 <= int(position) < self.size:
            raise ValueError(f"{type(self).__name__} has the states 0, ..., {self.size - 1}; got {int(position)}")

    @abc.abstractmethod
    def row(self, position: Int[Array, ""]) -> Float[Array, " size"]:
        """Return the probabilities of the candidates from a state."""

    @abc.abstractmethod
    def column(self, position: Int[Array, ""]) -> Float[Array, " size"]:
        """Return the probabilities of proposing a state from all others."""


class RingWalk(FiniteProposal):
    """Proposal that goes one state up with some probability, else one down, on a ring.

    Parameters
    ----------
    size
        Number of states, at least 3; on a ring of two both ways lead to the same state.
    up
        Probability of going up, in (0, 1).

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of its range.
    """

    num_states: int = eqx.field(static=True)
    up: Float[Array, ""]

    def __init__(self, size: int, up: ArrayLike = 0.5) -> None:
        self.num_states = inputs.static_count("size", size, at_least=3)
        self.up = inputs.real_parameter("up", up, above=0.0)
        if inputs.is_concrete(self.up) and self.up >= 1:
            raise ValueError(f"up has to be below 1, or there is no way back; got {float(self.up):g}")

    @property
    def size(self) -> int:
        """Number of states."""
        return self.num_states

    def propose(self, key: PRNGKeyArray, position: PyTree) -> tuple[PyTree, Float[Array, ""]]:
        """Draw a neighbour."""
        up = self.up.astype(float)
        goes_up = random.bernoulli(key, up)
        candidate = (position + jnp.where(goes_up, 1, -1).astype(position.dtype)) % self.size
        odds = jnp.log1p(-up) - jnp.log(up)
        return candidate, jnp.where(goes_up, odds, -odds)

    def row(self, position: Int[Array, ""]) -> Float[Array, " size"]:
        """Return the probabilities of the candidates from a state."""
        up = self.up.astype(float)
        return jnp.zeros(self.size).at[(position + 1) % self.size].add(up).at[(position - 1) % self.size].add(1 - up)

    def column(self, position: Int[Array, ""]) -> Float[Array, " size"]:
        """Return the probabilities of proposing a state from all others."""
        up = self.up.astype(float)
        return jnp.zeros(self.size).at[(position - 1) % self.size].add(up).at[(position + 1) % self.size].add(1 - up)


def _as_table(neighbours: inputs.Numbers) -> Int[Array, "size degree"]:
    table = inputs.integer_array("neighbours", neighbours)
    if table.ndim != 2 or table.shape[0] == 0:
        raise ValueError(f"neighbours is a table with a row for each state, padded with -1; got shape {table.shape}")
    if inputs.is_concrete(table):
        values = np.asarray(table)
        if values.max() >= len(values) or values.min() < -1:
            raise ValueError(
                f"the states are 0, ..., {len(values) - 1}, and -1 pads; neighbours has entries from {values.min()} to "
                f"{values.max()}"
            )
        alone = np.flatnonzero(np.all(values == -1, axis=1))
        if alone.size:
            raise ValueError(f"state {alone[0]} has no neighbour to propose; list the state itself to let it stay")
    return table


class NeighbourWalk(FiniteProposal):
    """Proposal that picks one of the listed neighbours, each entry with equal probability.

    Parameters
    ----------
    neighbours
        Integer table of shape ``(size, degree)``: row ``i`` lists the neighbours of state ``i``, padded with ``-1``.
        Entries may repeat. A neighbour that does not list the state in its turn is never moved to.

    Raises
    ------
    ValueError, TypeError
        If the table is not of this kind.
    """

    neighbours: Int[Array, "size degree"]

    def __init__(self, neighbours: inputs.Numbers) -> None:
        self.neighbours = _as_table(neighbours)

    @property
    def size(self) -> int:
        """Number of states."""
        return int(self.neighbours.shape[0])

    def _probability(self, origin: Array, state: Array) -> Float[Array, "..."]:
        entries = self.neighbours[origin]
        hits = jnp.sum(entries == jnp.expand_dims(state, -1), axis=-1)
        return hits.astype(float) / jnp.sum(entries >= 0, axis=-1)

    def propose(self, key: PRNGKeyArray, position: PyTree) -> tuple[PyTree, Float[Array, ""]]:
        """Draw a neighbour."""
        entries = self.neighbours[position]
        slot = random.categorical(key, jnp.where(entries >= 0, 0.0, -jnp.inf))
        candidate = entries[slot].astype(position.dtype)
        return candidate, jnp.log(self._probability(candidate, position)) - jnp.log(
            self._probability(position, candidate)
        )

    def row(self, position: Int[Array, ""]) -> Float[Array, " size"]:
        """Return the probabilities of the candidates from a state."""
        return jax.vmap(lambda state: self._probability(position, state))(jnp.arange(self.size))

    def column(self, position: Int[Array, ""]) -> Float[Array, " size"]:
        """Return the probabilities of proposing a state from all others."""
        return jax.vmap(lambda origin: self._probability(origin, position))(jnp.arange(self.size))


def _as_matrix(matrix: inputs.Numbers) -> Float[Array, "size size"]:
    array = inputs.probability_vector("the matrix of a proposal", matrix, tolerance=1e-5)
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        raise ValueError(f"the matrix of a proposal is square, a row for each state; got shape {array.shape}")
    return jnp.maximum(array, 0.0)


class MatrixWalk(FiniteProposal):
    """Proposal with an arbitrary matrix of probabilities; a zero is never proposed.

    Parameters
    ----------
    matrix
        Shape ``(size, size)``; row ``i`` has the probabilities of the candidates from state ``i``. Rows are divided by
        their sums, which have to be 1 up to ``1e-5``.

    Raises
    ------
    ValueError
        If the matrix is not square, or a row is no probability vector.
    """

    matrix: Float[Array, "size size"]

    def __init__(self, matrix: inputs.Numbers) -> None:
        self.matrix = _as_matrix(matrix)

    @property
    def size(self) -> int:
        """Number of states."""
        return int(self.matrix.shape[0])

    def propose(self, key: PRNGKeyArray, position: PyTree) -> tuple[PyTree, Float[Array, ""]]:
        """Draw a candidate from the state's row."""
        there = self.row(position)
        candidate = random.categorical(key, jnp.log(there)).astype(position.dtype)
        return candidate, jnp.log(self.row(candidate)[position]) - jnp.log(there[candidate])

    def row(self, position: Int[Array, ""]) -> Float[Array, " size"]:
        """Return the probabilities of the candidates from a state."""
        row = self.matrix[position].astype(float)
        return row / jnp.sum(row)

    def column(self, position: Int[Array, ""]) -> Float[Array, " size"]:
        """Return the probabilities of proposing a state from all others."""
        matrix = self.matrix.astype(float)
        return matrix[:, position] / jnp.sum(matrix, axis=1)


class UnitStep(Proposal):
    """Symmetric proposal that adds or subtracts 1 at a coordinate picked uniformly: for integer positions of any shape.

    Use it with :class:`ergodica.samplers.corrected.Corrected` on a countable space; states outside the target's support
    get ``-inf`` from the log density and are rejected.
    """

    @property
    def spaces(self) -> frozenset[Space]:
        """Finite spaces, and all integers."""
        return _FINITE

    def propose(self, key: PRNGKeyArray, position: PyTree) -> tuple[PyTree, Float[Array, ""]]:
        """Draw a candidate; the log ratio is 0."""
        key_coordinate, key_sign = random.split(key)
        flat, unravel = ravel_pytree(position)
        coordinate = random.randint(key_coordinate, (), 0, flat.size)
        sign = jnp.where(random.bernoulli(key_sign, 0.5), 1, -1).astype(flat.dtype)
        return unravel(flat.at[coordinate].add(sign)), jnp.zeros(())


class FiniteMetropolis(Kernel[DensityState, MetropolisInfo]):
    """Exact, reversible Metropolis-Hastings on the states ``0, ..., size - 1``, with its transition probabilities.

    Parameters
    ----------
    proposal
        A proposal whose probabilities are known, such as :class:`RingWalk`, :class:`NeighbourWalk` or
        :class:`MatrixWalk`.
    rule
        Decides by the ratio ``r = pi_j K_ji / (pi_i K_ij)``; default: Metropolis's.
    logdensity
        The target: a callable from an integer scalar to the log of its probability, up to a constant.

    Raises
    ------
    TypeError
        If the proposal or the rule is none.

    Notes
    -----
    Claim: exact and reversible for every proposal and every balanced rule. It is irreducible if the proposal connects
    the support in both directions.

    References
    ----------
    W. K. Hastings, 1970, Biometrika 57, doi:10.1093/biomet/57.1.97; P. Peskun, 1973, Biometrika 60,
    doi:10.1093/biomet/60.3.607.
    """

    proposal: FiniteProposal
    rule: RatioRule
    logdensity: Partial | None

    def __init__(
        self, proposal: FiniteProposal, rule: RatioRule | None = None, logdensity: LogDensity | None = None
    ) -> None:
        if not isinstance(proposal, FiniteProposal):
            raise TypeError(
                "FiniteMetropolis needs a FiniteProposal, such as RingWalk(size) or MatrixWalk(matrix); got "
                f"{proposal!r}. Use Corrected for proposals whose probabilities are not listed."
            )
        self.proposal = proposal
        self.rule = as_ratio_rule(rule, "FiniteMetropolis")
        self.logdensity = optional_logdensity(logdensity)

    @property
    def claim(self) -> Claim:
        """Exact and reversible."""
        return Claim(
            Exactness.EXACT,
            "leaves the target invariant for every proposal",
            source="Hastings 1970, doi:10.1093/biomet/57.1.97",
            reversible=True,
            spaces=_FINITE,
        )

    def _corrected(self) -> Corrected:
        return Corrected(self.proposal, self.rule, self.logdensity)

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> DensityState:
        """Return the state of a chain that starts at ``position``, an integer scalar of positive probability."""
        del key
        position = inputs.integer_position(position, "FiniteMetropolis")
        self.proposal.check(position)
        dtype = jnp.result_type(float)
        return DensityState(position, inputs.start_density(self._target(), position, "FiniteMetropolis", dtype))

    def step(self, key: PRNGKeyArray, state: DensityState) -> tuple[DensityState, MetropolisInfo]:
        """Propose a state, and accept or stay."""
        return self._corrected().step(key, state)

    def refresh(self, state: DensityState) -> DensityState:
        """Recompute the log density at the state's position."""
        return self._corrected().refresh(state)

    def transition_row(self, state: DensityState) -> Float[Array, " size"]:
        """Return the law of the next position, in closed form.

        Parameters
        ----------
        state
            The current state.

        Returns
        -------
        array of shape (size,)
        """
        target, dtype = self._target(), state.logdensity.dtype
        states = jnp.arange(self.proposal.size, dtype=state.position.dtype)
        values = jax.vmap(lambda position: evaluate(target, position, dtype)[0])(states)
        there = self.proposal.row(state.position).astype(dtype)
        back = self.proposal.column(state.position).astype(dtype)
        log_ratio = values - state.logdensity + jnp.log(back) - jnp.log(there)
        moved = jnp.where(there > 0, there * self.rule.probability(log_ratio), 0.0).at[state.position].set(0.0)
        return moved.at[state.position].set(1.0 - jnp.sum(moved))
