"""Checks of samples: points, their weights, and the scores of a target at them."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

Score = Callable[[Any], Any]
"""``position -> gradient of the log density``, both of shape ``(d,)``; JAX has to be able to trace it."""


def sample_points(name: str, points: ArrayLike, *, at_least: int = 1) -> Float[np.ndarray, "n d"]:
    """Check a sample and return it in double precision.

    Parameters
    ----------
    name
        Name of the argument, for the error.
    points
        Shape ``(n, d)``, or ``(n,)`` for points on the line; NumPy or JAX, real, finite.
    at_least
        Smallest number of points that makes sense.

    Raises
    ------
    TypeError
        If the entries are not real numbers.
    ValueError
        If the shape is wrong, there are too few points, or an entry is not finite.
    """
    try:
        given = np.asarray(points)
    except ValueError:
        raise ValueError(f"{name} has to be an array of shape (n, d); got rows of different lengths") from None
    if given.dtype.kind not in "biuf" and not jax.numpy.issubdtype(given.dtype, np.floating):
        raise TypeError(f"{name} has to be an array of real numbers; got dtype {given.dtype}")
    array = np.ascontiguousarray(given, np.float64)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise ValueError(f"{name} has to have shape (n, d) or (n,); got {given.shape}. Merge chains and draws first.")
    if array.shape[1] == 0:
        raise ValueError(f"{name} has to have at least one coordinate; got shape {given.shape}")
    if len(array) < at_least:
        raise ValueError(f"{name} has to hold at least {at_least} points; got shape {given.shape}")
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if bad.size:
        raise ValueError(
            f"{name} has to be finite; {bad.size} of {len(array)} points are not, the first is number {bad[0]}: "
            f"{array[bad[0]]}. A sampler that returns such draws is wrong; do not drop them."
        )
    return array


def same_dimension(
    x: ArrayLike, y: ArrayLike, *, at_least: int = 1
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "m d"]]:
    """Check two samples of one space.

    Raises
    ------
    TypeError, ValueError
        As :func:`sample_points`, and if the dimensions differ.
    """
    first, second = sample_points("x", x, at_least=at_least), sample_points("y", y, at_least=at_least)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"x and y have to be of one dimension; got {first.shape[1]} and {second.shape[1]}")
    return first, second


def sample_weights(name: str, weights: ArrayLike | None, size: int) -> Float[np.ndarray, " n"]:
    """Check the weights of a sample and return them normalised.

    Parameters
    ----------
    name
        Name of the argument, for the error.
    weights
        Shape ``(n,)``, not negative, in any unit; ``None`` for equal ones. Exponentiate log weights first, after
        subtracting the largest.
    size
        Number of points.

    Raises
    ------
    ValueError
        If the shape is wrong, a weight is negative or not finite, or all are zero.
    """
    if weights is None:
        return np.full(size, 1.0 / size)
    array = np.asarray(weights, np.float64)
    if array.shape != (size,):
        raise ValueError(f"{name} has to have shape ({size},), one weight for each point; got {array.shape}")
    if not np.all(np.isfinite(array)) or np.any(array < 0):
        raise ValueError(f"{name} has to be finite and not negative; the smallest is {array.min()}. Log weights?")
    largest = array.max()
    if largest == 0:
        raise ValueError(f"{name} sums to zero; at least one point needs a positive weight")
    array = array / largest
    return np.asarray(array / array.sum())


def scores_at(
    points: Float[np.ndarray, "n d"],
    score: Score | ArrayLike | None,
    logdensity: Callable[[Any], Any] | None,
    *,
    block: int = 4096,
) -> Float[np.ndarray, "n d"]:
    """Return the scores of a target at points.

    Parameters
    ----------
    points
        Shape ``(n, d)``.
    score
        Scores of shape ``(n, d)`` (``(n,)`` on the line), or a function of one point of shape ``(d,)``.
    logdensity
        Log density of one point of shape ``(d,)``, instead of ``score``; its gradient is taken. Additive constants do
        not matter.
    block
        Number of points at which a function is evaluated at once.

    Raises
    ------
    TypeError
        If none or both of ``score`` and ``logdensity`` are given.
    ValueError
        If the shape is wrong or a score is not finite.
    """
    if (score is None) == (logdensity is None):
        raise TypeError("give either score= or logdensity=, not both and not none")
    if logdensity is not None or callable(score):
        function = score if logdensity is None else jax.grad(logdensity)
        if not callable(function):  # for type checkers: the line above leaves nothing else
            raise TypeError("score has to be an array or a function")
        try:
            value = jax.eval_shape(function, jax.ShapeDtypeStruct((points.shape[1],), jax.numpy.result_type(float)))
        except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError) as error:
            raise TypeError(
                "JAX cannot trace the score or log density; write it with jax.numpy, or pass the array of scores"
            ) from error
        if getattr(value, "shape", None) != (points.shape[1],):
            raise ValueError(
                f"the score of one point has to have shape ({points.shape[1]},); the function returned {value}"
            )
        batched = jax.jit(jax.vmap(function))
        parts = [np.asarray(batched(points[i : i + block]), np.float64) for i in range(0, len(points), block)]
        scores = np.concatenate(parts)
    else:
        scores = np.asarray(score, np.float64)
        if scores.ndim == 1 and points.shape[1] == 1:
            scores = scores[:, None]
    if scores.shape != points.shape:
        raise ValueError(f"the scores have to have the shape of the points, {points.shape}; got {scores.shape}")
    bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if bad.size:
        raise ValueError(
            f"the score is not finite at {bad.size} of {len(points)} points, first at number {bad[0]}, "
            f"{points[bad[0]]}: it is {scores[bad[0]]}. Is that point inside the support?"
        )
    return np.ascontiguousarray(scores)
