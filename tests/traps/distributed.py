"""Distributed ADMM samplers that are wrong in the ways that implementations are."""

import jax.numpy as jnp

from ergodica.samplers import random
from ergodica.samplers.distributed.admm import ADMMSampler


class PaperNoiseCalledCalibrated(ADMMSampler):
    """Uses the published noise scale as if it were calibrated."""

    def noise_variance(self):
        return 0.5 / self.penalty**2


class GaussSeidel(ADMMSampler):
    """Updates the even agents first, and lets the odd ones see their new values."""

    def step(self, key, state):
        first, _ = super().step(key, state)
        even = (jnp.arange(len(state.position)) % 2 == 0)[:, None]
        second, info = super().step(key, state._replace(position=jnp.where(even, first.position, state.position)))
        x = jnp.where(even, first.position, second.position)
        return first._replace(position=x, dual=state.dual + self.penalty * self.network.laplacian(x)), info


class NeighboursByPosition(ADMMSampler):
    """Averages with the first ``d_i`` agents instead of the neighbours of agent ``i``."""

    def _pull(self, x):
        count = self.network.degrees[:, None]
        first = jnp.where(jnp.arange(len(x)) < count, 1.0, 0.0)
        return count * x + first @ x


class NoiseOfEachEdge(ADMMSampler):
    """Draws noise for each edge instead of each agent, so that it averages out over the edges."""

    def _draw_noise(self, key, x):
        width = self.network.neighbours.shape[1]
        noise = jnp.sqrt(self.noise_variance()) * random.normal(key, (len(x), width, x.shape[1]))
        real = self.network.is_neighbour[..., None]
        return jnp.sum(jnp.where(real, noise, 0), axis=1) / self.network.degrees[:, None]


class SharedNoise(ADMMSampler):
    """Gives all agents the same noise."""

    def _draw_noise(self, key, x):
        return jnp.broadcast_to(super()._draw_noise(key, x)[:1], x.shape)


class OldDuals(ADMMSampler):
    """Moves the multipliers by the disagreement before the sweep instead of after it."""

    def step(self, key, state):
        new, info = super().step(key, state)
        return new._replace(dual=state.dual + self.penalty * self.network.laplacian(state.position)), info


WRONG = (PaperNoiseCalledCalibrated, GaussSeidel, NeighboursByPosition, NoiseOfEachEdge, SharedNoise, OldDuals)
