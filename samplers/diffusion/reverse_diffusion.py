"""Reverse-diffusion Monte Carlo: noise the target, and run the noising backwards with estimated scores."""

from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers import inputs, random
from ergodica.samplers.density import LogDensity, evaluate, optional_logdensity
from ergodica.samplers.diffusion.rejection_score import RejectionScore
from ergodica.samplers.diffusion.score import (
    ImportanceScore,
    LangevinScore,
    Posterior,
    ScoreEstimate,
    ScoreEstimator,
)
from ergodica.samplers.kernel import Claim, DensityState, Exactness, Kernel, Space

__all__ = ["PathTally", "ReverseDiffusion", "ReverseDiffusionInfo", "geometric_times", "zod_times"]

STARTS = ("gaussian", "langevin")


def geometric_times(horizon: float = 3.0, end: float = 0.02, num_steps: int = 50) -> Float[Array, " K+1"]:
    """Return times that decrease geometrically from the horizon to the end.

    Parameters
    ----------
    horizon, end
        First and last time, ``horizon > end > 0``.
    num_steps
        ``K``.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.
    """
    num_steps = inputs.static_count("num_steps", num_steps)
    if not (np.isfinite(horizon) and horizon > end > 0):
        raise ValueError(f"expected horizon > end > 0; got horizon={horizon}, end={end}")
    return jnp.asarray(np.geomspace(horizon, end, num_steps + 1), float)


def zod_times(horizon: float = 2.0, end: float = 5e-3, num_steps: int = 25) -> Float[Array, " K+1"]:
    """Return times in equal steps from the horizon to about 1, and from there in geometric steps to the end.

    Counted from the end, the times grow by the factor ``1 + c`` with ``c = 1.6 ((horizon / end)^(1 / K) - 1)`` as long as
    they stay below 1; the steps that are left are equal.

    Parameters
    ----------
    horizon, end
        First and last time, ``horizon > 1 > end > 0``; use :func:`geometric_times` for short horizons.
    num_steps
        ``K``.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.

    References
    ----------
    The grid that comes with Y. He, K. Rojas, M. Tao, NeurIPS 2024, arXiv:2402.17886.
    """
    num_steps = inputs.static_count("num_steps", num_steps)
    if not (np.isfinite(horizon) and horizon > 1 > end > 0):
        raise ValueError(
            f"expected horizon > 1 > end > 0; got horizon={horizon}, end={end}. Below, use geometric_times"
        )
    factor = 1 + 1.6 * np.expm1(np.log(horizon / end) / num_steps)
    small = end * factor ** np.arange(num_steps + 1)
    # The factor is larger than that of a geometric grid, so that at least one step is left for the upper part.
    small = small[small < 1]
    rest = np.linspace(small[-1], horizon, num_steps + 2 - small.size)
    return jnp.asarray(np.concatenate([small, rest[1:]])[::-1], float)


def _as_times(value: inputs.Numbers | None) -> Float[Array, " K+1"]:
    times = geometric_times() if value is None else inputs.real_parameter("times", value, at_least=0.0, ndim=1)
    if times.size < 2:
        raise ValueError(f"times needs at least two entries, from the horizon down to the end; got {times.size}")
    if inputs.is_concrete(times) and not np.all(np.diff(np.asarray(times)) < 0):
        raise ValueError(f"times have to decrease strictly from the horizon to the end; got {np.asarray(times)}")
    return times


def _as_estimator(value: ScoreEstimator | str) -> ScoreEstimator:
    if isinstance(value, ScoreEstimator):
        return value
    if value == "importance":
        return ImportanceScore(512)
    if value == "reject":
        return RejectionScore()
    if value in ("mala", "ula"):
        return LangevinScore(adjusted=value == "mala")
    raise ValueError(f"inner has to be 'importance', 'reject', 'mala', 'ula' or a ScoreEstimator; got {value!r}")


