"""Tuners: how warm-up sets the parameters of a kernel, and which tuner a kernel gets.

Tuning never lives inside a step. A tuner watches the chains during warm-up and hands back the same kernel with other
leaves: same structure, same shapes, same dtypes, so that nothing is compiled again and a vector stays a vector. After
warm-up the kernel is frozen, and what the kernel claims holds for every value that the tuner may have left.

A kernel names its tuner by a method ``tuner() -> Tuner``. For one that does not, :func:`choose_tuner` goes by the names
of its fields:

===================================================  =====================================================
the kernel has                                       it gets
===================================================  =====================================================
``width``, and its state a ``radius``                :class:`SliceWidth` of the radius
``width`` and ``scale``                              :class:`SliceWidth` along the line
``width``                                            :class:`SliceWidth` of each coordinate
``step_size``, and its info an ``acceptance_rate``   :class:`StepSize`
``scale``, and its info an ``acceptance_rate``       :class:`ProposalScale`
``parts`` or ``inner``                               the tuners of its parts
===================================================  =====================================================
"""

import abc
import dataclasses
from typing import Any, Literal, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PyTree

from ergodica.samplers.inputs import real_parameter
from ergodica.samplers.kernel import Kernel, replace
from ergodica.samplers.moments import Moments, factor, variances

__all__ = [
    "Inner",
    "Parts",
    "ProposalScale",
    "SliceWidth",
    "StepSize",
    "Together",
    "Tuner",
    "Whitening",
    "choose_tuner",
    "tuned_leaves",
]

KernelT = TypeVar("KernelT", bound=Kernel[Any, Any])


class Tuner(eqx.Module):
    """Sets the parameters of a kernel during warm-up.

    To write one, subclass and define :meth:`init`, :meth:`update` and, where the last value is not the best one,
    :meth:`finish`. All are traced. States and infos come with a leading axis of chains, which a tuner pools.
    """

    @property
    def invalidates(self) -> bool:
        """Whether states have to be refreshed when the kernel has changed, because they cache what it computes."""
        return False

    @abc.abstractmethod
    def init(self, kernel: Any, states: Any, num_steps: Int[Array, ""]) -> Any:
        """Return what the tuner carries from step to step: a pytree of arrays.

        Parameters
        ----------
        kernel
            The kernel as the user gave it.
        states
            The starts, with a leading axis of chains.
        num_steps
            Length of the warm-up.

        Raises
        ------
        ValueError, TypeError
            If the tuner does not fit the kernel.
        """

    @abc.abstractmethod
    def update(
        self, adaptation: Any, kernel: KernelT, states: Any, infos: Any, step: Int[Array, ""]
    ) -> tuple[Any, KernelT]:
        """Learn from a step.

        Parameters
        ----------
        adaptation
            As :meth:`init` or the last update returned it.
        kernel
            The kernel that made the step.
        states, infos
            What came out, with a leading axis of chains.
        step
            Number of the step, from 0.

        Returns
        -------
        adaptation, kernel
            The kernel for the next step, with the same structure, shapes and dtypes.
        """

    def finish(self, adaptation: Any, kernel: KernelT) -> KernelT:
        """Return the kernel to sample with; by default the one of the last update."""
        del adaptation
        return kernel


def _strong(value: ArrayLike, like: Array) -> Array:
    return lax.convert_element_type(jnp.asarray(value), like.dtype)


def _put(kernel: KernelT, name: str, value: PyTree) -> KernelT:
    """Replace a field, leaf by leaf in the dtype that it had."""
    return replace(kernel, **{name: jax.tree.map(_strong, value, getattr(kernel, name))})


def _flat(positions: PyTree) -> Float[Array, "chains d"]:
    return jax.vmap(lambda position: ravel_pytree(position)[0])(positions)


def _first(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[0], tree)


def _coarsened(values: Array, shape: tuple[int, ...]) -> Array:
    """Average ``values`` over the axes along which an array of ``shape`` would broadcast to them."""
    lead = values.ndim - len(shape)
    averaged = jnp.mean(values, axis=tuple(range(lead)))
    stretched = tuple(axis for axis, size in enumerate(shape) if size == 1 and averaged.shape[axis] != 1)
    return jnp.mean(averaged, axis=stretched, keepdims=True)


