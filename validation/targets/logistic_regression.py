"""Bayesian logistic regression; with at most three coefficients, its moments by quadrature about the mode."""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike
from scipy import optimize, special

from ergodica.validation.targets.linear_regression import design_and_outcomes
from ergodica.validation.targets.target import Expectation, MomentTarget, coordinate, with_data

_LOG_2PI = float(np.log(2 * np.pi))


def _logposterior(X: np.ndarray, y: np.ndarray, precision: np.ndarray, constant: np.ndarray, w: Array) -> Array:
    predictor = jnp.asarray(X, w.dtype) @ w
    likelihood = jnp.sum(jnp.asarray(y, w.dtype) * predictor - jax.nn.softplus(predictor))
    return likelihood - 0.5 * jnp.asarray(precision, w.dtype) * jnp.sum(w**2) + jnp.asarray(constant, w.dtype)


def _product(i: int, j: int) -> Callable[[Array], Array]:
    return lambda w: w[i] * w[j]


def _refuse_improper(X: np.ndarray, y: np.ndarray) -> None:
    """Raise if the posterior under a flat prior cannot be normalised: it can, exactly if no plane separates the data."""
    if np.linalg.matrix_rank(X) < X.shape[1]:
        raise ValueError(
            "with a flat prior, the columns of the design have to be linearly independent; give a prior_scale"
        )
    sides = (2 * y - 1)[:, None] * X
    plane = optimize.linprog(-sides.sum(axis=0), A_ub=-sides, b_ub=np.zeros(len(y)), bounds=(-1, 1))
    if plane.fun < -1e-7 * np.abs(sides).sum():
        raise ValueError("a plane separates the outcomes, so a flat prior has no proper posterior; give a prior_scale")


def _mode(X: np.ndarray, y: np.ndarray, precision: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the mode and the Hessian of minus the log density there."""

    def value(w: np.ndarray) -> float:
        predictor = X @ w
        return float(np.sum(np.logaddexp(0, predictor) - y * predictor) + 0.5 * precision * w @ w)

    def gradient(w: np.ndarray) -> np.ndarray:
        return np.asarray(X.T @ (special.expit(X @ w) - y) + precision * w)

    def hessian(w: np.ndarray) -> np.ndarray:
        p = special.expit(X @ w)
        return np.asarray((X * (p * (1 - p))[:, None]).T @ X + precision * np.eye(X.shape[1]))

    found = optimize.minimize(
        value, np.zeros(X.shape[1]), jac=gradient, hess=hessian, method="trust-exact", options={"gtol": 1e-8}
    )
    return found.x, hessian(found.x)


def logistic_regression(
    design: ArrayLike, outcomes: ArrayLike, *, prior_scale: float | None = None, nodes: int = 40
) -> MomentTarget:
    """Return the posterior of ``y ~ Bernoulli(logistic(X w))``.

    Parameters
    ----------
    design
        Shape ``(n, d)``; give the column of ones too.
    outcomes
        Zeros and ones, shape ``(n,)``.
    prior_scale
        Standard deviation of ``w ~ N(0, prior_scale^2 I)``, normalised in the log density. Default: a flat prior, which
        is proper only if no plane separates the outcomes.
    nodes
        Of the Gauss-Hermite rule along each axis of the normal approximation at the mode.

    Returns
    -------
    MomentTarget
        With up to three columns: the evidence and the moments ``w[i]``, ``w[i]^2`` and ``w[i] w[j]``. With more, only the
        log density.

    Raises
    ------
    ValueError
        If the data do not fit, outcomes are not binary, or a flat prior has no proper posterior.

    References
    ----------
    A. Albert, J. A. Anderson, "On the existence of maximum likelihood estimates in logistic regression models",
    Biometrika 71 (1984). doi:10.1093/biomet/71.1.1.
    """
    X, y = design_and_outcomes(design, outcomes)
    if not np.all((y == 0) | (y == 1)):
        raise ValueError("outcomes have to be zeros and ones")
    if prior_scale is not None and not 0 < prior_scale < np.inf:
        raise ValueError(f"prior_scale has to be positive and finite, or None for a flat prior; got {prior_scale}")
    if prior_scale is None:
        _refuse_improper(X, y)
    dim = X.shape[1]
    precision = 0.0 if prior_scale is None else prior_scale**-2
    constant = 0.0 if prior_scale is None else -dim * (float(np.log(prior_scale)) + 0.5 * _LOG_2PI)
    logdensity = with_data(_logposterior, X, y, np.asarray(precision), np.asarray(constant))
    name = f"logistic regression on {dim} columns"
    if dim > 3:
        return MomentTarget(name=name, dim=dim, logdensity=logdensity, expectations=(), source="no truth is stated")

    mode, hessian = _mode(X, y, precision)
    factor = np.linalg.cholesky(np.linalg.inv(hessian))
    unit, weights = np.polynomial.hermite_e.hermegauss(nodes)
    z: Float[np.ndarray, "m d"] = np.stack(np.meshgrid(*[unit] * dim, indexing="ij"), axis=-1).reshape(-1, dim)
    log_weights = np.sum(
        np.stack(np.meshgrid(*[np.log(weights)] * dim, indexing="ij"), axis=-1).reshape(-1, dim), axis=1
    )
    w = mode + z @ factor.T
    logs = np.empty(len(w))
    for block in np.array_split(np.arange(len(w)), max(1, len(w) * len(X) // 4_000_000)):
        predictor = w[block] @ X.T
        logs[block] = predictor @ y - np.logaddexp(0, predictor).sum(axis=1)
    logs += log_weights - 0.5 * precision * np.sum(w**2, axis=1) + constant + 0.5 * np.sum(z**2, axis=1)
    total = special.logsumexp(logs)
    mass = np.exp(logs - total)
    first, second = mass @ w, (mass[:, None] * w).T @ w
    expectations = [Expectation(f"w[{i}]", coordinate(i), float(first[i])) for i in range(dim)]
    for i, j in itertools.combinations_with_replacement(range(dim), 2):
        name_of_product = f"w[{i}]^2" if i == j else f"w[{i}] w[{j}]"
        expectations.append(Expectation(name_of_product, _product(i, j), float(second[i, j])))
    return MomentTarget(
        name=name,
        dim=dim,
        logdensity=logdensity,
        expectations=tuple(expectations),
        log_normalizer=float(total + np.sum(np.log(np.diag(factor)))),
        source=f"Gauss-Hermite product rule of {nodes} nodes an axis at the mode",
    )
