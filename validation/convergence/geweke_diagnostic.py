"""Geweke's diagnostic: whether the early draws of a chain have the mean of the late ones."""

import dataclasses

import numpy as np
import scipy.linalg
import scipy.special
from jaxtyping import Float
from numpy.typing import ArrayLike

from ergodica.validation.convergence.chains import chain_draws


def spectral_variance(series: Float[np.ndarray, " n"]) -> float:
    """Return the spectral density at zero of an autoregression fitted by Yule-Walker, its order chosen by AIC.

    Parameters
    ----------
    series
        Draws of one quantity; a constant series has the value 0.
    """
    n = len(series)
    centred = series - series.mean()
    if np.abs(centred).max() <= 1e-14 * np.abs(series).max():
        return 0.0
    top = min(n - 1, int(10 * np.log10(n)))
    gamma = np.array([centred[: n - k] @ centred[k:] / n for k in range(top + 1)])
    best, value = np.inf, float(gamma[0])
    for order in range(top + 1):
        phi = scipy.linalg.solve_toeplitz(gamma[:order], gamma[1 : order + 1]) if order else np.zeros(0)
        noise = float(gamma[0] - phi @ gamma[1 : order + 1]) * n / (n - order - 1 or 1)
        if noise <= 0:
            break
        score = n * np.log(noise) + 2 * order
        if score < best:
            best, value = score, noise / (1 - phi.sum()) ** 2
    return value


@dataclasses.dataclass(frozen=True)
class GewekeDiagnostic:
    """Differences of early and late means, in standard errors.

    Parameters
    ----------
    value
        z-scores, shape ``(chains, p)``.
    p_value
        Smallest two-sided normal p-value times the number of scores.
    exact
        False: the level is asymptotic, and the test sees only what one chain has seen.
    guarantee
        How the level is guaranteed.
    method
        What was computed, in words.
    """

    value: Float[np.ndarray, "chains p"]
    p_value: float
    exact: bool
    guarantee: str
    method: str


def geweke_diagnostic(draws: ArrayLike, *, first: float = 0.1, last: float = 0.5) -> GewekeDiagnostic:
    """Compare the mean of the first draws of each chain with that of the last ones.

    Parameters
    ----------
    draws
        Shape ``(chains, draws, p)``, ``(chains, draws)`` or ``(draws,)``.
    first, last
        Fractions of the draws, positive and at most one together.

    Raises
    ------
    TypeError, ValueError
        If the draws are not fit, a part has fewer than ten, a quantity is constant in both parts, or the fractions
        overlap.

    References
    ----------
    John Geweke (1992), Evaluating the accuracy of sampling-based approaches to the calculation of posterior moments.
    """
    if not (first > 0 and last > 0 and first + last <= 1):
        raise ValueError(f"first and last have to be positive fractions of at most 1 together; got {first}, {last}")
    x = chain_draws(draws)
    chains, n, p = x.shape
    early, late = int(first * n), int(last * n)
    if min(early, late) < 10:
        raise ValueError(f"the parts hold {early} and {late} draws; expected at least 10 each")
    scores = np.empty((chains, p))
    for c in range(chains):
        for k in range(p):
            a, b = x[c, :early, k], x[c, n - late :, k]
            variance = spectral_variance(a) / early + spectral_variance(b) / late
            if variance == 0:
                raise ValueError(f"quantity {k} of chain {c} is constant in both parts: known, or the chain is stuck")
            scores[c, k] = (a.mean() - b.mean()) / np.sqrt(variance)
    worst = float(np.abs(scores).max())
    p_value = min(1.0, 2 * float(scipy.special.ndtr(-worst)) * scores.size)
    return GewekeDiagnostic(
        scores,
        max(p_value, float(np.finfo(float).tiny)),
        False,
        "normal in the limit of long chains",
        "Geweke z-scores",
    )
