"""Tuners of kernels that are made of kernels."""

from typing import Any

from jaxtyping import Array, Int

from ergodica.samplers.kernel import replace
from ergodica.samplers.tuning.tuner import KernelT, Tuner

__all__ = ["Inner", "Parts", "Together", "inner_state"]


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
        return self.tuner.init(kernel.inner, inner_state(states), num_steps)

    def update(
        self, adaptation: Any, kernel: KernelT, states: Any, infos: Any, step: Int[Array, ""]
    ) -> tuple[Any, KernelT]:
        """Let it learn."""
        inner: Any = kernel.inner  # type: ignore[attr-defined]
        adaptation, inner = self.tuner.update(adaptation, inner, inner_state(states), infos, step)
        return adaptation, replace(kernel, inner=inner)

    def finish(self, adaptation: Any, kernel: KernelT) -> KernelT:
        """Finish it."""
        inner: Any = kernel.inner  # type: ignore[attr-defined]
        return replace(kernel, inner=self.tuner.finish(adaptation, inner))


def inner_state(states: Any) -> Any:
    """Return the states of the kernel inside another one; a kernel that adds nothing to them has the same."""
    return states.inner if "inner" in getattr(states, "_fields", ()) else states
