"""Errors of estimates of a normalising constant, over independent replicates."""

import dataclasses

import numpy as np
import scipy.special
from jaxtyping import Float
from numpy.typing import ArrayLike


@dataclasses.dataclass(frozen=True)
class NormalisingConstantError:
    """How estimates of ``log Z`` err.

    Parameters
    ----------
    value
        ``log(mean of Z) - log Z``: goes to zero with the number of replicates if the estimate of ``Z`` is unbiased.
    standard_error
        Its jackknife standard error.
    mean_log_error
        ``mean of log Z - log Z``: near ``-relative_variance / 2`` for an unbiased estimate, and ``-inf`` if one estimate
        is zero. Do not average logs.
    rmse, rmse_standard_error
        Root mean square of the errors of ``log Z``, and its jackknife standard error; infinite and NaN if an estimate
        is zero.
    relative_variance
        Variance of ``Z`` over its squared mean.
    p_value
        Two-sided, for the hypothesis that the mean of ``Z`` is right: normal in the limit of many replicates and small
        relative variance, so a diagnostic. Large relative variance hides in few replicates.
    exact
        False.
    guarantee
        How the p-value is guaranteed.
    replicates
        Number of estimates.
    method
        What was computed, in words.
    """

    value: float
    standard_error: float
    mean_log_error: float
    rmse: float
    rmse_standard_error: float
    relative_variance: float
    p_value: float
    exact: bool
    guarantee: str
    replicates: int
    method: str


def _jackknife_error(left_out: Float[np.ndarray, " R"]) -> float:
    count = len(left_out)
    return float(np.sqrt((count - 1) * np.mean((left_out - left_out.mean()) ** 2)))


def normalising_constant_error(log_estimates: ArrayLike, log_truth: float) -> NormalisingConstantError:
    """Compare independent estimates of a normalising constant with its true value.

    Parameters
    ----------
    log_estimates
        Logs of the estimates, shape ``(R,)`` with ``R >= 2``; 32 or more are advisable. ``-inf`` stands for an estimate
        of zero, as of particles that all died.
    log_truth
        The true ``log Z``.

    Raises
    ------
    ValueError
        If there are fewer than two estimates, one is NaN or ``inf``, all are zero, or the truth is not finite.

    References
    ----------
    Bradley Efron and Charles Stein (1981), The jackknife estimate of variance, Annals of Statistics 9(3).
    """
    logs = np.asarray(log_estimates, np.float64)
    if logs.ndim != 1 or logs.size < 2:
        raise ValueError(f"log_estimates has to hold at least two independent estimates; got shape {logs.shape}")
    if np.any(np.isnan(logs)) or np.any(np.isposinf(logs)):
        raise ValueError("log_estimates has to be free of NaN and inf; a sampler that returns them is wrong")
    if np.all(np.isneginf(logs)):
        raise ValueError("all estimates of the normalising constant are zero")
    if not np.isfinite(log_truth):
        raise ValueError(f"log_truth has to be finite; got {log_truth}")
    count = logs.size
    errors = logs - float(log_truth)
    top = errors.max()
    scaled = np.exp(errors - top)
    mean = scaled.mean()
    value = float(top + np.log(mean))
    rest = (scaled.sum() - scaled) / (count - 1)
    # If all other estimates are zero, their mean has no log: the error is unbounded, and said to be.
    error = _jackknife_error(np.log(rest)) if np.all(rest > 0) else np.inf
    relative = float(scaled.var(ddof=1) / mean**2)
    if np.any(np.isneginf(logs)):
        mean_log, rmse, rmse_error = -np.inf, np.inf, np.nan
    else:
        squares = errors**2
        mean_log, rmse = float(errors.mean()), float(np.sqrt(squares.mean()))
        rmse_error = _jackknife_error(np.sqrt(((squares.sum() - squares) / (count - 1)).clip(min=0)))
    # z = (mean of Z / Z - 1) / standard error, scaled by exp(top) to avoid overflow.
    spread = float(scaled.std(ddof=1) / np.sqrt(count))
    gap = float(mean - np.exp(np.clip(-top, -700, 700)))
    p_value = float(abs(gap) <= 1e-12 * mean)
    if spread > 0:
        p_value = float(2 * scipy.special.ndtr(-abs(gap) / spread))
    return NormalisingConstantError(
        value=value,
        standard_error=float(error),
        mean_log_error=mean_log,
        rmse=rmse,
        rmse_standard_error=rmse_error,
        relative_variance=relative,
        p_value=max(p_value, float(np.finfo(float).tiny)),
        exact=False,
        guarantee="normal in the limit of many replicates",
        replicates=count,
        method="error of the normalising constant",
    )
