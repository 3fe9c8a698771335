"""Fingerprints of kernels: whether a run on disk belongs to the kernel in hand.

Three digests tell what has changed: the program of a step (the code of the kernel and of the density, as JAX traces
them), the constants that the program holds (data that a density closes over), and the kernel's leaves (its parameters
and the data that it carries).
"""

import hashlib
import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr
from jaxtyping import PRNGKeyArray

from ergodica.samplers.chunks import one_step

__all__ = ["MEANING", "fingerprint"]

MEANING = {
    "program": "the code of the kernel or of its log density",
    "constants": "data that the log density closes over",
    "leaves": "the kernel's parameters or data",
}

_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")


def fingerprint(kernel: Any, key: PRNGKeyArray, state: Any) -> dict[str, str]:
    """Return digests of a kernel's program, constants and leaves.

    Parameters
    ----------
    kernel
        With its target.
    key
        Any key; only its kind counts.
    state
        Any state of one chain; only structure, shapes and dtypes count.

    Returns
    -------
    dict
        Digests by the names of :data:`MEANING`, equal in every process that has the same versions of the packages.
    """
    program = jax.make_jaxpr(lambda *given: one_step(*given))(kernel, key, state)
    constants = hashlib.sha256()
    for value in _constants(program):
        _add(constants, value)
    leaves = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(kernel):
        leaves.update(jax.tree_util.keystr(path).encode())
        _add(leaves, leaf)
    text = _ADDRESS.sub("", str(program))
    return {
        "program": hashlib.sha256(text.encode()).hexdigest(),
        "constants": constants.hexdigest(),
        "leaves": leaves.hexdigest(),
    }


def _add(digest: Any, value: Any) -> None:
    if jnp.issubdtype(jnp.result_type(value), jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    array = np.asarray(value)
    digest.update(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).tobytes())


def _constants(program: Any) -> Iterator[Any]:
    """Yield the constants of a program and of the programs inside it, in order."""
    if isinstance(program, ClosedJaxpr | Jaxpr):  # from JAX 0.12 on, one class
        yield from getattr(program, "consts", ())
        for equation in program.eqns:
            for name in sorted(equation.params):
                yield from _constants(equation.params[name])
    elif isinstance(program, tuple | list):
        for part in program:
            yield from _constants(part)