def _per_coordinate(values: Float[Array, " d"], like: PyTree, position: PyTree) -> PyTree:
    """Bring a number per coordinate into the form of a parameter: a number, a vector, or a tree like the position."""
    if jax.tree.structure(like) == jax.tree.structure(position):  # type: ignore[operator]
        shaped = ravel_pytree(jax.tree.map(lambda leaf: leaf.astype(values.dtype), position))[1](values)
        return jax.tree.map(lambda leaf, old: _coarsened(leaf, jnp.shape(old)), shaped, like)
    return jax.tree.map(lambda old: _coarsened(values, jnp.shape(old)), like)


# --- acceptance rates -------------------------------------------------------------------------------------------------


class DualAverage(NamedTuple):
    """State of dual averaging on the logarithm of a factor."""

    log_factor: Float[Array, ""]
    log_average: Float[Array, ""]
    error: Float[Array, ""]
    turns: Float[Array, ""]
    center: Float[Array, ""]

    @classmethod
    def start(cls, center: ArrayLike, dtype: Any) -> "DualAverage":
        """Start at a log factor that later iterates are drawn towards."""
        at = jnp.asarray(center, dtype)
        zero = jnp.zeros((), dtype)
        return cls(at, at, zero, zero, at)

    def update(self, excess: Float[Array, ""]) -> "DualAverage":
        """Learn from the acceptance rate minus its target."""
        turns = self.turns + 1
        error = self.error + (excess - self.error) / (turns + 10)
        log_factor = self.center + jnp.sqrt(turns) / 0.05 * error
        # Bounded, so that a rate that no factor can reach ends in a number.
        log_factor = jnp.clip(log_factor, self.center - 50, self.center + 50)
        log_average = self.log_average + turns**-0.75 * (log_factor - self.log_average)
        return DualAverage(log_factor, log_average, error, turns, self.center)


class StepSizeAdaptation(NamedTuple):
    """What :class:`StepSize` carries: the start, and the dual average of the factor on it."""

    start: Array
    average: DualAverage


class StepSize(Tuner):
    """Dual averaging of a step size until the acceptance rate, averaged over the chains, meets its target.

    Parameters
    ----------
    target
        The acceptance rate, in (0, 1).
    field
        The kernel's field: a positive number, or an array whose entries are multiplied by one factor.

    References
    ----------
    M. D. Hoffman and A. Gelman, 2014, JMLR 15, section 3.2, arXiv:1111.4246. The default target is the optimum of
    Hamiltonian Monte Carlo in high dimension: A. Beskos et al., 2013, Bernoulli 19, arXiv:1001.4460.
    """

    target: float = eqx.field(static=True, default=0.65)
    field: str = eqx.field(static=True, default="step_size")

    def __check_init__(self) -> None:
        _check_rate(self.target)

    def init(self, kernel: Any, states: Any, num_steps: Int[Array, ""]) -> StepSizeAdaptation:
        """Start at the step size of the kernel."""
        del states, num_steps
        start = getattr(kernel, self.field)
        return StepSizeAdaptation(start, DualAverage.start(0.0, start.dtype))

    def update(
        self, adaptation: StepSizeAdaptation, kernel: KernelT, states: Any, infos: Any, step: Int[Array, ""]
    ) -> tuple[StepSizeAdaptation, KernelT]:
        """Learn from the acceptance rate of a step."""
        del states, step
        start, average = adaptation
        average = average.update(_mean_rate(infos, start.dtype) - self.target)
        return StepSizeAdaptation(start, average), _put(kernel, self.field, start * jnp.exp(average.log_factor))

    def finish(self, adaptation: StepSizeAdaptation, kernel: KernelT) -> KernelT:
        """Set the averaged step size."""
        return _put(kernel, self.field, adaptation.start * jnp.exp(adaptation.average.log_average))


def _check_rate(rate: float | None) -> None:
    if rate is not None and not 0 < rate < 1:
        raise ValueError(f"the target of an acceptance rate lies between 0 and 1; got {rate}")


def _mean_rate(infos: Any, dtype: Any) -> Float[Array, ""]:
    if not hasattr(infos, "acceptance_rate"):
        raise TypeError(
            "this tuner goes by the acceptance rate, and the kernel reports none; use a kernel whose info has a field "
            "acceptance_rate, or another tuner"
        )
    return jnp.mean(infos.acceptance_rate).astype(dtype)


