"""Spin sweeps that are wrong in the ways that spin sweeps go wrong."""

import jax
import jax.numpy as jnp
import numpy as np

from ergodica.samplers import counter_rng, random
from ergodica.samplers.core_source import UNIFORMS, Source
from ergodica.samplers.gibbs.ising import IsingHeatBath
from ergodica.samplers.gibbs.spin_cores import spin_dtype
from ergodica.samplers.gibbs.spin_sweep import SpinInfo, SpinReference, SpinState
from ergodica.samplers.native import NativeOperation, compiled


def _local_fields(model, spins):
    """Return ``beta sum_j J_ij s_j + h_i`` of every site."""
    u, v = model.sites.edges.T
    bonds = jnp.broadcast_to(model.beta * model.coupling, u.shape)
    out = jnp.zeros(spins.size).at[u].add(bonds * spins[v]).at[v].add(bonds * spins[u])
    return out + jnp.broadcast_to(model.field, model.sites.shape).reshape(-1)


class SimultaneousReference(SpinReference):
    """Redraws the sites of each given class at once, from the spins before the class was touched."""

    factor: float = 2.0

    def classes(self):
        return [np.arange(self.model.sites.num_sites)]

    def step(self, key, state):
        spins = state.position.reshape(-1)
        for index, sites in enumerate(self.classes()):
            local = _local_fields(self.model, spins)[sites]
            up = random.bernoulli(random.fold_in(key, index), jax.nn.sigmoid(self.factor * local))
            spins = spins.at[sites].set(jnp.where(up, 1, -1).astype(spins.dtype))
        return SpinState(spins.reshape(state.position.shape)), SpinInfo(jnp.zeros((), jnp.int32))


class OddCheckerboardReference(SimultaneousReference):
    """Redraws the two colours of a checkerboard on a torus with three columns, where neighbours share one."""

    def classes(self):
        colour = np.add.outer(np.arange(self.model.sites.num_sites // 3), np.arange(3)).reshape(-1) % 2
        return [np.flatnonzero(colour == 0), np.flatnonzero(colour == 1)]


class SiteBySiteReference(SimultaneousReference):
    """Right if the factor is 2: one site a class."""

    def classes(self):
        return [np.array([site]) for site in range(self.model.sites.num_sites)]


class Simultaneous(IsingHeatBath):
    """Updates all sites at once."""

    def reference(self):
        return SimultaneousReference(self)


class OddCheckerboard(IsingHeatBath):
    """Updates a checkerboard that is none."""

    def reference(self):
        return OddCheckerboardReference(self)


class HalfField(IsingHeatBath):
    """Forgets that a flip changes a spin by 2."""

    def reference(self):
        return SiteBySiteReference(self, 1.0)


def _wrong_core(source, stale, factor):
    open_source, uniform = source.open, source.uniform

    @compiled
    def core(randomness, spins, offsets, neighbours, weights, field, visits, num_sweeps, out):
        handle = open_source(randomness)
        for i in range(spins.shape[0]):
            out[i] = spins[i]
        for _ in range(num_sweeps[0]):
            for i in visits:
                local = field[i]
                for entry in range(offsets[i], offsets[i + 1]):
                    local += weights[entry] * (spins if stale else out)[neighbours[entry]]
                out[i] = 1 if uniform(handle) < 1 / (1 + np.exp(-factor * local)) else -1

    return core


_KEY = Source("generator", np.uint32, counter_rng.stream, counter_rng.uniform, counter_rng.integer)
_INPUTS = [(None, 1), (np.int32, 1), (np.int32, 1), (None, 1), (None, 1), (np.int32, 1), (np.int32, 0)]
_WRONG = {
    (name, source.name): NativeOperation(
        f"trap.{name}.{source.name}", _wrong_core(source, *settings), [(source.dtype, 1), *_INPUTS], [(None, 1)]
    )
    for name, settings in {"stale": (True, 2.0), "half": (False, 1.0), "right": (False, 2.0)}.items()
    for source in (_KEY, UNIFORMS)
}


class WrongCore(IsingHeatBath):
    """Runs one of the wrong cores, or the right one as a control."""

    trap = "right"

    def _sweeps(self, source, randomness, state, count):
        sites, spins = self.sites, state.position.reshape(-1)
        weights = jnp.broadcast_to(self.beta * self.coupling, (sites.edges.shape[0],))[sites.edge_of]
        field = jnp.broadcast_to(self.field, sites.shape).reshape(-1)
        (out,) = _WRONG[self.trap, source.name](
            randomness, spins, sites.offsets, sites.neighbours, weights, field, sites.visits, count,
            out_shapes=[spin_dtype(spins)],
        )  # fmt: skip
        return SpinState(out.reshape(state.position.shape))


class StaleCore(WrongCore):
    """Reads the neighbours as they were before the sweep."""

    trap = "stale"


class HalfFieldCore(WrongCore):
    """Forgets the factor 2."""

    trap = "half"
