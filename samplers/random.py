"""Choice points: the one door through which kernels draw random numbers.

In production every function here is ``jax.random``'s own, called with the same arguments: the same keys, the same
draws, no cost under ``jit``. One default differs: in single precision, ``categorical`` and ``bernoulli`` ask for
``mode="high"``, since the 23 bits of the default favour likely outcomes over tails below ``2**-23``. When a resolver is
installed (``validation.enumerate_law`` does so while it traces or replays a program), the discrete functions ask it for
the outcome instead, and it can walk through all of them. That is how the exact law of the code that runs is obtained.

Two rules keep a kernel enumerable. Draw through this module, never through ``jax.random`` directly; and turn a decision
of the form ``u < a`` into ``bernoulli(key, a)``, which says what is decided instead of how.
"""

import contextlib
import contextvars
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PRNGKeyArray, UInt32

Shape = Sequence[int]


class Resolver(Protocol):
    """Decides the discrete choices of a program in place of a random generator."""

    def categorical(self, key: PRNGKeyArray, probabilities: Float[Array, "*shape n"]) -> Int[Array, "*shape"]:
        """Pick an index for each row of probabilities (non-negative, not necessarily normalised)."""
        ...

    def integers(
        self, key: PRNGKeyArray, low: Int[Array, "*shape"], high: Int[Array, "*shape"]
    ) -> Int[Array, "*shape"]:
        """Pick an integer in ``[low, high)`` for each pair."""
        ...

    def ordered_sample(
        self, key: PRNGKeyArray, probabilities: Float[Array, "*shape n"], size: int
    ) -> Int[Array, "*shape size"]:
        """Pick ``size`` distinct indices for each row, in the order of successive draws without replacement."""
        ...

    def refuse(self, call: str, reason: str) -> NoReturn:
        """Raise an error that names a call with no finite law, and says why it has none."""
        ...


_resolver: contextvars.ContextVar[Resolver | None] = contextvars.ContextVar("ergodica_resolver", default=None)


@contextlib.contextmanager
def resolved_by(resolver: Resolver) -> Iterator[None]:
    """Let ``resolver`` decide every discrete choice made inside the ``with`` block."""
    token = _resolver.set(resolver)
    try:
        yield
    finally:
        _resolver.reset(token)


def current_resolver() -> Resolver | None:
    """Return what resolves choices here; ``None`` in production. For code that draws without JAX."""
    return _resolver.get()


def _kind(value: Any) -> str:
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"an array of dtype {value.dtype} and shape {tuple(value.shape)}"
    return type(value).__name__


