"""Rows of the catalogue for Metropolis-Hastings: acceptance rules, random walks, finite and independence proposals."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.acceptance.metropolis import Barker, GeneralisedBarker, Lazy, Metropolis
from ergodica.samplers.compose import repeat
from ergodica.samplers.corrected import Corrected, Proposal
from ergodica.samplers.metropolis.finite import FiniteMetropolis, MatrixWalk, NeighbourWalk, RingWalk, UnitStep
from ergodica.samplers.metropolis.independence import CategoricalProposal, IndependenceMetropolis, NormalProposal
from ergodica.samplers.metropolis.random_walk import RandomWalk
from ergodica.theory.independence import gaussian_acceptance, independence_eigenvalues
from ergodica.theory.metropolis import random_walk_acceptance
from ergodica.validation.evidence import Case, Check, Outcome
from ergodica.validation.exact import FiniteLaw, check_exact, exact_check
from ergodica.validation.host import on_chosen_host
from ergodica.validation.rank import rank_check
from ergodica.validation.stationary_start import stationary_start_check
from ergodica.validation.targets.continuous import standard_normal, student
from ergodica.validation.targets.finite import GRAPH5_EDGES, graph5, graph5_matrix, ring4, ring6
from ergodica.validation.targets.model import normal_model
from ergodica.validation.targets.target import FiniteTarget, Target

Adapt = Callable[[Any], Any]
"""Puts a check's own proposal into the subject, or a rule into a kernel."""


def adapted(check: Check, adapt: Adapt) -> Check:
    """Return the check of what ``adapt`` makes of the subject."""
    return Check(check.name, lambda subject, key: check.run(adapt(subject), key), check.seconds)


def acceptance_check(
    name: str, target: Target, expected: float, *, adapt: Adapt, n: int = 40_000, alpha: float = 1e-6
) -> Check:
    """Make a check of the stationary acceptance rate against a closed form.

    The acceptance probabilities of ``n`` independent steps from exact draws lie in [0, 1], so that their mean is off by
    more than ``sqrt(log(2 / alpha) / (2 n))`` with probability at most ``alpha`` (Hoeffding).

    Parameters
    ----------
    name
        Name of the check; the method is put in front.
    target
        Target with exact draws.
    expected
        The rate.
    adapt
        Makes the kernel, whose rate is known, from the subject.
    n
        Number of steps.
    alpha
        Proven bound of the false-alarm probability.
    """

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        kernel = adapt(subject).bind(target.logdensity)
        stepping = on_chosen_host(kernel)

        def one(key: PRNGKeyArray) -> Array:
            start_key, step_key = random.split(key)
            state = kernel.init(target.sample(start_key, 1)[0])
            rate: Array = stepping.step(step_key, state)[1].acceptance_rate
            return rate

        rates = np.asarray(jax.jit(jax.vmap(one))(random.split(key, n)), np.float64)
        error, bound = abs(float(rates.mean()) - expected), math.sqrt(math.log(2 / alpha) / (2 * n))
        return Outcome(error, bound, error <= bound, alpha, f"the rate is {rates.mean():.5f}, not {expected:.5f}")

    return Check(f"stationary acceptance: {name}", run, 2.0)


def holes() -> FiniteTarget:
    """Return a law on six states, two of which have probability zero."""
    weights = np.array([2.0, 0.0, 1.0, 3.0, 0.0, 2.0])

    def logdensity(log_weights: Array, x: Array) -> Array:
        return jnp.asarray(log_weights)[x]

    with np.errstate(divide="ignore"):
        table = np.log(weights)
    return FiniteTarget("holes", np.arange(6), weights / weights.sum(), Partial(logdensity, table))


def holes_proposal() -> MatrixWalk:
    """Return a proposal on :func:`holes` that is asymmetric, has zeros, and leads into the holes."""
    matrix = np.array(
        [
            [0.1, 0.3, 0.4, 0.0, 0.1, 0.1],
            [0.2, 0.0, 0.2, 0.2, 0.2, 0.2],
            [0.2, 0.2, 0.0, 0.5, 0.1, 0.0],
            [0.0, 0.3, 0.2, 0.1, 0.0, 0.4],
            [0.5, 0.0, 0.0, 0.0, 0.0, 0.5],
            [0.3, 0.1, 0.0, 0.3, 0.3, 0.0],
        ]
    )
    return MatrixWalk(matrix)


