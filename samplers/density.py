"""Log densities: how kernels hold them, evaluate them, and what they may return."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, PyTree

LogDensity = Callable[[Any], Array]
"""A plain callable from a position to a real scalar, up to an additive constant."""


def _call_module(module: Any, position: PyTree) -> Array:
    return module(position)  # type: ignore[no-any-return]


def as_logdensity(function: Callable[..., Any] | Partial) -> Partial:
    """Wrap a log density as a pytree whose data are leaves, so that new data do not recompile.

    Parameters
    ----------
    function
        A callable ``position -> scalar``. Write ``jax.tree_util.Partial(fn, data)`` with a module-level ``fn`` when the
        data change between runs: functions are compared by identity, data are traced.

    Returns
    -------
    jax.tree_util.Partial

    Raises
    ------
    TypeError
        If ``function`` is not callable.
    """
    if isinstance(function, Partial):
        return function
    if isinstance(function, eqx.Module) and callable(function):
        return Partial(_call_module, function)
    if not callable(function):
        raise TypeError(
            f"a log density is a callable from a position to a scalar; got {type(function).__name__}. "
            "Pass the function itself, not its value."
        )
    return Partial(function)


def optional_logdensity(logdensity: LogDensity | None) -> Partial | None:
    """Return a log density as a pytree; ``None`` stays."""
    return None if logdensity is None else as_logdensity(logdensity)


def density_dtype(position: PyTree) -> Any:
    """Return the dtype of log densities and ratios at a position: its own, or the default one of integer positions."""
    dtype = jnp.result_type(*jax.tree.leaves(position))
    return dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.result_type(float)


def evaluate(
    logdensity: Callable[..., Any], position: PyTree, dtype: Any = None
) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    """Evaluate a log density inside a step.

    Parameters
    ----------
    logdensity
        The log density.
    position
        Where to evaluate it.
    dtype
        Dtype of the value; default: that of :func:`density_dtype`.

    Returns
    -------
    value : scalar
        The log density, with NaN and ``+inf`` replaced by ``-inf`` so that the point is rejected.
    invalid : bool scalar
        Whether such a replacement took place; kernels count it in ``Info.num_invalid``.
    """
    value = jnp.asarray(logdensity(position), density_dtype(position) if dtype is None else dtype)
    invalid = jnp.isnan(value) | jnp.isposinf(value)
    return jnp.where(invalid, -jnp.inf, value), invalid


def evaluate_with_gradient(
    logdensity: Callable[..., Any], position: PyTree
) -> tuple[Float[Array, ""], PyTree, Bool[Array, ""]]:
    """Evaluate a log density and its gradient inside a step.

    Returns
    -------
    value, gradient, invalid
        As :func:`evaluate`; a gradient that is not finite makes the point invalid and is replaced by zeros.
    """
    dtype = density_dtype(position)

    def scalar(at: PyTree) -> Array:
        return jnp.asarray(logdensity(at), dtype)

    value, gradient = jax.value_and_grad(scalar)(position)
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(gradient)]))
    outside = jnp.isneginf(value)
    invalid = jnp.isnan(value) | jnp.isposinf(value) | (~finite & ~outside)
    gradient = jax.tree.map(lambda leaf: jnp.where(finite, leaf, 0), gradient)
    return jnp.where(invalid, -jnp.inf, value), gradient, invalid