def _check_key(name: str, key: PRNGKeyArray) -> None:
    if not (hasattr(key, "dtype") and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        raise TypeError(
            f"{name} expects a typed key as made by jax.random.key(seed); got {_kind(key)}. "
            "Wrap a legacy uint32 key with jax.random.wrap_key_data."
        )


def _mode(parameter: ArrayLike) -> str:
    dtype = jnp.result_type(parameter, 0.0)
    return "low" if jnp.finfo(dtype).bits > 32 else "high"


split = jax.random.split
fold_in = jax.random.fold_in

# --- discrete draws -------------------------------------------------------------------------------------------------


def categorical(
    key: PRNGKeyArray, logits: Float[Array, "..."], axis: int = -1, shape: Shape | None = None
) -> Int[Array, "..."]:
    """Draw from categorical laws given by unnormalised log probabilities.

    Parameters
    ----------
    key
        Typed key.
    logits
        Unnormalised log probabilities along ``axis``; ``-inf`` marks an impossible outcome.
    axis
        The axis of the outcomes.
    shape
        Shape of the result; has to be broadcast-compatible with ``logits`` without ``axis``. Default: that shape.

    Returns
    -------
    integer array
        Indices into ``axis``.
    """
    _check_key("categorical", key)
    resolver = _resolver.get()
    if resolver is None:
        shape = None if shape is None else tuple(shape)
        return jax.random.categorical(key, logits, axis=axis, shape=shape, mode=_mode(logits))
    rows = jnp.moveaxis(jnp.asarray(logits), axis, -1)
    rows = jax.nn.softmax(rows, axis=-1)
    if shape is not None:
        rows = jnp.broadcast_to(rows, (*shape, rows.shape[-1]))
    return resolver.categorical(key, rows)


def bernoulli(key: PRNGKeyArray, p: ArrayLike = 0.5, shape: Shape | None = None) -> Bool[Array, "..."]:
    """Draw booleans that are true with probability ``p``; values outside [0, 1] count as the nearer end.

    Parameters
    ----------
    key
        Typed key.
    p
        Probability of ``True``; an acceptance ratio above one is accepted surely, NaN never is.
    shape
        Shape of the result. Default: the shape of ``p``.
    """
    _check_key("bernoulli", key)
    resolver = _resolver.get()
    if resolver is None:
        return jax.random.bernoulli(key, p, None if shape is None else tuple(shape), mode=_mode(p))
    true = jnp.asarray(p) * 1.0
    true = jnp.clip(jnp.nan_to_num(true, nan=0.0), 0.0, 1.0)
    if shape is not None:
        true = jnp.broadcast_to(true, tuple(shape))
    return resolver.categorical(key, jnp.stack([1 - true, true], axis=-1)).astype(jnp.bool_)


def randint(
    key: PRNGKeyArray, shape: Shape, minval: ArrayLike, maxval: ArrayLike, dtype: Any = int
) -> Int[Array, "..."]:
    """Draw integers uniformly from ``[minval, maxval)``."""
    _check_key("randint", key)
    resolver = _resolver.get()
    if resolver is None:
        return jax.random.randint(key, tuple(shape), minval, maxval, dtype)
    dtype = jax.dtypes.canonicalize_dtype(dtype)
    low = jnp.broadcast_to(jnp.asarray(minval, dtype), tuple(shape))
    high = jnp.broadcast_to(jnp.asarray(maxval, dtype), tuple(shape))
    return resolver.integers(key, low, high).astype(dtype)


def permutation(key: PRNGKeyArray, x: int | Array, axis: int = 0) -> Array:
    """Draw a uniform permutation of ``arange(x)``, or of the entries of an array along an axis."""
    _check_key("permutation", key)
    resolver = _resolver.get()
    if resolver is None:
        return jax.random.permutation(key, x, axis=axis)
    values = jnp.arange(x) if isinstance(x, int) else jnp.asarray(x)
    count = values.shape[axis]
    order = resolver.ordered_sample(key, jnp.full((count,), 1.0 / max(count, 1)), count)
    return jnp.take(values, order, axis=axis)


def choice(
    key: PRNGKeyArray,
    a: int | Array,
    shape: Shape = (),
    replace: bool = True,
    p: Float[Array, " n"] | None = None,
    axis: int = 0,
) -> Array:
    """Draw from ``arange(a)``, or from the entries of an array along an axis.

    Parameters
    ----------
    key
        Typed key.
    a
        Number of entries, or the entries.
    shape
        Shape of the draws; they replace the dimension ``axis``.
    replace
        With replacement, or successively without (with ``p``: the Plackett-Luce law).
    p
        Probabilities of the entries, summing to one. Default: uniform.
    axis
        The axis of the entries.
    """
    _check_key("choice", key)
    resolver = _resolver.get()
    if resolver is None:
        return jax.random.choice(key, a, tuple(shape), replace, p, axis)
    values = jnp.arange(a) if isinstance(a, int) else jnp.asarray(a)
    count = values.shape[axis]
    law = jnp.full((count,), 1.0 / count) if p is None else jnp.asarray(p)
    size = 1
    for length in shape:
        size *= length
    if replace:
        index = resolver.categorical(key, jnp.broadcast_to(law, (*shape, count)))
    else:
        if size > count:
            raise ValueError(f"cannot draw {size} entries without replacement from {count}")
        index = resolver.ordered_sample(key, law, size).reshape(tuple(shape))
    return jnp.take(values, index, axis=axis)


def rademacher(key: PRNGKeyArray, shape: Shape = (), dtype: Any = int) -> Array:
    """Draw signs: -1 or 1 with probability 1/2 each."""
    return (2 * bernoulli(key, 0.5, shape).astype(jnp.int32) - 1).astype(dtype)


# --- continuous draws: jax.random's, refused under enumeration ------------------------------------------------------


def _refuse_if_resolved(name: str, reason: str = "a continuous draw has infinitely many outcomes") -> None:
    resolver = _resolver.get()
    if resolver is not None:
        resolver.refuse(f"random.{name}", reason)


def uniform(
    key: PRNGKeyArray, shape: Shape = (), dtype: Any = float, minval: ArrayLike = 0.0, maxval: ArrayLike = 1.0
) -> Float[Array, "..."]:
    """Draw uniformly from ``[minval, maxval)``; see :func:`jax.random.uniform`."""
    _refuse_if_resolved("uniform")
    _check_key("uniform", key)
    return jax.random.uniform(key, tuple(shape), dtype, minval, maxval)


def normal(key: PRNGKeyArray, shape: Shape = (), dtype: Any = float) -> Float[Array, "..."]:
    """Draw from the standard normal law; see :func:`jax.random.normal`."""
    _refuse_if_resolved("normal")
    _check_key("normal", key)
    return jax.random.normal(key, tuple(shape), dtype)


def exponential(key: PRNGKeyArray, shape: Shape = (), dtype: Any = float) -> Float[Array, "..."]:
    """Draw from the exponential law with mean one; see :func:`jax.random.exponential`."""
    _refuse_if_resolved("exponential")
    _check_key("exponential", key)
    return jax.random.exponential(key, tuple(shape), dtype)


def gamma(key: PRNGKeyArray, a: ArrayLike, shape: Shape | None = None, dtype: Any = float) -> Float[Array, "..."]:
    """Draw from the gamma law with shape ``a`` and rate one; see :func:`jax.random.gamma`."""
    _refuse_if_resolved("gamma")
    _check_key("gamma", key)
    return jax.random.gamma(key, a, None if shape is None else tuple(shape), dtype)


def beta(
    key: PRNGKeyArray, a: ArrayLike, b: ArrayLike, shape: Shape | None = None, dtype: Any = float
) -> Float[Array, "..."]:
    """Draw from the beta law; see :func:`jax.random.beta`."""
    _refuse_if_resolved("beta")
    _check_key("beta", key)
    return jax.random.beta(key, a, b, None if shape is None else tuple(shape), dtype)


def gumbel(key: PRNGKeyArray, shape: Shape = (), dtype: Any = float) -> Float[Array, "..."]:
    """Draw from the standard Gumbel law; see :func:`jax.random.gumbel`."""
    _refuse_if_resolved("gumbel")
    _check_key("gumbel", key)
    return jax.random.gumbel(key, tuple(shape), dtype)


def laplace(key: PRNGKeyArray, shape: Shape = (), dtype: Any = float) -> Float[Array, "..."]:
    """Draw from the Laplace law with scale one; see :func:`jax.random.laplace`."""
    _refuse_if_resolved("laplace")
    _check_key("laplace", key)
    return jax.random.laplace(key, tuple(shape), dtype)


def student_t(key: PRNGKeyArray, df: ArrayLike, shape: Shape = (), dtype: Any = float) -> Float[Array, "..."]:
    """Draw from Student's t law with ``df`` degrees of freedom; see :func:`jax.random.t`."""
    _refuse_if_resolved("student_t")
    _check_key("student_t", key)
    return jax.random.t(key, df, tuple(shape), dtype)


def key_words(key: PRNGKeyArray) -> UInt32[Array, " words"]:
    """Return the words of a typed key, the seed of a compiled core.

    Raises
    ------
    TypeError
        If the key is not typed.
    Exception
        While a law is being enumerated: draws inside a compiled core are invisible there.
    """
    _refuse_if_resolved("key_words", "it seeds a compiled core, whose draws are invisible; enumerate its reference()")
    _check_key("key_words", key)
    return jax.random.key_data(key)
