"""The compiled host beside XLA: microseconds a step of one chain, all in one run.

Each kernel runs as a ``scan`` under XLA and as the loop that :mod:`ergodica.samplers.lowering` makes of the same traced
program, and, where one is written below, as a plain Numba loop that draws from NumPy's generator: what the algorithm
costs in C. Draws of the first two are compared. The last column is what lowering and compiling took.

Run ``python benchmarks/lowering.py``, or with ``--quick`` for a glance.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numba
import numpy as np
from numpyro.infer import NUTS

from ergodica.samplers.lowering.lower import lower
from ergodica.samplers.metropolis.random_walk import RandomWalk
from ergodica.samplers.slicing.coordinate import CoordinateSlice
from ergodica.samplers.slicing.gibbsian_polar import GibbsianPolarSlice
from ergodica.samplers.slicing.hit_and_run import HitAndRunSlice

Y = jnp.array([28.0, 8, -3, 7, -1, 1, 18, 12])
SIGMA = jnp.array([15.0, 10, 16, 11, 9, 11, 10, 18])


def gaussian(x: Any) -> Any:
    return -0.5 * jnp.sum(x**2)


def eight_schools(z: Any) -> Any:
    tau = jnp.exp(z["log_tau"])
    theta = z["mu"] + tau * z["theta"]
    prior = -0.5 * (z["mu"] / 5) ** 2 - jnp.log1p((tau / 5) ** 2) + z["log_tau"] - 0.5 * jnp.sum(z["theta"] ** 2)
    return prior - 0.5 * jnp.sum(((Y - theta) / SIGMA) ** 2)


def fastest(run: Callable[[], Any], repeats: int) -> float:
    """Return the shortest of several times, in seconds."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - began)
    return min(times)


# --- plain loops --------------------------------------------------------------------------------------------------------


@numba.njit
def density(x):
    total = 0.0
    for value in x:
        total += value * value
    return -0.5 * total


@numba.njit
def plain_random_walk(generator, x, scale, steps):
    current, proposal = density(x), np.empty_like(x)
    for _ in range(steps):
        for i in range(x.size):
            proposal[i] = x[i] + scale * generator.standard_normal()
        value = density(proposal)
        if np.log(generator.random()) < value - current:
            x[:], current = proposal, value


@numba.njit
def plain_interval(generator, x, direction, origin, height, width, max_steps):
    """Step out and shrink on the line through ``origin``; leave the new point in ``x``."""
    low = -width * generator.random()
    high = low + width
    left = int(max_steps * generator.random())
    right = max_steps - 1 - left
    x[:] = origin + low * direction
    while left > 0 and density(x) > height:
        low -= width
        left -= 1
        x[:] = origin + low * direction
    x[:] = origin + high * direction
    while right > 0 and density(x) > height:
        high += width
        right -= 1
        x[:] = origin + high * direction
    while True:
        place = low + generator.random() * (high - low)
        x[:] = origin + place * direction
        if density(x) > height:
            return
        if place < 0:
            low = place
        else:
            high = place


@numba.njit
def plain_hit_and_run(generator, x, width, steps):
    direction, origin = np.empty_like(x), np.empty_like(x)
    for _ in range(steps):
        for i in range(x.size):
            direction[i] = generator.standard_normal()
        direction /= np.sqrt(np.sum(direction * direction))
        origin[:] = x
        height = density(x) - generator.standard_exponential()
        plain_interval(generator, x, direction, origin, height, width, 64)


@numba.njit
def plain_coordinates(generator, x, width, steps):
    direction, origin = np.zeros_like(x), np.empty_like(x)
    for _ in range(steps):
        for i in range(x.size):
            direction[i] = 1.0
            origin[:] = x
            height = density(x) - generator.standard_exponential()
            plain_interval(generator, x, direction, origin, height, width, 64)
            direction[i] = 0.0


# --- the table ----------------------------------------------------------------------------------------------------------


def position_and_leapfrogs(state: Any, info: Any) -> Any:
    return state.position, getattr(info, "num_integration_steps", 0)


