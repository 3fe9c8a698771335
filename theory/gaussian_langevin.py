"""Langevin and Hamiltonian samplers without rejections, on normal targets, as affine maps.

The target is ``N(m, Q^{-1})``, the potential ``(x - m)^T Q (x - m) / 2``. States of kinetic samplers are ``(x, v)`` with unit
mass. Bias and rate follow from :class:`~ergodica.theory.linear_gaussian.LinearGaussianSampler`.
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from ergodica.theory.linear_gaussian import LinearGaussianSampler

__all__ = [
    "crank_nicolson",
    "kinetic_splitting",
    "leapfrog_covariance",
    "leapfrog_matrix",
    "partial_refresh",
    "unadjusted_hamiltonian",
    "unadjusted_langevin",
]


def _target(precision: ArrayLike, mean: ArrayLike | None) -> tuple[Float[np.ndarray, "d d"], Float[np.ndarray, " d"]]:
    Q = np.atleast_2d(np.asarray(precision, np.float64))
    if Q.ndim != 2 or Q.shape[0] != Q.shape[1] or not np.allclose(Q, Q.T) or not np.linalg.eigvalsh(Q)[0] > 0:
        raise ValueError(f"the precision has to be symmetric and positive definite; got shape {Q.shape}")
    m = np.zeros(len(Q)) if mean is None else np.atleast_1d(np.asarray(mean, np.float64))
    if m.shape != (len(Q),):
        raise ValueError(f"the mean has to have shape {(len(Q),)}; got {m.shape}")
    return Q, m


def _centred(
    M: Float[np.ndarray, "d d"], noise: Float[np.ndarray, "d d"], mean: Float[np.ndarray, " d"]
) -> LinearGaussianSampler:
    """Return the sampler with fixed point ``mean``, velocities zero."""
    fixed = np.zeros(len(M))
    fixed[: len(mean)] = mean
    return LinearGaussianSampler(M, fixed - M @ fixed, noise=noise)


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not (value > 0 and np.isfinite(value)):
            raise ValueError(f"{name} has to be positive and finite; got {value}")


def unadjusted_langevin(
    precision: ArrayLike, step_size: float, preconditioner: ArrayLike | None = None, mean: ArrayLike | None = None
) -> LinearGaussianSampler:
    """Return ``x' = x - h G Q (x - m) + sqrt(2 h G) w``.

    It converges if ``h`` times every eigenvalue of ``G Q`` is below 2. In one dimension the variance is
    ``1 / (q (1 - h q / 2))``.

    Parameters
    ----------
    precision
        ``Q``, shape ``(d, d)``, or a number.
    step_size
        ``h``.
    preconditioner
        ``G``, symmetric and positive definite; default: the identity.
    mean
        ``m``; default: zero.
    """
    Q, m = _target(precision, mean)
    _positive(step_size=step_size)
    G = np.eye(len(Q)) if preconditioner is None else _target(preconditioner, None)[0]
    return _centred(np.eye(len(Q)) - step_size * G @ Q, 2 * step_size * G, m)


def crank_nicolson(precision: ArrayLike, step_size: float, mean: ArrayLike | None = None) -> LinearGaussianSampler:
    """Return the preconditioned Crank-Nicolson proposal, ``x' = m + sqrt(1 - b^2) (x - m) + b Q^{-1/2} w``: exact.

    Parameters
    ----------
    precision, mean
        Of the target, which is the prior here: the likelihood is flat.
    step_size
        ``b``, in (0, 1].

    References
    ----------
    S. L. Cotter, G. O. Roberts, A. M. Stuart and D. White, 2013, Statist. Sci. 28, arXiv:1202.0709.
    """
    Q, m = _target(precision, mean)
    if not 0 < step_size <= 1:
        raise ValueError(f"step_size has to lie in (0, 1]; got {step_size}")
    return _centred(np.sqrt(1 - step_size**2) * np.eye(len(Q)), step_size**2 * np.linalg.inv(Q), m)


def kinetic_splitting(
    precision: ArrayLike, step_size: float, friction: float, letters: str = "BAOAB", mean: ArrayLike | None = None
) -> LinearGaussianSampler:
    """Return a splitting of kinetic Langevin dynamics on positions and velocities.

    ``A`` drifts, ``B`` kicks by the force, and ``O`` is an exact Ornstein-Uhlenbeck step of the velocities; the first
    letter comes first, and a letter that occurs ``k`` times takes steps of ``h / k``.

    Parameters
    ----------
    precision, mean
        Of the target.
    step_size
        ``h``.
    friction
        Positive.
    letters
        A word with ``A``, ``B`` and ``O``: ``"BAOAB"``, ``"ABOBA"``, ``"OBABO"``.

    Returns
    -------
    LinearGaussianSampler
        On ``(x, v)``. ``BAOAB`` has exact positions on normal targets.

    References
    ----------
    B. Leimkuhler and C. Matthews, 2013, Appl. Math. Res. Express, arXiv:1203.5428.
    """
    Q, m = _target(precision, mean)
    _positive(step_size=step_size, friction=friction)
    if set(letters) != set("ABO"):
        raise ValueError(f"a splitting is a word with the letters A, B and O; got {letters!r}")
    dim = len(Q)
    eye, zero = np.eye(dim), np.zeros((dim, dim))
    M, noise = np.eye(2 * dim), np.zeros((2 * dim, 2 * dim))
    for letter in letters:
        t = step_size / letters.count(letter)
        if letter == "O":
            keep = np.exp(-friction * t)
            part = np.block([[eye, zero], [zero, keep * eye]])
            fresh = np.block([[zero, zero], [zero, -np.expm1(-2 * friction * t) * eye]])
        else:
            part = np.block([[eye, t * eye], [zero, eye]] if letter == "A" else [[eye, zero], [-t * Q, eye]])
            fresh = np.zeros_like(noise)
        M, noise = part @ M, part @ noise @ part.T + fresh
    return _centred(M, noise, m)


def leapfrog_matrix(precision: ArrayLike, step_size: float, num_steps: int) -> Float[np.ndarray, "z z"]:
    """Return ``(B(h/2) A(h) B(h/2))^L``, the map of ``(x, v)`` under leapfrog steps for mean zero.

    Parameters
    ----------
    precision
        ``Q``.
    step_size
        ``h``.
    num_steps
        ``L``, at least 1.
    """
    Q, _ = _target(precision, None)
    _positive(step_size=step_size)
    if num_steps < 1:
        raise ValueError(f"num_steps has to be at least 1; got {num_steps}")
    dim = len(Q)
    eye, zero = np.eye(dim), np.zeros((dim, dim))
    kick = np.block([[eye, zero], [-0.5 * step_size * Q, eye]])
    drift = np.block([[eye, step_size * eye], [zero, eye]])
    return np.asarray(np.linalg.matrix_power(kick @ drift @ kick, num_steps))


def leapfrog_covariance(precision: ArrayLike, step_size: float) -> Float[np.ndarray, "d d"]:
    """Return ``(Q (I - h^2 Q / 4))^{-1}``, the covariance of positions under leapfrog steps without rejections.

    It is that of the modified energy that leapfrog steps conserve; the number of steps and how much of the velocity is
    refreshed do not matter.

    Parameters
    ----------
    precision
        ``Q``.
    step_size
        ``h``, below two over the largest frequency.

    Raises
    ------
    ValueError
        If the step is not stable.
    """
    Q, _ = _target(precision, None)
    _positive(step_size=step_size)
    top = float(np.linalg.eigvalsh(Q)[-1])
    if not step_size**2 * top < 4:
        raise ValueError(f"leapfrog is stable for steps below {2 / np.sqrt(top):.6g}; got {step_size}")
    return np.asarray(np.linalg.inv(Q - 0.25 * step_size**2 * Q @ Q))


def unadjusted_hamiltonian(
    precision: ArrayLike, step_size: float, num_steps: int, mean: ArrayLike | None = None
) -> LinearGaussianSampler:
    """Return Hamiltonian Monte Carlo without the Metropolis step and with fresh velocities, on positions.

    Parameters
    ----------
    precision, mean
        Of the target.
    step_size
        ``h``.
    num_steps
        Leapfrog steps ``L``.
    """
    Q, m = _target(precision, mean)
    flow = leapfrog_matrix(Q, step_size, num_steps)
    d = len(Q)
    return _centred(flow[:d, :d], flow[:d, d:] @ flow[:d, d:].T, m)


def partial_refresh(
    precision: ArrayLike, step_size: float, num_steps: int, persistence: float, mean: ArrayLike | None = None
) -> LinearGaussianSampler:
    """Return unadjusted Hamiltonian Monte Carlo that keeps a part of the velocity, on ``(x, v)``.

    ``v`` becomes ``c v + sqrt(1 - c^2) w``, then leapfrog steps follow.

    Parameters
    ----------
    precision, mean
        Of the target.
    step_size
        ``h``.
    num_steps
        Leapfrog steps ``L``.
    persistence
        ``c``, in [0, 1).

    References
    ----------
    A. M. Horowitz, 1991, Phys. Lett. B 268, doi:10.1016/0370-2693(91)90812-5.
    """
    Q, m = _target(precision, mean)
    if not 0 <= persistence < 1:
        raise ValueError(f"persistence has to lie in [0, 1); got {persistence}")
    flow = leapfrog_matrix(Q, step_size, num_steps)
    ones, zeros = np.ones(len(Q)), np.zeros(len(Q))
    keep = np.concatenate([ones, persistence * ones])
    fresh = np.concatenate([zeros, (1 - persistence**2) * ones])
    return _centred(flow * keep, (flow * fresh) @ flow.T, m)
