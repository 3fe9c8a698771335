"""Slice sampling of one coordinate after another."""

from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from ergodica.samplers import inputs, random
from ergodica.samplers.density import LogDensity, evaluate, optional_logdensity
from ergodica.samplers.kernel import Claim, DensityState, Exactness, Kernel, Space
from ergodica.samplers.slicing.affine import as_coordinates, flat_like
from ergodica.samplers.slicing.turns import materialised, take_turns
from ergodica.samplers.slicing.univariate import Method, SliceInfo, choose_method, select

SCANS = ("systematic", "permutation", "random")


class CoordinateSlice(Kernel[DensityState, SliceInfo]):
    """Exact slice sampler that updates the coordinates one at a time, by Neal's univariate update.

    On a scalar position, or an array with one entry, this is the univariate slice sampler. No gradient is needed, any
    positive width is exact, and a density that is ``-inf`` outside its support needs no transformation. One step makes
    as many updates as there are coordinates; under ``vmap`` each chain goes through them at its own pace.

    Parameters
    ----------
    width
        Size of the first interval, positive: a number, a vector with an entry per coordinate in the order of
        ``jax.flatten_util.ravel_pytree(position)``, or a pytree like the position. A width of about the spread of the
        coordinate costs the fewest evaluations.
    scan
        ``"systematic"`` goes through the coordinates in order, which is not reversible; ``"permutation"`` in a fresh
        random order; ``"random"`` draws each coordinate anew, as many times as there are coordinates.
    method
        ``"stepping_out"``, whose intervals grow by one width at a time, or ``"doubling"``, which finds long intervals
        in few evaluations and pays with an acceptance test.
    max_steps
        Longest interval of stepping-out, in widths; ``None`` for no limit, which loops for ever on a density that does
        not fall off.
    max_doublings
        Most doublings, at most 30.
    max_shrink
        Rejected points after which a coordinate stays where it is; reported in ``Info.cap_hit``.
    logdensity
        The target: a callable from a position to a scalar.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of its range.

    Notes
    -----
    Claim: exact for every width, scan, method and cap; reversible for the scans ``"permutation"`` and ``"random"``, and
    for a single coordinate. With ``max_steps=None`` on a target whose slices along the coordinates are intervals, each
    update draws exactly from the uniform law on the slice.

    References
    ----------
    R. M. Neal, Slice sampling, Annals of Statistics 31(3), 2003, doi:10.1214/aos/1056562461.
    """

    width: PyTree
    scan: Literal["systematic", "permutation", "random"] = eqx.field(static=True)
    method: Literal["stepping_out", "doubling"] = eqx.field(static=True)
    max_steps: int | None = eqx.field(static=True)
    max_doublings: int = eqx.field(static=True)
    max_shrink: int = eqx.field(static=True)
    logdensity: Partial | None

    def __init__(
        self,
        width: PyTree = 1.0,
        *,
        scan: Literal["systematic", "permutation", "random"] = "systematic",
        method: Literal["stepping_out", "doubling"] = "stepping_out",
        max_steps: int | None = 64,
        max_doublings: int = 10,
        max_shrink: int = 64,
        logdensity: LogDensity | None = None,
    ) -> None:
        self.width = as_coordinates("width", width, above=0.0)
        self.scan = scan
        self.method = method
        self.max_steps = max_steps
        self.max_doublings = max_doublings
        self.max_shrink = max_shrink
        self.logdensity = optional_logdensity(logdensity)

    def __check_init__(self) -> None:
        if self.scan not in SCANS:
            raise ValueError(f"CoordinateSlice has the scans {', '.join(map(repr, SCANS))}; got {self.scan!r}")
        self._search()

    def _search(self) -> Method:
        return choose_method(self.method, self.max_steps, self.max_doublings, self.max_shrink, "CoordinateSlice")

    @property
    def claim(self) -> Claim:
        """Exact; reversible unless the scan is systematic."""
        return Claim(
            Exactness.EXACT,
            "each coordinate's update leaves the target invariant, for every width and cap",
            source="Neal 2003, Annals of Statistics 31(3), doi:10.1214/aos/1056562461",
            reversible=self.scan != "systematic",
            spaces=frozenset({Space.REAL}),
        )

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> DensityState:
        """Return the state of a chain that starts at ``position``, a pytree of floating-point arrays."""
        del key
        position = inputs.real_position(position, "CoordinateSlice")
        flat_like("width", self.width, position, "CoordinateSlice")
        return DensityState(position, inputs.start_density(self._target(), position, "CoordinateSlice"))

    def step(self, key: PRNGKeyArray, state: DensityState) -> tuple[DensityState, SliceInfo]:
        """Update as many coordinates as there are."""
        target = self._target()
        method = self._search()
        start, unravel = ravel_pytree(state.position)
        widths = flat_like("width", self.width, state.position, "CoordinateSlice")
        dimension, dtype = start.size, start.dtype
        key_order, key_height, key_draw, key_shrink = random.split(key, 4)
        order = jnp.arange(dimension)
        if self.scan == "permutation":
            order = random.permutation(key_order, dimension)
        elif self.scan == "random":
            order = random.randint(key_order, (dimension,), 0, dimension)
        heights = random.exponential(key_height, (dimension,), dtype)
        # One number more than there are updates serves the first proposal.
        places, integers = method.draw(key_draw, (dimension + 1,), dtype)

        # One loop for the whole sweep: a chain that is done with a coordinate goes on to the next while other chains
        # still work on theirs, so that the number of turns is the largest sum, not the sum of the largest.
        def unfinished(carry: Any) -> Bool[Array, ""]:
            unfinished: Bool[Array, ""] = carry[0] < dimension
            return unfinished

        def turn(carry: Any, uniform: Float[Array, ""]) -> Any:
            index, flat, value, search, info = carry
            axis = jnp.where(jnp.arange(dimension) == order[index], widths, 0)
            probed, invalid = evaluate(target, unravel(materialised(flat + search.offset * axis)), dtype)
            search = method.advance(search, probed, probed > value - heights[index], uniform)
            info = info.tally(invalid, search)
            flat = flat + jnp.where(search.done, search.offset, 0) * axis
            value = jnp.where(search.done & search.accepted, search.value, value)
            index = index + search.done
            following = jnp.minimum(index, dimension - 1)
            fresh = method.start(places[following], integers[following], uniform)
            return index, flat, value, select(search.done, fresh, search), info

        first = method.start(places[0], integers[0], places[dimension])
        begin = (jnp.zeros((), jnp.int32), start, state.logdensity.astype(dtype), first, SliceInfo.zero())
        block = min(16 * dimension, 128)
        _, flat, value, _, info = take_turns(unfinished, turn, begin, key=key_shrink, dtype=dtype, block=block)
        return DensityState(unravel(flat), value.astype(state.logdensity.dtype)), info
