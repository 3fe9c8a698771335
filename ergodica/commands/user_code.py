"""The user's Python file: found, executed, and blamed in one line where it fails."""

import contextlib
import hashlib
import inspect
import linecache
import sys
import traceback
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ergodica.commands.console import BadInputError, did_you_mean, in_one_line

__all__ = ["UserCode", "blamed", "load_user_code", "split_name"]


class UserCode(NamedTuple):
    """A file of the user's, executed.

    Parameters
    ----------
    path
        The file.
    sha256
        Digest of what was executed.
    module
        What it defines.
    """

    path: Path
    sha256: str
    module: types.ModuleType

    def function(self, name: str) -> Any:
        """Return a callable by its name; without one the only function of the file, or the one called ``model``.

        Raises
        ------
        BadInputError
            If there is none, or it cannot be called; with names that are close.
        """
        own = {
            other: value
            for other, value in vars(self.module).items()
            if inspect.isfunction(value) and value.__module__ == self.module.__name__ and not other.startswith("_")
        }
        if not name:
            if len(own) == 1 or "model" in own:
                return own.get("model", next(iter(own.values())))
            what = f"it has {', '.join(own)}" if own else "it has none"
            raise BadInputError(f"name a function, as in {self.path.name}:NAME; {what}")
        value = getattr(self.module, name, None)
        if value is None:
            hint = did_you_mean(name, own, f"It has {', '.join(own) or 'no functions'}.")
            raise BadInputError(f"{self.path.name} has no function {name!r}. {hint}")
        if not callable(value):
            raise BadInputError(f"{self.path.name}:{name} is a {type(value).__name__}; expected a function or a class")
        return value


def split_name(text: str) -> tuple[Path, str]:
    """Split ``FILE:NAME``; the name is empty if there is none, or if a file has the whole as its name."""
    if Path(text).exists():
        return Path(text), ""
    path, colon, name = text.rpartition(":")
    return (Path(path), name) if colon and path else (Path(text), "")


def load_user_code(path: Path) -> UserCode:
    """Execute a Python file, with its folder first on the path of imports as Python itself has it.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    BadInputError
        If it cannot be read, has a syntax error, or fails when it is executed; with the line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"cannot read the Python file {path}: {error.strerror or error}") from None
    where = str(path.resolve())
    try:
        code = compile(content, where, "exec", dont_inherit=True)
    except SyntaxError as error:
        text = f": {error.text.strip()}" if error.text else ""
        raise BadInputError(f"{path.name}, line {error.lineno}: {error.msg}{text}") from None
    except ValueError as error:
        raise BadInputError(f"{path.name} is no Python file: {error}") from None
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    # A name of its own: a file called numpyro.py must not stand in for the package.
    module = types.ModuleType(f"model_file_{path.stem}")
    module.__file__ = where
    sys.modules[module.__name__] = module
    linecache.checkcache(where)
    with blamed(path):
        exec(code, module.__dict__)
    return UserCode(path, hashlib.sha256(content).hexdigest(), module)


@contextlib.contextmanager
def blamed(path: Path, name: str = "") -> Iterator[None]:
    """Turn an error that goes through a file into one line that names the place in it.

    Parameters
    ----------
    path
        The file.
    name
        Of the function in it: named by errors from elsewhere, such as those of shapes that do not fit.

    Raises
    ------
    BadInputError
        For any error.
    """
    try:
        yield
    except BadInputError:
        raise
    except Exception as error:
        where = str(path.resolve())
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == where]
        if not frames:
            raise BadInputError(f"{path.name}:{name} cannot be evaluated: {in_one_line(error)}") from error
        last = frames[-1]
        place = f"{path.name}, line {last.lineno}" + ("" if last.name == "<module>" else f", in {last.name}")
        kind = type(error).__name__
        words = in_one_line(error)
        raise BadInputError(f"{place}: {words if words.startswith(kind) else f'{kind}: {words}'}") from error
