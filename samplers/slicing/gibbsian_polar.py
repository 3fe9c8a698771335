"""Gibbsian polar slice sampling."""

import math
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers import inputs, random
from ergodica.samplers.density import LogDensity, evaluate, optional_logdensity
from ergodica.samplers.kernel import Claim, Exactness, Kernel, Space, replace
from ergodica.samplers.linear_scale import LowRankScale, Scale, scaled, unscaled
from ergodica.samplers.slicing.affine import as_coordinates, as_scale, check_scale, flat_like
from ergodica.samplers.slicing.turns import materialised, take_turns
from ergodica.samplers.slicing.univariate import Search, SliceInfo, SteppingOut, select

_NAME = "GibbsianPolarSlice"
DIRECTIONS = ("geodesic", "uniform")
ORDERS = ("direction_first", "radius_first", "palindromic", "random")


class PolarState(NamedTuple):
    """State of a polar slice sampler: ``position = center + L (radius * direction)``.

    Parameters
    ----------
    position
        Pytree of floating-point arrays.
    logdensity
        Log density there.
    radius
        Distance from the centre in scaled coordinates, positive.
    direction
        Unit vector, shape ``(d,)``.
    """

    position: PyTree
    logdensity: Float[Array, ""]
    radius: Float[Array, ""]
    direction: Float[Array, " d"]


