"""Checks of adaptive chains on finite spaces: diminishing adaptation, containment, and the exact law of the chain.

An adaptive chain moves by one of several kernels with the same stationary law, and its past decides which. Each kernel may
be right and the chain wrong. It converges if the kernels change less and less (diminishing adaptation) and mix at a
common rate (containment); on a finite space the latter holds for finitely many irreducible and aperiodic kernels, and by
compactness for a closed set of parameters on which they depend continuously. There is no rate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from ergodica.theory.finite_chain import FiniteChain
from ergodica.theory.mixing import mixing_time
from ergodica.theory.transition_matrix import closed_classes, transition_matrix

__all__ = [
    "AdaptiveLaw",
    "Containment",
    "adaptation_distance",
    "adaptive_law",
    "containment",
    "coupling_bound",
    "joint_matrix",
]


@dataclass(frozen=True)
class Containment:
    """How long each kernel of an adaptive chain takes to mix.

    Parameters
    ----------
    value
        The longest mixing time, infinite if a kernel does not mix: containment holds if it is finite.
    mixing_times
        Of each kernel, shape ``(K,)``.
    defect
        The largest difference of a kernel's stationary law from the common one, in total variation. Unless it is zero up
        to rounding, there is nothing to converge to.
    """

    value: float
    mixing_times: Float[np.ndarray, " K"]
    defect: float


@dataclass(frozen=True)
class AdaptiveLaw:
    """The exact law of an adaptive chain.

    Parameters
    ----------
    law
        Of the state after each number of steps, shape ``(steps + 1, n)``.
    distance
        Its total variation distance from the target, shape ``(steps + 1,)``.
    adaptation
        The mean of :func:`adaptation_distance` between the kernels of successive steps, shape ``(steps,)``.
    """

    law: Float[np.ndarray, "t n"]
    distance: Float[np.ndarray, " t"]
    adaptation: Float[np.ndarray, " s"]


def _kernels(kernels: Sequence[ArrayLike]) -> Float[np.ndarray, "K n n"]:
    if len(kernels) == 0:
        raise ValueError("expected at least one kernel; got none")
    matrices = [np.asarray(transition_matrix(np.asarray(P, np.float64))) for P in kernels]
    if len({P.shape for P in matrices}) != 1:
        raise ValueError(f"kernels have to be on one space; got shapes {[P.shape for P in matrices]}")
    return np.stack(matrices)


def adaptation_distance(P: ArrayLike, Q: ArrayLike) -> float:
    """Return ``max_x TV(P(x, .), Q(x, .))``, by how much a kernel changes when it is replaced by another.

    Adaptation diminishes if this tends to zero in probability along the kernels of a chain.

    Parameters
    ----------
    P, Q
        Transition matrices, shape ``(n, n)``.
    """
    one, two = _kernels([P, Q])
    return float(0.5 * np.abs(one - two).sum(axis=1).max())


def containment(kernels: Sequence[ArrayLike], target: ArrayLike, *, eps: float = 0.25) -> Containment:
    """Return how long each of finitely many kernels takes to mix, and whether all have the target as stationary law.

    For a continuous family, pass a net of its parameters.

    Parameters
    ----------
    kernels
        Transition matrices, each of shape ``(n, n)``.
    target
        The law they should have, shape ``(n,)``, divided by its sum.
    eps
        Total variation distance that counts as mixed.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    References
    ----------
    G. O. Roberts and J. S. Rosenthal, 2007, J. Appl. Probab. 44(2), doi:10.1239/jap/1183667414.
    """
    matrices = _kernels(kernels)
    law = _target(target, matrices.shape[1])
    defect = 0.5 * float(np.abs(law @ matrices - law).sum(axis=1).max())
    times = np.array([mixing_time(FiniteChain(P), eps) if len(closed_classes(P)) == 1 else np.inf for P in matrices])
    return Containment(float(times.max()), times, defect)


def _target(target: ArrayLike, size: int) -> Float[np.ndarray, " n"]:
    law = np.asarray(target, np.float64)
    if law.shape != (size,) or not np.all(law >= 0) or not 0 < law.sum() < np.inf:
        raise ValueError(f"expected a target of {size} weights, at least 0; got shape {law.shape}")
    return np.asarray(law / law.sum())


def joint_matrix(kernels: Sequence[ArrayLike], update: ArrayLike) -> Float[np.ndarray, "m m"]:
    """Return the transition matrix of state and kernel together, if the rule that picks kernels does not change.

    Parameters
    ----------
    kernels
        ``K`` transition matrices, each of shape ``(n, n)``.
    update
        Integers, shape ``(K, n, n)``: entry ``(k, x, y)`` is the next kernel after kernel ``k`` moved from ``x`` to ``y``.

    Returns
    -------
    float64 array of shape (K n, K n)
        Rows and columns by ``k n + x``. The chain's law in the long run is the marginal of this matrix's stationary law,
        which is not that of the kernels in general.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a kernel's index is out of range.
    """
    matrices = _kernels(kernels)
    return _joint(matrices, _update(update, *matrices.shape[:2]))


def _update(update: ArrayLike, count: int, size: int) -> Int[np.ndarray, "K n n"]:
    table = np.asarray(update)
    if table.shape != (count, size, size) or not np.issubdtype(table.dtype, np.integer):
        raise ValueError(
            f"expected an update of integers, shape {(count, size, size)}; got {table.dtype} {table.shape}"
        )
    if table.min() < 0 or table.max() >= count:
        raise ValueError(f"an update names kernels from 0 to {count - 1}; got {table.min()} to {table.max()}")
    return table


def _joint(matrices: Float[np.ndarray, "K n n"], table: Int[np.ndarray, "K n n"]) -> Float[np.ndarray, "m m"]:
    count, size, _ = matrices.shape
    joint = np.zeros((count, size, count, size))
    k, x, y = np.indices(table.shape)
    np.add.at(joint, (k, x, table, y), matrices)
    return joint.reshape(count * size, count * size)


def adaptive_law(
    kernels: Sequence[ArrayLike],
    update: ArrayLike,
    target: ArrayLike,
    num_steps: int,
    *,
    adapt_probability: ArrayLike | float = 1.0,
    start: tuple[int, int] = (0, 0),
) -> AdaptiveLaw:
    """Return the exact law of an adaptive chain after each number of steps.

    At step ``t = 1, ..., num_steps`` the state moves by the present kernel; then, with probability ``p_t``, the kernel is
    replaced by the one that ``update`` names. With ``p_t -> 0`` adaptation diminishes, with ``p_t = 1`` it need not.

    Parameters
    ----------
    kernels, update
        As for :func:`joint_matrix`.
    target
        The law the chain should converge to, shape ``(n,)``, divided by its sum.
    num_steps
        At least 1.
    adapt_probability
        ``p_t``, a number or shape ``(num_steps,)``, in [0, 1].
    start
        The first state and kernel.

    Raises
    ------
    ValueError
        If shapes do not fit, or an argument is out of range.

    References
    ----------
    G. O. Roberts and J. S. Rosenthal, 2007, J. Appl. Probab. 44(2), doi:10.1239/jap/1183667414.
    """
    matrices = _kernels(kernels)
    count, size, _ = matrices.shape
    table, law = _update(update, count, size), _target(target, size)
    if num_steps < 1:
        raise ValueError(f"num_steps has to be at least 1; got {num_steps}")
    p = np.asarray(adapt_probability, np.float64)
    if p.shape not in ((), (num_steps,)) or not np.all((p >= 0) & (p <= 1)):
        raise ValueError(f"adapt_probability has to lie in [0, 1], a number or one for each step; got shape {p.shape}")
    if not (0 <= start[0] < size and 0 <= start[1] < count):
        raise ValueError(f"start has to be a state below {size} and a kernel below {count}; got {start}")
    between = 0.5 * np.abs(matrices[:, None] - matrices[None, :]).sum(axis=-1).max(axis=-1)
    # Probability of each (k, x, y) given (k, x), and how far the kernel that it leads to is from the present one.
    present = np.broadcast_to(np.arange(count)[:, None, None], table.shape)
    jump = np.sum(matrices * between[present, table], axis=2)
    adapting, staying = _joint(matrices, table), _joint(matrices, np.ascontiguousarray(present))
    joint = np.zeros((count, size))
    joint[start[1], start[0]] = 1.0
    laws, adaptation = [joint.sum(axis=0)], []
    for share in np.broadcast_to(p, (num_steps,)):
        adaptation.append(float(share * np.sum(joint * jump)))
        flat = joint.reshape(-1)
        joint = (share * (flat @ adapting) + (1 - share) * (flat @ staying)).reshape(count, size)
        laws.append(joint.sum(axis=0))
    path = np.stack(laws)
    return AdaptiveLaw(path, 0.5 * np.abs(path - law).sum(axis=1), np.array(adaptation))


def coupling_bound(
    kernels: Sequence[ArrayLike], target: ArrayLike, adaptation: ArrayLike, num_steps: int
) -> Float[np.ndarray, " t"]:
    """Return bounds on the distance of an adaptive chain from its target after ``num_steps`` steps and later.

    Couple the chain with one that keeps, for the last ``N`` steps, the kernel it had: they part at the ``j``-th of those
    with at most the probability that kernels have changed by in ``j - 1`` steps, and the one that keeps its kernel is
    within ``max_k d_k(N)`` of the target. So the distance after ``n`` steps is at most ``max_k d_k(N) + sum_(j=1)^(N-1)
    (N - j) D_(n-N+j)`` with ``D_t`` the mean change of the kernel at step ``t``, for each ``N``; the least is returned.

    Parameters
    ----------
    kernels
        Transition matrices, each with the target as stationary law.
    target
        Shape ``(n,)``.
    adaptation
        ``D_1, D_2, ...``, or bounds on them, shape ``(T,)``.
    num_steps
        The largest ``N`` to look at, from 1 to ``T``.

    Returns
    -------
    float64 array of shape (T + 1,)
        Bounds after ``0, ..., T`` steps, at most 1.

    Raises
    ------
    ValueError
        If a kernel has another stationary law, or shapes do not fit.

    References
    ----------
    G. O. Roberts and J. S. Rosenthal, 2007, J. Appl. Probab. 44(2), doi:10.1239/jap/1183667414, the proof of theorem 5.
    """
    matrices = _kernels(kernels)
    law = _target(target, matrices.shape[1])
    defect = 0.5 * float(np.abs(law @ matrices - law).sum(axis=1).max())
    if defect > 1e-9:
        raise ValueError(f"every kernel has to have the target as stationary law; one misses it by {defect:.3g}")
    D = np.asarray(adaptation, np.float64)
    if D.ndim != 1 or D.size == 0 or not np.all(D >= 0):
        raise ValueError(f"expected a vector of mean changes, at least 0; got shape {D.shape}")
    if not 1 <= num_steps <= D.size:
        raise ValueError(f"num_steps has to lie between 1 and {D.size}, the number of changes; got {num_steps}")
    bounds = np.ones(D.size + 1)
    powers = matrices.copy()
    for back in range(1, num_steps + 1):
        mixed = 0.5 * float(np.abs(powers - law).sum(axis=2).max())
        for n in range(back, D.size + 1):
            # The change at step t is felt by the moves t + 1, ..., n.
            felt = np.arange(back - 1, 0, -1)
            bounds[n] = min(bounds[n], mixed + float(felt @ D[n - back : n - 1]))
        powers = powers @ matrices
    return bounds
