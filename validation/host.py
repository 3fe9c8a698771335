"""Which host runs the steps that checks look at."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any, Literal

from ergodica.samplers.kernel import Kernel

__all__ = ["Host", "HostUse", "on_chosen_host", "steps_are_compiled", "steps_on"]

Host = Literal["jax", "numba"]


class HostUse:
    """Whether steps were made by the chosen host.

    Parameters
    ----------
    host
        The host.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self.happened = False


_use: contextvars.ContextVar[HostUse | None] = contextvars.ContextVar("host of checks", default=None)


@contextlib.contextmanager
def steps_on(host: Host) -> Iterator[HostUse]:
    """Let the checks within make their steps on a host; what is yielded says whether they made any."""
    use = HostUse(host)
    token = _use.set(use)
    try:
        yield use
    finally:
        _use.reset(token)


def on_chosen_host(kernel: Any) -> Any:
    """Return a kernel that makes its steps on the chosen host. Checks of laws by simulation call it where they step."""
    use = _use.get()
    if use is not None:
        use.happened = True
    if use is None or use.host == "jax" or not isinstance(kernel, Kernel):
        return kernel
    from ergodica.samplers.lowering.kernel import OnCompiledHost

    return OnCompiledHost(kernel)


def steps_are_compiled() -> bool:
    """Whether checks are asked to look at compiled steps."""
    use = _use.get()
    return use is not None and use.host == "numba"
