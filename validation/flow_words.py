"""What is wrong with a transition matrix, in words that a person can act on."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Float, PyTree

from ergodica.theory.finite_chain import stationary_law

__all__ = ["balance_words", "invariance_words", "label_of"]


def label_of(states: PyTree, index: int) -> str:
    """Return a state as text."""
    leaves: Any = jax.tree.map(lambda leaf: np.asarray(leaf)[index].tolist(), states)
    return str(leaves)


def balance_words(
    matrix: Float[np.ndarray, "n n"], target: Float[np.ndarray, " n"], states: PyTree, here: int, there: int
) -> str:
    """Say which two states exchange unequal flows, and by how much which move is too frequent.

    Parameters
    ----------
    matrix, target, states
        The chain, its target, and the states for their names.
    here, there
        The two states.
    """
    flow, back = target[here] * matrix[here, there], target[there] * matrix[there, here]
    if flow < back:
        here, there, flow, back = there, here, back, flow
    a, b = label_of(states, here), label_of(states, there)
    words = f"from state {a} to {b} flows {flow:.6g}, back {back:.6g}"
    if back == 0:
        return f"{words}: the move from {a} to {b} is made with probability {matrix[here, there]:.6g} and never undone"
    wanted, wanted_back = back / target[here], flow / target[there]
    words += (
        f": the move from {a} to {b} has probability {matrix[here, there]:.6g}, which balances at {wanted:.6g} (too large "
        f"by {matrix[here, there] - wanted:.3g}, a factor of {flow / back:.4g})"
    )
    if wanted_back <= 1:
        words += (
            f", unless it is the move back that is too rare, {matrix[there, here]:.6g} instead of {wanted_back:.6g}"
        )
    return words


def invariance_words(
    matrix: Float[np.ndarray, "n n"],
    target: Float[np.ndarray, " n"],
    states: PyTree,
    *,
    reversible: bool,
    steps: int = 1,
) -> str:
    """Say which state gains or loses probability, in exchange with which, and what law is left invariant instead.

    Parameters
    ----------
    matrix, target, states
        The chain, its target, and the states for their names.
    reversible
        Whether detailed balance is claimed.
    steps
        Steps that the matrix makes.
    """
    arrived = target @ matrix
    worst = int(np.argmax(np.abs(arrived - target)))
    flow_in, flow_out = target * matrix[:, worst], target[worst] * matrix[worst]
    net = np.where(np.arange(len(target)) == worst, 0.0, flow_in - flow_out)
    gains = arrived[worst] > target[worst]
    partner = int(np.argmax(net if gains else -net))
    verb = "gains" if gains else "loses"
    words = [
        f"after {'one step' if steps == 1 else f'{steps} steps'} from the target, state {label_of(states, worst)} has "
        f"probability {arrived[worst]:.9g} instead of "
        f"{target[worst]:.9g}; it {verb} most in exchange with state {label_of(states, partner)}: {flow_in[partner]:.6g} "
        f"flows in, {flow_out[partner]:.6g} out"
    ]
    inside = target > 0
    # Rows that are no laws have no stationary law either.
    if np.all(np.isfinite(matrix)) and np.allclose(matrix.sum(axis=1), 1.0, atol=1e-9):
        try:
            law = stationary_law(matrix)
        except (ValueError, np.linalg.LinAlgError):
            law = None
        if law is not None and np.allclose(law @ matrix, law, atol=1e-9):
            distance = 0.5 * float(np.abs(law - target).sum())
            most = int(np.argmax(np.abs(law - target)))
            words.append(
                f"the law that the code leaves invariant gives state {label_of(states, most)} {law[most]:.6g} instead of "
                f"{target[most]:.6g} (total variation {distance:.3g})"
            )
    # A cause, where the whole matrix shows one.
    if reversible and np.count_nonzero(inside) > 1 and np.all(np.diag(matrix)[inside] <= 1e-15):
        words.append(
            "no state is ever held: if rejected proposals are drawn again until one is accepted, let a rejection be a step "
            "that stays instead"
        )
    return "; ".join(words)
