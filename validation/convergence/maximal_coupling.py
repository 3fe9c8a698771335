"""Couplings that make two draws equal as often as their laws allow: of finite laws, and of normal laws."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from numpy.typing import ArrayLike

from ergodica.samplers import random


def maximal_coupling(p: ArrayLike, q: ArrayLike) -> Float[np.ndarray, "n n"]:
    """Return the joint law of a draw from ``p`` and one from ``q`` that agree with probability ``1 - TV(p, q)``.

    The overlap ``min(p, q)`` is on the diagonal; what is left of the two is independent.

    Parameters
    ----------
    p, q
        Laws, shape ``(n,)``.

    Raises
    ------
    ValueError
        If they are no laws on one space.
    """
    first, second = np.asarray(p, np.float64), np.asarray(q, np.float64)
    for law in (first, second):
        if law.ndim != 1 or law.shape != first.shape or not np.all(law >= 0) or abs(law.sum() - 1) > 1e-9:
            raise ValueError(f"expected two laws of one length that sum to one; got {first} and {second}")
    overlap = np.minimum(first, second)
    rest = 1 - float(overlap.sum())
    joint = np.diag(overlap)
    if rest > 1e-15:
        joint = joint + np.outer(first - overlap, second - overlap) / rest
    return np.asarray(joint)


def coupled_matrix(P: ArrayLike) -> Float[np.ndarray, "n n n n"]:
    """Return the transition probabilities of two chains with maximally coupled rows.

    Parameters
    ----------
    P
        Transition matrix, shape ``(n, n)``.

    Returns
    -------
    array of shape (n, n, n, n)
        Entry ``[x, y, x', y']``. Marginally both chains have ``P``, and once equal they stay equal.

    Raises
    ------
    ValueError
        If ``P`` is no transition matrix.
    """
    matrix = np.asarray(P, np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"a transition matrix is square; got shape {matrix.shape}")
    n = len(matrix)
    return np.stack([np.stack([maximal_coupling(matrix[x], matrix[y]) for y in range(n)]) for x in range(n)])


def reflection_maximal_normal(
    key: PRNGKeyArray, mean_x: Float[Array, " d"], mean_y: Float[Array, " d"], factor: Float[Array, "d d"]
) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
    """Draw from two normal laws of one covariance, equal with the largest probability, else mirror images.

    Parameters
    ----------
    key
        Typed key.
    mean_x, mean_y
        Means, shape ``(d,)``.
    factor
        Lower triangular ``L`` with covariance ``L L^T``, invertible.

    Returns
    -------
    pair of arrays
        Equal with probability ``2 Phi(-|z| / 2)``, ``z = L^{-1} (mean_x - mean_y)``.

    References
    ----------
    Pierre Jacob, John O'Leary and Yves Atchadé (2020), Unbiased Markov chain Monte Carlo methods with couplings,
    JRSS B 82, arXiv:1708.03625.
    """
    noise_key, coin_key = random.split(key)
    z = jnp.linalg.solve(factor, mean_x - mean_y)
    length = jnp.linalg.norm(z)
    direction = jnp.where(length > 0, z / jnp.where(length > 0, length, 1), 0)
    noise = random.normal(noise_key, z.shape, z.dtype)
    # log phi(noise + z) - log phi(noise)
    agree = jnp.log(random.uniform(coin_key, (), z.dtype)) <= -noise @ z - 0.5 * length**2
    x = mean_x + factor @ noise
    mirrored = mean_y + factor @ (noise - 2 * (direction @ noise) * direction)
    return x, jnp.where(agree, x, mirrored)
