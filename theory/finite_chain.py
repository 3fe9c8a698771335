"""Finite Markov chains by linear algebra: stationary law, spectrum, fundamental matrix, asymptotic covariance.

Vectors are rows: ``mu P = mu``. All functions take and return NumPy arrays in double precision.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
from jaxtyping import Float
from numpy.typing import ArrayLike


class Spectrum(NamedTuple):
    """Eigenvalues and left eigenvectors of a reversible chain.

    Parameters
    ----------
    eigenvalues
        Shape ``(n,)``, decreasing; the first is 1.
    left
        Shape ``(n, n)``; row ``i`` is a left eigenvector ``u_i``, normalised so that ``u_i = mu * v_i`` with right
        eigenvectors that satisfy ``sum(mu * v_i * v_j) = (i == j)``. The first is the stationary law.
    """

    eigenvalues: Float[np.ndarray, " n"]
    left: Float[np.ndarray, "n n"]


def _matrix(P: ArrayLike) -> Float[np.ndarray, "n n"]:
    matrix = np.asarray(P, np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"a transition matrix is square; got shape {matrix.shape}")
    sums = matrix.sum(axis=1)
    worst = int(np.argmax(np.abs(sums - 1)))
    if not np.all(np.isfinite(matrix)) or matrix.min() < -1e-12 or abs(sums[worst] - 1) > 1e-9:
        raise ValueError(
            f"the rows of a transition matrix are probabilities; the smallest entry is {matrix.min():.6g}, and row "
            f"{worst} sums to {sums[worst]:.12g}"
        )
    return matrix


def _law(mu: ArrayLike, size: int) -> Float[np.ndarray, " n"]:
    law = np.asarray(mu, np.float64)
    if law.shape != (size,) or not np.all(law > 0):
        raise ValueError(f"expected {size} positive weights; got {law}")
    return np.asarray(law / law.sum())


def stationary_law(P: ArrayLike) -> Float[np.ndarray, " n"]:
    """Return the stationary law of a chain with one closed class.

    Parameters
    ----------
    P
        Transition matrix.

    Returns
    -------
    array of shape (n,)
        Computed by elimination without subtractions, so that small entries are relatively accurate.

    Raises
    ------
    ValueError
        If ``P`` is no transition matrix, or the stationary law is not unique.

    References
    ----------
    W. K. Grassmann, M. I. Taksar and D. P. Heyman, Operations Research 33 (1985), doi:10.1287/opre.33.5.1107.
    """
    matrix = _matrix(P).clip(min=0.0)
    size = len(matrix)
    graph = scipy.sparse.csr_array((matrix > 0).astype(np.int8))
    count, member = scipy.sparse.csgraph.connected_components(graph, directed=True, connection="strong")
    closed = [c for c in range(count) if not np.any(matrix[np.ix_(member == c, member != c)] > 0)]
    if len(closed) != 1:
        raise ValueError(f"the stationary law is not unique: the chain has {len(closed)} closed classes")
    inside = np.flatnonzero(member == closed[0])
    work = matrix[np.ix_(inside, inside)].copy()
    for k in range(len(inside) - 1, 0, -1):
        work[:k, k] /= work[k, :k].sum()
        work[:k, :k] += np.outer(work[:k, k], work[k, :k])
    out = np.ones(len(inside))
    for k in range(1, len(inside)):
        out[k] = out[:k] @ work[:k, k]
    law = np.zeros(size)
    law[inside] = out / out.sum()
    return law


def reversibility_defect(P: ArrayLike, mu: ArrayLike) -> float:
    """Return the largest imbalance ``|mu_i P_ij - mu_j P_ji|``; zero for a reversible chain."""
    matrix = _matrix(P)
    flows = _law(mu, len(matrix))[:, None] * matrix
    return float(np.abs(flows - flows.T).max())


def fundamental_matrix(P: ArrayLike, mu: ArrayLike | None = None) -> Float[np.ndarray, "n n"]:
    """Return ``Z = (I - P + 1 mu)^{-1}``.

    Parameters
    ----------
    P
        Transition matrix of an irreducible chain.
    mu
        Its stationary law; computed if not given.

    References
    ----------
    J. G. Kemeny and J. L. Snell, 1960, Finite Markov Chains.
    """
    matrix = _matrix(P)
    law = stationary_law(matrix) if mu is None else _law(mu, len(matrix))
    return np.asarray(np.linalg.inv(np.eye(len(law)) - matrix + law))


def asymptotic_covariance(P: ArrayLike, mu: ArrayLike | None = None) -> Float[np.ndarray, "n n"]:
    """Return ``V``, the limit of ``n`` times the covariance of the empirical measure after ``n`` steps.

    ``V = D Z + Z^T D - D - mu^T mu`` with ``D = diag(mu)``; reversibility is not needed. The asymptotic variance of the
    time average of ``f`` is ``f^T V f``.

    Parameters
    ----------
    P
        Transition matrix of an irreducible chain.
    mu
        Its stationary law; computed if not given.
    """
    matrix = _matrix(P)
    law = stationary_law(matrix) if mu is None else _law(mu, len(matrix))
    flow = law[:, None] * fundamental_matrix(matrix, law)
    return np.asarray(flow + flow.T - np.diag(law) - np.outer(law, law))


def asymptotic_variance(P: ArrayLike, f: ArrayLike, mu: ArrayLike | None = None) -> float:
    """Return the limit of ``n`` times the variance of the time average of ``f`` over ``n`` steps."""
    values = np.asarray(f, np.float64)
    return float(values @ asymptotic_covariance(P, mu) @ values)


def reversible_spectrum(P: ArrayLike, mu: ArrayLike | None = None) -> Spectrum:
    """Diagonalise a reversible chain through the symmetric matrix ``D^{1/2} P D^{-1/2}``.

    Parameters
    ----------
    P
        Transition matrix, irreducible and reversible.
    mu
        Its stationary law; computed if not given.

    Raises
    ------
    ValueError
        If the chain is not reversible with respect to ``mu``.
    """
    matrix = _matrix(P)
    law = stationary_law(matrix) if mu is None else _law(mu, len(matrix))
    defect = reversibility_defect(matrix, law)
    if defect > 1e-10:
        raise ValueError(
            f"the chain is not reversible: some flow is out of balance by {defect:.3g}. For a chain without detailed "
            "balance use asymptotic_covariance, which does not need it."
        )
    root = np.sqrt(law)
    symmetric = root[:, None] * matrix / root
    values, vectors = np.linalg.eigh((symmetric + symmetric.T) / 2)
    left = (root[:, None] * vectors).T[::-1]
    left[0] *= np.sign(left[0].sum())
    return Spectrum(values[::-1].copy(), left.copy())


def spectral_covariance(P: ArrayLike, mu: ArrayLike | None = None) -> Float[np.ndarray, "n n"]:
    """Return the matrix of :func:`asymptotic_covariance` from the spectrum of a reversible chain.

    ``V = sum_{i >= 2} (1 + lambda_i) / (1 - lambda_i) u_i^T u_i``.
    """
    values, left = reversible_spectrum(P, mu)
    weights = (1 + values[1:]) / (1 - values[1:])
    return np.asarray((left[1:].T * weights) @ left[1:])
