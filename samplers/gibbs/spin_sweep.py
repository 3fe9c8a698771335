"""Heat-bath sweeps of spin models: what the Ising and the Potts model share.

A sweep redraws every spin from its law given its neighbours, one colour class after the other. The loop over sites is
compiled by Numba; ``step`` is one call of it, ``run`` one call for many sweeps.

``reference()`` gives the same kernel written with choice points, whose conditional laws come from the joint density and
not from the neighbours; it is what validation enumerates. ``step_from_uniforms`` exists on both and ties them.
"""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers import random
from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.core_source import GENERATOR, UNIFORMS, Source
from ergodica.samplers.counter_rng import key_words
from ergodica.samplers.gibbs.spin_sites import Order, SpinSites
from ergodica.samplers.inputs import Numbers, integer_position, is_concrete, real_parameter, static_count
from ergodica.samplers.kernel import Kernel

__all__ = ["SpinInfo", "SpinReference", "SpinState", "SpinSweep", "model_parameter", "start_spins"]


class SpinState(NamedTuple):
    """State of a spin sweep.

    Parameters
    ----------
    position
        The spins, integers; shape ``(height, width)`` on a lattice, ``(n,)`` on a graph.
    """

    position: Int[Array, "..."]


class SpinInfo(NamedTuple):
    """What a sweep reports.

    Parameters
    ----------
    num_evals
        Evaluations of the joint log density: none, for conditionals need the neighbours only.
    """

    num_evals: Int[Array, ""]


def _info() -> SpinInfo:
    return SpinInfo(jnp.zeros((), jnp.int32))


def model_parameter(name: str, value: Numbers, shapes: dict[tuple[int, ...], str]) -> Float[Array, "..."]:
    """Check the shape of a parameter against those that have a meaning, and return it as an array."""
    array = real_parameter(name, value, ndim=None)
    if array.shape not in shapes:
        expected = ", or ".join(f"shape {shape} ({meaning})" for shape, meaning in shapes.items())
        raise ValueError(f"{name} has to have {expected}; got shape {array.shape}")
    return array


def start_spins(position: PyTree, sites: SpinSites, name: str, allowed: np.ndarray, advice: str) -> SpinState:
    """Check the spins that a chain starts from."""
    position = integer_position(position, name)
    if not isinstance(position, jax.Array) or position.shape != sites.shape:
        raise ValueError(f"{name} needs one array of shape {sites.shape}; got {jax.tree.map(jnp.shape, position)}")
    if is_concrete(position) and not np.all(np.isin(np.asarray(position), allowed)):
        wrong = np.setdiff1d(np.asarray(position), allowed)[:4]
        raise ValueError(f"{name} needs spins in {allowed.tolist()}; got {wrong.tolist()} among them. {advice}")
    if is_concrete(position) and not np.all(np.isin(allowed, allowed.astype(position.dtype))):
        raise TypeError(f"{name} needs a dtype that holds {allowed.tolist()}; got {position.dtype}")
    return SpinState(position)


