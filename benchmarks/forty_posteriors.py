"""Forty real posteriors: ours as a plug-in of NumPyro and on the compiled host, beside NUTS.

The models are in ``examples/posteriors``. Four chains of each of these:

- ``compiled``: our kernel, tuned by :func:`ergodica.sample` from all chains together, then run on the compiled host;
- ``plug-in``: the same tuned kernel inside ``numpyro.infer.MCMC``;
- ``nuts``: NumPyro's NUTS with a dense mass matrix, since our kernels use a covariance too;
- ``nuts-compiled``: NUTS of BlackJAX with the parameters that NumPyro's warm-up found, on the compiled host.

Effective draws are the smallest bulk effective sample size over the parameters of the reference, and seconds are those of
the processor during sampling, without warm-up and compilation: a busy machine makes them little longer. Each posterior
has a record in ``benchmarks/results/forty_posteriors``; what is there is not run again, so the benchmark can be stopped
and gone on with. The page ``docs/guide/forty_posteriors.md`` is written from the records.

Run ``python benchmarks/forty_posteriors.py`` for all, about half an hour on one core; with names or parts of names for
some; ``--page`` for the page only; ``--again`` to replace records.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer import MCMC, NUTS

import ergodica
from ergodica.samplers.interop.numpyro_model import ModelDensity

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples"))

from posteriors import all_posteriors  # noqa: E402
from posteriors.comparison import compare, largest_rhat, smallest_ess  # noqa: E402
from posteriors.posterior import Posterior  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "forty_posteriors"
PAGE = ROOT / "docs" / "guide" / "forty_posteriors.md"

CHAINS, TUNE, FEW, MANY = 4, 4000, 10_000, 80_000
WARMUP, SAMPLES = 2000, 1000
ENOUGH = 1000
"""Effective draws below which the compiled host makes ``MANY`` draws instead of ``FEW``."""

Draws = dict[str, np.ndarray]


def stacked(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def timed(run: Callable[[int], Any]) -> tuple[Any, float]:
    """Return what ``run(seed)`` returns, and the processor time of a call once everything is compiled."""
    run(0)
    spent, results = 0.0, []
    while spent < 0.5 and len(results) < 10:
        began = time.process_time()
        results.append(jax.block_until_ready(run(len(results) + 1)))
        spent += time.process_time() - began
    return results[0], spent / len(results)


def record_of(posterior: Posterior, draws: Draws, seconds: float, **more: Any) -> dict[str, Any]:
    """Summarise a run; errors are in standard errors, ours and the reference's combined."""
    rows = compare(posterior.reference, draws)
    means = [row for row in rows if row.quantity == "mean"] or [row for row in rows if row.quantity == "0.5"]
    worst, worst_mean = (max(some, key=lambda row: abs(row.z)) for some in (rows, means))
    size = smallest_ess(draws)
    return {
        "ess": size,
        "seconds": seconds,
        "ess_per_second": size / seconds,
        "rhat": largest_rhat(draws),
        "draws": int(np.prod(next(iter(draws.values())).shape)),
        "worst_mean": {"z": worst_mean.z, "of": worst_mean.parameter},
        "worst": {"z": worst.z, "of": f"{worst.parameter}, {worst.quantity}"},
        "compared": len(rows),
        **more,
    }


# --- the four ways to sample ------------------------------------------------------------------------------------------


def run_compiled(posterior: Posterior, density: ModelDensity, starts: Any) -> tuple[dict[str, Any], Any, Any]:
    """Return the record, and the tuned kernel and positions for the plug-in."""
    kernel = posterior.kernel.bind(density.logdensity)
    began = time.process_time()
    options: dict[str, Any] = {"chains": CHAINS, "progress": False, "host": "numba"}
    first = ergodica.sample(kernel, positions=starts, tune=TUNE, tuner=posterior.tuner, draws=10, **options)
    warmup = time.process_time() - began
    last = jax.tree.map(jnp.asarray, first.last_position)
    record = {}
    for count in (FEW, MANY):

        def run(seed: int, count: int = count) -> Any:
            return ergodica.sample(
                first.kernel, positions=last, tune=0, tuner=None, draws=count, seed=seed, keep_warmup=False, **options
            )

        result, seconds = timed(run)
        draws = posterior.quantities(result.transform(density.constrain).position)
        evaluations = float(np.mean(result.stats["num_evals"]))
        record = record_of(posterior, draws, seconds, evaluations_per_draw=evaluations, warmup_seconds=warmup)
        if record["ess"] >= ENOUGH:
            break
    return record, first.kernel, last


def run_plug_in(posterior: Posterior, kernel: Any, positions: Any) -> dict[str, Any]:
    """Run the tuned kernel in NumPyro's loop, compiled as a whole."""
    plug_in = ergodica.NumPyroKernel(kernel.unbound(), posterior.model, tuner=None)
    mcmc = _mcmc(plug_in, num_warmup=0)

    @jax.jit
    def sites(key: Any, positions: Any) -> Any:
        mcmc.run(key, init_params=positions, **posterior.data)
        return mcmc.get_samples(group_by_chain=True)

    found, seconds = timed(lambda seed: sites(jax.random.key(seed), positions))
    return record_of(posterior, posterior.quantities(found), seconds)