def graph5_proposal() -> NeighbourWalk:
    """Return the uniform-neighbour proposal on :func:`graph5`."""
    table = np.full((5, 3), -1)
    for i in range(5):
        around = [b if a == i else a for a, b in GRAPH5_EDGES if i in (a, b)]
        table[i, : len(around)] = around
    return NeighbourWalk(table)


def path8() -> FiniteTarget:
    """Return weights (1, 2, 3, 4, 4, 3, 2, 1) on a path of eight states, as a law on all integers."""
    weights = np.array([1.0, 2.0, 3.0, 4.0, 4.0, 3.0, 2.0, 1.0])

    def logdensity(table: Array, x: Array) -> Array:
        inside = (x >= 0) & (x < table.size)
        return jnp.where(inside, jnp.log(table)[jnp.clip(x, 0, table.size - 1)], -jnp.inf)

    return FiniteTarget("path8", np.arange(8), weights / weights.sum(), Partial(logdensity, weights))


IMH4 = (np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.25, 0.25, 0.4, 0.1]))
"""Target and proposal of a small independence chain, with eigenvalues 1, 0.75, 0.15 and 0.11666..."""


def imh4() -> FiniteTarget:
    """Return the target of :data:`IMH4`, which is :func:`ring4`'s."""
    return ring4()


class DriftStep(Proposal):
    """Propose ``N(0.7 x, 0.8^2)`` in every coordinate: a proposal that is not symmetric."""

    def propose(self, key: PRNGKeyArray, position: Float[Array, " d"]) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        """Draw a candidate."""
        candidate = 0.7 * position + 0.8 * random.normal(key, position.shape, position.dtype)
        there, back = candidate - 0.7 * position, position - 0.7 * candidate
        return candidate, 0.5 * jnp.sum(there**2 - back**2) / 0.64


def balance_check() -> Check:
    """Make a check that an acceptance probability satisfies ``a(r) = r a(1/r)``, is 0 at 0, and rejects NaN."""

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        del key
        with jax.enable_x64(True):
            log_ratio = jnp.concatenate([jnp.linspace(0.0, 40.0, 401), jnp.array([1e-300, 1e-12, 720.0, jnp.inf])])
            up, down = (np.asarray(subject.probability(sign * log_ratio)) for sign in (1, -1))
            edges = np.asarray(subject.probability(jnp.array([-jnp.inf, jnp.nan])))
            imbalance = np.abs(down - np.exp(-np.asarray(log_ratio)) * up)
        outside = np.concatenate([up - 1, -up, down - 1, -down, np.abs(edges)])
        # NaN, wherever it comes from, is carried by np.max and fails the comparison.
        error = np.max(np.concatenate([imbalance, outside]))
        return Outcome(
            float(error), 1e-14, bool(error <= 1e-14), 0.0, "a(r) = r a(1/r) fails, or a(0) or a(NaN) is not 0"
        )

    return Check("balance: a(r) = r a(1/r)", run, 0.2)


def _matrix_check(name: str, target: FiniteLaw, expected: np.ndarray, adapt: Adapt) -> Check:
    """Hold the enumerated transition matrix against a known one."""

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        del key
        error = float(np.abs(check_exact(adapt(subject), target).matrix - expected).max())
        return Outcome(error, 1e-12, error <= 1e-12, 0.0, "the transition matrix is not the known one")

    return Check(f"exact matrix: {name}", run, 1.0)


def _spectrum_check() -> Check:
    """Hold the eigenvalues of an independence chain against theory."""

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        del key
        kernel = type(subject)(CategoricalProposal(IMH4[1]))
        eigenvalues = np.sort(np.linalg.eigvals(check_exact(kernel, imh4()).matrix).real)[::-1]
        error = float(np.abs(eigenvalues - independence_eigenvalues(*IMH4)).max())
        return Outcome(error, 1e-10, error <= 1e-10, 0.0, f"the eigenvalues are {eigenvalues}")

    # The proposal's probabilities are rounded where the default precision is single.
    return Check("spectrum: independence chain on four states", lambda s, k: _in_double(run, s, k), 1.0)


def _in_double(run: Callable[[Any, PRNGKeyArray], Outcome], subject: Any, key: PRNGKeyArray) -> Outcome:
    with jax.enable_x64(True):
        return run(subject, key)


def in_double(check: Check) -> Check:
    """Return the check, run in double precision."""
    return Check(check.name, lambda subject, key: _in_double(check.run, subject, key), check.seconds)


def _finite(proposal: Callable[[], Any]) -> Adapt:
    """Put a check's proposal into a finite kernel of the subject's class, or into one with the subject as its rule."""

    def adapt(subject: Any) -> Any:
        if hasattr(subject, "proposal"):
            return type(subject)(proposal(), subject.rule)
        return FiniteMetropolis(proposal(), subject)

    return adapt