class ReverseDiffusionInfo(NamedTuple):
    """What a draw by reverse diffusion reports.

    Parameters
    ----------
    log_weight
        Log of the path weight ``w``, with ``E[w f(X)]`` the integral of ``f`` against the unnormalised target.
    inner_acceptance_rate
        Mean acceptance probability of the inner chains or of proposals from the posterior; 1 without an accept test.
    inner_step_size
        Last step of the inner chains.
    score_ess
        Smallest effective number of draws behind a score; NaN for a score that is given.
    num_evals, num_grad_evals
        Evaluations of the log density and of its gradient.
    num_invalid
        Evaluations that gave NaN, ``+inf``, or a gradient that is not finite; and proposals above a bound that was given.
    num_degenerate
        Scores about which nothing was learnt, replaced by ``-x``, or by 0 where they are estimated by rejection. They
        cost accuracy, never the weights' exactness.
    """

    log_weight: Float[Array, ""]
    inner_acceptance_rate: Float[Array, ""]
    inner_step_size: Float[Array, ""]
    score_ess: Float[Array, ""]
    num_evals: Int[Array, ""]
    num_grad_evals: Int[Array, ""]
    num_invalid: Int[Array, ""]
    num_degenerate: Int[Array, ""]


class PathTally(NamedTuple):
    """Sums over the scores of a path.

    Parameters
    ----------
    step_size
        Step of the inner chains after the last score.
    acceptance
        Sum of the acceptance rates.
    ess
        Smallest effective number of draws behind a score.
    num_scores, num_evals, num_grad_evals, num_invalid, num_degenerate
        Counts.
    """

    step_size: Float[Array, ""]
    acceptance: Float[Array, ""]
    ess: Float[Array, ""]
    num_scores: Int[Array, ""]
    num_evals: Int[Array, ""]
    num_grad_evals: Int[Array, ""]
    num_invalid: Int[Array, ""]
    num_degenerate: Int[Array, ""]

    @classmethod
    def zero(cls, step_size: Float[Array, ""]) -> "PathTally":
        """Return the tally before the first score."""
        none = jnp.zeros((), jnp.int32)
        zero = jnp.zeros((), step_size.dtype)
        return cls(step_size, zero, jnp.full((), jnp.inf, step_size.dtype), none, none, none, none, none)

    def add(self, estimate: ScoreEstimate) -> "PathTally":
        """Return the tally after one more score."""
        return PathTally(
            estimate.step_size,
            self.acceptance + estimate.acceptance_rate,
            jnp.minimum(self.ess, estimate.ess),
            self.num_scores + 1,
            self.num_evals + estimate.num_evals,
            self.num_grad_evals + estimate.num_grad_evals,
            self.num_invalid + estimate.num_invalid,
            self.num_degenerate + estimate.is_degenerate,
        )


