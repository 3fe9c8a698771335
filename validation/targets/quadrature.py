"""Laws on an interval of the line, given by a smooth log density: normaliser, means and distribution function."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from ergodica.samplers.inputs import static_count

Function = Callable[[Float[np.ndarray, "..."]], Float[np.ndarray, "..."]]
"""A function of NumPy arrays, vectorised."""


class IntervalLaw:
    """A law on an interval, by composite Gauss-Legendre quadrature.

    The error is that of round-off when the log density is smooth at the scale of a panel and what lies outside of the
    interval is negligible.

    Parameters
    ----------
    logdensity
        Vectorised over NumPy arrays; ``-inf`` is fine at whole panels.
    low, high
        Ends of the interval.
    panels, order
        Number of panels, and of nodes in each.

    Raises
    ------
    ValueError
        If the interval is empty, or the density has no finite positive integral.
    """

    def __init__(self, logdensity: Function, low: float, high: float, *, panels: int = 100, order: int = 20) -> None:
        if not -np.inf < low < high < np.inf:
            raise ValueError(f"low has to be below high, and both finite; got {low} and {high}")
        self._logdensity = logdensity
        self._edges = np.linspace(low, high, static_count("panels", panels) + 1)
        self._unit, self._weights = np.polynomial.legendre.leggauss(static_count("order", order))
        half = np.diff(self._edges) / 2
        self._nodes = (self._edges[:-1] + half)[:, None] + half[:, None] * self._unit
        logs = np.asarray(logdensity(self._nodes), dtype=np.float64)
        self._shift = float(np.max(logs))
        if not np.isfinite(self._shift):
            raise ValueError(
                f"the log density has to be finite somewhere and nowhere inf or NaN; its maximum is {self._shift}"
            )
        mass = half[:, None] * self._weights * np.exp(logs - self._shift)
        total = float(mass.sum())
        self._mass = mass / total
        self._below = np.concatenate([[0.0], np.cumsum(self._mass.sum(axis=1))])
        self.log_normalizer = self._shift + float(np.log(total))

    def mean(self, function: Function) -> float:
        """Return the mean of a vectorised function."""
        return float(np.sum(self._mass * function(self._nodes)))

    def cdf(self, values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Return the distribution function: whole panels from a table, the last one by a rule of its own."""
        x = np.clip(np.asarray(values, dtype=np.float64), self._edges[0], self._edges[-1])
        panel = np.clip(np.searchsorted(self._edges, x, side="right") - 1, 0, len(self._edges) - 2)
        half = (x - self._edges[panel]) / 2
        nodes = (self._edges[panel] + half)[..., None] + half[..., None] * self._unit
        inside = half * (np.exp(self._logdensity(nodes) - self.log_normalizer) @ self._weights)
        return np.clip(self._below[panel] + inside, 0.0, 1.0)
