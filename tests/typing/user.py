"""What a user writes, for the type checker (`make types`): every line has to pass without a cast."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ergodica
from ergodica.samplers.diffusion.score import GivenScore, ImportanceScore, LangevinScore
from ergodica.samplers.kernel import Kernel


def logdensity(x: jax.Array) -> jax.Array:
    return -0.5 * jnp.sum(x**2)


def continuous() -> list[Kernel[Any, Any]]:
    return [
        ergodica.GibbsianPolarSlice(2.0, center=np.zeros(3), scale=[1.0, 2.0, 3.0], logdensity=logdensity),
        ergodica.CoordinateSlice([1.0, 2.0], method="doubling"),
        ergodica.CoordinateSlice({"mu": 1.0, "tau": 0.1}),
        ergodica.HitAndRunSlice(2.0, scale=np.eye(3), logdensity=logdensity),
        ergodica.RandomWalk([0.1, 0.2], logdensity=logdensity),
        ergodica.RandomWalk(0.5, ergodica.Barker()),
        ergodica.ReverseDiffusion("importance", times=[2.0, 1.0, 0.5], logdensity=logdensity),
        ergodica.ReverseDiffusion(LangevinScore(adjusted=False, smoothness=2.0)),
        ergodica.ReverseDiffusion(ImportanceScore(32)),
        ergodica.ReverseDiffusion(GivenScore(lambda x, t: -x)),
        ergodica.ReverseDiffusionSMC(ergodica.ReverseDiffusion("reject"), threshold=0.5),
        ergodica.tempered(ergodica.RandomWalk(0.5), 2.0),
    ]


def discrete() -> list[Kernel[Any, Any]]:
    return [
        ergodica.HeatBath([0, 1, 2], logdensity=lambda x: -0.1 * x),
        ergodica.LatticeSlice(3),
        ergodica.IsingHeatBath(ergodica.SquareLattice(4, 4), 0.4, field=np.zeros((4, 4))),
        ergodica.SelfRepellentWalk([(0, 1), (1, 2), (2, 0)], alpha=2.0),
    ]


def composed() -> Kernel[Any, Any]:
    gibbs = ergodica.cycle(
        ergodica.on("colour", ergodica.HeatBath([0, 1])), ergodica.on(["mu", "tau"], ergodica.HitAndRunSlice())
    )
    return ergodica.mixture(gibbs, ergodica.repeat(gibbs, 2), weights=[0.5, 0.5])


def distributed() -> ergodica.ADMMSampler:
    agents = ergodica.QuadraticAgents([1.0, 2.0, 3.0], [[0.0], [1.0], [2.0]])
    return ergodica.ADMMSampler(agents, [(0, 1), (1, 2)], penalty=2.0)


def run() -> np.ndarray:
    kernel = ergodica.GibbsianPolarSlice(logdensity=logdensity)
    state = kernel.init(jnp.ones(3))
    state, _ = kernel.step(jax.random.key(0), state)
    draws = ergodica.sample(kernel, jnp.ones(3), draws=10, tune=10, chains=2, seed=1)
    draws.summary()
    draws.to_arviz()
    return np.asarray(state.position)
