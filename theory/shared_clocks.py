"""How often draft and target agree if they race the same exponential clocks.

A clock of mean one runs for each token on each of ``k`` lists. List ``i`` drafts the token whose clock divided by its
probability under ``q`` is the smallest; the target takes the token whose smallest clock over the lists, divided by its
probability under ``p``, is the smallest. Neither law needs to know the other, which costs a little of the optimum. A
lower bound for several lists is :func:`ergodica.theory.draft_acceptance.shared_randomness_bound`.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from ergodica.theory.draft_acceptance import shared_randomness_bound
from ergodica.theory.token_laws import checked_drafts, checked_pair, total_variation

__all__ = ["match_probability", "total_variation_bound"]

_STEP = 0.1
"""Distance of the nodes in ``log t``: the error of the trapezoidal rule there is ``exp(-pi^2 / 0.1)``."""


def match_probability(p: Any, q: Any, k: int = 1) -> Any:
    """Return the probability that the target's token is one of the ``k`` drafts.

    Let ``w_j = p_j / q_j`` and ``H(w) = sum_x (q_x w - p_x)+``. If token ``j`` wins at time ``t`` by the clock of one
    list, that list has drafted it with probability ``a = exp(-t H(w_j))``, and each of the others with
    ``b = q_j t int_{w_j}^inf exp(-t H(w)) dw``. So the probability is
    ``sum_j p_j k int_0^inf exp(-k t) (1 - (1 - a) (1 - b)^(k - 1)) dt``; for one list, ``sum_j p_j / (1 + H(w_j))``.

    Parameters
    ----------
    p, q
        Weights of target and draft, shape ``(V,)``, floats or fractions.
    k
        Number of lists.

    Returns
    -------
    number
        For one list computed with the numbers given, so that fractions give a fraction; else a float, by quadrature.

    References
    ----------
    M. Daliri, C. Musco and A. T. Suresh, 2024, arXiv 2408.07978, for one list.
    J. Rowan, B. Phan and A. Khisti, 2025, arXiv 2506.05632, for the rule with several; the integral is derived here.
    """
    target, draft = checked_pair(p, q)
    if checked_drafts(k) == 1:
        return shared_randomness_bound(p, q, 1)
    return _by_quadrature(np.asarray(target, np.float64), np.asarray(draft, np.float64), int(k))


def _by_quadrature(target: Float[np.ndarray, " V"], draft: Float[np.ndarray, " V"], k: int) -> float:
    possible = draft > 0
    p, q = target[possible], draft[possible]
    order = np.argsort(p / q, kind="stable")
    p, q = p[order], q[order]
    ratio = p / q
    # H is piecewise linear with its corners at the ratios; between corners m and m + 1 its slope is the sum of q up to m.
    slope = np.cumsum(q)
    height = np.concatenate([[0.0], np.cumsum(slope[:-1] * np.diff(ratio))])
    time = np.exp(np.arange(-39.0, 4.0, _STEP))
    total = np.zeros(time.size)
    tail = np.zeros(time.size)  # t times the integral of exp(-t H) beyond the ratio
    reached = np.zeros(time.size)  # exp(-t H) at the next corner; zero at infinity
    for j in range(p.size - 1, -1, -1):
        at_corner = np.exp(-time * height[j])
        tail = tail + (at_corner - reached) / slope[j]
        reached = at_corner
        other = np.minimum(q[j] * tail, 1.0)
        total += p[j] * (1 - (1 - at_corner) * (1 - other) ** (k - 1))
    return float(_STEP * np.sum(k * time * np.exp(-k * time) * total))


def total_variation_bound(p: Any, q: Any) -> Any:
    """Return ``(1 - TV) / (1 + TV)``, which the probability of a match is never below, for any number of lists.

    Parameters
    ----------
    p, q
        Weights of target and draft, shape ``(V,)``.

    References
    ----------
    M. Daliri, C. Musco and A. T. Suresh, 2024, arXiv 2408.07978.
    """
    distance = total_variation(p, q)
    return (1 - distance) / (1 + distance)
