"""Ratio of uniforms: a point drawn uniformly from a plane region, whose slope follows the target."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray, PyTree
from scipy import optimize

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.rejection.adaptive import one_coordinate
from ergodica.samplers.acceptance.rejection.trials import (
    DrawState,
    RejectionInfo,
    Trial,
    exceeds,
    until_accepted,
)
from ergodica.samplers.density import LogDensity, evaluate, optional_logdensity
from ergodica.samplers.kernel import Claim, Exactness, Kernel, Space

__all__ = ["RatioBox", "RatioOfUniforms", "ratio_box"]


class RatioBox(NamedTuple):
    """A rectangle around the region of a ratio of uniforms.

    Parameters
    ----------
    log_peak
        Upper bound of the log density.
    low, high
        Lower and upper bound of ``(x - centre) (f(x) / peak)^(power / (power + 1))``.
    """

    log_peak: float
    low: float
    high: float


def ratio_box(
    logdensity: LogDensity,
    centre: float = 0.0,
    *,
    power: float = 1.0,
    within: tuple[float, float] = (-100.0, 100.0),
    num_points: int = 2001,
) -> RatioBox:
    """Find the smallest box of a density on a line numerically, on the host.

    Each extreme is sought on a grid and polished by Brent's method between its neighbours; the box is then made wider by
    a part in ``1e9``. That is a proof for densities that are unimodal between points of the grid, and a guess for others:
    :class:`RatioOfUniforms` counts what sticks out.

    Parameters
    ----------
    logdensity
        Callable from a number to a number, ``-inf`` outside the support.
    centre, power
        As of :class:`RatioOfUniforms`.
    within
        Finite interval that contains the extremes.
    num_points
        Points of the grid.

    Raises
    ------
    ValueError
        If the density is zero on the grid, or an extreme lies at an end of ``within`` that is not an end of the support.
    """
    grid = np.linspace(*within, inputs.static_count("num_points", num_points, at_least=3))

    def log_f(x: float) -> float:
        value = float(logdensity(jnp.asarray(x, float)))
        return -np.inf if np.isnan(value) else value

    def largest(function: Callable[[float], float], values: np.ndarray) -> float:
        best = int(np.argmax(values))
        inner = 0 < best < grid.size - 1
        if not inner and np.isfinite(values[best]):
            raise ValueError(
                f"the density, or its product with x - centre, is largest at the end {grid[best]:g} of the interval; pass a "
                "wider one as within=. A tail like 1 / x^2 or heavier needs a larger power."
            )
        found = optimize.minimize_scalar(
            lambda x: -function(float(x)),
            bounds=(float(grid[max(best - 1, 0)]), float(grid[min(best + 1, grid.size - 1)])),
            method="bounded",
            options={"xatol": 1e-12},
        )
        return max(float(values[best]), -float(found.fun))

    values = np.array([log_f(x) for x in grid])
    if not np.any(np.isfinite(values)):
        raise ValueError(f"the density is zero on the grid of {num_points} points on {within}; pass another within=")
    peak = largest(log_f, values)
    share = power / (power + 1)

    def reach(side: int) -> float:
        def log_product(x: float) -> float:
            gap = side * (x - centre)
            return float(np.log(gap) + share * (log_f(x) - peak)) if gap > 0 else -np.inf

        products = np.array([log_product(x) for x in grid])
        return float(np.exp(largest(log_product, products))) if np.any(np.isfinite(products)) else 0.0

    wider = 1 + 1e-9
    return RatioBox(peak + 1e-9, -wider * reach(-1), wider * reach(1))


class RatioOfUniforms(Kernel[DrawState, RejectionInfo]):
    """Exact independent draws from a density on a line, by rejection from a box in the plane.

    ``(u, v)`` is drawn uniformly from the box and kept if ``0 < u <= f(x)^(1 / (r + 1))`` for ``x = centre + v / u^r``;
    then ``x`` follows the target. With ``r = 1`` that is the method of Kinderman and Monahan.

    Parameters
    ----------
    box
        The rectangle, as from :func:`ratio_box` or from closed forms. Any that contains the region gives exact draws.
    centre
        A point near the mode.
    power
        The exponent ``r``, greater than 0. Tails of the density that fall like ``|x|^-a`` need ``r >= 1 / (a - 1)``.
    max_trials
        After this many trials the chain stays where it is, which keeps the target and is counted in ``cap_hit``.
    logdensity
        The target: a callable from a position with one entry to a scalar.

    Raises
    ------
    TypeError, ValueError
        If a parameter is out of range, or the box is empty.

    Notes
    -----
    The density is used in logarithms relative to the peak, so that its scale does not matter. ``num_violations`` counts
    the candidates at which the region is seen to stick out of the box.

    References
    ----------
    A. J. Kinderman and J. F. Monahan, Computer generation of random variables using the ratio of uniform deviates, 1977,
    ACM TOMS 3(3), doi:10.1145/355744.355750; J. C. Wakefield, A. E. Gelfand and A. F. M. Smith, 1991, Statistics and
    Computing 1, doi:10.1007/BF01889987, for the power.
    """

    log_peak: Float[Array, ""]
    low: Float[Array, ""]
    high: Float[Array, ""]
    centre: Float[Array, ""]
    power: Float[Array, ""]
    max_trials: int = eqx.field(static=True)
    logdensity: Partial | None

    def __init__(
        self,
        box: RatioBox | tuple[inputs.Numbers, inputs.Numbers, inputs.Numbers],
        *,
        centre: inputs.Numbers = 0.0,
        power: inputs.Numbers = 1.0,
        max_trials: int = 100_000,
        logdensity: LogDensity | None = None,
    ) -> None:
        if not isinstance(box, tuple) or len(box) != 3:
            raise TypeError(f"box has to be (log_peak, low, high), as from ratio_box(logdensity); got {box!r}")
        self.log_peak, self.low, self.high = (
            inputs.real_parameter(name, value) for name, value in zip(RatioBox._fields, box, strict=True)
        )
        self.centre = inputs.real_parameter("centre", centre)
        self.power = inputs.real_parameter("power", power, above=0.0)
        self.max_trials = inputs.static_count("max_trials", max_trials)
        self.logdensity = optional_logdensity(logdensity)
        if inputs.is_concrete((self.low, self.high)) and not float(self.low) < float(self.high):
            raise ValueError(f"the box needs low < high; got low={float(self.low):g}, high={float(self.high):g}")

    @property
    def claim(self) -> Claim:
        """Exact and independent."""
        return Claim(
            Exactness.EXACT,
            "draws independently from the target for every box that contains the region below it",
            source="Kinderman and Monahan 1977, doi:10.1145/355744.355750",
            reversible=True,
            spaces=frozenset({Space.REAL}),
            independent=True,
        )

    def acceptance(self, log_normalizer: float) -> float:
        """Return the share of accepted trials, given the log of the density's integral."""
        power = float(self.power)
        area = (power + 1) * (float(self.high) - float(self.low))
        return float(np.exp(log_normalizer - float(self.log_peak)) / area)

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> DrawState:
        """Return the state at a position of the target's support, which the draws then forget."""
        del key
        position = one_coordinate(position, "RatioOfUniforms")
        inputs.start_density(self._target(), position, "RatioOfUniforms")
        return DrawState(position)

    def trial(self, key: PRNGKeyArray, like: PyTree) -> Trial:
        """Draw one point of the box and decide."""
        flat, unravel = ravel_pytree(like)
        dtype = flat.dtype
        centre, power, low, high, log_peak = (
            leaf.astype(dtype) for leaf in (self.centre, self.power, self.low, self.high, self.log_peak)
        )
        key_u, key_v = random.split(key)
        u = 1 - random.uniform(key_u, (), dtype)  # in (0, 1]
        v = random.uniform(key_v, (), dtype, low, high)
        x = centre + v / u**power
        position = unravel(x[None])
        value, invalid = evaluate(self._target(), position)
        log_f = jnp.where(jnp.isfinite(x), value - log_peak, -jnp.inf)
        accepted = (power + 1) * jnp.log(u) <= log_f
        # On the ray of slope x the region reaches to u = f^(1 / (r + 1)): it may stick out above, or on one side.
        reach = (x - centre) * jnp.exp(jnp.minimum(log_f, 0) * power / (power + 1))
        slack = 64 * jnp.finfo(dtype).eps * jnp.maximum(jnp.abs(low), jnp.abs(high))
        sideways = jnp.isfinite(log_f) & ((reach > high + slack) | (reach < low - slack))
        violated = exceeds(log_f, value, log_peak) | sideways
        return Trial(
            position, accepted, jnp.asarray(1, jnp.int32), invalid.astype(jnp.int32), violated.astype(jnp.int32)
        )

    def step(self, key: PRNGKeyArray, state: DrawState) -> tuple[DrawState, RejectionInfo]:
        """Draw from the target."""
        position, info = until_accepted(
            lambda trial_key: self.trial(trial_key, state.position), key, state.position, self.max_trials
        )
        return DrawState(position), info
