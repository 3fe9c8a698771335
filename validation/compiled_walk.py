"""The law of compiled code: every path through a lowered program, replayed on a tape of outcomes."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from ergodica.samplers.lowering.errors import CannotLower
from ergodica.samplers.lowering.oracle import Paths
from ergodica.samplers.lowering.program import KEY, Program, flatten
from ergodica.samplers.lowering.rules import load_rules
from ergodica.validation.choice import EnumerationError, tracing
from ergodica.validation.law import Law, merged
from ergodica.validation.walk import TooManyPathsError

__all__ = ["compiled_laws"]

_RAW = {
    "random_bits": "jax.random was called directly; draw through ergodica.samplers.random, so that the choice is visible",
    "random_gamma": "a gamma variate was drawn, which has infinitely many values",
    "random_unwrap": "the words of a key were read, as compiled cores do; enumerate the kernel's reference() instead",
    "threefry2x32": "random bits were generated from the words of a key; draw through ergodica.samplers.random",
    "ffi_call": "a compiled core was called, whose choices are not visible; enumerate the kernel's reference() instead",
}


def _refuse_raw(program: Program) -> None:
    for equation in program.equations:
        if equation.name in _RAW:
            raise EnumerationError(f"{_RAW[equation.name]} ({equation.place})")
        for value in equation.params.values():
            for inner in value if isinstance(value, list) else [value]:
                if isinstance(inner, Program):
                    _refuse_raw(inner)


def compiled_laws(
    function: Callable[..., PyTree],
    starts: Sequence[tuple[Any, ...]],
    *,
    max_paths: int = 2_000_000,
    min_probability: float = 0.0,
    most_choices: int = 4096,
) -> list[Law]:
    """Return the exact laws of what the compiled host makes of a program; see :func:`.enumeration.enumerate_law`.

    The program is lowered with its choices visible, and run once for each path. That a key is consumed twice is not
    noticed here: keys are followed by the engines that interpret the program.

    Parameters
    ----------
    function
        The program. Its random decisions are discrete.
    starts
        Tuples of arguments of one structure, shape and dtype; there is a law for each.
    max_paths, min_probability
        As of :func:`.enumeration.enumerate_law`; paths are counted for each start.
    most_choices
        Most choices on a path.

    Raises
    ------
    EnumerationError
        If the program cannot be lowered, draws from something else than choice points, or has a choice without a law.
    TooManyPathsError
        If there are more than ``max_paths`` paths.
    """
    load_rules()
    with tracing():
        closed, shape = jax.make_jaxpr(lambda *args: function(*args), return_shape=True)(*starts[0])
    try:
        program = flatten(closed)
    except CannotLower as error:
        raise EnumerationError(str(error)) from error
    _refuse_raw(program)
    paths = Paths(program, most_choices)
    tree: Any = jax.tree.structure(shape)
    kinds = [atom.dtype for atom in program.outputs]

    def outcome(results: bytes) -> PyTree:
        pairs = zip(paths.decoded(results), kinds, strict=True)
        leaves = [np.zeros(value.shape, np.uint64) if dtype == KEY else _rounded(value) for value, dtype in pairs]
        return jax.tree.unflatten(tree, leaves)

    laws = []
    for start in starts:
        leaves = [
            leaf
            if jax.numpy.issubdtype(variable.aval.dtype, jax.dtypes.prng_key)
            else np.asarray(leaf, variable.aval.dtype)
            for leaf, variable in zip(jax.tree.leaves(start), closed.jaxpr.invars, strict=True)
        ]
        totals: dict[bytes, float] = {}
        count, cut = 0, 0.0
        try:
            for results, probability in paths.walk(leaves, min_probability=min_probability):
                count += 1
                if count > max_paths:
                    raise TooManyPathsError(
                        f"there are more than max_paths={max_paths} paths; make the program smaller, or cut off what is "
                        "improbable with min_probability="
                    )
                if results is None:
                    cut += probability
                else:
                    totals[results] = totals.get(results, 0.0) + probability
        except (ValueError, RecursionError) as error:
            raise EnumerationError(f"{error}; min_probability= cuts off what is improbable") from None
        weights = np.array(list(totals.values()))
        laws.append(merged([outcome(one) for one in totals], weights, num_paths=count, truncated=cut))
    return laws


def _rounded(value: np.ndarray) -> np.ndarray:
    return np.round(value, 12) + 0.0 if value.dtype.kind == "f" else value
