"""The stationary law of the distributed ADMM sampler on quadratic potentials.

On potentials ``(x - b_i)^T A_i (x - b_i) / 2`` a sweep is affine in the copies ``x`` and the multipliers ``p``, plus normal
noise, so that its stationary law is normal, with a covariance that solves a discrete Lyapunov equation. The
multipliers sum to zero over the agents; in the direction of their sum nothing contracts, and it is left out.

The sampler: A. E. Tzikas, L. Romao, M. Pilanci, A. Abate, M. J. Kochenderfer, 2024, arXiv:2401.15838. NumPy, double
precision.
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg
from jaxtyping import Float
from numpy.typing import ArrayLike

__all__ = [
    "ADMMLaw",
    "AffineSweep",
    "TwoAgentLaw",
    "affine_sweep",
    "average_variance_estimate",
    "noise_variance",
    "penalty_for_bias",
    "stationary_law",
    "two_agent_law",
]


def _degrees(adjacency: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    W = np.asarray(adjacency, np.float64)
    if W.ndim != 2 or not np.array_equal(W, W.T) or np.any(np.diag(W)) or not np.all((W == 0) | (W == 1)):
        raise ValueError(f"expected a symmetric adjacency matrix with entries 0 and 1 and a zero diagonal; got {W}")
    n = len(W)
    laplacian = np.diag(W.sum(axis=1)) - W
    if n < 2 or np.linalg.eigvalsh(laplacian)[1] < 1e-9:
        raise ValueError(
            "expected a connected graph with at least two nodes; agents do not come to a consensus otherwise"
        )
    return W, W.sum(axis=1)


def noise_variance(adjacency: ArrayLike, penalty: float, noise: str = "calibrated") -> float:
    """Return the variance ``s^2`` of the noise of one agent and sweep.

    Parameters
    ----------
    adjacency
        Symmetric, entries 0 and 1, shape ``(n, n)``; connected.
    penalty
        ``rho``, positive.
    noise
        ``"calibrated"``: ``sum_i d_i / (rho sum_i d_i^2)``; ``"paper"``: ``1 / (2 rho^2)``.
    """
    _, d = _degrees(adjacency)
    if not penalty > 0:
        raise ValueError(f"penalty has to be positive; got {penalty}")
    if noise == "calibrated":
        return float(d.sum() / (penalty * np.sum(d**2)))
    if noise == "paper":
        return float(0.5 / penalty**2)
    raise ValueError(f"the noises are 'calibrated' and 'paper'; got {noise!r}")


class AffineSweep(NamedTuple):
    """A sweep as ``z' = matrix z + shift + factor w`` with ``z = (x, p)`` and standard normal ``w``.

    Parameters
    ----------
    matrix
        Shape ``(2 n d, 2 n d)``.
    shift
        Shape ``(2 n d,)``.
    factor
        Shape ``(2 n d, n d)``.
    """

    matrix: Float[np.ndarray, "z z"]
    shift: Float[np.ndarray, " z"]
    factor: Float[np.ndarray, "z w"]


def _quadratics(precision: ArrayLike, center: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    A, b = np.asarray(precision, np.float64), np.asarray(center, np.float64)
    b = b[:, None] if b.ndim == 1 else b
    A = A[:, None, None] * np.eye(b.shape[1]) if A.ndim == 1 else A
    if b.ndim != 2 or A.shape != (*b.shape, b.shape[1]):
        raise ValueError(f"expected precisions (n,) or (n, d, d) and centers (n, d); got {A.shape} and {b.shape}")
    return A, b


def affine_sweep(
    precision: ArrayLike, center: ArrayLike, adjacency: ArrayLike, penalty: float, noise: str = "calibrated"
) -> AffineSweep:
    """Return a sweep on quadratic potentials as an affine map.

    Parameters
    ----------
    precision
        ``A_i``: shape ``(n, d, d)``, or ``(n,)`` for multiples of the identity.
    center
        ``b_i``: shape ``(n, d)``, or ``(n,)`` in one dimension.
    adjacency, penalty, noise
        As in :func:`noise_variance`.
    """
    A, b = _quadratics(precision, center)
    W, d = _degrees(adjacency)
    n, dim = b.shape
    if len(W) != n:
        raise ValueError(f"expected one node an agent; got {len(W)} nodes and {n} agents")
    eye = np.eye(dim)
    block = np.zeros((n, dim, n, dim))
    for i in range(n):
        block[i, :, i, :] = np.linalg.inv(A[i] + 2 * penalty * d[i] * eye)
    G = block.reshape(n * dim, n * dim)
    pull = penalty * np.kron(np.diag(d) + W, eye)
    push = penalty * np.kron(np.diag(d) - W, eye)
    to_x = np.concatenate([G @ pull, -G], axis=1)
    shift_x = G @ np.einsum("nij,nj->ni", A, b).reshape(-1)
    noise_x = -2 * penalty * np.sqrt(noise_variance(W, penalty, noise)) * G @ np.kron(np.diag(d), eye)
    keep_p = np.concatenate([np.zeros((n * dim, n * dim)), np.eye(n * dim)], axis=1)
    return AffineSweep(
        np.concatenate([to_x, keep_p + push @ to_x]),
        np.concatenate([shift_x, push @ shift_x]),
        np.concatenate([noise_x, push @ noise_x]),
    )


class ADMMLaw(NamedTuple):
    """The stationary normal law of copies and multipliers.

    Parameters
    ----------
    mean
        Of the copies, shape ``(n, d)``; the target's mean for every agent.
    covariance
        Of the copies, shape ``(n, d, n, d)``.
    dual_mean
        Of the multipliers, shape ``(n, d)``: minus the gradients of the potentials at the target's mean.
    joint_covariance
        Of copies and multipliers together, shape ``(2 n d, 2 n d)``, singular.
    spectral_radius
        Of a sweep, on multipliers that sum to zero: the geometric rate of convergence.
    target_mean, target_covariance
        Of the product of the factors, shapes ``(d,)`` and ``(d, d)``.
    """

    mean: Float[np.ndarray, "n d"]
    covariance: Float[np.ndarray, "n d n d"]
    dual_mean: Float[np.ndarray, "n d"]
    joint_covariance: Float[np.ndarray, "z z"]
    spectral_radius: float
    target_mean: Float[np.ndarray, " d"]
    target_covariance: Float[np.ndarray, "d d"]

    @property
    def agent_covariance(self) -> Float[np.ndarray, "n d d"]:
        """Covariance of each agent's copy."""
        return np.stack([self.covariance[i, :, i, :] for i in range(len(self.mean))])

    @property
    def average_covariance(self) -> Float[np.ndarray, "d d"]:
        """Covariance of the average of the copies."""
        return np.asarray(self.covariance.mean(axis=(0, 2)))


