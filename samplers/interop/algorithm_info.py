"""What a step of another library's algorithm reports."""

from typing import NamedTuple

from jaxtyping import Array, Bool, Float, Int

__all__ = ["AlgorithmInfo"]


class AlgorithmInfo(NamedTuple):
    """What a step reports, under the names of the ArviZ schema; ``None`` for what the algorithm does not report.

    Parameters
    ----------
    acceptance_rate
        Acceptance probability, or its mean along the trajectory.
    is_accepted
        Whether the proposal was taken.
    diverging
        Whether the trajectory has diverged.
    n_steps
        Steps of the integrator.
    energy
        Energy of the new state.
    num_grad_evals
        Evaluations of the log density with its gradient, where each step of the integrator makes one.
    """

    acceptance_rate: Float[Array, ""] | None
    is_accepted: Bool[Array, ""] | None
    diverging: Bool[Array, ""] | None
    n_steps: Int[Array, ""] | None
    energy: Float[Array, ""] | None
    num_grad_evals: Int[Array, ""] | None
