"""Geweke's joint distribution test, with a proven level.

A chain that alternates a step of the kernel on the parameter with a fresh draw of the data leaves the joint law of
parameter and data invariant exactly if the kernel leaves the posterior invariant. Geweke compares its averages with
those of independent draws. Started at an exact joint draw the chain has no burn-in, and with many independent chains no
variance of a correlated chain has to be guessed: the differences between a chain's average and the average of as many
independent draws are independent, bounded, and have mean zero.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from scipy import special

from ergodica.samplers import random
from ergodica.samplers.inputs import static_count
from ergodica.validation.evalues import bounded_mean_log_evalue
from ergodica.validation.evidence import Check, Outcome
from ergodica.validation.replicates import Replicates
from ergodica.validation.targets.model import Model, Statistic, bind_data
from ergodica.validation.targets.target import several_steps, start_state

Bind = Callable[[Any, Model, Any], Any]
Start = Callable[[Any, PRNGKeyArray, Any], Any]
Measure = Callable[[Any, Any], Float[Array, " statistics"]]


@dataclasses.dataclass(frozen=True)
class _Simulators:
    """The two ways to simulate a joint law."""

    model: Model
    kernel: Any
    statistics: Mapping[str, Statistic]
    steps: int
    bind: Bind
    start: Start

    def measure(self, theta: Any, y: Any) -> Float[Array, " statistics"]:
        return jnp.stack([jnp.asarray(f(theta, y), float) for f in self.statistics.values()])

    def independent(self, key: PRNGKeyArray) -> tuple[Any, Any]:
        prior_key, data_key = random.split(key)
        theta = self.model.sample_prior(prior_key)
        return theta, self.model.sample_data(data_key, theta)

    def successive(self, key: PRNGKeyArray, length: int, measure: Measure) -> Float[Array, "length statistics"]:
        """Measure along one chain from an exact draw; every point of it has the exact joint law."""
        start_key, chain_key = random.split(key)

        def body(carry: tuple[Any, Any], index: Array) -> tuple[tuple[Any, Any], Array]:
            theta, y = carry
            init_key, step_key, data_key = random.split(random.fold_in(chain_key, index), 3)
            kernel = self.bind(self.kernel, self.model, y)
            theta = several_steps(kernel, step_key, self.start(kernel, init_key, theta), self.steps).position
            y = self.model.sample_data(data_key, theta)
            return (theta, y), measure(theta, y)

        return jax.lax.scan(body, self.independent(start_key), jnp.arange(length))[1]


def geweke_scores(
    model: Model,
    kernel: Any,
    key: PRNGKeyArray,
    *,
    statistics: Mapping[str, Statistic] | None = None,
    draws: int = 20000,
    steps: int = 1,
    bind: Bind = bind_data,
    start: Start = start_state,
) -> dict[str, float]:
    """Return Geweke's z-scores from one chain: a diagnostic, normal only for long chains, so no evidence.

    Parameters
    ----------
    model, statistics, steps, bind, start
        As in :func:`geweke_check`.
    kernel
        The kernel, without a target.
    key
        Typed key.
    draws
        Length of the chain, and number of independent draws; the variance of the chain's mean is estimated from
        batches of ``floor(sqrt(draws))``.

    Returns
    -------
    dict
        ``(mean of independent draws - mean of the chain) / standard error`` for each statistic.

    References
    ----------
    John Geweke (2004), Getting it right: joint distribution tests of posterior simulators, JASA 99(467).
    """
    chosen = dict(model.statistics if statistics is None else statistics)
    simulators = _Simulators(model, kernel, chosen, steps, bind, start)
    independent_key, chain_key = random.split(key)
    a = np.asarray(
        jax.jit(jax.vmap(lambda key: simulators.measure(*simulators.independent(key))))(
            random.split(independent_key, draws)
        )
    )
    b = np.asarray(jax.jit(lambda key: simulators.successive(key, draws, simulators.measure))(chain_key))
    size = int(np.sqrt(draws))
    batches = b[: draws // size * size].reshape(-1, size, len(chosen)).mean(axis=1)
    spread = size * batches.var(axis=0, ddof=1)
    z = (a.mean(axis=0) - b.mean(axis=0)) / np.sqrt((a.var(axis=0, ddof=1) + spread) / draws)
    return dict(zip(chosen, z.tolist(), strict=True))


def geweke_check(
    name: str,
    model: Model,
    *,
    statistics: Mapping[str, Statistic] | None = None,
    chains: int = 1000,
    length: int = 20,
    steps: int = 1,
    alpha: float = 1e-6,
    bind: Bind = bind_data,
    start: Start = start_state,
    seconds: float = 2.0,
) -> Check:
    """Make a joint distribution test with independent chains.

    Parameters
    ----------
    name
        Name of the check; the method is put in front.
    model
        The model.
    statistics
        Named functions ``(theta, y) -> scalar``; default: the model's. They are standardised and passed through
        ``tanh``, so that moments need not exist.
    chains
        Number of independent chains.
    length
        Draws of data along each chain.
    steps
        Steps of the kernel between two draws of data.
    alpha
        Proven bound of the false-alarm probability.
    bind
        ``bind(kernel, model, y)`` returns the kernel that targets the posterior.
    start
        ``start(kernel, key, theta)`` returns the state at a parameter; it is called after every draw of data.
    seconds
        Rough cost.

    Returns
    -------
    Check
        The statistic is the log of an e-value, averaged over the statistics; the bound is ``log(1 / alpha)``. Student's
        t of each statistic over the chains is in the details, as a diagnostic.

    Notes
    -----
    Holds for every invariant kernel, reversible or not. Under the null hypothesis every point of every chain has the
    exact joint law, so the difference of averages has mean zero and is bounded; the e-value is that of
    :func:`ergodica.validation.evalues.bounded_mean_log_evalue`.

    References
    ----------
    John Geweke (2004), Getting it right: joint distribution tests of posterior simulators, JASA 99(467).
    """
    for label, value in (("length", length), ("steps", steps)):
        static_count(label, value)
    static_count("chains", chains, at_least=2)
    chosen = dict(model.statistics if statistics is None else statistics)

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        simulators = _Simulators(model, subject, chosen, steps, bind, start)
        pilot_key, main_key = random.split(key)
        # Other randomness than the test's, so that the standardisation is a fixed function there.
        pilot = Replicates(lambda key: simulators.measure(*simulators.independent(key)))(pilot_key, 1000)
        low, centre, high = np.quantile(pilot, [0.16, 0.5, 0.84], axis=0)
        scale = np.where(high > low, high - low, 1.0)

        def bounded(theta: Any, y: Any) -> Float[Array, " statistics"]:
            return jnp.tanh((simulators.measure(theta, y) - centre) / scale)

        def experiment(key: PRNGKeyArray) -> Float[Array, " statistics"]:
            chain_key, fresh_key = random.split(key)
            along = simulators.successive(chain_key, length, bounded)
            fresh = jax.vmap(lambda key: bounded(*simulators.independent(key)))(random.split(fresh_key, length))
            return (jnp.mean(along, axis=0) - jnp.mean(fresh, axis=0)) / 2

        differences = Replicates(experiment)(main_key, chains)
        bound = float(np.log(1 / alpha))
        if not np.all(np.isfinite(differences)):
            return Outcome(np.inf, bound, False, alpha, "a statistic was NaN or infinite along a chain")
        logs = [bounded_mean_log_evalue(differences[:, i]) for i in range(len(chosen))]
        statistic = float(special.logsumexp(logs) - np.log(len(logs)))
        spread = differences.std(axis=0, ddof=1)
        student = differences.mean(axis=0) / np.where(spread > 0, spread, 1.0) * np.sqrt(chains)
        details = ", ".join(f"{label} {t:.2f}" for label, t in zip(chosen, student, strict=True))
        return Outcome(statistic, bound, statistic < bound, alpha, f"Student's t over {chains} chains: {details}")

    return Check(name=f"joint distribution: {name}", run=run, seconds=seconds)
