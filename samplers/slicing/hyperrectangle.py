"""Slice sampling of all coordinates at once, from a box that shrinks."""

from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from ergodica.samplers import inputs, random
from ergodica.samplers.density import LogDensity, evaluate, optional_logdensity
from ergodica.samplers.kernel import Claim, DensityState, Exactness, Kernel, Space
from ergodica.samplers.slicing.affine import as_coordinates, flat_like
from ergodica.samplers.slicing.turns import materialised, take_turns
from ergodica.samplers.slicing.univariate import SliceInfo

_NAME = "HyperrectangleSlice"
SHRINKS = ("all", "steepest")


class Box(NamedTuple):
    """A box around the current point: offsets from it, in units of the widths."""

    lower: Float[Array, " d"]
    upper: Float[Array, " d"]

    def proposal(self, uniforms: Float[Array, " d"]) -> Float[Array, " d"]:
        """Return the point of the box that uniform numbers give."""
        return self.lower + (self.upper - self.lower) * uniforms

    def cut(self, offset: Float[Array, " d"], chosen: Bool[Array, " d"]) -> "Box":
        """Cut off what lies beyond a rejected point, in the chosen coordinates, and keep the current point."""
        return Box(
            jnp.where(chosen & (offset < 0), offset, self.lower),
            jnp.where(chosen & (offset >= 0), offset, self.upper),
        )


