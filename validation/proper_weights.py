"""Weighted draws, held against a target with a known normaliser: ``E[w f] = Z E_pi[f]``.

Weights need not be bounded, and may have no variance, so that no test of their mean has a proven level on both sides. On
the side that can be proven, Markov's inequality does it: ``w / Z`` is itself an e-value against ``E[w] <= Z``. The other
side, weights whose mean is too small, is a z-score with a normal limit: a diagnostic.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, PRNGKeyArray
from scipy import special

from ergodica.samplers import random
from ergodica.validation.evidence import Check, Outcome
from ergodica.validation.host import on_chosen_host
from ergodica.validation.replicates import Replicates
from ergodica.validation.targets.target import AnyTarget, FiniteTarget, bind_to, start_state

__all__ = ["mean_weight_diagnostic", "proper_weights_check"]

_CELLS = 4
_STAKES = 0.95 * 0.5 ** np.arange(10)
_MOST_FUNCTIONS = 6


def log_normaliser(target: AnyTarget) -> float:
    """Return the log of the integral, or sum, of the exponential of the log density."""
    if isinstance(target, FiniteTarget):
        return float(special.logsumexp([float(target.logdensity(state)) for state in target.states]))
    return target.log_normalizer


def _draws(
    subject: Any, target: AnyTarget, bind: Callable[[Any, Any], Any], key: PRNGKeyArray, n: int
) -> tuple[Any, Float[np.ndarray, " n"]]:
    """Return independent draws and their weights over the normaliser; each chain starts at an exact draw."""
    kernel = bind(subject, target)
    stepping = on_chosen_host(kernel)

    def experiment(key: PRNGKeyArray) -> Any:
        draw_key, start_key, step_key = random.split(key, 3)
        start = start_state(kernel, start_key, target.sample(draw_key, 1)[0])
        state, info = stepping.step(step_key, start)
        if isinstance(target, FiniteTarget):
            return target.index(state.position[None])[0], info.log_weight
        return [marginal.function(state.position) for marginal in target.marginals[:_MOST_FUNCTIONS]], info.log_weight

    values, log_weights = Replicates(experiment)(key, n)
    return values, np.exp(np.asarray(log_weights, float) - log_normaliser(target))


def _cells(target: AnyTarget, values: Any) -> dict[str, tuple[np.ndarray, float]]:
    """Return whether each draw is in a cell, and the cell's probability under the target, by words."""
    if isinstance(target, FiniteTarget):
        return {
            f"state {state.tolist()}": (values == i, float(p))
            for i, (state, p) in enumerate(zip(target.states, target.probabilities, strict=True))
            if p > 0
        }
    found: dict[str, tuple[np.ndarray, float]] = {}
    for marginal, value in zip(target.marginals, values, strict=False):
        if marginal.cdf is not None:
            cell = np.minimum((np.clip(marginal.cdf(value), 0, 1) * _CELLS).astype(int), _CELLS - 1)
            for i in range(_CELLS):
                found[f"quarter {i + 1} of {marginal.name}"] = (cell == i, 1 / _CELLS)
    return found


def _log_wealth(ratio: Float[np.ndarray, " n"]) -> float:
    """Return the log of an e-value against ``E[ratio] <= 1``, for independent non-negative values."""
    logs = [np.sum(np.log1p(stake * (ratio - 1))) for stake in _STAKES]
    return float(special.logsumexp(logs) - np.log(len(logs)))


def proper_weights_check(
    name: str,
    target: AnyTarget,
    *,
    n: int = 20000,
    alpha: float = 1e-6,
    bind: Callable[[Any, Any], Any] = bind_to,
    seconds: float = 2.0,
) -> Check:
    """Make a check that weighted draws do not give too much to any part of the target.

    Parameters
    ----------
    name
        Name of the check; the method is put in front.
    target
        Law with exact draws and known normaliser.
    n
        Independent draws.
    alpha
        Proven bound of the false-alarm probability.
    bind
        ``bind(subject, target)`` returns the kernel that has the target.
    seconds
        Rough cost.

    Returns
    -------
    Check
        The statistic is the log of an e-value, averaged over the whole space and its cells; the bound is
        ``log(1 / alpha)``. Pair it with :func:`mean_weight_diagnostic`, which sees what is missing.
    """

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        values, ratio = _draws(subject, target, bind, key, n)
        bound = float(np.log(1 / alpha))
        if not np.all(np.isfinite(ratio)):
            return Outcome(np.inf, bound, False, alpha, "a weight is infinite or NaN")
        parts = {"the whole space": (np.ones(n, bool), 1.0), **_cells(target, values)}
        logs = {words: _log_wealth(ratio * inside / p) for words, (inside, p) in parts.items()}
        statistic = float(special.logsumexp(list(logs.values())) - np.log(len(logs)))
        worst = max(logs, key=lambda words: logs[words])
        inside, p = parts[worst]
        details = (
            f"{worst} gets {np.mean(ratio * inside):.4g} of Z by the weights, {p:.4g} by the target; mean weight "
            f"{ratio.mean():.4g} Z over {n} draws"
        )
        return Outcome(statistic, bound, statistic < bound, alpha, details)

    return Check(f"weights: {name}", run, seconds)


def mean_weight_diagnostic(
    name: str,
    target: AnyTarget,
    *,
    n: int = 20000,
    most: float = 8.0,
    bind: Callable[[Any, Any], Any] = bind_to,
    seconds: float = 2.0,
) -> Check:
    """Make a diagnostic of the mean weight, on both sides: ``E[w] = Z``.

    Parameters
    ----------
    name, target, n, bind, seconds
        As in :func:`proper_weights_check`.
    most
        Standard errors that the mean, in all and in each cell, may be off.

    Returns
    -------
    Check
        The statistic is the largest z-score. It fails only where the weights are even enough for a z-score to mean
        something: an effective sample of a tenth.
    """

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        values, ratio = _draws(subject, target, bind, key, n)
        if not np.all(np.isfinite(ratio)):
            return Outcome(np.inf, most, False, None, "a weight is infinite or NaN")
        share = float(ratio.sum() ** 2 / max(np.sum(ratio**2), 1e-300) / n)
        worst, details = 0.0, ""
        for words, (inside, p) in {"the whole space": (np.ones(n, bool), 1.0), **_cells(target, values)}.items():
            part = ratio * inside
            off = part.mean() - p
            score = abs(off) / max(part.std() / np.sqrt(n), 1e-12) if abs(off) > 1e-9 else 0.0
            if score >= worst:
                worst = score
                details = f"{words} gets {part.mean():.4g} of Z by the weights, {p:.4g} by the target"
        details += f"; effective sample {share:.1%}"
        return Outcome(worst, most, bool(worst <= most or share < 0.1), None, details)

    return Check(f"mean weight: {name}", run, seconds)
