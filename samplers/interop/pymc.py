"""A PyMC model as a log density, with starts and the way back to its own parameters."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, PRNGKeyArray, PyTree

from ergodica.samplers.interop.numpyro_model import ModelDensity

__all__ = ["from_pymc"]


def from_pymc(model: Any) -> ModelDensity:
    """Return the log density of a PyMC model by its JAX program, starts, and the map to its parameters.

    Parameters
    ----------
    model
        A ``pymc.Model`` whose free variables are continuous.

    Returns
    -------
    ModelDensity
        Positions are dictionaries of PyMC's unconstrained value variables, such as ``tau_log__``.

    Raises
    ------
    ImportError
        If PyMC is not installed: ``pip install 'ergodica[pymc]'``.
    TypeError
        If it is not a model, or a variable is discrete.
    ValueError
        If the model has no free variables.

    References
    ----------
    O. Abril-Pla et al., PyMC: a modern and comprehensive probabilistic programming framework in Python, PeerJ Computer
    Science 9, 2023, doi:10.7717/peerj-cs.1516.
    """
    try:
        import pymc
        from pymc.sampling.jax import get_jaxified_graph
    except ImportError as error:
        raise ImportError("from_pymc needs PyMC: pip install 'ergodica[pymc]'") from error
    if not isinstance(model, pymc.Model):
        raise TypeError(f"expected a pymc.Model; got {type(model).__name__}")
    names = [variable.name for variable in model.value_vars]
    if not names:
        raise ValueError("the model has no free variables, so there is nothing to sample")
    discrete = [variable.name for variable in model.discrete_value_vars]
    if discrete:
        raise TypeError(f"expected a model with continuous free variables; {', '.join(discrete)} are discrete")
    logp = get_jaxified_graph(inputs=model.value_vars, outputs=[model.logp()])
    shown = [*model.free_RVs, *model.deterministics]
    transform = get_jaxified_graph(inputs=model.value_vars, outputs=model.replace_rvs_by_values(shown))
    point = model.initial_point()
    dtypes = {name: np.asarray(point[name]).dtype for name in names}

    def start(key: PRNGKeyArray) -> PyTree:
        keys = dict(zip(names, jax.random.split(key, len(names)), strict=True))
        # As PyMC does: its own starting point, moved a little.
        return {
            name: jnp.asarray(point[name]) + jax.random.uniform(keys[name], np.shape(point[name]), dtypes[name], -1, 1)
            for name in names
        }

    def logdensity(position: dict[str, Array]) -> Array:
        return cast("Array", logp(*(position[name] for name in names))[0])

    def constrain(position: dict[str, Array]) -> dict[str, Array]:
        values = transform(*(position[name] for name in names))
        return dict(zip((variable.name for variable in shown), values, strict=True))

    return ModelDensity(Partial(logdensity), start, constrain)
