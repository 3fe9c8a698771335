"""Updates of all elements of a plate at once, each by a kernel of its own on its own conditional density."""

from typing import Any, NamedTuple, NoReturn

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from ergodica.samplers import random
from ergodica.samplers.claim import Claim, compose_claims
from ergodica.samplers.interop.local_density import Elements, element_density, entries_of, with_entries
from ergodica.samplers.interop.site_heat_bath import refuse_bind
from ergodica.samplers.kernel import Kernel, replace, summarise_info
from ergodica.samplers.tuning.choice import choose_tuner
from ergodica.samplers.tuning.tuner import KernelT, Tuner

__all__ = ["OverPlate", "OverPlateState", "over_plate"]

AnyKernel = Kernel[Any, Any]


class OverPlateState(NamedTuple):
    """State of :class:`OverPlate`.

    Parameters
    ----------
    position
        The whole position.
    inner
        For each class of elements that move together, their states, stacked.
    """

    position: PyTree
    inner: tuple[Any, ...]


class OverPlate(Kernel[OverPlateState, Any]):
    """Update each element of a block of a model by a kernel, elements that are independent given the rest at once.

    Made by :func:`over_plate`, which leaves the target to :class:`~ergodica.samplers.interop.numpyro_gibbs.Gibbs`.

    Parameters
    ----------
    inner
        The kernel of one element; all share its parameters.
    names
        The sites of the block; empty until it is known.
    batch
        Shape of the elements.
    element
        Name, shape and dtype of each site's part of an element.
    single
        Whether the position of an element is an array, not a dictionary.
    index
        For each class, its elements.
    owners
        For each class and term, the element that each entry of the term belongs to; ``None`` for terms that lie over
        the elements.
    terms
        From a position to the terms of the density that depend on the block.
    """

    inner: AnyKernel
    index: tuple[Int[Array, " lanes"], ...]
    owners: tuple[dict[str, Int[Array, " entries"] | None], ...]
    terms: Partial | None
    names: tuple[str, ...] = eqx.field(static=True)
    batch: tuple[int, ...] = eqx.field(static=True)
    element: tuple[tuple[str, tuple[int, ...], Any], ...] = eqx.field(static=True)
    single: bool = eqx.field(static=True)

    def __init__(
        self,
        inner: AnyKernel,
        index: tuple[Int[Array, " lanes"], ...] = (),
        owners: tuple[dict[str, Int[Array, " entries"] | None], ...] = (),
        terms: Partial | None = None,
        *,
        names: tuple[str, ...] = (),
        batch: tuple[int, ...] = (),
        element: tuple[tuple[str, tuple[int, ...], Any], ...] = (),
        single: bool = True,
    ) -> None:
        self.inner = inner
        self.index = index
        self.owners = owners
        self.terms = terms
        self.names = names
        self.batch = batch
        self.element = element
        self.single = single

    @property
    def claim(self) -> Claim:
        """That of the inner kernel; with several classes a systematic scan, which is not reversible."""
        inner = self.inner.claim
        return compose_claims(
            [inner],
            statement=f"updates each element of {', '.join(self.names) or 'a plate'} given all else: {inner.statement}",
            reversible=inner.reversible if len(self.index) <= 1 else False,
        )

    @property
    def takes_logdensity(self) -> bool:
        """True: the terms are the target."""
        return True

    def bind(self, logdensity: Any) -> NoReturn:
        """Refuse a log density as a whole."""
        del logdensity
        refuse_bind(self)

    def unbound(self) -> "OverPlate":
        """Return the kernel without the terms."""
        return replace(self, terms=None)

    def tuner(self) -> Tuner | None:
        """Return the tuner of the inner kernel, which learns from all elements."""

        def look(key: PRNGKeyArray, part: Any) -> Any:
            kernel = self.inner.bind(_flat)
            return kernel.step(key, kernel.init(part, key=key))

        parts = {name: jax.ShapeDtypeStruct(shape, dtype) for name, shape, dtype in self.element}
        state, info = jax.eval_shape(look, jax.random.key(0), parts[self.names[0]] if self.single else parts)
        inner = choose_tuner(self.inner, state, info)
        return None if inner is None else _PlateTuner(inner)

    # --- elements -----------------------------------------------------------------------------------------------------

    def _over_lanes(self, number: int, position: PyTree, function: Any, *mapped: Any) -> Any:
        """Apply ``function(kernel, *mapped)`` to all elements of a class, each with its own density."""
        if self.terms is None:
            raise ValueError("this OverPlate has no model; make it with Gibbs({...}).for_model(model, ...)")
        elements = Elements(self.terms, self.owners[number], self.index[number], position)

        def one(lane: Int[Array, ""], *rest: Any) -> Any:
            return function(self.inner.bind(Partial(self._lane_density, lane, elements)), *rest)

        return jax.vmap(one)(jnp.arange(self.index[number].shape[0]), *mapped)

    @property
    def _lane_density(self) -> Any:
        density = element_density(self.batch)
        return _Single(density, self.names[0]) if self.single else _Several(density)

    def _parts(self, number: int, position: PyTree) -> Any:
        entries = entries_of(position, self.names, len(self.batch), self.index[number])
        return entries[self.names[0]] if self.single else entries

    def _put(self, number: int, position: PyTree, parts: Any) -> PyTree:
        entries = {self.names[0]: parts} if self.single else parts
        return with_entries(position, len(self.batch), self.index[number], entries)

    def _refreshed(self, number: int, position: PyTree, inner: Any) -> Any:
        def one(kernel: AnyKernel, state: Any, part: Any) -> Any:
            return kernel.refresh(state._replace(position=part))

        return self._over_lanes(number, position, one, inner, self._parts(number, position))

    # --- the protocol -------------------------------------------------------------------------------------------------

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> OverPlateState:
        """Start at a position of the model."""
        position = jax.tree.map(jnp.asarray, position)
        inner = []
        for number in range(len(self.index)):
            keys = None if key is None else random.split(random.fold_in(key, number), self.index[number].shape[0])
            parts = self._parts(number, position)
            if keys is None:
                inner.append(self._over_lanes(number, position, lambda k, part: k.init(part), parts))
            else:
                inner.append(self._over_lanes(number, position, lambda k, part, at: k.init(part, key=at), parts, keys))
        return OverPlateState(position, tuple(inner))

    def refresh(self, state: OverPlateState) -> OverPlateState:
        """Return the state: elements are brought to the position when they are about to move."""
        return state

    def step(self, key: PRNGKeyArray, state: OverPlateState) -> tuple[OverPlateState, Any]:
        """Update every element once."""
        position, states, infos = state.position, [], []
        for number, inner in enumerate(state.inner):
            keys = random.split(random.fold_in(key, number), self.index[number].shape[0])
            ready = self._refreshed(number, position, inner)
            moved, info = self._over_lanes(number, position, lambda k, at, now: k.step(at, now), keys, ready)
            position = self._put(number, position, moved.position)
            states.append(moved)
            infos.append(_over_elements(info))
        together = infos[0] if len(infos) == 1 else summarise_info(jax.tree.map(lambda *all_: jnp.stack(all_), *infos))
        return OverPlateState(position, tuple(states)), together


