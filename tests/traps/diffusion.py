"""Reverse diffusions that are wrong in the ways that implementations are."""

import jax.numpy as jnp

from ergodica.samplers import random
from ergodica.samplers.diffusion.rejection_score import RejectionScore
from ergodica.samplers.diffusion.reverse_diffusion import ReverseDiffusion
from ergodica.samplers.diffusion.reverse_diffusion_smc import ReverseDiffusionSMC
from ergodica.samplers.diffusion.score import LangevinScore, Posterior


class FactorOne(ReverseDiffusion):
    """Multiplies the score by ``e^h - 1`` instead of twice that."""

    def reverse_step(self, key, y, score, h):
        return super().reverse_step(key, y, 0.5 * score, h)


class Euler(ReverseDiffusion):
    """Makes Euler-Maruyama steps instead of exponential ones."""

    def reverse_step(self, key, y, score, h):
        _, increment = super().reverse_step(key, y, score, h)
        return y + h * (y + 2 * score) + jnp.sqrt(2 * h) * random.normal(key, y.shape, y.dtype), increment


class ClippedNoise(ReverseDiffusion):
    """Clips the noise, and weights as if it were normal."""

    def reverse_step(self, key, y, score, h):
        noise = jnp.clip(random.normal(key, y.shape, y.dtype), -2.0, 2.0)
        push, scale = 2 * jnp.expm1(h) * score, jnp.sqrt(jnp.expm1(2 * h))
        increment = y.size * h - jnp.sum(push * (0.5 * push + scale * noise)) / scale**2
        return jnp.exp(h) * y + push + scale * noise, increment


class LateTime(ReverseDiffusion):
    """Estimates the score at the time of the end of a step."""

    def estimate_score(self, key, x, t, unravel, step_size):
        index = jnp.searchsorted(-self.times, -t)
        late = self.times[jnp.minimum(index + 1, self.times.size - 1)]
        return super().estimate_score(key, x, jnp.maximum(late, 1e-3), unravel, step_size)


class _AtTheConditioningPoint(Posterior):
    def point(self, z):
        return self.x + 0 * z


class _AtUnscaledPoints(Posterior):
    def point(self, z):
        return self.x + self.sigma * z


class TargetAtConditioningPoint(ReverseDiffusion):
    """Evaluates the inner target at ``x`` instead of ``y``."""

    def estimate_score(self, key, x, t, unravel, step_size):
        return self.inner.estimate(key, _AtTheConditioningPoint(self._target(), x, t, unravel), step_size)


class ForgetsScaling(ReverseDiffusion):
    """Draws ``y`` around ``x`` instead of ``x / a``."""

    def estimate_score(self, key, x, t, unravel, step_size):
        return self.inner.estimate(key, _AtUnscaledPoints(self._target(), x, t, unravel), step_size)


class WeightsAtTheMeanScore(ReverseDiffusion):
    """Weights by the density of the step around the exact score where the score was random: it knows no realised mean."""

    def reverse_step(self, key, y, score, h):
        new, _ = super().reverse_step(key, y, score, h)
        scale = jnp.sqrt(jnp.expm1(2 * h))
        noise = (new - jnp.exp(h) * y) / scale
        variance = scale**2 + 4 * jnp.expm1(h) ** 2
        return new, y.size * h + 0.5 * jnp.sum(noise**2) * (scale**2 / variance - 1)


class ForgetsStartDensity(ReverseDiffusion):
    """Leaves the density of the start out of the weight."""

    def begin_path(self, key, horizon, like, unravel):
        y, _, tally = super().begin_path(key, horizon, like, unravel)
        return y, jnp.zeros((), like.dtype), tally


class ForgetsDimension(ReverseDiffusion):
    """Counts the expansion of a step once instead of once a coordinate."""

    def reverse_step(self, key, y, score, h):
        new, increment = super().reverse_step(key, y, score, h)
        return new, increment - (y.size - 1) * h


class PrematureLangevin(ReverseDiffusion):
    """Weights a Langevin start as if it were the Gaussian one."""

    def begin_path(self, key, horizon, like, unravel):
        y, log_weight, tally = super().begin_path(key, horizon, like, unravel)
        if self.start == "langevin":
            variance = -jnp.expm1(-2 * horizon)
            log_weight = 0.5 * jnp.sum(y**2) / variance + 0.5 * y.size * jnp.log(2 * jnp.pi * variance)
        return y, log_weight, tally


