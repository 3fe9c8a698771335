"""The kernels that a command can make from a log density alone, by the names of their classes or of the catalogue."""

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, NamedTuple

import ergodica
from ergodica.commands.console import BadInputError, did_you_mean

__all__ = ["ADAPTED", "NAMES", "Choice", "choose"]


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
        taken = [name for name in inspect.signature(make).parameters if name != "logdensity"]
        for name in settings:
            if name not in taken:
                hint = did_you_mean(name, taken, f"It takes {', '.join(taken)}.")
                raise BadInputError(f"{self.kind} has no setting {name!r}. {hint}")
        try:
            return make(**{**self.preset, **settings}, logdensity=logdensity)
        except (TypeError, ValueError) as error:
            raise BadInputError(f"{self.kind}: {error}") from None


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
"""What ``--kernel`` takes, beside the names of the classes."""


def choose(name: str) -> Choice | str:
    """Return the choice of a name, or the name of an algorithm of BlackJAX.

    Raises
    ------
    BadInputError
        If there is none; with names that are close.
    """
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
