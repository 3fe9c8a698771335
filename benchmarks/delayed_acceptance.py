"""Delayed acceptance and prefetching where the density is expensive: what they save, relative to a plain random walk.

The target is the posterior of a predator-prey model whose equations are solved in many small steps; the surrogate takes a
few large ones. All kernels run in one process, one chain each, from the same start and with the same number of steps. The
smallest effective sample size over the coordinates and their squares is divided by the seconds of the fastest of three
compiled runs, and by evaluations of the target. Ratios are to the random walk, the better of two scales. Prefetching is
compared by steps for each round: as the tree has it if its predictions of acceptance are right, as theory has it at the
chain's own acceptance rate, and as measured.

Run ``python benchmarks/delayed_acceptance.py``, or with ``--quick`` for a glance.
"""

import argparse
import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from ergodica.samplers.metropolis.delayed_acceptance import DelayedAcceptance
from ergodica.samplers.metropolis.prefetching import Prefetching
from ergodica.samplers.metropolis.random_walk import GaussianStep, RandomWalk
from ergodica.theory.prefetching import expected_steps


def _populations(rates: Any, steps: int) -> Any:
    """Return predator and prey at 20 times, by ``steps`` Runge-Kutta steps between two of them."""

    def slope(state: Any) -> Any:
        prey, predators = state[0], state[1]
        return jnp.stack(
            [rates[0] * prey - rates[1] * prey * predators, rates[2] * prey * predators - rates[3] * predators]
        )

    width = 0.5 / steps

    def advance(state: Any, _: Any) -> Any:
        def one(_: Any, state: Any) -> Any:
            first = slope(state)
            second = slope(state + width / 2 * first)
            third = slope(state + width / 2 * second)
            fourth = slope(state + width * third)
            return state + width / 6 * (first + 2 * second + 2 * third + fourth)

        state = jax.lax.fori_loop(0, steps, one, state)
        return state, state

    return jax.lax.scan(advance, jnp.array([5.0, 3.0]), None, length=20)[1]


def _posterior(steps: int, observed: Any, logs: Any) -> Any:
    error = jnp.log(_populations(jnp.exp(logs), steps)) - observed
    return -0.5 * jnp.sum(error**2) / 0.2**2 - 0.5 * jnp.sum(logs**2)


def problem(fine: int, coarse: int) -> tuple[Partial, Partial, np.ndarray, np.ndarray]:
    """Return target, surrogate, mode and Cholesky factor of the normal law at the mode."""
    truth = jnp.log(jnp.array([0.6, 0.25, 0.15, 0.5]))
    noise = 0.2 * np.random.default_rng(0).normal(size=(20, 2))
    observed = jnp.log(_populations(jnp.exp(truth), 200)) + noise
    target, surrogate = (Partial(functools.partial(_posterior, steps), observed) for steps in (fine, coarse))
    gradient = jax.jit(jax.jacfwd(surrogate))
    hessian = jax.jit(jax.jacfwd(jax.jacfwd(surrogate)))
    mode = np.asarray(truth)
    for _ in range(20):
        mode = mode - np.linalg.solve(hessian(mode), gradient(mode))
    return target, surrogate, mode, np.linalg.cholesky(np.linalg.inv(-np.asarray(hessian(mode))))


def smallest_ess(draws: np.ndarray) -> float:
    """Return the smallest effective sample size over coordinates and squares; zero below 16."""
    from arviz_stats.base import array_stats

    both = np.concatenate([draws, draws**2], axis=-1)
    sizes = [array_stats.ess(both[None, :, i], chain_axis=0, draw_axis=1) for i in range(both.shape[-1])]
    return float(np.nanmin(sizes)) if np.nanmin(sizes) >= 16 else 0.0


