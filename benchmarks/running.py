"""What `sample` costs beside a bare loop, what its display costs, whether memory stays flat, and a thousand kills.

- The time of `sample` over that of a bare `lax.scan` over the same steps with the same keys, which keeps the same.
- The time with a display over that without.
- The resident memory of a run whose draws go to disk, a tenth and all of the way through.
- A run on disk that is killed at random moments, again and again, and resumed: do its draws change?

Run ``python benchmarks/running.py [overhead] [memory] [kills]``; ``--draws`` and ``--kills`` set the lengths.
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ergodica
from ergodica.samplers import run_store
from ergodica.samplers.chunks import chain_keys, one_step
from ergodica.samplers.run_store import RunStore
from ergodica.samplers.stored_array import StoreError

START = 3


def logdensity(x: Any) -> Any:
    """Return the log density of the standard normal law."""
    return -0.5 * jnp.sum(x**2)


def bare_scan(kernel: Any, states: Any, key: Any, draws: int) -> Callable[[], Any]:
    """Return a call that makes and keeps what `sample` does, in one compiled loop."""
    keys = chain_keys(key, states)

    @jax.jit
    def run(states: Any) -> Any:
        def body(states: Any, index: Any) -> Any:
            stepped, info = jax.vmap(lambda k, s: one_step(kernel, jax.random.fold_in(k, index), s))(keys, states)
            return stepped, (stepped.position, info)

        return jax.lax.scan(body, states, jnp.arange(draws))

    return lambda: jax.tree.map(np.asarray, run(states))


def unseen(run: Callable[[], Any]) -> Any:
    """Run with a display that nobody sees."""
    with contextlib.redirect_stderr(io.StringIO()):
        return run()


def overhead() -> None:
    """Print ratios of times to that of a bare scan."""
    key = jax.random.key(0)
    for name, kernel, dim, draws in (
        ("random walk, 10-d", ergodica.RandomWalk(0.7, logdensity=logdensity), 10, 400_000),
        ("coordinate slice, 10-d", ergodica.CoordinateSlice(1.0, logdensity=logdensity), 10, 20_000),
        ("polar slice, 100-d", ergodica.GibbsianPolarSlice(logdensity=logdensity), 100, 40_000),
    ):
        start = jnp.ones(dim)
        state = kernel.init(start)
        states = jax.tree.map(lambda leaf: jnp.stack([leaf] * 4), state)
        options: dict[str, Any] = {"draws": draws, "tune": 0, "chains": 4, "seed": key}

        run = partial(ergodica.sample, kernel, start, **options)
        ways = {
            "bare": bare_scan(kernel, states, key, draws),
            "sample": partial(run, progress=False),
            "with a display": partial(unseen, run),
        }
        best = dict.fromkeys(ways, np.inf)
        for _ in range(6):
            for way, call in ways.items():
                began = time.perf_counter()
                call()
                best[way] = min(best[way], time.perf_counter() - began)
        print(
            f"{name}: sample {best['sample'] / best['bare']:.3f} of a bare scan ({best['bare']:.2f} s); "
            f"its display {best['with a display'] / best['sample'] - 1:+.1%}"
        )


def resident() -> float:
    """Return the resident memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory(draws: int) -> None:
    """Print the resident memory of a run on disk as it goes on."""
    kernel = ergodica.RandomWalk(0.7, logdensity=logdensity)
    with tempfile.TemporaryDirectory() as folder:
        kept = ergodica.sample(
            kernel, jnp.ones(2), draws=draws // 10, tune=0, chains=4, store=f"{folder}/run", progress=False
        )
        before = resident()
        began = time.perf_counter()
        kept = ergodica.resume(f"{folder}/run", kernel, draws=draws, progress=False)
        print(
            f"{kept.num_draws:,} draws of {kept.num_chains} chains on disk in {time.perf_counter() - began:.0f} s: "
            f"{before:.0f} MiB resident after a tenth of them, {resident():.0f} MiB at the end"
        )


OPTIONS: dict[str, Any] = {"draws": 5000, "tune": 1000, "chains": 2, "seed": 1, "progress": False}


def child(store: str) -> None:
    """Begin the run, or go on with it."""
    run_store.COMMIT_SECONDS = 0.003
    jax.config.update("jax_enable_x64", True)
    kernel = ergodica.RandomWalk(1.0, logdensity=logdensity)
    if (Path(store) / "manifest.json").exists():
        ergodica.resume(store, kernel, progress=False, chunk=16)
    else:
        ergodica.sample(kernel, jnp.ones(START), store=store, chunk=16, **OPTIONS)


def commits(store: Path) -> int:
    """Return how often a run has been committed."""
    try:
        return int(json.loads((store / "manifest.json").read_text())["manifest"]["progress"]["commits"])
    except FileNotFoundError:
        return -1


def kills(count: int) -> None:
    """Kill a run at random moments, and compare its draws with those of one that was left alone."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["ergodica.samplers.sample", "ergodica.samplers.metropolis.random_walk", "zarr"])
    rng = np.random.default_rng(0)
    jax.config.update("jax_enable_x64", True)
    kernel = ergodica.RandomWalk(1.0, logdensity=logdensity)
    expected = ergodica.sample(kernel, jnp.ones(START), **OPTIONS)
    done, runs, began = 0, 0, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        while done < count:
            runs += 1
            store = Path(folder) / f"run{runs}"
            while True:
                process = server.Process(target=child, args=(str(store),))
                process.start()
                before = commits(store)
                while done < count and process.is_alive() and commits(store) == before:
                    time.sleep(0.001)
                if done < count and process.is_alive():
                    time.sleep(rng.uniform(0, 0.03))
                    os.kill(process.pid, signal.SIGKILL)
                process.join()
                if process.exitcode == 0:
                    break
                if process.exitcode != -signal.SIGKILL:
                    raise StoreError(f"run {runs} cannot go on after {done} kills")
                done += 1
            got = ergodica.Draws.load(store)
            np.testing.assert_array_equal(np.asarray(got.position), np.asarray(expected.position))
            np.testing.assert_array_equal(np.asarray(got.warmup_position), np.asarray(expected.warmup_position))
            RunStore.open(store).verify()
    print(f"{done} kills of {runs} runs at random moments, no draw changed ({time.perf_counter() - began:.0f} s)")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], "overhead", "memory", "kills"])
    parser.add_argument("--draws", type=int, default=10_000_000)
    parser.add_argument("--kills", type=int, default=1000)
    wanted = parser.parse_args()
    parts = wanted.parts or ["overhead", "memory", "kills"]
    if "overhead" in parts:
        overhead()
    if "memory" in parts:
        memory(wanted.draws)
    if "kills" in parts:
        kills(wanted.kills)


if __name__ == "__main__":
    main()
