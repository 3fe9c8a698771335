"""The ways to run many chains, beside each other: time of a draw of all chains, relative to ``chain_method="vectorized"``.

Each kernel makes the same draws of the same target in each way, after a run that compiles; the smallest of several times
in turn counts. ``turns`` are those of the loop inside a step of a slice sampler: the share of all turns that were needed,
in lockstep and interleaved, and what is possible where chains meet at the end of a run of this length only. ``error`` is
the largest difference to the draws of ``"vectorized"``.

Run ``python benchmarks/chain_methods.py``, with ``--chains``, ``--draws`` and ``--quick`` for less. The pool has two
processes, and the processor counts as two devices. With ``--cpu`` the time is that of the processor on one thread,
which other programs disturb little; it says nothing about devices and pools, which are left out.
"""

import argparse
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from ergodica.samplers.chain_groups import How, advance
from ergodica.samplers.chunks import chain_keys, strong
from ergodica.samplers.executors import Distributor, Workers
from ergodica.samplers.gibbs.ising import IsingHeatBath
from ergodica.samplers.gibbs.spin_sites import SquareLattice
from ergodica.samplers.interleaving import draw_interleaved
from ergodica.samplers.metropolis.random_walk import RandomWalk
from ergodica.samplers.slicing.coordinate import CoordinateSlice
from ergodica.samplers.slicing.gibbsian_polar import GibbsianPolarSlice
from ergodica.samplers.slicing.hit_and_run import HitAndRunSlice


def funnel(x: Any) -> Any:
    return -(x[0] ** 2) / 18 - 0.5 * jnp.sum(x[1:] ** 2) * jnp.exp(-x[0]) - (x.size - 1) / 2 * x[0]


def volcano(x: Any) -> Any:
    return -jnp.sqrt(jnp.sum(x**2))


def logistic(features: Any, x: Any) -> Any:
    return jnp.sum(-jnp.log1p(jnp.exp(-features @ x))) - 0.5 * jnp.sum(x**2)


def problems(quick: bool) -> dict[str, tuple[Any, Any]]:
    features = jnp.asarray(np.random.default_rng(0).normal(size=(500, 20)))
    regression = Partial(logistic, features)
    few = {
        "random walk, logistic 500 x 20": (RandomWalk(0.1, logdensity=regression), jnp.zeros(20)),
        "hit-and-run, logistic 500 x 20": (HitAndRunSlice(2.0, logdensity=regression), jnp.zeros(20)),
        "coordinates, funnel 10": (CoordinateSlice(2.0, logdensity=Partial(funnel)), jnp.zeros(10)),
    }
    if quick:
        return few
    return {
        **few,
        "polar, logistic 500 x 20": (GibbsianPolarSlice(3.0, logdensity=regression), jnp.zeros(20)),
        "hit-and-run, funnel 10": (HitAndRunSlice(2.0, logdensity=Partial(funnel)), jnp.zeros(10)),
        "polar, volcano 30": (GibbsianPolarSlice(3.0, logdensity=Partial(volcano)), jnp.zeros(30)),
        "coordinates, volcano 10": (CoordinateSlice(2.0, logdensity=Partial(volcano)), jnp.zeros(10)),
        "heat bath, Ising 16 x 16": (IsingHeatBath(SquareLattice(16, 16), 0.4), jnp.ones((16, 16), jnp.int8)),
    }


def starts(kernel: Any, centre: Any, chains: int) -> Any:
    kernel = jax.tree.map(strong, kernel)
    if jnp.issubdtype(centre.dtype, jnp.floating):
        noise = jnp.asarray(np.random.default_rng(1).normal(size=(chains, *centre.shape)))
        states = jax.vmap(lambda x: kernel.init(x))(centre + noise)
    else:
        one = kernel.init(centre)
        states = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (chains, *leaf.shape)), one)
    return kernel, jax.tree.map(strong, states), chain_keys(jax.random.key(2), states)


def ways(kernel: Any, draws: int, pool: Any) -> dict[str, tuple[Any, How]]:
    both = {
        "vectorized": (advance, How(draws)),
        "sequential": (advance, How(draws, "sequential")),
    }
    if not isinstance(kernel, RandomWalk | IsingHeatBath):
        both["interleaved"] = advance, How(draws, interleave=True)
    if pool is not None:
        both["2 devices"] = advance, How(draws, "parallel")
        both["pool of 2"] = pool.advance, How(draws)
    return both


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--chains", type=int, default=256)
    parser.add_argument("--draws", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cpu", action="store_true", help="processor time on one thread")
    arguments = parser.parse_args()
    if arguments.cpu:
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    else:
        jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_enable_x64", True)
    clock = time.process_time if arguments.cpu else time.perf_counter
    chains, draws = arguments.chains, arguments.draws
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn) as processes:
        pool = None if arguments.cpu else Distributor(Workers(processes, chains_per_task=chains // 2))
        print(f"{chains} chains, {draws} draws")
        for name, (bare, centre) in problems(arguments.quick).items():
            kernel, states, keys = starts(bare, centre, chains)
            table = ways(kernel, draws, pool)
            seconds = dict.fromkeys(table, np.inf)
            records: dict[str, Any] = {}
            for repeat in range(arguments.repeats + 1):
                for way, (run, how) in table.items():
                    began = clock()
                    _, records[way] = run(kernel, states, keys, 0, draws, 1, how)
                    if repeat:
                        seconds[way] = min(seconds[way], clock() - began)
            base = records["vectorized"]
            parts = [f"{way} {seconds['vectorized'] / seconds[way]:.2f}" for way in table if way != "vectorized"]
            leaves = [jax.tree.leaves(record.position) for record in records.values()]
            error = max(np.max(np.abs(a - b)) for other in leaves for a, b in zip(leaves[0], other, strict=True))
            line = (
                f"{name:32} {seconds['vectorized'] / draws * 1e6:8.0f} us; speed {', '.join(parts)}; error {error:.0e}"
            )
            if "interleaved" in table:
                turns = np.asarray(base.stats["num_evals"])
                first, count = jnp.int32(0), jnp.int32(draws)
                taken = int(draw_interleaved(kernel, states, keys, first, count, capacity=draws, thin=1)[2][0])
                shares = turns.sum() / chains / np.array([turns.max(axis=0).sum(), taken, turns.sum(axis=1).max()])
                line += "; turns in lockstep {:.2f}, interleaved {:.2f}, possible {:.2f}".format(*shares)
            print(line, flush=True)


if __name__ == "__main__":
    main()
