"""Autoregressive laws over short token sequences, and their powers: language models small enough to enumerate."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from ergodica.samplers.inputs import static_count
from ergodica.validation.targets.target import FiniteTarget, with_data

_MOST_SEQUENCES = 2**16


def _sequence_logdensity(*arguments: Array) -> Array:
    *tables, power, x = arguments
    terms = [jnp.log(jnp.asarray(table))[tuple(x[: t + 1])] for t, table in enumerate(tables)]
    return jnp.asarray(power) * sum(terms, start=jnp.asarray(0.0))


def autoregressive(conditionals: Sequence[ArrayLike], power: float = 1.0) -> FiniteTarget:
    """Return the law of a sequence of tokens given all its conditionals, or a power of that law.

    Parameters
    ----------
    conditionals
        ``conditionals[t][x_0, ..., x_(t-1)]`` is the law of token ``t``, the last axis: shape ``(V,) * (t + 1)``.
    power
        The probability of a whole sequence is proportional to this power of its product. That is not the law with each
        conditional raised to the power: see :func:`tempered_conditionals`.

    Returns
    -------
    FiniteTarget
        States are sequences of tokens 0, ..., V - 1, in lexicographic order. With power 1 the log density is normalised.

    Raises
    ------
    ValueError
        If there are no conditionals, a shape does not fit, probabilities do not sum to one, or the power is not positive.
    """
    tables = [np.asarray(table, dtype=np.float64) for table in conditionals]
    if not tables or tables[0].ndim != 1 or tables[0].size == 0:
        raise ValueError("conditionals needs at least the law of the first token, a vector")
    vocabulary, length = tables[0].size, len(tables)
    if vocabulary**length > _MOST_SEQUENCES:
        raise ValueError(f"{vocabulary}^{length} sequences are too many to enumerate, at most {_MOST_SEQUENCES}")
    for t, table in enumerate(tables):
        if table.shape != (vocabulary,) * (t + 1):
            raise ValueError(f"conditionals[{t}] has to have shape {(vocabulary,) * (t + 1)}; got {table.shape}")
        if not np.all(table >= 0) or not np.allclose(table.sum(axis=-1), 1, atol=1e-9):
            raise ValueError(f"conditionals[{t}] has to hold probabilities that sum to one along the last axis")
    if not 0 < power < np.inf:
        raise ValueError(f"power has to be positive and finite; got {power}")
    joint = tables[0]
    for table in tables[1:]:
        joint = joint[..., None] * table
    weights = joint.reshape(-1) ** power
    states = np.stack(np.unravel_index(np.arange(joint.size), joint.shape), axis=-1)
    return FiniteTarget(
        name=f"{length} tokens of {vocabulary}" + ("" if power == 1 else f" at power {power:g}"),
        states=states,
        probabilities=weights / weights.sum(),
        logdensity=with_data(_sequence_logdensity, *tables, np.asarray(power, np.float64)),
        source="chain rule of probability; enumeration",
    )


def markov_conditionals(initial: ArrayLike, transition: ArrayLike, length: int) -> list[Float[np.ndarray, "..."]]:
    """Return the conditionals of a first-order model, for :func:`autoregressive`.

    Parameters
    ----------
    initial
        Law of the first token, shape ``(V,)``.
    transition
        Law of a token given the one before, by rows, shape ``(V, V)``.
    length
        Number of tokens.
    """
    length = static_count("length", length)
    start, moves = np.asarray(initial, dtype=np.float64), np.asarray(transition, dtype=np.float64)
    if start.ndim != 1 or moves.shape != (start.size, start.size):
        raise ValueError(
            f"initial and transition have to have shapes (V,) and (V, V); got {start.shape}, {moves.shape}"
        )
    return [start] + [np.broadcast_to(moves, (start.size,) * (t + 1)).copy() for t in range(1, length)]


def tempered_conditionals(conditionals: Sequence[ArrayLike], power: float) -> list[Float[np.ndarray, "..."]]:
    """Return every conditional raised to a power and normalised: sampling at low temperature, token by token.

    The trap that power sampling avoids: the law of the sequence is not that power of the model's.

    Parameters
    ----------
    conditionals
        See :func:`autoregressive`.
    power
        Inverse temperature, positive.
    """
    if not 0 < power < np.inf:
        raise ValueError(f"power has to be positive and finite; got {power}")
    raised = [np.asarray(table, dtype=np.float64) ** power for table in conditionals]
    return [table / table.sum(axis=-1, keepdims=True) for table in raised]


def prefix_tree(vocabulary: int = 3, length: int = 4, contrast: float = 2.0) -> list[Float[np.ndarray, "..."]]:
    """Return conditionals that depend on the whole prefix, the same on every machine, for :func:`autoregressive`.

    The log weight of token ``v`` after a prefix is ``contrast`` times the sine of a number made of the prefix and ``v``.

    Parameters
    ----------
    vocabulary, length
        Number of tokens to choose from, and of a sequence.
    contrast
        0 for uniform tokens.
    """
    vocabulary, length = static_count("vocabulary", vocabulary), static_count("length", length)
    tables = []
    for t in range(length):
        shape = (vocabulary,) * (t + 1)
        code = 1.0 + np.arange(vocabulary ** (t + 1)).reshape(shape)
        weights = np.exp(contrast * np.sin(2.3 * code + 0.7 * t * code**2 / vocabulary ** (t + 1)))
        tables.append(weights / weights.sum(axis=-1, keepdims=True))
    return tables