# --- covariances ------------------------------------------------------------------------------------------------------

WINDOW_ENDS = (0.1, 0.2, 0.4, 0.8)
"""When covariances are estimated anew, from the draws since the last time, as fractions of the warm-up."""


class Windows(NamedTuple):
    """Moments of the draws since the last estimate, and when the next ones are due."""

    ends: Int[Array, " windows"]
    moments: Moments

    @classmethod
    def start(cls, positions: PyTree, num_steps: Int[Array, ""], *, dense: bool) -> "Windows":
        """Plan the windows for a warm-up of so many steps."""
        flat = _flat(positions)
        ends = jnp.ceil(jnp.asarray(WINDOW_ENDS, jnp.float32) * num_steps).astype(jnp.int32)
        return cls(ends, Moments.empty(flat.shape[1], flat.dtype, dense=dense))

    def update(self, positions: PyTree, step: Int[Array, ""]) -> tuple["Windows", Bool[Array, ""]]:
        """Add the positions of the chains; also say whether an estimate is due."""
        moments = self.moments.add(_flat(positions))
        due = jnp.any(self.ends == step + 1) & (moments.total >= 10)
        return Windows(self.ends, moments), due

    def restart(self, due: Bool[Array, ""]) -> "Windows":
        """Forget the draws if an estimate was made."""
        zero = self.moments.forgotten()
        return Windows(self.ends, jax.tree.map(lambda new, old: jnp.where(due, new, old), zero, self.moments))


class ProposalScaleAdaptation(NamedTuple):
    """What :class:`ProposalScale` carries."""

    shape: Array
    average: DualAverage
    windows: Windows


class ProposalScale(Tuner):
    """Scale of a random walk: its shape from the covariance of the draws, its size from the acceptance rate.

    A number is multiplied by a factor until the acceptance rate, averaged over the chains, meets its target. A vector
    becomes that factor times the standard deviations of the draws of all chains, a lower triangular matrix the factor
    times a Cholesky factor of their covariance; both are estimated anew after a tenth, a fifth, two fifths and four
    fifths of the warm-up.

    Parameters
    ----------
    target
        The acceptance rate; ``None`` for ``0.234 + 0.206 / d`` in ``d`` dimensions, close to the optimum on normal
        targets: 0.44 in one dimension, 0.234 in many.
    field
        The kernel's field.

    References
    ----------
    G. O. Roberts and J. S. Rosenthal, 2001, Statistical Science 16, doi:10.1214/ss/1015346320; H. Haario, E. Saksman
    and J. Tamminen, 2001, Bernoulli 7, doi:10.2307/3318737; M. D. Hoffman and A. Gelman, 2014, arXiv:1111.4246.
    """

    target: float | None = eqx.field(static=True, default=None)
    field: str = eqx.field(static=True, default="scale")

    def __check_init__(self) -> None:
        _check_rate(self.target)

    def init(self, kernel: Any, states: Any, num_steps: Int[Array, ""]) -> ProposalScaleAdaptation:
        """Start at the scale of the kernel."""
        scale = getattr(kernel, self.field)
        windows = Windows.start(states.position, num_steps, dense=scale.ndim == 2)
        return ProposalScaleAdaptation(scale, DualAverage.start(0.0, scale.dtype), windows)

    def update(
        self,
        adaptation: ProposalScaleAdaptation,
        kernel: KernelT,
        states: Any,
        infos: Any,
        step: Int[Array, ""],
    ) -> tuple[ProposalScaleAdaptation, KernelT]:
        """Learn from the acceptance rate and the positions of a step."""
        shape, average, windows = adaptation
        dim = windows.moments.mean.size
        target = 0.234 + 0.206 / dim if self.target is None else self.target
        average = average.update(_mean_rate(infos, shape.dtype) - target)
        if shape.ndim > 0:
            windows, due = windows.update(states.position, step)
            shape = lax.cond(due, lambda: _strong(factor(windows.moments, shape), shape), lambda: shape)
            fresh = DualAverage.start(np.log(2.38 / np.sqrt(dim)), shape.dtype)
            average = jax.tree.map(lambda new, old: jnp.where(due, new, old), fresh, average)
            windows = windows.restart(due)
        adaptation = ProposalScaleAdaptation(shape, average, windows)
        return adaptation, _put(kernel, self.field, shape * jnp.exp(average.log_factor))

    def finish(self, adaptation: ProposalScaleAdaptation, kernel: KernelT) -> KernelT:
        """Set the averaged scale."""
        return _put(kernel, self.field, adaptation.shape * jnp.exp(adaptation.average.log_average))


