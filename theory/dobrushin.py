"""Dobrushin's contraction coefficient of a chain, and his uniqueness condition for single-site updates."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from ergodica.theory.finite_chain import FiniteChain

__all__ = ["UniquenessCondition", "dobrushin_coefficient", "influence_matrix", "uniqueness_condition"]


def dobrushin_coefficient(chain: FiniteChain, num_steps: int = 1) -> float:
    """Return the largest total variation distance of two rows of ``P^k``.

    Laws come closer by this factor at least every ``k`` steps, so that
    ``TV(P^(k t)(x, .), mu) <= coefficient^t``.

    Parameters
    ----------
    chain
        At most 5000 states; ``n^3`` operations.
    num_steps
        ``k``, at least 0.
    """
    if num_steps < 0:
        raise ValueError(f"num_steps has to be at least 0; got {num_steps}")
    power = np.linalg.matrix_power(chain.dense(), num_steps)
    return max(float(0.5 * np.abs(power - row).sum(axis=1).max()) for row in power)


def influence_matrix(weights: ArrayLike) -> Float[np.ndarray, "d d"]:
    """Return ``C_ij``, how far a change of coordinate ``j`` alone can move the conditional law of coordinate ``i``.

    Parameters
    ----------
    weights
        Joint weights of ``d`` finite coordinates, an array with one axis a coordinate; positive, so that every
        conditional law is defined. A common factor cancels.

    Returns
    -------
    array of shape (d, d)
        Largest total variation distances; zero on the diagonal.

    Raises
    ------
    ValueError
        If a weight is not positive and finite.
    """
    joint = np.asarray(weights, np.float64)
    if joint.ndim == 0 or not np.all(joint > 0) or not np.all(np.isfinite(joint)):
        raise ValueError("expected an array of positive weights, one axis a coordinate")
    dim = joint.ndim
    out = np.zeros((dim, dim))
    for i in range(dim):
        conditional = joint / joint.sum(axis=i, keepdims=True)
        for j in range(dim):
            if i == j:
                continue
            moved = np.moveaxis(conditional, (i, j), (0, 1))
            for value in range(moved.shape[1]):
                distance = 0.5 * np.abs(moved - moved[:, value : value + 1]).sum(axis=0)
                out[i, j] = max(out[i, j], float(distance.max()))
    return out


@dataclass(frozen=True)
class UniquenessCondition:
    """What an influence matrix says about single-site updates.

    Parameters
    ----------
    max_row_sum, max_column_sum, norm
        Operator norms of the matrix; the last is that of Euclid.
    spectral_radius
        No larger than any norm; some weighted norm comes arbitrarily close to it.
    holds
        Whether the spectral radius is below one: updates of uniformly drawn coordinates then mix in
        ``O(d log d)`` steps.
    """

    max_row_sum: float
    max_column_sum: float
    norm: float
    spectral_radius: float
    holds: bool

    def mixing_bound(self, num_coordinates: int, eps: float = 0.25) -> float:
        """Return ``d (log d + log(1 / eps)) / (1 - c)`` updates, with ``c`` the largest row sum; infinite if ``c >= 1``.

        Parameters
        ----------
        num_coordinates
            ``d``.
        eps
            Total variation distance to be reached.
        """
        if num_coordinates < 1 or not 0 < eps < 1:
            raise ValueError(f"expected d >= 1 and eps in (0, 1); got {num_coordinates} and {eps}")
        if self.max_row_sum >= 1:
            return math.inf
        return num_coordinates * (math.log(num_coordinates) + math.log(1 / eps)) / (1 - self.max_row_sum)


def uniqueness_condition(influence: ArrayLike) -> UniquenessCondition:
    """Return norms of an influence matrix, and whether Dobrushin's condition holds in some norm.

    Parameters
    ----------
    influence
        Shape ``(d, d)``, not negative; see :func:`influence_matrix`.

    References
    ----------
    R. L. Dobrushin, 1970, Theory Probab. Appl. 15, doi:10.1137/1115049; T. P. Hayes, 2006, FOCS,
    doi:10.1109/FOCS.2006.6, for arbitrary norms.
    """
    C = np.asarray(influence, np.float64)
    if C.ndim != 2 or C.shape[0] != C.shape[1] or C.size == 0 or not np.all(C >= 0):
        raise ValueError(f"expected a square matrix that is not negative; got shape {C.shape}")
    radius = float(np.abs(np.linalg.eigvals(C)).max())
    return UniquenessCondition(
        float(C.sum(axis=1).max()), float(C.sum(axis=0).max()), float(np.linalg.norm(C, 2)), radius, radius < 1
    )
