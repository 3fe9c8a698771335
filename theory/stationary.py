"""Stationary laws of finite chains: elimination without subtractions, balance along a tree, or a sparse factorisation."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
import scipy.sparse.linalg
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from ergodica.theory.transition_matrix import Matrix, SparseMatrix, closed_classes, transition_matrix

__all__ = ["LARGEST_DENSE", "StationaryLaw", "eliminated_law", "stationary_law", "stationary_laws"]

LARGEST_DENSE = 500
"""Sparse matrices with no more states than this are treated as dense ones."""


@dataclass(frozen=True)
class StationaryLaw:
    """One stationary law of a chain.

    Parameters
    ----------
    value
        Shape ``(n,)``, zero outside its closed class.
    states
        The states of the class.
    method
        ``"elimination"``, ``"detailed balance"`` or ``"sparse factorisation"``.
    residual
        ``max |mu P - mu|``.
    """

    value: Float[np.ndarray, " n"]
    states: Int[np.ndarray, " k"]
    method: str
    residual: float


def eliminated_law(P: ArrayLike) -> Float[np.ndarray, " n"]:
    """Return the stationary law of an irreducible dense chain by elimination without subtractions.

    Small entries are relatively accurate, whatever their size.

    Parameters
    ----------
    P
        Transition matrix. Only entries off the diagonal are read, so that rows may also be those of a rate matrix.

    References
    ----------
    W. K. Grassmann, M. I. Taksar and D. P. Heyman, Operations Research 33 (1985), doi:10.1287/opre.33.5.1107.
    """
    work = np.array(P, np.float64)
    for k in range(len(work) - 1, 0, -1):
        total = work[k, :k].sum()
        if not total > 0:
            raise ValueError("the chain has to be irreducible; stationary_laws splits it into its closed classes")
        work[:k, k] /= total
        work[:k, :k] += np.outer(work[:k, k], work[k, :k])
    law = np.ones(len(work))
    for k in range(1, len(work)):
        law[k] = law[:k] @ work[:k, k]
        # A law that spans more than the range of doubles would overflow otherwise.
        if law[k] > 1e100:
            law[: k + 1] /= law[k]
    return np.asarray(law / law.sum())


def _balanced_law(matrix: scipy.sparse.csr_array) -> Float[np.ndarray, " n"] | None:
    """Return the law by detailed balance along a spanning tree, or None if the chain is not reversible."""
    forward = matrix.copy()
    forward.setdiag(0.0)
    forward.eliminate_zeros()
    forward.sort_indices()
    backward = scipy.sparse.csr_array(forward.T)
    backward.sort_indices()
    if not (np.array_equal(forward.indptr, backward.indptr) and np.array_equal(forward.indices, backward.indices)):
        return None
    ratio = forward.copy()
    ratio.data = np.log(forward.data) - np.log(backward.data)
    order, previous = scipy.sparse.csgraph.breadth_first_order(forward, 0, directed=False)
    step = np.zeros(len(order))
    step[order[1:]] = np.asarray(ratio[previous[order[1:]], order[1:]]).ravel()
    log_law = np.zeros(len(order))
    for state in order[1:]:
        log_law[state] = log_law[previous[state]] + step[state]
    edges = ratio.tocoo()
    if np.max(np.abs(log_law[edges.col] - log_law[edges.row] - edges.data), initial=0.0) > 1e-9:
        return None
    law = np.exp(log_law - log_law.max())
    return np.asarray(law / law.sum())


def _factorised_law(matrix: scipy.sparse.csr_array) -> Float[np.ndarray, " n"]:
    size = matrix.shape[0]
    balance = scipy.sparse.csc_array(scipy.sparse.eye_array(size) - matrix.T)
    factor = scipy.sparse.linalg.splu(scipy.sparse.csc_matrix(balance[:-1, :-1]))
    law = np.append(factor.solve(-balance[:-1, [-1]].toarray().ravel()), 1.0)
    law = np.clip(law, 0.0, None)
    return np.asarray(law / law.sum())


def stationary_laws(P: ArrayLike | SparseMatrix) -> list[StationaryLaw]:
    """Return the stationary law of every closed class; the stationary laws of the chain are their mixtures.

    Parameters
    ----------
    P
        Transition matrix, shape ``(n, n)``; dense, or SciPy sparse. A sparse chain that is reversible is solved by
        detailed balance along a spanning tree, another one by a sparse factorisation.

    Returns
    -------
    list of StationaryLaw
        Ordered by the smallest state of the class.

    Raises
    ------
    ValueError
        If ``P`` is no transition matrix.
    """
    matrix = transition_matrix(P)
    return [_law_of_class(matrix, states) for states in closed_classes(matrix)]


def _law_of_class(matrix: Matrix, states: Int[np.ndarray, " k"]) -> StationaryLaw:
    value = np.zeros(matrix.shape[0])
    inside: Matrix = matrix[np.ix_(states, states)] if isinstance(matrix, np.ndarray) else matrix[states][:, states]
    if not isinstance(inside, np.ndarray) and len(states) <= LARGEST_DENSE:
        inside = inside.toarray()
    if isinstance(inside, np.ndarray):
        value[states], method = eliminated_law(inside.clip(min=0.0)), "elimination"
    else:
        balanced = _balanced_law(inside)
        if balanced is not None:
            value[states], method = balanced, "detailed balance"
        else:
            value[states], method = _factorised_law(inside), "sparse factorisation"
    residual = float(np.abs(matrix.T @ value - value).max())
    return StationaryLaw(value, states, method, residual)


def stationary_law(P: ArrayLike | SparseMatrix) -> Float[np.ndarray, " n"]:
    """Return the stationary law of a chain with one closed class.

    Parameters
    ----------
    P
        Transition matrix.

    Returns
    -------
    array of shape (n,)
        Computed by elimination without subtractions, so that small entries are relatively accurate; large sparse chains
        as in :func:`stationary_laws`. Zero on transient states.

    Raises
    ------
    ValueError
        If ``P`` is no transition matrix, or the stationary law is not unique.

    References
    ----------
    W. K. Grassmann, M. I. Taksar and D. P. Heyman, Operations Research 33 (1985), doi:10.1287/opre.33.5.1107.
    """
    matrix = transition_matrix(P)
    classes = closed_classes(matrix)
    if len(classes) != 1:
        raise ValueError(
            f"the stationary law is not unique: the chain has {len(classes)} closed classes; stationary_laws returns "
            "one law a class"
        )
    return _law_of_class(matrix, classes[0]).value
