"""The exact law of the code that runs, obtained by walking over all its random choices."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from ergodica.samplers.kernel import Kernel
from ergodica.validation.choice import EnumerationError, tracing
from ergodica.validation.law import Law, merged, outcome_key
from ergodica.validation.replay import replay_law
from ergodica.validation.walk import Walk, is_key, name_of_key

__all__ = ["EnumerationError", "enumerate_law", "transition_law", "transition_matrix"]

_NEEDS_VALUES = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerBoolConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
)


def _as_value(leaf: Any) -> np.ndarray:
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return name_of_key(np.asarray(jax.random.key_data(leaf)))
    return np.asarray(leaf)


def _walk(
    function: Callable[..., PyTree],
    shared: tuple[Any, ...],
    varied: PyTree,
    *,
    max_paths: int,
    min_probability: float,
    max_iterations: int,
) -> tuple[Walk, list[np.ndarray], Any]:
    """Trace ``function(*shared, row)`` and walk over its outcomes from every row of ``varied`` at once."""
    rows = jax.tree.leaves(varied)[0].shape[0] if jax.tree.leaves(varied) else 1
    first = jax.tree.map(lambda leaf: leaf[0], varied)
    with tracing():
        closed, shape = jax.make_jaxpr(lambda *args: function(*args), return_shape=True)(*shared, first)
    arguments = [_as_value(leaf)[None] for leaf in jax.tree.leaves(shared)]
    arguments += [_as_value(leaf) for leaf in jax.tree.leaves(varied)]
    # Python scalars become arrays of the dtypes that the trace gave them.
    arguments = [
        value if is_key(variable.aval) else value.astype(variable.aval.dtype, copy=False)
        for value, variable in zip(arguments, closed.jaxpr.invars, strict=True)
    ]
    walk = Walk(rows, max_paths=max_paths, min_probability=min_probability, max_iterations=max_iterations)
    outputs, _ = walk.evaluate(closed.jaxpr, [_as_value(const)[None] for const in closed.consts], arguments)
    outputs = [
        np.zeros((1, *value.shape[1:]), np.uint64) if is_key(variable.aval) else value
        for value, variable in zip(outputs, closed.jaxpr.outvars, strict=True)
    ]
    outputs = [np.broadcast_to(value, (walk.rows, *value.shape[1:])) for value in outputs]
    return walk, outputs, jax.tree.structure(shape)


def _merge_rows(walk: Walk, outputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Merge paths with equal start and outputs: index of a representative, start, and total probability of each."""
    columns = [walk.origin.astype(np.int64).view(np.uint8).reshape(walk.rows, -1)]
    for value in outputs:
        if np.issubdtype(value.dtype, np.floating):
            value = np.round(value.astype(np.float64), 12) + 0.0
        flat = np.ascontiguousarray(value.reshape(walk.rows, -1))
        columns.append(flat.view(np.uint8).reshape(walk.rows, -1) if flat.shape[1] else flat.astype(np.uint8))
    table = np.ascontiguousarray(np.concatenate(columns, axis=1))
    entries = table.view(np.dtype((np.void, table.shape[1]))).reshape(-1)
    _, representative, inverse = np.unique(entries, return_index=True, return_inverse=True)
    totals = np.bincount(inverse, weights=walk.probability, minlength=len(representative))
    return representative, walk.origin[representative], totals


def enumerate_law(
    function: Callable[..., PyTree],
    *arguments: Any,
    max_paths: int = 2_000_000,
    min_probability: float = 0.0,
    max_iterations: int = 10_000,
    engine: Literal["auto", "trace", "replay"] = "auto",
    host: Literal["jax", "numba"] = "jax",
) -> Law:
    """Return the exact law of what a program returns.

    Every discrete draw that ``function`` makes through ``ergodica.samplers.random`` is followed into all its outcomes,
    through ``jit``, ``vmap``, ``while_loop``, ``scan`` and ``cond``; the probabilities along a path multiply, and paths
    with equal results merge.

    Parameters
    ----------
    function
        The program. Its random decisions are discrete.
    *arguments
        Its arguments. Typed keys are followed symbolically; which key it is does not matter.
    max_paths
        Most paths to follow (at a time, with the tracing engine).
    min_probability
        Paths less probable than this are cut off; the mass that is lost is reported as ``Law.truncated``. Use it for
        loops without a bound, such as rejection.
    max_iterations
        Most iterations of one ``while`` loop.
    engine
        ``"trace"`` evaluates the traced program on all paths at once (millions of paths a minute); ``"replay"`` runs it
        in Python once for each path (for programs that cannot be traced); ``"auto"`` traces if it can.
    host
        ``"numba"``: the law is that of the machine code that the compiled host makes of the program, which is run once for
        each path. ``engine`` and ``max_iterations`` mean nothing then.

    Returns
    -------
    Law

    Raises
    ------
    EnumerationError
        If the program makes a continuous draw, calls ``jax.random`` directly, reads a key's words, consumes a key
        twice, or loops for ever; the message names the call.
    TooManyPathsError
        If there are more than ``max_paths`` paths.

    Examples
    --------
    >>> import jax
    >>> from ergodica.samplers import random
    >>> from ergodica import enumerate_law
    >>> def two_coins(key):
    ...     first, second = random.split(key)
    ...     return random.bernoulli(first).astype(int) + random.bernoulli(second)
    >>> print(enumerate_law(two_coins, jax.random.key(0)).vector(3))
    [0.25 0.5  0.25]
    """
    if host == "numba":
        from ergodica.validation.compiled_walk import compiled_laws

        return _checked(compiled_laws(function, [arguments], max_paths=max_paths, min_probability=min_probability)[0])
    if engine != "replay":
        try:
            walk, outputs, treedef = _walk(
                lambda *args: function(*args[:-1]),
                arguments,
                (),
                max_paths=max_paths,
                min_probability=min_probability,
                max_iterations=max_iterations,
            )
        except _NEEDS_VALUES:
            if engine == "trace":
                raise
        else:
            representative, _, totals = _merge_rows(walk, outputs)
            support = tuple(jax.tree.unflatten(treedef, [value[row] for value in outputs]) for row in representative)
            return _checked(Law(support, totals, walk.rows, float(walk.truncated.sum())))
    if min_probability > 0:
        raise ValueError("min_probability needs the tracing engine; this program can only be replayed")
    return _checked(replay_law(function, *arguments, max_paths=max_paths))


