"""Coarse Ricci curvature of finite chains: how much closer two copies come in one step, in transport distance."""

import numpy as np
import scipy.sparse.csgraph
from jaxtyping import Float
from numpy.typing import ArrayLike

from ergodica.theory.finite_chain import FiniteChain
from ergodica.theory.transport import optimal_transport

__all__ = ["graph_metric", "ricci_curvature", "wasserstein_distance"]


def graph_metric(chain: FiniteChain) -> Float[np.ndarray, "n n"]:
    """Return the number of edges between states, with an edge where a step either way is possible.

    Parameters
    ----------
    chain
        At most 5000 states.
    """
    graph = scipy.sparse.csr_array(chain.dense() > 0)
    return np.asarray(scipy.sparse.csgraph.shortest_path(graph, directed=False, unweighted=True))


def _is_line(metric: Float[np.ndarray, "n n"]) -> Float[np.ndarray, " n"] | None:
    """Return positions on the line with these distances, or None."""
    end = int(np.argmax(metric[0]))
    position = metric[end]
    return position if np.allclose(np.abs(position[:, None] - position), metric, rtol=1e-12, atol=1e-12) else None


def wasserstein_distance(p: ArrayLike, q: ArrayLike, metric: ArrayLike) -> float:
    """Return the least expected distance of a coupling of two laws.

    Parameters
    ----------
    p, q
        Probabilities, shape ``(n,)``.
    metric
        Distances, shape ``(n, n)``. On a line the distance is computed from distribution functions, otherwise by a
        linear program over the states where the laws differ.
    """
    one, other = np.asarray(p, np.float64), np.asarray(q, np.float64)
    distance = np.asarray(metric, np.float64)
    if one.ndim != 1 or one.shape != other.shape or distance.shape != (one.size, one.size):
        raise ValueError(f"expected shapes (n,), (n,) and (n, n); got {one.shape}, {other.shape}, {distance.shape}")
    position = _is_line(distance)
    if position is not None:
        order = np.argsort(position)
        gap = np.abs(np.cumsum((one - other)[order])[:-1])
        return float(gap @ np.diff(position[order]))
    # Common mass stays where it is, for a metric.
    common = np.minimum(one, other)
    left, right = one - common, other - common
    rows, columns = np.flatnonzero(left > 0), np.flatnonzero(right > 0)
    if len(rows) == 0 or len(columns) == 0:
        return 0.0
    moved = left.sum()
    return float(moved) * optimal_transport(distance[np.ix_(rows, columns)], left[rows], right[columns]).value


def ricci_curvature(chain: FiniteChain, metric: ArrayLike | None = None) -> float:
    """Return ``1 - max W1(P_x, P_y) / d(x, y)`` over different states.

    A positive curvature bounds the gap of a reversible chain from below; laws come closer by ``1 - curvature`` a step
    in transport distance.

    Parameters
    ----------
    chain
        With at least two states.
    metric
        Distances ``d``, shape ``(n, n)``; default: :func:`graph_metric`, for which neighbours are enough.

    Raises
    ------
    ValueError
        If the chain has one state, or the metric is none.

    References
    ----------
    Y. Ollivier, 2009, J. Funct. Anal. 256, arXiv:math/0701886.
    """
    if chain.size < 2:
        raise ValueError("the curvature of a chain with one state is not defined")
    distance = graph_metric(chain) if metric is None else np.asarray(metric, np.float64)
    if distance.shape != (chain.size, chain.size) or not np.array_equal(distance, distance.T):
        raise ValueError(f"expected a symmetric metric of shape {(chain.size, chain.size)}; got shape {distance.shape}")
    different = ~np.eye(chain.size, dtype=bool)
    if np.any(np.diag(distance)) or not np.all(distance[different] > 0) or not np.all(np.isfinite(distance)):
        raise ValueError("a metric is zero on the diagonal, and positive and finite elsewhere")
    pairs = np.argwhere(np.triu(distance == 1 if metric is None else different, 1))
    matrix = chain.dense()
    return 1 - max(wasserstein_distance(matrix[x], matrix[y], distance) / distance[x, y] for x, y in pairs)
