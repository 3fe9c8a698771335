"""What is said of a program that cannot be lowered."""

import functools
import os
from typing import Any

__all__ = ["CannotLower", "place_of"]

_HERE = os.path.dirname(os.path.realpath(__file__))


class CannotLower(NotImplementedError):  # noqa: N818  # read aloud: "cannot lower 'fft', at model.py:12"
    """A program has an equation that the compiled host has no rule for.

    Parameters
    ----------
    primitive
        Name of the primitive.
    reason
        What is missing, and what can be done about it.
    place
        Where the user's code made the call; empty if unknown.
    """

    def __init__(self, primitive: str, reason: str, place: str = "") -> None:
        super().__init__(primitive, reason, place)
        self.primitive = primitive
        self.reason = reason
        self.place = place

    def __str__(self) -> str:
        where = f" ({self.place})" if self.place else ""
        return f"cannot lower the primitive {self.primitive!r}{where}: {self.reason}"


@functools.cache
def _folder_of(file: str) -> str:
    return os.path.dirname(os.path.realpath(file))


def place_of(equation: Any) -> str:
    """Say where the user's code made the call behind an equation of a jaxpr, as far as JAX tells."""
    try:
        from jax._src import source_info_util

        frames = list(source_info_util.user_frames(equation.source_info.traceback))
    except Exception:  # the place is a courtesy and rests on an interface that JAX may change
        return ""
    for frame in frames:
        if _folder_of(frame.file_name) != _HERE:
            return f"{frame.file_name}:{frame.start_line}, in {frame.function_name}"
    return ""