class HyperrectangleSlice(Kernel[DensityState, SliceInfo]):
    """Exact, reversible slice sampler that moves all coordinates at once, inside a box that shrinks.

    A box with sides ``width`` is laid at random around the current point, so that each point of it could have been the
    current one. Points are drawn uniformly from the box until one lies in the slice, and each that does not cuts the
    box. There is no search for an interval, so a width may be too small for good mixing, never for exactness: choose
    the sides several times as long as the target is wide, as shrinking is cheap.

    Parameters
    ----------
    width
        Sides of the box, positive: a number, a vector with an entry per coordinate in the order of
        ``jax.flatten_util.ravel_pytree(position)``, or a pytree like the position.
    shrink
        ``"all"`` cuts every coordinate at a rejected point: few evaluations, and small moves in more than a handful of
        dimensions. ``"steepest"`` cuts only the coordinate along which the log density changes most over the box, by
        its gradient at the rejected point: longer moves, more evaluations. Where that gradient is zero or not finite
        every coordinate is cut.
    max_shrink
        Rejected points after which the position stays where it is; reported in ``Info.cap_hit``. Cuts of one coordinate
        at a time take off little each: on a standard normal law in ``d`` dimensions they need about ``d**2 / 4``.
    logdensity
        The target: a callable from a position to a scalar, differentiable for ``"steepest"``.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of its range.

    Notes
    -----
    Claim: exact and reversible for every width, way to shrink and cap. Let ``x`` be the current point, ``y`` the one
    accepted. Box and rejected points between them have the same density from ``x`` as from ``y``: both lie in all the
    boxes, on the same side of every cut, and which coordinate is cut depends on the box and the rejected point only.
    What the cap takes away lies on the diagonal of the transition kernel.

    ``Info.num_shrink`` is also the number of gradients that ``"steepest"`` uses.

    References
    ----------
    R. M. Neal, Slice sampling, Annals of Statistics 31(3), 2003, section 5.1 and Figure 8, doi:10.1214/aos/1056562461.
    """

    width: PyTree
    shrink: Literal["all", "steepest"] = eqx.field(static=True)
    max_shrink: int = eqx.field(static=True)
    logdensity: Partial | None

    def __init__(
        self,
        width: PyTree = 4.0,
        *,
        shrink: Literal["all", "steepest"] = "all",
        max_shrink: int = 512,
        logdensity: LogDensity | None = None,
    ) -> None:
        self.width = as_coordinates("width", width, above=0.0)
        self.shrink = shrink
        self.max_shrink = max_shrink
        self.logdensity = optional_logdensity(logdensity)

    def __check_init__(self) -> None:
        if self.shrink not in SHRINKS:
            raise ValueError(f"{_NAME} has the ways to shrink {', '.join(map(repr, SHRINKS))}; got {self.shrink!r}")
        inputs.static_count("max_shrink", self.max_shrink)

    @property
    def claim(self) -> Claim:
        """Exact and reversible."""
        return Claim(
            Exactness.EXACT,
            "leaves the target invariant for every width, way to shrink and cap",
            source="Neal 2003, Annals of Statistics 31(3), doi:10.1214/aos/1056562461",
            reversible=True,
            spaces=frozenset({Space.REAL}),
        )

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> DensityState:
        """Return the state of a chain that starts at ``position``, a pytree of floating-point arrays."""
        del key
        position = inputs.real_position(position, _NAME)
        flat_like("width", self.width, position, _NAME)
        return DensityState(position, inputs.start_density(self._target(), position, _NAME))

    def step(self, key: PRNGKeyArray, state: DensityState) -> tuple[DensityState, SliceInfo]:
        """Draw from the box until a point lies in the slice."""
        target = self._target()
        start, unravel = ravel_pytree(state.position)
        widths = flat_like("width", self.width, state.position, _NAME)
        dtype = start.dtype
        current = state.logdensity.astype(dtype)
        key_height, key_box, key_points = random.split(key, 3)
        height = current - random.exponential(key_height, (), dtype)
        places = self._places(key_box, start)

        def density(flat: Float[Array, " d"]) -> Array:
            return jnp.asarray(target(unravel(flat)), dtype)

        def unfinished(carry: Any) -> Bool[Array, ""]:
            _, _, _, found, info = carry
            going: Bool[Array, ""] = ~found & (info.num_shrink < self.max_shrink)
            return going

        def turn(carry: Any, uniforms: Float[Array, " d"]) -> Any:
            box, _, _, _, info = carry
            offset = box.proposal(uniforms)
            point = materialised(start + widths * offset)
            if self.shrink == "steepest":
                raw, pull_back = jax.vjp(density, point)
            else:
                raw = density(point)
            probed, invalid = evaluate(lambda _: raw, point, dtype)
            found = probed > height
            chosen = jnp.ones(start.shape, bool)
            if self.shrink == "steepest":
                # The accepted point needs no gradient; alone, a chain does not compute it.
                gradient = lax.cond(found, lambda: jnp.zeros_like(start), lambda: pull_back(jnp.ones((), dtype))[0])
                chosen = _steepest(widths * (box.upper - box.lower) * jnp.abs(gradient))
            info = info._replace(
                num_evals=info.num_evals + 1,
                num_invalid=info.num_invalid + invalid,
                num_shrink=info.num_shrink + ~found,
            )
            return self._cut(box, offset, chosen), offset, probed, found, info

        begun = (Box(-places, 1 - places), jnp.zeros_like(start), current, jnp.zeros((), bool), SliceInfo.zero())
        _, offset, value, found, info = take_turns(
            unfinished, turn, begun, key=key_points, dtype=dtype, block=8, shape=start.shape
        )
        flat = jnp.where(found, start + widths * offset, start)
        value = jnp.where(found, value, current).astype(state.logdensity.dtype)
        return DensityState(unravel(flat), value), info._replace(cap_hit=~found)

    def _places(self, key: PRNGKeyArray, start: Float[Array, " d"]) -> Float[Array, " d"]:
        """Draw where the current point lies in the box, as fractions of the sides."""
        return random.uniform(key, start.shape, start.dtype)

    def _cut(self, box: Box, offset: Float[Array, " d"], chosen: Bool[Array, " d"]) -> Box:
        return box.cut(offset, chosen)


def _steepest(changes: Float[Array, " d"]) -> Bool[Array, " d"]:
    """Choose the coordinate of the largest change; all of them if none can be told."""
    known = jnp.all(jnp.isfinite(changes)) & jnp.any(changes > 0)
    return (jnp.arange(changes.size) == jnp.argmax(changes)) | ~known
