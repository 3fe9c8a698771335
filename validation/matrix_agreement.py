"""A transition matrix three ways: from the code's choices, from the kernel's own formula, and from counted steps."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers import random
from ergodica.samplers.inputs import static_count
from ergodica.samplers.kernel import Kernel
from ergodica.validation.enumeration import EnumerationError, transition_matrix
from ergodica.validation.evidence import Outcome
from ergodica.validation.flow_words import label_of
from ergodica.validation.offer import first_line, with_target
from ergodica.validation.replicates import Replicates
from ergodica.validation.row_test import row_counts_test
from ergodica.validation.targets.target import FiniteTarget, start_state

__all__ = ["MatrixAgreement", "count_steps", "formula_matrix", "matrix_agreement"]


@dataclasses.dataclass(frozen=True)
class MatrixAgreement:
    """The transition matrix of one kernel from several sources.

    Parameters
    ----------
    enumerated
        From all random choices of the code; ``None`` if they cannot be enumerated.
    formula
        From the kernel's ``transition_row``; ``None`` if it has none.
    counts
        ``counts[s, t]``: how many of the compiled steps from state ``s`` led to ``t``.
    outcomes
        The comparisons that could be made, by name.
    missing
        Why a source is missing, by name.
    """

    enumerated: Float[np.ndarray, "n n"] | None
    formula: Float[np.ndarray, "n n"] | None
    counts: Int[np.ndarray, "n n"]
    outcomes: dict[str, Outcome]
    missing: dict[str, str]

    @property
    def passed(self) -> bool:
        """Whether something was compared and all of it agrees."""
        return bool(self.outcomes) and all(outcome.passed for outcome in self.outcomes.values())


def formula_matrix(kernel: Kernel[Any, Any], states: PyTree) -> Float[np.ndarray, "n n"] | None:
    """Return the matrix that a kernel says it has, by its ``transition_row(state)``; ``None`` if it does not say.

    Parameters
    ----------
    kernel
        The kernel, with its target.
    states
        All positions, stacked.
    """
    row_of: Any = getattr(kernel, "transition_row", None)
    if row_of is None:
        return None

    def row(position: PyTree) -> Any:
        return row_of(kernel.init(position, key=jax.random.key(0)))

    return np.asarray(jax.vmap(row)(jax.tree.map(jnp.asarray, states)))


def count_steps(
    kernel: Kernel[Any, Any], target: FiniteTarget, key: PRNGKeyArray, n: int
) -> tuple[Int[np.ndarray, "n n"], int]:
    """Count where independent compiled steps lead from every state.

    Parameters
    ----------
    kernel
        The kernel, with its target.
    target
        Names the states.
    key
        Typed key.
    n
        Steps from each state.

    Returns
    -------
    counts, lost
        Rows by origin, and the number of steps that left the states.
    """
    states = jnp.asarray(target.states)

    def experiment(key: PRNGKeyArray) -> Any:
        def one(position: Any, key: PRNGKeyArray) -> Any:
            start_key, step_key = random.split(key)
            moved = kernel.step(step_key, start_state(kernel, start_key, position))[0].position
            return target.index(moved[None])[0]

        return jax.vmap(one)(states, random.split(key, len(states)))

    arrivals = Replicates(experiment)(key, n)
    counts = np.stack([np.bincount(column[column >= 0], minlength=len(states)) for column in arrivals.T])
    return counts, int(np.sum(arrivals < 0))


def _compare(
    states: PyTree, one: Float[np.ndarray, "n n"], other: Float[np.ndarray, "n n"], tolerance: float
) -> Outcome:
    error = np.abs(one - other)
    here, there = (int(i) for i in np.unravel_index(np.argmax(error), error.shape))
    details = (
        f"from {label_of(states, here)} to {label_of(states, there)} the code has probability {one[here, there]:.9g}, the "
        f"formula says {other[here, there]:.9g}"
    )
    worst = float(error[here, there])
    return Outcome(worst, tolerance, worst <= tolerance, 0.0, "" if worst <= tolerance else details)


def matrix_agreement(
    kernel: Kernel[Any, Any],
    target: FiniteTarget,
    key: PRNGKeyArray,
    *,
    n: int = 2000,
    alpha: float = 1e-6,
    tolerance: float = 1e-12,
) -> MatrixAgreement:
    """Get a kernel's transition matrix in every way that it allows, and compare.

    Two ways that share no code and agree leave little room for a mistake: enumeration walks the traced program, the formula
    is what its author believes, and counted steps come from the compiled program.

    Parameters
    ----------
    kernel
        The kernel; it is bound to the target if it takes a log density.
    target
        A law on finitely many states.
    key
        Typed key of the counted steps.
    n
        Counted steps from each state.
    alpha
        Proven bound of the false-alarm probability of each comparison with counts.
    tolerance
        Largest difference of enumeration and formula that counts as rounding.

    Returns
    -------
    MatrixAgreement
    """
    n = static_count("n", n)
    missing: dict[str, str] = {}
    outcomes: dict[str, Outcome] = {}
    with jax.enable_x64(True):
        bound = with_target(kernel, target)
        enumerated: Float[np.ndarray, "n n"] | None = None
        try:
            enumerated = transition_matrix(bound, target.states)
        except EnumerationError as error:
            missing["enumerated"] = first_line(error)
        formula = formula_matrix(bound, target.states)
        if formula is None:
            missing["formula"] = f"{type(kernel).__name__} has no transition_row"
        counts, lost = count_steps(bound, target, key, n)
    if enumerated is not None and formula is not None:
        outcomes["enumerated and formula"] = _compare(target.states, enumerated, formula, tolerance)
    for name, matrix in (("enumerated", enumerated), ("formula", formula)):
        if matrix is not None and np.all(counts.sum(axis=1) > 0):
            outcomes[f"{name} and counted"] = row_counts_test(counts, matrix, alpha=alpha)
    if lost:
        words = f"{lost} of {n * len(target.states)} compiled steps left the states"
        outcomes["inside the states"] = Outcome(float(lost), 0.0, False, 0.0, words)
    return MatrixAgreement(enumerated, formula, counts, outcomes, missing)
