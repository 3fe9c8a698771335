"""What is sampled: a NumPyro model, or a log density with a start, with its data."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ergodica.commands.console import BadInputError
from ergodica.commands.data_file import match_arguments
from ergodica.commands.user_code import UserCode, blamed

__all__ = ["UserTarget", "density_target", "model_target"]


class UserTarget(NamedTuple):
    """What is sampled.

    Parameters
    ----------
    name
        Of the function.
    path
        The user's file.
    logdensity
        From a position to its log density.
    start
        A position, or a function from a key to one.
    constrain
        From a position to the parameters of the model; ``None`` if they are the same.
    notes
        What a user might want to know.
    """

    name: str
    path: Path
    logdensity: Callable[[Any], Any]
    start: Any
    constrain: Callable[[Any], Any] | None
    notes: tuple[str, ...] = ()


def model_target(code: UserCode, function: str, data: Mapping[str, Any], source: str) -> UserTarget:
    """Return the posterior of a NumPyro model.

    Parameters
    ----------
    code
        The user's file.
    function
        Name of the model in it.
    data
        Arguments of the model by name.
    source
        Name of the data's file.

    Raises
    ------
    BadInputError
        If the data do not fit, the model fails, or it has latent sites that are discrete.
    """
    from ergodica.samplers.interop.numpyro_model import model_density

    model = code.function(function)
    name = function or model.__name__
    arguments, notes = match_arguments(model, data, f"{code.path.name}:{name}", source)
    with blamed(code.path, name):
        _refuse_discrete(model, arguments, name)
        found = model_density(model, **arguments)

    def start(key: Any) -> Any:
        with blamed(code.path, name):
            return found.start(key)

    return UserTarget(name, code.path, found.logdensity, start, found.constrain, tuple(notes))


def _refuse_discrete(model: Callable[..., Any], arguments: Mapping[str, Any], name: str) -> None:
    import jax
    from numpyro import handlers

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trace = handlers.trace(handlers.seed(model, jax.random.key(0))).get_trace(**arguments)
    latent = {
        site: values for site, values in trace.items() if values["type"] == "sample" and not values["is_observed"]
    }
    if not latent:
        sites = [site for site, values in trace.items() if values["type"] == "sample"]
        what = f"all its sites are observed: {', '.join(sites)}" if sites else "it has no sample site"
        raise BadInputError(
            f"{name} has nothing to sample: {what}. Is it a NumPyro model? For a log density add --density"
        )
    discrete = [
        f"{site} ({type(values['fn']).__name__})"
        for site, values in latent.items()
        if values["fn"].support.is_discrete and values["infer"].get("enumerate") != "parallel"
    ]
    if discrete:
        raise BadInputError(
            f"{name} has discrete sites, {', '.join(discrete)}, and kernels of the command line move real numbers; sum them "
            "out in the model, as by numpyro.distributions.MixtureSameFamily, or put together a Gibbs kernel in Python"
        )


def density_target(code: UserCode, function: str, start: str, data: Mapping[str, Any], source: str) -> UserTarget:
    """Return the target of a plain log density, whose first parameter is the position.

    Parameters
    ----------
    code
        The user's file.
    function
        Name of the density in it.
    start
        Name of a position in it, or of a function from a key to one.
    data
        The other arguments by name.
    source
        Name of the data's file.

    Raises
    ------
    BadInputError
        If the data do not fit, or there is no start.
    """
    import jax
    from jax.tree_util import Partial

    from ergodica.samplers.held import hold

    density = code.function(function)
    name = function or density.__name__
    arguments, notes = match_arguments(density, data, f"{code.path.name}:{name}", source, skip=1)
    begin = getattr(code.module, start, None)
    if begin is None:
        raise BadInputError(
            f"a log density needs a start: define {start} = ... in {code.path.name}, a position or a function from a key "
            "to one, or name another by --start"
        )
    if callable(begin):
        with blamed(code.path, name):
            begin(jax.random.key(0))
    return UserTarget(name, code.path, Partial(_Called(density), hold(arguments)), begin, None, tuple(notes))


class _Called:
    """A density, called with a position and its data; the same for the same density."""

    def __init__(self, density: Callable[..., Any]) -> None:
        self._density = density

    def __hash__(self) -> int:
        return hash(self._density)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Called) and self._density == other._density

    def __call__(self, arguments: Any, position: Any) -> Any:
        return self._density(position, **arguments.get())
