"""Compiled loops of heat-bath sweeps, over a source of uniforms.

Unsigned indices spare the test for negative ones.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ergodica.samplers.core_source import GENERATOR, UNIFORMS, Source
from ergodica.samplers.gibbs.spin_sites import SpinSites
from ergodica.samplers.native import NativeOperation, compiled

__all__ = ["OPERATIONS", "spin_dtype", "sweep_graph"]


def _ising_lattice_core(source: Source) -> Any:
    open_source, uniform, integer = source.open, source.uniform, source.integer

    @compiled
    def redraw(handle, spins, up, i, down, left, j, right, probability):  # type: ignore[no-untyped-def]
        around = spins[up, j] + spins[down, j] + spins[i, left] + spins[i, right]
        spins[i, j] = 1 if uniform(handle) < probability[(around + 4) >> 1] else -1

    @compiled
    def core(randomness, spins, bond, field, num_classes, num_sweeps, out):  # type: ignore[no-untyped-def]
        height, width = spins.shape
        handle = open_source(randomness)
        probability = np.empty(5)
        for k in range(5):
            probability[k] = 1 / (1 + np.exp(-2 * (np.float64(bond[0]) * (2 * k - 4) + np.float64(field[0]))))
        for i in range(height):
            for j in range(width):
                out[i, j] = spins[i, j]
        for _ in range(num_sweeps[0]):
            if num_classes[0] == 0:
                for _ in range(height * width):
                    site = integer(handle, height * width)
                    i, j = site // width, site % width
                    up, down = (i - 1 if i > 0 else height - 1), (i + 1 if i + 1 < height else 0)
                    left, right = (j - 1 if j > 0 else width - 1), (j + 1 if j + 1 < width else 0)
                    redraw(handle, out, up, i, down, left, j, right, probability)
            for colour in range(num_classes[0]):
                for i in range(height):
                    up, down = (i - 1 if i > 0 else height - 1), (i + 1 if i + 1 < height else 0)
                    if (i + colour) % 2 == 0:
                        redraw(handle, out, up, i, down, width - 1, 0, 1, probability)
                        for j in range(2, width, 2):
                            redraw(handle, out, up, i, down, j - 1, j, j + 1, probability)
                    else:
                        for j in range(1, width - 1, 2):
                            redraw(handle, out, up, i, down, j - 1, j, j + 1, probability)
                        redraw(handle, out, up, i, down, width - 2, width - 1, 0, probability)

    return core


def _ising_graph_core(source: Source) -> Any:
    open_source, uniform, integer = source.open, source.uniform, source.integer

    @compiled
    def core(randomness, spins, offsets, neighbours, weights, field, visits, num_sweeps, out):  # type: ignore[no-untyped-def]
        handle = open_source(randomness)
        count = visits.shape[0] if visits.shape[0] > 0 else spins.shape[0]
        for i in range(spins.shape[0]):
            out[i] = spins[i]
        for _ in range(num_sweeps[0]):
            for visit in range(count):
                i = visits[visit] if visits.shape[0] > 0 else integer(handle, count)
                local = np.float64(field[i])
                for entry in range(np.uint64(offsets[i]), np.uint64(offsets[i + 1])):
                    local += np.float64(weights[entry]) * out[np.uint64(neighbours[entry])]
                out[i] = 1 if uniform(handle) < 1 / (1 + np.exp(-2 * local)) else -1

    return core


def _potts_graph_core(source: Source) -> Any:
    open_source, uniform, integer = source.open, source.uniform, source.integer

    @compiled
    def core(randomness, spins, offsets, neighbours, weights, field, visits, num_sweeps, out):  # type: ignore[no-untyped-def]
        handle = open_source(randomness)
        num_states = field.shape[1]
        mass = np.empty(num_states)
        count = visits.shape[0] if visits.shape[0] > 0 else spins.shape[0]
        for i in range(spins.shape[0]):
            out[i] = spins[i]
        for _ in range(num_sweeps[0]):
            for visit in range(count):
                i = visits[visit] if visits.shape[0] > 0 else integer(handle, count)
                for state in range(num_states):
                    mass[state] = field[i, state]
                for entry in range(np.uint64(offsets[i]), np.uint64(offsets[i + 1])):
                    mass[np.uint64(out[np.uint64(neighbours[entry])])] += weights[entry]
                largest = mass[0]
                for state in range(1, num_states):
                    largest = max(largest, mass[state])
                total = 0.0
                for state in range(num_states):
                    total += np.exp(mass[state] - largest)
                    mass[state] = total
                level = uniform(handle) * total
                drawn = 0
                while drawn < num_states - 1 and level >= mass[drawn]:
                    drawn += 1
                out[i] = drawn

    return core


def _operation(kind: str, make: Callable[[Source], Any], source: Source) -> NativeOperation:
    number, whole = (None, 0), (np.int32, 0)
    rows = (np.int32, 1)
    if kind == "ising_lattice":
        inputs = [(source.dtype, 1), (None, 2), number, number, whole, whole]
        outputs = [(None, 2)]
    else:
        field = (None, 1 if kind == "ising_graph" else 2)
        inputs = [(source.dtype, 1), (None, 1), rows, rows, (None, 1), field, rows, whole]
        outputs = [(None, 1)]
    return NativeOperation(f"gibbs.spin_sweep.{kind}.{source.name}", make(source), inputs, outputs)


OPERATIONS = {
    (kind, source.name): _operation(kind, make, source)
    for kind, make in (
        ("ising_lattice", _ising_lattice_core),
        ("ising_graph", _ising_graph_core),
        ("potts_graph", _potts_graph_core),
    )
    for source in (GENERATOR, UNIFORMS)
}


def spin_dtype(position: Array) -> jax.ShapeDtypeStruct:
    """Return shape and dtype of an array of spins."""
    return jax.ShapeDtypeStruct(position.shape, position.dtype)  # type: ignore[no-untyped-call]


def sweep_graph(
    kind: str,
    source: Source,
    randomness: Array,
    sites: SpinSites,
    bonds: Float[Array, "..."],
    field: Float[Array, "..."],
    position: Array,
    num_sweeps: int,
) -> Array:
    """Sweep the sites of a graph in one call of a core, each site ``visits`` names or, if none, random ones."""
    weights = jnp.broadcast_to(bonds, (sites.edges.shape[0],))[sites.edge_of]
    spins = position.reshape(-1)
    (out,) = OPERATIONS[kind, source.name](
        randomness,
        spins,
        sites.offsets,
        sites.neighbours,
        weights,
        field,
        sites.visits,
        num_sweeps,
        out_shapes=[spin_dtype(spins)],
    )
    return out.reshape(position.shape)
