"""Slice sampling along random directions."""

from typing import Literal

import equinox as eqx
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray, PyTree

from ergodica.samplers import inputs, random
from ergodica.samplers.density import LogDensity, evaluate, optional_logdensity
from ergodica.samplers.kernel import Claim, DensityState, Exactness, Kernel, Space
from ergodica.samplers.linear_scale import LowRankScale, Scale, scaled
from ergodica.samplers.slicing.affine import as_scale, check_scale
from ergodica.samplers.slicing.turns import materialised
from ergodica.samplers.slicing.univariate import Method, SliceInfo, choose_method, update_along_line


class HitAndRunSlice(Kernel[DensityState, SliceInfo]):
    """Exact, reversible slice sampler along a line through the current point in a random direction.

    Parameters
    ----------
    width
        Size of the first interval on the line, positive; in units of the direction if a scale is given. Twice the
        standard deviation along a line is a good choice.
    scale
        ``None`` for a direction uniform on the sphere. Otherwise the direction is normal with covariance ``L L^T``:
        ``L`` is a number, a vector with an entry per coordinate, a lower triangular matrix, or a
        :class:`~ergodica.samplers.linear_scale.LowRankScale`, in the order of
        ``jax.flatten_util.ravel_pytree(position)``. It has to be fixed before the run, or come from other chains;
        automatic tuning learns it if it is given.
    method, max_steps, max_doublings, max_shrink
        As in :class:`ergodica.samplers.slicing.coordinate.CoordinateSlice`.
    logdensity
        The target: a callable from a position to a scalar.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of its range.

    Notes
    -----
    Claim: exact and reversible for every width, scale, method and cap. The direction is drawn independently of the
    position, so that no correction is needed. The new point is ``x + s v`` with ``s`` from one univariate update.

    References
    ----------
    D. MacKay, Information Theory, Inference and Learning Algorithms, Cambridge University Press, 2003, chapter 29;
    R. M. Neal, Slice sampling, Annals of Statistics 31(3), 2003, doi:10.1214/aos/1056562461.
    """

    width: Float[Array, ""]
    scale: Scale | None
    method: Literal["stepping_out", "doubling"] = eqx.field(static=True)
    max_steps: int | None = eqx.field(static=True)
    max_doublings: int = eqx.field(static=True)
    max_shrink: int = eqx.field(static=True)
    logdensity: Partial | None

    def __init__(
        self,
        width: ArrayLike = 2.0,
        *,
        scale: inputs.Numbers | LowRankScale | None = None,
        method: Literal["stepping_out", "doubling"] = "stepping_out",
        max_steps: int | None = 64,
        max_doublings: int = 10,
        max_shrink: int = 64,
        logdensity: LogDensity | None = None,
    ) -> None:
        self.width = inputs.real_parameter("width", width, above=0.0)
        self.scale = as_scale(scale)
        self.method = method
        self.max_steps = max_steps
        self.max_doublings = max_doublings
        self.max_shrink = max_shrink
        self.logdensity = optional_logdensity(logdensity)

    def __check_init__(self) -> None:
        self._search()

    def _search(self) -> Method:
        return choose_method(self.method, self.max_steps, self.max_doublings, self.max_shrink, "HitAndRunSlice")

    @property
    def claim(self) -> Claim:
        """Exact and reversible."""
        return Claim(
            Exactness.EXACT,
            "leaves the target invariant for every width, fixed scale and cap",
            source="MacKay 2003, chapter 29; Neal 2003, Annals of Statistics 31(3), doi:10.1214/aos/1056562461",
            reversible=True,
            spaces=frozenset({Space.REAL}),
        )

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> DensityState:
        """Return the state of a chain that starts at ``position``, a pytree of floating-point arrays."""
        del key
        position = inputs.real_position(position, "HitAndRunSlice")
        check_scale(self.scale, ravel_pytree(position)[0].size, "HitAndRunSlice")
        return DensityState(position, inputs.start_density(self._target(), position, "HitAndRunSlice"))

    def step(self, key: PRNGKeyArray, state: DensityState) -> tuple[DensityState, SliceInfo]:
        """Draw a direction and make one update along the line."""
        key_direction, key_line = random.split(key)
        flat, _ = ravel_pytree(state.position)
        return self.move(key_line, state, random.normal(key_direction, flat.shape, flat.dtype))

    def move(
        self, key: PRNGKeyArray, state: DensityState, normals: Float[Array, " d"]
    ) -> tuple[DensityState, SliceInfo]:
        """Make one transition with the normal numbers given, as couplings and tests of equivariance need it.

        Parameters
        ----------
        key
            Typed key, for the univariate update.
        state
            The current state.
        normals
            Standard normal, shape ``(d,)``; they determine the direction.
        """
        target = self._target()
        flat, unravel = ravel_pytree(state.position)
        direction = scaled(self.scale, normals)
        if self.scale is None:
            length = jnp.linalg.norm(normals)
            direction = normals / jnp.where(length > 0, length, 1)
        step = self.width.astype(flat.dtype) * direction

        def on_line(offset: Float[Array, ""]) -> tuple[Float[Array, ""], Bool[Array, ""]]:
            return evaluate(target, unravel(materialised(flat + offset * step)), flat.dtype)

        offset, value, info = update_along_line(key, self._search(), on_line, state.logdensity.astype(flat.dtype))
        return DensityState(unravel(flat + offset * step), value.astype(state.logdensity.dtype)), info
