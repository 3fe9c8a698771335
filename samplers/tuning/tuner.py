"""The protocol of tuners: what sets the parameters of a kernel during warm-up."""

import abc
from typing import Any, TypeVar

import equinox as eqx
from jaxtyping import Array, Int

from ergodica.samplers.kernel import Kernel

__all__ = ["KernelT", "Tuner"]

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
