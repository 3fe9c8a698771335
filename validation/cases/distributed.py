"""The distributed ADMM sampler: its exact biased law on quadratic potentials, and its local solver."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.distributed.admm import ADMMSampler, ADMMState
from ergodica.samplers.distributed.agents import ConvexAgents, QuadraticAgents
from ergodica.theory.admm import affine_sweep, stationary_law
from ergodica.validation.evidence import Case, Check, Outcome
from ergodica.validation.host import on_chosen_host
from ergodica.validation.normal_draws import normal_pvalues
from ergodica.validation.replicates import Replicates
from ergodica.validation.sequential import sequential
from ergodica.validation.targets.continuous import AGENTS4
from ergodica.validation.targets.target import several_steps

_PATH = np.eye(4, k=1, dtype=int) + np.eye(4, k=-1, dtype=int)
_STAR = np.array([[0, 1, 1], [1, 0, 0], [1, 0, 0]])
_PLANE = (
    np.array([[[1.0, 0.3], [0.3, 0.5]], [[2.0, -0.4], [-0.4, 1.0]], [[0.5, 0.0], [0.0, 1.5]]]),
    np.array([[-1.0, 0.5], [0.0, 2.0], [1.5, -1.0]]),
)
_CONFIGURATIONS = (
    ("four agents on a path", AGENTS4[0], AGENTS4[1], _PATH, 0.7),
    ("three agents in the plane on a star", *_PLANE, _STAR, 2.5),
)


def _quadratic(subject: Any, precision: Any, center: Any, adjacency: Any, penalty: float) -> Any:
    return dataclasses.replace(subject, agents=QuadraticAgents(precision, center), network=adjacency, penalty=penalty)


def _join(state: ADMMState) -> Array:
    return jnp.concatenate([state.position.reshape(-1), state.dual.reshape(-1)])


def _part(z: Array, shape: tuple[int, int]) -> ADMMState:
    x, p = jnp.split(z, 2)
    return ADMMState(x.reshape(shape), p.reshape(shape))


def _sweep_matches(subject: Any, key: PRNGKeyArray) -> Outcome:
    """Hold a sweep against the affine map of theory: matrix, shift, and the noise's way into copies and multipliers."""
    worst, where = 0.0, ""
    for label, precision, center, adjacency, penalty in _CONFIGURATIONS:
        kernel = _quadratic(subject, precision, center, adjacency, penalty)
        shape = kernel.agents.center.shape
        size = int(np.prod(shape))
        sweep = affine_sweep(precision, center, adjacency, penalty, kernel.noise)
        # Unit vectors, but for multipliers differences of two, as these have to sum to zero.
        inputs = np.eye(2 * size)
        inputs[size:, size:] -= np.tile(inputs[size : size + shape[1], size:], (shape[0], 1))
        points = jnp.asarray(np.concatenate([np.zeros((1, 2 * size)), inputs]))
        out = jax.jit(jax.vmap(lambda z, k=kernel, s=shape: _join(k.step(key, _part(z, s))[0])))(points)
        out = np.asarray(out)
        origin = out[0]
        noise = np.linalg.solve(sweep.factor[:size], (origin - sweep.shift)[:size])
        errors = {
            "matrix": np.max(np.abs(out[1:] - origin - inputs @ sweep.matrix.T)),
            "noise in the multipliers": np.max(np.abs(origin - sweep.shift - sweep.factor @ noise)),
        }
        for name, error in errors.items():
            if not error <= worst:
                worst, where = float(error), f"{name}, {label}"
    return Outcome(worst, 1e-10, worst <= 1e-10, 0.0, where)


def _noise_is_normal(subject: Any, key: PRNGKeyArray) -> Outcome:
    """Solve one sweep's outcome for its noise, which has to be standard normal and independent between agents."""
    _, precision, center, adjacency, penalty = _CONFIGURATIONS[0]
    kernel = _quadratic(subject, precision, center, adjacency, penalty)
    shape = kernel.agents.center.shape
    size = int(np.prod(shape))
    sweep = affine_sweep(precision, center, adjacency, penalty, kernel.noise)
    begin = _part(jnp.zeros(2 * size), shape)
    stepping = on_chosen_host(kernel)
    sweeps = Replicates(lambda key: stepping.step(key, begin)[0].position.reshape(-1))

    def pvalue(key: PRNGKeyArray, n: int) -> dict[str, float]:
        noise = np.linalg.solve(sweep.factor[:size], (sweeps(key, n) - sweep.shift[:size]).T).T
        return normal_pvalues(noise, "noise: ")

    return sequential(pvalue, key, n=2000)


