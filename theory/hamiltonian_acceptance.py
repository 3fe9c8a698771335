"""Acceptance rates of Hamiltonian Monte Carlo and of MALA on normal targets, in closed form.

Leapfrog steps conserve ``v^2 / 2 + q (1 - h^2 q / 4) x^2 / 2`` for a frequency ``sqrt(q)``, so that the error of the energy
is ``(h^2 q / 8) q (x_L^2 - x_0^2)``: its sign is that of a quadratic form in two normal variables.
"""

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy import special

__all__ = ["hamiltonian_acceptance", "limiting_acceptance", "mala_acceptance", "mean_energy_error"]


def _angles(
    step_size: float, num_steps: int, frequencies: ArrayLike
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"], Float[np.ndarray, " d"]]:
    """Return ``k = h w``, and ``c`` and ``b`` with ``x_L = c x_0 + b v_0 / w``."""
    w = np.atleast_1d(np.asarray(frequencies, np.float64))
    if not (step_size > 0 and np.all(w > 0) and np.all(np.isfinite(w))) or num_steps < 1:
        raise ValueError(
            f"expected a positive step, at least one step and positive frequencies; got {step_size}, {num_steps}, {w}"
        )
    k = step_size * w
    if not np.all(k < 2):
        raise ValueError(f"leapfrog is stable for step_size * frequency < 2; got {float(k.max())}")
    # cos(angle) = 1 - k^2 / 2, without its cancellation for small steps.
    angle = 2 * np.arcsin(k / 2) * num_steps
    return k, np.cos(angle), np.sin(angle) / np.sqrt(1 - k**2 / 4)


def hamiltonian_acceptance(step_size: float, num_steps: int, frequency: float = 1.0) -> float:
    """Return the stationary acceptance rate of Hamiltonian Monte Carlo in one dimension, exactly.

    ``1 - (2 / pi) arcsin(|s - 1| / sqrt((s + 1)^2 - 4 c^2))`` with ``s = c^2 + b^2``, where ``x_L = c x_0 + b v_0 / w``.

    Parameters
    ----------
    step_size
        Of the leapfrog steps; times the frequency below 2.
    num_steps
        Leapfrog steps, at least 1.
    frequency
        ``w``: the target is ``N(0, 1 / w^2)``.

    Notes
    -----
    The proposal is reversible and preserves volume, so that the rate is twice the probability of a negative error.
    """
    k, _, b = (float(value[0]) for value in _angles(step_size, num_steps, frequency))
    # s - 1 = b^2 k^2 / 4 and (s + 1)^2 - 4 c^2 = (s - 1)^2 + 4 b^2, without cancellation.
    excess = b**2 * k**2 / 4
    if b == 0:
        return 1.0
    return 1 - 2 / math.pi * math.asin(excess / math.hypot(excess, 2 * b))


def mala_acceptance(step_size: float, frequency: float = 1.0) -> float:
    """Return the stationary acceptance rate of MALA in one dimension, exactly.

    Parameters
    ----------
    step_size
        ``e`` in ``x' = x - e U'(x) + sqrt(2 e) w``: one leapfrog step of ``sqrt(2 e)``.
    frequency
        ``w``: the target is ``N(0, 1 / w^2)``.
    """
    if not step_size > 0:
        raise ValueError(f"step_size has to be positive; got {step_size}")
    if not 2 * step_size * frequency**2 < 4:
        # One step has a closed form at any size: b^2 = k^2, and s - 1 = k^4 / 4.
        k = math.sqrt(2 * step_size) * frequency
        return 1 - 2 / math.pi * math.asin(k**4 / 4 / math.hypot(k**4 / 4, 2 * k))
    return hamiltonian_acceptance(math.sqrt(2 * step_size), 1, frequency)


def mean_energy_error(step_size: float, num_steps: int, frequencies: ArrayLike) -> float:
    """Return the stationary mean of the error of the energy, ``sum k_i^2 (s_i - 1) / 8`` with ``k_i = h w_i``.

    Parameters
    ----------
    step_size, num_steps
        As in :func:`hamiltonian_acceptance`.
    frequencies
        Of the independent coordinates, shape ``(d,)``.
    """
    k, _, b = _angles(step_size, num_steps, frequencies)
    return float(np.sum(k**2 / 8 * (b**2 * k**2 / 4)))


def limiting_acceptance(step_size: float, num_steps: int, frequencies: ArrayLike) -> float:
    """Return ``2 Phi(-sqrt(mu / 2))`` with the mean ``mu`` of the error: the rate in many dimensions.

    The error is then nearly normal with variance ``2 mu``, for the law of a reversible proposal has
    ``E exp(-error) = 1``.

    Parameters
    ----------
    step_size, num_steps, frequencies
        As in :func:`mean_energy_error`.

    References
    ----------
    A. Beskos, N. Pillai, G. Roberts, J.-M. Sanz-Serna and A. Stuart, 2013, Bernoulli 19, arXiv:1001.4460.
    """
    return float(2 * special.ndtr(-math.sqrt(mean_energy_error(step_size, num_steps, frequencies) / 2)))
