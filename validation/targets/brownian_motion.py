"""Brownian motion seen through noise: with known scales a normal law, with unknown ones a funnel that is still exact."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.interpolate
import scipy.optimize
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray
from numpy.typing import ArrayLike

from ergodica.samplers import random
from ergodica.samplers.inputs import static_count
from ergodica.validation.targets.quadrature import IntervalLaw
from ergodica.validation.targets.rejection import rejection_draws
from ergodica.validation.targets.target import Expectation, Marginal, Target, coordinate, with_data
from ergodica.validation.targets.whitened import whitened_marginals

_LOG_2PI = float(np.log(2 * np.pi))
_STEPS, _PRIOR_SCALE = 30, 2.0
_TIMES = np.r_[1:11, 21:31]
# fmt: off
_OBSERVATIONS = np.array([
    0.21592641, 0.118771404, -0.07945447, 0.037677474, -0.27885845, -0.1484156, -0.3250906, -0.22957903, -0.44110894,
    -0.09830782, -0.8786016, -0.83736074, -0.7384849, -0.8939254, -0.7774566, -0.70238715, -0.87771565, -0.51853573,
    -0.6948214, -0.6202789,
])
# fmt: on


def _path_covariance(steps: int) -> Float[np.ndarray, "n n"]:
    """Return that of a walk with unit steps after 1, ..., n of them: the smaller time."""
    times = np.arange(1.0, steps + 1)
    return np.minimum(times[:, None], times)


def _normal_target(
    name: str,
    logdensity: Partial,
    mean: Float[np.ndarray, " d"],
    covariance: Float[np.ndarray, "d d"],
    log_normalizer: float,
    source: str,
) -> Target:
    factor = np.linalg.cholesky(covariance)

    def whiten(x: Array) -> Array:
        return jax.scipy.linalg.solve_triangular(
            jnp.asarray(factor, x.dtype), x - jnp.asarray(mean, x.dtype), lower=True
        )

    def sample(key: PRNGKeyArray, n: int) -> Array:
        return jnp.asarray(mean) + random.normal(key, (n, len(mean))) @ jnp.asarray(factor).T

    return Target(
        name=name,
        dim=len(mean),
        logdensity=logdensity,
        sample=sample,
        marginals=whitened_marginals(len(mean), whiten),
        mean=mean,
        variance=np.diag(covariance).copy(),
        covariance=covariance,
        log_normalizer=log_normalizer,
        source=source,
    )


def _bridge_logdensity(end: np.ndarray, scale: np.ndarray, x: Array) -> Array:
    steps = jnp.diff(jnp.concatenate([jnp.zeros(1, x.dtype), x, jnp.asarray(end, x.dtype)[None]]))
    return -0.5 * jnp.sum((steps / jnp.asarray(scale, x.dtype)) ** 2)


def brownian_bridge(dim: int = 20, end: float = 1.0, scale: float = 1.0) -> Target:
    """Return a walk with normal steps from zero that has to be at ``end`` after ``dim + 1`` of them.

    Parameters
    ----------
    dim
        Number of places between the two ends.
    end
        The last place.
    scale
        Standard deviation of a step, positive.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """
    dim = static_count("dim", dim)
    if not np.isfinite(end) or not 0 < scale < np.inf:
        raise ValueError(f"end has to be finite, scale positive and finite; got {end} and {scale}")
    share = np.arange(1.0, dim + 1) / (dim + 1)
    covariance = scale**2 * (dim + 1) * (np.minimum(share[:, None], share) - np.outer(share, share))
    return _normal_target(
        name=f"Brownian bridge of {dim} places",
        logdensity=with_data(_bridge_logdensity, np.asarray(end, np.float64), np.asarray(scale, np.float64)),
        mean=end * share,
        covariance=covariance,
        log_normalizer=float(
            dim * (np.log(scale) + 0.5 * _LOG_2PI) - 0.5 * np.log(dim + 1) - 0.5 * (end / scale) ** 2 / (dim + 1)
        ),
        source="closed form",
    )


def _path_logdensity(y: Array, times: np.ndarray, log_innovation: Array, log_noise: Array, x: Array) -> Array:
    steps = jnp.diff(x, prepend=0) * jnp.exp(-log_innovation)
    errors = (y - x[times - 1]) * jnp.exp(-log_noise)
    prior = -0.5 * jnp.sum(steps**2) - x.size * (log_innovation + 0.5 * _LOG_2PI)
    return prior - 0.5 * jnp.sum(errors**2) - y.size * (log_noise + 0.5 * _LOG_2PI)


def _known_logdensity(y: np.ndarray, times: np.ndarray, scales: np.ndarray, x: Array) -> Array:
    s = jnp.log(jnp.asarray(scales, x.dtype))
    return _path_logdensity(jnp.asarray(y, x.dtype), times, s[0], s[1], x)


def _unknown_logdensity(y: np.ndarray, times: np.ndarray, x: Array) -> Array:
    prior = -0.5 * jnp.sum((x[:2] / _PRIOR_SCALE) ** 2) - 2 * (np.log(_PRIOR_SCALE) + 0.5 * _LOG_2PI)
    return prior + _path_logdensity(jnp.asarray(y, x.dtype), times, x[0], x[1], x[2:])


def _data(observations: ArrayLike | None, times: ArrayLike | None, steps: int) -> tuple[np.ndarray, np.ndarray]:
    if (observations is None) != (times is None):
        raise ValueError("give both observations and their times, or neither")
    y = _OBSERVATIONS if observations is None else np.asarray(observations, np.float64)
    when = _TIMES if times is None else np.asarray(times)
    if y.ndim != 1 or y.size == 0 or when.shape != y.shape or not np.all(np.isfinite(y)):
        raise ValueError(
            f"observations and times have to be vectors of one length, finite; got shapes {y.shape}, {when.shape}"
        )
    if not np.issubdtype(when.dtype, np.integer) or when.min() < 1 or when.max() > steps:
        raise ValueError(f"times have to be integers from 1 to {steps}, the number of steps; got {when}")
    return y, when


def observed_brownian_motion(
    innovation_scale: float = 0.1,
    noise_scale: float = 0.15,
    *,
    observations: ArrayLike | None = None,
    times: ArrayLike | None = None,
    steps: int = _STEPS,
) -> Target:
    """Return the posterior of a walk with normal steps, seen with normal errors at some times; scales are known.

    ``x_1 ~ N(0, innovation_scale^2)``, ``x_t ~ N(x_(t-1), innovation_scale^2)``, ``y_t ~ N(x_t, noise_scale^2)`` at the
    times of the observations. The log density is that of states and observations with all constants, so that
    ``log_normalizer`` is the evidence.

    Parameters
    ----------
    innovation_scale, noise_scale
        Positive.
    observations, times
        Both of shape ``(m,)``; times are integers from 1 to ``steps``. Default: the twenty observations of the benchmark
        with thirty steps, ten of which in the middle are not observed.
    steps
        Number of states.

    Raises
    ------
    ValueError
        If data or scales do not fit.
    """
    steps = static_count("steps", steps, at_least=2)
    if not (0 < innovation_scale < np.inf and 0 < noise_scale < np.inf):
        raise ValueError(f"both scales have to be positive and finite; got {innovation_scale} and {noise_scale}")
    y, when = _data(observations, times, steps)
    prior = innovation_scale**2 * _path_covariance(steps)
    gram = prior[np.ix_(when - 1, when - 1)] + noise_scale**2 * np.eye(len(y))
    gain = np.linalg.solve(gram, prior[when - 1]).T
    evidence = -0.5 * (len(y) * _LOG_2PI + np.linalg.slogdet(gram)[1] + y @ np.linalg.solve(gram, y))
    covariance = prior - gain @ prior[when - 1]
    return _normal_target(
        name=f"Brownian motion of {steps} steps, {len(y)} observed",
        logdensity=with_data(_known_logdensity, y, when, np.array([innovation_scale, noise_scale])),
        mean=gain @ y,
        covariance=(covariance + covariance.T) / 2,
        log_normalizer=float(evidence),
        source="linear normal model, closed form",
    )


def brownian_motion_unknown_scales(
    *, observations: ArrayLike | None = None, times: ArrayLike | None = None, steps: int = _STEPS
) -> Target:
    """Return the posterior of :func:`observed_brownian_motion` with the logs of both scales ~ N(0, 2^2).

    The position is ``(log innovation_scale, log noise_scale, x_1, ..., x_steps)``. Given the scales the states are normal,
    so that all truths are integrals over two variables; exact draws are by rejection from the prior of the scales.

    Parameters
    ----------
    observations, times, steps
        As for :func:`observed_brownian_motion`; default: the benchmark in 32 dimensions.

    Raises
    ------
    ValueError
        If the data do not fit.

    References
    ----------
    P. Sountsov, A. Radul, contributors, "Inference Gym", 2020, model "Brownian motion, unknown scales, missing middle".
    """
    steps = static_count("steps", steps, at_least=2)
    y, when = _data(observations, times, steps)
    path = _path_covariance(steps)
    # In this basis the observations are independent given the scales, with variances s^2 values + t^2.
    values, vectors = np.linalg.eigh(path[np.ix_(when - 1, when - 1)])
    rotated, cross = vectors.T @ y, path[:, when - 1] @ vectors

    def log_joint(log_s: Any, log_t: Any) -> Any:
        """Return the log of evidence times prior of the scales; NumPy or JAX arrays of one shape."""
        xp = jnp if isinstance(log_s, jnp.ndarray) else np
        v = xp.exp(2 * log_s)[..., None] * values + xp.exp(2 * log_t)[..., None]
        evidence = -0.5 * xp.sum(xp.log(v) + rotated**2 / v + _LOG_2PI, axis=-1)
        prior = -0.5 * (log_s**2 + log_t**2) / _PRIOR_SCALE**2 - 2 * (np.log(_PRIOR_SCALE) + 0.5 * _LOG_2PI)
        return evidence + prior

    # The trapezoidal rule: the prior ends both ways, and the evidence of m data is no sharper than 1 / sqrt(2 m).
    reach = 9.0 * _PRIOR_SCALE
    count = int(np.ceil(4 * reach * np.sqrt(len(y))))
    axis, step = np.linspace(-reach, reach, count, retstep=True)
    log_s, log_t = np.meshgrid(axis, axis, indexing="ij")
    logs = log_joint(log_s, log_t)
    top = float(logs.max())
    kept = logs > top - 60
    mass = np.exp(logs[kept] - top)
    log_normalizer = top + float(np.log(mass.sum() * step**2))
    mass = mass / mass.sum()
    a, b = log_s[kept], log_t[kept]
    s2 = np.exp(2 * a)[:, None]
    v = s2 * values + np.exp(2 * b)[:, None]
    means = (s2 * rotated / v) @ cross.T
    variances = s2 * np.diag(path) - (s2**2 / v) @ (cross**2).T
    mean = np.concatenate([[mass @ a, mass @ b], mass @ means])
    second = np.concatenate([[mass @ a**2, mass @ b**2], mass @ (variances + means**2)])

    def law(first: bool) -> IntervalLaw:
        nodes = np.linspace(-reach, reach, 4 * count)
        found = np.empty_like(nodes)
        for k, node in enumerate(nodes):
            here = np.full(count, node)
            row = log_joint(here, axis) if first else log_joint(axis, here)
            found[k] = row.max() + np.log(np.sum(np.exp(row - row.max())) * step)
        return IntervalLaw(scipy.interpolate.make_interp_spline(nodes, found, k=5), -reach, reach)

    laws: dict[bool, IntervalLaw] = {}

    def cdf(first: bool) -> Callable[[np.ndarray], np.ndarray]:
        def at(points: np.ndarray) -> np.ndarray:
            if first not in laws:
                laws[first] = law(first)
            return laws[first].cdf(points)

        return at

    # Proposals of the scales: half from the prior, half around the mean. The ratio is bounded by its largest value, found
    # on the grid and then by ascent.
    centre = mean[:2]
    spread = np.cov(np.stack([a, b]), aweights=mass, bias=True) * 2.0
    factor, whitener = np.linalg.cholesky(spread), np.linalg.inv(np.linalg.cholesky(spread))

    def log_ratio(scales: Any) -> Any:
        """Return the log density of scales ``(..., 2)`` over that of the proposal; NumPy or JAX arrays."""
        xp = jnp if isinstance(scales, jnp.ndarray) else np
        near = -0.5 * xp.sum(((scales - centre) @ whitener.T) ** 2, axis=-1) + np.linalg.slogdet(whitener)[1]
        wide = -0.5 * xp.sum(scales**2, axis=-1) / _PRIOR_SCALE**2 - 2 * np.log(_PRIOR_SCALE)
        return log_joint(scales[..., 0], scales[..., 1]) - xp.logaddexp(near, wide) + np.log(2) + _LOG_2PI

    ratios = log_ratio(np.stack([a, b], axis=-1))
    best = int(np.argmax(ratios))

    def falling(*arguments: Any) -> Any:
        return -log_ratio(arguments[0])

    highest = np.array([a[best], b[best]])
    ascent = scipy.optimize.minimize(falling, highest, method="Nelder-Mead", tol=1e-9)
    bound = max(float(ratios[best]), -float(ascent.fun)) + 1e-6

    def propose(key: PRNGKeyArray, n: int) -> tuple[Array, Array]:
        which_key, normal_key = random.split(key)
        z = random.normal(normal_key, (n, 2))
        near = random.bernoulli(which_key, 0.5, (n, 1))
        scales = jnp.where(near, jnp.asarray(centre) + z @ jnp.asarray(factor).T, _PRIOR_SCALE * z)
        return scales, jnp.minimum(jnp.asarray(log_ratio(scales)) - bound, 0.0)

    def sample(key: PRNGKeyArray, n: int) -> Array:
        scale_key, path_key, error_key = random.split(key, 3)
        scales = rejection_draws(scale_key, n, propose)
        s, t = jnp.exp(scales[:, :1]), jnp.exp(scales[:, 1:])
        # A path of the prior with observations of its own is moved by the difference that the data make.
        x = jnp.cumsum(s * random.normal(path_key, (n, steps)), axis=1)
        seen = x[:, when - 1] + t * random.normal(error_key, (n, len(y)))
        v = s**2 * values + t**2
        moved = s**2 * (((jnp.asarray(y) - seen) @ vectors) / v) @ cross.T
        return jnp.concatenate([scales, x + moved], axis=1)

    return Target(
        name=f"Brownian motion of {steps} steps with unknown scales",
        dim=steps + 2,
        logdensity=with_data(_unknown_logdensity, y, when),
        sample=sample,
        marginals=(
            Marginal("log innovation scale", coordinate(0), cdf(True)),
            Marginal("log noise scale", coordinate(1), cdf(False)),
            Marginal("first state", coordinate(2)),
            Marginal("last state", coordinate(steps + 1)),
        ),
        mean=mean,
        variance=second - mean**2,
        log_normalizer=log_normalizer,
        expectations=(
            Expectation("innovation scale", lambda x: jnp.exp(x[0]), float(mass @ np.exp(a))),
            Expectation("noise scale", lambda x: jnp.exp(x[1]), float(mass @ np.exp(b))),
            Expectation("squared innovation scale", lambda x: jnp.exp(2 * x[0]), float(mass @ np.exp(2 * a))),
        ),
        source="Inference Gym (2020); quadrature over both scales",
    )
