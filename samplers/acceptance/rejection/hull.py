"""The hull of adaptive rejection: tangents of a concave function, in arrays of fixed size.

Tangents lie above a concave function wherever they touch it, so that a hull made of tangents is an envelope whatever
the rounding of the points at which one tangent takes over from the next.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ergodica.samplers import random

__all__ = ["Hull", "Pieces", "chord", "draw", "empty", "insert", "is_proper", "log_area", "pieces"]


class Hull(NamedTuple):
    """Abscissae in ascending order, with the values and slopes of the log density there; the first ``size`` are used.

    Parameters
    ----------
    x, h, d
        Abscissae, values and slopes, shape ``(capacity,)``.
    size
        Number of abscissae.
    is_concave
        Whether all values that were seen are those of a concave function, up to rounding.
    """

    x: Float[Array, " capacity"]
    h: Float[Array, " capacity"]
    d: Float[Array, " capacity"]
    size: Int[Array, ""]
    is_concave: Bool[Array, ""]


class Pieces(NamedTuple):
    """The exponential pieces of a hull.

    Parameters
    ----------
    left, right
        Where each piece begins and ends.
    log_mass
        Log of its integral after subtraction of ``top``; ``-inf`` for pieces that are not used, ``+inf`` for one whose
        integral diverges.
    top
        Largest value at an abscissa.
    """

    left: Float[Array, " capacity"]
    right: Float[Array, " capacity"]
    log_mass: Float[Array, " capacity"]
    top: Float[Array, ""]


def empty(capacity: int, dtype: Any) -> Hull:
    """Return a hull without abscissae."""
    zeros = jnp.zeros((capacity,), dtype)
    return Hull(zeros, zeros, zeros, jnp.zeros((), jnp.int32), jnp.asarray(True))


def _tolerance(dtype: Any, double: float, roundings: float) -> Array:
    return jnp.asarray(max(double, roundings * float(jnp.finfo(dtype).eps)), dtype)


def insert(hull: Hull, x: Float[Array, ""], h: Float[Array, ""], d: Float[Array, ""]) -> Hull:
    """Insert an abscissa, unless it is there already, its value or slope is not finite, or there is no room.

    The slopes have to fall; a hull in which they rise says so in ``is_concave``, which then stays false.
    """
    index = jnp.arange(hull.x.shape[0])
    used = index < hull.size
    near = _tolerance(x.dtype, 1e-12, 4) * jnp.maximum(1, jnp.abs(x))
    is_new = jnp.all(~used | (jnp.abs(hull.x - x) > near))
    is_fit = jnp.isfinite(x) & jnp.isfinite(h) & jnp.isfinite(d)
    inserted = is_new & is_fit & (hull.size < hull.x.shape[0])
    place = jnp.sum(used & (hull.x < x))

    def put(values: Array, value: Array) -> Array:
        shifted = jnp.where(index < place, values, jnp.where(index == place, value, jnp.roll(values, 1)))
        return jnp.where(inserted, shifted, values)

    x_all, h_all, d_all = put(hull.x, x), put(hull.h, h), put(hull.d, d)
    size = hull.size + inserted.astype(jnp.int32)
    paired = index[1:] < size
    scale = jnp.maximum(1, jnp.maximum(jnp.abs(d_all[:-1]), jnp.abs(d_all[1:])))
    falls = d_all[1:] <= d_all[:-1] + _tolerance(x.dtype, 1e-9, 1e3) * scale
    return Hull(x_all, h_all, d_all, size, hull.is_concave & jnp.all(~paired | falls))


def pieces(hull: Hull, low: Float[Array, ""], high: Float[Array, ""]) -> Pieces:
    """Cut ``(low, high)`` where neighbouring tangents meet, and integrate the pieces."""
    x, h, d = hull.x, hull.h, hull.d
    index = jnp.arange(x.shape[0])
    used = index < hull.size
    fall = d[:-1] - d[1:]
    parallel = fall <= _tolerance(x.dtype, 1e-14, 45) * jnp.maximum(1, jnp.maximum(jnp.abs(d[:-1]), jnp.abs(d[1:])))
    meet = x[:-1] + (h[1:] - h[:-1] - d[1:] * (x[1:] - x[:-1])) / jnp.where(parallel, 1, fall)
    meet = jnp.clip(jnp.where(parallel, 0.5 * (x[:-1] + x[1:]), meet), x[:-1], x[1:])
    left = jnp.concatenate([low[None], meet])
    right = jnp.where(index == hull.size - 1, high, jnp.concatenate([meet, high[None]]))
    top = jnp.max(jnp.where(used, h, -jnp.inf))
    # Each piece is anchored at its higher end, so that nothing overflows.
    summit = jnp.where(d > 0, right, left)
    diverges = (d != 0) & ~jnp.isfinite(summit) | ((d == 0) & ~jnp.isfinite(right - left))
    slope = jnp.where(d == 0, 1, d)
    width = jnp.where(diverges, 1, right - left)
    steep = h - top + d * (jnp.where(diverges | (d == 0), x, summit) - x)
    steep = steep + jnp.log(-jnp.expm1(-jnp.abs(slope) * width)) - jnp.log(jnp.abs(slope))
    flat = h - top + jnp.log(jnp.where(d == 0, width, 1))
    log_mass = jnp.where(diverges, jnp.inf, jnp.where(d == 0, flat, steep))
    return Pieces(left, right, jnp.where(used, log_mass, -jnp.inf), top)


def log_area(hull: Hull, low: Float[Array, ""], high: Float[Array, ""]) -> Float[Array, ""]:
    """Return the log of the hull's integral."""
    cut = pieces(hull, low, high)
    return cut.top + jax.nn.logsumexp(cut.log_mass)