class _NeverRejects(LangevinScore):
    def chains(self, key, posterior, starts, step_size):
        inner = LangevinScore(
            adjusted=False, num_steps=self.num_steps, smoothness=self.smoothness, num_chains=self.num_chains
        )
        return inner.chains(key, posterior, starts, step_size)


def never_rejects():
    """Return a reverse diffusion whose inner chains call themselves adjusted and accept everything."""
    return ReverseDiffusion(_NeverRejects())


# --- rejection -------------------------------------------------------------------------------------------------------


class _HalfTheTarget(Posterior):
    def evaluate(self, z):
        value, invalid = super().evaluate(z)
        return 0.5 * value, invalid


class AcceptsByTheRoot(RejectionScore):
    """Accepts with the square root of the probability."""

    def estimate(self, key, posterior, step_size):
        half = RejectionScore(
            self.num_draws, upper=0.5 * self.upper, max_proposals=self.max_proposals, batch_size=self.batch_size
        )
        wrong = _HalfTheTarget(posterior.logdensity, posterior.x, posterior.t, posterior.unravel)
        return half.estimate(key, wrong, step_size)


class IgnoresTheBound(RejectionScore):
    """Accepts with the density itself: right draws, at a price."""

    def estimate(self, key, posterior, step_size):
        plain = RejectionScore(self.num_draws, upper=0.0, max_proposals=self.max_proposals, batch_size=self.batch_size)
        return plain.estimate(key, posterior, step_size)


class ForgetsTheNoise(RejectionScore):
    """Returns the mean of ``z`` as the score, undivided by the standard deviation of the noise."""

    def estimate(self, key, posterior, step_size):
        estimate = super().estimate(key, posterior, step_size)
        return estimate._replace(score=estimate.score * posterior.sigma)


# --- populations -----------------------------------------------------------------------------------------------------


class KeepsWeights(ReverseDiffusionSMC):
    """Resamples, and leaves the weights as they were."""

    def _resample(self, key, at):
        new, factor, resampled = super()._resample(key, at)
        return new._replace(log_weight=jnp.where(resampled, at.log_weight, new.log_weight)), factor, resampled


class ForgetsFactor(ReverseDiffusionSMC):
    """Leaves the mean weight at a resampling out of the normaliser."""

    def _resample(self, key, at):
        new, factor, resampled = super()._resample(key, at)
        return new, jnp.zeros_like(factor), resampled


class AveragesLogs(ReverseDiffusionSMC):
    """Takes the mean of the log weights for the log of their mean."""

    def _resample(self, key, at):
        new, _, resampled = super()._resample(key, at)
        return new, jnp.where(resampled, jnp.mean(at.log_weight), 0), resampled


class KillsOutsideTheSupport(ReverseDiffusionSMC):
    """Lets particles die on the way where the target vanishes."""

    def _retarget(self, at, power, log_reference):
        new = super()._retarget(at, power, log_reference)
        dead = jnp.isneginf(at.logdensity) & (power > 0)
        return new._replace(log_weight=jnp.where(dead, -jnp.inf, new.log_weight))


class ForgetsTheStepBefore(ReverseDiffusionSMC):
    """Weights by the new intermediate target without dividing by the old one."""

    def _retarget(self, at, power, log_reference):
        new = super()._retarget(at, power, log_reference)
        return new._replace(log_weight=at.log_weight + new.log_target)


class KeepsTheHeaviest(ReverseDiffusionSMC):
    """Fills the population with copies of the heavier half."""

    def _resample(self, key, at):
        new, factor, resampled = super()._resample(key, at)
        order = jnp.argsort(-at.log_weight)
        ancestors = jnp.where(resampled, order[jnp.arange(order.size) // 2], jnp.arange(order.size))
        weight = new.log_weight
        new = type(at)(*(leaf[ancestors] for leaf in at))
        return new._replace(log_weight=weight), factor, resampled


POPULATION_TRAPS = (
    KeepsWeights,
    ForgetsFactor,
    AveragesLogs,
    KillsOutsideTheSupport,
    ForgetsTheStepBefore,
    KeepsTheHeaviest,
)

WRONG = (
    FactorOne,
    Euler,
    ClippedNoise,
    LateTime,
    TargetAtConditioningPoint,
    ForgetsScaling,
    WeightsAtTheMeanScore,
    ForgetsStartDensity,
    ForgetsDimension,
    PrematureLangevin,
    never_rejects,
)
