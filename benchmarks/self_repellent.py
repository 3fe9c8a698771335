"""Self-repellent walk: our kernel against plain compiled loops that one would write by hand.

The plain loops hold the same base chain in compressed rows and use the same generator; one computes a power for each
neighbour, the other stores one weight for each node, as our kernel does, without its guards against overflow.
"""

import statistics
import time

import jax
import jax.numpy as jnp
import networkx
import numpy as np

from ergodica.samplers import counter_rng
from ergodica.samplers.native import compiled
from ergodica.samplers.walks.base_chain import BaseChain
from ergodica.samplers.walks.self_repellent import SelfRepellentWalk

ALPHA = 5.0


@compiled
def plain_powers(node, counts, offsets, targets, probabilities, mu, alpha, words, num_steps):
    stream = counter_rng.stream(words)
    for _ in range(num_steps):
        total = 0.0
        for entry in range(offsets[node], offsets[node + 1]):
            total += probabilities[entry] * (counts[targets[entry]] / mu[targets[entry]]) ** -alpha
        level = counter_rng.uniform(stream) * total
        for entry in range(offsets[node], offsets[node + 1]):
            level -= probabilities[entry] * (counts[targets[entry]] / mu[targets[entry]]) ** -alpha
            if level < 0:
                break
        node = targets[entry]
        counts[node] += 1.0
    return node


@compiled
def plain_weights(node, counts, offsets, targets, probabilities, mu, alpha, words, num_steps):
    stream = counter_rng.stream(words)
    weights = (counts / mu) ** -alpha
    for _ in range(num_steps):
        total = 0.0
        for entry in range(offsets[node], offsets[node + 1]):
            total += probabilities[entry] * weights[targets[entry]]
        level = counter_rng.uniform(stream) * total
        for entry in range(offsets[node], offsets[node + 1]):
            level -= probabilities[entry] * weights[targets[entry]]
            if level < 0:
                break
        node = targets[entry]
        counts[node] += 1.0
        weights[node] = (counts[node] / mu[node]) ** -alpha
    return node


def measure(base: BaseChain, num_steps: int, repeats: int) -> dict[str, float]:
    """Return median nanoseconds per step of each way."""
    walk = SelfRepellentWalk(base, alpha=ALPHA)
    state = walk.init(jnp.asarray(0))
    key = jax.random.key(1)
    words = np.array([0, 1], np.uint32)
    arrays = [np.array(part) for part in (base.offsets, base.targets, base.probabilities, base.mu)]
    fake = np.array(walk.fake)
    run = jax.jit(lambda key, state: walk.run(key, state, num_steps)[0])
    few = num_steps // 100

    def steps(key, state):
        def body(state, key):
            return walk.step(key, state)[0], None

        return jax.lax.scan(body, state, jax.random.split(key, few))[0]

    scan = jax.jit(steps)
    ways = {
        "plain loop, a power a neighbour": (
            lambda: plain_powers(0, fake.copy(), *arrays, ALPHA, words, num_steps),
            num_steps,
        ),
        "plain loop, stored weights": (
            lambda: plain_weights(0, fake.copy(), *arrays, ALPHA, words, num_steps),
            num_steps,
        ),
        "run": (lambda: run(key, state).position.block_until_ready(), num_steps),
        "step in scan": (lambda: scan(key, state).position.block_until_ready(), few),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for way, _ in ways.values():
        way()
    for _ in range(repeats):
        for name, (way, count) in ways.items():
            began = time.perf_counter()
            way()
            times[name].append(1e9 * (time.perf_counter() - began) / count)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Print nanoseconds per step, and ratios to the faster plain loop."""
    jax.config.update("jax_enable_x64", True)
    graphs = {
        "ring of 1000": networkx.cycle_graph(1000),
        "4-regular, 1000": networkx.random_regular_graph(4, 1000, seed=1),
        "4-regular, 100000": networkx.random_regular_graph(4, 100_000, seed=1),
        "preferential attachment, 1000": networkx.barabasi_albert_graph(1000, 5, seed=1),
    }
    print(f"{'graph':<30} {'way':<32} {'ns/step':>9} {'ratio':>7}")
    for label, graph in graphs.items():
        result = measure(BaseChain.metropolis_hastings(graph), 1_000_000, 7)
        for name, value in result.items():
            print(f"{label:<30} {name:<32} {value:>9.1f} {value / result['plain loop, stored weights']:>7.2f}")


if __name__ == "__main__":
    main()
