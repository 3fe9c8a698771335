"""Detailed balance by simulation: the first two points of a stationary reversible chain may be swapped.

A start from the target itself and one step give a pair ``(x, y)``. If the kernel is reversible, ``(y, x)`` has the same
law, so among the pairs that an event tells from their mirror images both orders are equally likely, and the count of one
is binomial. Nothing else has to be known of the kernel.
"""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, PRNGKeyArray

from ergodica.samplers import random
from ergodica.validation.evidence import Check, Outcome
from ergodica.validation.host import on_chosen_host
from ergodica.validation.pictures import UniformCounts, uniform_counts
from ergodica.validation.replicates import Replicates
from ergodica.validation.sequential import sequential
from ergodica.validation.stationary_start import binomial_pvalue
from ergodica.validation.targets.target import AnyTarget, FiniteTarget, bind_to, start_state

__all__ = ["flow_balance_check"]

_CELLS = 4
_MOST_FUNCTIONS = 6


def _swapped(one: Bool[np.ndarray, " n"], other: Bool[np.ndarray, " n"]) -> tuple[int, int]:
    """Count the pairs in an event, and those whose mirror image is, leaving out those where both are."""
    return int(np.sum(one & ~other)), int(np.sum(other & ~one))


def _pvalue(counts: tuple[int, int]) -> float:
    return binomial_pvalue(counts[0], sum(counts), 0.5) if sum(counts) else 1.0


def _events(
    names: list[str], before: Float[np.ndarray, "n m"], after: Float[np.ndarray, "n m"], edges: Float[np.ndarray, "m e"]
) -> dict[str, tuple[int, int]]:
    """Return the two counts of each event by its words."""
    found: dict[str, tuple[int, int]] = {}
    for i, name in enumerate(names):
        x, y = before[:, i], after[:, i]
        found[f"steps that raise {name}, and steps that lower it"] = _swapped(y > x, y < x)
        here, there = np.searchsorted(edges[i], x), np.searchsorted(edges[i], y)
        marks = ["-inf", *(f"{edge:.3g}" for edge in edges[i]), "inf"]
        for a, b in itertools.combinations(range(_CELLS), 2):
            words = f"steps of {name} from ({marks[a]}, {marks[a + 1]}) to ({marks[b]}, {marks[b + 1]}), and back"
            found[words] = _swapped((here == a) & (there == b), (here == b) & (there == a))
    middle = edges[:, _CELLS // 2 - 1]
    for i, j in itertools.combinations(range(len(names)), 2):
        one = (before[:, i] > middle[i]) & (after[:, j] > middle[j])
        other = (after[:, i] > middle[i]) & (before[:, j] > middle[j])
        found[f"{names[i]} high before and {names[j]} after, and the other way round"] = _swapped(one, other)
    return found


def _state_events(target: FiniteTarget, before: np.ndarray, after: np.ndarray) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    counts = np.zeros((len(target.states), len(target.states)), int)
    inside = after >= 0
    np.add.at(counts, (before[inside], after[inside]), 1)
    for a, b in itertools.combinations(range(len(target.states)), 2):
        if counts[a, b] + counts[b, a]:
            words = f"steps from {target.states[a].tolist()} to {target.states[b].tolist()}, and back"
            found[words] = (int(counts[a, b]), int(counts[b, a]))
    found["steps into the states, and out of them"] = (0, 0 if np.all(inside) else int(np.sum(~inside)))
    return found


def flow_balance_check(
    name: str,
    target: AnyTarget,
    *,
    n: int = 4000,
    alpha: float = 1e-6,
    bind: Callable[[Any, Any], Any] = bind_to,
    start: Callable[[Any, PRNGKeyArray, Any], Any] = start_state,
    seconds: float = 1.5,
) -> Check:
    """Make a check that a kernel is reversible with respect to a target with an exact sampler.

    Parameters
    ----------
    name
        Name of the check; the method is put in front.
    target
        Known law. Of a law on the reals, each function is looked at by itself, between its quartiles, and in pairs.
    n
        Replicates in the first stage; four times as many in further stages.
    alpha
        Proven bound of the false-alarm probability.
    bind
        ``bind(subject, target)`` returns the kernel that has the target.
    start
        ``start(kernel, key, position)`` returns the state at an exact draw; auxiliaries have to have their exact law.
    seconds
        Rough cost.

    Returns
    -------
    Check
        The statistic is an adjusted binomial p-value, exact given the number of pairs that are told from their mirror
        images. On failure the details name the flow that is out of balance.

    Notes
    -----
    A kernel that passes may still not keep the target if it is off where no event looks; pair it with
    :func:`ergodica.validation.stationary_start.stationary_start_check`.
    """

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        kernel = bind(subject, target)
        stepping = on_chosen_host(kernel)
        finite = isinstance(target, FiniteTarget)
        marginals = [] if isinstance(target, FiniteTarget) else list(target.marginals[:_MOST_FUNCTIONS])

        def measure(position: Any) -> Any:
            if isinstance(target, FiniteTarget):
                return target.index(position[None])[0]
            return jax.numpy.stack([jax.numpy.asarray(marginal.function(position), float) for marginal in marginals])

        def experiment(key: PRNGKeyArray) -> Any:
            draw_key, start_key, step_key = random.split(key, 3)
            position = target.sample(draw_key, 1)[0]
            moved = stepping.step(step_key, start(kernel, start_key, position))[0].position
            return measure(position), measure(moved)

        replicates = Replicates(experiment)
        last: dict[str, tuple[int, int]] = {}
        seen: list[UniformCounts] = []
        edges: list[Float[np.ndarray, "m e"]] = []

        def pvalue(key: PRNGKeyArray, n: int) -> dict[str, float]:
            before, after = replicates(key, n)
            last.clear()
            if finite:
                last.update(_state_events(target, before, after))  # type: ignore[arg-type]
                return {words: _pvalue(counts) for words, counts in last.items()}
            if not np.all(np.isfinite(after)):
                return {"finite functions of the position": 0.0}
            if not edges:
                # The cells are quartiles of exact draws that no test looks at.
                pilot, _ = replicates(random.fold_in(key, 2**31 - 2), n)
                edges.append(np.quantile(pilot, np.arange(1, _CELLS) / _CELLS, axis=0).T)
            last.update(_events([marginal.name for marginal in marginals], before, after, edges[0]))
            seen.clear()
            for i, marginal in enumerate(marginals):
                if marginal.cdf is not None:
                    seen.append(uniform_counts(f"{marginal.name} after one step", marginal.cdf(after[:, i])))
            return {words: _pvalue(counts) for words, counts in last.items()}

        outcome = sequential(pvalue, key, alpha=alpha, n=n)
        details = outcome.details
        if not outcome.passed and last:
            words, (one, other) = min(last.items(), key=lambda item: _pvalue(item[1]))
            details = f"{words}: {one} and {other}, which should be equally likely. {details}"
        return Outcome(outcome.statistic, outcome.bound, outcome.passed, alpha, details, tuple(seen))

    return Check(name=f"flow balance: {name}", run=run, seconds=seconds)