class SpinSweep(Kernel[SpinState, SpinInfo]):
    """Heat-bath sweeps of a spin model; exact.

    A model brings the values of a spin, the joint density, and the compiled loop.
    """

    sites: eqx.AbstractVar[SpinSites]
    order: eqx.AbstractVar[Order]

    @property
    def claim(self) -> Claim:
        """Exact; reversible except in systematic order."""
        return Claim(
            Exactness.EXACT,
            "each site is drawn from its conditional law, so every order of visits leaves the target invariant",
            source="Glauber 1963, doi:10.1063/1.1703954; Geman and Geman 1984, doi:10.1109/TPAMI.1984.4767596",
            reversible=self.order != "systematic",
            spaces=frozenset({Space.FINITE}),
        )

    @abc.abstractmethod
    def spins(self, dtype: Any = jnp.int8) -> Int[Array, " q"]:
        """Return the values of a spin, in the order in which uniforms choose among them."""

    @abc.abstractmethod
    def logdensity(self, position: Int[Array, "..."]) -> Float[Array, ""]:
        """Return the log of the target, up to its normaliser."""

    @abc.abstractmethod
    def _sweeps(self, source: Source, randomness: Array, state: SpinState, count: int) -> SpinState:
        """Make sweeps in one compiled loop."""

    def step(self, key: PRNGKeyArray, state: SpinState) -> tuple[SpinState, SpinInfo]:
        """Make one sweep."""
        return self._sweeps(GENERATOR, key_words(key), state, 1), _info()

    def run(self, key: PRNGKeyArray, state: SpinState, num_steps: int) -> tuple[SpinState, SpinInfo]:
        """Make ``num_steps`` sweeps in one compiled loop."""
        return self._sweeps(GENERATOR, key_words(key), state, static_count("num_steps", num_steps)), _info()

    def step_from_uniforms(self, uniforms: Float[Array, " visits"], state: SpinState) -> SpinState:
        """Make the sweep that given uniforms decide, one for each visit (in random order two: site, then spin)."""
        return self._sweeps(UNIFORMS, uniforms, state, 1)

    def reference(self) -> "SpinReference":
        """Return the same kernel written with choice points."""
        return SpinReference(self)


class SpinReference(Kernel[SpinState, SpinInfo]):
    """A spin sweep written with choice points, from the joint density; exact, slow, and enumerable.

    Parameters
    ----------
    model
        The compiled kernel whose law this is.
    """

    model: SpinSweep

    @property
    def claim(self) -> Claim:
        """The model's."""
        return self.model.claim

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> SpinState:
        """Start as the model does."""
        return self.model.init(position, key=key)

    def step(self, key: PRNGKeyArray, state: SpinState) -> tuple[SpinState, SpinInfo]:
        """Make one sweep of draws from conditionals of the joint density."""

        def visit(key: PRNGKeyArray, site: Array | None, spins: Array) -> Array:
            site_key, spin_key = random.split(key)
            if site is None:
                site = random.randint(site_key, (), 0, spins.size)
            return self._redrawn(spins, site, lambda logits: random.categorical(spin_key, logits))

        return self._visit_all(random.split(key, self._num_visits()), visit, state), _info()

    def step_from_uniforms(self, uniforms: Float[Array, " visits"], state: SpinState) -> SpinState:
        """Make the sweep that given uniforms decide, by inversion."""

        def visit(given: Array, site: Array | None, spins: Array) -> Array:
            if site is None:
                site = (given[0] * spins.size).astype(jnp.int32)
            return self._redrawn(
                spins, site, lambda logits: jnp.sum(given[-1] >= jnp.cumsum(jax.nn.softmax(logits))[:-1])
            )

        return self._visit_all(uniforms.reshape(self._num_visits(), -1), visit, state)

    def _num_visits(self) -> int:
        return self.model.sites.num_sites if self.model.order == "random" else self.model.sites.visits.shape[0]

    def _redrawn(self, spins: Array, site: Array, draw: Callable[[Array], Array]) -> Array:
        values = self.model.spins(spins.dtype)
        logits = jax.vmap(
            lambda value: self.model.logdensity(spins.at[site].set(value).reshape(self.model.sites.shape))
        )(values)
        return spins.at[site].set(values[draw(logits)])

    def _visit_all(
        self, randomness: Any, visit: Callable[[Any, Array | None, Array], Array], state: SpinState
    ) -> SpinState:
        visits = None if self.model.order == "random" else self.model.sites.visits

        def body(spins: Array, given: tuple[Any, Array | None]) -> tuple[Array, None]:
            return visit(given[0], given[1], spins), None

        spins, _ = lax.scan(body, state.position.reshape(-1), (randomness, visits))
        return SpinState(spins.reshape(state.position.shape))
