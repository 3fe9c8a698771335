"""What a kernel offers to the checks on a target: found by looking, not by asking."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from ergodica.samplers.kernel import Kernel
from ergodica.validation.enumeration import EnumerationError, transition_law
from ergodica.validation.targets.model import Model
from ergodica.validation.targets.target import FiniteTarget, Target

__all__ = ["MOST_PATHS", "KnownLaw", "Offer", "first_line", "is_fault", "offer_of", "with_target"]

KnownLaw = Target | FiniteTarget | Model
"""What a kernel of any origin can be certified on."""

MOST_PATHS = 2_000_000
"""Most paths that an exact check may walk in all."""

_FAULTS = (
    "a key is consumed twice",
    "are NaN, negative or all zero",
    "from an empty range",
    "not among the given states",
)
"""What an enumeration says of a kernel that is wrong, not only out of its reach."""

_NOT_TRACEABLE = (jax.errors.JAXTypeError, jax.errors.JAXIndexError)


@dataclasses.dataclass(frozen=True)
class Offer:
    """What a kernel offers on a target.

    Parameters
    ----------
    finite
        Whether the target has finitely many states.
    model
        Whether the target is a model with a simulator.
    not_traceable
        Why JAX cannot trace a step; empty if it can.
    not_enumerable
        Why the law of a step cannot be enumerated; empty if it can, or if trying has shown a mistake, which the exact
        check then reports.
    num_paths
        Paths of one step from all states together, about; 0 if they cannot be enumerated.
    caches_logdensity
        Whether the state holds the log density of its position.
    has_log_weight
        Whether a step reports ``log_weight``.
    """

    finite: bool
    model: bool
    not_traceable: str = ""
    not_enumerable: str = ""
    num_paths: int = 0
    caches_logdensity: bool = False
    has_log_weight: bool = False


def with_target(kernel: Any, target: Any) -> Any:
    """Return the kernel with the target's log density; as it is, if it does not take one."""
    return kernel.bind(target.logdensity) if kernel.takes_logdensity else kernel


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its kind where there is none."""
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__


def is_fault(words: str) -> bool:
    """Whether the reason why a law cannot be enumerated is a mistake of the kernel."""
    return any(fault in words for fault in _FAULTS)


def offer_of(kernel: Kernel[Any, Any], target: KnownLaw) -> Offer:
    """Look at what a kernel offers on a target: one trace of its step and, on a finite space, the law of one step.

    Parameters
    ----------
    kernel
        The kernel.
    target
        The target.

    Raises
    ------
    ValueError
        If the kernel does not start at a position of the target.
    """
    key = jax.random.key(0)
    if isinstance(target, Model):
        position = target.sample_prior(key)
        bound = (
            kernel.bind(target.logposterior(target.sample_data(key, position))) if kernel.takes_logdensity else kernel
        )
    elif isinstance(target, FiniteTarget):
        position, bound = jnp.asarray(target.states[0]), with_target(kernel, target)
    else:
        position, bound = target.sample(key, 1)[0], with_target(kernel, target)
    finite, model = isinstance(target, FiniteTarget), isinstance(target, Model)
    try:
        state = bound.init(position, key=key)
    except (TypeError, ValueError, IndexError) as error:
        raise ValueError(
            f"{type(kernel).__name__} does not start at a position of {target.name}, dtype {jnp.asarray(position).dtype} "
            f"and shape {jnp.shape(position)}: {first_line(error)}"
        ) from error
    fields = getattr(state, "_fields", ())
    not_traceable, info = "", None
    try:
        after, info = jax.eval_shape(lambda key, state: bound.step(key, state), key, state)
        structures: list[Any] = [jax.tree.structure(tree) for tree in (after, state)]
        if structures[0] != structures[1]:
            raise ValueError(
                f"a step of {type(kernel).__name__} returns another structure than init: {structures[0]} instead of "
                f"{structures[1]}"
            )
    except _NOT_TRACEABLE as error:
        not_traceable = f"JAX cannot trace the step: {first_line(error)}; decide by jnp.where or jax.lax.cond"
    not_enumerable, num_paths = "", 0
    if finite:
        count = len(target.states)  # type: ignore[union-attr]
        try:
            num_paths = count * transition_law(bound, state, max_paths=max(MOST_PATHS // count, 1)).num_paths
        except _NOT_TRACEABLE as error:
            not_enumerable = not_traceable or first_line(error)
        except EnumerationError as error:
            not_enumerable = "" if is_fault(str(error)) else first_line(error)
    else:
        not_enumerable = "the target has infinitely many states"
    return Offer(
        finite,
        model,
        not_traceable=not_traceable,
        not_enumerable=not_enumerable,
        num_paths=num_paths,
        caches_logdensity="logdensity" in fields,
        has_log_weight=hasattr(info, "log_weight"),
    )
