"""L-lag couplings: bounds of the distance from the target after ``t`` steps, from the times at which chains meet.

Two chains run one ``L`` steps ahead of the other, ``X_{t + 1}`` and ``Y_{t - L + 1}`` are drawn jointly, and each has
the law of the chain. With ``tau = inf{t >= L : X_t = Y_{t - L}}``, the law of ``X_t`` is at most
``E max(0, ceil((tau - L - t) / L))`` from the target in total variation. The larger ``L``, the sharper the bound. The
coupling has to be faithful: chains that have met stay together.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from numpy.typing import ArrayLike

from ergodica.samplers import random
from ergodica.samplers.inputs import static_count
from ergodica.validation.convergence.maximal_coupling import coupled_matrix
from ergodica.validation.quality.generator import generator_of

Initial = Callable[[PRNGKeyArray], Any]
"""``key -> state``: the start of a chain, at random or not."""
Step = Callable[[PRNGKeyArray, Any], Any]
"""``(key, state) -> state``: one step of the chain."""
CoupledStep = Callable[[PRNGKeyArray, Any, Any], tuple[Any, Any]]
"""``(key, x, y) -> (x', y')``: one joint step; each alone has the law of ``Step``."""


def _equal(x: Any, y: Any) -> Bool[Array, ""]:
    leaves = jax.tree.map(lambda a, b: jnp.all(a == b), x, y)
    return jnp.all(jnp.stack(jax.tree.leaves(leaves)))


@dataclasses.dataclass(frozen=True)
class LagCoupledRuns:
    """Independent pairs of coupled chains.

    Parameters
    ----------
    meeting_times
        ``tau`` of each pair, shape ``(R,)``, at least ``lag``; where the pair has not met, the cap.
    met
        Whether it has met, shape ``(R,)``.
    lag
        ``L``.
    estimates
        Unbiased estimates of the target's mean, shape ``(R, ...)``, NaN where the pair has not met; ``None`` if there
        was no function.
    """

    meeting_times: Int[np.ndarray, " R"]
    met: Bool[np.ndarray, " R"]
    lag: int
    estimates: Float[np.ndarray, "R ..."] | None


def lag_coupled_runs(
    initial: Initial,
    step: Step,
    coupled_step: CoupledStep,
    *,
    key: PRNGKeyArray,
    lag: int,
    replicates: int = 500,
    max_steps: int = 100_000,
    function: Callable[[Any], Array] | None = None,
    burn_in: int = 0,
    length: int = 1,
) -> LagCoupledRuns:
    """Run pairs of coupled chains until they meet.

    Parameters
    ----------
    initial, step, coupled_step
        Traceable functions; see :data:`Initial`, :data:`Step`, :data:`CoupledStep`. After meeting, the coupled step has
        to keep the chains equal.
    key
        Typed key.
    lag
        ``L``, at least 1.
    replicates
        Number of independent pairs; 500 or more for a bound.
    max_steps
        Cap on the steps of the first chain. Pairs that have not met by then are kept, and flagged: to drop them would
        bias every result.
    function
        ``state -> array`` whose mean under the target is wanted; each pair gives one unbiased estimate.
    burn_in, length
        The estimate averages over the steps ``burn_in, ..., burn_in + length - 1`` before it is corrected.

    Raises
    ------
    TypeError, ValueError
        If a count is out of range, or a coupled step changes the structure of the state.

    References
    ----------
    Niloy Biswas, Pierre Jacob and Paul Vanetti (2019), Estimating convergence of Markov chains with L-lag couplings,
    arXiv:1905.09971; Pierre Jacob, John O'Leary and Yves Atchadé (2020), JRSS B 82, arXiv:1708.03625.
    """
    static_count("lag", lag)
    static_count("replicates", replicates)
    static_count("burn_in", burn_in, at_least=0)
    static_count("length", length)
    last = burn_in + length - 1
    static_count("max_steps", max_steps, at_least=max(lag, last) + 1)
    generator_of(key)  # refuses what is no typed key
    spec = jax.eval_shape(initial, key)
    paired = jax.eval_shape(coupled_step, key, spec, spec)
    if not (isinstance(paired, tuple) and len(paired) == 2 and all(_same(spec, one) for one in paired)):
        raise TypeError(f"coupled_step has to return a pair of states like {spec}; got {paired}")
    if not _same(spec, jax.eval_shape(step, key, spec)):
        raise TypeError(f"step has to return a state like {spec}; got {jax.eval_shape(step, key, spec)}")

    def measure(x: Any) -> Array:
        return jnp.zeros(()) if function is None else jnp.asarray(function(x), float)

    # Without a function there is nothing to average, and a pair that has met is done.
    needed = lag if function is None else max(lag, last)

    def one(key: PRNGKeyArray) -> tuple[Array, Array, Array]:
        x_key, y_key, step_key = random.split(key, 3)
        x, y = initial(x_key), initial(y_key)

        def averaged(t: Array, x: Any) -> Array:
            return jnp.where((t >= burn_in) & (t <= last), measure(x), 0.0)

        def ahead(t: Array, carry: tuple[Any, Array]) -> tuple[Any, Array]:
            x, total = carry
            total = total + averaged(t, x)
            return step(random.fold_in(step_key, t), x), total

        x, total = jax.lax.fori_loop(0, lag, ahead, (x, jnp.zeros_like(measure(x))))

        def record(t: Array, x: Any, y: Any, met: Array, total: Array) -> Array:
            # How often the term of time t occurs in the estimates with burn-ins k, ..., m that are averaged.
            times = (t - burn_in) // lag - (jnp.maximum(lag, t - last) + lag - 1) // lag + 1
            correction = jnp.where((t >= burn_in + lag) & ~met, times * (measure(x) - measure(y)), 0.0)
            return total + averaged(t, x) + correction

        def unfinished(carry: tuple[Any, ...]) -> Array:
            return carry[-1]

        def advance(carry: tuple[Any, ...]) -> tuple[Any, ...]:
            t, x, y, tau, total, _ = carry
            x, y = coupled_step(random.fold_in(step_key, t), x, y)
            t = t + 1
            together = _equal(x, y)
            tau = jnp.where((tau < 0) & together, t, tau)
            total = record(t, x, y, together, total)
            return t, x, y, tau, total, ((tau < 0) | (t < needed)) & (t < max_steps)

        t = jnp.asarray(lag)
        together = _equal(x, y)
        tau = jnp.where(together, t, -1)
        total = record(t, x, y, together, total)
        start = (t, x, y, tau, total, ((tau < 0) | (t < needed)) & (t < max_steps))
        *_, tau, total, _ = jax.lax.while_loop(unfinished, advance, start)
        met = tau >= 0
        return jnp.where(met, tau, max_steps), met, jnp.where(met, total / length, jnp.nan)

    times, met, estimates = jax.jit(jax.vmap(one))(random.split(key, replicates))
    return LagCoupledRuns(
        np.asarray(times), np.asarray(met), lag, None if function is None else np.asarray(estimates, np.float64)
    )


def _same(first: Any, second: Any) -> bool:
    def shapes(tree: Any) -> list[tuple[tuple[int, ...], Any]]:
        return [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]

    structures: list[Any] = [jax.tree.structure(first), jax.tree.structure(second)]
    return bool(structures[0] == structures[1]) and shapes(first) == shapes(second)


@dataclasses.dataclass(frozen=True)
class TotalVariationBound:
    """An estimated upper bound of the distance from the target.

    Parameters
    ----------
    steps
        Numbers of steps ``t``, shape ``(T,)``.
    value
        The bound at each, shape ``(T,)``; may exceed 1, and is ``inf`` everywhere if a pair has not met.
    standard_error
        Of the value, over independent pairs; NaN where the value is infinite, or for one pair.
    unmet
        Number of pairs that have not met.
    method
        What was computed, in words.
    """

    steps: Int[np.ndarray, " T"]
    value: Float[np.ndarray, " T"]
    standard_error: Float[np.ndarray, " T"]
    unmet: int
    method: str


def _step_numbers(steps: ArrayLike) -> Int[np.ndarray, " T"]:
    t = np.atleast_1d(np.asarray(steps))
    if t.ndim != 1 or t.dtype.kind not in "iu" or np.any(t < 0):
        raise ValueError(f"steps has to hold integers, not negative; got {steps!r}")
    return t.astype(np.int64)


def total_variation_bound(
    meeting_times: ArrayLike, steps: ArrayLike, *, lag: int, met: ArrayLike | None = None
) -> TotalVariationBound:
    """Estimate a bound of the total variation between the law after ``t`` steps and the target.

    It bounds the mean, up to its standard error; rare late meetings may not have been seen.

    Parameters
    ----------
    meeting_times
        ``tau`` of independent pairs, shape ``(R,)``, each at least ``lag``.
    steps
        Numbers of steps ``t``.
    lag
        ``L``.
    met
        Which pairs have met, shape ``(R,)``; default: all. One that has not makes the bound infinite.

    Raises
    ------
    TypeError, ValueError
        If there is no pair, a meeting time is below the lag, or a number is out of range.

    References
    ----------
    Niloy Biswas, Pierre Jacob and Paul Vanetti (2019), Estimating convergence of Markov chains with L-lag couplings,
    arXiv:1905.09971.
    """
    static_count("lag", lag)
    tau = np.asarray(meeting_times)
    if tau.ndim != 1 or tau.size == 0 or tau.dtype.kind not in "iu":
        raise ValueError(
            f"meeting_times has to be a non-empty vector of integers; got shape {tau.shape} and dtype {tau.dtype!s}"
        )
    if tau.min() < lag:
        raise ValueError(f"a meeting time is at least the lag, {lag}; got {tau.min()}. Pass tau, not tau - lag.")
    seen = np.ones(tau.size, bool) if met is None else np.asarray(met, bool)
    if seen.shape != tau.shape:
        raise ValueError(f"met has to have shape {tau.shape}; got {seen.shape}")
    t = _step_numbers(steps)
    method = f"{lag}-lag coupling, {tau.size} pairs"
    if not seen.all():
        return TotalVariationBound(t, np.full(t.shape, np.inf), np.full(t.shape, np.nan), int(np.sum(~seen)), method)
    excess = tau.astype(np.int64)[None, :] - lag - t[:, None]
    terms = np.maximum(0, -(-excess // lag)).astype(np.float64)
    error = terms.std(axis=1, ddof=1) / np.sqrt(tau.size) if tau.size > 1 else np.full(t.shape, np.nan)
    return TotalVariationBound(t, terms.mean(axis=1), error, 0, method)


def _pairs(
    P: ArrayLike, start: ArrayLike, lag: int
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, "N N"], Float[np.ndarray, "n n"], Float[np.ndarray, " n"]]:
    """Return the law of ``(X_L, Y_0)`` off the diagonal, the coupled chain there, the matrix, and the start."""
    static_count("lag", lag)
    matrix = np.asarray(P, np.float64)
    coupled = coupled_matrix(matrix)
    n = len(matrix)
    law = np.asarray(start, np.float64)
    if law.shape != (n,) or not np.all(law >= 0) or abs(law.sum() - 1) > 1e-9:
        raise ValueError(f"start has to be a law on {n} states; got {law}")
    apart = ~np.eye(n, dtype=bool).ravel()
    joint = np.outer(law @ np.linalg.matrix_power(matrix, lag), law).ravel()[apart]
    inside = coupled.reshape(n * n, n * n)[np.ix_(apart, apart)]
    if n > 1 and np.abs(np.linalg.eigvals(inside)).max() > 1 - 1e-12:
        raise ValueError("some pairs of states never meet: the chain is reducible or periodic")
    return joint, inside, matrix, law


def exact_total_variation_bound(
    P: ArrayLike, start: ArrayLike, steps: ArrayLike, *, lag: int
) -> Float[np.ndarray, " T"]:
    """Return the bound of a finite chain with maximally coupled rows, by linear algebra.

    Parameters
    ----------
    P
        Transition matrix, shape ``(n, n)``; time and memory grow as ``n^4`` and more.
    start
        Law of the start, shape ``(n,)``.
    steps
        Numbers of steps.
    lag
        ``L``.

    Raises
    ------
    ValueError
        If ``P`` is no transition matrix, pairs of chains need not meet, or ``start`` is no law.
    """
    joint, apart, _, _ = _pairs(P, start, lag)
    t = _step_numbers(steps)
    # sum over j of P(tau - L > t + j L)
    total = np.linalg.solve(np.eye(len(apart)) - np.linalg.matrix_power(apart, lag), np.ones(len(apart)))
    return np.array([joint @ np.linalg.matrix_power(apart, int(step)) @ total for step in t])


def exact_unbiased_mean(P: ArrayLike, start: ArrayLike, f: ArrayLike, *, burn_in: int, lag: int) -> float:
    """Return the exact mean of the unbiased estimate on a finite chain with maximally coupled rows.

    Parameters
    ----------
    P, start, lag
        As in :func:`exact_total_variation_bound`.
    f
        Values of the function, shape ``(n,)``.
    burn_in
        The step that the estimate starts at.

    Raises
    ------
    ValueError
        As :func:`exact_total_variation_bound`, or if ``f`` does not fit.
    """
    static_count("burn_in", burn_in, at_least=0)
    joint, apart, matrix, law = _pairs(P, start, lag)
    values = np.asarray(f, np.float64)
    if values.shape != (len(matrix),) or not np.all(np.isfinite(values)):
        raise ValueError(f"f has to hold {len(matrix)} finite values; got {values}")
    gaps = np.subtract.outer(values, values).ravel()[~np.eye(len(matrix), dtype=bool).ravel()]
    total = np.linalg.solve(np.eye(len(apart)) - np.linalg.matrix_power(apart, lag), gaps)
    start_value = law @ np.linalg.matrix_power(matrix, burn_in) @ values
    return float(start_value + joint @ np.linalg.matrix_power(apart, burn_in) @ total)