def _twice(adapt: Adapt) -> Adapt:
    return lambda subject: repeat(adapt(subject), 2)


RING4 = _finite(lambda: RingWalk(4, 0.7))
RING4_MATRIX = np.array([[0.1, 0.6, 0, 0.3], [0.3, 0.25, 0.45, 0], [0, 0.3, 0.3, 0.4], [0.075, 0, 0.3, 0.625]])

RULE_CHECKS = (
    balance_check(),
    adapted(exact_check("ring4, asymmetric walk", ring4()), RING4),
    adapted(exact_check("states of probability zero, proposal with zeros", holes()), _finite(holes_proposal)),
)


def _in_dimension(make: Callable[[int], Check], name: str, seconds: float) -> Check:
    """Make a check in the dimension that a random walk's scale has, 2 if it is a number."""

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        return make(subject.scale.shape[-1] if subject.scale.ndim else 2).run(subject, key)

    return Check(name, run, seconds)


CASES: tuple[Case, ...] = (
    Case("metropolis-rule", Metropolis, Metropolis, RULE_CHECKS),
    Case("barker-rule", Barker, Barker, RULE_CHECKS),
    Case("generalised-barker-rule", GeneralisedBarker, lambda: GeneralisedBarker(3.0), RULE_CHECKS),
    Case("lazy-rule", Lazy, lambda: Lazy(Barker(), 0.6), RULE_CHECKS),
    Case(
        "corrected",
        Corrected,
        lambda: Corrected(DriftStep()),
        (
            adapted(exact_check("ring4, asymmetric walk", ring4()), RING4),
            adapted(exact_check("ring6, two steps", ring6()), _twice(_finite(lambda: RingWalk(6, 0.4)))),
            adapted(exact_check("unit steps on a path", path8()), _finite(UnitStep)),
            adapted(
                rank_check("normal model, drifting proposal", normal_model(1)),
                lambda subject: type(subject)(DriftStep(), subject.rule),
            ),
        ),
    ),
    Case(
        "random-walk",
        RandomWalk,
        lambda: RandomWalk(1.0),
        (
            _in_dimension(lambda dim: rank_check("normal model", normal_model(dim)), "rank: normal model", 3.0),
            _in_dimension(
                lambda dim: stationary_start_check("Student's law", student(dim)),
                "stationary start: Student's law",
                3.0,
            ),
            acceptance_check(
                "standard normal law in dimension 3",
                standard_normal(3),
                random_walk_acceptance(3, 1.4),
                adapt=lambda subject: type(subject)(1.4),
            ),
        ),
    ),
    Case(
        "finite-metropolis",
        FiniteMetropolis,
        lambda: FiniteMetropolis(RingWalk(4, 0.7)),
        (
            adapted(exact_check("ring4, asymmetric walk", ring4()), RING4),
            adapted(exact_check("graph5, uniform neighbours", graph5()), _finite(graph5_proposal)),
            adapted(exact_check("states of probability zero, proposal with zeros", holes()), _finite(holes_proposal)),
            adapted(exact_check("ring6, two steps", ring6()), _twice(_finite(lambda: RingWalk(6, 0.4)))),
            in_double(_matrix_check("ring4", ring4(), RING4_MATRIX, lambda s: type(s)(RingWalk(4, 0.7)))),
            in_double(_matrix_check("graph5", graph5(), graph5_matrix(), lambda s: type(s)(graph5_proposal()))),
        ),
    ),
    Case(
        "independence-metropolis",
        IndependenceMetropolis,
        lambda: IndependenceMetropolis(NormalProposal(np.zeros(2), 1.5)),
        (
            adapted(exact_check("four states", imh4()), _finite(lambda: CategoricalProposal(IMH4[1]))),
            adapted(
                exact_check("four states, two steps", imh4()), _twice(_finite(lambda: CategoricalProposal(IMH4[1])))
            ),
            _spectrum_check(),
            adapted(
                rank_check("normal model, normal proposal", normal_model(1)),
                lambda subject: type(subject)(NormalProposal(np.array([0.3]), 1.5), subject.rule),
            ),
            acceptance_check(
                "standard normal law in dimension 2",
                standard_normal(2),
                gaussian_acceptance(2, 1.5),
                adapt=lambda subject: type(subject)(NormalProposal(np.zeros(2), 1.5)),
            ),
        ),
    ),
)