class ReverseDiffusion(Kernel[DensityState, ReverseDiffusionInfo]):
    """Biased sampler that runs a noising diffusion backwards with estimated scores; exact with its path weights.

    The target is noised by ``dX = -X dt + sqrt(2) dB``, which forgets it exponentially fast. A draw starts at the noise
    and integrates the reversal ``dY = (Y + 2 grad log p_t(Y)) dtau + sqrt(2) dB``, where the score of the noised target
    is the mean of a posterior, estimated from evaluations of the target: there is nothing to train. Isolated modes are
    found because the posteriors are easier than the target. Every step is a fresh, independent draw; it forgets the
    state.

    Parameters
    ----------
    inner
        How scores are estimated: ``"importance"`` (512 importance draws), ``"reject"`` (64 exact draws by rejection, with
        a bound of the log density that is found), ``"mala"`` or ``"ula"`` (Langevin chains from resampled importance
        draws), or a :class:`~ergodica.samplers.diffusion.score.ScoreEstimator`.
    times
        Decreasing times from the horizon ``T`` to the end, shape ``(K + 1,)``; all positive but the last, which may be 0.
        Default: ``geometric_times(3.0, 0.02, 50)``. With ``"reject"``, whose cost grows exponentially with the horizon,
        :func:`zod_times` is the published choice. For the short-horizon variant choose ``T`` from 0.05 to 0.36 and
        ``start="langevin"``.
    start
        ``"gaussian"``: the law ``N(0, (1 - exp(-2 T)) I)``. ``"langevin"``: from there, unadjusted Langevin steps of size
        ``(1 - exp(-2 T)) / 2`` on the estimated score at ``T``.
    num_start_steps
        Number of those.
    weighted
        Whether the draws are meant to be used with their weights. ``False`` says that the bias is accepted; the
        weights are reported all the same, as they are free.
    logdensity
        The target: a callable from a position to a scalar. Standardise it: the noise has unit variance.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.

    Notes
    -----
    Claim: the law of a draw differs from the target by the horizon (``exp(-T)``), the end time, the steps (first order)
    and the error of the scores. With weights it is exact: ``log_weight`` is the log ratio of the path's density under
    the noising started at the target and under the reversal as it was run, with the realised score. Whatever the times
    and the quality of the scores, ``E[w f(X)] = Z E_pi[f]``, as the randomness of a score cancels from the ratio; so
    averages of ``w`` are unbiased estimates of ``Z``. The weights' variance grows with the score error and with ``K``.
    The step is ``y' = e^h y + 2 (e^h - 1) score + sqrt(e^(2h) - 1) xi``, exact for a frozen score. A draw costs ``K``
    estimates of the score, and one evaluation; a Langevin start ``num_start_steps + 1`` more estimates. A draw outside
    the support of a bounded target has weight zero.

    References
    ----------
    X. Huang, H. Dong, Y. Hao, Y. Ma, T. Zhang, Reverse diffusion Monte Carlo, ICLR 2024, arXiv:2307.02037. Scores by
    rejection: Y. He, K. Rojas, M. Tao, NeurIPS 2024, arXiv:2402.17886. Path weights as in G. Crooks 1998,
    doi:10.1023/A:1023208217925, and R. Neal 2001, doi:10.1023/A:1008923215028.
    """

    inner: ScoreEstimator
    times: Float[Array, " K+1"]
    start: Literal["gaussian", "langevin"] = eqx.field(static=True)
    num_start_steps: int = eqx.field(static=True)
    weighted: bool = eqx.field(static=True)
    logdensity: Partial | None

    def __init__(
        self,
        inner: ScoreEstimator | Literal["importance", "reject", "mala", "ula"] = "mala",
        *,
        times: inputs.Numbers | None = None,
        start: Literal["gaussian", "langevin"] = "gaussian",
        num_start_steps: int = 50,
        weighted: bool = True,
        logdensity: LogDensity | None = None,
    ) -> None:
        self.inner = _as_estimator(inner)
        self.times = _as_times(times)
        self.start = start
        self.num_start_steps = inputs.static_count("num_start_steps", num_start_steps)
        self.weighted = weighted
        self.logdensity = optional_logdensity(logdensity)

    def __check_init__(self) -> None:
        if self.start not in STARTS:
            raise ValueError(f"ReverseDiffusion has the starts {', '.join(map(repr, STARTS))}; got {self.start!r}")

    @property
    def claim(self) -> Claim:
        """Biased; exact expectations with the weights."""
        return Claim(
            Exactness.BIASED,
            "draws are independent and biased; weighted by exp(log_weight), their averages are unbiased for integrals "
            "against the unnormalised target, whatever the times and the scores",
            source="Huang, Dong, Hao, Ma, Zhang 2024, arXiv:2307.02037",
            order="O(exp(-T) + step size + score error) without the weights",
            spaces=frozenset({Space.REAL}),
            gradient=self.inner.gradient,
            independent=True,
            weighted=self.weighted,
            bias=("horizon", "end time", "step size", "score error"),
        )

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> DensityState:
        """Return a state at ``position``, a pytree of floating-point arrays; only its structure matters to the draws."""
        del key
        position = inputs.real_position(position, "ReverseDiffusion")
        return DensityState(position, inputs.start_density(self._target(), position, "ReverseDiffusion"))

    def step(self, key: PRNGKeyArray, state: DensityState) -> tuple[DensityState, ReverseDiffusionInfo]:
        """Make a fresh draw; of the state, only the structure, the shapes and the dtypes are used."""
        like, unravel = ravel_pytree(state.position)
        times = self.times.astype(like.dtype)
        key_start, key_path = random.split(key)
        y, log_weight, tally = self.begin_path(key_start, times[0], like, unravel)

        def body(carry: tuple[Array, Array, PathTally], inputs_: tuple[Array, Array, PRNGKeyArray]) -> Any:
            y, log_weight, tally = carry
            t, t_next, key = inputs_
            key_score, key_noise = random.split(key)
            estimate = self.estimate_score(key_score, y, t, unravel, tally.step_size)
            y, increment = self.reverse_step(key_noise, y, estimate.score, t - t_next)
            return (y, log_weight + increment, tally.add(estimate)), None

        keys = random.split(key_path, times.size - 1)
        (y, log_weight, tally), _ = lax.scan(body, (y, log_weight, tally), (times[:-1], times[1:], keys))
        position = unravel(y)
        value, invalid = evaluate(self._target(), position)
        value = value.astype(state.logdensity.dtype)
        info = ReverseDiffusionInfo(
            log_weight=log_weight + value.astype(like.dtype),
            inner_acceptance_rate=tally.acceptance / tally.num_scores.astype(like.dtype),
            inner_step_size=tally.step_size,
            score_ess=tally.ess,
            num_evals=tally.num_evals + 1,
            num_grad_evals=tally.num_grad_evals,
            num_invalid=tally.num_invalid + invalid,
            num_degenerate=tally.num_degenerate,
        )
        return DensityState(position, value), info

    def score(self, key: PRNGKeyArray, position: PyTree, t: ArrayLike) -> ScoreEstimate:
        """Estimate the score of the noised target at a position.

        Parameters
        ----------
        key
            Typed key.
        position
            Pytree of floating-point arrays.
        t
            Positive time.
        """
        x, unravel = ravel_pytree(inputs.real_position(position, "ReverseDiffusion"))
        time = jnp.asarray(t, x.dtype)
        return self.estimate_score(key, x, time, unravel, first_step(time))

    def estimate_score(self, key: PRNGKeyArray, x: Array, t: Array, unravel: Any, step_size: Array) -> ScoreEstimate:
        """Estimate the score at a vector, from a given step of the inner chains."""
        return self.inner.estimate(key, Posterior(self._target(), x, t, unravel), step_size)

    def reverse_step(self, key: PRNGKeyArray, y: Array, score: Array, h: Array) -> tuple[Array, Array]:
        """Make one reverse step, and return the log of the ratio of its backward and forward densities."""
        noise = random.normal(key, y.shape, y.dtype)
        push = 2 * jnp.expm1(h) * score
        scale = jnp.sqrt(jnp.expm1(2 * h))
        # log N(y; e^-h y', 1 - e^-2h) - log N(y'; e^h y + push, e^2h - 1), with the common terms cancelled by hand.
        increment = y.size * h - jnp.sum(push * (0.5 * push + scale * noise)) / scale**2
        return jnp.exp(h) * y + push + scale * noise, increment

    def begin_path(
        self, key: PRNGKeyArray, horizon: Array, like: Array, unravel: Any
    ) -> tuple[Array, Array, PathTally]:
        """Draw the start, and return the log of the ratio of its backward and forward densities."""
        key_normal, key_first, key_chain = random.split(key, 3)
        variance = -jnp.expm1(-2 * horizon)
        noise = random.normal(key_normal, like.shape, like.dtype)
        y = jnp.sqrt(variance) * noise
        log_weight = 0.5 * jnp.sum(noise**2) + 0.5 * like.size * jnp.log(2 * jnp.pi * variance)
        tally = PathTally.zero(first_step(horizon))
        if self.start == "gaussian":
            return y, log_weight, tally
        step = 0.5 * variance

        # The backward kernel of a Langevin step is the Langevin step from its end. That is a proper choice because the
        # score at the end depends on the end alone: each estimate starts from the same step size.
        def body(carry: tuple[Array, Array, Array, PathTally], key: PRNGKeyArray) -> Any:
            y, score, log_weight, tally = carry
            key_noise, key_score = random.split(key)
            noise = random.normal(key_noise, y.shape, y.dtype)
            y_new = y + step * score + jnp.sqrt(2 * step) * noise
            estimate = self.estimate_score(key_score, y_new, horizon, unravel, first_step(horizon))
            back = y - y_new - step * estimate.score
            log_weight = log_weight + 0.5 * jnp.sum(noise**2) - jnp.sum(back**2) / (4 * step)
            return (y_new, estimate.score, log_weight, tally.add(estimate)), None

        first = self.estimate_score(key_first, y, horizon, unravel, first_step(horizon))
        keys = random.split(key_chain, self.num_start_steps)
        (y, _, log_weight, tally), _ = lax.scan(body, (y, first.score, log_weight, tally.add(first)), keys)
        return y, log_weight, tally._replace(step_size=first_step(horizon))


def first_step(t: Array) -> Array:
    """Return the step with which inner chains begin, half the variance of the noise."""
    return -0.5 * jnp.expm1(-2 * t)
