"""The exact rank test of Besag and Clifford, for kernels that target the posterior of a model with a simulator.

Draw a parameter and data from the model, place the parameter at a random position of a short chain, run the kernel
forwards and backwards from it, and rank it among the chain. If the kernel leaves the posterior invariant, and the
backward leg runs the time reversal, the chain is stationary, so the rank is uniform: exactly, for every length of the
chain and every number of replicates. The test is about invariance only: a kernel that never moves passes, so pair it
with a check of movement.

A kernel that is not reversible needs its time reversal for the backward leg. Where it is not at hand,
:func:`two_sample_check` compares the joint law after some steps with fresh draws, exactly as well, with less power.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.inputs import static_count
from ergodica.validation.evidence import Check, Outcome
from ergodica.validation.pearson import uniformity_pvalue
from ergodica.validation.pictures import rank_counts
from ergodica.validation.replicates import Replicates
from ergodica.validation.sequential import sequential
from ergodica.validation.stationary_start import two_sample_pvalue
from ergodica.validation.targets.model import Model, Statistic, bind_data
from ergodica.validation.targets.target import several_steps, start_state

Bind = Callable[[Any, Model, Any], Any]
Start = Callable[[Any, PRNGKeyArray, Any], Any]
Reverse = Callable[[Any], Any]


class RankTest:
    """Ranks of a parameter in a stationary chain through it.

    Parameters
    ----------
    model
        The model.
    kernel
        The kernel, without a target.
    statistics
        Named functions ``(theta, y) -> scalar``; default: the model's.
    length
        Length ``L`` of the chain; ranks are uniform on ``1, ..., L``.
    thin
        Steps between two points of the chain.
    reverse
        ``reverse(kernel)`` returns the time reversal ``K*(x, y) = pi(y) K(y, x) / pi(x)`` of the bound kernel: the
        reversed order for a scan, the kernel conjugated by its involution for a skew-reversible one. Only for kernels
        that are not reversible.
    bind
        ``bind(kernel, model, y)`` returns the kernel that targets the posterior.
    start
        ``start(kernel, key, theta)`` returns the state at the parameter; auxiliaries have to have their exact law.

    Raises
    ------
    ValueError
        If the kernel depends on its past, or is not reversible and no reversal is given.

    References
    ----------
    Julian Besag and Peter Clifford (1989), Generalized Monte Carlo significance tests, Biometrika 76(4). Axel Gandy and
    James Scott (2020), Unit testing for MCMC and other Monte Carlo methods, arXiv:2001.06465.
    """

    def __init__(
        self,
        model: Model,
        kernel: Any,
        *,
        statistics: Mapping[str, Statistic] | None = None,
        length: int = 10,
        thin: int = 1,
        reverse: Reverse | None = None,
        bind: Bind = bind_data,
        start: Start = start_state,
    ) -> None:
        claim = kernel.claim
        if claim.memory:
            raise ValueError(
                f"{type(kernel).__name__} depends on its past, so that a stationary chain cannot be run backwards; "
                "test its kernel with the history frozen"
            )
        if reverse is None and claim.reversible is False:
            raise ValueError(
                f"{type(kernel).__name__} is not reversible, and the backward leg of a rank test needs its "
                "time reversal: pass reverse=, for example the scan in reversed order, or use two_sample_check, "
                "which needs none"
            )
        self.model = model
        self.kernel = kernel
        self.statistics = dict(model.statistics if statistics is None else statistics)
        self.length = static_count("length", length, at_least=2)
        self.thin = static_count("thin", thin)
        self.reverse = reverse
        self.bind = bind
        self.start = start
        self._replicates = Replicates(self._one)
        self._last: dict[str, Int[np.ndarray, " n"]] = {}

    def _measure(self, theta: Any, y: Any) -> Array:
        return jnp.stack([jnp.asarray(f(theta, y), float) for f in self.statistics.values()])

    def _one(self, key: PRNGKeyArray) -> tuple[Array, Array]:
        """Return the ranks of one replicate, and whether all statistics were finite."""
        prior_key, data_key, place_key, start_key, chain_key, tie_key = random.split(key, 6)
        theta = self.model.sample_prior(prior_key)
        y = self.model.sample_data(data_key, theta)
        forward = self.bind(self.kernel, self.model, y)
        backward = forward if self.reverse is None else self.reverse(forward)
        middle = self.start(forward, start_key, theta)
        value = self._measure(theta, y)
        # The same tolerance in both directions: near-ties are broken at random, wherever round-off put them.
        tolerance = float(np.finfo(value.dtype).eps) ** 0.5 * jnp.abs(value)
        place = random.randint(place_key, (), 1, self.length + 1)

        def leg(carry: tuple[Any, Array, Array, Array], index: Array) -> tuple[tuple[Any, Array, Array, Array], None]:
            state, below, ties, finite = carry
            turned = index >= self.length - place
            state = jax.tree.map(lambda old, new: jnp.where(index == self.length - place, old, new), middle, state)
            leg_key = random.fold_in(chain_key, index)
            after = several_steps(forward, leg_key, state, self.thin)
            if self.reverse is not None:
                behind = several_steps(backward, leg_key, state, self.thin)
                after = jax.tree.map(lambda there, here: jnp.where(turned, here, there), after, behind)
            visited = self._measure(after.position, y)
            below = below + (visited < value - tolerance)
            ties = ties + (jnp.abs(visited - value) <= tolerance)
            return (after, below, ties, finite & jnp.all(jnp.isfinite(visited))), None

        none = jnp.zeros(value.shape, jnp.int32)
        start = (middle, none, none, jnp.all(jnp.isfinite(value)))
        (_, below, ties, finite), _ = jax.lax.scan(leg, start, jnp.arange(self.length - 1))
        return below + random.randint(tie_key, ties.shape, 0, ties + 1), finite

    def ranks(self, key: PRNGKeyArray, n: int) -> dict[str, Int[np.ndarray, " n"]]:
        """Return ``n`` independent ranks in ``0, ..., L - 1`` for each statistic.

        Raises
        ------
        FloatingPointError
            If a statistic was not finite somewhere.
        """
        ranks, finite = self._replicates(key, n)
        if not np.all(finite):
            raise FloatingPointError("a statistic was NaN or infinite along a chain")
        return {name: ranks[:, i] for i, name in enumerate(self.statistics)}

    def pvalue(self, key: PRNGKeyArray, n: int) -> dict[str, float]:
        """Return the exact p-value of uniform ranks for each statistic; 0 if a statistic was not finite."""
        try:
            ranks = self.ranks(key, n)
        except FloatingPointError:
            return {"finite statistics": 0.0}
        self._last = ranks
        return {name: uniformity_pvalue(np.bincount(values, minlength=self.length)) for name, values in ranks.items()}


def rank_check(
    name: str,
    model: Model,
    *,
    statistics: Mapping[str, Statistic] | None = None,
    L: int = 10,
    thin: int = 1,
    n: int = 1000,
    reverse: Reverse | None = None,
    alpha: float = 1e-6,
    bind: Bind = bind_data,
    start: Start = start_state,
    seconds: float = 2.0,
) -> Check:
    """Make a check that ranks in a stationary chain are uniform.

    Parameters
    ----------
    name
        Name of the check; the method is put in front.
    model
        The model.
    statistics, L, thin, reverse, bind, start
        See :class:`RankTest`; ``L`` is its ``length``.
    n
        Replicates in the first stage; four times as many in further stages.
    alpha
        Proven bound of the false-alarm probability.
    seconds
        Rough cost.

    Returns
    -------
    Check
        Raises ``ValueError`` when run on a kernel that needs a reversal and has none.
    """

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        test = RankTest(
            model, subject, statistics=statistics, length=L, thin=thin, reverse=reverse, bind=bind, start=start
        )
        outcome = sequential(test.pvalue, key, alpha=alpha, n=n)
        pictures = tuple(rank_counts(f"{label}, {name}", ranks, L) for label, ranks in list(test._last.items())[:3])
        return dataclasses.replace(outcome, pictures=pictures)

    return Check(name=f"rank: {name}", run=run, seconds=seconds)


def two_sample_check(
    name: str,
    model: Model,
    *,
    statistics: Mapping[str, Statistic] | None = None,
    steps: int = 5,
    rounds: int = 1,
    n: int = 2000,
    alpha: float = 1e-6,
    bind: Bind = bind_data,
    start: Start = start_state,
    seconds: float = 2.0,
) -> Check:
    """Make a check that a kernel keeps the joint law of parameter and data, for kernels reversible or not.

    Parameters
    ----------
    name
        Name of the check; the method is put in front.
    model
        The model.
    statistics
        Named functions ``(theta, y) -> scalar``; default: the model's.
    steps
        Steps of the kernel between two draws of data.
    rounds
        Number of times that steps are made; between rounds new data are drawn given the parameter, which lets an error
        grow.
    n
        Replicates on either side in the first stage; four times as many in further stages.
    alpha
        Proven bound of the false-alarm probability.
    bind, start
        See :class:`RankTest`.
    seconds
        Rough cost.

    Returns
    -------
    Check
        The p-values are those of the exact two-sample Kolmogorov-Smirnov test.
    """
    static_count("steps", steps)
    static_count("rounds", rounds)
    chosen = dict(model.statistics if statistics is None else statistics)

    def measure(theta: Any, y: Any) -> Array:
        return jnp.stack([jnp.asarray(f(theta, y), float) for f in chosen.values()])

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        def joint(key: PRNGKeyArray) -> tuple[Any, Any]:
            prior_key, data_key = random.split(key)
            theta = model.sample_prior(prior_key)
            return theta, model.sample_data(data_key, theta)

        def experiment(key: PRNGKeyArray) -> tuple[Array, Array]:
            start_key, fresh_key, rounds_key = random.split(key, 3)

            def one(carry: tuple[Any, Any], index: Array) -> tuple[tuple[Any, Any], None]:
                theta, y = carry
                again_key, init_key, steps_key = random.split(random.fold_in(rounds_key, index), 3)
                renewed = model.sample_data(again_key, theta)
                y = jax.tree.map(lambda old, new: jnp.where(index == 0, old, new), y, renewed)
                kernel = bind(subject, model, y)
                state = several_steps(kernel, steps_key, start(kernel, init_key, theta), steps)
                return (state.position, y), None

            (theta, y), _ = jax.lax.scan(one, joint(start_key), jnp.arange(rounds))
            return measure(theta, y), measure(*joint(fresh_key))

        replicates = Replicates(experiment)

        def pvalue(key: PRNGKeyArray, n: int) -> dict[str, float]:
            values, fresh = replicates(key, n)
            if not np.all(np.isfinite(values)):
                return {"finite statistics": 0.0}
            return {label: two_sample_pvalue(values[:, i], fresh[:, i]) for i, label in enumerate(chosen)}

        return sequential(pvalue, key, alpha=alpha, n=n)

    return Check(name=f"two samples: {name}", run=run, seconds=seconds)


@dataclasses.dataclass(frozen=True)
class PilotThinning:
    """A thinning estimated from a pilot chain.

    Parameters
    ----------
    lag
        Smallest lag at which every statistic's autocorrelation is at most ``level``.
    level
        The level.
    """

    lag: int
    level: float


def pilot_thinning(
    model: Model, kernel: Any, key: PRNGKeyArray, *, steps: int = 500, level: float = 0.5, bind: Bind = bind_data
) -> PilotThinning:
    """Estimate how far to thin from one pilot chain, whose randomness the test does not share.

    Parameters
    ----------
    model, kernel
        As in :class:`RankTest`.
    key
        Typed key, not the test's.
    steps
        Length of the pilot chain; the lag is at most a tenth of it.
    level
        Autocorrelation to fall to.
    bind
        As in :class:`RankTest`.
    """
    prior_key, data_key, start_key, chain_key = random.split(key, 4)
    theta = model.sample_prior(prior_key)
    y = model.sample_data(data_key, theta)

    @jax.jit
    def chain() -> Array:
        bound = bind(kernel, model, y)

        def body(state: Any, index: Array) -> tuple[Any, Array]:
            state = bound.step(random.fold_in(chain_key, index), state)[0]
            return state, jnp.stack([jnp.asarray(f(state.position, y), float) for f in model.statistics.values()])

        return jax.lax.scan(body, start_state(bound, start_key, theta), jnp.arange(steps))[1]

    values = np.asarray(chain())
    centred = values - values.mean(axis=0)
    spread = np.mean(centred**2, axis=0)
    longest = max(1, steps // 10)
    for lag in range(1, longest + 1):
        correlation = np.mean(centred[lag:] * centred[:-lag], axis=0) / np.where(spread > 0, spread, 1.0)
        if np.all(correlation <= level):
            return PilotThinning(lag, level)
    return PilotThinning(longest, level)
