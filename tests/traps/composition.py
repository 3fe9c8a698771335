"""Compositions that are wrong in the ways that compositions go wrong."""

import jax.numpy as jnp
from jax.tree_util import Partial

from ergodica.samplers import random
from ergodica.samplers.compose import ComposedState, Cycle, Mixture, On, OnState, _conditional, _summary
from ergodica.samplers.density import density_dtype


class StaleCycle(Cycle):
    """Hands each part the new position with the density that it cached at the old one."""

    def step(self, key, state):
        keys = random.split(key, len(self.parts))
        position, states, infos = state.position, [], []
        for index, (part, inner) in enumerate(zip(self.parts, state.parts, strict=True)):
            inner, info = part.step(keys[index], inner._replace(position=position))
            position = inner.position
            states.append(inner)
            infos.append(info)
        return ComposedState(position, tuple(states)), _summary(tuple(infos), states, density_dtype(position))


class StaleOn(On):
    """Keeps the conditional density of the block from before the rest moved."""

    def refresh(self, state):
        return OnState(state.position, state.inner._replace(position=self.block.get(state.position)))


class ForgetfulOn(On):
    """Conditions on the rest as it was at the start."""

    start: object = None

    def _bound(self, position):
        return self.inner.bind(Partial(_conditional, self.block, self._target(), self.start))


class StateDependentMixture(Mixture):
    """Draws the part with weights that depend on the state, without correcting for it."""

    def step(self, key, state):
        lean = jnp.where(jnp.sum(state.position) > 0, 0.9, 0.1)
        tilted = Mixture(self.parts, jnp.stack([lean, 1 - lean]))
        return tilted.step(key, state)
