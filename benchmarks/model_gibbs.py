"""Gibbs samplers made from NumPyro models, beside NumPyro's own.

All samplers are kernels of NumPyro's ``MCMC``, run by one compiled loop: as many steps of warm-up as draws, then three
runs, the fastest of which counts. The effective sample size is the smallest over the quantities of the model in all
three, by NumPyro's estimator. Ratios are to the first sampler of ours in the same table. On the board of spins the exact
marginals are known by enumeration, and the largest error of an estimated probability is put down in standard errors.

The first table shows what a blanket saves: an evaluation of the terms that a block touches against one of all terms.

Run ``python benchmarks/model_gibbs.py``, with ``--quick`` for a glance.
"""

import argparse
import itertools
import time
import warnings
from collections.abc import Callable
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.diagnostics import effective_sample_size
from numpyro.infer import HMC, NUTS, DiscreteGibbs, DiscreteHMCGibbs, HMCGibbs, MixedHMC

from ergodica.samplers import random
from ergodica.samplers.interop.numpyro import NumPyroKernel
from ergodica.samplers.interop.numpyro_gibbs import Gibbs
from ergodica.samplers.interop.over_plate import over_plate
from ergodica.samplers.metropolis.random_walk import RandomWalk
from ergodica.samplers.slicing.coordinate import CoordinateSlice

Quantities = Callable[[dict[str, np.ndarray]], np.ndarray]


# --- models -----------------------------------------------------------------------------------------------------------


def mixture(y: Any) -> None:
    """Three overlapping components; the prior of the means keeps their order."""
    weights = numpyro.sample("weights", dist.Dirichlet(2.0 * jnp.ones(3)))
    scale = numpyro.sample("scale", dist.HalfNormal(2.0))
    with numpyro.plate("component", 3):
        mean = numpyro.sample("mean", dist.Normal(jnp.array([-4.0, 0.0, 4.0]), 1.0))
    with numpyro.plate("row", len(y)):
        z = numpyro.sample("z", dist.Categorical(weights))
        numpyro.sample("y", dist.Normal(mean[z], scale), obs=y)


def mixture_data(rows: int) -> Any:
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.normal(np.array([-4.0, 0.0, 4.0])[rng.integers(0, 3, rows)], 1.5))


def groups(group: Any, y: Any, count: int) -> None:
    """Normal groups with a common mean and spread."""
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfNormal(5.0))
    with numpyro.plate("group", count):
        theta = numpyro.sample("theta", dist.Normal(mu, tau))
    with numpyro.plate("row", len(y)):
        numpyro.sample("y", dist.Normal(theta[group], 1.0), obs=y)


def groups_data(count: int, each: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(count), each)
    return jnp.asarray(group), jnp.asarray(rng.normal(rng.normal(1.0, 2.0, count)[group], 1.0))


def spins(side: int) -> None:
    """Spins on a square board with free ends, in a field."""
    with numpyro.plate("rows", side, dim=-2), numpyro.plate("columns", side, dim=-1):
        z = numpyro.sample("z", dist.Bernoulli(0.45))
    s = 2.0 * z - 1
    numpyro.factor("down", 0.3 * s[1:] * s[:-1])
    numpyro.factor("right", 0.3 * s[:, 1:] * s[:, :-1])


def spin_marginals(side: int) -> np.ndarray:
    """Return the exact probabilities of the spins being up."""
    states = np.array(list(itertools.product([0, 1], repeat=side * side))).reshape(-1, side, side)
    s = 2.0 * states - 1
    log = states.sum(axis=(1, 2)) * np.log(0.45 / 0.55)
    log += 0.3 * ((s[:, 1:] * s[:, :-1]).sum(axis=(1, 2)) + (s[:, :, 1:] * s[:, :, :-1]).sum(axis=(1, 2)))
    law = np.exp(log - log.max())
    out: np.ndarray = np.tensordot(law / law.sum(), states, 1)
    return out


# --- samplers ---------------------------------------------------------------------------------------------------------


