"""A NumPyro model as a sum of terms: the log density of each site, on positions with discrete sites in them."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import lax
from jax.extend.core import ClosedJaxpr
from jax.tree_util import Partial
from jaxtyping import Array, PRNGKeyArray, PyTree
from numpyro.distributions import biject_to, constraints
from numpyro.handlers import seed, substitute, trace
from numpyro.infer.initialization import init_to_uniform

from ergodica.samplers.held import Held, hold

__all__ = ["ModelTerms", "Site", "log_det_name", "model_terms"]

ATTEMPTS = 1000

Values = dict[str, Array]


@dataclasses.dataclass(frozen=True, eq=False)
class Site:
    """A latent site of a model.

    Parameters
    ----------
    name
        Its name.
    discrete
        Whether its support is.
    shape
        Shape of its part of the position: unconstrained for a continuous site, the value itself for a discrete one.
    batch_shape
        The leading part of ``shape`` that counts elements: plates and batches of parameters.
    values
        The list of all values that an element can take, stacked on a leading axis; ``None`` for a continuous site, and
        where there is no such list.
    why_not
        Why there is no list.
    """

    name: str
    discrete: bool
    shape: tuple[int, ...]
    batch_shape: tuple[int, ...]
    values: np.ndarray | None
    why_not: str


def log_det_name(site: str) -> str:
    """Return the name of the term that a change of variables adds; NumPyro calls it so too."""
    return f"_{site}_log_det"


class _Arguments(NamedTuple):
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    fixed: dict[str, Any]


def _trace_at(model: Callable[..., Any], arguments: _Arguments, position: Values) -> dict[str, Any]:
    """Run the model at a position."""

    def place(site: dict[str, Any]) -> Any:
        name = site["name"]
        if site["type"] in ("param", "mutable"):
            return arguments.fixed.get(name)
        if site["type"] != "sample" or site["is_observed"] or name not in position:
            return None
        value, fn = position[name], site["fn"]
        discrete = fn.support.is_discrete
        transform = None if discrete else biject_to(fn.support)
        # Inside a scan of NumPyro a site is met once a turn, and takes its entry of the whole sequence.
        turn = site["infer"].get("_scan_current_index")
        shape = tuple(fn.shape()) if transform is None else transform.inverse_shape(tuple(fn.shape()))
        if turn is not None and jnp.ndim(value) > len(shape):
            value = value[turn]
        if transform is None or _is_identity(fn.support):
            return value
        out = transform(value)
        log_det = transform.log_abs_det_jacobian(value, out)
        extra = jnp.ndim(log_det) - jnp.ndim(out) + len(fn.event_shape)
        numpyro.factor(
            log_det_name(name), jnp.sum(log_det, axis=tuple(range(jnp.ndim(log_det) - extra, jnp.ndim(log_det))))
        )
        return out

    found: dict[str, Any] = trace(substitute(model, substitute_fn=place)).get_trace(*arguments.args, **arguments.kwargs)
    return found


def _is_identity(support: Any) -> bool:
    if isinstance(support, constraints.independent):
        return _is_identity(support.base_constraint)
    return support is constraints.real


def _terms(model: Callable[..., Any], arguments: _Arguments, position: Values) -> Values:
    """Return the log density of every site, not summed over its elements."""
    terms = {}
    for name, site in _trace_at(model, arguments, position).items():
        if site["type"] == "sample":
            term = site["fn"].log_prob(site["value"])
            terms[name] = term if site["scale"] is None else site["scale"] * term
    return terms


class _Function:
    """A function of a model's arguments and a position, the same for the same model and names.

    JAX compares functions to decide whether to compile again.
    """

    def __init__(self, kind: Callable[..., Any], model: Callable[..., Any], *details: Any) -> None:
        self._kind = kind
        self._model = model
        self._details = details
        self._identity = (kind, model, details)

    def __hash__(self) -> int:
        return hash(self._identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Function) and self._identity == other._identity

    def __call__(self, held: Held, *rest: Any) -> Any:
        return self._kind(self._model, held.get(), *self._details, *rest)


def _chosen(model: Any, arguments: _Arguments, names: tuple[str, ...], position: Values) -> Values:
    terms = _terms(model, arguments, position)
    return {name: terms[name] for name in names}


def _total(model: Any, arguments: _Arguments, names: tuple[str, ...], position: Values) -> Array:
    terms = _chosen(model, arguments, names, position)
    return sum((jnp.sum(term) for term in terms.values()), jnp.zeros(()))


def constrained(model: Any, arguments: _Arguments, position: Values) -> Values:
    """Return the values of all latent and ``deterministic`` sites."""
    values = {}
    for name, site in _trace_at(model, arguments, position).items():
        latent = site["type"] == "sample" and not site["is_observed"]
        if latent or site["type"] == "deterministic":
            values[name] = site["value"]
    return values


def _redrawn(
    model: Any, arguments: _Arguments, names: tuple[str, ...], draw: Any, key: PRNGKeyArray, position: Values
) -> Any:
    """Let the user draw the values of sites, and return what the position has for them."""
    found = _trace_at(model, arguments, position)
    values = {
        name: site["value"]
        for name, site in found.items()
        if site["type"] == "deterministic" or (site["type"] == "sample" and not site["is_observed"])
    }
    drawn = draw(key, values)
    if len(names) > 1 or isinstance(drawn, dict):
        if not (isinstance(drawn, dict) and set(drawn) == set(names)):
            given = sorted(drawn) if isinstance(drawn, dict) else type(drawn).__name__
            raise TypeError(
                f"a conditional draw of {', '.join(names)} returns a dictionary of them; it returned {given}"
            )
    else:
        drawn = {names[0]: drawn}
    new = {}
    for name in names:
        site, old = found[name], position[name]
        support = site["fn"].support
        value = drawn[name] if support.is_discrete or _is_identity(support) else biject_to(support).inv(drawn[name])
        new[name] = jnp.asarray(value).astype(old.dtype)
    return new


class ModelTerms:
    """A model with its arguments, taken apart; made by :func:`model_terms`.

    Parameters
    ----------
    model
        The model.
    held
        Its arguments.
    sites
        The latent sites, in the order in which the model meets them.
    prototype
        Shapes and dtypes of a position.
    program
        The program from the position to all terms, in which the arguments are constants.
    names
        The terms, in the order of the program's outputs.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        held: Held,
        sites: dict[str, Site],
        prototype: dict[str, jax.ShapeDtypeStruct],
        program: ClosedJaxpr,
        names: tuple[str, ...],
    ) -> None:
        self.model = model
        self.held = held
        self.sites = sites
        self.prototype = prototype
        self.program = program
        self.names = names

    def terms(self, names: tuple[str, ...]) -> Partial:
        """Return the function from a position to some of the terms, elements not summed."""
        return Partial(_Function(_chosen, self.model, names), self.held)

    def total(self, names: tuple[str, ...]) -> Partial:
        """Return the function from a position to the sum of some of the terms."""
        return Partial(_Function(_total, self.model, names), self.held)

    def redraw(self, names: tuple[str, ...], draw: Callable[..., Any]) -> Partial:
        """Return the function from a key and a position to new entries, which a user's function draws."""
        return Partial(_Function(_redrawn, self.model, names, draw), self.held)

    def with_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Held:
        """Return other arguments in the form in which the functions above hold them."""
        return hold(_Arguments(args, kwargs, self.held.get().fixed))

    def constrain(self, position: PyTree, held: Held | None = None) -> Values:
        """Return the values of all latent and ``deterministic`` sites."""
        return constrained(self.model, (self.held if held is None else held).get(), position)

    def start(self, key: PRNGKeyArray) -> Values:
        """Return a position of positive density: discrete sites from the prior, the others as NumPyro starts them."""
        found: Values = _called(Partial(_Function(_started, self.model, self.names), self.held), key)
        return found


