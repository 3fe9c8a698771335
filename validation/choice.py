"""Choice points as a JAX primitive, so that they are visible in a traced program.

While a program is traced under :class:`TracingResolver`, each discrete draw leaves one ``choice`` equation that names
its key and its law, and no random bits. Production traces contain none of this.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend.core import Primitive
from jax.interpreters import batching
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ergodica.samplers.random import resolved_by


class EnumerationError(Exception):
    """A program whose law cannot be enumerated, with the reason."""


choice_p = Primitive("choice")
"""Operands: keys of shape ``lanes``, then the arguments of the law, each of shape ``lanes + event + tail``."""

TAIL = {"categorical": 1, "integers": 0, "ordered_sample": 1}
"""How many trailing axes of an argument belong to one choice."""


def _output(kind: str, argument: Any, size: int, dtype: Any) -> tuple[tuple[int, ...], Any]:
    if kind == "categorical":
        return argument.shape[:-1], dtype
    if kind == "integers":
        return argument.shape, dtype
    return (*argument.shape[:-1], size), dtype


def _abstract(keys: Any, *arguments: Any, kind: str, size: int, dtype: Any) -> Any:
    del keys
    return jax.core.ShapedArray(*_output(kind, arguments[0], size, dtype))


def _batch(operands: Any, axes: Any, *, kind: str, size: int, dtype: Any) -> Any:
    length = next(op.shape[axis] for op, axis in zip(operands, axes, strict=True) if isinstance(axis, int))
    # A key that is shared by the lanes is broadcast, so that each lane consumes the same key: the walk reports it.
    moved = [
        jnp.moveaxis(op, axis, 0) if isinstance(axis, int) else jnp.broadcast_to(op, (length, *op.shape))
        for op, axis in zip(operands, axes, strict=True)
    ]
    return choice_p.bind(*moved, kind=kind, size=size, dtype=dtype), 0


def _refuse(*operands: Any, **params: Any) -> NoReturn:
    del operands, params
    raise EnumerationError("a choice point was evaluated outside the walk over its outcomes")


choice_p.def_abstract_eval(_abstract)
choice_p.def_impl(_refuse)
batching.primitive_batchers[choice_p] = _batch


class TracingResolver:
    """Turns discrete draws into ``choice`` equations of the program that is being traced."""

    def categorical(self, key: PRNGKeyArray, probabilities: Float[Array, "*shape n"]) -> Int[Array, "*shape"]:
        """Record a categorical choice."""
        return self._record("categorical", key, probabilities)

    def integers(
        self, key: PRNGKeyArray, low: Int[Array, "*shape"], high: Int[Array, "*shape"]
    ) -> Int[Array, "*shape"]:
        """Record a uniform integer."""
        return self._record("integers", key, low, high)

    def ordered_sample(
        self, key: PRNGKeyArray, probabilities: Float[Array, "*shape n"], size: int
    ) -> Int[Array, "*shape size"]:
        """Record successive draws without replacement."""
        return self._record("ordered_sample", key, probabilities, size=size)

    def refuse(self, call: str, reason: str) -> NoReturn:
        """Refuse a call that has no finite law."""
        raise EnumerationError(
            f"{call} was called while a law was being enumerated: {reason}. Enumerate a finite version of the kernel, or "
            "write the decision as random.bernoulli or random.categorical. The traceback shows the call."
        )

    def _record(self, kind: str, key: PRNGKeyArray, *arguments: Array, size: int = 0) -> Array:
        dtype = jax.dtypes.canonicalize_dtype(int)
        out: Array = choice_p.bind(key, *arguments, kind=kind, size=size, dtype=dtype)
        return out


@contextlib.contextmanager
def tracing() -> Iterator[None]:
    """Trace with choice points visible, apart from the caches of production traces."""
    # Metadata is part of the key of JAX's trace caches, so that no trace made in production is found here, or the
    # other way round.
    with resolved_by(TracingResolver()), set_xla_metadata(ergodica_choice_points="visible"):
        yield
