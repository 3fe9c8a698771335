"""Ising heat bath: our kernel against the plain compiled loop that one would write by hand.

Both visit a checkerboard, look the probability up in a table of five, and use the same generator.
"""

import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from ergodica.samplers import counter_rng
from ergodica.samplers.gibbs.ising import IsingHeatBath
from ergodica.samplers.gibbs.spin_sites import SquareLattice
from ergodica.samplers.native import compiled

BETA = 0.4406867935


@compiled
def plain_sweeps(spins, beta, words, num_sweeps):
    height, width = spins.shape
    stream = counter_rng.stream(words)
    probability = np.empty(5)
    for k in range(5):
        probability[k] = 1 / (1 + np.exp(-2 * beta * (2 * k - 4)))
    for _ in range(num_sweeps):
        for colour in range(2):
            for i in range(height):
                up, down = (i - 1 if i > 0 else height - 1), (i + 1 if i + 1 < height else 0)
                for j in range((i + colour) & 1, width, 2):
                    left, right = (j - 1 if j > 0 else width - 1), (j + 1 if j + 1 < width else 0)
                    around = spins[up, j] + spins[down, j] + spins[i, left] + spins[i, right]
                    spins[i, j] = 1 if counter_rng.uniform(stream) < probability[(around + 4) >> 1] else -1


def measure(side: int, num_updates: int, repeats: int) -> dict[str, float]:
    """Return median nanoseconds per site update of each way."""
    num_sweeps = max(1, num_updates // side**2)
    start = np.ones((side, side), np.int8)
    words = np.array([0, 1], np.uint32)
    kernel = IsingHeatBath(SquareLattice(side, side), BETA)
    state = kernel.init(jnp.asarray(start))
    key = jax.random.key(1)
    run = jax.jit(lambda key, state: kernel.run(key, state, num_sweeps)[0])

    def steps(key, state):
        def body(state, key):
            return kernel.step(key, state)[0], None

        return jax.lax.scan(body, state, jax.random.split(key, num_sweeps))[0]

    scan = jax.jit(steps)
    ways = {
        "plain loop": lambda: plain_sweeps(start.copy(), BETA, words, num_sweeps),
        "run": lambda: run(key, state).position.block_until_ready(),
        "step in scan": lambda: scan(key, state).position.block_until_ready(),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(repeats):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            times[name].append(1e9 * (time.perf_counter() - began) / (num_sweeps * side**2))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Print nanoseconds per site update, and ratios to the plain loop."""
    print(f"{'side':>6}  {'way':<14} {'ns/update':>10} {'ratio':>7}")
    for side in (16, 64, 512):
        result = measure(side, 10_000_000, 9)
        for name, value in result.items():
            print(f"{side:>6}  {name:<14} {value:>10.2f} {value / result['plain loop']:>7.2f}")


if __name__ == "__main__":
    main()
