"""Many tests at once: which samplers of a zoo to accuse, and with what guarantee.

====================  ==============================  ==========================  ====================================
method                input                           controls                    holds for
====================  ==============================  ==========================  ====================================
:func:`holm`          p-values                        any false accusation        every dependence of the p-values
:func:`e_bonferroni`  e-values                        any false accusation        every dependence of the e-values
:func:`e_bh`          e-values                        share of false accusations  every dependence of the e-values
====================  ==============================  ==========================  ====================================

Each p-value has to be super-uniform where its own null hypothesis holds, each e-value has to have expectation at most
one there; e-processes may be stopped at any time, each at its own. A false accusation of a released sampler is
expensive: gate releases by the first two. The third has more power and is for a table that is looked at.

Why they hold. *Holm*: if an accusation is false, let ``m0`` hypotheses be true; when the first true one is rejected, at
most ``m - m0`` were before it, so its p-value is at most ``alpha / m0``, and the union bound over the true ones gives
``alpha``. *e-Bonferroni*: Markov's inequality and the union bound. *e-BH*: a rejected true hypothesis has
``e_i >= m / (alpha k)``, so it adds ``1 / k <= alpha e_i / m`` to the share of false ones, whose expectation is
therefore at most ``alpha m0 / m``.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from ergodica.validation.evidence import Outcome


@dataclasses.dataclass(frozen=True)
class Rejections:
    """Hypotheses that are rejected.

    Parameters
    ----------
    rejected
        Whether each is, shape ``(m,)``, in the order in which they were given.
    log_threshold
        Log of the e-value from which on they are; ``inf`` if none is.
    level
        The level.
    """

    rejected: Bool[np.ndarray, " m"]
    log_threshold: float
    level: float

    @property
    def count(self) -> int:
        """How many are rejected."""
        return int(self.rejected.sum())


def _pvalues(pvalues: ArrayLike) -> Float[np.ndarray, " m"]:
    p = np.asarray(pvalues, float)
    if p.ndim != 1 or p.size == 0:
        raise ValueError(f"expected p-values of shape (m,), at least one; got shape {p.shape}")
    if not np.all((p >= 0) & (p <= 1)):
        raise ValueError(
            f"p-values lie in [0, 1]; number {int(np.argmin((p >= 0) & (p <= 1)))} is "
            f"{p[~((p >= 0) & (p <= 1))][0]}. A test that could not be made is no evidence: mend it, do not drop it"
        )
    return p


def _log_evalues(log_evalues: ArrayLike) -> Float[np.ndarray, " m"]:
    e = np.asarray(log_evalues, float)
    if e.ndim != 1 or e.size == 0:
        raise ValueError(f"expected logs of e-values of shape (m,), at least one; got shape {e.shape}")
    if np.any(np.isnan(e)):
        raise ValueError(f"the log of e-value number {int(np.argmax(np.isnan(e)))} is NaN; -inf stands for e = 0")
    return e


def _level(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level has to lie in (0, 1); got {level}")
    return level


def holm(pvalues: ArrayLike) -> Float[np.ndarray, " m"]:
    """Return p-values adjusted for multiplicity by Holm's step-down method.

    Parameters
    ----------
    pvalues
        Shape ``(m,)``, of any dependence, each super-uniform under its own null hypothesis.

    Returns
    -------
    float64 array, shape ``(m,)``
        ``max_{j <= i} (m - j + 1) p_(j)``, at most one, in the order given. Rejecting those at most ``alpha`` rejects any
        true hypothesis with probability at most ``alpha``.

    Raises
    ------
    ValueError
        If there are none, or one is NaN or outside [0, 1].

    References
    ----------
    Sture Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6.
    """
    p = _pvalues(pvalues)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(np.arange(p.size, 0, -1) * p[order])
    adjusted = np.empty(p.size)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def e_bonferroni(log_evalues: ArrayLike, level: float) -> Rejections:
    """Reject the hypotheses whose e-values are at least ``m / level``.

    Parameters
    ----------
    log_evalues
        Logs of e-values, shape ``(m,)``, of any dependence.
    level
        Bound of the probability of any false rejection.

    Raises
    ------
    ValueError
        If there are none, one is NaN, or the level is outside (0, 1).
    """
    e = _log_evalues(log_evalues)
    bound = float(np.log(e.size / _level(level)))
    rejected = e >= bound
    return Rejections(rejected, bound if rejected.any() else np.inf, level)


def e_bh(log_evalues: ArrayLike, level: float) -> Rejections:
    """Reject the largest e-values by the e-value form of Benjamini and Hochberg's method.

    Parameters
    ----------
    log_evalues
        Logs of e-values, shape ``(m,)``, of any dependence: samplers may share code, targets and random numbers.
    level
        Bound of the false discovery rate: of the expected share of true hypotheses among those rejected.

    Returns
    -------
    Rejections
        The ``k`` largest e-values, for the largest ``k`` with ``e_(k) >= m / (level k)``.

    Raises
    ------
    ValueError
        If there are none, one is NaN, or the level is outside (0, 1).

    References
    ----------
    Ruodu Wang and Aaditya Ramdas (2022), False discovery rate control with e-values, JRSS B 84(3), arXiv:2009.02824.
    """
    e = _log_evalues(log_evalues)
    bounds = np.log(e.size / (_level(level) * np.arange(1, e.size + 1)))
    reached = np.flatnonzero(np.sort(e)[::-1] >= bounds)
    if reached.size == 0:
        return Rejections(np.zeros(e.size, bool), np.inf, level)
    bound = float(bounds[reached[-1]])
    return Rejections(e >= bound, bound, level)


def mean_evalue(log_evalues: ArrayLike) -> float:
    """Return the log of the average of e-values: an e-value against the hypothesis that all their nulls hold.

    Raises
    ------
    ValueError
        If there are none, or one is NaN.
    """
    e = _log_evalues(log_evalues)
    return float(np.logaddexp.reduce(e) - np.log(e.size))


def release_gate(pvalues: Mapping[str, float], level: float) -> Outcome:
    """Hold one p-value of each sampler against one level for all of them, by Holm's method.

    Parameters
    ----------
    pvalues
        By name. The inverse of an e-value, capped at one (:func:`.evalues.pvalue_of`), is a p-value.
    level
        Bound of the probability that any right sampler is accused.

    Returns
    -------
    Outcome
        The statistic is the smallest adjusted p-value; the details name the accused.

    Raises
    ------
    ValueError
        If there are none, one is no p-value, or the level is outside (0, 1).
    """
    level = _level(level)
    adjusted = dict(zip(pvalues, holm(list(pvalues.values())), strict=True))
    accused = [f"{name} ({value:.3g})" for name, value in adjusted.items() if value <= level]
    details = f"accused, with adjusted p-values: {', '.join(accused)}" if accused else f"{len(adjusted)} passed"
    return Outcome(float(min(adjusted.values())), level, not accused, level, details)
