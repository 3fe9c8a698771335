"""Exact checks of kernels on finite spaces, from their transition matrices."""

import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
from jaxtyping import Array, PRNGKeyArray, PyTree

from ergodica.samplers.kernel import Kernel
from ergodica.validation.enumeration import transition_matrix
from ergodica.validation.evidence import Check, Outcome
from ergodica.validation.host import on_chosen_host, steps_are_compiled


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


def _label(states: PyTree, index: int) -> str:
    leaves = jax.tree.map(lambda leaf: np.asarray(leaf)[index].tolist(), states)
    return str(leaves)


def _exact(statistic: float, bound: float, details: str) -> Outcome:
    passed = bool(statistic <= bound)
    return Outcome(float(statistic), bound, passed, 0.0, "" if passed else details)


def check_matrix(
    matrix: np.ndarray, probabilities: np.ndarray, states: PyTree, *, reversible: bool, tolerance: float = 1e-12
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
        row_error[worst], tolerance, f"the row of state {_label(states, worst)} sums to {matrix[worst].sum():.12g}"
    )

    arrived = target @ matrix
    gap = np.abs(arrived - target)
    worst = int(np.argmax(gap))
    flow_in = target * matrix[:, worst]
    flow_out = target[worst] * matrix[worst]
    partner = int(np.argmax(np.abs(flow_in - flow_out)))
    outcomes["invariance"] = _exact(
        gap[worst],
        tolerance,
        f"after one step from the target, state {_label(states, worst)} has probability {arrived[worst]:.9g} instead of "
        f"{target[worst]:.9g}; the largest net flow is with state {_label(states, partner)}: "
        f"{flow_in[partner]:.6g} in, {flow_out[partner]:.6g} out",
    )

    flows = target[:, None] * matrix
    imbalance = np.abs(flows - flows.T)
    here, there = (int(i) for i in np.unravel_index(np.argmax(imbalance), imbalance.shape))
    defect = float(imbalance[here, there])
    if reversible:
        outcomes["detailed balance"] = _exact(
            defect,
            tolerance,
            f"the flow from {_label(states, here)} to {_label(states, there)} is {flows[here, there]:.9g}, back "
            f"{flows[there, here]:.9g}",
        )

    inside = target > 0
    leak = matrix[np.ix_(inside, ~inside)]
    outcomes["closed support"] = _exact(
        float(leak.max(initial=0.0)), 1e-15, "a state of positive probability leads to one of probability zero"
    )

    graph: Any = scipy.sparse.csr_matrix(matrix[np.ix_(inside, inside)] > 1e-15)
    count, classes = scipy.sparse.csgraph.connected_components(graph, directed=True, connection="strong")
    members = [np.flatnonzero(inside)[classes == number] for number in range(count)]
    shown = "; ".join(f"mass {target[group].sum():.4g} with {_label(states, int(group[0]))}" for group in members[:4])
    outcomes["irreducible"] = _exact(float(count), 1.0, f"the support falls into {count} classes: {shown}")

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
    tolerance
        Largest error that counts as rounding.
    max_paths
        Most paths of the enumeration.

    Returns
    -------
    ExactReport
        As :func:`check_matrix`, with detailed balance checked where the kernel's claim says ``reversible=True``. If the
        kernel offers ``transition_row(state)``, its rows are compared with the enumerated ones.

    Raises
    ------
    EnumerationError
        If the kernel cannot be enumerated; the message says which call is the reason.
    """
    with jax.enable_x64(True):
        if kernel.takes_logdensity:
            kernel = kernel.bind(target.logdensity)
        matrix = transition_matrix(kernel, target.states, max_paths=max_paths)
        report = check_matrix(
            matrix, target.probabilities, target.states, reversible=bool(kernel.claim.reversible), tolerance=tolerance
        )
        row_of = getattr(kernel, "transition_row", None)
        if row_of is None:
            return report

        def row(position: PyTree) -> Array:
            state = kernel.init(position, key=jax.random.key(0))
            out: Array = row_of(state)
            return out

        rows = np.asarray(jax.vmap(row)(jax.tree.map(jnp.asarray, target.states)))
    worst = np.unravel_index(np.argmax(np.abs(rows - matrix)), matrix.shape)
    outcomes = dict(report.outcomes)
    outcomes["transition_row"] = _exact(
        float(np.abs(rows - matrix).max()),
        tolerance,
        f"from {_label(target.states, int(worst[0]))} to {_label(target.states, int(worst[1]))} the code has probability "
        f"{matrix[worst]:.9g}, transition_row says {rows[worst]:.9g}",
    )
    return dataclasses.replace(report, outcomes=outcomes)


def exact_check(name: str, target: FiniteLaw, *, tolerance: float = 1e-12, seconds: float = 1.0) -> Check:
    """Make a catalogue check of :func:`check_exact` on a finite target.

    Parameters
    ----------
    name
        Name of the target, for the check's name.
    target
        The target.
    tolerance
        As in :func:`check_exact`.
    seconds
        Rough cost.
    """

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        if steps_are_compiled():
            return _same_moves(subject, target, key)
        report = check_exact(subject, target, tolerance=tolerance)
        failing = {label: outcome for label, outcome in report.outcomes.items() if not outcome.passed}
        numeric = [outcome for label, outcome in report.outcomes.items() if label != "irreducible"]
        worst = max(numeric, key=lambda outcome: outcome.statistic / outcome.bound)
        if failing:
            label, worst = next(iter(failing.items()))
            return dataclasses.replace(worst, details=f"{label}: {worst.details}")
        return worst

    return Check(f"exact law: {name}", run, seconds)


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
