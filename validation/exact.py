"""Exact checks of kernels on finite spaces, from their transition matrices."""

import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
from jaxtyping import Array, PRNGKeyArray, PyTree

from ergodica.samplers.inputs import static_count
from ergodica.samplers.kernel import Kernel
from ergodica.validation.enumeration import transition_matrix
from ergodica.validation.evidence import Check, Outcome
from ergodica.validation.flow_words import balance_words, invariance_words, label_of
from ergodica.validation.host import on_chosen_host, steps_are_compiled
from ergodica.validation.in_a_row import InARow
from ergodica.validation.matrix_agreement import formula_matrix
from ergodica.validation.pictures import MOST_STATES, Flows
from ergodica.validation.recipes.frozen_history import frozen_matrix


class FiniteLaw(Protocol):
    """A target on a finite space: all its points, and their probabilities."""

    @property
    def states(self) -> PyTree:
        """All points, stacked on a leading axis."""
        ...

    @property
    def probabilities(self) -> np.ndarray:
        """Their probabilities, in the same order."""
        ...

    def logdensity(self, position: PyTree) -> Array:
        """Log probability of a point, up to a constant."""
        ...


@dataclasses.dataclass(frozen=True)
class ExactReport:
    """What :func:`check_exact` found.

    Parameters
    ----------
    matrix
        The transition matrix, shape ``(n, n)``.
    outcomes
        The checks by name, in the order in which they were made.
    period
        Period of the chain on the support of the target; 1 for an aperiodic chain.
    balance_defect
        Largest imbalance of flow between two states, also where reversibility is not claimed.
    """

    matrix: np.ndarray
    outcomes: dict[str, Outcome]
    period: int
    balance_defect: float

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(outcome.passed for outcome in self.outcomes.values())

    def __str__(self) -> str:
        lines = []
        for name, outcome in self.outcomes.items():
            verdict = "ok  " if outcome.passed else "FAIL"
            lines.append(
                f"{verdict} {name}: {outcome.statistic:.3g} (bound {outcome.bound:.3g}) {outcome.details}".rstrip()
            )
        return "\n".join(lines)


def _exact(statistic: float, bound: float, details: str) -> Outcome:
    passed = bool(statistic <= bound)
    return Outcome(float(statistic), bound, passed, 0.0, "" if passed else details)


def check_matrix(
    matrix: np.ndarray,
    probabilities: np.ndarray,
    states: PyTree,
    *,
    reversible: bool,
    steps: int = 1,
    tolerance: float = 1e-12,
) -> ExactReport:
    """Check a transition matrix against a target.

    Parameters
    ----------
    matrix
        Transition probabilities, rows by origin, shape ``(n, n)``.
    probabilities
        The target, shape ``(n,)``, summing to one.
    states
        The points, stacked, for naming those that fail.
    reversible
        Whether detailed balance is claimed and therefore checked.
    steps
        Steps of the kernel that the matrix makes, for the words.
    tolerance
        Largest error that counts as rounding.

    Returns
    -------
    ExactReport
        Checks of the rows, of invariance, of detailed balance if claimed, of the closedness of the support and of
        irreducibility on it.
    """
    matrix = np.asarray(matrix, np.float64)
    target = np.asarray(probabilities, np.float64)
    outcomes: dict[str, Outcome] = {}

    row_error = np.maximum(np.abs(matrix.sum(axis=1) - 1), -matrix.min(axis=1))
    worst = int(np.argmax(row_error))
    outcomes["rows"] = _exact(
        row_error[worst], tolerance, f"the row of state {label_of(states, worst)} sums to {matrix[worst].sum():.12g}"
    )

    gap = float(np.abs(target @ matrix - target).max())
    invariance = _exact(gap, tolerance, "")
    if not invariance.passed:
        words = invariance_words(matrix, target, states, reversible=reversible, steps=steps)
        invariance = dataclasses.replace(invariance, details=words)
    outcomes["invariance"] = invariance

    flows = target[:, None] * matrix
    imbalance = np.abs(flows - flows.T)
    here, there = (int(i) for i in np.unravel_index(np.argmax(imbalance), imbalance.shape))
    defect = float(imbalance[here, there])
    if reversible:
        balance = _exact(defect, tolerance, "")
        if not balance.passed:
            words = balance_words(matrix, target, states, here, there)
            if invariance.passed:
                words += ". The target is invariant all the same: claim reversible=False, or mend the balance"
            balance = dataclasses.replace(balance, details=words)
        outcomes["detailed balance"] = balance

    inside = target > 0
    leak = np.where(inside[:, None] & ~inside, matrix, 0.0)
    origin, outside = (int(i) for i in np.unravel_index(np.argmax(leak), leak.shape))
    outcomes["closed support"] = _exact(
        float(leak.max(initial=0.0)),
        1e-15,
        f"state {label_of(states, origin)} leads to {label_of(states, outside)}, which has probability zero, with "
        f"probability {leak[origin, outside]:.6g}",
    )

    graph: Any = scipy.sparse.csr_matrix(matrix[np.ix_(inside, inside)] > 1e-15)
    count, classes = scipy.sparse.csgraph.connected_components(graph, directed=True, connection="strong")
    members = [np.flatnonzero(inside)[classes == number] for number in range(count)]
    shown = "; ".join(f"mass {target[group].sum():.4g} with {label_of(states, int(group[0]))}" for group in members[:4])
    outcomes["irreducible"] = _exact(
        float(count), 1.0, f"the support falls into {count} classes without a way to and fro: {shown}"
    )

    return ExactReport(matrix, outcomes, _period(graph), defect)