def stationary_law(
    precision: ArrayLike, center: ArrayLike, adjacency: ArrayLike, penalty: float, noise: str = "calibrated"
) -> ADMMLaw:
    """Return the stationary law of the sampler on quadratic potentials; parameters as in :func:`affine_sweep`.

    Raises
    ------
    ValueError
        If the shapes do not fit, the graph is not connected, or the factors' product is not a law.
    """
    A, b = _quadratics(precision, center)
    sweep = affine_sweep(A, b, adjacency, penalty, noise)
    n, dim = b.shape
    total = A.sum(axis=0)
    if not np.linalg.eigvalsh(total)[0] > 0:
        raise ValueError(
            "the precisions have to add up to a positive definite matrix; the target is not a law otherwise"
        )
    # Columns: an orthonormal basis of the copies, and of the multipliers that sum to zero.
    sum_zero = scipy.linalg.null_space(np.ones((1, n)))
    basis = scipy.linalg.block_diag(np.eye(n * dim), np.kron(sum_zero, np.eye(dim)))
    matrix = basis.T @ sweep.matrix @ basis
    factor = basis.T @ sweep.factor
    mean = basis @ np.linalg.solve(np.eye(len(matrix)) - matrix, basis.T @ sweep.shift)
    joint = basis @ scipy.linalg.solve_discrete_lyapunov(matrix, factor @ factor.T) @ basis.T
    joint = (joint + joint.T) / 2
    return ADMMLaw(
        mean=mean[: n * dim].reshape(n, dim),
        covariance=joint[: n * dim, : n * dim].reshape(n, dim, n, dim),
        dual_mean=mean[n * dim :].reshape(n, dim),
        joint_covariance=joint,
        spectral_radius=float(np.max(np.abs(np.linalg.eigvals(matrix)))),
        target_mean=np.linalg.solve(total, np.einsum("nij,nj->i", A, b)),
        target_covariance=np.linalg.inv(total),
    )


class TwoAgentLaw(NamedTuple):
    """Stationary variances of two agents with one edge and equal curvatures.

    Parameters
    ----------
    average
        Of ``(x_1 + x_2) / 2``.
    half_difference
        Of ``(x_1 - x_2) / 2``, independent of the average.
    dual
        Of ``(p_1 - p_2) / 2``.
    agent
        Of one copy: the sum of the first two.
    """

    average: float
    half_difference: float
    dual: float
    agent: float


def two_agent_law(curvature: float, penalty: float, variance: float) -> TwoAgentLaw:
    """Return the stationary variances of two agents in one dimension, in closed form.

    Parameters
    ----------
    curvature
        ``a > 0``, of both potentials.
    penalty
        ``rho > 0``.
    variance
        ``s^2``, of the noise.
    """
    total = curvature + 2 * penalty
    keep = 2 * penalty / total
    average = keep**2 * (variance / 2) / (1 - keep**2)
    dual = (4 * penalty**2 / total) ** 2 * (variance / 2) / (1 - (1 - keep) ** 2)
    half_difference = (dual + 4 * penalty**2 * variance / 2) / total**2
    return TwoAgentLaw(average, half_difference, dual, average + half_difference)


def average_variance_estimate(curvature: float, penalty: float, num_edges: int) -> float:
    """Return the variance of the degree-weighted average of the copies with calibrated noise, in one dimension.

    Exact if the curvatures of the potentials are proportional to the degrees, an approximation otherwise.

    Parameters
    ----------
    curvature
        ``A``, the sum of the curvatures of all potentials.
    penalty
        ``rho``.
    num_edges
        ``|E|``.
    """
    return 1 / curvature / (1 + curvature / (8 * penalty * num_edges))


def penalty_for_bias(curvature: float, num_edges: int, bias: float = 0.02) -> float:
    """Return the penalty with which that average has a given relative bias of its variance, to first order."""
    return curvature / (8 * bias * num_edges)
