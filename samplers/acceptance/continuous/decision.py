"""What a rule for drafts with densities decides."""

from typing import NamedTuple

from jaxtyping import Array, Bool, Int, PyTree


class ContinuousDecision(NamedTuple):
    """The outcome at one position.

    Parameters
    ----------
    value
        What is emitted, with the structure, shapes and dtypes of a draft.
    is_accepted
        Whether a draft was.
    draft_index
        Which draft; -1 if none.
    num_draws
        Draws of the target that were made after a rejection.
    is_valid
        Whether the value is one: False if a density was NaN or ``+inf``, or draws ran out. Floats are NaN then.
    """

    value: PyTree
    is_accepted: Bool[Array, ""]
    draft_index: Int[Array, ""]
    num_draws: Int[Array, ""]
    is_valid: Bool[Array, ""]