def _checked(law: Law) -> Law:
    total = float(law.probabilities.sum()) + law.truncated
    if abs(total - 1) > max(1e-12, 1e-15 * law.num_paths):
        raise EnumerationError(f"the probabilities of all paths sum to {total!r}, not to one")
    return law


def transition_law(kernel: Kernel[Any, Any], state: PyTree, **limits: Any) -> Law:
    """Return the law of the state after one step from ``state``.

    Parameters
    ----------
    kernel
        A kernel whose choices are discrete, or that offers a ``reference()`` written with choice points.
    state
        A state of the kernel.
    **limits
        Passed to :func:`enumerate_law`.
    """
    reference = _reference(kernel)
    return enumerate_law(lambda key, at: reference.step(key, at)[0], jax.random.key(0), state, **limits)


def _reference(kernel: Kernel[Any, Any]) -> Kernel[Any, Any]:
    make: Callable[[], Kernel[Any, Any]] | None = getattr(kernel, "reference", None)
    return kernel if make is None else make()


def transition_matrix(
    kernel: Kernel[Any, Any],
    states: PyTree,
    *,
    max_paths: int = 2_000_000,
    max_iterations: int = 10_000,
    host: Literal["jax", "numba"] = "jax",
) -> np.ndarray:
    """Return the transition matrix of a kernel on a finite space, from the law of the code that runs.

    Parameters
    ----------
    kernel
        A kernel whose choices are discrete; a kernel with a compiled core is replaced by its ``reference()``.
    states
        All positions of the space, stacked on a leading axis; or all states, as a stacked named tuple, for kernels
        whose state is more than a position. All rows are enumerated in one walk.
    max_paths, max_iterations
        As in :func:`enumerate_law`, for all rows together; on the compiled host for each row.
    host
        As in :func:`enumerate_law`.

    Returns
    -------
    array of shape (n, n)
        Row ``i`` is the law of the next position, or state, from number ``i``.

    Raises
    ------
    EnumerationError
        As in :func:`enumerate_law`; also if a step leads outside ``states``, which it names.
    """
    reference = _reference(kernel)
    states = jax.tree.map(jnp.asarray, states)
    whole = hasattr(states, "position")

    def step(key: Any, at: PyTree) -> PyTree:
        if whole:
            return reference.step(key, at)[0]
        start = reference.init(at, key=random_start_key(key))
        return reference.step(key, start)[0].position

    count = jax.tree.leaves(states)[0].shape[0]
    if host == "numba":
        from ergodica.validation.compiled_walk import compiled_laws

        starts = [(jax.random.key(0), jax.tree.map(lambda leaf, row=row: leaf[row], states)) for row in range(count)]
        laws = compiled_laws(step, starts, max_paths=max_paths)
        moves = [
            (origin, outcome, probability)
            for origin, law in enumerate(laws)
            for outcome, probability in zip(law.support, law.probabilities, strict=True)
        ]
    else:
        walk, outputs, treedef = _walk(
            step,
            (jax.random.key(0),),
            states,
            max_paths=max_paths,
            min_probability=0.0,
            max_iterations=max_iterations,
        )
        representative, origins, totals = _merge_rows(walk, outputs)
        moves = [
            (origin, jax.tree.unflatten(treedef, [value[row] for value in outputs]), probability)
            for row, origin, probability in zip(representative, origins, totals, strict=True)
        ]
    number = {
        outcome_key(jax.tree.map(lambda leaf, row=row: np.asarray(leaf[row]), states)): row for row in range(count)
    }
    matrix = np.zeros((count, count))
    for origin, outcome, probability in moves:
        target = number.get(outcome_key(outcome))
        if target is None:
            start = jax.tree.map(lambda leaf, at=origin: np.asarray(leaf[at]).tolist(), states)
            raise EnumerationError(
                f"a step from state {start} leads to {jax.tree.map(lambda leaf: leaf.tolist(), outcome)}, "
                "which is not among the given states"
            )
        matrix[origin, target] += probability
    return matrix


def random_start_key(key: Any) -> Any:
    """Return the key that ``init`` gets during enumeration, apart from the key of the step."""
    return jax.random.fold_in(key, 2**31 - 1)


def law_of_rows(matrix: np.ndarray, index: int) -> Law:
    """Return a row of a transition matrix as a law over state numbers."""
    outcomes = [np.asarray(column) for column in range(matrix.shape[1])]
    keep = matrix[index] > 0
    return merged(
        [outcome for outcome, flag in zip(outcomes, keep, strict=True) if flag],
        matrix[index][keep],
        num_paths=int(keep.sum()),
    )
