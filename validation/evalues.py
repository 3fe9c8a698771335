"""E-values: evidence that may be looked at after every draw.

An e-value is a non-negative number whose expectation is at most one under the null hypothesis. An e-process is a
sequence of them that may be stopped at any time: the probability that it ever reaches ``1 / alpha`` is at most
``alpha`` (Ville). Averages of e-values are e-values, whatever their dependence, and the inverse of one is a p-value.
All levels here are proven for every sample size; all draws have to be independent, so feed no correlated chain.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float, PRNGKeyArray
from scipy import special

from ergodica.samplers import random
from ergodica.samplers.inputs import static_count
from ergodica.validation.evidence import Check, Outcome
from ergodica.validation.targets.target import FiniteTarget, bind_to, start_state


def _law(probabilities: ArrayLike) -> Float[np.ndarray, " K"]:
    law = np.asarray(probabilities, dtype=float)
    if law.ndim != 1 or law.size == 0 or not np.all(law >= 0) or abs(law.sum() - 1) > 1e-9:
        raise ValueError(f"expected probabilities that sum to one; got {law}")
    normalised: Float[np.ndarray, " K"] = law / law.sum()
    return normalised


def default_concentrations(cells: int) -> tuple[float, float]:
    """Return the weights that the multinomial e-process averages over: 100 for near misses, ``cells / 2`` for gross."""
    return 100.0, cells / 2


def _log_mean(logs: Float[np.ndarray, "m ..."]) -> Any:
    return special.logsumexp(logs, axis=0) - np.log(len(logs))


def multinomial_eprocess(
    outcomes: ArrayLike, probabilities: ArrayLike, concentrations: Sequence[float] | None = None
) -> Float[np.ndarray, " n"]:
    """Return the logs of an e-process against a known law on finitely many cells.

    The bettor predicts each draw from the ones before it, by the Dirichlet rule ``(c_i + count_i) / (C + t)`` that
    starts at ``c_i = concentration * probability_i``, and is paid prediction over probability.

    Parameters
    ----------
    outcomes
        Independent draws in ``0, ..., K - 1``, in order.
    probabilities
        Their law under the null hypothesis, shape ``(K,)``.
    concentrations
        Weights of the null law in the prediction; the processes are averaged. Default: 100 and ``K / 2``.

    Returns
    -------
    array
        Log of the process after every draw; ``inf`` from the first outcome of probability zero on.

    Raises
    ------
    ValueError
        If an outcome is no cell, or the probabilities do not sum to one.
    """
    law = _law(probabilities)
    x = np.asarray(outcomes)
    if x.size and (not np.issubdtype(x.dtype, np.integer) or x.min() < 0 or x.max() >= law.size):
        raise ValueError(f"outcomes have to be integers in 0, ..., {law.size - 1}; got {x}")
    order = np.argsort(x, kind="stable")
    first = np.searchsorted(x[order], np.arange(law.size))
    seen = np.empty(x.size, dtype=int)
    seen[order] = np.arange(x.size) - first[x[order]]
    chosen = law[x]
    impossible = np.cumsum(chosen == 0) > 0
    safe = np.where(chosen == 0, 1.0, chosen)
    weights = default_concentrations(law.size) if concentrations is None else tuple(concentrations)
    logs = np.stack([np.cumsum(np.log((c * safe + seen) / (c + np.arange(x.size)) / safe)) for c in weights])
    return np.where(impossible, np.inf, _log_mean(logs))


def multinomial_log_evalue(
    counts: ArrayLike, probabilities: ArrayLike, concentrations: Sequence[float] | None = None
) -> float:
    """Return the last value of :func:`multinomial_eprocess`, which depends on the counts alone.

    Parameters
    ----------
    counts
        Counts of independent draws, shape ``(K,)``.
    probabilities, concentrations
        As in :func:`multinomial_eprocess`.
    """
    law = _law(probabilities)
    x = np.asarray(counts)
    if np.any(x[law == 0] > 0):
        return float(np.inf)
    x, law, cells = x[law > 0], law[law > 0], law.size
    weights = default_concentrations(cells) if concentrations is None else tuple(concentrations)
    logs = [
        np.sum(special.gammaln(c * law + x) - special.gammaln(c * law) - x * np.log(law))
        - special.gammaln(c + x.sum())
        + special.gammaln(c)
        for c in weights
    ]
    return float(_log_mean(np.asarray(logs)))


def bounded_mean_log_evalue(values: ArrayLike) -> float:
    """Return the log of an e-value against mean zero, for independent values in [-1, 1].

    It is the average wealth of bettors who stake the fractions ``+-0.95 * 2^-j``, ``j = 0, ..., 9``, of what they have
    on every value: ``prod(1 + stake * value)``.

    Raises
    ------
    ValueError
        If a value is outside [-1, 1] or NaN.

    References
    ----------
    Ian Waudby-Smith and Aaditya Ramdas (2024), Estimating means of bounded random variables by betting, JRSS B 86(1).
    """
    x = np.asarray(values, dtype=float)
    if not np.all(np.abs(x) <= 1):
        raise ValueError("bounded_mean_log_evalue expects values in [-1, 1]; rescale them")
    stakes = 0.95 * 0.5 ** np.arange(10)
    logs = np.array([np.sum(np.log1p(sign * stake * x)) for stake in stakes for sign in (-1, 1)])
    return float(_log_mean(logs))


def mean_log_evalue(values: ArrayLike, variance: float, alpha: float = 1e-6) -> float:
    """Return the log of an e-value against mean zero, for independent values with variance at most ``variance``.

    From ``exp(x - x^2 / 6) <= 1 + x + x^2 / 3`` follows ``E exp(a S - a^2 (Q + 2 n variance) / 6) <= 1`` for the sum
    ``S`` and the sum of squares ``Q``, without any bound on the values. The stakes ``a`` are those that suit the level.

    Parameters
    ----------
    values
        Independent values, unbounded.
    variance
        Bound of the variance under the null hypothesis, positive.
    alpha
        The level that the stakes are chosen for; the e-value is one for every ``alpha``.

    References
    ----------
    Bernard Delyon (2009), Exponential inequalities for sums of weakly dependent variables, EJP 14, Section 2.
    """
    if not variance > 0:
        raise ValueError(f"variance has to be positive; got {variance}")
    x = np.asarray(values, dtype=float)
    budget = x.size * variance
    stakes = np.sqrt(2 * np.log(6 / alpha) / budget) * np.array([0.5, 1.0, 2.0])
    penalty = (np.sum(x**2) + 2 * budget) / 6
    logs = np.array([sign * stake * np.sum(x) - stake**2 * penalty for stake in stakes for sign in (-1, 1)])
    return float(_log_mean(logs))


def pvalue_of(log_evalue: float) -> float:
    """Return the p-value ``min(1, 1 / e)`` of an e-value given by its log."""
    return float(np.exp(-max(log_evalue, 0.0)))


def calibrate(pvalue: float) -> float:
    """Return an e-value from a p-value: ``(1 - p + p ln p) / (p ln^2 p)``.

    References
    ----------
    Vladimir Vovk and Ruodu Wang (2021), E-values: calibration, combination and applications, Annals of Statistics
    49(3).
    """
    if not 0 <= pvalue <= 1:
        raise ValueError(f"a p-value lies in [0, 1]; got {pvalue}")
    if pvalue == 0:
        return float(np.inf)
    log = float(np.log(pvalue))
    if abs(log) < 1e-4:
        return 0.5 - log / 6
    return (1 - pvalue + pvalue * log) / (pvalue * log**2)


def one_step(kernel: Any, key: PRNGKeyArray, state: Any) -> Any:
    """Return the state after one step: what a row test looks at unless told otherwise."""
    return kernel.step(key, state)[0]


def row_test(
    kernel: Any,
    target: FiniteTarget,
    matrix: ArrayLike,
    key: PRNGKeyArray,
    *,
    n: int = 2000,
    alpha: float = 1e-6,
    start: Callable[[Any, PRNGKeyArray, Any], Any] = start_state,
    move: Callable[[Any, PRNGKeyArray, Any], Any] = one_step,
) -> Outcome:
    """Compare the steps that a compiled kernel takes with the rows of a known transition matrix.

    Parameters
    ----------
    kernel
        The kernel, with its target.
    target
        Names the states.
    matrix
        Transition matrix, rows in the order of the states: from enumeration, or from a formula.
    key
        Typed key.
    n
        Steps from each state.
    alpha
        Proven bound of the false-alarm probability.
    start
        ``start(kernel, key, position)`` returns the state at a position.
    move
        ``move(kernel, key, state)`` returns the next state; replace it to test a compiled ``run``.

    Returns
    -------
    Outcome
        The statistic is the largest log e-process over states and times, the bound ``log(S / alpha)``. A step of
        probability zero fails at once.
    """
    n = static_count("n", n)
    rows = np.asarray(matrix, dtype=float)
    count = len(target.states)
    if rows.shape != (count, count):
        raise ValueError(f"expected a matrix of shape {(count, count)}, one row a state; got {rows.shape}")

    def experiment(key: PRNGKeyArray, position: Any) -> Any:
        start_key, step_key = random.split(key)
        moved = move(kernel, step_key, start(kernel, start_key, position)).position
        return target.index(moved[None])[0]

    keys = random.split(key, count * n)
    positions = jnp.repeat(jnp.asarray(target.states), n, axis=0)
    run = jax.jit(jax.vmap(experiment), compiler_options={"xla_backend_optimization_level": 1})
    arrivals = np.asarray(run(keys, positions)).reshape(count, n)
    bound = float(np.log(count / alpha))
    worst, largest = 0, -np.inf
    for s in range(count):
        if np.any(arrivals[s] < 0):
            return Outcome(np.inf, bound, False, alpha, f"a step from {target.states[s]} left the state space")
        peak = float(np.max(multinomial_eprocess(arrivals[s], rows[s])))
        if peak > largest:
            worst, largest = s, peak
    frequencies = np.bincount(arrivals[worst], minlength=count) / n
    with np.printoptions(precision=4, suppress=True):
        details = (
            f"worst row, from {target.states[worst]}: seen {frequencies}, expected {rows[worst]}; {n} steps a state"
        )
    return Outcome(largest, bound, largest < bound, alpha, details)


def row_check(
    name: str,
    target: FiniteTarget,
    matrix: ArrayLike | Callable[[Any], ArrayLike],
    *,
    n: int = 2000,
    alpha: float = 1e-6,
    bind: Callable[[Any, Any], Any] = bind_to,
    start: Callable[[Any, PRNGKeyArray, Any], Any] = start_state,
    move: Callable[[Any, PRNGKeyArray, Any], Any] = one_step,
    seconds: float = 1.0,
) -> Check:
    """Make a check that a compiled kernel follows a transition matrix.

    Parameters
    ----------
    name
        Name of the check; the method is put in front.
    target
        The law on finitely many states.
    matrix
        The transition matrix, or a function that computes it from the bound kernel.
    n, alpha, start, move
        See :func:`row_test`.
    bind
        ``bind(subject, target)`` returns the kernel that has the target.
    seconds
        Rough cost.
    """

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        kernel = bind(subject, target)
        rows = matrix(kernel) if callable(matrix) else matrix
        return row_test(kernel, target, rows, key, n=n, alpha=alpha, start=start, move=move)

    return Check(name=f"rows: {name}", run=run, seconds=seconds)
