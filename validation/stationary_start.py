"""Start from the target itself, step, and see whether the law is still the target.

Many independent replicates start at exact draws and take a few steps. If the kernel leaves the target invariant, the
replicates are independent exact draws after every number of steps, so that tests for independent draws apply as they
are: no burn-in, no autocorrelation, no asymptotics. A kernel that never moves passes; pair this check with one of
irreducibility or of movement.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
from scipy import special

from ergodica.samplers import random
from ergodica.samplers.inputs import static_count
from ergodica.validation.evidence import Check, Outcome
from ergodica.validation.host import on_chosen_host
from ergodica.validation.pearson import uniformity_pvalue
from ergodica.validation.pictures import Picture, uniform_counts
from ergodica.validation.replicates import Replicates
from ergodica.validation.sequential import sequential
from ergodica.validation.targets.target import (
    AnyTarget,
    FiniteTarget,
    Marginal,
    Target,
    bind_to,
    start_state,
)

_CELLS = 20


def binomial_pvalue(count: int, n: int, probability: float) -> float:
    """Return the exact two-sided p-value of a binomial count: twice the smaller tail."""
    if probability <= 0:
        return 1.0 if count == 0 else 0.0
    if probability >= 1:
        return 1.0 if count == n else 0.0
    below = special.bdtr(count, n, probability)
    above = 1.0 if count == 0 else special.bdtrc(count - 1, n, probability)
    return float(min(1.0, 2 * min(below, above)))


def kolmogorov_pvalue(uniforms: Float[np.ndarray, " n"]) -> float:
    """Return a valid p-value of the Kolmogorov-Smirnov statistic of draws that should be uniform on [0, 1].

    It is twice the exact tail of the one-sided statistic (Smirnov), which bounds the two-sided tail for every ``n`` and
    meets it far out.
    """
    u = np.sort(uniforms)
    n = u.size
    grid = np.arange(n + 1) / n
    distance = max(np.max(grid[1:] - u), np.max(u - grid[:-1]))
    return float(min(1.0, 2 * special.smirnov(n, distance)))


def two_sample_pvalue(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    """Return the exact two-sided p-value of the Kolmogorov-Smirnov test of two samples of one size.

    Exact for continuous laws, conservative with ties.
    """
    from scipy import stats

    if x.size != y.size:
        raise ValueError(f"expected two samples of one size; got {x.size} and {y.size}")
    return float(np.clip(stats.ks_2samp(x, y, method="exact").pvalue, 0.0, 1.0))


def _state_pvalues(target: FiniteTarget, indices: Int[np.ndarray, " n"], label: str) -> dict[str, float]:
    n = indices.size
    pvalues = {f"inside the support, {label}": 1.0 if np.all(indices >= 0) else 0.0}
    counts = np.bincount(indices[indices >= 0], minlength=len(target.probabilities))
    for state, count, probability in zip(target.states, counts, target.probabilities, strict=True):
        pvalues[f"state {state}, {label}"] = binomial_pvalue(int(count), n, float(probability))
    return pvalues


def _marginal_pvalues(
    marginal: Marginal, values: Float[np.ndarray, " n"], fresh: Float[np.ndarray, " n"] | None, label: str
) -> dict[str, float]:
    if not np.all(np.isfinite(values)):
        return {f"{marginal.name} finite, {label}": 0.0}
    if marginal.cdf is None:
        assert fresh is not None
        return {f"{marginal.name} against exact draws, {label}": two_sample_pvalue(values, fresh)}
    u = np.clip(np.asarray(marginal.cdf(values), dtype=float), 0.0, 1.0)
    cells = np.bincount(np.minimum((u * _CELLS).astype(int), _CELLS - 1), minlength=_CELLS)
    return {
        f"{marginal.name} Kolmogorov, {label}": kolmogorov_pvalue(u),
        f"{marginal.name} Pearson, {label}": uniformity_pvalue(cells),
    }


def stationary_start_check(
    name: str,
    target: AnyTarget,
    *,
    steps: int = 5,
    n: int = 4000,
    alpha: float = 1e-6,
    bind: Callable[[Any, Any], Any] = bind_to,
    start: Callable[[Any, PRNGKeyArray, Any], Any] = start_state,
    seconds: float = 2.0,
) -> Check:
    """Make a check that a kernel keeps the law of a target with an exact sampler.

    Parameters
    ----------
    name
        Name of the check; the method is put in front.
    target
        Known law. Real functions with a distribution function are tested by Kolmogorov-Smirnov and by Pearson on 20
        equally probable cells, those without against fresh exact draws, states of a finite law by exact binomials. All
        p-values are exact or bounds.
    steps
        The law is looked at after 1 step and after ``steps``. More steps amplify an error.
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

    Notes
    -----
    Holds for any kernel that leaves the target invariant, reversible or not. The false-alarm probability is at most
    ``alpha`` in exact arithmetic; see :func:`ergodica.validation.sequential.sequential`.
    """
    static_count("steps", steps)

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        kernel = bind(subject, target)
        stepping = on_chosen_host(kernel)
        needs_fresh = isinstance(target, Target) and any(marginal.cdf is None for marginal in target.marginals)

        def measure(position: Any) -> Any:
            if isinstance(target, FiniteTarget):
                return target.index(position[None])[0]
            return [marginal.function(position) for marginal in target.marginals]

        def experiment(key: PRNGKeyArray) -> Any:
            draw_key, start_key, steps_key, fresh_key = random.split(key, 4)
            position = target.sample(draw_key, 1)[0]

            def body(state: Any, index: Array) -> tuple[Any, Any]:
                state = stepping.step(random.fold_in(steps_key, index), state)[0]
                return state, state.position

            _, path = jax.lax.scan(body, start(kernel, start_key, position), jnp.arange(steps))
            looks = jnp.asarray([0, steps - 1] if steps > 1 else [0])
            seen = jax.vmap(measure)(jax.tree.map(lambda leaf: leaf[looks], path))
            return seen, measure(target.sample(fresh_key, 1)[0]) if needs_fresh else None

        replicates = Replicates(experiment)
        pictures: list[Picture] = []

        def pvalue(key: PRNGKeyArray, n: int) -> dict[str, float]:
            seen, fresh = replicates(key, n)
            if isinstance(target, Target):
                known = [
                    (m, values[:, -1]) for m, values in zip(target.marginals, seen, strict=True) if m.cdf is not None
                ]
                # Those of the last stage stay: a function of a law, after the last step.
                pictures[:] = [
                    uniform_counts(f"{m.name} after {steps} steps", m.cdf(values)) for m, values in known[:3] if m.cdf
                ]
            pvalues: dict[str, float] = {}
            for look, label in enumerate(["1 step", f"{steps} steps"][:steps]):
                if isinstance(target, FiniteTarget):
                    pvalues |= _state_pvalues(target, seen[:, look], label)
                    continue
                for i, marginal in enumerate(target.marginals):
                    pvalues |= _marginal_pvalues(marginal, seen[i][:, look], fresh[i] if needs_fresh else None, label)
            return pvalues

        outcome = sequential(pvalue, key, alpha=alpha, n=n)
        return dataclasses.replace(outcome, pictures=tuple(pictures))

    return Check(name=f"stationary start: {name}", run=run, seconds=seconds)
