"""Which host runs a kernel: XLA, or the compiled loop."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
from jaxtyping import PRNGKeyArray

from ergodica.samplers.chunks import one_step, strong
from ergodica.samplers.kernel import Kernel
from ergodica.samplers.lowering.errors import CannotLower
from ergodica.samplers.lowering.program import Constant, Program, trace
from ergodica.samplers.lowering.rules import load_rules

__all__ = ["HostChoice", "choose_host"]

LARGEST = 2**15
"""Entries of an array from which on XLA's vectorised loops catch up: a product of a 1000 x 25 matrix is a draw."""


class HostChoice(NamedTuple):
    """A host, and why.

    Parameters
    ----------
    host
        ``"jax"`` or ``"numba"``.
    reason
        In words.
    """

    host: str
    reason: str


def choose_host(kernel: Kernel[Any, Any], state: Any, key: PRNGKeyArray) -> HostChoice:
    """Return the host on which a kernel's steps are likely to be faster.

    Parameters
    ----------
    kernel
        With its target.
    state
        An example state of one chain.
    key
        The key of the run; its generator counts.

    Returns
    -------
    HostChoice
        The compiled loop, if JAX runs on a processor, the step can be compiled, and none of its arrays is large.
    """
    backend = jax.default_backend()
    if backend != "cpu":
        return HostChoice("jax", f"JAX runs on {backend}, the compiled loop on the processor only")
    load_rules()
    try:
        program, _ = trace(lambda *given: one_step(*given), jax.tree.map(strong, kernel), key, state)
    except CannotLower as error:
        return HostChoice("jax", " ".join(str(error).split()))
    size = max(_sizes(program), default=1)
    if size > LARGEST:
        return HostChoice("jax", f"a step works on an array of {size} entries, which XLA does as fast")
    return HostChoice(
        "numba", f"no array of a step has more than {size} entries, so that XLA's dispatch would dominate"
    )


def _sizes(program: Program) -> Iterator[int]:
    """Yield the sizes of the arrays of a program and of the programs inside it."""
    for variable in program.inputs:
        yield variable.size
    for equation in program.equations:
        for atom in equation.inputs:
            if isinstance(atom, Constant):
                yield atom.size
        for variable in equation.outputs:
            yield math.prod(variable.shape)
        for value in equation.params.values():
            for inner in value if isinstance(value, list) else [value]:
                if isinstance(inner, Program):
                    yield from _sizes(inner)
