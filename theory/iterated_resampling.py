"""Iterated sampling importance resampling (i-SIR) on finite spaces: its transition matrix, and how fast it forgets.

A step from ``x`` draws ``N - 1`` candidates from a proposal ``q`` and moves to one of the ``N`` points, the current one
among them, with probability proportional to its weight ``w = pi / q``. The target ``pi`` is invariant for every ``N``.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from ergodica.theory.importance import importance_weights
from ergodica.theory.probability_vector import probability_vector

__all__ = [
    "ResamplingMatrix",
    "iterated_resampling_matrix",
    "minorisation_bound",
    "minorisation_constant",
]


@dataclass(frozen=True)
class ResamplingMatrix:
    """The transition matrix of iterated resampling.

    Parameters
    ----------
    value
        Shape ``(n, n)``.
    method
        How the expectations over the candidates were computed.
    residual
        Largest deviation of a sum of a row from one; the diagonal is not computed from the rest of the row.
    """

    value: Float[np.ndarray, "n n"]
    method: str
    residual: float


def _check(num_candidates: int) -> int:
    if not float(num_candidates).is_integer() or num_candidates < 2:
        raise ValueError(
            f"num_candidates counts the current state and has to be an integer of at least 2; got {num_candidates}. "
            "With one candidate the chain does not move."
        )
    return int(num_candidates)


def _kernel_over_target(
    w: Float[np.ndarray, " n"], q: Float[np.ndarray, " n"], num_candidates: int
) -> tuple[Float[np.ndarray, "n n"], Float[np.ndarray, " n"]]:
    """Return ``(N - 1) E 1 / (w_x + w_y + S_{N-2})``, and ``E w_x / (w_x + S_{N-1})``, with sums ``S`` of weights.

    ``E 1 / (a + S_m)`` is the integral of ``exp(-u a) phi(u)^m`` over ``u > 0``, ``phi`` the Laplace transform of one
    weight. In ``log u`` the integrand is analytic in the strip of half-width ``pi / 2``, so that the trapezoidal rule
    with step ``h`` has an error of about ``exp(-pi^2 / h)``.
    """
    positive = w[w > 0]
    step = 0.2
    start = -40.0 - np.log(num_candidates + 2 * w.max())
    stop = np.log(800.0 / positive.min())
    # arange(start, stop, step) would round the step.
    u = np.exp(start + step * np.arange(int(np.ceil((stop - start) / step)) + 1))
    decay = np.exp(-np.outer(w, u))
    log_phi = np.log1p(np.maximum(q @ np.expm1(-np.outer(w, u)), np.nextafter(-1.0, 0.0)))
    weight = step * u
    pairs = (num_candidates - 1) * (decay * (weight * np.exp((num_candidates - 2) * log_phi))) @ decay.T
    stay = w * (decay @ (weight * np.exp((num_candidates - 1) * log_phi)))
    # A state of weight zero is kept only if no candidate has any.
    stay[w == 0] = q[w == 0].sum() ** (num_candidates - 1)
    return np.asarray(pairs), np.asarray(stay)


def iterated_resampling_matrix(target: ArrayLike, proposal: ArrayLike, num_candidates: int) -> ResamplingMatrix:
    """Return the transition matrix of iterated resampling, ``n^2`` numbers for any number of candidates.

    Off the diagonal it is ``pi_y (N - 1) E 1 / (w_x + w_y + S)`` with the sum ``S`` of the weights of ``N - 2`` draws of
    the proposal.

    Parameters
    ----------
    target, proposal
        ``pi`` and ``q``, shape ``(n,)``. From a state of weight zero the chain moves unless all candidates have weight
        zero, too.
    num_candidates
        ``N``, at least 2, the current state included.

    Raises
    ------
    ValueError
        If the laws are none, the proposal misses a state of the target, or ``num_candidates`` is below 2.
    RuntimeError
        If the weights span so many orders of magnitude that the rows do not sum to one within ``1e-8``.

    References
    ----------
    C. Andrieu, A. Lee and M. Vihola, 2018, Uniform ergodicity of the iterated conditional SMC and geometric ergodicity
    of particle Gibbs samplers, Bernoulli 24, arXiv:1312.6432.
    """
    count = _check(num_candidates)
    w = importance_weights(target, proposal)
    pi, q = probability_vector(target), probability_vector(proposal)
    pairs, stay = _kernel_over_target(w, q, count)
    matrix = pi * pairs + np.diag(stay)
    residual = float(np.abs(matrix.sum(axis=1) - 1).max())
    if not residual < 1e-8:
        raise RuntimeError(
            f"the rows sum to one only up to {residual:.3g}; the weights span too many orders of magnitude"
        )
    return ResamplingMatrix(matrix, "quadrature of the Laplace transform", residual)


def minorisation_constant(target: ArrayLike, proposal: ArrayLike, num_candidates: int) -> float:
    """Return the largest ``eps`` with ``P(x, .) >= eps pi`` for all states ``x`` of the target.

    The distance to the target shrinks by ``1 - eps`` at least in every step, from any start.

    Parameters
    ----------
    target, proposal
        ``pi`` and ``q``, shape ``(n,)``.
    num_candidates
        ``N``, at least 2.
    """
    matrix = iterated_resampling_matrix(target, proposal, num_candidates).value
    pi = probability_vector(target)
    inside = pi > 0
    return float((matrix[np.ix_(inside, inside)] / pi[inside]).min())


def minorisation_bound(bound: float, num_candidates: int) -> float:
    """Return ``(N - 1) / (2 L + N - 2)``, from below on :func:`minorisation_constant`; on general spaces, too.

    Parameters
    ----------
    bound
        ``L``: the largest weight, at least 1; with an infinite one the bound is zero.
    num_candidates
        ``N``, at least 2.

    References
    ----------
    C. Andrieu, A. Lee and M. Vihola, 2018, Bernoulli 24, arXiv:1312.6432; F. Lindsten, R. Douc and E. Moulines, 2015,
    Uniform ergodicity of the particle Gibbs sampler, Scand. J. Statist. 42, arXiv:1401.0683.
    """
    count = _check(num_candidates)
    if not bound >= 1:
        raise ValueError(f"the largest weight of two laws is at least 1; got {bound}")
    return (count - 1) / (2.0 * bound + count - 2)