class Whitening(Tuner):
    """Centre and scale of a kernel that works in coordinates ``x = centre + L y``.

    The centre becomes the mean of the draws of all chains and ``L`` their standard deviations, or a Cholesky factor of
    their covariance if the kernel's scale is a matrix. What the kernel leaves ``None`` stays so: give it
    ``scale=jnp.ones(d)`` or ``scale=jnp.eye(d)`` to have it tuned.

    Parameters
    ----------
    centre, scale
        The kernel's fields; a missing one is skipped.
    """

    centre: str = eqx.field(static=True, default="center")
    scale: str = eqx.field(static=True, default="scale")

    @property
    def invalidates(self) -> bool:
        """``True``: states may hold whitened coordinates."""
        return True

    def init(self, kernel: Any, states: Any, num_steps: Int[Array, ""]) -> Windows:
        """Plan the windows."""
        scale = getattr(kernel, self.scale, None)
        if scale is None and getattr(kernel, self.centre, None) is None:
            raise ValueError(
                f"Whitening has nothing to tune: {type(kernel).__name__} has neither {self.centre} nor {self.scale}. "
                f"Construct it with {self.centre}=jnp.zeros(d) and {self.scale}=jnp.ones(d) or jnp.eye(d)."
            )
        return Windows.start(states.position, num_steps, dense=scale is not None and scale.ndim == 2)

    def update(
        self, adaptation: Windows, kernel: KernelT, states: Any, infos: Any, step: Int[Array, ""]
    ) -> tuple[Windows, KernelT]:
        """Learn from the positions of a step."""
        del infos
        windows, due = adaptation.update(states.position, step)
        fields = {name: getattr(kernel, name, None) for name in (self.centre, self.scale)}
        fields = {name: value for name, value in fields.items() if value is not None}
        # Only what is tuned goes through the branches, lest the data of the target be copied.
        tuned = lax.cond(due, lambda: self._estimate(windows.moments, fields, _first(states.position)), lambda: fields)
        return windows.restart(due), replace(kernel, **tuned)

    def _estimate(self, moments: Moments, fields: dict[str, Any], position: PyTree) -> dict[str, Any]:
        new = {}
        for name, old in fields.items():
            if name == self.centre:
                value = _per_coordinate(moments.mean, old, position)
            elif old.ndim > 0:
                value = factor(moments, old)
            else:
                value = jnp.sqrt(jnp.mean(variances(moments, old**2)))
            new[name] = jax.tree.map(_strong, value, old)
        return new


# --- slice widths -----------------------------------------------------------------------------------------------------


class SliceWidthAdaptation(NamedTuple):
    """What :class:`SliceWidth` carries: running means of the jumps, and where the chains were."""

    mean: Array
    before: Array