def conjugate(group: Any, y: Any, count: int) -> Callable[..., Any]:
    """Return exact draws of the group means, the same for both libraries."""
    totals = jax.ops.segment_sum(y, group, count)
    sizes = jax.ops.segment_sum(jnp.ones_like(y), group, count)

    def draw(key: Any, values: dict[str, Any]) -> Any:
        precision = sizes + 1 / values["tau"] ** 2
        mean = (totals + values["mu"] / values["tau"] ** 2) / precision
        return mean + random.normal(key, (count,)) / jnp.sqrt(precision)

    return draw


def run(kernel: Any, args: tuple[Any, ...], draws: int, quantities: Quantities) -> tuple[float, float, Any]:
    """Return seconds per draw, effective draws per second, and the draws."""

    def several(state: Any) -> Any:
        def body(state: Any, _: None) -> Any:
            state = kernel.sample(state, args, {})
            return state, state.z

        return jax.lax.scan(body, state, length=draws)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = kernel.init(jax.random.key(0), draws, None, model_args=args, model_kwargs={})
        advance = jax.jit(several)
        seconds, kept = np.inf, []
        state = jax.tree.map(jnp.asarray, jax.block_until_ready(advance(state)[0]))
        for _ in range(3):
            began = time.perf_counter()
            state, positions = jax.block_until_ready(advance(state))
            seconds = min(seconds, time.perf_counter() - began)
            kept.append(positions)
        constrain = jax.jit(jax.vmap(kernel.postprocess_fn(args, {})))
        parts = [constrain(positions) for positions in kept]
    samples = {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]}
    effective = float(np.min(effective_sample_size(quantities(samples)[None]))) / len(parts)
    return seconds / draws, effective / seconds, samples


def table(
    title: str,
    samplers: dict[str, tuple[Any, int]],
    args: tuple[Any, ...],
    quantities: Quantities,
    note: Callable[[dict[str, np.ndarray]], str] | None = None,
) -> None:
    """Print a table of samplers, given with the draws of a run."""
    print(f"\n{title}")
    print(f"{'':44} {'ms a draw':>10} {'ESS/s':>9} {'ratio':>7}")
    reference = None
    for name, (kernel, draws) in samplers.items():
        cost, rate, samples = run(kernel, args, draws, quantities)
        reference = rate if reference is None else reference
        print(
            f"{name:44} {1e3 * cost:10.3f} {rate:9.1f} {rate / reference:7.3f} {note(samples) if note else ''}",
            flush=True,
        )


def blanket_table(count: int, each: int) -> None:
    """Print what evaluations of a block's terms cost."""
    group, y = groups_data(count, each)
    made = Gibbs({...: CoordinateSlice()}).for_model(groups, group, y, count)
    terms = made.graph.terms
    position = made.start(jax.random.key(0))
    print(f"\nEvaluations, {count} groups of {each}: microseconds")
    costs = {}
    for label, names in {
        "all terms": terms.names,
        "what mu and tau touch": made.graph.touched("mu", "tau"),
        "what theta touches": made.graph.touched("theta"),
    }.items():
        total = terms.total(names)

        @jax.jit
        def many(position: Any, total: Any = total) -> Any:
            def body(i: Any, carry: Any) -> Any:
                # All sites move, lest the compiler take what stays the same out of the loop.
                return carry + 1e-12 * total({name: value + carry + 1e-6 * i for name, value in position.items()})

            return jax.lax.fori_loop(0, 1000, body, jnp.zeros(()))

        jax.block_until_ready(many(position))
        times = []
        for _ in range(5):
            began = time.perf_counter()
            jax.block_until_ready(many(position))
            times.append(time.perf_counter() - began)
        costs[label] = min(times) * 1e3
        print(f"{label:44} {costs[label]:10.2f} {costs[label] / costs['all terms']:10.3f}  {', '.join(names)}")