class GibbsianPolarSlice(Kernel[PolarState, SliceInfo]):
    """Exact slice sampler in polar coordinates, which updates the direction and the radius in turn.

    With ``x = r theta`` the target has density ``p1(r, theta) = r^(d-1) p(r theta)`` in ``r`` and ``theta``. A step
    draws a height ``t`` below ``p1``, moves ``theta`` along a random great circle inside the slice ``p1(r, .) > t`` by
    shrinking an arc, and then moves ``r`` inside the slice ``p1(., theta) > t`` by stepping out and shrinking. It needs
    no gradient, and it is at home where other slice samplers crawl: heavy tails, funnels, mass far from the centre.

    With ``direction="uniform"`` and ``max_steps=None`` it is the ideal Gibbs sampler of the paper, where ``p1`` has a
    single mode along every ray; with ``max_steps=None`` alone, the one whose radius is exact.

    Parameters
    ----------
    width
        Size of the first interval of the radius, positive, in scaled coordinates. Choose it generously, about four
        standard deviations of the radius: one that is too small costs evaluations, never exactness.
    center
        Where the polar coordinates have their origin: ``None`` for zero, a number, a vector in the order of
        ``jax.flatten_util.ravel_pytree(position)``, or a pytree like the position. The sampler is not invariant under
        shifts and linear maps: put the centre near the mean or the mode.
    scale
        ``L`` in ``x = center + L y``, where ``y`` is what is sampled: ``None`` for the identity, a number, a vector, a
        lower triangular matrix (a Cholesky factor of the covariance), or a
        :class:`~ergodica.samplers.linear_scale.LowRankScale`. Centre and scale have to be fixed before the run, or come from
        other chains; after changing them call :meth:`refresh`. Automatic tuning learns both, and takes ``None`` for
        zeros and ones.
    direction
        ``"geodesic"`` moves along a great circle. ``"uniform"`` draws from the whole slice of directions: uniform
        directions are proposed until one lies in it. That decorrelates at once where the slice is a good part of the
        sphere, as in low dimensions or near rotational invariance, and finds nothing elsewhere.
    order
        ``"direction_first"`` or ``"radius_first"``, which are not reversible; ``"palindromic"`` (direction, radius,
        direction) or ``"random"`` (a fair coin between the first two), which are.
    separate_thresholds
        Draw a fresh height before each update instead of one for the step.
    max_steps
        Longest interval of the radius, in widths; ``None`` for no limit.
    max_shrink
        Rejected points after which the direction or the radius stays; reported in ``Info.cap_hit``. Uniform directions
        that fill a share ``s`` of the sphere are missed with probability ``(1 - s) ** max_shrink``.
    logdensity
        The target: a callable from a position to a scalar.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of its range; at :meth:`init` if the position has fewer than two entries or lies at the
        centre.

    Notes
    -----
    Claim: exact for every width, fixed centre and scale, way to turn, order and cap. The interval of the radius is cut
    off at zero, which is the same as density zero on the negative half line. If the target is rotationally invariant
    and ``p1`` is unimodal in the radius, the first direction is always accepted, and the radius moves as in polar slice
    sampling (Roberts and Rosenthal 2002).

    Radius: where its slice is an interval and ``max_steps`` is ``None``, stepping-out finds all of it and the draw is
    exactly uniform. Otherwise the move is one of the reversible ones of Neal's slice update.

    Uniform directions: at a fixed height all points of the slice are rejected with one probability ``q``, the share of
    the sphere that lies outside. With the cap ``N`` the move is a uniform draw with probability ``1 - q**N``, and none
    with ``q**N``: a mixture with fixed weights of two kernels that are reversible on the slice. Starting anew after
    ``N`` rejected directions with another height would not be.

    References
    ----------
    P. Schär, M. Habeck, D. Rudolf, Gibbsian polar slice sampling, ICML 2023, arXiv:2302.03945.
    """

    width: Float[Array, ""]
    center: PyTree
    scale: Scale | None
    direction: Literal["geodesic", "uniform"] = eqx.field(static=True)
    order: Literal["direction_first", "radius_first", "palindromic", "random"] = eqx.field(static=True)
    separate_thresholds: bool = eqx.field(static=True)
    max_steps: int | None = eqx.field(static=True)
    max_shrink: int = eqx.field(static=True)
    logdensity: Partial | None

    def __init__(
        self,
        width: ArrayLike = 3.0,
        *,
        center: PyTree = None,
        scale: inputs.Numbers | LowRankScale | None = None,
        direction: Literal["geodesic", "uniform"] = "geodesic",
        order: Literal["direction_first", "radius_first", "palindromic", "random"] = "direction_first",
        separate_thresholds: bool = False,
        max_steps: int | None = 64,
        max_shrink: int = 64,
        logdensity: LogDensity | None = None,
    ) -> None:
        self.width = inputs.real_parameter("width", width, above=0.0)
        self.center = as_coordinates("center", center)
        self.scale = as_scale(scale)
        self.direction = direction
        self.order = order
        self.separate_thresholds = separate_thresholds
        self.max_steps = max_steps
        self.max_shrink = max_shrink
        self.logdensity = optional_logdensity(logdensity)

    def __check_init__(self) -> None:
        if self.direction not in DIRECTIONS:
            raise ValueError(
                f"GibbsianPolarSlice has the directions {', '.join(map(repr, DIRECTIONS))}; got {self.direction!r}"
            )
        if self.order not in ORDERS:
            raise ValueError(f"GibbsianPolarSlice has the orders {', '.join(map(repr, ORDERS))}; got {self.order!r}")
        SteppingOut(self.max_steps, self.max_shrink)

    @property
    def claim(self) -> Claim:
        """Exact; reversible in the palindromic and the random order."""
        return Claim(
            Exactness.EXACT,
            "leaves the target invariant for every width, fixed centre and scale, way to turn, order and cap",
            source="Schär, Habeck, Rudolf 2023, arXiv:2302.03945",
            reversible=self.order in ("palindromic", "random"),
            spaces=frozenset({Space.REAL}),
        )

    def tunable(self, position: PyTree) -> "GibbsianPolarSlice":
        """Return the same sampler with zeros and ones where centre and scale are ``None``, so that they can be learnt."""
        leaves = jax.tree.leaves(position)
        dim, dtype = sum(math.prod(leaf.shape) for leaf in leaves), jnp.result_type(*leaves)
        return replace(
            self,
            center=jnp.zeros(dim, dtype) if self.center is None else self.center,
            scale=jnp.ones(dim, dtype) if self.scale is None else self.scale,
        )

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> PolarState:
        """Return the state of a chain that starts at ``position``, a pytree of floating-point arrays.

        Raises
        ------
        ValueError
            If the position has a single entry, or lies within ``1e-12`` of the centre.
        """
        del key
        position = inputs.real_position(position, _NAME)
        dimension = ravel_pytree(position)[0].size
        if dimension < 2:
            raise ValueError(
                "GibbsianPolarSlice needs at least two dimensions, as there is no direction to turn in one; "
                "use CoordinateSlice, which is the univariate slice sampler there"
            )
        check_scale(self.scale, dimension, _NAME)
        radius, direction = self._polar(position)
        if inputs.is_concrete(radius) and not float(radius) >= 1e-12:
            raise ValueError(
                f"GibbsianPolarSlice cannot start at its centre, where no direction is defined; the position is at a "
                f"distance of {float(radius):g}. Start elsewhere, or pass another center"
            )
        value = inputs.start_density(self._target(), position, _NAME)
        return PolarState(position, value, radius, direction)

    def refresh(self, state: PolarState) -> PolarState:
        """Recompute the density, the radius and the direction at the same position."""
        value, _ = evaluate(self._target(), state.position)
        radius, direction = self._polar(state.position)
        return PolarState(state.position, value.astype(state.logdensity.dtype), radius, direction)

    def step(self, key: PRNGKeyArray, state: PolarState) -> tuple[PolarState, SliceInfo]:
        """Update the direction and the radius."""
        key_normal, key_rest = random.split(key)
        shape = (self._num_directions, state.direction.size)
        return self.move(key_rest, state, random.normal(key_normal, shape, state.direction.dtype))

    def move(self, key: PRNGKeyArray, state: PolarState, normals: Float[Array, "n d"]) -> tuple[PolarState, SliceInfo]:
        """Make one transition with the normal numbers given, as couplings and tests of equivariance need it.

        Parameters
        ----------
        key
            Typed key, for everything else.
        state
            The current state.
        normals
            Standard normal, one row for each update of the direction in a step: shape ``(1, d)``, or ``(2, d)`` in the
            palindromic order. They determine the great circles, or the first of the uniform directions.
        """
        key_order, key_height, key_first, key_second = random.split(key, 4)
        log_height = _draw_log_height(key_height, state.logdensity, state.radius, state.direction.size)
        if self.order == "random":
            direction_first = random.bernoulli(key_order, 0.5)
            updates = jnp.stack([direction_first, ~direction_first])
        else:
            updates = jnp.array([False, True] if self.order == "radius_first" else [True, False])
        info = SliceInfo.zero()
        state, info = self._sweep(key_first, state, info, updates, normals[0], log_height)
        if self.order == "palindromic":
            state, info = self._sweep(key_second, state, info, jnp.array([True]), normals[1], log_height)
        return state, info

    def _sweep(
        self,
        key: PRNGKeyArray,
        state: PolarState,
        info: SliceInfo,
        updates: Bool[Array, " n"],
        normal: Float[Array, " d"],
        log_height: Float[Array, ""],
    ) -> tuple[PolarState, SliceInfo]:
        """Make several updates, at most one of them of the direction; ``updates`` says which."""
        target = self._target()
        method = SteppingOut(self.max_steps, self.max_shrink)
        dtype, dimension, count = state.direction.dtype, state.direction.size, updates.size
        width = self.width.astype(dtype)
        key_turn, key_height, key_draw, key_shrink = random.split(key, 4)
        # One number more than there are updates serves the first proposal.
        places, budgets = method.draw(key_draw, (count + 1,), dtype)
        drops = random.exponential(key_height, (count,), dtype) if self.separate_thresholds else None
        turning = self._turning(key_turn, normal, state.direction)
        _, unravel = ravel_pytree(state.position)
        center = None if self.center is None else flat_like("center", self.center, state.position, _NAME)

        def point(radius: Float[Array, ""], heading: Float[Array, "..."]) -> PyTree:
            offset = radius * turning.image(heading)
            return unravel(materialised(offset if center is None else center + offset))

        def begin(index: Int[Array, ""], radius: Float[Array, ""], uniform: Float[Array, ""]) -> Search:
            angle = 2 * jnp.pi * places[index]
            arc = method.shrink_from(angle - 2 * jnp.pi, angle, angle)
            line = method.start(places[index], budgets[index], uniform, -radius / width)
            return select(updates[index], arc, line)

        def unfinished(carry: Any) -> Bool[Array, ""]:
            going: Bool[Array, ""] = carry[0] < count
            return going

        # One loop for all updates: a chain that has found its direction goes on to the radius while other chains still
        # look for theirs. The density is evaluated here only, once a turn.
        def turn(carry: Any, uniform: Float[Array, ""]) -> Any:
            index, at, search, info = carry
            turns = updates[index]
            heading = jnp.where(turns, turning.proposal(search, info.num_evals), at.heading)
            radius = jnp.where(turns, at.radius, at.radius + width * search.offset)
            value, invalid = evaluate(target, point(radius, heading), dtype)
            positive = radius > 0
            height = log_height
            if drops is not None:
                height = at.logdensity + (dimension - 1) * jnp.log(at.radius) - drops[index]
            inside = positive & (value + (dimension - 1) * jnp.log(jnp.where(positive, radius, 1)) > height)
            lower = jnp.where(turns, -jnp.inf, -at.radius / width)
            search = method.advance(search, value, inside, uniform, lower)
            info = info.tally(invalid, search)
            moved = search.done & search.accepted
            at = _Place(
                jnp.where(moved, search.value, at.logdensity),
                jnp.where(moved, radius, at.radius),
                jnp.where(moved, heading, at.heading),
            )
            index = index + search.done
            following = begin(jnp.minimum(index, count - 1), at.radius, uniform)
            return index, at, select(search.done, following, search), info

        zero = jnp.zeros((), jnp.int32)
        here = _Place(state.logdensity, state.radius, turning.start)
        first = (zero, here, begin(zero, state.radius, places[count]), info)
        _, end, _, info = take_turns(unfinished, turn, first, key=key_shrink, dtype=dtype, block=16)
        direction = turning.direction(end.heading)
        direction = direction / jnp.linalg.norm(direction)
        return PolarState(point(end.radius, end.heading), end.logdensity, end.radius, direction), info

    def _turning(
        self, key: PRNGKeyArray, normal: Float[Array, " d"], direction: Float[Array, " d"]
    ) -> "_OnCircle | _OnSphere":
        if self.direction == "uniform":
            return _OnSphere(key, normal, direction, self.scale)
        circle = _GreatCircle(direction, _tangent(key, normal, direction))
        return _OnCircle(circle, _GreatCircle(scaled(self.scale, circle.start), scaled(self.scale, circle.tangent)))

    @property
    def _num_directions(self) -> int:
        return 2 if self.order == "palindromic" else 1

    def _polar(self, position: PyTree) -> tuple[Float[Array, ""], Float[Array, " d"]]:
        flat, _ = ravel_pytree(position)
        if self.center is not None:
            flat = flat - flat_like("center", self.center, position, _NAME)
        flat = unscaled(self.scale, flat)
        # Scaled by the largest entry first, so that squares neither overflow nor underflow in single precision.
        largest = jnp.max(jnp.abs(flat))
        unit = flat / jnp.where(largest > 0, largest, 1)
        length = jnp.linalg.norm(unit)
        return largest * length, unit / jnp.where(length > 0, length, 1)