class SliceWidth(Tuner):
    """Width of a slice sampler's first interval: a multiple of the mean size of its jumps, pooled over the chains.

    Parameters
    ----------
    of
        What jumps: each ``"coordinate"``, the point along a random ``"line"``, or its ``"radius"``.
    multiple
        Width in mean jumps; ``None`` for 1.5, and for 3.5 of the radius, where too small a width costs more.
    field
        The kernel's field.

    Notes
    -----
    The jumps of a slice sampler do not depend on its width, up to its cap on stepping out, so there is no feedback.
    """

    of: Literal["coordinate", "line", "radius"] = eqx.field(static=True, default="coordinate")
    multiple: float | None = eqx.field(static=True, default=None)
    field: str = eqx.field(static=True, default="width")

    def __check_init__(self) -> None:
        if self.of not in ("coordinate", "line", "radius"):
            raise ValueError(f'SliceWidth is that of a "coordinate", a "line" or the "radius"; got {self.of!r}')
        if self.multiple is not None:
            real_parameter("multiple", self.multiple, above=0.0)

    def _where(self, states: Any) -> Array:
        return states.radius[:, None] if self.of == "radius" else _flat(states.position)

    def _jumps(self, kernel: Any, moves: Float[Array, "chains k"]) -> Float[Array, "chains k"]:
        if self.of != "line":
            return jnp.abs(moves)
        scale = getattr(kernel, "scale", None)
        if scale is None:
            return jnp.linalg.norm(moves, axis=1, keepdims=True)
        scale = scale.astype(moves.dtype)
        dense = scale.ndim == 2
        moves = jax.scipy.linalg.solve_triangular(scale, moves.T, lower=True).T if dense else moves / scale
        # A direction has length sqrt(d) in these coordinates, and widths are in units of it.
        return jnp.sqrt(jnp.mean(moves**2, axis=1, keepdims=True))

    def init(self, kernel: Any, states: Any, num_steps: Int[Array, ""]) -> SliceWidthAdaptation:
        """Start with the width of the kernel."""
        del num_steps
        before = self._where(states)
        return SliceWidthAdaptation(jnp.zeros_like(self._jumps(kernel, before)[0]), before)

    def update(
        self, adaptation: SliceWidthAdaptation, kernel: KernelT, states: Any, infos: Any, step: Int[Array, ""]
    ) -> tuple[SliceWidthAdaptation, KernelT]:
        """Learn from the jumps of a step."""
        del infos
        now = self._where(states)
        jumps = jnp.mean(self._jumps(kernel, now - adaptation.before), axis=0)
        # The gain falls more slowly than 1 / n, so that the way from the start to the bulk is forgotten.
        gain = jnp.asarray(step + 1, now.dtype) ** -0.75
        mean = adaptation.mean + gain * (jumps - adaptation.mean)
        width = getattr(kernel, self.field)
        multiple = self.multiple or (3.5 if self.of == "radius" else 1.5)
        if self.of == "coordinate":
            proposed = _per_coordinate(multiple * mean, width, _first(states.position))
        else:
            proposed = jax.tree.map(lambda old: jnp.broadcast_to(multiple * mean[0], jnp.shape(old)), width)
        proposed = jax.tree.map(lambda new, old: jnp.where(new > 0, _strong(new, old), old), proposed, width)
        return SliceWidthAdaptation(mean, now), _put(kernel, self.field, proposed)


# --- composition ------------------------------------------------------------------------------------------------------


class Together(Tuner):
    """Several tuners of one kernel, applied in turn.

    Parameters
    ----------
    tuners
        Each sets other fields of the kernel.
    """

    tuners: tuple[Tuner, ...]

    @property
    def invalidates(self) -> bool:
        """Whether any does."""
        return any(tuner.invalidates for tuner in self.tuners)

    def init(self, kernel: Any, states: Any, num_steps: Int[Array, ""]) -> tuple[Any, ...]:
        """Start all."""
        return tuple(tuner.init(kernel, states, num_steps) for tuner in self.tuners)

    def update(
        self, adaptation: tuple[Any, ...], kernel: KernelT, states: Any, infos: Any, step: Int[Array, ""]
    ) -> tuple[tuple[Any, ...], KernelT]:
        """Let all learn."""
        learnt = []
        for tuner, one in zip(self.tuners, adaptation, strict=True):
            new, kernel = tuner.update(one, kernel, states, infos, step)
            learnt.append(new)
        return tuple(learnt), kernel

    def finish(self, adaptation: tuple[Any, ...], kernel: KernelT) -> KernelT:
        """Finish all."""
        for tuner, one in zip(self.tuners, adaptation, strict=True):
            kernel = tuner.finish(one, kernel)
        return kernel


class Parts(Tuner):
    """The tuners of the parts of a cycle.

    Parameters
    ----------
    tuners
        One for each part, ``None`` for a part that has nothing to tune.
    """

    tuners: tuple[Tuner | None, ...]

    @property
    def invalidates(self) -> bool:
        """Whether any does."""
        return any(tuner is not None and tuner.invalidates for tuner in self.tuners)

    def init(self, kernel: Any, states: Any, num_steps: Int[Array, ""]) -> tuple[Any, ...]:
        """Start all."""
        return tuple(
            None if tuner is None else tuner.init(part, state, num_steps)
            for tuner, part, state in zip(self.tuners, kernel.parts, states.parts, strict=True)
        )

    def update(
        self, adaptation: tuple[Any, ...], kernel: KernelT, states: Any, infos: Any, step: Int[Array, ""]
    ) -> tuple[tuple[Any, ...], KernelT]:
        """Let each learn from its part."""
        learnt, parts = list(adaptation), list(kernel.parts)  # type: ignore[attr-defined]
        for index, tuner in enumerate(self.tuners):
            if tuner is not None:
                learnt[index], parts[index] = tuner.update(
                    adaptation[index], parts[index], states.parts[index], infos.parts[index], step
                )
        return tuple(learnt), replace(kernel, parts=tuple(parts))

    def finish(self, adaptation: tuple[Any, ...], kernel: KernelT) -> KernelT:
        """Finish all."""
        parts: tuple[Any, ...] = kernel.parts  # type: ignore[attr-defined]
        finished = tuple(
            part if tuner is None else tuner.finish(one, part)
            for tuner, one, part in zip(self.tuners, adaptation, parts, strict=True)
        )
        return replace(kernel, parts=finished)


