"""Kernels made of kernels.

Each part keeps its own state. Before a part moves, its state is put at the current position and refreshed, so that no
cached density outlives a move made by another part: staleness cannot be expressed. The claim of a composition is
derived from the claims of its parts.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers import random
from ergodica.samplers.block import Block, as_block
from ergodica.samplers.claim import Claim, compose_claims
from ergodica.samplers.corrected import Corrected as corrected  # noqa: N813
from ergodica.samplers.density import LogDensity, as_logdensity, density_dtype
from ergodica.samplers.inputs import real_parameter, static_count
from ergodica.samplers.kernel import Kernel, replace, zeros_of_info

__all__ = [
    "Block",
    "Cycle",
    "Mixture",
    "On",
    "Repeat",
    "Tempered",
    "corrected",
    "cycle",
    "mixture",
    "on",
    "repeat",
    "tempered",
]

AnyKernel = Kernel[Any, Any]


class ComposedState(NamedTuple):
    """State of a composition.

    Parameters
    ----------
    position
        The current point.
    parts
        The states of the parts; each is brought to the current point before its part moves.
    """

    position: PyTree
    parts: tuple[Any, ...]


class ComposedInfo(NamedTuple):
    """What a step of a composition reports.

    Parameters
    ----------
    num_evals, num_grad_evals, num_invalid
        Totals over the parts, evaluations made to refresh caches included.
    acceptance_rate
        Mean over the parts that report one; 1 if none does.
    parts
        The infos of the parts; zeros for a part that did not move.
    """

    num_evals: Int[Array, ""]
    num_grad_evals: Int[Array, ""]
    num_invalid: Int[Array, ""]
    acceptance_rate: Float[Array, ""]
    parts: tuple[Any, ...]


def _moved(kernel: AnyKernel, state: Any, position: PyTree) -> Any:
    """Bring a part's state to another position, its caches recomputed."""
    return kernel.refresh(state._replace(position=position))


def _refresh_cost(state: Any, field: str = "logdensity") -> int:
    """Count the evaluations that refreshing a state takes: one wherever a density, or a gradient, is cached."""
    if isinstance(state, ComposedState):
        return sum(_refresh_cost(part, field) for part in state.parts)
    return 1 if hasattr(state, field) else 0


def _total(infos: Sequence[Any], field: str, extra: int = 0) -> Int[Array, ""]:
    total = jnp.asarray(extra, jnp.int32)
    for info in infos:
        if hasattr(info, field):
            total = total + getattr(info, field).astype(jnp.int32)
    return total


def _summary(
    infos: tuple[Any, ...], states: Sequence[Any], dtype: Any, weights: Sequence[Any] | None = None
) -> ComposedInfo:
    """Put the infos of the parts together; ``weights`` marks the parts that moved."""
    moved = [jnp.ones((), bool)] * len(infos) if weights is None else weights
    rates = [
        (jnp.asarray(info.acceptance_rate, dtype), flag.astype(dtype))
        for info, flag in zip(infos, moved, strict=True)
        if hasattr(info, "acceptance_rate")
    ]
    weight = sum((flag for _, flag in rates), jnp.zeros((), dtype))
    total = sum((rate * flag for rate, flag in rates), jnp.zeros((), dtype))
    evals = sum(
        (_refresh_cost(state) * flag.astype(jnp.int32) for state, flag in zip(states, moved, strict=True)),
        jnp.zeros((), jnp.int32),
    )
    grad_evals = sum(
        (
            _refresh_cost(state, "logdensity_grad") * flag.astype(jnp.int32)
            for state, flag in zip(states, moved, strict=True)
        ),
        jnp.zeros((), jnp.int32),
    )
    return ComposedInfo(
        num_evals=_total(infos, "num_evals") + evals,
        num_grad_evals=_total(infos, "num_grad_evals") + grad_evals,
        num_invalid=_total(infos, "num_invalid"),
        acceptance_rate=jnp.where(weight > 0, total / jnp.maximum(weight, 1), 1.0).astype(dtype),
        parts=infos,
    )


