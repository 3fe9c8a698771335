"""The kernels that a command can make from a log density alone: by class, by row of the catalogue, or the user's own."""

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import ergodica
from ergodica.commands.console import BadInputError, did_you_mean
from ergodica.commands.user_code import blamed, load_user_code, split_name

__all__ = ["ADAPTED", "NAMES", "Choice", "UserKernel", "choose", "user_file"]


class Choice(NamedTuple):
    """A kernel that can be made from a log density and numbers.

    Parameters
    ----------
    row
        Name in the catalogue; for algorithms of BlackJAX their own.
    kind
        Name of the class.
    module
        Where it is.
    preset
        Arguments that the row has.
    """

    row: str
    kind: str
    module: str
    preset: Mapping[str, Any] = {}

    def build(self, logdensity: Callable[[Any], Any], settings: Mapping[str, Any]) -> Any:
        """Return the kernel with its target.

        Raises
        ------
        BadInputError
            If it does not take a setting, or not this value.
        """
        make = getattr(import_module(self.module), self.kind)
        _check_settings(make, self.kind, settings)
        try:
            return make(**{**self.preset, **settings}, logdensity=logdensity)
        except (TypeError, ValueError) as error:
            raise BadInputError(f"{self.kind}: {error}") from None


class UserKernel(NamedTuple):
    """A kernel of the user's own: a class, or a function that returns one.

    Parameters
    ----------
    path
        The Python file.
    name
        Of the class or function in it.
    """

    path: Path
    name: str

    def build(self, logdensity: Callable[[Any], Any], settings: Mapping[str, Any]) -> Any:
        """Return the kernel with its target; this executes the file.

        Raises
        ------
        BadInputError
            If there is no such class, it fails, or what it makes is no kernel.
        """
        from ergodica.samplers.kernel import Kernel

        make = load_user_code(self.path).function(self.name)
        what = f"{self.path.name}:{self.name}"
        _check_settings(make, what, settings)
        if "logdensity" not in inspect.signature(make).parameters:
            raise BadInputError(f"{what} has to take the target as logdensity=..., as the kernels of the library do")
        with blamed(self.path, self.name):
            kernel = make(**settings, logdensity=logdensity)
        if not isinstance(kernel, Kernel):
            raise BadInputError(f"{what} makes a {type(kernel).__name__}; expected a subclass of ergodica.Kernel")
        return kernel


def _check_settings(make: Callable[..., Any], what: str, settings: Mapping[str, Any]) -> None:
    parameters = inspect.signature(make).parameters
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
        return
    taken = [name for name in parameters if name != "logdensity"]
    for name in settings:
        if name not in taken:
            hint = did_you_mean(name, taken, f"It takes {', '.join(taken)}." if taken else "It takes none.")
            raise BadInputError(f"{what} has no setting {name!r}. {hint}")


_SLICING = "ergodica.samplers.slicing"
CHOICES = (
    Choice("coordinate-slice", "CoordinateSlice", f"{_SLICING}.coordinate"),
    Choice("hit-and-run-slice", "HitAndRunSlice", f"{_SLICING}.hit_and_run"),
    Choice("gibbsian-polar-slice", "GibbsianPolarSlice", f"{_SLICING}.gibbsian_polar"),
    Choice(
        "gibbsian-polar-slice-uniform",
        "GibbsianPolarSlice",
        f"{_SLICING}.gibbsian_polar",
        {"direction": "uniform", "order": "palindromic"},
    ),
    Choice("hyperrectangle-slice", "HyperrectangleSlice", f"{_SLICING}.hyperrectangle"),
    Choice(
        "hyperrectangle-slice-steepest", "HyperrectangleSlice", f"{_SLICING}.hyperrectangle", {"shrink": "steepest"}
    ),
    Choice("lattice-slice", "LatticeSlice", f"{_SLICING}.lattice"),
    Choice("random-walk", "RandomWalk", "ergodica.samplers.metropolis.random_walk", {"scale": 1.0}),
)
ADAPTED = ("nuts", "hmc")
"""Algorithms of BlackJAX, tuned by its window adaptation."""

NAMES = tuple(dict.fromkeys([choice.row for choice in CHOICES] + list(ADAPTED)))
"""What ``--kernel`` takes, beside the names of the classes and FILE.py:NAME."""


def user_file(name: str) -> Path | None:
    """Return the file of a kernel of the user's own, ``None`` for one of the library."""
    path, _ = split_name(name)
    return path if path.suffix == ".py" else None


def choose(name: str) -> Choice | UserKernel | str:
    """Return the choice of a name, or the name of an algorithm of BlackJAX.

    Raises
    ------
    BadInputError
        If there is none; with names that are close.
    """
    if user_file(name) is not None:
        path, own = split_name(name)
        if not own:
            raise BadInputError(f"name the kernel in {path.name}, as in --kernel {path.name}:MyKernel")
        return UserKernel(path, own)
    folded = name.lower().replace("_", "-")
    if folded in ADAPTED:
        return folded
    for choice in CHOICES:
        if name == choice.kind or folded == choice.row:
            return choice
    there_are = f"here there are {', '.join(NAMES)}"
    if name in ergodica.__all__:
        raise BadInputError(f"{name} needs more than a log density, so it is used from Python; {there_are}")
    known = [*NAMES, *dict.fromkeys(choice.kind for choice in CHOICES)]
    raise BadInputError(f"there is no kernel {name!r}. {did_you_mean(name, known) or there_are.capitalize()}")
