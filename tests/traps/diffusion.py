"""Reverse diffusions that are wrong in the ways that implementations are."""

import jax.numpy as jnp

from ergodica.samplers import random
from ergodica.samplers.diffusion.reverse_diffusion import ReverseDiffusion
from ergodica.samplers.diffusion.score import LangevinScore, Posterior


class FactorOne(ReverseDiffusion):
    """Multiplies the score by ``e^h - 1`` instead of twice that."""

    def _reverse(self, key, y, score, h):
        return super()._reverse(key, y, 0.5 * score, h)


class Euler(ReverseDiffusion):
    """Makes Euler-Maruyama steps instead of exponential ones."""

    def _reverse(self, key, y, score, h):
        _, increment = super()._reverse(key, y, score, h)
        return y + h * (y + 2 * score) + jnp.sqrt(2 * h) * random.normal(key, y.shape, y.dtype), increment


class ClippedNoise(ReverseDiffusion):
    """Clips the noise, and weights as if it were normal."""

    def _reverse(self, key, y, score, h):
        noise = jnp.clip(random.normal(key, y.shape, y.dtype), -2.0, 2.0)
        push, scale = 2 * jnp.expm1(h) * score, jnp.sqrt(jnp.expm1(2 * h))
        increment = y.size * h - jnp.sum(push * (0.5 * push + scale * noise)) / scale**2
        return jnp.exp(h) * y + push + scale * noise, increment


class LateTime(ReverseDiffusion):
    """Estimates the score at the time of the end of a step."""

    def _score(self, key, x, t, unravel, step_size):
        index = jnp.searchsorted(-self.times, -t)
        late = self.times[jnp.minimum(index + 1, self.times.size - 1)]
        return super()._score(key, x, jnp.maximum(late, 1e-3), unravel, step_size)


class _AtTheConditioningPoint(Posterior):
    def point(self, z):
        return self.x + 0 * z


class _AtUnscaledPoints(Posterior):
    def point(self, z):
        return self.x + self.sigma * z


class TargetAtConditioningPoint(ReverseDiffusion):
    """Evaluates the inner target at ``x`` instead of ``y``."""

    def _score(self, key, x, t, unravel, step_size):
        return self.inner.estimate(key, _AtTheConditioningPoint(self._target(), x, t, unravel), step_size)


class ForgetsScaling(ReverseDiffusion):
    """Draws ``y`` around ``x`` instead of ``x / a``."""

    def _score(self, key, x, t, unravel, step_size):
        return self.inner.estimate(key, _AtUnscaledPoints(self._target(), x, t, unravel), step_size)


class WeightsAtTheMeanScore(ReverseDiffusion):
    """Weights by the density of the step around the exact score where the score was random: it knows no realised mean."""

    def _reverse(self, key, y, score, h):
        new, _ = super()._reverse(key, y, score, h)
        scale = jnp.sqrt(jnp.expm1(2 * h))
        noise = (new - jnp.exp(h) * y) / scale
        variance = scale**2 + 4 * jnp.expm1(h) ** 2
        return new, y.size * h + 0.5 * jnp.sum(noise**2) * (scale**2 / variance - 1)


class ForgetsStartDensity(ReverseDiffusion):
    """Leaves the density of the start out of the weight."""

    def _begin(self, key, horizon, like, unravel):
        y, _, tally = super()._begin(key, horizon, like, unravel)
        return y, jnp.zeros((), like.dtype), tally


class ForgetsDimension(ReverseDiffusion):
    """Counts the expansion of a step once instead of once a coordinate."""

    def _reverse(self, key, y, score, h):
        new, increment = super()._reverse(key, y, score, h)
        return new, increment - (y.size - 1) * h


class PrematureLangevin(ReverseDiffusion):
    """Weights a Langevin start as if it were the Gaussian one."""

    def _begin(self, key, horizon, like, unravel):
        y, log_weight, tally = super()._begin(key, horizon, like, unravel)
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
