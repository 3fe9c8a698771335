"""The potential of Müller and Brown: three wells in the plane along a bent valley, with truth by quadrature."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ergodica.validation.targets.quadrature import IntervalLaw
from ergodica.validation.targets.target import Expectation, Marginal, MomentTarget, coordinate, with_data

_AMPLITUDE = np.array([-200.0, -100.0, -170.0, 15.0])
_XX = np.array([-1.0, -1.0, -6.5, 0.7])
_XY = np.array([0.0, 0.0, 11.0, 0.6])
_YY = np.array([-10.0, -10.0, -6.5, 0.7])
_CENTRE_X = np.array([1.0, 0.0, -0.5, -1.0])
_CENTRE_Y = np.array([0.0, 0.5, 1.5, 1.0])
_SCALE, _SHIFT_X, _SHIFT_Y = 5.0, 3.5, -6.5
# Half widths of the box around the wells, outside of which nothing is left at temperatures up to 2; and nodes along y.
_LOW, _HIGH, _NODES = (-12.0, -22.0), (16.0, 12.0), 500


def mueller_brown_energy(x: Any) -> Any:
    """Return the energy at points ``(..., 2)``, in the coordinates of :func:`mueller_brown`; NumPy or JAX arrays."""
    xp = jnp if isinstance(x, jnp.ndarray) else np
    u, v = (x[..., 0] - _SHIFT_X) / _SCALE, (x[..., 1] - _SHIFT_Y) / _SCALE
    wells: Any = 0.0
    for amplitude, xx, xy, yy, cx, cy in zip(_AMPLITUDE, _XX, _XY, _YY, _CENTRE_X, _CENTRE_Y, strict=True):
        du, dv = u - cx, v - cy
        # Far out the growing exponential would overflow; it is cut where the density has long been zero.
        wells = wells + amplitude * xp.exp(xp.minimum(xx * du**2 + xy * du * dv + yy * dv**2, 80.0))
    return 0.1 * (35.0136 * (u + 0.033923) ** 2 + 59.8399 * (v - 0.465694) ** 2 + wells)


def _logdensity(inverse_temperature: np.ndarray, x: Array) -> Array:
    energy: Array = mueller_brown_energy(x)
    return -jnp.asarray(inverse_temperature, x.dtype) * energy.astype(x.dtype)


def mueller_brown(temperature: float = 1.0) -> MomentTarget:
    """Return the law ``exp(-energy / temperature)`` of the shifted and scaled Müller-Brown potential with a trap.

    With ``u = (x - 3.5) / 5`` and ``v = (y + 6.5) / 5`` the energy is a tenth of ``35.0136 (u + 0.033923)^2 + 59.8399
    (v - 0.465694)^2 + sum_i A_i exp(a_i (u - X_i)^2 + b_i (u - X_i)(v - Y_i) + c_i (v - Y_i)^2)``, the sum being the four
    terms of Müller and Brown.

    Parameters
    ----------
    temperature
        In (0, 2].

    Returns
    -------
    MomentTarget
        With the normaliser, first and second moments, and the laws of both coordinates, all by quadrature. No exact
        draws.

    Raises
    ------
    ValueError
        If the temperature is out of range.

    References
    ----------
    K. Müller, L. D. Brown, "Location of saddle points and minimum energy paths by a constrained simplex optimization
    procedure", Theoretica Chimica Acta 53 (1979). doi:10.1007/BF00547608.
    """
    if not 0 < temperature <= 2:
        raise ValueError(f"temperature has to lie in (0, 2]; got {temperature}")

    def marginal(axis: int) -> IntervalLaw:
        other = np.linspace(_LOW[1 - axis], _HIGH[1 - axis], _NODES)

        def log_integral(values: np.ndarray) -> np.ndarray:
            grid = np.broadcast_to(values[..., None], (*np.shape(values), _NODES))
            rest = np.broadcast_to(other, grid.shape)
            points = np.stack([grid, rest] if axis == 0 else [rest, grid], axis=-1)
            logs = -mueller_brown_energy(points) / temperature
            top = logs.max(axis=-1, keepdims=True)
            sums = np.sum(np.exp(logs - top), axis=-1) * (other[1] - other[0])
            return np.asarray(np.log(sums) + top[..., 0])

        return IntervalLaw(log_integral, _LOW[axis], _HIGH[axis], panels=40, order=12)

    laws = marginal(0), marginal(1)
    x, y = (np.linspace(_LOW[axis], _HIGH[axis], _NODES) for axis in (0, 1))
    logs = -mueller_brown_energy(np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)) / temperature
    mass = np.exp(logs - logs.max())
    product = float(x @ mass @ y / mass.sum())
    means = [law.mean(lambda t: t) for law in laws]
    squares = [law.mean(lambda t: t**2) for law in laws]
    return MomentTarget(
        name="Müller-Brown potential" + (f" at temperature {temperature:g}" if temperature != 1 else ""),
        dim=2,
        logdensity=with_data(_logdensity, np.asarray(1 / temperature)),
        expectations=(
            *(Expectation(f"coordinate {i}", coordinate(i), means[i]) for i in (0, 1)),
            Expectation("square of coordinate 0", lambda x: x[0] ** 2, squares[0]),
            Expectation("square of coordinate 1", lambda x: x[1] ** 2, squares[1]),
            Expectation("product of the coordinates", lambda x: x[0] * x[1], product),
        ),
        marginals=tuple(Marginal(f"coordinate {i}", coordinate(i), laws[i].cdf) for i in (0, 1)),
        log_normalizer=laws[0].log_normalizer,
        source="Müller and Brown (1979), doi:10.1007/BF00547608; quadrature in the plane",
    )
