"""Classical rejection beside its peers: adaptive rejection, alias tables, truncated normal laws.

Run ``python benchmarks/classical_rejection.py``. Times are medians of interleaved repeats in one process, and what counts
is the last column: the peer's time over ours, above one where ours is faster. For alias tables the time of a bare gather of
the table's entries at random places, a limit of the memory, is a contestant too.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numba
import numpy as np
from scipy import stats

from ergodica.samplers.acceptance.rejection.adaptive import AdaptiveRejection
from ergodica.samplers.acceptance.rejection.alias import AliasTable
from ergodica.samplers.acceptance.rejection.truncated_normal import truncated_normal

jax.config.update("jax_enable_x64", True)

Contest = dict[str, Callable[[], object]]


def timed(contest: Contest, repeats: int) -> dict[str, float]:
    for run in contest.values():
        run()  # compile
    times: dict[str, list[float]] = {name: [] for name in contest}
    for _ in range(repeats):
        for name, run in contest.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


@numba.njit(nogil=True)
def log_gamma_density(x, shape):
    return (shape - 1) * np.log(x) - x


@numba.njit(nogil=True)
def ratio_loop(seed, n, shape):
    """A plain loop: ratio of uniforms for the gamma law, around its mode."""
    np.random.seed(seed)  # noqa: NPY002  Numba knows no generators here
    mode = shape - 1
    peak = log_gamma_density(mode, shape)
    reach = np.sqrt(shape + 0.5) * 1.2
    out = np.empty(n)
    for i in range(n):
        while True:
            u = 1 - np.random.random()  # noqa: NPY002
            x = mode + reach * (2 * np.random.random() - 1) / u  # noqa: NPY002
            if x > 0 and 2 * np.log(u) <= log_gamma_density(x, shape) - peak:
                out[i] = x
                break
    return out


@numba.njit(nogil=True)
def gather(index, prob, alias, out):
    for i in range(out.size):
        k = index[i]
        out[i] = k if prob[k] > 0.5 else alias[k]


def adaptive(n: int, chains: int) -> Contest:
    shape = 3.5
    kernel = AdaptiveRejection(low=0.0, logdensity=lambda x: (shape - 1) * jnp.log(x) - x)
    states = jax.vmap(lambda x: kernel.init(x))(jnp.full(chains, 2.0))

    @jax.jit
    def run(states):
        def one(key, state):
            def body(state, index):
                state, _ = kernel.step(jax.random.fold_in(key, index), state)
                return state, state.position

            return jax.lax.scan(body, state, jnp.arange(n // chains))[1]

        return jax.vmap(one)(jax.random.split(jax.random.key(0), chains), states)

    return {
        "AdaptiveRejection": lambda: run(states).block_until_ready(),
        "plain loop, ratio of uniforms": lambda: ratio_loop(0, n, shape),
        "scipy.stats.gamma.rvs": lambda: stats.gamma.rvs(shape, size=n, random_state=0),
    }


def alias(n: int, size: int) -> Contest:
    rng = np.random.default_rng(0)
    p = rng.exponential(size=size)
    p /= p.sum()
    table = AliasTable(p)
    prob, other = np.asarray(table.prob), np.asarray(table.alias)
    index, out = rng.integers(size, size=n), np.empty(n, np.int32)
    key = jax.random.key(0)
    draw = jax.jit(lambda key: table.draw(key, (n,)))
    return {
        "AliasTable.draw_many": lambda: table.draw_many(key, n),
        "AliasTable.draw, JAX": lambda: draw(key).block_until_ready(),
        "numpy Generator.choice": lambda: rng.choice(size, n, p=p),
        "gather alone (memory)": lambda: gather(index, prob, other, out),
    }


def truncated(n: int, low: float, high: float) -> Contest:
    ends = jnp.full(n, low), jnp.full(n, high)
    key = jax.random.key(0)
    ours = jax.jit(truncated_normal)
    inverted = jax.jit(lambda key: jax.random.truncated_normal(key, low, high, (n,), dtype=jnp.float64))
    return {
        "truncated_normal": lambda: ours(key, *ends).block_until_ready(),
        "scipy.stats.truncnorm": lambda: stats.truncnorm.rvs(low, high, size=n, random_state=0),
        "jax.random.truncated_normal": lambda: inverted(key).block_until_ready(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    n = options.draws
    contests = {
        "gamma law, shape 3.5, 1 chain": adaptive(n // 10, 1),
        "gamma law, shape 3.5, 64 chains": adaptive(n // 10 // 64 * 64, 64),
        "finite law, 1e3 outcomes": alias(n, 1000),
        "finite law, 1e6 outcomes": alias(n, 1_000_000),
        "normal law on [-1, 1]": truncated(n, -1.0, 1.0),
        "normal law beyond 8": truncated(n, 8.0, np.inf),
    }
    for title, contest in contests.items():
        found = timed(contest, options.repeats)
        ours = next(iter(found.values()))
        print(f"\n{title}")
        for name, seconds in found.items():
            print(f"  {name:32s} {1e3 * seconds:9.2f} ms   {seconds / ours:8.2f}")


if __name__ == "__main__":
    main()
