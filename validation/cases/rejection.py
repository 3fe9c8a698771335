"""Rows of the catalogue for classical rejection and exact simulation.

A sampler with a loop without end has infinitely many paths. Its cap makes them finite: the kernels claim that a step
keeps the target whatever the cap, so that their laws are enumerated with caps of a few trials.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.acceptance.rejection.adaptive import AdaptiveRejection
from ergodica.samplers.acceptance.rejection.adaptive_weighted import AdaptiveWeightedRejection
from ergodica.samplers.acceptance.rejection.alias import AliasTable
from ergodica.samplers.acceptance.rejection.coupling_from_the_past import (
    CouplingFromThePast,
    MonotoneCouplingFromThePast,
)
from ergodica.samplers.acceptance.rejection.hull import log_area
from ergodica.samplers.acceptance.rejection.partial_rejection import PartialRejection, sink_free_events
from ergodica.samplers.acceptance.rejection.plain import Rejection
from ergodica.samplers.acceptance.rejection.ratio_of_uniforms import RatioOfUniforms
from ergodica.samplers.acceptance.rejection.read_once_coupling import ReadOnceCoupling, ReadOnceState
from ergodica.samplers.acceptance.rejection.rerandomisation import Rerandomisation
from ergodica.samplers.acceptance.rejection.squeeze import SqueezedRejection
from ergodica.samplers.acceptance.rejection.truncated_normal import TruncatedNormal
from ergodica.samplers.acceptance.rejection.two_coin import TwoCoinBarker
from ergodica.samplers.metropolis.finite import RingWalk
from ergodica.samplers.metropolis.independence import CategoricalProposal, NormalProposal
from ergodica.validation.enumeration import enumerate_law
from ergodica.validation.evidence import Case, Check, Outcome
from ergodica.validation.exact import check_exact, exact_check
from ergodica.validation.host import on_chosen_host
from ergodica.validation.replicates import Replicates
from ergodica.validation.sequential import sequential
from ergodica.validation.stationary_start import kolmogorov_pvalue, stationary_start_check
from ergodica.validation.targets.continuous import exponential1, standard_normal
from ergodica.validation.targets.finite import ring4
from ergodica.validation.targets.target import FiniteTarget, Target

Adapt = Callable[[Any], Any]

_ROUNDING = 1e-12


def adapted(check: Check, adapt: Adapt) -> Check:
    """Return the check of what ``adapt`` makes of the subject."""
    return Check(check.name, lambda subject, key: check.run(adapt(subject), key), check.seconds)


def _no_density(position: Any) -> Array:
    raise TypeError(f"this law has no log density, not even at {position}")


def finite_law(name: str, states: Any, weights: Any) -> FiniteTarget:
    """Return the law that a kernel without a log density has to keep."""
    weights = np.asarray(weights, np.float64)
    return FiniteTarget(name, states, weights / weights.sum(), Partial(_no_density))


# --- rejection from a proposal --------------------------------------------------------------------------------------

PROPOSAL4 = np.array([0.4, 0.3, 0.2, 0.1])
"""A proposal that is small where the target on four states is large."""


def _table(values: Array, position: Array) -> Array:
    return jnp.asarray(values)[position]


def _log_ratios() -> np.ndarray:
    target = ring4()
    logs = np.array([float(target.logdensity(jnp.asarray(state))) for state in target.states])
    return logs - np.log(PROPOSAL4)


def _plain(subject: Any, *, max_trials: int = 2) -> Any:
    return type(subject)(CategoricalProposal(PROPOSAL4), _log_ratios().max(), max_trials=max_trials)


def _squeezed(subject: Any, *, upper: bool = True) -> Any:
    logs = _log_ratios() + np.log(PROPOSAL4)
    lower = Partial(_table, logs + np.log([0.5, 0.9, 0.0001, 1.0]))
    above = Partial(_table, logs + np.log([1.5, 1.0, 1.2, 1.0])) if upper else None
    return type(subject)(CategoricalProposal(PROPOSAL4), _log_ratios().max(), lower, above, max_trials=2)


WIDE = 1.5


def _normal_bound(target: Target) -> float:
    """Return the log of the largest ratio of a standard normal density, as given, to that of the wider proposal."""
    origin = jnp.zeros(target.dim)
    return float(target.logdensity(origin) - NormalProposal(np.zeros(target.dim), WIDE).log_prob(origin))


def _lower_parabola(x: Array) -> Array:
    return jnp.log(jnp.maximum(1 - 0.5 * jnp.sum(x**2), 0))


def _plain_normal(subject: Any) -> Any:
    return type(subject)(NormalProposal(np.zeros(2), WIDE), _normal_bound(standard_normal(2)))


def _squeezed_normal(subject: Any) -> Any:
    target = standard_normal(2)
    offset = float(target.logdensity(jnp.zeros(2)))
    lower = Partial(_shifted, offset)
    return type(subject)(NormalProposal(np.zeros(2), WIDE), _normal_bound(target), lower)


def _shifted(offset: Array, x: Array) -> Array:
    return _lower_parabola(x) + offset


# --- densities on a line --------------------------------------------------------------------------------------------


def _minus_half_square(x: Array) -> Array:
    return -0.5 * jnp.sum(x**2)


def hull_check() -> Check:
    """Make a check of the first hull of ``exp(-x^2 / 2)`` touched at -1 and 1, whose area is ``2 sqrt(e)``."""

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        del key
        kernel = type(subject)([-1.0, 1.0], logdensity=_minus_half_square)
        hull = kernel.init(jnp.asarray(1.0)).hull
        error = abs(np.exp(float(jax.jit(log_area)(hull, kernel.low, kernel.high))) - 3.297442541400256)
        return Outcome(float(error), _ROUNDING, bool(error <= _ROUNDING), 0.0, "the area of the hull is wrong")

    return Check("closed form: area of the first hull", run, 1.0)


def normal_box(power: float = 1.0) -> tuple[float, float, float]:
    """Return the exact box of ``exp(-x^2 / 2)``: the extremes of ``x exp(-x^2 s / 2)`` are at ``1 / sqrt(s)``."""
    share = power / (power + 1)
    reach = float(np.exp(-0.5) / np.sqrt(share))
    return 0.0, -reach, reach


def _ratio(subject: Any, power: float, target: Target) -> Any:
    _, low, high = normal_box(power)
    peak = float(target.logdensity(jnp.zeros(1)))
    # A box with room to spare serves as well.
    return type(subject)((peak + 0.01, 1.05 * low, 1.02 * high), power=power)


# --- finite laws ----------------------------------------------------------------------------------------------------

WEIGHTS = ((1,), (1, 1), (1, 0, 3), (5, 2, 0, 0, 9, 1), (10**6, 1, 1, 1), (3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5))


def alias_check() -> Check:
    """Make a check that the code that draws has the law of the weights, and that the columns say so."""

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        error = 0.0
        for weights in WEIGHTS:
            table = type(subject)(np.array(weights, float))
            law = np.array(weights) / sum(weights)
            drawn = enumerate_law(lambda key, table=table: table.draw(key), key).vector(len(weights))
            error = max(error, float(np.abs(drawn - law).max()), float(np.abs(table.law() - law).max()))
        return Outcome(error, 1e-14, error <= 1e-14, 0.0, "the law of a draw is not that of the weights")

    return Check("exact law: draws from a table", run, 1.0)


INTERVALS = (
    (-1.0, 1.0),
    (-0.5, 2.8),
    (-np.inf, np.inf),
    (0.3, 9.0),
    (0.0, 0.5),
    (0.0, np.inf),
    (2.0, 2.4),
    (8.0, np.inf),
    (-np.inf, -9.0),
    (-3.0, -2.0),
    (30.0, 30.01),
)
"""An interval or more for each proposal, on both sides, as seen from the mean."""


def intervals_check(*, n: int = 2000, alpha: float = 1e-6) -> Check:
    """Make a check of the law on each of :data:`INTERVALS`, with a mean and a scale that are not 0 and 1."""
    from scipy import special

    loc, scale = 0.7, 1.9

    def share(x: np.ndarray, low: float, high: float) -> np.ndarray:
        """Distribution function, from the tail on the side where it is small."""
        if low > 0:
            return 1 - share(-x, -high, -low)
        log_low, log_high = special.log_ndtr(low), special.log_ndtr(high)
        if np.isinf(log_low):
            return np.asarray(np.exp(special.log_ndtr(x) - log_high))
        return np.asarray(np.expm1(special.log_ndtr(x) - log_low) / np.expm1(log_high - log_low))

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        low, high = (np.array(ends) for ends in zip(*INTERVALS, strict=True))
        kernel = type(subject)(loc + scale * low, loc + scale * high, loc, scale)
        inside = np.where(np.isfinite(low), low, np.where(np.isfinite(high), high, 0.0))
        state = kernel.init(jnp.asarray(loc + scale * inside))
        stepping = on_chosen_host(kernel)
        replicates = Replicates(lambda key: stepping.step(key, state)[0].position)

        def pvalue(key: PRNGKeyArray, n: int) -> dict[str, float]:
            drawn = (np.asarray(replicates(key, n), np.float64) - loc) / scale
            return {
                f"[{a:g}, {b:g}]": kolmogorov_pvalue(np.clip(share(drawn[:, i], a, b), 0, 1))
                if np.all(np.isfinite(drawn[:, i]))
                else 0.0
                for i, (a, b) in enumerate(INTERVALS)
            }

        return sequential(pvalue, key, alpha=alpha, n=n)

    return Check("independent draws: normal law on eleven intervals", run, 3.0)


# --- weighted tokens ------------------------------------------------------------------------------------------------

CONSTRAINED: tuple[tuple[tuple[int, ...], tuple[float, ...]], ...] = (
    ((4, 2, 1, 1), (0, 1, 0, 1)),
    ((5, 4, 12, 10, 7), (0, 1, 0, 1, 1)),
    ((3, 0, 2, 1), (0, 1, 1, 0)),
    ((1, 2, 3), (0, 0, 0)),
    ((2, 1, 1), (1, 1, 1)),
    ((3, 5, 1, 2), (0.5, 0, 2, 1)),
)
"""Weights of tokens, and potentials: constraints, with zeros, none or all allowed; and one that is shaped."""


def _weighted_token(subject: Any, p: np.ndarray, values: Array, key: PRNGKeyArray) -> Any:
    return subject.draw(key, p, lambda token: values[token])


def properly_weighted_check() -> Check:
    """Make a check that ``E[weight 1{token = x}] = p(x) potential(x)`` for every ``x``."""

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        error, where = 0.0, ""
        for weights, potential in CONSTRAINED:
            if subject.weight == "geometric" and len(weights) > 4:
                continue  # the number of paths grows like a power
            p = np.array(weights) / sum(weights)
            values = jnp.asarray(potential)
            law = enumerate_law(partial(_weighted_token, subject, p, values), key)
            found = np.zeros(len(weights))
            for drawn, probability in law:
                if drawn.token >= 0:
                    found[int(drawn.token)] += probability * float(drawn.weight)
            worst = float(np.abs(found - p * np.array(potential)).max())
            if not worst <= error:
                error, where = worst, f"p={weights}, potential={potential}: {found}"
        passed = bool(error <= _ROUNDING)
        return Outcome(error, _ROUNDING, passed, 0.0, "" if passed else f"weights are not proper for {where}")

    return Check("exact expectation: proper weights", run, 2.0)


# --- assignments ----------------------------------------------------------------------------------------------------

COVARIATES = np.array([[1.0, 0.3], [2.0, -1.0], [4.0, 0.5], [7.0, 0.1]])


def _assignments(subject: Any) -> Any:
    return type(subject)(COVARIATES, 2, 2.7, max_trials=2)


def balanced_law() -> FiniteTarget:
    """Return the uniform law on the assignments of four units that are balanced, by the definition of the distance."""
    states, gaps = [], np.linalg.inv(np.cov(COVARIATES.T) * 4 / (2 * 2))
    for treated in itertools.combinations(range(4), 2):
        assignment = np.isin(np.arange(4), treated).astype(np.int32)
        gap = COVARIATES[assignment == 1].mean(axis=0) - COVARIATES[assignment == 0].mean(axis=0)
        if gap @ gaps @ gap <= 2.7:
            states.append(assignment)
    return finite_law("balanced assignments", np.array(states), np.ones(len(states)))


# --- coins ----------------------------------------------------------------------------------------------------------

COINS4 = np.array([0.5, 0.25, 0.75, 0.8])
BOUNDS4 = ring4().probabilities / COINS4


def _coin(probabilities: Array, key: PRNGKeyArray, position: Array) -> Array:
    return random.bernoulli(key, jnp.asarray(probabilities)[position])


def _two_coins(subject: Any) -> Any:
    coin, bound = Partial(_coin, COINS4), Partial(_table, np.log(BOUNDS4))
    return type(subject)(RingWalk(4, 0.7), coin, bound, max_loops=3)


# --- coupling from the past -----------------------------------------------------------------------------------------


def clamped_walk(key: PRNGKeyArray, state: Array) -> Array:
    """Go up with probability 3/5 and down otherwise, held at the ends of ``{0, 1, 2}``."""
    return jnp.clip(state + 2 * random.bernoulli(key, 0.6).astype(state.dtype) - 1, 0, 2)


def clamped_law() -> FiniteTarget:
    """Return the stationary law of :func:`clamped_walk`."""
    return finite_law("walk on three states", np.arange(3), [4, 6, 9])


def read_once_check() -> Check:
    """Make a check that the joint law of the draw and the next start is kept, with a cap of two blocks."""

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        del key
        kernel = type(subject)(clamped_walk, np.arange(3), 2, max_blocks=2)
        pairs = np.array(list(itertools.product(range(3), repeat=2)))
        # A block of two updates is constant if both go up (9/25) or both down (4/25).
        joint = np.outer([4, 6, 9], [4, 0, 9]).reshape(-1)
        report = check_exact(
            kernel, finite_law("walk", ReadOnceState(pairs[:, 0], pairs[:, 1]), joint), tolerance=_ROUNDING
        )
        outcome = report.outcomes["invariance"]
        return Outcome(outcome.statistic, outcome.bound, outcome.passed, 0.0, outcome.details)

    return Check("exact law: draw and next start, walk on three states", run, 1.0)


def same_draws_check(*, num_keys: int = 2000) -> Check:
    """Make a check that following the extremes gives, key by key, the draws of following all states."""

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        extremes = type(subject)(clamped_walk, 0, 2)
        every = CouplingFromThePast(clamped_walk, 3)
        keys = random.split(key, num_keys)

        def draw(kernel: Any) -> np.ndarray:
            one = on_chosen_host(kernel)
            return np.asarray(jax.jit(jax.vmap(lambda k: one.step(k, kernel.init(jnp.asarray(1)))[0].position))(keys))

        differing = int(np.sum(draw(extremes) != draw(every)))
        details = f"{differing} of {num_keys} draws differ from those of following all states"
        return Outcome(float(differing), 0.0, differing == 0, 0.0, "" if differing == 0 else details)

    return Check("outcome for outcome: walk on three states", run, 2.0)


# --- partial rejection ----------------------------------------------------------------------------------------------

TRIANGLE_WITH_TAIL = ((0, 1), (1, 2), (2, 0), (0, 3))
NEIGHBOURS4 = [{i: 1, i + 1: 1} for i in range(3)]
OVERLAPPING = [{0: 1, 1: 1}, {1: 1, 2: 0}, {2: 1, 3: 0}, {0: 0, 3: 1}]


def without_events(name: str, laws: np.ndarray, events: Sequence[dict[int, int]]) -> FiniteTarget:
    """Return a product law, given that no event happens, by listing all values."""
    states = np.array(list(itertools.product(range(laws.shape[1]), repeat=len(laws))), np.int32)
    happens = [[all(state[i] == value for i, value in event.items()) for event in events] for state in states]
    kept = states[~np.any(happens, axis=1)]
    return finite_law(name, kept, np.prod(laws[np.arange(len(laws)), kept], axis=1))


def partial_check(name: str, laws: np.ndarray, events: Sequence[dict[int, int]], max_rounds: int = 1) -> Check:
    """Make a check of the law of a step on an instance."""
    return adapted(
        exact_check(name, without_events(name, laws, events)),
        lambda subject: type(subject)(laws, events, max_rounds=max_rounds),
    )


_BIASED = np.tile([0.4, 0.6], (4, 1))
_UNEQUAL = np.array([[0.4, 0.6], [0.5, 0.5], [0.3, 0.7], [0.8, 0.2]])


CASES: tuple[Case, ...] = (
    Case(
        "rejection",
        Rejection,
        lambda: Rejection(NormalProposal(np.zeros(2), WIDE), _normal_bound(standard_normal(2))),
        (
            adapted(exact_check("four states, two trials", ring4()), _plain),
            adapted(stationary_start_check("normal law", standard_normal(2), steps=1), _plain_normal),
        ),
    ),
    Case(
        "squeezed-rejection",
        SqueezedRejection,
        lambda: SqueezedRejection(
            NormalProposal(np.zeros(2), WIDE), _normal_bound(standard_normal(2)), _lower_parabola
        ),
        (
            adapted(exact_check("four states, two trials", ring4()), _squeezed),
            adapted(
                exact_check("four states, no upper squeeze", ring4()), lambda subject: _squeezed(subject, upper=False)
            ),
            adapted(stationary_start_check("normal law", standard_normal(2), steps=1), _squeezed_normal),
        ),
    ),
    Case(
        "adaptive-rejection",
        AdaptiveRejection,
        AdaptiveRejection,
        (
            hull_check(),
            adapted(
                stationary_start_check("normal law", standard_normal(1), steps=3, n=2000),
                lambda subject: type(subject)([-0.3, 2.0]),
            ),
            adapted(
                stationary_start_check("exponential law", exponential1(), steps=3, n=2000),
                lambda subject: type(subject)(low=0.0),
            ),
        ),
    ),
    Case(
        "ratio-of-uniforms",
        RatioOfUniforms,
        lambda: RatioOfUniforms(normal_box()),
        (
            adapted(
                stationary_start_check("normal law", standard_normal(1), steps=1),
                lambda subject: _ratio(subject, 1.0, standard_normal(1)),
            ),
            adapted(
                stationary_start_check("normal law, power 2", standard_normal(1), steps=1),
                lambda subject: _ratio(subject, 2.0, standard_normal(1)),
            ),
        ),
    ),
    Case("alias-table", AliasTable, lambda: AliasTable([5.0, 2.0, 1.0]), (alias_check(),)),
    Case(
        "truncated-normal",
        TruncatedNormal,
        lambda: TruncatedNormal(0.0, 1.0),
        (intervals_check(),),
    ),
    Case(
        "adaptive-weighted-rejection",
        AdaptiveWeightedRejection,
        AdaptiveWeightedRejection,
        (properly_weighted_check(),),
    ),
    Case(
        "rerandomisation",
        Rerandomisation,
        lambda: Rerandomisation(COVARIATES, 2, 2.7),
        (adapted(exact_check("four units, two trials", balanced_law()), _assignments),),
    ),
    Case(
        "two-coin-barker",
        TwoCoinBarker,
        lambda: TwoCoinBarker(RingWalk(4, 0.7), Partial(_coin, COINS4), Partial(_table, np.log(BOUNDS4))),
        (adapted(exact_check("four states, three tosses", ring4()), _two_coins),),
    ),
    Case(
        "coupling-from-the-past",
        CouplingFromThePast,
        lambda: CouplingFromThePast(clamped_walk, 3),
        (
            adapted(
                exact_check("walk on three states, four updates", clamped_law()),
                lambda subject: type(subject)(clamped_walk, 3, max_updates=4),
            ),
        ),
    ),
    Case(
        "monotone-coupling-from-the-past",
        MonotoneCouplingFromThePast,
        lambda: MonotoneCouplingFromThePast(clamped_walk, 0, 2),
        (same_draws_check(),),
    ),
    Case(
        "read-once-coupling",
        ReadOnceCoupling,
        lambda: ReadOnceCoupling(clamped_walk, np.arange(3), 2),
        (read_once_check(),),
    ),
    Case(
        "partial-rejection",
        PartialRejection,
        lambda: PartialRejection([0.5, 0.5], sink_free_events(TRIANGLE_WITH_TAIL, 4), num_variables=4),
        (
            partial_check("no sink in a graph of four nodes", _BIASED, sink_free_events(TRIANGLE_WITH_TAIL, 4), 2),
            partial_check("no two neighbours on a path", _BIASED, NEIGHBOURS4, 2),
            partial_check("four overlapping events", _UNEQUAL, OVERLAPPING, 1),
        ),
    ),
)