class _Composition(Kernel[ComposedState, ComposedInfo]):
    """What cycles and mixtures share: parts that live on the same position."""

    parts: eqx.AbstractVar[tuple[AnyKernel, ...]]

    @property
    def takes_logdensity(self) -> bool:
        """Whether any part takes one."""
        return any(part.takes_logdensity for part in self.parts)

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> ComposedState:
        """Start every part at ``position``; errors as the parts raise them."""
        keys = [None] * len(self.parts) if key is None else list(random.split(key, len(self.parts)))
        states = tuple(part.init(position, key=k) for part, k in zip(self.parts, keys, strict=True))
        return ComposedState(states[0].position, states)

    def bind(self, logdensity: LogDensity) -> Self:
        """Give every part that takes a log density the new one."""
        if not self.takes_logdensity:
            raise TypeError(f"no part of this {type(self).__name__} takes a log density, so there is nothing to bind")
        shared = as_logdensity(logdensity)
        return replace(self, parts=tuple(part.bind(shared) if part.takes_logdensity else part for part in self.parts))

    def unbound(self) -> Self:
        """Take the target from every part."""
        return replace(self, parts=tuple(part.unbound() for part in self.parts))

    def refresh(self, state: ComposedState) -> ComposedState:
        """Bring every part to the current position, caches recomputed."""
        return state._replace(
            parts=tuple(
                _moved(part, inner, state.position) for part, inner in zip(self.parts, state.parts, strict=True)
            )
        )


class Cycle(_Composition):
    """Apply kernels one after the other; make one with :func:`cycle`."""

    parts: tuple[AnyKernel, ...]
    palindromic: bool = eqx.field(static=True)
    order: Literal["systematic", "random"] = eqx.field(static=True, default="systematic")

    @property
    def claim(self) -> Claim:
        """As weak as the weakest part; reversible if the parts are and the order reads the same backwards, or is random."""
        claims = [part.claim for part in self.parts]
        symmetric = self.palindromic or self.order == "random"
        reversible = symmetric and all(claim.reversible is True for claim in claims)
        how = "in a random order" if self.order == "random" else "one after the other"
        return compose_claims(
            claims,
            statement=f"applies {len(claims)} kernels {how}; what all leave invariant is invariant",
            reversible=reversible,
        )

    def step(self, key: PRNGKeyArray, state: ComposedState) -> tuple[ComposedState, ComposedInfo]:
        """Apply every part once."""
        count = len(self.parts)
        if self.order == "random":
            return self._shuffled_step(key, state)
        keys = random.split(key, count)
        position, states, infos = state.position, [], []
        for index, (part, inner) in enumerate(zip(self.parts, state.parts, strict=True)):
            inner, info = part.step(keys[index], _moved(part, inner, position))
            position = inner.position
            states.append(inner)
            infos.append(info)
        return ComposedState(position, tuple(states)), _summary(tuple(infos), states, density_dtype(position))

    def _shuffled_step(self, key: PRNGKeyArray, state: ComposedState) -> tuple[ComposedState, ComposedInfo]:
        count = len(self.parts)
        key_order, key_parts = random.split(key)
        order = random.permutation(key_order, count)
        keys = random.split(key_parts, count)
        empty = tuple(zeros_of_info(part, key, inner) for part, inner in zip(self.parts, state.parts, strict=True))

        def branch(index: int) -> Any:
            def move(carry: Any) -> Any:
                position, states, infos = carry
                part = self.parts[index]
                inner, info = part.step(keys[index], _moved(part, states[index], position))
                return inner.position, _put(states, index, inner), _put(infos, index, info)

            return move

        def body(carry: Any, which: Int[Array, ""]) -> tuple[Any, None]:
            return lax.switch(which, [branch(index) for index in range(count)], carry), None

        (position, states, infos), _ = lax.scan(body, (state.position, state.parts, empty), order)
        return ComposedState(position, states), _summary(infos, states, density_dtype(position))


class Mixture(_Composition):
    """Apply one kernel, drawn anew at each step; make one with :func:`mixture`."""

    parts: tuple[AnyKernel, ...]
    weights: Float[Array, " k"]

    @property
    def claim(self) -> Claim:
        """As weak as the weakest part; reversible if all parts are, since the weights are fixed."""
        claims = [part.claim for part in self.parts]
        return compose_claims(
            claims,
            statement=f"applies one of {len(claims)} kernels, drawn with fixed weights; what all leave invariant is invariant",
            reversible=all(claim.reversible is True for claim in claims),
        )

    def step(self, key: PRNGKeyArray, state: ComposedState) -> tuple[ComposedState, ComposedInfo]:
        """Draw a part and apply it."""
        key_which, key_part = random.split(key)
        which = random.categorical(key_which, jnp.log(self.weights))
        empty = tuple(zeros_of_info(part, key, inner) for part, inner in zip(self.parts, state.parts, strict=True))

        def branch(index: int) -> Any:
            def move(_: None) -> Any:
                part = self.parts[index]
                inner, info = part.step(key_part, _moved(part, state.parts[index], state.position))
                return inner.position, _put(state.parts, index, inner), _put(empty, index, info)

            return move

        position, states, infos = lax.switch(which, [branch(index) for index in range(len(self.parts))], None)
        flags = [which == index for index in range(len(self.parts))]
        return ComposedState(position, states), _summary(infos, states, density_dtype(position), flags)