@jax.jit
def _called(function: Partial, key: PRNGKeyArray) -> Any:
    return function(key)


def _started(model: Any, arguments: _Arguments, names: tuple[str, ...], key: PRNGKeyArray) -> Values:
    def bad(carry: tuple[Array, Values]) -> Array:
        attempt, position = carry
        return (attempt < ATTEMPTS) & ~jnp.isfinite(_total(model, arguments, names, position))

    def again(carry: tuple[Array, Values]) -> tuple[Array, Values]:
        attempt = carry[0] + 1
        return attempt, _drawn(model, arguments, jax.random.fold_in(key, attempt))

    first = _drawn(model, arguments, jax.random.fold_in(key, 0))
    position: Values = lax.while_loop(bad, again, (jnp.zeros((), jnp.int32), first))[1]
    return position


def _drawn_trace(model: Any, arguments: _Arguments, key: PRNGKeyArray) -> dict[str, Any]:
    def begin(site: dict[str, Any]) -> Any:
        if site["type"] in ("param", "mutable"):
            return arguments.fixed.get(site["name"])
        return init_to_uniform(site)

    found: dict[str, Any] = trace(substitute(seed(model, key), substitute_fn=begin)).get_trace(
        *arguments.args, **arguments.kwargs
    )
    return found


def _latent(found: dict[str, Any]) -> dict[str, Any]:
    return {name: site for name, site in found.items() if site["type"] == "sample" and not site["is_observed"]}


