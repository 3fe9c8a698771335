"""The protocol that every sampler of this library follows.

A kernel is an immutable pytree: hyperparameters and data are its leaves, so that tuning, new data and ``vmap`` over
kernels never recompile. Its verbs are

=======================================  =============================================================================
``init(position, *, key) -> state``      check the start, evaluate the density once, allocate what the chain carries
``step(key, state) -> (state, info)``    one transition, pure and traceable
``run(key, state, n) -> (state, info)``  ``n`` transitions; counts in ``info`` are summed, rates averaged
``bind(logdensity) -> kernel``           the same kernel with another target
``unbound() -> kernel``                  the same kernel without a target: leaves only, fit for a scan's carry
``refresh(state) -> state``              recompute what the state caches of the density
=======================================  =============================================================================

and ``claim`` says what the kernel promises. A state is a named tuple with a field ``position``; one that caches the
density calls it ``logdensity`` and its gradient ``logdensity_grad``. An info is a named tuple of per-step scalars under
the names of the ArviZ schema where one exists (``acceptance_rate``, ``diverging``, ``n_steps``, ``step_size``), with
``num_evals``, ``num_grad_evals``, ``num_invalid``, ``is_accepted``, ``cap_hit`` and ``log_weight`` beside them.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.density import LogDensity, as_logdensity, evaluate

__all__ = ["Claim", "DensityState", "Exactness", "Info", "Kernel", "Space", "State"]


@runtime_checkable
class State(Protocol):
    """What a chain carries from step to step: a named tuple with at least a position."""

    @property
    def position(self) -> PyTree:
        """The current point: a pytree of arrays; populations carry a leading axis."""
        ...


@runtime_checkable
class Info(Protocol):
    """What a step reports: a named tuple of scalars, with only the fields that apply."""

    @property
    def num_evals(self) -> Int[Array, ""]:
        """Evaluations of the log density in this step."""
        ...


class DensityState(NamedTuple):
    """State of a kernel that caches the value of the log density.

    Parameters
    ----------
    position
        Pytree of arrays.
    logdensity
        Scalar, in the dtype of the position.
    """

    position: PyTree
    logdensity: Float[Array, ""]


StateT = TypeVar("StateT", bound=State)
InfoT = TypeVar("InfoT", bound=Info)


class Kernel(eqx.Module, Generic[StateT, InfoT]):
    """A Markov kernel, or anything else that moves a state at random, as an immutable pytree.

    To write one, subclass, give the hyperparameters as fields, and define :attr:`claim`, :meth:`init` and :meth:`step`.
    A kernel with a field ``logdensity`` gets :meth:`bind` and :meth:`unbound` for free; :meth:`refresh` as it stands
    serves states whose only cached quantity is ``logdensity``. Concrete kernels are final: compose, do not subclass.
    """

    # Compared by identity, so that `jax.jit(kernel.step)` works: JAX hashes the functions that it compiles, and arrays
    # have no hash. `equinox.tree_equal` compares kernels by value.
    __hash__ = object.__hash__
    __eq__ = object.__eq__

    @property
    @abc.abstractmethod
    def claim(self) -> Claim:
        """What the kernel promises."""

    @abc.abstractmethod
    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> StateT:
        """Return the state of a chain that starts at ``position``.

        Parameters
        ----------
        position
            Pytree of arrays in the space that the claim names.
        key
            Typed key; only kernels whose state starts at random need it.

        Raises
        ------
        ValueError, TypeError
            If the position has the wrong structure or dtype, or the target is not a finite number there.
        """

    @abc.abstractmethod
    def step(self, key: PRNGKeyArray, state: StateT) -> tuple[StateT, InfoT]:
        """Make one transition.

        Parameters
        ----------
        key
            Typed key; the same key gives the same transition.
        state
            The current state.

        Returns
        -------
        state, info
        """

    def run(self, key: PRNGKeyArray, state: StateT, num_steps: int) -> tuple[StateT, InfoT]:
        """Make ``num_steps`` transitions; step ``i`` uses ``jax.random.fold_in(key, i)``.

        Parameters
        ----------
        key
            Typed key.
        state
            The current state.
        num_steps
            Static number of steps, at least 1.

        Returns
        -------
        state, info
            The last state, and the steps' infos put together: integers and booleans are summed (booleans become
            counts), floating-point fields averaged.
        """
        if num_steps < 1:
            raise ValueError(f"num_steps has to be at least 1; got {num_steps}")

        def body(carry: StateT, index: Int[Array, ""]) -> tuple[StateT, InfoT]:
            return self.step(jax.random.fold_in(key, index), carry)

        state, infos = lax.scan(body, state, jnp.arange(num_steps))
        return state, summarise_info(infos)

    @property
    def takes_logdensity(self) -> bool:
        """Whether the kernel's target is given as a log density, so that :meth:`bind` has something to bind."""
        return "logdensity" in {field.name for field in dataclasses.fields(self)}

    def bind(self, logdensity: LogDensity) -> Self:
        """Return the same kernel with another target, parameters untouched.

        Parameters
        ----------
        logdensity
            Callable from a position to a scalar.

        Raises
        ------
        TypeError
            If the kernel's target is not given as a log density.
        """
        if not self.takes_logdensity:
            raise TypeError(
                f"{type(self).__name__} does not take its target as a log density, so there is nothing to bind; "
                "construct it with the target that you want"
            )
        return replace(self, logdensity=as_logdensity(logdensity))

    def unbound(self) -> Self:
        """Return the kernel without its target: a pytree of arrays only."""
        if not self.takes_logdensity:
            return self
        return replace(self, logdensity=None)

    def refresh(self, state: StateT) -> StateT:
        """Recompute what the state caches of the target, at the same position.

        Needed whenever the target or the position was changed from outside: by tempering, by another Gibbs block, by
        new data. A state that caches nothing of the target comes back as it is.
        """
        fields: tuple[str, ...] = getattr(state, "_fields", ())
        if "logdensity_grad" in fields:
            raise TypeError(f"{type(self).__name__} caches a gradient and has to define refresh(state) itself")
        if "logdensity" not in fields:
            return state
        value, _ = evaluate(self._target(), state.position)
        refreshed: Any = state
        return refreshed._replace(logdensity=value)  # type: ignore[no-any-return]

    def _target(self) -> LogDensity:
        logdensity: LogDensity | None = getattr(self, "logdensity", None)
        if logdensity is None:
            raise ValueError(f"this {type(self).__name__} has no target; give it one by kernel.bind(logdensity)")
        return logdensity


