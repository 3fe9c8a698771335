"""Rows of a compiled kernel, counted by anyone, against the rows of a known transition matrix.

:func:`ergodica.validation.evalues.row_test` runs a kernel of this library and watches every step. Here the counts come
from elsewhere: a Numba core, a C++ program, another library's sampler, or the same kernel on another device.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from ergodica.samplers.inputs import static_count
from ergodica.validation.evalues import multinomial_log_evalue
from ergodica.validation.evidence import Outcome


def expected_total_variation(probabilities: ArrayLike, n: int) -> float:
    """Return the expected distance in total variation of ``n`` draws' frequencies from their own law.

    What a right sampler shows for no other reason than that ``n`` is finite: read the distances of a table against it.

    Parameters
    ----------
    probabilities
        A law, shape ``(K,)``.
    n
        Number of independent draws.

    Returns
    -------
    float
        Exact: half the sum over the cells of the binomial mean deviations ``E|X - n p| / n``.

    Raises
    ------
    ValueError
        If the probabilities are no law.

    References
    ----------
    Abraham de Moivre (1730), for the mean deviation; Persi Diaconis and Sandy Zabell (1991), Closed form summation for
    classical distributions, Statistical Science 6(3).
    """
    n = static_count("n", n)
    p = np.asarray(probabilities, float)
    if p.ndim != 1 or p.size == 0 or not np.all(p >= 0) or abs(p.sum() - 1) > 1e-9:
        raise ValueError(f"expected probabilities that sum to one; got {p}")
    p = p[(p > 0) & (p < 1)]
    k = np.floor(n * p) + 1
    log_mass = special.xlogy(k, p) + special.xlog1py(n - k, -p)
    log_mass -= special.gammaln(k + 1) + special.gammaln(n - k + 1) - special.gammaln(n + 1)
    return float(np.sum(k * (1 - p) * np.exp(log_mass)) / n)


def row_counts_test(counts: ArrayLike, matrix: ArrayLike, *, alpha: float = 1e-6) -> Outcome:
    """Compare counted transitions with the rows of a transition matrix.

    Parameters
    ----------
    counts
        ``counts[s, t]``: how often independent steps from state ``s`` led to ``t``. Rows may differ in their numbers of
        steps, but the numbers have to be set beforehand. Not the transitions along one chain: how often it visits a
        state depends on its steps.
    matrix
        Transition probabilities, of the same shape.
    alpha
        Proven bound of the false-alarm probability.

    Returns
    -------
    Outcome
        The statistic is the largest log e-value of a row, the bound ``log(S / alpha)``. A step of probability zero is an
        infinite one. The details say how far the worst row is in total variation, and how far it would be by chance.

    Raises
    ------
    ValueError
        If the shapes differ, a count is negative or no integer, a row has no steps, or a row of the matrix is no law.

    Notes
    -----
    Holds for every number of steps, by Markov's inequality for each row and a union bound over the rows.
    """
    x, rows = np.asarray(counts), np.asarray(matrix, float)
    if x.ndim != 2 or x.size == 0 or rows.shape != x.shape:
        raise ValueError(f"expected counts and matrix of one shape (states, outcomes); got {x.shape} and {rows.shape}")
    if not np.issubdtype(x.dtype, np.integer) or np.any(x < 0):
        raise ValueError(f"counts have to be integers, not negative; got dtype {x.dtype}, smallest {x.min()}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha has to lie in (0, 1); got {alpha}")
    steps = x.sum(axis=1)
    if np.any(steps == 0):
        raise ValueError(f"row {int(np.argmin(steps))} has no steps; make some from every state, or leave the row out")
    logs = np.array([multinomial_log_evalue(seen, row) for seen, row in zip(x, rows, strict=True)])
    worst = int(np.argmax(logs))
    n = int(steps[worst])
    distance = 0.5 * float(np.sum(np.abs(x[worst] / n - rows[worst])))
    impossible = np.flatnonzero((rows[worst] == 0) & (x[worst] > 0))
    bound = float(np.log(len(x) / alpha))
    details = (
        f"worst row {worst}: total variation {distance:.4g} after {n} steps, "
        f"{expected_total_variation(rows[worst], n):.4g} expected by chance"
    )
    if impossible.size:
        details += f"; {int(x[worst][impossible].sum())} steps of probability zero, to {impossible.tolist()}"
    return Outcome(float(logs[worst]), bound, bool(logs[worst] < bound), alpha, details)