def compare(
    name: str,
    step: Any,
    state: Any,
    plain: Callable[[int], Any] | None,
    steps: int,
    repeats: int,
    look: Any = position_and_leapfrogs,
) -> None:
    def run(key: Any, state: Any) -> Any:
        def body(state: Any, index: Any) -> Any:
            state, info = step(jax.random.fold_in(key, index), state)
            return state, look(state, info)

        return jax.lax.scan(body, state, jnp.arange(steps))[1]

    key = jax.random.key(0)
    began = time.perf_counter()
    lowered = lower(run, key, state)
    compiling = time.perf_counter() - began
    on_xla = jax.jit(run)
    theirs, ours = jax.block_until_ready(on_xla(key, state)), lowered(key, state)
    apart = max(
        float(np.max(np.abs(np.asarray(a) - b)))
        for a, b in zip(jax.tree.leaves(theirs[0]), jax.tree.leaves(ours[0]), strict=True)
    )
    xla, host = fastest(lambda: on_xla(key, state), repeats), fastest(lambda: lowered(key, state), repeats)
    columns = [f"{name:32s}", f"{xla / steps * 1e6:9.2f}", f"{host / steps * 1e6:9.3f}", f"{xla / host:7.1f}"]
    if plain is None:
        columns += [" " * 9, " " * 7]
    else:
        plain(10)
        loop = fastest(lambda: plain(steps), repeats)
        columns += [f"{loop / steps * 1e6:9.3f}", f"{host / loop:7.2f}"]
    print(*columns, f"{apart:9.1e}", f"{compiling:7.2f}", flush=True)
    leapfrogs = float(np.sum(np.asarray(ours[1])))
    if leapfrogs:
        print(
            f"    {xla / leapfrogs * 1e6:.3f} and {host / leapfrogs * 1e6:.3f} a leapfrog step, {leapfrogs / steps:.1f} a draw"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    steps, repeats = (300, 2) if quick else (3000, 5)
    jax.config.update("jax_enable_x64", True)
    print(
        f"{'us a step':32s} {'XLA':>9s} {'lowered':>9s} {'faster':>7s} {'numba':>9s} {'slower':>7s} {'apart':>9s} {'compile':>7s}"
    )
    for dim in (10, 100):
        generator = np.random.default_rng(0)
        start = jnp.full(dim, 0.1)
        plain = {
            "CoordinateSlice": lambda n, d=dim, g=generator: plain_coordinates(g, np.full(d, 0.1), 2.0, n),
            "HitAndRunSlice": lambda n, d=dim, g=generator: plain_hit_and_run(g, np.full(d, 0.1), 2.0, n),
            "RandomWalk": lambda n, d=dim, g=generator: plain_random_walk(g, np.full(d, 0.1), 2.4 / np.sqrt(d), n),
        }
        kernels = (CoordinateSlice(2.0), GibbsianPolarSlice(), HitAndRunSlice(), RandomWalk(2.4 / np.sqrt(dim)))
        for kernel in (each.bind(gaussian) for each in kernels):
            name = type(kernel).__name__
            few = max(100, steps // 10) if dim == 100 and name == "CoordinateSlice" else steps
            compare(f"{name}, normal of {dim}", kernel.step, kernel.init(start), plain.get(name), few, repeats)
    try:
        import blackjax
    except ModuleNotFoundError:
        return
    start = {"mu": jnp.asarray(0.0), "log_tau": jnp.asarray(0.0), "theta": jnp.zeros(8)}
    nuts = blackjax.nuts(eight_schools, 0.3, jnp.ones(10))
    compare("BlackJAX NUTS, eight schools", nuts.step, nuts.init(start), None, steps, repeats)

    kernel = NUTS(
        potential_fn=lambda z: -eight_schools(z), step_size=0.3, adapt_step_size=False, adapt_mass_matrix=False
    )
    state = kernel.init(jax.random.key(0), 0, start, (), {})

    def step(_: Any, state: Any) -> Any:  # the key is part of the state
        return kernel.sample(state, (), {}), None

    def look(state: Any, _: Any) -> Any:
        return state.z, state.num_steps

    compare("NumPyro NUTS, eight schools", step, state, None, steps, repeats, look)


if __name__ == "__main__":
    main()
