"""Checks of what users hand in: positions, densities and parameters.

Every check compares what was given with what was expected, and says what to do. Values are inspected only where they
are concrete; inside ``jit`` and ``vmap`` the structural half of each check still runs.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PyTree

from ergodica.samplers.density import density_dtype

Numbers = ArrayLike | Sequence[Any]
"""An array, a number, or nested lists of numbers."""


def is_concrete(value: Any) -> bool:
    """Whether a value can be inspected now, because it is no tracer."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value))


def leaf_names(tree: PyTree) -> list[tuple[str, Any]]:
    """Return the leaves of a pytree with names that a user recognises."""
    return [("position" + jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def real_position(position: PyTree, kernel: str) -> PyTree:
    """Check the position of a kernel on a continuous space, and return it as JAX arrays.

    Parameters
    ----------
    position
        Pytree of real floating-point arrays, at least one entry in all; every entry finite.
    kernel
        Name of the kernel, for the error.

    Raises
    ------
    TypeError
        If a leaf is no array, or not of a real floating dtype.
    ValueError
        If there are no entries, or an entry is not finite.
    """
    leaves = leaf_names(position)
    if sum(int(np.size(leaf)) for _, leaf in leaves) == 0:
        raise ValueError(f"{kernel} needs a position with at least one entry; got {position!r}")
    for name, leaf in leaves:
        try:
            dtype = jnp.result_type(leaf)
        except TypeError:
            raise TypeError(f"{kernel} needs a position made of arrays; {name} is a {type(leaf).__name__}") from None
        if jnp.issubdtype(dtype, jnp.integer) or dtype == jnp.bool_:
            raise TypeError(
                f"{kernel} moves in a continuous space and needs floating-point positions; {name} has dtype {dtype}. "
                "Write 1.0 instead of 1, or convert with .astype(float); use a finite kernel for discrete variables."
            )
        if not jnp.issubdtype(dtype, jnp.floating):
            raise TypeError(
                f"{kernel} needs real floating-point positions; {name} has dtype {dtype}. "
                "Sample the real and imaginary parts as two leaves."
            )
        if is_concrete(leaf) and not np.all(np.isfinite(np.asarray(leaf))):
            raise ValueError(f"{kernel} cannot start from a position that is not finite; {name} is {np.asarray(leaf)}")
    return jax.tree.map(jnp.asarray, position)


def integer_position(position: PyTree, kernel: str) -> PyTree:
    """Check the position of a kernel on a discrete space, and return it as JAX arrays.

    Raises
    ------
    TypeError
        If a leaf is not of an integer dtype.
    """
    leaves = leaf_names(position)
    if sum(int(np.size(leaf)) for _, leaf in leaves) == 0:
        raise ValueError(f"{kernel} needs a position with at least one entry; got {position!r}")
    for name, leaf in leaves:
        dtype = jnp.result_type(leaf)
        if not jnp.issubdtype(dtype, jnp.integer):
            raise TypeError(f"{kernel} moves in a discrete space and needs integer positions; {name} has dtype {dtype}")
    return jax.tree.map(jnp.asarray, position)


def start_density(logdensity: Callable[..., Any], position: PyTree, kernel: str, dtype: Any = None) -> Float[Array, ""]:
    """Evaluate a log density at a start, after checking that it is fit to sample from.

    Parameters
    ----------
    logdensity
        The log density.
    position
        The start.
    kernel
        Name of the kernel, for the error.
    dtype
        Dtype of the result; default: the position's.

    Returns
    -------
    scalar

    Raises
    ------
    TypeError
        If JAX cannot trace the density, or it returns something other than one real number.
    ValueError
        If it is NaN or infinite at the start.
    """
    dtype = density_dtype(position) if dtype is None else dtype
    try:
        out = jax.eval_shape(logdensity, position)
    except (
        jax.errors.TracerArrayConversionError,
        jax.errors.ConcretizationTypeError,
        jax.errors.TracerBoolConversionError,
    ) as error:
        raise TypeError(
            f"{kernel} needs a log density that JAX can trace; calling it with traced arrays raised "
            f"{type(error).__name__}. Likely causes: (a) it uses numpy or math instead of jax.numpy; (b) it branches "
            "with Python's `if` on a value (use jnp.where or lax.cond); (c) it calls a compiled library (wrap that call "
            "in jax.pure_callback)."
        ) from error
    if not isinstance(out, jax.ShapeDtypeStruct):
        raise TypeError(f"{kernel} needs a log density that returns one real number; it returned {out!r}")
    if out.shape != ():
        raise TypeError(
            f"{kernel} needs a log density that returns a scalar; it returned shape {out.shape}. "
            "Sum the terms: the log density of independent parts is their sum."
        )
    if jnp.issubdtype(out.dtype, jnp.complexfloating):
        raise TypeError(
            f"{kernel} needs a log density that returns a real number; it returned dtype {out.dtype}. Take jnp.real."
        )
    value = jnp.asarray(logdensity(position), dtype)
    if is_concrete(value):
        finite_start(np.asarray(value), position, kernel)
    return value


def finite_start(values: np.ndarray, position: PyTree, kernel: str) -> None:
    """Check the log densities of one or several starts.

    Parameters
    ----------
    values
        Log density of the start, or of each of several starts.
    position
        The start, or the starts with a leading axis; quoted in the error.
    kernel
        Name of the kernel, for the error.

    Raises
    ------
    ValueError
        If a value is NaN or infinite.
    """
    bad = ~np.isfinite(values)
    if not np.any(bad):
        return
    if values.ndim:
        chain = int(np.argwhere(bad.reshape(-1))[0, 0])
        value = values.reshape(-1)[chain]
        position = jax.tree.map(
            lambda leaf: np.asarray(leaf).reshape((-1, *leaf.shape[values.ndim :]))[chain], position
        )
        where = f"at the start of chain {chain}"
    else:
        value = values
        where = "at the start"
    if np.isnan(value):
        cause = "NaN: look for log or sqrt of a negative number, 0 * inf, or inf - inf there"
    elif value < 0:
        cause = "-inf: the start has probability zero; choose one inside the support"
    else:
        cause = "+inf: the density has a pole there, or overflows; a log density has to be bounded on its support"
    shown = jax.tree.map(lambda leaf: np.array2string(np.asarray(leaf), threshold=8, precision=4), position)
    raise ValueError(f"{kernel}: the log density {where} is {cause}. The position was {shown}.")


def real_parameter(
    name: str, value: Numbers, *, above: float | None = None, at_least: float | None = None, ndim: int | None = 0
) -> Float[Array, "..."]:
    """Check a hyperparameter and return it as a floating-point array, the kernel's leaf.

    Parameters
    ----------
    name
        Name of the parameter, for the error.
    value
        The value; any real dtype.
    above, at_least
        Strict and inclusive lower bounds.
    ndim
        Required number of axes; ``None`` for any.

    Raises
    ------
    TypeError, ValueError
        If the value is not real, not finite, out of bounds, or has the wrong number of axes.
    """
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} has to be a real number or array; got {value!r}") from None
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise TypeError(f"{name} has to be a real number or array; got dtype {array.dtype}")
    # A strong type: the leaf keeps its dtype when a tuner replaces it.
    array = jnp.array(array, dtype=array.dtype if jnp.issubdtype(array.dtype, jnp.floating) else float)
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name} has to have {ndim} axes; got shape {array.shape}")
    if is_concrete(array):
        values = np.asarray(array)
        if not np.all(np.isfinite(values)):
            raise ValueError(f"{name} has to be finite; got {values}")
        if above is not None and not np.all(values > above):
            raise ValueError(f"{name} has to be greater than {above:g}; got {values}")
        if at_least is not None and not np.all(values >= at_least):
            raise ValueError(f"{name} has to be at least {at_least:g}; got {values}")
    return array


