"""The covariance in the central limit theorem of a chain, from its draws."""

from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from ergodica.samplers.inputs import static_count
from ergodica.validation.convergence.chains import chain_draws

Method = Literal["batch-means", "lugsail", "bartlett"]


def _batch_means(x: Float[np.ndarray, "c n p"], batch: int) -> Float[np.ndarray, "p p"]:
    """Return the estimate from batches of all chains around the common mean; the first draws that do not fit drop."""
    chains, n, p = x.shape
    count = n // batch
    if chains * count < 2:
        raise ValueError(f"batches of {batch} leave fewer than two of them; got {chains} chains of {n} draws")
    used = x[:, n - count * batch :]
    means = used.reshape(chains * count, batch, p).mean(axis=1)
    centred = means - means.mean(axis=0)
    return np.asarray(batch / (chains * count - 1) * centred.T @ centred)


def _bartlett(x: Float[np.ndarray, "c n p"], batch: int) -> Float[np.ndarray, "p p"]:
    chains, n, p = x.shape
    centred = x - x.mean(axis=(0, 1))
    total = np.zeros((p, p))
    for lag in range(min(batch, n)):
        gamma = np.einsum("cti,ctj->ij", centred[:, : n - lag], centred[:, lag:]) / (chains * n)
        total += gamma if lag == 0 else (1 - lag / batch) * (gamma + gamma.T)
    return total


def monte_carlo_covariance(
    draws: ArrayLike, *, method: Method = "batch-means", batch: int | None = None
) -> Float[np.ndarray, "p p"]:
    """Return an estimate of the limit of ``n`` times the covariance of the mean of ``n`` draws.

    Parameters
    ----------
    draws
        Shape ``(chains, draws, p)``, ``(chains, draws)`` or ``(draws,)``. Chains are pooled around their common mean, so
        that chains that disagree raise the estimate: to the batch length times their variance, at most.
    method
        ``"batch-means"``; ``"lugsail"``, twice that minus the one for a third of the batch, which offsets the bias but
        need not be positive definite; ``"bartlett"``, the windowed sum of the autocovariances.
    batch
        Length of the batches, or of the window; default: the root of the number of draws.

    Raises
    ------
    TypeError, ValueError
        If the draws are not fit, or the batch is too long, or shorter than three for lugsail.

    References
    ----------
    Dootika Vats and James Flegal (2022), Lugsail lag windows for estimating time-average covariance matrices,
    Biometrika 109(3), arXiv:1809.04541.
    """
    x = chain_draws(draws, at_least=4)
    size = int(np.sqrt(x.shape[1])) if batch is None else static_count("batch", batch)
    if size > x.shape[1]:
        raise ValueError(f"batch has to be at most the number of draws, {x.shape[1]}; got {size}")
    if method == "batch-means":
        return _batch_means(x, size)
    if method == "bartlett":
        return _bartlett(x, size)
    if method == "lugsail":
        if size < 3 and batch is not None:
            raise ValueError(f"lugsail compares with a third of the batch, which has to be at least 3; got {size}")
        size = max(size, 3)
        return 2 * _batch_means(x, size) - _batch_means(x, size // 3)
    raise ValueError(f"method has to be 'batch-means', 'lugsail' or 'bartlett'; got {method!r}")
