"""Slice samplers beside those of other libraries: effective draws per second and per evaluation of the density.

All chains of a sampler start away from the target, warm up with half of the steps, and are summarised by the smallest
effective sample size over the coordinates and their squares. It is put down as zero where it is below four per chain,
as there the estimate means nothing. Samplers that take a centre, a covariance or widths get those of one pilot run by
coordinate slices, and keep them. Walkers of ensembles keep their identity and count as chains. The libraries emcee, zeus
and PyMC take part where they are installed. Ratios are to Gibbsian polar slice sampling in the same run.

Run ``python benchmarks/slicing.py`` for all targets, or with ``--quick`` for a glance. ``--time`` prints microseconds
a step instead, of the same algorithm here and in BlackJAX, for one chain and for sixteen: the smallest of several runs
in turn.
"""

import argparse
import dataclasses
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ergodica.samplers.slicing.coordinate import CoordinateSlice
from ergodica.samplers.slicing.gibbsian_polar import GibbsianPolarSlice
from ergodica.samplers.slicing.hit_and_run import HitAndRunSlice
from ergodica.samplers.slicing.hyperrectangle import HyperrectangleSlice


@dataclasses.dataclass(frozen=True)
class Problem:
    """A target written once for JAX, NumPy and PyTensor: ``density(xp, x)`` sums over the last axis of ``x``."""

    name: str
    dim: int
    density: Callable[[Any, Any], Any]
    scale: float = 1.0


@dataclasses.dataclass(frozen=True)
class Result:
    draws: np.ndarray  # chains, draws, dimension
    seconds: float
    evaluations: float


def problems(quick: bool) -> list[Problem]:
    def normal(dim: int) -> Problem:
        covariance = 0.9 ** np.abs(np.subtract.outer(np.arange(dim), np.arange(dim)))
        factor = np.linalg.cholesky(np.linalg.inv(covariance))
        return Problem(f"correlated normal, {dim}", dim, lambda xp, x: -0.5 * xp.sum(xp.dot(x, factor) ** 2, axis=-1))

    rng = np.random.default_rng(0)
    features = rng.normal(size=(1000, 25)) * 0.9 ** np.arange(25)
    labels = rng.uniform(size=1000) < 1 / (1 + np.exp(-features @ rng.normal(size=25)))
    signs = features * np.where(labels, 1.0, -1.0)[:, None]

    def logistic(xp: Any, x: Any) -> Any:
        fit = xp.sum(-xp.log1p(xp.exp(-xp.dot(x, signs.T))), axis=-1)
        return fit - 0.5 * xp.sum(x**2, axis=-1)

    few = [normal(10), Problem("logistic regression, 1000 x 25", 25, logistic, 0.3)]
    if quick:
        return few
    return [
        *few,
        normal(100),
        Problem("Student t with 3 degrees, 30", 30, lambda xp, x: -16.5 * xp.log1p(xp.sum(x**2, axis=-1) / 3)),
        Problem("volcano exp(-|x|), 30", 30, lambda xp, x: -xp.sqrt(xp.sum(x**2, axis=-1)), 6.0),
    ]


def start(problem: Problem, chains: int) -> np.ndarray:
    """Return starts around a point three scales away from the centre."""
    rng = np.random.default_rng(1)
    return problem.scale * (3 + rng.normal(size=(chains, problem.dim)))


