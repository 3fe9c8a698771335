"""A NumPyro model as a log density, with starts and the way back to its own parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.tree_util import Partial
from jaxtyping import Array, PRNGKeyArray, PyTree
from numpyro.infer.util import ModelInfo, initialize_model

from ergodica.samplers.held import Held, hold

__all__ = ["ModelDensity", "model_density"]


class ModelDensity(NamedTuple):
    """What a sampler has to know of a model.

    Parameters
    ----------
    logdensity
        From unconstrained parameters, a dictionary by site, to the log of their joint density with the data, volume
        terms of the transformations included. The model's arrays are leaves: new data of the same shape do not compile
        again.
    start
        From a key to unconstrained parameters of positive density, as NumPyro draws them.
    constrain
        From unconstrained parameters to those of the model, its ``deterministic`` sites included.
    """

    logdensity: Partial
    start: Callable[[PRNGKeyArray], PyTree]
    constrain: Callable[[PyTree], PyTree]


class _ModelFunction:
    """A function that NumPyro makes from a model and its arguments.

    JAX compares functions to decide whether to compile again. This one is the same for the same model, unless NumPyro
    has put values of its first arguments into it.
    """

    def __init__(self, model: Callable[..., Any], make: Callable[..., Any], *, remembers: bool) -> None:
        self._make = make
        self._identity = (model, object() if remembers else None)

    def __hash__(self) -> int:
        return hash(self._identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ModelFunction) and self._identity == other._identity

    def __call__(self, arguments: Held, position: PyTree) -> Array:
        args, kwargs = arguments.get()
        return -self._make(*args, **kwargs)(position)  # type: ignore[no-any-return]


def _remembers(info: ModelInfo) -> bool:
    """Whether what NumPyro makes of a model holds values of the first arguments, or a layout that depends on them.

    So it is with ``param`` and ``mutable`` sites, and with discrete sites that are summed out.
    """
    sites = info.model_trace.values()
    summed = any(
        site["type"] == "sample" and not site["is_observed"] and site["fn"].support.is_discrete for site in sites
    )
    return summed or any(site["type"] in ("param", "mutable") for site in sites)


def model_density(model: Callable[..., Any], *args: Any, **kwargs: Any) -> ModelDensity:
    """Return the log density of a NumPyro model, starts, and the map to its parameters.

    Parameters
    ----------
    model
        The model.
    *args, **kwargs
        Its arguments. Arrays may change from run to run without compiling again; all else is part of the program, and
        has to be hashable.

    Returns
    -------
    ModelDensity

    Raises
    ------
    ValueError
        If the model has no latent site with a continuous support.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import numpyro
    >>> import numpyro.distributions as dist
    >>> from ergodica.samplers.interop.numpyro_model import model_density
    >>> from ergodica.samplers.metropolis.random_walk import RandomWalk
    >>> from ergodica.samplers.sample import sample
    >>> def model(y):
    ...     scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    ...     numpyro.sample("y", dist.Normal(0.0, scale), obs=y)
    >>> target = model_density(model, jnp.array([0.3, -1.2]))
    >>> kernel = RandomWalk(1.0, logdensity=target.logdensity)
    >>> draws = sample(kernel, target.start, draws=100, progress=False).transform(target.constrain)
    >>> bool((draws.position["scale"] > 0).all())
    True
    """
    info = _initialized(model, jax.random.key(0), args, kwargs)
    if not info.param_info.z:
        raise ValueError("the model has no latent site with a continuous support, so there is nothing to sample")
    held = hold((args, kwargs))
    function = _ModelFunction(model, info.potential_fn, remembers=_remembers(info))

    def start(key: PRNGKeyArray) -> PyTree:
        return _initialized(model, key, args, kwargs).param_info.z

    def constrain(position: PyTree) -> PyTree:
        return info.postprocess_fn(*args, **kwargs)(position)

    return ModelDensity(Partial(function, held), start, constrain)


def _initialized(model: Callable[..., Any], key: PRNGKeyArray, args: Any, kwargs: Any) -> ModelInfo:
    return initialize_model(key, model, dynamic_args=True, model_args=args, model_kwargs=kwargs, validate_grad=False)