class _Place(NamedTuple):
    """Where the loop of a sweep stands; how ``heading`` gives the direction depends on how it is drawn."""

    logdensity: Float[Array, ""]
    radius: Float[Array, ""]
    heading: Float[Array, "..."]


class _GreatCircle(NamedTuple):
    """The circle through ``start`` towards ``tangent``, both of length one and orthogonal, or its image."""

    start: Float[Array, " d"]
    tangent: Float[Array, " d"]

    def coefficients(self, angle: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Return the two coefficients of a point, which are its cosine and sine over its length.

        The length is one up to rounding; dividing by it keeps the radius what it is said to be.
        """
        cosine, sine = jnp.cos(angle), jnp.sin(angle)
        squares = cosine**2 * jnp.dot(self.start, self.start) + sine**2 * jnp.dot(self.tangent, self.tangent)
        length = jnp.sqrt(squares + 2 * cosine * sine * jnp.dot(self.start, self.tangent))
        return cosine / length, sine / length

    def at(self, cosine: Float[Array, ""], sine: Float[Array, ""]) -> Float[Array, " d"]:
        """Return the combination with the given coefficients."""
        return cosine * self.start + sine * self.tangent


class _OnCircle(NamedTuple):
    """Moves on a great circle: the heading is an angle, so that the loop carries nothing but scalars."""

    circle: _GreatCircle
    scaled_circle: _GreatCircle

    @property
    def start(self) -> Float[Array, ""]:
        return jnp.zeros((), self.circle.start.dtype)

    def proposal(self, search: Search, count: Int[Array, ""]) -> Float[Array, ""]:
        """Return the heading to ask about."""
        del count
        return search.offset

    def image(self, heading: Float[Array, ""]) -> Float[Array, " d"]:
        """Return the direction times the scale."""
        return self.scaled_circle.at(*self.circle.coefficients(heading))

    def direction(self, heading: Float[Array, ""]) -> Float[Array, " d"]:
        """Return the direction."""
        return self.circle.at(*self.circle.coefficients(heading))


class _OnSphere(NamedTuple):
    """Draws from the sphere: the heading is the direction itself."""

    key: PRNGKeyArray
    first: Float[Array, " d"]
    start: Float[Array, " d"]
    scale: Scale | None

    def proposal(self, search: Search, count: Int[Array, ""]) -> Float[Array, " d"]:
        """Return the heading to ask about: the one given, or a fresh one for each evaluation."""
        fresh = random.normal(random.fold_in(self.key, count), self.start.shape, self.start.dtype)
        vector = jnp.where(search.num_shrink == 0, self.first, fresh)
        length = jnp.linalg.norm(vector)
        return jnp.where(length > 0, vector / jnp.where(length > 0, length, 1), self.start)

    def image(self, heading: Float[Array, " d"]) -> Float[Array, " d"]:
        """Return the direction times the scale."""
        return scaled(self.scale, heading)

    def direction(self, heading: Float[Array, " d"]) -> Float[Array, " d"]:
        """Return the direction."""
        return heading


def _draw_log_height(
    key: PRNGKeyArray, logdensity: Float[Array, ""], radius: Float[Array, ""], dimension: int
) -> Float[Array, ""]:
    """Draw the log of a height below ``p1``."""
    return logdensity + (dimension - 1) * jnp.log(radius) - random.exponential(key, (), radius.dtype)


def _tangent(key: PRNGKeyArray, normal: Float[Array, " d"], direction: Float[Array, " d"]) -> Float[Array, " d"]:
    """Return the unit vector orthogonal to ``direction`` that a normal vector gives; redraw if it has no such part."""

    def project(vector: Float[Array, " d"]) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        # Twice is enough to be orthogonal to rounding even if little is left.
        for _ in range(2):
            vector = vector - jnp.dot(vector, direction) * direction
        return vector, jnp.linalg.norm(vector)

    def parallel(carry: Any) -> Bool[Array, ""]:
        nothing_left: Bool[Array, ""] = carry[1][1] == 0
        return nothing_left

    def redraw(carry: Any) -> Any:
        attempt, _ = carry
        vector = random.normal(random.fold_in(key, attempt), direction.shape, direction.dtype)
        return attempt + 1, project(vector)

    _, (vector, length) = lax.while_loop(parallel, redraw, (jnp.zeros((), jnp.int32), project(normal)))
    return vector / length