def run_jax(problem: Problem, make: Any, density: Any, parameters: Any, chains: int, steps: int) -> Result:
    """Run a JAX sampler ``make(density, *parameters)`` on all chains in lock-step."""

    def advance(parameters: Any, key: Any, positions: Any, length: int) -> Any:
        sampler = make(density, *parameters)

        def chain(key: Any, position: Any) -> Any:
            def body(state: Any, key: Any) -> Any:
                state = sampler.step(key, state)[0]
                return state, state.position

            return jax.lax.scan(body, sampler.init(position), jax.random.split(key, length))[1]

        return jax.vmap(chain)(jax.random.split(key, chains), positions)

    run = jax.jit(advance, static_argnums=3)
    positions = run(parameters, jax.random.key(1), jnp.asarray(start(problem, chains)), steps // 2)[:, -1]
    jax.block_until_ready(run(parameters, jax.random.key(2), positions, steps))
    began = time.perf_counter()
    draws = jax.block_until_ready(run(parameters, jax.random.key(2), positions, steps))
    return Result(np.asarray(draws), time.perf_counter() - began, np.nan)


def pilot(problem: Problem, chains: int, steps: int) -> tuple[Any, Any]:
    """Return centre and Cholesky factor of the covariance, from coordinate slices."""

    def make(density: Any, centre: Any, factor: Any) -> Any:
        del centre, factor
        return CoordinateSlice(4 * problem.scale).bind(density)

    parameters = jnp.zeros(problem.dim), jnp.eye(problem.dim)
    draws = run_jax(problem, make, lambda x: problem.density(jnp, x), parameters, chains, steps).draws
    late = jnp.asarray(draws).reshape(-1, problem.dim)
    return jnp.mean(late, axis=0), jnp.linalg.cholesky(jnp.cov(late.T))


COUNT: list[int] = []
"""One entry for each evaluation of a density that counts."""


def samplers(problem: Problem, parameters: Any) -> dict[str, Callable[[int, int], Result]]:
    """Return the samplers that are installed: ``run(chains, steps)``."""

    def target(x: Any) -> Any:
        return problem.density(jnp, x)

    def counted(x: Any) -> Any:
        jax.debug.callback(lambda _: COUNT.append(0), x[0])
        return target(x)

    ways: dict[str, Callable[[int, int], Result]] = {}

    def in_jax(name: str, make: Callable[[Any], Any]) -> None:
        def run(chains: int, steps: int) -> Result:
            result = run_jax(problem, make, target, parameters, chains, steps)
            return dataclasses.replace(result, evaluations=evaluations_of(make(counted, *parameters), result))

        ways[name] = run

    def widths(factor: Any) -> Any:
        return 2 * jnp.sqrt(jnp.sum(factor**2, axis=1))

    in_jax("ergodica GPSS", lambda f, m, L: GibbsianPolarSlice(3.0, center=m, scale=L).bind(f))
    in_jax("ergodica hit-and-run", lambda f, _, L: HitAndRunSlice(3.0 / problem.dim**0.5, scale=L).bind(f))
    in_jax("ergodica coordinate", lambda f, _, L: CoordinateSlice(widths(L)).bind(f))
    in_jax("ergodica hyperrectangle", lambda f, _, L: HyperrectangleSlice(2 * widths(L)).bind(f))

    if importlib.util.find_spec("blackjax"):
        import blackjax
        from blackjax.mcmc.slice import direction_proposal, stepping_out

        def elliptical(density: Any, mean: Any, factor: Any) -> Any:
            def likelihood(x: Any) -> Any:
                y = jax.scipy.linalg.solve_triangular(factor, x - mean, lower=True)
                return density(x) + 0.5 * jnp.sum(y**2)

            return blackjax.elliptical_slice(likelihood, mean=mean, cov=factor @ factor.T)

        options = {"interval": stepping_out, "max_expansions": 64}
        in_jax("blackjax elliptical", elliptical)
        in_jax(
            "blackjax hit-and-run",
            lambda f, _, L: blackjax.slice_sampling(
                f, proposal_generator=direction_proposal(L), width=3.0 * jnp.mean(widths(L)) / 2, **options
            ),
        )
        in_jax(
            "blackjax coordinate",
            lambda f, _, L: blackjax.coordinate_slice(f, initial_widths=widths(L), **options),
        )

    def on_host(x: np.ndarray) -> float:
        COUNT.append(0)
        return float(problem.density(np, x))

    def ensemble(make: Callable[[int], Any], chains: Callable[[Any], np.ndarray]) -> Callable[[int, int], Result]:
        def run(walkers: int, steps: int) -> Result:
            walkers = max(walkers, 2 * problem.dim + 2)
            steps = max(50, steps // 10)
            sampler = make(walkers)
            begun = start(problem, walkers)
            sampler.run_mcmc(begun, steps // 4, progress=False)
            last = chains(sampler)[:, -1]
            sampler.reset()
            COUNT.clear()
            began = time.perf_counter()
            sampler.run_mcmc(last, steps, progress=False)
            return Result(chains(sampler), time.perf_counter() - began, float(len(COUNT)))

        return run

    if importlib.util.find_spec("emcee"):
        import emcee

        ways["emcee stretch"] = ensemble(
            lambda walkers: emcee.EnsembleSampler(walkers, problem.dim, on_host),
            lambda sampler: np.swapaxes(sampler.get_chain(), 0, 1),
        )
    if importlib.util.find_spec("zeus"):
        import zeus

        ways["zeus"] = ensemble(
            lambda walkers: zeus.EnsembleSampler(walkers, problem.dim, on_host, verbose=False),
            lambda sampler: np.swapaxes(sampler.get_chain(), 0, 1),
        )
    if importlib.util.find_spec("pymc"):
        import pymc
        import pytensor.tensor as pt

        def slices(chains: int, steps: int) -> Result:
            chains, steps = min(chains, 4), max(50, steps // 10)
            with pymc.Model():
                x = pymc.Flat("x", shape=problem.dim)
                pymc.Potential("density", problem.density(pt, x))
                begun = [{"x": row} for row in start(problem, chains)]
                options = {"tune": steps // 4, "chains": chains, "cores": 1, "progressbar": False}
                step = pymc.Slice(tune=True)
                began = time.perf_counter()
                trace = pymc.sample(steps, step=step, initvals=begun, compute_convergence_checks=False, **options)
                seconds = (time.perf_counter() - began) * 4 / 5
            return Result(np.asarray(trace.posterior["x"]), seconds, np.nan)

        ways["PyMC Slice"] = slices
    return ways


def evaluations_of(sampler: Any, result: Result) -> float:
    """Count the evaluations that one chain makes from where another run ended; scale up to all chains."""
    few = 50
    state = sampler.init(jnp.asarray(result.draws[0, -1]))
    one = jax.jit(sampler.step)
    jax.block_until_ready(one(jax.random.key(0), state))
    jax.effects_barrier()
    COUNT.clear()
    for index in range(few):
        state, _ = one(jax.random.fold_in(jax.random.key(3), index), state)
    jax.block_until_ready(state)
    jax.effects_barrier()
    return len(COUNT) / few * result.draws.shape[0] * result.draws.shape[1]


def smallest_ess(draws: np.ndarray) -> float:
    """Return the smallest effective sample size over coordinates and squares; zero if it is below four per chain."""
    from arviz_stats.base import array_stats

    both = np.concatenate([draws, draws**2], axis=-1)
    sizes = [array_stats.ess(both[..., i], chain_axis=0, draw_axis=1) for i in range(both.shape[-1])]
    smallest = float(np.nanmin(sizes))
    return smallest if smallest >= 4 * draws.shape[0] else 0.0


def time_steps(chains: int, problem: Problem, runs: int = 7) -> None:
    """Print microseconds a step of coordinate slices and of hit-and-run, here and in BlackJAX."""
    import blackjax
    from blackjax.mcmc.slice import fixed_order, stepping_out

    def density(x: Any) -> Any:
        return problem.density(jnp, x)

    width = 4 * problem.scale
    options = {"interval": stepping_out, "max_expansions": 64}
    pairs = {
        "coordinate": (
            CoordinateSlice(width).bind(density),
            blackjax.coordinate_slice(density, initial_widths=width, coordinate_order=fixed_order, **options),
        ),
        "hit-and-run": (
            HitAndRunSlice(width).bind(density),
            blackjax.slice_sampling(density, width=width, **options),
        ),
    }
    positions = jnp.asarray(start(problem, chains))
    for name, samplers in pairs.items():
        steps = max(2, 4000 // (chains * (problem.dim if name == "coordinate" else 1)))

        def runner(sampler: Any, steps: int = steps) -> Any:
            def chain(key: Any, position: Any) -> Any:
                def body(state: Any, key: Any) -> Any:
                    return sampler.step(key, state)[0], None

                return jax.lax.scan(body, sampler.init(position), jax.random.split(key, steps))[0].position

            # One chain without vmap, which is another program.
            one = jax.jit(chain)
            many = jax.jit(jax.vmap(chain))
            if chains == 1:
                return lambda key: jax.block_until_ready(one(key, positions[0]))
            return lambda key: jax.block_until_ready(many(jax.random.split(key, chains), positions))

        ways = [runner(sampler) for sampler in samplers]
        best = [np.inf] * len(ways)
        for repeat in range(runs + 1):
            for index, way in enumerate(ways):
                began = time.perf_counter()
                way(jax.random.key(repeat))
                if repeat:
                    best[index] = min(best[index], time.perf_counter() - began)
        ours, theirs = (1e6 * seconds / steps for seconds in best)
        print(
            f"{problem.name:<32} {name:<12} {chains:>6} {ours:>10.1f} {theirs:>10.1f} {ours / theirs:>6.2f}", flush=True
        )


def main() -> None:
    """Print a table for each target."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two targets and short runs")
    parser.add_argument("--chains", type=int, default=64)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--time", action="store_true", help="microseconds a step, beside BlackJAX")
    arguments = parser.parse_args()
    steps = 1000 if arguments.quick else arguments.steps
    jax.config.update("jax_enable_x64", True)
    if arguments.time:
        print(f"{'target':<32} {'algorithm':<12} {'chains':>6} {'ergodica':>10} {'BlackJAX':>10} {'ratio':>6}")
        for problem in problems(arguments.quick)[:3]:
            for chains in (1, 16):
                time_steps(chains, problem)
        return
    print(f"{'target':<32} {'sampler':<22} {'ESS':>8} {'ESS/s':>10} {'ratio':>6} {'evals/ESS':>10} {'ratio':>6}")
    for problem in problems(arguments.quick):
        reference: tuple[float, float] | None = None
        parameters = pilot(problem, arguments.chains, max(200, steps // 4))
        for name, run in samplers(problem, parameters).items():
            result = run(arguments.chains, steps)
            size = smallest_ess(result.draws)
            rate, cost = size / result.seconds, result.evaluations / size if size else np.inf
            reference = reference or (rate, cost)
            ratios = (rate / reference[0] if reference[0] else np.nan, cost / reference[1])
            print(
                f"{problem.name:<32} {name:<22} {size:>8.0f} {rate:>10.1f} {ratios[0]:>6.2f} {cost:>10.1f} "
                f"{ratios[1]:>6.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