def main(quick: bool) -> None:
    jax.config.update("jax_enable_x64", True)
    shrink = 10 if quick else 1
    blanket_table(1000 // shrink, 10)

    rows = 1000 // shrink
    y = mixture_data(rows)

    def of_mixture(samples: dict[str, np.ndarray]) -> np.ndarray:
        counts = (samples["z"] == 0).sum(axis=1, keepdims=True)
        return np.concatenate([samples["mean"], samples["scale"][:, None], samples["weights"], counts], axis=1)

    table(
        f"Mixture of three normal laws, {rows} rows",
        {
            'ergodica Gibbs "exact" + blackjax.nuts': (NumPyroKernel(Gibbs({"z": "exact", ...: blackjax.nuts}), mixture), 1000),
            'ergodica Gibbs "exact" + coordinate slices': (
                NumPyroKernel(Gibbs({"z": "exact", ...: CoordinateSlice()}), mixture), 2000,
            ),
            "numpyro DiscreteHMCGibbs(NUTS)": (DiscreteHMCGibbs(NUTS(mixture)), 100),
            "numpyro DiscreteHMCGibbs(NUTS, modified)": (DiscreteHMCGibbs(NUTS(mixture), modified=True), 100),
            "numpyro MixedHMC(HMC)": (
                MixedHMC(HMC(mixture, trajectory_length=1.0), num_discrete_updates=rows), 50,
            ),
        },
        (y,),
        of_mixture,
    )  # fmt: skip

    count = 1000 // shrink
    group, y = groups_data(count, 10)
    draw = conjugate(group, y, count)

    def of_groups(samples: dict[str, np.ndarray]) -> np.ndarray:
        return np.concatenate([samples["mu"][:, None], samples["tau"][:, None], samples["theta"][:, :20]], axis=1)

    def gibbs_fn(rng_key: Any, gibbs_sites: Any, hmc_sites: Any) -> Any:
        del gibbs_sites
        return {"theta": draw(rng_key, hmc_sites)}

    pair = ("mu", "tau")
    table(
        f"Normal groups, {count} of 10",
        {
            "ergodica Gibbs draw + coordinate slices": (
                NumPyroKernel(Gibbs({"theta": draw, pair: CoordinateSlice()}), groups), 2000,
            ),
            "ergodica Gibbs draw + blackjax.nuts": (
                NumPyroKernel(Gibbs({"theta": draw, pair: blackjax.nuts}), groups), 2000,
            ),
            "ergodica Gibbs slices over the plate + slices": (
                NumPyroKernel(Gibbs({"theta": over_plate(CoordinateSlice()), pair: CoordinateSlice()}), groups), 2000,
            ),
            "ergodica Gibbs walks over the plate + slices": (
                NumPyroKernel(Gibbs({"theta": over_plate(RandomWalk(0.5)), pair: CoordinateSlice()}), groups), 2000,
            ),
            "numpyro HMCGibbs(NUTS), the same draw": (HMCGibbs(NUTS(groups), gibbs_fn, ["theta"]), 2000),
            "numpyro NUTS": (NUTS(groups), 1000),
        },
        (group, y, count),
        of_groups,
    )  # fmt: skip

    side = 3 if quick else 4
    exact = spin_marginals(side)

    def error(samples: dict[str, np.ndarray]) -> str:
        up = samples["z"].astype(float)
        size = effective_sample_size(up[None])
        scores = np.abs(up.mean(axis=0) - exact) / np.sqrt(exact * (1 - exact) / size)
        return f"largest error {scores.max():.1f} standard errors"

    table(
        f"Spins, {side} x {side}",
        {
            'ergodica Gibbs "exact"': (NumPyroKernel(Gibbs({"z": "exact"}), spins), 20_000),
            "numpyro DiscreteGibbs": (DiscreteGibbs(spins), 20_000),
            "numpyro DiscreteGibbs(modified)": (DiscreteGibbs(spins, modified=True), 20_000),
        },
        (side,),
        lambda samples: samples["z"].reshape(len(samples["z"]), -1).astype(float),
        error,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    main(parser.parse_args().quick)
