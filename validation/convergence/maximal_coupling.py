"""Coupled steps that make two chains equal as often as their laws allow: on finite spaces, and for normal steps."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from numpy.typing import ArrayLike

from ergodica.samplers import random
from ergodica.theory.couplings import maximal_coupling


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
    return maximal_coupling(matrix[:, None], matrix[None])


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
