"""Rows of the catalogue for compiled sweeps of spin systems."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.gibbs.ising import IsingHeatBath
from ergodica.samplers.gibbs.potts import PottsHeatBath
from ergodica.samplers.gibbs.spin_sites import SquareLattice
from ergodica.samplers.gibbs.spin_sweep import SpinState
from ergodica.validation.evidence import Case, Check, Outcome
from ergodica.validation.exact import exact_check
from ergodica.validation.stationary_start import stationary_start_check
from ergodica.validation.targets.target import FiniteTarget

Edges = tuple[tuple[int, int], ...]

GRAPH4: Edges = ((0, 1), (1, 2), (0, 2), (2, 3))
"""A triangle with a tail: three colours."""
COUPLINGS4 = (1.0, -0.5, 0.3, 0.8)
FIELD4 = (0.1, -0.2, 0.3, 0.4)

TORUS2X4: Edges = (
    *((4 * row + column, 4 * row + (column + 1) % 4) for row in range(2) for column in range(4)),
    *((4 * row + column, 4 * (1 - row) + column) for row in range(2) for column in range(4)),
)
"""The bonds of the periodic lattice of two rows and four columns; those between the rows come twice."""

TORUS3X3: Edges = tuple(
    (3 * row + column, 3 * ((row + down) % 3) + (column + 1 - down) % 3)
    for row in range(3)
    for column in range(3)
    for down in range(2)
)
"""The 18 bonds of the periodic lattice of three rows and columns, which has no checkerboard."""


def ising_target(
    name: str,
    edges: Edges,
    beta: float,
    couplings: tuple[float, ...] = (),
    field: tuple[float, ...] = (),
    shape: tuple[int, ...] = (),
) -> FiniteTarget:
    """Return all spins of -1 and 1 with probabilities proportional to ``exp(beta sum J s_u s_v + sum h_i s_i)``."""
    size = 1 + max(max(edge) for edge in edges)
    states = np.array(list(itertools.product((-1, 1), repeat=size)), np.int8)
    logs = states @ np.array(field if field else (0.0,) * size)
    for (u, v), coupling in zip(edges, couplings if couplings else (1.0,) * len(edges), strict=True):
        logs = logs + beta * coupling * states[:, u] * states[:, v]
    return _target(name, states.reshape(-1, *(shape if shape else (size,))), logs)


def potts_target(
    name: str, edges: Edges, num_states: int, beta: float, couplings: tuple[float, ...], field: tuple[float, ...]
) -> FiniteTarget:
    """Return all spins with probabilities proportional to ``exp(beta sum J 1{s_u = s_v} + sum h(s_i))``."""
    size = 1 + max(max(edge) for edge in edges)
    states = np.array(list(itertools.product(range(num_states), repeat=size)), np.int8)
    logs = np.array(field)[states].sum(axis=1)
    for (u, v), coupling in zip(edges, couplings, strict=True):
        logs = logs + beta * coupling * (states[:, u] == states[:, v])
    return _target(name, states, logs)


def _target(name: str, states: np.ndarray, logs: np.ndarray) -> FiniteTarget:
    weights = np.exp(logs - logs.max())
    return FiniteTarget(name, states, weights / weights.sum(), Partial(_no_density))


def _no_density(position: Any) -> Any:
    del position
    raise TypeError("spin sweeps bring their own density")


def _as_it_is(subject: Any, target: Any) -> Any:
    """Return the subject: a spin sweep has its target already."""
    del target
    return subject


def tied_check(replicates: int = 500) -> Check:
    """Make a check that the compiled core and the reference draw the same spins from the same uniforms.

    The reference takes its conditional laws from the joint density, the core from the neighbours; a uniform between two
    roundings of one probability has probability of order 1e-16.

    Parameters
    ----------
    replicates
        Number of starts, each with its own uniforms.
    """

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        reference = subject.reference()
        start_key, uniform_key = random.split(key)
        shape = subject.sites.shape
        starts = random.choice(start_key, subject.spins(), (replicates, *shape))
        visits = 2 * subject.sites.num_sites if subject.order == "random" else subject.sites.visits.shape[0]
        uniforms = random.uniform(uniform_key, (replicates, visits))

        def differences(start: Any, given: Any) -> Any:
            state = SpinState(start)
            compiled = subject.step_from_uniforms(given, state).position
            return jnp.sum(compiled != reference.step_from_uniforms(given, state).position)

        wrong = int(jnp.sum(jax.jit(jax.vmap(differences))(starts, uniforms)))
        return Outcome(wrong, 0.0, wrong == 0, 0.0, f"{wrong} spins of {starts.size} differ")

    return Check("tied: compiled core and reference on the same uniforms", run, 2.0)


def _row(name: str, example: Any, target: FiniteTarget, *, exact: bool = True) -> Case:
    checks = [tied_check(), stationary_start_check(target.name, target, bind=_as_it_is)]
    if exact:
        checks.insert(0, exact_check(target.name, target, seconds=2.0))
    return Case(name, type(example()), example, tuple(checks), only_example=True)


ISING4 = ising_target("Ising on a triangle with a tail", GRAPH4, 0.7, COUPLINGS4, FIELD4)
ISING2X4 = ising_target("Ising on the 2 x 4 torus", TORUS2X4, 0.3, field=(0.2,) * 8, shape=(2, 4))
ISING3X3 = ising_target("Ising on the 3 x 3 torus", TORUS3X3, 0.4406867935)
POTTS4 = potts_target("Potts on a triangle with a tail", GRAPH4, 3, 0.7, COUPLINGS4, FIELD4[:3])


def _ising4(order: Any) -> IsingHeatBath:
    return IsingHeatBath(np.array(GRAPH4), 0.7, np.array(COUPLINGS4), np.array(FIELD4), order=order)


CASES: tuple[Case, ...] = (
    _row("ising-systematic", lambda: _ising4("systematic"), ISING4),
    _row("ising-palindromic", lambda: _ising4("palindromic"), ISING4),
    _row("ising-random", lambda: _ising4("random"), ISING4),
    _row("ising-lattice", lambda: IsingHeatBath(SquareLattice(2, 4), 0.3, field=0.2), ISING2X4),
    _row("ising-torus", lambda: IsingHeatBath(np.array(TORUS3X3), 0.4406867935), ISING3X3, exact=False),
    _row(
        "potts-systematic",
        lambda: PottsHeatBath(np.array(GRAPH4), 3, 0.7, np.array(COUPLINGS4), np.array(FIELD4[:3])),
        POTTS4,
    ),
)
