"""Transition matrices: what a valid one is, which states communicate, and with which period.

Rows are probabilities, ``P_ij`` is the probability of a step from ``i`` to ``j``. Matrices may be dense or SciPy sparse.
"""

import math
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

__all__ = [
    "Matrix",
    "SparseMatrix",
    "closed_classes",
    "communicating_classes",
    "lazy",
    "period",
    "time_reversal",
    "transition_matrix",
]

SparseMatrix = scipy.sparse.sparray | scipy.sparse.spmatrix
"""What SciPy calls sparse."""

Matrix = Float[np.ndarray, "n n"] | scipy.sparse.csr_array
"""A checked transition matrix, in double precision."""


def transition_matrix(P: ArrayLike | SparseMatrix) -> Matrix:
    """Check a transition matrix and return it in double precision.

    Parameters
    ----------
    P
        Shape ``(n, n)``, a NumPy, JAX or SciPy sparse array. Rows of 32-bit arrays are scaled to sum to one in double
        precision.

    Returns
    -------
    array or csr_array of shape (n, n)
        Sparse if ``P`` is; a copy.

    Raises
    ------
    ValueError
        If the matrix is empty or not square, has an entry that is negative or not finite, or a row that does not sum
        to one: a row of zeros, for instance.
    """
    if isinstance(P, SparseMatrix):
        given: Any = P
        single = given.dtype.kind not in "biuO" and given.dtype.itemsize < 8
        sparse = scipy.sparse.csr_array(given, dtype=np.float64, copy=True)
        sparse.sum_duplicates()
        entries = np.asarray(sparse.data)
        matrix: Matrix = sparse
    else:
        given = np.asarray(P)
        single = given.dtype.kind not in "biuO" and given.dtype.itemsize < 8
        matrix = entries = np.array(given, np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape[0] == 0:
        raise ValueError(f"a transition matrix is square; got shape {matrix.shape}")
    if not np.all(np.isfinite(entries)):
        raise ValueError("the entries of a transition matrix are probabilities; some are not finite")
    sums = np.asarray(matrix.sum(axis=1), np.float64)
    worst = int(np.argmax(np.abs(sums - 1)))
    smallest = float(entries.min(initial=0.0))
    tolerance = 1e-5 if single else 1e-9
    if smallest < -1e-12 or abs(sums[worst] - 1) > tolerance:
        raise ValueError(
            f"the rows of a transition matrix are probabilities; the smallest entry is {smallest:.6g}, and row "
            f"{worst} sums to {sums[worst]:.12g}"
        )
    if single:
        if isinstance(matrix, np.ndarray):
            return np.asarray(matrix / sums[:, None])
        return scipy.sparse.csr_array(scipy.sparse.diags_array(1 / sums) @ matrix)
    return matrix


def _steps(matrix: Matrix) -> scipy.sparse.csr_array:
    """Return the graph of the steps with positive probability."""
    graph = scipy.sparse.csr_array(matrix)
    graph.data = np.where(graph.data > 0, 1.0, 0.0)
    graph.eliminate_zeros()
    return graph


def communicating_classes(P: ArrayLike | SparseMatrix) -> list[Int[np.ndarray, " k"]]:
    """Return the classes of states that can be reached from each other.

    Parameters
    ----------
    P
        Transition matrix.

    Returns
    -------
    list of arrays
        The states of each class in increasing order; classes ordered by their smallest state.
    """
    return [states for states, _ in _classes(transition_matrix(P))]


def closed_classes(P: ArrayLike | SparseMatrix) -> list[Int[np.ndarray, " k"]]:
    """Return the communicating classes that the chain cannot leave; each carries one stationary law.

    Parameters
    ----------
    P
        Transition matrix.
    """
    return [states for states, closed in _classes(transition_matrix(P)) if closed]


def _classes(matrix: Matrix) -> list[tuple[Int[np.ndarray, " k"], bool]]:
    graph = _steps(matrix).tocoo()
    count, member = scipy.sparse.csgraph.connected_components(graph, directed=True, connection="strong")
    source, target = member[graph.row], member[graph.col]
    leaves = np.zeros(count, bool)
    leaves[source[source != target]] = True
    order = np.argsort(member, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(member, minlength=count))[:-1])
    return [(groups[c], not leaves[c]) for c in sorted(range(count), key=lambda c: int(groups[c][0]))]


def period(P: ArrayLike | SparseMatrix) -> int:
    """Return the period of an irreducible chain: the greatest common divisor of the lengths of its cycles.

    Parameters
    ----------
    P
        Transition matrix with one communicating class.

    Raises
    ------
    ValueError
        If the chain is reducible.
    """
    matrix = transition_matrix(P)
    if len(_classes(matrix)) != 1:
        raise ValueError("the period is that of an irreducible chain; restrict the matrix to one closed class")
    graph = _steps(matrix)
    order, previous = scipy.sparse.csgraph.breadth_first_order(graph, 0, directed=True)
    level = np.zeros(graph.shape[0], np.int64)
    for state in order[1:]:
        level[state] = level[previous[state]] + 1
    edges = graph.tocoo()
    return math.gcd(*np.unique(np.abs(level[edges.row] + 1 - level[edges.col])).tolist())


def time_reversal(P: ArrayLike | SparseMatrix, mu: ArrayLike) -> Matrix:
    """Return ``P*_ij = mu_j P_ji / mu_i``, the transition matrix of the stationary chain run backwards.

    Parameters
    ----------
    P
        Transition matrix.
    mu
        Its stationary weights, positive.

    Raises
    ------
    ValueError
        If a weight is not positive, or the weights are not stationary.
    """
    matrix = transition_matrix(P)
    weights = np.asarray(mu, np.float64)
    if weights.shape != (matrix.shape[0],) or not np.all(weights > 0) or not np.all(np.isfinite(weights)):
        raise ValueError(f"expected {matrix.shape[0]} positive weights; got {weights}")
    law = weights / weights.sum()
    if not np.allclose(matrix.T @ law, law, rtol=1e-8, atol=0):
        raise ValueError("mu has to be stationary for P; compute it with stationary_law")
    if isinstance(matrix, np.ndarray):
        return np.asarray(law * matrix.T / law[:, None])
    scaled = scipy.sparse.diags_array(1 / law) @ matrix.T @ scipy.sparse.diags_array(law)
    return scipy.sparse.csr_array(scaled)


def lazy(P: ArrayLike | SparseMatrix, stay: float = 0.5) -> Matrix:
    """Return ``stay I + (1 - stay) P``: the chain that rests with a given probability before each step.

    Parameters
    ----------
    P
        Transition matrix.
    stay
        In ``[0, 1)``.
    """
    if not 0 <= stay < 1:
        raise ValueError(f"stay has to lie in [0, 1); got {stay}")
    matrix = transition_matrix(P)
    if isinstance(matrix, np.ndarray):
        return np.asarray(stay * np.eye(len(matrix)) + (1 - stay) * matrix)
    return scipy.sparse.csr_array(stay * scipy.sparse.eye_array(matrix.shape[0]) + (1 - stay) * matrix)
