"""Steps of the kernels that have no benchmark of their own, each beside a peer or a limit in the same run.

- Random-walk Metropolis beside BlackJAX's, and beside a plain compiled loop.
- Independence Metropolis with a flow beside drawing from the flow with its density, which is all that a step needs.
- Reverse diffusion beside as many evaluations of the density and its gradient as it makes, and nothing else.
- Distributed ADMM beside the affine map that a sweep of quadratic agents is, as matrix products under XLA.

Run ``python benchmarks/step_costs.py``; ratios are to our kernel under XLA, below one where we are slower.
"""

import time
from collections.abc import Callable
from typing import Any

import blackjax
import flowjax.distributions
import flowjax.flows
import jax
import jax.numpy as jnp
import networkx
import numba
import numpy as np
import paramax
from jax import lax

import ergodica
from ergodica.samplers.lowering.run import compile_run
from ergodica.theory.admm import affine_sweep

KEY = jax.random.key(0)


def in_turn(ways: dict[str, tuple[Callable[[], Any], int]], repeats: int = 7) -> dict[str, float]:
    """Return the smallest time of a step in microseconds of each way, measured one after the other, again and again."""
    for way, _ in ways.values():
        way()
    best = dict.fromkeys(ways, np.inf)
    for _ in range(repeats):
        for name, (way, steps) in ways.items():
            began = time.perf_counter()
            way()
            best[name] = min(best[name], 1e6 * (time.perf_counter() - began) / steps)
    return best


def scanned(step: Callable[[Any, Any], Any], state: Any, steps: int) -> Callable[[], Any]:
    """Return a call that makes steps of a chain in one compiled loop."""

    @jax.jit
    def run(state: Any) -> Any:
        def body(index: Any, state: Any) -> Any:
            return step(jax.random.fold_in(KEY, index), state)

        return lax.fori_loop(0, steps, body, state)

    return lambda: jax.block_until_ready(run(state))


def hosts(kernel: Any, state: Any, steps: int) -> dict[str, tuple[Callable[[], Any], int]]:
    """Return our kernel on both hosts."""
    compiled = compile_run(kernel, state, collect=lambda _: ())
    return {
        "ours": (scanned(lambda key, s: kernel.step(key, s)[0], state, steps), steps),
        "ours, compiled host": (lambda: compiled(KEY, state, steps), steps),
    }


def normal(x: Any) -> Any:
    return -0.5 * jnp.sum(x**2)


@numba.njit
def plain_walk(generator: Any, x: Any, scale: float, steps: int) -> float:
    current, proposal = -0.5 * np.sum(x**2), np.empty_like(x)
    for _ in range(steps):
        value = 0.0
        for i in range(x.size):
            proposal[i] = x[i] + scale * generator.standard_normal()
            value -= 0.5 * proposal[i] ** 2
        if np.log(generator.random()) < value - current:
            x[:], current = proposal, value
    return current


def random_walk(dim: int, steps: int) -> dict[str, float]:
    scale = 2.38 / dim**0.5
    kernel = ergodica.RandomWalk(scale, logdensity=normal)
    state = kernel.init(jnp.zeros(dim))
    peer = blackjax.additive_step_random_walk(normal, blackjax.mcmc.random_walk.normal(scale * jnp.ones(dim)))
    generator = np.random.default_rng(0)
    return in_turn(
        {
            **hosts(kernel, state, steps),
            "BlackJAX": (scanned(lambda key, s: peer.step(key, s)[0], peer.init(jnp.zeros(dim)), steps), steps),
            "plain compiled loop": (lambda: plain_walk(generator, np.zeros(dim), scale, 10 * steps), 10 * steps),
        }
    )


def flow_independence(dim: int, steps: int) -> dict[str, float]:
    flow = flowjax.flows.coupling_flow(
        KEY, base_dist=flowjax.distributions.Normal(jnp.zeros(dim)), flow_layers=4, nn_width=32, invert=False
    )
    kernel = ergodica.FlowIndependence(flow, logdensity=normal)
    plain = paramax.unwrap(flow)
    state = kernel.init(jnp.zeros(dim))
    return in_turn(
        {
            **hosts(kernel, state, steps),
            "flow alone": (
                scanned(lambda key, s: sum(plain.sample_and_log_prob(key)[0]) + 0 * s, jnp.zeros(()), steps),
                steps,
            ),
        }
    )


def reverse_diffusion(dim: int, draws: int) -> dict[str, float]:
    kernel = ergodica.ReverseDiffusion("mala", logdensity=normal)
    state = kernel.init(jnp.zeros(dim))
    _, info = kernel.step(KEY, state)
    count, gradients = int(info.num_evals), int(info.num_grad_evals)
    both = jax.value_and_grad(normal)

    def evaluations(key: Any, total: Any) -> Any:
        points = jax.random.normal(key, (10, dim))  # the inner chains run side by side

        def body(_: Any, points: Any) -> Any:
            values, slopes = jax.vmap(both)(points)
            return points - 1e-3 * slopes + 1e-9 * values[:, None]

        points = lax.fori_loop(0, gradients // 10, body, points)
        values = jax.vmap(normal)(jax.random.normal(key, (max(count - gradients, 1), dim)))
        return total + jnp.sum(points) + jnp.sum(values)

    return in_turn(
        {
            **hosts(kernel, state, draws),
            "its evaluations alone": (scanned(evaluations, jnp.zeros(()), draws), draws),
        }
    )


def admm(agents: int, dim: int, steps: int) -> dict[str, float]:
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(agents, dim, dim))
    precision = factors @ np.swapaxes(factors, 1, 2) + np.eye(dim)
    center = rng.normal(size=(agents, dim))
    graph = networkx.cycle_graph(agents)
    kernel = ergodica.ADMMSampler(ergodica.QuadraticAgents(precision, center), graph, penalty=2.0)
    state = kernel.init(jnp.asarray(center))
    sweep = affine_sweep(precision, center, networkx.to_numpy_array(graph), 2.0)
    matrix, shift, noise = (jnp.asarray(part) for part in (sweep.matrix, sweep.shift, sweep.factor))
    start = jnp.zeros(matrix.shape[0])

    def affine(key: Any, z: Any) -> Any:
        return matrix @ z + shift + noise @ jax.random.normal(key, (noise.shape[1],))

    return in_turn(
        {
            **hosts(kernel, state, steps),
            "affine map": (scanned(affine, start, steps), steps),
        }
    )


def main() -> None:
    """Print microseconds a step, and the time of each way over ours."""
    jax.config.update("jax_enable_x64", True)
    table = {
        "random walk, normal 10": random_walk(10, 20_000),
        "random walk, normal 100": random_walk(100, 20_000),
        "flow independence, 10": flow_independence(10, 2000),
        "reverse diffusion (mala), 10": reverse_diffusion(10, 20),
        "distributed ADMM, 8 agents x 5": admm(8, 5, 5000),
        "distributed ADMM, 64 agents x 5": admm(64, 5, 1000),
    }
    print(f"{'kernel':<34} {'way':<24} {'us a step':>10} {'over ours':>10}")
    for kernel, times in table.items():
        for way, value in times.items():
            print(f"{kernel:<34} {way:<24} {value:>10.2f} {value / times['ours']:>10.2f}")


if __name__ == "__main__":
    main()
