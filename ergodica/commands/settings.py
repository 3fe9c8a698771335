"""Settings as words of the command line: of kernels, and of when to stop."""

import ast
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ergodica.commands.console import BadInputError, did_you_mean

if TYPE_CHECKING:
    from ergodica.samplers.stopping import Until

__all__ = ["parse_settings", "parse_until", "until_of"]


def parse_settings(words: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """Read settings as in ``width=2.0``: numbers, lists of them, ``true``, ``false`` and ``none``, else texts.

    Parameters
    ----------
    words
        As they were given.
    option
        Their option, for errors.

    Raises
    ------
    BadInputError
        If one has no name or no value.
    """
    out: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name or not text.strip():
            raise BadInputError(f"{option} takes NAME=VALUE, as in {option} width=2.0; got {word!r}")
        out[name] = _value(text.strip())
    return out


def _value(text: str) -> Any:
    constants = {"true": True, "false": False, "none": None}
    if text.lower() in constants:
        return constants[text.lower()]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return value if isinstance(value, int | float | list | tuple) else text


def parse_until(words: Sequence[str]) -> dict[str, Any]:
    """Read ``ess=400``, or several with commas, as arguments of ``Until``; ``mcse.tau=0.1`` bounds one variable."""
    out: dict[str, Any] = {}
    for name, value in parse_settings([part for word in words for part in word.split(",")], "--until").items():
        first, dot, variable = name.partition(".")
        if dot:
            if not isinstance(out.setdefault(first, {}), dict):
                raise BadInputError(f"--until has {first} for all variables and for {variable}; give one of the two")
            out[first][variable] = value
        else:
            out[first] = value
    return out


def until_of(arguments: dict[str, Any]) -> "Until | None":
    """Return the stopping rule, ``None`` without arguments.

    Raises
    ------
    BadInputError
        If there is no such criterion, or a bound is out of range.
    """
    if not arguments:
        return None
    from ergodica.samplers.stopping import Until

    known = [field.name for field in dataclasses.fields(Until)]
    for name in arguments:
        if name not in known:
            hint = did_you_mean(name, known, f"There are {', '.join(known)}.")
            raise BadInputError(f"--until has no criterion {name!r}. {hint}")
    try:
        return Until(**arguments)
    except (TypeError, ValueError) as error:
        raise BadInputError(f"--until: {error}") from None