def run_nuts(posterior: Posterior, starts: Any) -> tuple[dict[str, Any], Any]:
    """Return the record, and the state after warm-up."""
    mcmc = _mcmc(NUTS(posterior.model, dense_mass=True), num_warmup=WARMUP)
    began = time.process_time()
    mcmc.warmup(jax.random.key(0), init_params=starts, **posterior.data)
    state = jax.block_until_ready(mcmc.post_warmup_state)
    warmup = time.process_time() - began

    @jax.jit
    def sites(key: Any, state: Any) -> Any:
        mcmc.post_warmup_state = state
        mcmc.run(key, extra_fields=("num_steps", "diverging"), **posterior.data)
        return mcmc.get_samples(group_by_chain=True), mcmc.get_extra_fields()

    (found, fields), seconds = timed(lambda seed: sites(jax.random.key(seed), state))
    more = {"leapfrogs_per_draw": float(fields["num_steps"].mean()), "divergences": int(fields["diverging"].sum())}
    return record_of(posterior, posterior.quantities(found), seconds, warmup_seconds=warmup, **more), state


def run_nuts_compiled(posterior: Posterior, density: ModelDensity, state: Any) -> dict[str, Any]:
    import blackjax

    step_sizes, masses = np.asarray(state.adapt_state.step_size), state.adapt_state.inverse_mass_matrix
    (masses,) = masses.values() if isinstance(masses, dict) else (masses,)
    chain = int(np.argsort(step_sizes)[CHAINS // 2])  # a chain that failed would spoil an average
    kernel = ergodica.BlackJAXKernel(
        blackjax.nuts,
        logdensity=density.logdensity,
        step_size=jnp.asarray(step_sizes[chain]),
        inverse_mass_matrix=jnp.asarray(masses[chain]),
    )
    options: dict[str, Any] = {"tune": 0, "tuner": None, "draws": FEW, "progress": False, "host": "numba"}

    def run(seed: int) -> Any:
        return ergodica.sample(kernel, positions=state.z, seed=seed, **options)

    result, seconds = timed(run)
    return record_of(posterior, posterior.quantities(result.transform(density.constrain).position), seconds)


def _mcmc(kernel: Any, *, num_warmup: int) -> MCMC:
    options: dict[str, Any] = {"num_chains": CHAINS, "chain_method": "vectorized", "progress_bar": False}
    return MCMC(kernel, num_warmup=num_warmup, num_samples=SAMPLES, **options)


def measure(posterior: Posterior) -> dict[str, Any]:
    """Run all four ways."""
    density = posterior.density()
    starts = stacked([density.start(key) for key in jax.random.split(jax.random.key(0), CHAINS)])
    runs = {}
    runs["compiled"], kernel, positions = run_compiled(posterior, density, starts)
    runs["plug-in"] = run_plug_in(posterior, kernel, positions)
    runs["nuts"], state = run_nuts(posterior, starts)
    runs["nuts-compiled"] = run_nuts_compiled(posterior, density, state)
    return {
        "name": posterior.name,
        "dimension": sum(leaf[0].size for leaf in jax.tree.leaves(starts)),
        "kernel": type(posterior.kernel).__name__,
        "exact_reference": posterior.reference.exact,
        "remark": posterior.remark,
        "runs": runs,
    }


# --- records and the page ---------------------------------------------------------------------------------------------


def file_of(name: str) -> Path:
    return RESULTS / f"{name}.json"


def save(record: dict[str, Any]) -> None:
    """Write a record as a whole or not at all."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    part = file_of(record["name"]).with_suffix(".part")
    part.write_text(json.dumps(_rounded(record), indent=1) + "\n", encoding="utf-8")
    part.replace(file_of(record["name"]))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def line(record: dict[str, Any]) -> str:
    runs = record["runs"]
    rates = " ".join(
        f"{name} {run['ess_per_second']:.4g}/s z {run['worst_mean']['z']:+.1f};" for name, run in runs.items()
    )
    return f"{record['name']:<45} {record['dimension']:>2} {rates}"


def main() -> None:
    """Run what has no record yet, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="parts of names; default: all forty")
    parser.add_argument("--again", action="store_true", help="replace records")
    parser.add_argument("--page", action="store_true", help="write the page only")
    parser.add_argument("--core", type=int, help="the processor core to stay on")
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    if arguments.core is not None:
        os.sched_setaffinity(0, {arguments.core})
    if not arguments.page:
        for name, posterior in all_posteriors().items():
            chosen = not arguments.names or any(part in name for part in arguments.names)
            if chosen and (arguments.again or not file_of(name).exists()):
                record = measure(posterior)
                save(record)
                print(line(record), flush=True)
                jax.clear_caches()
    from forty_posteriors_page import write

    write(RESULTS, PAGE)


if __name__ == "__main__":
    main()