def _stationary(subject: Any, key: PRNGKeyArray) -> Outcome:
    """Start at the exact biased law, make five sweeps, and see whether the law is still the same."""
    _, precision, center, adjacency, penalty = _CONFIGURATIONS[0]
    kernel = _quadratic(subject, precision, center, adjacency, penalty)
    shape = kernel.agents.center.shape
    law = stationary_law(precision, center, adjacency, penalty, kernel.noise)
    mean = np.concatenate([law.mean.reshape(-1), law.dual_mean.reshape(-1)])
    values, vectors = np.linalg.eigh(law.joint_covariance)
    regular = values > 1e-10
    factor = vectors[:, regular] * np.sqrt(values[regular])

    def experiment(key: PRNGKeyArray) -> Array:
        key_start, key_run = random.split(key)
        z = mean + factor @ random.normal(key_start, (factor.shape[1],))
        return _join(several_steps(kernel, key_run, _part(z, shape), 5))

    replicates = Replicates(experiment)
    whiten = np.linalg.pinv(factor)

    def pvalue(key: PRNGKeyArray, n: int) -> dict[str, float]:
        return normal_pvalues((replicates(key, n) - mean) @ whiten.T, "whitened: ")

    return sequential(pvalue, key, n=2000)


def _logistic(x: Array, data: tuple[Array, Array]) -> Array:
    design, labels = data
    return jnp.sum(jnp.logaddexp(0.0, -labels * (design @ x))) + 0.05 * jnp.sum(x**2)


def _quadratic_potential(x: Array, data: tuple[Array, Array]) -> Array:
    precision, center = data
    return 0.5 * (x - center) @ precision @ (x - center)


def _local_solver(subject: Any, key: PRNGKeyArray) -> Outcome:
    """Solve logistic problems to a small gradient, keep the multipliers' sum at zero, and agree with the closed form."""
    del key
    key = jax.random.key(0)  # the same noise each time: how far Newton's steps get depends on it
    rng = np.random.default_rng(7)
    design = rng.normal(size=(4, 12, 3))
    labels = np.sign(design @ np.array([1.0, -0.5, 0.2]) + 0.5 * rng.normal(size=(4, 12)))
    agents = ConvexAgents(Partial(_logistic), (jnp.asarray(design), jnp.asarray(labels)))
    kernel = dataclasses.replace(subject, agents=agents, network=_PATH, penalty=2.0)

    def body(state: Any, key: PRNGKeyArray) -> Any:
        state, info = kernel.step(key, state)
        return state, (info.gradient_norm, info.num_invalid, jnp.max(jnp.abs(jnp.sum(state.dual, axis=0))))

    start = kernel.init(jnp.zeros((4, 3)))
    _, (gradients, invalid, sums) = jax.jit(lambda k: jax.lax.scan(body, start, random.split(k, 200)))(key)
    precision, center = _PLANE
    closed = _quadratic(subject, precision, center, _STAR, 2.5)
    newton = dataclasses.replace(
        closed, agents=ConvexAgents(Partial(_quadratic_potential), (jnp.asarray(precision), jnp.asarray(center)))
    )
    ends = [
        jax.jit(lambda key, k=kernel: several_steps(k, key, k.init(jnp.ones((3, 2))), 20))(key)
        for kernel in (closed, newton)
    ]
    errors = {
        "gradient norm over 1e-8": float(jnp.max(gradients)) / 1e-8,
        "sum of multipliers over 1e-12": float(jnp.max(sums)) / 1e-12,
        "agents without a solution": float(jnp.sum(invalid)) * 2,
        "Newton against closed form over 1e-9": float(jnp.max(jnp.abs(_join(ends[0]) - _join(ends[1])))) / 1e-9,
    }
    worst = max(errors, key=lambda name: errors[name])
    return Outcome(errors[worst], 1.0, errors[worst] <= 1.0, 0.0, worst)


CASES: tuple[Case, ...] = (
    Case(
        name="admm",
        subject=ADMMSampler,
        example=lambda: ADMMSampler(QuadraticAgents(*AGENTS4), _PATH),
        checks=(
            Check("exact: a sweep on quadratics is the affine map of theory", _sweep_matches, 2.0),
            Check("exact: local solver, sum of multipliers", _local_solver, 3.0),
            Check("normal draws: noise of a sweep", _noise_is_normal, 1.5),
            Check("stationary start: the exact biased law", _stationary, 1.5),
        ),
    ),
)
"""Rows of the catalogue."""