def timed(kernel: Any, start: np.ndarray, steps: int) -> tuple[np.ndarray, Any, float]:
    """Run one chain after compilation, three times; return draws, infos, and the smallest number of seconds."""

    def chain(kernel: Any, key: Any, state: Any) -> Any:
        def body(state: Any, key: Any) -> Any:
            state, info = kernel.step(key, state)
            return state, (state.position, info)

        return jax.lax.scan(body, state, jax.random.split(key, steps))[1]

    run, state = jax.jit(chain), kernel.init(jnp.asarray(start))
    jax.block_until_ready(run(kernel, jax.random.key(0), state))
    seconds = np.inf
    for _ in range(3):
        began = time.perf_counter()
        draws, info = jax.block_until_ready(run(kernel, jax.random.key(1), state))
        seconds = min(seconds, time.perf_counter() - began)
    return np.asarray(draws), info, float(seconds)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rows and steps")
    quick = parser.parse_args().quick
    jax.config.update("jax_enable_x64", True)
    fine, coarse, steps = (100, 2, 3000) if quick else (400, 2, 10_000)
    target, surrogate, mode, factor = problem(fine, coarse)
    best = 2.38 / np.sqrt(4)

    print(
        f"predator and prey, {20 * fine} Runge-Kutta steps, surrogate with {20 * coarse}; {steps} steps of each chain"
    )
    print(
        f"{'kernel':<28} {'rate':>5} {'evals':>7} {'ESS':>7} {'ESS/s':>8} {'ratio':>6} {'ESS/1000 evals':>14} {'ratio':>6}"
    )
    walks = [(f"random walk, {size:g}", RandomWalk(size * best * factor, logdensity=target)) for size in (1.0, 0.7)]
    delayed = [
        (
            f"delayed acceptance, {size:g}",
            DelayedAcceptance(GaussianStep(size * best * factor), surrogate, logdensity=target),
        )
        for size in (0.7, 1.0, 1.4)
    ]
    measured = []
    for name, kernel in (*walks, *delayed):
        draws, info, seconds = timed(kernel, mode, steps)
        size, evaluations = smallest_ess(draws), int(np.sum(info.num_evals))
        measured.append((name, float(np.mean(info.acceptance_rate)), evaluations, size, size / seconds))
    reference = max((row[4], 1000 * row[3] / row[2]) for row in measured[:2])
    for name, rate, evaluations, size, speed in measured:
        each = 1000 * size / evaluations
        print(
            f"{name:<28} {rate:>5.2f} {evaluations:>7} {size:>7.0f} {speed:>8.1f} {speed / reference[0]:>6.2f} "
            f"{each:>14.1f} {each / reference[1]:>6.2f}",
            flush=True,
        )

    block = 64
    print(f"\nprefetching in blocks of {block} steps, the walk of scale 1")
    print(
        f"{'tree':<26} {'evals a round':>13} {'predicted':>9} {'theory':>7} {'measured':>8} {'steps/s':>9} {'ratio':>6}"
    )
    step = GaussianStep(best * factor)
    draws, info, seconds = timed(RandomWalk(best * factor, logdensity=target), mode, steps // 4)
    own, base = float(np.mean(info.acceptance_rate)), (steps // 4) / seconds
    print(f"{'serial':<26} {1:>13} {1:>9.2f} {1:>7.2f} {1:>8.2f} {base:>9.0f} {1:>6.2f}")
    for name, size, rate, cheap in (
        ("full tree", 3, 0.5, None),
        ("full tree", 7, 0.5, None),
        ("likely nodes", 7, own, None),
        ("by the surrogate", 7, 0.5, surrogate),
        ("likely nodes", 15, own, None),
        ("by the surrogate", 15, 0.5, surrogate),
    ):
        kernel = Prefetching(step, block, size, rate, cheap, logdensity=target)
        _, info, seconds = timed(kernel, mode, max(4, steps // 4 // block))
        rounds, blocks = int(np.sum(info.num_rounds)), info.num_rounds.size
        predicted = float(np.average(info.predicted_steps, weights=info.num_rounds))
        theory = f"{expected_steps(size, own, rate):.2f}" if cheap is None else "-"
        speed = blocks * block / seconds
        print(
            f"{name:<26} {size:>13} {predicted:>9.2f} {theory:>7} {blocks * block / rounds:>8.2f} {speed:>9.0f} "
            f"{speed / base:>6.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