class Inner(Tuner):
    """The tuner of the kernel inside another one: of a block, of a repetition, of a tempered kernel.

    Parameters
    ----------
    tuner
        Of the inner kernel.
    """

    tuner: Tuner

    @property
    def invalidates(self) -> bool:
        """Whether it does."""
        return self.tuner.invalidates

    def init(self, kernel: Any, states: Any, num_steps: Int[Array, ""]) -> Any:
        """Start it."""
        return self.tuner.init(kernel.inner, _inner_state(states), num_steps)

    def update(
        self, adaptation: Any, kernel: KernelT, states: Any, infos: Any, step: Int[Array, ""]
    ) -> tuple[Any, KernelT]:
        """Let it learn."""
        inner: Any = kernel.inner  # type: ignore[attr-defined]
        adaptation, inner = self.tuner.update(adaptation, inner, _inner_state(states), infos, step)
        return adaptation, replace(kernel, inner=inner)

    def finish(self, adaptation: Any, kernel: KernelT) -> KernelT:
        """Finish it."""
        inner: Any = kernel.inner  # type: ignore[attr-defined]
        return replace(kernel, inner=self.tuner.finish(adaptation, inner))


def _inner_state(states: Any) -> Any:
    return states.inner if "inner" in getattr(states, "_fields", ()) else states


# --- choice -----------------------------------------------------------------------------------------------------------


def choose_tuner(kernel: Any, state: Any, info: Any) -> Tuner | None:
    """Return the tuner that a kernel names, or else the one that its fields call for.

    Parameters
    ----------
    kernel
        The kernel.
    state, info
        Of the kernel; only the names of their fields are looked at.

    Returns
    -------
    Tuner or None
        ``None`` if there is nothing to tune. A mixture is not tuned, since its parts move now and then only.
    """
    named = getattr(kernel, "tuner", None)
    if callable(named):
        tuner: Tuner | None = named()
        return tuner
    fields = {field.name for field in dataclasses.fields(kernel)}
    if "weights" in fields and "parts" in fields:
        return None
    if "parts" in fields and hasattr(state, "parts") and hasattr(info, "parts"):
        tuners = tuple(
            choose_tuner(part, one, other)
            for part, one, other in zip(kernel.parts, state.parts, info.parts, strict=True)
        )
        return Parts(tuners) if any(tuner is not None for tuner in tuners) else None
    if isinstance(getattr(kernel, "inner", None), Kernel):
        inner = choose_tuner(kernel.inner, _inner_state(state), info)
        return None if inner is None else Inner(inner)
    if "width" in fields:
        if "radius" in getattr(state, "_fields", ()):
            return SliceWidth("radius")
        return SliceWidth("line" if "scale" in fields else "coordinate")
    if hasattr(info, "acceptance_rate"):
        if isinstance(getattr(kernel, "step_size", None), jax.Array):
            return StepSize()
        if isinstance(getattr(kernel, "scale", None), jax.Array):
            return ProposalScale()
    return None


def tuned_leaves(before: Any, after: Any) -> dict[str, np.ndarray]:
    """Return the leaves of a kernel that tuning has changed, by name.

    Parameters
    ----------
    before, after
        The kernel before and after the warm-up.
    """
    changed = {}
    old = jax.tree.leaves(before)
    for (path, leaf), was in zip(jax.tree_util.tree_leaves_with_path(after), old, strict=True):
        if leaf is not was and not np.array_equal(np.asarray(leaf), np.asarray(was)):
            changed[jax.tree_util.keystr(path, simple=True, separator=".")] = np.asarray(leaf)
    return changed