def _period(graph: Any) -> int:
    """Return the greatest common divisor of the lengths of all cycles through the first state's class."""
    order, predecessors = scipy.sparse.csgraph.breadth_first_order(graph, 0, directed=True, return_predecessors=True)
    level = np.full(graph.shape[0], -1)
    level[order[0]] = 0
    for node in order[1:]:
        level[node] = level[predecessors[node]] + 1
    sources, sinks = graph.nonzero()
    reached = (level[sources] >= 0) & (level[sinks] >= 0)
    lengths = np.abs(level[sources[reached]] + 1 - level[sinks[reached]])
    return int(np.gcd.reduce(lengths)) if len(lengths) else 0


def check_exact(
    kernel: Kernel[Any, Any],
    target: FiniteLaw,
    *,
    steps: int = 1,
    independent: bool = False,
    tolerance: float = 1e-12,
    max_paths: int = 2_000_000,
) -> ExactReport:
    """Check a kernel on a finite space by enumerating the code that runs.

    Parameters
    ----------
    kernel
        A kernel whose choices are discrete. It is bound to the target if it takes a log density. A kernel with a
        compiled core is represented by its ``reference()``.
    target
        States, probabilities and log density.
    steps
        Steps in a row. Two show what one cannot: a cache that the first step leaves stale.
    independent
        Whether a step is to forget its state wholly, so that every row is the target. A kernel that stays where it is when a
        capped loop runs out leaves the target invariant and fails this.
    tolerance
        Largest error that counts as rounding.
    max_paths
        Most paths of the enumeration.

    Returns
    -------
    ExactReport
        As :func:`check_matrix`, with detailed balance checked where the kernel's claim says ``reversible=True``. If
        the kernel offers ``transition_row(state)``, its rows are compared with the enumerated ones.

    Raises
    ------
    EnumerationError
        If the kernel cannot be enumerated; the message says which call is the reason.
    """
    steps = static_count("steps", steps)
    with jax.enable_x64(True):
        if kernel.takes_logdensity:
            kernel = kernel.bind(target.logdensity)
        walked = kernel if steps == 1 else InARow(_as_written(kernel), steps)
        try:
            matrix = transition_matrix(walked, target.states, max_paths=max_paths)
        except jax.errors.JAXTypeError:
            # Python decides on values: rows are replayed one by one.
            matrix = frozen_matrix(walked, walked.init, target.states, max_paths=max_paths)
        report = check_matrix(
            matrix,
            target.probabilities,
            target.states,
            reversible=bool(kernel.claim.reversible),
            steps=steps,
            tolerance=tolerance,
        )
        outcomes = dict(report.outcomes)
        if independent:
            outcomes["independent"] = _independent(matrix, target, tolerance)
        rows = formula_matrix(kernel, target.states) if steps == 1 else None
        if rows is not None:
            outcomes["transition_row"] = _as_promised(rows, matrix, target.states, tolerance)
    if steps > 1:
        del outcomes["irreducible"]  # two steps may split what one step connects
        report = dataclasses.replace(report, period=0)
    return dataclasses.replace(report, outcomes=outcomes)


def _as_written(kernel: Any) -> Any:
    """Return a kernel with a compiled core as its reference, which makes the same moves through choice points."""
    return kernel.reference() if hasattr(kernel, "reference") else kernel