def static_count(name: str, value: int, *, at_least: int = 1) -> int:
    """Check a static count such as a loop's cap, and return it as ``int``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} has to be an integer; got {value!r}")
    if value < at_least:
        raise ValueError(f"{name} has to be at least {at_least}; got {value}")
    return int(value)


def probability_vector(name: str, value: Numbers, *, axis: int = -1, tolerance: float | None = None) -> Array:
    """Check probabilities along an axis: no NaN, none negative, not all zero; summing to one if ``tolerance`` is given.

    Raises
    ------
    ValueError
        With the first entry or row that is wrong.
    """
    array = jnp.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        array = array.astype(float)
    if is_concrete(array):
        values = np.asarray(array)
        if values.size == 0:
            raise ValueError(f"{name} is empty; expected at least one probability")
        if np.any(np.isnan(values)) or np.any(np.isposinf(values)):
            raise ValueError(f"{name} contains NaN or inf; expected probabilities")
        if np.any(values < -1e-12):
            raise ValueError(f"{name} has a negative entry, {values.min():g}; expected probabilities (pass logits?)")
        sums = values.sum(axis=axis)
        if np.any(sums <= 0):
            raise ValueError(f"{name} has no positive entry along axis {axis}; at least one outcome has to be possible")
        if tolerance is not None and np.any(np.abs(sums - 1) > tolerance):
            worst = sums.reshape(-1)[np.argmax(np.abs(sums - 1).reshape(-1))]
            raise ValueError(
                f"{name} has to sum to one along axis {axis}; got a sum of {worst:.12g}. Divide by the sum."
            )
    return array


def integer_array(name: str, value: Numbers) -> Int[Array, "..."]:
    """Check that a value is an array of integers, and return it."""
    array = jnp.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"{name} has to be integer-valued; got dtype {array.dtype}")
    return array
