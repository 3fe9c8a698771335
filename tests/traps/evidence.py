"""Small right and wrong kernels: the controls of the statistical tools themselves."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from ergodica.samplers import random
from ergodica.samplers.claim import Claim, Exactness
from ergodica.samplers.density import evaluate
from ergodica.samplers.inputs import real_parameter, start_density
from ergodica.samplers.kernel import DensityState, Kernel


class Moved(NamedTuple):
    num_evals: Any
    is_accepted: Any


class Metropolis(Kernel[Any, Any]):
    """Random-walk Metropolis; with ``tries > 1`` the wrong 'repeat until accepted'; ``power`` tempers the ratio."""

    scale: Any = eqx.field(converter=lambda value: real_parameter("scale", value, above=0), default=1.0)
    power: Any = eqx.field(converter=jnp.asarray, default=1.0)
    tries: int = eqx.field(static=True, default=1)
    reversible: bool = eqx.field(static=True, default=True)
    memory: bool = eqx.field(static=True, default=False)
    logdensity: Any = None

    @property
    def claim(self) -> Claim:
        return Claim(Exactness.EXACT, "a control", reversible=self.reversible, memory=self.memory)

    def init(self, position: Any, *, key: Any = None) -> Any:
        return DensityState(position, start_density(self._target(), position, "Metropolis"))

    def step(self, key: Any, state: Any) -> Any:
        def body(carry: Any, index: Any) -> Any:
            state, moved = carry
            proposal_key, accept_key = random.split(random.fold_in(key, index))
            proposal = state.position + self.scale * random.normal(proposal_key, state.position.shape)
            value, _ = evaluate(self._target(), proposal)
            accepted = random.bernoulli(accept_key, jnp.exp(self.power * (value - state.logdensity))) & ~moved
            new = jax.tree.map(lambda a, b: jnp.where(accepted, a, b), DensityState(proposal, value), state)
            return (new, moved | accepted), None

        (state, moved), _ = jax.lax.scan(body, (state, jnp.asarray(False)), jnp.arange(self.tries))
        return state, Moved(jnp.asarray(self.tries), moved)


class RingMetropolis(Kernel[Any, Any]):
    """Metropolis-Hastings on a ring with proposals +1 (0.7) and -1 (0.3); ``hastings=False`` forgets the correction."""

    size: int = eqx.field(static=True, default=4)
    hastings: bool = eqx.field(static=True, default=True)
    escape: bool = eqx.field(static=True, default=False)
    logdensity: Any = None

    @property
    def claim(self) -> Claim:
        return Claim(Exactness.EXACT, "a control", reversible=True)

    def init(self, position: Any, *, key: Any = None) -> Any:
        return DensityState(position, start_density(self._target(), position, "RingMetropolis", dtype=float))

    def step(self, key: Any, state: Any) -> Any:
        way_key, accept_key = random.split(key)
        up = random.bernoulli(way_key, 0.7)
        proposal = (state.position + jnp.where(up, 1, -1)) % self.size
        value, _ = evaluate(self._target(), proposal, float)
        correction = jnp.where(up, jnp.log(0.3 / 0.7), jnp.log(0.7 / 0.3)) if self.hastings else 0.0
        accepted = random.bernoulli(accept_key, jnp.exp(value - state.logdensity + correction))
        position = jnp.where(accepted, proposal, state.position)
        if self.escape:
            position = jnp.where(accepted, position, self.size)
        return DensityState(position, jnp.where(accepted, value, state.logdensity)), Moved(jnp.asarray(1), accepted)


class Position(NamedTuple):
    position: Any


GUIDED5 = (1.0, 2.0, 4.0, 2.0, 1.0)


class Guided(Kernel[Any, Any]):
    """The guided walk on 0..4 with a direction: keep it while accepted, turn on rejection. Skew-reversible."""

    flipped: bool = eqx.field(static=True, default=False)

    @property
    def claim(self) -> Claim:
        return Claim(Exactness.EXACT, "a control", reversible=False)

    def init(self, position: Any, *, key: Any = None) -> Any:
        return Position(position)

    def step(self, key: Any, state: Any) -> Any:
        weights = jnp.asarray(GUIDED5)
        x, v = state.position
        v = -v if self.flipped else v
        proposal = x + v
        inside = (proposal >= 0) & (proposal < 5)
        ratio = jnp.where(inside, weights[jnp.clip(proposal, 0, 4)] / weights[x], 0.0)
        accepted = random.bernoulli(key, ratio)
        x, v = jnp.where(accepted, proposal, x), jnp.where(accepted, v, -v)
        return Position(jnp.stack([x, -v if self.flipped else v])), Moved(jnp.asarray(1), accepted)


class ExponentialSlice(Kernel[Any, Any]):
    """The slice sampler of Exp(1) in closed form, ``x' = u (x + E)``; ``shortened`` draws from the lower 90 %."""

    factor: Any = eqx.field(converter=jnp.asarray, default=1.0)
    logdensity: Any = None

    @property
    def claim(self) -> Claim:
        return Claim(Exactness.EXACT, "a control", reversible=True)

    def init(self, position: Any, *, key: Any = None) -> Any:
        return Position(position)

    def step(self, key: Any, state: Any) -> Any:
        uniform_key, height_key = random.split(key)
        length = state.position + random.exponential(height_key, state.position.shape)
        drawn = self.factor * random.uniform(uniform_key, state.position.shape) * length
        return Position(drawn), Moved(jnp.asarray(1), jnp.asarray(True))


class Broken(Kernel[Any, Any]):
    """Returns NaN."""

    logdensity: Any = None

    @property
    def claim(self) -> Claim:
        return Claim(Exactness.EXACT, "a control", reversible=True)

    def init(self, position: Any, *, key: Any = None) -> Any:
        return Position(position)

    def step(self, key: Any, state: Any) -> Any:
        return Position(state.position * jnp.nan), Moved(jnp.asarray(1), jnp.asarray(True))
