"""Small kernels for the tests of the drivers."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array

from ergodica.samplers import random
from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.density import as_logdensity, evaluate
from ergodica.samplers.inputs import real_position
from ergodica.samplers.kernel import Kernel

optional_density = eqx.field(converter=lambda f: None if f is None else as_logdensity(f), default=None)


class WeightedState(NamedTuple):
    position: Array


class WeightedInfo(NamedTuple):
    num_evals: Array
    log_weight: Array


class Importance(Kernel[WeightedState, WeightedInfo]):
    """Draws from a normal law of standard deviation `scale` about 0, weighted for the target."""

    scale: Array = eqx.field(converter=lambda s: jnp.asarray(s, float))
    logdensity: Partial | None = optional_density

    @property
    def claim(self):
        return Claim(
            Exactness.EXACT, "weights are proper", independent=True, weighted=True, spaces=frozenset({Space.REAL})
        )

    def init(self, position, *, key=None):
        return WeightedState(real_position(position, "Importance"))

    def step(self, key, state):
        noise = random.normal(key, state.position.shape, state.position.dtype)
        position = noise * self.scale
        value, _ = evaluate(self._target(), position)
        info = WeightedInfo(jnp.asarray(1, jnp.int32), value + 0.5 * jnp.sum(noise**2))
        return WeightedState(position), info


class PopulationState(NamedTuple):
    position: Array
    logdensity: Array


class PopulationInfo(NamedTuple):
    acceptance_rate: Array
    num_evals: Array


class Stretch(Kernel[PopulationState, PopulationInfo]):
    """Each walker of a half moves along the line to a walker of the other half (Goodman and Weare 2010)."""

    logdensity: Partial | None = optional_density

    @property
    def claim(self):
        return Claim(
            Exactness.EXACT,
            "the product of targets is invariant",
            reversible=False,
            population=True,
            spaces=frozenset({Space.REAL}),
        )

    def _values(self, positions):
        return jax.vmap(lambda position: evaluate(self._target(), position)[0])(positions)

    def init(self, position, *, key=None):
        position = real_position(position, "Stretch")
        return PopulationState(position, self._values(position))

    def refresh(self, state):
        return state._replace(logdensity=self._values(state.position))

    def step(self, key, state):
        from jax.flatten_util import ravel_pytree

        flat = jax.vmap(lambda position: ravel_pytree(position)[0])(state.position)
        unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], state.position))[1]
        count, dim = flat.shape
        half, values, rates = count // 2, state.logdensity, []
        for turn, own in enumerate((slice(0, half), slice(half, 2 * half))):
            keys = random.split(random.fold_in(key, turn), 3)
            other = flat[half : 2 * half] if turn == 0 else flat[:half]
            partner = other[random.randint(keys[0], (half,), 0, half)]
            z = (1 + random.uniform(keys[1], (half,), flat.dtype)) ** 2 / 2
            candidate = partner + z[:, None] * (flat[own] - partner)
            value = self._values(jax.vmap(unravel)(candidate))
            rate = jnp.exp(jnp.minimum((dim - 1) * jnp.log(z) + value - values[own], 0.0))
            accepted = random.bernoulli(keys[2], rate)
            flat = flat.at[own].set(jnp.where(accepted[:, None], candidate, flat[own]))
            values = values.at[own].set(jnp.where(accepted, value, values[own]))
            rates.append(jnp.mean(rate))
        info = PopulationInfo((rates[0] + rates[1]) / 2, jnp.asarray(2 * half, jnp.int32))
        return PopulationState(jax.vmap(unravel)(flat), values), info