KernelT = TypeVar("KernelT", bound=eqx.Module)


def replace(module: KernelT, **fields: Any) -> KernelT:
    """Return a copy of an Equinox module with some fields replaced, without running its constructor's checks."""
    unknown = set(fields) - {field.name for field in dataclasses.fields(module)}
    if unknown:
        raise ValueError(f"{type(module).__name__} has no field {', '.join(sorted(unknown))}")
    names = list(fields)
    return eqx.tree_at(
        lambda tree: [getattr(tree, name) for name in names],
        module,
        [fields[name] for name in names],
        is_leaf=lambda leaf: leaf is None,
    )


def summarise_info(infos: Any) -> Any:
    """Put the stacked infos of several steps together: sum integers and booleans, average floats.

    Parameters
    ----------
    infos
        An info whose leaves have the steps on axis 0.
    """

    def one(leaf: Array) -> Array:
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            return jnp.mean(leaf, axis=0)
        return jnp.sum(leaf, axis=0, dtype=jnp.int32 if leaf.dtype == jnp.bool_ else leaf.dtype)

    return jax.tree.map(one, infos)


def zeros_of_info(kernel: Kernel[Any, Any], key: PRNGKeyArray, state: Any) -> Any:
    """Return an info of zeros with the shapes and dtypes that ``kernel.step`` produces."""
    # A function of its own: JAX compares functions, and comparing bound methods would compare traced leaves.
    shapes: Any = jax.eval_shape(lambda k, s: kernel.step(k, s)[1], key, state)
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


StepFunction = Callable[[PRNGKeyArray, Any], tuple[Any, Any]]
"""The type of :meth:`Kernel.step`."""