class Repeat(Kernel[Any, Any]):
    """Apply a kernel several times; make one with :func:`repeat`."""

    inner: AnyKernel
    num_steps: int = eqx.field(static=True)

    @property
    def claim(self) -> Claim:
        """That of the kernel: a power of a reversible kernel is reversible."""
        inner = self.inner.claim
        return compose_claims(
            [inner], statement=f"{self.num_steps} steps of: {inner.statement}", reversible=inner.reversible
        )

    @property
    def takes_logdensity(self) -> bool:
        """Whether the kernel takes one."""
        return self.inner.takes_logdensity

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> Any:
        """Start the kernel at ``position``."""
        return self.inner.init(position, key=key)

    def step(self, key: PRNGKeyArray, state: Any) -> tuple[Any, Any]:
        """Make all steps; the info puts theirs together."""
        return self.inner.run(key, state, self.num_steps)

    def bind(self, logdensity: LogDensity) -> Self:
        """Bind the kernel."""
        return replace(self, inner=self.inner.bind(logdensity))

    def unbound(self) -> Self:
        """Take the target from the kernel."""
        return replace(self, inner=self.inner.unbound())

    def refresh(self, state: Any) -> Any:
        """Refresh the kernel's state."""
        return self.inner.refresh(state)


class OnState(NamedTuple):
    """State of a kernel that updates a block.

    Parameters
    ----------
    position
        The whole position.
    inner
        The state of the block's kernel.
    """

    position: PyTree
    inner: Any

    @property
    def logdensity(self) -> Float[Array, ""]:
        """The joint log density, where the block's kernel caches it."""
        out: Float[Array, ""] = self.inner.logdensity
        return out

    @property
    def logdensity_grad(self) -> PyTree:
        """Gradient of the block's conditional log density, where its kernel caches it."""
        return self.inner.logdensity_grad


def _conditional(block: Block, joint: LogDensity, position: PyTree, part: PyTree) -> Array:
    return joint(block.put(position, part))


class On(Kernel[OnState, Any]):
    """Update a block of the position given the rest; make one with :func:`on`."""

    block: Block
    inner: AnyKernel
    logdensity: Partial | None = None

    @property
    def claim(self) -> Claim:
        """That of the block's kernel, for the conditional law of the block."""
        inner = self.inner.claim
        return compose_claims(
            [inner],
            statement=f"updates the block {self.block.name} given the rest: {inner.statement}",
            reversible=inner.reversible,
        )

    @property
    def takes_logdensity(self) -> bool:
        """Whether the block's kernel takes one; its conditional is made from the joint density."""
        return self.inner.takes_logdensity

    def _bound(self, position: PyTree) -> AnyKernel:
        if not self.takes_logdensity:
            return self.inner
        # The joint density with the rest held fixed is the block's conditional density up to a constant.
        return self.inner.bind(Partial(_conditional, self.block, self._target(), position))

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> OnState:
        """Start the block's kernel at its part of ``position``."""
        position = jax.tree.map(jnp.asarray, position)
        return OnState(position, self._bound(position).init(self.block.get(position), key=key))

    def step(self, key: PRNGKeyArray, state: OnState) -> tuple[OnState, Any]:
        """Update the block."""
        inner, info = self._bound(state.position).step(key, state.inner)
        return OnState(self.block.put(state.position, inner.position), inner), info

    def refresh(self, state: OnState) -> OnState:
        """Read the block from the position again, and recompute what its kernel caches."""
        kernel = self._bound(state.position)
        return state._replace(inner=_moved(kernel, state.inner, self.block.get(state.position)))


def _tempered_density(inverse_temperature: Array, logdensity: LogDensity, position: PyTree) -> Array:
    value = logdensity(position)
    # 0 * -inf is NaN: outside the support the tempered density is zero at every temperature.
    return jnp.where(jnp.isneginf(value), -jnp.inf, inverse_temperature.astype(value.dtype) * value)


class Tempered(Kernel[Any, Any]):
    """Run a kernel on a power of the target; make one with :func:`tempered`."""

    inner: AnyKernel
    inverse_temperature: Float[Array, ""]

    @property
    def claim(self) -> Claim:
        """That of the kernel, for the tempered law."""
        inner = self.inner.claim
        return compose_claims(
            [inner],
            statement=f"for the target's power pi^inverse_temperature: {inner.statement}",
            reversible=inner.reversible,
        )

    @property
    def takes_logdensity(self) -> bool:
        """True: the power is taken of the log density that is bound."""
        return True

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> Any:
        """Start the kernel at ``position``."""
        return self.inner.init(position, key=key)

    def step(self, key: PRNGKeyArray, state: Any) -> tuple[Any, Any]:
        """Make one step on the tempered law."""
        return self.inner.step(key, state)

    def bind(self, logdensity: LogDensity) -> Self:
        """Bind the kernel to the power of a target."""
        power = Partial(_tempered_density, self.inverse_temperature, as_logdensity(logdensity))
        return replace(self, inner=self.inner.bind(power))

    def unbound(self) -> Self:
        """Take the target from the kernel."""
        return replace(self, inner=self.inner.unbound())

    def refresh(self, state: Any) -> Any:
        """Refresh the kernel's state."""
        return self.inner.refresh(state)


