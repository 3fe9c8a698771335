"""The log-Gaussian Cox process on a grid: counts whose log intensity is a correlated normal field."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from ergodica.samplers.inputs import static_count
from ergodica.validation.targets.target import Expectation, MomentTarget, with_data

_VARIANCE = 1.91
_MEAN = float(np.log(126)) - _VARIANCE / 2
_LOG_2PI = float(np.log(2 * np.pi))
# Counts of a draw from the model on a grid of side 5 with the length 40 / 33.
_SIMULATED = ((6, 32, 34, 1, 1), (5, 24, 13, 20, 5), (6, 1, 0, 22, 5), (8, 0, 0, 0, 1), (8, 0, 0, 1, 1))


def cox_prior(side: int, length: float) -> tuple[float, Float[np.ndarray, "n n"]]:
    """Return mean and covariance of the log intensity on a square grid, row by row.

    The covariance is ``1.91 exp(-distance / length)``, distances in grid steps; the mean is such that 126 points are
    expected in all.

    Parameters
    ----------
    side
        Of the grid.
    length
        Correlation length in grid steps, positive.
    """
    side = static_count("side", side, at_least=2)
    if not 0 < length < np.inf:
        raise ValueError(f"length has to be positive and finite; got {length}")
    places = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), axis=-1).reshape(-1, 2)
    distance = np.linalg.norm(places[:, None] - places, axis=-1)
    return _MEAN, np.asarray(_VARIANCE * np.exp(-distance / length))


def _logdensity(counts: np.ndarray, factor: np.ndarray, f: Array) -> Array:
    """Log of the Poisson likelihood without the factorials times the normalised prior, by its Cholesky factor."""
    y, L = jnp.asarray(counts, f.dtype), jnp.asarray(factor, f.dtype)
    z = jax.scipy.linalg.solve_triangular(L, f - _MEAN, lower=True)
    prior = -0.5 * jnp.sum(z**2) - jnp.sum(jnp.log(jnp.diag(L))) - 0.5 * f.size * _LOG_2PI
    return jnp.sum(f * y - jnp.exp(f) / f.size) + prior


def _whitened_logdensity(counts: np.ndarray, factor: np.ndarray, z: Array) -> Array:
    y, f = jnp.asarray(counts, z.dtype), _MEAN + jnp.asarray(factor, z.dtype) @ z
    return jnp.sum(f * y - jnp.exp(f) / f.size) - 0.5 * jnp.sum(z**2) - 0.5 * z.size * _LOG_2PI


def _entry(function: Callable[[Array], Array], index: int) -> Callable[[Array], Array]:
    return lambda x: function(x)[index]


def log_gaussian_cox(counts: ArrayLike, *, length: float | None = None, whitened: bool = False) -> MomentTarget:
    """Return the posterior of the log intensity ``f`` of counts ``y ~ Poisson(exp(f) / cells)`` on a square grid.

    The log density is ``sum(f y - exp(f) / cells)`` (without ``log y!``) plus that of the normal prior, :func:`cox_prior`.

    Parameters
    ----------
    counts
        Non-negative integers, shape ``(side, side)``.
    length
        Correlation length in grid steps. Default: ``side / 33``, the model of the pine saplings, where a grid of 40
        is common; on small grids it leaves neighbours nearly independent, and 40 / 33 keeps their correlation.
    whitened
        Positions are ``z`` of ``f = mean + L z``, with ``L`` the prior's Cholesky factor, instead of ``f``.

    Returns
    -------
    MomentTarget
        With ``side^2`` coordinates, and exact identities of partial integration: the mean of ``f`` is that of ``mean + K
        (y - exp(f) / cells)``. On the grid of side 2 normaliser and means are known by quadrature, to about eight digits.
        No exact draws.

    Raises
    ------
    ValueError
        If the counts do not fit, or the length is not positive.

    References
    ----------
    J. Møller, A. R. Syversveen, R. P. Waagepetersen, "Log Gaussian Cox processes", Scandinavian Journal of Statistics 25
    (1998). doi:10.1111/1467-9469.00115.
    """
    y = np.asarray(counts, dtype=np.float64)
    if y.ndim != 2 or y.shape[0] != y.shape[1] or y.size < 4:
        raise ValueError(f"counts have to form a square grid of side 2 or more; got shape {y.shape}")
    if not np.all((y >= 0) & (y == np.floor(y)) & np.isfinite(y)):
        raise ValueError("counts have to be non-negative integers")
    side, cells = len(y), y.size
    y = y.reshape(-1)
    mean, K = cox_prior(side, side / 33 if length is None else length)
    L = np.linalg.cholesky(K)

    def field(x: Array) -> Array:
        return mean + jnp.asarray(L, x.dtype) @ x if whitened else x

    def defect(x: Array) -> Array:
        f = field(x)
        return f - mean - jnp.asarray(K, x.dtype) @ (jnp.asarray(y, x.dtype) - jnp.exp(f) / cells)

    expectations = [
        Expectation(f"defect of the mean at cell {i}", _entry(defect, i), 0.0) for i in (0, cells // 2, cells - 1)
    ]
    expectations.append(
        # x . grad U, about the prior's mean.
        Expectation(
            "scaling",
            lambda x: (
                jnp.vdot(field(x) - mean, jnp.exp(field(x)) / cells - jnp.asarray(y, x.dtype))
                + jnp.sum(jax.scipy.linalg.solve_triangular(jnp.asarray(L, x.dtype), field(x) - mean, lower=True) ** 2)
            ),
            float(cells),
        )
    )
    log_normalizer = None
    if side == 2:
        log_normalizer, means, intensity = _by_quadrature(y, mean, K)
        expectations += [Expectation(f"log intensity of cell {i}", _entry(field, i), float(means[i])) for i in range(4)]
        expectations.append(Expectation("expected count", lambda x: jnp.sum(jnp.exp(field(x))) / cells, intensity))
    return MomentTarget(
        name=f"log-Gaussian Cox process on a grid of side {side}" + (", whitened" if whitened else ""),
        dim=cells,
        logdensity=with_data(_whitened_logdensity if whitened else _logdensity, y, L),
        expectations=tuple(expectations),
        log_normalizer=log_normalizer,
        source="Møller, Syversveen and Waagepetersen (1998), doi:10.1111/1467-9469.00115; partial integration"
        + (", quadrature in four dimensions" if side == 2 else ""),
    )


def simulated_cox_process(*, whitened: bool = False) -> MomentTarget:
    """Return :func:`log_gaussian_cox` for simulated counts on a grid of side 5, neighbours as correlated as on one of 40.

    Parameters
    ----------
    whitened
        As for :func:`log_gaussian_cox`.

    Returns
    -------
    MomentTarget
        Means of three cells and of the expected count come from importance sampling, two million weighted draws around
        the mode, with their standard errors. So does ``log_normalizer``, whose standard error is 0.0011.
    """
    target = log_gaussian_cox(_SIMULATED, length=40 / 33, whitened=whitened)
    mean, K = cox_prior(5, 40 / 33)
    factor = np.linalg.cholesky(K)

    def field(x: Array) -> Array:
        return mean + jnp.asarray(factor, x.dtype) @ x if whitened else x

    cells = ((0, 4.96049, 0.00053), (12, 3.1054, 0.0011), (24, 3.0812, 0.0012))
    return dataclasses.replace(
        target,
        expectations=(
            *target.expectations,
            *(Expectation(f"log intensity of cell {i}", _entry(field, i), *known) for i, *known in cells),
            Expectation("expected count", lambda x: jnp.sum(jnp.exp(field(x))) / 25, 192.901, 0.019),
        ),
        log_normalizer=938.6889,
        source=target.source + ", importance sampling",
    )


def posterior_mode(
    counts: Float[np.ndarray, " n"], mean: float, covariance: Float[np.ndarray, "n n"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n n"]]:
    """Return the posterior's mode and the inverse of its Hessian there, by Newton's method."""
    f = np.full(len(counts), mean)
    precision = np.linalg.inv(covariance)
    for _ in range(100):
        intensity = np.exp(f) / len(counts)
        step = np.linalg.solve(precision + np.diag(intensity), counts - intensity - precision @ (f - mean))
        f = f + step * min(1.0, 2.0 / np.abs(step).max())
        if np.abs(step).max() < 1e-12:
            break
    return f, np.linalg.inv(precision + np.diag(np.exp(f) / len(counts)))


def _by_quadrature(
    y: Float[np.ndarray, " n"], mean: float, K: Float[np.ndarray, "n n"]
) -> tuple[float, Float[np.ndarray, " n"], float]:
    """Return log Z, the means of the field and the mean of the expected count, by the trapezoidal rule at the mode."""
    mode, covariance = posterior_mode(y, mean, K)
    factor = np.linalg.cholesky(covariance)
    axis, step = np.linspace(-10.3, 6.5, 29, retstep=True)
    tail = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3) @ factor[:, 1:].T
    precision = np.linalg.inv(K)
    peak = np.sum(y * mode - np.exp(mode) / len(y)) - 0.5 * (mode - mean) @ precision @ (mode - mean)
    total, sums, intensity = 0.0, np.zeros(len(y)), 0.0
    for first in axis:
        f = mode + first * factor[:, 0] + tail
        rates = np.exp(f) / len(y)
        centred = f - mean
        logs = f @ y - rates.sum(axis=1) - 0.5 * np.sum((centred @ precision) * centred, axis=1)
        mass = np.exp(logs - peak)
        total += mass.sum()
        sums += mass @ f
        intensity += float(mass @ rates.sum(axis=1))
    log_determinant = np.linalg.slogdet(factor)[1] - 0.5 * np.linalg.slogdet(2 * np.pi * K)[1]
    log_normalizer = float(np.log(total) + peak + len(y) * np.log(step) + log_determinant)
    return log_normalizer, np.asarray(sums / total), float(intensity / total)