def _over_elements(info: Any) -> Any:
    """Put the infos of elements together: evaluations are made for all at once, so that the longest counts."""
    names = ("num_evals", "num_grad_evals")
    counts = {name: getattr(info, name, None) for name in names}
    longest = {name: jnp.max(count) for name, count in counts.items() if count is not None}
    return summarise_info(info)._replace(**longest)


class _Single:
    """The density of an element whose position is an array; compared by value, since kernels carry it as static."""

    def __init__(self, density: Any, name: str) -> None:
        self._identity = (density, name)

    def __hash__(self) -> int:
        return hash(self._identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Single) and self._identity == other._identity

    def __call__(self, lane: Any, elements: Elements, part: Any) -> Any:
        density, name = self._identity
        return density({name: part}, lane, elements)


class _Several:
    """The density of an element whose position is a dictionary by site."""

    def __init__(self, density: Any) -> None:
        self._density = density

    def __hash__(self) -> int:
        return hash(self._density)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Several) and self._density == other._density

    def __call__(self, lane: Any, elements: Elements, part: Any) -> Any:
        return self._density(part, lane, elements)


class _PlateTuner(Tuner):
    """Lets the tuner of the inner kernel learn from all elements, as if each were a chain.

    Parameters
    ----------
    tuner
        Of the inner kernel.
    """

    tuner: Tuner

    @property
    def invalidates(self) -> bool:
        """``False``: elements are refreshed whenever they are about to move."""
        return False

    def init(self, kernel: Any, states: Any, num_steps: Int[Array, ""]) -> Any:
        """Start it."""
        return self.tuner.init(kernel.inner, _as_chains(states), num_steps)

    def update(
        self, adaptation: Any, kernel: KernelT, states: Any, infos: Any, step: Int[Array, ""]
    ) -> tuple[Any, KernelT]:
        """Let it learn."""
        inner: Any = kernel.inner  # type: ignore[attr-defined]
        adaptation, inner = self.tuner.update(adaptation, inner, _as_chains(states), infos, step)
        return adaptation, replace(kernel, inner=inner)

    def finish(self, adaptation: Any, kernel: KernelT) -> KernelT:
        """Finish it."""
        inner: Any = kernel.inner  # type: ignore[attr-defined]
        return replace(kernel, inner=self.tuner.finish(adaptation, inner))


def _as_chains(states: OverPlateState) -> Any:
    """Put the elements of all chains and classes on one leading axis."""
    return jax.tree.map(
        lambda *parts: jnp.concatenate([part.reshape(-1, *part.shape[2:]) for part in parts]), *states.inner
    )


def _flat(part: Any) -> Array:
    """Return a density that is the same everywhere: enough to see what a kernel's states and infos look like."""
    del part
    return jnp.zeros(())


def over_plate(kernel: AnyKernel) -> OverPlate:
    """Update every element of a plate by a kernel, all that are independent given the rest at once.

    Parameters
    ----------
    kernel
        A kernel for the position of one element, without a target.

    Returns
    -------
    OverPlate
        A value for :class:`~ergodica.samplers.interop.numpyro_gibbs.Gibbs`.
    """
    if not isinstance(kernel, Kernel):
        raise TypeError(f"over_plate takes a kernel, such as CoordinateSlice(); got {type(kernel).__name__}")
    if not kernel.takes_logdensity:
        raise TypeError(f"{type(kernel).__name__} does not take its target as a log density")
    if kernel.claim.population:
        raise ValueError(f"{type(kernel).__name__} moves a population, which an element of a plate is not")
    return OverPlate(kernel)
