"""Pearson's test of uniformity with its exact law, for evidence in the far tail.

The chi-square approximation of ``sum (x_i - m)**2 / m`` is an asymptotic statement, and a level of 1e-7 is beyond what
it promises. For equally probable cells the exact law is cheap: given their total, the counts are independent Poisson
variables, so the joint law of the total and of the sum of squares is a K-fold convolution, which the discrete
Fourier transform turns into a power.
"""

import functools

import numpy as np
from jaxtyping import Int
from scipy import special

from ergodica.samplers.inputs import static_count

# Mass cut off by the truncations below, and round-off of the transform: added to every p-value, so that it stays valid.
_FLOOR = 1e-11
# From this expected count on, the chi-square tail times _INFLATION is above the exact tail wherever that exceeds 1e-9
# (the exact law says 1.16 at worst), and the transform is not worth its time.
_LARGE = 200.0
_INFLATION = 1.25


@functools.lru_cache(maxsize=64)
def _tail(n: int, cells: int) -> np.ndarray:
    """Return ``P(sum of squared deviations >= t)`` for ``t = 0, 1, ...``.

    Deviations are taken from the integer nearest to the mean; given the total they differ from the exact ones by a
    constant, so the order of the statistic is the same.
    """
    mean = n / cells
    centre = round(mean)
    reach = int(np.ceil(9.0 * np.sqrt(mean) + 24))
    counts = np.arange(max(0, centre - reach), centre + reach + 1)
    logs = counts * np.log(mean) - mean - np.cumsum(np.log(np.maximum(np.arange(counts[-1] + 1), 1)))[counts]
    masses = np.exp(logs)
    deviations = counts - centre
    squares = deviations**2
    # 110 above its mean is far beyond any tail probability that the round-off lets us see.
    length = 1 << int(np.ceil(np.log2(mean * (cells + 110) + cells)))
    period = 1 << int(np.ceil(np.log2(18.0 * np.sqrt(n) + 48)))
    excess = n - cells * centre
    law = np.zeros(length)
    for wave in range(period // 2 + 1):
        phases = masses * np.exp(-2j * np.pi * wave * deviations / period)
        folded = np.bincount(squares % length, phases.real, length) + 1j * np.bincount(
            squares % length, phases.imag, length
        )
        power = np.fft.fft(folded) ** cells
        term = np.fft.ifft(power * np.exp(2j * np.pi * wave * excess / period)).real
        law += term if wave in (0, period // 2) else 2 * term
    law = np.maximum(law, 0)
    law /= law.sum()
    return np.cumsum(law[::-1])[::-1]


def uniformity_pvalue(counts: Int[np.ndarray, " cells"]) -> float:
    """Return the exact p-value of Pearson's statistic for counts in equally probable cells.

    Parameters
    ----------
    counts
        Counts, at least two cells and one observation. The law of 1000 observations in 10 cells takes 0.3 s, once.
        From 200 expected per cell on, the chi-square tail is used, times 1.25, which bounds the exact one.

    Returns
    -------
    float
        At least 1e-11, or 1e-9 from 200 per cell on; super-uniform for every number of observations.

    Raises
    ------
    ValueError
        If a count is negative, or there are fewer than two cells or no observations.

    References
    ----------
    Karl Pearson (1900), Philosophical Magazine 50 (302), for the statistic; the law is computed, not approximated.
    """
    x = np.asarray(counts)
    if x.ndim != 1 or x.size < 2 or np.any(x < 0) or not np.issubdtype(x.dtype, np.integer):
        raise ValueError(f"expected non-negative integer counts of at least two cells; got {counts!r}")
    n = static_count("the number of observations", int(x.sum()))
    if n >= _LARGE * x.size:
        mean = n / x.size
        return float(min(1.0, 1e-9 + _INFLATION * special.chdtrc(x.size - 1, np.sum((x - mean) ** 2) / mean)))
    tail = _tail(n, x.size)
    statistic = int(np.sum((x - round(n / x.size)) ** 2))
    return float(min(1.0, _FLOOR + (tail[statistic] if statistic < tail.size else 0.0)))
