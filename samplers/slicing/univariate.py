"""Neal's slice update along a line, as a search that a loop drives with one evaluation a turn.

An update draws a height below the density at the current point, finds an interval around the point, and draws from the
part of the interval that lies in the slice. Both ways to find the interval, :class:`SteppingOut` and
:class:`Doubling`, are written as a search with three verbs: ``draw`` the random numbers that place it, ``start`` it,
and ``advance`` it by the answer to one question, whether the point at ``search.offset`` lies in the slice. So the
density is evaluated at one place, in the body of one loop, and the lanes of a ``vmap`` need not be in the same phase,
on the same coordinate, or in the same part of a sweep.

Offsets are measured from the current point in units of the width.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ergodica.samplers import inputs, random
from ergodica.samplers.slicing.turns import take_turns

WIDEN_LEFT, WIDEN_RIGHT, SHRINK, DONE = 0, 1, 2, 3
WIDEN, TEST = 0, 1

OUTSIDE, INSIDE, UNKNOWN = 0, 1, 2


class Search(NamedTuple):
    """Where a search along a line stands.

    Parameters
    ----------
    phase
        One of the phases of the method, ``SHRINK``, or ``DONE``.
    offset
        The point to evaluate next; once done, the point that was found (0 if the search gave up).
    left, right
        The interval.
    value
        Log density of the last point found in the slice while shrinking.
    accepted
        Whether the search ended in a point of the slice; ``False`` after ``max_shrink`` rejected points.
    num_expansions, num_shrink
        How often the interval grew, and how many points were rejected.
    plan
        What the method needs beyond this.
    """

    phase: Int[Array, ""]
    offset: Float[Array, ""]
    left: Float[Array, ""]
    right: Float[Array, ""]
    value: Float[Array, ""]
    accepted: Bool[Array, ""]
    num_expansions: Int[Array, ""]
    num_shrink: Int[Array, ""]
    plan: Any

    @property
    def done(self) -> Bool[Array, ""]:
        """Whether the search has ended."""
        return self.phase == DONE


class SliceInfo(NamedTuple):
    """What a step of a slice sampler reports.

    Parameters
    ----------
    num_evals
        Evaluations of the log density.
    num_invalid
        How many of them gave NaN or ``+inf``, and counted as outside the slice.
    num_expansions
        How often an interval grew.
    num_shrink
        How many proposed points were rejected.
    cap_hit
        Whether a search gave up after ``max_shrink`` rejected points and stayed, which keeps the target invariant.
    """

    num_evals: Int[Array, ""]
    num_invalid: Int[Array, ""]
    num_expansions: Int[Array, ""]
    num_shrink: Int[Array, ""]
    cap_hit: Bool[Array, ""]

    @classmethod
    def zero(cls) -> "SliceInfo":
        """Return the info of no evaluations."""
        count = jnp.zeros((), jnp.int32)
        return cls(count, count, count, count, jnp.zeros((), bool))

    def tally(self, invalid: Bool[Array, ""], search: Search) -> "SliceInfo":
        """Add one evaluation, and the totals of a search if it has just ended."""
        ended = search.done
        return SliceInfo(
            self.num_evals + 1,
            self.num_invalid + invalid,
            self.num_expansions + jnp.where(ended, search.num_expansions, 0),
            self.num_shrink + jnp.where(ended, search.num_shrink, 0),
            self.cap_hit | (ended & ~search.accepted),
        )


class Budgets(NamedTuple):
    """How many more times stepping-out may widen each side."""

    left: Int[Array, ""]
    right: Int[Array, ""]


class SteppingOut(eqx.Module):
    """Widen the interval by one width at a time until its ends leave the slice, then shrink.

    Parameters
    ----------
    max_steps
        The interval spans at most this many widths; ``None`` for no limit. The budget is split at random between the
        sides, ``J`` uniform on ``0, ..., max_steps - 1`` to the left and ``max_steps - 1 - J`` to the right: the split
        makes the position of the current point in the longest possible interval uniform, and so the update exact.
        A fixed budget for each side is not.
    max_shrink
        After this many rejected points the search gives up at offset 0. What is lost to it lies on the diagonal of the
        transition kernel, so the update stays exact and reversible.

    References
    ----------
    R. M. Neal, Slice sampling, Annals of Statistics 31(3), 2003, Figures 3 and 5, doi:10.1214/aos/1056562461.
    """

    max_steps: int | None = eqx.field(static=True, default=64)
    max_shrink: int = eqx.field(static=True, default=64)

    def __check_init__(self) -> None:
        if self.max_steps is not None:
            inputs.static_count("max_steps", self.max_steps)
        inputs.static_count("max_shrink", self.max_shrink)

    def draw(
        self, key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any
    ) -> tuple[Float[Array, "..."], Int[Array, "..."]]:
        """Draw where the point lies in the first interval, and the left budget, for several searches."""
        key_place, key_budget = random.split(key)
        place = random.uniform(key_place, shape, dtype)
        if self.max_steps is None:
            return place, jnp.zeros(shape, jnp.int32)
        return place, random.randint(key_budget, shape, 0, self.max_steps, jnp.int32)

    def start(
        self,
        place: Float[Array, ""],
        budget: Int[Array, ""],
        uniform: Float[Array, ""],
        lower: Float[Array, ""] | float = -jnp.inf,
    ) -> Search:
        """Return a search before its first evaluation.

        Parameters
        ----------
        place, budget
            As drawn by :meth:`draw`.
        uniform
            A fresh uniform number, for the first proposal should no end need an evaluation.
        lower
            Lower end of the support; the density is never evaluated at or below it.
        """
        budgets = Budgets(budget, (self.max_steps or 1) - 1 - budget)
        if self.max_steps is None:
            unlimited = jnp.full_like(budget, 2**31 - 1)
            budgets = Budgets(unlimited, unlimited)
        left = -place
        phase = jnp.where(
            (budgets.left > 0) & (left > lower), WIDEN_LEFT, jnp.where(budgets.right > 0, WIDEN_RIGHT, SHRINK)
        )
        return _next_point(_fresh(phase, left, left + 1, budgets), uniform, lower)

    def advance(
        self,
        search: Search,
        value: Float[Array, ""],
        inside: Bool[Array, ""],
        uniform: Float[Array, ""],
        lower: Float[Array, ""] | float = -jnp.inf,
    ) -> Search:
        """Take the answer at ``search.offset`` and choose the next point.

        Parameters
        ----------
        search
            A search that is not done.
        value, inside
            Log density at ``search.offset``, and whether it lies in the slice.
        uniform
            A fresh uniform number.
        lower
            Lower end of the support.
        """
        at_left = search.phase == WIDEN_LEFT
        at_right = search.phase == WIDEN_RIGHT
        grow_left = at_left & inside
        grow_right = at_right & inside
        left = search.left - grow_left
        budgets = Budgets(search.plan.left - grow_left, search.plan.right - grow_right)
        stay_left = grow_left & (budgets.left > 0) & (left > lower)
        phase = jnp.where(at_left & ~stay_left, WIDEN_RIGHT, search.phase)
        end_right = (at_right & ~inside) | (budgets.right == 0)
        phase = jnp.where((phase == WIDEN_RIGHT) & end_right, SHRINK, phase)
        moved = search._replace(
            phase=phase,
            left=left,
            right=search.right + grow_right,
            num_expansions=search.num_expansions + grow_left + grow_right,
            plan=budgets,
        )
        proposed = search.phase == SHRINK
        return _next_point(
            _settle(moved, value, proposed & inside, proposed & ~inside, self.max_shrink), uniform, lower
        )

    def shrink_from(self, left: Float[Array, ""], right: Float[Array, ""], first: Float[Array, ""]) -> Search:
        """Return a search that does not widen: it begins with the interval and the proposal given."""
        none = jnp.zeros((), jnp.int32)
        search = _fresh(jnp.asarray(SHRINK), left, right, Budgets(none, none))
        return search._replace(offset=first)


class Dyadic(NamedTuple):
    """The plan of a doubling search.

    A grid of ``2**max_doublings`` cells, each one width wide, is laid at random over the line; the current point lies
    in cell ``cell``, a fraction ``place`` from its left end. The interval after ``level`` doublings is the block of
    ``2**level`` cells, starting at a multiple of ``2**level``, that contains the cell.
    """

    place: Float[Array, ""]
    cell: Int[Array, ""]
    level: Int[Array, ""]
    left: Int[Array, ""]
    right: Int[Array, ""]
    candidate: Float[Array, ""]
    test_cell: Int[Array, ""]
    test_level: Int[Array, ""]
    test_left: Int[Array, ""]
    test_right: Int[Array, ""]


class Doubling(eqx.Module):
    """Double the interval, to a side chosen at random, until both ends leave the slice, then shrink.

    A proposed point is accepted only if doubling from there could have ended in the same interval. On the random grid
    that places the intervals this reads: no block on the way down from the interval to the cell of the proposed point
    has both ends outside the slice. Blocks that contain the current point too have passed already. The test is about
    the interval that doubling found; testing the shrunken one, or nothing, gives another invariant law.

    Parameters
    ----------
    max_doublings
        The interval spans at most ``2**max_doublings`` widths; at most 30.
    max_shrink
        As in :class:`SteppingOut`.

    References
    ----------
    R. M. Neal, Slice sampling, Annals of Statistics 31(3), 2003, Figures 4, 5 and 6, doi:10.1214/aos/1056562461.
    """

    max_doublings: int = eqx.field(static=True, default=10)
    max_shrink: int = eqx.field(static=True, default=64)

    def __check_init__(self) -> None:
        inputs.static_count("max_doublings", self.max_doublings, at_least=0)
        if self.max_doublings > 30:
            raise ValueError(f"max_doublings has to be at most 30, a factor of 1e9; got {self.max_doublings}")
        inputs.static_count("max_shrink", self.max_shrink)

    def draw(
        self, key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any
    ) -> tuple[Float[Array, "..."], Int[Array, "..."]]:
        """Draw where the point lies in its cell, and which cell of the grid that is, for several searches."""
        key_place, key_cell = random.split(key)
        place = random.uniform(key_place, shape, dtype)
        return place, random.randint(key_cell, shape, 0, 2**self.max_doublings, jnp.int32)

    def start(
        self,
        place: Float[Array, ""],
        cell: Int[Array, ""],
        uniform: Float[Array, ""],
        lower: Float[Array, ""] | float = -jnp.inf,
    ) -> Search:
        """Return a search before its first evaluation; arguments as in :meth:`SteppingOut.start`."""
        unknown = jnp.asarray(UNKNOWN, jnp.int32)
        zero = jnp.zeros((), jnp.int32)
        plan = Dyadic(place, cell, zero, unknown, unknown, jnp.zeros_like(place), zero, zero, unknown, unknown)
        phase = jnp.asarray(WIDEN if self.max_doublings > 0 else SHRINK)
        return self._next(_fresh(phase, -place, 1 - place, plan), uniform, lower)

    def advance(
        self,
        search: Search,
        value: Float[Array, ""],
        inside: Bool[Array, ""],
        uniform: Float[Array, ""],
        lower: Float[Array, ""] | float = -jnp.inf,
    ) -> Search:
        """Take the answer at ``search.offset`` and choose the next point; see :meth:`SteppingOut.advance`."""
        widening = search.phase == WIDEN
        testing = search.phase == TEST
        proposed = search.phase == SHRINK
        answer = jnp.where(inside, INSIDE, OUTSIDE).astype(jnp.int32)

        plan: Dyadic = search.plan
        ask_left = plan.left == UNKNOWN
        plan = plan._replace(
            left=jnp.where(widening & ask_left, answer, plan.left),
            right=jnp.where(widening & ~ask_left, answer, plan.right),
        )
        plan = self._widen(plan, widening)
        has_both = (plan.left == OUTSIDE) & (plan.right == OUTSIDE)
        widened = widening & (has_both | (plan.level == self.max_doublings))
        first = ((plan.cell >> plan.level) << plan.level) - plan.cell
        bracket_left = first.astype(plan.place.dtype) - plan.place
        bracket_right = (first + (1 << plan.level)).astype(plan.place.dtype) - plan.place

        ask_left = plan.test_left == UNKNOWN
        plan = plan._replace(
            test_left=jnp.where(testing & ask_left, answer, plan.test_left),
            test_right=jnp.where(testing & ~ask_left, answer, plan.test_right),
        )
        plan = self._begin_test(plan, search.offset, proposed & inside)
        plan = self._descend(plan, (proposed & inside) | testing)
        passed = (plan.test_left == INSIDE) | (plan.test_right == INSIDE)
        failed = (plan.test_left == OUTSIDE) & (plan.test_right == OUTSIDE)
        in_test = (proposed & inside) | testing
        phase = jnp.where(widened | (testing & failed), SHRINK, search.phase)
        phase = jnp.where(proposed & inside & ~passed & ~failed, TEST, phase)

        moved = search._replace(
            phase=phase,
            left=jnp.where(widening, bracket_left, search.left),
            right=jnp.where(widening, bracket_right, search.right),
            value=jnp.where(proposed & inside, value, search.value),
            offset=jnp.where(proposed, search.offset, plan.candidate),
            num_expansions=plan.level,
            plan=plan,
        )
        rejected = (proposed & ~inside) | (in_test & failed)
        return self._next(_settle(moved, moved.value, in_test & passed, rejected, self.max_shrink), uniform, lower)

    def _widen(self, plan: Dyadic, active: Bool[Array, ""]) -> Dyadic:
        """Double for as long as an end is known to lie in the slice: that takes no evaluation."""

        def again(at: Dyadic) -> Bool[Array, ""]:
            inside = (at.left == INSIDE) | (at.right == INSIDE)
            return active & inside & (at.level < self.max_doublings)

        def double(at: Dyadic) -> Dyadic:
            keeps_left = ((at.cell >> at.level) & 1) == 0
            return at._replace(
                level=at.level + 1,
                left=jnp.where(keeps_left, at.left, UNKNOWN),
                right=jnp.where(keeps_left, UNKNOWN, at.right),
            )

        return lax.while_loop(again, double, plan)

    def _begin_test(self, plan: Dyadic, offset: Float[Array, ""], active: Bool[Array, ""]) -> Dyadic:
        """Find the largest block that contains the proposed point and not the current one."""
        start = (plan.cell >> plan.level) << plan.level
        stop = start + (1 << plan.level)
        cell = plan.cell + jnp.floor(offset + plan.place).astype(jnp.int32)
        cell = jnp.clip(cell, start, stop - 1)
        level = 31 - lax.clz(cell ^ plan.cell)
        same = level < 0
        level = jnp.maximum(level, 0)
        block = (cell >> level) << level
        left = jnp.where(block == start, plan.left, UNKNOWN)
        right = jnp.where(block + (1 << level) == stop, plan.right, UNKNOWN)
        # In the cell of the current point there is nothing to test, which one known end inside expresses.
        left = jnp.where(same, INSIDE, left)
        return plan._replace(
            candidate=jnp.where(active, offset, plan.candidate),
            test_cell=jnp.where(active, cell, plan.test_cell),
            test_level=jnp.where(active, level, plan.test_level),
            test_left=jnp.where(active, left, plan.test_left),
            test_right=jnp.where(active, right, plan.test_right),
        )

    def _descend(self, plan: Dyadic, active: Bool[Array, ""]) -> Dyadic:
        """Go down to the first block that does not pass by what is known of its ends."""

        def again(at: Dyadic) -> Bool[Array, ""]:
            inside = (at.test_left == INSIDE) | (at.test_right == INSIDE)
            return active & inside & (at.test_level > 0)

        def halve(at: Dyadic) -> Dyadic:
            keeps_left = ((at.test_cell >> (at.test_level - 1)) & 1) == 0
            return at._replace(
                test_level=at.test_level - 1,
                test_left=jnp.where(keeps_left, at.test_left, UNKNOWN),
                test_right=jnp.where(keeps_left, UNKNOWN, at.test_right),
            )

        return lax.while_loop(again, halve, plan)

    def _next(self, search: Search, uniform: Float[Array, ""], lower: Float[Array, ""] | float) -> Search:
        """Choose the next point; ends of blocks are computed from the grid, the same at every visit."""
        plan: Dyadic = search.plan
        shrunk = _next_point(search, uniform, lower)
        testing = search.phase == TEST
        cell = jnp.where(testing, plan.test_cell, plan.cell)
        level = jnp.where(testing, plan.test_level, plan.level)
        ask_left = jnp.where(testing, plan.test_left, plan.left) == UNKNOWN
        end = ((cell >> level) << level) + jnp.where(ask_left, 0, 1 << level)
        at_end = (end - plan.cell).astype(plan.place.dtype) - plan.place
        return shrunk._replace(offset=jnp.where((search.phase == WIDEN) | testing, at_end, shrunk.offset))


def _fresh(phase: Int[Array, ""], left: Float[Array, ""], right: Float[Array, ""], plan: Any) -> Search:
    zero = jnp.zeros((), jnp.int32)
    return Search(
        phase=phase.astype(jnp.int32),
        offset=jnp.zeros_like(left),
        left=left,
        right=right,
        value=jnp.full_like(left, -jnp.inf),
        accepted=jnp.zeros((), bool),
        num_expansions=zero,
        num_shrink=zero,
        plan=plan,
    )


def _settle(
    search: Search, value: Float[Array, ""], accepted: Bool[Array, ""], rejected: Bool[Array, ""], max_shrink: int
) -> Search:
    """Accept the proposal at ``search.offset``, or shrink the interval to it, or do neither."""
    num_shrink = search.num_shrink + rejected
    capped = rejected & (num_shrink >= max_shrink)
    return search._replace(
        phase=jnp.where(accepted | capped, DONE, search.phase),
        left=jnp.where(rejected & (search.offset < 0), search.offset, search.left),
        right=jnp.where(rejected & (search.offset >= 0), search.offset, search.right),
        value=jnp.where(accepted, value, search.value),
        accepted=accepted,
        num_shrink=num_shrink,
    )


def _next_point(search: Search, uniform: Float[Array, ""], lower: Float[Array, ""] | float) -> Search:
    """Set the offset to evaluate next, or the final one."""
    low = jnp.maximum(search.left, lower)
    offset = jnp.where(search.phase == WIDEN_LEFT, search.left, search.right)
    offset = jnp.where(search.phase == SHRINK, low + (search.right - low) * uniform, offset)
    final = jnp.where(search.accepted, search.offset, 0)
    return search._replace(offset=jnp.where(search.done, final, offset))


Method = SteppingOut | Doubling
"""How the interval is found."""


def choose_method(method: str, max_steps: int | None, max_doublings: int, max_shrink: int, kernel: str) -> Method:
    """Return the search that a kernel's options name.

    Raises
    ------
    ValueError
        If ``method`` is neither ``"stepping_out"`` nor ``"doubling"``.
    """
    if method == "stepping_out":
        return SteppingOut(max_steps, max_shrink)
    if method == "doubling":
        return Doubling(max_doublings, max_shrink)
    raise ValueError(f'{kernel} has the methods "stepping_out" and "doubling"; got {method!r}')


def update_along_line(
    key: PRNGKeyArray,
    method: Method,
    logdensity: Callable[[Float[Array, ""]], tuple[Float[Array, ""], Bool[Array, ""]]],
    current: Float[Array, ""],
) -> tuple[Float[Array, ""], Float[Array, ""], SliceInfo]:
    """Make one slice update of the offset along a line, starting from 0.

    Parameters
    ----------
    key
        Typed key.
    method
        How to find the interval.
    logdensity
        From an offset, in units of the width, to the log density there and whether it was invalid, as
        :func:`ergodica.samplers.density.evaluate` returns them.
    current
        Log density at offset 0, finite.

    Returns
    -------
    offset, value, info
        The new offset, the log density there, and the counts.
    """
    dtype = current.dtype
    key_height, key_draw, key_shrink = random.split(key, 3)
    threshold = current - random.exponential(key_height, (), dtype)
    # The second number serves the first proposal.
    places, integers = method.draw(key_draw, (2,), dtype)
    search = method.start(places[0], integers[0], places[1])

    def unfinished(carry: tuple[Search, SliceInfo]) -> Bool[Array, ""]:
        return ~carry[0].done

    def turn(carry: tuple[Search, SliceInfo], uniform: Float[Array, ""]) -> tuple[Search, SliceInfo]:
        search, info = carry
        value, invalid = logdensity(search.offset)
        search = method.advance(search, value, value > threshold, uniform)
        return search, info.tally(invalid, search)

    search, info = take_turns(unfinished, turn, (search, SliceInfo.zero()), key=key_shrink, dtype=dtype, block=16)
    return search.offset, jnp.where(search.accepted, search.value, current), info


def select(condition: Bool[Array, ""], if_true: Search, if_false: Search) -> Search:
    """Choose between two searches of the same method."""
    chosen: Search = jax.tree.map(lambda a, b: jnp.where(condition, a, b), if_true, if_false)
    return chosen