def _independent(matrix: np.ndarray, target: FiniteLaw, tolerance: float) -> Outcome:
    error = np.abs(matrix - target.probabilities)
    here, there = (int(i) for i in np.unravel_index(np.argmax(error), error.shape))
    return _exact(
        float(error[here, there]),
        tolerance,
        f"claimed to forget the state, but from {label_of(target.states, here)} a draw is "
        f"{label_of(target.states, there)} with probability {matrix[here, there]:.9g} instead of "
        f"{target.probabilities[there]:.9g}",
    )


def _as_promised(rows: np.ndarray, matrix: np.ndarray, states: PyTree, tolerance: float) -> Outcome:
    worst = np.unravel_index(np.argmax(np.abs(rows - matrix)), matrix.shape)
    return _exact(
        float(np.abs(rows - matrix).max()),
        tolerance,
        f"from {label_of(states, int(worst[0]))} to {label_of(states, int(worst[1]))} the code has probability "
        f"{matrix[worst]:.9g}, transition_row says {rows[worst]:.9g}",
    )


def flows_of(name: str, matrix: np.ndarray, target: FiniteLaw) -> tuple[Flows, ...]:
    """Return the picture of the flows of a chain; none if there are too many states to be seen.

    Parameters
    ----------
    name
        Name of the chain.
    matrix
        Its transition matrix.
    target
        Its target.
    """
    if len(matrix) > MOST_STATES:
        return ()
    labels = tuple(label_of(target.states, index) for index in range(len(matrix)))
    return (Flows(name, labels, np.asarray(target.probabilities)[:, None] * matrix),)


def exact_check(
    name: str,
    target: FiniteLaw,
    *,
    steps: int = 1,
    independent: bool = False,
    tolerance: float = 1e-12,
    seconds: float = 1.0,
) -> Check:
    """Make a catalogue check of :func:`check_exact` on a finite target.

    Parameters
    ----------
    name
        Name of the target, for the check's name.
    target
        The target.
    steps, independent, tolerance
        As in :func:`check_exact`.
    seconds
        Rough cost.
    """

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        if steps_are_compiled():
            return _same_moves(subject, target, key)
        report = check_exact(subject, target, steps=steps, independent=independent, tolerance=tolerance)
        numeric = [outcome for label, outcome in report.outcomes.items() if label != "irreducible"]
        worst = max(numeric, key=lambda outcome: outcome.statistic / outcome.bound)
        details = f"period {report.period}: single draws do not converge, averages do" if report.period > 1 else ""
        failing = {label: outcome for label, outcome in report.outcomes.items() if not outcome.passed}
        if failing:
            worst = next(iter(failing.values()))
            details = ". ".join(f"{label}: {outcome.details}" for label, outcome in failing.items())
        pictures = flows_of(name, report.matrix, target) if steps == 1 else ()
        return dataclasses.replace(worst, details=details, pictures=pictures)

    after = "" if steps == 1 else f", {steps} steps"
    return Check(f"exact law{after}: {name}", run, seconds)


def _same_moves(kernel: Any, target: FiniteLaw, key: PRNGKeyArray, num_keys: int = 500) -> Outcome:
    """Compare compiled steps with those of XLA, whose law is the enumerated one: from each state, with many keys."""
    if kernel.takes_logdensity:
        kernel = kernel.bind(target.logdensity)
    hosts = (kernel, on_chosen_host(kernel))
    keys = jax.random.split(key, num_keys)

    def moved(stepping: Any) -> Any:
        def one(position: PyTree, key: PRNGKeyArray) -> PyTree:
            start_key, step_key = jax.random.split(key)
            return stepping.step(step_key, kernel.init(position, key=start_key))[0].position

        every = jax.vmap(jax.vmap(one, in_axes=(None, 0)), in_axes=(0, None))
        return jax.jit(every)(jax.tree.map(jnp.asarray, target.states), keys)

    theirs, ours = (jax.tree.leaves(moved(stepping)) for stepping in hosts)
    pairs = zip(theirs, ours, strict=True)
    axes = [tuple(range(2, leaf.ndim)) for leaf in theirs]
    other = sum(np.any(np.asarray(a != b), axis=axis) for (a, b), axis in zip(pairs, axes, strict=True))
    differing = int(np.count_nonzero(other))
    details = f"{differing} of {np.size(other)} compiled steps lead elsewhere than those of XLA with the same key"
    return Outcome(float(differing), 0.0, differing == 0, 0.0, details)
