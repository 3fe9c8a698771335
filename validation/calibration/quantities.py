"""Test quantities: real functions of a parameter and the data, whose ranks simulation-based calibration looks at.

The parameters alone are not enough. A sampler that ignores the data and returns the prior has uniform ranks in every
function of the parameter; functions of parameter and data together see it at once. The log likelihood is the best
single one, and products of a parameter with a summary of the data see wrong signs, scales and dependences that it does
not. With all functions of both, the test is complete.

References
----------
Martin Modrák, Angie H. Moon, Shinyoung Kim, Paul Bürkner, Niko Huurre, Kateřina Faltejsková, Andrew Gelman and Aki
Vehtari (2023), Simulation-based calibration checking for Bayesian computation: the choice of test quantities shapes
sensitivity, Bayesian Analysis, arXiv:2211.02383.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

Quantity = Callable[[Any, Any], Array]
"""``(theta, y) -> scalar``, traceable by JAX."""


def _entry(path: int, index: int) -> Quantity:
    return lambda theta, _: jnp.ravel(jax.tree.leaves(theta)[path])[index]


def _product(one: Quantity, summary: Callable[[Any], Array]) -> Quantity:
    return lambda theta, y: one(theta, y) * summary(y)


def _sum(first: Quantity, second: Quantity) -> Quantity:
    return lambda theta, y: first(theta, y) + second(theta, y)


def parameter_quantities(theta: PyTree) -> dict[str, Quantity]:
    """Return a quantity for each scalar entry of a parameter.

    Parameters
    ----------
    theta
        An example: a pytree of arrays, or of their shapes. Names are those of its leaves with an index, ``"mu"`` or
        ``"theta[2]"``; ``"theta"`` for an array that is the whole parameter.

    Raises
    ------
    ValueError
        If it has no entries.
    """
    quantities: dict[str, Quantity] = {}
    for i, (path, leaf) in enumerate(jax.tree_util.tree_leaves_with_path(theta)):
        name = jax.tree_util.keystr(path, simple=True, separator=".") or "theta"
        shape = np.shape(leaf)
        for j, index in enumerate(np.ndindex(*shape)):
            label = f"{name}[{', '.join(map(str, index))}]" if shape else name
            quantities[label] = _entry(i, j)
    if not quantities:
        raise ValueError(f"expected a parameter with at least one entry; got {theta!r}")
    return quantities


def default_quantities(
    theta: PyTree,
    *,
    loglikelihood: Quantity | None = None,
    logprior: Callable[[Any], Array] | None = None,
    summary: Callable[[Any], Array] | None = None,
) -> dict[str, Quantity]:
    """Return the parameters, and what depends on the data.

    Parameters
    ----------
    theta
        An example of the parameter, or its shapes.
    loglikelihood
        ``(theta, y) -> scalar``; adds ``"log likelihood"``. Leave out no term that depends on theta.
    logprior
        ``theta -> scalar``; with the log likelihood it adds ``"log joint"``.
    summary
        ``y -> scalar``, such as the mean of the data; adds its product with each parameter.

    Returns
    -------
    dict
        Quantities by name. With neither a likelihood nor a summary none depends on the data, and the test is blind to a
        sampler that returns the prior; its result says so.
    """
    parameters = parameter_quantities(theta)
    quantities = dict(parameters)
    if loglikelihood is not None:
        quantities["log likelihood"] = loglikelihood
        if logprior is not None:
            prior = logprior
            quantities["log joint"] = _sum(loglikelihood, lambda theta, _: prior(theta))
    if summary is not None:
        quantities |= {f"{name} * summary": _product(one, summary) for name, one in parameters.items()}
    return quantities


def measure_all(quantities: Mapping[str, Quantity], theta: Any, y: Any) -> Array:
    """Return the values of all quantities, shape ``(len(quantities),)``.

    Raises
    ------
    ValueError
        If one is no scalar.
    """
    values = []
    for name, quantity in quantities.items():
        value = jnp.asarray(quantity(theta, y), float)
        if value.shape != ():
            raise ValueError(
                f"the quantity {name!r} has to return a scalar; it returned shape {value.shape}. "
                "Give one quantity an entry, or a sum over them"
            )
        values.append(value)
    return jnp.stack(values)


def uses_second(quantity: Quantity, theta: Any, y: Any) -> bool:
    """Whether the traced program of a quantity uses its second argument; shapes suffice."""
    program = jax.make_jaxpr(quantity)(theta, y).jaxpr
    needed = {id(variable) for variable in program.outvars}
    for equation in reversed(program.eqns):
        if any(id(variable) in needed for variable in equation.outvars):
            needed |= {id(variable) for variable in equation.invars}
    return any(id(variable) in needed for variable in program.invars[len(jax.tree.leaves(theta)) :])
