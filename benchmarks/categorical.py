"""Categorical draws from large vocabularies: what is exact, what it costs, beside JAX's and NumPy's own.

Two situations: every draw from a law of its own (a decoder: logits of shape ``(batch, V)``), and many draws from one law.
Times are medians of interleaved runs; ratios are to JAX's default. Errors are those of the method's law in single
precision, computed from the keys or sums that it uses.

Run with ``python benchmarks/categorical.py``.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ergodica.samplers.acceptance.integer_weights import IntegerDraw
from ergodica.samplers.acceptance.laws import invert
from ergodica.samplers.acceptance.rejection.alias import AliasTable
from ergodica.samplers.acceptance.sum_tree import SumTree, sum_tree_draw
from ergodica.theory.truncated_gumbel import clock_delay, truncated_gumbel_law

Contest = dict[str, Callable[[int], object]]


def median_times(contest: Contest, repeats: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in contest}
    for run in contest.values():
        run(0)
    for repeat in range(repeats):
        for name, run in contest.items():
            started = time.perf_counter()
            run(repeat + 1)
            times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in times.items()}


def report(title: str, times: dict[str, float], reference: str) -> None:
    print(f"\n{title}")
    for name, seconds in times.items():
        print(f"  {name:44s} {1e3 * seconds:10.3f} ms   {seconds / times[reference]:8.4f} x")


def compiled(function: Callable[..., jax.Array], *arguments: jax.Array) -> Callable[[int], object]:
    program = jax.jit(function)
    return lambda seed: program(jax.random.key(seed), *arguments).block_until_ready()


def a_law_each(batch: int, logits: np.ndarray) -> Contest:
    rows = jnp.asarray(np.tile(logits, (batch, 1)))
    generator = np.random.default_rng(0)

    def numpy_draws(seed: int) -> np.ndarray:
        del seed
        out = np.empty(batch, np.int64)
        for row in range(batch):
            running = np.cumsum(np.exp(logits - logits.max()), dtype=np.float64)
            out[row] = np.searchsorted(running, generator.random() * running[-1], side="right")
        return out

    def inversion(key: jax.Array, logits: jax.Array) -> jax.Array:
        return invert(jax.nn.softmax(logits), jax.random.uniform(key, (batch,)))

    return {
        "jax.random.categorical": compiled(lambda key, x: jax.random.categorical(key, x), rows),
        "jax.random.categorical, mode high": compiled(lambda key, x: jax.random.categorical(key, x, mode="high"), rows),
        "running sums in single precision": compiled(inversion, rows),
        "SumTree": compiled(sum_tree_draw, rows),
        "NumPy, running sums in double precision": numpy_draws,
    }


def one_law(n: int, logits: np.ndarray) -> Contest:
    weights = np.exp(logits - logits.max())
    double = weights.astype(np.float64)
    p = double / double.sum()
    tree, alias, integers = SumTree(weights), AliasTable(weights), IntegerDraw(double)
    row = jnp.asarray(logits)
    return {
        "jax.random.categorical": compiled(lambda key, x: jax.random.categorical(key, x, shape=(n,)), row),
        "SumTree, built": compiled(
            lambda key, heap: jax.tree.unflatten(jax.tree.structure(tree), [heap]).draw(key, (n,)), tree.heap
        ),
        "SumTree, built each time": compiled(lambda key, x: SumTree.from_logits(x).draw(key, (n,)), row),
        "AliasTable, built": compiled(lambda key: alias.draw(key, (n,))),
        "AliasTable, compiled loop": lambda seed: alias.draw_many(jax.random.key(seed), n),
        "IntegerDraw, built": lambda seed: integers.draw(jax.random.key(seed), n),
        "numpy.random.Generator.choice": lambda seed: np.random.default_rng(seed).choice(p.size, size=n, p=p),
    }


def errors(logits: np.ndarray) -> None:
    weights = np.exp(logits - logits.max()).astype(np.float32)
    p = weights.astype(np.float64) / weights.sum(dtype=np.float64)
    running = np.cumsum(weights, dtype=np.float32).astype(np.float64)
    laws = {
        "Gumbel keys of 23 bits": truncated_gumbel_law(p, clock_delay(23)),
        "running sums, 24-bit uniforms": np.diff(np.floor(np.append(0, running) / running[-1] * 2**24)) / 2**24,
        "SumTree": SumTree(weights).law()[: p.size],
    }
    print(f"\nerror of the law in single precision, V={p.size}")
    for name, law in laws.items():
        lost = p[law < p / 2].sum()
        print(f"  {name:32s} total variation {0.5 * np.abs(law - p).sum():.2e}, mass of outcomes below half {lost:.2e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vocabulary", type=int, nargs="+", default=[32_000, 128_000])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--draws", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    for size in options.vocabulary:
        logits = (4 * np.random.default_rng(0).normal(size=size)).astype(np.float32)
        errors(logits)
        title = f"{options.batch} draws, a law each, V={size}"
        report(title, median_times(a_law_each(options.batch, logits), options.repeats), "jax.random.categorical")
        title = f"{options.draws} draws from one law, V={size}"
        report(title, median_times(one_law(options.draws, logits), options.repeats), "jax.random.categorical")


if __name__ == "__main__":
    main()
