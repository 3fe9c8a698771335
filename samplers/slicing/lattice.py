"""Slice sampling on integers."""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers import inputs, random
from ergodica.samplers.density import LogDensity, evaluate, optional_logdensity
from ergodica.samplers.kernel import Claim, DensityState, Exactness, Kernel, Space

WIDEN_LEFT, WIDEN_RIGHT, SHRINK, DONE = 0, 1, 2, 3


class LatticeInfo(NamedTuple):
    """What a step reports: evaluations, invalid ones among them, widenings and rejected points."""

    num_evals: Int[Array, ""]
    num_invalid: Int[Array, ""]
    num_expansions: Int[Array, ""]
    num_shrink: Int[Array, ""]


class _Block(NamedTuple):
    """Search for a new value of one coordinate: offsets in the block ``left, ..., right - 1`` are candidates.

    The height is uniform below the current weight, which is set to one, and known to lie between ``low`` and ``high``.
    """

    phase: Int[Array, ""]
    offset: Int[Array, ""]
    left: Int[Array, ""]
    right: Int[Array, ""]
    left_budget: Int[Array, ""]
    right_budget: Int[Array, ""]
    low: Float[Array, ""]
    high: Float[Array, ""]


class LatticeSlice(Kernel[DensityState, LatticeInfo]):
    """Exact slice sampler on integers, one coordinate after another, by stepping out and shrinking blocks of cells.

    The height under the weight of the current point is decided piece by piece. Each point that is looked at asks
    whether its weight is above the height, which is a coin whose probability follows from the answers before. The law
    is that of a uniform height, and it can be enumerated.

    Parameters
    ----------
    width
        Number of cells of the first block, and of each widening; at least 1.
    max_steps
        The block spans at most this many widths; the budget is split at random between the sides.
    logdensity
        The target: a callable from integers to a scalar, ``-inf`` where the weight is zero. It is also asked about
        neighbours outside the support.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of its range.

    Notes
    -----
    Claim: exact for every width and budget; reversible for a single coordinate. It is irreducible only if width and
    budget reach across the gaps of the support.

    References
    ----------
    R. M. Neal, Slice sampling, Annals of Statistics 31(3), 2003, doi:10.1214/aos/1056562461, with cells for intervals.
    """

    width: int = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)
    logdensity: Partial | None

    def __init__(self, width: int = 2, *, max_steps: int = 64, logdensity: LogDensity | None = None) -> None:
        self.width = width
        self.max_steps = max_steps
        self.logdensity = optional_logdensity(logdensity)

    def __check_init__(self) -> None:
        inputs.static_count("width", self.width)
        inputs.static_count("max_steps", self.max_steps)

    @property
    def claim(self) -> Claim:
        """Exact on integers."""
        return Claim(
            Exactness.EXACT,
            "each coordinate's update leaves the target invariant, for every width and budget",
            source="Neal 2003, Annals of Statistics 31(3), doi:10.1214/aos/1056562461",
            spaces=frozenset({Space.FINITE}),
        )

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> DensityState:
        """Return the state of a chain that starts at ``position``, a pytree of integer arrays."""
        del key
        position = inputs.integer_position(position, "LatticeSlice")
        dtype = jnp.result_type(float)
        return DensityState(position, inputs.start_density(self._target(), position, "LatticeSlice", dtype))

    def step(self, key: PRNGKeyArray, state: DensityState) -> tuple[DensityState, LatticeInfo]:
        """Update every coordinate in order."""
        target = self._target()
        start, unravel = ravel_pytree(state.position)
        dimension, integer = start.size, start.dtype
        dtype = state.logdensity.dtype
        key_place, key_budget, key_answer, key_point = random.split(key, 4)
        places = random.randint(key_place, (dimension,), 0, self.width, integer)
        budgets = random.randint(key_budget, (dimension,), 0, self.max_steps, integer)

        def begin(index: Int[Array, ""], key: PRNGKeyArray, wanted: Bool[Array, ""]) -> _Block:
            left, budget = -places[index], budgets[index]
            rest = self.max_steps - 1 - budget
            phase = jnp.where(budget > 0, WIDEN_LEFT, jnp.where(rest > 0, WIDEN_RIGHT, SHRINK))
            low, high = jnp.zeros((), dtype), jnp.ones((), dtype)
            block = _Block(phase, left, left, left + self.width, budget, rest, low, high)
            return self._next(block, key, wanted)

        def unfinished(carry: Any) -> Bool[Array, ""]:
            going: Bool[Array, ""] = carry[0] < dimension
            return going

        def turn(carry: Any) -> Any:
            index, flat, value, block, info = carry
            axis = (jnp.arange(dimension) == index).astype(integer)
            found, invalid = evaluate(target, unravel(flat + block.offset * axis), dtype)
            count = info.num_evals
            weight = jnp.exp(found - value)
            chance = (weight - block.low) / (block.high - block.low)
            inside = random.bernoulli(random.fold_in(key_answer, count), chance)
            block = block._replace(
                low=jnp.where(inside, block.low, jnp.maximum(block.low, weight)),
                high=jnp.where(inside, jnp.minimum(block.high, weight), block.high),
            )
            moved, accepted = self._advance(block, inside)
            flat = flat + jnp.where(accepted, block.offset, 0) * axis
            value = jnp.where(accepted, found, value)
            index = index + accepted
            info = LatticeInfo(
                count + 1,
                info.num_invalid + invalid,
                info.num_expansions + (block.phase < SHRINK) * inside,
                info.num_shrink + ((block.phase == SHRINK) & ~inside),
            )
            key_now = random.fold_in(key_point, count + 1)
            going = self._next(moved, random.fold_in(key_now, 0), ~accepted)
            fresh = begin(jnp.minimum(index, dimension - 1), random.fold_in(key_now, 1), accepted & (index < dimension))
            block = _Block(*(jnp.where(accepted, a, b) for a, b in zip(fresh, going, strict=True)))
            return index, flat, value, block, info

        zero = jnp.zeros((), jnp.int32)
        first = begin(zero, random.fold_in(key_point, 0), jnp.asarray(True))
        begun = (zero, start, state.logdensity, first, LatticeInfo(zero, zero, zero, zero))
        _, flat, value, _, info = lax.while_loop(unfinished, turn, begun)
        return DensityState(unravel(flat), value), info

    def _advance(self, block: _Block, inside: Bool[Array, ""]) -> tuple[_Block, Bool[Array, ""]]:
        """Take the answer at the point asked about; return the new block, and whether the point was accepted."""
        at_left = block.phase == WIDEN_LEFT
        at_right = block.phase == WIDEN_RIGHT
        shrinking = block.phase == SHRINK
        grow_left, grow_right = at_left & inside, at_right & inside
        left_budget = block.left_budget - grow_left
        right_budget = block.right_budget - grow_right
        phase = jnp.where(at_left & ~(grow_left & (left_budget > 0)), WIDEN_RIGHT, block.phase)
        stop = (at_right & ~inside) | (right_budget == 0)
        phase = jnp.where((phase == WIDEN_RIGHT) & stop, SHRINK, phase)
        rejected = shrinking & ~inside
        left = jnp.where(rejected & (block.offset < 0), block.offset + 1, block.left - grow_left * self.width)
        right = jnp.where(rejected & (block.offset > 0), block.offset, block.right + grow_right * self.width)
        moved = block._replace(phase=phase, left=left, right=right, left_budget=left_budget, right_budget=right_budget)
        return moved, shrinking & inside

    def _right_probe(self, block: _Block) -> Int[Array, ""]:
        """Return the cell that decides whether the block grows to the right.

        The cells that are asked about on either side lie on one grid with the period of the width, whatever the number
        of widenings; the last cell of the block would not.
        """
        return block.right

    def _next(self, block: _Block, key: PRNGKeyArray, wanted: Bool[Array, ""]) -> _Block:
        """Choose the next point; a range of one cell where none has to be drawn keeps enumeration from branching."""
        draws = wanted & (block.phase == SHRINK)
        stop = jnp.where(draws, block.right, block.left + 1)
        proposal = random.randint(key, (), block.left, stop, block.left.dtype)
        offset = jnp.where(block.phase == WIDEN_LEFT, block.left, self._right_probe(block))
        return block._replace(offset=jnp.where(block.phase == SHRINK, proposal, offset))