def _drawn(model: Any, arguments: _Arguments, key: PRNGKeyArray) -> Values:
    position = {}
    for name, site in _latent(_drawn_trace(model, arguments, key)).items():
        value, support = site["value"], site["fn"].support
        if not (support.is_discrete or _is_identity(support)):
            value = biject_to(support).inv(value)
        position[name] = lax.convert_element_type(value, jnp.result_type(value))
    return position


def model_terms(model: Callable[..., Any], *args: Any, **kwargs: Any) -> ModelTerms:
    """Take a model apart.

    Parameters
    ----------
    model
        The model.
    *args, **kwargs
        Its arguments.

    Raises
    ------
    ValueError
        If the model has no latent site, subsamples its data, or has a site with a delta distribution.
    """
    key = jax.random.key(0)
    arguments = _Arguments(args, kwargs, {})
    fixed: dict[str, Any] = {}
    seen: dict[str, Any] = {}

    def look(key: PRNGKeyArray) -> Values:
        seen.update(_drawn_trace(model, arguments, key))
        _check_model(seen)
        return _drawn(model, arguments, key)

    prototype = jax.eval_shape(look, key)
    if any(site["type"] in ("param", "mutable") for site in seen.values()):
        with jax.ensure_compile_time_eval():
            found = _drawn_trace(model, arguments, key)
        fixed = {name: site["value"] for name, site in found.items() if site["type"] in ("param", "mutable")}
    held = hold(_Arguments(args, kwargs, fixed))
    described: dict[str, Site] = {}

    def program(position: Values) -> Values:
        described.update(_described(_trace_at(model, held.get(), position), position))
        return _terms(model, held.get(), position)

    closed, out = jax.make_jaxpr(program, return_shape=True)(prototype)
    return ModelTerms(model, held, described, prototype, closed, tuple(sorted(out)))


def _check_model(found: dict[str, Any]) -> None:
    if not _latent(found):
        raise ValueError("the model has no latent site, so there is nothing to sample")
    for name, site in found.items():
        if site["type"] == "plate" and site["args"][1] is not None and site["args"][0] > site["args"][1]:
            raise ValueError(
                f"the plate {name} takes {site['args'][1]} of {site['args'][0]} rows at random, so that the model has no "
                "one density. Give it all rows, or use numpyro.infer.HMCECS."
            )
        if site["type"] == "sample" and not site["is_observed"] and isinstance(site["fn"], dist.Delta):
            raise ValueError(f"the site {name} has a delta distribution; make it a numpyro.deterministic")


def _described(found: dict[str, Any], position: Values) -> dict[str, Site]:
    sites = {}
    for name, site in _latent(found).items():
        fn = site["fn"]
        discrete = bool(fn.support.is_discrete)
        values, why_not = _support_values(fn) if discrete else (None, "it is continuous")
        shape, events = tuple(position[name].shape), len(fn.event_shape)
        if not discrete:
            events -= biject_to(fn.support).codomain.event_dim - biject_to(fn.support).domain.event_dim
        batch = shape[: len(shape) - events]
        if values is not None:
            values = values.reshape(values.shape[:1] + shape[len(batch) :]).astype(position[name].dtype)
        sites[name] = Site(name, discrete, shape, batch, values, why_not)
    return sites


def _support_values(fn: Any) -> tuple[np.ndarray | None, str]:
    kind = type(fn).__name__
    if not fn.has_enumerate_support:
        return None, f"{kind} has no finite list of values"
    try:
        with jax.ensure_compile_time_eval():
            return np.asarray(fn.enumerate_support(expand=False)), ""
    except (NotImplementedError, jax.errors.JAXTypeError) as error:
        reason = str(error).split("\n")[0]
        return None, f"the values of this {kind} differ between elements or depend on other sites ({reason})"
