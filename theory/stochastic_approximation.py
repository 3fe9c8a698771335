"""Limit covariances of stochastic approximation: with independent or Markov noise, and driven by a self-repellent walk.

``theta' = theta + beta_n H(theta, X)`` looks for the root of the mean field ``h(theta) = sum_i mu_i H(theta, i)``. Near the
root the errors solve a linear equation with noise, and their covariance a Lyapunov equation. Here ``B`` is the Jacobian
of ``h`` at the root, and ``U`` the long-run covariance of the noise.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from jaxtyping import Float
from numpy.typing import ArrayLike

from ergodica.theory.finite_chain import FiniteChain, reversible_spectrum
from ergodica.theory.self_repellent import mean_field_jacobian

__all__ = [
    "LimitCovariance",
    "averaged_covariance",
    "limit_covariance",
    "markov_noise",
    "token_covariance",
    "token_noise",
]


@dataclass(frozen=True)
class LimitCovariance:
    """A limit covariance.

    Parameters
    ----------
    value
        Shape ``(p, p)``.
    residual
        Largest error of the Lyapunov equation, relative to the noise.
    """

    value: Float[np.ndarray, "p p"]
    residual: float


def _pair(jacobian: ArrayLike, noise: ArrayLike) -> tuple[Float[np.ndarray, "p p"], Float[np.ndarray, "p p"]]:
    B, U = (np.atleast_2d(np.asarray(value, np.float64)) for value in (jacobian, noise))
    if B.ndim != 2 or B.shape[0] != B.shape[1] or B.shape != U.shape or not np.allclose(U, U.T):
        raise ValueError(
            f"expected a Jacobian and a symmetric covariance of one shape (p, p); got {B.shape}, {U.shape}"
        )
    if not np.all(np.isfinite(B)) or not np.all(np.isfinite(U)):
        raise ValueError("the Jacobian and the noise have to be finite")
    return B, U


def _lyapunov(drift: Float[np.ndarray, "p p"], noise: Float[np.ndarray, "p p"]) -> LimitCovariance:
    V = scipy.linalg.solve_continuous_lyapunov(drift, -noise)
    V = (V + V.T) / 2
    error = np.abs(drift @ V + V @ drift.T + noise).max() / max(float(np.abs(noise).max()), 1e-300)
    return LimitCovariance(V, float(error))


def limit_covariance(
    jacobian: ArrayLike, noise: ArrayLike, *, decay: float = 1.0, gain: float = 1.0
) -> LimitCovariance:
    """Return ``V`` with ``Cov(theta_n)`` close to ``beta_n V`` (``b < 1``) or ``V / n`` (``b = 1``).

    Step sizes are ``beta_n = gain n^-b``.

    Parameters
    ----------
    jacobian
        ``B``, shape ``(p, p)`` or a number; all eigenvalues with negative real part.
    noise
        ``U``, shape ``(p, p)`` or a number.
    decay
        ``b``, in (1/2, 1].
    gain
        ``b_0``, positive. For ``b = 1`` the eigenvalues of ``b_0 B`` have to lie left of ``-1/2``; for ``b < 1`` it does not
        matter.

    Returns
    -------
    LimitCovariance
        ``b < 1``: the solution of ``B V + V B^T + U = 0``; ``b = 1``: of
        ``(b_0 B + I / 2) V + V (b_0 B + I / 2)^T + b_0^2 U = 0``.

    Raises
    ------
    ValueError
        If ``decay`` or ``gain`` are out of range, or the root is not stable enough.

    References
    ----------
    A. Benveniste, M. Metivier and P. Priouret, 1990, Adaptive Algorithms and Stochastic Approximations; G. Fort, 2015,
    ESAIM Probab. Stat. 19, arXiv:1309.3116.
    """
    B, U = _pair(jacobian, noise)
    if not 0.5 < decay <= 1:
        raise ValueError(f"decay has to lie in (1/2, 1]; got {decay}")
    if not (gain > 0 and np.isfinite(gain)):
        raise ValueError(f"gain has to be positive; got {gain}")
    slowest = float(np.linalg.eigvals(B).real.max())
    if not slowest < 0:
        raise ValueError(f"the root is not stable: the Jacobian has an eigenvalue with real part {slowest:.6g}")
    if decay < 1:
        return _lyapunov(B, U)
    if not gain * slowest < -0.5:
        raise ValueError(
            f"step sizes gain / n need gain * {-slowest:.6g} > 1/2 for a rate of 1 / sqrt(n); take a larger gain than "
            f"{-0.5 / slowest:.6g}, or decay < 1"
        )
    return _lyapunov(gain * B + 0.5 * np.eye(len(B)), gain**2 * U)


def averaged_covariance(jacobian: ArrayLike, noise: ArrayLike) -> Float[np.ndarray, "p p"]:
    """Return ``B^{-1} U B^{-T}``: ``n`` times the covariance of Polyak-Ruppert averages, no step sizes do better.

    Parameters
    ----------
    jacobian, noise
        ``B`` and ``U``, as in :func:`limit_covariance`.

    References
    ----------
    B. T. Polyak and A. B. Juditsky, 1992, SIAM J. Control Optim. 30, doi:10.1137/0330046.
    """
    B, U = _pair(jacobian, noise)
    if not np.linalg.eigvals(B).real.max() < 0:
        raise ValueError("the root is not stable: the Jacobian has an eigenvalue with a real part that is not negative")
    half = np.linalg.solve(B, U)
    return np.asarray(np.linalg.solve(B, half.T).T)


def markov_noise(chain: FiniteChain, field: ArrayLike) -> Float[np.ndarray, "p p"]:
    """Return ``U`` for noise from a Markov chain: the long-run covariance of the field at the root.

    Parameters
    ----------
    chain
        With one stationary law, reversible or not.
    field
        ``H(theta*, i)``, shape ``(n, p)`` or ``(n,)``.
    """
    columns = np.asarray(field, np.float64)
    return chain.long_run_covariance(columns[:, None] if columns.ndim == 1 else columns)


def _field(P: ArrayLike, mu: ArrayLike, field: ArrayLike) -> Float[np.ndarray, "n p"]:
    Hm = np.asarray(field, np.float64)
    Hm = Hm[:, None] if Hm.ndim == 1 else Hm
    law = np.asarray(mu, np.float64) / np.sum(mu)
    if Hm.ndim != 2 or len(Hm) != len(law) or np.shape(P)[0] != len(law):
        raise ValueError(f"expected a field of shape (n, p) on {len(law)} states; got shape {Hm.shape}")
    # The field sums to zero at the root; functions that differ by a constant have one noise.
    return np.asarray(Hm - law @ Hm)


def token_noise(P: ArrayLike, mu: ArrayLike, field: ArrayLike, alpha: float) -> Float[np.ndarray, "p p"]:
    """Return ``U`` for a self-repellent token whose measure adapts faster than the parameter does.

    ``sum_k (alpha (1 + l_k) + 1)^{-2} (1 + l_k) / (1 - l_k) Hm^T u_k^T u_k Hm`` over ``k >= 2``: it falls like
    ``1 / alpha^2``.

    Parameters
    ----------
    P
        Base transition matrix, irreducible and reversible.
    mu
        Its stationary weights.
    field
        ``H(theta*, i)``, shape ``(n, p)`` or ``(n,)``.
    alpha
        Strength of the repulsion, at least 0.

    References
    ----------
    J. Hu, V. Doshi and D. Y. Eun, 2024, arXiv:2401.09665.
    """
    if not alpha >= 0:
        raise ValueError(f"alpha has to be at least 0; got {alpha}")
    values, left = reversible_spectrum(P, mu)
    up = 1 + values[1:]
    projected = left[1:] @ _field(P, mu, field)
    return np.asarray((projected.T * (up / (1 - values[1:]) / (alpha * up + 1) ** 2)) @ projected)


def token_covariance(
    P: ArrayLike,
    mu: ArrayLike,
    field: ArrayLike,
    jacobian: ArrayLike,
    alpha: float,
    *,
    measure_decay: float,
    parameter_decay: float,
) -> LimitCovariance:
    """Return the limit covariance of ``(theta_n - theta*) / sqrt(beta_n)`` for a self-repellent token.

    The measure moves with steps ``gamma_n = (n + 1)^-a``, the parameter with ``beta_n = (n + 1)^-b``.

    Parameters
    ----------
    P
        Base transition matrix, irreducible and reversible.
    mu
        Its stationary weights.
    field
        ``H(theta*, i)``, shape ``(n, p)`` or ``(n,)``.
    jacobian
        ``B``, the Jacobian of the mean field at the root, shape ``(p, p)`` or a number.
    alpha
        Strength of the repulsion, at least 0.
    measure_decay, parameter_decay
        ``a`` and ``b``, in (1/2, 1].

    Returns
    -------
    LimitCovariance
        ``a < b``: with the noise of :func:`token_noise`, of order ``1 / alpha^2``; ``a > b``: the parameter moves before
        the measure does, and the repulsion has no effect; ``a = b``: from the joint equation of both, of order
        ``1 / alpha``.

    Raises
    ------
    ValueError
        If an exponent is out of range, or the root is not stable enough.

    References
    ----------
    J. Hu, V. Doshi and D. Y. Eun, 2024, arXiv:2401.09665.
    """
    for name, value in (("measure_decay", measure_decay), ("parameter_decay", parameter_decay)):
        if not 0.5 < value <= 1:
            raise ValueError(f"{name} has to lie in (1/2, 1]; got {value}")
    Hm = _field(P, mu, field)
    B, base = _pair(jacobian, token_noise(P, mu, Hm, 0.0))
    if measure_decay != parameter_decay:
        noise = token_noise(P, mu, Hm, alpha) if measure_decay < parameter_decay else base
        return limit_covariance(B, noise, decay=parameter_decay)
    limit_covariance(B, base, decay=parameter_decay)
    values, left = reversible_spectrum(P, mu)
    # In the basis of the left eigenvectors the measure has no component along mu, where nothing contracts.
    J = mean_field_jacobian(P, mu, alpha)
    right = left[1:] / left[0]
    size = len(values) - 1
    from_measure = Hm.T @ (J + np.eye(len(J))) @ left[1:].T
    drift = np.block([[right @ J @ left[1:].T, np.zeros((size, len(B)))], [from_measure, B]])
    spread = np.concatenate([np.eye(size), Hm.T @ left[1:].T])
    noise = (spread * ((1 + values[1:]) / (1 - values[1:]))) @ spread.T
    joint = _lyapunov(drift + (0.5 * np.eye(len(drift)) if parameter_decay == 1 else 0.0), noise)
    return LimitCovariance(joint.value[size:, size:], joint.residual)