def is_proper(hull: Hull, low: Float[Array, ""], high: Float[Array, ""]) -> Bool[Array, ""]:
    """Whether the hull has a finite integral: it has to fall towards an end that is infinite."""
    last = jnp.maximum(hull.size - 1, 0)
    return (hull.size > 0) & (jnp.isfinite(low) | (hull.d[0] > 0)) & (jnp.isfinite(high) | (hull.d[last] < 0))


def draw(key: PRNGKeyArray, hull: Hull, cut: Pieces) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Draw from the hull.

    Returns
    -------
    x
        The draw.
    height
        The hull's value there.
    """
    key_piece, key_place = random.split(key)
    # One uniform instead of a Gumbel variable for each piece.
    masses = jnp.exp(cut.log_mass - jnp.max(cut.log_mass))
    heap = jnp.cumsum(masses)
    level = random.uniform(key_piece, (), hull.x.dtype) * heap[-1]
    piece = jnp.argmax((heap > level) & (masses > 0))
    u = random.uniform(key_place, (), hull.x.dtype)
    left, right, d = cut.left[piece], cut.right[piece], hull.d[piece]
    slope = jnp.where(d == 0, 1, d)
    fall = -jnp.log1p(u * jnp.expm1(-jnp.abs(slope) * (right - left)))
    x = jnp.where(d > 0, right, left) - fall / slope
    x = jnp.where(d == 0, left + u * (right - left), x)
    x = jnp.clip(x, left, right)
    return x, hull.h[piece] + d * (x - hull.x[piece])


def chord(hull: Hull, x: Float[Array, ""]) -> Float[Array, ""]:
    """Return the lower squeeze: the chord between the neighbouring abscissae, ``-inf`` outside them."""
    used = jnp.arange(hull.x.shape[0]) < hull.size
    after = jnp.sum(used & (hull.x <= x))
    inside = (after > 0) & (after < hull.size)
    right = jnp.clip(after, 1, hull.x.shape[0] - 1)
    left = right - 1
    run = jnp.where(inside, hull.x[right] - hull.x[left], 1)
    height = hull.h[left] + (hull.h[right] - hull.h[left]) * (x - hull.x[left]) / run
    return jnp.where(inside, height, -jnp.inf)