def _put(items: tuple[Any, ...], index: int, item: Any) -> tuple[Any, ...]:
    return (*items[:index], item, *items[index + 1 :])


def _check_parts(name: str, parts: tuple[Any, ...]) -> None:
    if not parts:
        raise ValueError(f"{name} needs at least one kernel; got none")
    for part in parts:
        if not isinstance(part, Kernel):
            raise TypeError(f"{name} composes kernels; got {type(part).__name__}. Pass an instance, not its class.")


def cycle(*kernels: AnyKernel, order: Literal["systematic", "random"] = "systematic") -> Cycle:
    """Apply kernels one after the other: Gibbs sampling, when each updates a block.

    Parameters
    ----------
    *kernels
        At least one; all move the same position.
    order
        ``"systematic"``: as given, at every step; reversible only if the sequence reads the same backwards (pass the
        same kernel objects again in reverse) and every part is reversible. ``"random"``: in an order drawn uniformly at
        each step; reversible if every part is.

    Returns
    -------
    Cycle
        Exact if all parts are; anything with a biased part is biased.

    Examples
    --------
    >>> from ergodica import RandomWalk, cycle, on
    >>> gibbs = cycle(on("mean", RandomWalk(0.5)), on("log_scale", RandomWalk(0.2)))
    >>> print(gibbs.claim)
    exact, not reversible
    """
    _check_parts("cycle", kernels)
    if order not in ("systematic", "random"):
        raise ValueError(f"order has to be 'systematic' or 'random'; got {order!r}")
    palindromic = all(left is right for left, right in zip(kernels, reversed(kernels), strict=True))
    return Cycle(kernels, palindromic=palindromic, order=order)


def mixture(*kernels: AnyKernel, weights: Any = None) -> Mixture:
    """Apply one of several kernels, drawn anew at each step.

    Parameters
    ----------
    *kernels
        At least one; all move the same position.
    weights
        Probabilities of the kernels, positive, normalised here; default: equal. They must not depend on the state.

    Returns
    -------
    Mixture
        Exact if all parts are, reversible if all parts are.
    """
    _check_parts("mixture", kernels)
    values = real_parameter("weights", jnp.ones(len(kernels)) if weights is None else weights, above=0.0, ndim=1)
    if values.shape != (len(kernels),):
        raise ValueError(
            f"weights has to have one entry for each of the {len(kernels)} kernels; got shape {values.shape}"
        )
    return Mixture(kernels, values / values.sum())


def repeat(kernel: AnyKernel, num_steps: int) -> Repeat:
    """Apply a kernel ``num_steps`` times as one step."""
    _check_parts("repeat", (kernel,))
    return Repeat(kernel, static_count("num_steps", num_steps))


def on(selector: Any, kernel: AnyKernel, logdensity: LogDensity | None = None) -> On:
    """Update a block of the position given the rest.

    Parameters
    ----------
    selector
        The block: a name or a list of names of a dictionary; an integer, a slice or a tuple of integers of an array; or
        a :class:`~ergodica.samplers.block.Block`.
    kernel
        Any kernel; it sees the block as its position and the conditional law of the block as its target.
    logdensity
        The joint log density; may be bound later.

    Returns
    -------
    On
        With the claim of the kernel.
    """
    _check_parts("on", (kernel,))
    return On(as_block(selector), kernel, None if logdensity is None else as_logdensity(logdensity))


def tempered(kernel: AnyKernel, inverse_temperature: Any) -> Tempered:
    """Run a kernel on the power ``pi^inverse_temperature`` of the target that is bound.

    Parameters
    ----------
    kernel
        A kernel that takes a log density; a target that it holds already is not tempered.
    inverse_temperature
        At least 0; 1 is the target itself. A leaf: changing it does not recompile, but the target has to be bound
        again.
    """
    _check_parts("tempered", (kernel,))
    if not kernel.takes_logdensity:
        raise TypeError(f"{type(kernel).__name__} does not take its target as a log density, so it cannot be tempered")
    return Tempered(kernel, real_parameter("inverse_temperature", inverse_temperature, at_least=0.0))
